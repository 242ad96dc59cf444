//! The pages for people, held against the code: tables, examples, limits, commands, paths and links.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

use std::{collections::BTreeSet, path::Path, process::Command, time::Duration};

use serde_json::Value;
use tandem::{
    audio::{
        activity::BRIDGE,
        container::Container,
        packet::MAX_PACKET_BYTES,
        pcm::PCM_RATES_HZ,
        turns::{ANSWER_WITHIN, MIN_INTERRUPTION, PAUSE, STOP_WITHIN, TAKE_OVER, TAKE_OVER_WORDS},
    },
    auth::{TicketLimits, ticket::TICKET_CHARS, token::MAX_TOKEN_BYTES},
    config::{self, schema::KEYS},
    http::{
        problem::{Problem, ReachedLimit, Refusal},
        tickets::MAX_BODY_BYTES,
    },
    pool::quota::LEAST,
    protocol::{
        ending::Ending,
        moshi::{Voice, prompt_budget_bytes},
        native::{MAX_CONTROL_BYTES, MAX_PING_ID_BYTES, NativeError, ServerEvent, decode_client},
    },
    session::{leg::client::MAX_MESSAGE_BYTES, machine::Limits},
};

#[path = "docs/page.rs"]
mod page;
#[path = "architecture/tree.rs"]
mod tree;

use page::{code_spans, examples, is_test_name, links, list, number, rows, slugs};

const OPERATE_PAGE: &str = "docs/protocol/operate.md";
const ADMIN_PAGE: &str = "docs/protocol/admin.md";
const HISTORY_PAGE: &str = "docs/protocol/history.md";

fn text(path: &str) -> String {
    let files = tree::text_files();
    let text = tree::text_of(&files, path);
    assert!(!text.is_empty(), "{path} does not exist");
    text
}

fn client_page() -> String {
    text("docs/protocol/client.md")
}

/// Every page of the package and its path.
fn pages() -> Vec<(String, String)> {
    let files = tree::text_files().into_iter().filter(|file| file.path.ends_with(".md"));
    files.map(|file| (file.path, file.text)).collect()
}

/// All source of the program below a folder of `src/`.
fn source(folder: &str) -> String {
    let files = tree::text_files().into_iter().filter(|file| file.path.starts_with(folder));
    files.map(|file| file.text).collect()
}

#[test]
fn every_ending_is_in_the_table_with_its_close_code() {
    let told: Vec<_> = rows(&client_page(), "How calls end").iter().map(|row| row[..2].to_vec()).collect();
    let known = Ending::ALL.map(|ending| vec![ending.code().to_owned(), ending.row().close_code.to_string()]);
    assert_eq!(told, known);
}

#[test]
fn what_nothing_ends_with_so_far_is_marked_and_nothing_else() {
    let session = source("src/session/") + &source("src/http/");
    for (ending, row) in Ending::ALL.into_iter().zip(rows(&client_page(), "How calls end")) {
        let raised = session.contains(&format!("Ending::{ending:?}"));
        let told = !row[2].starts_with("not yet") && !row[2].starts_with("not told");
        assert_eq!(raised, told, "{}: {}", ending.code(), row[2]);
    }
}

#[test]
fn every_refusal_is_in_the_table_with_its_status_and_close_code() {
    let [callers, history, operators, admins] =
        [client_page(), text(HISTORY_PAGE), text(OPERATE_PAGE), text(ADMIN_PAGE)].map(|page| rows(&page, "Refusals"));
    let page_of = |problem: &&Problem| {
        [&history, &operators, &admins].iter().position(|table| table.iter().any(|row| row[0] == problem.code()))
    };
    let mut problems: Vec<&Problem> = Problem::ALL.iter().collect();
    problems.sort_by_key(page_of);
    let table: Vec<_> = [callers, history.clone(), operators.clone(), admins.clone()].concat();
    let told: Vec<_> = table.iter().map(|row| row[..3].to_vec()).collect();
    let known = problems.iter().map(|problem| {
        let row = problem.row();
        vec![row.code.to_owned(), row.status.to_string(), row.close_code.to_string()]
    });
    assert_eq!(told, known.collect::<Vec<_>>());
    for (problem, row) in problems.into_iter().zip(table) {
        let seconds = problem.row().retry_after_seconds;
        assert_eq!(row[3].is_empty(), seconds.is_none(), "{}", problem.code());
        if let Ok(told) = row[3].split(',').next().unwrap_or_default().parse::<u64>() {
            assert_eq!(Some(told), seconds, "{}", problem.code());
        }
    }
}

