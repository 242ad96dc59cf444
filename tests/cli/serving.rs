//! `tandem serve` and `tandem token`, and what goes for every command.

use super::*;

#[test]
fn a_token_is_signed_with_the_configured_secret_or_the_one_of_the_state_directory() {
    let desk = Desk::new();
    let secret = "a-secret-of-more-than-thirty-two-bytes";
    let ran = desk.run(&["token", "--user", "ada"], &[("JWT_SECRET", secret)]);
    assert_eq!((ran.status, ran.stderr.as_str()), (Some(0), ""), "{ran:?}");
    assert_eq!(ran.stdout.trim().split('.').count(), 3);
    assert!(!desk.path(".tandem").exists());

    let named = desk.run(&["token", "--user", "ada", "--secret-env", "OTHER"], &[("OTHER", secret)]);
    let header = |ran: &Ran| ran.stdout.split('.').next().map(str::to_owned);
    assert_eq!(header(&named), header(&ran));
    let unset = desk.run(&["token", "--user", "ada", "--secret-env", "OTHER"], &[]);
    assert!(unset.status == Some(1) && unset.stderr.contains("OTHER is not set"), "{unset:?}");

    let ran = desk.run(&["token", "--user", "ada", "--ttl-seconds", "60"], &[]);
    assert_eq!(ran.status, Some(0), "{ran:?}");
    let file = desk.path(".tandem/secret");
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let before = fs::read(&file).unwrap();
    assert_eq!(desk.run(&["token", "--user", "bob"], &[]).status, Some(0));
    assert_eq!(fs::read(&file).unwrap(), before, "one secret for all tokens");
    assert_eq!(desk.run(&["token", "--user", ""], &[]).status, Some(1));
}

#[test]
fn a_command_line_that_is_not_understood_is_told_from_a_failure() {
    let desk = Desk::new();
    assert_eq!(desk.run(&["answer"], &[]).status, Some(2));
    let version = desk.run(&["--version"], &[]);
    assert_eq!((version.status, version.stdout.trim()), (Some(0), concat!("tandem ", env!("CARGO_PKG_VERSION"))));
    let ran = desk.run(&["simulate", "--fault", "explode"], &[]);
    assert!(ran.status == Some(2) && ran.stderr.contains("expected KIND[@WHEN]"), "{ran:?}");
}

#[test]
fn serve_without_any_configuration_answers_a_call_from_the_same_directory() {
    let desk = Desk::new();
    wav::write(&desk.path("in.wav"), &speech()).unwrap();
    let (server, url) = serve(&desk, &[], &[]);
    assert!(url.starts_with("http://127.0.0.1:"), "only this machine is listened to: {url}");
    server.line("Call it from another terminal");
    let mode = |name: &str| fs::metadata(desk.path(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(".tandem"), mode(".tandem/dev.json"), mode(".tandem/secret")), (0o700, 0o600, 0o600));
    for wire in ["native", "moshi"] {
        let ran = desk.run(&["call", "in.wav", "--out", "out.wav", "--wire", wire, "--tail", "2", "--json"], &[]);
        assert_eq!(ran.status, Some(0), "{ran:?}");
        let report: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
        for key in ["setup_ms", "first_audio_ms", "sent_seconds", "received_seconds", "lost_packets", "transcript"] {
            assert!(!report[key].is_null(), "{key}: {report}");
        }
        let heard = wav::read(&desk.path("out.wav")).unwrap();
        let (shift, likeness) = find(&speech(), &heard);
        assert!(likeness > 0.8 && (36_000..40_000).contains(&shift), "{wire}: {likeness} at {} ms", shift / 24);
    }
    assert_eq!(server.terminate(), Some(0));
    assert!(!desk.path(".tandem/dev.json").exists(), "nobody is sent to a server that is gone");
}

#[test]
fn a_server_that_is_told_to_stop_tells_its_callers_and_ends_by_itself() {
    let desk = Desk::new();
    wav::write(&desk.path("in.wav"), &speech().repeat(15)).unwrap();
    let (server, _) = serve(&desk, &[], &[("TANDEM__DRAIN__DEADLINE_SECONDS", "1")]);
    server.line("Call it from another terminal");
    let mut call = Running::start(desk.command(&["call", "in.wav", "--out", "out.wav"], &[]));
    call.line("the model listens");
    assert_eq!(server.terminate(), Some(0));
    call.line("the service is restarting");
    assert_eq!(call.child.wait().unwrap().code(), Some(1));
    assert!(desk.path("out.wav").exists());
}

