//! The next call remembers: recaps of earlier calls in its prompt, and a call that continues another one.

use serde_json::json;

use crate::{
    archives::{Library, open, over},
    credentials::ticket,
    house::PATIENCE,
    personas::asked,
    refusals::{Answer, bearer, close, event, knock},
};

const DAY: i64 = 24 * 60;

impl Library {
    /// The prompt of a call of ann's.
    async fn prompt(&self, path: &str) -> String {
        asked(&self.house, knock(&self.house, path, &[bearer(&self.house, "ann")]).await).await.1
    }
}

#[actix_web::test]
async fn what_yesterdays_call_was_about_is_in_todays_prompt() {
    let library = Library::new(&[]).await;
    library.keep(&over("ann", DAY, "x", "Marie moved to Lyon on May 3.")).await;
    library.keep(&over("bob", 9, "x", "Bob has 2 dogs.")).await;
    let prompt = library.prompt("/v1/voice?persona=listener").await;
    assert!(prompt.contains("Last call, yesterday: \"Marie moved to Lyon on May 3.\""), "{prompt}");
    assert!(!prompt.contains("dogs"), "{prompt}");
    let blind = library.prompt("/v1/voice?persona=assistant").await;
    assert!(!blind.contains("Marie"), "{blind}");
}

#[actix_web::test]
async fn a_call_that_continues_an_older_one_has_its_persona_and_hears_of_it_first() {
    let library = Library::new(&[]).await;
    let (old, newer) =
        (over("ann", 3 * DAY, "x", "Marie has 2 cats."), over("ann", DAY, "x", "It rained on Tuesday 5."));
    library.keep(&old).await;
    library.keep(&newer).await;
    let continued = format!("/v1/voice?continue_from={}", old.session);
    let prompt = library.prompt(&continued).await;
    assert!(prompt.starts_with("You enjoy having a good conversation."), "the listener's: {prompt}");
    assert!(prompt.contains("This call continues one from three days ago: \"Marie has 2 cats.\""), "{prompt}");
    assert!(!prompt.contains("Last call") && !prompt.contains("rained"), "the listener is told of one call: {prompt}");
    let prompt = library.prompt(&format!("{continued}&persona=service")).await;
    assert!(prompt.starts_with("You work for "), "another persona may be asked for: {prompt}");
    let chat = format!("/api/chat?voice_prompt=NATF0.pt&text_prompt=&continue_from={}", old.session);
    let mut socket = knock(&library.house, &chat, &[bearer(&library.house, "ann")]).await.socket();
    library.house.servers[0].wait_for(|calls| calls.len() == 3, PATIENCE).await.unwrap();
    socket.close(None).await.unwrap();
    let last = library.house.log().pop().unwrap();
    let prompt = last.prompt_asked.unwrap().expose().to_owned();
    assert!(prompt.contains("This call continues one"), "{prompt}");
}

#[actix_web::test]
async fn a_ticket_is_bound_to_the_call_that_it_continues() {
    let library = Library::new(&[]).await;
    let (old, theirs) = (over("ann", DAY, "x", "Marie has 2 cats."), over("bob", DAY, "x", "Bob has 2 dogs."));
    library.keep(&old).await;
    library.keep(&theirs).await;
    let minted = ticket(&library.house, &json!({"continue_from": old.session}).to_string()).await;
    let path = format!("{}&continue_from={}", minted["voice_path"].as_str().unwrap(), theirs.session);
    let (_, prompt) = asked(&library.house, knock(&library.house, &path, &[]).await).await;
    assert!(prompt.contains("This call continues one from yesterday: \"Marie has 2 cats.\""), "{prompt}");
    for session in [theirs.session.to_string(), uuid::Uuid::new_v4().to_string(), "7".to_owned()] {
        let order = json!({"continue_from": session}).to_string();
        let (status, body) =
            crate::credentials::post(&library.house, "/v1/tickets", Some(&library.token("ann")), &order).await;
        assert_eq!((status, body["code"].as_str()), (404, Some("unknown_session")), "{body}");
    }
}

#[actix_web::test]
async fn nobody_continues_a_call_that_is_not_its_own() {
    let library = Library::new(&[]).await;
    let theirs = over("bob", 9, "x", "Bob has 2 dogs.");
    library.keep(&theirs).await;
    let ann = bearer(&library.house, "ann");
    for session in [theirs.session.to_string(), uuid::Uuid::new_v4().to_string(), "%00".to_owned()] {
        for door in ["/v1/voice", "/api/chat"] {
            let path = format!("{door}?persona=listener&continue_from={session}");
            let refused = knock(&library.house, &path, std::slice::from_ref(&ann)).await.refusal();
            assert_eq!(refused, (404, "unknown_session".to_owned()), "{path}");
        }
    }
    assert!(library.house.log().is_empty(), "none of these reached the server");
}

#[actix_web::test]
async fn of_a_call_that_is_not_over_only_the_persona_is_taken() {
    let library = Library::new(&[]).await;
    let live = open("ann", 1);
    library.keep(&live).await;
    let prompt = library.prompt(&format!("/v1/voice?continue_from={}", live.session)).await;
    assert!(prompt.starts_with("You enjoy having a good conversation.") && !prompt.contains("continues"), "{prompt}");
}

#[actix_web::test]
async fn where_the_store_is_down_the_call_goes_on_without_what_it_continues() {
    let uri = format!("mongodb://127.0.0.1:{}/?serverSelectionTimeoutMS=200", crate::house::port_for_later());
    let library = Library::new(&[("MONGODB_URI", &uri)]).await;
    let path = format!("/v1/voice?persona=listener&continue_from={}", uuid::Uuid::new_v4());
    let mut socket = match knock(&library.house, &path, &[bearer(&library.house, "ann")]).await {
        Answer::Open(socket, _) => *socket,
        refused => panic!("{refused:?}"),
    };
    assert_eq!(event(&mut socket, "session.warning").await["code"], "context_unavailable");
    event(&mut socket, "session.ready").await;
    futures_util::SinkExt::send(&mut socket, r#"{"type":"session.end"}"#.into()).await.unwrap();
    close(&mut socket).await;
    assert_eq!(library.house.settle().await.len(), 1);
}
