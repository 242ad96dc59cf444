//! `/admin`: who is let in, what is seen, and what an order does to calls that are under way.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use serde_json::{Value, json};
use tandem::{config, gateway::Rehearsal, pool::roster::SlotLabel, sim::upstream::Simulator};

use crate::{
    house::{House, PATIENCE, gateway_over, quiet},
    machines::{Told, ask, hang_up},
    refusals::{Socket, bearer, event, knock, next},
};

pub const TOKEN: &str = "an admin's token that is long enough";
const OPERATOR: &str = "an operator's key that is long enough";

fn with(token: &str) -> Option<(&'static str, String)> {
    Some(("authorization", format!("Bearer {token}")))
}

async fn house(servers: usize) -> House {
    House::set(quiet(), servers, &[("TANDEM_ADMIN_TOKEN", TOKEN), ("TANDEM_OPERATOR_KEY", OPERATOR)]).await
}

async fn get(house: &House, path: &str) -> Told {
    ask("GET", &format!("{}{path}", house.url()), with(TOKEN), None).await
}

async fn order(house: &House, method: &str, path: &str, body: Option<Value>) -> Told {
    ask(method, &format!("{}{path}", house.url()), with(TOKEN), body).await
}

fn code(told: &Told) -> (u16, &str) {
    (told.status, told.body["code"].as_str().unwrap_or_default())
}

/// A call that has its server.
async fn talk(house: &House, user: &str) -> Socket {
    let mut socket = knock(house, "/v1/voice", &[bearer(house, user)]).await.socket();
    event(&mut socket, "session.ready").await;
    socket
}

/// The live calls, once there are so many.
async fn sessions(house: &House, count: usize) -> Vec<Value> {
    let mut look = tokio::time::interval(Duration::from_millis(10));
    let looking = async {
        loop {
            look.tick().await;
            let sessions = get(house, "/admin/sessions").await.body["sessions"].as_array().unwrap().clone();
            let settled =
                sessions.iter().all(|session| session["phase"] == "streaming" || session["phase"] == "leasing");
            if sessions.len() == count && settled {
                return sessions;
            }
        }
    };
    tokio::time::timeout(PATIENCE, looking).await.expect("there are other calls")
}

#[actix_web::test]
async fn nobody_administers_where_no_token_is_set() {
    let house = House::set(quiet(), 1, &[("TANDEM_OPERATOR_KEY", OPERATOR)]).await;
    for credential in [None, with(TOKEN), with(OPERATOR), with("")] {
        let told = ask("GET", &format!("{}/admin/sessions", house.url()), credential, None).await;
        assert_eq!(code(&told), (404, "admin_closed"));
    }
}

#[actix_web::test]
async fn only_the_admin_token_lets_in_and_who_tries_others_shuts_nobody_out() {
    let house = house(1).await;
    let url = format!("{}/admin/sessions", house.url());
    let ann = bearer(&house, "ann");
    for credential in [None, with(OPERATOR), Some(ann), Some(crate::machines::operator()), with("")] {
        let told = ask("GET", &url, credential, None).await;
        assert_eq!(code(&told), (401, "admin_token_wrong"));
    }
    let mut codes = Vec::new();
    for _ in 0..10 {
        codes.push(ask("DELETE", &format!("{url}/1"), with("guess"), None).await.status);
    }
    // Five before, and one more comes free every six seconds.
    let answered = codes.iter().filter(|code| **code == 401).count();
    assert!((5..8).contains(&answered) && codes.contains(&429), "{codes:?}");
    assert_eq!(get(&house, "/admin/sessions").await.status, 200, "the right token is not held up by wrong ones");
    assert_eq!(house.metric("tandem_admin_orders_total{action=\"end_session\",result=\"refused\"}"), Some(0.0));
    let asked = |result: &str| house.metric(&format!("tandem_admin_requests_total{{result=\"{result}\"}}"));
    assert_eq!((asked("wrong_token"), asked("ok")), (Some(15.0), Some(1.0)));
    let told = house.gateway.doors.metrics.render();
    let refused = "tandem_auth_total{result=\"refused\"";
    assert!(!told.contains(refused), "these are no callers, whose share of refused ones an alert watches: {told}");
}

