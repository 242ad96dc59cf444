//! Recordings of the real PersonaPlex server, read by our side of the wire.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::Deserialize;
use tandem::audio::ogg::{OggDemuxer, OggError, OggItem, OpusHead};
use tandem::audio::opus::OpusDecoder;
use tandem::audio::packet::OpusPacket;
use tandem::protocol::ending::Ending;
use tandem::protocol::moshi::Message;
use tandem::session::chronicle::Chronicle;
use tandem::session::transcript::Transcript;

const CAPTURES: [&str; 10] = [
    "browser_encoder_session",
    "early_audio_swallowed",
    "error_empty_text_prompt",
    "error_midsession_bad_crc",
    "error_nonexistent_voice",
    "error_seed",
    "normal_session",
    "queued_first_A",
    "queued_second_B",
    "queued_third_C",
];

/// The captures in which the server sent audio.
const WITH_AUDIO: [&str; 5] =
    ["browser_encoder_session", "error_midsession_bad_crc", "normal_session", "queued_first_A", "queued_second_B"];

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Side {
    Client,
    Server,
}

/// One line of a capture.
#[derive(Debug, Deserialize)]
struct Line {
    t_ms: f64,
    dir: Side,
    opcode: String,
    b64: String,
}

impl Line {
    fn bytes(&self) -> Bytes {
        STANDARD.decode(&self.b64).expect("a capture holds base64").into()
    }
}

fn lines(capture: &str) -> Vec<Line> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/wire").join(capture).with_extension("jsonl");
    let text = std::fs::read_to_string(path).expect("the capture is there");
    text.lines().map(|line| serde_json::from_str(line).expect("a capture holds JSON lines")).collect()
}

fn messages(capture: &str, side: Side) -> Vec<Message> {
    let lines = lines(capture);
    let binary = lines.iter().filter(|line| line.dir == side && line.opcode == "binary");
    binary.map(|line| Message::decode(line.bytes()).expect("a message is read")).collect()
}

/// The payloads of the audio messages.
fn audio(capture: &str, side: Side) -> Vec<Bytes> {
    let audio = messages(capture, side).into_iter();
    audio.filter_map(|message| if let Message::Audio(payload) = message { Some(payload) } else { None }).collect()
}

/// What comes out of a demuxer that is given the chunks one by one.
fn demux<'c>(chunks: impl IntoIterator<Item = &'c [u8]>) -> Vec<Result<OggItem, OggError>> {
    let mut demuxer = OggDemuxer::new();
    let mut items = Vec::new();
    for chunk in chunks {
        demuxer.push(chunk).expect("items are taken after each chunk");
        items.extend(std::iter::from_fn(|| demuxer.next_item()));
    }
    items
}

fn demux_messages(payloads: &[Bytes]) -> Vec<Result<OggItem, OggError>> {
    demux(payloads.iter().map(|payload| &payload[..]))
}

fn packets(items: &[Result<OggItem, OggError>]) -> Vec<&OpusPacket> {
    items.iter().filter_map(|item| if let Ok(OggItem::Packet(packet)) = item { Some(packet) } else { None }).collect()
}

#[test]
fn every_message_is_written_back_as_it_was_read() {
    let mut count = 0;
    for line in CAPTURES.into_iter().flat_map(lines).filter(|line| line.opcode == "binary") {
        let bytes = line.bytes();
        assert_eq!(Message::decode(bytes.clone()).unwrap().encode(), bytes);
        count += 1;
    }
    assert_eq!(count, 790);
}

#[test]
fn the_handshake_is_the_first_word_of_the_server() {
    for capture in WITH_AUDIO {
        let from_server = messages(capture, Side::Server);
        assert_eq!(from_server[0], Message::Handshake(Bytes::new()), "{capture}");
        assert_eq!(from_server.iter().filter(|message| matches!(message, Message::Handshake(_))).count(), 1);
    }
}

#[test]
fn text_comes_just_before_the_audio_of_its_frame() {
    let from_server = messages("normal_session", Side::Server);
    let texts: Vec<usize> = (0..from_server.len()).filter(|&at| matches!(from_server[at], Message::Text(_))).collect();
    assert_eq!(texts.len(), 59);
    for at in texts {
        assert!(matches!(from_server.get(at + 1), Some(Message::Audio(_))), "message {at}");
    }
}

#[test]
fn text_pieces_are_utf8_and_not_empty() {
    let mut count = 0;
    for message in CAPTURES.into_iter().flat_map(|capture| messages(capture, Side::Server)) {
        if let Message::Text(piece) = message {
            assert!(!piece.expose().is_empty() && std::str::from_utf8(piece.bytes()).is_ok());
            count += 1;
        }
    }
    assert_eq!(count, 142);
}

fn u32_at(page: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(page[at..at + 4].try_into().unwrap())
}

fn granule(page: &[u8]) -> u64 {
    u64::from_le_bytes(page[6..14].try_into().unwrap())
}

#[test]
fn server_pages_have_serial_42_counted_pages_and_granules_at_24_khz() {
    for capture in WITH_AUDIO {
        for (at, page) in audio(capture, Side::Server).iter().enumerate() {
            assert_eq!(&page[..5], b"OggS\0", "{capture}: a message is a page");
            assert_eq!(page[5], if at == 0 { 2 } else { 0 }, "{capture}: only the first page is marked");
            assert_eq!(u32_at(page, 14), 42, "{capture}: serial");
            assert_eq!(u32_at(page, 18) as usize, at, "{capture}: page number");
            assert_eq!(granule(page), at.saturating_sub(1) as u64 * 1_920, "{capture}: granule of page {at}");
        }
    }
}

