//! Two processes on one model server: at most one socket, whatever dies in between.

use std::{path::Path, time::Duration};

use tandem::sim::upstream::{PromptText, Simulator};

use crate::{
    house::{PATIENCE, quiet},
    process::{Call, Desk, Process},
};

#[actix_web::test]
async fn two_processes_and_a_kill_never_open_a_second_socket() {
    let (desk, server) = (Desk::new(), Simulator::start(quiet()).await.unwrap());
    let ledger = desk.0.join("shared.sqlite");
    let mut first = Process::start(&desk, "first", &server.url(), &ledger).await;
    let call = Call::try_once(&first, "anna").await.unwrap();
    let second = Process::start(&desk, "second", &server.url(), &ledger).await;
    assert!(Call::try_once(&second, "bert").await.is_err(), "the first one's call is out of its reach");
    call.hang_up().await;
    Call::insist(&second, "bert").await.hang_up().await;

    let call = Call::insist(&first, "cleo").await;
    first.kill();
    drop(call);
    // Its successor knows at once that what was left is nobody's, and tests the slot before anybody gets it.
    let successor = Process::start(&desk, "first", &server.url(), &ledger).await;
    let call = Call::insist(&successor, "dora").await;
    assert!(Call::try_once(&second, "emil").await.is_err());
    call.hang_up().await;
    Call::insist(&second, "emil").await.hang_up().await;
    assert_eq!(server.peak_open_sockets(), 1, "never two sockets");
    let silent = |prompt: &Option<PromptText>| prompt.as_ref().is_some_and(|text| text.expose() == "You are silent.");
    let rehearsals = server.log().iter().filter(|call| silent(&call.prompt_asked)).count();
    assert_eq!(rehearsals, 1, "the slot of the dead process was tested, once");
}

/// The same without a record must be seen to fail, or the test above proves nothing.
#[actix_web::test]
async fn without_a_record_two_processes_meet() {
    let (desk, server) = (Desk::new(), Simulator::start(quiet()).await.unwrap());
    let first = Process::start(&desk, "first", &server.url(), Path::new("off")).await;
    let second = Process::start(&desk, "second", &server.url(), Path::new("off")).await;
    let call = Call::try_once(&first, "anna").await.unwrap();
    let meeting = actix_web::rt::spawn(async move { Call::try_once(&second, "bert").await.map(drop) });
    let looking = async {
        let mut look = tokio::time::interval(Duration::from_millis(5));
        while server.peak_open_sockets() < 2 {
            look.tick().await;
        }
    };
    tokio::time::timeout(PATIENCE, looking).await.expect("the second socket was not seen");
    meeting.abort();
    call.hang_up().await;
}
