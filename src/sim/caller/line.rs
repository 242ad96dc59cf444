//! One call from dialling to the goodbye: speaking and listening side by side.

use std::pin::pin;
use std::time::Duration;

use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout, timeout_at};
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Error as SocketError, Message};

use crate::protocol::ending::Ending;

use super::address::Address;
use super::dial::{Socket, dial};
use super::ear::{Ear, Heard, ending_of};
use super::error::CallerError;
use super::mouth::Mouth;
use super::report::{CallEvent, CallReport};
use super::settings::{Behaviour, CallerSettings, HangUp, Pace, Wire};

/// The longest time in which the server may take nothing of what is sent.
const STUCK_AFTER: Duration = Duration::from_secs(15);

/// When the model began to listen; nothing until then.
type ReadyAt = watch::Receiver<Option<Instant>>;

/// Places one call and gives its report; whatever goes wrong is in the report's `error`.
pub async fn call(settings: CallerSettings) -> CallReport {
    let dialled = Instant::now();
    let mut ear = match Ear::new(settings.wire, settings.hearing, dialled, settings.events.clone()) {
        Ok(ear) => ear,
        Err(error) => return CallReport { error: Some(error.into()), ..CallReport::default() },
    };
    let mut sent = Duration::ZERO;
    let outcome = place(&settings, &mut ear, &mut sent).await;
    ear.finish();
    let error = judge(outcome, &ear).err();
    let mut report = ear.report;
    report.sent_seconds = sent.as_secs_f64();
    if report.ending.is_none() {
        report.ending = report.close_code.and_then(ending_of);
    }
    report.error = error.map(Into::into);
    report
}

/// How a call that was set up came to its end.
struct Outcome {
    hung_up: bool,
    /// Whether the caller's own fault keeps it from hearing the goodbye.
    deaf: bool,
}

async fn place(settings: &CallerSettings, ear: &mut Ear, sent: &mut Duration) -> Result<Outcome, CallerError> {
    let address = Address::parse(&settings.url)?;
    let mut mouth = Mouth::new(settings.wire, &settings.source)?;
    let mut socket = tokio::select! {
        socket = dial(&address, settings, None) => socket?,
        () = settings.hang_up_now.notified() => return Err(CallerError::GivenUp),
    };
    let (ready, ready_at) = watch::channel(None);
    let mut faults = settings.behaviour;
    loop {
        let away = match converse(socket, &mut mouth, ear, sent, settings, faults, (&ready, &ready_at)).await {
            Ok(Turn::Over(outcome)) => return Ok(outcome),
            Ok(Turn::Broken { away }) => away,
            Err(CallerError::Lost { ready: true, .. }) if settings.comes_back && ear.resume.is_some() => Duration::ZERO,
            Err(error) => return Err(error),
        };
        faults = Behaviour::Polite;
        tokio::time::sleep(away).await;
        socket = come_back(&address, settings, ear).await?;
    }
}

/// Between two attempts to come back.
const ANOTHER_TRY: Duration = Duration::from_millis(500);

/// Another socket to the same call, tried for as long as the call waits.
async fn come_back(address: &Address, settings: &CallerSettings, ear: &mut Ear) -> Result<Socket, CallerError> {
    let lost = || CallerError::Lost { ready: true, reason: "one cannot come back to this call".to_owned() };
    let resume = ear.resume.take().ok_or_else(lost)?;
    let give_up = Instant::now() + Duration::from_millis(resume.grace_ms);
    ear.reconnect();
    loop {
        let error = match dial(address, settings, Some(&resume)).await {
            Ok(socket) => return Ok(socket),
            Err(error @ (CallerError::RefusedCall { .. } | CallerError::BadToken)) => return Err(error),
            Err(error) => error,
        };
        tokio::select! {
            () = sleep_until(Instant::now() + ANOTHER_TRY) => {}
            () = settings.hang_up_now.notified() => return Err(CallerError::GivenUp),
        }
        if Instant::now() >= give_up {
            return Err(error);
        }
    }
}

/// What one socket came to.
enum Turn {
    /// The call is over.
    Over(Outcome),
    /// The caller's connection breaks, as its script wants it, for so long.
    Broken { away: Duration },
}

