//! `DELETE /v1/me` and `/v1/users/{user}`: everything of ours about a user goes, for good.

use std::time::Duration;

use actix_web::{HttpRequest, HttpResponse, web};
use serde_json::json;

use super::{
    asker,
    doors::Doors,
    history::{answer, erasing, private},
    problem::{Problem, Refusal},
};
use crate::{auth::UserId, protocol::ending::Ending};

/// How long the live calls of a user may take to end: longer than a call needs to tell its caller.
const CALLS_TIMEOUT: Duration = Duration::from_secs(5);
/// What is not erased, told to whoever asked for it.
const STAYS: [&str; 5] = [
    "what the app keeps in collections of its own: that is the app's to erase",
    "a digest of the user's id, by which whatever comes later is refused",
    "log lines and counts, in which no user has a name but a pseudonym",
    "transcripts that a service was sent which writes recaps, where one is configured (recap.url)",
    "backups that somebody made",
];

/// `DELETE /v1/me`: the user that the token names.
pub async fn me(doors: web::Data<Doors>, request: HttpRequest) -> HttpResponse {
    let erasing = async {
        let user = asker::user(&doors, &request)?;
        erased(&doors, &request, &user, Ending::ClientLeft).await
    };
    answer(erasing.await)
}

/// `DELETE /v1/users/{user}`: any user, for operators.
pub async fn user(doors: web::Data<Doors>, request: HttpRequest, user: web::Path<String>) -> HttpResponse {
    let erasing = async {
        let user = asker::operator_for(&doors, &request, &user)?;
        erased(&doors, &request, &user, Ending::Admin).await
    };
    answer(erasing.await)
}

/// Live calls end first, and once more after the erasure: who calls in between finds that nothing is known of it.
async fn erased(doors: &Doors, request: &HttpRequest, user: &UserId, ending: Ending) -> Result<HttpResponse, Refusal> {
    if !is_confirmed(request.query_string()) {
        return Err(Problem::NotConfirmed.into());
    }
    doors.tickets.forget(user);
    let ended = doors.switchboard.end_calls_of(user.hash(), ending, CALLS_TIMEOUT).await;
    let erased = erasing(doors.archive.erase(user.expose().into())).await;
    let late = doors.switchboard.end_calls_of(user.hash(), ending, Duration::ZERO).await;
    let calls = erased?;
    tracing::info!(user = %user, calls, ended = ended + late, "a user was erased");
    Ok(private().json(json!({
        "erased": true,
        "calls_erased": calls,
        "calls_ended": ended + late,
        "not_erased": STAYS,
        "can_be_undone": false,
    })))
}

/// Whether the query says `confirm=erase`, and says so once.
fn is_confirmed(raw: &str) -> bool {
    let mut said = form_urlencoded::parse(raw.as_bytes()).filter(|(key, _)| key == "confirm");
    said.next().is_some_and(|(_, value)| value == "erase") && said.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_word_itself_confirms() {
        for (query, confirms) in [
            ("confirm=erase", true),
            ("x=1&confirm=erase", true),
            ("", false),
            ("confirm", false),
            ("confirm=", false),
            ("confirm=true", false),
            ("confirm=Erase", false),
            ("confirm=erase%20", false),
            ("confirm=no&confirm=erase", false),
            ("confirm=erase&confirm=no", false),
        ] {
            assert_eq!(is_confirmed(query), confirms, "{query}");
        }
    }
}
