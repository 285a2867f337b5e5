//! The gateway's end: calls to the agent over one byte stream.
//!
//! A [`LinkClient`] is a cheap clone that generated clients take as their transport. It never reconnects: a link that
//! was dialled in ends when its byte stream ends, and the next one is another `LinkClient`.
//!
//! ```text
//!   connect ──> open ── GOAWAY ──> draining ──┐   calls in flight finish, new ones fail with `unavailable`
//!                 └── lost or killed ─────────┴──> down, see LinkClosed
//! ```

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use connectrpc::client::{BoxFuture, ClientBody, ClientConfig, ClientTransport};
use connectrpc::{ConnectError, ErrorCode};
use http::{Request, Response, Uri};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::client::conn::http2::SendRequest;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::sync::WaitForCancellationFutureOwned;

use crate::kill::Guarded;
use crate::state::LinkState;
use crate::{CloseReason, LinkError, Settings};

/// The `:authority` of every call. The agent does not look at it: a link leads to one host only.
const AUTHORITY: &str = "http://agent";

/// How every error of a lost link begins; [`LinkClient::map_error`] finds it in errors that connectrpc wrapped.
const LOST: &str = "the link to the host was lost";

/// A transport to the agent at the other end of one byte stream.
#[derive(Clone, Debug)]
pub struct LinkClient {
    /// Dropped before `send`, so that the state knows that nobody is left before HTTP/2 says goodbye.
    _holders: Arc<Holders>,
    send: SendRequest<ClientBody>,
    state: Arc<LinkState>,
}

/// All the clones of one [`LinkClient`].
#[derive(Debug)]
struct Holders(Arc<LinkState>);

impl Drop for Holders {
    fn drop(&mut self) {
        self.0.abandon();
    }
}

impl LinkClient {
    /// Starts HTTP/2 on `io` with the default [`Settings`].
    ///
    /// # Errors
    /// [`LinkError::Start`] or [`LinkError::Stuck`] when the preface cannot be written. A peer that does not speak HTTP/2 is found a moment
    /// later, and told by the [`LinkClosed`] future.
    pub async fn connect<IO>(io: IO) -> Result<(Self, LinkClosed), LinkError>
    where
        IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        Self::connect_with(io, &Settings::default()).await
    }

    /// As [`LinkClient::connect`], with other times.
    ///
    /// # Errors
    /// As [`LinkClient::connect`].
    pub async fn connect_with<IO>(io: IO, settings: &Settings) -> Result<(Self, LinkClosed), LinkError>
    where
        IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let state = Arc::new(LinkState::default());
        let io = TokioIo::new(Guarded::new(io, state.clone()));
        let after = settings.handshake_timeout;
        let started = tokio::time::timeout(after, settings.client().handshake(io)).await;
        let (send, connection) = started.map_err(|_| LinkError::Stuck { after })?.map_err(LinkError::Start)?;
        tokio::spawn(drive(connection, state.clone()));
        let closed = LinkClosed { down: Box::pin(state.down().clone().cancelled_owned()), state: state.clone() };
        Ok((Self { _holders: Arc::new(Holders(state.clone())), send, state }, closed))
    }

    /// The kill switch: every call in flight fails at once, on both ends, and the byte stream is dropped.
    pub fn kill(&self, reason: CloseReason) {
        self.state.kill(reason);
    }

    /// Whether new calls are certain to fail: the link is down, or the agent said that it takes no more.
    pub fn is_closed(&self) -> bool {
        self.state.reason().is_some() || self.send.is_closed()
    }

    /// The configuration generated clients need: `FooServiceClient::new(link.clone(), link.config())`.
    pub fn config(&self) -> ClientConfig {
        ClientConfig::new(Uri::from_static(AUTHORITY))
    }

    /// Gives an error of a call its right code: calls that were reading when the link was lost fail as `internal` in
    /// connectrpc, and become `unavailable` here. Other errors pass unchanged.
    pub fn map_error(&self, error: ConnectError) -> ConnectError {
        match self.state.reason() {
            Some(reason)
                if error.code == ErrorCode::Internal
                    && error.message.as_ref().is_some_and(|text| text.contains(LOST)) =>
            {
                lost(reason).with_source(error)
            }
            _ => error,
        }
    }
}

