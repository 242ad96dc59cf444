//! Who asks for records: a user for its own, an operator for everybody's.

use actix_web::HttpRequest;

use super::{
    doors::Doors,
    identity,
    operator::{self, Operator},
    problem::{Problem, Refusal},
};
use crate::auth::{Identity, UserId};

/// Whoever asks. A ticket lets nobody in here: it opens one call.
pub enum Asker {
    /// The bearer of a token.
    User(Identity),
    /// Whoever has the operator's key, or a token with its scope.
    Operator(Operator),
}

/// Lets users and operators in, each of them so often.
pub fn admit(doors: &Doors, request: &HttpRequest) -> Result<Asker, Refusal> {
    identity::check_origin(doors, request)?;
    if let Some(key) = operator::by_key(doors, request) {
        doors.throttle.operate(key)?;
        return Ok(Asker::Operator(key));
    }
    let identity = identity::anybody(doors, request)?;
    let user = identity.user.hash();
    if operator::has_scope(&identity) {
        doors.throttle.operate(Operator::User(user))?;
        return Ok(Asker::Operator(Operator::User(user)));
    }
    doors.throttle.look(user)?;
    if doors.tokens.may_call(&identity) { Ok(Asker::User(identity)) } else { Err(Problem::Forbidden.into()) }
}

/// Lets the user in whom a token names, for what concerns nobody else.
pub fn user(doors: &Doors, request: &HttpRequest) -> Result<UserId, Refusal> {
    identity::check_origin(doors, request)?;
    let identity = identity::bearer(doors, request)?;
    doors.throttle.look(identity.user.hash())?;
    Ok(identity.user)
}

/// Lets operators in, for what concerns this user.
pub fn operator_for(doors: &Doors, request: &HttpRequest, user: &str) -> Result<UserId, Refusal> {
    identity::check_origin(doors, request)?;
    operator::admit(doors, request)?;
    // What a path cannot say in UTF-8 has become this sign: whoever is erased by it is nobody that was meant.
    let user = UserId::new(user).ok().filter(|user| !user.expose().contains(char::REPLACEMENT_CHARACTER));
    Ok(user.ok_or(Problem::BadRequest)?)
}

impl Asker {
    /// Whether the records of this user are the asker's business.
    pub fn may_see(&self, user: &str) -> bool {
        match self {
            Asker::User(identity) => identity.user.expose() == user,
            Asker::Operator(_) => true,
        }
    }
}
