//! The agent's end: a router served on one byte stream.
//!
//! ```text
//!   serving ── shutdown ──> GOAWAY, calls in flight go on ── all done or `drain` is over ──> ended
//!      └── end of stream, silence, I/O or protocol error: handlers are dropped ────────────> ended
//! ```

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use http::Request;
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

use crate::kill::Guarded;
use crate::state::LinkState;
use crate::{CloseReason, LinkError, Peer, Settings};

/// Serves `router` on `io` with the default [`Settings`] until the link is down or `shutdown` fires.
///
/// Every request carries `peer` in its extensions. After `shutdown` the other end is told to send no new calls, and
/// those in flight have 10 s to finish. Dropping the future cuts the link at once.
///
/// # Errors
/// [`LinkError::Protocol`] when the other end does not speak HTTP/2. A link that is closed, lost or silent is no
/// error: the reason says which.
pub async fn serve<IO>(
    io: IO,
    router: Router,
    peer: Peer,
    shutdown: CancellationToken,
) -> Result<CloseReason, LinkError>
where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    serve_with(io, router, peer, shutdown, &Settings::default()).await
}

/// As [`serve`], with other times.
///
/// # Errors
/// As [`serve`].
pub async fn serve_with<IO>(
    io: IO,
    router: Router,
    peer: Peer,
    shutdown: CancellationToken,
    settings: &Settings,
) -> Result<CloseReason, LinkError>
where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let state = Arc::new(LinkState::default());
    let io = TokioIo::new(Guarded::new(io, state.clone()));
    let service = hyper::service::service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(peer.clone());
        let answer = router.clone().oneshot(request.map(Body::new));
        async move { Ok::<_, Infallible>(answer.await.unwrap_or_else(|never| match never {})) }
    });
    let mut connection = pin!(settings.server().serve_connection(io, service));

    let result = tokio::select! {
        result = connection.as_mut() => result,
        () = shutdown.cancelled() => {
            connection.as_mut().graceful_shutdown();
            let drained = tokio::time::timeout(settings.drain, connection).await;
            if drained.is_err() {
                tracing::debug!("calls were still in flight when the drain time was over");
            }
            return Ok(CloseReason::Shutdown);
        }
    };
    match (result, state.reason()) {
        (_, Some(reason)) => Ok(reason.clone()),
        (Ok(()), None) => Ok(CloseReason::PeerClosed),
        (Err(error), None) if error.is_timeout() => Ok(CloseReason::Silent),
        (Err(error), None) => Err(LinkError::Protocol(error)),
    }
}
