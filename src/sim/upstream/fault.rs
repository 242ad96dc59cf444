//! What can go wrong with the simulated server, and to which calls it happens (pure).

use std::time::Duration;

/// One way of failing. Times count from the handshake of the call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The TCP connection is reset as soon as it is accepted; applies to health probes too.
    Refuse,
    /// The TCP connection is accepted and nothing is ever read or said on it; applies to health probes too.
    Mute,
    /// Plain requests are read and never answered, as by a server under load; calls are served.
    MutePages,
    /// The call's connection is reset (RST) after this time.
    Reset {
        /// Time since the handshake.
        after: Duration,
    },
    /// The call's connection ends with FIN and without a close frame after this time.
    Finish {
        /// Time since the handshake.
        after: Duration,
    },
    /// The model stops answering after this time, but pings and closes are still answered.
    Hang {
        /// Time since the handshake.
        after: Duration,
    },
    /// The model takes this time for each frame after this time, whatever it took before.
    Slow {
        /// Time since the handshake.
        after: Duration,
        /// What a frame of 80 ms takes.
        step: Duration,
    },
    /// The host is gone after this time: nothing is read or written any more and the socket is never closed.
    Vanish {
        /// Time since the handshake.
        after: Duration,
    },
    /// Prompting never ends; the lock is held until the caller gives up.
    NeverHandshake,
    /// Prompting dies silently after this many steps: FIN, no handshake, no close frame.
    FailPrompting {
        /// Steps that are still made.
        steps: u32,
    },
}

impl Fault {
    /// Whether it happens to connections, before anything is known of calls.
    const fn is_of_connections(self) -> bool {
        matches!(self, Self::Refuse | Self::Mute | Self::MutePages)
    }
}

/// To which calls a fault happens.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum When {
    /// To every call.
    Always,
    /// To every k-th call: with 3, to calls 3, 6, 9 and so on. 0 means never.
    Every(u64),
    /// To the calls from the first number to the second one, both included; the first call is 1.
    Calls(u64, u64),
    /// To calls whose prompt has these words; to no connection as such.
    Prompted(&'static str),
    /// To each call with this probability (0 to 1), decided by the seed and the call's number alone.
    Probability(f64),
}

/// One fault and the calls it happens to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FaultRule {
    /// What goes wrong.
    pub fault: Fault,
    /// For whom.
    pub when: When,
}

/// All that goes wrong: the first rule that applies to a call decides.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Faults {
    /// The rules, the most important one first.
    pub rules: Vec<FaultRule>,
    /// Decides the probabilities, so that a run can be repeated.
    pub seed: u64,
}

impl Faults {
    /// One fault that happens to every call.
    pub fn always(fault: Fault) -> Self {
        Self { rules: vec![FaultRule { fault, when: When::Always }], seed: 0 }
    }

    /// What goes wrong with the TCP connection of this number (from 1), whatever is asked on it.
    pub fn of_connection(&self, connection: u64) -> Option<Fault> {
        self.first(connection, "", Fault::is_of_connections)
    }

    /// What goes wrong with the call of this number (from 1) and this prompt.
    pub fn of_call(&self, call: u64, prompt: &str) -> Option<Fault> {
        self.first(call, prompt, |fault| !fault.is_of_connections())
    }

    fn first(&self, number: u64, prompt: &str, applies: impl Fn(Fault) -> bool) -> Option<Fault> {
        let hit = |(index, rule): &(usize, &FaultRule)| {
            applies(rule.fault)
                && match rule.when {
                    When::Always => true,
                    When::Every(k) => k != 0 && number.is_multiple_of(k),
                    When::Calls(first, last) => (first..=last).contains(&number),
                    When::Prompted(words) => prompt.contains(words),
                    When::Probability(p) => self.draw(number, *index) < p,
                }
        };
        self.rules.iter().enumerate().find(hit).map(|(_, rule)| rule.fault)
    }

    /// A number in 0..1 that depends on seed, call and rule only (splitmix64).
    fn draw(&self, number: u64, rule: usize) -> f64 {
        let mut z = self.seed ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ (rule as u64).rotate_left(48);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^= z >> 31;
        (z >> 11) as f64 / (1u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(fault: Fault, when: When) -> FaultRule {
        FaultRule { fault, when }
    }

    #[test]
    fn the_first_rule_that_applies_decides() {
        let hang = Fault::Hang { after: Duration::ZERO };
        let faults =
            Faults { rules: vec![rule(Fault::NeverHandshake, When::Every(3)), rule(hang, When::Calls(2, 3))], seed: 1 };
        let hit: Vec<_> = (1..=6).map(|call| faults.of_call(call, "")).collect();
        assert_eq!(hit, [None, Some(hang), Some(Fault::NeverHandshake), None, None, Some(Fault::NeverHandshake)]);
    }

    #[test]
    fn a_prompt_decides_where_it_is_asked_about() {
        let faults = Faults { rules: vec![rule(Fault::NeverHandshake, When::Prompted("poison"))], seed: 0 };
        assert_eq!(faults.of_call(1, "You are poison."), Some(Fault::NeverHandshake));
        assert_eq!((faults.of_call(1, "You are kind."), faults.of_connection(1)), (None, None));
    }

    #[test]
    fn refusals_count_connections_and_leave_calls_alone() {
        let faults = Faults { rules: vec![rule(Fault::Refuse, When::Every(2))], seed: 0 };
        assert_eq!([1, 2, 3, 4].map(|n| faults.of_connection(n).is_some()), [false, true, false, true]);
        assert_eq!(faults.of_call(2, ""), None);
    }

    #[test]
    fn probabilities_come_out_and_repeat() {
        let faults = Faults { rules: vec![rule(Fault::NeverHandshake, When::Probability(0.1))], seed: 7 };
        let hits: Vec<u64> = (1..=10_000).filter(|&call| faults.of_call(call, "").is_some()).collect();
        assert!((900..1100).contains(&hits.len()), "{} of 10000 calls", hits.len());
        assert_eq!(hits, (1..=10_000).filter(|&call| faults.clone().of_call(call, "").is_some()).collect::<Vec<_>>());
        let other = Faults { seed: 8, ..faults };
        assert_ne!(hits, (1..=10_000).filter(|&call| other.of_call(call, "").is_some()).collect::<Vec<_>>());
    }

    #[test]
    fn zero_and_one_are_never_and_always() {
        let with = |p| Faults { rules: vec![rule(Fault::NeverHandshake, When::Probability(p))], seed: 3 };
        assert!((1..1000).all(|call| with(0.0).of_call(call, "").is_none()));
        assert!((1..1000).all(|call| with(1.0).of_call(call, "").is_some()));
        assert_eq!(Faults { rules: vec![rule(Fault::NeverHandshake, When::Every(0))], seed: 3 }.of_call(0, ""), None);
    }
}
