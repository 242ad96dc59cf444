//! Who speaks when, through the whole path: what Tandem measures, held against what the simulator knows it did.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tandem::sim::{
    caller::{self, Audio, Behaviour, CallEvent, CallReport, HangUp, Wire},
    upstream::{self, Answer, CallLog, Manners},
    voice::MadeVoice,
};
use tokio::sync::mpsc;

use crate::house::House;

const PCM: Wire = Wire::Native(Audio::Pcm16 { rate_hz: 24_000 });
/// What a measure may be off on a machine that never stands still.
const TOLERANCE: Duration = Duration::from_millis(40);

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn listener(manners: Manners) -> upstream::Settings {
    let answer = Answer::Converse(manners);
    upstream::Settings { step: ms(20), voice_steps: 1, poll: Duration::ZERO, answer, ..upstream::Settings::default() }
}

/// A caller's part: it speaks, and pauses, and so on, in milliseconds.
fn part(stretches: &[u64]) -> Vec<f32> {
    let mut sound = Vec::new();
    for (at, length) in stretches.iter().enumerate() {
        let samples = *length as usize * 24;
        sound.extend(if at % 2 == 0 { MadeVoice::new().say(samples) } else { vec![0.0; samples] });
    }
    sound
}

struct Talk {
    report: CallReport,
    answers_ms: Vec<u64>,
    stops_ms: Vec<Option<u64>>,
    log: CallLog,
    house: House,
    /// The longest that this process was kept from doing what was due.
    stalled: Duration,
}

impl Talk {
    /// Holds a measure against the truth. While the machine stands still, what was sent does not arrive.
    #[track_caller]
    fn assert_near(&self, measured_ms: u64, truth: Duration) {
        let off = ms(measured_ms).abs_diff(truth);
        let tolerance = TOLERANCE + self.stalled * 2;
        assert!(off <= tolerance, "measured {measured_ms} ms, and it was {truth:?}; stalled for {:?}", self.stalled);
    }
}

/// Looks every 10 ms how late it is, until it is dropped.
async fn watch_for_stalls(longest: Arc<AtomicU64>) {
    let mut look = tokio::time::interval(ms(10));
    loop {
        let due = look.tick().await;
        let late = u64::try_from(due.elapsed().as_millis()).unwrap();
        longest.fetch_max(late, Ordering::Relaxed);
    }
}

async fn talk(manners: Manners, wire: Wire, stretches: &[u64], behaviour: Behaviour) -> Talk {
    let house = House::new(listener(manners), 1).await;
    let (events, mut told) = mpsc::channel(256);
    let mut settings = house.caller("ann", wire);
    settings.source = part(stretches).into();
    settings.hang_up = HangUp::AfterSource { tail: ms(200) };
    (settings.events, settings.behaviour) = (Some(events), behaviour);
    let longest = Arc::new(AtomicU64::new(0));
    let watch = tokio::spawn(watch_for_stalls(longest.clone()));
    let report = caller::call(settings).await;
    watch.abort();
    let stalled = ms(longest.load(Ordering::Relaxed));
    assert!(report.went_well(), "{report:?}");
    let (mut answers_ms, mut stops_ms) = (Vec::new(), Vec::new());
    while let Ok(event) = told.try_recv() {
        match event {
            CallEvent::Answered { latency_ms } => answers_ms.push(latency_ms),
            CallEvent::Interrupted { stopped_after_ms } => stops_ms.push(stopped_after_ms),
            _ => {}
        }
    }
    house.settle().await;
    let log = house.log().remove(0);
    Talk { report, answers_ms, stops_ms, log, house, stalled }
}

/// Three questions, and three answers of 700 ms.
async fn the_response_latency_is_right(answers_after: Duration, wire: Wire) {
    let manners = Manners { answers_after, speaks_for: ms(700), ..Manners::default() };
    let pause = answers_after.as_millis() as u64 + 1_150;
    let talk = talk(manners, wire, &[750, pause, 550, pause, 750, pause], Behaviour::Polite).await;
    let (measured_ms, truth) = (&talk.answers_ms, &talk.log.answers);
    assert_eq!((measured_ms.len(), truth.len()), (3, 3), "{measured_ms:?} {truth:?}");
    for (measured_ms, truth) in measured_ms.iter().zip(truth) {
        talk.assert_near(*measured_ms, *truth);
        // The simulator does what it was told; a loaded machine may add to it.
        assert!(*truth + TOLERANCE >= answers_after, "{truth:?}");
    }
    let turns = talk.report.turns.as_ref().unwrap();
    assert_eq!((turns.caller_turns, turns.assistant_turns), (3, 3), "{turns:?}");
    assert_eq!((turns.taken_over, turns.missed, turns.interruptions, turns.backchannels), (3, 0, 0, 0), "{turns:?}");
    assert_eq!(Some(&turns.response_latency.as_ref().unwrap().longest_ms), measured_ms.iter().max());
    assert!(turns.caller_speech_ms.abs_diff(2_050) <= 200, "{turns:?}");
    assert!(turns.assistant_speech_ms.abs_diff(2_100) <= 200, "{turns:?}");
    assert_eq!(turns.overlap_ms, 0, "{turns:?}");
    assert_eq!(talk.house.metric("tandem_take_overs_total{result=\"taken\"}"), Some(3.0));
    assert_eq!(talk.house.metric("tandem_response_latency_seconds_count"), Some(3.0));
    assert_eq!(talk.house.metric("tandem_turns_total{speaker=\"assistant\"}"), Some(3.0));
    assert!(talk.house.metric("tandem_talk_seconds_total{kind=\"caller\"}").unwrap() > 1.8);
}

