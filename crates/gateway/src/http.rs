//! Serving HTTP/1.1 on TCP and on the local socket: bounded connections, bounded headers, graceful end.

use std::convert::Infallible;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderValue, header};
use axum::middleware::Next;
use axum::response::Response;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

use crate::auth::LocalPeer;

/// Connections at the same time, agents' links included; more wait in the listen queue.
const MAX_CONNECTIONS: usize = 20_000;
/// A client has this long to send its request's head.
const HEADER_TIMEOUT: Duration = Duration::from_secs(15);
/// Requests in flight have this long to end when the gateway stops.
const DRAIN: Duration = Duration::from_secs(5);

/// Serves `router` on `listener` until `stopping`.
pub async fn serve_tcp<L>(mut listener: L, router: Router, stopping: CancellationToken)
where
    L: axum::serve::Listener<Io = tokio::net::TcpStream>,
{
    let connections = Connections::new(router, stopping);
    while let Some(permit) = connections.permit().await {
        tokio::select! {
            () = connections.stopping.cancelled() => break,
            // axum's listener retries what can be retried.
            (stream, _) = listener.accept() => connections.spawn(stream, None, permit),
        }
    }
    drop(listener);
    connections.drain().await;
}

/// Serves `router` on the local socket until `stopping`; each request carries its [`LocalPeer`].
pub async fn serve_unix(listener: UnixListener, router: Router, stopping: CancellationToken) {
    let connections = Connections::new(router, stopping);
    while let Some(permit) = connections.permit().await {
        tokio::select! {
            () = connections.stopping.cancelled() => break,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => match peer(&stream) {
                    Ok(peer) => connections.spawn(stream, Some(peer), permit),
                    Err(error) => tracing::warn!(%error, "a local peer could not be identified"),
                },
                Err(error) => {
                    tracing::warn!(%error, "the local socket took no connection");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            },
        }
    }
    drop(listener);
    connections.drain().await;
}

/// Binds the local socket, open to its owner only. The data directory's lock says that no other gateway uses it, so what
/// is there is a leftover.
pub fn bind_unix(path: &Path) -> io::Result<UnixListener> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    // The directory is 0700, so there is no moment in which others could connect.
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
    Ok(listener)
}

fn peer(stream: &UnixStream) -> io::Result<LocalPeer> {
    Ok(LocalPeer { uid: stream.peer_cred()?.uid() })
}

struct Connections {
    router: Router,
    stopping: CancellationToken,
    permits: Arc<Semaphore>,
    tasks: TaskTracker,
}

impl Connections {
    fn new(router: Router, stopping: CancellationToken) -> Self {
        Self { router, stopping, permits: Arc::new(Semaphore::new(MAX_CONNECTIONS)), tasks: TaskTracker::new() }
    }

    async fn permit(&self) -> Option<tokio::sync::OwnedSemaphorePermit> {
        tokio::select! {
            () = self.stopping.cancelled() => None,
            permit = self.permits.clone().acquire_owned() => permit.ok(),
        }
    }

    fn spawn<IO>(&self, io: IO, peer: Option<LocalPeer>, permit: tokio::sync::OwnedSemaphorePermit)
    where
        IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let router = self.router.clone();
        let stopping = self.stopping.clone();
        self.tasks.spawn(async move {
            let service = service_fn(move |request: hyper::Request<Incoming>| {
                let router = router.clone();
                async move {
                    let mut request = request.map(Body::new);
                    if let Some(peer) = peer {
                        request.extensions_mut().insert(peer);
                    }
                    Ok::<_, Infallible>(router.oneshot(request).await.unwrap_or_else(|never| match never {}))
                }
            });
            let connection = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEADER_TIMEOUT)
                .max_buf_size(64 * 1024)
                .serve_connection(TokioIo::new(io), service)
                .with_upgrades();
            let mut connection = std::pin::pin!(connection);
            let result = tokio::select! {
                result = connection.as_mut() => result,
                () = stopping.cancelled() => {
                    connection.as_mut().graceful_shutdown();
                    connection.await
                }
            };
            if let Err(error) = result {
                tracing::debug!(%error, "a connection ended badly");
            }
            drop(permit);
        });
    }

    async fn drain(&self) {
        self.tasks.close();
        if tokio::time::timeout(DRAIN, self.tasks.wait()).await.is_err() {
            tracing::warn!(open = self.tasks.len(), "connections were cut: their requests did not end in time");
        }
    }
}

/// Headers every response carries. Pages load nothing from elsewhere, run no inline script and are framed by nobody.
pub async fn security_headers(request: Request, next: Next) -> Response {
    const CSP: &str = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data:; connect-src 'self'; \
         form-action 'self'; base-uri 'none'; frame-ancestors 'none'";
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CONTENT_SECURITY_POLICY, CSP),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        // Sign-in links and paths stay out of other sites' logs.
        (header::REFERRER_POLICY, "same-origin"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}
