//! Who may operate: the bearer of the operator's key, or of a token with the scope for it.

use actix_web::HttpRequest;

use super::{doors::Doors, identity, problem::Problem, problem::Refusal};
use crate::{auth::Identity, session::switchboard::UserHash};

/// The scope that a token needs for this.
pub const SCOPE: &str = "tandem:operate";

/// An operator, as the limits and the repeated orders know it: whoever has the key is one and the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operator {
    /// Has the key.
    Key,
    /// Has a token.
    User(UserHash),
}

/// Lets operators in, and each of them so often.
pub fn admit(doors: &Doors, request: &HttpRequest) -> Result<Operator, Refusal> {
    if let Some(key) = by_key(doors, request) {
        doors.throttle.operate(key)?;
        return Ok(key);
    }
    let identity = identity::anybody(doors, request)?;
    let user = identity.user.hash();
    if !has_scope(&identity) {
        doors.throttle.attempt(user)?;
        return Err(Problem::NotOperator.into());
    }
    doors.throttle.operate(Operator::User(user))?;
    Ok(Operator::User(user))
}

/// The operator whose key is sent, if it is the key.
pub fn by_key(doors: &Doors, request: &HttpRequest) -> Option<Operator> {
    let (presented, key) = identity::bearer_text(request).zip(doors.operator_key.as_ref())?;
    key.is(&presented).then_some(Operator::Key)
}

/// Whether the bearer of a token is an operator.
pub fn has_scope(identity: &Identity) -> bool {
    identity.scopes.iter().any(|scope| scope == SCOPE)
}
