//! Who speaks when, as scripts: a line for each side, a tenth of a second a letter.
//!
//! `#` speaks, `.` is silent, a space is absent.

use std::time::Duration;

use proptest::prelude::*;
use tandem::audio::activity::{Span, State};
use tandem::audio::turns::{Happening, Speaker, Tally, Turns};

const TENTH: Duration = Duration::from_millis(100);

/// What comes of two lines, but for beginnings and ends.
fn conversation(caller: &str, assistant: &str) -> Vec<String> {
    let mut turns = played(caller, assistant, TENTH);
    std::iter::from_fn(|| turns.next_happening()).filter_map(told).collect()
}

fn tally(caller: &str, assistant: &str) -> Tally {
    played(caller, assistant, TENTH).tally().clone()
}

/// A call in which the sides are heard one after the other: what is told must not depend on that.
fn played(caller: &str, assistant: &str, letter: Duration) -> Turns {
    let mut turns = Turns::new();
    for (speaker, line) in [(Speaker::Caller, caller), (Speaker::Assistant, assistant)] {
        for (at, state) in line.chars().map(state).enumerate() {
            turns.note(speaker, Span { state, until: letter * (at as u32 + 1) });
        }
    }
    turns
}

fn state(letter: char) -> State {
    match letter {
        '#' => State::Speaking,
        '.' => State::Silent,
        _ => State::Absent,
    }
}

fn told(happening: Happening) -> Option<String> {
    let ms = |time: Duration| time.as_millis();
    Some(match happening {
        Happening::Started { .. } | Happening::Ended { .. } => return None,
        Happening::Answered { at, latency } => format!("answered at {} after {}", ms(at), ms(latency)),
        Happening::Missed { at } => format!("missed at {}", ms(at)),
        Happening::Interrupted { at, stopped_after: Some(after) } => {
            format!("interrupted at {}, stopped after {}", ms(at), ms(after))
        }
        Happening::Interrupted { at, stopped_after: None } => format!("interrupted at {} in vain", ms(at)),
        Happening::Backchannel { at, duration } => format!("backchannel at {} of {}", ms(at), ms(duration)),
    })
}

/// One script: its two lines, and what comes of it.
type Script<'a> = (&'a str, &'a str, &'a str, &'a [&'a str]);

#[test]
fn answers_are_measured_from_the_last_sound_to_the_first() {
    let scripts: [Script<'_>; 7] = [
        ("an answer", "####................", ".......#############", &["answered at 700 after 300"]),
        ("an answer with a pause", "####................", ".......####...######", &["answered at 700 after 300"]),
        (
            "two words, and the caller goes on",
            "###............###............",
            "....######.........##########.",
            &["backchannel at 400 of 600", "answered at 1900 after 100"],
        ),
        ("an answer before the end", "######..............", "....################", &["answered at 400 after 0"]),
        (
            "a caller who pauses",
            "####..####..............",
            "............############",
            &["answered at 1200 after 200"],
        ),
        (
            "a caller who has let go of the button",
            "####                ",
            "......##############",
            &["answered at 600 after 200"],
        ),
        ("an assistant that begins by itself", "....................", "...#################", &[]),
    ];
    for (what, caller, assistant, happenings) in scripts {
        assert_eq!(conversation(caller, assistant), happenings, "{what}");
    }
}

#[test]
fn a_question_is_missed_once_it_is_too_late_or_another_one_comes() {
    let silence = ".".repeat(110);
    let (caller, nobody) = (format!("###{silence}"), format!("...{silence}"));
    assert_eq!(conversation(&caller, &nobody), ["missed at 300"]);
    assert_eq!(conversation(&caller[..100], &nobody[..100]), [""; 0], "there is still time");
    // Two seconds between them are not less than two seconds.
    let (first, second) = ("###....................###......", "................................");
    assert_eq!(conversation(first, second), ["missed at 300"]);
    let within_two_seconds = "###..................###......";
    assert_eq!(conversation(within_two_seconds, second), [""; 0], "a pause is no end");
}

#[test]
fn short_words_of_the_assistant_are_backchannels_while_the_caller_goes_on() {
    let scripts: [Script<'_>; 4] = [
        ("meanwhile", "################", "....###.........", &["backchannel at 400 of 300"]),
        ("in a pause", "####......######", ".....###........", &["backchannel at 500 of 300"]),
        ("over its end", "####..##########", ".....####.......", &["backchannel at 500 of 400"]),
        ("a short answer is none", "####................", ".....###............", &[]),
    ];
    for (what, caller, assistant, happenings) in scripts {
        assert_eq!(conversation(caller, assistant), happenings, "{what}");
    }
}

#[test]
fn more_than_three_words_are_an_answer_however_short() {
    for (words, answered) in [(3, false), (4, true)] {
        let mut turns = Turns::new();
        turns.note(Speaker::Caller, Span { state: State::Speaking, until: TENTH * 4 });
        turns.note(Speaker::Caller, Span { state: State::Silent, until: TENTH * 40 });
        // The words come ahead of their sound.
        turns.words(words, TENTH * 5);
        for (state, until) in [(State::Silent, 6), (State::Speaking, 12), (State::Silent, 40)] {
            turns.note(Speaker::Assistant, Span { state, until: TENTH * until });
        }
        assert_eq!(turns.tally().responses.count(), u64::from(answered), "{words} words");
    }
}

