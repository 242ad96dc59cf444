//! Audio in and out after the handshake: what is accepted, what ends the call, what comes back and when.

use std::time::Duration;

use tandem::sim::upstream::{Answer, AudioFault, CallEnd, Settings, Simulator};
use tokio_tungstenite::tungstenite::Message;

use crate::client::{Client, Content, Event, GOOD, Page, Stream, end_of, quick, seen, start, tone};

fn audio_page(number: u32) -> Page {
    Page {
        flags: 0,
        granule: 1920 * u64::from(number),
        serial: 42,
        sequence: number + 1,
        packets: 1,
        content: Content::Audio { frames: 4, samples: 3840 },
    }
}

/// Makes a call, sends messages of Ogg bytes, has so many pages back, and then the end with a fault or without.
async fn expect(sim: &Simulator, what: &str, messages: &[Vec<u8>], pages: u64, fault: Option<AudioFault>) {
    let mut client = Client::talk(sim, GOOD).await;
    for message in messages {
        client.send_audio(message).await;
    }
    client.pages(pages as usize).await;
    if fault.is_none() {
        client.ping(what.as_bytes()).await;
        assert_eq!(client.next().await, Event::Pong(what.as_bytes().to_vec()), "{what}");
        client.close(1000).await;
    }
    assert_eq!(client.rest().await, [Event::Close(1000)], "{what}");
    let end = end_of(sim, sim.log().len()).await;
    assert_eq!(end, fault.map_or(CallEnd::ClientClosed(1000), CallEnd::Audio), "{what}");
    assert_eq!(sim.log().last().unwrap().frames_in, pages, "{what}");
}

#[tokio::test]
async fn one_page_comes_for_every_80_ms_and_nothing_by_itself() {
    let sim = start(quick()).await;
    let mut client = Client::talk(&sim, GOOD).await;
    let mut stream = Stream::new(0xffff_ffff);
    client.send_audio(&stream.head()).await;
    for number in 1..=50 {
        client.send_audio(&stream.silence()).await;
        assert_eq!(client.pages(1).await, [audio_page(number)]);
        assert!(client.heard_nothing());
    }
}

#[tokio::test]
async fn words_come_just_before_the_page_of_their_frame_and_only_with_a_voice() {
    let sim = start(quick()).await;
    let mut client = Client::talk(&sim, GOOD).await;
    let mut stream = Stream::new(1);
    client.send_audio(&stream.head()).await;
    for packet in tone(5) {
        client.send_audio(&stream.page(&packet)).await;
        assert_eq!(client.next().await, Event::Text);
        assert!(matches!(client.next().await, Event::Page(_)));
    }
    // The tone dies away, and then there are no words any more.
    for _ in 0..10 {
        client.send_audio(&stream.silence()).await;
        client.pages(1).await;
    }
    client.send_audio(&stream.silence()).await;
    assert!(matches!(client.next().await, Event::Page(_)));
    let call = &sim.log()[0];
    assert!((5..8).contains(&call.texts_out) && call.frames_out == 16, "{call:?}");
}

#[tokio::test]
async fn pages_may_be_cut_and_joined_and_have_any_packets() {
    let sim = start(quick()).await;
    let whole: Vec<Vec<u8>> = {
        let mut stream = Stream::new(7);
        let mut pages = vec![stream.head()];
        pages.extend((0..10).map(|_| stream.silence()));
        pages
    };
    let cut: Vec<Vec<u8>> = whole.concat().chunks(11).map(<[u8]>::to_vec).collect();
    let packets = |packet: &[u8], count: usize| {
        let mut stream = Stream::new(7);
        let mut pages = vec![stream.head()];
        pages.extend((0..count).map(|_| stream.page(packet)));
        pages
    };
    for (what, messages, pages) in [
        ("one page a message", whole.clone(), 10),
        ("all in one message", vec![whole.concat()], 10),
        ("cut anywhere", cut, 10),
        ("20 ms", packets(&[0xf8], 40), 10),
        ("2.5 ms", packets(&[0xe0], 64), 2),
        ("60 ms", packets(&[0xfb, 0x03], 4), 3),
        ("120 ms", packets(&[0xfb, 0x06], 4), 6),
        ("too little for a frame", packets(&[0xf8], 3), 0),
    ] {
        expect(&sim, what, &messages, pages, None).await;
    }
}

#[tokio::test]
async fn what_cannot_be_read_ends_the_call_like_a_goodbye() {
    let mut a = Stream::new(1);
    let mut b = Stream::new(2);
    let (head, first, other_head, other) = (a.head(), a.silence(), b.head(), b.silence());
    let begun = [head.clone(), first.clone()].concat();
    let mut damaged = a.silence();
    damaged[22] ^= 1;
    let garbage = |bytes: usize| vec![b'x'; bytes];
    let no_packet = a.page(&[0x6b]);
    let sim = start(quick()).await;
    let rows: [(&str, Vec<u8>, u64, Option<AudioFault>); 10] = [
        ("a damaged page", damaged, 1, Some(AudioFault::DamagedPage)),
        ("a page of an unknown stream", other.clone(), 1, Some(AudioFault::MisplacedPage)),
        ("the same stream again", head.clone(), 1, Some(AudioFault::MisplacedPage)),
        ("no Opus packet", no_packet, 1, Some(AudioFault::BadPacket)),
        ("150 KiB of garbage", garbage(160_000), 1, Some(AudioFault::NoPage)),
        ("54 bytes of garbage", [garbage(54), a.silence()].concat(), 2, None),
        ("another stream", [other_head, other].concat(), 2, None),
        ("a gap in the sequence", a.silence(), 2, None),
        ("pages after the last one", [a.last_page(), a.silence()].concat(), 3, None),
        ("nothing", Vec::new(), 1, None),
    ];
    for (what, message, pages, fault) in rows {
        expect(&sim, what, &[begun.clone(), message], pages, fault).await;
    }
}

