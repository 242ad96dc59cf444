//! Sends spans over OTLP/HTTP: in batches, within bounds, and beside the threads that carry calls.

use std::{fmt, mem, sync::Arc, time::Duration};

use actix_rt::Arbiter;
use awc::http::header::{self, HeaderName, HeaderValue};
use bytes::Bytes;
use opentelemetry::Context;
use opentelemetry_proto::{
    tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse},
    transform::{common::tonic::ResourceAttributesWithSchema, trace::tonic::group_spans_by_resource_and_scope},
};
use opentelemetry_sdk::{
    Resource,
    error::OTelSdkResult,
    trace::{Span, SpanData, SpanProcessor},
};
use prost::Message;
use rustls::{ClientConfig, RootCertStore, crypto::ring};
use secrecy::ExposeSecret;
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, sleep, sleep_until, timeout},
};

use crate::telemetry::span::{SpanCounter, SpanFate, TraceError, TraceSettings};

/// Spans that may wait to be sent; with OTLP's own default, a call's every phase fits in for hundreds of calls at once.
const QUEUE_SPANS: usize = 2048;
/// Spans that are sent together.
const BATCH_SPANS: usize = 512;
/// How long a span waits for others.
const BATCH_PAUSE: Duration = Duration::from_secs(2);
/// How long one request may take.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// How often a batch is sent, where the collector does not refuse it for good.
const TRIES: u32 = 4;
/// Before the second try; doubled before each further one.
const RETRY_PAUSE: Duration = Duration::from_secs(1);
/// The longest wait that a collector can ask for.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// What is read of an answer.
const MAX_ANSWER_BYTES: usize = 64 * 1024;

/// Where spans wait. Never blocks: what does not fit in is dropped and counted.
pub(super) struct Spool {
    spans: mpsc::Sender<SpanData>,
    counter: Arc<dyn SpanCounter>,
}

impl fmt::Debug for Spool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Spool").finish_non_exhaustive()
    }
}

impl SpanProcessor for Spool {
    fn on_start(&self, _: &mut Span, _: &Context) {}

    fn on_end(&self, span: SpanData) {
        if span.span_context.is_sampled() && self.spans.try_send(span).is_err() {
            self.counter.count(SpanFate::Dropped, 1);
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
        Ok(())
    }
}

/// The thread that sends, seen from outside. It ends when nobody can make spans any more, or when it is told to.
pub(super) struct Exporter {
    stop: watch::Sender<bool>,
    stopped: watch::Receiver<()>,
}

impl Exporter {
    pub(super) fn start(
        settings: &TraceSettings,
        resource: &Resource,
        counter: Arc<dyn SpanCounter>,
    ) -> Result<(Spool, Self), TraceError> {
        let (spans, waiting) = mpsc::channel(QUEUE_SPANS);
        let (stop, told) = watch::channel(false);
        let (done, stopped) = watch::channel(());
        let post = Post::new(settings)?;
        let sender = Sender {
            waiting,
            stop: told,
            post,
            resource: resource.into(),
            counter: Arc::clone(&counter),
            was_lost: false,
        };
        let arbiter = Arbiter::new();
        // Its client is for one thread, so the task begins there.
        arbiter.spawn_fn(move || {
            actix_rt::spawn(async move {
                sender.run().await;
                drop(done);
                Arbiter::current().stop();
            });
        });
        Ok((Spool { spans, counter }, Self { stop, stopped }))
    }

    /// Waits until all that waits was sent, or given up.
    pub(super) async fn finish(&self) {
        self.stop.send_replace(true);
        let mut stopped = self.stopped.clone();
        // Its other end is dropped once it has stopped: that is what is waited for.
        while stopped.changed().await.is_ok() {}
    }
}

struct Sender {
    waiting: mpsc::Receiver<SpanData>,
    stop: watch::Receiver<bool>,
    post: Post,
    resource: ResourceAttributesWithSchema,
    counter: Arc<dyn SpanCounter>,
    was_lost: bool,
}

impl Sender {
    async fn run(mut self) {
        let client = client();
        let mut batch = Vec::with_capacity(BATCH_SPANS);
        loop {
            let goes_on = self.gather(&mut batch).await;
            if !batch.is_empty() {
                self.deliver(&client, mem::take(&mut batch)).await;
            } else if !goes_on {
                return;
            }
        }
    }

