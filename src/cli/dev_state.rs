//! What `serve` leaves behind in development, so that other commands beside it need neither URL nor token.

use std::io;
use std::path::Path;

use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};

use super::private_file;

/// The file's name in the state directory.
pub const FILE_NAME: &str = "dev.json";

/// The longest file that is read, in bytes.
const MAX_BYTES: u64 = 64 * 1024;

/// Where a development server listens, and a token that it accepts.
#[derive(Clone, Debug)]
pub struct DevState {
    /// Its address, for example `http://127.0.0.1:8080`.
    pub url: String,
    /// A JWT.
    pub token: SecretString,
}

/// Why the state could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum DevStateError {
    /// There is none.
    #[error("no server is known here: start `tandem serve` in this directory, or give --url")]
    Missing,
    /// The file cannot be read.
    #[error("{path} cannot be read: {reason}; remove it and start `tandem serve` again, or give --url")]
    Unreadable {
        /// The file.
        path: String,
        /// What is wrong with it; nothing of it is repeated.
        reason: String,
    },
    /// The file cannot be written.
    #[error("{path} cannot be written: {source}")]
    Unwritable {
        /// The file.
        path: String,
        /// What the operating system says.
        source: io::Error,
    },
}

#[derive(Serialize, Deserialize)]
struct Content {
    url: String,
    token: String,
}

impl DevState {
    /// Writes the state into the state directory, for its owner only.
    pub fn write(&self, directory: &Path) -> Result<(), DevStateError> {
        let content = Content { url: self.url.clone(), token: self.token.expose_secret().to_owned() };
        let failed =
            |source| DevStateError::Unwritable { path: directory.join(FILE_NAME).display().to_string(), source };
        let json = serde_json::to_vec_pretty(&content).map_err(|error| failed(error.into()))?;
        private_file::write(directory, FILE_NAME, &json).map_err(failed)
    }

    /// Reads the state from the state directory.
    pub fn read(directory: &Path) -> Result<DevState, DevStateError> {
        let path = directory.join(FILE_NAME);
        let unreadable = |reason: String| DevStateError::Unreadable { path: path.display().to_string(), reason };
        let json = match private_file::read(&path, MAX_BYTES) {
            Ok(json) => json,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(DevStateError::Missing),
            Err(error) => return Err(unreadable(error.to_string())),
        };
        let content: Content = serde_json::from_slice(&json)
            .map_err(|_| unreadable("it is not a JSON object with url and token".to_owned()))?;
        Ok(DevState { url: content.url, token: content.token.into() })
    }

    /// Removes the state, as a server does that stops; a state that is not there is gone already.
    pub fn remove(directory: &Path) {
        let _ = std::fs::remove_file(directory.join(FILE_NAME));
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn what_serve_writes_a_call_reads() {
        let directory = std::env::temp_dir().join(format!("tandem-{}", uuid::Uuid::new_v4()));
        assert!(matches!(DevState::read(&directory), Err(DevStateError::Missing)));
        let state = DevState { url: "http://127.0.0.1:8080".into(), token: SecretString::from("a.b.c") };
        state.write(&directory).unwrap();
        let read = DevState::read(&directory).unwrap();
        assert_eq!((read.url.as_str(), read.token.expose_secret()), ("http://127.0.0.1:8080", "a.b.c"));
        assert!(!format!("{read:?}").contains("a.b.c"));
        fs::write(directory.join(FILE_NAME), r#"{"url":1,"token":"hush"}"#).unwrap();
        let error = DevState::read(&directory).unwrap_err().to_string();
        assert!(error.contains("not a JSON object with url and token") && !error.contains("hush"), "{error}");
        DevState::remove(&directory);
        assert!(matches!(DevState::read(&directory), Err(DevStateError::Missing)));
        fs::remove_dir_all(&directory).unwrap();
    }
}
