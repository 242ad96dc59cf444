//! The faults of the simulated model server, as they are written on the command line.

use std::str::FromStr;
use std::time::Duration;

use crate::sim::upstream::{Fault, FaultRule, When};

/// How a fault is written, for help and errors.
pub(super) const FORM: &str = "KIND[@WHEN]; KIND: refuse, mute, mute-pages, never-handshake, fail-prompting:STEPS, reset:SECONDS, \
     finish:SECONDS, hang:SECONDS, vanish:SECONDS, slow:SECONDS:STEP_MS; WHEN: always, every:K, calls:FIRST-LAST, chance:0.1";

/// One `--fault`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct FaultFlag(pub(super) FaultRule);

impl FromStr for FaultFlag {
    type Err = String;

    fn from_str(text: &str) -> Result<FaultFlag, String> {
        let (kind, when) = text.split_once('@').unwrap_or((text, "always"));
        match (fault(kind), self::when(when)) {
            (Some(fault), Some(when)) => Ok(FaultFlag(FaultRule { fault, when })),
            _ => Err(format!("expected {FORM}")),
        }
    }
}

fn fault(text: &str) -> Option<Fault> {
    let (name, value) = text.split_once(':').unwrap_or((text, ""));
    let duration = |text: &str| text.parse().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    let after = || duration(value);
    Some(match (name, value) {
        ("refuse", "") => Fault::Refuse,
        ("mute", "") => Fault::Mute,
        ("mute-pages", "") => Fault::MutePages,
        ("never-handshake", "") => Fault::NeverHandshake,
        ("fail-prompting", steps) => Fault::FailPrompting { steps: steps.parse().ok()? },
        ("reset", _) => Fault::Reset { after: after()? },
        ("finish", _) => Fault::Finish { after: after()? },
        ("hang", _) => Fault::Hang { after: after()? },
        ("slow", _) => {
            let (after, step_ms) = value.split_once(':')?;
            Fault::Slow { after: duration(after)?, step: Duration::from_millis(step_ms.parse().ok()?) }
        }
        ("vanish", _) => Fault::Vanish { after: after()? },
        _ => return None,
    })
}

fn when(text: &str) -> Option<When> {
    let (name, value) = text.split_once(':').unwrap_or((text, ""));
    Some(match name {
        "always" if value.is_empty() => When::Always,
        "every" => When::Every(value.parse().ok().filter(|k| *k > 0)?),
        "calls" => {
            let (first, last) = value.split_once('-')?;
            When::Calls(first.parse().ok()?, last.parse().ok()?)
        }
        "chance" => When::Probability(value.parse().ok().filter(|chance| (0.0..=1.0).contains(chance))?),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_are_written_as_a_kind_and_for_whom() {
        let after = Duration::from_millis(1500);
        for (text, fault, when) in [
            ("refuse", Fault::Refuse, When::Always),
            ("never-handshake@always", Fault::NeverHandshake, When::Always),
            ("fail-prompting:7@every:3", Fault::FailPrompting { steps: 7 }, When::Every(3)),
            ("reset:1.5@calls:2-4", Fault::Reset { after }, When::Calls(2, 4)),
            ("slow:1.5:100", Fault::Slow { after, step: Duration::from_millis(100) }, When::Always),
            ("vanish:1.5@chance:0.25", Fault::Vanish { after }, When::Probability(0.25)),
        ] {
            assert_eq!(text.parse(), Ok(FaultFlag(FaultRule { fault, when })), "{text}");
        }
    }

    #[test]
    fn what_is_no_fault_says_how_one_is_written() {
        for text in [
            "",
            "explode",
            "refuse:1",
            "reset",
            "reset:-1",
            "hang:NaN",
            "hang:inf",
            "slow:1",
            "slow:1:fast",
            "hang:1@",
            "hang:1@every:0",
            "hang:1@calls:3",
            "hang:1@chance:2",
            "hang:1@chance:NaN",
            "fail-prompting",
        ] {
            let error = text.parse::<FaultFlag>().unwrap_err();
            assert!(error.contains("expected KIND[@WHEN]"), "{text}: {error}");
        }
    }
}
