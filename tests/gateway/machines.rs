//! Model servers whose machines sleep: a local process is the machine, and calls, operators and autoscalers wake it.

use serde_json::{Value, json};
use tandem::{gateway::Rehearsal, http::identity::unix_now_seconds};
use tokio_tungstenite::tungstenite::{
    Message,
    protocol::{CloseFrame, frame::coding::CloseCode},
};

use crate::{
    house::{House, PATIENCE, SECRET, gateway_over, port_for_later},
    refusals::{Socket, bearer, event, knock, next},
};

const KEY: &str = "an operator's key that is long enough";

/// A gateway with one server, which is a process that it starts and stops; its state is gone with the test.
pub struct Sleepy {
    pub house: House,
    port: u16,
    state: std::path::PathBuf,
}

impl Sleepy {
    fn new(idle_seconds: &str) -> Sleepy {
        Sleepy::with("", &[("TANDEM__FLEET__IDLE_SECONDS", idle_seconds)])
    }

    /// The same with more for the simulator's command line, and with more variables.
    pub fn with(arguments: &str, more: &[(&str, &str)]) -> Sleepy {
        let state = std::env::temp_dir().join(format!("tandem-machines-{}", uuid::Uuid::new_v4()));
        std::fs::create_dir(&state).unwrap();
        let port = port_for_later();
        let (dir, start) = (state.display().to_string(), format!("{} {arguments}", simulator()));
        let mut variables = vec![
            ("TANDEM__STATE__DIR", dir.as_str()),
            ("TANDEM__PROVIDERS__COMMAND__START", start.as_str()),
            ("TANDEM__PROVIDERS__COMMAND__OUTPUT", "off"),
            ("TANDEM__FLEET__MIN_AWAKE_SECONDS", "0"),
            ("TANDEM_OPERATOR_KEY", KEY),
            ("TANDEM__SESSION__ATTEMPTS_PER_MINUTE_PER_USER", "10000"),
        ];
        variables.extend(more);
        let url = format!("ws://127.0.0.1:{port}#provider=command:sim");
        let house = House { gateway: gateway_over(&url, &variables, Rehearsal::default()), servers: Vec::new() };
        Sleepy { house, port, state }
    }

    pub async fn is(&self, state: &str) {
        self.house.metric_until(&format!("tandem_machine_state{{upstream=\"1\",state=\"{state}\"}}"), 1.0).await;
    }

    fn listens(&self) -> bool {
        std::net::TcpStream::connect(("127.0.0.1", self.port)).is_ok()
    }

    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.house.url())
    }
}

impl Drop for Sleepy {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.state);
    }
}

/// A command for a model server. Machines outlive Tandem, and these not by much.
fn simulator() -> String {
    let program = env!("CARGO_BIN_EXE_tandem");
    format!("timeout 100 '{program}' simulate --port {{port}} --step-ms 1 --voice-steps 1 --poll-ms 0")
}

/// A token with the scope that operating needs.
pub fn operator() -> (&'static str, String) {
    let claims = json!({"sub": "ops", "exp": unix_now_seconds() + 60, "scope": "tandem:operate"});
    let key = jsonwebtoken::EncodingKey::from_secret(SECRET.as_bytes());
    let token = jsonwebtoken::encode(&jsonwebtoken::Header::default(), &claims, &key).unwrap();
    ("authorization", format!("Bearer {token}"))
}

pub struct Told {
    pub status: u16,
    later: Option<u64>,
    location: Option<String>,
    pub body: Value,
}

pub async fn ask(method: &str, url: &str, header: Option<(&str, String)>, body: Option<Value>) -> Told {
    let client = awc::Client::builder().timeout(PATIENCE).finish();
    let mut request = client.request(method.parse().unwrap(), url);
    if let Some(header) = header {
        request = request.insert_header(header);
    }
    let mut response = match body {
        Some(body) => request.send_json(&body).await.unwrap(),
        None => request.send().await.unwrap(),
    };
    let text = |name: &str| response.headers().get(name).map(|value| value.to_str().unwrap().to_owned());
    Told {
        status: response.status().as_u16(),
        later: text("retry-after").map(|seconds| seconds.parse().unwrap()),
        location: text("location"),
        body: response.json().await.unwrap(),
    }
}

/// Ends the call, and does not just lose the connection: there is nothing to come back to.
pub async fn hang_up(socket: &mut Socket) {
    socket.close(Some(CloseFrame { code: CloseCode::Normal, reason: "".into() })).await.unwrap();
    while next(socket).await.is_some() {}
}

