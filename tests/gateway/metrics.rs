//! What `GET /metrics` tells, and to whom in which format.

use std::{
    collections::BTreeMap,
    io::Write,
    process::{Command, Stdio},
    sync::Arc,
    time::Duration,
};

use tandem::{
    config,
    sim::{
        caller::{self, Audio, CallReport, HangUp, Wire},
        upstream::{Fault, FaultRule, Faults, Simulator, When},
    },
};

use crate::house::{House, PATIENCE, quiet};

/// What Prometheus 3 asks for.
const PROMETHEUS: &str = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
    application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2";

/// The page and its media type.
async fn scrape(house: &House, accept: &str) -> (String, String) {
    let client = awc::Client::builder().timeout(PATIENCE).finish();
    let request = client.get(house.url() + "/metrics").insert_header(("accept", accept));
    let mut response = request.send().await.unwrap();
    assert_eq!(response.status(), 200);
    let kind = response.headers().get("content-type").unwrap().to_str().unwrap().to_owned();
    (kind, String::from_utf8(response.body().limit(1 << 22).await.unwrap().to_vec()).unwrap())
}

async fn call(house: &House, hang_up: HangUp) -> CallReport {
    let mut settings = house.caller("ann", Wire::Native(Audio::Opus));
    settings.hang_up = hang_up;
    tokio::time::timeout(PATIENCE, caller::call(settings)).await.unwrap()
}

/// Waits until a series is above this value.
async fn above(house: &House, series: &str, value: f64) {
    let mut look = tokio::time::interval(Duration::from_millis(5));
    let waiting = async {
        while house.metric(series).is_none_or(|now| now <= value) {
            look.tick().await;
        }
    };
    assert!(tokio::time::timeout(PATIENCE, waiting).await.is_ok(), "{series} is {:?}", house.metric(series));
}

#[actix_web::test]
async fn the_way_of_a_call_and_of_its_sound_is_measured() {
    let house = House::new(quiet(), 1).await;
    let report = call(&house, HangUp::After(Duration::from_secs(2))).await;
    assert!(report.went_well(), "{report:?}");
    house.metric_until("tandem_sessions_ended_total{protocol=\"native\",reason=\"client_left\"}", 1.0).await;
    for series in [
        "tandem_session_phase_duration_seconds_count{phase=\"leasing\"}",
        "tandem_session_phase_duration_seconds_count{phase=\"handshaking\"}",
        "tandem_upstream_connect_seconds_count",
        "tandem_upstream_prompt_bytes_count{prompt=\"persona\"}",
        "tandem_upstream_prompt_tokens_count{prompt=\"persona\"}",
    ] {
        assert_eq!(house.metric(series), Some(1.0), "{series}");
    }
    let seconds = house.metric("tandem_session_duration_seconds_sum{protocol=\"native\"}").unwrap();
    assert!(house.metric("tandem_upstream_prompt_bytes_sum{prompt=\"persona\"}") > Some(20.0));
    assert!(house.metric("tandem_sessions_limit") > Some(1.0));
    let passed = |direction: &str| house.metric(&format!("tandem_frames_total{{direction=\"{direction}\"}}")).unwrap();
    for direction in ["up", "down"] {
        let of = |series: &str| house.metric(&format!("{series}{{direction=\"{direction}\"}}")).unwrap_or_default();
        let relayed = of("tandem_relay_latency_seconds_count");
        assert!(relayed > 5.0 && relayed <= passed(direction) + 1.0, "{direction}: {relayed}");
        assert!(of("tandem_relay_latency_seconds_sum") / relayed < 1.0, "{direction}: in seconds");
        let intervals = of("tandem_frame_interval_seconds_count");
        assert!(intervals > 5.0 && of("tandem_frame_interval_seconds_sum") < seconds, "{direction}: {intervals}");
    }
    assert!(house.metric("tandem_client_rtt_seconds_count") >= Some(2.0), "the caller answers pings");
    assert!(house.metric("tandem_client_rtt_seconds_sum") < Some(seconds));
}

#[actix_web::test]
async fn sound_that_does_not_come_is_missed_by_its_caller() {
    let house = House::new(quiet(), 2).await;
    let hangs = FaultRule { fault: Fault::Hang { after: Duration::from_millis(300) }, when: When::Always };
    house.servers[0].set_faults(Faults { rules: vec![hangs], seed: 0 });
    let report = call(&house, HangUp::After(Duration::from_secs(4))).await;
    assert!(report.went_well(), "{report:?}");
    // Another server takes over after 2 s, of which a player has 160 ms.
    let missed = house.metric("tandem_audio_underrun_seconds_total").unwrap();
    house.metric_until("tandem_sessions_active{protocol=\"native\"}", 0.0).await;
    let seconds = house.metric("tandem_session_duration_seconds_sum{protocol=\"native\"}").unwrap();
    assert!(missed > 1.0 && missed < seconds, "{missed} s of {seconds} s");
    assert_eq!(house.metric("tandem_upstream_prompt_tokens_count{prompt=\"continuation\"}"), Some(1.0));
}

#[actix_web::test]
async fn every_thread_tells_how_late_it_is_and_the_process_what_it_takes() {
    let house = House::new(quiet(), 1).await;
    for thread in ["main", "worker"] {
        above(&house, &format!("tandem_event_loop_delay_seconds_count{{thread=\"{thread}\"}}"), 2.0).await;
    }
    let (kind, page) = scrape(&house, "*/*").await;
    assert_eq!(kind, "text/plain; version=0.0.4; charset=utf-8");
    assert!(page.contains("\nprocess_resident_memory_bytes ") && page.contains("\nprocess_open_fds "), "{page}");
}

