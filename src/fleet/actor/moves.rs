//! Machines whose model server is reached elsewhere after each start.

use super::FleetActor;
use crate::{
    fleet::{
        lifecycle::Input,
        provider::{Address, PowerState},
    },
    pool::{actor::Moved, roster::UpstreamId},
};

impl FleetActor {
    /// Follows what a provider says of a machine that runs. Says whether that is news.
    ///
    /// The pool hears it every time: it may have had to refuse it before.
    pub(super) fn found_at(&mut self, id: UpstreamId, address: &Address) -> bool {
        let Some(unit) = self.units.get_mut(&id) else { return false };
        let known = &unit.upstream.endpoint;
        let Some(endpoint) = known.at(&address.host, address.port) else {
            tracing::warn!(upstream = known.name, "the provider gives an address that no server can have");
            return false;
        };
        if address.tls == Some(true) && known.tls.is_none() {
            let upstream = &known.name;
            tracing::warn!(
                upstream,
                "the provider gives an address with TLS only: write the server's address with wss"
            );
            return false;
        }
        unit.addressed = true;
        let moved = *known != endpoint;
        if moved {
            tracing::info!(upstream = known.name, "the model server is reached at another address now");
            unit.upstream.endpoint = endpoint;
        }
        self.ports.pool.moved(Moved { id, host: address.host.clone(), port: address.port });
        moved
    }

    /// A machine whose address was told before is not taken to run while it is not: at the old one may be a stranger.
    pub(super) fn without_address(&self, id: UpstreamId, input: Input) -> Input {
        let addressed = self.units.get(&id).is_some_and(|unit| unit.addressed);
        match input {
            Input::Seen(Ok(PowerState::Running)) if addressed => Input::Seen(Ok(PowerState::Starting)),
            input => input,
        }
    }
}
