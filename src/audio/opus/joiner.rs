//! Short packets into longer ones, without touching their sound.

use opus_pure::Repacketizer;

use crate::audio::packet::OpusPacket;

/// Packets of 20 ms, in samples of the 48 kHz Opus clock: what is shorter costs a server too much.
const SHORT_SAMPLES: u32 = 960;

/// Joins neighbours of one mode that are shorter than 20 ms; everything else stays as it is.
///
/// A server takes one packet in 1.15 ms, so that packets of 5 ms keep a model that needs 70 ms a step from ever
/// catching up. The frames are not touched: what comes out decodes to the same samples. A joined packet lasts at most
/// 120 ms.
pub fn join_short(packets: &[OpusPacket]) -> Vec<OpusPacket> {
    let is_short = |packet: &OpusPacket| packet.samples() < SHORT_SAMPLES;
    let runs = packets.chunk_by(|a, b| is_short(a) && is_short(b) && a.toc() >> 2 == b.toc() >> 2);
    let mut joined = Vec::with_capacity(packets.len());
    for run in runs {
        match run {
            [packet] => joined.push(packet.clone()),
            run => join_run(run, &mut joined),
        }
    }
    joined
}

/// Packets of one mode into as few as the longest duration allows. What the codec refuses to join stays as it is.
fn join_run(run: &[OpusPacket], joined: &mut Vec<OpusPacket>) {
    let mut rest = run;
    while !rest.is_empty() {
        let mut whole = Repacketizer::new();
        let taken = rest.iter().take_while(|packet| whole.cat(packet.bytes()).is_ok()).count().max(1);
        let (these, after) = rest.split_at(taken);
        match whole.out().map(|bytes| OpusPacket::parse(bytes.into())) {
            Ok(Ok(packet)) => joined.push(packet),
            _ => joined.extend_from_slice(these),
        }
        rest = after;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;
    use opus_pure::Application;

    use super::*;
    use crate::audio::opus::{CODEC_RATE_HZ, ENCODED_BYTES, OpusDecoder};

    /// A second and a half of a voice-like sound: a buzz whose pitch and loudness move.
    fn sound() -> Vec<f32> {
        let at = |n: usize| n as f32 / CODEC_RATE_HZ as f32;
        let pitch = |n: usize| (at(n) * 150.0 + (at(n) * 5.0).sin() * 3.0).fract() - 0.5;
        (0..36_000).map(|n| pitch(n) * (0.4 + 0.3 * (at(n) * 9.0).sin())).collect()
    }

    fn short_packets(application: Application, packet_ms_x10: usize) -> Vec<OpusPacket> {
        let mut encoder = opus_pure::OpusEncoder::new(CODEC_RATE_HZ as i32, 1, application).unwrap();
        let samples = CODEC_RATE_HZ as usize * packet_ms_x10 / 10_000;
        let mut bytes = vec![0; ENCODED_BYTES];
        let encode = |frame: &[f32]| {
            let length = encoder.encode(frame, samples, &mut bytes).unwrap();
            OpusPacket::parse(Bytes::copy_from_slice(&bytes[..length])).unwrap()
        };
        sound().chunks_exact(samples).map(encode).collect()
    }

    fn decoded(packets: &[OpusPacket]) -> Vec<f32> {
        let mut decoder = OpusDecoder::new().unwrap();
        packets.iter().flat_map(|packet| decoder.decode(packet).unwrap()).collect()
    }

    fn duration(packets: &[OpusPacket]) -> Duration {
        packets.iter().map(OpusPacket::duration).sum()
    }

    /// Joined in the stretches of 80 ms in which pages are made.
    fn joined(packets: &[OpusPacket]) -> Vec<OpusPacket> {
        let stretch = (Duration::from_millis(80).as_micros() / packets[0].duration().as_micros()) as usize;
        packets.chunks(stretch).flat_map(join_short).collect()
    }

    #[test]
    fn joined_packets_decode_to_the_same_samples() {
        // It codes CELT in every length; Voip has SILK and hybrid from 10 ms on.
        for (application, tenths) in [
            (Application::RestrictedLowDelay, 25),
            (Application::RestrictedLowDelay, 50),
            (Application::RestrictedLowDelay, 100),
            (Application::Voip, 50),
            (Application::Voip, 100),
        ] {
            let packets = short_packets(application, tenths);
            let joined = joined(&packets);
            assert!(joined.len() <= packets.len() / 4, "{tenths}: {} of {}", joined.len(), packets.len());
            assert_eq!(duration(&joined), duration(&packets));
            assert!(decoded(&joined) == decoded(&packets), "{application:?} {tenths} sounds different");
        }
    }

    #[test]
    fn packets_of_several_frames_are_joined_frame_by_frame() {
        let singles = short_packets(Application::RestrictedLowDelay, 25);
        // 5 ms in codes 1 and 2, 7.5 ms in code 3 with lengths, 2.5 ms in code 3 with padding.
        let mut packets = Vec::new();
        for frames in singles.chunks_exact(6) {
            let mut pair = Repacketizer::new();
            frames[..2].iter().for_each(|frame| pair.cat(frame.bytes()).unwrap());
            let mut three = Repacketizer::new();
            frames[2..5].iter().for_each(|frame| three.cat(frame.bytes()).unwrap());
            let [toc, frame @ ..] = &frames[5].bytes()[..] else { panic!("no empty packets") };
            let padded = [&[toc | 3, 0x41, 2][..], frame, &[0, 0]].concat();
            for bytes in [pair.out().unwrap(), three.out().unwrap(), padded] {
                packets.push(OpusPacket::parse(bytes.into()).unwrap());
            }
        }
        let codes: std::collections::BTreeSet<u8> = packets.iter().map(|packet| packet.toc() & 3).collect();
        assert!(codes.contains(&3) && codes.len() > 1, "{codes:?}");
        let joined: Vec<_> = packets.chunks(12).flat_map(join_short).collect();
        assert!(joined.len() <= packets.len() / 10, "{} of {}", joined.len(), packets.len());
        assert!(decoded(&joined) == decoded(&singles[..singles.len() / 6 * 6]));
    }

    #[test]
    fn what_does_not_fit_together_stays_apart() {
        let packet = |bytes: &[u8]| OpusPacket::parse(Bytes::copy_from_slice(bytes)).unwrap();
        let (ten, five, twenty) = (packet(&[0xf0, 1, 2]), packet(&[0xe8, 1]), packet(&[0xf8, 1]));
        let stereo = packet(&[0xf4, 1, 2]);
        let apart = [ten.clone(), five, ten.clone(), twenty.clone(), twenty, ten.clone(), stereo];
        assert_eq!(join_short(&apart), apart);
        // 130 ms are more than a packet may last; packets without a frame have a duration too.
        let silent = packet(&[0xf0]);
        let many = [vec![ten; 6], vec![silent; 7]].concat();
        let lengths: Vec<u32> = join_short(&many).iter().map(OpusPacket::samples).collect();
        assert_eq!(lengths, [5_760, 480]);
        assert_eq!(join_short(&[]), []);
    }
}
