//! Frames, read as text.

use std::time::Duration;

use proptest::prelude::*;
use ratatui::{Terminal, backend::TestBackend};
use serde_json::json;

use super::super::feed::Trouble;
use super::*;
use crate::http::admin::told::{Queue, Session, Sessions, Slot, Upstream, Waiting};

fn session(number: usize) -> Session {
    Session {
        session_id: format!("{number:08x}-5e50-4d3a-a3cb-4b7b7e2f2f5a"),
        user: "u_5e884898da28".to_owned(),
        persona: "assistant".to_owned(),
        protocol: "native".to_owned(),
        phase: "streaming".to_owned(),
        upstream: Some("1".to_owned()),
        seconds: 125,
        lag_ms: Some(80),
        ..Session::default()
    }
}

fn upstream(name: usize, state: &str, slots: &[&str]) -> Upstream {
    let slot = |state: &&str| Slot { state: (*state).to_owned(), ..Slot::default() };
    Upstream {
        name: name.to_string(),
        address: format!("10.0.0.{name}:8998"),
        state: state.to_owned(),
        breaker: "closed".to_owned(),
        prompt_step_ms: Some(41.6),
        slots: slots.iter().map(slot).collect(),
        ..Upstream::default()
    }
}

fn snapshot(calls: usize, servers: usize, waiting: usize) -> Snapshot {
    let waiter = |at| Waiting {
        user: "u_0437564217d3".to_owned(),
        class: "new".to_owned(),
        seconds: 3,
        position: Some(at),
        reason: Some("busy".to_owned()),
        eta_ms: Some(12_000),
        eta_p90_ms: Some(40_000),
    };
    Snapshot {
        sessions: Sessions { active: calls, limit: 100, draining: false, sessions: (0..calls).map(session).collect() },
        upstreams: (1..=servers).map(|name| upstream(name, "ready", &["leased", "free"])).collect(),
        queue: Queue { limit: 50, waiting: (1..=waiting).map(waiter).collect() },
        machines: Vec::new(),
    }
}

fn machine() -> crate::cli::fleet_report::Machine {
    serde_json::from_value(json!({
        "upstream": "1", "provider": "runpod", "state": "waking", "eta_ms": 60_000, "eta_p90_ms": 180_000,
        "awake_seconds": 45, "leased_seconds": 0, "idle_seconds": 45, "asleep_seconds": 86_340,
        "price_per_hour": 1.2, "cost": 0.015, "saving": 28.78,
    }))
    .unwrap()
}

fn seen(snapshot: Snapshot) -> View {
    View { snapshot: Some(snapshot), ..View::new("http://127.0.0.1:8080") }
}

/// What a terminal of this size shows.
fn frame(what: &View, width: u16, height: u16) -> Vec<String> {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| view(what, frame.area(), frame.buffer_mut())).unwrap();
    text(terminal.backend().buffer()).lines().map(str::to_owned).collect()
}

#[test]
fn a_frame_of_eighty_by_twenty_four_has_all_four_tables() {
    let what = Snapshot { machines: vec![machine()], ..snapshot(2, 2, 1) };
    let expected = "\
tandem top  http://127.0.0.1:8080
── Calls 2 of 100 ──────────────────────────────────────────────────────────────
session  user           persona              phase       server  time    lag
00000000 u_5e884898da28 assistant            streaming   1       2m05s   80ms
00000001 u_5e884898da28 assistant            streaming   1       2m05s   80ms
── Servers 2, slots 2 of 4 in use ──────────────────────────────────────────────
name   address                  state     slots   doubt breaker   step    speed
1      10.0.0.1:8998            ready     1/2     -     closed    42ms    -
2      10.0.0.2:8998            ready     1/2     -     closed    42ms    -
── Queue 1 of 50 ───────────────────────────────────────────────────────────────
place user           for      reason  waits   there in
1     u_0437564217d3 new      busy    3s      12s to 40s
── Machines 1, 0 ready ─────────────────────────────────────────────────────────
server provider          state          there in       awake   asleep  cost
1      runpod            waking         1m00s to 3m00s 45s     23h59m  0.0150








q quits   seen just now";
    let lines = frame(&seen(what), 80, 24);
    assert_eq!(lines.join("\n").trim_end(), expected, "{}", lines.join("\n"));
}

#[test]
fn what_does_not_fit_is_counted_and_no_table_is_crowded_out() {
    let lines = frame(&seen(snapshot(200, 12, 60)), 80, 24);
    assert_eq!(lines.len(), 24);
    for title in ["── Calls 200", "── Servers 12", "── Queue 60"] {
        assert!(lines.iter().any(|line| line.starts_with(title)), "{title} in {lines:#?}");
    }
    let left_out: Vec<usize> =
        lines.iter().filter_map(|line| line.strip_prefix('+')?.split(' ').next()?.parse().ok()).collect();
    let told = lines.iter().filter(|line| line.contains("u_") || line.contains("10.0.0.")).count();
    assert_eq!(left_out.len(), 3);
    assert_eq!(told + left_out.iter().sum::<usize>(), 272, "every row is shown or counted: {lines:#?}");
    assert!(lines[23].starts_with("q quits"));
}

