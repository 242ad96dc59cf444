//! `tandem check --make-cert DIR`: a key and a certificate for a model server, and the pin by which Tandem knows it.

use std::fs::{DirBuilder, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rcgen::{CertificateParams, DnType, KeyPair};

use crate::pool::trust::Pin;
use crate::session::leg::upstream::connect::tls::pin_of;

/// The files that a PersonaPlex server looks for in the directory of its `--ssl`.
const KEY_FILE: &str = "key.pem";
const CERTIFICATE_FILE: &str = "cert.pem";

/// Whom the certificate is for besides those that are asked for: a server can be tried out where it runs.
const THIS_MACHINE: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
pub enum ServerCertificateError {
    /// There is one already: somebody may have pinned its key.
    #[error(
        "{0} exists and is not replaced: servers and pins may depend on it; remove it first, or name another directory"
    )]
    Exists(PathBuf),
    /// A name that no certificate can have.
    #[error("a --host is no host name and no IP address; say, for example, --host 10.0.0.7")]
    Host,
    /// The key or the certificate could not be made.
    #[error("no certificate can be made: {0}")]
    Make(String),
    /// A file could not be written.
    #[error("{path} cannot be written: {error}; name a directory that can be written to")]
    Write {
        /// The file or directory.
        path: PathBuf,
        /// The system's words.
        error: std::io::Error,
    },
}

/// Writes `key.pem`, which only its owner can read, and `cert.pem` into the directory, which is made if it is missing,
/// and gives the pin of the key. Neither file is ever replaced.
///
/// The certificate is self-signed, valid until the year 4096: a pin outlives every date, and so does what it pins.
pub fn make(directory: &Path, hosts: &[String]) -> Result<Pin, ServerCertificateError> {
    let (key_file, certificate_file) = (directory.join(KEY_FILE), directory.join(CERTIFICATE_FILE));
    for file in [&key_file, &certificate_file] {
        if file.exists() {
            return Err(ServerCertificateError::Exists(file.clone()));
        }
    }
    let bare = hosts.iter().map(|host| host.trim_matches(['[', ']']).to_owned());
    let names: Vec<String> = bare.chain(THIS_MACHINE.map(str::to_owned)).collect();
    if names.iter().any(|name| rustls::pki_types::ServerName::try_from(name.as_str()).is_err()) {
        return Err(ServerCertificateError::Host);
    }
    let failed = |error: rcgen::Error| ServerCertificateError::Make(error.to_string());
    let mut params = CertificateParams::new(names).map_err(failed)?;
    params.distinguished_name.push(DnType::CommonName, "PersonaPlex server");
    let key = KeyPair::generate().map_err(failed)?;
    let certificate = params.self_signed(&key).map_err(failed)?;
    let pin = pin_of(certificate.der());
    let pin = pin.ok_or_else(|| ServerCertificateError::Make("it cannot be read back".to_owned()))?;
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)
        .map_err(|error| ServerCertificateError::Write { path: directory.to_owned(), error })?;
    write(&key_file, &key.serialize_pem(), 0o600)?;
    write(&certificate_file, &certificate.pem(), 0o644)?;
    Ok(pin)
}

fn write(path: &Path, text: &str, mode: u32) -> Result<(), ServerCertificateError> {
    let mut options = OpenOptions::new();
    let file = options.write(true).create_new(true).mode(mode).open(path);
    file.and_then(|mut file| file.write_all(text.as_bytes()).and_then(|()| file.sync_all())).map_err(
        |error| match error.kind() {
            ErrorKind::AlreadyExists => ServerCertificateError::Exists(path.to_owned()),
            _ => ServerCertificateError::Write { path: path.to_owned(), error },
        },
    )
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_key_is_made_once_and_is_its_owners_alone() {
        let directory = std::env::temp_dir().join(format!("tandem-{}", uuid::Uuid::new_v4()));
        assert!(matches!(make(&directory, &["no host".into()]), Err(ServerCertificateError::Host)));
        assert!(!directory.exists(), "nothing is left of what was refused");
        let pin = make(&directory, &["voice.example".into(), "[fd00::7]".into()]).unwrap();
        assert!(pin.to_string().starts_with("sha256:"));
        let key = directory.join(KEY_FILE);
        assert_eq!(fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600);
        let before = (fs::read(&key).unwrap(), fs::read(directory.join(CERTIFICATE_FILE)).unwrap());
        assert!(matches!(make(&directory, &[]), Err(ServerCertificateError::Exists(path)) if path == key));
        fs::remove_file(&key).unwrap();
        assert!(matches!(make(&directory, &[]), Err(ServerCertificateError::Exists(path)) if path != key));
        assert!(!key.exists(), "no key without its certificate");
        assert_eq!(fs::read(directory.join(CERTIFICATE_FILE)).unwrap(), before.1);
        fs::remove_dir_all(&directory).unwrap();
    }
}
