//! A running Tandem that is told of another configuration, and a check that says what would come of it.

use super::*;

#[test]
fn a_hangup_changes_the_level_of_the_log_and_says_again_what_needs_a_restart() {
    let desk = Desk::new();
    let (_one, one) = simulator(&desk, &[]);
    let write = |more: &str| {
        fs::write(desk.path("tandem.toml"), format!("[upstreams]\nurls = [\"{one}\"]\n{more}")).unwrap();
    };
    write("");
    let (server, url) = serve(&desk, &[], &[]);
    server.line("Call it from another terminal");
    let debug = "[logging]\nlevel = \"debug\"\n[listen]\nhost = \"127.0.0.9\"\n";
    for (more, changed, restarts) in [
        (debug, "[\"listen.host\", \"logging.level\"]", true),
        (debug, "[]", true),
        ("[logging]\nlevel = \"debug\"\n", "[\"listen.host\"]", false),
    ] {
        write(more);
        server.signal("HUP");
        if restarts {
            assert!(server.line("needs a restart").contains("\"key\":\"listen.host\""));
        }
        let told = server.line("the configuration was read again");
        assert!(told.contains(&format!("\"changed\":\"{}\"", changed.replace('"', "\\\""))), "{told}");
    }
    page(&url, "/v1/voice");
    assert!(server.line("call refused").contains("DEBUG"));
    write("[logging]\nlevel = \"warn\"\n");
    server.signal("HUP");
    // What is written when it ends is not important enough any more.
    let limits = "tandem_config_reload_total{result=\"ok\"} 4";
    let deadline = std::time::SystemTime::now() + DEADLINE;
    while !page(&url, "/metrics").contains(limits) {
        assert!(std::time::SystemTime::now() < deadline, "{}", page(&url, "/metrics"));
    }
    server.signal("TERM");
    let mut log = String::new();
    while let Ok(line) = server.lines.recv_timeout(DEADLINE) {
        log += &line;
    }
    assert!(!log.contains("draining") && !log.contains("stopped"), "{log}");
}

#[test]
fn a_check_says_when_each_setting_is_in_force_and_what_a_reload_would_take_over() {
    let desk = Desk::new();
    let secret = "0123456789abcdef0123456789abcdef";
    fs::write(desk.path("old.toml"), format!("[auth]\njwt_secret = \"{secret}\"\n[queue]\nlimit = 7\n")).unwrap();
    fs::write(desk.path("tandem.toml"), "[queue]\nlimit = 8\n[logging]\nlevel = \"warn\"\n").unwrap();
    let ran = desk.run(&["check", "--offline", "--against", "old.toml"], &[]);
    assert_eq!(ran.status, Some(0), "{ran:?}");
    let (settings, reload) = ran.stdout.split_once("\nA reload:\n").unwrap();
    let line = |key: &str| settings.lines().find(|line| line.trim_start().starts_with(key)).unwrap().to_owned();
    let words = |line: String| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>().join(" ");
    assert_eq!(words(line("queue.limit")), "queue.limit next call 8 <- tandem.toml");
    assert_eq!(words(line("listen.port")), "listen.port restart 8080");
    let told: Vec<String> =
        reload.lines().take_while(|line| !line.is_empty()).map(|line| words(line.to_owned())).collect();
    assert_eq!(told, ["auth.jwt_secret restart", "queue.limit next call", "logging.level at once"]);
    assert!(!ran.stdout.contains(secret));
    let same = desk.run(&["check", "--offline", "--against", "tandem.toml"], &[]);
    assert!(same.stdout.contains("A reload:\n  changes nothing."), "{same:?}");
    fs::write(desk.path("old.toml"), "[queue]\nlimit = -1\n").unwrap();
    let wrong = desk.run(&["check", "--offline", "--against", "old.toml"], &[]);
    assert!(wrong.status == Some(1) && wrong.stderr.contains("queue.limit"), "{wrong:?}");
}
