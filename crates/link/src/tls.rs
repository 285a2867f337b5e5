//! TLS of the link: 1.3 only, ring, ALPN `http/1.1`.
//!
//! An agent trusts its machine's root certificates, or one pin. With a pin, only the pin counts: a self-made certificate
//! has no issuer, and its names and dates say nothing that the pin does not say better.
//!
//! Roots are those of the machine (`rustls-native-certs`, which reads the files OpenSSL would, also in a static binary)
//! and not a list built in: an owner's own authority works, and a root that was withdrawn is gone with the next update.

use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use hostler_identity::{CertificateFacts, Pin};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, ConnectionCommon, DigitallySignedStruct, Error, OtherError, RootCertStore,
    SignatureScheme,
};

/// The only application protocol spoken.
pub const ALPN: &[u8] = b"http/1.1";

/// Label of the channel binding `tls-exporter` (RFC 9266, 3).
const EXPORTER_LABEL: &[u8] = b"EXPORTER-Channel-Binding";

/// Whose certificate is believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trust {
    /// Certificates that this machine's roots vouch for.
    System,
    /// The certificate with this public key, and no other.
    Pinned(Pin),
}

/// TLS cannot be set up on this machine.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsSetupError {
    /// The machine has no root certificates, or they cannot be used.
    #[error(
        "this machine's root certificates cannot be used: {0}; install the package ca-certificates, or set SSL_CERT_FILE, or join with the line that `hostler hosts token` prints at a gateway whose certificate is self-made"
    )]
    Roots(String),
    /// The TLS library refuses its settings.
    #[error("TLS cannot be set up: {0}")]
    Library(#[from] Error),
}

/// A client's settings that believe `trust`, also for HTTP libraries. Reads the machine's root files each time, so a
/// changed file counts at the next call.
///
/// # Errors
/// [`TlsSetupError::Roots`], with [`Trust::System`] only.
pub fn client_config(trust: &Trust) -> Result<ClientConfig, TlsSetupError> {
    config(verifier(trust)?)
}

/// The connection's `tls-exporter` channel binding (RFC 9266): equal at both ends, different for every connection.
/// `None` before the handshake is done.
pub fn channel_binding<Data>(connection: &ConnectionCommon<Data>) -> Option<[u8; 32]> {
    connection.export_keying_material([0; 32], EXPORTER_LABEL, Some(&[])).ok()
}

pub(crate) fn config(verifier: Arc<dyn ServerCertVerifier>) -> Result<ClientConfig, TlsSetupError> {
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    config.alpn_protocols = vec![ALPN.to_vec()];
    Ok(config)
}

pub(crate) fn verifier(trust: &Trust) -> Result<Arc<dyn ServerCertVerifier>, TlsSetupError> {
    match trust {
        Trust::Pinned(pin) => Ok(Arc::new(Pinned { pin: *pin, provider: provider() })),
        Trust::System => {
            let found = rustls_native_certs::load_native_certs();
            let mut roots = RootCertStore::empty();
            roots.add_parsable_certificates(found.certs);
            if roots.is_empty() {
                let why = found.errors.first().map_or_else(|| "there are none".to_owned(), ToString::to_string);
                return Err(TlsSetupError::Roots(why));
            }
            rooted(roots)
        }
    }
}

fn rooted(roots: RootCertStore) -> Result<Arc<dyn ServerCertVerifier>, TlsSetupError> {
    let built = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider()).build();
    Ok(built.map_err(|error| TlsSetupError::Roots(error.to_string()))?)
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

/// The certificate has another public key than the pin says.
#[derive(Debug)]
struct WrongPin {
    expected: Pin,
    found: Pin,
}

impl fmt::Display for WrongPin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "its certificate has the pin {}, expected was {}; when the gateway was made anew, join again with the line that `hostler hosts token` prints there; otherwise somebody else answers at this address",
            self.found, self.expected
        )
    }
}

impl std::error::Error for WrongPin {}

