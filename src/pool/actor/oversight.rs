//! What operators ask of the pool: to look at it, and to keep calls away from a server.

use actix::{Handler, Message, MessageResult};
use tokio::time::Instant;

use super::PoolActor;
use crate::pool::{
    discovery::Seed,
    roster::{Input, PoolSnapshot},
};

/// Asks for everything that the pool holds.
#[derive(Clone, Copy, Debug)]
pub struct Look;

impl Message for Look {
    type Result = PoolSnapshot;
}

impl Handler<Look> for PoolActor {
    type Result = MessageResult<Look>;

    fn handle(&mut self, _: Look, _: &mut Self::Context) -> Self::Result {
        MessageResult(self.roster.overview(Instant::now().into_std()))
    }
}

/// Keeps calls away from a server of this name, or lets them come again. The answer says whether there is one.
#[derive(Clone, Debug)]
pub struct Withhold {
    /// Its name.
    pub upstream: String,
    /// Whether calls are kept away from it; those that it has go on.
    pub withheld: bool,
}

impl Message for Withhold {
    type Result = bool;
}

impl Handler<Withhold> for PoolActor {
    type Result = bool;

    fn handle(&mut self, Withhold { upstream, withheld }: Withhold, ctx: &mut Self::Context) -> bool {
        let Some(id) = self.directory.named(&upstream).map(|(id, _)| id) else { return false };
        tracing::warn!(upstream, withheld, "an operator decides whether this model server takes calls");
        self.drive(Input::Withhold(id, withheld), ctx);
        true
    }
}

/// Asks for the entry of the configured list that a server of this name is there for.
#[derive(Clone, Debug)]
pub struct EntryOf(pub String);

/// What a name stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// No server.
    Unknown,
    /// One that is on its way out.
    Leaving,
    /// One that is there for this entry.
    Listed(Box<Seed>),
}

impl Message for EntryOf {
    type Result = Entry;
}

impl Handler<EntryOf> for PoolActor {
    type Result = MessageResult<EntryOf>;

    fn handle(&mut self, EntryOf(name): EntryOf, _: &mut Self::Context) -> Self::Result {
        MessageResult(match self.directory.named(&name) {
            None => Entry::Unknown,
            Some((_, None)) => Entry::Leaving,
            Some((_, Some(seed))) => Entry::Listed(Box::new(seed.clone())),
        })
    }
}
