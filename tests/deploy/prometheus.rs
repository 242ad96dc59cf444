//! A real Prometheus watches a real gateway, whose calls go well or do not.

use std::{collections::BTreeSet, fs, path::PathBuf, time::Duration};

use secrecy::SecretString;
use serde_json::json;
use tandem::{
    http::identity::unix_now_seconds,
    metrics::{Kind, TABLE},
    protocol::ending::Ending,
    sim::{
        caller::{self, CallReport, CallerSettings, Credential, HangUp},
        upstream::{Answer, Fault, FaultRule, Faults, Settings, Simulator, When},
    },
};

use crate::{
    alerts, dashboards,
    program::{Program, tandem},
    start::ports,
    watcher::{PATIENCE, Watcher},
};

const SECRET: &str = "0123456789abcdef0123456789abcdef";
const KEY: &str = "an operator's key that is long enough";

/// What no caller of these scenes brings about.
const NOT_SEEN: [&str; 9] = [
    "tandem_context_load_seconds",
    "tandem_interruption_stop_seconds",
    "tandem_lease_quarantine_seconds",
    "tandem_queue_eta_error_seconds",
    "tandem_queue_wait_seconds",
    "tandem_realtime_factor",
    "tandem_recovery_gap_seconds",
    "tandem_response_latency_seconds",
    "tandem_rotation_gap_seconds",
];

/// A gateway in a process of its own, and a Prometheus that watches it.
struct Scene {
    url: String,
    desk: PathBuf,
    gateway: Option<Program>,
    watcher: Watcher,
}

impl Scene {
    /// Nothing where there is no Prometheus and need not be.
    fn open(servers: &[&str], variables: &[(&str, &str)]) -> Option<Scene> {
        let desk = std::env::temp_dir().join(format!("tandem-scene-{}", uuid::Uuid::new_v4()));
        fs::create_dir(&desk).unwrap();
        let mut serve = tandem(&desk, &["serve", "--port", "0"]);
        serve
            .env("PERSONAPLEX_SERVER_URL", servers.join(","))
            .env("JWT_SECRET", SECRET)
            .env("TANDEM_OPERATOR_KEY", KEY);
        // A server's port may have been another test's.
        serve.env("TANDEM__STATE__LEDGER", "off").env("TANDEM__RETRY__FLOOR", "100");
        serve.envs(variables.iter().copied());
        let gateway = Program::start(serve);
        let line: serde_json::Value = serde_json::from_str(&gateway.line("\"url\":\"http://")).unwrap();
        let url = line["url"].as_str().unwrap().to_owned();
        let Some(watcher) = Watcher::start(url.strip_prefix("http://").unwrap()) else {
            fs::remove_dir_all(desk).unwrap();
            return None;
        };
        Some(Scene { url, desk, gateway: Some(gateway), watcher })
    }

    fn caller(&self, user: &str) -> CallerSettings {
        let claims = json!({"sub": user, "exp": unix_now_seconds() + 600});
        let key = jsonwebtoken::EncodingKey::from_secret(SECRET.as_bytes());
        let token = jsonwebtoken::encode(&jsonwebtoken::Header::default(), &claims, &key).unwrap();
        CallerSettings { credential: Credential::Bearer(SecretString::from(token)), ..CallerSettings::new(&self.url) }
    }

    /// Somebody calls, says nothing and hangs up after this.
    async fn call(&self, user: &str, after: Duration) -> CallReport {
        let settings = CallerSettings { hang_up: HangUp::After(after), ..self.caller(user) };
        tokio::time::timeout(PATIENCE, caller::call(settings)).await.unwrap()
    }

    /// Somebody calls with a token that nobody gave out.
    async fn stranger(&self) {
        let credential = Credential::Bearer(SecretString::from("no.token.atall"));
        let settings = CallerSettings { credential, ..CallerSettings::new(&self.url) };
        let report = tokio::time::timeout(PATIENCE, caller::call(settings)).await.unwrap();
        assert!(!report.went_well(), "{report:?}");
    }