/// Speaks and listens until the call is over or one of the caller's faults begins.
async fn converse(
    socket: Socket,
    mouth: &mut Mouth,
    ear: &mut Ear,
    sent: &mut Duration,
    settings: &CallerSettings,
    faults: Behaviour,
    (ready, ready_at): (&watch::Sender<Option<Instant>>, &ReadyAt),
) -> Result<Turn, CallerError> {
    let (sink, stream) = socket.split();
    let source_duration = mouth.source_duration();
    let mut speaking = Box::pin(speak(sink, mouth, ready_at.clone(), settings, sent));
    let mut listening = pin!(listen(stream, ear, ready, settings));
    let mut fault = pin!(fault_begins(faults, ready_at.clone()));
    let mut deaf = false;
    let mut spoken: Option<Result<(), CallerError>> = None;
    let mut goodbye_by: Option<Instant> = None;
    loop {
        tokio::select! {
            heard = &mut listening, if !deaf => {
                heard?;
                return Ok(Turn::Over(Outcome { hung_up: matches!(spoken, Some(Ok(()))), deaf }));
            }
            said = &mut speaking, if spoken.is_none() => {
                if deaf {
                    return said.map(|()| Turn::Over(Outcome { hung_up: true, deaf }));
                }
                // A socket that takes nothing any more may still hold the server's last words.
                spoken = Some(said);
                goodbye_by = Some(Instant::now() + settings.goodbye_timeout);
            }
            fault = &mut fault, if !deaf => {
                deaf = true;
                match fault {
                    Fault::Deaf => {}
                    Fault::Broken { away } => return Ok(Turn::Broken { away }),
                    Fault::Vanished => {
                        // It waits for the word to hang up too, and would take it away from the line.
                        drop(speaking);
                        keep_line(ready_at, settings, source_duration).await;
                        return Ok(Turn::Over(Outcome { hung_up: true, deaf }));
                    }
                }
            }
            () = until(goodbye_by), if goodbye_by.is_some() => {
                return Err(match spoken {
                    Some(Err(error)) => error,
                    _ => CallerError::NoGoodbye { within: settings.goodbye_timeout },
                });
            }
        }
    }
}

/// What is wrong with a call that came to its end, if anything.
fn judge(outcome: Result<Outcome, CallerError>, ear: &Ear) -> Result<(), CallerError> {
    let outcome = outcome?;
    if outcome.deaf {
        return Ok(());
    }
    if let Some(ended) = &ear.ended {
        if outcome.hung_up && ended.ending == Ending::ClientLeft {
            return Ok(());
        }
        // A refusal that had to wait for the upgrade says more than the ending that follows it.
        let (code, message) = match &ear.complaint {
            Some(complaint) => (complaint.code.clone(), complaint.message.clone()),
            None => (ended.ending.code().to_owned(), ended.message.clone()),
        };
        return Err(CallerError::Ended { code, message });
    }
    let close_code = ear.report.close_code.unwrap_or(1005);
    match ending_of(close_code) {
        Some(ending) => {
            let row = ending.row();
            Err(CallerError::Ended { code: row.code.to_owned(), message: row.sentence.to_owned() })
        }
        None if outcome.hung_up => Ok(()),
        None => Err(CallerError::Closed { code: close_code }),
    }
}

/// Listens until the server closes the connection, properly or not.
async fn listen(
    mut stream: SplitStream<Socket>,
    ear: &mut Ear,
    ready: &watch::Sender<Option<Instant>>,
    settings: &CallerSettings,
) -> Result<(), CallerError> {
    let setup_by = Instant::now() + settings.setup_timeout;
    let mut closed = false;
    loop {
        let is_ready = ready.borrow().is_some();
        let (limit, late) = match is_ready {
            true => {
                (Instant::now() + settings.silence_timeout, CallerError::Silence { within: settings.silence_timeout })
            }
            false => (setup_by, CallerError::SetupTimeout { within: settings.setup_timeout }),
        };
        let message = match timeout_at(limit, stream.next()).await {
            Err(_) => return Err(late),
            Ok(Some(Ok(message))) => message,
            Ok(Some(Err(_)) | None) if closed => return Ok(()),
            Ok(Some(Err(error))) => return Err(CallerError::Lost { ready: is_ready, reason: error.to_string() }),
            Ok(None) => return Err(CallerError::Lost { ready: is_ready, reason: "it was closed".to_owned() }),
        };
        let now = Instant::now();
        match ear.hear(message, now)? {
            Heard::Ready => {
                ready.send_replace(Some(now));
            }
            Heard::Close => closed = true,
            Heard::Resumed | Heard::Other => {}
        }
    }
}