#[test]
fn nothing_private_reaches_the_log_of_a_whole_run_at_its_most_talkative() {
    let desk = Desk::new();
    wav::write(&desk.path("in.wav"), &speech()).unwrap();
    let secret = "planted-secret-of-more-than-thirty-two-bytes";
    let key = "UGxhbnRlZCBrZXkgb2YgdGhpcnR5LXR3byBieXRlcyE=";
    let (_simulator, upstream) = simulator(&desk, &["--echo-delay-ms", "80"]);
    let (server, url) = serve(
        &desk,
        &["--production", "--host", "127.0.0.1"],
        &[
            ("JWT_SECRET", secret),
            ("PERSONAPLEX_SERVER_URL", &upstream),
            ("TANDEM__DOORS__CALLER_PROMPTS", "always"),
            ("TANDEM__LOGGING__LEVEL", "trace"),
            ("RUST_LOG", "trace"),
            ("TANDEM_ENCRYPTION_KEY", key),
        ],
    );
    let token = desk.run(&["token", "--user", "planted-user"], &[("JWT_SECRET", secret)]).stdout.trim().to_owned();
    for wire in ["native", "moshi"] {
        let words = ["call", "in.wav", "--url", &url, "--token", &token, "--wire", wire, "--tail", "0.5", "--json"];
        let ran = desk.run(&[&words[..], &["--prompt", "You know of Planted Diagnosis."]].concat(), &[]);
        assert_eq!(ran.status, Some(0), "{ran:?}");
        assert!(ran.stdout.contains("I hear you"), "the words were there to be leaked");
    }
    let refused = desk.run(&["call", "in.wav", "--url", &url, "--token", "planted.wrong.token"], &[]);
    assert_eq!(refused.status, Some(1));
    let settings = [
        ("JWT_SECRET", secret),
        ("TANDEM_ENCRYPTION_KEY", key),
        ("TANDEM__PERSONA__PROMPT", "You know of Planted Diagnosis."),
        ("MONGODB_URI", "mongodb://root:planted@127.0.0.1:1/app?serverSelectionTimeoutMS=100"),
    ];
    let checked = desk.run(&["check"], &settings);
    assert!(checked.stdout.contains("What was said is encrypted with the key "), "{checked:?}");
    let mut log = format!("{}{}{}", refused.stderr, checked.stdout, checked.stderr);
    server.signal("TERM");
    while let Ok(line) = server.lines.recv_timeout(DEADLINE) {
        log.push_str(&line);
        log.push('\n');
    }
    assert!(log.contains("session ended") && log.contains("\"user\":\"u_"), "{log}");
    let signature = token.rsplit('.').next().unwrap();
    for private in [secret, key, "planted", "Planted", "Diagnosis", signature, "I hear", "hear\"", "text_prompt", "eyJ"]
    {
        assert!(!log.contains(private), "{private:?} is in the log:\n{log}");
    }
    let kept: Vec<u8> =
        fs::read_dir(desk.path(".tandem")).unwrap().flat_map(|file| fs::read(file.unwrap().path()).unwrap()).collect();
    let holds = |words: &str| kept.windows(words.len()).any(|window| window == words.as_bytes());
    assert!(holds("tandem-sealed:1:"), "the calls were written down");
    for private in ["I hear", "Diagnosis", key] {
        assert!(!holds(private), "{private:?} is in a file of the state");
    }
}

