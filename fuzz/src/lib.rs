//! What must hold for any bytes: one check a fuzz target, also run over the corpora by tests/corpora.rs.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a check fails by panicking")]

use std::iter;
use std::str;

use bytes::Bytes;
use secrecy::{ExposeSecret as _, SecretString};
use tandem::audio::ogg::{MAX_BUFFERED_BYTES, MAX_PAGE_BYTES, OggDemuxer, OggError, OggItem};
use tandem::audio::opus::OpusDecoder;
use tandem::audio::packet::{MAX_PACKET_BYTES, MAX_PACKET_SAMPLES, OpusPacket};
use tandem::audio::pcm::PCM_RATES_HZ;
use tandem::config::{self, ConfigFile, Environment, schema::KEYS};
use tandem::http::query::{CallQuery, Door};
use tandem::protocol::moshi::{ChatTarget, MAX_TARGET_BYTES, Message, TargetError, Voice, prompt_steps};
use tandem::protocol::native::{ClientEvent, MAX_CONTROL_BYTES, MAX_PING_ID_BYTES, NativeError, decode_client};
use tandem::session::leg::client::MAX_MESSAGE_BYTES;
use tandem::session::leg::dialect::{Decoder, Dialect, Encoder, Incoming, Outgoing};
use tandem::session::leg::format::AudioFormat;
use tandem::session::machine::{ClientInput, ClientOutput};

/// The Ogg demuxer: any cut of a stream gives the same items, a page's length at most waits, and nothing is made up.
///
/// The first byte says whether checksums are put right before, which chance would never do; the next eight are the
/// sizes of the pieces.
pub fn ogg_demuxer(data: &[u8]) {
    let Some((&[repair, ref sizes @ ..], stream)) = data.split_first_chunk::<9>() else { return };
    let mut stream = stream[..stream.len().min(MAX_BUFFERED_BYTES)].to_vec();
    if repair & 1 == 1 {
        right_checksums(&mut stream);
    }
    let whole = demux(iter::once(&stream[..]));
    let mut rest = &stream[..];
    let pieces = sizes.iter().cycle().map_while(|&size| {
        let (piece, after) = rest.split_at((1 + usize::from(size)).min(rest.len()));
        rest = after;
        (!piece.is_empty()).then_some(piece)
    });
    assert_eq!(demux(pieces), whole, "the cut changed the items");
    let packets = whole.iter().filter_map(|item| match item {
        Ok(OggItem::Packet(packet)) => Some(packet.bytes().len()),
        _ => None,
    });
    assert!(packets.sum::<usize>() <= stream.len(), "sound was made up");
    assert!(whole.len() <= 2 * stream.len(), "{} items of {} bytes", whole.len(), stream.len());
}

fn demux<'p>(pieces: impl Iterator<Item = &'p [u8]>) -> Vec<Result<OggItem, OggError>> {
    let mut demuxer = OggDemuxer::new();
    let mut items = Vec::new();
    for piece in pieces {
        demuxer.push(piece).expect("less than the bound waits, so a piece is taken");
        items.extend(iter::from_fn(|| demuxer.next_item()));
    }
    let _ = (demuxer.dropped_empty(), demuxer.skipped_garbage_bytes());
    // A refusal would mean that more than one page was waiting.
    demuxer.push(&vec![0; MAX_BUFFERED_BYTES - MAX_PAGE_BYTES]).expect("less than a page waits");
    items
}

/// Puts the checksum of every page of a stream right, as RFC 3533 has it.
fn right_checksums(stream: &mut [u8]) {
    let mut at = 0;
    while let Some(found) = stream[at..].windows(5).position(|window| window == b"OggS\0") {
        at += found;
        let Some(&segments) = stream.get(at + 26) else { return };
        let body = at + 27 + usize::from(segments);
        let Some(lacing) = stream.get(at + 27..body) else { return };
        let end = body + lacing.iter().map(|&value| usize::from(value)).sum::<usize>();
        let Some(page) = stream.get_mut(at..end) else { return };
        page[22..26].fill(0);
        let mut sum = 0u32;
        for &byte in page.iter() {
            sum ^= u32::from(byte) << 24;
            for _ in 0..8 {
                sum = sum << 1 ^ if sum >> 31 == 1 { 0x04c1_1db7 } else { 0 };
            }
        }
        page[22..26].copy_from_slice(&sum.to_le_bytes());
        at = end;
    }
}

