//! The promise that everything rests on: one socket a server, and nobody is ever given another's prompt.

use std::time::Duration;

use secrecy::SecretString;
use tandem::{
    gateway::Rehearsal,
    pool::roster::{Policy, SlotState},
    sim::{
        caller::{self, Audio, Behaviour, CallReport, HangUp, Hearing, Wire},
        upstream::{self, Fault, FaultRule, Faults, When},
    },
};

use crate::house::{House, quiet};

const CALLERS: usize = 200;
const SERVERS: usize = 4;

/// Everything that goes wrong in a bad week, in one minute.
fn bad_week(seed: u64) -> Faults {
    let after = Duration::from_millis(30);
    let rule = |fault, share| FaultRule { fault, when: When::Probability(share) };
    Faults {
        rules: vec![
            rule(Fault::Refuse, 0.05),
            rule(Fault::FailPrompting { steps: 5 }, 0.05),
            rule(Fault::Reset { after }, 0.05),
            rule(Fault::Finish { after }, 0.05),
            rule(Fault::Hang { after }, 0.05),
            rule(Fault::NeverHandshake, 0.03),
            // Its slot is lost for the rest of the run, so it may not happen often.
            FaultRule { fault: Fault::Vanish { after }, when: When::Calls(40, 40) },
        ],
        seed,
    }
}

/// The house after everybody has called, and how many callers got to talk.
async fn hammered(policy: Policy) -> (House, usize) {
    // Two steps of a millisecond, so that prompting has a length in which others could interfere.
    let server = upstream::Settings { poll: Duration::from_micros(200), ..quiet() };
    let variables = [
        ("TANDEM__UPSTREAMS__HANDSHAKE_BASE_MS", "1000"),
        ("TANDEM__UPSTREAMS__HANDSHAKE_STEP_MS", "1"),
        ("TANDEM__UPSTREAMS__CLOSE_TIMEOUT_MS", "500"),
        ("TANDEM__SESSION__PING_INTERVAL_MS", "200"),
        ("TANDEM__SESSION__LOST_AFTER_MS", "2500"),
        ("TANDEM__SESSION__RESUME_GRACE_SECONDS", "1"),
        ("TANDEM__SESSION__ATTEMPTS_PER_MINUTE_PER_USER", "10000"),
    ];
    let house = House::with(server, SERVERS, &variables, Rehearsal { policy, ..Rehearsal::default() }).await;
    for (n, server) in house.servers.iter().enumerate() {
        server.set_faults(bad_week(n as u64));
    }
    let reports = futures_util::future::join_all((0..CALLERS).map(|n| persist(&house, n))).await;
    (house, reports.iter().filter(|report| report.setup_ms.is_some()).count())
}

/// Calls until somebody answers, as an impatient person does.
async fn persist(house: &House, n: usize) -> CallReport {
    let mut again = tokio::time::interval(Duration::from_millis(25 + (n % 7) as u64));
    for _ in 0..2_000 {
        again.tick().await;
        let mut settings = house.caller(&format!("user {n}"), Wire::Native(Audio::Opus));
        settings.text_prompt = Some(SecretString::from(mine(n)));
        settings.voice = Some(VOICES[n % VOICES.len()].into());
        settings.hearing = Hearing::Count;
        settings.hang_up = HangUp::After(Duration::from_millis(20 + (n % 5) as u64 * 10));
        if n.is_multiple_of(20) {
            settings.behaviour = Behaviour::VanishAfter(Duration::from_millis(10));
        } else if n.is_multiple_of(3) {
            let (after, away) = (Duration::from_millis(10), Duration::from_millis(5 + n as u64 % 20));
            settings.behaviour = Behaviour::DropAndResume { after, away };
            settings.hang_up = HangUp::After(Duration::from_millis(60));
        }
        let report = caller::call(settings).await;
        if report.error.as_ref().and_then(|error| error.status) != Some(503) {
            return report;
        }
    }
    panic!("caller {n} was never answered");
}

/// Neighbours have different voices.
const VOICES: [&str; 5] = ["NATF0.pt", "NATM1.pt", "VARF2.pt", "VARM4.pt", "NATF3.pt"];

fn mine(n: usize) -> String {
    format!("Only caller {n} may hear this.")
}

/// Calls that were prompted with what they did not ask for, and the most sockets any server had open.
fn damage(house: &House) -> (usize, usize) {
    let wrong = house.log().into_iter().filter(|call| {
        let (Some(asked), Some(given)) = (&call.prompt_asked, &call.prompt_given) else { return false };
        !given.expose().contains(asked.expose()) || call.voice_asked != call.voice_given
    });
    let peak = house.servers.iter().map(|server| server.peak_open_sockets()).max().unwrap();
    (wrong.count(), peak)
}

#[actix_web::test]
async fn two_hundred_callers_on_four_failing_servers_never_meet() {
    let (house, talked) = hammered(Policy::default()).await;
    assert_eq!(damage(&house), (0, 1));
    // Enough that something could have gone wrong: how many are lost by the way depends on the machine.
    assert!(talked > CALLERS / 4, "only {talked} of {CALLERS} callers talked");
    let log = house.log();
    assert!(log.len() >= CALLERS / 2, "{} calls reached a server", log.len());
    let came_back = house.metric("tandem_resume_total{result=\"resumed\"}").unwrap();
    assert!(came_back > 10.0, "{came_back} callers came back to their calls");
    // A slot is out of use only where a server vanished; where one was late to acknowledge, it comes back by itself.
    house
        .slots_until(|slots| {
            let quarantined = slots.iter().filter(|slot| matches!(slot.state, SlotState::Quarantined(_))).count();
            let vanished = house.log().iter().filter(|call| call.end.is_none()).count();
            let settled = slots.iter().all(|slot| slot.state != SlotState::Leased) && house.gateway.sessions() == 0;
            settled && quarantined == vanished
        })
        .await;
}

/// The same without exclusive slots must be seen to fail, or the test above proves nothing.
#[actix_web::test]
async fn without_exclusive_slots_prompts_leak() {
    let (house, _) = hammered(Policy { exclusive: false, ..Policy::default() }).await;
    let (wrong, peak) = damage(&house);
    assert!(wrong > 0 && peak > 1, "{wrong} wrong prompts, {peak} sockets at once: the leak was not seen");
}
