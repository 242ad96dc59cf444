//! Machines of providers, as `tandem check` and `tandem fleet` show them.

use super::*;

/// An API of RunPod's on loopback that knows one pod, and says this of it to whoever has the key; and its URL.
fn cloud(pod: &'static str) -> String {
    api("GET /pods/p0d HTTP", pod)
}

/// An API that knows one request with one key.
fn api(line: &'static str, answer: &'static str) -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for mut socket in listener.incoming().map_while(Result::ok) {
            let mut head = String::new();
            let mut lines = BufReader::new(&socket);
            while lines.read_line(&mut head).is_ok_and(|bytes| bytes > 2) {}
            let known = head.starts_with(line) && head.contains("Bearer k3y-k3y");
            let (status, body) = if known { (200, answer) } else { (404, "{}") };
            let length = body.len();
            let _ =
                write!(socket, "HTTP/1.1 {status} x\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}");
        }
    });
    url
}

#[test]
fn a_check_tells_what_machines_do_and_wakes_none() {
    let desk = Desk::new();
    let asleep = cloud(r#"{"status":"EXITED"}"#);
    let check = |urls, api: &str| {
        let environment = [
            ("PERSONAPLEX_SERVER_URL", urls),
            ("RUNPOD_API_KEY", "k3y-k3y"),
            ("TANDEM__PROVIDERS__RUNPOD__BASE_URL", api),
            ("TANDEM__PROVIDERS__COMMAND__START", "touch started"),
        ];
        desk.run(&["check"], &environment)
    };
    let two = "ws://127.0.0.1:9#provider=runpod:p0d&region=eu,ws://[::1]:19#provider=command:big";
    let ran = check(two, &asleep);
    assert_eq!(ran.status, Some(0), "machines that sleep are no problem: {ran:?}");
    for words in [
        "asleep  does not answer, because its machine sleeps",
        "machine runpod:p0d: stopped",
        "machine command:big: stopped",
    ] {
        assert!(ran.stdout.contains(words), "{words}: {ran:?}");
    }
    assert!(!ran.stdout.contains("k3y-k3y") && !desk.path("started").exists(), "{ran:?}");
    let ran = check("ws://127.0.0.1:9#provider=runpod:other", &asleep);
    assert_eq!(ran.status, Some(1), "{ran:?}");
    assert!(ran.stdout.contains("machine runpod:other: UNKNOWN: the provider does not know this machine"), "{ran:?}");
    assert!(ran.stderr.contains("1 of 1 model servers are on machines that nobody says anything of"), "{ran:?}");
    let running = cloud(r#"{"status":"RUNNING","runtime":{}}"#);
    let ran = check("ws://127.0.0.1:9#provider=runpod:p0d", &running);
    assert!(ran.status == Some(1) && ran.stdout.contains("down    nothing listens there"), "{ran:?}");
    assert!(ran.stdout.contains("machine runpod:p0d: running"), "{ran:?}");
}

#[test]
fn a_check_tells_of_providers_that_are_not_built_in_and_asks_nobody() {
    let desk = Desk::new();
    for (machine, feature, is_on) in [
        ("docker:voice", "docker", cfg!(feature = "docker")),
        ("kubernetes:ns/deployment/voice", "kubernetes", cfg!(feature = "kubernetes")),
    ] {
        let url = format!("ws://127.0.0.1:9#provider={machine}");
        let ran = desk.run(&["check", "--offline"], &[("PERSONAPLEX_SERVER_URL", &url)]);
        assert_eq!(ran.status, Some(i32::from(!is_on)), "{ran:?}");
        let told = format!("machine {machine}: this Tandem was built without {feature}: build it with");
        assert_eq!(ran.stderr.contains(&told), !is_on, "{ran:?}");
    }
}

#[cfg(feature = "kubernetes")]
#[test]
fn without_a_base_url_the_cluster_is_the_one_of_the_kubeconfig() {
    let desk = Desk::new();
    let url = api(
        "GET /apis/apps/v1/namespaces/ns/deployments/voice HTTP",
        r#"{"spec":{"replicas":0},"status":{"terminatingReplicas":0}}"#,
    );
    let credential =
        r#"{"apiVersion":"client.authentication.k8s.io/v1","kind":"ExecCredential","status":{"token":"k3y-k3y"}}"#;
    std::fs::write(desk.path("credential.json"), credential).unwrap();
    let program = format!(
        "{{ exec: {{ apiVersion: client.authentication.k8s.io/v1, command: cat, args: [\"{}\"], interactiveMode: Never }} }}",
        desk.path("credential.json").display()
    );
    let broken = program.replace("command: cat", "command: \"false\"");
    let proxy = format!("{{ server: \"{url}\", proxy-url: \"http://127.0.0.1:9\" }}");
    let direct = format!("{{ server: \"{url}\" }}");
    for (cluster, user, told) in [
        (&direct, "{ token: k3y-k3y }", "stopped"),
        (&direct, &program, "stopped"),
        (
            &direct,
            &broken,
            "UNKNOWN: the provider refuses, and will until something is changed: the cluster's credentials",
        ),
        (
            &direct,
            "{ token: \"k3y\\nk3y\" }",
            "UNKNOWN: the provider refuses, and will until something is changed: the token",
        ),
        (&direct, "{ token: other }", "UNKNOWN: the provider does not know this machine"),
        (
            &proxy,
            "{ token: k3y-k3y }",
            "UNKNOWN: the provider refuses, and will until something is changed: the kubeconfig wants a proxy",
        ),
    ] {
        let config = format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: x\ncontexts: [{{ name: x, context: {{ cluster: c, user: u }} }}]\n\
             clusters: [{{ name: c, cluster: {cluster} }}]\nusers: [{{ name: u, user: {user} }}]\n"
        );
        std::fs::write(desk.path("kubeconfig"), config).unwrap();
        let kubeconfig = desk.path("kubeconfig").display().to_string();
        let machine = "ws://127.0.0.1:9#provider=kubernetes:ns/deployment/voice";
        let ran = desk.run(&["check"], &[("PERSONAPLEX_SERVER_URL", machine), ("KUBECONFIG", &kubeconfig)]);
        assert!(ran.stdout.contains(&format!("machine kubernetes:ns/deployment/voice: {told}")), "{told}: {ran:?}");
        assert!(!format!("{ran:?}").contains("k3y"), "{ran:?}");
    }
}

#[test]
fn a_check_asks_the_server_where_its_machine_is_now() {
    let desk = Desk::new();
    let (_server, url) = simulator(&desk, &[]);
    let port = url.rsplit(':').next().unwrap();
    let pod = format!(
        r#"{{"status":"RUNNING","runtime":{{"ports":[{{"type":"tcp","private":8998,"public":{port},"ip":"127.0.0.1"}}]}}}}"#
    );
    let api = cloud(pod.leak());
    let environment = [
        ("PERSONAPLEX_SERVER_URL", "ws://127.0.0.1:9#provider=runpod:p0d"),
        ("RUNPOD_API_KEY", "k3y-k3y"),
        ("TANDEM__PROVIDERS__RUNPOD__BASE_URL", &api),
    ];
    let ran = desk.run(&["check"], &environment);
    assert_eq!(ran.status, Some(0), "{ran:?}");
    assert!(ran.stdout.contains(&format!("machine runpod:p0d: running at 127.0.0.1:{port}")), "{ran:?}");
}

#[test]
fn the_machines_of_a_running_server_are_shown_with_what_they_cost() {
    let desk = Desk::new();
    wav::write(&desk.path("in.wav"), &speech()[..4800]).unwrap();
    let port = port_for_later();
    let server = format!("ws://127.0.0.1:{port}#provider=command:sim&price=3.6");
    let program = env!("CARGO_BIN_EXE_tandem");
    let start = format!("timeout 100 '{program}' simulate --port {{port}} --step-ms 1 --voice-steps 1 --poll-ms 0");
    let environment = [
        ("PERSONAPLEX_SERVER_URL", server.as_str()),
        ("TANDEM__PROVIDERS__COMMAND__START", &start),
        ("TANDEM__PROVIDERS__COMMAND__OUTPUT", "off"),
        ("TANDEM_OPERATOR_KEY", "an operator's key that is long enough"),
        ("TANDEM__FLEET__IDLE_SECONDS", "1"),
        ("TANDEM__FLEET__MIN_AWAKE_SECONDS", "0"),
    ];
    let (serving, url) = serve(&desk, &[], &environment);
    // In whichever order they come.
    let mut awaited = vec!["\"state\":\"asleep\"", "Call it from another terminal"];
    while !awaited.is_empty() {
        let line = serving.line("");
        awaited.retain(|words| !line.contains(words));
    }
    let ran = desk.run(&["fleet"], &[]);
    assert_eq!((ran.status, ran.stderr.as_str()), (Some(0), ""), "{ran:?}");
    let row: Vec<&str> = ran.stdout.lines().nth(1).unwrap().split_whitespace().collect();
    assert_eq!(row[..7], ["1", "command", "asleep", "-", "0s", "0s", "0s"], "{ran:?}");
    assert!(row[8] == "3.6" && row[9] == "0.0000" && ran.stdout.contains("Always on would have cost"), "{ran:?}");

    assert_eq!(desk.run(&["call", "in.wav", "--tail", "1.5"], &[]).status, Some(0));
    serving.line("\"state\":\"asleep\"");
    let ran = desk.run(&["fleet", "--json"], &[]);
    assert_eq!(ran.status, Some(0), "{ran:?}");
    let told: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    let machine = &told["machines"][0];
    let number = |key: &str| machine[key].as_f64().unwrap_or_else(|| panic!("{key}: {told}"));
    assert!(number("leased_seconds") >= 1.0 && number("idle_seconds") >= 1.0, "{told}");
    assert_eq!(number("awake_seconds"), number("leased_seconds") + number("idle_seconds"), "{told}");
    // 3.6 an hour is a thousandth a second.
    let cost = number("cost") - number("awake_seconds") / 1e3;
    assert!((0.0..0.002).contains(&cost) && told["total"]["cost"] == machine["cost"], "{told}");

    let key = [("TANDEM_OPERATOR_KEY", "an operator's key that is long enough")];
    assert_eq!(desk.run(&["fleet", "--url", &url], &key).status, Some(0));

    // Who is not known may not look, and is told what to do; no token is repeated.
    let odd = [("JWT_SECRET", "another-secret-of-more-than-thirty-two-bytes")];
    let token = desk.run(&["token", "--user", "ada"], &[]).stdout;
    for (words, environment, sentence) in [
        (&["fleet", "--url", &url][..], &odd[..], "refuses (status 401): set TANDEM_TOKEN to a token with the scope"),
        (&["fleet"], &[("TANDEM_TOKEN", token.trim())], "refuses (status 403)"),
        (&["fleet", "--url", &url], &[], "there is nothing to make a token with: set TANDEM_TOKEN"),
    ] {
        let ran = desk.run(words, environment);
        assert!(ran.status == Some(1) && ran.stderr.contains(sentence) && ran.stdout.is_empty(), "{words:?}: {ran:?}");
        assert!(!ran.stderr.contains(token.trim()));
    }
    assert_eq!(serving.terminate(), Some(0));
}

#[test]
fn where_no_machines_can_be_shown_the_reason_says_what_to_do() {
    let desk = Desk::new();
    let secret = [("JWT_SECRET", "a-secret-of-more-than-thirty-two-bytes"), ("PORT", "9")];
    for (words, sentence) in [
        (&["fleet"][..], "http://127.0.0.1:9 does not answer: it cannot be reached"),
        (&["fleet", "--url", "127.0.0.1:9"], "expected one like http://127.0.0.1:8080"),
    ] {
        let ran = desk.run(words, &secret);
        assert!(ran.status == Some(1) && ran.stderr.contains(sentence) && ran.stdout.is_empty(), "{ran:?}");
    }
    let ran = desk.run(&["fleet"], &[]);
    assert!(ran.status == Some(1) && ran.stderr.contains("there is nothing to make a token with"), "{ran:?}");
    assert!(!desk.path(".tandem").exists(), "looking leaves nothing behind");
    let (serving, url) = serve(&desk, &[], &[]);
    serving.line("Call it from another terminal");
    let ran = desk.run(&["fleet"], &[]);
    assert!(ran.stderr.contains(&format!("{url} has no machines to start and stop: give a server one")), "{ran:?}");
    let other = cloud("{}");
    let ran = desk.run(&["fleet", "--url", &format!("{other}/")], &secret);
    assert!(ran.stderr.contains("answers with status 404: no more is said; is it a Tandem?"), "{ran:?}");
}
