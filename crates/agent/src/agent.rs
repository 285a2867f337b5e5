//! One agent: its data directory, its router, and the byte streams it serves.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hostler_files::{ManifestError, ManifestStore};
use hostler_link::handshake::PROTOCOL;
use hostler_link::{
    DialError, Hello, LinkError, Settings, Token, UnixError, UnixServer, dial, gateway_peer, serve, stdio,
};
use hostler_model::{ByteStr, HostId};
use tokio_util::sync::CancellationToken;

use crate::capability::Capability;
use crate::files::Files;
use crate::host::HostServer;
use crate::identity::{Identity, IdentityError};
use crate::policy::Policy;

/// First wait after a lost or refused link; doubles up to the last, and each wait is drawn from 0 to that ("full jitter").
const FIRST_WAIT: Duration = Duration::from_millis(500);
const LAST_WAIT: Duration = Duration::from_secs(60);

/// Where an agent keeps its things, and what it grants.
#[derive(Clone, Debug)]
pub struct AgentSettings {
    /// Identity, manifests and the local socket; made when missing, closed to others.
    pub data: PathBuf,
    /// What a gateway may ask.
    pub policy: Policy,
}

/// The gateway to serve.
#[derive(Clone, Debug)]
pub struct GatewayLink {
    /// `http://host:port[/prefix]`.
    pub url: String,
    /// This host's proof.
    pub token: Token,
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
}

impl Agent {
    /// Opens the data directory and composes the capabilities.
    pub fn open(settings: AgentSettings) -> Result<Self, AgentError> {
        make_private(&settings.data)?;
        let identity = Identity::load_or_create(&settings.data)?;
        let manifests = ManifestStore::open(settings.data.join("manifests"))?;
        let capabilities: Vec<Arc<dyn Capability>> = vec![Arc::new(Files::new(settings.policy.files, manifests))];
        let started = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_micros();
        let mut services = connectrpc::Router::new();
        for capability in &capabilities {
            services = capability.routes(services);
        }
        let host = HostServer::new(capabilities, i64::try_from(started).unwrap_or(i64::MAX));
        let router = axum::Router::new().fallback_service(services.add_service(Arc::new(host)).into_axum_service());
        Ok(Self { identity, router, data: settings.data })
    }

    /// The host's id.
    pub fn id(&self) -> HostId {
        self.identity.id()
    }

    /// The local socket of an agent with this data directory.
    pub fn socket_path(data: &Path) -> PathBuf {
        data.join("agent.sock")
    }

    /// Serves standard input and output until the other end closes them or `stop` is cancelled.
    pub async fn serve_stdio(self, stop: CancellationToken) -> Result<(), AgentError> {
        let stream = stdio::stdio()?;
        let reason = serve(stream, self.router, stdio::stdio_peer(), stop).await?;
        tracing::info!(%reason, "standard input and output ended");
        Ok(())
    }

    /// Serves the local socket in a task until `stop` is cancelled.
    pub async fn serve_socket(&self, stop: CancellationToken) -> Result<tokio::task::JoinHandle<()>, AgentError> {
        let server = UnixServer::bind(Self::socket_path(&self.data)).await?;
        Ok(tokio::spawn(server.run(self.router.clone(), Settings::default(), stop)))
    }

    /// Dials the gateway, serves it, and dials again whenever the link ends, until `stop` is cancelled.
    pub async fn follow_gateway(mut self, gateway: GatewayLink, stop: CancellationToken) {
        let mut wait = FIRST_WAIT;
        while !stop.is_cancelled() {
            let mut at_least = Duration::ZERO;
            match self.link_once(&gateway, &stop).await {
                Ok(reason) => {
                    wait = FIRST_WAIT;
                    tracing::info!(%reason, "link ended");
                }
                Err(error) => {
                    if let LinkOnceError::Dial(DialError::Refused(refusal)) = &error {
                        at_least = refusal.retry_after.unwrap_or_default();
                    }
                    tracing::warn!(url = gateway.url, %error, "no link to the gateway");
                }
            }
            tokio::select! {
                () = stop.cancelled() => {}
                () = tokio::time::sleep(at_least + jittered(wait)) => {}
            }
            wait = (wait * 2).min(LAST_WAIT);
        }
    }

    async fn link_once(
        &mut self,
        gateway: &GatewayLink,
        stop: &CancellationToken,
    ) -> Result<hostler_link::CloseReason, LinkOnceError> {
        let hello = Hello {
            protocol: PROTOCOL,
            host: self.identity.id(),
            generation: self.identity.generation(),
            agent_version: env!("CARGO_PKG_VERSION").into(),
            token: gateway.token.clone(),
        };
        let (stream, welcome) = tokio::select! {
            dialled = dial(&gateway.url, &hello) => dialled?,
            () = stop.cancelled() => return Ok(hostler_link::CloseReason::Shutdown),
        };
        self.identity.linked(welcome.generation)?;
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

fn jittered(wait: Duration) -> Duration {
    // Without randomness the whole wait is as good as any other.
    let part = getrandom::u32().unwrap_or(u32::MAX);
    wait.mul_f64(f64::from(part) / f64::from(u32::MAX))
}

fn make_private(data: &Path) -> Result<(), AgentError> {
    use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(data)
        .and_then(|()| std::fs::set_permissions(data, std::fs::Permissions::from_mode(0o700)))
        .map_err(|source| AgentError::Data { path: ByteStr::from(data.as_os_str().as_encoded_bytes()), source })
}
