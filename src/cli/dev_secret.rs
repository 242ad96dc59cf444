//! The secret that signs tokens in development, kept so that tokens outlive a restart.

use std::io;
use std::path::Path;

use secrecy::{ExposeSecret, SecretString};

use crate::auth::keys::{MIN_SECRET_BYTES, new_secret};

use super::private_file;

/// The file's name in the state directory.
pub const FILE_NAME: &str = "secret";

/// The longest file that is read, in bytes.
const MAX_BYTES: u64 = 4096;

/// Why there is no development secret.
#[derive(Debug, thiserror::Error)]
pub enum DevSecretError {
    /// The file cannot be read or made.
    #[error("{path} cannot be used: {source}; set JWT_SECRET, or let `tandem` write there")]
    Unusable {
        /// The file.
        path: String,
        /// What the operating system says.
        source: io::Error,
    },
    /// The file holds something else.
    #[error("{path} holds no secret of at least {MIN_SECRET_BYTES} bytes; remove it and a new one is made")]
    Damaged {
        /// The file.
        path: String,
    },
}

/// The secret of the state directory; it is made when there is none. All processes get the same.
pub fn read_or_make(directory: &Path) -> Result<SecretString, DevSecretError> {
    let path = directory.join(FILE_NAME);
    let name = || path.display().to_string();
    let unusable = |source| DevSecretError::Unusable { path: name(), source };
    if !path.exists() {
        private_file::write_new(directory, FILE_NAME, new_secret().expose_secret().as_bytes()).map_err(unusable)?;
    }
    let bytes = private_file::read(&path, MAX_BYTES).map_err(unusable)?;
    let text = String::from_utf8(bytes).map_err(|_| DevSecretError::Damaged { path: name() })?;
    let secret = text.trim();
    if secret.len() < MIN_SECRET_BYTES {
        return Err(DevSecretError::Damaged { path: name() });
    }
    Ok(SecretString::from(secret))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn the_secret_is_made_once_and_a_damaged_one_is_not_used() {
        let directory = std::env::temp_dir().join(format!("tandem-{}", uuid::Uuid::new_v4()));
        let first = read_or_make(&directory).unwrap();
        assert!(first.expose_secret().len() >= MIN_SECRET_BYTES);
        assert_eq!(read_or_make(&directory).unwrap().expose_secret(), first.expose_secret());
        for damaged in
            [&b"short"[..], b"", b"\xff\xfe\xff\xfe\xff\xfe\xff\xfe\xff\xfe\xff\xfe\xff\xfe\xff\xfe\xff\xfe\xff\xfe"]
        {
            fs::write(directory.join(FILE_NAME), damaged).unwrap();
            assert!(matches!(read_or_make(&directory), Err(DevSecretError::Damaged { .. })));
        }
        fs::remove_dir_all(&directory).unwrap();
    }
}
