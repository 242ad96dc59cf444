//! TLS to a model server: whom to believe, and what went wrong.

use std::{
    collections::HashMap,
    fmt, io,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, OtherError, RootCertStore, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject},
    server::ParsedCertificate,
};
use sha2::{Digest, Sha256};

use crate::pool::trust::{Pin, Trust};

/// Why TLS cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The CA file cannot be read or holds no certificate.
    #[error("the CA file cannot be used: {0}; it has to hold PEM certificates")]
    CaFile(String),
    /// rustls refused the configuration.
    #[error("TLS cannot be set up: {0}")]
    Setup(#[from] rustls::Error),
    /// No verifier can be made of the authorities.
    #[error("the system has no certificate authorities ({0}): install them (ca-certificates), or pin the server's key")]
    NoRoots(String),
}

/// A certificate that was refused, and what would accept it.
#[derive(Clone, Debug, thiserror::Error)]
#[error("the certificate is not trusted ({reason})")]
pub struct Untrusted {
    /// What was expected and is not so.
    pub reason: String,
    /// The pin of the key that the server holds, if its certificate could be read.
    pub seen: Option<Pin>,
}

/// What went wrong between TCP and HTTP, where it has a name.
#[derive(Clone, Debug)]
pub enum TlsFault {
    /// No TLS record came: a stock server speaks plain HTTP when it finds no certificate, and does not say so.
    PlainHttp,
    /// The certificate was refused.
    Untrusted(Untrusted),
}

impl TlsFault {
    /// The fault that this error of a TLS handshake is, if it is one of these.
    pub fn of(error: &io::Error) -> Option<Self> {
        match error.get_ref()?.downcast_ref::<rustls::Error>()? {
            rustls::Error::InvalidMessage(_) => Some(Self::PlainHttp),
            rustls::Error::InvalidCertificate(CertificateError::Other(OtherError(inner))) => {
                inner.downcast_ref::<Untrusted>().cloned().map(Self::Untrusted)
            }
            _ => None,
        }
    }
}

/// The pin of a certificate, unless it cannot be read.
pub fn pin_of(certificate: &CertificateDer<'_>) -> Option<Pin> {
    let spki = ParsedCertificate::try_from(certificate).ok()?.subject_public_key_info();
    Some(Pin::new(Sha256::digest(&spki).into()))
}

/// The configurations in use, one for each way to trust.
pub(super) struct TlsConfigs {
    provider: Arc<CryptoProvider>,
    made: Mutex<HashMap<Trust, Arc<ClientConfig>>>,
}

impl Default for TlsConfigs {
    fn default() -> Self {
        Self { provider: Arc::new(ring::default_provider()), made: Mutex::default() }
    }
}

impl TlsConfigs {
    /// The configuration for this trust, made when it is first asked for.
    pub(super) fn get(&self, trust: &Trust) -> Result<Arc<ClientConfig>, TlsError> {
        let known = self.made.lock().unwrap_or_else(PoisonError::into_inner).get(trust).cloned();
        known.map_or_else(|| self.make(trust), Ok)
    }

    /// Makes the configuration for this trust anew: files are read again.
    pub(super) fn make(&self, trust: &Trust) -> Result<Arc<ClientConfig>, TlsError> {
        let way = match trust {
            Trust::System => Way::Signed(self.signed(None)?),
            Trust::CaFile(file) => Way::Signed(self.signed(Some(file))?),
            Trust::Pin(pin) => Way::Pinned(*pin),
            Trust::Anything => Way::Anything,
        };
        let verifier = Arc::new(Verifier { way, provider: Arc::clone(&self.provider) });
        let builder = ClientConfig::builder_with_provider(Arc::clone(&self.provider));
        let builder = builder.with_safe_default_protocol_versions()?.dangerous();
        let mut config = builder.with_custom_certificate_verifier(verifier).with_no_client_auth();
        // HTTP/2 has no upgrade: a server that picks it breaks the tunnel.
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let config = Arc::new(config);
        self.made.lock().unwrap_or_else(PoisonError::into_inner).insert(trust.clone(), Arc::clone(&config));
        Ok(config)
    }

