//! A real Prometheus with the rules and alerts as they are shipped, which looks every second instead of every fifteen.

use std::{
    collections::BTreeSet,
    fs,
    path::PathBuf,
    process::{Command, Stdio},
    time::Duration,
};

use serde_json::Value;

use crate::{program::Program, run, text};

const FOLDER: &str = "dashboards/prometheus";

/// How long anything that it is waited for may take.
pub const PATIENCE: Duration = Duration::from_secs(40);

pub struct Watcher {
    url: String,
    desk: PathBuf,
    /// Ended before its data is removed.
    program: Option<Program>,
}

/// A file of the folder with other words in it, which have to be there.
fn changed(file: &str, from: &str, to: &str) -> String {
    let text = text(&format!("{FOLDER}/{file}"));
    assert!(text.contains(from), "{file} has no {from}");
    text.replace(from, to)
}

impl Watcher {
    /// Watches this `host:port`. Nothing where there is no Prometheus and need not be.
    pub fn start(target: &str) -> Option<Watcher> {
        run("prometheus", &["--version"])?;
        let desk = std::env::temp_dir().join(format!("tandem-watcher-{}", uuid::Uuid::new_v4()));
        fs::create_dir(&desk).unwrap();
        let config = changed("prometheus.yaml", "15s", "1s");
        assert!(config.contains("127.0.0.1:8080"));
        fs::write(desk.join("prometheus.yaml"), config.replace("127.0.0.1:8080", target)).unwrap();
        fs::write(desk.join("rules.yaml"), changed("rules.yaml", "interval: 30s", "interval: 1s")).unwrap();
        fs::write(desk.join("alerts.yaml"), text(&format!("{FOLDER}/alerts.yaml"))).unwrap();
        let mut command = Command::new("prometheus");
        command.args(["--config.file=prometheus.yaml", "--storage.tsdb.path=data", "--web.listen-address=127.0.0.1:0"]);
        command.current_dir(&desk).env_clear().stdin(Stdio::null());
        let program = Program::start(command);
        let line = program.line("msg=\"Listening on\"");
        let address = line.rsplit_once("address=").unwrap().1;
        // Until then it answers nothing.
        program.line("ready to receive web requests");
        Some(Watcher { url: format!("http://{address}/api/v1"), desk, program: Some(program) })
    }

    async fn get(&self, path: &str) -> Value {
        let client = awc::Client::builder().timeout(PATIENCE).finish();
        let mut response = client.get(format!("{}/{path}", self.url)).send().await.unwrap();
        response.json().limit(1 << 24).await.unwrap()
    }

    /// The series that answer a query now, or why it cannot be asked.
    pub async fn ask(&self, query: &str) -> Result<Vec<Value>, String> {
        let query: String = form_urlencoded::byte_serialize(query.as_bytes()).collect();
        let answer = self.get(&format!("query?query={query}")).await;
        let series = answer["data"]["result"].as_array().cloned();
        series.ok_or_else(|| answer["error"].as_str().unwrap_or("no answer").to_owned())
    }

    /// The one value that answers a query; nothing while there is none.
    pub async fn value(&self, query: &str) -> Option<f64> {
        let series = self.ask(query).await.unwrap_or_else(|error| panic!("{query}: {error}"));
        series.first()?["value"][1].as_str()?.parse().ok()
    }

    /// Waits until the value of a query is like this.
    pub async fn until(&self, query: &str, is_so: impl Fn(f64) -> bool) {
        let mut last = None;
        let mut look = tokio::time::interval(Duration::from_millis(100));
        let waiting = async {
            while !last.is_some_and(&is_so) {
                look.tick().await;
                last = self.value(query).await;
            }
        };
        assert!(tokio::time::timeout(PATIENCE, waiting).await.is_ok(), "{query} is {last:?}");
    }

    /// Every alert that is about to fire or does: its name, urgency and state, and the server that it is about.
    pub async fn alerts(&self) -> BTreeSet<String> {
        let alerts = self.get("alerts").await["data"]["alerts"].as_array().unwrap().clone();
        let words = |alert: &Value| {
            let of = |pointer: &str| alert.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
            let parts = ["/labels/alertname", "/labels/upstream", "/labels/severity", "/state"].map(of);
            parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" ")
        };
        alerts.iter().map(words).collect()
    }

    /// Waits until all rules have been gone through with what is known now.
    pub async fn think(&self) {
        let now = jiff::Timestamp::now();
        let mut look = tokio::time::interval(Duration::from_millis(100));
        let waiting = async {
            loop {
                look.tick().await;
                let groups = self.get("rules").await["data"]["groups"].as_array().unwrap().clone();
                let begun =
                    |group: &Value| group["lastEvaluation"].as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
                // Alerts are made of what rules recorded in the round before.
                if groups.iter().all(|group| begun(group) > now + Duration::from_millis(1_500)) {
                    return;
                }
            }
        };
        assert!(tokio::time::timeout(PATIENCE, waiting).await.is_ok(), "the rules are not gone through");
    }

    /// Waits until exactly these alerts are about to fire or do, and still are after a further round.
    pub async fn warns_of(&self, expected: &[&str]) {
        let expected: BTreeSet<String> = expected.iter().map(|alert| (*alert).to_owned()).collect();
        let mut seen = BTreeSet::new();
        let mut look = tokio::time::interval(Duration::from_millis(100));
        let waiting = async {
            while seen != expected {
                look.tick().await;
                seen = self.alerts().await;
            }
        };
        let came = tokio::time::timeout(PATIENCE, waiting).await.is_ok();
        assert!(came, "seen: {seen:#?}\nexpected: {expected:#?}");
        self.think().await;
        assert_eq!(self.alerts().await, expected, "they did not last");
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        drop(self.program.take());
        let _ = fs::remove_dir_all(&self.desk);
    }
}
