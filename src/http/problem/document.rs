//! A refusal with its details, as a problem document (RFC 9457) and as a message of our own wire.

use std::{fmt, time::Duration};

use actix_web::{
    HttpResponse, HttpResponseBuilder, ResponseError,
    http::{StatusCode, header},
};
use serde::Serialize;

use super::Problem;
use crate::protocol::native::ErrorEvent;

/// A problem and when to try again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// What is wrong.
    pub problem: Problem,
    /// When another try makes sense, in seconds.
    pub retry_after_seconds: Option<u64>,
    /// The limit that was reached, if that is what is wrong.
    pub limit: Option<ReachedLimit>,
    /// The personas that the caller may choose from, if it chose another one.
    pub personas: Vec<String>,
    /// What exactly is wrong, as a sentence of ours, where that differs from case to case.
    pub why: Option<String>,
}

/// A limit of calls at a time, or of seconds within a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReachedLimit {
    /// Calls, or seconds where there is a window.
    pub value: u64,
    /// The time within which it holds.
    pub window: Option<Duration>,
}

impl fmt::Display for ReachedLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.window {
            Some(window) => write!(f, "The limit is {} s in {} s.", self.value, window.as_secs()),
            None => write!(f, "The limit is {} at a time.", self.value),
        }
    }
}

impl From<Problem> for Refusal {
    fn from(problem: Problem) -> Refusal {
        Refusal {
            problem,
            retry_after_seconds: problem.row().retry_after_seconds,
            limit: None,
            personas: Vec::new(),
            why: None,
        }
    }
}

impl Refusal {
    /// The same refusal as a message of our own wire.
    pub fn to_error_event(&self) -> ErrorEvent {
        let row = self.problem.row();
        ErrorEvent {
            code: row.code.to_owned(),
            message: self.to_string(),
            status: Some(row.status),
            retry_after_seconds: self.retry_after_seconds,
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.problem.fmt(f)?;
        self.limit.map_or(Ok(()), |limit| write!(f, " {limit}"))?;
        self.why.as_ref().map_or(Ok(()), |why| write!(f, " {why}"))?;
        match self.personas.as_slice() {
            [] => Ok(()),
            names => write!(f, " There are: {}.", names.join(", ")),
        }
    }
}

impl std::error::Error for Refusal {}

/// The body of RFC 9457. The type is `about:blank`, so the title is the status's own name; `code` tells problems apart.
#[derive(Serialize)]
struct Body<'a> {
    r#type: &'static str,
    title: &'static str,
    status: u16,
    detail: String,
    code: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after_seconds: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    limit: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    window_seconds: Option<u64>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    personas: &'a [String],
}

impl ResponseError for Refusal {
    fn status_code(&self) -> StatusCode {
        self.problem.status()
    }

    fn error_response(&self) -> HttpResponse {
        let (row, status) = (self.problem.row(), self.problem.status());
        let mut response = HttpResponseBuilder::new(status);
        response.insert_header((header::CACHE_CONTROL, "no-store"));
        if let Some(challenge) = self.problem.challenge() {
            response.insert_header((header::WWW_AUTHENTICATE, challenge));
        }
        if let Some(seconds) = self.retry_after_seconds {
            response.insert_header((header::RETRY_AFTER, seconds));
        }
        if self.problem == Problem::UpgradeRequired {
            response.insert_header((header::UPGRADE, "websocket"));
        }
        let body = Body {
            r#type: "about:blank",
            title: status.canonical_reason().unwrap_or_default(),
            status: row.status,
            detail: self.to_string(),
            code: row.code,
            retry_after_seconds: self.retry_after_seconds,
            limit: self.limit.map(|limit| limit.value),
            window_seconds: self.limit.and_then(|limit| limit.window).map(|window| window.as_secs()),
            personas: &self.personas,
        };
        response.insert_header((header::CONTENT_TYPE, "application/problem+json"));
        // Strings and numbers only: serialisation cannot fail.
        response.body(serde_json::to_vec(&body).unwrap_or_default())
    }
}
