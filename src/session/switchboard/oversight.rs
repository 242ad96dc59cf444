//! The live calls and the pool as operators look at them, and what they may do about both.

use std::sync::Arc;

use tokio::time::timeout;
use uuid::Uuid;

use super::{Control, POOL_TIMEOUT, SESSION_TIMEOUT, Switchboard, UserHash};
use crate::{
    pool::{
        actor::{Look, Withhold},
        roster::PoolSnapshot,
    },
    protocol::ending::Ending,
    session::glance::Glance,
};

/// One live call.
#[derive(Clone, Debug)]
pub struct LiveCall {
    /// The session's id.
    pub id: Uuid,
    /// Whose call it is.
    pub user: UserHash,
    /// What it is, and where.
    pub glance: Arc<Glance>,
}

impl Switchboard {
    /// Every live call whose actor has begun, in no order.
    pub fn calls(&self) -> Vec<LiveCall> {
        let live = self.reach.iter();
        live.map(|call| LiveCall { id: *call.key(), user: call.user, glance: Arc::clone(&call.glance) }).collect()
    }

    /// Ends one call. Says whether it was there to be told; one that ends already ends as it had begun to.
    pub async fn end(&self, id: Uuid, ending: Ending) -> bool {
        let Some(session) = self.reach.get(&id).map(|call| call.session.clone()) else { return false };
        matches!(timeout(SESSION_TIMEOUT, session.send(Control::End(ending))).await, Ok(Ok(())))
    }

    /// Ends every call that talks to this model server now. Gives their number.
    pub fn end_calls_at(&self, upstream: &str, ending: Ending) -> usize {
        let there = self.reach.iter().filter(|call| call.glance.moment().upstream.as_deref() == Some(upstream));
        // A full mailbox belongs to a session that is busy ending.
        there.filter(|call| call.session.try_send(Control::End(ending)).is_ok()).count()
    }

    /// Everything that the pool holds; `None` if it does not answer.
    pub async fn look(&self) -> Option<PoolSnapshot> {
        timeout(POOL_TIMEOUT, self.pool.send(Look)).await.ok()?.ok()
    }

    /// Keeps calls away from a model server, or lets them come again. Says whether there is one of this name; `None` if the
    /// pool does not answer.
    pub async fn withhold(&self, upstream: String, withheld: bool) -> Option<bool> {
        timeout(POOL_TIMEOUT, self.pool.send(Withhold { upstream, withheld })).await.ok()?.ok()
    }
}