    /// Fills a batch, or as much of one as comes within a pause. `false`: no more will come.
    async fn gather(&mut self, batch: &mut Vec<SpanData>) -> bool {
        let mut deadline = None;
        while batch.len() < BATCH_SPANS {
            let room = BATCH_SPANS - batch.len();
            let pause = async {
                match deadline {
                    Some(deadline) => sleep_until(deadline).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                _ = self.stop.wait_for(|stop| *stop) => {
                    while batch.len() < BATCH_SPANS && let Ok(span) = self.waiting.try_recv() {
                        batch.push(span);
                    }
                    return false;
                }
                taken = self.waiting.recv_many(batch, room) => match taken {
                    0 => return false,
                    _ => deadline = deadline.or(Some(Instant::now() + BATCH_PAUSE)),
                },
                () = pause => return true,
            }
        }
        true
    }

    async fn deliver(&mut self, client: &awc::Client, batch: Vec<SpanData>) {
        let spans = batch.len();
        let resource_spans = group_spans_by_resource_and_scope(batch, &self.resource);
        let body = Bytes::from(ExportTraceServiceRequest { resource_spans }.encode_to_vec());
        match self.insist(client, &body).await {
            Ok(rejected) => {
                let rejected = rejected.min(spans);
                self.counter.count(SpanFate::Exported, spans - rejected);
                self.counter.count(SpanFate::Lost, rejected);
                self.was_lost = false;
            }
            Err(why) => {
                self.counter.count(SpanFate::Lost, spans);
                // Said once, until it works again: the metric has the rest.
                if !mem::replace(&mut self.was_lost, true) {
                    tracing::warn!(why = %why, spans, "the collector does not take spans (telemetry.otlp_endpoint)");
                }
            }
        }
    }

    /// Sends a batch until it is taken or refused for good. At the end of the process there is one try.
    async fn insist(&mut self, client: &awc::Client, body: &Bytes) -> Result<usize, Refused> {
        let mut pause = RETRY_PAUSE;
        for _ in 1..TRIES {
            let wait = match self.post.send(client, body).await {
                Ok(rejected) => return Ok(rejected),
                Err(Refused { again: Some(wait), .. }) => wait.unwrap_or(pause),
                Err(refused) => return Err(refused),
            };
            tokio::select! {
                () = sleep(wait) => {}
                _ = self.stop.wait_for(|stop| *stop) => break,
            }
            pause *= 2;
        }
        self.post.send(client, body).await
    }
}

/// Why a batch was not taken. Nothing of the collector's own words is in it.
struct Refused {
    status: Option<u16>,
    /// Whether it may be sent again, and when, if the collector says so.
    again: Option<Option<Duration>>,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.status {
            Some(status) => write!(f, "it answers with status {status}"),
            None => f.write_str("it cannot be reached, or does not answer"),
        }
    }
}

pub(super) fn check(settings: &TraceSettings) -> Result<(), TraceError> {
    Post::new(settings).map(drop)
}

/// One request.
struct Post {
    url: awc::http::Uri,
    headers: Vec<(HeaderName, HeaderValue)>,
}

impl Post {
    fn new(settings: &TraceSettings) -> Result<Self, TraceError> {
        let url = settings.endpoint.parse().map_err(|_| TraceError::NotSendable)?;
        let headers = settings.headers.iter().map(|(name, value)| {
            let value = HeaderValue::from_str(value.expose_secret()).ok();
            name.parse().ok().zip(value).ok_or(TraceError::NotSendable)
        });
        Ok(Self { url, headers: headers.collect::<Result<_, _>>()? })
    }

    /// The spans of the batch that the collector rejected, or why it did not take the batch.
    async fn send(&self, client: &awc::Client, body: &Bytes) -> Result<usize, Refused> {
        let unreachable = Refused { status: None, again: Some(None) };
        timeout(REQUEST_TIMEOUT, self.exchange(client, body)).await.unwrap_or(Err(unreachable))
    }

    async fn exchange(&self, client: &awc::Client, body: &Bytes) -> Result<usize, Refused> {
        let request =
            client.post(&self.url).force_close().insert_header((header::CONTENT_TYPE, "application/x-protobuf"));
        let agent = (header::USER_AGENT, concat!("tandem/", env!("CARGO_PKG_VERSION")));
        let request = self.headers.iter().fold(request.insert_header(agent), |request, (name, value)| {
            request.insert_header((name.clone(), value.clone()))
        });
        let sent = request.send_body(body.clone()).await;
        let mut answer = sent.map_err(|_| Refused { status: None, again: Some(None) })?;
        let status = answer.status().as_u16();
        if answer.status().is_success() {
            // A collector that took everything need not say so.
            let said = answer.body().limit(MAX_ANSWER_BYTES).await.unwrap_or_default();
            let said = ExportTraceServiceResponse::decode(said).unwrap_or_default().partial_success;
            return Ok(said.map_or(0, |said| usize::try_from(said.rejected_spans).unwrap_or(0)));
        }
        let asked =
            answer.headers().get(header::RETRY_AFTER).and_then(|value| value.to_str().ok()?.trim().parse().ok());
        let wait = asked.map(|seconds| Duration::from_secs(seconds).min(LONGEST_PAUSE));
        // Those that may be sent again (OTLP 1.x, "Retryable Response Codes").
        let again = matches!(status, 429 | 502 | 503 | 504).then_some(wait);
        Err(Refused { status: Some(status), again })
    }
}

/// One connection for each batch, to those whose certificates the system trusts.
fn client() -> awc::Client {
    let connector = awc::Connector::new().limit(0).timeout(REQUEST_TIMEOUT).handshake_timeout(REQUEST_TIMEOUT);
    let connector = match tls() {
        Ok(config) => connector.rustls_0_23(Arc::new(config)),
        // Without TLS awc refuses `https`, and says so.
        Err(_) => connector,
    };
    awc::Client::builder().connector(connector).disable_timeout().disable_redirects().finish()
}

fn tls() -> Result<ClientConfig, rustls::Error> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let mut config = builder.with_safe_default_protocol_versions()?.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}
