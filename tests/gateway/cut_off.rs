//! Calls that a shutdown finds deaf: each has its record all the same.

use std::{
    net::TcpStream,
    sync::{
        Arc, Mutex,
        mpsc::{Receiver, Sender, channel},
    },
    time::Duration,
};

use tandem::{
    context::{
        private::Private,
        source::{ContextSource, Loading},
        user::Context,
    },
    gateway::Rehearsal,
    protocol::ending::Ending,
    store::record::Page,
};

use crate::{
    house::{House, PATIENCE, quiet},
    records::State,
    refusals::{bearer, knock},
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