#[actix_web::test]
async fn a_call_wakes_its_machine_sees_the_progress_talks_and_leaves_it_to_sleep() {
    let sleepy = Sleepy::new("1");
    sleepy.is("asleep").await;
    assert!(!sleepy.listens());
    let mut ann = knock(&sleepy.house, "/v1/voice", &[bearer(&sleepy.house, "ann")]).await.socket();
    let queued = event(&mut ann, "session.queued").await;
    assert_eq!(queued["reason"], "waking", "{queued}");
    // Its first wake: what is assumed of such machines is told as soon as it is asked for.
    let queued = event(&mut ann, "session.queued").await;
    assert_eq!((&queued["reason"], &queued["position"]), (&json!("waking"), &json!(1)));
    assert!(
        queued["eta_ms"].as_u64() > Some(0) && queued["eta_p90_ms"].as_u64() > queued["eta_ms"].as_u64(),
        "{queued}"
    );
    event(&mut ann, "session.ready").await;
    sleepy.is("ready").await;
    assert!(sleepy.listens());
    hang_up(&mut ann).await;
    sleepy.is("asleep").await;
    assert!(!sleepy.listens(), "the process is gone");
    let asked = |what: &str| {
        let series = format!("tandem_provider_requests_total{{provider=\"command\",request=\"{what}\",result=\"ok\"}}");
        sleepy.house.metric(&series)
    };
    assert_eq!((asked("start"), asked("stop")), (Some(1.0), Some(1.0)), "one request each");
    assert_eq!(sleepy.house.metric("tandem_machine_wake_eta_kept_total{kept=\"yes\"}"), Some(1.0));
    assert!(sleepy.house.metric("tandem_machine_seconds_total{upstream=\"1\",use=\"idle\"}") >= Some(1.0));
}

#[actix_web::test]
async fn operators_and_autoscalers_wake_machines_and_others_may_not() {
    let sleepy = Sleepy::new("600");
    sleepy.is("asleep").await;
    let wake = sleepy.url("/v1/wake");
    let nobody = ask("POST", &wake, None, None).await;
    assert_eq!((nobody.status, nobody.body["code"].as_str()), (401, Some("token_missing")));
    let caller = ask("POST", &wake, Some(bearer(&sleepy.house, "ann")), None).await;
    assert_eq!((caller.status, caller.body["code"].as_str()), (403, Some("not_operator")));
    let odd = ask("POST", &wake, Some(operator()), Some(json!({"hold": 1}))).await;
    assert_eq!((odd.status, odd.body["code"].as_str()), (400, Some("bad_request")));
    let order = json!({"reason": "morning", "hold_seconds": 60, "idempotency_key": "a"});
    let told = ask("POST", &wake, Some(operator()), Some(order)).await;
    assert_eq!((told.status, told.body["state"].as_str()), (202, Some("waking")), "{}", told.body);
    assert!(told.later.is_some_and(|later| (1..=60).contains(&later)));
    assert_eq!(told.location.as_deref(), Some("/v1/upstreams/1"));
    assert!(told.body["machines"][0]["eta_p90_ms"].as_u64() > told.body["machines"][0]["eta_ms"].as_u64());
    let ready = ask("POST", &sleepy.url("/v1/upstreams/1/wake?wait=15"), Some(operator()), None).await;
    assert_eq!((ready.status, ready.body["state"].as_str()), (200, Some("ready")), "{}", ready.body);
    let listed = ask("GET", &sleepy.url("/v1/upstreams"), Some(operator()), None).await;
    assert_eq!(listed.body["machines"][0]["provider"], "command");
    let scale = ask("GET", &sleepy.url("/v1/autoscale"), Some(operator()), None).await;
    assert_eq!(scale.body, json!({"desired": 1, "active": 0, "waiting": 0, "state": "ready"}));
    sleepy.house.metric_until("tandem_machines_desired", 1.0).await;
    let unknown = ask("POST", &sleepy.url("/v1/upstreams/9/wake"), Some(operator()), None).await;
    assert_eq!((unknown.status, unknown.body["code"].as_str()), (404, Some("unknown_machine")));
    ask("POST", &sleepy.url("/v1/upstreams/1/sleep"), Some(operator()), None).await;
    sleepy.is("asleep").await;
    assert!(!sleepy.listens());
}

