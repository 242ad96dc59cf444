//! What a running server suffers, all its calls at once, until it is told to recover.

use std::pin::pin;

use tokio::sync::watch;

/// The state of the whole server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Plight {
    /// Nothing is wrong.
    #[default]
    Sound,
    /// The model stands still: no step is made, but pings and closes are answered.
    Hung,
    /// The host is gone: nothing is read or written any more, and no socket is closed.
    Vanished,
}

/// Serves a connection to its end, and stands still while the host is gone.
pub(super) async fn unless_vanished(serving: impl Future<Output = ()>, mut plight: watch::Receiver<Plight>) {
    let mut serving = pin!(serving);
    loop {
        tokio::select! {
            biased;
            vanished = plight.wait_for(|plight| *plight == Plight::Vanished) => if vanished.is_err() { return },
            () = &mut serving => return,
        }
        if plight.wait_for(|plight| *plight != Plight::Vanished).await.is_err() {
            return;
        }
    }
}
