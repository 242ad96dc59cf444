//! One happening after the other, and what is decided.

use super::*;

#[test]
fn a_call_from_the_first_word_to_the_last() {
    let mut call = Call::new();
    call.input(Input::Leased(Offer::default())).expect("OpenUpstream(1").expect("connecting");
    call.up(UpstreamInput::Opened).up(UpstreamInput::Ready).expect("ready");
    call.client(ClientInput::Audio(frame())).expect("-> upstream audio");
    call.up(UpstreamInput::Text(TextPiece::new(" Hi"))).expect("transcript  Hi");
    call.up(UpstreamInput::Audio(frame())).expect("FirstAudio").expect("-> client audio");
    call.client(ClientInput::Event(ClientEvent::End {}));
    call.expect("CloseUpstream").expect("ended client_left").expect("CloseClient(ClientLeft)");
    call.client(ClientInput::Closed { clean: true }).expect("Done(ClientLeft)");
    assert!(call.machine.is_closed() && call.machine.deadline().is_none());
}

#[test]
fn audio_before_the_handshake_is_dropped_and_never_replayed() {
    let mut call = Call::new();
    call.input(Input::Leased(Offer::default()));
    for _ in 0..100 {
        call.client(ClientInput::Audio(frame())).expect("Dropped(Up, PreHandshake");
    }
    call.up(UpstreamInput::Opened).up(UpstreamInput::Ready);
    call.refuse("-> upstream audio");
    call.client(ClientInput::Audio(frame())).expect("-> upstream audio");
}

#[test]
fn a_server_that_is_not_there_is_replaced_once() {
    let mut call = Call::new();
    call.input(Input::Leased(Offer::default()));
    call.up(UpstreamInput::Ended(UpstreamEnd::ConnectFailed)).expect("Acquire { class: New, elsewhere: true");
    call.input(Input::Leased(Offer::default())).expect("OpenUpstream(2");
    call.up(UpstreamInput::Ended(UpstreamEnd::ConnectFailed)).expect("ended upstream_lost").refuse("Acquire");
}

#[test]
fn two_servers_that_hang_up_on_a_prompt_reject_it() {
    let mut call = Call::new();
    for _ in 0..2 {
        call.input(Input::Leased(Offer::default()))
            .up(UpstreamInput::Opened)
            .up(UpstreamInput::Ended(UpstreamEnd::HungUp));
    }
    call.expect("ended prompt_rejected");
}

#[test]
fn a_request_that_is_refused_counts_like_a_hang_up_and_no_third_server_suffers_from_it() {
    let mut call = Call::new();
    for suspected in ["Judge(1, Suspect)", "Judge(2, Suspect)"] {
        call.input(Input::Leased(Offer::default()))
            .up(UpstreamInput::Ended(UpstreamEnd::RequestRefused))
            .expect(suspected);
    }
    call.expect("ended prompt_rejected");
    let mut call = Call::new();
    call.input(Input::Leased(Offer::default())).up(UpstreamInput::Ended(UpstreamEnd::RequestRefused));
    call.input(Input::Leased(Offer::default()))
        .up(UpstreamInput::Opened)
        .up(UpstreamInput::Ready)
        .expect("Judge(2, Guilty)");
}

#[test]
fn who_is_to_blame_depends_on_how_far_it_came() {
    let mut call = Call::new();
    call.input(Input::Leased(Offer::default()))
        .up(UpstreamInput::Opened)
        .stay(Duration::from_secs(20))
        .expect("Judge(1, Late)");
    // Left by its caller, a server is not judged.
    let mut call = Call::new();
    call.input(Input::Leased(Offer::default())).up(UpstreamInput::Opened).client(ClientInput::Closed { clean: true });
    call.expect("CloseUpstream").refuse("Judge(");
    call = Call::talking();
    call.client(ClientInput::Closed { clean: true }).expect("CloseUpstream").refuse("Judge(");
}

#[test]
fn only_a_lost_server_is_judged_whatever_else_ends_a_call() {
    for ending in Ending::ALL.iter().filter(|ending| **ending != Ending::UpstreamLost) {
        let mut call = Call::talking();
        call.input(Input::End(*ending)).expect("CloseUpstream").refuse("Judge(");
        let mut call = Call::new();
        call.input(Input::Leased(Offer::default()))
            .up(UpstreamInput::Opened)
            .input(Input::End(*ending))
            .refuse("Judge(");
    }
    Call::talking().input(Input::End(Ending::UpstreamLost)).expect("Judge(1, Failed)");
}

#[test]
fn a_call_that_cannot_be_written_down_ends_as_one_without_a_slot() {
    let mut call = Call::new();
    call.input(Input::NoSlot(NoSlot::NoLedger)).expect("ended no_capacity");
}

