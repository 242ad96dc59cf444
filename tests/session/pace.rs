//! Conversations in virtual time: what a listener feels when the caller's network or the model server misbehaves.

use std::time::Duration;

use super::{ClientInput, Input, Limits, alone, talk::*};

#[test]
fn a_muted_caller_hears_the_assistant_to_the_end() {
    let mut talk = Talk::with_step(40);
    talk.speak(0..2, 20_000, |_, spoken| Some(spoken));
    talk.speak(32..36, 20_000, |_, spoken| Some(spoken));
    talk.run(36);
    assert!(talk.heard.len() >= 36_000 / 80 - 3, "{} frames", talk.heard.len());
    assert!(talk.longest_pause() <= 240 * MS, "{:?}", talk.longest_pause());
    assert_eq!((talk.dropped, talk.synthetic >= 29 * SECOND), (0, true), "{:?}", talk.synthetic);
    talk.is_live(0);
    assert!(talk.feed_error <= 200 * MS, "{:?}", talk.feed_error);
}

#[test]
fn a_caller_who_loses_one_packet_in_five_is_answered_in_time() {
    let mut talk = Talk::with_step(40);
    // A generator of its own, so that losses come in no rhythm.
    talk.speak(0..60, 20_000, |n, spoken| (n.wrapping_mul(2_654_435_761) >> 7 & 0xff > 51).then_some(spoken));
    talk.run(60);
    talk.is_live(0);
    assert!(talk.feed_error <= 200 * MS, "{:?}", talk.feed_error);
    assert!(talk.dropped <= 20, "{} dropped", talk.dropped);
}

#[test]
fn what_a_stalled_caller_said_is_not_replayed() {
    let mut talk = Talk::with_step(40);
    let stall = 5 * SECOND..7 * SECOND;
    talk.speak(0..12, 20_000, |_, spoken| Some(if stall.contains(&spoken) { stall.end } else { spoken }));
    talk.run(12);
    assert!(talk.feed_error <= 200 * MS, "{:?}", talk.feed_error);
    assert!(talk.dropped >= 85, "of 100 packets of the stall {} were dropped", talk.dropped);
    talk.is_live(7_500);
}

#[test]
fn a_stalled_server_is_live_again_at_once() {
    let mut talk = Talk::with_step(40);
    talk.stalled = 5 * SECOND..7 * SECOND;
    talk.speak(0..12, 20_000, |_, spoken| Some(spoken));
    talk.run(5);
    assert!(talk.feed_error <= 200 * MS, "{:?}", talk.feed_error);
    talk.run(8);
    talk.watch_feed();
    talk.run(12);
    assert!(talk.feed_error <= 200 * MS, "{:?}", talk.feed_error);
    talk.is_live(7_500);
}

#[test]
fn a_stalled_server_with_a_muted_caller_is_live_again_at_once() {
    let mut talk = Talk::with_step(40);
    talk.stalled = 5 * SECOND..7 * SECOND;
    talk.speak(0..2, 20_000, |_, spoken| Some(spoken));
    talk.speak(9..12, 20_000, |_, spoken| Some(spoken));
    talk.run(12);
    talk.is_live(9_000);
    assert!(talk.longest_pause() <= 2_300 * MS, "{:?}", talk.longest_pause());
}

#[test]
fn what_a_stuck_socket_pushed_out_is_not_waited_for() {
    let limits = Limits { upstream_queue: FRAME, ..alone() };
    let mut talk = Talk::within(limits, None, 40);
    talk.stuck = 5 * SECOND..7 * SECOND;
    talk.speak(0..9, 20_000, |_, spoken| Some(spoken));
    talk.run(8);
    talk.watch_feed();
    // Muted from 9 s on: what was pushed out must not keep silence from being made.
    talk.run(14);
    assert!(talk.feed_error <= 200 * MS, "{:?}", talk.feed_error);
    talk.is_live(7_500);
}

