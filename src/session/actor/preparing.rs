//! Loading the caller's context, and making the call's prompts of it.

use actix::{ActorFutureExt, AsyncContext, Context, WrapFuture};
use tokio::{task::spawn_blocking, time::timeout};

use super::SessionActor;
use crate::{
    context::source::{CONTEXT_TIMEOUT, ContextError},
    protocol::moshi::TargetError,
    session::{
        machine::{HandshakeTerms, Input},
        preparation::Preparation,
        script::Script,
    },
};

/// Why there is no prompt with a context.
#[derive(Debug, thiserror::Error)]
enum NotPrepared {
    #[error("there is no store of contexts")]
    NoSource,
    #[error(transparent)]
    Context(#[from] ContextError),
    #[error(transparent)]
    Prompt(#[from] TargetError),
    #[error("making the prompt failed; this is a fault of Tandem")]
    Fault,
}

impl SessionActor {
    /// Asks for what is known of the caller. An answer that comes too late finds the call gone on.
    pub(super) fn load_context(&mut self, ctx: &mut Context<Self>) {
        let preparation = self.preparation.take();
        let preparing = async move {
            let preparation = preparation.ok_or(NotPrepared::NoSource)?;
            timeout(CONTEXT_TIMEOUT, prepare(preparation)).await.unwrap_or(Err(ContextError::Timeout.into()))
        };
        ctx.spawn(preparing.into_actor(self).map(|prepared, actor, ctx| actor.prepared(prepared, ctx)));
    }

    fn prepared(&mut self, prepared: Result<(Script, HandshakeTerms), NotPrepared>, ctx: &mut Context<Self>) {
        if !self.machine.is_preparing() {
            return;
        }
        let input = match prepared {
            Ok((script, terms)) => {
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
async fn prepare(preparation: Preparation) -> Result<(Script, HandshakeTerms), NotPrepared> {
    let context = preparation.source.load(preparation.user.clone()).await?;
    let made = spawn_blocking(move || preparation.script(&context)).await;
    Ok(made.map_err(|_| NotPrepared::Fault)??)
}