#[actix_web::test]
async fn whoever_gets_a_ticket_finds_the_machine_awake() {
    let sleepy = Sleepy::new("600");
    sleepy.is("asleep").await;
    let ticket = ask("POST", &sleepy.url("/v1/tickets"), Some(bearer(&sleepy.house, "ann")), None).await;
    assert_eq!(ticket.status, 201);
    sleepy.is("ready").await;
    let mut ann = knock(&sleepy.house, "/v1/voice", &[bearer(&sleepy.house, "ann")]).await.socket();
    let mut heard = Vec::new();
    while heard.last().is_none_or(|kind| kind != "session.ready") {
        if let Some(Message::Text(text)) = next(&mut ann).await {
            let event: Value = serde_json::from_str(&text).unwrap();
            heard.push(event["type"].as_str().unwrap().to_owned());
        }
    }
    assert!(!heard.iter().any(|kind| kind == "session.queued"), "nothing is waited for: {heard:?}");
    hang_up(&mut ann).await;
    ask("POST", &sleepy.url("/v1/upstreams/1/sleep"), Some(operator()), None).await;
    sleepy.is("asleep").await;
}

#[actix_web::test]
async fn an_order_that_is_repeated_is_carried_out_once() {
    let sleepy = Sleepy::new("600");
    sleepy.is("asleep").await;
    let key = || Some(("authorization", format!("Bearer {KEY}")));
    let order = |key: &str| Some(json!({"hold_seconds": 600, "idempotency_key": key}));
    let wake = sleepy.url("/v1/upstreams/1/wake?wait=15");
    assert_eq!(ask("POST", &wake, key(), order("a")).await.status, 200);
    ask("POST", &sleepy.url("/v1/upstreams/1/sleep"), key(), None).await;
    sleepy.is("asleep").await;
    let again = ask("POST", &sleepy.url("/v1/upstreams/1/wake"), key(), order("a")).await;
    assert_eq!((again.status, again.body["state"].as_str()), (202, Some("asleep")), "it stays so: {}", again.body);
    let by_another = ask("POST", &sleepy.url("/v1/upstreams/1/wake"), Some(operator()), order("a")).await;
    assert_eq!(by_another.body["state"], "waking", "keys are of those who made them");
    let wrong = ask("GET", &sleepy.url("/v1/upstreams"), Some(("authorization", format!("Bearer {KEY}!"))), None).await;
    assert_eq!((wrong.status, wrong.body["code"].as_str()), (401, Some("token_malformed")));
    sleepy.is("ready").await;
    let one = ask("GET", &sleepy.url("/v1/upstreams/1"), key(), None).await;
    assert_eq!((one.status, one.body["state"].as_str()), (200, Some("ready")));
    let gone = ask("GET", &sleepy.url("/v1/upstreams/9"), key(), None).await;
    assert_eq!((gone.status, gone.body["code"].as_str()), (404, Some("unknown_machine")));
    let url = sleepy.url("/v1/autoscale");
    let asked = (0..80).map(|_| ask("GET", &url, key(), None));
    let statuses: Vec<u16> = futures_util::future::join_all(asked).await.iter().map(|told| told.status).collect();
    assert!(statuses.contains(&429), "an operator may ask as often as it likes");
    ask("POST", &sleepy.url("/v1/upstreams/1/sleep"), Some(operator()), None).await;
    sleepy.is("asleep").await;
}

/// The blocks of the page that are commands for curl, one text each.
fn curl_blocks(page: &str) -> Vec<String> {
    let blocks = page.split("```sh curl\n").skip(1).filter_map(|rest| rest.split_once("\n```"));
    blocks.map(|(block, _)| block.to_owned()).collect()
}

