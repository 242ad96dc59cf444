//! How a server that fails is left alone, how its recovery is seen, and what each step to it may take.

use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use secrecy::SecretString;
use socket2::{Domain, Socket, Type};
use tandem::{
    gateway::Rehearsal,
    pool::{
        endpoint::Endpoint,
        ledger::{LeaseLedger, SlotKey},
        roster::SlotLabel,
    },
    protocol::ending::Ending,
    sim::{
        caller::{self, Audio, CallReport, HangUp, Wire},
        upstream::{self, Fault, FaultRule, Faults, Phase, Simulator, When},
    },
    store::ledger::SqliteLedger,
};
use tokio::{sync::Notify, task::JoinHandle};

use crate::{
    blame::{attempts, breaker},
    house::{House, PATIENCE, gateway_over, quiet},
    refusals::{bearer, event, knock},
};

/// Short limits, so that what never comes is not waited for long.
const SHORT: &[(&str, &str)] = &[
    ("TANDEM__SESSION__ATTEMPTS_PER_MINUTE_PER_USER", "10000"),
    ("TANDEM__UPSTREAMS__CONNECT_TIMEOUT_MS", "200"),
    ("TANDEM__UPSTREAMS__UPGRADE_TIMEOUT_MS", "200"),
    ("TANDEM__UPSTREAMS__HANDSHAKE_BASE_MS", "600"),
    ("TANDEM__UPSTREAMS__HANDSHAKE_STEP_MS", "1"),
    ("TANDEM__UPSTREAMS__CLOSE_TIMEOUT_MS", "200"),
];

/// The same, and a server that failed is left alone for as long as can be set.
const SHORT_TEMPER: &[(&str, &str)] = &[
    SHORT[0],
    SHORT[1],
    SHORT[2],
    SHORT[3],
    SHORT[4],
    SHORT[5],
    ("TANDEM__BREAKER__PAUSE_MS", "3600000"),
    ("TANDEM__BREAKER__LONGEST_PAUSE_MS", "3600000"),
];

/// Probes at this pace; seconds are too long for a test, and tell it nothing more.
fn probing(probe_every: Duration) -> Rehearsal {
    Rehearsal { probe_every, ..Rehearsal::default() }
}

const HOUR: Duration = Duration::from_secs(3_600);

async fn call(house: &House, user: &str) -> CallReport {
    let mut settings = house.caller(user, Wire::Native(Audio::Opus));
    settings.hang_up = HangUp::After(Duration::from_millis(20));
    tokio::time::timeout(PATIENCE, caller::call(settings)).await.expect("the call ends")
}

/// A call that holds its server until it is told to hang up.
struct Held {
    hang_up: Arc<Notify>,
    running: JoinHandle<CallReport>,
}

impl Held {
    fn begin(house: &House, user: &str) -> Held {
        let mut settings = house.caller(user, Wire::Native(Audio::Opus));
        settings.hang_up = HangUp::WhenTold;
        let hang_up = Arc::clone(&settings.hang_up_now);
        Held { hang_up, running: actix_web::rt::spawn(caller::call(settings)) }
    }

    async fn end(self) -> CallReport {
        self.hang_up.notify_one();
        tokio::time::timeout(PATIENCE, self.running).await.unwrap().unwrap()
    }
}

async fn talking(server: &Simulator) {
    server.wait_for(|calls| calls.iter().any(|call| call.phase == Phase::Talking), PATIENCE).await.unwrap();
}

#[expect(clippy::disallowed_methods, reason = "a lower bound of real time")]
fn now() -> Instant {
    Instant::now()
}

/// Callers fail on the first server and are served by others, until it is not trusted any more.
async fn shut_out_the_first(house: &House) {
    for n in 0..12 {
        assert!(call(house, &format!("early {n}")).await.went_well());
        house.settle().await;
        if breaker(house, 0) >= 1.0 {
            return;
        }
    }
    panic!("it is still trusted");
}

