//! Refusals before the upgrade: one closed enum, and the one table that says them to everybody.
//!
//! After the upgrade a call ends by a [`crate::protocol::ending::Ending`]; where both exist they share code, close code
//! and sentence. Nothing here repeats what the caller sent, and no cause from inside is told.

mod document;

use std::fmt;
use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::{HttpResponse, ResponseError};

pub use self::document::{ReachedLimit, Refusal};
use crate::auth::{TicketError, TicketRefused, TokenError};
use crate::protocol::ending::{Ending, EndingRow};
use crate::protocol::native::ErrorEvent;
use crate::session::resume::NoResume;

/// How a [`Problem`] is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProblemRow {
    /// The API code, which is also the metric label and the log field.
    pub code: &'static str,
    /// The HTTP status.
    pub status: u16,
    /// The close code for clients that can only be told after an upgrade: 4000 plus the status, or the ending's.
    pub close_code: u16,
    /// The public sentence, which says what to do and fits into a close frame.
    pub sentence: &'static str,
    /// When another try makes sense unless the refusal knows better, in seconds.
    pub retry_after_seconds: Option<u64>,
}

const fn row(code: &'static str, status: u16, sentence: &'static str) -> ProblemRow {
    ProblemRow { code, status, close_code: 4000 + status, sentence, retry_after_seconds: None }
}

/// A refusal that is also an ending: the same words before and after the upgrade.
const fn as_ending(ending: Ending, status: u16) -> ProblemRow {
    let EndingRow { code, close_code, sentence } = ending.row();
    ProblemRow { code, status, close_code, sentence, retry_after_seconds: None }
}

impl ProblemRow {
    const fn retry_after(self, seconds: u64) -> ProblemRow {
        ProblemRow { retry_after_seconds: Some(seconds), ..self }
    }

    const fn close_code(self, close_code: u16) -> ProblemRow {
        ProblemRow { close_code, ..self }
    }
}

