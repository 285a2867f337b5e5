//! One agent: its data directory, its router, and the byte streams it serves.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use hostler_files::{ManifestError, ManifestStore};
use hostler_journal::JournalError;
use hostler_link::{CloseReason, DialError, LinkError, Settings, UnixError, UnixServer, gateway_peer, serve, stdio};
use hostler_model::{ByteStr, HostId, Timestamp};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::capability::Capability;
use crate::files::Files;
use crate::gateway_link::{Backoff, Dialler, GatewayLink, LinkState, system_clock};
use crate::grants;
use crate::host::HostServer;
use crate::identity::{Identity, IdentityError};
use crate::journal::{EventLog, Running};
use crate::policy::Policy;

/// Where an agent keeps its things, and what it grants.
#[derive(Clone, Debug)]
pub struct AgentSettings {
    /// Identity, manifests and the local socket; made when missing, closed to others.
    pub data: PathBuf,
    /// What a gateway may ask.
    pub policy: Policy,
}

/// Why an agent does not start.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// The data directory.
    #[error("cannot use the data directory {path}: {source}")]
    Data {
        /// Which.
        path: ByteStr,
        /// Why not.
        source: io::Error,
    },
    /// The identity.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The manifests.
    #[error(transparent)]
    Manifests(#[from] ManifestError),
    /// The journal.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The local socket.
    #[error(transparent)]
    Socket(#[from] UnixError),
    /// Standard input and output.
    #[error(transparent)]
    Stdio(#[from] stdio::StdioError),
    /// The stream did not become a link.
    #[error(transparent)]
    Link(#[from] LinkError),
}

/// The capabilities of this host behind one router.
pub struct Agent {
    identity: Identity,
    router: axum::Router,
    data: PathBuf,
    events: EventLog,
    clock: fn() -> Timestamp,
    state: watch::Sender<LinkState>,
    _running: Running,
}

impl Agent {
    /// Opens the data directory and composes the capabilities.
    pub fn open(settings: AgentSettings) -> Result<Self, AgentError> {
        make_private(&settings.data)?;
        let identity = Identity::load_or_create(&settings.data)?;
        let events = EventLog::open(&settings.data)?;
        let running = events.started(&settings.data, &settings.policy);
        let manifests = ManifestStore::open(settings.data.join("manifests"))?;
        let capabilities: Vec<Arc<dyn Capability>> =
            vec![Arc::new(Files::new(settings.policy.files.clone(), manifests, events.clone()))];
        let started = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_micros();
        let state = watch::Sender::default();
        let mut services = connectrpc::Router::new();
        for capability in &capabilities {
            services = capability.routes(services);
        }
        let host = HostServer::new(
            capabilities,
            &settings.policy,
            i64::try_from(started).unwrap_or(i64::MAX),
            state.subscribe(),
        );
        let services = services.add_service(Arc::new(host)).add_service(Arc::new(events.service()));
        let router = axum::Router::new().fallback_service(grants::guard(services, &settings.policy, events.clone()));
        Ok(Self { identity, router, data: settings.data, events, clock: system_clock, state, _running: running })
    }

    /// The host's id.
    pub fn id(&self) -> HostId {
        self.identity.id()
    }

    /// The public half of the host's key.
    pub fn public_key(&self) -> [u8; 32] {
        self.identity.key().public_key().0
    }

    /// Another clock to sign by than the system's.
    pub fn with_clock(self, clock: fn() -> Timestamp) -> Self {
        Self { clock, ..self }
    }

    /// Whether it has a link now, live.
    pub fn link_state(&self) -> watch::Receiver<LinkState> {
        self.state.subscribe()
    }

    /// The local socket of an agent with this data directory.
    pub fn socket_path(data: &Path) -> PathBuf {
        data.join("agent.sock")
    }

    /// Serves standard input and output until the other end closes them or `stop` is cancelled.
    pub async fn serve_stdio(self, stop: CancellationToken) -> Result<(), AgentError> {
        let stream = stdio::stdio()?;
        self.events.end_with(stop.clone());
        let reason = serve(stream, self.router, stdio::stdio_peer(), stop).await?;
        tracing::info!(%reason, "standard input and output ended");
        Ok(())
    }

    /// Serves the local socket in a task until `stop` is cancelled.
    pub async fn serve_socket(&self, stop: CancellationToken) -> Result<tokio::task::JoinHandle<()>, AgentError> {
        let server = UnixServer::bind(Self::socket_path(&self.data)).await?;
        self.events.end_with(stop.clone());
        Ok(tokio::spawn(server.run(self.router.clone(), Settings::default(), stop)))
    }

    /// Dials the gateway, serves it, and dials again whenever the link ends, until `stop` is cancelled. `gateway` is asked
    /// before each dial: its certificate may have changed meanwhile.
    pub async fn follow_gateway(mut self, gateway: impl Fn() -> GatewayLink + Send, stop: CancellationToken) {
        let mut dialler = Dialler::new(self.clock);
        let mut backoff = Backoff::new();
        while !stop.is_cancelled() {
            let gateway = gateway();
            let (wait, why) = match self.link_once(&mut dialler, &gateway, &stop).await {
                Ok(reason) => {
                    self.events.link_down(&reason.to_string());
                    tracing::info!(%reason, "link ended");
                    (backoff.after_link(), reason.to_string())
                }
                Err(error) => {
                    tracing::warn!(url = gateway.url, %error, "no link to the gateway");
                    let refusal = match &error {
                        LinkOnceError::Dial(DialError::Refused(refusal)) => Some(refusal),
                        _ => None,
                    };
                    (backoff.after_failure(refusal), error.to_string())
                }
            };
            self.state.send_replace(LinkState { linked: false, last_error: Some(why) });
            tokio::select! {
                () = stop.cancelled() => {}
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    async fn link_once(
        &mut self,
        dialler: &mut Dialler,
        gateway: &GatewayLink,
        stop: &CancellationToken,
    ) -> Result<CloseReason, LinkOnceError> {
        let (stream, welcome) = tokio::select! {
            dialled = dialler.dial(gateway, &self.identity) => dialled?,
            () = stop.cancelled() => return Ok(CloseReason::Shutdown),
        };
        self.identity.linked(welcome.generation)?;
        self.events.link_up(&gateway.url, welcome.generation);
        self.state.send_replace(LinkState { linked: true, last_error: None });
        tracing::info!(url = gateway.url, generation = welcome.generation, "linked");
        let peer = gateway_peer(&gateway.url, welcome.generation)?;
        Ok(serve(stream, self.router.clone(), peer, stop.clone()).await?)
    }
}

#[derive(Debug, thiserror::Error)]
enum LinkOnceError {
    #[error(transparent)]
    Dial(#[from] DialError),
    #[error(transparent)]
    Identity(#[from] IdentityError),
    #[error(transparent)]
    Link(#[from] LinkError),
}

pub(crate) fn make_private(data: &Path) -> Result<(), AgentError> {
    use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(data)
        .and_then(|()| std::fs::set_permissions(data, std::fs::Permissions::from_mode(0o700)))
        .map_err(|source| AgentError::Data { path: ByteStr::from(data.as_os_str().as_encoded_bytes()), source })
}
