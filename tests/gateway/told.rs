//! What is known of callers, and what was said, goes only to model servers that may be told.

use std::sync::Arc;

use futures_util::SinkExt as _;
use tandem::{
    context::{
        private::Private,
        source::{ContextSource, Loading},
        user::{Context, Entry},
    },
    gateway::Rehearsal,
    sim::upstream::{self, Simulator},
};
use tokio_tungstenite::tungstenite::Message;

use crate::{
    crowd::reciting,
    house::{House, gateway_over, quiet},
    personas::Shelf,
    refusals::{Socket, bearer, event, knock},
};

const MARKED: &str = "#personal_context";
const UNMARKED: &str = "";
/// In production servers of this machine are told nothing unless that is said of them.
const PRODUCTION: [(&str, &str); 5] = [
    ("TANDEM_MODE", "production"),
    ("TANDEM__LISTEN__HOST", "127.0.0.1"),
    ("TANDEM__TURNS__SHARE", "0"),
    ("TANDEM__UPSTREAMS__VOICE_STEPS", "1"),
    ("TANDEM__SESSION__MAX_SESSIONS_PER_USER", "9"),
];
const TOLD: &str = "tandem_context_loads_total{result=\"told\"}";
const NOT_ALLOWED: &str = "tandem_context_loads_total{result=\"not_allowed\"}";
const RECAP_WITHHELD: &str = "tandem_recaps_withheld_total";

/// A store that knows everybody as Maria.
struct Maria;

impl ContextSource for Maria {
    fn load(&self, _: Private<String>) -> Loading {
        let journal = vec![Entry { date: None, text: "I saw a heron.".into() }];
        Box::pin(async move { Ok(Context { name: "Maria".into(), journal, ..Context::default() }) })
    }
}

/// A gateway in production over servers with these marks.
async fn house(server: upstream::Settings, marks: &[&str]) -> (House, Shelf) {
    let shelf = Shelf::new();
    let mut servers = Vec::new();
    for _ in marks {
        servers.push(Simulator::start(server.clone()).await.unwrap());
    }
    let urls: Vec<String> = servers.iter().zip(marks).map(|(server, mark)| format!("{}{mark}", server.url())).collect();
    let personas = [("TANDEM__PERSONA__DIR", shelf.0.to_str().unwrap())];
    let rehearsal = Rehearsal { contexts: Some(Arc::new(Maria)), ..Rehearsal::default() };
    let gateway = gateway_over(&urls.join(","), &[&PRODUCTION[..], &personas].concat(), rehearsal);
    (House { gateway, servers }, shelf)
}

/// A server with words, whose prompts take little time.
fn brisk() -> upstream::Settings {
    upstream::Settings { voice_steps: 1, step: std::time::Duration::from_millis(2), ..reciting() }
}

async fn dial(house: &House, persona: &str) -> Socket {
    knock(house, &format!("/v1/voice?persona={persona}"), &[bearer(house, "ann")]).await.socket()
}