#[tokio::test]
async fn headers_that_were_swallowed_are_missed_at_the_first_page() {
    let sim = start(Settings { voice_steps: 300, step: Duration::from_millis(1), ..quick() }).await;
    let mut client = Client::call(&sim, GOOD).await;
    let mut stream = Stream::new(1);
    client.send_audio(&stream.head()).await;
    seen(&sim, |calls| calls[0].swallowed == 1).await;
    assert_eq!(client.next().await, Event::Handshake);
    client.pages(2).await;
    client.send_audio(&stream.silence()).await;
    assert_eq!(client.rest().await, [Event::Close(1000)]);
    assert_eq!(end_of(&sim, 1).await, CallEnd::Audio(AudioFault::MisplacedPage));
}

#[tokio::test]
async fn other_messages_are_harmless() {
    let sim = start(quick()).await;
    let mut client = Client::talk(&sim, GOOD).await;
    let mut stream = Stream::new(1);
    client.send_audio(&stream.head()).await;
    client.send(Message::text("hello")).await;
    client.send(Message::Pong(vec![1].into())).await;
    for message in [&[][..], &[0], &[2, b'a'], &[3, 0], &[6], &[0xff], &[1]] {
        client.send_binary(message).await;
    }
    client.ping(b"still there").await;
    assert_eq!(client.next().await, Event::Pong(b"still there".to_vec()));
    client.send_audio(&stream.silence()).await;
    assert_eq!(client.pages(1).await, [audio_page(1)]);
}

#[tokio::test(start_paused = true)]
async fn an_empty_packet_stops_the_whole_server_for_ten_seconds_and_makes_125_pages() {
    let block = Duration::from_millis(10_200);
    let sim = start(Settings { empty_packet_block: block, ..quick() }).await;
    let mut client = Client::talk(&sim, GOOD).await;
    let mut stream = Stream::new(1);
    let begun = tokio::time::Instant::now();
    client.send_audio(&[stream.head(), stream.page(b"")].concat()).await;
    seen(&sim, |calls| calls[0].audio_messages_in == 1).await;
    client.ping(b"late").await;
    client.pages(1).await;
    assert!(begun.elapsed() >= block, "{:?}", begun.elapsed());
    // The pong comes after that, too.
    let mut pages = 1;
    let mut pongs = 0;
    while pages < 125 || pongs < 1 {
        match client.next().await {
            Event::Page(_) => pages += 1,
            Event::Pong(_) => pongs += 1,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!((pages, sim.log()[0].frames_in, sim.log()[0].texts_out), (125, 125, 0));
}

#[tokio::test(start_paused = true)]
async fn a_burst_becomes_latency_and_nothing_is_dropped() {
    let step = Duration::from_millis(60);
    let sim = start(Settings { step, answer: Answer::Silence, ..Settings::default() }).await;
    let mut client = Client::talk(&sim, GOOD).await;
    let mut stream = Stream::new(1);
    let burst: Vec<u8> = std::iter::once(stream.head()).chain((0..100).map(|_| stream.silence())).flatten().collect();
    let begun = tokio::time::Instant::now();
    client.send_audio(&burst).await;
    client.pages(100).await;
    let took = begun.elapsed().as_secs_f64();
    assert!((6.0..6.4).contains(&took), "100 frames at 60 ms took {took} s");
}

#[tokio::test(start_paused = true)]
async fn a_model_that_is_slower_than_real_time_falls_behind() {
    let step = Duration::from_millis(100);
    let sim = start(Settings { step, answer: Answer::Silence, ..Settings::default() }).await;
    let mut client = Client::talk(&sim, GOOD).await;
    let mut stream = Stream::new(1);
    client.send_audio(&stream.head()).await;
    let begun = tokio::time::Instant::now();
    for _ in 0..50 {
        client.send_audio(&stream.silence()).await;
    }
    client.pages(50).await;
    let took = begun.elapsed().as_secs_f64();
    assert!((5.0..5.2).contains(&took), "50 frames at 100 ms took {took} s");
}

#[tokio::test]
async fn a_message_of_4_mib_is_refused_with_1009() {
    let sim = start(quick()).await;
    let mut client = Client::talk(&sim, GOOD).await;
    client.send_binary(vec![3; (4 << 20) - 1]).await;
    client.ping(b"fine").await;
    assert_eq!(client.next().await, Event::Pong(b"fine".to_vec()));
    client.send_binary(vec![3; 4 << 20]).await;
    assert_eq!(client.next().await, Event::Close(1009));
    assert_eq!(end_of(&sim, 1).await, CallEnd::TooBig);
}

#[tokio::test]
async fn the_lock_stays_until_a_close_by_the_server_has_its_reply() {
    let sim = start(quick()).await;
    let mut client = Client::talk(&sim, GOOD).await;
    let mut waiter = Client::call(&sim, GOOD).await;
    let mut stream = Stream::new(1);
    stream.head();
    client.send_audio(&stream.silence()).await;
    // The reply goes out only when this client looks for the next thing after the close.
    assert_eq!(end_of(&sim, 1).await, CallEnd::Audio(AudioFault::MisplacedPage));
    assert!(waiter.heard_nothing());
    assert_eq!(client.rest().await, [Event::Close(1000)]);
    drop(client);
    assert_eq!(waiter.next().await, Event::Handshake);
}
