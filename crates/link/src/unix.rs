//! The agent's services on a unix socket, for programs on the same host.
//!
//! The socket has mode 0600 before it gets its name, so nobody else can ever connect. Who connects is the kernel's word
//! (`SO_PEERCRED`). A socket left by an agent that died is replaced; one that answers, and anything that is not a
//! socket, is not touched.

use std::io;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::{Peer, Settings, serve_with};

/// Connections served at once; further ones wait in the kernel.
pub const MAX_CONNECTIONS: usize = 64;

/// How long to wait when the process has no descriptor left for a connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The socket cannot be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UnixError {
    /// Another agent answers there.
    #[error("{} is in use by another agent", path.display())]
    InUse {
        /// The socket.
        path: PathBuf,
    },
    /// Something else has the name.
    #[error("{} exists and is not a socket; it was left alone", path.display())]
    NotASocket {
        /// The file.
        path: PathBuf,
    },
    /// The system refused.
    #[error("cannot listen on {}: {source}", path.display())]
    Io {
        /// The socket.
        path: PathBuf,
        /// The system's word.
        source: io::Error,
    },
}

/// A bound socket. Dropping it removes the name, if it is still this socket's.
#[derive(Debug)]
pub struct UnixServer {
    listener: UnixListener,
    path: PathBuf,
    /// Device and inode of the name.
    identity: (u64, u64),
}

impl UnixServer {
    /// Binds `path`. Two agents that start at the same instant on a stale socket are not kept apart here: the agent's
    /// lock on its data directory does that.
    ///
    /// # Errors
    /// A [`UnixError`] that names the path.
    pub async fn bind(path: impl Into<PathBuf>) -> Result<Self, UnixError> {
        let path = path.into();
        remove_stale(&path).await?;
        let hidden = path.with_extension(format!("{}", std::process::id()));
        let bound = bind_as(&hidden, &path);
        let _ = std::fs::remove_file(&hidden);
        match bound {
            Ok((listener, identity)) => Ok(Self { listener, path, identity }),
            Err(source) => Err(UnixError::Io { path, source }),
        }
    }

    /// Serves `router` to everyone who connects, until `shutdown` fires and the calls in flight are done (at most
    /// [`Settings::drain`]).
    pub async fn run(self, router: Router, settings: Settings, shutdown: CancellationToken) {
        let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        let mut connections = JoinSet::new();
        loop {
            let accepted = tokio::select! {
                () = shutdown.cancelled() => break,
                accepted = self.accept(&places) => accepted,
            };
            while connections.try_join_next().is_some() {}
            let (stream, place) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(%error, path = %self.path.display(), "cannot take a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let (router, shutdown, settings) = (router.clone(), shutdown.clone(), settings.clone());
            connections.spawn(async move {
                let _place = place;
                if let Err(error) = serve_stream(stream, router, shutdown, &settings).await {
                    tracing::debug!(%error, "a local connection failed");
                }
            });
        }
        while connections.join_next().await.is_some() {}
    }

    async fn accept(&self, places: &Arc<Semaphore>) -> io::Result<(UnixStream, tokio::sync::OwnedSemaphorePermit)> {
        let place = places.clone().acquire_owned().await.map_err(io::Error::other)?;
        let (stream, _) = self.listener.accept().await?;
        Ok((stream, place))
    }
}

impl Drop for UnixServer {
    fn drop(&mut self) {
        if identity(&self.path).is_ok_and(|found| found == self.identity) {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

async fn serve_stream(
    stream: UnixStream,
    router: Router,
    shutdown: CancellationToken,
    settings: &Settings,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let who = stream.peer_cred()?;
    let peer = Peer::Local { uid: who.uid(), gid: who.gid(), pid: who.pid() };
    serve_with(stream, router, peer, shutdown, settings).await?;
    Ok(())
}

async fn remove_stale(path: &Path) -> Result<(), UnixError> {
    let failed = |source| UnixError::Io { path: path.to_owned(), source };
    match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(error)),
        Ok(found) if !found.file_type().is_socket() => return Err(UnixError::NotASocket { path: path.to_owned() }),
        Ok(_) => {}
    }
    match UnixStream::connect(path).await {
        Ok(_) => Err(UnixError::InUse { path: path.to_owned() }),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => std::fs::remove_file(path).map_err(failed),
        Err(error) => Err(failed(error)),
    }
}

/// Binds under a name nobody knows, closes it to others, then gives it its real name. A hard link, unlike a rename,
/// fails when someone else has taken the name meanwhile.
fn bind_as(hidden: &Path, path: &Path) -> io::Result<(UnixListener, (u64, u64))> {
    let _ = std::fs::remove_file(hidden);
    let listener = UnixListener::bind(hidden)?;
    std::fs::set_permissions(hidden, std::fs::Permissions::from_mode(0o600))?;
    std::fs::hard_link(hidden, path)?;
    Ok((listener, identity(path)?))
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let found = std::fs::symlink_metadata(path)?;
    Ok((found.dev(), found.ino()))
}
