//! What a caller does or leaves undone on purpose.

use super::*;

#[tokio::test]
async fn a_caller_who_is_told_to_hangs_up_politely_at_any_time() {
    let (address, task) = server(echo).await;
    let mut settings = settings(address);
    settings.hang_up = HangUp::WhenTold;
    let (events, mut told) = mpsc::channel(64);
    settings.events = Some(events);
    let hang_up = Arc::clone(&settings.hang_up_now);
    let calling = tokio::spawn(call(settings));
    let mut seen = Vec::new();
    while let Some(event) = timeout(Duration::from_secs(10), told.recv()).await.unwrap() {
        if event == CallEvent::FirstAudio {
            hang_up.notify_one();
        }
        seen.push(event);
    }
    let report = calling.await.unwrap();
    task.await.unwrap();
    assert_eq!(report.error, None);
    assert_eq!(seen.first(), Some(&CallEvent::Created { session_id: "call-1".into() }));
    assert_eq!(seen.last(), Some(&CallEvent::Ended { ending: Ending::ClientLeft }));
    assert!(seen.contains(&CallEvent::HungUp) && !format!("{seen:?}").contains("la la"));

    let (address, task) = server(|mut socket: Server| async move {
        socket.send(event(&created())).await.unwrap();
        assert!(socket.next().await.unwrap().unwrap().is_text(), "the goodbye is the first word");
        end(&mut socket, Ending::ClientLeft).await;
    })
    .await;
    let settings = self::settings(address);
    let hang_up = Arc::clone(&settings.hang_up_now);
    hang_up.notify_one();
    // The order of the answer to the upgrade and of the wish to hang up is open.
    match call(settings).await.error {
        None => assert!(task.await.is_ok()),
        Some(error) => assert_eq!(error.code, "given_up"),
    }
}

/// Pings, and tells whether a pong was among the next ten messages.
async fn ping(mut socket: Server) -> bool {
    greet_without_ping(&mut socket).await;
    socket.send(Message::Ping("p".into())).await.unwrap();
    let mut ponged = false;
    for _ in 0..10 {
        ponged |= socket.next().await.unwrap().unwrap().is_pong();
    }
    end(&mut socket, Ending::ClientLost).await;
    ponged
}

async fn greet_without_ping(socket: &mut Server) {
    socket.send(event(&created())).await.unwrap();
    socket.send(event(&ServerEvent::Ready { setup_ms: 0, queued_ms: 0 })).await.unwrap();
}

#[tokio::test]
async fn a_caller_without_pongs_goes_on_speaking() {
    for (behaviour, expected) in [(Behaviour::Polite, true), (Behaviour::NoPongs, false)] {
        let (address, task) = server(ping).await;
        let mut settings = settings(address);
        settings.behaviour = behaviour;
        settings.hang_up = HangUp::WhenTold;
        let report = call(settings).await;
        assert_eq!(task.await.unwrap().1, expected, "{behaviour:?}");
        assert_eq!(report.ending, Some(Ending::ClientLost));
    }
}

#[tokio::test]
async fn a_caller_who_vanishes_keeps_the_socket_and_leaves_without_a_word() {
    let (gone, mut left) = mpsc::channel(1);
    let (address, task) = server(|mut socket: Server| async move {
        greet_without_ping(&mut socket).await;
        let mut messages = 0;
        loop {
            match socket.next().await {
                Some(Ok(Message::Binary(_))) => messages += 1,
                Some(Ok(other)) => panic!("a vanished caller says {other:?}"),
                Some(Err(Error::Protocol(_) | Error::Io(_))) | None => break,
                Some(Err(error)) => panic!("{error}"),
            }
            if messages == 3 {
                gone.send(()).await.unwrap();
            }
        }
        messages
    })
    .await;
    let mut settings = settings(address);
    settings.behaviour = Behaviour::VanishAfter(Duration::from_millis(100));
    settings.hang_up = HangUp::After(Duration::from_millis(300));
    let report = call(settings).await;
    assert_eq!(left.recv().await, Some(()));
    let (_, messages) = task.await.unwrap();
    // 100 ms at 20 times real time are about 100 messages; the 200 ms until the end add none, and no close.
    assert!((3..200).contains(&messages), "{messages}");
    assert_eq!((report.error, report.close_code), (None, None));
}

#[tokio::test]
async fn a_caller_who_stops_reading_or_goes_mute_is_still_there() {
    let (address, _task) = server(echo).await;
    let mut deaf = settings(address);
    deaf.behaviour = Behaviour::StopReadingAfter(Duration::ZERO);
    deaf.source = tone();
    let report = call(deaf).await;
    assert!(report.sent_seconds >= 1.0, "{report:?}");
    assert!(report.received_seconds < report.sent_seconds, "{report:?}");
    assert_eq!(report.ending, None);

    let (address, _task) = server(echo).await;
    let mut mute = settings(address);
    mute.behaviour = Behaviour::MuteAfter(Duration::ZERO);
    let report = call(mute).await;
    assert_eq!((report.sent_seconds, report.ending, report.error), (0.0, Some(Ending::ClientLeft), None));
}

#[tokio::test]
async fn what_no_version_of_the_wire_has_ends_the_call_and_what_a_later_one_has_does_not() {
    let (address, _task) = server(|mut socket: Server| async move {
        greet(&mut socket).await;
        socket.send(Message::text(r#"{"type":"turn.started","x":1}"#)).await.unwrap();
        socket.send(Message::text("not json")).await.unwrap();
        while let Some(Ok(_)) = socket.next().await {}
    })
    .await;
    let mut settings = settings(address);
    settings.hang_up = HangUp::WhenTold;
    let error = call(settings).await.error.unwrap();
    assert_eq!(error.code, "protocol");
}
