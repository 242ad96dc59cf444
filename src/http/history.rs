//! `/v1/sessions`: the calls that there were, for the users who made them and for operators.

use std::time::Duration;

use actix_web::{HttpRequest, HttpResponse, http::header, web};
use serde_json::json;
use tokio::{sync::oneshot, time::timeout};
use uuid::Uuid;

use super::{
    asker::{self, Asker},
    cursor,
    doors::Doors,
    problem::{Problem, Refusal},
    told,
};
use crate::{
    auth::UserId,
    store::{
        StoreError, StoreFuture,
        record::{Page, Record},
    },
};

/// How long a store may take to read. Its own limits are shorter; this one holds whatever it is.
pub const READ_TIMEOUT: Duration = Duration::from_secs(4);
/// How long an erasure is waited for.
const ERASE_TIMEOUT: Duration = Duration::from_secs(20);
/// Calls of a page, where nothing else is asked for.
const PAGE: u16 = 50;

/// `GET /v1/sessions`: the newest first, without transcripts.
pub async fn list(doors: web::Data<Doors>, request: HttpRequest) -> HttpResponse {
    answer(listed(&doors, &request).await)
}

/// `GET /v1/sessions/{id}`: one with its transcript.
pub async fn one(doors: web::Data<Doors>, request: HttpRequest, id: web::Path<String>) -> HttpResponse {
    answer(shown(&doors, &request, &id).await)
}

/// `DELETE /v1/sessions/{id}`: one that is over, with its transcript, for good.
pub async fn remove(doors: web::Data<Doors>, request: HttpRequest, id: web::Path<String>) -> HttpResponse {
    answer(removed(&doors, &request, &id).await)
}

/// A result as an answer.
pub fn answer(result: Result<HttpResponse, Refusal>) -> HttpResponse {
    result.unwrap_or_else(|refused| actix_web::ResponseError::error_response(&refused))
}

/// What a store says, within a limit. Why it says nothing is for the log, and not for whoever asks.
pub async fn within<T>(limit: Duration, asking: StoreFuture<T>) -> Result<T, Problem> {
    let told = timeout(limit, asking).await.unwrap_or(Err(StoreError::Timeout(limit.as_millis())));
    told.map_err(|error| {
        tracing::warn!(%error, "records were asked for in vain");
        match error {
            StoreError::Unreadable(_) => Problem::Internal,
            StoreError::Traces => Problem::TracesLeft,
            _ => Problem::StoreUnavailable,
        }
    })
}

/// What becomes of an erasure. One that takes longer than anybody waits goes on: stopped in the middle it would leave
/// something behind.
pub async fn erasing<T: Send + 'static>(erasure: StoreFuture<T>) -> Result<T, Problem> {
    let (tell, told) = oneshot::channel();
    tokio::spawn(async move {
        if let Err(unheard) = tell.send(erasure.await) {
            match unheard {
                Ok(_) => tracing::info!("an erasure is done that took longer than its answer"),
                Err(error) => tracing::warn!(%error, "an erasure failed after its answer"),
            }
        }
    });
    within(ERASE_TIMEOUT, Box::pin(async move { told.await.unwrap_or(Err(StoreError::GivenUp)) })).await
}

/// What a list is asked for.
#[derive(Debug, Default, PartialEq, Eq)]
struct Wanted {
    user: Option<String>,
    limit: Option<String>,
    after: Option<String>,
}

impl Wanted {
    /// Unknown parameters are ignored, of repeated ones the first counts, and an empty value counts as none; but an empty user
    /// is one that somebody forgot to fill in, and not everybody.
    fn parse(raw: &str) -> Self {
        let mut wanted = Self::default();
        for (key, value) in form_urlencoded::parse(raw.as_bytes()) {
            if value.is_empty() && key != "user" {
                continue;
            }
            let slot = match key.as_ref() {
                "user" => &mut wanted.user,
                "limit" => &mut wanted.limit,
                "after" => &mut wanted.after,
                _ => continue,
            };
            slot.get_or_insert_with(|| value.into_owned());
        }
        wanted
    }

    fn page(&self) -> Result<Page, Problem> {
        let limit = self.limit.as_deref().map_or(Ok(PAGE), str::parse).map_err(|_| Problem::BadPage)?;
        if !(1..=Page::MOST).contains(&limit) {
            return Err(Problem::BadPage);
        }
        let after = self.after.as_deref().map(|after| cursor::mark(after).ok_or(Problem::BadPage)).transpose()?;
        Ok(Page { after, limit })
    }
}

