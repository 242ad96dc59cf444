//! A gateway and its simulated model servers, in this process.

use std::{
    collections::BTreeMap,
    net::TcpListener,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use secrecy::SecretString;
use tandem::{
    auth::UserId,
    config,
    gateway::{Gateway, Rehearsal},
    http::identity::unix_now_seconds,
    pool::roster::{SlotSnapshot, SlotState},
    sim::{
        caller::{CallerSettings, Credential, HangUp, Wire},
        upstream::{self, Answer, CallLog, Simulator},
        wav,
    },
};
use tokio::time::MissedTickBehavior;

/// How long anything in these tests may take.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// The secret of every gateway here.
pub const SECRET: &str = "0123456789abcdef0123456789abcdef";

pub struct House {
    pub gateway: Gateway,
    pub servers: Vec<Simulator>,
}

/// A model server that needs no time and has nothing to say.
pub fn quiet() -> upstream::Settings {
    upstream::Settings { answer: Answer::Silence, ..upstream::Settings::instant() }
}

/// A gateway in development over these servers, with variables of the environment on top.
pub fn gateway_over(urls: &str, variables: &[(&str, &str)], rehearsal: Rehearsal) -> Gateway {
    let state = std::env::temp_dir().join(format!("tandem-gateway-{}", uuid::Uuid::new_v4()));
    let mut environment = BTreeMap::from([
        ("TANDEM__STATE__DIR".to_owned(), state.display().to_string()),
        ("PERSONAPLEX_SERVER_URL".to_owned(), urls.to_owned()),
        ("PORT".to_owned(), "0".to_owned()),
        ("JWT_SECRET".to_owned(), SECRET.to_owned()),
        // A server's port may have been another test's.
        ("TANDEM__STATE__LEDGER".to_owned(), "off".to_owned()),
    ]);
    environment.extend(variables.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())));
    let settings = config::load(None, &environment).unwrap();
    let rehearsal = Rehearsal { workers: 2, ..rehearsal };
    let gateway = Gateway::start(&settings, &SecretString::from(SECRET), rehearsal).unwrap();
    // Open files live on without their names: nothing is left behind, however a test ends.
    let _ = std::fs::remove_dir_all(state);
    gateway
}

impl House {
    /// One gateway in development with `count` servers like this one.
    pub async fn new(server: upstream::Settings, count: usize) -> House {
        House::with(server, count, &[], Rehearsal::default()).await
    }

    /// The same with variables of the environment on top.
    pub async fn set(server: upstream::Settings, count: usize, variables: &[(&str, &str)]) -> House {
        House::with(server, count, variables, Rehearsal::default()).await
    }

    pub async fn with(
        server: upstream::Settings,
        count: usize,
        variables: &[(&str, &str)],
        rehearsal: Rehearsal,
    ) -> House {
        let mut servers = Vec::new();
        for _ in 0..count {
            servers.push(Simulator::start(server.clone()).await.unwrap());
        }
        let urls: Vec<String> = servers.iter().map(Simulator::url).collect();
        let gateway = gateway_over(&urls.join(","), variables, rehearsal);
        House { gateway, servers }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.gateway.address)
    }

    pub fn token(&self, user: &str) -> SecretString {
        self.gateway
            .doors
            .tokens
            .mint(&UserId::new(user).unwrap(), Duration::from_secs(60), unix_now_seconds())
            .unwrap()
    }

    /// A polite caller who says nothing for a moment.
    pub fn caller(&self, user: &str, wire: Wire) -> CallerSettings {
        CallerSettings {
            wire,
            credential: Credential::Bearer(self.token(user)),
            hang_up: HangUp::AfterSource { tail: Duration::from_millis(400) },
            ..CallerSettings::new(self.url())
        }
    }

    pub async fn slots(&self) -> Vec<SlotSnapshot> {
        self.gateway.slots().await.unwrap()
    }

    /// Waits until no slot is leased and no server has a socket open.
    pub async fn settle(&self) -> Vec<SlotSnapshot> {
        for server in &self.servers {
            server.wait_for(|calls| calls.iter().all(|call| call.end.is_some()), PATIENCE).await.unwrap();
        }
        self.slots_until(|slots| slots.iter().all(|slot| slot.state != SlotState::Leased)).await
    }

    /// Asks for the slots until they are as `is_so` says.
    pub async fn slots_until(&self, is_so: impl Fn(&[SlotSnapshot]) -> bool) -> Vec<SlotSnapshot> {
        let mut look = tokio::time::interval(Duration::from_millis(5));
        tokio::time::timeout(PATIENCE, async {
            loop {
                look.tick().await;
                let slots = self.slots().await;
                if is_so(&slots) {
                    return slots;
                }
            }
        })
        .await
        .expect("the slots did not become as expected")
    }

    /// Every call that any server saw.
    pub fn log(&self) -> Vec<CallLog> {
        self.servers.iter().flat_map(Simulator::log).collect()
    }

    /// Waits until a metric has this value: a session counts its end after its slot is free.
    pub async fn metric_until(&self, series: &str, value: f64) {
        let mut look = tokio::time::interval(Duration::from_millis(5));
        // Where a look takes longer than that, the rest of the test has its turn all the same.
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let waiting = async {
            while self.metric(series) != Some(value) {
                look.tick().await;
            }
        };
        if tokio::time::timeout(PATIENCE, waiting).await.is_err() {
            panic!("{series} is {:?}, not {value}", self.metric(series));
        }
    }

    /// One metric's line, if it is exported.
    pub fn metric(&self, series: &str) -> Option<f64> {
        let text = self.gateway.doors.metrics.render();
        let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '))?;
        line.trim().parse().ok()
    }
}

/// A port on which something will listen later, and which nobody else has by then: none that the system gives to whoever
/// asks for any (Linux gives out 32768 and higher), none of another process of tests, and none that was given out here.
pub fn port_for_later() -> u16 {
    static GIVEN: AtomicU32 = AtomicU32::new(0);
    let first = std::process::id() % 1_000 * 20;
    loop {
        let given = GIVEN.fetch_add(1, Ordering::Relaxed);
        assert!(given < 1_000, "there is no free port");
        let port = u16::try_from(10_000 + (first + given) % 20_000).unwrap();
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// Ten seconds of made speech, 24 kHz mono.
pub fn speech() -> Arc<[f32]> {
    wav::read(std::path::Path::new("tests/audio/speech_made.wav")).unwrap().into()
}
