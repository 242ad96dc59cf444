//! A verified caller, in types that are safe to log.

use std::fmt;

use sha2::{Digest, Sha256};

/// The longest user id, in bytes.
pub const MAX_USER_ID_BYTES: usize = 128;

/// A user as the back end names them. `Debug` and `Display` show a pseudonym, never the id.
///
/// The pseudonym is `u_` and 12 hex digits of a SHA-256, the same for the same user everywhere, so that log lines can be
/// joined. It hides ids from readers of logs; whoever can guess an id can also compute its pseudonym.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UserId(String);

/// Why a text is not a user id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a user id is 1 to {MAX_USER_ID_BYTES} bytes of printable text")]
pub struct UserIdError;

impl UserId {
    /// Takes 1 to [`MAX_USER_ID_BYTES`] bytes of printable text.
    pub fn new(id: impl Into<String>) -> Result<UserId, UserIdError> {
        let id = id.into();
        let fits = (1..=MAX_USER_ID_BYTES).contains(&id.len());
        if fits && id.chars().all(is_printable) { Ok(UserId(id)) } else { Err(UserIdError) }
    }

    /// The real id: for lookups in stores, never for logs.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// The id's whole hash: what users are told apart by. The pseudonym is too short for that, two ids may share one.
    pub fn hash(&self) -> [u8; 32] {
        Sha256::new().chain_update(b"tandem user\0").chain_update(self.0.as_bytes()).finalize().into()
    }

    /// The name to use in logs, for example `u_5e884898da28`.
    pub fn pseudonym(&self) -> String {
        pseudonym_of(&self.hash())
    }
}

/// The pseudonym of the user whose hash this is.
pub fn pseudonym_of(hash: &[u8; 32]) -> String {
    hash.iter().take(6).fold(String::from("u_"), |name, byte| name + &format!("{byte:02x}"))
}

impl fmt::Debug for UserId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.pseudonym())
    }
}

impl fmt::Display for UserId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.pseudonym())
    }
}

/// Neither a control character, nor one that hides itself or turns the direction of the text around it.
fn is_printable(c: char) -> bool {
    !c.is_control()
        && !matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

/// Whose user somebody is, as a hash: tenants are told apart, and never named. Without a name it is the default tenant.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TenantId([u8; 32]);

impl TenantId {
    /// Takes 1 to [`MAX_USER_ID_BYTES`] bytes of printable text.
    pub fn new(name: &str) -> Result<TenantId, UserIdError> {
        UserId::new(name).map(|name| Self::of(name.expose()))
    }

    fn of(name: &str) -> TenantId {
        TenantId(Sha256::new().chain_update(b"tandem tenant\0").chain_update(name.as_bytes()).finalize().into())
    }

    /// What tenants are told apart by.
    pub const fn hash(&self) -> [u8; 32] {
        self.0
    }
}

impl Default for TenantId {
    fn default() -> Self {
        Self::of("")
    }
}

impl fmt::Debug for TenantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TenantId(..)")
    }
}

/// What a verified token says about its bearer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Who is calling.
    pub user: UserId,
    /// Whose user that is.
    pub tenant: TenantId,
    /// When the permission runs out, in seconds since 1970-01-01 UTC, leeway not included.
    pub expires_at_unix_s: u64,
    /// What the bearer may do, as the token lists it.
    pub scopes: Vec<String>,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_user_id_is_short_printable_text() {
        for good in ["a", "507f1f77bcf86cd799439011", "auth0|7", "Zoë 🙂", &"x".repeat(128)] {
            assert_eq!(UserId::new(good).map(|user| user.expose().to_owned()), Ok(good.to_owned()));
        }
        for bad in ["", "a\nb", "a\u{0}", "a\u{202e}b", "\u{feff}a", "\u{7f}", &"x".repeat(129)] {
            assert_eq!(UserId::new(bad), Err(UserIdError), "{bad:?}");
        }
    }

    #[test]
    fn logs_see_the_same_pseudonym_every_time_and_never_the_id() {
        let user = UserId::new("ada@example.org").unwrap();
        let identity = Identity {
            user: user.clone(),
            tenant: TenantId::new("acme").unwrap(),
            expires_at_unix_s: 1,
            scopes: vec![],
        };
        assert_eq!(format!("{user}"), format!("{user:?}"));
        assert_eq!(user.pseudonym(), UserId::new("ada@example.org").unwrap().pseudonym());
        assert_ne!(user.pseudonym(), UserId::new("bob@example.org").unwrap().pseudonym());
        assert_eq!(user.pseudonym().len(), 14);
        assert_ne!(user.hash(), UserId::new("bob@example.org").unwrap().hash());
        assert_eq!(user.pseudonym()[2..4], format!("{:02x}", user.hash()[0]), "a part of the whole hash");
        assert!(!format!("{identity:?}").contains("ada") && !format!("{identity:?}").contains("acme"));
    }

    #[test]
    fn tenants_are_told_apart_and_those_without_a_name_are_one() {
        let [acme, other] = ["acme", "other"].map(|name| TenantId::new(name).unwrap());
        assert_eq!(acme, TenantId::new("acme").unwrap());
        assert!(acme != other && acme != TenantId::default());
        assert_eq!(TenantId::new("").err(), Some(UserIdError));
        assert_ne!(acme.hash(), UserId::new("acme").unwrap().hash(), "a tenant is no user of the same name");
    }

    proptest! {
        #[test]
        fn any_text_is_taken_or_refused_without_panic(text in ".{0,200}") {
            prop_assert_eq!(UserId::new(text.clone()).is_ok(), (1..=128).contains(&text.len()) && text.chars().all(is_printable));
        }
    }
}
