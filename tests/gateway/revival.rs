//! Tandem killed with -9 while its machine is in each state, and started again: it goes on where it was.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use actix_web::{App, HttpResponse, HttpServer, dev::ServerHandle, web};
use serde_json::{Value, json};
use tandem::sim::upstream::{Settings, Simulator};

use crate::{
    house::{PATIENCE, port_for_later, quiet},
    process::{Call, Desk, Process},
};

const KEY: &str = "an operator's key that is long enough";

/// What the provider does, and what was asked of it.
#[derive(Debug)]
struct Told {
    state: &'static str,
    after_start: &'static str,
    after_stop: &'static str,
    refuses: Option<u16>,
    starts: u32,
    stops: u32,
}

/// A provider whose machine changes only when the test says so.
struct Cloud {
    told: Arc<Mutex<Told>>,
    address: std::net::SocketAddr,
    server: ServerHandle,
}

impl Cloud {
    fn open() -> Cloud {
        let told = Told {
            state: "stopped",
            after_start: "running",
            after_stop: "stopped",
            refuses: None,
            starts: 0,
            stops: 0,
        };
        let told = Arc::new(Mutex::new(told));
        let data = web::Data::from(Arc::clone(&told));
        let start = |told: web::Data<Mutex<Told>>| async move {
            let mut told = told.lock().unwrap();
            told.starts += 1;
            if let Some(status) = told.refuses {
                let status = actix_web::http::StatusCode::from_u16(status).unwrap();
                return HttpResponse::build(status).insert_header(("retry-after", "2")).finish();
            }
            told.state = told.after_start;
            HttpResponse::Accepted().finish()
        };
        let stop = |told: web::Data<Mutex<Told>>| async move {
            let mut told = told.lock().unwrap();
            told.stops += 1;
            told.state = told.after_stop;
            HttpResponse::Accepted().finish()
        };
        let status = |told: web::Data<Mutex<Told>>| async move {
            HttpResponse::Ok().json(json!({ "state": told.lock().unwrap().state }))
        };
        let server = HttpServer::new(move || {
            let app = App::new().app_data(data.clone());
            app.route("/start", web::post().to(start))
                .route("/stop", web::post().to(stop))
                .route("/status", web::get().to(status))
        });
        let server = server.workers(1).disable_signals().bind(("127.0.0.1", 0)).unwrap();
        let address = server.addrs()[0];
        let server = server.run();
        let handle = server.handle();
        actix_web::rt::spawn(server);
        Cloud { told, address, server: handle }
    }

    fn say(&self, change: impl FnOnce(&mut Told)) {
        change(&mut self.told.lock().unwrap());
    }

    fn asked(&self) -> (u32, u32) {
        let told = self.told.lock().unwrap();
        (told.starts, told.stops)
    }
}

/// One machine, and a Tandem over it that can be killed.
struct Scene {
    desk: Desk,
    cloud: Cloud,
    port: u16,
    tandem: Process,
}

impl Scene {
    async fn open() -> Scene {
        let (desk, cloud) = (Desk::new(), Cloud::open());
        let port = port_for_later();
        let tandem = Scene::begin(&desk, &cloud, port).await;
        Scene { desk, cloud, port, tandem }
    }

    async fn begin(desk: &Desk, cloud: &Cloud, port: u16) -> Process {
        let url = |what: &str| format!("http://{}/{what}", cloud.address);
        let (start, stop, status) = (url("start"), url("stop"), url("status"));
        let variables = [
            ("TANDEM__PROVIDERS__WEBHOOK__START_URL", start.as_str()),
            ("TANDEM__PROVIDERS__WEBHOOK__STOP_URL", stop.as_str()),
            ("TANDEM__PROVIDERS__WEBHOOK__STATUS_URL", status.as_str()),
            ("TANDEM__FLEET__RECONCILE_SECONDS", "5"),
            ("TANDEM_OPERATOR_KEY", KEY),
        ];
        Process::set(desk, "state", &format!("ws://127.0.0.1:{port}#provider=webhook:gpu"), &variables).await
    }

    /// `kill -9`, and a successor on the same files.
    async fn revive(&mut self) {
        self.tandem.kill();
        self.tandem = Scene::begin(&self.desk, &self.cloud, self.port).await;
    }

    async fn model_server(&self) -> Simulator {
        let address = ([127, 0, 0, 1], self.port).into();
        Simulator::start(Settings { address, ..quiet() }).await.unwrap()
    }

    async fn ask(&self, method: &str, path: &str) -> (u16, Value) {
        let client = awc::Client::builder().timeout(PATIENCE).finish();
        let request = client.request(method.parse().unwrap(), format!("{}{path}", self.tandem.url));
        let mut response = request.insert_header(("authorization", format!("Bearer {KEY}"))).send().await.unwrap();
        (response.status().as_u16(), response.json().await.unwrap())
    }

