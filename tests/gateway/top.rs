//! `tandem top` and a Tandem that is told at `/admin` to end, each in a process of its own; and the commands of the page.

use std::process::Output;

use serde_json::Value;
use tandem::sim::upstream::Simulator;

use crate::{
    admin::TOKEN,
    house::{House, PATIENCE, quiet},
    machines::{Sleepy, ask, hang_up},
    process::{Call, Desk, Process},
    refusals::{bearer, event, knock},
};

async fn top(url: &str, token: &str) -> Output {
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_tandem"));
    command.args(["top", "--once", "--url", url]).env_clear().env("TANDEM_ADMIN_TOKEN", token);
    tokio::time::timeout(PATIENCE, command.output()).await.unwrap().unwrap()
}

#[actix_web::test]
async fn the_screen_has_what_goes_on_and_says_what_keeps_it_from_looking() {
    let house = House::set(quiet(), 2, &[("TANDEM_ADMIN_TOKEN", TOKEN)]).await;
    let mut ann = knock(&house, "/v1/voice", &[bearer(&house, "ann")]).await.socket();
    event(&mut ann, "session.ready").await;
    let shown = top(&house.url(), TOKEN).await;
    let text = String::from_utf8(shown.stdout).unwrap();
    assert!(shown.status.success(), "{text}");
    let pseudonym = tandem::auth::UserId::new("ann").unwrap().pseudonym();
    for words in ["Calls 1 of ", &pseudonym, "streaming", "Servers 2, slots 1 of 2 in use", "nobody waits"] {
        assert!(text.contains(words), "{words} in\n{text}");
    }
    assert!(!text.contains('\u{1b}'), "it is for pipes");
    hang_up(&mut ann).await;
    let wrong = top(&house.url(), "another token that is long enough").await;
    let told = String::from_utf8(wrong.stderr).unwrap();
    assert!(!wrong.status.success() && told.contains("refuses the token: set TANDEM_ADMIN_TOKEN"), "{told}");
    assert!(!told.contains("another token"), "{told}");
    let shut = House::new(quiet(), 1).await;
    let told = String::from_utf8(top(&shut.url(), TOKEN).await.stderr).unwrap();
    assert!(told.contains("lets nobody look"), "{told}");
    let nobody = format!("http://127.0.0.1:{}", crate::house::port_for_later());
    let told = String::from_utf8(top(&nobody, TOKEN).await.stderr).unwrap();
    assert!(told.contains("does not answer"), "{told}");
}

#[actix_web::test]
async fn a_process_that_is_told_to_end_lets_its_call_end_refuses_others_and_ends_well() {
    let (desk, server) = (Desk::new(), Simulator::start(quiet()).await.unwrap());
    let variables = [("TANDEM_ADMIN_TOKEN", TOKEN), ("TANDEM__STATE__LEDGER", "off")];
    let mut process = Process::set(&desk, "one", &server.url(), &variables).await;
    let ann = Call::insist(&process, "ann").await;
    let token = || Some(("authorization", format!("Bearer {TOKEN}")));
    for _ in 0..2 {
        let told = ask("POST", &format!("{}/admin/drain", process.url), token(), None).await;
        assert_eq!((told.status, &told.body["sessions"]), (202, &Value::from(1)), "{}", told.body);
    }
    let mut look = tokio::time::interval(std::time::Duration::from_millis(10));
    let refused = async {
        while ask("GET", &format!("{}/readyz", process.url), None, None).await.status != 503 {
            look.tick().await;
        }
    };
    tokio::time::timeout(PATIENCE, refused).await.expect("it takes no more calls");
    let seen = ask("GET", &format!("{}/admin/sessions", process.url), token(), None).await;
    assert_eq!(seen.body["draining"], Value::from(true), "{}", seen.body);
    let url = process.url.clone() + "/admin/upstreams";
    let late = ask("POST", &url, token(), Some(serde_json::json!({"url": "ws://10.0.0.1:1"}))).await;
    assert_eq!((late.status, late.body["code"].as_str()), (503, Some("drained")));
    ann.hang_up().await;
    assert_eq!(process.wait().await, Some(0), "no call was cut off");
}