#[actix_web::test]
async fn a_call_is_seen_by_its_pseudonym_and_ended_once() {
    let house = house(1).await;
    let mut ann = talk(&house, "ann").await;
    let seen = sessions(&house, 1).await.remove(0);
    let told = get(&house, "/admin/sessions").await;
    assert_eq!((&told.body["active"], &told.body["draining"]), (&json!(1), &json!(false)));
    let pseudonym = tandem::auth::UserId::new("ann").unwrap().pseudonym();
    assert_eq!((seen["user"].as_str(), seen["upstream"].as_str()), (Some(pseudonym.as_str()), Some("1")), "{seen}");
    assert_eq!((seen["persona"].as_str(), seen["phase"].as_str()), (Some("assistant"), Some("streaming")));
    assert!(!told.body.to_string().contains("ann\""), "{}", told.body);
    let path = format!("/admin/sessions/{}", seen["session_id"].as_str().unwrap());
    let ended = order(&house, "DELETE", &path, None).await;
    assert_eq!((ended.status, ended.body["ending"].as_str()), (202, Some("admin")));
    let farewell = event(&mut ann, "session.ended").await;
    assert_eq!(farewell["reason"].as_str().or(farewell["ending"].as_str()), Some("admin"), "{farewell}");
    while next(&mut ann).await.is_some() {}
    house.settle().await;
    house.metric_until("tandem_sessions_active{protocol=\"native\"}", 0.0).await;
    sessions(&house, 0).await;
    assert_eq!(code(&order(&house, "DELETE", &path, None).await), (404, "unknown_call"), "it has just ended");
    for odd in ["/admin/sessions/1", "/admin/sessions/%2e%2e", "/admin/sessions/00000000-0000-0000-0000-000000000000"] {
        assert_eq!(code(&order(&house, "DELETE", odd, None).await), (404, "unknown_call"), "{odd}");
    }
    assert_eq!(house.metric("tandem_admin_orders_total{action=\"end_session\",result=\"ok\"}"), Some(1.0));
    assert_eq!(house.metric("tandem_admin_orders_total{action=\"end_session\",result=\"refused\"}"), Some(4.0));
}

#[actix_web::test]
async fn a_quarantined_server_keeps_its_call_and_gets_no_other_until_it_is_released() {
    let house = house(2).await;
    let mut ann = talk(&house, "ann").await;
    let name = sessions(&house, 1).await[0]["upstream"].as_str().unwrap().to_owned();
    let path = |what: &str| format!("/admin/upstreams/{name}/{what}");
    let withheld = order(&house, "POST", &path("quarantine"), None).await;
    let server = &withheld.body["upstream"];
    assert_eq!((withheld.status, server["state"].as_str()), (202, Some("withheld")), "{server}");
    assert_eq!(server["slots"][0]["state"], "leased", "its call goes on");
    let mut ben = talk(&house, "ben").await;
    assert!(sessions(&house, 2).await.iter().any(|session| session["upstream"] != json!(name)));
    hang_up(&mut ann).await;
    house.slots_until(|slots| slots.iter().any(|slot| slot.label == SlotLabel::Withheld)).await;
    let again = order(&house, "POST", &path("quarantine"), None).await;
    assert_eq!((again.status, again.body["upstream"]["slots"][0]["state"].as_str()), (200, Some("withheld")));
    hang_up(&mut ben).await;
    house.settle().await;
    let mut cid = talk(&house, "cid").await;
    assert!(sessions(&house, 1).await[0]["upstream"] != json!(name), "only the other one is called");
    assert_eq!(order(&house, "POST", &path("release"), None).await.body["upstream"]["state"], "ready");
    let mut dan = talk(&house, "dan").await;
    assert!(sessions(&house, 2).await.iter().any(|session| session["upstream"] == json!(name)));
    for socket in [&mut cid, &mut dan] {
        hang_up(socket).await;
    }
    let unknown = order(&house, "POST", "/admin/upstreams/9/quarantine", None).await;
    assert_eq!(code(&unknown), (404, "unknown_upstream"));
}

#[actix_web::test]
async fn a_server_is_added_called_and_removed_after_its_last_call() {
    let house = house(1).await;
    let newcomer = Simulator::start(quiet()).await.unwrap();
    let add = |url: String| order(&house, "POST", "/admin/upstreams", Some(json!({ "url": url })));
    let added = add(newcomer.url()).await;
    assert_eq!((added.status, added.body["name"].as_str()), (201, Some("2")), "{}", added.body);
    assert_eq!(code(&add(newcomer.url()).await), (409, "upstream_exists"));
    let mut ann = talk(&house, "ann").await;
    let mut ben = talk(&house, "ben").await;
    let removed = order(&house, "DELETE", "/admin/upstreams/2", None).await;
    assert_eq!((removed.status, removed.body["upstream"]["state"].as_str()), (202, Some("leaving")));
    assert_eq!(order(&house, "DELETE", "/admin/upstreams/2", None).await.status, 202, "it stays removed");
    assert_eq!(code(&order(&house, "DELETE", "/admin/upstreams/1", None).await), (409, "last_upstream"));
    let back = add(newcomer.url()).await;
    assert_eq!((back.status, back.body["name"].as_str()), (201, Some("2")), "it stays after all, with its call");
    assert_eq!(order(&house, "DELETE", "/admin/upstreams/2", None).await.status, 202);
    hang_up(&mut ann).await;
    hang_up(&mut ben).await;
    house.slots_until(|slots| slots.len() == 1).await;
    assert_eq!(code(&order(&house, "DELETE", "/admin/upstreams/2", None).await), (404, "unknown_upstream"));
    assert_eq!(newcomer.log().len(), 1, "it had one call");
}

