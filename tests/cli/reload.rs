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
    fs::write(desk.path("tenants.toml"), "[quota]\ntenant_calls = 5\n").unwrap();
    let begun = desk.run(&["check", "--offline", "--config", "tenants.toml", "--against", "tandem.toml"], &[]);
    assert!(begun.stdout.contains("limits for tenants begin with a restart"), "{begun:?}");
    fs::write(desk.path("old.toml"), "[queue]\nlimit = -1\n").unwrap();
    let wrong = desk.run(&["check", "--offline", "--against", "old.toml"], &[]);
    assert!(wrong.status == Some(1) && wrong.stderr.contains("queue.limit"), "{wrong:?}");
}

/// Asks a running server as its administrator; the status and the body.
fn order(url: &str, method: &str, path: &str) -> (u16, serde_json::Value) {
    let mut socket = std::net::TcpStream::connect(url.trim_start_matches("http://")).unwrap();
    let ask =
        format!("{method} {path} HTTP/1.1\r\nHost: here\r\nConnection: close\r\nAuthorization: Bearer {ADMIN}\r\n\r\n");
    socket.write_all(ask.as_bytes()).unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), serde_json::from_str(body).unwrap())
}

const ADMIN: &str = "an admin's token that is long enough";

#[test]
fn an_administrator_hears_what_came_of_a_reload_and_of_several_at_once_each_is_carried_out() {
    let desk = Desk::new();
    let (_one, one) = simulator(&desk, &[]);
    let (_two, two) = simulator(&desk, &[]);
    let write = |urls: &str, more: &str| {
        fs::write(desk.path("tandem.toml"), format!("[upstreams]\nurls = [{urls}]\n{more}")).unwrap();
    };
    let (first, both) = (format!("\"{one}\""), format!("\"{one}\", \"{two}\""));
    write(&first, "");
    let (server, url) = serve(&desk, &[], &[("TANDEM_ADMIN_TOKEN", ADMIN)]);
    server.line("Call it from another terminal");
    write(&both, "[queue]\nlimit = 7\n[listen]\nport = 9\n[auth]\nissuer = \"elsewhere\"\n");
    let (status, told) = order(&url, "POST", "/admin/reload");
    let address = two.trim_start_matches("ws://");
    assert_eq!((status, &told["servers"]["joined"]), (200, &serde_json::json!([address])), "{told}");
    // The port comes from the command line, which a file does not change.
    let changed = serde_json::json!([
        { "key": "auth.issuer", "in_force": "restart" },
        { "key": "upstreams.urls", "in_force": "at once" },
        { "key": "queue.limit", "in_force": "next call" },
    ]);
    assert_eq!((&told["changed"], &told["needs_restart"]), (&changed, &serde_json::json!(["auth.issuer"])), "{told}");
    let shown = |key: &str| {
        let (_, told) = order(&url, "GET", "/admin/config");
        let settings = told["settings"].as_array().unwrap().clone();
        settings.into_iter().find(|line| line["key"] == key).unwrap()["value"].as_str().unwrap().to_owned()
    };
    assert_eq!((shown("queue.limit").as_str(), shown("auth.issuer").as_str()), ("7", "(not set)"), "what is in force");

    write(&first, "[queue]\nlimit = -1\n");
    let (status, told) = order(&url, "POST", "/admin/reload");
    assert_eq!((status, told["code"].as_str()), (422, Some("config_wrong")), "{told}");
    write(&first, "[queue]\nlimit = 9\n[persona]\ndefault = \"nobody\"\n");
    let (status, told) = order(&url, "POST", "/admin/reload");
    assert_eq!((status, told["code"].as_str()), (409, Some("reload_refused")), "{told}");
    assert!(server.line("cannot be taken over").contains("persona.default"));
    let ordered = server.line("ordered at /admin, and refused");
    for field in ["\"by\":\"admin_token\"", "\"action\":\"reload\"", "\"problem\":\"reload_refused\""] {
        assert!(ordered.contains(field), "{ordered}");
    }
    let slots: serde_json::Value =
        serde_json::from_str(page(&url, "/readyz").split_once("\r\n\r\n").unwrap().1).unwrap();
    assert_eq!((slots["slots"].as_array().unwrap().len(), shown("queue.limit").as_str()), (2, "7"), "all is as it was");

    write(&both, "[queue]\nlimit = 8\n");
    let asked = std::thread::scope(|scope| {
        let asking: Vec<_> = (0..3).map(|_| scope.spawn(|| order(&url, "POST", "/admin/reload"))).collect();
        asking.into_iter().map(|asked| asked.join().unwrap()).collect::<Vec<_>>()
    });
    assert!(asked.iter().all(|(status, _)| *status == 200), "{asked:?}");
    let ordered = server.line("ordered at /admin, and done");
    for field in ["\"by\":\"admin_token\"", "\"action\":\"reload\"", "\"subject\":\"configuration\""] {
        assert!(ordered.contains(field), "{ordered}");
    }
    let changes = asked.iter().filter(|(_, told)| told["changed"].as_array().unwrap().len() == 2).count();
    assert_eq!((changes, shown("queue.limit").as_str()), (1, "8"), "the first of them has changed it: {asked:?}");
    let counted = "tandem_admin_orders_total{action=\"reload\",result=\"refused\"} 2";
    assert!(page(&url, "/metrics").contains(counted), "{}", page(&url, "/metrics"));
}

#[test]
fn simulated_servers_go_on_through_a_reload_and_real_ones_need_a_restart() {
    let desk = Desk::new();
    let write = |text: &str| fs::write(desk.path("tandem.toml"), text).unwrap();
    let (server, url) = serve(&desk, &[], &[("TANDEM_ADMIN_TOKEN", ADMIN)]);
    server.line("Call it from another terminal");
    write("[queue]\nlimit = 8\n");
    let (status, told) = order(&url, "POST", "/admin/reload");
    assert_eq!((status, &told["servers"]["parted"]), (200, &serde_json::json!([])), "{told}");
    wav::write(&desk.path("in.wav"), &[0.0; 4_800]).unwrap();
    let ran = desk.run(&["call", "in.wav", "--tail", "0.2"], &[]);
    assert_eq!(ran.status, Some(0), "{ran:?}");
    write("[upstreams]\nurls = [\"ws://127.0.0.1:9\"]\n");
    let (status, told) = order(&url, "POST", "/admin/reload");
    assert_eq!((status, told["code"].as_str()), (409, Some("reload_refused")), "{told}");
    assert!(server.line("simulated servers come and go").contains("restart"));
}
