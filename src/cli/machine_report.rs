//! What `tandem check` says of the machines that model servers run on. Nothing is started or stopped for it.

use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::timeout;

use crate::config::{FleetSettings, UpstreamUrl};
use crate::fleet::provider::{Exchange, Machine, PowerState, ProviderError, Status};
use crate::pool::endpoint::Endpoint;
use crate::pool::trust::Trust;

use super::terminal;

/// Longer than a provider takes that keeps its own limit.
const PATIENCE: Duration = Duration::from_secs(15);

/// A machine, and what its provider says of it, or why it says nothing.
pub(super) struct MachineReport {
    machine: Machine,
    answer: Result<Status, String>,
}

/// Asks the provider of each server's machine, all at once; none: Tandem does not manage the server's machine.
pub(super) async fn ask(fleet: &FleetSettings, urls: &[&UpstreamUrl]) -> Vec<Option<MachineReport>> {
    if urls.iter().all(|url| url.options.machine.is_none()) {
        return urls.iter().map(|_| None).collect();
    }
    let exchange = Exchange::new(Exchange::TIMEOUT);
    join_all(urls.iter().map(|url| ask_one(fleet, url, &exchange))).await
}

async fn ask_one(fleet: &FleetSettings, url: &UpstreamUrl, exchange: &Exchange) -> Option<MachineReport> {
    let machine = url.options.machine.clone()?;
    let answer = match fleet.provider(url, exchange) {
        Err(error) => Err(error.to_string()),
        Ok(provider) => {
            let answer = timeout(PATIENCE, provider.status()).await;
            answer.unwrap_or(Err(ProviderError::Timeout)).map_err(|error| error.to_string())
        }
    };
    Some(MachineReport { machine, answer })
}

impl MachineReport {
    /// Whether its provider said what it does.
    pub(super) fn is_known(&self) -> bool {
        self.answer.is_ok()
    }

    /// Why its model server cannot answer now, if that is as it should be.
    pub(super) fn rest(&self) -> Option<&'static str> {
        match self.answer.as_ref().map(|status| status.state) {
            Ok(PowerState::Stopped | PowerState::Stopping) => Some("does not answer, because its machine sleeps"),
            Ok(PowerState::Starting) => Some("does not answer yet: its machine is starting"),
            _ => None,
        }
    }

    /// Where the server is reached now, if its provider knows better than what is written.
    pub(super) fn lead(&self, endpoint: &mut Endpoint) {
        let Some(address) = self.answer.as_ref().ok().and_then(|status| status.address.clone()) else { return };
        (endpoint.host, endpoint.port) = (address.host, address.port);
        if address.tls == Some(true) {
            endpoint.tls.get_or_insert(Trust::System);
        }
    }

    /// One line for people.
    pub(super) fn sentence(&self) -> String {
        let said = match &self.answer {
            Err(sentence) => format!("UNKNOWN: {sentence}"),
            Ok(status) => {
                let place = status.address.as_ref().map(|address| format!(" at {address}")).unwrap_or_default();
                let detail = status.detail.as_ref().map(|detail| format!(" ({detail})")).unwrap_or_default();
                format!("{}{place}{detail}", status.state.code())
            }
        };
        terminal::printable(&format!("machine {}: {said}", self.machine))
    }
}
