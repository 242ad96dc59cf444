//! Loading the caller's context, and making the call's prompts of it.

use actix::{ActorFutureExt, AsyncContext, Context, WrapFuture};
use tokio::{
    task::spawn_blocking,
    time::{Instant, timeout},
};

use super::SessionActor;
use crate::{
    context::{
        source::{CONTEXT_TIMEOUT, ContextError},
        user::Context as UserContext,
    },
    protocol::moshi::TargetError,
    session::{
        machine::{HandshakeTerms, Input},
        preparation::Preparation,
        script::Script,
    },
    store::details::ContextUse,
};

/// Why there is no prompt with a context.
#[derive(Debug, thiserror::Error)]
enum NotPrepared {
    #[error("no context is wanted here")]
    NotWanted,
    #[error(transparent)]
    Context(#[from] ContextError),
    #[error(transparent)]
    Prompt(#[from] TargetError),
    #[error("making the prompt failed; this is a fault of Tandem")]
    Fault,
}

/// A call's prompts with its caller's context in them.
struct Prepared {
    script: Script,
    terms: HandshakeTerms,
    context: ContextUse,
}

impl SessionActor {
    /// Asks for what is known of the caller. An answer that comes too late finds the call gone on.
    pub(super) fn load_context(&mut self, ctx: &mut Context<Self>) {
        let began = Instant::now();
        self.entry.chronicle.context(ContextUse::Unavailable);
        let preparation = self.preparation.take();
        let preparing = async move {
            let preparation = preparation.ok_or(NotPrepared::NotWanted)?;
            timeout(CONTEXT_TIMEOUT, prepare(preparation)).await.unwrap_or(Err(ContextError::Timeout.into()))
        };
        ctx.spawn(preparing.into_actor(self).map(move |prepared, actor, ctx| actor.prepared(prepared, began, ctx)));
    }

    fn prepared(&mut self, prepared: Result<Prepared, NotPrepared>, began: Instant, ctx: &mut Context<Self>) {
        let in_time = self.machine.is_preparing();
        let context = prepared.as_ref().ok().filter(|_| in_time).map_or(ContextUse::Unavailable, |made| made.context);
        self.metrics.context_loaded(context.code(), began.elapsed());
        if !in_time {
            return;
        }
        self.entry.chronicle.context(context);
        let input = match prepared {
            Ok(Prepared { script, terms, .. }) => {
                self.script = script;
                Input::Prepared(terms)
            }
            Err(error) => {
                let _entered = self.span.enter();
                tracing::warn!(%error, "the caller's context is not there");
                Input::Unprepared
            }
        };
        self.drive(input, ctx);
    }
}

/// Loads, and makes the prompt beside the threads that carry calls: a long journal takes milliseconds.
async fn prepare(preparation: Preparation) -> Result<Prepared, NotPrepared> {
    let known = preparation.source.load(preparation.user.clone()).await?;
    let context = if known == UserContext::default() { ContextUse::None } else { ContextUse::Told };
    let made = spawn_blocking(move || preparation.script(&known)).await;
    let (script, terms) = made.map_err(|_| NotPrepared::Fault)??;
    Ok(Prepared { script, terms, context })
}
