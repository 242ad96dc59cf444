//! One call's actor: it drives the machine and does what the machine decides.
//!
//! Every stream item, timer and answer goes through `SessionActor::drive`; nothing else touches the machine.

mod flow;
mod notes;
mod preparing;
mod spans;
mod upstreams;
mod waiting;

use self::{flow::Flow, spans::CallSpans, upstreams::UpstreamLegs, waiting::Booked};

use std::sync::Arc;

use actix::{Actor, ActorContext, Addr, AsyncContext, Context, Handler, SpawnHandle, StreamHandler};
use futures_util::Stream;
use tokio::time::Instant;
use tracing::Span;

use super::{
    leg::{client::Line, upstream::connect::UpstreamConnector},
    legs::{CallerLegs, Rank, is_life},
    machine::{ClientInput, ClientOutput, ContextNeed, Direction, Effect, Input, Machine, Summary, millis},
    preparation::Preparation,
    registrar::Entry,
    script::Script,
    setup::Setup,
    switchboard::{Attach, Control, ResumeOffer, Seat},
};
use crate::{
    metrics::{CallMetrics, Metrics, Talk},
    pool::{lease::Lease, wait::Patience},
    protocol::ending::Ending,
    store::details::ContextUse,
};

/// One call.
pub struct SessionActor {
    machine: Machine,
    seat: Seat,
    lease: Option<Lease>,
    upstreams: UpstreamLegs,
    /// Asks for a slot, and hears of the queue.
    waiting: Option<(SpawnHandle, Option<Patience>)>,
    /// Counts requests for slots, and what ends them.
    requests: u64,
    script: Script,
    /// The same as long as nothing is known of the caller: for servers that may not be told of one.
    alone: Script,
    preparation: Option<Preparation>,
    connector: UpstreamConnector,
    legs: CallerLegs,
    resumable: Option<ResumeOffer>,
    alarm: Option<(Instant, SpawnHandle)>,
    metrics: Arc<Metrics>,
    call: CallMetrics,
    flow: Flow,
    protocol: &'static str,
    ending: Option<Ending>,
    entry: Entry,
    span: Span,
    spans: CallSpans,
}

impl SessionActor {
    /// Starts a call on the current thread; its socket is, or will be, at the other end of the line.
    pub fn start(mut setup: Setup, line: Line) -> Addr<Self> {
        let now = Instant::now();
        Self::create(move |ctx| {
            let (client, heard) = line.split();
            listen_to(heard, CallerLegs::FIRST, ctx);
            let session = ctx.address().recipient();
            setup.entry.start();
            if setup.terms.context == ContextNeed::Withheld {
                setup.entry.chronicle.context(ContextUse::NotAllowed);
                setup.metrics.context_not_allowed();
            }
            setup.terms.resume = setup.resumable.map(|offer| setup.seat.offer_resume(offer, session, None));
            Self {
                machine: Machine::new(setup.terms, setup.limits, now.into_std()),
                lease: None,
                seat: setup.seat,
                upstreams: UpstreamLegs::default(),
                waiting: None,
                requests: 0,
                alone: setup.script.clone(),
                script: setup.script,
                preparation: setup.preparation,
                connector: setup.connector,
                legs: CallerLegs::new(client),
                resumable: setup.resumable,
                alarm: None,
                call: setup.metrics.call(setup.protocol),
                flow: Flow::new(setup.metrics.flow()),
                metrics: setup.metrics,
                protocol: setup.protocol,
                ending: None,
                entry: setup.entry,
                span: setup.span,
                spans: CallSpans::of(setup.trace),
            }
        })
    }

    /// The one door to the machine. **Invariant:** all effects are drained before the next input.
    fn drive(&mut self, input: Input, ctx: &mut Context<Self>) {
        let span = self.span.clone();
        let _entered = span.enter();
        self.spans.hear(&input);
        self.machine.handle(input, Instant::now().into_std());
        self.settle(ctx);
    }

    fn settle(&mut self, ctx: &mut Context<Self>) {
        let on_stage = self.machine.on_stage();
        self.spans.stage(on_stage, self.upstreams.name_of(on_stage));
        while let Some(effect) = self.machine.poll_effect() {
            self.perform(effect, ctx);
        }
        self.upstreams.stage(self.machine.on_stage());
        self.write_down();
        self.seat.is_listened_to(self.machine.on_stage().is_some());
        if self.legs.has_candidate() && self.machine.is_detached() {
            self.promote(ctx);
        }
        self.arm(ctx);
    }