/// Writes the enum, the list of all and the table from one source.
macro_rules! problems {
    ($($(#[$doc:meta])+ $name:ident => $row:expr,)+) => {
        /// Why a request is refused before it becomes a call.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Problem { $($(#[$doc])+ $name,)+ }

        impl Problem {
            /// Every problem, in the order of the table.
            pub const ALL: &[Problem] = &[$(Problem::$name,)+];

            /// The table: how this problem is told.
            pub const fn row(self) -> ProblemRow {
                match self { $(Problem::$name => $row,)+ }
            }
        }
    };
}

problems! {
    /// No token and no ticket came.
    TokenMissing => row("token_missing", 401, "Send a token as \"Authorization: Bearer TOKEN\", or a ticket as \"ticket\" in the URL."),
    /// The token is no JWT.
    TokenMalformed => row("token_malformed", 401, "The token is not a well-formed JWT; sign in again."),
    /// The token was signed with another secret.
    TokenBadSignature => row("token_bad_signature", 401, "The token's signature is not valid here; sign in again."),
    /// The token is not signed with HS256.
    TokenWrongAlgorithm => row("token_wrong_algorithm", 401, "The token must be signed with HS256; sign in again."),
    /// The token is too old.
    TokenExpired => row("token_expired", 401, "The token has expired; sign in again."),
    /// The token would be good for ever.
    TokenNoExpiry => row("token_no_expiry", 401, "The token must have an expiry (exp); have it signed with one."),
    /// The token is for later.
    TokenNotYetValid => row("token_not_yet_valid", 401, "The token is not valid yet (nbf); try again later."),
    /// The token is from somebody else.
    TokenWrongIssuer => row("token_wrong_issuer", 401, "The token's issuer (iss) is not accepted here; sign in again."),
    /// The token is for somebody else.
    TokenWrongAudience => row("token_wrong_audience", 401, "The token's audience (aud) is not this service; ask for a token for it."),
    /// The token names nobody.
    TokenNoUser => row("token_no_user", 401, "The token must name its user in sub, userId or id, in 1 to 128 bytes of printable text."),
    /// The tenant's claim is no tenant.
    TokenBadTenant => row("token_bad_tenant", 401, "The token's tenant must be a whole number or 1 to 128 bytes of printable text."),
    /// The token came in the URL where that is switched off.
    TokenInQuery => row("token_in_query", 401, "Tokens are not accepted in the URL here; send a header, or get a ticket for the URL."),
    /// The ticket is no ticket.
    TicketMalformed => row("ticket_malformed", 401, "A ticket has 43 characters of base64url; ask for a new one."),
    /// The ticket was used before, or never given out.
    TicketUnknown => row("ticket_unknown", 401, "The ticket is unknown or was used before; ask for a new one."),
    /// The ticket is too old.
    TicketExpired => row("ticket_expired", 401, "The ticket has expired; ask for a new one."),
    /// The user may not call.
    Forbidden => row("forbidden", 403, "Your token lacks the scope that calls need; ask for one that has it."),
    /// Whoever asks may call and may not operate.
    NotOperator => row("not_operator", 403, "Your token lacks the scope tandem:operate; ask for one that has it, or send the operator's key."),
    /// The page is not one of ours.
    OriginNotAllowed => row("origin_not_allowed", 403, "Calls are not accepted from this origin; its operator can allow it in doors.allowed_origins."),
    /// No persona of this name.
    UnknownPersona => row("unknown_persona", 404, "There is no such persona; choose one that exists."),
    /// A persona that is not for this caller.
    PersonaForbidden => row("persona_forbidden", 403, "Your token lacks the scope of this persona; choose another one."),
    /// Callers do not choose prompts or voices here.
    PromptNotAllowed => row("prompt_not_allowed", 403, "Prompts and voices are not the caller's choice here; leave voice and text_prompt out."),
    /// No such address.
    UnknownRoute => row("unknown_route", 404, "There is nothing at this address; docs/protocol/client.md lists the ones that exist."),
    /// Nothing sleeps here.
    NoFleet => row("no_fleet", 404, "No machine is started and stopped here; an upstream gets one by provider= behind its address."),
    /// No such machine.
    UnknownMachine => row("unknown_machine", 404, "There is no machine of this name; GET /v1/upstreams lists them."),
    /// No such call, or one of somebody else: nobody can tell the two apart.
    UnknownSession => row("unknown_session", 404, "There is no such call of yours; GET /v1/sessions lists those that there are."),
    /// The call is not over.
    SessionOpen => row("session_open", 409, "The call is not over; end it, and remove it then."),
    /// The part of a list that is asked for is none.
    BadPage => row("bad_page", 400, "The limit of a page is 1 to 200, and after is what an earlier answer has as next."),
    /// What cannot be undone was asked for without saying so.
    NotConfirmed => row("not_confirmed", 400, "This erases for good, and nothing brings it back; say so with ?confirm=erase."),
    /// The store does not answer, or not in time.
    StoreUnavailable => row("store_unavailable", 503, "The records cannot be reached just now; try again in a moment.").retry_after(5),
    /// What was to be erased is gone, but for traces in a log that somebody reads.
    TracesLeft => row("traces_left", 503, "It is erased, but while somebody reads the store's file traces stay in its log; they go within an hour after.").retry_after(60),
    /// The address exists, but not for this method.
    MethodNotAllowed => row("method_not_allowed", 405, "This address takes another method; the Allow header names it."),
    /// No such voice.
    UnknownVoice => row("unknown_voice", 404, "There is no such voice; there are NATF0 to NATF3, NATM0 to NATM3, VARF0 to VARF4 and VARM0 to VARM4."),
    /// The request cannot be read.
    BadRequest => row("bad_request", 400, "The request is not as docs/protocol/client.md describes it; compare its parameters."),
    /// No such audio format.
    UnknownFormat => row("unknown_format", 400, "There is no such audio format; there are pcm16, opus and ogg-opus."),
    /// No such sample rate.
    UnknownRate => row("unknown_rate", 400, "There is no such sample rate; there are 8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000, 88200 and 96000."),
    /// No such number of channels.
    UnknownChannels => row("unknown_channels", 400, "There is no such number of channels; there are 1 and 2, which are mixed down."),
    /// The prompt is empty or too long.
    BadPrompt => row("bad_prompt", 400, "The prompt must have some text and fit into one request line; shorten it or leave it out."),
    /// The body is too long.
    BodyTooLarge => row("body_too_large", 413, "The request's body is too long; send at most 4096 bytes."),
    /// The body does not come.
    BodyTimeout => row("body_timeout", 408, "The request's body did not come within 5 seconds; send it at once."),
    /// An ordinary request where a WebSocket is expected.
    UpgradeRequired => row("upgrade_required", 426, "This address speaks WebSocket; open it with a WebSocket client.").close_code(4400),
    /// The call to come back to is over, or was never there.
    ResumeUnknown => row("resume_unknown", 410, "There is no call to come back to: it is over, or the token was used; call again."),
    /// The call to come back to has another format.
    ResumeWrongFormat => row("resume_wrong_format", 409, "The call has another audio format; come back with the one that it began with."),
    /// The user has as many calls as one may have.
    TooManyCalls => row("too_many_calls", 429, "You have as many calls as you may have; hang up one and call again."),
    /// The user's tenant has as many calls as it may have.
    TooManyTenantCalls => row("too_many_tenant_calls", 429, "Your organisation has as many calls as it may have; call again in a little while.").retry_after(15),
    /// The user has talked for as long as it may.
    QuotaSpent => as_ending(Ending::QuotaSpent, 429).retry_after(60),
    /// The users of a tenant have talked for as long as they may, taken together.
    TenantQuotaSpent => row("tenant_quota_spent", 429, "The time that your organisation may talk is used up; call again later.").retry_after(60),
    /// The user tries too often.
    TooManyAttempts => row("too_many_attempts", 429, "You tried too often; wait a little and call again.").retry_after(5),
    /// The user has too many unused tickets.
    TooManyTickets => row("too_many_tickets", 429, "You have too many unused tickets; use one or wait until they expire.").retry_after(60),
    /// There are too many unused tickets in all.
    TicketsFull => row("tickets_full", 503, "No more tickets can be given out just now; try again in a moment.").retry_after(10),
    /// No slot is free.
    NoCapacity => as_ending(Ending::NoCapacity, 503).retry_after(15),
    /// The same order is being carried out.
    OrderUnderWay => row("order_under_way", 409, "An order with this idempotency_key is being carried out; ask for its machine, or again in a moment.").retry_after(2),
    /// A call has the machine.
    MachineInUse => row("machine_in_use", 409, "A call has the machine, and none is cut off for this; try again when it is over.").retry_after(60),
    /// The machine does not run.
    MachineNotAwake => row("machine_not_awake", 409, "The machine does not run, so there is nothing to restart; wake it instead."),
    /// A machine is being restarted.
    RestartUnderWay => row("restart_under_way", 409, "Machines are restarted one at a time, and one is; try again when it is ready.").retry_after(30),
    /// A machine cannot be woken.
    MachineFailed => row("machine_failed", 503, "The machine could not be woken; its provider's answer is in the log.").retry_after(60),
    /// The provider has no hardware for a machine.
    MachineCapacity => row("machine_capacity", 503, "The provider has no room for the machine: no GPU is free; ask again later.").retry_after(60),
    /// The provider refuses our credential.
    MachineAuth => row("machine_auth", 503, "The provider refuses its credential; set another in [providers].").retry_after(60),
    /// The persona needs to know the caller, and no model server may be told of one.
    ContextNotAllowed => row("context_not_allowed", 503, "This persona needs to know you, and no model server may be told of you; choose another persona.").retry_after(60),
    /// Nobody administers here.
    AdminClosed => row("admin_closed", 404, "Nothing is administered here: set auth.admin_token (TANDEM_ADMIN_TOKEN) and start Tandem again."),
    /// What was sent is not the token, or nothing was sent.
    AdminTokenWrong => row("admin_token_wrong", 401, "Send what auth.admin_token is as \"Authorization: Bearer TOKEN\"; no other credential opens /admin."),
    /// No such call, among the live ones.
    UnknownCall => row("unknown_call", 404, "There is no live call of this id, or it is over by now; GET /admin/sessions lists them."),
    /// The body of an order cannot be read.
    BadOrder => row("bad_order", 400, "The request is not as docs/protocol/admin.md describes it; compare its fields."),
    /// What is to be added is not the address of a model server that could be used.
    BadUpstream => row("bad_upstream", 400, "No model server can be added by this address."),
    /// The server is there already.
    UpstreamExists => row("upstream_exists", 409, "This model server is there already; a second entry would let two calls meet on it."),
    /// No such server.
    UnknownUpstream => row("unknown_upstream", 404, "There is no model server of this name; GET /admin/upstreams lists them."),
    /// One of several servers behind a name.
    UpstreamOfName => row("upstream_of_name", 409, "It is one of several behind a name that is looked up; quarantine it, or change the list and reload."),
    /// Without it nobody could call.
    LastUpstream => row("last_upstream", 409, "It is the only model server, and without one nobody could call; add another one first."),
    /// The configuration has flaws.
    ConfigWrong => row("config_wrong", 422, "The configuration has flaws, and the old one stays; the log and tandem check name them."),
    /// The configuration cannot be taken over.
    ReloadRefused => row("reload_refused", 409, "The configuration cannot be taken over, and the old one stays; the log says why."),
    /// This process takes no more calls.
    Draining => as_ending(Ending::Drained, 503).retry_after(5),
    /// A fault of our own.
    Internal => as_ending(Ending::Internal, 500),
}

impl Problem {
    /// The API code: also the metric label and the log field.
    pub const fn code(self) -> &'static str {
        self.row().code
    }

    /// The HTTP status.
    pub fn status(self) -> StatusCode {
        StatusCode::from_u16(self.row().status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    /// This problem, with a better idea of when to try again than the table's. Rounded up to whole seconds.
    pub const fn retry_after(self, wait: Duration) -> Refusal {
        let seconds = wait.as_secs().saturating_add((wait.subsec_nanos() > 0) as u64);
        Refusal { problem: self, retry_after_seconds: Some(seconds), limit: None, personas: Vec::new(), why: None }
    }

    /// The same refusal as a message of our own wire, for clients that see nothing of a failed upgrade.
    pub fn to_error_event(&self) -> ErrorEvent {
        Refusal::from(*self).to_error_event()
    }

    /// The challenge that a 401, and a 403 for want of scope, must carry (RFC 6750, section 3).
    const fn challenge(self) -> Option<&'static str> {
        match (self, self.row().status) {
            (Problem::TokenMissing, _) => Some("Bearer realm=\"tandem\""),
            (Problem::Forbidden, _) => Some("Bearer realm=\"tandem\", error=\"insufficient_scope\""),
            (_, 401) => Some("Bearer realm=\"tandem\", error=\"invalid_token\""),
            _ => None,
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.row().sentence)
    }
}

impl std::error::Error for Problem {}

impl ResponseError for Problem {
    fn status_code(&self) -> StatusCode {
        self.status()
    }

    fn error_response(&self) -> HttpResponse {
        Refusal::from(*self).error_response()
    }
}

impl From<TokenError> for Problem {
    fn from(error: TokenError) -> Problem {
        match error {
            TokenError::Missing => Problem::TokenMissing,
            TokenError::Malformed => Problem::TokenMalformed,
            TokenError::BadSignature => Problem::TokenBadSignature,
            TokenError::WrongAlgorithm => Problem::TokenWrongAlgorithm,
            TokenError::Expired => Problem::TokenExpired,
            TokenError::NoExpiry => Problem::TokenNoExpiry,
            TokenError::NotYetValid => Problem::TokenNotYetValid,
            TokenError::WrongIssuer => Problem::TokenWrongIssuer,
            TokenError::WrongAudience => Problem::TokenWrongAudience,
            TokenError::NoUser => Problem::TokenNoUser,
            TokenError::BadTenant => Problem::TokenBadTenant,
            TokenError::Forbidden => Problem::Forbidden,
        }
    }
}

impl From<TicketError> for Problem {
    fn from(error: TicketError) -> Problem {
        match error {
            TicketError::Malformed => Problem::TicketMalformed,
            TicketError::Unknown => Problem::TicketUnknown,
            TicketError::Expired => Problem::TicketExpired,
        }
    }
}

impl From<TicketRefused> for Problem {
    fn from(refused: TicketRefused) -> Problem {
        match refused {
            TicketRefused::TooManyOfUser => Problem::TooManyTickets,
            TicketRefused::Full => Problem::TicketsFull,
        }
    }
}

impl From<NoResume> for Problem {
    fn from(no_resume: NoResume) -> Problem {
        match no_resume {
            NoResume::Unknown => Problem::ResumeUnknown,
            NoResume::WrongFormat => Problem::ResumeWrongFormat,
            NoResume::NoAnswer => Problem::Internal,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use actix_web::body::MessageBody as _;
    use serde_json::{Value, json};

    use super::*;

    /// What fits into a close frame besides its code (RFC 6455, section 5.5).
    const MAX_CLOSE_REASON_BYTES: usize = 123;

    fn body_of(response: HttpResponse) -> Value {
        serde_json::from_slice(&response.into_body().try_into_bytes().unwrap()).unwrap()
    }

    #[test]
    fn every_row_of_the_table_is_well_formed() {
        let codes: HashSet<_> = Problem::ALL.iter().map(|problem| problem.code()).collect();
        assert_eq!(codes.len(), Problem::ALL.len(), "codes are unique");
        for problem in Problem::ALL {
            let row = problem.row();
            let status = StatusCode::from_u16(row.status).unwrap();
            assert!(status.is_client_error() || status.is_server_error(), "{problem:?}");
            assert!(status.canonical_reason().is_some(), "{problem:?}");
            assert!(row.sentence.ends_with('.') && row.sentence.starts_with(char::is_uppercase), "{problem:?}");
            assert!(row.sentence.len() <= MAX_CLOSE_REASON_BYTES, "{problem:?}: {}", row.sentence.len());
            assert!(row.code.chars().all(|c| c.is_ascii_lowercase() || c == '_'), "{problem:?}");
            assert!(row.close_code == 1011 || (4400..4600).contains(&row.close_code), "{problem:?}");
            assert!(row.status != 503 || row.retry_after_seconds.is_some(), "{problem:?}");
        }
    }

    #[test]
    fn no_code_means_one_thing_before_the_upgrade_and_another_after() {
        for problem in Problem::ALL {
            for ending in Ending::ALL {
                let (row, ended) = (problem.row(), ending.row());
                if row.code == ended.code {
                    assert_eq!((row.close_code, row.sentence), (ended.close_code, ended.sentence));
                }
            }
        }
        assert_eq!(Problem::NoCapacity.row().close_code, 4450);
        assert_eq!(Problem::Draining.row().close_code, 4453);
        assert_eq!(Problem::TokenExpired.row().close_code, 4401);
        assert_eq!(Problem::UpgradeRequired.row().close_code, 4400);
    }

    #[test]
    fn a_refusal_is_a_problem_document() {
        let response = Problem::TooManyAttempts.retry_after(Duration::from_millis(2_001)).error_response();
        assert_eq!(response.status(), 429);
        assert_eq!(response.headers().get("content-type").unwrap(), "application/problem+json");
        assert_eq!(response.headers().get("retry-after").unwrap(), "3");
        assert_eq!(response.headers().get("cache-control").unwrap(), "no-store");
        let expected = json!({
            "type": "about:blank",
            "title": "Too Many Requests",
            "status": 429,
            "detail": "You tried too often; wait a little and call again.",
            "code": "too_many_attempts",
            "retry_after_seconds": 3,
        });
        assert_eq!(body_of(response), expected);
    }

    #[test]
    fn who_chooses_a_persona_that_is_not_there_is_told_those_that_are() {
        let names = vec!["assistant".to_owned(), "listener".to_owned()];
        let refusal = Refusal { personas: names, ..Problem::UnknownPersona.into() };
        assert!(refusal.to_error_event().message.ends_with("choose one that exists. There are: assistant, listener."));
        let body = body_of(refusal.error_response());
        assert_eq!(body["personas"], json!(["assistant", "listener"]));
        assert_eq!(body["detail"], refusal.to_string());
    }

    #[test]
    fn headers_say_what_the_status_demands() {
        for problem in Problem::ALL {
            let response = problem.error_response();
            let headers = response.headers();
            let challenge = headers.get("www-authenticate").map(|value| value.to_str().unwrap());
            assert_eq!(response.status().as_u16(), problem.row().status);
            if problem.row().status == 401 {
                assert!(challenge.unwrap().starts_with("Bearer"), "{problem:?}");
            }
            assert_eq!(
                challenge.is_some(),
                problem.row().status == 401 || *problem == Problem::Forbidden,
                "{problem:?}"
            );
            assert_eq!(headers.contains_key("upgrade"), problem.row().status == 426, "{problem:?}");
            assert_eq!(headers.contains_key("retry-after"), problem.row().retry_after_seconds.is_some(), "{problem:?}");
        }
    }

    #[test]
    fn the_same_refusal_can_be_told_on_our_own_wire() {
        let event = Problem::NoCapacity.retry_after(Duration::from_secs(7)).to_error_event();
        assert_eq!(event.code, "no_capacity");
        assert_eq!(event.status, Some(503));
        assert_eq!(event.retry_after_seconds, Some(7));
        assert_eq!(event.message, Problem::NoCapacity.to_error_event().message);
    }

    #[test]
    fn every_way_to_be_unauthorised_is_told_apart() {
        let tokens = TokenError::ALL.map(Problem::from);
        let tickets = TicketError::ALL.map(Problem::from);
        let told: HashSet<_> = tokens.iter().chain(&tickets).collect();
        assert_eq!(told.len(), tokens.len() + tickets.len());
        for problem in told {
            assert_eq!(problem.row().status, if *problem == Problem::Forbidden { 403 } else { 401 });
        }
        assert_eq!(Problem::from(TicketRefused::Full).row().status, 503);
        assert_eq!(Problem::from(TicketRefused::TooManyOfUser).row().status, 429);
    }
}
