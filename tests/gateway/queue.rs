//! Callers who wait for a model server: who gets one, who does not, and what is counted of it.

use crate::{
    house::{House, quiet},
    refusals::{bearer, close, event, knock},
};

#[actix_web::test]
async fn who_waits_for_too_long_is_told_so_and_counted_apart_from_who_hangs_up() {
    let house = House::set(quiet(), 1, &[("TANDEM__QUEUE__TIMEOUT_SECONDS", "1")]).await;
    let mut talking = knock(&house, "/v1/voice", &[bearer(&house, "ann")]).await.socket();
    event(&mut talking, "session.ready").await;
    let mut patient = knock(&house, "/v1/voice", &[bearer(&house, "bob")]).await.socket();
    let mut hasty = knock(&house, "/v1/voice", &[bearer(&house, "eve")]).await.socket();
    assert_eq!(event(&mut patient, "session.queued").await["position"], 1);
    assert_eq!(event(&mut hasty, "session.queued").await["position"], 2);
    house.metric_until("tandem_queue_depth{class=\"new\"}", 2.0).await;
    hasty.close(None).await.unwrap();
    assert_eq!(u16::from(close(&mut patient).await.code), 4451);
    for (outcome, count) in [("granted", 1.0), ("left", 1.0), ("timed_out", 1.0)] {
        let series = format!("tandem_queue_wait_seconds_count{{class=\"new\",outcome=\"{outcome}\"}}");
        house.metric_until(&series, count).await;
    }
    house.metric_until("tandem_queue_depth{class=\"new\"}", 0.0).await;
}

#[actix_web::test]
async fn a_queue_that_is_full_takes_nobody_else() {
    let house = House::set(quiet(), 1, &[("TANDEM__QUEUE__LIMIT", "1")]).await;
    let mut talking = knock(&house, "/v1/voice", &[bearer(&house, "ann")]).await.socket();
    event(&mut talking, "session.ready").await;
    let mut first = knock(&house, "/v1/voice", &[bearer(&house, "bob")]).await.socket();
    event(&mut first, "session.queued").await;
    let refused = knock(&house, "/v1/voice", &[bearer(&house, "eve")]).await.refusal();
    assert_eq!(refused, (503, "no_capacity".to_owned()));
    house.metric_until("tandem_queue_wait_seconds_count{class=\"new\",outcome=\"queue_full\"}", 1.0).await;
    assert_eq!(house.metric("tandem_queue_limit"), Some(1.0));
    talking.close(None).await.unwrap();
    event(&mut first, "session.ready").await;
}
