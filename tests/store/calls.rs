//! Calls to be written down.

use tandem::{
    protocol::ending::Ending,
    store::{
        details::{ContextUse, Details, Failover, Phases, Spread, Turns},
        record::{Ended, Line, Origin, Record, Speaker},
    },
};
use uuid::Uuid;

/// One of this user that began then.
pub fn begun(user: &str, began_ms: i64) -> Record {
    let origin = Origin { home: "here".into(), process: Uuid::new_v4(), until_ms: i64::MAX / 2 };
    Record { session: Uuid::new_v4(), user: user.into(), persona: "listener".into(), began_ms, origin, ended: None }
}

/// Something in every field that can hold something.
fn details() -> Details {
    Details {
        protocol: "native".into(),
        model: "personaplex".into(),
        upstreams: vec!["a".into(), "b".into()],
        phases: Phases { waiting_ms: 1_000, talking_ms: 55_000, ..Phases::default() },
        attempts: 2,
        failovers: 1,
        failover_list: vec![Failover { reason: "lost".into(), at_ms: 9_000, gap_ms: None, same: false }],
        setup_ms: Some(3_000),
        lag: Some(Spread { p50_ms: 1, p95_ms: 2, max_ms: 1 << 40 }),
        turns: Some(Turns { caller: 4, latency: Some(Spread::default()), ..Turns::default() }),
        context: ContextUse::Told,
        cost_millionths: Some(12_345),
        ..Details::default()
    }
}

/// The same after it ended.
pub fn ended(record: &Record, recap: &str) -> Record {
    let line = |speaker, at_ms, text: &str| Line { speaker, at_ms, text: text.into() };
    let slept = format!("I slept {recap}ly.");
    let ended = Ended {
        at_ms: record.began_ms + 60_000,
        ending: Ending::ClientLeft,
        talked_ms: 55_000,
        recap: recap.into(),
        details: details(),
        transcript: vec![line(Speaker::Assistant, 900, "Hello."), line(Speaker::Caller, 2_000, &slept)],
        sealed: false,
    };
    Record { ended: Some(ended), ..record.clone() }
}