#[actix_web::test]
async fn of_two_who_remove_the_last_two_servers_one_is_refused() {
    let house = house(2).await;
    let (one, two) = tokio::join!(
        order(&house, "DELETE", "/admin/upstreams/1", None),
        order(&house, "DELETE", "/admin/upstreams/2", None)
    );
    let mut statuses = [one.status, two.status];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 409]);
    house.slots_until(|slots| slots.len() == 1).await;
}

#[actix_web::test]
async fn all_who_add_at_once_get_a_server_of_their_own_and_a_reload_takes_the_configured_list_again() {
    let house = house(1).await;
    let add =
        |last: u16| order(&house, "POST", "/admin/upstreams", Some(json!({"url": format!("ws://10.0.0.{last}:1")})));
    let added = futures_util::future::join_all((1..=8).map(add)).await;
    let names: BTreeSet<&str> = added.iter().map(|told| told.body["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["2", "3", "4", "5", "6", "7", "8", "9"].into());
    assert_eq!(house.slots().await.len(), 9);
    let environment = BTreeMap::from([("PERSONAPLEX_SERVER_URL".to_owned(), house.servers[0].url())]);
    let told = house.gateway.reload(&config::load(None, &environment).unwrap()).await.unwrap();
    assert_eq!((told.joined.len(), told.parted.len()), (0, 8));
    assert_eq!(house.slots_until(|slots| slots.len() == 1).await[0].upstream, "1");
    let told = get(&house, "/admin/config").await;
    let urls = told.body["settings"].as_array().unwrap().iter().find(|line| line["key"] == "upstreams.urls").unwrap();
    assert_eq!(urls["source"], "PERSONAPLEX_SERVER_URL");
}

#[actix_web::test]
async fn one_of_several_behind_a_name_is_not_removed_alone() {
    let server = Simulator::start(quiet()).await.unwrap();
    let url = format!("ws://localhost:{}#dns", server.addr().port());
    let gateway = gateway_over(&url, &[("TANDEM_ADMIN_TOKEN", TOKEN)], Rehearsal::default());
    let house = House { gateway, servers: vec![server] };
    let found = house.slots_until(|slots| slots.len() == 1).await.remove(0).upstream;
    assert_eq!(found, "1.1");
    let told = order(&house, "DELETE", "/admin/upstreams/1.1", None).await;
    assert_eq!(code(&told), (409, "upstream_of_name"));
    assert_eq!(house.slots().await.len(), 1);
}

#[actix_web::test]
async fn what_cannot_be_added_is_refused_and_told_why() {
    let house = house(1).await;
    let port = house.servers[0].addr().port();
    for (body, status, expected, why) in [
        (json!({"url": "http://h:1"}), 400, "bad_upstream", "ws://host:port"),
        (json!({"url": "ws://me:secret@h:1"}), 400, "bad_upstream", "without user and password"),
        (json!({"url": "ws://h:1#capacity=0"}), 400, "bad_upstream", "capacity= and a whole number"),
        (json!({"url": "wss://h:1#ca=no-such-file.pem"}), 400, "bad_upstream", "no-such-file.pem"),
        (json!({"url": "ws://10.0.0.9:1#personal_context"}), 400, "bad_upstream", "wss:// with a certificate"),
        (json!({"url": "ws://h:1#provider=command:x"}), 400, "bad_upstream", "providers.command"),
        (json!({"url": format!("ws://localhost:{port}")}), 409, "upstream_exists", ""),
        (json!({"url": "ws://h:1", "name": "mine"}), 400, "bad_order", ""),
        (json!({"address": "ws://h:1"}), 400, "bad_order", ""),
        (json!({"url": 7}), 400, "bad_order", ""),
        (json!(["ws://h:1"]), 400, "bad_order", ""),
        (json!({"url": "x".repeat(5_000)}), 413, "body_too_large", ""),
    ] {
        let told = order(&house, "POST", "/admin/upstreams", Some(body.clone())).await;
        assert_eq!(code(&told), (status, expected), "{body}: {}", told.body);
        assert!(told.body["detail"].as_str().unwrap().contains(why), "{}", told.body);
        assert!(!told.body.to_string().contains("secret"), "{}", told.body);
    }
    let nothing = order(&house, "POST", "/admin/upstreams", None).await;
    assert_eq!(code(&nothing), (400, "bad_upstream"));
    assert_eq!(house.slots().await.len(), 1);
}

#[actix_web::test]
async fn every_setting_is_told_with_its_source_and_no_secret_is() {
    let house = house(1).await;
    let hidden = json!({"url": "ws://10.0.0.9:1/a-path-as-a-password#region=eu"});
    order(&house, "POST", "/admin/upstreams", Some(hidden)).await;
    let told = get(&house, "/admin/config").await;
    let settings = told.body["settings"].as_array().unwrap();
    let setting = |key: &str| settings.iter().find(|line| line["key"] == key).unwrap();
    assert_eq!(
        setting("auth.admin_token"),
        &json!({"key": "auth.admin_token", "value": "(set)", "source": "TANDEM_ADMIN_TOKEN"})
    );
    assert_eq!(setting("queue.limit")["source"], "default");
    let text = told.body.to_string();
    assert!(text.contains("ws://10.0.0.9:1/***#region=eu"), "{text}");
    for secret in [TOKEN, OPERATOR, crate::house::SECRET, "as-a-password"] {
        assert!(!text.contains(secret), "a secret is told");
    }
    let newcomer = Simulator::start(quiet()).await.unwrap();
    order(&house, "POST", "/admin/upstreams", Some(json!({"url": newcomer.url()}))).await;
    let told = get(&house, "/admin/config").await;
    let urls = told.body["settings"].as_array().unwrap().iter().find(|line| line["key"] == "upstreams.urls").unwrap();
    assert_eq!(urls["source"], "/admin/upstreams");
    assert!(urls["value"].as_str().unwrap().ends_with(&newcomer.url()), "{urls}");
}

#[actix_web::test]
async fn who_waits_is_seen_in_order() {
    let house = house(1).await;
    let mut ann = talk(&house, "ann").await;
    let mut ben = knock(&house, "/v1/voice", &[bearer(&house, "ben")]).await.socket();
    event(&mut ben, "session.queued").await;
    let mut cid = knock(&house, "/v1/voice", &[bearer(&house, "cid")]).await.socket();
    event(&mut cid, "session.queued").await;
    let queue = get(&house, "/admin/queue").await.body;
    let seen = queue["waiting"].as_array().unwrap().iter();
    let seen: Vec<_> = seen.map(|one| (one["user"].clone(), one["position"].clone(), one["reason"].clone())).collect();
    let pseudonym = |user: &str| json!(tandem::auth::UserId::new(user).unwrap().pseudonym());
    let waits = |user: &str, position: u8| (pseudonym(user), json!(position), json!("busy"));
    assert_eq!(seen, [waits("ben", 1), waits("cid", 2)]);
    let calls = sessions(&house, 3).await;
    let users: Vec<_> = calls.iter().map(|call| call["user"].clone()).collect();
    assert_eq!(users, ["ann", "ben", "cid"].map(pseudonym), "the oldest first");
    drop(cid);
    hang_up(&mut ann).await;
    event(&mut ben, "session.ready").await;
    hang_up(&mut ben).await;
}

#[actix_web::test]
async fn the_right_token_too_has_its_limit_and_one_may_ask_so_often_at_once() {
    let house = house(1).await;
    let asked = futures_util::future::join_all((0..400).map(|_| get(&house, "/admin/queue"))).await;
    let answered = asked.iter().filter(|told| told.status == 200).count();
    assert!((200..400).contains(&answered) && asked.iter().all(|told| [200, 429].contains(&told.status)), "{answered}");
    let counted = house.metric("tandem_admin_requests_total{result=\"too_many\"}");
    assert_eq!(counted, Some((400 - answered) as f64));
}

#[actix_web::test]
async fn a_process_that_is_told_to_end_is_told_once() {
    let house = house(1).await;
    let drain = async || {
        let told = order(&house, "POST", "/admin/drain", None).await;
        assert_eq!((told.status, told.body["state"].as_str()), (202, Some("draining")));
    };
    drain().await;
    tokio::time::timeout(PATIENCE, house.gateway.told_to_stop()).await.unwrap();
    drain().await;
    let again = tokio::time::timeout(Duration::ZERO, house.gateway.told_to_stop()).await;
    assert!(again.is_err(), "the second order hurries nothing");
    assert_eq!(house.gateway.stop().await, 0);
}
