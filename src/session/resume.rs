//! Tokens with which callers come back to their calls.
//!
//! A token is 256 random bits. Only its SHA-256 is kept, so neither a memory dump nor the timing of a look-up gives one
//! away. It stays good until the socket that it opened has shown life, because the answer to the upgrade, and with it the
//! next token, may be lost on its way. Then the session, which alone decides, withdraws it.

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
    /// The call did not answer in time; the token is as good as before.
    #[error("the call does not answer; try again")]
    NoAnswer,
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

impl<T: Clone> ResumeBox<T> {
    /// Keeps what a token stands for, until it is forgotten. There are at most two a call.
    pub fn keep(&self, token: &ResumeToken, what: T) -> TokenHash {
        self.held.insert(token.hash, what);
        token.hash
    }

    /// What a token stands for, if `judge` has nothing against it.
    pub fn find(
        &self,
        token: &str,
        judge: impl FnOnce(&T) -> Result<(), NoResume>,
    ) -> Result<(TokenHash, T), NoResume> {
        let bytes: TokenHash =
            URL_SAFE_NO_PAD.decode(token).ok().and_then(|bytes| bytes.try_into().ok()).ok_or(NoResume::Unknown)?;
        let hash: TokenHash = Sha256::digest(bytes).into();
        let what = self.held.get(&hash).ok_or(NoResume::Unknown)?;
        judge(&what)?;
        Ok((hash, what.clone()))
    }

    /// Forgets a token: nobody comes back with it any more.
    pub fn forget(&self, hash: &TokenHash) {
        self.held.remove(hash);
    }

    /// How many tokens are good.
    pub fn len(&self) -> usize {
        self.held.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.held.is_empty()
    }
}

/// The tokens of one call that are good: the newest, and the one that opened its leg until that leg has shown life.
#[derive(Debug, Default)]
pub struct Offers {
    opener: Option<TokenHash>,
    newest: Option<TokenHash>,
}

impl Offers {
    /// Whether a token is still good for this call.
    pub fn holds(&self, hash: &TokenHash) -> bool {
        self.opener.as_ref() == Some(hash) || self.newest.as_ref() == Some(hash)
    }

    /// A leg was opened with `opener`, if it is not the call's first, and is told `newest`; gives what is withdrawn.
    pub fn opened(&mut self, opener: Option<TokenHash>, newest: TokenHash) -> impl Iterator<Item = TokenHash> + use<> {
        let before = std::mem::replace(self, Self { opener, newest: Some(newest) });
        before.opener.into_iter().chain(before.newest).filter(move |hash| Some(*hash) != opener)
    }

    /// The leg has shown life: its caller has, or is about to have, the newest token. Gives what is withdrawn.
    pub fn lives(&mut self) -> Option<TokenHash> {
        self.opener.take()
    }

    /// The call is over; gives what is withdrawn.
    pub fn withdraw(&mut self) -> impl Iterator<Item = TokenHash> + use<> {
        self.opener.take().into_iter().chain(self.newest.take())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_good_until_it_is_forgotten_and_does_not_print() {
        let (calls, token) = (ResumeBox::default(), ResumeToken::new());
        let hash = calls.keep(&token, "a call");
        assert!(!format!("{token:?} {calls:?}").contains(token.expose()));
        assert_eq!(calls.find(token.expose(), |_| Err(NoResume::WrongFormat)), Err(NoResume::WrongFormat));
        for _ in 0..2 {
            assert_eq!(calls.find(token.expose(), |_| Ok(())), Ok((hash, "a call")));
        }
        calls.forget(&hash);
        assert!(calls.is_empty());
        for odd in [token.expose(), "", "x", &"A".repeat(43), &"A".repeat(1_000_000), "\u{0}"] {
            assert_eq!(calls.find(odd, |_| Ok(())), Err(NoResume::Unknown));
        }
    }

    #[test]
    fn the_token_that_opened_a_leg_is_good_until_the_leg_shows_life() {
        let [first, second, third, fourth] = [[1; 32], [2; 32], [3; 32], [4; 32]];
        let mut offers = Offers::default();
        assert_eq!(offers.opened(None, first).count(), 0);
        assert_eq!((offers.lives(), offers.holds(&first)), (None, true));
        assert_eq!(offers.opened(Some(first), second).count(), 0, "the way back may have been lost");
        assert!(offers.holds(&first) && offers.holds(&second));
        assert_eq!(offers.opened(Some(first), third).collect::<Vec<_>>(), [second], "once more, with the same");
        assert_eq!(offers.lives(), Some(first));
        assert!(!offers.holds(&first) && offers.holds(&third));
        assert_eq!(offers.opened(Some(third), fourth).count(), 0);
        assert_eq!(offers.withdraw().collect::<Vec<_>>(), [third, fourth]);
        assert!(!offers.holds(&third) && !offers.holds(&fourth));
    }
}
