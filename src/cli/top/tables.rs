//! The four tables: calls, model servers, queue and machines, each as text with a shade (pure).

use super::snapshot::Snapshot;
use crate::cli::fleet_report::{Machine, time};
use crate::cli::terminal;
use crate::http::admin::told::{Session, Upstream, Waiting};

/// How much a cell asks to be looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shade {
    /// Nothing about it.
    Plain,
    /// All is well.
    Good,
    /// Worth a look.
    Odd,
    /// Not as it should be.
    Bad,
}

/// One cell.
pub(super) type Cell = (String, Shade);

/// One table. A column is as wide as its number says, and one of 0 takes what is left.
pub(super) struct Table {
    pub(super) title: String,
    pub(super) heads: Vec<&'static str>,
    pub(super) widths: Vec<u16>,
    pub(super) rows: Vec<Vec<Cell>>,
    /// What stands in place of rows.
    pub(super) nothing: &'static str,
}

/// All tables; `wide` has room for whole ids. Without machines there is no table of them.
pub(super) fn all(snapshot: &Snapshot, wide: bool) -> Vec<Table> {
    let mut tables = vec![calls(snapshot, wide), servers(&snapshot.upstreams), queue(snapshot)];
    if !snapshot.machines.is_empty() {
        tables.push(machines(&snapshot.machines));
    }
    tables
}

fn calls(snapshot: &Snapshot, wide: bool) -> Table {
    let sessions = &snapshot.sessions;
    Table {
        title: format!("Calls {} of {}", sessions.active, sessions.limit),
        heads: vec!["session", "user", "persona", "phase", "server", "time", "lag"],
        widths: vec![if wide { 36 } else { 8 }, 14, 0, 11, 7, 7, 7],
        rows: sessions.sessions.iter().map(|session| call(session, wide)).collect(),
        nothing: "nobody talks",
    }
}

fn call(session: &Session, wide: bool) -> Vec<Cell> {
    let id = session.session_id.chars().take(if wide { 36 } else { 8 }).collect::<String>();
    let (phase, shade) = match session.phase.as_str() {
        _ if session.detached => ("detached", Shade::Odd),
        "streaming" => ("streaming", Shade::Good),
        "closing" => ("closing", Shade::Odd),
        other => (other, Shade::Plain),
    };
    let lag = session.lag_ms.map_or_else(|| "-".to_owned(), |lag| format!("{lag}ms"));
    let lags = match session.lag_ms.unwrap_or(0) {
        0..400 => Shade::Plain,
        400..1_000 => Shade::Odd,
        _ => Shade::Bad,
    };
    vec![
        plain(&id),
        plain(&session.user),
        plain(&session.persona),
        (safe(phase), shade),
        plain(session.upstream.as_deref().unwrap_or("-")),
        plain(&time(session.seconds)),
        (lag, lags),
    ]
}

fn servers(upstreams: &[Upstream]) -> Table {
    let slots = upstreams.iter().flat_map(|upstream| &upstream.slots);
    let (all, used) = (slots.clone().count(), slots.filter(|slot| slot.state == "leased").count());
    Table {
        title: format!("Servers {}, slots {used} of {all} in use", upstreams.len()),
        heads: vec!["name", "address", "state", "slots", "doubt", "breaker", "step", "speed"],
        widths: vec![6, 0, 9, 7, 5, 9, 7, 6],
        rows: upstreams.iter().map(server).collect(),
        nothing: "none: no call can be put through",
    }
}

fn server(upstream: &Upstream) -> Vec<Cell> {
    let count = |state: &str| upstream.slots.iter().filter(|slot| slot.state == state).count();
    let shade = match upstream.state.as_str() {
        "ready" => Shade::Good,
        "unhealthy" => Shade::Bad,
        "asleep" | "waking" => Shade::Plain,
        _ => Shade::Odd,
    };
    let doubt = count("quarantined");
    let breaker = if upstream.breaker == "closed" { Shade::Plain } else { Shade::Bad };
    let measured = |value: Option<f64>, unit: &str, digits: usize| {
        value.map_or_else(|| "-".to_owned(), |value| format!("{value:.digits$}{unit}"))
    };
    vec![
        plain(&upstream.name),
        plain(&upstream.address),
        (safe(&upstream.state), shade),
        plain(&format!("{}/{}", count("leased"), upstream.slots.len())),
        if doubt == 0 { plain("-") } else { (doubt.to_string(), Shade::Bad) },
        (safe(&upstream.breaker), breaker),
        plain(&measured(upstream.prompt_step_ms, "ms", 0)),
        (measured(upstream.realtime_factor, "x", 2), if upstream.slow { Shade::Bad } else { Shade::Plain }),
    ]
}

fn queue(snapshot: &Snapshot) -> Table {
    let waiting = &snapshot.queue.waiting;
    Table {
        title: format!("Queue {} of {}", waiting.len(), snapshot.queue.limit),
        heads: vec!["place", "user", "for", "reason", "waits", "there in"],
        widths: vec![5, 14, 8, 7, 7, 0],
        rows: waiting.iter().map(waiter).collect(),
        nothing: "nobody waits",
    }
}

fn waiter(waiting: &Waiting) -> Vec<Cell> {
    let seconds = |ms: u64| time(ms.div_ceil(1_000));
    let eta = match (waiting.eta_ms, waiting.eta_p90_ms) {
        (Some(half), Some(most)) => format!("{} to {}", seconds(half), seconds(most)),
        _ => "-".to_owned(),
    };
    let position = waiting.position.map_or_else(|| "-".to_owned(), |position| position.to_string());
    let class = if waiting.class == "new" { Shade::Plain } else { Shade::Odd };
    vec![
        plain(&position),
        plain(&waiting.user),
        (safe(&waiting.class), class),
        plain(waiting.reason.as_deref().unwrap_or("-")),
        plain(&time(waiting.seconds)),
        plain(&eta),
    ]
}

fn machines(machines: &[Machine]) -> Table {
    let awake = machines.iter().filter(|machine| machine.state == "ready").count();
    Table {
        title: format!("Machines {}, {awake} ready", machines.len()),
        heads: vec!["server", "provider", "state", "there in", "awake", "asleep", "cost"],
        widths: vec![6, 0, 14, 14, 7, 7, 9],
        rows: machines.iter().map(machine).collect(),
        nothing: "",
    }
}

fn machine(machine: &Machine) -> Vec<Cell> {
    let shade = match machine.state.as_str() {
        "ready" => Shade::Good,
        "failed" => Shade::Bad,
        "waking" | "warming" | "restarting" => Shade::Odd,
        _ => Shade::Plain,
    };
    vec![
        plain(&machine.upstream),
        plain(&machine.provider),
        (safe(&machine.state), shade),
        plain(&machine.eta()),
        plain(&time(machine.spent.awake_seconds)),
        plain(&time(machine.spent.asleep_seconds)),
        plain(&machine.spent.cost.map_or_else(|| "-".to_owned(), |cost| format!("{cost:.4}"))),
    ]
}

fn plain(text: &str) -> Cell {
    (safe(text), Shade::Plain)
}

/// What another machine sent, fit for one cell.
fn safe(text: &str) -> String {
    terminal::printable(text).replace('\n', " ")
}