#[test]
fn every_server_message_has_an_example_that_is_one() {
    let mut seen = BTreeSet::new();
    for line in examples(&client_page(), "json server") {
        let event: ServerEvent = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{line}: {error}"));
        let value: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(serde_json::to_value(&event).unwrap(), value, "fields that do not exist");
        seen.insert(value["type"].as_str().unwrap().to_owned());
        assert_as_the_code_says(event);
    }
    assert_eq!(seen, list(&text("src/protocol/native.rs"), "pub enum ServerEvent", "rename = \""));
}

/// Codes, close codes and sentences of an example are those of the tables.
fn assert_as_the_code_says(event: ServerEvent) {
    match event {
        ServerEvent::Error(error) => match Problem::ALL.iter().find(|problem| problem.code() == error.code) {
            Some(problem) => assert_eq!(error, problem.to_error_event()),
            None => assert_eq!((error.code.as_str(), error.message), ("not_understood", not_understood())),
        },
        ServerEvent::Ended(report) => {
            let row = report.ending.row();
            assert_eq!((report.close_code, report.message.as_str()), (row.close_code, row.sentence));
        }
        _ => {}
    }
}

fn not_understood() -> String {
    NativeError::NotUnderstood.to_string()
}

#[test]
fn every_client_message_has_an_example_that_is_understood() {
    let mut seen = BTreeSet::new();
    for line in examples(&client_page(), "json client") {
        assert!(decode_client(&line).is_ok(), "{line}");
        let value: Value = serde_json::from_str(&line).unwrap();
        seen.insert(value["type"].as_str().unwrap().to_owned());
    }
    assert_eq!(seen, list(&text("src/protocol/native.rs"), "pub enum ClientEvent", "rename = \""));
}

#[test]
fn every_example_of_a_body_is_json_and_a_refusal_is_a_real_one() {
    for line in examples(&client_page(), "json http") {
        assert!(serde_json::from_str::<Value>(&line).unwrap().is_object());
    }
    for line in examples(&client_page(), "json problem") {
        let body: Value = serde_json::from_str(&line).unwrap();
        let problem = Problem::ALL.iter().find(|problem| body["code"] == problem.code()).expect("no such problem");
        let seconds = |name: &str| body[name].as_u64().map(Duration::from_secs);
        let limit = body["limit"].as_u64().map(|value| ReachedLimit { value, window: seconds("window_seconds") });
        let later = seconds("retry_after_seconds");
        let refusal = later.map_or_else(|| Refusal::from(*problem), |later| problem.retry_after(later));
        let personas =
            body["personas"].as_array().map(|names| names.iter().map(|name| name.as_str().unwrap().to_owned()));
        let personas = personas.map(Iterator::collect).unwrap_or_default();
        let answer = actix_web::ResponseError::error_response(&Refusal { limit, personas, ..refusal }).into_body();
        let bytes = actix_web::body::MessageBody::try_into_bytes(answer).unwrap();
        assert_eq!(body, serde_json::from_slice::<Value>(&bytes).unwrap());
    }
}

#[test]
fn every_error_in_a_call_is_in_the_table() {
    let source = source("src/session/leg/");
    let told: BTreeSet<String> =
        rows(&client_page(), "Errors in a call").into_iter().map(|row| row[0].clone()).collect();
    let known = list(&source, "", "complaint(\"").into_iter().chain(list(&source, "", "code: \""));
    assert_eq!(told, known.collect());
    assert_eq!(Limits::default().complaints, 10, "the page says that the tenth error ends a call");
}

#[test]
fn every_address_is_in_the_table() {
    let pages = [client_page(), text(HISTORY_PAGE), text(OPERATE_PAGE), text(ADMIN_PAGE)];
    let table = pages.iter().flat_map(|page| rows(page, "Addresses"));
    let told: BTreeSet<String> = table.map(|row| row[0].clone()).collect();
    let routes = text("src/http/mod.rs") + &text("src/http/admin/mod.rs");
    let known = routes.split(".service(").skip(1).flat_map(|service| {
        let path = service.split('"').nth(1).unwrap();
        let methods = service.split(".route(web::").skip(1).map(|route| route.split_once('(').unwrap().0);
        // Whatever can be got has a head.
        methods.filter(|method| *method != "head").map(move |method| format!("{} {path}", method.to_uppercase()))
    });
    assert_eq!(told, known.collect());
}

