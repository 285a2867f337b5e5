//! TLS of the gateway: 1.3 only, ring, ALPN `http/1.1`.
//!
//! The certificate is a given one, read again when its files change, or one made here: ECDSA P-256, kept in `DATA/tls` and
//! known by its pin. A self-made one is made once and for all, since every host that joined holds its pin.

use std::fs;
use std::io::{self, Write};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use hostler_identity::Pin;
use hostler_model::ByteStr;
use rcgen::{CertificateParams, DnType, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

/// Time between two looks at given files.
const LOOK: Duration = Duration::from_secs(60);
/// A self-made certificate is valid for this many years; agents look at its pin only.
const YEARS: i32 = 10;
/// Largest certificate or key file, bytes.
const FILE_MAX: u64 = 1024 * 1024;

/// Which TLS a gateway speaks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum TlsSettings {
    /// None: loopback, a proxy in front, or plain HTTP that was asked for.
    #[default]
    Off,
    /// A certificate made here, believed by its pin.
    SelfMade,
    /// Given files in PEM: the chain, the gateway's own first, and its private key.
    Files {
        /// The chain.
        cert: PathBuf,
        /// The key.
        key: PathBuf,
    },
}

/// The certificate cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file.
    #[error("cannot {action} {path}: {source}")]
    File {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: ByteStr,
        /// Why not.
        source: io::Error,
    },
    /// A file holds something else.
    #[error("{path} {what}; the certificate and its key are wanted in PEM")]
    Content {
        /// Which.
        path: ByteStr,
        /// What is wrong with it.
        what: String,
    },
    /// None was made.
    #[error("no certificate could be made: {0}")]
    Make(#[from] rcgen::Error),
}

/// The certificate in use.
pub(crate) struct Tls {
    files: Option<Watched>,
    present: RwLock<Present>,
    self_made: bool,
}

#[derive(Clone)]
struct Present {
    config: Arc<ServerConfig>,
    pin: Pin,
}

struct Watched {
    cert: PathBuf,
    key: PathBuf,
}

impl Tls {
    /// Reads or makes the certificate; `None` for [`TlsSettings::Off`]. `listen` is named in one that is made.
    pub(crate) fn open(settings: &TlsSettings, data: &Path, listen: IpAddr) -> Result<Option<Self>, TlsError> {
        let (cert, key, self_made) = match settings {
            TlsSettings::Off => return Ok(None),
            TlsSettings::Files { cert, key } => (cert.clone(), key.clone(), false),
            TlsSettings::SelfMade => {
                let dir = data.join("tls");
                let (cert, key) = (dir.join("cert.pem"), dir.join("key.pem"));
                if !cert.exists() {
                    make(&dir, &cert, &key, listen)?;
                }
                (cert, key, true)
            }
        };
        Ok(Some(Self {
            present: RwLock::new(read(&cert, &key)?),
            self_made,
            files: (!self_made).then_some(Watched { cert, key }),
        }))
    }

    /// The pin hosts need; `None` when the certificate was given: then their roots decide.
    pub(crate) fn pin(&self) -> Option<Pin> {
        self.self_made.then(|| self.present_pin())
    }

    /// The pin of the certificate in use now, whoever made it.
    pub(crate) fn present_pin(&self) -> Pin {
        self.present().pin
    }

    fn present(&self) -> Present {
        self.present.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// With the certificate in use now.
    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(self.present().config)
    }

    /// Looks at given files once a minute until `stopping` and takes over changed ones. What cannot be used is logged, and
    /// the certificate in use stays.
    pub(crate) async fn follow_files(&self, stopping: &CancellationToken) {
        let Some(files) = &self.files else { return };
        let mut seen = files.state();
        while stopping.run_until_cancelled(tokio::time::sleep(LOOK)).await.is_some() {
            let now = files.state();
            if now != seen {
                self.reload(files);
                seen = now;
            }
        }
    }