#[test]
fn server_audio_is_a_head_then_tags_then_one_packet_of_80_ms_a_message() {
    for capture in WITH_AUDIO {
        let payloads = audio(capture, Side::Server);
        let items = demux_messages(&payloads);
        assert_eq!(items.len(), payloads.len(), "{capture}: one item a message");
        let head = OpusHead { channels: 1, pre_skip: 3_840, input_rate_hz: 24_000, output_gain_q8: 0 };
        assert_eq!(items[..2], [Ok(OggItem::Head(head)), Ok(OggItem::Tags)], "{capture}");
        let packets = packets(&items);
        assert_eq!(packets.len(), items.len() - 2, "{capture}: only audio follows");
        for packet in packets {
            assert_eq!((packet.samples(), packet.frame_count(), packet.channels()), (3_840, 4, 1), "{capture}");
            assert_eq!(packet.toc() & 3, 3, "{capture}: framing code");
        }
    }
}

#[test]
fn server_audio_can_be_heard() {
    let items = demux_messages(&audio("normal_session", Side::Server));
    let mut decoder = OpusDecoder::new().unwrap();
    let sound: Vec<f32> = packets(&items).into_iter().flat_map(|packet| decoder.decode(packet).unwrap()).collect();
    assert_eq!(sound.len(), 112 * 1_920);
    assert!(sound.iter().any(|sample| sample.abs() > 0.01), "the sound is not silence");
}

#[test]
fn a_browser_sends_100_pages_of_two_packets_and_an_end() {
    let payloads = audio("browser_encoder_session", Side::Client);
    let items = demux_messages(&payloads);
    let head = OpusHead { channels: 1, pre_skip: 3_840, input_rate_hz: 48_000, output_gain_q8: 0 };
    assert_eq!(items[..2], [Ok(OggItem::Head(head)), Ok(OggItem::Tags)]);
    assert_eq!(items.last(), Some(&Ok(OggItem::End)));
    let packets = packets(&items);
    assert_eq!((payloads.len(), packets.len(), items.len()), (103, 200, 203));
    assert!(packets.iter().all(|packet| packet.samples() == 960));
}

#[test]
fn a_damaged_page_is_reported_and_the_stream_goes_on_behind_it() {
    let mut payloads = audio("error_midsession_bad_crc", Side::Client);
    let good = audio("normal_session", Side::Client);
    let before = packets(&demux_messages(&payloads)).len();
    payloads.push(good[good.len() - 1].clone());
    let items = demux_messages(&payloads);
    let faults: Vec<_> = items.iter().filter_map(|item| item.as_ref().err()).collect();
    assert_eq!(faults, [&OggError::Checksum]);
    assert!(items.iter().position(Result::is_err) < Some(items.len() - 1));
    assert_eq!(packets(&items).len(), before + 1);
}

mod cuts {
    use proptest::prelude::*;

    use super::*;

    /// All audio of one side in one piece, with some garbage and a broken page in it.
    fn stream(capture: &str, side: Side) -> Vec<u8> {
        let mut payloads: Vec<Vec<u8>> = audio(capture, side).iter().map(|payload| payload.to_vec()).collect();
        payloads[7][40] ^= 1;
        payloads.insert(5, b"no OggS page".to_vec());
        payloads.concat()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn the_items_are_the_same_however_the_bytes_are_cut(
            (capture, side) in prop::sample::select(vec![
                ("browser_encoder_session", Side::Client),
                ("normal_session", Side::Server),
                ("normal_session", Side::Client),
            ]),
            sizes in prop::collection::vec(prop_oneof![1..30usize, 1..3_000usize], 1..40),
        ) {
            let stream = stream(capture, side);
            let whole = demux([&stream[..]]);
            let mut rest = &stream[..];
            let chunks = sizes.iter().cycle().map_while(|&size| {
                let (chunk, after) = rest.split_at(size.min(rest.len()));
                rest = after;
                (!chunk.is_empty()).then_some(chunk)
            });
            let cut = demux(chunks);
            prop_assert_eq!(&cut, &whole);
            prop_assert_eq!(whole.iter().filter(|item| item.is_err()).count(), 1);
        }
    }
}

/// The model of the recordings has weights made by chance: its words make no sense, and every kind of piece occurs.
#[test]
fn the_words_of_a_recording_become_a_transcript_with_times() {
    let (began, mut transcript) = (Instant::now(), Transcript::default());
    let mut chronicle = Chronicle::new("native", began);
    for line in lines("normal_session").iter().filter(|line| line.dir == Side::Server && line.opcode == "binary") {
        if let Ok(Message::Text(piece)) = Message::decode(line.bytes())
            && let Some(text) = transcript.push(&piece.expose())
        {
            chronicle.words(&text, began + Duration::from_secs_f64(line.t_ms / 1_000.0));
        }
    }
    let ended = chronicle.end(Ending::ClientLeft, 0, began + Duration::from_secs(12));
    let said: Vec<&str> = ended.transcript.iter().map(|line| line.text.expose().as_str()).collect();
    assert_eq!(
        said,
        [
            "Context upquantization()I,4 context case weightsdir mimiInputLEitems\u{fffd}baseanetLA context correspond@ \
             layersallowshape convVARM useL\u{fffd}nvidiaLtalTextMessagesParse I([ setup nullVectorQuantiz case \
             contextstreamprojectTssl'Parse mergeStreamingpt\u{fffd} ofcopyL.",
            "[]\u{fffd}\u{fffd}Decoder",
        ]
    );
    let times: Vec<i64> = ended.transcript.iter().map(|line| line.at_ms).collect();
    assert_eq!(times, [2_723, 10_720]);
}
