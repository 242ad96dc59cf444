//! The legs to model servers that a call has: at most one on stage and one that gets ready.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use actix::{ActorFutureExt, AsyncContext, Context, StreamHandler, WrapFuture};
use tokio::time::timeout;

use super::{Control, SessionActor};
use crate::{
    audio::packet::OpusPacket,
    context::recap::Said,
    pool::{
        lease::{Lease, Remark, Witness},
        roster::{Grant, Ongoing, UpstreamId, Verdict},
    },
    protocol::{ending::Ending, moshi::ChatTarget},
    session::{
        leg::upstream::{self, UpstreamHandle},
        machine::{Input, Judgement, Prompt, UpstreamInput},
    },
};

/// A leg that is to give its lease back has done so by then, or it cannot.
const HAND_BACK_TIMEOUT: Duration = Duration::from_secs(30);

/// One leg, with what is needed to speak of its server.
struct UpstreamLeg {
    attempt: u32,
    handle: UpstreamHandle,
    witness: Witness,
    id: UpstreamId,
    name: String,
}

/// The legs of one call.
#[derive(Default)]
pub(super) struct UpstreamLegs {
    legs: Vec<UpstreamLeg>,
    /// The server that was opened last.
    last: Option<(UpstreamId, String)>,
    /// Hung up over the prompts; another server's answer will tell who was right.
    suspect: Option<Witness>,
    /// Since when the call holds slots.
    since: Option<Instant>,
    /// The attempt that is on stage, or was so last, and its grant; before, the one that was opened last.
    held: Option<(u32, Grant)>,
}

impl UpstreamLegs {
    /// The name of the server that was opened last, for logs and metrics.
    pub(super) fn name(&self) -> &str {
        self.last.as_ref().map_or("none", |(_, name)| name)
    }

    /// The name of the server of this attempt.
    pub(super) fn name_of(&self, attempt: Option<u32>) -> &str {
        let leg = self.legs.iter().find(|leg| Some(leg.attempt) == attempt);
        leg.map_or_else(|| self.name(), |leg| &leg.name)
    }

    /// The name of the server that is heard, or else of the one that gets ready; none if the call has none.
    pub(super) fn talks_to(&self, stage: Option<u32>) -> Option<&str> {
        let on_stage = self.legs.iter().find(|leg| Some(leg.attempt) == stage);
        on_stage.or(self.legs.last()).map(|leg| leg.name.as_str())
    }

    /// The servers that a call looks past when it looks elsewhere: those it has, and the one that was opened last.
    pub(super) fn avoided(&self) -> Vec<UpstreamId> {
        let mut ids: Vec<_> = self.legs.iter().map(|leg| leg.id).chain(self.last.as_ref().map(|(id, _)| *id)).collect();
        ids.sort_unstable();
        ids.dedup();
        ids
    }

    /// The server that was opened last.
    pub(super) fn last(&self) -> Option<UpstreamId> {
        self.last.as_ref().map(|(id, _)| *id)
    }

    /// Hands a packet to a leg. A leg that is ending does not take it; its own report of that is on the way.
    pub(super) fn send(&self, attempt: u32, packet: OpusPacket) {
        let leg = self.legs.iter().find(|leg| leg.attempt == attempt);
        if !leg.is_some_and(|leg| leg.handle.send(packet)) {
            tracing::trace!("packet for an upstream leg that is gone");
        }
    }

    /// Closes a leg; it gives its slot back by itself.
    pub(super) fn close(&mut self, attempt: u32) {
        drop(self.take(attempt));
        // The one that gets ready takes its place.
        if let Some((held, next)) = self.held.as_mut().zip(self.legs.last()).filter(|(held, _)| held.0 == attempt) {
            *held = (next.attempt, next.witness.grant());
        }
    }

    /// Whether the call has a leg of this attempt, and with it a slot.
    pub(super) fn has(&self, attempt: u32) -> bool {
        self.legs.iter().any(|leg| leg.attempt == attempt)
    }

    fn take(&mut self, attempt: u32) -> Option<UpstreamLeg> {
        let index = self.legs.iter().position(|leg| leg.attempt == attempt)?;
        Some(self.legs.swap_remove(index))
    }

    /// This leg is the one on stage.
    pub(super) fn stage(&mut self, attempt: Option<u32>) {
        let Some(attempt) = attempt.filter(|attempt| self.held.is_none_or(|(held, _)| held != *attempt)) else {
            return;
        };
        if let Some(leg) = self.legs.iter().find(|leg| leg.attempt == attempt) {
            self.held = Some((attempt, leg.witness.grant()));
        }
    }

