//! The kill switch: a byte stream that can be made to fail at once.
//!
//! Aborting hyper's `Connection` future leaves calls in flight hanging and the link up, because hyper runs the
//! connection in a second task. An I/O error from the byte stream ends everything, in about a millisecond, on every
//! path: so each poll asks the switch first. Writes ask too: while a ping waits behind a full pipe, h2 does not read.
//!
//! The same wrapper sees the end of stream and every I/O error before HTTP/2 does and records them, so that a call
//! that fails finds the link's reason already known.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_util::sync::WaitForCancellationFutureOwned;

use crate::CloseReason;
use crate::state::LinkState;

/// `io`, watched and killable through its [`LinkState`].
pub(crate) struct Guarded<IO> {
    io: IO,
    switch: Pin<Box<WaitForCancellationFutureOwned>>,
    state: Arc<LinkState>,
}

impl<IO> Guarded<IO> {
    pub(crate) fn new(io: IO, state: Arc<LinkState>) -> Self {
        let switch = Box::pin(state.killed().clone().cancelled_owned());
        Self { io, switch, state }
    }

    /// Fails when the switch was thrown, else registers for it.
    fn check(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        // A cancelled future must not be polled again; the token itself can always be asked.
        if self.state.killed().is_cancelled() || self.switch.as_mut().poll(cx).is_ready() {
            return Err(io::Error::new(io::ErrorKind::ConnectionAborted, "the link was cut by this end"));
        }
        Ok(())
    }

    fn watch<T>(&self, result: io::Result<T>) -> Poll<io::Result<T>> {
        if let Err(error) = &result {
            self.state.close(CloseReason::Lost(match error.kind() {
                // TLS libraries explain at length that a process that was killed said no goodbye.
                io::ErrorKind::UnexpectedEof => "the other end broke off".to_owned(),
                _ => error.to_string(),
            }));
        }
        Poll::Ready(result)
    }
}

impl<IO> Drop for Guarded<IO> {
    fn drop(&mut self) {
        self.state.released().cancel();
    }
}

impl<IO: AsyncRead + Unpin> AsyncRead for Guarded<IO> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.check(cx)?;
        let before = buf.filled().len();
        let result = ready!(Pin::new(&mut self.io).poll_read(cx, buf));
        if result.is_ok() && buf.filled().len() == before && buf.remaining() > 0 {
            self.state.close(CloseReason::PeerClosed);
        }
        self.watch(result)
    }
}

impl<IO: AsyncWrite + Unpin> AsyncWrite for Guarded<IO> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.check(cx)?;
        let result = ready!(Pin::new(&mut self.io).poll_write(cx, buf));
        self.watch(result)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.check(cx)?;
        let result = ready!(Pin::new(&mut self.io).poll_write_vectored(cx, bufs));
        self.watch(result)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.check(cx)?;
        let result = ready!(Pin::new(&mut self.io).poll_flush(cx));
        self.watch(result)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.check(cx)?;
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
