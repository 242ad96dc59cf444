//! Callers whose connection breaks, and who come back or do not.

use std::time::Duration;

use tandem::{
    audio::packet::OpusPacket,
    protocol::{
        moshi::TextPiece,
        native::{ClientEvent, ResumeTerms},
    },
    session::machine::{ClientInput, Input, UpstreamInput},
};

use crate::{Call, FRAME, frame};

const SECOND: Duration = Duration::from_secs(1);
const BROKEN: ClientInput = ClientInput::Closed { clean: false };

pub(crate) fn resume_terms() -> ResumeTerms {
    ResumeTerms { token: "t".into(), grace_ms: 20_000 }
}

/// A conversation on a wire that lets callers come back.
fn talking() -> Call {
    Call::on(Some(resume_terms())).answered()
}

fn word(call: &mut Call, word: &str) {
    call.up(UpstreamInput::Text(TextPiece::new(word)));
}

/// Time passes in conversation.
fn talk(call: &mut Call, seconds: u64) -> &mut Call {
    call.pass(seconds, SECOND, |call| {
        call.client(ClientInput::Audio(frame()));
    })
}

/// The same with a caller who confirms what it gets.
fn talk_and_confirm(call: &mut Call, seconds: u32) -> &mut Call {
    let mut seen = std::mem::take(&mut call.effects);
    for _ in 0..seconds * 25 / 2 {
        let mut marks = seen.iter().filter_map(|line| line.strip_prefix("MarkClient(")?.strip_suffix(')'));
        if let Some(mark) = marks.next_back().map(|mark| mark.parse().unwrap()) {
            call.client(ClientInput::Confirmed(mark));
            seen.append(&mut call.effects);
        }
        call.client(ClientInput::Audio(frame()));
        seen.append(&mut call.effects);
        call.advance(FRAME);
        seen.append(&mut call.effects);
    }
    call.effects = seen;
    call
}

fn come_back(call: &mut Call) -> &mut Call {
    call.input(Input::Attached(resume_terms()))
}

#[test]
fn a_caller_whose_connection_breaks_is_waited_for_and_then_lost() {
    let mut call = talking();
    call.client(BROKEN).expect("LetClientGo").expect("Detached").refuse("CloseUpstream");
    call.advance(SECOND * 20 - Duration::from_millis(1)).refuse("Done").refuse("-> client").refuse("ping");
    call.advance(Duration::from_millis(1)).expect("CloseUpstream").expect("Done(ClientLost)");
}

#[test]
fn a_caller_who_falls_silent_is_waited_for_too() {
    let mut call = talking();
    call.advance(SECOND * 15).expect("LetClientGo").expect("Detached").refuse("ended");
    call.advance(SECOND * 19).refuse("Done");
    come_back(&mut call).expect("Attached").expect("resumed").refuse("Done");
    talk(&mut call, 60).refuse("ended");
}

#[test]
fn a_caller_whose_network_vanishes_is_waited_for_and_not_too_slow() {
    let talk = |call: &mut Call| {
        call.client(ClientInput::Audio(frame()));
    };
    // Its kernel takes nothing more, or it confirms nothing more: it is not heard either.
    for takes in [false, true] {
        let mut call = talking();
        call.client(ClientInput::Confirmed(0));
        call.pass(10, FRAME, talk);
        call.hold_client = !takes;
        call.advance(SECOND * 13).expect("LetClientGo").expect("Detached").refuse("ended").refuse("Done");
        call.hold_client = false;
        come_back(&mut call).expect("Attached { taken_over: false }").expect("resumed");
        talk_and_confirm(&mut call, 30).refuse("ended");
    }
}

#[test]
fn a_caller_who_speaks_on_and_takes_nothing_is_too_slow() {
    for takes in [false, true] {
        let mut call = talking();
        call.client(ClientInput::Confirmed(0));
        call.hold_client = !takes;
        talk(&mut call, 15).expect("CloseUpstream").expect("Done(TooSlow)").refuse("LetClientGo");
    }
}

#[test]
fn only_who_can_come_back_and_was_in_a_conversation_is_waited_for() {
    Call::talking().client(BROKEN).expect("Done(ClientLost)");
    Call::talking().input(Input::Attached(resume_terms())).refuse("resumed");
    let mut call = Call::on(Some(resume_terms()));
    call.input(Input::Leased(tandem::pool::roster::Offer::default()))
        .client(BROKEN)
        .expect("CloseUpstream")
        .expect("Done(ClientLost)");
    talking().client(ClientInput::Closed { clean: true }).expect("Done(ClientLeft)");
    talking().client(ClientInput::Event(ClientEvent::End {})).expect("ended client_left");
}