    /// Has the record know where the call is now.
    fn write_down(&mut self) {
        let (chronicle, now) = (&mut self.entry.chronicle, Instant::now().into_std());
        chronicle.enter(self.machine.phase_name(), self.machine.is_detached(), now);
        let stage = self.machine.on_stage();
        chronicle.on_stage(stage, self.upstreams.name_of(stage));
        chronicle.holds(|attempt| self.upstreams.has(attempt), now);
        let talks_to = self.upstreams.talks_to(stage);
        self.entry.glance.enter(self.machine.phase_name(), self.machine.is_detached(), talks_to);
    }

    fn perform(&mut self, effect: Effect, ctx: &mut Context<Self>) {
        self.spans.perform(&effect);
        match effect {
            Effect::LoadContext => self.load_context(ctx),
            Effect::Acquire { class, elsewhere, retry } => self.acquire(class, elsewhere, retry, ctx),
            Effect::Withdraw => self.withdraw(ctx),
            Effect::BookMore => ctx.notify(Booked(self.seat.book_more())),
            Effect::OpenUpstream(attempt, prompt) => self.open_upstream(attempt, prompt, ctx),
            Effect::CloseUpstream(attempt) => self.upstreams.close(attempt),
            Effect::KeepLease(attempt) => self.keep_lease(attempt, ctx),
            Effect::Judge(attempt, judgement) => self.upstreams.judge(attempt, judgement),
            Effect::SendUpstream(attempt, packet) => {
                if Some(attempt) == self.machine.on_stage() {
                    self.flow.leaves(Direction::Up, &packet, now());
                }
                self.upstreams.send(attempt, packet);
            }
            Effect::SendClient(output) => {
                if let ClientOutput::Audio(packet) = &output {
                    self.flow.leaves(Direction::Down, packet, now());
                }
                if !self.legs.say(output) {
                    tracing::trace!("message for a caller's leg that is gone");
                }
            }
            Effect::MarkClient(mark) => {
                self.flow.marked(mark, now());
                self.legs.mark(mark);
            }
            Effect::CloseClient(ending) => self.legs.close(ending),
            Effect::LetClientGo => {
                self.flow.caller_moves();
                self.legs.let_go();
            }
            Effect::Remember(delta) => self.entry.chronicle.words(&delta.text, Instant::now().into_std()),
            Effect::Note(note) => self.note(note),
            Effect::Done(summary) => self.done(&summary, ctx),
        }
    }

    /// A new socket of the caller, which then belongs to the call's span. `None` means that it is not taken, or that
    /// nobody waits for the answer any more.
    fn attach(&mut self, Attach { line, token }: Attach, ctx: &mut Context<Self>) -> Option<Span> {
        let (client, heard) = line.split();
        if client.is_gone() || !self.machine.can_attach() || !self.seat.accepts(&token) {
            return None;
        }
        let leg = self.legs.propose(client, token);
        listen_to(heard, leg, ctx);
        if self.machine.is_detached() {
            self.promote(ctx);
        }
        Some(self.span.clone())
    }

    /// The newest socket is the caller's.
    fn promote(&mut self, ctx: &mut Context<Self>) {
        if let Some(offer) = self.resumable.filter(|_| self.machine.can_attach())
            && let Some(token) = self.legs.promote()
        {
            let resume = self.seat.offer_resume(offer, ctx.address().recipient(), Some(token));
            self.flow.caller_moves();
            self.drive(Input::Attached(resume), ctx);
        }
    }

    fn done(&mut self, summary: &Summary, ctx: &mut Context<Self>) {
        self.ending = Some(summary.ending);
        self.entry.chronicle.sum_up(summary);
        if summary.abandoned {
            self.metrics.resume("abandoned");
        }
        self.call.duration(summary.duration);
        if let Some(tally) = &summary.turns {
            self.call.turns().talked(&Talk {
                caller: tally.caller_speech,
                assistant: tally.assistant_speech,
                present: tally.present,
                overlap: tally.overlap,
                silence: tally.silence,
            });
        }
        tracing::info!(
            ending = summary.ending.code(),
            duration_ms = millis(summary.duration),
            attempts = summary.attempts,
            upstream = self.upstreams.name(),
            "session ended"
        );
        // Answers a caller's close frame; where one of ours went before, this one is not sent.
        self.legs.close(summary.ending);
        self.upstreams.clear();
        self.withdraw(ctx);
        ctx.stop();
    }

