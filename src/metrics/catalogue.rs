//! The table for people: the page `docs/metrics.md`.

use std::fmt::Write;

use super::{Kind, Series, TABLE};

/// What stands above the table.
const HEAD: &str = "\
# Metrics

`GET /metrics` tells these in the text format 0.0.4 of Prometheus, or as OpenMetrics 1.0.0 to whoever asks for it.
This page is what `tandem metrics` prints; `cargo run -- metrics > docs/metrics.md` writes it.

A label's value is one of a closed set, or the name of a model server (`upstream`), whose series go with it.
A user, a session or a persona is never one.
Series with closed sets of labels begin at zero; histograms begin with their first value.

";

/// What stands below it.
const FOOT: &str = "
## What is not there

| asked for elsewhere | here |
|---|---|
| sessions that a drain still waits for | `tandem_sessions_active` while `tandem_draining` is 1 |
| pauses before another try | `tandem_session_phase_duration_seconds{phase=\"pausing\"}` |
| quota refusals | `tandem_admission_total{result=\"rejected\"}` by reason |
| the depth of mailboxes | none: sockets are streams with credit, and mailboxes carry control only |
| restarts of actors | none restarts: a panic ends its call, with the reason `internal` |
| whether a server is up | `tandem_upstream_circuit_state` and `tandem_upstream_slots{state=\"unhealthy\"}` |
| ages of keys (JWKS) | there are no keys to fetch: tokens are signed with a shared secret |
| leased seconds of servers | `tandem_machine_seconds_total{use=\"leased\"}`, of those with machines |
| exemplars | no traces are kept that they could lead to |
| tenants | their number has no bound; refusals are counted without them |
";

/// The page of metrics, in Markdown.
pub fn catalogue() -> String {
    let mut page = HEAD.to_owned();
    page.push_str("| name | kind | unit | labels | buckets | what |\n|---|---|---|---|---|---|\n");
    for row in TABLE {
        // A string takes whatever is written to it.
        let _ = writeln!(
            page,
            "| `{}` | {} | {} | {} | {} | {} |",
            row.name,
            kind(row),
            row.unit.code(),
            row.labels.join(", "),
            buckets(row),
            row.help.replace('|', "\\|")
        );
    }
    page.push_str(FOOT);
    page
}

fn kind(row: &Series) -> &'static str {
    if row.kind == Kind::Info { "info" } else { row.kind.code() }
}

fn buckets(row: &Series) -> String {
    match row.kind {
        Kind::Histogram(bounds) => bounds.iter().map(f64::to_string).collect::<Vec<_>>().join(", "),
        _ => String::new(),
    }
}
