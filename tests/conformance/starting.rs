//! What the query may be, row by row: every failure is a 101 and then the end of the stream without a word.

use tandem::sim::upstream::{CallEnd, Settings, StartFault};

use crate::client::{Client, Event, end_of, quick, start};

#[tokio::test]
async fn what_is_wrong_with_a_request_ends_it_without_a_close_frame() {
    let rows = [
        ("", StartFault::NoVoiceKey),
        ("text_prompt=hi", StartFault::NoVoiceKey),
        ("voice_prompt=NATF0.pt", StartFault::NoTextKey),
        ("voice_prompt=NOBODY.pt&text_prompt=hi", StartFault::NoSuchVoice),
        ("voice_prompt=..%2F..%2Fetc%2Fpasswd&text_prompt=hi", StartFault::NoSuchVoice),
        ("voice_prompt=NATF0.pt&text_prompt=hi&seed=5", StartFault::Seed),
        ("voice_prompt=NATF0.pt&text_prompt=hi&seed=-1", StartFault::Seed),
        ("voice_prompt=NATF0.pt&text_prompt=hi&seed=", StartFault::Seed),
        ("voice_prompt=BAD.pt&text_prompt=hi", StartFault::UnreadableVoice),
        ("voice_prompt=&text_prompt=hi", StartFault::UnreadableVoice),
    ];
    let sim = start(Settings { corrupt_voices: vec!["BAD.pt".into()], ..quick() }).await;
    for (number, (query, fault)) in rows.into_iter().enumerate() {
        let mut client = Client::call(&sim, query).await;
        assert_eq!(client.next().await, Event::Fin, "{query}");
        assert_eq!(end_of(&sim, number + 1).await, CallEnd::Start(fault), "{query}");
        assert_eq!(sim.log()[number].steps, 0, "{query}");
    }
}

#[tokio::test]
async fn what_is_merely_odd_about_a_request_is_accepted() {
    let sim = start(quick()).await;
    for query in [
        "voice_prompt=..%2Fvoices%2FNATM1.pt&text_prompt=hi",
        "voice_prompt=/voices/NATM1.pt&text_prompt=hi",
        "voice_prompt=NATM1.pt&text_prompt=+",
        "voice_prompt=NATM1.pt&text_prompt=hi&worker_auth_id=1&email=x&text_temperature=0.7&text_topk=25\
         &audio_temperature=0.8&audio_topk=250&pad_mult=0&text_seed=1&audio_seed=2&repetition_penalty=1.0",
    ] {
        let mut client = Client::talk(&sim, query).await;
        client.close(1000).await;
        assert_eq!(client.rest().await, [Event::Close(1000)], "{query}");
        let call = sim.log().pop().unwrap();
        assert_eq!(call.voice_given.as_deref(), Some("NATM1.pt"), "{query}");
        assert!(call.handshake && call.query_keys[0] == "voice_prompt", "{query}");
    }
}

#[tokio::test]
async fn an_empty_text_is_noticed_only_after_the_voice_was_stepped() {
    let sim = start(quick()).await;
    let mut client = Client::call(&sim, "voice_prompt=NATF0.pt&text_prompt=").await;
    assert_eq!(client.next().await, Event::Fin);
    assert_eq!(end_of(&sim, 1).await, CallEnd::Start(StartFault::EmptyText));
    assert_eq!((sim.log()[0].steps, sim.log()[0].text_steps), (57, 0));
}

#[tokio::test]
async fn a_voice_that_could_not_be_loaded_passes_the_second_time_with_the_one_before() {
    let sim = start(Settings { corrupt_voices: vec!["BAD.pt".into()], ..quick() }).await;
    for voice in ["", "BAD.pt"] {
        let mut first = Client::talk(&sim, "voice_prompt=VARM3.pt&text_prompt=one").await;
        first.close(1000).await;
        assert_eq!(first.rest().await, [Event::Close(1000)]);
        let query = format!("voice_prompt={voice}&text_prompt=two");
        assert_eq!(Client::call(&sim, &query).await.next().await, Event::Fin);
        let mut second = Client::talk(&sim, &query).await;
        second.close(1000).await;
        assert_eq!(second.rest().await, [Event::Close(1000)]);
        let call = sim.log().pop().unwrap();
        assert_eq!((call.voice_asked.as_deref(), call.voice_given.as_deref()), (Some(voice), Some("VARM3.pt")));
    }
}

#[tokio::test]
async fn the_log_tells_what_was_asked_and_given_without_printing_it() {
    let sim = start(quick()).await;
    let query = "text_prompt=my+secret+%C3%A9&voice_prompt=NATF3.pt&email=x";
    let mut client = Client::talk(&sim, query).await;
    client.close(1001).await;
    assert_eq!(client.rest().await, [Event::Close(1000)], "the reply is 1000 whatever the code was");
    assert_eq!(end_of(&sim, 1).await, CallEnd::ClientClosed(1001));
    let call = &sim.log()[0];
    assert_eq!(call.prompt_asked.as_ref().unwrap().expose(), "my secret é");
    assert_eq!(call.prompt_given.as_ref().unwrap().expose(), "<system> my secret é <system>");
    assert_eq!(call.query_keys, ["text_prompt", "voice_prompt", "email"]);
    assert_eq!(call.target_bytes, "/api/chat?".len() + query.len());
    assert_eq!((call.steps, call.text_steps), (51 + 6 + 8 + 6, 8));
    assert!(!call.deflate_offered && !format!("{call:?}").contains("secret"));
}
