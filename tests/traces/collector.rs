//! A collector in this process: OTLP over HTTP, decoded.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use actix_web::{App, HttpRequest, HttpResponse, HttpServer, dev::ServerHandle, web};
use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest,
    common::v1::{KeyValue, any_value::Value},
    trace::v1::Span,
};
use prost::Message;
use tokio::sync::watch;

use crate::house::PATIENCE;

/// One request, as it came.
#[derive(Clone)]
pub struct Taken {
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    pub message: ExportTraceServiceRequest,
}

/// What a collector answers: a status, seconds of `Retry-After` if it is busy, and a body.
pub type Answer = fn(usize) -> (u16, Vec<u8>);

pub struct Collector {
    address: SocketAddr,
    taken: watch::Receiver<Vec<Taken>>,
    server: ServerHandle,
}

struct Desk {
    taken: watch::Sender<Vec<Taken>>,
    answer: Answer,
}

async fn take(desk: web::Data<Desk>, request: HttpRequest, body: web::Bytes) -> HttpResponse {
    let text = |value: &actix_web::http::header::HeaderValue| value.to_str().unwrap().to_owned();
    let headers = request.headers().iter().map(|(name, value)| (name.to_string(), text(value))).collect();
    let message = ExportTraceServiceRequest::decode(body.clone()).unwrap();
    let mut before = 0;
    desk.taken.send_modify(|taken| {
        before = taken.len();
        taken.push(Taken { headers, body: body.to_vec(), message });
    });
    let (status, body) = (desk.answer)(before);
    let mut answer = HttpResponse::build(status.try_into().unwrap());
    answer.insert_header(("retry-after", "0")).body(body)
}

impl Collector {
    pub fn start() -> Collector {
        Collector::answering(|_| (200, Vec::new()))
    }

    /// One that answers its request number so many, from 0, like this.
    pub fn answering(answer: Answer) -> Collector {
        let (sender, taken) = watch::channel(Vec::new());
        let desk = web::Data::new(Desk { taken: sender, answer });
        let server = HttpServer::new(move || {
            let body = web::PayloadConfig::new(1 << 24);
            App::new().app_data(body).app_data(desk.clone()).route("/v1/traces", web::post().to(take))
        });
        let server = server.workers(1).disable_signals().bind(("127.0.0.1", 0)).unwrap();
        let address = server.addrs()[0];
        let running = server.run();
        let handle = running.handle();
        actix_web::rt::spawn(running);
        Collector { address, taken, server: handle }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The settings of a gateway that sends its spans here.
    pub fn variables(&self) -> Vec<(String, String)> {
        vec![("TANDEM__TELEMETRY__OTLP_ENDPOINT".to_owned(), self.url())]
    }

    pub fn taken(&self) -> Vec<Taken> {
        self.taken.borrow().clone()
    }

    /// Waits until so many requests came.
    pub async fn requests(&self, count: usize) -> Vec<Taken> {
        let mut taken = self.taken.clone();
        let waiting = taken.wait_for(|taken| taken.len() >= count);
        tokio::time::timeout(PATIENCE, waiting).await.expect("the spans come").unwrap().clone()
    }

    /// Every span that came, by its beginning.
    pub fn spans(&self) -> Vec<Span> {
        let requests = self.taken().into_iter().map(|taken| taken.message);
        let scopes = requests.flat_map(|request| request.resource_spans).flat_map(|resource| resource.scope_spans);
        let mut spans: Vec<Span> = scopes.flat_map(|scope| scope.spans).collect();
        spans.sort_by_key(|span| (span.start_time_unix_nano, std::cmp::Reverse(span.end_time_unix_nano)));
        spans
    }

    pub async fn stop(self) {
        self.server.stop(false).await;
    }
}

/// An attribute as text.
pub fn text(attributes: &[KeyValue], key: &str) -> Option<String> {
    let found = attributes.iter().find(|attribute| attribute.key == key)?;
    match found.value.as_ref()?.value.as_ref()? {
        Value::StringValue(text) => Some(text.clone()),
        Value::IntValue(number) => Some(number.to_string()),
        other => panic!("{key} is {other:?}"),
    }
}

pub fn of(span: &Span, key: &str) -> String {
    text(&span.attributes, key).unwrap_or_else(|| panic!("{} has no {key}", span.name))
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub fn lasts(span: &Span) -> Duration {
    Duration::from_nanos(span.end_time_unix_nano - span.start_time_unix_nano)
}

/// Counts what becomes of spans.
#[derive(Clone, Default)]
pub struct Tally(Arc<std::sync::Mutex<[usize; 3]>>);

impl tandem::telemetry::span::SpanCounter for Tally {
    fn count(&self, fate: tandem::telemetry::span::SpanFate, spans: usize) {
        self.0.lock().unwrap()[fate as usize] += spans;
    }
}

impl Tally {
    /// Exported, dropped, lost.
    pub fn sums(&self) -> [usize; 3] {
        *self.0.lock().unwrap()
    }
}
