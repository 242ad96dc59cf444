//! The doors for callers: an upgrade, or a refusal that says why.

use actix_web::{HttpRequest, HttpResponse, web};

use super::{
    admission::{Admitted, admit},
    doors::Doors,
    problem::{Problem, Refusal},
    query::{CallQuery, Door},
    refusal,
};
use crate::{
    protocol::native::SUBPROTOCOL,
    session::{
        actor::{SessionActor, Setup},
        leg::{
            client::{self, MAX_MESSAGE_BYTES},
            dialect::{Decoder, Encoder},
        },
        machine::Terms,
    },
};

/// `GET /v1/voice`: our own wire.
pub async fn native(doors: web::Data<Doors>, request: HttpRequest, payload: web::Payload) -> HttpResponse {
    answer(&doors, request, payload, Door::Native).await
}

/// `GET /api/chat`, also below `/t/{ticket}`: the PersonaPlex wire.
pub async fn moshi(doors: web::Data<Doors>, request: HttpRequest, payload: web::Payload) -> HttpResponse {
    answer(&doors, request, payload, Door::Moshi).await
}

async fn answer(doors: &Doors, request: HttpRequest, payload: web::Payload, door: Door) -> HttpResponse {
    let query = CallQuery::parse(request.query_string());
    let refused = match admit(doors, &request, &query, door).await {
        Ok(admitted) => match connect(doors, &request, payload, admitted) {
            Ok(response) => {
                doors.metrics.admission(None);
                return response;
            }
            Err(problem) => return refuse(doors, problem.into()),
        },
        Err(refused) => refused,
    };
    let upgraded =
        query.errors_on_socket && refused.problem != Problem::UpgradeRequired && doors.throttle.may_refuse_on_socket();
    if upgraded && let Ok(response) = refusal::on_socket(&request, payload, &refused, door) {
        doors.metrics.admission(Some(refused.problem.code()));
        return response;
    }
    refuse(doors, refused)
}

fn refuse(doors: &Doors, refused: Refusal) -> HttpResponse {
    doors.metrics.admission(Some(refused.problem.code()));
    tracing::debug!(problem = refused.problem.code(), "call refused");
    actix_web::ResponseError::error_response(&refused)
}

/// Upgrades, and starts the session on this thread.
fn connect(
    doors: &Doors,
    request: &HttpRequest,
    payload: web::Payload,
    admitted: Admitted,
) -> Result<HttpResponse, Problem> {
    let Admitted { dialect, seat, target, pseudonym } = admitted;
    let decoder = Decoder::new(dialect).map_err(|_| Problem::Internal)?;
    let encoder = Encoder::new(dialect, rand::random()).map_err(|_| Problem::Internal)?;
    let (response, socket, messages) =
        actix_ws::handle_with_protocols(request, payload, &[SUBPROTOCOL]).map_err(|_| Problem::UpgradeRequired)?;
    let messages =
        messages.max_frame_size(MAX_MESSAGE_BYTES).aggregate_continuations().max_continuation_size(MAX_MESSAGE_BYTES);
    let max_bytes_per_second = dialect.format().max_bytes_per_second();
    let (handle, heard) = client::open(socket, messages, decoder, encoder, max_bytes_per_second);
    let session_id = seat.id().to_string();
    let span = tracing::info_span!("session", session = session_id, user = pseudonym);
    let setup = Setup {
        terms: Terms {
            session_id,
            audio: dialect.format().terms(),
            handshake: doors.handshake.limit(&target),
            player_lead: dialect.player_lead(),
            // A share of 1 takes every call: the random number is below 1.
            sampled: rand::random::<f64>() < doors.turn_share,
        },
        limits: doors.limits.clone(),
        seat,
        target,
        connector: doors.connector.clone(),
        metrics: doors.metrics.clone(),
        protocol: dialect.code(),
        span,
    };
    SessionActor::start(setup, handle, heard);
    Ok(response)
}