async fn listed(doors: &Doors, request: &HttpRequest) -> Result<HttpResponse, Refusal> {
    let (asker, wanted) = (asker::admit(doors, request)?, Wanted::parse(request.query_string()));
    let (page, archive) = (wanted.page()?, &doors.archive);
    let (reading, of_all) = match (&asker, wanted.user) {
        (Asker::User(_), Some(_)) => return Err(Problem::NotOperator.into()),
        (Asker::User(identity), None) => (archive.sessions(identity.user.expose().into(), page), false),
        (Asker::Operator(_), Some(user)) => {
            let user = UserId::new(&user).map_err(|_| Problem::BadRequest)?;
            (archive.sessions(user.expose().into(), page), true)
        }
        (Asker::Operator(_), None) => (archive.all_sessions(page), true),
    };
    let records = within(READ_TIMEOUT, reading).await?;
    let calls: Vec<_> = records.iter().map(|record| told::call(record, of_all, false)).collect();
    // A full page is the last one if nothing comes behind it, and then the next one is empty.
    let next =
        records.last().filter(|_| records.len() >= usize::from(page.limit)).map(|last| cursor::cursor(last.mark()));
    Ok(private().json(json!({ "sessions": calls, "next": next })))
}

async fn shown(doors: &Doors, request: &HttpRequest, id: &str) -> Result<HttpResponse, Refusal> {
    let asker = asker::admit(doors, request)?;
    let record = found(doors, &asker, id).await?;
    Ok(private().json(told::call(&record, matches!(asker, Asker::Operator(_)), true)))
}

async fn removed(doors: &Doors, request: &HttpRequest, id: &str) -> Result<HttpResponse, Refusal> {
    let asker = asker::admit(doors, request)?;
    let record = found(doors, &asker, id).await?;
    if record.ended.is_none() {
        return Err(Problem::SessionOpen.into());
    }
    if !erasing(doors.archive.erase_session(record.session)).await? {
        return Err(Problem::UnknownSession.into());
    }
    tracing::info!(session = %record.session, "a call was erased");
    Ok(private().json(json!({ "erased": record.session })))
}

/// The call of this name, if the asker may know of it.
async fn found(doors: &Doors, asker: &Asker, id: &str) -> Result<Record, Refusal> {
    let session: Uuid = id.parse().map_err(|_| Problem::UnknownSession)?;
    let record = within(READ_TIMEOUT, doors.archive.session(session)).await?;
    Ok(record.filter(|record| asker.may_see(record.user.expose())).ok_or(Problem::UnknownSession)?)
}

/// An answer that nobody keeps.
pub fn private() -> actix_web::HttpResponseBuilder {
    let mut response = HttpResponse::Ok();
    response.insert_header((header::CACHE_CONTROL, "no-store"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::record::Mark;

    #[actix_web::test]
    async fn an_erasure_goes_on_when_nobody_waits_for_it_any_more() {
        tokio::time::pause();
        let (go, wait) = oneshot::channel::<()>();
        let (done, mut is_done) = oneshot::channel();
        let erasure = async move {
            let _ = wait.await;
            Ok(done.send(7))
        };
        assert_eq!(erasing(Box::pin(erasure)).await, Err(Problem::StoreUnavailable), "it is told in time");
        assert!(is_done.try_recv().is_err() && go.send(()).is_ok(), "and it still waits");
        assert_eq!(is_done.await, Ok(7));
        assert_eq!(erasing(Box::pin(async { Err::<(), _>(StoreError::Traces) })).await, Err(Problem::TracesLeft));
        assert_eq!(erasing(Box::pin(async { Ok(3) })).await, Ok(3));
    }

    #[test]
    fn a_page_has_a_limit_and_a_beginning_or_is_none() {
        let page = |raw: &str| Wanted::parse(raw).page();
        let mark = Mark { began_ms: 7, session: Uuid::from_u128(7) };
        let after = cursor::cursor(mark);
        assert_eq!(page(""), Ok(Page { after: None, limit: PAGE }));
        assert_eq!(page("limit=&after=&x=1&limit=1"), Ok(Page { after: None, limit: 1 }));
        assert_eq!(page(&format!("limit=200&after={after}")), Ok(Page { after: Some(mark), limit: 200 }));
        for wrong in ["limit=0", "limit=201", "limit=-1", "limit=abc", "limit=99999999999", "limit=1.5", "limit=%20"] {
            assert_eq!(page(wrong), Err(Problem::BadPage), "{wrong}");
        }
        for wrong in ["after=x", "after=%00", &format!("after={after}=="), &format!("after={}", Uuid::from_u128(7))] {
            assert_eq!(page(wrong), Err(Problem::BadPage), "{wrong}");
        }
    }

    #[test]
    fn a_user_is_asked_for_by_its_id_as_it_is() {
        assert_eq!(Wanted::parse("user=auth0%7C7&user=x").user.as_deref(), Some("auth0|7"));
        assert_eq!(Wanted::parse("user=").user.as_deref(), Some(""), "not everybody");
    }
}
