//! Who speaks, as the machine hears it: the idle limit counts speech, and a measured call tells its turns.

use std::time::Duration;

use crate::alone;
use tandem::{
    audio::{activity::State, packet::OpusPacket, turns::Speaker},
    protocol::moshi::TextPiece,
    session::machine::{ClientInput, Limits, UpstreamInput},
};

use super::{Call, FRAME, frame, sound};

const SECOND: Duration = Duration::from_secs(1);

fn minute() -> Limits {
    Limits { idle_timeout: 60 * SECOND, warning: 10 * SECOND, ..alone() }
}

#[test]
fn a_caller_who_sends_nothing_is_warned_then_ended_and_speech_takes_it_back() {
    let mut call = Call::talking();
    call.stay(89 * SECOND).refuse("expiring");
    call.stay(SECOND).expect("expiring Idle 30000");
    call.say(&sound::speech(SECOND));
    call.stay(88 * SECOND).refuse("expiring").refuse("ended");
    call.stay(2 * SECOND).expect("expiring Idle 30000");
    call.stay(30 * SECOND).expect("ended idle_timeout");
}

#[test]
fn sound_that_is_no_speech_does_not_keep_a_call() {
    for sampled in [true, false] {
        let mut call = Call::under(minute(), sampled);
        // Unmeasured, the first 15 s count as speech: nobody listens to them.
        let until_warned = if sampled { 49 } else { 64 };
        call.say(&sound::noise(until_warned * SECOND)).refuse("expiring");
        call.say(&sound::noise(2 * SECOND)).expect("expiring Idle");
        call.say(&sound::noise(10 * SECOND)).expect("ended idle_timeout");
    }
}

#[test]
fn packets_without_sound_do_not_keep_a_call() {
    let mut call = Call::under(minute(), false);
    call.say(&vec![OpusPacket::silence_20ms(); 49 * 50]).refuse("expiring");
    call.say(&vec![OpusPacket::silence_20ms(); 2 * 50]).expect("expiring Idle");
}

#[test]
fn whoever_speaks_unheard_is_not_hung_up_early_and_at_most_a_quarter_late() {
    let mut call = Call::under(minute(), false);
    // 15 s later somebody listens, and hears speech at once: so nobody listens to the next 15 s.
    call.stay(16 * SECOND);
    call.say(&sound::speech(2 * SECOND));
    assert_eq!(call.machine.activity(Speaker::Caller), None, "no longer listened to");
    call.stay(10 * SECOND);
    call.say(&sound::speech(3 * SECOND));
    let last_word = call.now;
    call.say(&sound::noise(40 * SECOND)).refuse("expiring");
    let ended = (0..60).find(|_| {
        call.say(&sound::noise(SECOND));
        call.effects.iter().any(|effect| effect.starts_with("ended idle_timeout"))
    });
    assert!(ended.is_some());
    let silence = call.now - last_word;
    assert!(silence >= 60 * SECOND && silence <= 76 * SECOND, "{silence:?}");
}

#[test]
fn a_caller_who_listens_is_not_hung_up_and_has_the_whole_warning_afterwards() {
    for sampled in [true, false] {
        let mut call = Call::under(minute(), sampled);
        call.pass(150, SECOND, |call| {
            call.client(ClientInput::Alive);
            call.up(UpstreamInput::Text(TextPiece::new(" word")));
        });
        call.refuse("expiring").refuse("ended");
        call.stay(3 * SECOND).expect("expiring Idle 10000");
        call.stay(7 * SECOND).refuse("ended");
        call.stay(2 * SECOND).expect("ended idle_timeout");
    }
}

#[test]
fn a_call_does_not_end_in_the_middle_of_a_sentence() {
    let mut call = Call::under(minute(), false);
    call.stay(51 * SECOND).expect("expiring Idle 10000");
    call.pass(15, SECOND, |call| {
        call.client(ClientInput::Alive);
        call.up(UpstreamInput::Text(TextPiece::new(" word")));
    });
    call.refuse("ended").stay(3 * SECOND).expect("ended idle_timeout");
}

#[test]
fn an_assistant_that_speaks_up_now_and_then_does_not_keep_a_call() {
    let mut call = Call::under(minute(), false);
    let mut seen = Vec::new();
    for second in 0..70 {
        if second % 20 == 0 {
            call.up(UpstreamInput::Text(TextPiece::new(" Hello?")));
        }
        call.stay(SECOND);
        seen.append(&mut call.effects);
    }
    call.effects = seen;
    call.expect("expiring Idle").expect("ended idle_timeout");
}

#[test]
fn a_voice_without_words_is_an_assistant_that_speaks() {
    let mut call = Call::under(minute(), true);
    call.answers = false;
    let story = sound::speech(3 * SECOND);
    for packet in story.iter().cycle().take(100 * 50) {
        call.up(UpstreamInput::Audio(packet.clone())).refuse("expiring").refuse("ended");
        call.advance(Duration::from_millis(20)).refuse("expiring").refuse("ended");
        call.client(ClientInput::Alive).refuse("ended");
    }
    assert_eq!(call.machine.activity(Speaker::Assistant), Some(State::Speaking));
}

/// The caller sends these packets of 20 ms in real time to a server that gives 80 ms of sound every 400 ms.
fn say_to_a_slow_server(call: &mut Call, packets: &[OpusPacket]) {
    let mut seen = Vec::new();
    for (n, packet) in packets.iter().enumerate() {
        if n % 20 == 0 && call.fed >= FRAME {
            call.fed -= FRAME;
            call.up(UpstreamInput::Audio(frame()));
            seen.append(&mut call.effects);
        }
        call.say(std::slice::from_ref(packet));
        seen.append(&mut call.effects);
    }
    call.effects = seen;
}

#[test]
fn whoever_speaks_to_a_server_that_hears_little_of_it_is_not_idle() {
    let limits = Limits { idle_timeout: 20 * SECOND, warning: 5 * SECOND, ..alone() };
    let story = sound::speech(3 * SECOND);
    for sampled in [true, false] {
        let mut call = Call::under(limits.clone(), sampled);
        call.answers = false;
        say_to_a_slow_server(&mut call, &[&story[..]; 14].concat());
        call.expect("Dropped(Up, Backlog").refuse("expiring").refuse("ended");
        say_to_a_slow_server(&mut call, &vec![OpusPacket::silence_20ms(); 27 * 50]);
        call.expect("expiring Idle").expect("ended idle_timeout");
    }
}

#[test]
fn what_was_held_up_on_its_way_is_heard_once() {
    let story = sound::speech(3 * SECOND);
    let mut call = Call::under(minute(), true);
    let mut seen = Vec::new();
    call.say(&story[..50]);
    seen.append(&mut call.effects);
    call.advance(SECOND);
    seen.append(&mut call.effects);
    for packet in &story[50..100] {
        call.client(ClientInput::Audio(packet.clone()));
        seen.append(&mut call.effects);
    }
    call.say(&story[100..]);
    seen.append(&mut call.effects);
    call.say(&vec![OpusPacket::silence_20ms(); 100]);
    seen.append(&mut call.effects);
    call.effects = seen;
    call.expect("Dropped(Up, Backlog");
    let stopped = call.effects.iter().filter_map(|effect| effect.strip_prefix("stopped caller "));
    let spoken_ms: Vec<u64> = stopped.map(|ms| ms.parse().unwrap()).collect();
    assert!(spoken_ms.len() <= 2 && (1_800..=3_100).contains(&spoken_ms.iter().sum::<u64>()), "{spoken_ms:?}");
}
