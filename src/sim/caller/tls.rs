//! TLS as a caller needs it: the system's roots, and on loopback any certificate.

use std::path::PathBuf;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{WebPkiSupportedAlgorithms, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};

/// Which certificates of a server are good enough.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Trust {
    /// Those that the system's authorities signed, and on this machine any.
    #[default]
    System,
    /// Those that the authorities of a PEM file signed, too.
    AlsoFile(PathBuf),
    /// Any: nobody else is on the way.
    Any,
}

/// A client configuration for a server that is or is not on this machine; the error is a sentence.
pub(super) fn client_config(trust: &Trust, loopback: bool) -> Result<Arc<ClientConfig>, String> {
    let provider = Arc::new(ring::default_provider());
    let algorithms = provider.signature_verification_algorithms;
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    if loopback || *trust == Trust::Any {
        let verifier = Arc::new(AnyIssuer { algorithms });
        let builder = builder.dangerous().with_custom_certificate_verifier(verifier);
        return Ok(Arc::new(builder.with_no_client_auth()));
    }
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if let Trust::AlsoFile(path) = trust {
        let unread = |_| format!("{} is not a readable PEM file of certificates", path.display());
        for certificate in CertificateDer::pem_file_iter(path).map_err(unread)? {
            let unusable = |_| format!("{} has a certificate that is not an authority's", path.display());
            roots.add(certificate.map_err(unread)?).map_err(unusable)?;
        }
    }
    Ok(Arc::new(builder.with_root_certificates(roots).with_no_client_auth()))
}

/// Accepts whoever holds the key of the certificate it shows, whoever signed it.
///
/// Nobody stands between two ends on loopback, and a model server there has a certificate of its own making.
#[derive(Debug)]
struct AnyIssuer {
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for AnyIssuer {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_file_of_authorities_is_read_or_named_as_what_is_wrong() {
        let file = std::env::temp_dir().join(format!("tandem-{}.pem", uuid::Uuid::new_v4()));
        let trust = Trust::AlsoFile(file.clone());
        let sentence = |trust: &Trust| client_config(trust, false).err();
        assert!(sentence(&trust).unwrap().contains("is not a readable PEM file"));
        fs::write(&file, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").unwrap();
        assert!(sentence(&trust).unwrap().contains("not an authority's"));
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        fs::write(&file, made.cert.pem()).unwrap();
        assert_eq!(sentence(&trust), None);
        fs::remove_file(&file).unwrap();
        assert_eq!((sentence(&Trust::System), sentence(&Trust::Any)), (None, None));
    }
}
