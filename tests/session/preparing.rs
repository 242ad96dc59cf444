//! A call whose persona knows its caller waits for what is known, and not for long.

use std::time::Duration;

use tandem::{
    pool::roster::{NoSlot, Offer},
    protocol::ending::Ending,
    session::machine::{ClientInput, ContextNeed, HandshakeTerms, Input, Limits, UpstreamInput},
};

use super::{Call, alone, frame, short_prompts};

fn begun(context: ContextNeed) -> Call {
    Call::begun(context, None, alone(), false, None)
}

fn terms(steps: u32) -> HandshakeTerms {
    HandshakeTerms { base: Duration::from_secs(1), step: Duration::from_millis(10), steps, ..short_prompts() }
}

#[test]
fn the_context_comes_before_the_slot_and_its_prompt_counts_for_the_handshake() {
    for steps in [100, 1_000] {
        let mut call = begun(ContextNeed::Wanted);
        call.expect("created").expect("LoadContext").refuse("Acquire");
        assert_eq!(call.machine.phase_name(), "preparing");
        call.client(ClientInput::Audio(frame())).expect("Dropped(Up, PreHandshake");
        call.input(Input::Prepared(terms(steps))).expect("Acquire { class: New, elsewhere: false");
        call.input(Input::Leased(Offer::default())).expect("OpenUpstream(1, Persona");
        let limit = Duration::from_secs(1) + Duration::from_millis(10) * steps;
        call.advance(limit - Duration::from_millis(1)).refuse("CloseUpstream");
        call.advance(Duration::from_millis(1)).expect("CloseUpstream(1");
    }
}

#[test]
fn a_persona_that_only_wants_the_context_goes_on_alone_when_there_is_none_or_it_is_late() {
    let mut none = begun(ContextNeed::Wanted);
    none.input(Input::Unprepared).expect("warning context_unavailable").expect("Acquire");
    let mut late = begun(ContextNeed::Wanted);
    assert_eq!(late.machine.deadline(), Some(late.now + Limits::default().context_timeout));
    late.advance(Limits::default().context_timeout - Duration::from_millis(1)).refuse("Acquire");
    late.advance(Duration::from_millis(1)).expect("warning context_unavailable").expect("Acquire");
    late.input(Input::Prepared(terms(100_000))).refuse("Acquire");
    late.input(Input::Leased(Offer::default())).expect("OpenUpstream(1, Persona");
    late.up(UpstreamInput::Opened).up(UpstreamInput::Ready).expect("ready");
}

#[test]
fn a_persona_whose_context_no_server_may_be_told_goes_on_alone_at_once_and_says_so() {
    let mut call = begun(ContextNeed::Withheld);
    call.expect("created").expect("warning context_not_allowed").expect("Acquire").refuse("LoadContext");
    call.input(Input::Prepared(terms(9))).refuse("Acquire");
}

#[test]
fn a_persona_that_needs_the_context_makes_no_call_without_it() {
    let mut none = begun(ContextNeed::Required);
    none.input(Input::Unprepared).expect("ended context_unavailable").expect("Withdraw").refuse("Acquire");
    let mut late = begun(ContextNeed::Required);
    late.advance(Limits::default().context_timeout).expect("ended context_unavailable").refuse("Acquire");
    late.client(ClientInput::Closed { clean: true }).expect("Done(ContextUnavailable)");
}

#[test]
fn a_call_that_ends_while_it_prepares_gives_its_place_up_and_hears_no_more_of_it() {
    for end in [Input::Client(ClientInput::Closed { clean: true }), Input::End(Ending::Drained)] {
        let mut call = begun(ContextNeed::Wanted);
        call.input(end).expect("Withdraw");
        call.input(Input::Prepared(terms(9))).refuse("Acquire");
        call.input(Input::NoSlot(NoSlot::Busy)).refuse("Acquire");
    }
}

#[test]
fn what_comes_twice_or_too_late_changes_nothing() {
    let mut call = begun(ContextNeed::Wanted);
    call.input(Input::Prepared(terms(100))).expect("Acquire");
    call.input(Input::Prepared(terms(1))).refuse("Acquire");
    call.input(Input::Unprepared).refuse("ended").refuse("Acquire");
}

#[test]
fn the_phases_before_the_model_listens_are_told_with_their_times() {
    let ms = Duration::from_millis;
    let mut call = begun(ContextNeed::Wanted);
    call.advance(ms(300)).input(Input::Prepared(terms(9))).expect("PhaseOver(\"preparing\", 300ms)");
    call.advance(ms(2_000)).input(Input::Leased(Offer::default())).expect("PhaseOver(\"leasing\", 2s)");
    call.advance(ms(20)).up(UpstreamInput::Opened).expect("Opened(20ms)").refuse("PhaseOver(\"handshaking\"");
    call.advance(ms(80)).up(UpstreamInput::Ready).expect("PhaseOver(\"handshaking\", 100ms)");
    call.advance(ms(500)).client(ClientInput::Closed { clean: true }).refuse("PhaseOver(\"streaming\"");
}
