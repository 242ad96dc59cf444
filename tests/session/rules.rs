//! Whatever happens to a call in whatever order, these hold.

use proptest::prelude::*;

use super::*;

/// What may happen to a call.
#[derive(Clone, Debug)]
pub enum Event {
    Leased,
    NoSlot,
    Client(u8),
    Upstream(bool, u8),
    Wait(u16),
    Drain,
    End,
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        2 => Just(Event::Leased),
        1 => Just(Event::NoSlot),
        12 => (0..14_u8).prop_map(Event::Client),
        12 => (any::<bool>(), 0..9_u8).prop_map(|(current, what)| Event::Upstream(current, what)),
        12 => (0..4_000_u16).prop_map(Event::Wait),
        1 => Just(Event::Drain),
        1 => Just(Event::End),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 600, ..ProptestConfig::default() })]
    /// The reference is the list of what was decided: whatever comes in whatever order, these hold.
    #[test]
    fn whatever_happens_the_rules_hold(events in proptest::collection::vec(event(), 1..250), may_return in any::<bool>()) {
        let mut call = Call::on(may_return.then(detached::resume_terms));
        let (mut ended, mut done, mut ready, mut opened, mut asked) = (0, 0, false, 0, 1);
        for event in events {
            let closed_before = call.machine.is_closed();
            call.play(event);
            for effect in &call.effects {
                prop_assert!(!closed_before, "after the end: {effect}");
                let event = effect.starts_with("error") || effect.starts_with("pong") || effect.starts_with("expiring");
                prop_assert!(ended == 0 || !event, "{effect} after the last word");
                ended += i32::from(effect.starts_with("ended"));
                done += i32::from(effect.starts_with("Done"));
                asked += i32::from(effect.starts_with("Acquire"));
                opened += i32::from(effect.starts_with("OpenUpstream"));
                ready |= effect == "listening";
                prop_assert!(ready || !effect.starts_with("-> "), "{effect} before ready");
                prop_assert!(ended == 0 || !effect.starts_with("-> upstream"), "{effect} after the end");
            }
            prop_assert!(ended <= 1 && done <= 1 && opened <= asked && asked <= 2);
            prop_assert!(call.client_held <= LEG_CREDIT && call.upstream_held <= LEG_CREDIT);
            prop_assert_eq!(call.machine.deadline().is_none(), call.machine.is_closed());
            if let Some(deadline) = call.machine.deadline() {
                prop_assert!(deadline > call.now, "a deadline that has passed was not acted on");
            }
        }
        // Left alone, every call ends by itself.
        for _ in 0..2_000 {
            let Some(deadline) = call.machine.deadline() else { break };
            call.advance(deadline - call.now);
        }
        prop_assert!(call.machine.is_closed());
    }
}
