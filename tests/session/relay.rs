//! Calls that pass from one model server to another: failover, rotation, and a slot that begins anew.

use std::time::Duration;

use proptest::prelude::*;
use tandem::{
    pool::roster::{Class, NoSlot},
    protocol::ending::Ending,
    session::machine::{ClientInput, Input, Limits, Prompt, Rotation, UpstreamEnd, WithoutSlot},
};

use super::{
    role::Role,
    theatre::{MS, Pool, SECOND, Theatre},
};

pub const AT_ONCE: Pool = |_, _| Ok(10 * MS);
/// One server: no rotation ever gets a slot, and a failover gets the one that is left.
pub const ALONE: Pool = |class, _| match class {
    Class::Rotation => Ok(100_000 * SECOND),
    Class::New | Class::Failover => Ok(10 * MS),
};
const NOTHING_ELSE: Pool = |class, _| if class == Class::New { Ok(10 * MS) } else { Err(NoSlot::QueueFull) };

pub fn dies_after(after: Duration) -> Role {
    Role { dies: Some((after, UpstreamEnd::HungUp)), ..Role::GOOD }
}

pub fn hangs(from: Duration, to: Duration) -> Role {
    Role { silent: Some((from, to)), ..Role::GOOD }
}

#[test]
fn a_call_whose_server_dies_goes_on_with_another_and_a_recap() {
    let mut call = Theatre::open(Limits::default(), &[dies_after(20 * SECOND), Role::GOOD], AT_ONCE);
    call.run(15 * SECOND).words(1, " Marie moved to Lyon.");
    call.run(35 * SECOND);
    let (died, recovering) = (call.at("server 1 dies"), call.at("recovering lost"));
    assert_eq!(died, recovering, "told at once");
    call.at("OpenUpstream(2, Continuation)");
    // Pool 10 ms, handshake 5 s, one frame.
    let back = call.at("recovered");
    assert!((died + 5_010..=died + 5_010 + 200).contains(&back), "{back}");
    assert!(call.sounds.iter().any(|at| *at > call.now - 100 * MS), "it talks");
    assert!(!call.machine.said().is_empty());
    call.refuse("ended");
    // The caller was heard all the time but for the gap.
    assert!(call.longest_gap() < Duration::from_millis(5_300), "{:?}", call.longest_gap());
}

#[test]
fn two_failures_in_a_row_with_the_same_prompt_end_the_call_truly() {
    let refuses = Role { handshake: None, ..Role::GOOD };
    let mut call = Theatre::open(Limits::default(), &[dies_after(20 * SECOND), refuses], AT_ONCE);
    call.run(60 * SECOND);
    assert_eq!(call.count("OpenUpstream"), 3, "{:#?}", call.seen);
    call.at("ended prompt_rejected");
    assert_eq!(call.open_servers(), 0);

    // Ready, and dead again before it said a word, twice.
    let mut call = Theatre::open(Limits::default(), &[dies_after(20 * SECOND), dies_after(SECOND)], AT_ONCE);
    call.run(60 * SECOND);
    assert_eq!(call.count("OpenUpstream"), 3, "{:#?}", call.seen);
    call.at("ended upstream_lost");
}

#[test]
fn servers_that_talk_before_they_die_are_not_the_prompts_fault() {
    let mut call = Theatre::open(Limits::default(), &[dies_after(40 * SECOND)], AT_ONCE);
    call.run(300 * SECOND);
    assert!(call.count("recovered") >= 5, "{:#?}", call.seen);
    call.refuse("ended");
}

#[test]
fn without_another_slot_a_lost_server_is_the_end() {
    let mut call = Theatre::open(Limits::default(), &[dies_after(20 * SECOND)], NOTHING_ELSE);
    call.run(30 * SECOND);
    assert_eq!(call.at("ended upstream_lost"), call.at("server 1 dies") + 1);

    let never: Pool = |class, _| Ok(if class == Class::New { 10 * MS } else { 1_000_000 * SECOND });
    let mut call = Theatre::open(Limits::default(), &[dies_after(20 * SECOND)], never);
    call.run(100 * SECOND);
    assert_eq!(call.at("ended upstream_lost"), call.at("server 1 dies") + 60_000, "no longer than that");
    call.at("Withdraw");
}

