//! How calls end, as their records say it: by limits and failures, and by a shutdown that finds them deaf.

use std::{
    net::TcpStream,
    sync::{
        Arc, Mutex,
        mpsc::{Receiver, Sender, channel},
    },
    time::Duration,
};

use futures_util::{SinkExt as _, future::join_all};
use tandem::{
    context::{
        private::Private,
        source::{ContextError, ContextSource, Loading, NoContext},
        user::Context,
    },
    gateway::Rehearsal,
    protocol::ending::Ending,
    sim::upstream::{self, Fault, Faults},
    store::record::Page,
};
use tokio_tungstenite::tungstenite::Message;

use crate::{
    crowd::reciting,
    house::{House, PATIENCE, quiet},
    personas::Shelf,
    records::{State, brought},
    refusals::{bearer, event, knock},
};

/// A source of contexts that holds up the thread of whoever asks.
struct Gate(Mutex<Option<Receiver<()>>>);

impl Gate {
    fn new() -> (Arc<Gate>, Sender<()>) {
        let (open, gate) = channel();
        (Arc::new(Gate(Mutex::new(Some(gate)))), open)
    }
}

impl ContextSource for Gate {
    fn load(&self, _: Private<String>) -> Loading {
        let gate = self.0.lock().unwrap().take();
        Box::pin(async move {
            gate.map(|gate| gate.recv_timeout(PATIENCE));
            Ok(Context::default())
        })
    }
}

#[actix_web::test]
async fn a_call_that_a_shutdown_cuts_off_has_its_end_in_the_store_when_the_process_stops() {
    let state = State::new();
    let dir = state.path();
    let variables = [
        ("TANDEM__STATE__DIR", dir.as_str()),
        ("TANDEM__DRAIN__DEADLINE_SECONDS", "0"),
        ("TANDEM__UPSTREAMS__CLOSE_TIMEOUT_MS", "100"),
    ];
    let (gate, open) = Gate::new();
    let rehearsal = Rehearsal { contexts: Some(gate), store: Some(Arc::new(state.store())), ..Rehearsal::default() };
    let house = House::with(quiet(), 1, &variables, rehearsal).await;
    let archive = Arc::clone(&house.gateway.doors.archive);
    let _socket = knock(&house, "/v1/voice?persona=listener", &[bearer(&house, "ann")]).await.socket();
    let address = house.gateway.address;
    let let_go = async move {
        let mut look = tokio::time::interval(Duration::from_millis(20));
        while TcpStream::connect(address).is_ok() {
            look.tick().await;
        }
        open.send(()).unwrap();
    };
    let (left, ()) = tokio::join!(house.gateway.stop(), let_go);
    assert_eq!(left, 1, "it heard of nothing");
    let records = archive.sessions("ann".into(), Page::first(9)).await.unwrap();
    let endings: Vec<_> = records.iter().map(|record| record.ended.as_ref().map(|ended| ended.ending)).collect();
    assert_eq!(endings, [Some(Ending::Drained)]);
    assert_eq!(archive.waiting().await.unwrap(), 0, "nothing is left for the next start");
}

/// A call that ends by itself, and by what.
struct Fate {
    ending: Ending,
    server: upstream::Settings,
    servers: usize,
    variables: Vec<(&'static str, &'static str)>,
    path: &'static str,
    says: Option<&'static str>,
}

fn fate(ending: Ending, variables: &[(&'static str, &'static str)]) -> Fate {
    Fate { ending, server: quiet(), servers: 1, variables: variables.to_vec(), path: "/v1/voice", says: None }
}

fn fates() -> Vec<Fate> {
    let never = upstream::Settings { faults: Faults::always(Fault::NeverHandshake), ..quiet() };
    let lacking = upstream::Settings { voices: vec!["NATM1.pt".into()], ..quiet() };
    let no_warning = ("TANDEM__SESSION__WARNING_SECONDS", "0");
    let gone_at_once = ("TANDEM__SESSION__RESUME_GRACE_SECONDS", "0");
    let short = [("TANDEM__UPSTREAMS__HANDSHAKE_BASE_MS", "300"), ("TANDEM__UPSTREAMS__HANDSHAKE_STEP_MS", "1")];
    vec![
        fate(Ending::MaxDuration, &[no_warning, ("TANDEM__SESSION__MAX_DURATION_SECONDS", "1")]),
        fate(Ending::IdleTimeout, &[no_warning, ("TANDEM__SESSION__IDLE_TIMEOUT_SECONDS", "1")]),
        fate(Ending::QuotaSpent, &[("TANDEM__QUOTA__USER_SECONDS", "1")]),
        fate(
            Ending::ClientLost,
            &[gone_at_once, ("TANDEM__SESSION__PING_INTERVAL_MS", "100"), ("TANDEM__SESSION__LOST_AFTER_MS", "400")],
        ),
        Fate {
            server: reciting(),
            ..fate(Ending::TooSlow, &[gone_at_once, ("TANDEM__SESSION__TOO_SLOW_AFTER_MS", "200")])
        },
        Fate { server: never, servers: 2, ..fate(Ending::HandshakeTimeout, &short) },
        Fate { server: lacking, servers: 2, ..fate(Ending::PromptRejected, &[]) },
        Fate { path: "/v1/voice?persona=nurse", ..fate(Ending::ContextUnavailable, &[]) },
        Fate { says: Some("what?"), ..fate(Ending::BadInput, &[]) },
        Fate { says: Some(r#"{"type":"session.end"}"#), ..fate(Ending::ClientLeft, &[]) },
    ]
}

/// Calls, reads no further than it must, and gives how the record says that the call ended.
async fn meets(fate: &Fate, personas: &str) -> Ending {
    let variables = [&[("TANDEM__PERSONA__DIR", personas)], fate.variables.as_slice()].concat();
    let nothing = NoContext(ContextError::Timeout);
    let rehearsal = Rehearsal { contexts: Some(Arc::new(nothing)), ..Rehearsal::default() };
    let house = House::with(fate.server.clone(), fate.servers, &variables, rehearsal).await;
    let mut socket = knock(&house, fate.path, &[bearer(&house, "ann")]).await.socket();
    let created = event(&mut socket, "session.created").await;
    for said in fate.says.iter().cycle().take(10) {
        // The last of them may find the socket closed.
        let _ = socket.send(Message::text(*said)).await;
    }
    brought(&house, created["session_id"].as_str().unwrap().parse().unwrap()).await.ended.unwrap().ending
}

#[actix_web::test]
async fn the_limit_or_failure_that_ended_a_call_is_in_its_record() {
    let (shelf, fates) = (Shelf::new(), fates());
    let personas = shelf.0.display().to_string();
    let met = join_all(fates.iter().map(|fate| meets(fate, &personas))).await;
    assert_eq!(met, fates.iter().map(|fate| fate.ending).collect::<Vec<_>>());
}