/// The packet reader: it takes what the codec's own reader takes, and finds the same shape in it.
pub fn opus_packet(data: &[u8]) {
    let ours = OpusPacket::parse(Bytes::copy_from_slice(data));
    let codec = opus_pure::Repacketizer::new().cat(data).is_ok();
    assert_eq!(ours.is_ok(), codec && data.len() <= MAX_PACKET_BYTES, "{ours:?}, but the codec takes it: {codec}");
    if let Ok(packet) = ours {
        assert_eq!(packet.samples() as usize, opus_pure::packet::samples_48k(data).unwrap());
        assert_eq!(usize::from(packet.frame_count()), opus_pure::packet::frame_count(data).unwrap());
        assert_eq!(usize::from(packet.channels()), opus_pure::packet::channels(data).unwrap());
        assert!((120..=MAX_PACKET_SAMPLES).contains(&packet.samples()));
        assert_eq!(&packet.bytes()[..], data);
    }
}

/// The decoder: of any packets, one behind the other, comes sound within its range or an error, never a panic.
pub fn opus_decoder(data: &[u8]) {
    let mut decoder = OpusDecoder::new().unwrap();
    let packets = pieces(data).filter_map(|piece| OpusPacket::parse(Bytes::copy_from_slice(piece)).ok());
    for packet in packets.take(24) {
        if let Ok(sound) = decoder.decode(&packet) {
            assert_eq!(sound.len(), packet.samples() as usize / 2, "{packet:?}");
            assert!(sound.iter().all(|sample| (-1.0..=1.0).contains(sample)), "{packet:?} leaves the range");
        }
    }
}

/// Pieces of data, each with its length of two bytes before it; the last is what there is.
fn pieces(mut data: &[u8]) -> impl Iterator<Item = &[u8]> {
    iter::from_fn(move || {
        let (&length, rest) = data.split_first_chunk::<2>()?;
        let (piece, after) = rest.split_at(rest.len().min(u16::from_le_bytes(length).into()));
        data = after;
        Some(piece)
    })
}

/// The Moshi wire: what is read is written back byte by byte (a ping's payload aside), and never printed.
pub fn moshi_message(data: &[u8]) {
    let Ok(message) = Message::decode(Bytes::copy_from_slice(data)) else {
        assert!(data.is_empty(), "only an empty message is refused");
        return;
    };
    let written = message.encode();
    let expected = if message == Message::Ping { &data[..1] } else { data };
    assert_eq!(&written[..], expected);
    assert_eq!(Message::decode(written), Ok(message.clone()));
    assert!(format!("{message:?}").len() < 64, "the payload is printed");
    if let Message::Text(piece) | Message::Error(piece) = &message {
        assert_eq!(piece.bytes(), &data[1..]);
        assert_eq!(piece.expose(), String::from_utf8_lossy(&data[1..]));
    }
}

/// Our own wire's control messages: only short ones count, and what counts is read again from what it is written as.
pub fn native_control(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else { return };
    match decode_client(text) {
        Ok(event) => {
            assert!(text.len() <= MAX_CONTROL_BYTES);
            if let ClientEvent::Ping { id } = &event {
                assert!(id.len() <= MAX_PING_ID_BYTES);
            }
            assert_eq!(decode_client(&serde_json::to_string(&event).unwrap()), Ok(event));
        }
        Err(error) => assert_eq!(error == NativeError::TooLong, text.len() > MAX_CONTROL_BYTES),
    }
}

/// Every way to speak: both wires, and each kind of PCM.
fn dialects() -> Vec<Dialect> {
    let packets = [Dialect::Moshi, Dialect::Native(AudioFormat::Opus), Dialect::Native(AudioFormat::OggOpus)];
    let pcm = PCM_RATES_HZ.into_iter().flat_map(|rate_hz| {
        let mono = AudioFormat::pcm16(rate_hz).unwrap();
        [1, 2].map(|channels| Dialect::Native(mono.with_channels(channels).unwrap()))
    });
    packets.into_iter().chain(pcm).collect()
}