#[test]
fn one_server_alone_that_hangs_up_is_lost() {
    let mut call = Call::new();
    call.input(Input::Leased(Offer::default())).up(UpstreamInput::Opened).up(UpstreamInput::Ended(UpstreamEnd::HungUp));
    call.expect("Acquire { class: New, elsewhere: true")
        .input(Input::NoSlot(NoSlot::Busy))
        .expect("ended upstream_lost");
}

#[test]
fn a_server_that_never_gets_ready_is_left_and_its_late_words_are_ignored() {
    let mut call = Call::new();
    call.input(Input::Leased(Offer::default())).up(UpstreamInput::Opened);
    call.stay(Duration::from_secs(20)).expect("CloseUpstream").expect("Acquire { class: New, elsewhere: true");
    call.input(Input::Upstream(1, UpstreamInput::Ready)).refuse("ready");
    call.input(Input::Leased(Offer::default())).expect("OpenUpstream(2");
    call.input(Input::Upstream(1, UpstreamInput::Ready)).refuse("ready");
    call.up(UpstreamInput::Ready).expect("ready");
}

#[test]
fn two_servers_that_never_get_ready_are_a_handshake_timeout() {
    let mut call = Call::new();
    for _ in 0..2 {
        call.input(Input::Leased(Offer::default())).up(UpstreamInput::Opened).stay(Duration::from_secs(20));
    }
    call.expect("ended handshake_timeout");
}

#[test]
fn a_server_that_is_lost_in_mid_call_ends_it_truly() {
    for end in UpstreamEnd::ALL {
        let mut call = Call::talking();
        call.up(UpstreamInput::Ended(end)).expect("ended upstream_lost").refuse("CloseUpstream");
    }
}

#[test]
fn the_longest_call_is_warned_of_and_cut() {
    let never = Duration::from_secs(3_600);
    let mut call = Call::under(Limits { idle_timeout: never, ..alone() }, false);
    call.stay(Duration::from_secs(30 * 60 - 31)).refuse("expiring");
    call.stay(Duration::from_secs(2)).expect("expiring MaxDuration").refuse("ended");
    call.stay(Duration::from_secs(31)).expect("ended max_duration");
}

#[test]
fn what_is_left_of_a_quota_runs_while_the_model_listens_and_its_end_is_told_in_time() {
    let minute = Duration::from_secs(60);
    let limits = Limits { idle_timeout: minute * 60, ..alone() };
    let mut call = Call::allowed(Some(minute * 5), limits.clone(), false, None);
    call.stay(minute * 2);
    call = call.answered();
    call.stay(minute * 4 + minute / 2 - Duration::from_secs(1)).refuse("expiring");
    call.stay(Duration::from_secs(1)).expect("expiring Quota 30000");
    call.stay(minute / 2 - Duration::from_secs(1)).refuse("expiring").refuse("ended");
    call.stay(Duration::from_secs(1)).expect("ended quota_spent").expect("CloseUpstream");
    // What another call gave back is booked when half a minute is left, and it goes on.
    let mut call = Call::allowed(Some(minute), limits.clone(), false, None);
    call.more = minute;
    call = call.answered();
    call.stay(minute).expect("BookMore").refuse("expiring").refuse("ended");
    call.stay(minute).expect("expiring Quota 30000").expect("ended quota_spent");
    // However little the caller is warned of its limits.
    let quiet = Limits { warning: Duration::ZERO, ..limits.clone() };
    let mut call = Call::allowed(Some(minute), quiet, false, None);
    call.more = minute;
    call = call.answered();
    call.stay(minute * 2 - Duration::from_secs(1)).refuse("ended");
    call.stay(Duration::from_secs(2)).expect("ended quota_spent");
    // What comes back in the last half minute is booked still.
    let mut call = Call::allowed(Some(minute), limits.clone(), false, None).answered();
    call.stay(minute * 3 / 4).expect("expiring Quota 30000");
    call.more = minute;
    call.stay(minute).refuse("ended").expect("expiring Quota");
    let mut short = Call::allowed(Some(Duration::from_secs(8)), limits.clone(), false, None).answered();
    short.stay(Duration::from_secs(4)).expect("expiring Quota 4000");
    let mut unlimited = Call::allowed(None, limits, false, None).answered();
    unlimited.stay(minute * 30).refuse("expiring Quota").expect("ended max_duration");
}

#[test]
fn a_caller_who_gives_no_sign_of_life_is_lost_after_fifteen_seconds() {
    let mut call = Call::talking();
    call.advance(Duration::from_secs(5)).expect("ping").advance(Duration::from_millis(9_999)).refuse("ended");
    call.advance(Duration::from_millis(1)).expect("ended client_lost").expect("CloseUpstream");
    call.advance(Duration::from_secs(2)).expect("Done(ClientLost)");
}

