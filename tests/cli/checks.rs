//! `tandem check`: what it finds out, and what it leaves alone.

use super::*;

#[test]
fn a_check_tells_all_problems_at_once() {
    let desk = Desk::new();
    let environment = [("TANDEM_MODE", "production"), ("PORT", "eighty"), ("TANDEM__LISTEN__PROT", "1")];
    let ran = desk.run(&["check"], &environment);
    assert_eq!(ran.status, Some(1));
    for name in ["PORT", "TANDEM__LISTEN__PROT", "JWT_SECRET", "PERSONAPLEX_SERVER_URL"] {
        assert!(ran.stderr.contains(name), "{name}: {ran:?}");
    }
}

#[test]
fn a_check_tries_out_the_files_that_serve_would_use() {
    let desk = Desk::new();
    for (name, value) in [("TANDEM__UPSTREAMS__CA_FILE", "/nope.pem"), ("TANDEM__STATE__DIR", "/proc/x")] {
        let ran = desk.run(&["check", "--offline"], &[(name, value)]);
        assert!(ran.status == Some(1) && ran.stderr.contains(value), "{ran:?}");
    }
}

#[test]
fn a_check_says_to_whom_transcripts_go() {
    let desk = Desk::new();
    let url = ("TANDEM__RECAP__URL", "https://llm.example.org/v1/chat/completions");
    let (model, key) = (("TANDEM__RECAP__MODEL", "small"), ("TANDEM__RECAP__API_KEY", "hush-hush"));
    let ran = desk.run(&["check", "--offline"], &[url, model, key]);
    assert!(ran.stdout.contains("Transcripts of calls go to llm.example.org,"), "{ran:?}");
    assert!(ran.status == Some(0) && !ran.stdout.contains("hush-hush"), "{ran:?}");
    assert!(!desk.run(&["check", "--offline"], &[model]).stdout.contains("Transcripts of calls"));
    let open = ("TANDEM__RECAP__URL", "http://llm.internal/v1/chat/completions");
    let ran = desk.run(&["check", "--offline"], &[open]);
    assert!(ran.status == Some(1) && !ran.stderr.contains("llm.internal"), "{ran:?}");
    for words in ["recap.url", "recap.insecure", "TANDEM__RECAP__MODEL"] {
        assert!(ran.stderr.contains(words), "{words}: {ran:?}");
    }
    let ran = desk.run(&["check", "--offline"], &[open, model, ("TANDEM__RECAP__INSECURE", "true")]);
    assert!(ran.status == Some(0) && ran.stdout.contains("go to llm.internal,"), "{ran:?}");
}

#[test]
fn a_check_shows_the_personas_and_tells_what_is_wrong_with_them() {
    let desk = Desk::new();
    fs::create_dir(desk.path("cast")).unwrap();
    let coach = "name = \"coach\"\ndescription = \"Coaches.\"\nvoice = \"VARM4\"\ntemplate = \"You are a coach.\"\n\
                 [budget]\ntokens = 400\n";
    fs::write(desk.path("cast/coach.toml"), coach).unwrap();
    let environment = [("TANDEM__PERSONA__DIR", "cast"), ("TANDEM__PERSONA__DEFAULT", "coach")];
    let ran = desk.run(&["check", "--offline"], &environment);
    assert_eq!(ran.status, Some(0), "{ran:?}");
    let shown =
        |name: &str| ran.stdout.lines().find(|line| line.starts_with(&format!("  {name} "))).unwrap().to_owned();
    assert!(shown("coach").contains("VARM4") && shown("coach").ends_with("Coaches.   <- default"), "{ran:?}");
    assert!(shown("listener").contains("to 300 tokens") && shown("listener").ends_with("Knows its caller."), "{ran:?}");
    assert!(ran.stdout.contains("Warning: persona coach: a prompt of 400 tokens takes"), "{ran:?}");
    fs::write(desk.path("cast/coach.toml"), coach.replace("a coach.", "a coach {{ nmae }}.")).unwrap();
    for words in [["check", "--offline"].as_slice(), &["serve", "--port", "0"]] {
        let ran = desk.run(words, &environment);
        assert_eq!(ran.status, Some(1), "{ran:?}");
        let told =
            "persona coach, line 4, column 12: template, line 1, column 20: there is no variable nmae; there are name";
        assert!(ran.stderr.contains(told), "{ran:?}");
    }
}

