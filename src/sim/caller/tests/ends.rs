//! Calls that come to nothing, or to an end that somebody else makes.

use super::*;

/// Answers one request with these bytes, in two pieces, and closes.
async fn answer_with(head: &'static str, body: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = [0; 4096];
        let _ = stream.read(&mut request).await.unwrap();
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.flush().await.unwrap();
        tokio::task::yield_now().await;
        stream.write_all(body.as_bytes()).await.unwrap();
    });
    address
}

#[tokio::test]
async fn a_refusal_before_the_upgrade_is_told_in_its_own_words() {
    let head = "HTTP/1.1 503 Service Unavailable\r\nRetry-After: 5\r\n\r\n";
    let address = answer_with(head, r#"{"code":"no_capacity","detail":"All voice models are busy."}"#).await;
    let error = call(settings(address)).await.error.unwrap();
    assert_eq!(error.code, "no_capacity");
    assert_eq!(error.status, Some(503));
    assert_eq!(error.retry_after_seconds, Some(5));
    assert_eq!(error.message, "the call was refused: All voice models are busy.");
    let address = answer_with("SSH-2.0-OpenSSH_9.6\r\n", "").await;
    assert_eq!(call(settings(address)).await.error.unwrap().code, "not_http");
}

#[tokio::test]
async fn an_address_where_nobody_listens_is_named_with_what_to_do() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut silent = settings(address);
    silent.connect_timeout = Duration::from_millis(50);
    let error = call(silent).await.error.unwrap();
    assert_eq!(error.message, format!("no answer from {address} within 0.05 s: is `tandem serve` running?"));
    drop(listener);
    let error = call(settings(address)).await.error.unwrap();
    assert_eq!(error.message, format!("nothing listens at {address}: is `tandem serve` running?"));
}

#[tokio::test]
async fn a_call_that_the_server_ends_failed_with_the_servers_reason() {
    let (address, _task) = server(|mut socket: Server| async move {
        greet(&mut socket).await;
        end(&mut socket, Ending::UpstreamLost).await;
    })
    .await;
    let mut settings = settings(address);
    settings.hang_up = HangUp::WhenTold;
    let report = call(settings).await;
    assert_eq!(report.ending, Some(Ending::UpstreamLost));
    assert_eq!(report.close_code, Some(4461));
    let error = report.error.clone().unwrap();
    assert_eq!((error.code.as_str(), error.message.as_str()), ("upstream_lost", Ending::UpstreamLost.row().sentence));
    assert!(!report.went_well());

    // Hanging up does not make another ending good.
    let (address, _task) = server(|mut socket: Server| async move {
        greet(&mut socket).await;
        while !socket.next().await.unwrap().unwrap().is_text() {}
        end(&mut socket, Ending::Internal).await;
    })
    .await;
    let report = call(self::settings(address)).await;
    assert_eq!((report.error.unwrap().code.as_str(), report.close_code), ("internal", Some(1011)));
}

#[tokio::test]
async fn a_connection_that_breaks_is_lost_and_a_model_that_closes_did_not_say_why() {
    let (address, _task) = server(|mut socket: Server| async move {
        greet(&mut socket).await;
        drop(socket);
    })
    .await;
    let mut lost = settings(address);
    lost.hang_up = HangUp::WhenTold;
    assert_eq!(call(lost).await.error.unwrap().code, "connection_lost");

    let (address, _task) = server(|mut socket: Server| async move {
        socket.send(moshi(0, &[])).await.unwrap();
        let _ = socket.close(None).await;
        while let Some(Ok(_)) = socket.next().await {}
    })
    .await;
    let mut closed = settings(address);
    closed.wire = Wire::Moshi;
    closed.hang_up = HangUp::WhenTold;
    let report = call(closed).await;
    assert_eq!((report.error.unwrap().code.as_str(), report.close_code, report.ending), ("closed", Some(1005), None));
}

#[tokio::test]
async fn a_server_that_never_gets_ready_or_never_says_goodbye_is_given_up() {
    let (address, _task) = server(|mut socket: Server| async move {
        socket.send(event(&created())).await.unwrap();
        while let Some(Ok(_)) = socket.next().await {}
    })
    .await;
    let mut slow = settings(address);
    slow.setup_timeout = Duration::from_millis(50);
    assert_eq!(call(slow).await.error.unwrap().code, "setup_timeout");

    let (address, _task) = server(|mut socket: Server| async move {
        greet(&mut socket).await;
        while let Some(Ok(_)) = socket.next().await {}
    })
    .await;
    let mut rude = settings(address);
    rude.goodbye_timeout = Duration::from_millis(50);
    assert_eq!(call(rude).await.error.unwrap().code, "no_goodbye");
}