#[actix_web::test]
async fn the_commands_of_the_operators_page_work() {
    if std::process::Command::new("curl").arg("--version").output().is_err() {
        assert!(std::env::var_os("TANDEM_TEST_REQUIRE_ALL").is_none(), "curl was not found: install it");
        return eprintln!("skipped: curl was not found");
    }
    let sleepy = Sleepy::new("600");
    sleepy.is("asleep").await;
    let blocks = curl_blocks(&std::fs::read_to_string("docs/protocol/operate.md").unwrap());
    assert!(blocks.len() >= 3, "{blocks:?}");
    let mut told = Vec::new();
    for block in blocks {
        // Each answer on a line of its own, behind its status.
        let script = block.replace("curl ", "curl -sS --max-time 70 -w '\\n%{http_code}\\n' ");
        let mut command = tokio::process::Command::new("sh");
        command.args(["-ec", &script]).env("URL", sleepy.house.url()).env("KEY", KEY);
        let ran = command.output().await.unwrap();
        assert!(ran.status.success(), "{block}: {}", String::from_utf8_lossy(&ran.stderr));
        told.push(String::from_utf8(ran.stdout).unwrap());
    }
    let answers: Vec<(u16, Value)> = told
        .iter()
        .flat_map(|text| {
            let lines: Vec<&str> = text.lines().collect();
            let pairs = lines.chunks(2).map(|pair| (pair[1].parse().unwrap(), serde_json::from_str(pair[0]).unwrap()));
            pairs.collect::<Vec<_>>()
        })
        .collect();
    let seen: Vec<(u16, &str)> =
        answers.iter().map(|(status, body)| (*status, body["state"].as_str().unwrap_or("machines"))).collect();
    let expected = [(202, "waking"), (200, "ready"), (200, "machines"), (200, "ready"), (200, "ready"), (202, "ready")];
    assert_eq!(seen, expected);
    let example = std::fs::read_to_string("docs/protocol/operate.md").unwrap();
    let example = example.split("```json\n").nth(1).and_then(|rest| rest.lines().next()).unwrap();
    let example: Value = serde_json::from_str(example).unwrap();
    let keys = |body: &Value| body["machines"][0].as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(keys(&example), keys(&answers[0].1), "the example has the fields of the answer");
    sleepy.is("asleep").await;
}

#[actix_web::test]
async fn a_machine_sleeps_by_the_time_that_a_reload_brings() {
    let sleepy = Sleepy::new("600");
    sleepy.is("asleep").await;
    let mut ann = knock(&sleepy.house, "/v1/voice", &[bearer(&sleepy.house, "ann")]).await.socket();
    event(&mut ann, "session.ready").await;
    hang_up(&mut ann).await;
    sleepy.house.settle().await;
    sleepy.is("ready").await;
    let (start, state) = (simulator(), sleepy.state.display().to_string());
    let variables = [
        ("PERSONAPLEX_SERVER_URL", format!("ws://127.0.0.1:{}#provider=command:sim", sleepy.port)),
        ("TANDEM__PROVIDERS__COMMAND__START", start),
        ("TANDEM__PROVIDERS__COMMAND__OUTPUT", "off".to_owned()),
        ("TANDEM__FLEET__MIN_AWAKE_SECONDS", "0".to_owned()),
        ("TANDEM__FLEET__IDLE_SECONDS", "1".to_owned()),
        ("TANDEM__STATE__DIR", state),
    ];
    let environment = variables.map(|(key, value)| (key.to_owned(), value)).into();
    sleepy.house.gateway.reload(&tandem::config::load(None, &environment).unwrap()).await.unwrap();
    sleepy.is("asleep").await;
}

#[actix_web::test]
async fn a_machine_may_come_with_a_reload_and_one_that_cannot_be_asked_for_does_not() {
    let house = House::new(crate::house::quiet(), 1).await;
    let none = ask("GET", &format!("{}/v1/upstreams", house.url()), Some(operator()), None).await;
    assert_eq!((none.status, none.body["code"].as_str()), (404, Some("no_fleet")));
    let port = port_for_later();
    let url = format!("ws://127.0.0.1:{port}#provider=command:sim");
    let desk = crate::process::Desk::new();
    let (start, state) = (simulator(), desk.0.display().to_string());
    let settings = |url: &str, variable: &str| {
        let variables = [
            ("PERSONAPLEX_SERVER_URL", url),
            ("TANDEM__PROVIDERS__COMMAND__START", start.as_str()),
            ("TANDEM__PROVIDERS__COMMAND__ENVIRONMENT", variable),
            ("TANDEM__STATE__DIR", state.as_str()),
        ];
        let environment = variables.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
        tandem::config::load(None, &environment).unwrap()
    };
    let refused = house.gateway.reload(&settings(&url, "NO_SUCH_VARIABLE")).await.unwrap_err().to_string();
    assert!(refused.contains("upstream 1") && refused.contains("NO_SUCH_VARIABLE"), "{refused}");
    house.gateway.reload(&settings(&url, "")).await.unwrap();
    house.metric_until("tandem_machine_state{upstream=\"2\",state=\"asleep\"}", 1.0).await;
    let mut ann = knock(&house, "/v1/voice", &[bearer(&house, "ann")]).await.socket();
    event(&mut ann, "session.ready").await;
    hang_up(&mut ann).await;
    ask("POST", &format!("{}/v1/upstreams/2/sleep", house.url()), Some(operator()), None).await;
    house.metric_until("tandem_machine_state{upstream=\"2\",state=\"asleep\"}", 1.0).await;
}