/// Speaks from when the model listens until it is time to hang up, and says goodbye.
async fn speak(
    mut sink: SplitSink<Socket, Message>,
    mouth: &mut Mouth,
    mut ready_at: ReadyAt,
    settings: &CallerSettings,
    sent: &mut Duration,
) -> Result<(), CallerError> {
    let told = settings.hang_up_now.notified();
    let mut told = pin!(told);
    let start = tokio::select! {
        start = ready(&mut ready_at) => start,
        () = &mut told => return hang_up(&mut sink, None, settings).await,
    };
    for message in mouth.opening() {
        send(&mut sink, message).await?;
    }
    let speed = speed(settings.pace);
    let hang_up_at = hang_up_at(start, settings, mouth.source_duration());
    let mute_at = match settings.behaviour {
        Behaviour::MuteAfter(after) => Some(start + after),
        _ => None,
    };
    // What was due while there was no socket is not made up for; the first one is there from the start.
    let missed = if sent.is_zero() { Duration::ZERO } else { start.elapsed().mul_f64(speed) };
    let mut messages = messages_by(missed, mouth.message_duration());
    loop {
        // Every message is due by the start of the call, so that lateness of one delays no other.
        let due = start + (mouth.message_duration() * messages).div_f64(speed);
        let next = hang_up_at.map_or(due, |hang_up_at| due.min(hang_up_at));
        tokio::select! {
            () = sleep_until(next) => {}
            () = &mut told => break,
        }
        if hang_up_at.is_some_and(|hang_up_at| hang_up_at <= due) {
            break;
        }
        if mute_at.is_none_or(|mute_at| due < mute_at) {
            send(&mut sink, mouth.next()?).await?;
            *sent += mouth.message_duration();
        }
        messages += 1;
    }
    let closing = mouth.closing();
    hang_up(&mut sink, closing, settings).await
}

/// Says goodbye as the wire asks for it.
async fn hang_up(
    sink: &mut SplitSink<Socket, Message>,
    closing: Option<Message>,
    settings: &CallerSettings,
) -> Result<(), CallerError> {
    if let Some(events) = &settings.events {
        let _ = events.try_send(CallEvent::HungUp);
    }
    if let Some(closing) = closing {
        send(sink, closing).await?;
    }
    let goodbye = match settings.wire {
        Wire::Native(_) => Message::text(r#"{"type":"session.end"}"#),
        Wire::Moshi => Message::Close(Some(CloseFrame { code: CloseCode::Normal, reason: "".into() })),
    };
    send(sink, goodbye).await
}

async fn send(sink: &mut SplitSink<Socket, Message>, message: Message) -> Result<(), CallerError> {
    match timeout(STUCK_AFTER, sink.send(message)).await {
        Err(_) => Err(CallerError::Stuck { within: STUCK_AFTER }),
        Ok(Ok(()) | Err(SocketError::ConnectionClosed)) => Ok(()),
        Ok(Err(error)) => Err(CallerError::Lost { ready: true, reason: error.to_string() }),
    }
}

/// How many messages were due by then.
fn messages_by(time: Duration, message: Duration) -> u32 {
    (time.as_secs_f64() / message.as_secs_f64()) as u32
}

/// A fault that closes the caller's ears.
enum Fault {
    /// It reads no more.
    Deaf,
    /// It neither reads nor writes.
    Vanished,
    /// Its connection breaks for so long.
    Broken { away: Duration },
}

/// Waits for the moment at which a fault that closes the ears begins.
async fn fault_begins(behaviour: Behaviour, mut ready_at: ReadyAt) -> Fault {
    let (after, fault) = match behaviour {
        Behaviour::StopReadingAfter(after) => (after, Fault::Deaf),
        Behaviour::VanishAfter(after) => (after, Fault::Vanished),
        Behaviour::DropAndResume { after, away } => (after, Fault::Broken { away }),
        Behaviour::Polite | Behaviour::NoPongs | Behaviour::MuteAfter(_) => return std::future::pending().await,
    };
    let start = ready(&mut ready_at).await;
    sleep_until(start + after).await;
    fault
}

/// Keeps the socket without touching it until it is time to go.
async fn keep_line(ready_at: &ReadyAt, settings: &CallerSettings, source_duration: Duration) {
    let start = (*ready_at.borrow()).unwrap_or_else(Instant::now);
    let hang_up_at = hang_up_at(start, settings, source_duration);
    tokio::select! {
        () = until(hang_up_at), if hang_up_at.is_some() => {}
        () = settings.hang_up_now.notified() => {}
    }
}

/// The moment at which the model begins to listen; never, when the call ends before.
async fn ready(ready_at: &mut ReadyAt) -> Instant {
    match ready_at.wait_for(Option::is_some).await.map(|start| *start) {
        Ok(Some(start)) => start,
        Ok(None) | Err(_) => std::future::pending().await,
    }
}

fn hang_up_at(start: Instant, settings: &CallerSettings, source_duration: Duration) -> Option<Instant> {
    match settings.hang_up {
        HangUp::AfterSource { tail } => Some(start + source_duration.div_f64(speed(settings.pace)) + tail),
        HangUp::After(after) => Some(start + after),
        HangUp::WhenTold => None,
    }
}

fn speed(pace: Pace) -> f64 {
    match pace {
        Pace::Times(times) if times.is_finite() && times > 0.0 => times,
        Pace::Times(_) | Pace::RealTime => 1.0,
    }
}

async fn until(moment: Option<Instant>) {
    match moment {
        Some(moment) => sleep_until(moment).await,
        None => std::future::pending().await,
    }
}
