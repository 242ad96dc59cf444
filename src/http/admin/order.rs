//! Orders: let in, read, counted, and logged with who gave them and what for. Nothing in the log is a caller's.

use std::fmt;

use actix_web::{
    HttpRequest, HttpResponse, HttpResponseBuilder, ResponseError,
    http::{StatusCode, header},
    rt, web,
};
use serde::{Serialize, de::DeserializeOwned};

use super::gate::{self, CREDENTIAL};
use crate::{
    http::{
        body,
        doors::Doors,
        problem::{Problem, Refusal},
    },
    metrics::AdminAction,
};

/// An order that was carried out: what it was for, as the log names it, and the answer.
pub(super) struct Done {
    /// The name of a server or the id of a call: nothing that whoever asked made up.
    pub(super) subject: String,
    pub(super) response: HttpResponse,
}

impl Done {
    pub(super) fn new(subject: impl fmt::Display, status: StatusCode, told: &impl Serialize) -> Self {
        Self { subject: subject.to_string(), response: private(status, told) }
    }
}

/// Has an order carried out for whoever may give it: to its end, and into the log, also if they hang up in the middle.
pub(super) async fn carry_out(
    doors: web::Data<Doors>,
    request: HttpRequest,
    action: AdminAction,
    work: impl Future<Output = Result<Done, Refusal>> + 'static,
) -> HttpResponse {
    if let Err(refused) = gate::admit(&doors, &request) {
        return refused.error_response();
    }
    let carrying = rt::spawn(async move {
        // Work that fails in a way that nobody foresaw is counted and told like any that is refused.
        let done = rt::spawn(work).await.unwrap_or_else(|_| Err(Problem::Internal.into()));
        doors.metrics.ordered(action, done.is_ok());
        tell(action, done)
    });
    carrying.await.unwrap_or_else(|_| Problem::Internal.error_response())
}

fn tell(action: AdminAction, done: Result<Done, Refusal>) -> HttpResponse {
    match done {
        Ok(Done { subject, response }) => {
            tracing::warn!(by = CREDENTIAL, action = action.code(), subject, "ordered at /admin, and done");
            response
        }
        Err(refused) => {
            let problem = refused.problem.code();
            tracing::warn!(by = CREDENTIAL, action = action.code(), problem, "ordered at /admin, and refused");
            refused.error_response()
        }
    }
}

/// Has a question answered for whoever may ask it.
pub(super) async fn answer<T: Serialize>(
    doors: &Doors,
    request: &HttpRequest,
    work: impl Future<Output = Result<T, Refusal>>,
) -> HttpResponse {
    let told = async {
        gate::admit(doors, request)?;
        work.await
    };
    match told.await {
        Ok(told) => private(StatusCode::OK, &told),
        Err(refused) => refused.error_response(),
    }
}

/// The body of an order; none at all stands for one in which nothing is said.
pub(super) async fn read<T: DeserializeOwned + Default>(payload: web::Payload) -> Result<T, Problem> {
    let body = body::read(payload, Problem::BadOrder).await?;
    match body.trim_ascii().first() {
        None => Ok(T::default()),
        Some(b'{') => serde_json::from_slice(&body).map_err(|_| Problem::BadOrder),
        // A list would be read as the fields in their order.
        Some(_) => Err(Problem::BadOrder),
    }
}

fn private(status: StatusCode, told: &impl Serialize) -> HttpResponse {
    HttpResponseBuilder::new(status).insert_header((header::CACHE_CONTROL, "no-store")).json(told)
}
