//! One-use tickets: what a browser puts into the URL of its WebSocket, where it cannot send a header.
//!
//! A ticket is 256 random bits. Only its SHA-256 is kept, so neither a memory dump nor the timing of a lookup gives one
//! away, and taking it out of the map is the one step that redeems it: a race has one winner.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use dashmap::DashMap;
use secrecy::SecretString;
use sha2::{Digest, Sha256};

use super::identity::{Identity, UserId};
use super::keys::{RANDOM_BYTES, random_bytes};

/// Characters of a ticket: 32 bytes in base64url without padding.
pub const TICKET_CHARS: usize = 43;

/// How long tickets live and how many there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TicketLimits {
    /// How long a ticket waits to be redeemed.
    pub ttl: Duration,
    /// Tickets of all users that wait at the same time.
    pub max_total: usize,
    /// Tickets of one user that wait at the same time.
    pub max_per_user: usize,
}

impl Default for TicketLimits {
    /// A minute is ample between two requests of one page; 10,000 tickets take a few megabytes.
    fn default() -> Self {
        TicketLimits { ttl: Duration::from_secs(60), max_total: 10_000, max_per_user: 10 }
    }
}

/// Why no ticket is given out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TicketRefused {
    /// This user has as many unused tickets as one may have.
    #[error("this user has too many unused tickets; use one or wait until they expire")]
    TooManyOfUser,
    /// All users together have as many unused tickets as there may be.
    #[error("there are too many unused tickets; try again when some have expired")]
    Full,
}

/// Why a ticket does not let its bearer in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum TicketError {
    /// Not what tickets look like.
    #[error("a ticket is {TICKET_CHARS} characters of base64url")]
    Malformed,
    /// Never given out here, used before, or expired long ago: by design nothing is kept to tell these apart.
    #[error("the ticket is unknown or was used before; ask for a new one")]
    Unknown,
    /// Given out, never used, and too old now.
    #[error("the ticket has expired; ask for a new one")]
    Expired,
}

impl TicketError {
    /// Every error, for tables.
    pub const ALL: [TicketError; 3] = [TicketError::Malformed, TicketError::Unknown, TicketError::Expired];

    /// The metric label.
    pub const fn label(self) -> &'static str {
        match self {
            TicketError::Malformed => "ticket_malformed",
            TicketError::Unknown => "ticket_unknown",
            TicketError::Expired => "ticket_expired",
        }
    }
}

/// What a ticket stood for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redeemed<T> {
    /// Who asked for the ticket.
    pub identity: Identity,
    /// What it was asked for.
    pub terms: T,
}

struct Held<T> {
    redeemed: Redeemed<T>,
    expires_at: Instant,
}

/// The tickets that wait to be redeemed, each bound to an identity and to terms of type `T`.
pub struct TicketBox<T> {
    limits: TicketLimits,
    held: DashMap<[u8; RANDOM_BYTES], Held<T>>,
    /// Serialises counting and inserting, so that the limits are exact.
    minting: Mutex<()>,
}

impl<T> TicketBox<T> {
    /// An empty box.
    pub fn new(limits: TicketLimits) -> TicketBox<T> {
        TicketBox { limits, held: DashMap::new(), minting: Mutex::new(()) }
    }

    /// How long a ticket lives.
    pub fn ttl(&self) -> Duration {
        self.limits.ttl
    }

    /// Gives out a ticket: [`TICKET_CHARS`] characters that are safe in a URL.
    ///
    /// Sweeps out the expired ones on the way, so that no timer is needed.
    pub fn mint(&self, identity: Identity, terms: T, now: Instant) -> Result<SecretString, TicketRefused> {
        let _turn = self.minting.lock().unwrap_or_else(PoisonError::into_inner);
        let mut of_user = 0;
        self.held.retain(|_, held| {
            let waits = now < held.expires_at;
            of_user += usize::from(waits && held.redeemed.identity.user == identity.user);
            waits
        });
        if of_user >= self.limits.max_per_user {
            return Err(TicketRefused::TooManyOfUser);
        }
        if self.held.len() >= self.limits.max_total {
            return Err(TicketRefused::Full);
        }
        let bytes = random_bytes();
        let held = Held { redeemed: Redeemed { identity, terms }, expires_at: now + self.limits.ttl };
        self.held.insert(Sha256::digest(bytes).into(), held);
        Ok(SecretString::from(URL_SAFE_NO_PAD.encode(bytes)))
    }

    /// Takes a ticket in: at most once, whoever races.
    pub fn redeem(&self, ticket: &str, now: Instant) -> Result<Redeemed<T>, TicketError> {
        if ticket.len() != TICKET_CHARS {
            return Err(TicketError::Malformed);
        }
        let bytes = URL_SAFE_NO_PAD.decode(ticket).map_err(|_| TicketError::Malformed)?;
        let digest: [u8; RANDOM_BYTES] = Sha256::digest(bytes).into();
        match self.held.remove(&digest) {
            None => Err(TicketError::Unknown),
            Some((_, held)) if held.expires_at <= now => Err(TicketError::Expired),
            Some((_, held)) => Ok(held.redeemed),
        }
    }

    /// Forgets the unused tickets of a user; their calls do not begin any more.
    pub fn forget(&self, user: &UserId) {
        self.held.retain(|_, held| held.redeemed.identity.user != *user);
    }

    /// How many tickets are held, expired ones that were not swept yet included.
    pub fn len(&self) -> usize {
        self.held.len()
    }