impl ClientTransport for LinkClient {
    type ResponseBody = LinkBody;
    type Error = ConnectError;

    fn send(&self, request: Request<ClientBody>) -> BoxFuture<'static, Result<Response<LinkBody>, ConnectError>> {
        let mut send = self.send.clone();
        let state = self.state.clone();
        Box::pin(async move {
            if let Some(reason) = state.reason() {
                return Err(lost(reason));
            }
            match send.try_send_request(request).await {
                Ok(response) => Ok(response.map(|body| LinkBody::new(body, state))),
                Err(error) => Err(match state.settle().await {
                    Some(reason) => lost(reason),
                    None if send.is_closed() => {
                        ConnectError::unavailable("the host is closing this link and takes no new calls")
                    }
                    None => {
                        ConnectError::unavailable_from_transport("the call did not reach the host", error.into_error())
                    }
                }),
            }
        })
    }
}

/// Resolves with the reason when the link is down. May be dropped; the link does not depend on it.
pub struct LinkClosed {
    down: Pin<Box<WaitForCancellationFutureOwned>>,
    state: Arc<LinkState>,
}

impl Future for LinkClosed {
    type Output = CloseReason;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<CloseReason> {
        if self.state.reason().is_none() {
            ready!(self.down.as_mut().poll(cx));
        }
        // The reason is set before `down` fires.
        Poll::Ready(self.state.reason().cloned().unwrap_or(CloseReason::PeerClosed))
    }
}

/// The body of an agent's answer; its errors know whether the link was lost.
pub struct LinkBody {
    inner: Incoming,
    state: Arc<LinkState>,
    failed: Option<BoxFuture<'static, ConnectError>>,
}

impl LinkBody {
    fn new(inner: Incoming, state: Arc<LinkState>) -> Self {
        Self { inner, state, failed: None }
    }
}

impl Body for LinkBody {
    type Data = Bytes;
    type Error = ConnectError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, ConnectError>>> {
        let this = &mut *self;
        loop {
            if let Some(failed) = &mut this.failed {
                let error = ready!(failed.as_mut().poll(cx));
                this.failed = None;
                return Poll::Ready(Some(Err(error)));
            }
            match ready!(Pin::new(&mut this.inner).poll_frame(cx)) {
                Some(Err(error)) => this.failed = Some(Box::pin(explain(error, this.state.clone()))),
                Some(Ok(frame)) => return Poll::Ready(Some(Ok(frame))),
                None => return Poll::Ready(None),
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.failed.is_none() && self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

async fn explain(error: hyper::Error, state: Arc<LinkState>) -> ConnectError {
    match state.settle().await {
        Some(reason) => lost(reason),
        None => ConnectError::internal("the host broke off the answer").with_source(error),
    }
}

fn lost(reason: &CloseReason) -> ConnectError {
    ConnectError::unavailable(format!("{LOST}: {reason}"))
}

/// Runs the connection and records why it ended, unless the byte stream or the kill switch did.
async fn drive(connection: impl Future<Output = hyper::Result<()>>, state: Arc<LinkState>) {
    // After a GOAWAY this ends while calls are still in flight: it means "no new calls", not "down".
    let result = connection.await;
    state.released().cancelled().await;
    state.close(match result {
        Err(error) if error.is_timeout() => CloseReason::Silent,
        Err(error) => CloseReason::Protocol(error_text(&error)),
        Ok(()) => CloseReason::PeerClosed,
    });
    if let Some(reason) = state.reason() {
        tracing::debug!(%reason, "link down");
    }
}

/// An error with its sources: hyper's own text says only "http2 error".
pub(crate) fn error_text(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}
