//! Files that only their owner may read, replaced as a whole or not at all.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use uuid::Uuid;

/// Writes `directory/name` with mode 0600; a directory that does not exist is made with mode 0700.
///
/// Whoever reads the file meanwhile sees the old content or the new, never a part.
pub fn write(directory: &Path, name: &str, content: &[u8]) -> io::Result<()> {
    let draft = draft(directory, name, content)?;
    fs::rename(&draft, directory.join(name)).inspect_err(|_| discard(&draft))
}

/// Writes `directory/name` as [`write`] does, unless it exists; says whether it was written.
///
/// Of several processes that try, exactly one succeeds.
pub fn write_new(directory: &Path, name: &str, content: &[u8]) -> io::Result<bool> {
    let draft = draft(directory, name, content)?;
    let linked = fs::hard_link(&draft, directory.join(name));
    discard(&draft);
    match linked {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(error),
    }
}

/// Makes the directory, for its owner only.
pub fn make_directory(directory: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    close_to_others(directory, 0o700)
}

/// Takes from others what an older file or directory of this name let them do.
fn close_to_others(path: &Path, mode: u32) -> io::Result<()> {
    match fs::metadata(path)?.permissions().mode() & 0o077 {
        0 => Ok(()),
        _ => fs::set_permissions(path, fs::Permissions::from_mode(mode)),
    }
}

/// Reads a file of at most `max_bytes`, and closes it to others first; a longer one is an error.
pub fn read(path: &Path, max_bytes: u64) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    close_to_others(path, 0o600)?;
    File::open(path)?.take(max_bytes + 1).read_to_end(&mut content)?;
    if content.len() as u64 > max_bytes {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("it is longer than {max_bytes} bytes")));
    }
    Ok(content)
}

fn draft(directory: &Path, name: &str, content: &[u8]) -> io::Result<PathBuf> {
    make_directory(directory)?;
    let path = directory.join(format!(".{name}.{}", Uuid::new_v4()));
    let written = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path).and_then(|mut file| {
        file.write_all(content)?;
        file.sync_all()
    });
    match written {
        Ok(()) => Ok(path),
        Err(error) => {
            discard(&path);
            Err(error)
        }
    }
}

fn discard(draft: &Path) {
    // A draft that cannot be removed is in nobody's way: its name is used once.
    let _ = fs::remove_file(draft);
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn only_the_owner_may_read_and_nothing_is_left_behind() {
        let directory = std::env::temp_dir().join(format!("tandem-{}", Uuid::new_v4()));
        write(&directory, "a", b"one").unwrap();
        write(&directory, "a", b"two").unwrap();
        assert_eq!(fs::read(directory.join("a")).unwrap(), b"two");
        assert_eq!((mode(&directory), mode(&directory.join("a"))), (0o700, 0o600));
        assert!(write_new(&directory, "b", b"mine").unwrap());
        assert!(!write_new(&directory, "b", b"yours").unwrap());
        assert_eq!(fs::read(directory.join("b")).unwrap(), b"mine");
        assert_eq!(mode(&directory.join("b")), 0o600);
        assert_eq!(read(&directory.join("b"), 4).unwrap(), b"mine");
        assert!(read(&directory.join("b"), 3).is_err());
        assert_eq!(fs::read_dir(&directory).unwrap().count(), 2);
        fs::remove_dir_all(&directory).unwrap();
    }
}