#[test]
fn the_limits_of_the_page_are_those_of_the_code() {
    let (page, settings) = (client_page(), config::load(None, &config::Environment::new()).unwrap());
    let (session, tickets) = (&settings.session, TicketLimits::default());
    let seconds = |time: Duration| number(time.as_secs());
    for sentence in [
        format!("at most {} bytes once encoded for a URL", number(prompt_budget_bytes(Voice::Natf0) as u64)),
        format!("at most {} bytes long", number(MAX_TOKEN_BYTES as u64)),
        format!("clocks may differ by {} s", seconds(settings.auth.rules.leeway)),
        format!("a JSON object of at most {} bytes", number(MAX_BODY_BYTES as u64)),
        format!("A ticket has {TICKET_CHARS} characters"),
        format!("waits {} s, and opens one call", seconds(settings.auth.tickets.ttl)),
        format!("at most {} unused tickets", tickets.max_per_user),
        format!("has at most {MAX_PING_ID_BYTES} bytes"),
        format!("A control message has at most {} bytes", number(MAX_CONTROL_BYTES as u64)),
        format!("2.5 to 120 ms, at most {} bytes", number(MAX_PACKET_BYTES as u64)),
        format!("At most {} ms wait for the model server", session.limits.upstream_queue.as_millis()),
        format!("and {} ms for the caller", number(session.limits.client_queue.as_millis() as u64)),
        format!("The first two come {} s ahead", seconds(session.limits.warning)),
        format!("a WebSocket ping every {} s", seconds(session.limits.ping_interval)),
        format!("nothing comes for {} s, pongs included", seconds(session.limits.lost_after)),
        format!("No speech of the caller for {} s", seconds(session.limits.idle_timeout)),
        format!("only after {} s in which nothing", seconds(session.limits.idle_timeout / 4)),
        format!("A wait for busy servers ends after {} s", seconds(session.limits.queue_timeout)),
        format!("with pauses under {} ms", BRIDGE.as_millis()),
        format!("it speaks for {} s, or more than {TAKE_OVER_WORDS} words", seconds(TAKE_OVER)),
        format!("take over within {} s", seconds(ANSWER_WITHIN)),
        format!("a caller's pause under {} s is none", seconds(PAUSE)),
        format!("goes on for {} ms, or the assistant stops", MIN_INTERRUPTION.as_millis()),
        format!("absent if that took over {} s", seconds(STOP_WITHIN)),
        format!("the call waits {} s for its caller", seconds(session.limits.resume_grace)),
        format!("it can come back for {} s", seconds(session.limits.resume_grace)),
        format!("A call of {} s: `max_duration`", seconds(session.limits.max_duration)),
        format!("takes nothing for {} s while messages wait", seconds(session.limits.too_slow_after)),
        format!("gave no sound for {} s", seconds(Limits::default().stall_after)),
        format!("64 KiB ({} bytes)", number(MAX_MESSAGE_BYTES as u64)),
        format!("but for the {} calls of a user", settings.quota.user_calls),
        format!("With less than {} s left no call begins", seconds(LEAST)),
        format!("{} calls at a time", settings.quota.user_calls),
        format!("and {} attempts a minute", session.attempts_per_minute_per_user),
    ] {
        assert!(page.contains(&sentence), "client.md does not say: {sentence}");
    }
}

#[test]
fn the_page_says_of_every_setting_when_a_change_of_it_is_in_force() {
    let table = rows(&text("docs/configuration.md"), "What is in force when");
    for row in &table {
        let section = format!("{}.", row[0]);
        assert!(
            KEYS.iter().any(|key| key.path == row[0] || key.path.starts_with(&section)),
            "{} is no setting",
            row[0]
        );
    }
    for key in KEYS {
        let is_of = |row: &&Vec<String>| key.path == row[0] || key.path.starts_with(&format!("{}.", row[0]));
        let told = table.iter().filter(is_of).max_by_key(|row| row[0].len()).map_or("restart", |row| &row[1]);
        assert_eq!(told, config::InForce::of(key.path).word(), "{}", key.path);
    }
}

#[test]
fn the_page_of_metrics_is_what_the_table_says() {
    let printed = Command::new(env!("CARGO_BIN_EXE_tandem")).arg("metrics").output().unwrap();
    assert!(
        printed.status.success() && text("docs/metrics.md") == String::from_utf8(printed.stdout).unwrap(),
        "docs/metrics.md is not what the table says: cargo run -- metrics > docs/metrics.md"
    );
}

#[test]
fn every_rate_of_pcm_is_on_the_page_and_in_the_refusal() {
    let rates = PCM_RATES_HZ.map(|rate_hz| rate_hz.to_string());
    let list = |and: &str| format!("{} {and} {}", rates[..rates.len() - 1].join(", "), rates[rates.len() - 1]);
    let told = client_page().replace(" (default)", "");
    assert!(told.contains(&format!("of `pcm16` only, in Hz: {} |", list("or"))), "client.md");
    assert!(Problem::UnknownRate.row().sentence.contains(&format!("there are {}.", list("and"))), "unknown_rate");
    let page = client_page();
    let words: Vec<&str> = page.split(|c: char| !c.is_alphanumeric()).collect();
    for container in Container::ALL {
        let name = format!("{container:?}");
        assert!(words.iter().any(|word| word.eq_ignore_ascii_case(&name)), "client.md does not name {name}");
    }
}