#[actix_web::test]
async fn a_server_that_leaves_takes_its_series_along() {
    let house = House::new(quiet(), 1).await;
    let newcomer = Simulator::start(quiet()).await.unwrap();
    assert!(call(&house, HangUp::After(Duration::from_millis(200))).await.went_well());
    house.metric_until("tandem_upstream_attempts_total{upstream=\"1\",result=\"ready\"}", 1.0).await;
    house.settle().await;
    let list = BTreeMap::from([("PERSONAPLEX_SERVER_URL".to_owned(), newcomer.url())]);
    house.gateway.reload(&config::load(None, &list).unwrap()).await.unwrap();
    house.metric_until("tandem_upstream_changes_total{change=\"left\"}", 1.0).await;
    let page = house.gateway.doors.metrics.render();
    assert!(!page.contains("upstream=\"1\"") && page.contains("upstream=\"2\""), "{page}");
}

#[actix_web::test]
async fn who_waits_is_counted_as_queued() {
    let house = House::new(quiet(), 1).await;
    let mut settings = house.caller("bob", Wire::Native(Audio::Opus));
    settings.hang_up = HangUp::WhenTold;
    let hang_up = Arc::clone(&settings.hang_up_now);
    let (first, second, ()) = tokio::join!(
        caller::call(settings),
        async {
            house.metric_until("tandem_session_setup_seconds_count{protocol=\"native\"}", 1.0).await;
            call(&house, HangUp::After(Duration::from_millis(200))).await
        },
        async {
            // The first caller is in the queue for a moment, too.
            house.metric_until("tandem_session_setup_seconds_count{protocol=\"native\"}", 1.0).await;
            house.metric_until("tandem_queue_depth{class=\"new\"}", 1.0).await;
            hang_up.notify_one();
        }
    );
    assert!(first.went_well() && second.went_well(), "{first:?} {second:?}");
    for result in ["immediate", "queued"] {
        let series = format!("tandem_admission_total{{result=\"{result}\",reason=\"ok\"}}");
        assert_eq!(house.metric(&series), Some(1.0), "{series}");
    }
}

/// A Python that has the parsers of Prometheus' own client library.
fn python() -> Option<String> {
    let python = std::env::var("PROMETHEUS_TEST_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let has = Command::new(&python).args(["-c", "import prometheus_client"]).stderr(Stdio::null()).status();
    has.is_ok_and(|status| status.success()).then_some(python)
}

/// Reads a page from standard input and prints each family: its name, type, unit and number of samples.
const READ: &str = "
import sys
from prometheus_client import parser
from prometheus_client.openmetrics import parser as openmetrics
read = openmetrics if sys.argv[1] == 'openmetrics' else parser
for family in read.text_string_to_metric_families(sys.stdin.read()):
    print(family.name, family.type, family.unit, len(family.samples))
";

fn families(python: &str, format: &str, page: &str) -> BTreeMap<String, (String, usize)> {
    let mut reading = Command::new(python);
    let reading =
        reading.args(["-c", READ, format]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut reading = reading.spawn().unwrap();
    reading.stdin.take().unwrap().write_all(page.as_bytes()).unwrap();
    let read = reading.wait_with_output().unwrap();
    assert!(read.status.success(), "{format}: {}\n{page}", String::from_utf8_lossy(&read.stderr));
    let lines = String::from_utf8(read.stdout).unwrap();
    let line = |line: &str| {
        let (rest, samples) = line.rsplit_once(' ').unwrap();
        let (name, rest) = rest.split_once(' ').unwrap();
        (name.to_owned(), (rest.to_owned(), samples.parse().unwrap()))
    };
    lines.lines().map(line).collect()
}

#[actix_web::test]
async fn both_formats_are_read_by_a_parser_that_is_not_ours() {
    let Some(python) = python() else {
        assert!(
            std::env::var_os("TANDEM_TEST_REQUIRE_ALL").is_none(),
            "prometheus_client is not there: .ci/run has it"
        );
        return eprintln!("skipped: no Python has prometheus_client; name one that has in PROMETHEUS_TEST_PYTHON");
    };
    let house = House::new(quiet(), 2).await;
    assert!(call(&house, HangUp::After(Duration::from_secs(1))).await.went_well());
    let ((text_kind, text), (open_kind, open)) = (scrape(&house, "").await, scrape(&house, PROMETHEUS).await);
    assert_eq!(text_kind, "text/plain; version=0.0.4; charset=utf-8");
    assert_eq!(open_kind, "application/openmetrics-text; version=1.0.0; charset=utf-8");
    let (text, open) = (families(&python, "text", &text), families(&python, "openmetrics", &open));
    assert!(text.len() > 60 && text.len() == open.len(), "{} and {}", text.len(), open.len());
    for (name, what) in [
        ("tandem_frames", "counter "),
        ("tandem_talk_seconds", "counter seconds"),
        ("tandem_session_setup_seconds", "histogram seconds"),
        ("tandem_upstream_prompt_bytes", "histogram bytes"),
        ("tandem_build", "info "),
        ("process_cpu_seconds", "counter seconds"),
    ] {
        assert_eq!(open.get(name).map(|(what, _)| what.as_str()), Some(what), "{name}");
    }
    // The samples are the same, whatever they are called.
    for (name, (_, samples)) in &text {
        let name = name.strip_suffix("_info").unwrap_or(name);
        assert_eq!(open.get(name).map(|(_, count)| count), Some(samples), "{name}");
    }
}