    /// What the call has already, for those who give out slots.
    pub(super) fn ongoing(&self) -> Option<Ongoing> {
        Some(Ongoing { since: self.since?, holds: self.held?.1 })
    }

    /// Says of a server what the call knows of it.
    pub(super) fn judge(&mut self, attempt: u32, judgement: Judgement) {
        let witness = self.legs.iter().find(|leg| leg.attempt == attempt).map(|leg| leg.witness.clone());
        let (witness, verdict) = match judgement {
            Judgement::Ready { step } => (witness, Verdict::Ready { step }),
            Judgement::Failed => (witness, Verdict::Lost),
            Judgement::Late => (witness, Verdict::Late),
            Judgement::Suspect => {
                self.suspect = witness;
                return;
            }
            Judgement::Guilty => (self.suspect.take(), Verdict::Failed),
        };
        if let Some(witness) = witness {
            witness.remark(Remark::Verdict(verdict));
        }
    }

    /// How to tell the pool of the server of this attempt.
    pub(super) fn witness(&self, attempt: Option<u32>) -> Option<&Witness> {
        self.legs.iter().find(|leg| Some(leg.attempt) == attempt).map(|leg| &leg.witness)
    }

    /// Closes every leg.
    pub(super) fn clear(&mut self) {
        self.legs.clear();
    }
}

impl SessionActor {
    pub(super) fn open_upstream(&mut self, attempt: u32, prompt: Prompt, ctx: &mut Context<Self>) {
        let Some(lease) = self.lease.take() else {
            tracing::error!("an upstream leg without a lease was refused");
            ctx.notify(Control::End(Ending::Internal));
            return;
        };
        let (id, name, witness) = (lease.upstream(), lease.endpoint().name.clone(), lease.witness());
        tracing::debug!(attempt, upstream = name, "opening upstream leg");
        self.spans.open(attempt, prompt, &name);
        let target = self.target(prompt, lease.endpoint().may_be_told());
        self.metrics.prompted(prompt.code(), target.expose().len(), target.prompt_tokens_estimate());
        let (handle, heard) = upstream::open(&self.connector, lease, &target);
        self.upstreams.last = Some((id, name.clone()));
        self.entry.chronicle.opened(attempt, &name, tokio::time::Instant::now().into_std());
        self.upstreams.since.get_or_insert_with(|| tokio::time::Instant::now().into_std());
        if self.machine.on_stage().is_none() {
            self.upstreams.held = Some((attempt, witness.grant()));
        }
        self.upstreams.legs.push(UpstreamLeg { attempt, handle, witness, id, name });
        ctx.add_stream(tokio_stream::StreamExt::map(heard, move |input| FromUpstream(attempt, input)));
    }

    /// What a server is given to read. One that may not be told of the caller hears nothing of the call's past either:
    /// what was said in it is as personal.
    fn target(&mut self, prompt: Prompt, may_be_told: bool) -> Arc<ChatTarget> {
        let said = self.machine.said();
        if may_be_told {
            return self.script.target(prompt, said);
        }
        if prompt != Prompt::Persona && !said.is_empty() {
            self.metrics.recap_withheld();
        }
        self.alone.target(prompt, &Said::default())
    }

    /// Closes a leg and takes its lease back, as if the slot had been granted anew.
    pub(super) fn keep_lease(&mut self, attempt: u32, ctx: &mut Context<Self>) {
        self.stop_waiting(ctx);
        let hand_back = self.upstreams.take(attempt).map(|leg| leg.handle.close_for_more());
        let kept = async move { timeout(HAND_BACK_TIMEOUT, hand_back?).await.ok()?.ok() };
        let handle =
            ctx.spawn(kept.into_actor(self).map(|lease: Option<Lease>, actor, ctx| actor.take_kept(lease, ctx)));
        self.waiting = Some((handle, None));
    }
}

/// What an upstream leg says, with the attempt it belongs to.
struct FromUpstream(u32, UpstreamInput);

impl StreamHandler<FromUpstream> for SessionActor {
    fn handle(&mut self, FromUpstream(attempt, input): FromUpstream, ctx: &mut Self::Context) {
        let ended = matches!(input, UpstreamInput::Ended(_));
        if Some(attempt) == self.machine.on_stage() {
            self.flow.model_says(&input);
        }
        self.drive(Input::Upstream(attempt, input), ctx);
        self.flow.dealt_with();
        if ended {
            self.upstreams.close(attempt);
        }
    }

    fn finished(&mut self, _: &mut Self::Context) {}
}
