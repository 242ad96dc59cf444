//! Who is calling: signed tokens, the secrets behind them, and one-use tickets.
//!
//! Everything here is decided from arguments, time included: nothing reads a clock or waits.

pub mod identity;
pub mod keys;
pub mod operator_key;
pub mod ticket;
pub mod token;

pub use identity::{Identity, TenantId, UserId, UserIdError, pseudonym_of};
pub use keys::{KeyError, MIN_SECRET_BYTES, SigningKey, new_secret};
pub use operator_key::OperatorKey;
pub use ticket::{Redeemed, TicketBox, TicketError, TicketLimits, TicketRefused};
pub use token::{TokenError, TokenRules, Tokens};