#[actix_web::test]
async fn of_twenty_callers_one_goes_to_a_server_on_trial_and_a_failure_doubles_the_pause() {
    let pause = Duration::from_millis(1_500);
    let mut servers = Vec::new();
    for _ in 0..3 {
        servers.push(Simulator::start(quiet()).await.unwrap());
    }
    // Room for all of them, so that it is not the room that keeps them away.
    let variables = [SHORT, &[("TANDEM__BREAKER__PAUSE_MS", "1500")]].concat();
    let urls = format!("{}#capacity=20,{},{}", servers[0].url(), servers[1].url(), servers[2].url());
    let house = House { gateway: gateway_over(&urls, &variables, probing(HOUR)), servers };
    let first = &house.servers[0];
    first.set_faults(Faults::always(Fault::FailPrompting { steps: 3 }));
    shut_out_the_first(&house).await;
    let failures = first.log().len();
    first.set_faults(Faults::always(Fault::NeverHandshake));
    let (bob, cid) = (Held::begin(&house, "bob"), Held::begin(&house, "cid"));
    talking(&house.servers[1]).await;
    talking(&house.servers[2]).await;
    let callers: Vec<Held> = (0..20).map(|n| Held::begin(&house, &format!("u{n}"))).collect();
    first.wait_for(|calls| calls.len() > failures && calls[failures].end.is_some(), PATIENCE).await.unwrap();
    let failed = now();
    first.set_faults(Faults::default());
    first.wait_for(|calls| calls.len() > failures + 1, PATIENCE).await.unwrap();
    // A pause later than the first failure's is the second one's, which is twice as long.
    assert!(failed.elapsed() > pause * 3 / 2, "{:?}", failed.elapsed());
    assert_eq!(first.log()[failures + 1].call, failures as u64 + 2, "the second trial, and nobody between them");
    talking(first).await;
    // It went well: everybody who waits may come.
    first.wait_for(|calls| calls.len() >= failures + 10, PATIENCE).await.unwrap();
    assert_eq!(breaker(&house, 0), 0.0);
    for caller in callers.iter().chain([&bob, &cid]) {
        caller.hang_up.notify_one();
    }
    join_all(callers.into_iter().map(|caller| caller.running)).await;
    bob.end().await;
    cid.end().await;
}

#[actix_web::test]
async fn a_dead_server_leaves_and_comes_back_by_probes_alone() {
    let house = House::with(quiet(), 2, SHORT_TEMPER, probing(Duration::from_millis(50))).await;
    house.servers[0].set_faults(Faults::always(Fault::Refuse));
    house.slots_until(|slots| slots[0].label == SlotLabel::Unhealthy).await;
    let slots = |state: &str| house.metric(&format!("tandem_upstream_slots{{state=\"{state}\"}}"));
    assert_eq!((breaker(&house, 0), slots("free"), slots("unhealthy")), (2.0, Some(1.0), Some(1.0)), "shown as it is");
    for n in 0..5 {
        assert!(call(&house, &format!("u{n}")).await.went_well());
        house.settle().await;
    }
    assert_eq!((house.servers[0].log().len(), attempts(&house)["ready"]), (0, 5), "no caller had to find out");
    house.servers[0].set_faults(Faults::default());
    house.slots_until(|slots| slots[0].label == SlotLabel::Free).await;
    assert_eq!((breaker(&house, 0), slots("free"), slots("unhealthy")), (0.0, Some(2.0), Some(0.0)));
    assert_eq!(house.servers[0].log().len(), 0, "a probe is no WebSocket");
    assert!(house.servers[0].plain_requests() > 0);
    assert!(call(&house, "back").await.went_well());
    assert_eq!(house.servers[0].log().len(), 1);
}

#[actix_web::test]
async fn calls_say_more_than_probes() {
    let house = House::with(quiet(), 2, SHORT_TEMPER, probing(Duration::from_millis(20))).await;
    let first = &house.servers[0];
    // HTTP answers and calls fail: it stays shut, however many probes are answered.
    first.set_faults(Faults::always(Fault::FailPrompting { steps: 3 }));
    shut_out_the_first(&house).await;
    let (calls, probes) = (first.log().len(), first.plain_requests());
    house.slots_until(|_| first.plain_requests() > probes + 10).await;
    assert!(call(&house, "bob").await.went_well());
    assert_eq!((breaker(&house, 0), first.log().len()), (2.0, calls));
    // HTTP is too slow to answer and calls succeed: only the server that no call has vouched for leaves.
    let house = House::with(quiet(), 2, SHORT_TEMPER, probing(Duration::from_millis(200))).await;
    for server in &house.servers {
        server.set_faults(Faults::always(Fault::MutePages));
    }
    assert!(call(&house, "ann").await.went_well());
    assert_eq!(house.servers[0].log().len(), 1);
    house.slots_until(|slots| slots[1].label == SlotLabel::Unhealthy).await;
    assert_eq!(house.slots().await[0].label, SlotLabel::Free);
    assert!(call(&house, "bob").await.went_well());
    assert_eq!(house.servers[0].log().len(), 2);
}