async fn hang_up(house: &House, mut socket: Socket) {
    socket.send(Message::text(r#"{"type":"session.end"}"#)).await.unwrap();
    event(&mut socket, "session.ended").await;
    drop(socket);
    house.settle().await;
}

/// The prompts that a server was given.
fn prompts(server: &Simulator) -> Vec<String> {
    server.log().into_iter().filter_map(|call| Some(call.prompt_asked?.expose().to_owned())).collect()
}

/// The number of the server whose call goes on.
fn talking(house: &House) -> usize {
    let talks = |server: &Simulator| server.log().iter().any(|call| call.end.is_none());
    house.servers.iter().position(talks).expect("a call goes on")
}

#[actix_web::test]
async fn a_call_with_context_is_opened_on_a_server_that_may_be_told_and_waits_for_it() {
    let (house, _shelf) = house(quiet(), &[UNMARKED, MARKED]).await;
    for persona in ["listener", "nurse", "assistant", "listener"] {
        let mut socket = dial(&house, persona).await;
        event(&mut socket, "session.ready").await;
        hang_up(&house, socket).await;
    }
    let mut first = dial(&house, "nurse").await;
    event(&mut first, "session.ready").await;
    let mut second = dial(&house, "listener").await;
    assert_eq!(event(&mut second, "session.queued").await["position"], 1, "the other server is free, and of no use");
    hang_up_soon(first).await;
    event(&mut second, "session.ready").await;
    hang_up(&house, second).await;
    let [open, told] = [&house.servers[0], &house.servers[1]].map(prompts);
    assert_eq!((open.len(), told.len()), (1, 5), "who needs no such server leaves it to the others");
    assert!(open.iter().all(|prompt| !prompt.contains("Maria") && !prompt.contains("heron")), "{open:?}");
    assert!(told.iter().all(|prompt| prompt.contains("I saw a heron.")), "{told:?}");
    house.metric_until(TOLD, 5.0).await;
}

/// Hangs up without waiting for the server.
async fn hang_up_soon(mut socket: Socket) {
    socket.send(Message::text(r#"{"type":"session.end"}"#)).await.unwrap();
    event(&mut socket, "session.ended").await;
}

#[actix_web::test]
async fn where_no_server_may_be_told_a_persona_goes_on_alone_or_is_refused_before_the_upgrade() {
    let (house, _shelf) = house(quiet(), &[UNMARKED]).await;
    let mut socket = dial(&house, "listener").await;
    assert_eq!(event(&mut socket, "session.warning").await["code"], "context_not_allowed");
    event(&mut socket, "session.ready").await;
    hang_up(&house, socket).await;
    let refused = knock(&house, "/v1/voice?persona=nurse", &[bearer(&house, "ann")]).await.refusal();
    assert_eq!(refused, (503, "context_not_allowed".to_owned()));
    assert_eq!(house.gateway.sessions(), 0, "who is refused keeps no seat");
    let prompts = prompts(&house.servers[0]);
    assert_eq!(prompts.len(), 1);
    assert!(prompts[0].contains("with the caller about") && !prompts[0].contains("Maria"), "{prompts:?}");
    house.metric_until(NOT_ALLOWED, 2.0).await;
    assert_eq!(house.metric(TOLD), Some(0.0));
}

#[actix_web::test]
async fn a_call_with_context_that_loses_its_server_goes_on_where_it_may_be_told_only() {
    let (house, _shelf) = house(brisk(), &[UNMARKED, MARKED, UNMARKED, MARKED]).await;
    let mut socket = dial(&house, "listener").await;
    event(&mut socket, "session.ready").await;
    let before = talking(&house);
    house.servers[before].kill();
    event(&mut socket, "session.recovered").await;
    assert_eq!([before, talking(&house)].iter().sum::<usize>(), 4, "from the one that is marked to the other one");
    hang_up(&house, socket).await;
    let asked: Vec<usize> = house.servers.iter().map(|server| prompts(server).len()).collect();
    assert_eq!((asked[0], asked[2]), (0, 0), "{asked:?}");
}

#[actix_web::test]
async fn what_was_said_is_told_to_the_next_server_only_if_that_may_be_told() {
    for (mark, withheld) in [(UNMARKED, 1.0), (MARKED, 0.0)] {
        let (house, _shelf) = house(brisk(), &[mark, mark]).await;
        let mut socket = dial(&house, "assistant").await;
        for _ in 0..20 {
            event(&mut socket, "transcript.delta").await;
        }
        house.servers[talking(&house)].kill();
        event(&mut socket, "session.recovered").await;
        let next = prompts(&house.servers[talking(&house)]);
        assert!(next[0].starts_with("You are a wise and friendly teacher."), "{next:?}");
        assert_eq!(next[0].contains("said: "), mark == MARKED, "{next:?}");
        assert_eq!(house.metric(RECAP_WITHHELD), Some(withheld));
        hang_up(&house, socket).await;
    }
}
