//! One serving process a state directory.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::path::Path;

use super::private_file;

/// The file's name in the state directory.
const FILE_NAME: &str = "lock";

/// Why this process may not serve from a directory.
#[derive(Debug, thiserror::Error)]
pub enum StateLockError {
    /// Another process does.
    #[error("another tandem serves from {directory}; stop it first, or set another state.dir (TANDEM__STATE__DIR)")]
    Taken {
        /// The directory.
        directory: String,
    },
    /// The file cannot be made.
    #[error("{directory} cannot be used for state: {source}; set state.dir (TANDEM__STATE__DIR) to one that can")]
    Unusable {
        /// The directory.
        directory: String,
        /// What the operating system says.
        source: io::Error,
    },
}

/// The right to serve from a state directory. The system takes it back when the process ends, however it ends.
///
/// Two processes on the same model servers would not know of each other's calls, and a stock server mixes prompts of two.
#[derive(Debug)]
pub struct StateLock {
    _file: File,
}

impl StateLock {
    /// Takes the lock, or says who has it.
    pub fn take(directory: &Path) -> Result<StateLock, StateLockError> {
        let name = || directory.display().to_string();
        let unusable = |source| StateLockError::Unusable { directory: name(), source };
        private_file::make_directory(directory).map_err(unusable)?;
        let path = directory.join(FILE_NAME);
        let file = OpenOptions::new().write(true).create(true).truncate(false).open(path).map_err(unusable)?;
        match file.try_lock() {
            Ok(()) => Ok(StateLock { _file: file }),
            Err(TryLockError::WouldBlock) => Err(StateLockError::Taken { directory: name() }),
            Err(TryLockError::Error(source)) => Err(unusable(source)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_has_one_holder_at_a_time() {
        let directory = std::env::temp_dir().join(format!("tandem-{}", uuid::Uuid::new_v4()));
        let held = StateLock::take(&directory).unwrap();
        assert!(matches!(StateLock::take(&directory), Err(StateLockError::Taken { .. })));
        drop(held);
        assert!(StateLock::take(&directory).is_ok());
        std::fs::remove_dir_all(&directory).unwrap();
        assert!(matches!(StateLock::take(Path::new("/dev/null/x")), Err(StateLockError::Unusable { .. })));
    }
}