/// A port whose kernel takes no more connections, for as long as what is given lives.
fn full_port() -> (String, Vec<Socket>) {
    let listener = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    let any: std::net::SocketAddr = "127.0.0.1:0".parse().unwrap();
    listener.bind(&any.into()).unwrap();
    listener.listen(0).unwrap();
    let address = listener.local_addr().unwrap();
    let mut held = vec![listener];
    for _ in 0..4 {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.set_nonblocking(true).unwrap();
        // In progress; the queue holds one or two, and the rest is not answered.
        let _ = socket.connect(&address);
        held.push(socket);
    }
    (format!("ws://127.0.0.1:{}", address.as_socket().unwrap().port()), held)
}

#[actix_web::test]
async fn each_step_to_a_server_has_a_deadline_and_a_name() {
    let simulator = async |fault| {
        let server = upstream::Settings { faults: Faults::always(fault), ..quiet() };
        Simulator::start(server).await.unwrap()
    };
    let (full, _held) = full_port();
    let (silent, endless) = (simulator(Fault::Mute).await, simulator(Fault::NeverHandshake).await);
    let rows = [
        (full, Ending::UpstreamLost, "connect_timeout"),
        (format!("{}#insecure", silent.url().replace("ws:", "wss:")), Ending::UpstreamLost, "tls_timeout"),
        (silent.url(), Ending::HandshakeTimeout, "upgrade_timeout"),
        (endless.url(), Ending::HandshakeTimeout, "handshake_timeout"),
    ];
    for (url, ending, result) in rows {
        let house = House { gateway: gateway_over(&url, SHORT_TEMPER, probing(HOUR)), servers: Vec::new() };
        let begun = now();
        let report = call(&house, "ann").await;
        assert_eq!(report.ending, Some(ending), "{result}");
        assert_eq!(attempts(&house).into_iter().collect::<Vec<_>>(), [(result.to_owned(), 1)]);
        assert!(begun.elapsed() < Duration::from_secs(5), "{result}: {:?}", begun.elapsed());
        house.slots_until(|slots| slots[0].label == SlotLabel::Free).await;
    }
}

#[actix_web::test]
async fn the_handshakes_deadline_follows_the_prompt_and_what_the_server_could_do_lately() {
    let (house, fresh) = (House::new(quiet(), 1).await, House::new(quiet(), 1).await);
    let deadline = async |house: &House, words: usize| {
        let path = format!("/v1/voice?text_prompt={}", "word+".repeat(words));
        let mut socket = knock(house, &path, &[bearer(house, "ann")]).await.socket();
        let connecting = event(&mut socket, "session.connecting").await;
        event(&mut socket, "session.ready").await;
        socket.close(None).await.unwrap();
        house.settle().await;
        connecting["deadline_ms"].as_u64().unwrap()
    };
    // 5 s, and 182 ms for each step where nothing is known.
    let (short, long) = (deadline(&fresh, 1).await, deadline(&house, 400).await);
    assert!(short >= 5_000 + 182 * 51 && long > short + 182 * 300, "{short} ms and {long} ms");
    let known = deadline(&house, 400).await;
    assert!(known >= 5_000 && known < long / 2, "{known} ms after a fast handshake, {long} ms before it");
}

/// A state directory with a record of leases, gone with the test.
struct State(PathBuf);

impl State {
    fn new() -> State {
        let path = std::env::temp_dir().join(format!("tandem-health-{}", uuid::Uuid::new_v4()));
        std::fs::create_dir(&path).unwrap();
        State(path)
    }

    fn ledger(&self) -> PathBuf {
        self.0.join("leases.sqlite")
    }

    /// A gateway that writes its leases down here.
    fn house(&self, servers: Vec<Simulator>) -> House {
        let urls: Vec<String> = servers.iter().map(Simulator::url).collect();
        let (ledger, dir) = (self.ledger().display().to_string(), self.0.join("own").display().to_string());
        let variables = [("TANDEM__STATE__LEDGER", ledger.as_str()), ("TANDEM__STATE__DIR", dir.as_str())];
        let variables = [SHORT_TEMPER, &variables].concat();
        House { gateway: gateway_over(&urls.join(","), &variables, probing(Duration::from_millis(20))), servers }
    }
}

