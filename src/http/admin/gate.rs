//! Who may administer: whoever has the admin token, and nobody else.

use actix_web::HttpRequest;

use crate::{
    http::{
        doors::Doors,
        identity,
        problem::{Problem, Refusal},
    },
    metrics::Admittance,
};

/// What the credential is called in the log. There is one, and what it is never shows.
pub(super) const CREDENTIAL: &str = "admin_token";

/// Lets the bearer of the admin token in, so often. Others are told what to send, and after a few tries to wait; the
/// right token is looked at all the same, because whoever tries wrong ones is not to shut others out.
pub(super) fn admit(doors: &Doors, request: &HttpRequest) -> Result<(), Refusal> {
    let Some(token) = &doors.admin_token else { return Err(Problem::AdminClosed.into()) };
    identity::check_origin(doors, request)?;
    if identity::bearer_text(request).is_some_and(|presented| token.is(&presented)) {
        let let_in = doors.throttle.administer();
        doors.metrics.administered(if let_in.is_ok() { Admittance::Ok } else { Admittance::TooMany });
        return let_in;
    }
    // Apart from callers' credentials, whose share of refused ones wakes somebody.
    doors.metrics.administered(Admittance::WrongToken);
    doors.throttle.fail_to_administer()?;
    tracing::warn!(problem = Problem::AdminTokenWrong.code(), "somebody without the admin token asked for /admin");
    Err(Problem::AdminTokenWrong.into())
}
