//! Calls that were, over HTTP: listed, shown, taken along and erased.

use serde_json::{Value, json};
use tandem::{
    http::identity::unix_now_seconds,
    store::{
        local::LocalStore,
        record::{Record, Written},
    },
};

use crate::{
    archives::{KEY, Library, Told, open, over},
    credentials::ticket,
    house::SECRET,
    refusals::{Answer, bearer, close, event, knock},
};

fn ids(told: &Told) -> Vec<String> {
    assert_eq!(told.status, 200, "{}", told.text);
    assert_eq!(told.headers.get("cache-control").unwrap(), "no-store");
    let calls = told.body()["sessions"].as_array().unwrap().clone();
    calls.iter().map(|call| call["session_id"].as_str().unwrap().to_owned()).collect()
}

fn names(records: &[&Record]) -> Vec<String> {
    records.iter().map(|record| record.session.to_string()).collect()
}

fn signed(claims: &Value) -> String {
    let key = jsonwebtoken::EncodingKey::from_secret(SECRET.as_bytes());
    jsonwebtoken::encode(&jsonwebtoken::Header::default(), claims, &key).unwrap()
}

#[actix_web::test]
async fn users_see_their_own_calls_and_operators_everybodys() {
    let library = Library::new(&[]).await;
    let (old, newer, live) = (over("ann", 30, "Hello.", "Marie has 2 cats."), over("ann", 20, "a", ""), open("ann", 1));
    let others = over("bob", 25, "Bob's.", "");
    for record in [&newer, &old, &others, &live] {
        library.keep(record).await;
    }
    let (ann, bob, ops) = (library.token("ann"), library.token("bob"), library.operator());
    let told = library.ask("GET", "/v1/sessions", Some(&ann)).await;
    assert_eq!(ids(&told), names(&[&live, &newer, &old]));
    assert!(!told.text.contains("Hello.") && !told.text.contains("\"user\""), "{}", told.text);
    let calls = &told.body()["sessions"];
    assert_eq!((&calls[0]["ended"], &calls[0]["ending"]), (&Value::Null, &Value::Null), "live");
    assert_eq!((&calls[2]["ending"], &calls[2]["recap"]), (&json!("client_left"), &json!("Marie has 2 cats.")));
    assert_eq!(told.body()["next"], Value::Null);
    assert_eq!(ids(&library.ask("GET", "/v1/sessions", Some(&bob)).await), names(&[&others]));
    assert_eq!(ids(&library.ask("GET", "/v1/sessions", Some(&library.token("eve"))).await), [""; 0]);
    for token in [KEY, &ops] {
        let told = library.ask("GET", "/v1/sessions", Some(token)).await;
        assert_eq!(ids(&told), names(&[&live, &newer, &others, &old]));
        assert_eq!(told.body()["sessions"][2]["user"], "bob");
        let told = library.ask("GET", "/v1/sessions?user=bob", Some(token)).await;
        assert_eq!(ids(&told), names(&[&others]));
    }
}

#[actix_web::test]
async fn a_list_is_read_page_by_page_while_calls_come_and_go() {
    let library = Library::new(&[]).await;
    let records: Vec<_> = (0..5).map(|minutes| over("ann", 10 + minutes, "x", "")).collect();
    for record in &records {
        library.keep(record).await;
    }
    let ann = library.token("ann");
    let first = library.ask("GET", "/v1/sessions?limit=2", Some(&ann)).await;
    assert_eq!(ids(&first), names(&[&records[0], &records[1]]));
    library.keep(&over("ann", 1, "new", "")).await;
    library.archive().erase_session(records[1].session).await.unwrap();
    let mut next = first.body()["next"].as_str().unwrap().to_owned();
    let mut found = Vec::new();
    loop {
        let told = library.ask("GET", &format!("/v1/sessions?limit=2&after={next}"), Some(&ann)).await;
        found.extend(ids(&told));
        match told.body()["next"].as_str() {
            Some(after) => next = after.to_owned(),
            None => break,
        }
    }
    assert_eq!(found, names(&[&records[2], &records[3], &records[4]]));
    let bob = library.token("bob");
    let told = library.ask("GET", &format!("/v1/sessions?after={next}"), Some(&bob)).await;
    assert_eq!(ids(&told), [""; 0], "another user's place leads to nothing of its");
}