#[test]
fn interruptions_count_with_the_time_until_the_assistant_stops() {
    let scripts: [Script<'_>; 7] = [
        ("it stops", "..........######....", "##############......", &["interrupted at 1000, stopped after 400"]),
        (
            "it stops late",
            "..........######....................",
            "########################............",
            &["interrupted at 1000, stopped after 1400"],
        ),
        (
            "it does not stop",
            "..........######....................................",
            &"#".repeat(52),
            &["interrupted at 1000 in vain"],
        ),
        ("a word that it ignores", "..........###.......", "####################", &[]),
        (
            "a word that stops it",
            "..........####......",
            "#############.......",
            &["interrupted at 1000, stopped after 300"],
        ),
        ("it is lost", "..........######....", "############        ", &[]),
        ("the caller was not done", "####..########......", ".....############...", &["answered at 500 after 0"]),
    ];
    for (what, caller, assistant, happenings) in scripts {
        assert_eq!(conversation(caller, assistant), happenings, "{what}");
    }
}

#[test]
fn what_interrupts_wants_an_answer_of_its_own() {
    let (caller, assistant) = ("###............######..............", ".....#############......###########");
    let expected =
        ["answered at 500 after 200", "interrupted at 1500, stopped after 300", "answered at 2400 after 300"];
    assert_eq!(conversation(caller, assistant), expected);
}

#[test]
fn muting_makes_no_turn_and_is_in_no_sum_but_the_speaker_s() {
    let (caller, assistant) = ("....####    ....    ", "........############");
    let tally = tally(caller, assistant);
    assert_eq!((tally.caller_turns, tally.assistant_turns), (1, 0), "one is over, one is not");
    assert_eq!((tally.present, tally.silence, tally.overlap), (12 * TENTH, 4 * TENTH, Duration::ZERO));
    assert_eq!((tally.caller_speech, tally.assistant_speech), (4 * TENTH, 12 * TENTH));
    assert_eq!(self::tally(&" ".repeat(300), &".".repeat(300)), Tally::default());
}

#[test]
fn a_call_that_ends_ends_what_is_being_said() {
    let mut turns = played("######", "....##", TENTH);
    turns.finish();
    assert_eq!((turns.tally().caller_turns, turns.tally().assistant_turns), (1, 1));
}

/// The same definitions, one cell of 10 ms after the other.
#[derive(Default)]
struct Reference {
    told: Vec<String>,
    present: u64,
    overlap: u64,
    silence: u64,
    /// When what the caller says ended; `Some(None)` while it speaks.
    said: Option<Option<u64>>,
    /// When what the assistant says began, when it paused, and whether it has taken over.
    reply: Option<(u64, Option<u64>, bool)>,
    /// When the caller cut in, and whether that counts.
    cut: Option<(u64, bool)>,
}

impl Reference {
    fn of(caller: &[State], assistant: &[State]) -> Reference {
        let mut reference = Reference::default();
        let speaks = |side: &[State], at: usize| side[at] == State::Speaking;
        let before = |side: &[State], at: usize| at > 0 && side[at - 1] == State::Speaking;
        for at in 0..caller.len() {
            let now = at as u64;
            reference.wait(now, before(caller, at), before(assistant, at));
            if before(caller, at) && !speaks(caller, at) {
                reference.caller_ends(now);
            }
            if before(assistant, at) && !speaks(assistant, at) {
                // Its end is noticed after the caller's, if both end together.
                let caller_goes_on = before(caller, at) && speaks(caller, at);
                reference.assistant_ends(now, assistant[at] == State::Absent, caller_goes_on);
            }
            if !before(caller, at) && speaks(caller, at) {
                reference.caller_starts(now, before(assistant, at) && speaks(assistant, at));
            }
            if !before(assistant, at) && speaks(assistant, at) {
                reference.assistant_starts(now);
            }
            match (caller[at], assistant[at]) {
                (State::Absent, _) | (_, State::Absent) => {}
                (caller, assistant) => {
                    reference.present += 1;
                    reference.overlap += u64::from(caller == State::Speaking && assistant == State::Speaking);
                    reference.silence += u64::from(caller == State::Silent && assistant == State::Silent);
                }
            }
        }
        let (last, now) = (caller.len() - 1, caller.len() as u64);
        reference.wait(now, speaks(caller, last), speaks(assistant, last));
        reference
    }

    fn wait(&mut self, now: u64, _caller_speaks: bool, assistant_speaks: bool) {
        match self.cut {
            Some((at, false)) if now == at + 50 => self.count_cut(),
            Some((at, true)) if now == at + 300 => {
                self.cut = None;
                self.told.push(format!("interrupted at {} in vain", at * 10));
            }
            _ => {}
        }
        if let Some((started, None, taken @ false)) = &mut self.reply
            && now >= *started + 100
        {
            *taken = true;
            self.answer();
        }
        if let Some(Some(ended)) = self.said
            && now >= ended + 1_000
            && !assistant_speaks
        {
            self.miss();
        }
    }

