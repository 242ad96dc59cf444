//! The call that a new one continues: looked up before the upgrade, its caller's own or none.

use std::{sync::Arc, time::Duration};

use uuid::Uuid;

use super::{doors::Doors, history::within, problem::Problem};
use crate::{
    auth::Identity,
    context::{
        source::{ContextError, ContextSource, NoContext},
        user::Entry,
    },
    store::record::Record,
};

/// How long a caller waits for the record of its earlier call.
const LOOK_UP_TIMEOUT: Duration = Duration::from_secs(2);

/// What is known of the call that is to be continued.
pub enum Continued {
    /// None is.
    Nothing,
    /// This one.
    Call(Box<Record>),
    /// The store does not say: whose call it is, and whether there is one, is not known.
    Unavailable,
}

/// Looks the call up that `identity` wants to continue. Where the store does not answer the caller is let in all the same,
/// and hears as much of its earlier call as of everything else that the store knows.
pub async fn of(doors: &Doors, identity: &Identity, session: Option<Uuid>) -> Result<Continued, Problem> {
    let Some(session) = session else { return Ok(Continued::Nothing) };
    match within(LOOK_UP_TIMEOUT, doors.archive.session(session)).await {
        Ok(Some(record)) if record.user.expose() == identity.user.expose() => Ok(Continued::Call(Box::new(record))),
        Ok(_) => Err(Problem::UnknownSession),
        Err(_) => Ok(Continued::Unavailable),
    }
}

impl Continued {
    /// The persona of that call.
    pub fn persona(&self) -> Option<&str> {
        match self {
            Continued::Call(record) => Some(&record.persona),
            Continued::Nothing | Continued::Unavailable => None,
        }
    }

    /// Where the new call's context comes from, and what it is told of the earlier one before all else.
    pub fn into_context(self, source: &Arc<dyn ContextSource>) -> (Arc<dyn ContextSource>, Option<Entry>) {
        match self {
            Continued::Nothing => (Arc::clone(source), None),
            Continued::Call(record) => (Arc::clone(source), record.told()),
            // One that does not answer is not asked again: the caller has waited for it.
            Continued::Unavailable => {
                let error = ContextError::Store("the call to continue could not be looked up".to_owned());
                (Arc::new(NoContext(error)), None)
            }
        }
    }
}