    /// Whether no ticket is held.
    pub fn is_empty(&self) -> bool {
        self.held.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;
    use std::thread;

    use proptest::prelude::*;
    use secrecy::ExposeSecret;

    use super::super::identity::TenantId;
    use super::*;

    const TTL: Duration = Duration::from_secs(60);

    fn start() -> Instant {
        tokio::time::Instant::now().into_std()
    }

    fn of(user: &str) -> Identity {
        Identity { user: UserId::new(user).unwrap(), tenant: TenantId::default(), expires_at_unix_s: 9, scopes: vec![] }
    }

    fn tickets(max_total: usize, max_per_user: usize) -> TicketBox<&'static str> {
        TicketBox::new(TicketLimits { ttl: TTL, max_total, max_per_user })
    }

    #[test]
    fn a_ticket_is_good_once_and_brings_back_what_it_was_made_for() {
        let (tickets, now) = (tickets(10, 10), start());
        let ticket = tickets.mint(of("ada"), "pcm16", now).unwrap();
        assert_eq!(ticket.expose_secret().len(), TICKET_CHARS);
        let redeemed = tickets.redeem(ticket.expose_secret(), now + TTL - Duration::from_millis(1));
        assert_eq!(redeemed, Ok(Redeemed { identity: of("ada"), terms: "pcm16" }));
        assert_eq!(tickets.redeem(ticket.expose_secret(), now), Err(TicketError::Unknown));
        assert!(tickets.is_empty());
    }

    #[test]
    fn a_user_who_is_forgotten_has_no_tickets_and_others_keep_theirs() {
        let (tickets, now) = (tickets(10, 10), start());
        let (gone, kept) = (tickets.mint(of("ada"), "", now).unwrap(), tickets.mint(of("bob"), "", now).unwrap());
        tickets.forget(&UserId::new("ada").unwrap());
        assert_eq!(tickets.redeem(gone.expose_secret(), now), Err(TicketError::Unknown));
        assert!(tickets.redeem(kept.expose_secret(), now).is_ok());
    }

    #[test]
    fn every_wrong_ticket_says_how() {
        let (tickets, now) = (tickets(10, 10), start());
        let ticket = tickets.mint(of("ada"), "", now).unwrap();
        let good = ticket.expose_secret();
        let other = if good.starts_with('A') { "B" } else { "A" }.to_owned() + &good[1..];
        let table = [
            ("", TicketError::Malformed),
            ("short", TicketError::Malformed),
            (&good[1..], TicketError::Malformed),
            (&format!("{good}A"), TicketError::Malformed),
            (&"A".repeat(1_000_000), TicketError::Malformed),
            (&"!".repeat(43), TicketError::Malformed),
            (&format!("{}=", &good[..42]), TicketError::Malformed),
            (&other, TicketError::Unknown),
            (&"A".repeat(43), TicketError::Unknown),
        ];
        for (wrong, expected) in table {
            assert_eq!(tickets.redeem(wrong, now), Err(expected));
        }
        assert_eq!(tickets.redeem(good, now + TTL), Err(TicketError::Expired));
        assert_eq!(tickets.redeem(good, now), Err(TicketError::Unknown), "an expired ticket does not come back");
    }

    #[test]
    fn of_64_threads_that_race_for_one_ticket_exactly_one_wins() {
        let (tickets, now) = (tickets(10, 10), start());
        for _ in 0..20 {
            let ticket = tickets.mint(of("ada"), "", now).unwrap();
            let gate = Barrier::new(64);
            let wins = thread::scope(|scope| {
                let race = || {
                    gate.wait();
                    tickets.redeem(ticket.expose_secret(), now).is_ok()
                };
                let racers: Vec<_> = (0..64).map(|_| scope.spawn(race)).collect();
                racers.into_iter().map(|racer| usize::from(racer.join().unwrap())).sum::<usize>()
            });
            assert_eq!(wins, 1);
        }
    }

    #[test]
    fn the_limits_hold_until_tickets_are_used_or_expire() {
        let (tickets, now) = (tickets(3, 2), start());
        let mint = |user, now| tickets.mint(of(user), "", now).map(|_| ());
        let first = tickets.mint(of("ada"), "", now).unwrap();
        assert_eq!(mint("ada", now), Ok(()));
        assert_eq!(mint("ada", now), Err(TicketRefused::TooManyOfUser));
        assert_eq!(mint("bob", now), Ok(()));
        assert_eq!(mint("eve", now), Err(TicketRefused::Full));
        assert!(tickets.redeem(first.expose_secret(), now).is_ok());
        assert_eq!(mint("eve", now), Ok(()));
        assert_eq!(mint("eve", now + TTL), Ok(()));
        assert_eq!(tickets.len(), 1, "minting swept out the expired ones");
    }

    #[test]
    fn threads_that_mint_together_stay_within_the_limit() {
        for _ in 0..100 {
            let (tickets, now) = (tickets(5, 100), start());
            let gate = Barrier::new(8);
            let given = thread::scope(|scope| {
                let mint = || {
                    gate.wait();
                    (0..4).filter(|_| tickets.mint(of("ada"), "", now).is_ok()).count()
                };
                let minters: Vec<_> = (0..8).map(|_| scope.spawn(mint)).collect();
                minters.into_iter().map(|minter| minter.join().unwrap()).sum::<usize>()
            });
            assert_eq!((given, tickets.len()), (5, 5));
        }
    }

    proptest! {
        #[test]
        fn no_text_is_a_ticket_by_chance(text in ".{0,60}", like in "[A-Za-z0-9_-]{43}") {
            let tickets = tickets(10, 10);
            prop_assert!(tickets.redeem(&text, start()).is_err());
            prop_assert!(tickets.redeem(&like, start()).is_err());
        }
    }
}