#[test]
fn a_server_that_hangs_is_replaced_by_whoever_gives_sound_first() {
    // Silent for good: another one has the stage after 2 s and a handshake.
    let mut call = Theatre::open(Limits::default(), &[hangs(20 * SECOND, 900 * SECOND), Role::GOOD], AT_ONCE);
    call.run(60 * SECOND);
    let silent = call.at("recovering silent");
    assert!((27_000..=27_400).contains(&silent), "2 s after the last sound at 25 s: {silent}");
    assert!((silent + 5_010..silent + 5_200).contains(&call.at("recovered")), "{:#?}", call.seen);
    call.at("Judge(1, Failed)");
    assert_eq!(call.open_servers(), 1);
    call.refuse("degraded");

    // Silent for 4 s: it is back before the other one is ready, which is sent away.
    let mut call = Theatre::open(Limits::default(), &[hangs(20 * SECOND, 24 * SECOND), Role::GOOD], AT_ONCE);
    call.run(60 * SECOND);
    assert!((29_000..29_200).contains(&call.at("recovered")), "{:#?}", call.seen);
    assert_eq!(call.at("CloseUpstream(2)"), call.at("recovered"));
    call.refuse("Judge(1, Failed)");

    // Alone and silent for good: given up after 10 s, when its own slot is all there is to ask for.
    let mut call = Theatre::open(Limits::default(), &[hangs(20 * SECOND, 900 * SECOND), Role::GOOD], |class, retry| {
        if class == Class::New || retry { Ok(10 * MS) } else { Ok(20 * SECOND) }
    });
    call.run(60 * SECOND);
    let given_up = call.at("CloseUpstream(1)");
    assert!((35_000..35_400).contains(&given_up), "{:#?}", call.seen);
    call.at("recovered");
}

#[test]
fn a_server_that_was_slow_is_forgotten_with_it() {
    let slow = Role { slow: true, ..dies_after(20 * SECOND) };
    let mut call = Theatre::open(Limits::default(), &[slow, Role::GOOD], AT_ONCE);
    call.run(60 * SECOND);
    assert!(call.at("degraded") < call.at("recovering"), "{:#?}", call.seen);
    let known = call.at("recovered") + 7_000..call.at("recovered") + 20_000;
    assert!(known.contains(&call.at("restored")), "once the next one is known: {:#?}", call.seen);
    assert_eq!((call.count("degraded"), call.count("restored")), (1, 1), "{:#?}", call.seen);
}

#[test]
fn a_short_stall_is_no_failure() {
    let mut call = Theatre::open(Limits::default(), &[hangs(20 * SECOND, 21_500 * MS)], AT_ONCE);
    call.run(60 * SECOND).refuse("recovering");
    call.refuse("Acquire { class: Failover");
}

#[test]
fn a_caller_who_leaves_in_a_failover_frees_everything() {
    let mut call = Theatre::open(Limits::default(), &[dies_after(20 * SECOND), Role::GOOD], AT_ONCE);
    call.run(27 * SECOND).at("OpenUpstream(2, Continuation)");
    call.input(Input::Client(ClientInput::Closed { clean: true }));
    call.at("CloseUpstream(2)");
    call.at("Done(ClientLeft)");
    call.run(5 * SECOND);
    assert_eq!(call.open_servers(), 0);
    call.refuse("recovered");
}

/// Twelve minutes with three windows of 240 s.
#[test]
fn a_long_call_rotates_without_a_gap_and_hears_the_caller_on_both_sides() {
    let limits = Limits::default();
    let mut call = Theatre::open(limits, &[Role::GOOD], AT_ONCE);
    for n in 0..72 {
        call.run(10 * SECOND);
        let attempt = call.machine.on_stage().unwrap();
        call.words(attempt, &format!(" Fact {n} is known."));
    }
    call.refuse("ended");
    let rotations = call.count("rotated");
    assert!((3..=4).contains(&rotations), "{rotations}: {:#?}", call.seen);
    // The next server's frames need not begin when those of the one before end.
    assert!(call.longest_gap() <= 80 * MS, "{:?}", call.longest_gap());
    assert!(call.prompts()[1..].iter().all(|prompt| *prompt == Prompt::Memory), "{:?}", call.prompts());
    // 3,000 steps less 100 of the prompts are 232 s; it is prepared 500 steps and a handshake (200 of 50 ms) before.
    let prepared = call.at("Acquire { class: Rotation");
    assert!((5_000 + 182_000 - 500..5_000 + 182_000 + 500).contains(&prepared), "{prepared}");
    assert_eq!(call.at("expiring Persona 50080"), prepared);
    assert_eq!(call.open_servers(), 1);
}