/// A caller's leg: any messages one behind the other give no more than they say, and what is heard can be said back.
///
/// The first byte is the dialect; each message's first byte says whether it is text.
pub fn client_decoder(data: &[u8]) {
    let Some((&first, script)) = data.split_first() else { return };
    let dialects = dialects();
    let dialect = dialects[usize::from(first) % dialects.len()];
    let mut decoder = Decoder::new(dialect).unwrap();
    let mut encoder = Encoder::new(dialect, 7).unwrap();
    let (mut received_bytes, mut heard_samples) = (0, 0);
    for message in pieces(script).map(|piece| &piece[..piece.len().min(MAX_MESSAGE_BYTES)]).take(64) {
        let Some((&kind, body)) = message.split_first() else { continue };
        let incoming = match str::from_utf8(body) {
            Ok(text) if kind & 1 == 1 => Incoming::Text(text.to_owned()),
            _ => Incoming::Binary(Bytes::copy_from_slice(body)),
        };
        let inputs = decoder.decode(incoming);
        received_bytes += body.len();
        assert!(inputs.len() <= 2 + received_bytes, "{} inputs of {received_bytes} bytes", inputs.len());
        for input in inputs {
            heard_samples += heard(dialect, &mut encoder, input);
        }
    }
    if let AudioFormat::Pcm16(pcm) = dialect.format() {
        let most = (received_bytes / pcm.frame_bytes()) as u64 * 48_000 / u64::from(pcm.rate_hz());
        assert!(heard_samples <= most, "{heard_samples} samples of {received_bytes} bytes");
    }
}

/// Checks what was heard and says sound back; gives the samples at 48 kHz.
fn heard(dialect: Dialect, encoder: &mut Encoder, input: ClientInput) -> u64 {
    match input {
        ClientInput::Audio(packet) => {
            let samples = u64::from(packet.samples());
            let size = packet.bytes().len();
            for outgoing in encoder.encode(ClientOutput::Audio(packet)) {
                let Outgoing::Binary(bytes) = outgoing else { panic!("sound is binary: {outgoing:?}") };
                let most = match dialect.format() {
                    // Up to 13.3 ms may have waited in the resampler.
                    AudioFormat::Pcm16(pcm) => {
                        (samples + 640) * u64::from(pcm.rate_hz()) / 48_000 * pcm.frame_bytes() as u64
                    }
                    _ => size as u64 + 300,
                };
                assert!(bytes.len() as u64 <= most, "{} bytes, expected at most {most}", bytes.len());
            }
            samples
        }
        ClientInput::Complaint(complaint) => {
            assert!(["not_understood", "wrong_format", "bad_audio", "bad_packet", "bad_ogg"].contains(&complaint.code));
            assert!(complaint.message.len() < 200 && !complaint.message.contains(char::is_control));
            0
        }
        ClientInput::Event(_) => {
            assert_ne!(dialect, Dialect::Moshi, "the Moshi wire has no events");
            0
        }
        ClientInput::Alive => 0,
        other => panic!("a decoder does not say {other:?}"),
    }
}

/// The query: the first value of each name counts, whatever follows, and nothing of it is printed.
pub fn call_query(data: &[u8]) {
    let Ok(raw) = str::from_utf8(data) else { return };
    let query = CallQuery::parse(raw);
    let first = |names: &[&str]| {
        let mut pairs = form_urlencoded::parse(data);
        pairs.find(|(name, value)| names.contains(&&**name) && !value.is_empty()).map(|(_, value)| value.into_owned())
    };
    let shown = |secret: &Option<SecretString>| secret.as_ref().map(|secret| secret.expose_secret().to_owned());
    assert_eq!(shown(&query.ticket), first(&["ticket", "worker_auth_id"]));
    assert_eq!(shown(&query.token), first(&["token"]));
    assert_eq!(query.errors_on_socket, first(&["errors"]).as_deref() == Some("socket"));
    let (voice, prompt) = (first(&["voice", "voice_prompt"]), first(&["text_prompt"]));
    assert_eq!(query.has_own_words(), voice.is_some() || prompt.is_some());
    match query.wishes() {
        Ok(wishes) => {
            assert_eq!(wishes.voice, voice.map(|name| name.parse::<Voice>().unwrap()));
            assert_eq!(shown(&wishes.prompt), prompt);
            assert_eq!(wishes.persona, first(&["persona"]));
        }
        Err(_) => assert!(voice.is_some_and(|name| name.parse::<Voice>().is_err())),
    }
    assert_eq!(query.dialect(Door::Moshi), Ok(Dialect::Moshi));
    if let Ok(dialect) = query.dialect(Door::Native) {
        assert!(dialects()[1..].contains(&dialect), "{dialect:?}");
    }
    assert_eq!(format!("{query:?}"), "CallQuery { .. }");
}