    async fn is(&self, state: &str) {
        let mut look = tokio::time::interval(Duration::from_millis(250));
        let looking = async {
            loop {
                look.tick().await;
                let (_, told) = self.ask("GET", "/v1/upstreams/1").await;
                if told["machines"][0]["state"] == state {
                    return;
                }
            }
        };
        let by = tokio::time::timeout(PATIENCE, looking).await;
        assert!(by.is_ok(), "it is not {state}: {}", self.ask("GET", "/v1/upstreams").await.1);
    }

    async fn wake(&self) {
        assert!(matches!(self.ask("POST", "/v1/wake").await.0, 200 | 202));
    }

    async fn close(self) {
        self.cloud.server.stop(false).await;
    }
}

#[actix_web::test]
async fn a_machine_that_sleeps_is_left_asleep() {
    let mut scene = Scene::open().await;
    scene.is("asleep").await;
    scene.revive().await;
    scene.is("asleep").await;
    assert_eq!(scene.cloud.asked(), (0, 0));
    scene.close().await;
}

#[actix_web::test]
async fn a_wake_goes_on_and_is_not_asked_for_again() {
    let mut scene = Scene::open().await;
    scene.cloud.say(|told| told.after_start = "starting");
    scene.wake().await;
    scene.is("waking").await;
    scene.revive().await;
    scene.is("waking").await;
    let _server = scene.model_server().await;
    scene.cloud.say(|told| told.state = "running");
    scene.is("ready").await;
    assert_eq!(scene.cloud.asked(), (1, 0));
    scene.close().await;
}

#[actix_web::test]
async fn a_server_that_gets_ready_is_waited_for() {
    let mut scene = Scene::open().await;
    scene.wake().await;
    scene.is("warming").await;
    scene.revive().await;
    scene.is("warming").await;
    let _server = scene.model_server().await;
    scene.is("ready").await;
    assert_eq!(scene.cloud.asked(), (1, 0));
    scene.close().await;
}

#[actix_web::test]
async fn a_machine_that_is_ready_takes_calls_at_once() {
    let mut scene = Scene::open().await;
    let server = scene.model_server().await;
    scene.wake().await;
    scene.is("ready").await;
    scene.revive().await;
    Call::insist(&scene.tandem, "anna").await.hang_up().await;
    scene.is("ready").await;
    assert_eq!((scene.cloud.asked(), server.peak_open_sockets()), ((1, 0), 1));
    scene.close().await;
}

#[actix_web::test]
async fn a_machine_whose_call_was_cut_off_is_not_stopped_and_takes_the_next_one() {
    let mut scene = Scene::open().await;
    let server = scene.model_server().await;
    let call = Call::insist(&scene.tandem, "anna").await;
    scene.revive().await;
    drop(call);
    Call::insist(&scene.tandem, "anna").await.hang_up().await;
    scene.is("ready").await;
    assert_eq!((scene.cloud.asked(), server.peak_open_sockets()), ((1, 0), 1), "never two sockets");
    scene.close().await;
}

#[actix_web::test]
async fn a_machine_that_falls_asleep_does_so_and_wakes_after_that() {
    let mut scene = Scene::open().await;
    let _server = scene.model_server().await;
    scene.cloud.say(|told| told.after_stop = "stopping");
    scene.wake().await;
    scene.is("ready").await;
    assert_eq!(scene.ask("POST", "/v1/upstreams/1/sleep").await.0, 202);
    scene.is("falling_asleep").await;
    scene.revive().await;
    scene.is("falling_asleep").await;
    scene.wake().await;
    assert_eq!(scene.cloud.asked(), (1, 1), "it is still stopping");
    scene.cloud.say(|told| told.state = "stopped");
    scene.is("ready").await;
    assert_eq!(scene.cloud.asked(), (2, 1));
    scene.close().await;
}

#[actix_web::test]
async fn a_machine_that_could_not_be_woken_is_tried_again_when_somebody_asks() {
    let mut scene = Scene::open().await;
    scene.cloud.say(|told| told.refuses = Some(401));
    scene.wake().await;
    scene.is("failed").await;
    let (status, told) = scene.ask("POST", "/v1/wake?wait=5").await;
    assert_eq!((status, told["code"].as_str()), (503, Some("machine_auth")), "{told}");
    scene.revive().await;
    scene.is("asleep").await;
    scene.cloud.say(|told| told.refuses = None);
    let _server = scene.model_server().await;
    scene.wake().await;
    scene.is("ready").await;
    assert_eq!(scene.cloud.asked(), (2, 0));
    scene.close().await;
}

#[actix_web::test]
async fn that_no_gpu_is_free_is_told_and_the_wake_goes_on() {
    let scene = Scene::open().await;
    let _server = scene.model_server().await;
    scene.cloud.say(|told| told.refuses = Some(503));
    let (status, told) = scene.ask("POST", "/v1/wake?wait=1").await;
    assert_eq!((status, told["code"].as_str()), (503, Some("machine_capacity")), "{told}");
    assert!(told["retry_after_seconds"].as_u64().is_some_and(|later| later <= 2), "{told}");
    scene.is("waking").await;
    scene.cloud.say(|told| told.refuses = None);
    scene.is("ready").await;
    scene.close().await;
}