#[test]
fn who_comes_back_gets_the_words_first_and_then_the_newest_audio() {
    let mut call = talking();
    call.answers = false;
    call.client(BROKEN);
    for n in 0..40 {
        word(&mut call, &format!(" w{n}"));
        call.up(UpstreamInput::Audio(frame()));
        call.now += FRAME;
    }
    come_back(&mut call).expect("resumed 1840");
    let sent: Vec<&String> = call.effects.iter().filter(|effect| !effect.contains("ttached")).collect();
    let words: Vec<String> = (0..40).map(|n| format!("transcript  w{n}")).collect();
    assert!(sent[0].starts_with("Dropped") || sent[0].starts_with("resumed"), "{sent:?}");
    let said: Vec<_> =
        sent.iter().filter(|effect| effect.starts_with("transcript")).map(|effect| (*effect).clone()).collect();
    assert_eq!(said, words, "no word is lost, and they are in order");
    let audio = sent.iter().filter(|effect| effect.starts_with("-> client")).count();
    assert_eq!(audio, 17, "1.5 s less the time since the last");
    let last_word = sent.iter().rposition(|effect| effect.starts_with("transcript")).unwrap();
    let first_audio = sent.iter().position(|effect| effect.starts_with("-> client")).unwrap();
    assert!(last_word < first_audio, "{sent:?}");
}

/// What the caller was told since the last look, without the audio.
fn told(call: &Call) -> Vec<&str> {
    let silent = ["->", "MarkClient", "Attached", "Second", "Pace", "FirstAudio"];
    call.effects.iter().map(String::as_str).filter(|line| !silent.iter().any(|other| line.starts_with(other))).collect()
}

#[test]
fn words_that_may_not_have_arrived_are_said_again() {
    let mut call = talking();
    call.client(ClientInput::Confirmed(0));
    for n in 0..8 {
        word(&mut call, &format!(" w{n}"));
        call.client(ClientInput::Audio(frame()));
        call.now += FRAME;
    }
    call.client(ClientInput::Confirmed(1));
    call.client(BROKEN);
    word(&mut call, " w8");
    come_back(&mut call);
    let again = [
        "resumed 0 from 240",
        "transcript  w3",
        "transcript  w4",
        "transcript  w5",
        "transcript  w6",
        "transcript  w7",
        "transcript  w8",
    ];
    assert_eq!(told(&call), again);
    come_back(&mut call);
    assert_eq!(told(&call), again, "nor did they arrive there");
    call.pass(8, FRAME, |call| {
        call.client(ClientInput::Audio(frame()));
    });
    call.expect("MarkClient(1)").client(ClientInput::Confirmed(1));
    come_back(&mut call);
    assert_eq!(told(&call), ["resumed 0"]);
}

#[test]
fn sound_that_is_old_by_now_is_not_played() {
    let mut call = talking();
    call.client(BROKEN);
    for _ in 0..10 {
        call.up(UpstreamInput::Audio(frame()));
    }
    call.advance(SECOND * 8);
    come_back(&mut call).expect("resumed").refuse("-> client audio");
}

#[test]
fn the_model_is_fed_until_the_sentence_ends_and_then_its_clock_stops() {
    let mut call = talking();
    word(&mut call, " Once");
    call.client(BROKEN);
    assert!(call.advance(SECOND).effects.iter().any(|effect| effect == "-> upstream audio"));
    word(&mut call, " upon");
    call.advance(SECOND + FRAME).expect("-> upstream audio");
    call.advance(SECOND);
    call.advance(SECOND * 10).refuse("-> upstream audio").refuse("Done");
    come_back(&mut call);
    call.stay(SECOND * 2).expect("-> upstream audio").expect("-> client audio");
}

#[test]
fn the_clock_stops_between_two_frames_of_the_model() {
    for packets in 1..=8 {
        let mut call = talking();
        // The assistant is silent for long enough: the clock may stop at once.
        talk(&mut call, 3);
        call.say(&vec![OpusPacket::silence_20ms(); packets]);
        call.client(BROKEN).advance(SECOND * 5 + FRAME);
        call.advance(SECOND * 5).refuse("-> upstream audio");
        assert!(!call.mid_frame, "{packets} packets of 20 ms: a part of a frame waits for the caller's words");
    }
}

