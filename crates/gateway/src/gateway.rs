//! A gateway on one data directory: opened, run, stopped.

use std::fs::File;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::pin;
use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::{HeaderMap, Uri};
use axum::middleware;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::serve::Listener;
use hostler_identity::Pin;
use hostler_link::{DialError, origin};
use hostler_model::{ByteStr, HostId};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use tokio_util::sync::CancellationToken;
use tower_http::catch_panic::CatchPanicLayer;

use crate::backup::Backups;
use crate::dist::{Binaries, BinaryError};
use crate::events::Events;
use crate::fleet::Fleet;
use crate::links::Admissions;
use crate::pages::prefix::Prefix;
use crate::scans::Scans;
use crate::schedules::Schedules;
use crate::snapfs::agents::Agents;
use crate::snapfs::session::Sessions;
use crate::snapfs::{self, Snapfs};
use crate::state::AppState;
use crate::store::sqlite::SqliteStore;
use crate::store::{ApiKey, Store, StoreError};
use crate::tls::{Tls, TlsError, TlsSettings, primary_address};
use crate::webhooks::Webhooks;
use crate::{audit, auth, clock, dist, http, links, operations, pages, rest, secret};

/// Largest request body, bytes: everything a client sends is small.
const BODY_LIMIT: usize = 256 * 1024;

/// Where and how to serve.
#[derive(Clone, Debug)]
pub struct GatewaySettings {
    /// Holds the database, the lock and the local socket; made when missing, closed to others.
    pub data: PathBuf,
    /// Address to listen on.
    pub listen: SocketAddr,
    /// Serve plain HTTP beyond loopback all the same.
    pub insecure_http: bool,
    /// Which TLS to speak.
    pub tls: TlsSettings,
    /// Where people and agents reach the gateway when that is not the address it listens on: the URL of a proxy.
    pub external_url: Option<String>,
    /// Proxies that may say for whom they ask (`x-forwarded-for`).
    pub trusted_proxies: Vec<IpAddr>,
    /// Binaries for other architectures, `hostler-linux-ARCH`, beside this program's own.
    pub agent_binaries: Option<PathBuf>,
    /// Let webhooks lead to link-local addresses and to this gateway too.
    pub webhooks_anywhere: bool,
    /// Ask SnapFS clients for an API key also on this machine.
    pub snapfs_require_key: bool,
}