    fn signed(&self, ca_file: Option<&Path>) -> Result<Arc<WebPkiServerVerifier>, TlsError> {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        if let Some(file) = ca_file {
            add_ca_file(&mut roots, file)?;
        }
        WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&self.provider))
            .build()
            .map_err(|error| TlsError::NoRoots(error.to_string()))
    }
}

fn add_ca_file(roots: &mut RootCertStore, file: &Path) -> Result<(), TlsError> {
    let wrong = |error: &dyn fmt::Display| TlsError::CaFile(format!("{}: {error}", file.display()));
    let mut found = false;
    for certificate in CertificateDer::pem_file_iter(file).map_err(|error| wrong(&error))? {
        roots.add(certificate.map_err(|error| wrong(&error))?)?;
        found = true;
    }
    if found { Ok(()) } else { Err(wrong(&"no certificate in it")) }
}

/// Whom to believe.
#[derive(Debug)]
enum Way {
    Signed(Arc<WebPkiServerVerifier>),
    Pinned(Pin),
    Anything,
}

/// Believes in one of the ways, and always checks that the peer holds its key.
#[derive(Debug)]
struct Verifier {
    way: Way,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let refused = |reason: String, seen| {
            let untrusted = Arc::new(Untrusted { reason, seen });
            rustls::Error::InvalidCertificate(CertificateError::Other(OtherError(untrusted)))
        };
        match &self.way {
            Way::Anything => Ok(ServerCertVerified::assertion()),
            Way::Signed(verifier) => verifier
                .verify_server_cert(certificate, intermediates, name, ocsp_response, now)
                .map_err(|error| refused(reason(&error), pin_of(certificate))),
            Way::Pinned(pin) => match pin_of(certificate) {
                Some(seen) if seen.matches(pin) => Ok(ServerCertVerified::assertion()),
                seen => Err(refused("its key is not the pinned one".to_owned(), seen)),
            },
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, signature, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, signature, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// What an authority's signature lacks, for people who run the server.
fn reason(error: &rustls::Error) -> String {
    match error {
        rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer) => "nobody known signed it".to_owned(),
        rustls::Error::InvalidCertificate(CertificateError::Expired | CertificateError::ExpiredContext { .. }) => {
            "it has expired".to_owned()
        }
        rustls::Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        ) => "it is for another name".to_owned(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use rustls::{
        ServerConfig,
        pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
    };
    use tokio_rustls::{TlsAcceptor, TlsConnector};

    use super::*;

    struct Server {
        pem: String,
        der: CertificateDer<'static>,
        acceptor: TlsAcceptor,
    }

    fn server(name: &str) -> Server {
        let made = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
        server_with(&made.cert, &made.signing_key)
    }

    /// A server that shows this certificate and signs with this key, whether they belong together or not.
    fn server_with(certificate: &rcgen::Certificate, key: &rcgen::KeyPair) -> Server {
        let provider = ring::default_provider();
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let signer = provider.key_provider.load_private_key(key).unwrap();
        let shown = rustls::sign::CertifiedKey::new(vec![certificate.der().clone()], signer);
        let config = ServerConfig::builder_with_provider(Arc::new(provider))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(shown)));
        let acceptor = TlsAcceptor::from(Arc::new(config));
        Server { pem: certificate.pem(), der: certificate.der().clone(), acceptor }
    }

    /// Shakes hands over a pipe.
    async fn meet(server: &Server, trust: &Trust) -> Result<(), io::Error> {
        let config = TlsConfigs::default().get(trust).unwrap();
        let (ours, theirs) = tokio::io::duplex(16 * 1024);
        let name = ServerName::try_from("voice.example").unwrap();
        let (met, _) = tokio::join!(TlsConnector::from(config).connect(name, ours), server.acceptor.accept(theirs));
        met.map(drop)
    }

