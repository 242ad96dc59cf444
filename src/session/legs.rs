//! The caller's legs: the one that counts, and one that may take its place.
//!
//! A socket that comes for a call whose caller is there is a *candidate*: it gets a ping, and takes over with its first
//! sign of life. A socket that never was one at the caller's end takes nothing from the one that is good.

use super::{
    leg::client::ClientHandle,
    machine::{ClientInput, ClientOutput},
    resume::TokenHash,
};
use crate::protocol::ending::Ending;

/// The ping that a new socket gets; a machine counts its own marks up from 0.
const ARE_YOU_THERE: u32 = u32::MAX;

/// A caller's legs. Each has a number of its own in the call.
pub struct CallerLegs {
    current: Option<ClientHandle>,
    number: u32,
    candidate: Option<Candidate>,
    last_number: u32,
}

struct Candidate {
    number: u32,
    handle: ClientHandle,
    token: TokenHash,
}

/// Whose voice a number is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rank {
    /// The caller's.
    Current,
    /// Of the socket that may take over.
    Candidate,
    /// Of a leg that was let go.
    Former,
}

impl CallerLegs {
    /// The number of a call's first leg.
    pub const FIRST: u32 = 0;

    /// A call's first leg.
    pub fn new(first: ClientHandle) -> Self {
        Self { current: Some(first), number: Self::FIRST, candidate: None, last_number: Self::FIRST }
    }

    /// Whose voice this number is.
    pub fn rank(&self, number: u32) -> Rank {
        match &self.candidate {
            Some(candidate) if candidate.number == number => Rank::Candidate,
            _ if self.number == number => Rank::Current,
            _ => Rank::Former,
        }
    }

    /// A socket came with this token; gives its leg's number. A candidate before it is sent away.
    pub fn propose(&mut self, handle: ClientHandle, token: TokenHash) -> u32 {
        self.last_number += 1;
        let number = self.last_number;
        handle.mark(ARE_YOU_THERE);
        if let Some(other) = self.candidate.replace(Candidate { number, handle, token }) {
            other.handle.close(Ending::Replaced);
        }
        number
    }

    /// Whether a socket waits to take over.
    pub fn has_candidate(&self) -> bool {
        self.candidate.is_some()
    }

    /// The candidate is the caller's leg from now on, and the one before is closed; gives the token that it came with.
    pub fn promote(&mut self) -> Option<TokenHash> {
        let Candidate { number, handle, token } = self.candidate.take()?;
        self.number = number;
        if let Some(old) = self.current.replace(handle) {
            old.close(Ending::Replaced);
        }
        Some(token)
    }

    /// The candidate's socket is gone.
    pub fn forget_candidate(&mut self) {
        self.candidate = None;
    }

    /// Nothing that the caller's leg says is heard any more.
    pub fn let_go(&mut self) {
        self.last_number += 1;
        self.number = self.last_number;
        // Its network may only be slow: then it hears that it can come back.
        self.current.take().map(|leg| leg.close(Ending::ClientLost));
    }

    /// Hands one message to the caller's leg; `false` means that it is ending, and its own report on the way.
    pub fn say(&self, output: ClientOutput) -> bool {
        self.current.as_ref().is_some_and(|leg| leg.say(output))
    }

    /// Marks the stream; a mark that finds no room is confirmed with the next one.
    pub fn mark(&self, mark: u32) {
        self.current.as_ref().map(|leg| leg.mark(mark));
    }

    /// Closes what is open.
    pub fn close(&self, ending: Ending) {
        let candidate = self.candidate.as_ref().map(|candidate| &candidate.handle);
        for leg in self.current.iter().chain(candidate) {
            leg.close(ending);
        }
    }
}

/// Whether somebody is at the other end of a socket that says this.
pub fn is_life(input: &ClientInput) -> bool {
    !matches!(input, ClientInput::Writable | ClientInput::Closed { .. })
}