#[actix_web::test]
async fn every_wrong_request_has_its_own_answer() {
    let library = Library::new(&[("TANDEM__DOORS__ALLOWED_ORIGINS", "https://app.example")]).await;
    let (mine, theirs) = (over("ann", 9, "x", ""), over("bob", 9, "y", ""));
    library.keep(&mine).await;
    library.keep(&theirs).await;
    let (ann, path) = (library.token("ann"), |record: &Record| format!("/v1/sessions/{}", record.session));
    let expired = signed(&json!({"sub": "ann", "exp": unix_now_seconds() - 60}));
    let (theirs, nowhere) = (path(&theirs), format!("/v1/sessions/{}", uuid::Uuid::new_v4()));
    let (missing, own) = ((401, "token_missing"), path(&mine));
    for (method, path, token, expected) in [
        ("GET", "/v1/sessions", None, missing),
        ("GET", own.as_str(), None, missing),
        ("DELETE", own.as_str(), None, missing),
        ("DELETE", "/v1/me?confirm=erase", None, missing),
        ("GET", "/v1/me/export", None, missing),
        ("DELETE", "/v1/users/ann?confirm=erase", None, missing),
        ("GET", "/v1/sessions", Some(expired.as_str()), (401, "token_expired")),
        ("DELETE", "/v1/me?confirm=erase", Some(&expired), (401, "token_expired")),
        ("GET", "/v1/sessions", Some("nonsense"), (401, "token_malformed")),
        ("DELETE", "/v1/me?confirm=erase", Some(KEY), (401, "token_malformed")),
        ("GET", "/v1/sessions?user=ann", Some(&ann), (403, "not_operator")),
        ("GET", "/v1/users/bob/export", Some(&ann), (403, "not_operator")),
        ("DELETE", "/v1/users/bob?confirm=erase", Some(&ann), (403, "not_operator")),
        ("GET", theirs.as_str(), Some(&ann), (404, "unknown_session")),
        ("DELETE", theirs.as_str(), Some(&ann), (404, "unknown_session")),
        ("GET", nowhere.as_str(), Some(&ann), (404, "unknown_session")),
        ("GET", nowhere.as_str(), Some(KEY), (404, "unknown_session")),
        ("GET", "/v1/sessions/7", Some(&ann), (404, "unknown_session")),
        ("GET", "/v1/sessions/%FF", Some(&ann), (404, "unknown_session")),
        ("DELETE", "/v1/users/%FF?confirm=erase", Some(KEY), (400, "bad_request")),
        ("DELETE", "/v1/me", Some(&ann), (400, "not_confirmed")),
    ] {
        let told = library.ask(method, path, token).await;
        let refusal = told.refusal();
        assert_eq!((refusal.0, refusal.1.as_str()), expected, "{method} {path}");
        assert_eq!(told.headers.get("cache-control").unwrap(), "no-store");
    }
    for (method, path, expected) in [
        ("GET", "/v1/sessions?limit=0", (400, "bad_page")),
        ("GET", "/v1/sessions?limit=201", (400, "bad_page")),
        ("GET", "/v1/sessions?limit=-1", (400, "bad_page")),
        ("GET", "/v1/sessions?limit=abc", (400, "bad_page")),
        ("GET", "/v1/sessions?after=nonsense", (400, "bad_page")),
        ("GET", "/v1/sessions?user=", (400, "bad_request")),
        ("DELETE", "/v1/users/ann", (400, "not_confirmed")),
        ("DELETE", "/v1/users/a%0Ab?confirm=erase", (400, "bad_request")),
        ("GET", "/v1/users/%E2%80%AE/export", (400, "bad_request")),
        ("POST", "/v1/sessions", (405, "method_not_allowed")),
        ("GET", "/v1/me", (405, "method_not_allowed")),
    ] {
        let told = library.ask(method, path, Some(KEY)).await.refusal();
        assert_eq!((told.0, told.1.as_str()), expected, "{method} {path}");
    }
    let told = library.ask("PUT", &own, Some(&ann)).await;
    assert_eq!((told.status, told.headers.get("allow").unwrap().to_str().unwrap()), (405, "GET, DELETE"));
    let elsewhere = [bearer(&library.house, "ann"), ("origin", "https://evil.example".to_owned())];
    let refused = knock(&library.house, "/v1/sessions", &elsewhere).await.refusal();
    assert_eq!(refused, (403, "origin_not_allowed".to_owned()));
    assert_eq!(ids(&library.ask("GET", "/v1/sessions", Some(KEY)).await).len(), 2, "nothing of all this did anything");
}