    fn untrusted(met: Result<(), io::Error>) -> Untrusted {
        match TlsFault::of(&met.unwrap_err()) {
            Some(TlsFault::Untrusted(untrusted)) => untrusted,
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn a_pinned_key_is_believed_whatever_the_certificate_says_and_no_other_is() {
        let (right, wrong) = (server("another.example"), server("voice.example"));
        let pin = pin_of(&right.der).unwrap();
        meet(&right, &Trust::Pin(pin)).await.unwrap();
        let refused = untrusted(meet(&wrong, &Trust::Pin(pin)).await);
        assert_eq!(refused.seen, pin_of(&wrong.der), "the pin that was seen can be taken over");
        assert!(refused.seen != Some(pin) && refused.reason.contains("pinned"), "{refused}");
    }

    #[tokio::test]
    async fn who_shows_a_certificate_must_hold_its_key() {
        let (mine, stolen) = (
            rcgen::generate_simple_self_signed(["voice.example".to_owned()]).unwrap(),
            rcgen::generate_simple_self_signed(["voice.example".to_owned()]).unwrap(),
        );
        let thief = server_with(&stolen.cert, &mine.signing_key);
        for trust in [Trust::Pin(pin_of(&thief.der).unwrap()), Trust::Anything] {
            meet(&thief, &trust).await.unwrap_err();
        }
    }

    #[tokio::test]
    async fn without_a_pin_signer_and_name_are_looked_at() {
        let file = std::env::temp_dir().join(format!("tandem-{}.pem", uuid::Uuid::new_v4()));
        let (right, other) = (server("voice.example"), server("another.example"));
        let stranger = untrusted(meet(&right, &Trust::System).await);
        assert_eq!((stranger.seen, stranger.reason.as_str()), (pin_of(&right.der), "nobody known signed it"));
        meet(&right, &Trust::Anything).await.unwrap();
        std::fs::write(&file, format!("{}{}", right.pem, other.pem)).unwrap();
        let trust = Trust::CaFile(file.clone());
        meet(&right, &trust).await.unwrap();
        assert_eq!(untrusted(meet(&other, &trust).await).reason, "it is for another name");
        std::fs::remove_file(&file).unwrap();
    }

    #[tokio::test]
    async fn an_answer_without_tls_is_known_as_one() {
        let config = TlsConfigs::default().get(&Trust::Anything).unwrap();
        for (answer, plain) in [(&b"HTTP/1.1 400 Bad Request\r\n\r\n"[..], true), (b"", false)] {
            let (ours, mut theirs) = tokio::io::duplex(16 * 1024);
            let name = ServerName::try_from("voice.example").unwrap();
            let speak = async {
                tokio::io::AsyncWriteExt::write_all(&mut theirs, answer).await.unwrap();
                drop(theirs);
            };
            let (met, ()) = tokio::join!(TlsConnector::from(Arc::clone(&config)).connect(name, ours), speak);
            let fault = TlsFault::of(&met.err().unwrap());
            assert_eq!(matches!(fault, Some(TlsFault::PlainHttp)), plain, "{fault:?}");
        }
    }

    #[test]
    fn files_are_read_again_when_a_configuration_is_made_anew() {
        let file = std::env::temp_dir().join(format!("tandem-{}.pem", uuid::Uuid::new_v4()));
        let (configs, trust) = (TlsConfigs::default(), Trust::CaFile(file.clone()));
        let sentence = |made: Result<Arc<ClientConfig>, TlsError>| made.err().map(|error| error.to_string());
        assert!(sentence(configs.get(&trust)).unwrap().contains("PEM"), "no such file");
        std::fs::write(&file, "no certificate\n").unwrap();
        assert!(sentence(configs.get(&trust)).unwrap().contains("no certificate in it"));
        std::fs::write(&file, server("voice.example").pem).unwrap();
        let first = configs.get(&trust).unwrap();
        assert!(Arc::ptr_eq(&first, &configs.get(&trust).unwrap()), "one for all connections");
        assert!(!Arc::ptr_eq(&first, &configs.make(&trust).unwrap()));
        std::fs::remove_file(&file).unwrap();
        assert!(configs.get(&trust).is_ok() && configs.make(&trust).is_err());
    }
}