    fn count_cut(&mut self) {
        self.cut = self.cut.map(|(at, _)| (at, true));
        self.miss();
        (self.said, self.reply) = (Some(None), None);
    }

    fn answer(&mut self) {
        if let (Some((started, _, _)), Some(Some(ended))) = (self.reply, self.said) {
            self.said = None;
            self.told.push(format!("answered at {} after {}", started * 10, started.saturating_sub(ended) * 10));
        }
    }

    fn miss(&mut self) {
        if let Some(Some(ended)) = self.said.take() {
            self.told.push(format!("missed at {}", ended * 10));
        }
    }

    fn backchannel(&mut self) {
        if let Some((started, Some(ended), false)) = self.reply.take() {
            self.told.push(format!("backchannel at {} of {}", started * 10, (ended - started) * 10));
        }
    }

    fn caller_starts(&mut self, now: u64, assistant_speaks: bool) {
        let goes_on = matches!(self.said, Some(Some(ended)) if now - ended < 200);
        let undecided = matches!(self.reply, Some((_, _, false)));
        if assistant_speaks && !(goes_on && undecided) {
            let (_, counted) = *self.cut.get_or_insert((now, false));
            if counted {
                self.said = Some(None);
            }
            return;
        }
        if !goes_on {
            self.miss();
            self.reply = None;
        }
        self.said = Some(None);
        if goes_on && !assistant_speaks {
            self.backchannel();
        }
    }

    fn caller_ends(&mut self, now: u64) {
        if matches!(self.cut, Some((_, false))) {
            self.cut = None;
            return;
        }
        if self.said.is_some() {
            self.said = Some(Some(now));
        }
        if matches!(self.reply, Some((_, _, true))) {
            self.answer();
        }
    }

    fn assistant_starts(&mut self, now: u64) {
        match &mut self.reply {
            Some((_, paused @ Some(_), false)) if paused.is_some_and(|at| now - at < 100) => *paused = None,
            reply => *reply = Some((now, None, false)),
        }
    }

    fn assistant_ends(&mut self, now: u64, lost: bool, caller_speaks: bool) {
        if let Some((at, counted)) = self.cut {
            if !lost {
                if !counted {
                    self.count_cut();
                }
                self.told.push(format!("interrupted at {}, stopped after {}", at * 10, (now - at) * 10));
            }
            self.cut = None;
        }
        if let Some((_, paused, taken)) = &mut self.reply {
            *paused = Some(now);
            if *taken {
                self.reply = None;
            } else if caller_speaks {
                self.backchannel();
            }
        }
    }
}

fn side() -> impl Strategy<Value = Vec<State>> {
    let state = prop_oneof![4 => Just(State::Speaking), 4 => Just(State::Silent), 1 => Just(State::Absent)];
    prop::collection::vec((state, prop_oneof![1..60_usize, 1..400_usize]), 1..24)
        .prop_map(|runs| runs.into_iter().flat_map(|(state, cells)| std::iter::repeat_n(state, cells)).collect())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 1_000, ..ProptestConfig::default() })]
    /// Spans of any length, told in any order of the sides, make what cells of 10 ms make.
    #[test]
    fn any_conversation_is_what_its_cells_say(caller in side(), assistant in side(), strides in prop::collection::vec((1..300_usize, 1..300_usize), 1..20)) {
        let cells = caller.len().min(assistant.len());
        let (caller, assistant) = (&caller[..cells], &assistant[..cells]);
        let mut turns = Turns::new();
        let mut told = [0, 0];
        let mut strides = strides.iter().cycle();
        while told != [cells; 2] {
            let Some(&(left, right)) = strides.next() else { break };
            for (side, stride) in [(0, left), (1, right)] {
                let (speaker, line) = [(Speaker::Caller, caller), (Speaker::Assistant, assistant)][side];
                let until = (told[side] + stride).min(cells);
                for at in told[side]..until {
                    let ends = at + 1 == until || line[at + 1] != line[at];
                    if ends {
                        turns.note(speaker, Span { state: line[at], until: Duration::from_millis(10) * (at as u32 + 1) });
                    }
                }
                told[side] = until;
            }
        }
        let happened: Vec<String> = std::iter::from_fn(|| turns.next_happening()).filter_map(super::turns::told).collect();
        let reference = Reference::of(caller, assistant);
        prop_assert_eq!(happened, reference.told);
        let cells_of = |time: Duration| time.as_millis() as u64 / 10;
        let tally = turns.tally();
        prop_assert_eq!((cells_of(tally.present), cells_of(tally.overlap), cells_of(tally.silence)), (reference.present, reference.overlap, reference.silence));
        let speech = |line: &[State]| line.iter().filter(|state| **state == State::Speaking).count() as u64;
        prop_assert_eq!((cells_of(tally.caller_speech), cells_of(tally.assistant_speech)), (speech(caller), speech(assistant)));
    }
}
