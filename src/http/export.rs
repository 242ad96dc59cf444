//! `GET /v1/me/export` and `/v1/users/{user}/export`: everything of ours about a user, as one JSON document.
//!
//! It is written call by call, so that however long a history is, one call of it is in memory. Where a store fails in the
//! middle the connection is broken off: half an export must not look like a whole one.

use std::{collections::VecDeque, io, sync::Arc};

use actix_web::{
    HttpRequest, HttpResponse,
    http::header::{self, ContentType},
    web,
};
use bytes::Bytes;
use futures_util::{Stream, stream::try_unfold};
use jiff::Timestamp;
use serde_json::json;
use uuid::Uuid;

use super::{
    asker,
    doors::Doors,
    history::{READ_TIMEOUT, answer, private, within},
    problem::{Problem, Refusal},
    told,
};
use crate::{
    auth::UserId,
    store::{
        archive::Archive,
        record::{Mark, Page, Record},
    },
};

/// Calls whose names are read at once.
const PAGE: u16 = 100;

/// `GET /v1/me/export`: of the user that the token names.
pub async fn me(doors: web::Data<Doors>, request: HttpRequest) -> HttpResponse {
    let exporting = async {
        let user = asker::user(&doors, &request)?;
        exported(&doors, &user).await
    };
    answer(exporting.await)
}

/// `GET /v1/users/{user}/export`: of any user, for operators.
pub async fn user(doors: web::Data<Doors>, request: HttpRequest, user: web::Path<String>) -> HttpResponse {
    let exporting = async {
        let user = asker::operator_for(&doors, &request, &user)?;
        exported(&doors, &user).await
    };
    answer(exporting.await)
}

/// What can fail at the beginning does so before the answer begins.
async fn exported(doors: &Doors, user: &UserId) -> Result<HttpResponse, Refusal> {
    let archive = Arc::clone(&doors.archive);
    let held = within(READ_TIMEOUT, archive.store().held(user.expose().into())).await?;
    let profile = held.map(|context| told::profile(user.expose(), &context));
    let head =
        json!({ "user": user.expose(), "exported": told::time(Timestamp::now().as_millisecond()), "profile": profile });
    // Open still: the list of calls is the last of its fields.
    let mut head = head.to_string();
    head.truncate(head.len() - 1);
    head.push_str(",\"sessions\":[");
    let mut calls =
        Calls { archive, user: user.clone(), waiting: VecDeque::new(), after: None, more: true, any: false };
    calls.read().await?;
    let mut response = private();
    response.content_type(ContentType::json());
    response.insert_header((header::CONTENT_DISPOSITION, "attachment; filename=\"tandem-export.json\""));
    Ok(response.streaming(written(head, calls)))
}

/// The calls of a user that are still to be written.
struct Calls {
    archive: Arc<Archive>,
    user: UserId,
    waiting: VecDeque<Uuid>,
    after: Option<Mark>,
    /// Whether there may be calls behind those that wait.
    more: bool,
    /// Whether one was written.
    any: bool,
}

impl Calls {
    /// Reads the names of the next calls.
    async fn read(&mut self) -> Result<(), Problem> {
        let page = Page { after: self.after, limit: PAGE };
        let records = within(READ_TIMEOUT, self.archive.sessions(self.user.expose().into(), page)).await?;
        self.more = records.len() >= usize::from(PAGE);
        self.after = records.last().map(Record::mark);
        self.waiting.extend(records.into_iter().map(|record| record.session));
        Ok(())
    }

    /// The next call, with a comma before it if it is not the first; none after the last. One that was removed meanwhile
    /// is passed over.
    async fn next(&mut self) -> Result<Option<String>, Problem> {
        loop {
            while let Some(session) = self.waiting.pop_front() {
                if let Some(record) = within(READ_TIMEOUT, self.archive.session(session)).await? {
                    let comma = if std::mem::replace(&mut self.any, true) { "," } else { "" };
                    return Ok(Some(format!("{comma}\n{}", told::call(&record, false, true))));
                }
            }
            if !self.more {
                return Ok(None);
            }
            self.read().await?;
        }
    }
}

/// What is still to be written of an export.
enum Rest {
    Head(String, Calls),
    Calls(Calls),
    Nothing,
}

fn written(head: String, calls: Calls) -> impl Stream<Item = Result<Bytes, io::Error>> {
    try_unfold(Rest::Head(head, calls), |rest| async {
        match rest {
            Rest::Head(head, calls) => Ok(Some((Bytes::from(head), Rest::Calls(calls)))),
            Rest::Calls(mut calls) => match calls.next().await.map_err(io::Error::other)? {
                Some(call) => Ok(Some((Bytes::from(call), Rest::Calls(calls)))),
                None => Ok(Some((Bytes::from_static(b"\n]}\n"), Rest::Nothing))),
            },
            Rest::Nothing => Ok(None),
        }
    })
}