#[test]
fn the_switch_waits_for_both_to_be_silent_and_no_longer_than_the_window() {
    // The one on stage speaks until 200 s after its handshake; the next one from the beginning for 8 s.
    let long = Role { speaks: Some((Duration::ZERO, 200 * SECOND)), ..Role::GOOD };
    let eager = Role { speaks: Some((Duration::ZERO, 8 * SECOND)), ..Role::GOOD };
    let mut call = Theatre::open(Limits::default(), &[long.clone(), eager], AT_ONCE);
    call.run(240 * SECOND);
    // On stage silent from 205 s on; the other one listens from 194 s and speaks until 202 s.
    let rotated = call.at("rotated");
    assert!((205_240..205_700).contains(&rotated), "{rotated}");

    let endless = Role { speaks: Some((Duration::ZERO, 900 * SECOND)), ..Role::GOOD };
    let mut call = Theatre::open(Limits::default(), &[endless, Role::GOOD], AT_ONCE);
    call.run(240 * SECOND);
    // 2,900 frames after its handshake at 5 s, which is 237 s.
    let rotated = call.at("rotated");
    assert!((236_900..237_300).contains(&rotated), "{rotated}");
}

#[test]
fn without_a_second_slot_the_same_one_begins_anew_in_a_pause_or_the_call_goes_on() {
    let mut call = Theatre::open(Limits::default(), &[Role::GOOD], ALONE);
    call.run(250 * SECOND);
    // The last 125 steps begin at 227 s; nobody speaks, so at once.
    let rotating = call.at("rotating");
    assert!((226_900..227_400).contains(&rotating), "{rotating}");
    assert_eq!(call.at("rotating 6000"), rotating, "120 steps of 50 ms, as in the first handshake");
    call.at("Withdraw");
    call.at("OpenUpstream(2, Continuation)");
    let gap = call.longest_gap();
    assert!((5_050..5_300).contains(&gap.as_millis()), "{gap:?}");
    assert_eq!(call.count("rotated"), 1);
    call.refuse("recovering");

    let off =
        Limits { rotation: Rotation { without_slot: WithoutSlot::Off, ..Rotation::default() }, ..Limits::default() };
    let mut call = Theatre::open(off, &[Role::GOOD], ALONE);
    call.run(400 * SECOND).refuse("rotating");
    assert_eq!(call.count("expiring Persona"), 1, "told once");
    assert_eq!(call.longest_gap(), Duration::ZERO);
    call.refuse("ended");
}

#[test]
fn a_slot_that_cannot_begin_anew_is_replaced_and_the_caller_is_told_of_that() {
    // Its server does not acknowledge the end of the first call, or it hangs up at the second one.
    let hangs_up = Role { handshake: None, ..Role::GOOD };
    for (cast, keeps_leases, legs) in [(vec![Role::GOOD], false, 2), (vec![Role::GOOD, hangs_up, Role::GOOD], true, 3)]
    {
        let mut call = Theatre::open(Limits::default(), &cast, ALONE);
        call.keeps_leases = keeps_leases;
        call.run(250 * SECOND);
        call.at("Acquire { class: Failover");
        assert_eq!(
            (call.count("OpenUpstream"), call.machine.on_stage()),
            (legs, Some(legs as u32)),
            "{:#?}",
            call.seen
        );
        assert_eq!((call.count("rotating"), call.count("rotated")), (1, 0), "{:#?}", call.seen);
        assert_eq!((call.count("recovering lost"), call.count("recovered")), (1, 1));
        assert!(call.at("recovered") > call.at("rotating") + 5_000);
    }
}

#[test]
fn a_rotation_that_fails_twice_is_given_up_and_the_call_goes_on() {
    let refuses = Role { handshake: None, ..Role::GOOD };
    let off =
        Limits { rotation: Rotation { without_slot: WithoutSlot::Off, ..Rotation::default() }, ..Limits::default() };
    let mut call = Theatre::open(off, &[Role::GOOD, refuses], AT_ONCE);
    call.run(400 * SECOND).at("RotationFailed");
    assert_eq!(call.count("OpenUpstream"), 3);
    assert_eq!(call.longest_gap(), Duration::ZERO);
    call.refuse("ended");
}

#[test]
fn a_server_that_dies_while_the_next_one_listens_is_hardly_missed() {
    // It listens from 194 s on; the one on stage speaks until it dies at 200 s.
    let dies = Role { speaks: Some((Duration::ZERO, 900 * SECOND)), ..dies_after(195 * SECOND) };
    let mut call = Theatre::open(Limits::default(), &[dies, Role::GOOD], AT_ONCE);
    call.run(220 * SECOND);
    let died = call.at("server 1 dies");
    assert!(call.at("recovered") <= died + 200, "{:#?}", call.seen);
    assert_eq!(call.count("OpenUpstream"), 2);
}

