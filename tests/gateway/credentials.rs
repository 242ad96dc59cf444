//! Every way in, and every way in which a token or a ticket can be wrong.

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as BASE64};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use tandem::{
    http::{doors::Wishes, identity::unix_now_seconds},
    sim::caller::{self, Audio, Credential, HangUp, Wire},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::{
    house::{House, PATIENCE, SECRET, quiet},
    refusals::{Answer, event, knock},
};

fn signed(claims: &Value) -> String {
    encode(&Header::default(), claims, &EncodingKey::from_secret(SECRET.as_bytes())).unwrap()
}

#[actix_web::test]
async fn every_wrong_token_is_refused_with_its_own_code() {
    let house = House::set(
        quiet(),
        1,
        &[
            ("TANDEM__AUTH__ISSUER", "aurora"),
            ("TANDEM__AUTH__AUDIENCE", "voice"),
            ("TANDEM__AUTH__REQUIRED_SCOPE", "call"),
        ],
    )
    .await;
    let now = unix_now_seconds();
    let good = json!({"sub": "ann", "exp": now + 60, "iss": "aurora", "aud": "voice", "scope": "call"});
    let with = |key: &str, value: Value| {
        let mut claims = good.clone();
        claims[key] = value;
        signed(&claims)
    };
    let without = |key: &str| {
        let mut claims = good.clone();
        claims.as_object_mut().unwrap().remove(key);
        signed(&claims)
    };
    let other =
        encode(&Header::default(), &good, &EncodingKey::from_secret(b"another secret of a good length!")).unwrap();
    let header = BASE64.encode(r#"{"alg":"none","typ":"JWT"}"#);
    let none = format!("{header}.{}.", BASE64.encode(good.to_string()));
    let longer = encode(&Header::new(Algorithm::HS512), &good, &EncodingKey::from_secret(SECRET.as_bytes())).unwrap();
    for (token, status, code) in [
        ("nonsense".to_owned(), 401, "token_malformed"),
        (other, 401, "token_bad_signature"),
        (none, 401, "token_wrong_algorithm"),
        (longer, 401, "token_wrong_algorithm"),
        (with("exp", json!(now - 60)), 401, "token_expired"),
        (without("exp"), 401, "token_no_expiry"),
        (with("nbf", json!(now + 600)), 401, "token_not_yet_valid"),
        (with("iss", json!("somebody")), 401, "token_wrong_issuer"),
        (with("aud", json!("web")), 401, "token_wrong_audience"),
        (without("sub"), 401, "token_no_user"),
        (with("scope", json!("read")), 403, "forbidden"),
    ] {
        let answer = knock(&house, "/v1/voice", &[("authorization", format!("Bearer {token}"))]).await;
        if let Answer::Refused(_, headers, _) = &answer {
            assert!(headers.contains_key("www-authenticate"), "{code}");
        }
        assert_eq!(answer.refusal(), (status, code.to_owned()));
    }
    let basic = knock(&house, "/v1/voice", &[("authorization", "Basic YTpi".to_owned())]).await.refusal();
    assert_eq!(basic, (401, "token_malformed".to_owned()));
    assert!(house.log().is_empty(), "none of them reached the server");
    let mut open = knock(&house, "/v1/voice", &[("authorization", format!("Bearer {}", signed(&good)))]).await.socket();
    event(&mut open, "session.ready").await;
}

#[actix_web::test]
async fn back_ends_name_their_users_in_three_ways() {
    let house = House::new(quiet(), 1).await;
    let exp = unix_now_seconds() + 60;
    for claims in [json!({"sub": "a", "exp": exp}), json!({"userId": "b", "exp": exp}), json!({"id": 7, "exp": exp})] {
        let answer = knock(&house, "/v1/voice", &[("authorization", format!("Bearer {}", signed(&claims)))]).await;
        drop(answer.socket());
        house.slots_until(|slots| slots[0].state == tandem::pool::roster::SlotState::Free).await;
    }
}

#[actix_web::test]
async fn a_browser_shows_its_token_in_the_subprotocol_list() {
    let house = House::new(quiet(), 1).await;
    let list = format!("tandem.v1, tandem.bearer.{}", house.token("ann").expose_secret());
    match knock(&house, "/v1/voice", &[("sec-websocket-protocol", list)]).await {
        Answer::Open(_, headers) => assert_eq!(headers["sec-websocket-protocol"], "tandem.v1", "never the token"),
        refused => panic!("{refused:?}"),
    }
}

#[actix_web::test]
async fn development_takes_a_token_in_the_query() {
    let house = House::new(quiet(), 1).await;
    let path = format!("/v1/voice?token={}", house.token("ann").expose_secret());
    knock(&house, &path, &[]).await.socket();
}

/// One HTTP request on a connection of its own; the status and the JSON body.
pub async fn post(house: &House, path: &str, token: Option<&str>, body: &str) -> (u16, Value) {
    let mut stream = TcpStream::connect(house.gateway.address).await.unwrap();
    let token = token.map(|token| format!("Authorization: Bearer {token}\r\n")).unwrap_or_default();
    let length = body.len();
    let request = format!(
        "POST {path} HTTP/1.1\r\nHost: localhost\r\n{token}Content-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer)).await.unwrap().unwrap();
    let answer = String::from_utf8(answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), serde_json::from_str(body).unwrap())
}

pub async fn ticket(house: &House, order: &str) -> Value {
    let (status, minted) = post(house, "/v1/tickets", Some(house.token("ann").expose_secret()), order).await;
    assert_eq!(status, 201, "{minted}");
    minted
}

#[actix_web::test]
async fn a_ticket_opens_one_call_in_any_of_its_places() {
    let house = House::new(quiet(), 1).await;
    for place in ["voice", "query", "stock client", "path"] {
        let minted = ticket(&house, r#"{"voice":"NATM1","text_prompt":"You are Bo."}"#).await;
        let ticket = minted["ticket"].as_str().unwrap();
        let path = match place {
            "voice" => minted["voice_path"].as_str().unwrap().to_owned(),
            "query" => format!("/api/chat?ticket={ticket}"),
            // What the stock web client sends of its own is not what the ticket was minted for.
            "stock client" => format!("/api/chat?worker_auth_id={ticket}&voice_prompt=NATF3.pt&text_prompt=Else."),
            _ => minted["chat_path"].as_str().unwrap().to_owned(),
        };
        drop(knock(&house, &path, &[]).await.socket());
        assert_eq!(knock(&house, &path, &[]).await.refusal(), (401, "ticket_unknown".to_owned()), "{place}");
        house.settle().await;
        house.slots_until(|slots| slots[0].state == tandem::pool::roster::SlotState::Free).await;
    }
    for call in house.log() {
        assert_eq!(call.voice_asked.as_deref(), Some("NATM1.pt"), "the settings are bound to the ticket");
        assert_eq!(call.prompt_asked.as_ref().map(|prompt| prompt.expose()), Some("You are Bo."));
    }
}

#[actix_web::test]
async fn a_ticket_counts_as_its_users_call() {
    let house = House::set(quiet(), 4, &[("TANDEM__SESSION__MAX_SESSIONS_PER_USER", "1")]).await;
    let (first, second) = (ticket(&house, "").await, ticket(&house, "").await);
    let mut open = knock(&house, first["voice_path"].as_str().unwrap(), &[]).await.socket();
    event(&mut open, "session.ready").await;
    let refused = knock(&house, second["voice_path"].as_str().unwrap(), &[]).await.refusal();
    assert_eq!(refused, (429, "too_many_calls".to_owned()), "both are ann's");
}

#[actix_web::test]
async fn a_ticket_does_not_outlive_the_token_it_was_minted_for() {
    let house = House::new(quiet(), 1).await;
    let doors = &house.gateway.doors;
    let mut ann = doors.tokens.verify(house.token("ann").expose_secret(), unix_now_seconds()).unwrap();
    ann.expires_at_unix_s = unix_now_seconds() - 31;
    let ticket = doors.tickets.mint(ann, Wishes::default(), doors.now()).unwrap();
    let late = knock(&house, &format!("/v1/voice?ticket={}", ticket.expose_secret()), &[]).await.refusal();
    assert_eq!(late, (401, "token_expired".to_owned()), "the leeway is 30 s");
}

#[actix_web::test]
async fn a_race_for_one_ticket_has_one_winner() {
    let house = House::new(quiet(), 8).await;
    let minted = ticket(&house, "").await;
    let path = minted["voice_path"].as_str().unwrap();
    let answers = futures_util::future::join_all((0..16).map(|_| knock(&house, path, &[]))).await;
    let opened = answers.iter().filter(|answer| matches!(answer, Answer::Open(..))).count();
    assert_eq!(opened, 1);
}

#[actix_web::test]
async fn every_wrong_ticket_is_refused_with_its_own_code() {
    let house = House::new(quiet(), 1).await;
    let unknown = "A".repeat(43);
    for (path, code) in [
        ("/v1/voice?ticket=short".to_owned(), "ticket_malformed"),
        (format!("/v1/voice?ticket={unknown}"), "ticket_unknown"),
        (format!("/t/{unknown}/api/chat"), "ticket_unknown"),
        (format!("/api/chat?worker_auth_id={}", "y".repeat(9000)), "ticket_malformed"),
    ] {
        assert_eq!(knock(&house, &path, &[]).await.refusal(), (401, code.to_owned()), "{code}");
    }
    let doors = &house.gateway.doors;
    let ann = doors.tokens.verify(house.token("ann").expose_secret(), unix_now_seconds()).unwrap();
    let long_ago = doors.now() - Duration::from_secs(61);
    let old = doors.tickets.mint(ann, Wishes::default(), long_ago).unwrap();
    let late = knock(&house, &format!("/v1/voice?ticket={}", old.expose_secret()), &[]).await.refusal();
    assert_eq!(late, (401, "ticket_expired".to_owned()));
}

#[actix_web::test]
async fn a_ticket_is_minted_for_good_orders_of_known_users_only() {
    let house = House::new(quiet(), 1).await;
    let token = house.token("ann");
    let token = Some(token.expose_secret());
    let huge = format!("{{\"text_prompt\":\"{}\"}}", "a".repeat(5000));
    for (token, order, status, code) in [
        (None, "", 401, "token_missing"),
        (token, "{", 400, "bad_request"),
        (token, r#"{"seed":5}"#, 400, "bad_request"),
        (token, r#"{"voice":"NATF9"}"#, 404, "unknown_voice"),
        (token, r#"{"text_prompt":" "}"#, 400, "bad_prompt"),
        (token, huge.as_str(), 413, "body_too_large"),
    ] {
        let (got, body) = post(&house, "/v1/tickets", token, order).await;
        assert_eq!((got, body["code"].as_str()), (status, Some(code)), "{order:.40}");
    }
}

#[actix_web::test]
async fn the_scripted_caller_can_use_each_credential() {
    let house = House::new(quiet(), 1).await;
    let minted = ticket(&house, "").await;
    for credential in [
        Credential::Bearer(house.token("ann")),
        Credential::Subprotocol(house.token("ann")),
        Credential::Ticket(minted["ticket"].as_str().unwrap().into()),
    ] {
        let mut settings = house.caller("ann", Wire::Native(Audio::Opus));
        settings.credential = credential;
        settings.hang_up = HangUp::After(Duration::from_millis(100));
        let report = caller::call(settings).await;
        assert!(report.went_well(), "{report:?}");
        house.settle().await;
    }
}