    fn reload(&self, files: &Watched) {
        match read(&files.cert, &files.key) {
            Ok(next) => {
                *self.present.write().unwrap_or_else(PoisonError::into_inner) = next;
                tracing::info!(cert = %files.cert.display(), "the changed certificate is in use");
            }
            Err(error) => tracing::error!(%error, "the changed certificate is not used; the one before stays in use"),
        }
    }
}

impl Watched {
    /// Changes when a file does: its times and sizes. A file that cannot be looked at is as if unchanged until it can.
    fn state(&self) -> [Option<(SystemTime, u64)>; 2] {
        [&self.cert, &self.key].map(|path| {
            let about = fs::metadata(path).ok()?;
            Some((about.modified().ok()?, about.len()))
        })
    }
}

fn read(cert: &Path, key: &Path) -> Result<Present, TlsError> {
    let content = |path: &Path, what: String| TlsError::Content { path: bytes(path), what };
    let chain: Vec<_> = CertificateDer::pem_slice_iter(&read_file(cert)?)
        .collect::<Result<_, _>>()
        .map_err(|error| content(cert, format!("is no PEM: {error}")))?;
    let first = chain.first().ok_or_else(|| content(cert, "holds no certificate".to_owned()))?;
    let pin = Pin::of_certificate(first).map_err(|error| content(cert, error.to_string()))?;
    let private = PrivateKeyDer::from_pem_slice(&read_file(key)?)
        .map_err(|error| content(key, format!("holds no private key: {error}")))?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map(|builder| builder.with_no_client_auth())
        .and_then(|builder| builder.with_single_cert(chain, private))
        .map_err(|error| content(key, format!("does not go with {}: {error}", bytes(cert))))?;
    config.alpn_protocols = vec![hostler_link::tls::ALPN.to_vec()];
    Ok(Present { config: Arc::new(config), pin })
}

fn read_file(path: &Path) -> Result<Vec<u8>, TlsError> {
    let failed = |source| TlsError::File { action: "read", path: bytes(path), source };
    let mut content = Vec::new();
    let file = fs::File::open(path).map_err(failed)?;
    io::Read::read_to_end(&mut io::Read::take(file, FILE_MAX), &mut content).map_err(failed)?;
    Ok(content)
}

/// The key goes first: a certificate that is there has its key.
fn make(dir: &Path, cert: &Path, key: &Path, listen: IpAddr) -> Result<(), TlsError> {
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let mut names = vec!["localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned()];
    // A name that no certificate can have is left out: agents look at the pin only.
    names.extend(Some(host.clone()).filter(|name| CertificateParams::new([name.clone()]).is_ok() && !name.is_empty()));
    names.extend(primary_address(listen).map(|address| address.to_string()));
    names.dedup();
    let mut params = CertificateParams::new(names)?;
    params.distinguished_name.push(DnType::CommonName, "Hostler gateway");
    let today = rcgen::date_time_ymd(year(), 1, 1);
    params.not_before = today;
    params.not_after = rcgen::date_time_ymd(year() + YEARS + 1, 1, 1);
    let pair = KeyPair::generate()?;
    let certificate = params.self_signed(&pair)?;
    let failed = |path: &Path| {
        let path = bytes(path);
        move |source| TlsError::File { action: "write", path, source }
    };
    std::os::unix::fs::DirBuilderExt::mode(fs::DirBuilder::new().recursive(true), 0o700)
        .create(dir)
        .map_err(failed(dir))?;
    write(key, pair.serialize_pem().as_bytes()).map_err(failed(key))?;
    write(cert, certificate.pem().as_bytes()).map_err(failed(cert))?;
    fs::File::open(dir).and_then(|dir| dir.sync_all()).map_err(failed(dir))
}

/// Under another name first: no reader ever sees half of it.
fn write(path: &Path, content: &[u8]) -> io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt;
    let new = path.with_extension("new");
    let _ = fs::remove_file(&new);
    let mut file = fs::File::options().write(true).create_new(true).mode(0o600).open(&new)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&new, path)
}

fn year() -> i32 {
    let days = crate::clock::now().micros() / 86_400_000_000;
    // Near enough for a certificate whose dates nobody looks at, and never in the future.
    1970 + i32::try_from(days * 400 / 146_097).unwrap_or(0)
}

