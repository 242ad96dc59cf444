//! `tandem call`, and `tandem simulate` at its other end.

use super::*;

#[test]
fn a_call_to_a_simulated_server_brings_the_callers_own_voice_back_later() {
    let desk = Desk::new();
    wav::write(&desk.path("in.wav"), &speech()).unwrap();
    let (simulator, url) = simulator(&desk, &["--echo-delay-ms", "800"]);
    let ran = desk.run(&["call", "in.wav", "--out", "out.wav", "--wire", "moshi", "--url", &url, "--tail", "1.5"], &[]);
    assert_eq!(ran.status, Some(0), "{ran:?}");
    let heard = wav::read(&desk.path("out.wav")).unwrap();
    let (shift, likeness) = find(&speech(), &heard);
    assert!(likeness > 0.85, "{likeness} at {shift}");
    // The delay, and some 20 ms of look-ahead in each of the two codecs.
    assert!((19_200..22_000).contains(&shift), "the voice came back {} ms later", shift / 24);
    assert!(ran.stdout.split_whitespace().count() >= 2, "words are printed: {ran:?}");
    assert!(ran.stderr.contains("the reply is in out.wav"), "{ran:?}");
    let line = simulator.line("call 1: ");
    assert!(line.contains("NATF0.pt") && line.contains("the client closed it (1000)"), "{line}");
    assert!(!line.contains("friendly"), "prompts are not shown: {line}");
    assert_eq!(simulator.terminate(), Some(0));
}

#[test]
fn a_call_tells_how_fast_it_was_answered() {
    let desk = Desk::new();
    let mut said = MadeVoice::new().say(23_000);
    said.extend([0.0; 52_000]);
    wav::write(&desk.path("in.wav"), &said).unwrap();
    let words = ["simulate", "--port", "0", "--step-ms", "20", "--poll-ms", "0", "--voice-steps", "1"];
    let answers = ["--answer", "converse", "--answer-delay-ms", "560", "--answer-length-ms", "1200"];
    let simulator = Running::start(desk.command(&[&words[..], &answers].concat(), &[]));
    let server = simulator.line("listens at").rsplit(' ').next().unwrap().to_owned();
    let (serving, _) = serve(&desk, &[], &[("PERSONAPLEX_SERVER_URL", &server)]);
    serving.line("Call it from another terminal");
    let ran = desk.run(&["call", "in.wav", "--tail", "0.2", "--json"], &[]);
    assert_eq!(ran.status, Some(0), "{ran:?}");
    let report: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    let measured_ms = report["turns"]["response_latency"]["median_ms"].as_u64().unwrap();
    let line = simulator.line("call 1: ");
    let truth = line.split_once("answered after [").unwrap().1.split_once(']').unwrap().0;
    let truth_ms: u64 = truth.parse().unwrap();
    assert!(measured_ms.abs_diff(truth_ms) <= 40, "measured {measured_ms} ms; {line}");
    assert_eq!((&report["turns"]["taken_over"], &report["turns"]["caller_turns"]), (&1.into(), &1.into()), "{report}");

    let ran = desk.run(&["call", "in.wav", "--tail", "0.2"], &[]);
    assert!(ran.stderr.contains("answered after") && ran.stderr.contains("were answered 1 times (median "), "{ran:?}");
    assert_eq!(serving.terminate(), Some(0));
}

#[test]
fn a_call_for_programs_prints_one_json_object() {
    let desk = Desk::new();
    wav::write(&desk.path("in.wav"), &speech()[..4800]).unwrap();
    let (simulator, url) = simulator(&desk, &["--tls", "--show-prompts"]);
    let words = ["call", "in.wav", "--wire", "moshi", "--url", &url, "--tail", "0.2", "--json"];
    let ran = desk.run(&[&words[..], &["--prompt", "Be brief.", "--voice", "VARM3"]].concat(), &[]);
    assert_eq!(ran.status, Some(0), "{ran:?}");
    let report: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    assert!(report["sent_seconds"].as_f64().unwrap() >= 0.2, "{report}");
    assert_eq!((&report["error"], ran.stderr.as_str()), (&serde_json::Value::Null, ""));
    assert!(simulator.line("call 1: ").contains("VARM3.pt"));
    assert!(simulator.line("was given").contains("Be brief."));
}

