//! Loading the caller's context, and making the call's prompts of it.

use actix::{ActorFutureExt, AsyncContext, Context, Handler, WrapFuture};
use tokio::time::timeout;

use super::SessionActor;
use crate::{
    context::{
        source::{CONTEXT_TIMEOUT, ContextError},
        user,
    },
    session::machine::Input,
};

impl SessionActor {
    /// Asks for what is known of the caller. An answer that comes too late finds the call gone on.
    pub(super) fn load_context(&mut self, ctx: &mut Context<Self>) {
        let Some(preparation) = &self.preparation else { return ctx.notify(Loaded(Err(ContextError::Timeout))) };
        let loading = timeout(CONTEXT_TIMEOUT, preparation.source.load(preparation.user.clone()));
        let loading = async move { loading.await.unwrap_or(Err(ContextError::Timeout)) };
        ctx.spawn(loading.into_actor(self).map(|loaded, actor, ctx| actor.loaded(loaded, ctx)));
    }

    fn loaded(&mut self, loaded: Result<user::Context, ContextError>, ctx: &mut Context<Self>) {
        let Some(preparation) = self.preparation.as_ref().filter(|_| self.machine.is_preparing()) else { return };
        let prepared = match &loaded {
            Ok(context) => preparation.script(context).map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        };
        let input = match prepared {
            Ok((script, terms)) => {
                self.script = script;
                Input::Prepared(terms)
            }
            Err(reason) => {
                let _entered = self.span.enter();
                tracing::warn!(reason, "the caller's context is not there");
                Input::Unprepared
            }
        };
        self.drive(input, ctx);
    }
}

/// What was loaded without having to wait: effects never nest.
struct Loaded(Result<user::Context, ContextError>);

impl actix::Message for Loaded {
    type Result = ();
}

impl Handler<Loaded> for SessionActor {
    type Result = ();

    fn handle(&mut self, Loaded(loaded): Loaded, ctx: &mut Self::Context) {
        self.loaded(loaded, ctx);
    }
}
