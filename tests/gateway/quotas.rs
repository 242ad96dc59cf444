//! Callers whose time, or whose tenant's, is limited.

use serde_json::{Value, json};
use tandem::http::identity::unix_now_seconds;

use crate::{
    house::{House, SECRET, quiet},
    refusals::{Answer, bearer, close, event, knock},
};

/// A token of a back end that has tenants.
fn of_tenant(user: &str, tenant: &str) -> (&'static str, String) {
    let claims = json!({"sub": user, "exp": unix_now_seconds() + 60, "tenant": tenant});
    let key = jsonwebtoken::EncodingKey::from_secret(SECRET.as_bytes());
    (
        "authorization",
        format!("Bearer {}", jsonwebtoken::encode(&jsonwebtoken::Header::default(), &claims, &key).unwrap()),
    )
}

/// The refusal's status, its `Retry-After` and its body.
fn refused(answer: Answer) -> (u16, Option<u64>, Value) {
    match answer {
        Answer::Open(..) => panic!("the door opened"),
        Answer::Refused(status, headers, body) => {
            let later = headers.get("retry-after").map(|seconds| seconds.to_str().unwrap().parse().unwrap());
            (status, later, body)
        }
    }
}

#[actix_web::test]
async fn a_call_gets_what_is_left_of_its_users_time_and_the_next_one_is_told_when_to_come_back() {
    let variables = [("TANDEM__QUOTA__USER_SECONDS", "1"), ("TANDEM__QUOTA__WINDOW_SECONDS", "240")];
    let house = House::set(quiet(), 2, &variables).await;
    let mut call = knock(&house, "/v1/voice", &[bearer(&house, "ann")]).await.socket();
    let created = event(&mut call, "session.created").await;
    assert_eq!(created["limits"]["max_duration_ms"], 1_000);
    event(&mut call, "session.ready").await;
    let (status, later, body) = refused(knock(&house, "/v1/voice", &[bearer(&house, "ann")]).await);
    assert_eq!(
        (status, later, body["code"].as_str()),
        (429, Some(60), Some("quota_spent")),
        "the first has booked it all"
    );
    let expiring = event(&mut call, "session.expiring").await;
    assert_eq!(expiring["reason"], "quota");
    assert!((1..=500).contains(&expiring["in_ms"].as_u64().unwrap()), "half of it ahead: {expiring}");
    assert_eq!(event(&mut call, "session.ended").await["ending"], "quota_spent");
    assert_eq!(u16::from(close(&mut call).await.code), 4473);
    house.metric_until("tandem_sessions_ended_total{protocol=\"native\",reason=\"quota_spent\"}", 1.0).await;
    let (status, later, body) = refused(knock(&house, "/v1/voice", &[bearer(&house, "ann")]).await);
    assert_eq!((status, body["limit"].as_u64(), body["window_seconds"].as_u64()), (429, Some(1), Some(240)));
    assert!((230..=250).contains(&later.unwrap()), "{later:?}");
    assert_eq!(body["detail"], "The time that you may talk is used up; call again later. The limit is 1 s in 240 s.");
    let mut other = knock(&house, "/v1/voice", &[bearer(&house, "bob")]).await.socket();
    event(&mut other, "session.ready").await;
}

#[actix_web::test]
async fn the_users_of_one_tenant_share_its_limits_and_those_without_one_are_one() {
    let variables = [("TANDEM__QUOTA__TENANT_CALLS", "1"), ("TANDEM__QUOTA__TENANT_SECONDS", "600")];
    let house = House::set(quiet(), 3, &variables).await;
    let mut first = knock(&house, "/v1/voice", &[of_tenant("ann", "acme")]).await.socket();
    assert_eq!(event(&mut first, "session.created").await["limits"]["max_duration_ms"], 600_000);
    let (status, later, body) = refused(knock(&house, "/v1/voice", &[of_tenant("bob", "acme")]).await);
    assert_eq!((status, later, body["code"].as_str()), (429, Some(15), Some("too_many_tenant_calls")));
    assert_eq!((body["limit"].as_u64(), body.get("window_seconds")), (Some(1), None));
    let _second = knock(&house, "/v1/voice", &[of_tenant("bob", "other")]).await.socket();
    let _third = knock(&house, "/v1/voice", &[bearer(&house, "cy")]).await.socket();
    let refusal = knock(&house, "/v1/voice", &[bearer(&house, "dee")]).await.refusal();
    assert_eq!(refusal, (429, "too_many_tenant_calls".to_owned()));
    first.close(None).await.unwrap();
    house.metric_until("tandem_sessions_ended_total{protocol=\"native\",reason=\"client_left\"}", 1.0).await;
    knock(&house, "/v1/voice", &[of_tenant("bob", "acme")]).await.socket();
}
