//! Encryption of what was said, at rest (pure but for the chance that a nonce needs).
//!
//! A text is sealed with AES-256-GCM under a random nonce, and bound to its place: the session, the field and the number
//! of the line. So texts cannot change places unseen. Texts that were written before there was a key are read as they are,
//! and anybody who may write to the store can put such a text there: this keeps what was said from whoever gets hold of a
//! disk or a copy, and not the store's word from whoever changes it.
//!
//! A key seals at most 2^32 texts before two nonces are likely to meet; so it is changed before that. `ring` does not wipe
//! its keys when they are dropped.

mod record;

use std::{collections::BTreeSet, fmt, sync::Arc};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use ring::{
    aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    rand::{SecureRandom as _, SystemRandom},
};
use secrecy::{ExposeSecret as _, SecretString, zeroize::Zeroizing};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

/// A sealed text: this, the key's id, a colon, and in base64 the nonce and what it hides.
const SEALED: &str = "tandem-sealed:1:";
/// A text in the open that begins like one of these two stands behind this.
const OPEN: &str = "tandem-open:1:";
/// What all forms of ours begin with.
const OURS: &str = "tandem-";
/// The bytes of a key.
pub const KEY_BYTES: usize = 32;
/// Fewer different bytes are nothing that chance has made: 32 random ones have some 30.
const LEAST_VARIETY: usize = 12;
const ID_CHARS: usize = 8;

/// Where a text belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The call.
    pub session: Uuid,
    /// The field.
    pub field: Field,
}

/// Which of a call's texts it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    /// What a later call should know.
    Recap,
    /// The line of this number, from 0.
    Line(u32),
    /// The whole record, while it waits for the store; of the call's beginning or of its end.
    Waiting {
        /// Whether it has the end.
        ended: bool,
    },
}

/// Why a list of keys cannot be used. It does not repeat them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyListError {
    /// Not 32 bytes in base64.
    #[error("key {0} is not {KEY_BYTES} bytes in base64")]
    Form(usize),
    /// Not made by chance.
    #[error("key {0} is made of a few bytes, and could be guessed")]
    Weak(usize),
    /// The same key again.
    #[error("key {0} is there twice")]
    Twice(usize),
}

/// Why a text cannot be sealed or read. It says nothing of the text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// No key of this id.
    #[error(
        "a text is encrypted with the key {0}, which is not in store.encryption_key (TANDEM__STORE__ENCRYPTION_KEY); put \
         it there, behind the one that new texts are encrypted with"
    )]
    NoKey(String),
    /// Not what was written there.
    #[error(
        "an encrypted text is damaged, or was written in another place: it cannot be read with the key of \
         store.encryption_key (TANDEM__STORE__ENCRYPTION_KEY) that it names"
    )]
    Damaged,
    /// The system gives no random numbers.
    #[error("the system gives no random numbers, so that nothing can be encrypted")]
    NoChance,
}

/// Seals and opens texts; without a key it writes them as they are. Its `Debug` shows no key. Clones share the keys.
#[derive(Clone, Default)]
pub struct Seal {
    keys: Arc<[Key]>,
}

struct Key {
    id: String,
    key: LessSafeKey,
}

impl fmt::Debug for Seal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Seal").field("keys", &self.keys.len()).finish()
    }
}

impl Seal {
    /// The keys of a list with commas in between: the first one seals, all of them open. An empty list has none.
    pub fn read(list: &SecretString) -> Result<Seal, KeyListError> {
        let mut keys: Vec<Key> = Vec::new();
        let written = list.expose_secret().split(',').map(str::trim).filter(|text| !text.is_empty());
        for (at, text) in written.enumerate() {
            let key = Key::read(text, at + 1)?;
            if keys.iter().any(|known| known.id == key.id) {
                return Err(KeyListError::Twice(at + 1));
            }
            keys.push(key);
        }
        Ok(Seal { keys: keys.into() })
    }

    /// Whether new texts are encrypted.
    pub fn is_on(&self) -> bool {
        !self.keys.is_empty()
    }

    /// The ids of the keys, that of new texts first.
    pub fn ids(&self) -> impl Iterator<Item = &str> {
        self.keys.iter().map(|key| key.id.as_str())
    }

