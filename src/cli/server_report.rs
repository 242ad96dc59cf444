//! What `tandem check` says of the model servers: which there are, how they are trusted, and whether they are up.

use futures_util::future::join_all;
use tokio::time::timeout;

use crate::config::{Settings, UpstreamOptions, UpstreamSettings, UpstreamUrl};
use crate::pool::actor::{LOOK_UP_TIMEOUT, Resolve as _, SystemResolver};
use crate::pool::discovery::{Change, Directory};
use crate::pool::endpoint::Upstream;
use crate::pool::trust::Trust;
use crate::session::leg::upstream::connect::UpstreamConnector;
use crate::session::leg::upstream::probe::{self, NoAnswer};

use super::machine_report::{self, MachineReport};
use super::terminal;

/// One line of the report: what it is about, and the server, or why there is none.
struct Entry<'a> {
    url: &'a UpstreamUrl,
    server: Result<Upstream, &'static str>,
}

impl Entry<'_> {
    /// The address as it was written, and which of its name's it is.
    fn place(&self) -> String {
        match self.server.as_ref().ok().and_then(|upstream| upstream.endpoint.address) {
            Some(address) => format!("{} at {address}", self.url.place()),
            None => self.url.place(),
        }
    }
}

/// How many servers there are, and what is wrong with them.
pub(super) struct Count {
    /// All.
    pub(super) servers: usize,
    /// Those that cannot take calls, and whose machine does not sleep.
    pub(super) down: usize,
    /// Those whose provider does not say what their machine does.
    pub(super) unknown: usize,
}

/// Prints how every server is, and the machine that it runs on.
pub(super) async fn report(settings: &Settings, connector: &UpstreamConnector) -> Count {
    let entries = entries(&settings.upstreams).await;
    let urls: Vec<&UpstreamUrl> = entries.iter().map(|entry| entry.url).collect();
    let machines = machine_report::ask(&settings.fleet, &urls).await;
    let findings = join_all(entries.iter().zip(&machines).map(|(entry, machine)| ask(entry, machine, connector))).await;
    terminal::say("\nModel servers:");
    let width = entries.iter().map(|entry| entry.place().len()).max().unwrap_or_default();
    for ((entry, machine), finding) in entries.iter().zip(&machines).zip(&findings) {
        let (state, sentence) = match finding {
            Finding::Up => ("up", "answers as a PersonaPlex server"),
            Finding::Asleep(sentence) => ("asleep", *sentence),
            Finding::Down(sentence) => ("down", sentence.as_str()),
        };
        terminal::say(format!("  {:width$}  {state:6}  {sentence}", entry.place()));
        let said = entry.server.as_ref().ok().map(|upstream| said(entry.url, upstream));
        for line in said.into_iter().chain(machine.as_ref().map(MachineReport::sentence)) {
            terminal::say(format!("  {:width$}          {line}", ""));
        }
    }
    let down = findings.iter().filter(|finding| matches!(finding, Finding::Down(_))).count();
    let unknown = machines.iter().flatten().filter(|machine| !machine.is_known()).count();
    Count { servers: entries.len(), down, unknown }
}

/// How a server is.
enum Finding {
    Up,
    /// It does not answer, and why that is as it should be.
    Asleep(&'static str),
    /// Why it cannot take calls.
    Down(String),
}

async fn ask(entry: &Entry<'_>, machine: &Option<MachineReport>, connector: &UpstreamConnector) -> Finding {
    let answer = match &entry.server {
        Ok(upstream) => {
            let mut endpoint = upstream.endpoint.clone();
            machine.iter().for_each(|machine| machine.lead(&mut endpoint));
            judge(probe::ask(connector, &endpoint).await)
        }
        Err(sentence) => Err((*sentence).to_owned()),
    };
    match (answer, machine.as_ref().and_then(MachineReport::rest)) {
        (Ok(()), _) => Finding::Up,
        (Err(_), Some(sentence)) => Finding::Asleep(sentence),
        (Err(sentence), None) => Finding::Down(sentence),
    }
}

/// The servers as a pool would take them in, with one entry for each name that leads nowhere.
async fn entries(upstreams: &UpstreamSettings) -> Vec<Entry<'_>> {
    let mut entries = Vec::new();
    for (url, seed) in upstreams.urls.iter().zip(upstreams.servers()) {
        let mut directory = Directory::default();
        let mut changes = directory.configure(vec![seed]).changes;
        for (source, name, port) in directory.names() {
            let answer = timeout(LOOK_UP_TIMEOUT, SystemResolver.resolve(&name, port)).await;
            changes.extend(directory.resolved(source, &answer.ok().and_then(Result::ok).unwrap_or_default()));
        }
        let joined = changes.into_iter().filter_map(|change| match change {
            Change::Join(_, upstream) => Some(Entry { url, server: Ok(*upstream) }),
            Change::Part(_) | Change::Twice(_) => None,
        });
        let before = entries.len();
        entries.extend(joined);
        if entries.len() == before {
            entries.push(Entry { url, server: Err(NO_SUCH_NAME) });
        }
    }
    entries
}

