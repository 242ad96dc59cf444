//! Calls that go well, in every format and on both wires.

use super::*;

#[tokio::test]
async fn the_echo_of_a_call_comes_back_in_every_format() {
    let formats = [
        (Audio::Pcm16 { rate_hz: 24_000 }, "audio=pcm16&rate=24000"),
        (Audio::Pcm16 { rate_hz: 44_100 }, "audio=pcm16&rate=44100"),
        (Audio::Pcm16 { rate_hz: 8_000 }, "audio=pcm16&rate=8000"),
        (Audio::Opus, "audio=opus"),
        (Audio::OggOpus, "audio=ogg-opus"),
    ];
    for (audio, query) in formats {
        let (address, task) = server(echo).await;
        let mut settings = settings(address);
        settings.wire = Wire::Native(audio);
        settings.source = tone();
        let report = call(settings).await;
        let (head, ()) = task.await.unwrap();
        assert!(head.starts_with(&format!("/v1/voice?{query} ")), "{head}");
        assert_eq!(report.error, None, "{audio:?}");
        assert!(report.went_well());
        assert_eq!(report.ending, Some(Ending::ClientLeft));
        assert_eq!(report.close_code, Some(1000));
        assert_eq!(report.session_id.as_deref(), Some("call-1"));
        assert_eq!(report.queued_ms, Some(7));
        assert_eq!(report.transcript, "la la");
        assert!(report.sent_seconds >= 1.0 && report.sent_seconds < 2.0, "{report:?}");
        assert!((report.sent_seconds - report.received_seconds).abs() < 0.001, "{audio:?} {report:?}");
        assert_eq!(report.lost_packets, 0);
        assert!(likeness(&tone(), &report.audio) > 0.9, "{audio:?}");
        assert!(!format!("{report:?}").contains("la la"));
    }
}

#[tokio::test]
async fn a_caller_who_begins_late_leaves_nothing_out() {
    let (address, _task) = server(echo).await;
    let mut settings = settings(address);
    // At this pace a second of sound is due after 0.1 ms: long before its first message can be sent.
    settings.pace = Pace::Times(10_000.0);
    settings.hang_up = HangUp::AfterSource { tail: Duration::ZERO };
    settings.source = tone();
    let report = call(settings).await;
    assert_eq!(report.error, None);
    assert!(report.sent_seconds >= 1.0, "{report:?}");
    assert!(likeness(&tone(), &report.audio) > 0.9, "{report:?}");
}

#[tokio::test]
async fn a_report_is_one_json_object_without_the_sound() {
    let (address, _task) = server(echo).await;
    let report = call(settings(address)).await;
    let json = serde_json::to_value(&report).unwrap();
    for key in [
        "setup_ms",
        "queued_ms",
        "first_audio_ms",
        "sent_seconds",
        "received_seconds",
        "lost_packets",
        "transcript",
        "ending",
        "close_code",
        "session_id",
        "error",
    ] {
        assert!(json.get(key).is_some(), "{key}");
    }
    assert!(json.get("audio").is_none());
    assert_eq!(json["ending"], "client_left");
}

/// A model server that plays back, loses the fourth page and says a word in bytes.
async fn model(mut socket: Server) -> Option<u16> {
    only_pongs_come(&mut socket).await;
    socket.send(moshi(0, &[])).await.unwrap();
    for piece in [" caf", "<0xC3>", "<0xA9>"] {
        socket.send(moshi(2, piece.as_bytes())).await.unwrap();
    }
    let mut pages = 0;
    let mut close_code = None;
    while let Some(Ok(message)) = socket.next().await {
        match message {
            Message::Binary(bytes) => {
                assert_eq!(&bytes[..5], b"\x01OggS", "each message is one page");
                pages += 1;
                if pages != 4 {
                    socket.send(Message::Binary(bytes)).await.unwrap();
                }
            }
            Message::Close(frame) => close_code = frame.map(|frame| frame.code.into()),
            _ => {}
        }
    }
    close_code
}

#[tokio::test]
async fn a_model_server_is_called_directly_on_its_own_wire() {
    let (address, task) = server(model).await;
    let mut settings = settings(address);
    settings.wire = Wire::Moshi;
    settings.source = tone();
    let report = call(settings).await;
    let (head, close_code) = task.await.unwrap();
    assert!(head.starts_with("/api/chat?voice_prompt=NATF0.pt&text_prompt="), "{head}");
    assert!(!head.to_lowercase().contains("sec-websocket-protocol"), "{head}");
    assert_eq!(close_code, Some(1000));
    assert_eq!(report.error, None);
    assert_eq!(report.transcript, " café");
    assert_eq!(report.lost_packets, 1);
    assert!((report.sent_seconds - report.received_seconds - 0.08).abs() < 0.001, "{report:?}");
}
