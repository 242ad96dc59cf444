//! Callers who confirm what they were sent late, or not at all.

use std::{collections::VecDeque, time::Duration};

use tandem::{
    protocol::moshi::TextPiece,
    session::machine::{ClientInput, Input, UpstreamInput},
};

use crate::{Call, FRAME, detached::resume_terms, frame};

#[test]
fn a_caller_who_confirms_nothing_is_sent_a_second_and_then_only_words() {
    let mut call = Call::talking();
    call.client(ClientInput::Confirmed(0));
    let speak = |call: &mut Call, frames: u32| {
        let mut seen = Vec::new();
        for _ in 0..frames {
            call.up(UpstreamInput::Text(TextPiece::new(" and")));
            seen.append(&mut call.effects);
            call.client(ClientInput::Audio(frame()));
            seen.append(&mut call.effects);
            call.advance(FRAME);
            seen.append(&mut call.effects);
        }
        call.effects = seen;
    };
    let count = |call: &Call, line: &str| call.effects.iter().filter(|effect| effect.starts_with(line)).count();
    speak(&mut call, 60);
    assert_eq!((count(&call, "-> client audio"), count(&call, "transcript")), (12, 60));
    assert_eq!(count(&call, "Dropped(Down, Backlog, 1)"), 60 - 12 - 6, "six packets wait: 1.5 s in all");
    call.client(ClientInput::Confirmed(3));
    assert_eq!(count(&call, "-> client audio"), 6, "the newest");
    speak(&mut call, 60);
    call.refuse("CloseUpstream");
    speak(&mut call, 90);
    call.expect("ended too_slow");
}

#[test]
fn a_caller_who_never_confirmed_anything_is_sent_everything() {
    let mut call = Call::talking();
    let speak = |call: &mut Call| {
        call.client(ClientInput::Audio(frame()));
    };
    call.pass(125, FRAME, speak).refuse("Dropped(Down").expect("-> client audio");
}

#[test]
fn who_comes_back_and_stops_reading_at_once_is_sent_a_second_too() {
    let mut call = Call::on(Some(resume_terms())).answered();
    call.client(ClientInput::Confirmed(0)).client(ClientInput::Closed { clean: false });
    call.input(Input::Attached(resume_terms()));
    let speak = |call: &mut Call| {
        call.client(ClientInput::Audio(frame()));
    };
    call.pass(60, FRAME, speak);
    let sent = call.effects.iter().filter(|effect| *effect == "-> client audio").count();
    assert_eq!(sent, 12, "it answered before, and does not now");
}

#[test]
fn a_round_trip_of_700_ms_is_short_enough_and_two_seconds_are_not() {
    for (round_trip_ms, gapless) in [(0, true), (300, true), (700, true), (2_000, false)] {
        let mut call = Call::talking();
        call.client(ClientInput::Confirmed(0));
        let mut pongs: VecDeque<(u64, u32)> = VecDeque::new();
        let mut dropped = 0;
        for at_ms in (0..20_000).step_by(20) {
            while let Some((_, mark)) = pongs.pop_front_if(|(due_ms, _)| *due_ms <= at_ms) {
                call.client(ClientInput::Confirmed(mark));
                note(&call, at_ms + round_trip_ms, &mut pongs, &mut dropped);
            }
            if at_ms % 80 == 0 {
                call.client(ClientInput::Audio(frame()));
                note(&call, at_ms + round_trip_ms, &mut pongs, &mut dropped);
            }
            call.advance(Duration::from_millis(20));
            note(&call, at_ms + round_trip_ms, &mut pongs, &mut dropped);
        }
        assert_eq!(dropped == 0, gapless, "{round_trip_ms} ms: {dropped} dropped");
    }
}

/// Marks that left come back as pongs; drops are counted.
fn note(call: &Call, due_ms: u64, pongs: &mut VecDeque<(u64, u32)>, dropped: &mut u32) {
    for line in &call.effects {
        let mark = line.strip_prefix("MarkClient(").and_then(|rest| rest.strip_suffix(')'));
        pongs.extend(mark.map(|mark| (due_ms, mark.parse().unwrap())));
        *dropped += u32::from(line.starts_with("Dropped(Down"));
    }
}