#[test]
fn the_first_two_commands_are_all_that_a_fresh_machine_needs() {
    let (readme, manifest) = (text("README.md"), text("Cargo.toml"));
    let commands = examples(&readme, "sh");
    assert_eq!(commands[0], "cargo run");
    assert!(manifest.contains("default-run = \"tandem\""), "cargo run needs no name");
    assert!(commands.contains(&"cargo test".to_owned()));
    assert!(text(".ci/run").lines().any(|line| line.contains("cargo test")), ".ci/run runs the same tests");
    let call = commands.iter().find(|line| line.starts_with("cargo run -- call ")).unwrap();
    let speech = call.split(' ').nth(4).unwrap();
    assert!(Path::new(env!("CARGO_MANIFEST_DIR")).join(speech).is_file(), "{speech}");
    let version = manifest.lines().find_map(|line| line.strip_prefix("rust-version = ")).unwrap().trim_matches('"');
    assert!(readme.contains(&format!("Rust {version} and a C compiler")));
}

#[test]
fn every_command_and_flag_of_the_readme_exists() {
    let readme = text("README.md");
    let commands: Vec<String> = examples(&readme, "sh").into_iter().chain(code_spans(&readme)).collect();
    let ours = commands.iter().filter_map(|line| {
        let words = line.strip_prefix("cargo run -- ").or_else(|| line.strip_prefix("tandem "))?;
        Some(words.split_whitespace().collect::<Vec<_>>())
    });
    let mut count = 0;
    for words in ours {
        let help = Command::new(env!("CARGO_BIN_EXE_tandem")).args([words[0], "--help"]).output().unwrap();
        assert!(help.status.success(), "there is no `tandem {}`", words[0]);
        let help = String::from_utf8(help.stdout).unwrap();
        for flag in words.iter().filter(|word| word.starts_with("--")) {
            assert!(help.contains(flag), "`tandem {}` has no {flag}", words[0]);
        }
        count += 1;
    }
    assert!(count >= 6, "only {count} commands were found");
}

#[test]
fn every_variable_of_the_readme_is_read() {
    let known = text("config/default.toml") + &source("src/cli/");
    let readme = text("README.md");
    let words = readme.split(|c: char| !c.is_ascii_uppercase() && c != '_').filter(|word| word.len() > 4);
    let variables: BTreeSet<&str> = words.filter(|word| word.trim_matches('_').contains('_')).collect();
    assert!(variables.contains("PERSONAPLEX_SERVER_URL") && variables.contains("TANDEM_MODE"));
    for variable in variables {
        assert!(known.contains(variable), "nothing reads {variable}");
    }
}

#[test]
fn every_path_and_every_test_that_a_page_names_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let tests = source("tests/") + &source("src/");
    let mut missing = Vec::new();
    for (page, text) in pages() {
        for span in code_spans(&text) {
            let folder = ["src/", "tests/", "config/", "docs/", "dashboards/", "deploy/", ".ci/", ".railway/"];
            let is_path = folder.iter().any(|folder| span.starts_with(folder)) && !span.contains(['{', '*', ' ']);
            let exists = if is_path { root.join(&span).exists() } else { true };
            if !exists || (is_test_name(&span) && !tests.contains(&format!("fn {span}("))) {
                missing.push(format!("{page}: {span}"));
            }
        }
    }
    assert!(missing.is_empty(), "{missing:#?}");
}

#[test]
fn every_number_that_the_code_cites_is_on_the_page_of_the_wire() {
    let page = text("docs/protocol/personaplex.md");
    let code = source("src/") + &source("tests/gateway/");
    let cited = code.split("(personaplex.md ").skip(1).filter_map(|rest| rest.split_once(')'));
    let numbers: BTreeSet<&str> = cited.flat_map(|(numbers, _)| numbers.split(" and ")).collect();
    assert!(numbers.len() >= 5, "{numbers:?}");
    for number in numbers {
        let place = if number.contains('.') { format!("- {number}: ") } else { format!("\n{number}. **") };
        assert!(page.contains(&place), "personaplex.md has no {number}");
    }
}

#[test]
fn every_link_leads_somewhere() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut dead = Vec::new();
    for (page, text) in pages() {
        for link in links(&text) {
            let (path, anchor) = link.split_once('#').unwrap_or((&link, ""));
            let target = if path.is_empty() { root.join(&page) } else { root.join(&page).parent().unwrap().join(path) };
            let anchored = || slugs(&std::fs::read_to_string(&target).unwrap_or_default()).contains(anchor);
            if !target.exists() || (!anchor.is_empty() && !anchored()) {
                dead.push(format!("{page}: {link}"));
            }
        }
    }
    assert!(dead.is_empty(), "{dead:#?}");
}
