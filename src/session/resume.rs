//! Tokens with which callers come back to their calls.
//!
//! A token is 256 random bits. Only its SHA-256 is kept, so neither a memory dump nor the timing of a look-up gives one
//! away, and taking it out of the map is the one step that redeems it: a race has one winner.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use dashmap::DashMap;
use secrecy::{ExposeSecret as _, SecretString};
use sha2::{Digest as _, Sha256};

/// Random bytes in a token.
const RANDOM_BYTES: usize = 32;

/// What is kept of a token.
pub type TokenHash = [u8; RANDOM_BYTES];

/// A token that was just made; it does not print.
#[derive(Debug)]
pub struct ResumeToken {
    text: SecretString,
    hash: TokenHash,
}

impl ResumeToken {
    /// A new one from the thread's cryptographic generator.
    pub fn new() -> Self {
        let mut bytes = [0; RANDOM_BYTES];
        rand::fill(&mut bytes);
        Self { text: URL_SAFE_NO_PAD.encode(bytes).into(), hash: Sha256::digest(bytes).into() }
    }

    /// The text for the caller's own eyes.
    pub fn expose(&self) -> &str {
        self.text.expose_secret()
    }
}

impl Default for ResumeToken {
    fn default() -> Self {
        Self::new()
    }
}

/// Why a token leads nowhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoResume {
    /// It was never given out, was used, or its call is over: nothing is kept to tell these apart. Also the token of
    /// another user's call.
    #[error("there is no call to come back to; call again")]
    Unknown,
    /// The call has another audio format.
    #[error("the call has another audio format; come back with the one that it began with")]
    WrongFormat,
}

/// The calls that somebody may come back to, by their tokens' hashes.
#[derive(Debug)]
pub struct ResumeBox<T> {
    held: DashMap<TokenHash, T>,
}

impl<T> Default for ResumeBox<T> {
    fn default() -> Self {
        Self { held: DashMap::new() }
    }
}

impl<T> ResumeBox<T> {
    /// Keeps what a token stands for, until it is taken or forgotten. There is at most one a call.
    pub fn keep(&self, token: &ResumeToken, what: T) -> TokenHash {
        self.held.insert(token.hash, what);
        token.hash
    }

    /// Takes what a token stands for: at most once, whoever races. What `judge` refuses stays.
    pub fn take(&self, token: &str, judge: impl FnOnce(&T) -> Result<(), NoResume>) -> Result<T, NoResume> {
        let bytes: TokenHash =
            URL_SAFE_NO_PAD.decode(token).ok().and_then(|bytes| bytes.try_into().ok()).ok_or(NoResume::Unknown)?;
        let mut refused = NoResume::Unknown;
        let hash: TokenHash = Sha256::digest(bytes).into();
        let taken = self.held.remove_if(&hash, |_, what| judge(what).map_err(|why| refused = why).is_ok());
        taken.map(|(_, what)| what).ok_or(refused)
    }

    /// Forgets a token that was not used.
    pub fn forget(&self, hash: &TokenHash) {
        self.held.remove(hash);
    }

    /// How many calls can be come back to.
    pub fn len(&self) -> usize {
        self.held.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.held.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::Barrier, thread};

    use super::*;

    #[test]
    fn a_token_is_good_once_and_does_not_print() {
        let (calls, token) = (ResumeBox::default(), ResumeToken::new());
        calls.keep(&token, "a call");
        assert!(!format!("{token:?} {calls:?}").contains(token.expose()));
        assert_eq!(calls.take(token.expose(), |_| Err(NoResume::WrongFormat)), Err(NoResume::WrongFormat));
        assert_eq!(calls.take(token.expose(), |_| Ok(())), Ok("a call"), "a refusal costs nothing");
        assert_eq!(calls.take(token.expose(), |_| Ok(())), Err(NoResume::Unknown));
        let hash = calls.keep(&token, "again");
        calls.forget(&hash);
        assert!(calls.is_empty());
        for odd in ["", "x", &"A".repeat(43), &"A".repeat(1_000_000), "\u{0}"] {
            assert_eq!(calls.take(odd, |_| Ok(())), Err(NoResume::Unknown));
        }
    }

    #[test]
    fn of_16_threads_that_race_for_one_call_exactly_one_wins() {
        let calls = ResumeBox::default();
        for _ in 0..50 {
            let (token, gate) = (ResumeToken::new(), Barrier::new(16));
            calls.keep(&token, ());
            let wins = thread::scope(|scope| {
                let race = || {
                    gate.wait();
                    calls.take(token.expose(), |()| Ok(())).is_ok()
                };
                let racers: Vec<_> = (0..16).map(|_| scope.spawn(race)).collect();
                racers.into_iter().map(|racer| usize::from(racer.join().unwrap())).sum::<usize>()
            });
            assert_eq!(wins, 1);
        }
    }
}