impl Drop for State {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[actix_web::test]
async fn what_a_dead_process_left_is_tested_with_nobodys_prompt_until_it_goes_well() {
    let (state, server) = (State::new(), Simulator::start(quiet()).await.unwrap());
    let once = FaultRule { fault: Fault::FailPrompting { steps: 3 }, when: When::Calls(1, 1) };
    server.set_faults(Faults { rules: vec![once], seed: 0 });
    let dead = SqliteLedger::open(&state.ledger(), &state.0.join("other")).unwrap();
    let slot = SlotKey::new(&Endpoint::plain("1", "127.0.0.1", server.addr().port()), 0);
    dead.beat().await.unwrap();
    dead.open(slot, 7).await.unwrap();
    dead.retire().await.unwrap();
    let house = state.house(vec![server]);
    house.slots_until(|slots| slots[0].label == SlotLabel::Quarantined).await;
    let mut settings = house.caller("ann", Wire::Native(Audio::Opus));
    settings.hang_up = HangUp::After(Duration::from_millis(20));
    settings.text_prompt = Some(SecretString::from("Only Ann may hear this."));
    let calling = actix_web::rt::spawn(caller::call(settings));
    let server = &house.servers[0];
    let failed = server.wait_for(|calls| calls.first().is_some_and(|call| call.end.is_some()), PATIENCE).await;
    let (failed, seen) = (failed.unwrap(), now());
    assert!(!failed[0].handshake);
    server.wait_for(|calls| calls.len() > 1, PATIENCE).await.unwrap();
    assert!(seen.elapsed() > Duration::from_millis(1_500), "the next test waits longer: {:?}", seen.elapsed());
    assert!(tokio::time::timeout(PATIENCE, calling).await.unwrap().unwrap().went_well());
    house.settle().await;
    let asked: Vec<String> =
        server.log().iter().map(|call| call.prompt_asked.as_ref().unwrap().expose().to_owned()).collect();
    assert_eq!(asked, ["You are silent.", "You are silent.", "Only Ann may hear this."]);
    assert_eq!(server.peak_open_sockets(), 1, "under a lease, like every other socket");
}

#[actix_web::test]
async fn while_the_record_is_locked_calls_are_told_to_come_back_and_then_they_may() {
    let (state, server) = (State::new(), Simulator::start(quiet()).await.unwrap());
    let house = state.house(vec![server]);
    assert!(call(&house, "ann").await.went_well());
    let other = rusqlite::Connection::open(state.ledger()).unwrap();
    other.busy_timeout(PATIENCE).unwrap();
    let bob = Held::begin(&house, "bob");
    talking(&house.servers[0]).await;
    other.execute_batch("BEGIN EXCLUSIVE").unwrap();
    // What is under way goes on and ends; only its row stays.
    assert!(bob.end().await.went_well());
    house.settle().await;
    let refused = call(&house, "cid").await.error.unwrap();
    assert_eq!((refused.status, refused.code.as_str()), (Some(503), "no_capacity"), "{refused:?}");
    assert!(refused.retry_after_seconds.is_some());
    house.slots_until(|slots| slots[0].label == SlotLabel::Free).await;
    assert_eq!(house.servers[0].log().len(), 2, "no socket without a row");
    other.execute_batch("ROLLBACK").unwrap();
    let rows = || other.query_row("SELECT count(*) FROM leases", [], |row| row.get::<_, i64>(0)).unwrap();
    // The row that stayed is cleared by itself: for another process it is the slot's.
    house.slots_until(|_| rows() == 0).await;
    assert!(call(&house, "dan").await.went_well());
}

#[actix_web::test]
async fn a_record_that_cannot_be_used_is_named_at_the_start() {
    let state = State::new();
    let open = || SqliteLedger::open(&state.ledger(), &state.0).err().map(|error| error.to_string());
    std::fs::write(state.ledger(), vec![0x42; 8_192]).unwrap();
    assert!(open().unwrap().contains("remove it"), "{:?}", open());
    std::fs::remove_file(state.ledger()).unwrap();
    let other = rusqlite::Connection::open(state.ledger()).unwrap();
    other.execute_batch("BEGIN EXCLUSIVE").unwrap();
    assert!(open().unwrap().contains("locked by another process"), "{:?}", open());
    drop(other);
    assert_eq!(open(), None);
}