/// Why a gateway does not start.
#[derive(Debug, thiserror::Error)]
pub enum GatewayError {
    /// A file or the socket.
    #[error("{what} {path}: {source}")]
    File {
        /// What was tried.
        what: &'static str,
        /// On what.
        path: ByteStr,
        /// Why not.
        source: io::Error,
    },
    /// Somebody else runs on this directory.
    #[error("another gateway uses {0}; stop it first, or give this one a directory of its own with --data")]
    InUse(ByteStr),
    /// The address.
    #[error("cannot listen on {address}: {source}; choose another address with --listen")]
    Listen {
        /// Which.
        address: SocketAddr,
        /// Why not.
        source: io::Error,
    },
    /// Plain HTTP beyond loopback.
    #[error(
        "{0} is reachable from other machines, and this would be plain HTTP: keys and names could be read on the way. Let the gateway make a certificate or give it one with --tls-cert and --tls-key, or type --insecure-http"
    )]
    Insecure(SocketAddr),
    /// The certificate.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The binaries for hosts.
    #[error(transparent)]
    Binaries(#[from] BinaryError),
    /// The external URL.
    #[error("--external-url: {0}")]
    ExternalUrl(#[source] DialError),
    /// The external URL's path.
    #[error(
        "--external-url: the path of {0} cannot come before those of pages; use letters, digits and - . _ ~ % in it, without empty parts"
    )]
    Prefix(String),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// No randomness.
    #[error(transparent)]
    Random(#[from] secret::NoRandomness),
    /// A sign-in link.
    #[error(transparent)]
    SignIn(#[from] auth::SignInError),
    /// Metrics.
    #[error("the metrics recorder: {0}")]
    Metrics(String),
}

/// A gateway that listens; [`Gateway::run`] answers.
pub struct Gateway {
    state: AppState,
    store: Arc<SqliteStore>,
    servers: pin::Pin<Box<dyn Future<Output = ()> + Send>>,
    address: SocketAddr,
    tls: Option<Arc<Tls>>,
    _lock: File,
}

impl Gateway {
    /// Locks and opens the data directory and binds the address and the local socket.
    pub async fn open(settings: GatewaySettings) -> Result<Self, GatewayError> {
        if settings.tls == TlsSettings::Off && !settings.listen.ip().is_loopback() && !settings.insecure_http {
            return Err(GatewayError::Insecure(settings.listen));
        }
        let external = settings.external_url.as_deref().map(|url| url.trim_end_matches('/'));
        let external_origin = external.map(origin).transpose().map_err(GatewayError::ExternalUrl)?;
        let prefix = Prefix::of(external_origin.as_deref().unwrap_or_default());
        let prefix = prefix.ok_or_else(|| GatewayError::Prefix(external.unwrap_or_default().to_owned()))?;
        let lock = lock_data(&settings.data)?;
        let tls = Tls::open(&settings.tls, &settings.data, settings.listen.ip())?.map(Arc::new);
        let store = Arc::new(SqliteStore::open(&settings.data, clock::now()).await?);
        let listen_error = |source| GatewayError::Listen { address: settings.listen, source };
        let listener = hostler_link::listen(settings.listen).map_err(listen_error)?;
        let address = listener.local_addr().map_err(listen_error)?;
        let socket = socket_path(&settings.data);
        let unix = http::bind_unix(&socket).map_err(file_error("cannot bind the local socket", &socket))?;
        let scheme = if tls.is_some() { "https" } else { "http" };
        let stopping = CancellationToken::new();
        let events = Events::default();
        let dyn_store: Arc<dyn Store> = store.clone();
        let fleet = Fleet::new(dyn_store.clone(), events.clone(), stopping.clone());
        let (agents, sessions) = (Agents::default(), Sessions::default());
        let scans = Scans::new(
            dyn_store.clone(),
            fleet.clone(),
            events.clone(),
            agents.clone(),
            sessions.clone(),
            stopping.clone(),
        );
        let state = AppState {
            schedules: Schedules::new(
                dyn_store.clone(),
                fleet.clone(),
                scans.clone(),
                events.clone(),
                stopping.clone(),
            ),
            webhooks: Webhooks::new(
                dyn_store.clone(),
                events.clone(),
                address,
                settings.webhooks_anywhere,
                stopping.clone(),
            ),
            snapfs: Snapfs::new(dyn_store.clone(), scans.clone(), agents, sessions),
            snapfs_room: snapfs::Room::default(),
            snapfs_turns: snapfs::Turns::default(),
            snapfs_require_key: settings.snapfs_require_key,
            scans,
            store: dyn_store,
            fleet,
            events,
            base_url: format!("{scheme}://{}", reached_at(address)).into(),
            public_url: external.map_or_else(|| format!("{scheme}://{}", reached_at(address)), str::to_owned).into(),
            pin: tls.as_ref().and_then(|tls| tls.pin()),
            secure: tls.is_some() || external_origin.as_ref().is_some_and(|origin| origin.starts_with("https:")),
            external_origin: external_origin.map(Into::into),
            prefix,
            admissions: Admissions::default(),
            binaries: Binaries::open(settings.agent_binaries.as_deref())?,
            auth: auth::Auth::default(),
            backups: Backups::new(&settings.data),
            gateway_id: gateway_id(&settings.data)?.into(),
            stopping,
        };
        let router = router(state.clone(), recorder()?);
        let serving = state.stopping.clone();
        let proxies = settings.trusted_proxies.into();
        let tcp = http::serve_tcp(listener, tls.clone(), proxies, router.clone(), serving.clone());
        let for_local = tls.clone();
        let servers = Box::pin(async move {
            let certificate = async {
                if let Some(tls) = &tls {
                    tls.follow_files(&serving).await;
                }
            };
            tokio::join!(tcp, http::serve_unix(unix, router, serving.clone()), certificate);
        });
        Ok(Self { state, store, servers, address, tls: for_local, _lock: lock })
    }

    /// What handlers share; for the process that also runs an agent.
    pub fn state(&self) -> &AppState {
        &self.state
    }

    /// `http://127.0.0.1:7440`: the address it really listens on, a wildcard replaced by this machine's address.
    pub fn url(&self) -> &str {
        &self.state.base_url
    }

    /// The pin of a self-made certificate.
    pub fn pin(&self) -> Option<Pin> {
        self.state.pin
    }

    /// Where this machine reaches the gateway: the address it listens on, a wildcard replaced by loopback.
    pub fn local_url(&self) -> String {
        let mut address = self.address;
        if address.ip().is_unspecified() {
            address.set_ip(match address {
                SocketAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
                SocketAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
            });
        }
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://{address}")
    }

    /// Tells the pin of the certificate in use, self-made or given; `None` without TLS. For an agent in this process: a given
    /// certificate has no name for loopback, and may be replaced while the gateway runs.
    pub fn present_pin(&self) -> impl Fn() -> Option<Pin> + Send + use<> {
        let tls = self.tls.clone();
        move || tls.as_ref().map(|tls| tls.present_pin())
    }

    /// This gateway's id.
    pub fn id(&self) -> &str {
        &self.state.gateway_id
    }

    /// The bound address.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// A one-time sign-in link for an admin.
    pub async fn sign_in_link(&self) -> Result<String, GatewayError> {
        Ok(auth::create_link(&self.state).await?)
    }

    /// Makes a host known by its public key, or renames it and replaces its key.
    pub async fn register_host(&self, id: HostId, name: &str, public_key: [u8; 32]) -> Result<(), GatewayError> {
        Ok(self.state.store.register_host(id, name, public_key, clock::now()).await?)
    }

    /// Serves until `stop` is cancelled, then ends: no new scans, links closed, requests finished, store closed.
    pub async fn run(self, stop: CancellationToken) {
        self.state.snapfs.resume().await;
        let servers = tokio::spawn(self.servers);
        let (schedules, webhooks) = (self.state.schedules.clone(), self.state.webhooks.clone());
        let schedules = tokio::spawn(async move { schedules.run().await });
        let webhooks = tokio::spawn(async move { webhooks.run().await });
        let (snapfs, stopping) = (self.state.snapfs.clone(), self.state.stopping.clone());
        let snapfs = tokio::spawn(async move { snapfs.run(stopping).await });
        stop.cancelled().await;
        self.state.stopping.cancel();
        self.state.scans.drain().await;
        self.state.fleet.end_all(&hostler_link::CloseReason::Shutdown);
        for (what, task) in
            [("the servers", servers), ("schedules", schedules), ("webhooks", webhooks), ("SnapFS", snapfs)]
        {
            if let Err(error) = task.await {
                tracing::error!(%error, "{what} ended badly");
            }
        }
        self.store.close();
    }

    /// Makes an API key in a data directory that no gateway uses; without `expires_in_seconds` it works until revoked.
    pub async fn create_api_key_offline(
        data: &Path,
        name: &str,
        role: hostler_model::Role,
        expires_in_seconds: Option<u64>,
    ) -> Result<(ApiKey, String), OfflineError> {
        let _lock = lock_data(data)?;
        let store = SqliteStore::open(data, clock::now()).await.map_err(GatewayError::from)?;
        let made = auth::new_api_key(&store, name, role, expires_in_seconds.map(clock::in_seconds)).await;
        store.close();
        Ok(made?)
    }

    /// Replaces what a data directory that no gateway uses keeps by a backup's content.
    pub async fn restore_offline(data: &Path, backup: &Path) -> Result<(), GatewayError> {
        let _lock = lock_data(data)?;
        let store = SqliteStore::open(data, clock::now()).await?;
        let restored = store.restore_from(backup, clock::now()).await;
        store.close();
        Ok(restored?)
    }
}

/// Why a key was not made without a running gateway.
#[derive(Debug, thiserror::Error)]
pub enum OfflineError {
    /// The data directory.
    #[error(transparent)]
    Gateway(#[from] GatewayError),
    /// The key.
    #[error(transparent)]
    Key(#[from] auth::NewKeyError),
}

/// The bound address as other machines would dial it.
fn reached_at(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        // Without a route nobody can dial it: the loopback address is at least right here.
        let loopback = IpAddr::from(std::net::Ipv4Addr::LOCALHOST);
        address.set_ip(primary_address(address.ip()).unwrap_or(loopback));
    }
    address
}

/// The local socket of a gateway on this data directory.
pub fn socket_path(data: &Path) -> PathBuf {
    data.join("gateway.sock")
}

fn router(state: AppState, metrics: PrometheusHandle) -> Router {
    let rest = rest::router()
        .layer(middleware::from_fn_with_state(state.clone(), auth::for_rest))
        .layer(DefaultBodyLimit::max(BODY_LIMIT));
    let signed_in = pages::router()
        .layer(middleware::from_fn_with_state(state.clone(), auth::for_pages))
        .layer(DefaultBodyLimit::max(BODY_LIMIT));
    Router::new()
        .nest("/api/v1", rest.route("/link", get(links::dial_in).fallback(rest::wrong_method)))
        .merge(rest::public_router())
        .merge(operations::router(metrics))
        .merge(dist::router())
        .merge(pages::public_router())
        .merge(snapfs::socket::router())
        .merge(snapfs::router())
        .merge(signed_in)
        .fallback(no_route)
        .layer(middleware::from_fn_with_state(state.clone(), audit::record))
        .layer(CatchPanicLayer::custom(pages::panicked))
        .layer(middleware::from_fn_with_state(state.clone(), pages::prefix::put))
        .layer(middleware::from_fn_with_state(state.clone(), http::security_headers))
        .with_state(state)
}

/// Programs are told in JSON, people on a page.
async fn no_route(uri: Uri, headers: HeaderMap) -> Response {
    match uri.path().starts_with("/api/") {
        true => rest::unknown().await.into_response(),
        false => pages::not_found(headers).await,
    }
}

fn recorder() -> Result<PrometheusHandle, GatewayError> {
    use std::sync::OnceLock;
    // One recorder a process: tests open several gateways.
    static HANDLE: OnceLock<PrometheusHandle> = OnceLock::new();
    if let Some(handle) = HANDLE.get() {
        return Ok(handle.clone());
    }
    let recorder = PrometheusBuilder::new().build_recorder();
    let handle = HANDLE.get_or_init(|| recorder.handle()).clone();
    // A second gateway that was opened at the same moment has set it.
    let _ = metrics::set_global_recorder(recorder);
    Ok(handle)
}

fn lock_data(data: &Path) -> Result<File, GatewayError> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(data)
        .map_err(file_error("cannot make the data directory", data))?;
    std::fs::set_permissions(data, std::os::unix::fs::PermissionsExt::from_mode(0o700))
        .map_err(file_error("cannot close the data directory to others", data))?;
    let path = data.join("gateway.lock");
    let lock = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .map_err(file_error("cannot open", &path))?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(std::fs::TryLockError::WouldBlock) => Err(GatewayError::InUse(bytes(data))),
        Err(std::fs::TryLockError::Error(source)) => Err(file_error("cannot lock", &path)(source)),
    }
}

fn gateway_id(data: &Path) -> Result<String, GatewayError> {
    let path = data.join("gateway.id");
    match std::fs::read_to_string(&path) {
        Ok(text) if text.len() == 32 => Ok(text),
        Ok(_) => Err(GatewayError::File {
            what: "not a gateway id; restore it from a backup:",
            path: bytes(&path),
            source: io::ErrorKind::InvalidData.into(),
        }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let id = secret::random_hex(16)?;
            let new = data.join("gateway.id.new");
            let write = || {
                let mut file = File::create(&new)?;
                io::Write::write_all(&mut file, id.as_bytes())?;
                file.sync_all()?;
                std::fs::rename(&new, &path)
            };
            write().map_err(file_error("cannot write", &path))?;
            Ok(id)
        }
        Err(error) => Err(file_error("cannot read", &path)(error)),
    }
}

fn bytes(path: &Path) -> ByteStr {
    ByteStr::from(path.as_os_str().as_encoded_bytes())
}

fn file_error(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> GatewayError {
    let path = bytes(path);
    move |source| GatewayError::File { what, path, source }
}