    /// An operator has the machine of a server woken or laid to sleep.
    async fn order(&self, name: &str, what: &str) {
        let client = awc::Client::builder().timeout(PATIENCE).finish();
        let request = client.post(format!("{}/v1/upstreams/{name}/{what}", self.url));
        let response = request.bearer_auth(KEY).send().await.unwrap();
        assert!(response.status().is_success(), "{response:?}");
    }

    /// Waits until Prometheus knows that a counter of the gateway has grown to this.
    async fn counted(&self, series: &str, value: f64) {
        self.watcher.until(&format!("sum({series})"), |now| now >= value).await;
    }

    /// Prometheus has a series of every row that these scenes bring about, with the labels of its row.
    async fn has_every_series(&self) {
        let mut missing = BTreeSet::new();
        for row in TABLE {
            let name = if matches!(row.kind, Kind::Histogram(_)) {
                format!("{}_count", row.name)
            } else {
                row.name.to_owned()
            };
            let series = self.watcher.ask(&name).await.unwrap();
            for one in &series {
                let labels = one["metric"].as_object().unwrap().keys().map(String::as_str);
                let labels: BTreeSet<&str> =
                    labels.filter(|label| !["__name__", "job", "instance"].contains(label)).collect();
                assert_eq!(labels, row.labels.iter().copied().collect(), "{name}");
            }
            missing.extend(series.is_empty().then_some(row.name));
        }
        assert!(NOT_SEEN.iter().all(|name| TABLE.iter().any(|row| row.name == *name)), "NOT_SEEN has another name");
        let strange: Vec<_> = missing.iter().filter(|name| !NOT_SEEN.contains(name)).collect();
        assert!(strange.is_empty(), "Prometheus has not got {strange:?}");
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        drop(self.gateway.take());
        let _ = fs::remove_dir_all(&self.desk);
    }
}

/// A model server that needs no time and has nothing to say.
async fn server(fault: Option<Fault>) -> Simulator {
    let rules = fault.map(|fault| FaultRule { fault, when: When::Always }).into_iter().collect();
    let faults = Faults { rules, seed: 0 };
    Simulator::start(Settings { answer: Answer::Silence, faults, ..Settings::instant() }).await.unwrap()
}

#[actix_web::test]
async fn while_calls_go_well_prometheus_keeps_still_and_answers_every_panel() {
    let (first, second) = (server(None).await, server(None).await);
    let Some(scene) = Scene::open(&[&first.url(), &second.url()], &[]) else { return };
    scene.counted("tandem_sessions_started_total", 0.0).await;
    // Each is seen by some scrapes, and none is so long that the pace of its server is judged.
    for user in ["ann", "bob", "cid", "dan"] {
        let report = scene.call(user, Duration::from_millis(1_800)).await;
        assert!(report.went_well(), "{report:?}");
    }
    scene.counted("tandem_sessions_ended_total{reason=\"client_left\"}", 4.0).await;
    for rule in alerts::recorded() {
        // A machine that is busy with other tests may be late; what every rule has is a value.
        let may_be_late = rule.contains(":lagging_seconds:");
        scene.watcher.until(&rule, |value| value == 0.0 || may_be_late && value.is_finite()).await;
    }
    scene.watcher.warns_of(&[]).await;
    for board in dashboards::boards() {
        for panel in board.panels() {
            for query in panel.queries() {
                let query = query.replace("$__rate_interval", "10s").replace("$__range", "1m");
                let answer = scene.watcher.ask(&query.replace("$job", ".+").replace("$instance", ".+")).await;
                assert!(answer.is_ok(), "{} \"{}\": {query}: {answer:?}", board.file, panel.title);
            }
        }
    }
}