#[actix_web::test]
async fn machines_are_woken_and_put_to_sleep_even_under_a_call() {
    let sleepy = Sleepy::with("", &[("TANDEM__FLEET__IDLE_SECONDS", "600"), ("TANDEM_ADMIN_TOKEN", TOKEN)]);
    let token = || Some(("authorization", format!("Bearer {TOKEN}")));
    let order = async |what: &str, body: Value| {
        ask("POST", &sleepy.url(&format!("/admin/fleet/{what}")), token(), Some(body)).await
    };
    sleepy.is("asleep").await;
    for odd in [serde_json::json!({"hold": 1}), serde_json::json!({"hold_seconds": 86_401})] {
        let told = order("1/wake", odd).await;
        assert_eq!((told.status, told.body["code"].as_str()), (400, Some("bad_order")));
    }
    let unknown = order("9/sleep", serde_json::json!({"force": true})).await;
    assert_eq!((unknown.status, unknown.body["code"].as_str()), (404, Some("unknown_machine")));
    let told = order("1/wake", serde_json::json!({"hold_seconds": 600})).await;
    assert_eq!((told.status, told.body["machines"][0]["wanted"].as_bool()), (202, Some(true)), "{}", told.body);
    sleepy.is("ready").await;
    let mut ann = knock(&sleepy.house, "/v1/voice", &[bearer(&sleepy.house, "ann")]).await.socket();
    event(&mut ann, "session.ready").await;
    assert_eq!(order("1/sleep", serde_json::json!({})).await.status, 202);
    let listed = ask("GET", &sleepy.url("/admin/fleet"), token(), None).await;
    assert_eq!(listed.body["machines"][0]["state"], "ready", "not under a call: {}", listed.body);
    assert_eq!(order("1/sleep", serde_json::json!({"force": true})).await.status, 202);
    let farewell = event(&mut ann, "session.ended").await;
    assert_eq!(farewell["reason"].as_str().or(farewell["ending"].as_str()), Some("admin"), "{farewell}");
    sleepy.is("asleep").await;
}

/// The blocks of the page that are commands for curl, one text each.
fn curl_blocks() -> Vec<String> {
    let page = std::fs::read_to_string("docs/protocol/admin.md").unwrap();
    let blocks = page.split("```sh curl\n").skip(1).filter_map(|rest| rest.split_once("\n```"));
    blocks.map(|(block, _)| block.to_owned()).collect()
}

#[actix_web::test]
async fn the_commands_of_the_page_work_and_its_examples_have_the_fields_of_the_answers() {
    if std::process::Command::new("curl").arg("--version").output().is_err() {
        assert!(std::env::var_os("TANDEM_TEST_REQUIRE_ALL").is_none(), "curl was not found: install it");
        return eprintln!("skipped: curl was not found");
    }
    let house = House::set(quiet(), 1, &[("TANDEM_ADMIN_TOKEN", TOKEN)]).await;
    let newcomer = Simulator::start(quiet()).await.unwrap();
    let mut ann = knock(&house, "/v1/voice", &[bearer(&house, "ann")]).await.socket();
    let created = event(&mut ann, "session.created").await;
    event(&mut ann, "session.ready").await;
    let mut ben = Some(knock(&house, "/v1/voice", &[bearer(&house, "ben")]).await.socket());
    house.metric_until("tandem_queue_depth{class=\"new\"}", 1.0).await;
    let mut answers: Vec<(u16, Value)> = Vec::new();
    for block in curl_blocks() {
        // Each answer on a line of its own, behind its status.
        let script = block.replace("curl ", "curl -sS --max-time 20 -w '\\n%{http_code}\\n' ");
        let mut command = tokio::process::Command::new("sh");
        command.args(["-ec", &script]).env("URL", house.url()).env("TANDEM_ADMIN_TOKEN", TOKEN);
        command.env("SESSION", created["session_id"].as_str().unwrap()).env("SERVER", newcomer.url());
        let ran = command.output().await.unwrap();
        assert!(ran.status.success(), "{block}: {}", String::from_utf8_lossy(&ran.stderr));
        let text = String::from_utf8(ran.stdout).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        if let Some(mut waiting) = ben.take() {
            // Seen in the queue; from here on each server is as free as the page thinks.
            hang_up(&mut waiting).await;
            house.metric_until("tandem_queue_depth{class=\"new\"}", 0.0).await;
        }
        answers.extend(lines.chunks(2).map(|two| (two[1].parse().unwrap(), serde_json::from_str(two[0]).unwrap())));
    }
    let statuses: Vec<u16> = answers.iter().map(|(status, _)| *status).collect();
    let page = std::fs::read_to_string("docs/protocol/admin.md").unwrap();
    for (at, name) in ["sessions", "upstreams", "queue"].into_iter().enumerate() {
        let example = page.split(&format!("```json {name}\n")).nth(1).and_then(|rest| rest.lines().next()).unwrap();
        let example: Value = serde_json::from_str(example).unwrap();
        assert_eq!(fields(&example), fields(&answers[at].1), "{name}");
    }
    assert_eq!(statuses, [200, 200, 200, 200, 200, 202, 201, 200, 200, 200, 202]);
}

/// The names of all fields, of the first element where there are several.
fn fields(value: &Value) -> Vec<String> {
    match value {
        Value::Object(map) => map.iter().flat_map(|(key, value)| [vec![key.clone()], fields(value)].concat()).collect(),
        Value::Array(items) => items.first().map(fields).unwrap_or_default(),
        _ => Vec::new(),
    }
}