#[actix_web::test]
async fn who_may_not_call_sees_no_records_and_a_ticket_opens_none() {
    let library = Library::new(&[("TANDEM__AUTH__REQUIRED_SCOPE", "voice")]).await;
    let exp = unix_now_seconds() + 60;
    let [may, may_not] = ["voice", "read"].map(|scope| signed(&json!({"sub": "ann", "exp": exp, "scope": scope})));
    for path in ["/v1/sessions", "/v1/me/export"] {
        assert_eq!(library.ask("GET", path, Some(&may_not)).await.refusal(), (403, "forbidden".to_owned()));
        assert_eq!(library.ask("GET", path, Some(&may)).await.status, 200);
    }
    let free = Library::new(&[]).await;
    let minted = ticket(&free.house, "").await;
    let path = format!("/v1/sessions?ticket={}", minted["ticket"].as_str().unwrap());
    assert_eq!(free.ask("GET", &path, None).await.refusal(), (401, "token_missing".to_owned()));
}

#[actix_web::test]
async fn a_call_is_shown_with_its_transcript_and_removed_for_good_when_it_is_over() {
    let library = Library::new(&[]).await;
    let (said, live) = (over("ann", 9, "The lump is gone.", "It is gone since May 3."), open("ann", 1));
    library.keep(&said).await;
    library.keep(&live).await;
    let (ann, path) = (library.token("ann"), format!("/v1/sessions/{}", said.session));
    let told = library.ask("GET", &path, Some(&ann)).await;
    let line = json!([{"speaker": "assistant", "at_ms": 900, "text": "The lump is gone."}]);
    assert_eq!((told.status, &told.body()["transcript"]), (200, &line));
    assert_eq!(library.ask("GET", &path, Some(KEY)).await.body()["user"], "ann");
    let live_path = format!("/v1/sessions/{}", live.session);
    assert_eq!(library.ask("DELETE", &live_path, Some(&ann)).await.refusal(), (409, "session_open".to_owned()));
    assert!(library.holds("The lump") && library.holds("since May 3"), "looked for in the right files");
    assert_eq!(library.ask("DELETE", &path, Some(&ann)).await.status, 200);
    assert!(!library.holds("The lump") && !library.holds("since May 3"));
    for method in ["GET", "DELETE"] {
        assert_eq!(library.ask(method, &path, Some(&ann)).await.refusal(), (404, "unknown_session".to_owned()));
    }
    library.keep(&said).await;
    assert_eq!(library.ask("GET", &path, Some(&ann)).await.status, 404, "a late end brings nothing back");
    assert_eq!(ids(&library.ask("GET", "/v1/sessions", Some(&ann)).await), names(&[&live]));
}

#[actix_web::test]
async fn erasing_a_user_ends_its_calls_and_leaves_no_byte_of_it() {
    let library = Library::new(&[]).await;
    let (before, late) = (over("ann", 9, "The lump is gone.", "I know since May 3."), over("ann", 2, "Late lump.", ""));
    let others = over("bob", 9, "Nice day.", "");
    library.keep(&before).await;
    library.keep(&others).await;
    let users = json!({"users": [{"id": "ann", "name": "Annabel", "journal": [{"text": "My secret heron."}]}]});
    let known = tandem::context::user::Users::read(&users.to_string()).unwrap().users;
    LocalStore::open(&library.path.join("users.sqlite"), None).unwrap().import(known).await.unwrap();
    let unused = ticket(&library.house, "").await;
    let mut socket = knock(&library.house, "/v1/voice", &[bearer(&library.house, "ann")]).await.socket();
    event(&mut socket, "session.ready").await;
    // On its way to the store in the moment of the erasure.
    library.archive().complete(late.clone()).await.unwrap();
    for planted in ["The lump", "since May 3", "Annabel", "secret heron", "Late lump"] {
        assert!(library.holds(planted), "{planted} is looked for in the right files");
    }
    let ann = library.token("ann");
    let told = library.ask("DELETE", "/v1/me?confirm=erase", Some(&ann)).await;
    let body = told.body();
    assert_eq!((told.status, &body["erased"], &body["calls_ended"]), (200, &json!(true), &json!(1)), "{}", told.text);
    assert!(body["calls_erased"].as_u64().unwrap() >= 1 && body["not_erased"].as_array().unwrap().len() == 5);
    assert_eq!(event(&mut socket, "session.ended").await["ending"], "client_left");
    close(&mut socket).await;
    library.house.settle().await;
    let archive = library.archive();
    assert_eq!(archive.store().complete(late).await.unwrap(), Written::Erased);
    archive.bring().await.unwrap();
    for planted in ["The lump", "since May 3", "Annabel", "secret heron", "Late lump"] {
        assert!(!library.holds(planted), "{planted} is still there");
    }
    assert!(library.holds("Nice day."), "others' are");
    assert_eq!(ids(&library.ask("GET", "/v1/sessions", Some(&ann)).await), [""; 0]);
    let path = unused["voice_path"].as_str().unwrap();
    assert_eq!(knock(&library.house, path, &[]).await.refusal(), (401, "ticket_unknown".to_owned()));
    assert_eq!(library.ask("DELETE", "/v1/me?confirm=erase", Some(&ann)).await.body()["calls_erased"], 0);
}