#[test]
fn a_caller_who_reads_nothing_is_too_slow() {
    let mut call = Call::talking();
    call.hold_client = true;
    let listen = |call: &mut Call| {
        call.client(ClientInput::Alive);
    };
    call.pass(120, FRAME, listen).refuse("CloseUpstream").expect("Dropped(Down, Backlog");
    call.pass(15, FRAME, listen).expect("CloseUpstream");
    call.advance(Duration::from_secs(2)).expect("Done(TooSlow)");
}

#[test]
fn a_queue_full_of_words_is_whose_who_filled_it() {
    // The server says so many pieces a second, and the caller reads one.
    for (pieces, done) in [(13, "Done(TooSlow)"), (25, "Done(TooSlow)"), (100, "Done(UpstreamLost)")] {
        let mut call = Call::talking();
        call.hold_client = true;
        call.pass(30, Duration::from_secs(1), |call| {
            let mut seen = Vec::new();
            for _ in 0..pieces {
                call.up(UpstreamInput::Text(TextPiece::new(" and")));
                seen.append(&mut call.effects);
            }
            call.client(ClientInput::Writable);
            seen.append(&mut call.effects);
            call.client(ClientInput::Alive);
            call.effects.splice(0..0, seen);
        });
        call.expect(done);
    }
}

#[test]
fn a_server_that_owes_sound_and_gives_none_is_given_up() {
    let mut call = Call::talking();
    call.answers = false;
    let speak = |call: &mut Call| {
        call.client(ClientInput::Audio(frame()));
    };
    call.pass(124, FRAME, speak).refuse("ended");
    call.pass(3, FRAME, speak).expect("ended upstream_lost").expect("CloseUpstream");
}

#[test]
fn a_muted_caller_s_server_that_gives_no_sound_is_given_up_too() {
    let mut call = Call::talking();
    call.stay(Duration::from_secs(20)).expect("-> client audio").refuse("ended");
    call.answers = false;
    call.stay(Duration::from_secs(9)).refuse("ended");
    call.stay(Duration::from_secs(2)).expect("ended upstream_lost").expect("CloseUpstream");
}

#[test]
fn nothing_is_fed_to_a_server_after_the_end() {
    let mut call = Call::talking();
    call.hold_client = true;
    call.stay(Duration::from_secs(3)).expect("-> upstream audio");
    call.client(ClientInput::Event(ClientEvent::End {})).expect("CloseUpstream");
    call.client(ClientInput::Audio(frame())).refuse("-> upstream audio");
    call.advance(Duration::from_secs(1)).refuse("-> upstream audio").refuse("Done");
}

#[test]
fn a_server_that_takes_nothing_gets_the_newest_audio_and_is_given_up() {
    let mut call = Call::talking();
    (call.answers, call.hold_upstream) = (false, true);
    for _ in 0..10 {
        call.client(ClientInput::Audio(frame()));
    }
    call.expect("Dropped(Up, Backlog");
    call.stay(Duration::from_secs(10)).expect("ended upstream_lost");
}

#[test]
fn a_drain_tells_the_caller_and_ends_at_its_deadline() {
    let mut call = Call::talking();
    call.input(Input::Drain(call.now + Duration::from_secs(8))).expect("expiring Drain 8000");
    call.stay(Duration::from_secs(7)).refuse("ended");
    call.stay(Duration::from_secs(1)).expect("ended drained");
}

#[test]
fn what_is_not_understood_is_told_and_too_much_of_it_ends_the_call() {
    let complaint = || Complaint { code: "not_understood", message: "m".into() };
    let mut call = Call::talking();
    for _ in 0..9 {
        call.client(ClientInput::Complaint(complaint())).expect("error not_understood").refuse("ended");
    }
    call.client(ClientInput::Complaint(complaint())).expect("error not_understood").expect("ended bad_input");
    let mut call = Call::talking();
    call.client(ClientInput::Bad(complaint())).expect("error not_understood").expect("ended bad_input");
}

#[test]
fn the_first_reason_is_the_ending_and_is_told_once() {
    let mut call = Call::talking();
    call.input(Input::End(Ending::Admin)).expect("ended admin");
    call.input(Input::End(Ending::Internal)).up(UpstreamInput::Ended(UpstreamEnd::Closed)).refuse("ended");
    call.client(ClientInput::Closed { clean: false }).expect("Done(Admin)");
}

#[test]
fn a_lease_that_comes_after_the_end_opens_nothing() {
    let mut call = Call::new();
    call.client(ClientInput::Closed { clean: false }).expect("Done(ClientLost)");
    call.input(Input::Leased(Offer::default())).refuse("OpenUpstream");
}