    /// A text as it is to be written.
    pub fn seal(&self, place: Place, text: &str) -> Result<String, SealError> {
        let Some(Key { id, key }) = self.keys.first() else {
            return Ok(if text.starts_with(OURS) { format!("{OPEN}{text}") } else { text.to_owned() });
        };
        let mut nonce = [0; NONCE_LEN];
        SystemRandom::new().fill(&mut nonce).map_err(|_| SealError::NoChance)?;
        let mut hidden = Vec::with_capacity(NONCE_LEN + text.len() + AES_256_GCM.tag_len());
        hidden.extend_from_slice(text.as_bytes());
        let nonced = Nonce::assume_unique_for_key(nonce);
        key.seal_in_place_append_tag(nonced, place.aad(id), &mut hidden).map_err(|_| SealError::Damaged)?;
        hidden.splice(0..0, nonce);
        Ok(format!("{SEALED}{id}:{}", STANDARD.encode(hidden)))
    }

    /// A text as it was before it was written.
    pub fn open(&self, place: Place, text: String) -> Result<String, SealError> {
        if let Some(open) = text.strip_prefix(OPEN) {
            return Ok(open.to_owned());
        }
        let Some(sealed) = text.strip_prefix(SEALED) else { return Ok(text) };
        let (id, hidden) = sealed.split_once(':').ok_or(SealError::Damaged)?;
        if id.len() != ID_CHARS || !id.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(SealError::Damaged);
        }
        let Some(Key { key, .. }) = self.keys.iter().find(|key| key.id == id) else {
            return Err(SealError::NoKey(id.to_owned()));
        };
        let mut hidden = STANDARD.decode(hidden).map_err(|_| SealError::Damaged)?;
        if hidden.len() < NONCE_LEN {
            return Err(SealError::Damaged);
        }
        let mut text = hidden.split_off(NONCE_LEN);
        let nonce = Nonce::try_assume_unique_for_key(&hidden).map_err(|_| SealError::Damaged)?;
        let length = key.open_in_place(nonce, place.aad(id), &mut text).map_err(|_| SealError::Damaged)?.len();
        text.truncate(length);
        String::from_utf8(text).map_err(|_| SealError::Damaged)
    }
}

/// The bytes of a text as it was before it was written, whether or not it can be opened: limits are those of texts.
pub fn plain_bytes(text: &str) -> usize {
    match text.strip_prefix(SEALED).and_then(|sealed| sealed.split_once(':')) {
        None => text.strip_prefix(OPEN).unwrap_or(text).len(),
        Some((_, hidden)) => {
            let padding = hidden.bytes().rev().take_while(|byte| *byte == b'=').count();
            (hidden.len() / 4 * 3).saturating_sub(padding + NONCE_LEN + AES_256_GCM.tag_len())
        }
    }
}

impl Key {
    fn read(text: &str, number: usize) -> Result<Key, KeyListError> {
        let form = || KeyListError::Form(number);
        let bytes = Zeroizing::new(STANDARD.decode(text).map_err(|_| form())?);
        if bytes.len() != KEY_BYTES {
            return Err(form());
        }
        let different: BTreeSet<u8> = bytes.iter().copied().collect();
        if different.len() < LEAST_VARIETY {
            return Err(KeyListError::Weak(number));
        }
        let key = UnboundKey::new(&AES_256_GCM, &bytes).map_err(|_| form())?;
        // Of a digest of 32 random bytes four say nothing about them.
        let digest = Sha256::new().chain_update(b"tandem key id").chain_update(&*bytes).finalize();
        let id = digest.iter().take(ID_CHARS / 2).map(|byte| format!("{byte:02x}")).collect();
        Ok(Key { id, key: LessSafeKey::new(key) })
    }
}

impl Place {
    /// What is sealed with the text without being in it: version, key, session, field and number, each of a fixed length.
    fn aad(&self, id: &str) -> Aad<Vec<u8>> {
        let (field, number) = match self.field {
            Field::Recap => (b'r', 0),
            Field::Line(number) => (b'l', number),
            Field::Waiting { ended } => (b'w', u32::from(ended)),
        };
        let mut bytes = SEALED.as_bytes().to_vec();
        bytes.extend_from_slice(id.as_bytes());
        bytes.extend_from_slice(self.session.as_bytes());
        bytes.push(field);
        bytes.extend_from_slice(&number.to_be_bytes());
        Aad::from(bytes)
    }
}

#[cfg(test)]
mod tests;