/// The request target: any prompt is refused, or fits a request line and is read back from it.
///
/// The first byte is the voice.
pub fn chat_target(data: &[u8]) {
    let Some((&first, prompt)) = data.split_first() else { return };
    let Ok(prompt) = str::from_utf8(prompt) else { return };
    let voice = Voice::ALL[usize::from(first) % Voice::ALL.len()];
    let target = match ChatTarget::build(voice, &prompt.into()) {
        Ok(target) => target,
        Err(TargetError::EmptyPrompt) => return assert!(prompt.trim().is_empty()),
        Err(TargetError::TooLong { over_bytes }) => {
            return assert!(over_bytes > 0 && over_bytes <= 3 * prompt.len() && prompt.len() * 3 > 8_000);
        }
    };
    let line = target.expose();
    assert!(line.len() <= MAX_TARGET_BYTES && line.bytes().all(|byte| byte.is_ascii_graphic()));
    let uri: actix_http::Uri = line.parse().expect("a request target is a URI");
    assert_eq!(uri.path(), "/api/chat");
    let read: Vec<_> = form_urlencoded::parse(uri.query().unwrap().as_bytes()).into_owned().collect();
    let asked = [("text_prompt", prompt), ("voice_prompt", voice.file_name())];
    assert_eq!(read, asked.map(|(name, value)| (name.to_owned(), value.to_owned())));
    let tokens = target.prompt_tokens_estimate();
    assert!(tokens > 5 && tokens as usize <= 5 + prompt.len());
    assert_eq!(prompt_steps(51, tokens), 63 + tokens);
    assert!(format!("{target:?}").len() < 64, "the prompt is printed");
}

/// A secret that nothing but the environment holds.
const HUSH: &str = "hush-8c1f2a60d7e94b35-hush-8c1f2a60d7e94b35";

/// The configuration: any file and variables become settings that keep the house safe, or sentences fit to be read.
///
/// Up to the first NUL byte it is the file, then `NAME=value` variables with a NUL between them.
pub fn config_file(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else { return };
    let mut parts = text.split('\0');
    let file = ConfigFile { name: "tandem.toml".to_owned(), text: parts.next().unwrap_or_default().to_owned() };
    let pairs = parts.filter_map(|part| part.split_once('='));
    let mut environment: Environment = pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    for name in ["JWT_SECRET", "MONGODB_URI", "TANDEM__PERSONA__PROMPT"] {
        environment.entry(name.to_owned()).or_insert_with(|| HUSH.to_owned());
    }
    match config::load(Some(&file), &environment) {
        Ok(settings) => {
            assert_eq!(settings.describe().len(), KEYS.len());
            let secret = settings.auth.jwt_secret.as_ref().map_or(0, |secret| secret.expose_secret().len());
            assert!(!settings.is_exposed() || secret >= 32, "others can reach it, and the secret has {secret} bytes");
            assert!(!settings.upstreams.urls.is_empty() || settings.simulator.enabled || !settings.is_exposed());
            assert!(settings.persona.prompt.as_ref().is_none_or(|prompt| !prompt.expose_secret().trim().is_empty()));
            for url in &settings.upstreams.urls {
                assert_eq!(url.to_string().parse(), Ok(url.clone()));
            }
            assert!(!settings.warnings.iter().any(|warning| warning.contains(char::is_control)));
            let told = format!("{settings:?}{:?}{:?}", settings.describe(), settings.warnings);
            assert!(!told.contains(HUSH), "a secret is told");
        }
        Err(error) => {
            assert!(!error.flaws.is_empty());
            for flaw in &error.flaws {
                let sentence = flaw.to_string();
                assert!(!sentence.contains(char::is_control), "{sentence:?}");
                assert!(sentence.len() < 2_000 + text.len(), "{} bytes", sentence.len());
            }
            assert!(!format!("{error}{error:?}").contains(HUSH), "a secret is told");
        }
    }
}