#[test]
fn a_second_signal_ends_the_calls_that_the_first_one_let_go_on() {
    let desk = Desk::new();
    wav::write(&desk.path("in.wav"), &vec![0.0; 24_000 * 60]).unwrap();
    let (mut server, _) = serve(&desk, &[], &[("TANDEM__DRAIN__DEADLINE_SECONDS", "3600")]);
    server.line("Call it from another terminal");
    let mut caller = Running::start(desk.command(&["call", "in.wav", "--out", "out.wav"], &[]));
    server.line("session ready");
    server.signal("TERM");
    assert!(server.line("draining").contains("\"calls\":1"));
    server.signal("TERM");
    assert!(server.line("session ended").contains("\"ending\":\"drained\""));
    assert_eq!(server.child.wait().unwrap().code(), Some(0), "nobody was cut off without a word");
    caller.line("the service is restarting");
    assert_eq!(caller.child.wait().unwrap().code(), Some(1));
}

#[test]
fn a_hangup_reads_the_configuration_again_and_a_bad_file_keeps_the_old_one() {
    let desk = Desk::new();
    let (_one, one) = simulator(&desk, &[]);
    let (_two, two) = simulator(&desk, &[]);
    let write = |text: &str| fs::write(desk.path("tandem.toml"), text).unwrap();
    write(&format!("[upstreams]\nurls = [\"{one}\"]\n"));
    let (server, url) = serve(&desk, &[], &[]);
    server.line("Call it from another terminal");
    write(&format!(
        "[upstreams]\nurls = [\"{two}#region=eu\", \"{one}\"]\n[session]\nmax_sessions = 7\n[listen]\nhost = \"127.0.0.9\"\n"
    ));
    server.signal("HUP");
    server.line(&format!("\"upstream\":\"2\",\"address\":\"{}\"", two.trim_start_matches("ws://")));
    assert!(server.line("needs a restart").contains("\"key\":\"listen.host\""));
    let told = server.line("the configuration was read again");
    assert!(told.contains("session.max_sessions") && told.contains("upstreams.urls"), "{told}");
    assert!(page(&url, "/metrics").contains("\ntandem_sessions_limit 7\n"), "it is in force");
    write("[upstreams]\nurls = [\"hush\", \"ws://h#capacity=0\"]\n");
    server.signal("HUP");
    server.line("wrong in its part 1; expected ws://host:port");
    server.line("wrong in its part 2; expected capacity= and a whole number from 1 to 256");
    assert!(server.line("the old one stays").contains("\"flaws\":2"));
    write(&format!("[upstreams]\nurls = [\"{two}#region=eu\"]\n"));
    server.signal("HUP");
    assert!(server.line("model server left the pool").contains("\"upstream\":\"1\""));
    // Counted after the last of its lines.
    let read = ["tandem_config_reload_total{result=\"ok\"} 2", "tandem_config_reload_total{result=\"wrong\"} 1"];
    let deadline = std::time::SystemTime::now() + DEADLINE;
    while !read.iter().all(|line| page(&url, "/metrics").contains(line)) {
        assert!(std::time::SystemTime::now() < deadline, "{}", page(&url, "/metrics"));
    }
    assert!(page(&url, "/metrics").contains("\ntandem_config_last_reload_timestamp_seconds 1"), "seconds since 1970");
    assert_eq!(server.terminate(), Some(0));
}

#[test]
fn a_server_that_others_can_reach_refuses_to_start_half_configured() {
    let desk = Desk::new();
    for words in [&["serve", "--production"][..], &["serve", "--host", "0.0.0.0"], &["--production"]] {
        let ran = desk.run(words, &[]);
        assert_eq!(ran.status, Some(1), "{ran:?}");
        assert!(ran.stderr.contains("JWT_SECRET") && ran.stderr.contains("PERSONAPLEX_SERVER_URL"), "{ran:?}");
    }
    let (_server, url) = serve(&desk, &[], &[]);
    let port = url.rsplit(':').next().unwrap();
    let ran = desk.run(&["serve", "--port", port], &[("TANDEM__STATE__DIR", "elsewhere")]);
    assert_eq!(ran.status, Some(1));
    assert!(ran.stderr.contains("cannot be listened on") && ran.stderr.contains("PORT"), "{ran:?}");
    assert!(!ran.stderr.contains("ERROR"), "no alarm beside the sentence: {ran:?}");
    let ran = desk.run(&["serve", "--port", "0"], &[]);
    assert!(ran.status == Some(1) && ran.stderr.contains("another tandem serves from .tandem"), "{ran:?}");
    assert!(desk.path(".tandem/dev.json").exists(), "the first one is still found");
}