#[derive(Debug)]
struct Pinned {
    pin: Pin,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let found = Pin::of_certificate(certificate).map_err(|_| CertificateError::BadEncoding)?;
        // Pins are public: comparing them in constant time would hide nothing.
        if found == self.pin {
            return Ok(ServerCertVerified::assertion());
        }
        Err(Error::Other(OtherError(Arc::new(WrongPin { expected: self.pin, found }))))
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        // Never asked: the settings have TLS 1.3 only.
        Err(Error::General("TLS 1.2 is not spoken".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// Keeps the certificate that was shown, whatever `inner` thinks of it.
#[derive(Debug)]
pub(crate) struct Recording {
    inner: Arc<dyn ServerCertVerifier>,
    shown: Mutex<Option<CertificateFacts>>,
}

impl Recording {
    pub(crate) fn new(inner: Arc<dyn ServerCertVerifier>) -> Arc<Self> {
        Arc::new(Self { inner, shown: Mutex::default() })
    }

    pub(crate) fn shown(&self) -> Option<CertificateFacts> {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl ServerCertVerifier for Recording {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        *self.shown.lock().unwrap_or_else(PoisonError::into_inner) = CertificateFacts::read(certificate).ok();
        self.inner.verify_server_cert(certificate, intermediates, name, ocsp, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}

/// Why a handshake failed, for people: `name` is host and port.
pub(crate) fn explain(error: &io::Error, name: &str) -> String {
    let Some(error) = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) else {
        return match error.kind() {
            io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset => {
                "it closed the connection instead of answering; if it serves plain HTTP, use http://".to_owned()
            }
            _ => error.to_string(),
        };
    };
    match error {
        Error::Other(OtherError(other)) => other.to_string(),
        Error::InvalidCertificate(CertificateError::UnknownIssuer) => format!(
            "the certificate of {name} is not trusted here; a self-made certificate needs its pin: join with the line that `hostler hosts token` prints"
        ),
        Error::InvalidCertificate(CertificateError::Expired | CertificateError::ExpiredContext { .. }) => {
            format!("the certificate of {name} has expired; renew it at the gateway, or set this machine's clock right")
        }
        Error::InvalidCertificate(CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. }) => {
            format!("the certificate of {name} is not valid yet; set this machine's clock right")
        }
        Error::InvalidCertificate(CertificateError::NotValidForNameContext { presented, .. }) => {
            let names: Vec<_> = presented.iter().take(8).map(|name| name.escape_debug().to_string()).collect();
            let names = if names.is_empty() { "no name".to_owned() } else { names.join(", ") };
            format!("the certificate of {name} is for {names}; dial that name")
        }
        Error::InvalidMessage(_) => format!("{name} does not speak TLS; if it serves plain HTTP, use http://"),
        Error::AlertReceived(rustls::AlertDescription::ProtocolVersion)
        | Error::PeerIncompatible(rustls::PeerIncompatible::ServerDoesNotSupportTls12Or13)
        | Error::PeerIncompatible(rustls::PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig) => {
            format!("{name} does not speak TLS 1.3")
        }
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
    use rustls::ServerConfig;
    use rustls::pki_types::PrivateKeyDer;
    use tokio_rustls::{TlsAcceptor, TlsConnector};

    /// What a client that trusts one authority says of a certificate that this authority made.
    async fn judged(change: impl FnOnce(&mut CertificateParams)) -> Result<(), String> {
        let authority_key = KeyPair::generate().unwrap();
        let mut authority = CertificateParams::default();
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let root = authority.self_signed(&authority_key).unwrap();
        let issuer = Issuer::new(authority, authority_key);
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(["gateway.example".to_owned()]).unwrap();
        change(&mut params);
        let certificate = params.signed_by(&key, &issuer).unwrap();
        let private = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let server = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], private)
            .unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(root.der().clone()).unwrap();
        let client = config(rooted(roots).unwrap()).unwrap();
        let (near, far) = tokio::io::duplex(16 * 1024);
        let server = tokio::spawn(async move { TlsAcceptor::from(Arc::new(server)).accept(far).await.map(drop) });
        let name = ServerName::try_from("gateway.example").unwrap();
        let result = TlsConnector::from(Arc::new(client)).connect(name, near).await;
        let _ = server.await.unwrap();
        result.map(drop).map_err(|error| explain(&error, "gateway.example:443"))
    }

    #[tokio::test]
    async fn roots_judge_dates_and_names_in_words() {
        assert_eq!(judged(|_| ()).await, Ok(()));
        let expired = judged(|params| params.not_after = rcgen::date_time_ymd(2020, 1, 1)).await.unwrap_err();
        assert!(expired.contains("has expired"), "{expired}");
        let early = judged(|params| params.not_before = rcgen::date_time_ymd(2200, 1, 1)).await.unwrap_err();
        assert!(early.contains("not valid yet"), "{early}");
        let other = |params: &mut CertificateParams| {
            params.subject_alt_names = CertificateParams::new(["other.example".to_owned()]).unwrap().subject_alt_names;
        };
        let other = judged(other).await.unwrap_err();
        assert!(other.contains("other.example"), "{other}");
    }
}