#[actix_web::test]
async fn what_fails_while_others_serve_is_told_and_every_series_comes_with_its_labels() {
    let good = server(None).await;
    let [dead, works, broken] = [ports()[0], ports()[0], ports()[0]].map(|port| format!("ws://127.0.0.1:{port}"));
    // The name of a machine is the subcommand that starts it: there is none that is called broken. Machines outlive Tandem,
    // and these not by much.
    let start =
        format!("timeout 100 '{}' {{name}} --port {{port}} --step-ms 1 --voice-steps 1", env!("CARGO_BIN_EXE_tandem"));
    let (works, broken) =
        (format!("{works}#provider=command:simulate&price=0.5"), format!("{broken}#provider=command:broken"));
    let variables = [
        ("TANDEM__PROVIDERS__COMMAND__START", start.as_str()),
        ("TANDEM__FLEET__WAKE_TIMEOUT_SECONDS", "10"),
        ("TANDEM__BREAKER__PAUSE_MS", "600000"),
        ("TANDEM__BREAKER__LONGEST_PAUSE_MS", "600000"),
    ];
    let Some(mut scene) = Scene::open(&[&good.url(), &dead, &works, &broken], &variables) else { return };
    scene.counted("tandem_sessions_started_total", 0.0).await;
    scene.order("3", "wake").await;
    scene.order("4", "wake").await;
    // The dead server gets its turns, each with a caller who then goes to another one, until no more are sent there.
    let out_of_use = "tandem_upstream_circuit_state{upstream=\"2\"} == 2";
    for caller in 0..30 {
        let report = scene.call(&format!("caller-{caller}"), Duration::from_millis(500)).await;
        assert!(report.went_well(), "{report:?}");
        if scene.watcher.value(out_of_use).await.is_some() {
            break;
        }
    }
    // A counter begins with its first event, which is not seen as growth.
    scene.stranger().await;
    scene.counted("tandem_auth_total{result=\"refused\"}", 1.0).await;
    for _ in 0..40 {
        scene.stranger().await;
    }
    let sick = ["TandemMachineFailed 4 ticket pending", "TandemServerOutOfUse 2 ticket pending"];
    scene.watcher.warns_of(&[sick[0], sick[1], "TandemCallersRefused page pending"]).await;
    scene.has_every_series().await;
    scene.order("3", "sleep").await;
    scene.watcher.until("tandem_machine_state{upstream=\"3\",state=\"asleep\"}", |is| is == 1.0).await;
    drop(scene.gateway.take());
    scene.watcher.warns_of(&["TandemCallersRefused page pending", "TandemDown page pending"]).await;
}

#[actix_web::test]
async fn calls_that_no_server_begins_wake_somebody_at_once() {
    let angry =
        [server(Some(Fault::FailPrompting { steps: 1 })).await, server(Some(Fault::FailPrompting { steps: 1 })).await];
    let Some(scene) = Scene::open(&[&angry[0].url(), &angry[1].url()], &[]) else { return };
    scene.counted("tandem_sessions_started_total", 0.0).await;
    for user in ["ann", "bob", "cid", "dan", "eve"] {
        let report = scene.call(user, Duration::from_millis(500)).await;
        assert_eq!(report.ending, Some(Ending::PromptRejected), "{report:?}");
    }
    let begins = ["TandemCallsDoNotBegin page firing", "TandemCallsDoNotBegin ticket firing"];
    scene.watcher.warns_of(&[begins[0], begins[1], "TandemServersHangUp ticket pending"]).await;
}

#[actix_web::test]
async fn where_nobody_listens_all_capacity_is_seen_to_be_gone() {
    let dead = format!("ws://127.0.0.1:{}", ports()[0]);
    let Some(scene) = Scene::open(&[&dead], &[("TANDEM__QUEUE__TIMEOUT_SECONDS", "1")]) else { return };
    scene.counted("tandem_sessions_started_total", 0.0).await;
    for user in ["ann", "bob", "cid", "dan", "eve"] {
        let report = scene.call(user, Duration::from_millis(500)).await;
        assert_eq!(report.ending, Some(Ending::UpstreamLost), "{report:?}");
    }
    let broken = ["TandemCallsBreakOff page firing", "TandemCallsBreakOff ticket firing"];
    let gone = ["TandemNoServerUsable page pending", "TandemNoFreeSlot ticket pending"];
    let sick = "TandemServerOutOfUse 1 ticket pending";
    scene.watcher.warns_of(&[broken[0], broken[1], gone[0], gone[1], sick]).await;
}
