//! New settings in a gateway that runs: in force from the next call on, all of them or none, and no call notices.

use std::{collections::BTreeMap, time::Duration};

use futures_util::SinkExt as _;
use tandem::{
    config::{self, Settings},
    gateway::ReloadError,
    sim::upstream::Simulator,
};
use tokio_tungstenite::tungstenite::Message;

use crate::{
    house::{House, PATIENCE, SECRET, quiet},
    refusals::{Answer, Socket, bearer, event, knock},
};

/// The settings of the house, with variables on top.
fn settings(house: &House, variables: &[(&str, &str)]) -> Settings {
    let urls: Vec<String> = house.servers.iter().map(Simulator::url).collect();
    let mut environment = BTreeMap::from([
        ("PERSONAPLEX_SERVER_URL".to_owned(), urls.join(",")),
        ("JWT_SECRET".to_owned(), SECRET.to_owned()),
    ]);
    environment.extend(variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
    config::load(None, &environment).unwrap()
}

async fn reload(house: &House, variables: &[(&str, &str)]) {
    house.gateway.reload(&settings(house, variables)).await.unwrap();
}

async fn call(house: &House, user: &str) -> Answer {
    knock(house, "/v1/voice?wait=0", &[bearer(house, user)]).await
}

/// Hangs up, and waits until the model server is free again.
async fn hang_up(house: &House, mut socket: Socket) -> serde_json::Value {
    socket.send(Message::text(r#"{"type":"session.end"}"#)).await.unwrap();
    let ended = event(&mut socket, "session.ended").await;
    house.settle().await;
    ended
}

#[actix_web::test]
async fn a_call_goes_on_through_a_reload_as_it_began_and_the_next_one_has_the_new_limits() {
    let house = House::new(quiet(), 2).await;
    let mut live = call(&house, "ann").await.socket();
    assert_eq!(event(&mut live, "session.created").await["limits"]["max_duration_ms"], 1_800_000);
    event(&mut live, "session.ready").await;
    reload(
        &house,
        &[
            ("TANDEM__SESSION__MAX_DURATION_SECONDS", "100"),
            ("TANDEM__SESSION__IDLE_TIMEOUT_SECONDS", "90"),
            ("TANDEM__SESSION__RESUME_GRACE_SECONDS", "0"),
            ("TANDEM__TURNS__SHARE", "0"),
        ],
    )
    .await;
    let mut next = call(&house, "ben").await.socket();
    let created = event(&mut next, "session.created").await;
    assert_eq!(
        (&created["limits"]["max_duration_ms"], &created["limits"]["idle_timeout_ms"]),
        (&100_000.into(), &90_000.into())
    );
    assert!(created["resume"].is_null(), "{created}");
    event(&mut next, "session.ready").await;
    live.send(Message::text(r#"{"type":"session.end"}"#)).await.unwrap();
    let ended = event(&mut live, "session.ended").await;
    assert_eq!(ended["ending"], "client_left");
    assert!(ended["turns"].is_object(), "it is measured as it began: {ended}");
    let ended = hang_up(&house, next).await;
    assert!(ended["turns"].is_null(), "{ended}");
}

/// Waits until there is one call.
async fn alone(house: &House) {
    let mut look = tokio::time::interval(Duration::from_millis(5));
    let waiting = async {
        while house.gateway.sessions() != 1 {
            look.tick().await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.expect("one call is left");
}

/// A row of [`REFUSALS`].
type Refusal = (&'static [(&'static str, &'static str)], bool, &'static str, &'static str);

/// What is set, who begins a call under it before it is looked for (if anybody), the address, and the refusal there.
const REFUSALS: &[Refusal] = &[
    (&[("TANDEM__DOORS__CALLER_PROMPTS", "never")], false, "/v1/voice?voice=NATF0", "prompt_not_allowed"),
    (&[("TANDEM__DOORS__ALLOWED_ORIGINS", "https://app.example")], false, "/v1/voice", "origin_not_allowed"),
    (&[("TANDEM__DOORS__QUERY_TOKENS", "never")], false, "/v1/voice?token=x", "token_in_query"),
    (&[("TANDEM__QUEUE__LIMIT", "0")], false, "/v1/voice", "no_capacity"),
    (&[("TANDEM__SESSION__MAX_SESSIONS", "2")], true, "/v1/voice", "no_capacity"),
    (&[("TANDEM__SESSION__MAX_SESSIONS_PER_USER", "1")], true, "/v1/voice", "too_many_calls"),
    (&[("TANDEM__SESSION__ATTEMPTS_PER_MINUTE_PER_USER", "1")], true, "/v1/voice", "too_many_attempts"),
    (&[("TANDEM__QUOTA__USER_SECONDS", "4")], true, "/v1/voice", "quota_spent"),
    (&[("TANDEM__QUOTA__TENANT_SECONDS", "6")], false, "/v1/voice", "tenant_quota_spent"),
    (&[("TANDEM__QUOTA__TENANT_CALLS", "1")], false, "/v1/voice", "too_many_tenant_calls"),
];

#[actix_web::test]
async fn every_limit_that_a_reload_brings_is_in_force_for_the_next_call_and_gone_with_the_next_reload() {
    let before = [("TANDEM__QUOTA__TENANT_SECONDS", "100000")];
    let house = House::set(quiet(), 1, &before).await;
    let mut live = call(&house, "ann").await.socket();
    event(&mut live, "session.ready").await;
    for (row, (variables, begins, path, code)) in REFUSALS.iter().enumerate() {
        let named = [bearer(&house, &format!("user-{row}")), ("origin", "https://elsewhere.example".to_owned())];
        let headers = if path.contains("token=") { &named[1..] } else { &named[..] };
        reload(&house, &[&before[..], variables].concat()).await;
        let mut first = None;
        if *begins {
            let mut socket = knock(&house, path, headers).await.socket();
            event(&mut socket, "session.queued").await;
            first = Some(socket);
        }
        assert_eq!(knock(&house, path, headers).await.refusal().1, *code, "{variables:?}");
        reload(&house, &before).await;
        let mut next = knock(&house, "/v1/voice", &named).await.socket();
        event(&mut next, "session.queued").await;
        for mut socket in first.into_iter().chain([next]) {
            socket.send(Message::text(r#"{"type":"session.end"}"#)).await.unwrap();
            event(&mut socket, "session.ended").await;
        }
        alone(&house).await;
    }
    let ended = hang_up(&house, live).await;
    assert_eq!(ended["ending"], "client_left", "it has noticed nothing: {ended}");
}

#[actix_web::test]
async fn personas_voices_and_what_servers_are_given_to_read_are_those_of_the_newest_configuration() {
    let house = House::new(quiet(), 1).await;
    let shelf = std::env::temp_dir().join(format!("tandem-shelf-{}", uuid::Uuid::new_v4()));
    std::fs::create_dir(&shelf).unwrap();
    let of = |words: &str| {
        format!(
            "name = \"porter\"\ndescription = \"Helps.\"\nvoice = \"VARF3\"\ntemplate = \"{words}\"\n[budget]\ntokens = 40\n"
        )
    };
    std::fs::write(shelf.join("porter.toml"), of("You carry bags.")).unwrap();
    let directory = shelf.display().to_string();
    let variables = [("TANDEM__PERSONA__DIR", directory.as_str()), ("TANDEM__PERSONA__DEFAULT", "porter")];
    reload(&house, &variables).await;
    let mut first = call(&house, "ann").await.socket();
    event(&mut first, "session.ready").await;
    // The file is another one with the next reload; the call keeps what its server has read.
    std::fs::write(shelf.join("porter.toml"), of("You open doors.")).unwrap();
    reload(&house, &variables).await;
    hang_up(&house, first).await;
    let mut second = call(&house, "ann").await.socket();
    event(&mut second, "session.ready").await;
    hang_up(&house, second).await;
    let read: Vec<_> = house.log().iter().map(|call| (call.voice_asked.clone(), call.prompt_asked.clone())).collect();
    assert_eq!(read.len(), 2);
    for ((voice, prompt), words) in read.iter().zip(["You carry bags.", "You open doors."]) {
        assert!(voice.as_ref().unwrap().starts_with("VARF3"), "{voice:?}");
        assert!(prompt.as_ref().unwrap().expose().contains(words));
    }
    std::fs::write(shelf.join("porter.toml"), "nonsense").unwrap();
    let error = house.gateway.reload(&settings(&house, &variables)).await.unwrap_err();
    assert!(matches!(error, ReloadError::Personas(_)), "{error}");
    std::fs::remove_dir_all(&shelf).unwrap();
    let mut third = call(&house, "ann").await.socket();
    event(&mut third, "session.ready").await;
    hang_up(&house, third).await;
    assert!(house.log()[2].prompt_asked.as_ref().unwrap().expose().contains("You open doors."), "the last good one");
}

#[actix_web::test]
async fn a_configuration_that_cannot_be_taken_over_changes_nothing_of_what_it_says_besides() {
    let house = House::new(quiet(), 1).await;
    let limit = ("TANDEM__SESSION__MAX_SESSIONS", "77");
    let secret = ("JWT_SECRET", "fedcba9876543210fedcba9876543210");
    for (wrong, expected) in [
        (vec![("TANDEM__PERSONA__DEFAULT", "nobody")], "persona.default"),
        (vec![("PERSONAPLEX_SERVER_URL", "wss://127.0.0.1:9#ca=no.pem")], "no.pem"),
        (vec![("TANDEM_MODE", "production"), secret], "restart"),
        (vec![("TANDEM__QUOTA__TENANT_CALLS", "1")], "restart"),
    ] {
        let error = house.gateway.reload(&settings(&house, &[&wrong[..], &[limit]].concat())).await.unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
        assert_eq!(house.metric("tandem_sessions_limit"), Some(1000.0), "{wrong:?}");
        assert_eq!(house.slots().await.len(), 1, "{wrong:?}");
        assert!(house.gateway.doors.rules.now().policy.caller_prompts, "{wrong:?}");
    }
    reload(&house, &[limit]).await;
    assert_eq!(house.metric("tandem_sessions_limit"), Some(77.0));
}

#[actix_web::test]
async fn of_two_reloads_at_once_one_is_in_force_and_never_a_part_of_each() {
    let house = House::new(quiet(), 1).await;
    for round in 0..20_u32 {
        let [one, other] = [10 + round, 50 + round].map(|limit| {
            let limit = limit.to_string();
            let names =
                ["TANDEM__SESSION__MAX_SESSIONS", "TANDEM__QUEUE__LIMIT", "TANDEM__SESSION__IDLE_TIMEOUT_SECONDS"];
            settings(
                &house,
                &[names.map(|name| (name, limit.as_str())).as_slice(), &[("TANDEM__SESSION__WARNING_SECONDS", "1")]]
                    .concat(),
            )
        });
        let (first, second) = tokio::join!(house.gateway.reload(&one), house.gateway.reload(&other));
        assert!(first.is_ok() && second.is_ok());
        let seconds = house.gateway.doors.rules.now().limits.idle_timeout.as_secs();
        let limits = [house.metric("tandem_sessions_limit"), house.metric("tandem_queue_limit")];
        assert_eq!(limits, [Some(f64::from(50 + round)); 2], "the later one");
        assert_eq!(seconds, u64::from(50 + round));
    }
}

#[actix_web::test]
async fn a_shutdown_lets_calls_go_on_for_as_long_as_the_newest_configuration_says() {
    let house = House::set(quiet(), 1, &[("TANDEM__DRAIN__DEADLINE_SECONDS", "3600")]).await;
    let mut live = call(&house, "ann").await.socket();
    event(&mut live, "session.ready").await;
    reload(&house, &[("TANDEM__DRAIN__DEADLINE_SECONDS", "0")]).await;
    let (left, ended) = tokio::join!(house.gateway.stop(), event(&mut live, "session.ended"));
    assert_eq!((left, &ended["ending"]), (0, &"drained".into()));
}