#[actix_web::test]
async fn an_operator_erases_a_user_by_its_id_whatever_is_in_it() {
    let library = Library::new(&[]).await;
    let (odd, other) = (over("auth0|7/ö", 9, "The lump.", ""), over("auth0|7", 9, "Nice day.", ""));
    library.keep(&odd).await;
    library.keep(&other).await;
    let mut socket = knock(&library.house, "/v1/voice", &[bearer(&library.house, "auth0|7/ö")]).await.socket();
    event(&mut socket, "session.ready").await;
    let export = library.ask("GET", "/v1/users/auth0%7C7%2F%C3%B6/export", Some(KEY)).await;
    assert_eq!((export.status, &export.body()["user"]), (200, &json!("auth0|7/ö")));
    let told = library.ask("DELETE", "/v1/users/auth0%7C7%2F%C3%B6?confirm=erase", Some(KEY)).await;
    assert_eq!((told.status, &told.body()["calls_ended"]), (200, &json!(1)), "{}", told.text);
    assert_eq!(event(&mut socket, "session.ended").await["ending"], "admin");
    assert!(!library.holds("The lump.") && library.holds("Nice day."));
}

#[actix_web::test]
async fn an_export_has_all_that_is_kept_of_a_user_and_nothing_of_others() {
    let library = Library::new(&[]).await;
    let mut expected = Vec::new();
    for minutes in 0..205 {
        let record = over("ann", minutes, &format!("Line \"{minutes}\"\n."), "Recap.");
        expected.push(record.session.to_string());
        library.archive().store().complete(record).await.unwrap();
    }
    library.keep(&over("bob", 9, "Bob's secret.", "")).await;
    let journal: Vec<Value> = (0..80).map(|day| json!({"text": format!("day {day}")})).collect();
    let user = json!({"id": "ann", "name": "Annabel", "journal": journal});
    let users = tandem::context::user::Users::read(&json!({ "users": [user] }).to_string()).unwrap().users;
    LocalStore::open(&library.path.join("users.sqlite"), None).unwrap().import(users).await.unwrap();
    let told = library.ask("GET", "/v1/me/export", Some(&library.token("ann"))).await;
    assert_eq!((told.status, told.headers.get("cache-control").unwrap().to_str().unwrap()), (200, "no-store"));
    let disposition = told.headers.get("content-disposition").unwrap().to_str().unwrap();
    assert_eq!(disposition, "attachment; filename=\"tandem-export.json\"");
    assert_eq!(told.headers.get("content-type").unwrap(), "application/json");
    let body = told.body();
    assert_eq!((&body["user"], &body["profile"]["name"]), (&json!("ann"), &json!("Annabel")));
    assert_eq!(body["profile"]["journal"].as_array().unwrap().len(), 80, "more than a prompt is made of");
    let calls = body["sessions"].as_array().unwrap();
    let found: Vec<_> = calls.iter().map(|call| call["session_id"].as_str().unwrap().to_owned()).collect();
    assert!(found == expected, "{} of {}", found.len(), expected.len());
    assert_eq!(calls[7]["transcript"][0]["text"], "Line \"7\"\n.");
    assert!(calls.iter().all(|call| call["recap"] == "Recap.") && !told.text.contains("Bob's"));
    let nobody = library.ask("GET", "/v1/me/export", Some(&library.token("eve"))).await.body();
    assert_eq!((&nobody["sessions"], &nobody["profile"]), (&json!([]), &Value::Null));
}