#[test]
fn a_next_server_that_hangs_backstage_is_replaced() {
    let endless = Role { speaks: Some((Duration::ZERO, 900 * SECOND)), ..Role::GOOD };
    let cast = [endless, hangs(SECOND, 900 * SECOND), Role::GOOD];
    let mut call = Theatre::open(Limits::default(), &cast, AT_ONCE);
    call.run(240 * SECOND);
    call.at("Judge(2, Failed)");
    assert_eq!(call.count("rotated"), 1, "{:#?}", call.seen);
    assert_eq!(call.machine.on_stage(), Some(3));
    call.refuse("recovering");
}

#[test]
fn a_caller_who_is_away_comes_back_to_the_server_that_took_over() {
    let mut call = Theatre::open(Limits::default(), &[dies_after(21 * SECOND), Role::GOOD], AT_ONCE);
    call.run(25 * SECOND);
    call.caller_speaks = false;
    call.input(Input::Client(ClientInput::Closed { clean: false }));
    call.run(12 * SECOND);
    assert!(call.machine.is_detached() && call.machine.on_stage() == Some(2), "{:#?}", call.seen);
    call.input(Input::Attached(super::detached::resume_terms()));
    call.caller_speaks = true;
    call.run(5 * SECOND);
    assert!(call.sounds.iter().any(|at| *at > call.now - 100 * MS), "{:#?}", call.seen);
}

#[test]
fn an_end_from_outside_ends_every_leg() {
    for seconds in [26, 195, 203] {
        let endless = Role { speaks: Some((Duration::ZERO, 900 * SECOND)), ..Role::GOOD };
        let mut call = Theatre::open(Limits::default(), &[endless, Role::GOOD], AT_ONCE);
        call.run(seconds * SECOND);
        call.input(Input::End(Ending::Admin));
        call.run(5 * SECOND);
        assert_eq!(call.open_servers(), 0);
        assert_eq!(call.count("Done(Admin)"), 1);
    }
}

fn role() -> impl Strategy<Value = Role> {
    let handshake = prop_oneof![4 => (1_u64..8_000).prop_map(Some), 1 => Just(None)];
    let end = prop_oneof![Just(UpstreamEnd::HungUp), Just(UpstreamEnd::Closed), Just(UpstreamEnd::Garbled)];
    let dies = prop::option::weighted(0.4, ((1_u64..40_000), end));
    let silent = prop::option::weighted(0.4, (0_u64..30_000, 1_u64..20_000));
    let speaks = prop::option::weighted(0.3, (0_u64..5_000, 5_000_u64..30_000));
    (handshake, dies, silent, speaks, any::<bool>()).prop_map(|(handshake, dies, silent, speaks, slow)| Role {
        slow,
        handshake: handshake.map(Duration::from_millis),
        dies: dies.map(|(after, end)| (Duration::from_millis(after), end)),
        silent: silent.map(|(from, time)| (Duration::from_millis(from), Duration::from_millis(from + time))),
        speaks: speaks.map(|(from, to)| (Duration::from_millis(from), Duration::from_millis(to))),
        ..Role::GOOD
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever servers and slots do: two legs at most, one request at a time, nothing to a closed leg (the theatre
    /// asserts these two), one ending, and nothing left open after it.
    #[test]
    fn whatever_servers_do_a_call_keeps_its_legs_in_order(
        cast in prop::collection::vec(role(), 1..8),
        window_steps in prop_oneof![Just(0_u32), 400_u32..700],
        without_slot in prop_oneof![Just(WithoutSlot::Restart), Just(WithoutSlot::Off)],
        pool in prop_oneof![Just(AT_ONCE), Just(ALONE), Just(NOTHING_ELSE)],
        keeps_leases in any::<bool>(),
        leaves in prop::option::of(0_u64..120),
    ) {
        let limits = Limits {
            rotation: Rotation { window_steps, without_slot },
            max_duration: 150 * SECOND,
            ..Limits::default()
        };
        let mut call = Theatre::open(limits, &cast, pool);
        call.keeps_leases = keeps_leases;
        for second in 0..160 {
            if leaves == Some(second) {
                call.input(Input::Client(ClientInput::Closed { clean: true }));
            }
            call.run(SECOND);
            prop_assert!(call.open_servers() <= 2, "{:#?}", call.seen);
            prop_assert!(call.longest_gap() <= 75 * SECOND);
        }
        prop_assert_eq!(call.count("Done"), 1, "{:#?}", call.seen);
        prop_assert_eq!(call.open_servers(), 0, "{:#?}", call.seen);
        prop_assert!(call.count("recovered") <= call.count("recovering"), "{:#?}", call.seen);
    }
}