/// The address other machines reach this one at: `listen`, or for a wildcard the one a packet to the outside would leave
/// from. Nothing is sent: a connected UDP socket only asks the routing table. `None` without a route.
pub(crate) fn primary_address(listen: IpAddr) -> Option<IpAddr> {
    if !listen.is_unspecified() {
        return Some(listen);
    }
    // Addresses of documentation (RFC 5737, RFC 3849) belong to nobody.
    let v4 = || route(("0.0.0.0", "192.0.2.1"));
    let v6 = || route(("::", "2001:db8::1"));
    if listen.is_ipv4() { v4() } else { v4().or_else(v6) }
}

fn route((from, to): (&str, &str)) -> Option<IpAddr> {
    let socket = std::net::UdpSocket::bind((from, 0)).ok()?;
    socket.connect((to, 9)).ok()?;
    socket.local_addr().ok().map(|address| address.ip()).filter(|ip| !ip.is_unspecified())
}

fn bytes(path: &Path) -> ByteStr {
    ByteStr::from(path.as_os_str().as_encoded_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    const LOOPBACK: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    fn opened(settings: &TlsSettings, data: &Path) -> Result<Tls, TlsError> {
        Tls::open(settings, data, LOOPBACK).map(Option::unwrap)
    }

    #[test]
    fn a_self_made_certificate_is_made_once_and_its_key_is_closed_to_others() {
        let data = tempfile::tempdir().unwrap();
        let pin = opened(&TlsSettings::SelfMade, data.path()).unwrap().pin().unwrap();
        assert_eq!(opened(&TlsSettings::SelfMade, data.path()).unwrap().pin(), Some(pin));
        let key = data.path().join("tls/key.pem");
        assert_eq!(fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600);
        let der = CertificateDer::from_pem_file(data.path().join("tls/cert.pem")).unwrap();
        let facts = hostler_identity::CertificateFacts::read(&der).unwrap();
        assert!(facts.names.contains(&"localhost".to_owned()) && facts.names.contains(&"127.0.0.1".to_owned()));
        let now = crate::clock::now();
        assert!(facts.not_before < now && facts.not_after.seconds_since(now) > 9 * 365 * 86_400);

        // A damaged key is told, and no other certificate is made in silence: hosts hold the pin of this one.
        fs::write(&key, "nonsense").unwrap();
        let error = opened(&TlsSettings::SelfMade, data.path()).err().unwrap().to_string();
        assert!(error.contains("key.pem"), "{error}");
        // A start that was cut off before the certificate was there begins anew.
        fs::remove_file(data.path().join("tls/cert.pem")).unwrap();
        assert_ne!(opened(&TlsSettings::SelfMade, data.path()).unwrap().pin(), Some(pin));
    }

    #[test]
    fn given_files_are_taken_over_when_they_are_good() {
        let (made, data) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        opened(&TlsSettings::SelfMade, made.path()).unwrap();
        let (cert, key) = (made.path().join("tls/cert.pem"), made.path().join("tls/key.pem"));
        let tls = opened(&TlsSettings::Files { cert: cert.clone(), key: key.clone() }, data.path()).unwrap();
        assert_eq!(tls.pin(), None, "a given certificate is judged by roots");
        let files = tls.files.as_ref().unwrap();
        let first = tls.present().config;

        let good = fs::read(&key).unwrap();
        let seen = files.state();
        fs::write(&key, "nonsense").unwrap();
        assert_ne!(files.state(), seen);
        tls.reload(files);
        assert!(Arc::ptr_eq(&first, &tls.present().config), "the one before stays");
        fs::write(&key, good).unwrap();
        tls.reload(files);
        assert!(!Arc::ptr_eq(&first, &tls.present().config));
    }

    #[test]
    fn a_wildcard_is_reached_at_some_address_of_this_machine() {
        assert_eq!(primary_address(LOOPBACK), Some(LOOPBACK));
        if let Some(found) = primary_address(IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED)) {
            assert!(std::net::UdpSocket::bind((found, 0)).is_ok(), "{found}");
        }
    }
}