#[test]
fn a_wide_frame_has_whole_ids_so_that_calls_can_be_ended() {
    let lines = frame(&seen(snapshot(1, 1, 0)), WIDE, 24);
    assert!(lines[3].starts_with("00000000-5e50-4d3a-a3cb-4b7b7e2f2f5a u_5e884898da28"), "{}", lines[3]);
    assert!(!frame(&seen(snapshot(1, 1, 0)), WIDE - 1, 24)[3].contains("-5e50-"));
}

#[test]
fn trouble_is_told_over_what_was_seen_last_and_what_helps_is_told_with_it() {
    let mut what = View::new("http://h:1");
    assert!(frame(&what, 80, 24)[23].ends_with("asking"));
    what.take(Err(Trouble::NoAnswer("http://h:1".to_owned(), "it cannot be reached".to_owned())));
    let lines = frame(&what, 80, 24);
    assert!(lines[1].starts_with("http://h:1 does not answer: it cannot be reached."), "{}", lines[1]);
    assert!(lines[23].ends_with("nothing was seen yet; it is asked again"));
    what.take(Ok(snapshot(1, 1, 0)));
    assert!(frame(&what, 80, 24)[1].starts_with("── Calls 1"), "it is over");
    what.age = Duration::from_secs(7);
    what.take(Err(Trouble::WrongToken("http://h:1".to_owned())));
    let lines = frame(&what, 80, 24);
    assert!(lines[1].contains("refuses the token: set TANDEM_ADMIN_TOKEN"), "{}", lines[1]);
    assert!(lines[4].starts_with("── Calls 1") && lines[23].ends_with("seen 7s ago; it is asked again"), "{lines:#?}");
}

#[test]
fn a_process_that_ends_and_empty_tables_say_so() {
    let mut what = snapshot(0, 0, 0);
    what.sessions.draining = true;
    let shown = frame(&seen(what), 80, 24).join("\n");
    for words in ["it takes no more calls, and ends", "nobody talks", "no call can be put through", "nobody waits"] {
        assert!(shown.contains(words), "{words} in\n{shown}");
    }
    assert!(!shown.contains("Machines"));
}

#[test]
fn what_another_machine_sent_cannot_steer_the_terminal() {
    let mut what = snapshot(1, 1, 0);
    what.sessions.sessions[0].persona = "a\u{1b}[2J\nb".to_owned();
    what.upstreams[0].state = "\u{7}odd".to_owned();
    let shown = frame(&seen(what), 80, 24).join("\n");
    assert!(!shown.contains(['\u{1b}', '\u{7}']) && shown.contains("a [2J b") && shown.contains(" odd"), "{shown}");
}

#[test]
fn a_plain_frame_is_as_long_as_there_is_to_tell_and_has_no_colours() {
    let shown = plain(&seen(snapshot(300, 2, 0)), 80);
    assert_eq!(shown.lines().count(), 1 + 302 + 4 + 2, "{shown}");
    assert!(!shown.contains("more") && !shown.contains('\u{1b}') && !shown.contains("quits"));
    let lines: Vec<&str> = shown.lines().collect();
    assert!(lines[0].ends_with(":8080") && lines.last().unwrap().trim() == "nobody waits", "{shown}");
}

proptest! {
    #[test]
    fn a_terminal_of_any_size_is_drawn_on(
        width in 0_u16..200,
        height in 0_u16..60,
        calls in 0_usize..40,
        servers in 0_usize..40,
        waiting in 0_usize..40,
        trouble in any::<bool>(),
    ) {
        let mut what = seen(Snapshot { machines: vec![machine()], ..snapshot(calls, servers, waiting) });
        if trouble {
            what.take(Err(Trouble::Shut("http://h:1".to_owned())));
        }
        let mut buffer = Buffer::empty(Rect::new(0, 0, width, height));
        view(&what, buffer.area, &mut buffer);
        prop_assert_eq!(text(&buffer).lines().count() <= usize::from(height), true);
        prop_assert!(!plain(&what, width).is_empty() || width == 0);
    }

    #[test]
    fn lines_are_shared_so_that_none_is_lost_and_nobody_gets_more_than_wanted(
        lines in 0_usize..100,
        wants in proptest::collection::vec(0_usize..50, 1..5),
    ) {
        let given = share(lines, &wants);
        prop_assert_eq!(given.iter().sum::<usize>(), lines.min(wants.iter().sum()));
        prop_assert!(given.iter().zip(&wants).all(|(given, want)| given <= want));
        let fair = lines >= FIRST_LINES * wants.len();
        prop_assert!(!fair || given.iter().zip(&wants).all(|(given, want)| *given >= (*want).min(FIRST_LINES)));
    }
}