#[test]
fn a_server_at_nine_tenths_of_real_time_never_falls_far_behind() {
    let mut talk = Talk::with_step(89);
    talk.speak(0..70, 20_000, |_, spoken| Some(spoken));
    talk.run(60);
    assert!(talk.worst_lag(0) <= 600 * MS, "{:?}", talk.worst_lag(0));
    assert!((200..400).contains(&talk.dropped), "a tenth of 3,000 packets, not {}", talk.dropped);
    assert!(talk.joins <= 60, "in few long cuts, not {}", talk.joins);
    assert_eq!(talk.synthetic, talk.joins * 20 * MS, "each with its glue");
    talk.step = 40 * MS;
    talk.run(61);
    talk.watch_feed();
    talk.run(70);
    assert!(talk.feed_error <= 200 * MS, "{:?}", talk.feed_error);
    talk.is_live(61_000);
}

#[test]
fn clocks_that_differ_by_500_ppm_add_up_to_nothing_in_an_hour() {
    // 20 ms by a clock that is 500 ppm fast, and by one that is as slow.
    for period_us in [19_990, 20_010] {
        let mut talk = Talk::with_step(40);
        talk.speak(0..3_600, period_us, |_, spoken| Some(spoken));
        talk.run(3_600);
        talk.is_live(0);
        assert!(talk.feed_error <= 200 * MS, "{period_us} us: {:?}", talk.feed_error);
    }
}

#[test]
fn a_burst_of_the_server_does_not_overflow_a_small_player() {
    for (lead, fits) in [(Some(160 * MS), true), (None, false)] {
        let mut talk = Talk::new(lead, 5);
        talk.stalled = 5 * SECOND..7 * SECOND;
        talk.speak(0..12, 20_000, |_, spoken| Some(spoken));
        talk.run(12);
        assert_eq!(talk.fullest_player <= PLAYER, fits, "{lead:?}: {:?}", talk.fullest_player);
        assert!(talk.frames.len() - talk.heard.len() <= 4, "{} of {}", talk.heard.len(), talk.frames.len());
        talk.is_live(7_500);
    }
}

#[test]
fn what_a_burst_left_waiting_is_given_up_in_the_next_silence() {
    let mut talk = Talk::new(Some(160 * MS), 5);
    talk.stalled = 5 * SECOND..7 * SECOND;
    talk.speak(0..16, 20_000, |_, spoken| Some(spoken));
    talk.words_end = 8 * SECOND;
    talk.run(9);
    let (late, lost) = (talk.worst_lag(8_000), talk.lost_frames);
    talk.run(16);
    assert!(late > 300 * MS && lost == 0, "nothing is lost while the assistant may speak: {late:?}, {lost} frames");
    assert!(talk.worst_lag(12_000) <= 200 * MS, "{:?}", talk.worst_lag(12_000));
    assert!((1..=5).contains(&talk.lost_frames), "{} frames", talk.lost_frames);
}

#[test]
fn words_do_not_wait_behind_smoothed_audio() {
    let mut talk = Talk::new(Some(160 * MS), 5);
    talk.stalled = 5 * SECOND..7 * SECOND;
    talk.speak(0..12, 20_000, |_, spoken| Some(spoken));
    talk.run(12);
    assert_eq!((talk.words, talk.latest_word), (talk.frames.len(), Duration::ZERO));
}

#[test]
fn a_goodbye_does_not_wait_behind_smoothed_audio() {
    let mut talk = Talk::new(Some(160 * MS), 5);
    talk.stalled = 5 * SECOND..7 * SECOND;
    talk.speak(0..8, 20_000, |_, spoken| Some(spoken));
    talk.until(7_040 * MS);
    let (made, heard) = (talk.frames.len(), talk.heard.len());
    assert!(heard < made, "nothing was held back");
    talk.give(Input::Client(ClientInput::Event(tandem::protocol::native::ClientEvent::End {})));
    assert_eq!((talk.heard.len(), talk.goodbye), (made, true));
}