#[test]
fn a_check_finds_out_which_servers_are_up_and_leaves_their_prompts_alone() {
    let desk = Desk::new();
    let (plain, plain_url) = simulator(&desk, &[]);
    let (_tls, tls_url) = simulator(&desk, &["--tls"]);
    let (_other, other_url) = simulator(&desk, &[]);
    let wrong = other_url.replace("ws://", "wss://");
    let secret = "not-to-be-shown-not-to-be-shown-at-all";
    let urls = format!("{plain_url},{tls_url},{wrong},ws://127.0.0.1:9");
    let ran = desk.run(&["check"], &[("PERSONAPLEX_SERVER_URL", &urls), ("JWT_SECRET", secret)]);
    assert_eq!(ran.status, Some(1), "{ran:?}");
    let line = |url: &str| ran.stdout.lines().find(|line| line.trim_start().starts_with(&format!("{url} "))).unwrap();
    assert!(line(&plain_url).contains("up"), "{ran:?}");
    assert!(line(&tls_url).contains("up"), "{ran:?}");
    assert!(line(&wrong).contains("plain HTTP where wss:// expects TLS"), "{ran:?}");
    assert!(line("ws://127.0.0.1:9").contains("nothing listens there"), "{ran:?}");
    assert!(ran.stderr.contains("2 of 4 model servers"), "{ran:?}");
    assert!(!ran.stdout.contains(secret), "secrets are not shown");
    let running = plain.terminate();
    assert_eq!(running, Some(0));
    let ran = desk.run(&["check", "--offline"], &[("PERSONAPLEX_SERVER_URL", &plain_url)]);
    assert_eq!(ran.status, Some(0), "{ran:?}");
}

#[test]
fn a_made_certificate_serves_a_model_server_and_its_pin_is_what_a_check_sees() {
    let desk = Desk::new();
    let made = desk.run(&["check", "--make-cert", "keys", "--host", "voice.example"], &[]);
    assert_eq!(made.status, Some(0), "{made:?}");
    let pin = made.stdout.lines().find_map(|line| line.strip_prefix("Pin: ")).unwrap();
    assert!(made.stderr.contains(&format!("'wss://voice.example:8998#pin={pin}'")), "{made:?}");
    assert_eq!(fs::metadata(desk.path("keys/key.pem")).unwrap().permissions().mode() & 0o777, 0o600);
    let again = desk.run(&["check", "--make-cert", "keys"], &[]);
    assert!(again.status == Some(1) && again.stderr.contains("keys/key.pem exists"), "{again:?}");
    let (_server, url) = simulator(&desk, &["--ssl", "keys"]);
    let wrong = "sha256:BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=";
    for (said, status, sentence) in [
        (format!("#pin={pin}&region=eu"), 0, format!("the key {pin}; 1 call at a time; region=eu")),
        ("#ca=keys/cert.pem".to_owned(), 0, "and of keys/cert.pem".to_owned()),
        (String::new(), 0, "any certificate, on this machine".to_owned()),
        (format!("#pin={wrong}"), 1, format!("if this key is its own, add #pin={pin} to its address")),
    ] {
        let ran = desk.run(&["check"], &[("PERSONAPLEX_SERVER_URL", &format!("{url}{said}"))]);
        assert!(ran.status == Some(status) && ran.stdout.contains(&sentence), "{said}: {ran:?}");
    }
    let ran = desk.run(&["check"], &[("PERSONAPLEX_SERVER_URL", &format!("{url}#ca=no.pem"))]);
    assert!(ran.status == Some(1) && ran.stderr.contains("CA file cannot be used: no.pem"), "{ran:?}");
}

#[test]
fn a_server_that_finds_no_certificate_is_named_for_what_it_does() {
    let desk = Desk::new();
    fs::create_dir(desk.path("empty")).unwrap();
    let (_server, url) = simulator(&desk, &["--ssl", "empty"]);
    assert!(url.starts_with("ws://"), "as the real server, it serves plain HTTP without a word");
    let ran = desk.run(&["check"], &[("PERSONAPLEX_SERVER_URL", &url.replace("ws://", "wss://"))]);
    assert!(ran.status == Some(1) && ran.stdout.contains("silently when --ssl has no key.pem and cert.pem"), "{ran:?}");
}

#[test]
fn a_check_finds_the_servers_behind_a_name() {
    let desk = Desk::new();
    let (_server, url) = simulator(&desk, &[]);
    let named = url.replace("127.0.0.1", "localhost");
    let ran = desk.run(&["check"], &[("PERSONAPLEX_SERVER_URL", &format!("{named}#dns"))]);
    assert_eq!(ran.status, Some(0), "{ran:?}");
    assert!(ran.stdout.contains(&format!("{named} at 127.0.0.1  up")), "{ran:?}");
}