#[actix_web::test]
async fn a_quick_answer_is_measured_right() {
    the_response_latency_is_right(ms(240), PCM).await;
}

#[actix_web::test]
async fn an_answer_is_measured_right() {
    the_response_latency_is_right(ms(560), PCM).await;
}

#[actix_web::test]
async fn a_slow_answer_is_measured_right() {
    the_response_latency_is_right(ms(1_200), PCM).await;
}

#[actix_web::test]
async fn an_answer_to_pages_of_80_ms_is_measured_right() {
    the_response_latency_is_right(ms(560), Wire::Native(Audio::OggOpus)).await;
}

#[actix_web::test]
async fn interruptions_are_counted_and_timed() {
    let manners = Manners { answers_after: ms(400), speaks_for: ms(4_000), stops_after: ms(480), ..Manners::default() };
    // Asks, is answered for 1.6 s, cuts in for 1 s, and is answered again.
    let talk = talk(manners, PCM, &[950, 2_050, 950, 2_450], Behaviour::Polite).await;
    let turns = talk.report.turns.as_ref().unwrap();
    assert_eq!((turns.interruptions, turns.interruptions_stopped), (1, 1), "{turns:?}");
    talk.assert_near(talk.stops_ms[0].unwrap(), talk.log.stops[0]);
    talk.assert_near(turns.overlap_ms, talk.log.stops[0]);
    assert_eq!((talk.answers_ms.len(), turns.taken_over), (2, 2), "what interrupts is answered: {turns:?}");
    talk.assert_near(talk.answers_ms[1], talk.log.answers[1]);
    assert_eq!(talk.house.metric("tandem_interruptions_total{result=\"stopped\"}"), Some(1.0));
    assert_eq!(talk.house.metric("tandem_interruption_stop_seconds_count"), Some(1.0));
}

#[actix_web::test]
async fn a_word_of_the_model_while_the_caller_goes_on_is_a_backchannel() {
    let manners = Manners { backchannel_after: Some(ms(1_000)), speaks_for: ms(1_200), ..Manners::default() };
    let talk = talk(manners, PCM, &[2_950, 2_250], Behaviour::Polite).await;
    let turns = talk.report.turns.as_ref().unwrap();
    assert_eq!((turns.backchannels, talk.log.backchannels), (1, 1), "{turns:?}");
    assert_eq!((turns.taken_over, turns.interruptions, turns.caller_turns), (1, 0, 1), "{turns:?}");
    talk.assert_near(turns.overlap_ms, ms(320));
}

#[actix_web::test]
async fn a_caller_who_mutes_makes_no_turn() {
    let manners = Manners { answers_after: ms(400), speaks_for: ms(1_200), ..Manners::default() };
    // Muted right after the question, and for as long as the answer and more.
    let talk = talk(manners, PCM, &[950, 4_050], Behaviour::MuteAfter(ms(960))).await;
    let turns = talk.report.turns.as_ref().unwrap();
    assert_eq!((turns.caller_turns, turns.assistant_turns, turns.taken_over), (1, 1, 1), "{turns:?}");
    // The model waits for the time that is filled, and so does the caller: at most 120 ms, and a frame.
    assert!((400..640).contains(&talk.answers_ms[0]), "{:?}", talk.answers_ms);
    assert!(turns.present_ms < 1_600, "the time without the caller does not count: {turns:?}");
}

#[actix_web::test]
async fn a_call_that_is_not_measured_tells_no_turns() {
    let house = House::set(listener(Manners::default()), 1, &[("TANDEM__TURNS__SHARE", "0")]).await;
    let mut settings = house.caller("ann", PCM);
    settings.source = part(&[1_000, 1_500]).into();
    let report = caller::call(settings).await;
    assert!(report.went_well() && report.turns.is_none(), "{report:?}");
    house.settle().await;
    assert_eq!(house.metric("tandem_turns_total{speaker=\"caller\"}"), Some(0.0));
    assert_eq!(house.metric("tandem_talk_seconds_total{kind=\"present\"}"), Some(0.0));
}