    /// One alarm for the machine's one deadline; a later deadline than the armed one costs nothing until it rings.
    fn arm(&mut self, ctx: &mut Context<Self>) {
        let Some(deadline) = self.machine.deadline().map(Instant::from_std) else { return };
        if let Some((armed, handle)) = self.alarm {
            if armed <= deadline {
                return;
            }
            ctx.cancel_future(handle);
        }
        let delay = deadline.saturating_duration_since(Instant::now());
        let handle = ctx.run_later(delay, |actor, ctx| {
            actor.alarm = None;
            actor.drive(Input::Tick, ctx);
        });
        self.alarm = Some((deadline, handle));
    }
}

impl Actor for SessionActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.seat.answer_at(ctx.address().recipient(), Arc::clone(&self.entry.glance));
        let span = self.span.clone();
        let _entered = span.enter();
        tracing::info!(protocol = self.protocol, "session started");
        self.settle(ctx);
    }

    fn stopped(&mut self, _: &mut Self::Context) {
        // Also reached by a panic of a handler, and at a shutdown that cuts the call off: every call that was counted as
        // begun is counted as ended.
        let ending = last(self.ending, self.machine.ending(), self.seat.is_draining());
        self.metrics.ended(self.protocol, ending.code());
        self.spans.end(ending);
        self.entry.end(ending);
    }
}

impl Handler<Control> for SessionActor {
    type Result = ();

    fn handle(&mut self, control: Control, ctx: &mut Self::Context) {
        match control {
            Control::Drain(deadline) => self.drive(Input::Drain(deadline.into_std()), ctx),
            Control::End(ending) => self.drive(Input::End(ending), ctx),
        }
    }
}

impl Handler<Attach> for SessionActor {
    type Result = Option<Span>;

    fn handle(&mut self, attach: Attach, ctx: &mut Self::Context) -> Option<Span> {
        self.attach(attach, ctx)
    }
}

/// How a call ended whose actor has stopped: as it did, as it was about to, or else a shutdown or a fault was in its way.
fn last(done: Option<Ending>, closing: Option<Ending>, draining: bool) -> Ending {
    done.or(closing).unwrap_or(if draining { Ending::GatewayLost } else { Ending::Internal })
}

fn now() -> std::time::Instant {
    Instant::now().into_std()
}

/// What a caller's leg says, with its number.
struct FromClient(u32, ClientInput);

fn listen_to(heard: impl Stream<Item = ClientInput> + 'static, leg: u32, ctx: &mut Context<SessionActor>) {
    ctx.add_stream(tokio_stream::StreamExt::map(heard, move |input| FromClient(leg, input)));
}

impl StreamHandler<FromClient> for SessionActor {
    fn handle(&mut self, FromClient(leg, input): FromClient, ctx: &mut Self::Context) {
        match (self.legs.rank(leg), is_life(&input)) {
            (Rank::Candidate, true) => self.promote(ctx),
            (Rank::Candidate, false) if matches!(input, ClientInput::Closed { .. }) => self.legs.forget_candidate(),
            _ => {}
        }
        if self.legs.rank(leg) == Rank::Current {
            if is_life(&input) {
                self.seat.leg_lives();
            }
            self.flow.caller_says(&input, now());
            self.drive(Input::Client(input), ctx);
            self.flow.dealt_with();
        }
    }

    // The default would stop the actor; the stream's last item has told the machine.
    fn finished(&mut self, _: &mut Self::Context) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shutdown_that_cuts_a_call_off_is_no_fault_and_what_was_told_counts() {
        let (left, drained) = (Some(Ending::ClientLeft), Some(Ending::Drained));
        for (done, closing, draining, ending) in [
            (left, None, true, Ending::ClientLeft),
            (None, drained, true, Ending::Drained),
            (None, left, false, Ending::ClientLeft),
            (None, None, true, Ending::GatewayLost),
            (None, None, false, Ending::Internal),
        ] {
            assert_eq!(last(done, closing, draining), ending, "{done:?} {closing:?} {draining}");
        }
    }
}