const NO_SUCH_NAME: &str = "no server has this name: is it spelled right, and known to this machine?";

/// What is known of a server before it is asked: its certificates and its labels.
fn said(url: &UpstreamUrl, upstream: &Upstream) -> String {
    let trust = match &upstream.endpoint.tls {
        None => "no TLS".to_owned(),
        Some(Trust::System) => "certificates of the system's authorities".to_owned(),
        Some(Trust::CaFile(file)) => format!("certificates of the system's authorities and of {}", file.display()),
        Some(Trust::Pin(pin)) => format!("the key {pin}"),
        Some(Trust::Anything) if url.is_loopback() => "any certificate, on this machine".to_owned(),
        Some(Trust::Anything) => "ANY CERTIFICATE: whoever is in between can listen in".to_owned(),
    };
    let capacity = match upstream.capacity {
        1 => "1 call at a time".to_owned(),
        calls => format!("{calls} calls at a time"),
    };
    let told = match upstream.endpoint.may_be_told() {
        true => "may be told of callers".to_owned(),
        false => "is told nothing of callers (personal_context)".to_owned(),
    };
    let plain = UpstreamOptions { trust: None, capacity: None, dns: false, machine: None, ..url.options.clone() };
    let labels = UpstreamOptions { personal: None, ..plain }.to_string().replace('&', ", ");
    let said: Vec<String> = [trust, capacity, labels, told].into_iter().filter(|said| !said.is_empty()).collect();
    terminal::printable(&said.join("; "))
}

/// What an answer to a request without an upgrade says; a model server refuses it before it touches anybody's prompts.
fn judge(answer: Result<u16, NoAnswer>) -> Result<(), String> {
    let sentence = match answer {
        Ok(400) => return Ok(()),
        Ok(404) => {
            "answers, but has no /api/chat: is the path before it right, and is it a PersonaPlex server?".to_owned()
        }
        Ok(status @ (301 | 302 | 307 | 308)) => {
            format!("redirects (HTTP {status}): use the address it redirects to, wss:// perhaps")
        }
        Ok(status @ (502..=504)) => {
            format!("a proxy answers (HTTP {status}), the server behind it does not: is it started or asleep?")
        }
        Ok(status) => format!("answers with HTTP {status} instead of 400: is it PersonaPlex?"),
        Err(NoAnswer::PlainHttp) => {
            "speaks plain HTTP where wss:// expects TLS: the stock server does so silently when \
             --ssl has no key.pem and cert.pem; make them with tandem check --make-cert DIR, or use ws://"
                .to_owned()
        }
        Err(NoAnswer::Untrusted(untrusted)) => {
            let pin = untrusted.seen.map_or("its pin, if you know it".to_owned(), |pin| format!("#pin={pin}"));
            let reason = terminal::printable(&untrusted.reason);
            format!("its certificate is not trusted ({reason}): if this key is its own, add {pin} to its address")
        }
        Err(NoAnswer::Refused) => "nothing listens there: is the server started?".to_owned(),
        Err(NoAnswer::NoSuchName) => NO_SUCH_NAME.to_owned(),
        Err(NoAnswer::Silence) => {
            "no answer within 5 s: asleep, behind a firewall, or stuck in a model step?".to_owned()
        }
        Err(NoAnswer::NotHttp) => "does not answer with HTTP: is it TLS (wss://) or another port?".to_owned(),
        Err(NoAnswer::Other(words)) => terminal::printable(&words),
    };
    Err(sentence)
}
