//! What is known of callers, and what they say and hear, is in nothing that Tandem writes, however talkative it is.

use std::{
    process::{Command, Stdio},
    sync::Arc,
};

use futures_util::SinkExt as _;
use tandem::{
    context::{
        private::Private,
        source::{ContextError, ContextSource, Loading},
        user::{Context, Entry, Health},
    },
    gateway::Rehearsal,
    sim::upstream::{self, Simulator},
    telemetry::{self, Format},
};
use tokio_tungstenite::tungstenite::Message;

use crate::{
    crowd::reciting,
    house::House,
    personas::Shelf,
    refusals::{Answer, Socket, bearer, event, get, knock, next},
};

/// Set in the process whose output is looked at.
const ON_STAGE: &str = "TANDEM_TEST_SECRETS";
/// Who calls, and what is known of them.
const USER: &str = "planted-user";
/// A secret that signs nothing: a token with it is refused.
const TOKEN: &str = "planted.wrong.token";

/// A store that knows the caller; that fails for one, and has a fault of its own for another.
struct Store;

impl ContextSource for Store {
    fn load(&self, user: Private<String>) -> Loading {
        match user.expose().as_str() {
            "broken" => Box::pin(async { Err(ContextError::Store("it does not answer".into())) }),
            "fault" => panic!("a store with a fault"),
            _ => {
                let journal = vec![Entry { date: None, text: "A Planted sentence of a journal.".into() }];
                let health = Health { conditions: vec!["Planted Diagnosis".to_owned()].into(), ..Health::default() };
                Box::pin(
                    async move { Ok(Context { name: "Planted Name".into(), health, journal, ..Context::default() }) },
                )
            }
        }
    }
}

async fn dial(house: &House, user: &str, query: &str) -> Socket {
    knock(house, &format!("/v1/voice?{query}"), &[bearer(house, user)]).await.socket()
}

async fn hang_up(socket: &mut Socket) {
    socket.send(Message::text(r#"{"type":"session.end"}"#)).await.unwrap();
    event(socket, "session.ended").await;
}

#[actix_web::test]
#[ignore = "plays in a process of its own, whose output is looked at"]
async fn the_play() {
    assert!(std::env::var_os(ON_STAGE).is_some(), "it is of no use here");
    telemetry::start(Format::Json, "trace");
    let shelf = Shelf::new();
    let brisk = upstream::Settings { voice_steps: 1, step: std::time::Duration::from_millis(2), ..reciting() };
    let personas = [("TANDEM__PERSONA__DIR", shelf.0.to_str().unwrap())];
    let rehearsal = Rehearsal { contexts: Some(Arc::new(Store)), ..Rehearsal::default() };
    let house = House::with(brisk, 3, &personas, rehearsal).await;
    // A call with context, whose server dies: another one is told of both.
    let mut socket = dial(&house, USER, "persona=nurse").await;
    for _ in 0..20 {
        event(&mut socket, "transcript.delta").await;
    }
    let talks = |server: &&Simulator| server.log().iter().any(|call| call.end.is_none());
    house.servers.iter().find(talks).unwrap().kill();
    event(&mut socket, "session.recovered").await;
    hang_up(&mut socket).await;
    let asked = |word: &str| house.log().iter().any(|call| call.prompt_asked.as_ref().unwrap().expose().contains(word));
    assert!(asked("A Planted sentence") && asked("This is line"), "it was there to be leaked");
    // A prompt of the caller's own, a store that fails, one with a fault, and refusals.
    let mut socket = dial(&house, USER, "text_prompt=You+know+a+Planted+prompt.").await;
    // A word at a time, so that it is seen wherever a single piece of what the assistant says is written.
    while !event(&mut socket, "transcript.delta").await["text"].as_str().unwrap().contains("Planted") {}
    hang_up(&mut socket).await;
    let mut socket = dial(&house, "broken", "persona=nurse").await;
    event(&mut socket, "session.ended").await;
    let mut socket = dial(&house, "fault", "persona=nurse").await;
    while next(&mut socket).await.is_some() {}
    house.metric_until("tandem_sessions_ended_total{protocol=\"native\",reason=\"internal\"}", 1.0).await;
    let wrong = ("authorization", format!("Bearer {TOKEN}"));
    for path in ["/v1/voice", "/v1/voice?persona=Planted+Name", "/v1/voice?token=planted.other.token"] {
        let Answer::Refused(_, _, body) = knock(&house, path, std::slice::from_ref(&wrong)).await else {
            panic!("{path}")
        };
        println!("{body}");
    }
    for path in ["/metrics", "/readyz", "/healthz"] {
        println!("{}", String::from_utf8_lossy(&get(&house, path).await.body));
    }
    assert_eq!(house.gateway.stop().await, 0);
    println!("the play is over");
}

#[test]
fn nothing_that_is_known_or_said_is_in_logs_metrics_or_refusals() {
    let played = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "secrets::the_play", "--ignored", "--nocapture"])
        .env(ON_STAGE, "1")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = format!("{}{}", String::from_utf8_lossy(&played.stdout), String::from_utf8_lossy(&played.stderr));
    for seen in [
        "the play is over",
        "session ended",
        "assistant heard again",
        "the caller's context is not there",
        "a store with a fault",
        "tandem_context_loads_total{result=\"told\"} 1",
        "\"level\":\"DEBUG\"",
    ] {
        assert!(text.contains(seen), "{seen:?} is not in\n{text}");
    }
    for private in ["lanted", "Diagnosis", "eyJ", "This is line", "text_prompt", "Information:"] {
        let line = text.lines().find(|line| line.contains(private));
        assert_eq!(line, None, "{private:?} is told");
    }
}