#[test]
fn an_assistant_that_talks_on_is_stopped_after_five_seconds() {
    let mut call = talking();
    call.client(BROKEN);
    for second in 0..8 {
        word(&mut call, " and");
        call.advance(SECOND);
        let fed = call.effects.iter().any(|effect| effect == "-> upstream audio");
        assert_eq!(fed, second < 5, "second {second}");
    }
}

#[test]
fn while_the_clock_stands_still_nobody_is_late() {
    let mut call = talking();
    talk(&mut call, 10);
    call.answers = false;
    call.client(ClientInput::Audio(frame())).client(ClientInput::Audio(frame()));
    call.client(BROKEN);
    call.advance(SECOND * 19).refuse("CloseUpstream");
    call.answers = true;
    come_back(&mut call);
    // 80 s of silence are left before the warning: the absence does not count.
    call.stay(SECOND * 79).refuse("expiring").refuse("ended");
    call.stay(SECOND * 3).expect("expiring Idle").refuse("ended");
}

#[test]
fn the_time_that_a_caller_was_away_is_not_made_up_for() {
    let mut call = talking();
    talk(&mut call, 5);
    call.client(BROKEN).advance(SECOND * 15);
    come_back(&mut call).refuse("-> upstream audio");
    call.client(ClientInput::Audio(frame()));
    let fed = call.effects.iter().filter(|effect| *effect == "-> upstream audio").count();
    assert!((1..=2).contains(&fed), "its own packet, and the glue: {:?}", call.effects);
}

#[test]
fn a_server_whose_clock_stood_still_is_not_found_slow() {
    let mut call = talking();
    talk(&mut call, 20).expect("Pace { slow: false");
    call.client(BROKEN);
    call.advance(SECOND * 19).refuse("Pace");
    come_back(&mut call);
    talk(&mut call, 40).refuse("Pace { slow: true").refuse("degraded").expect("Pace { slow: false");
}

#[test]
fn a_second_socket_takes_the_call_over() {
    let mut call = talking();
    talk(&mut call, 3);
    come_back(&mut call).expect("Attached { taken_over: true }").expect("resumed 0").refuse("LetClientGo");
    talk(&mut call, 3).refuse("ended");
    let mut call = Call::on(Some(resume_terms()));
    call.input(Input::Leased(tandem::pool::roster::Offer::default()));
    come_back(&mut call).expect("resumed 0");
    call.up(UpstreamInput::Ready).expect("ready");
}

#[test]
fn who_comes_back_too_late_changes_nothing() {
    let mut call = talking();
    call.client(BROKEN).advance(SECOND * 20).expect("Done(ClientLost)");
    assert!(!call.machine.can_attach());
    come_back(&mut call).refuse("resumed");
    let mut call = talking();
    call.client(ClientInput::Event(ClientEvent::End {}));
    assert!(!call.machine.can_attach());
    come_back(&mut call).refuse("resumed");
}

#[test]
fn a_drain_waits_for_nobody_who_is_away_and_is_told_to_who_comes_back() {
    let mut call = talking();
    call.client(BROKEN);
    call.input(Input::Drain(call.now + SECOND * 10));
    call.advance(SECOND * 10).expect("CloseUpstream").expect("Done(Drained)");
    let mut call = talking();
    call.client(BROKEN);
    call.input(Input::Drain(call.now + SECOND * 10));
    call.advance(SECOND * 3);
    come_back(&mut call).expect("resumed").expect("expiring Drain");
    call.stay(SECOND * 7).expect("ended drained");
}

#[test]
fn more_words_than_can_wait_end_the_call() {
    let mut call = talking();
    call.client(BROKEN);
    let words = (0..1_000).take_while(|_| {
        word(&mut call, " and");
        !call.machine.is_closed()
    });
    assert_eq!(words.count(), 256);
    call.expect("Done(ClientLost)");
}

#[test]
fn a_server_that_is_lost_meanwhile_ends_the_call() {
    let mut call = talking();
    call.client(BROKEN);
    call.up(UpstreamInput::Ended(tandem::session::machine::UpstreamEnd::HungUp)).expect("Done(UpstreamLost)");
}