#[test]
fn a_call_that_the_server_breaks_off_fails_and_leaves_what_was_heard() {
    let desk = Desk::new();
    wav::write(&desk.path("in.wav"), &speech()).unwrap();
    let (_simulator, url) = simulator(&desk, &["--echo-delay-ms", "80", "--fault", "finish:0.5"]);
    let ran = desk.run(&["call", "in.wav", "--out", "out.wav", "--wire", "moshi", "--url", &url], &[]);
    assert_eq!(ran.status, Some(1), "{ran:?}");
    assert!(ran.stderr.contains("the connection was lost during the call"), "{ran:?}");
    let heard = wav::read(&desk.path("out.wav")).unwrap();
    assert!((2_000..24_000).contains(&heard.len()), "{}", heard.len());
}

#[test]
fn ctrl_c_hangs_up_politely_and_keeps_what_was_heard() {
    let desk = Desk::new();
    wav::write(&desk.path("in.wav"), &speech().repeat(30)).unwrap();
    let (simulator, url) = simulator(&desk, &["--echo-delay-ms", "80"]);
    let words = ["call", "in.wav", "--out", "out.wav", "--wire", "moshi", "--url", &url];
    let mut calling = Running::start(desk.command(&words, &[]));
    calling.line("the model listens");
    calling.signal("INT");
    calling.line("hung up");
    calling.line("the reply is in out.wav");
    assert_eq!(calling.child.wait().unwrap().code(), Some(0));
    assert!(fs::read(desk.path("out.wav")).unwrap().starts_with(b"RIFF"), "even when nothing was heard yet");
    assert!(simulator.line("call 1: ").contains("the client closed it (1000)"));
}

#[test]
fn a_simulated_server_on_a_port_in_use_says_so() {
    let desk = Desk::new();
    let (_first, url) = simulator(&desk, &[]);
    let port = url.rsplit(':').next().unwrap().to_owned();
    let ran = desk.run(&["simulate", "--port", &port], &[]);
    assert_eq!(ran.status, Some(1));
    assert!(ran.stderr.contains(&format!("port {port} is in use")), "{ran:?}");
}

#[test]
fn a_call_that_cannot_be_placed_says_what_to_do() {
    let desk = Desk::new();
    wav::write(&desk.path("good.wav"), &[0.0; 480]).unwrap();
    fs::write(desk.path("text.wav"), "no sound").unwrap();
    for (words, sentence) in [
        (&["missing.wav"][..], "missing.wav cannot be opened"),
        (&["text.wav"], "text.wav is not a WAV file"),
        (&["good.wav"], "start `tandem serve` in this directory, or give --url"),
        (&["good.wav", "--url", "localhost"], "expected one like http://127.0.0.1:8080"),
        (&["good.wav", "--url", "ws://127.0.0.1:9", "--out", "no/where.wav"], "there is no directory no"),
        (&["good.wav", "--url", "ws://127.0.0.1:9", "--token", "a b"], "characters that no token has"),
        (&["good.wav", "--url", "ws://127.0.0.1:9"], "nothing listens at 127.0.0.1:9: is `tandem serve` running?"),
    ] {
        let ran = desk.run(&[&["call"], words].concat(), &[]);
        assert_eq!(ran.status, Some(1), "{words:?}: {ran:?}");
        assert!(ran.stderr.contains(sentence) && ran.stdout.is_empty(), "{words:?}: {ran:?}");
    }
    let ran = desk.run(&["call", "good.wav", "--url", "ws://127.0.0.1:9", "--json"], &[]);
    let report: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!((ran.status, &report["error"]["code"]), (Some(1), &"connection_refused".into()));
}