#[actix_web::test]
async fn a_store_that_is_down_is_told_as_such_whatever_is_asked_of_it() {
    let nowhere = crate::house::port_for_later();
    let uri = format!("mongodb://127.0.0.1:{nowhere}/?serverSelectionTimeoutMS=200");
    let library = Library::new(&[("MONGODB_URI", &uri)]).await;
    let ann = library.token("ann");
    let session = format!("/v1/sessions/{}", uuid::Uuid::new_v4());
    for (method, path) in [
        ("GET", "/v1/sessions"),
        ("GET", session.as_str()),
        ("DELETE", session.as_str()),
        ("GET", "/v1/me/export"),
        ("DELETE", "/v1/me?confirm=erase"),
    ] {
        let told = library.ask(method, path, Some(&ann)).await;
        assert_eq!(told.refusal(), (503, "store_unavailable".to_owned()), "{method} {path}");
        assert_eq!(told.headers.get("retry-after").unwrap(), "5");
        assert!(!told.text.contains(&nowhere.to_string()), "{}", told.text);
    }
}

#[actix_web::test]
async fn who_asks_too_often_waits_and_still_may_call() {
    let library = Library::new(&[]).await;
    let ann = library.token("ann");
    let mut refused = None;
    for _ in 0..100 {
        let told = library.ask("GET", "/v1/sessions", Some(&ann)).await;
        if told.status != 200 {
            refused = Some(told);
            break;
        }
    }
    let refused = refused.expect("a hundred at once are too many");
    assert_eq!(refused.refusal(), (429, "too_many_attempts".to_owned()));
    assert!(refused.headers.contains_key("retry-after"));
    assert!(matches!(knock(&library.house, "/v1/voice", &[bearer(&library.house, "ann")]).await, Answer::Open(..)));
    assert_eq!(library.ask("GET", "/v1/sessions", Some(&library.token("bob"))).await.status, 200);
}

#[actix_web::test]
async fn what_is_too_old_is_in_no_answer() {
    let library = Library::new(&[("TANDEM__STORE__RETENTION_DAYS", "1")]).await;
    let (old, new) = (over("ann", 25 * 60, "Old lump.", ""), over("ann", 9, "New.", ""));
    library.keep(&old).await;
    library.keep(&new).await;
    let ann = library.token("ann");
    assert_eq!(ids(&library.ask("GET", "/v1/sessions", Some(&ann)).await), names(&[&new]));
    let path = format!("/v1/sessions/{}", old.session);
    assert_eq!(library.ask("GET", &path, Some(&ann)).await.status, 404);
    assert!(!library.ask("GET", "/v1/me/export", Some(&ann)).await.text.contains("Old lump."));
}

#[actix_web::test]
async fn what_the_page_tells_people_to_type_works() {
    if std::process::Command::new("curl").arg("--version").output().is_err() {
        assert!(std::env::var_os("TANDEM_TEST_REQUIRE_ALL").is_none(), "curl was not found: install it");
        return eprintln!("SKIPPED: curl was not found");
    }
    let library = Library::new(&[]).await;
    let record = over("ann", 9, "x", "");
    library.keep(&record).await;
    let page = std::fs::read_to_string("docs/protocol/history.md").unwrap();
    let blocks = page.split("```sh curl\n").skip(1).filter_map(|rest| rest.split_once("\n```"));
    let lines: Vec<String> = blocks.flat_map(|(block, _)| block.lines().map(str::to_owned)).collect();
    for line in &lines {
        let command = line.replacen("curl ", "curl -sS --max-time 20 -w '%{http_code}' ", 1);
        let mut shell = tokio::process::Command::new("sh");
        shell.args(["-c", &command]).current_dir(&library.path);
        shell.env("URL", library.house.url()).env("TOKEN", library.token("ann")).env("KEY", KEY);
        shell.env("SESSION", record.session.to_string());
        let output = tokio::time::timeout(crate::house::PATIENCE, shell.output()).await.unwrap().unwrap();
        let told = String::from_utf8(output.stdout).unwrap();
        assert!(told.ends_with("200"), "{line}: {told}{}", String::from_utf8_lossy(&output.stderr));
    }
    assert_eq!(lines.len(), 8);
    let export = std::fs::read_to_string(library.path.join("export.json")).unwrap();
    assert_eq!(serde_json::from_str::<Value>(&export).unwrap()["user"], "ann");
}
