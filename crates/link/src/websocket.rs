//! A WebSocket as a byte stream.
//!
//! - Binary messages carry the bytes; where one message ends means nothing.
//! - A text message is an error: the other end is something else than a link.
//! - Ping and pong are the WebSocket library's business and skipped here.
//! - Close is the end of the stream; shutting the stream down sends Close.
//! - One write is one message of at most [`WEBSOCKET_MESSAGE`] bytes. HTTP/2 gathers what is ready before it writes, and
//!   hands over a frame's header and payload together (`poll_write_vectored`), so a frame costs one message.
//!
//! Nothing is buffered here for an idle link.

use std::error::Error as StdError;
use std::io;
use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use axum::extract::ws as axum_ws;
use bytes::{Buf, Bytes, BytesMut};
use futures_util::{Sink, Stream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_tungstenite::tungstenite;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;

use crate::settings::{WEBSOCKET_MAX_MESSAGE, WEBSOCKET_MESSAGE, WEBSOCKET_READ_BUFFER, WEBSOCKET_WRITE_BUFFER};

/// What a received message means for the byte stream.
enum Received {
    Bytes(Bytes),
    Text,
    Nothing,
    Close,
}

/// A WebSocket library's message type.
trait Message: Sized {
    fn from_bytes(bytes: Bytes) -> Self;
    fn received(self) -> Received;
}

impl Message for tungstenite::Message {
    fn from_bytes(bytes: Bytes) -> Self {
        Self::Binary(bytes)
    }

    fn received(self) -> Received {
        match self {
            Self::Binary(bytes) => Received::Bytes(bytes),
            Self::Text(_) => Received::Text,
            Self::Close(_) => Received::Close,
            Self::Ping(_) | Self::Pong(_) | Self::Frame(_) => Received::Nothing,
        }
    }
}

impl Message for axum_ws::Message {
    fn from_bytes(bytes: Bytes) -> Self {
        Self::Binary(bytes)
    }

    fn received(self) -> Received {
        match self {
            Self::Binary(bytes) => Received::Bytes(bytes),
            Self::Text(_) => Received::Text,
            Self::Close(_) => Received::Close,
            Self::Ping(_) | Self::Pong(_) => Received::Nothing,
        }
    }
}

/// The agent's end of a WebSocket as a byte stream, see [`crate::dial`].
pub type DialledStream =
    WebSocketStream<tokio_tungstenite::WebSocketStream<crate::transport::Transport>, tungstenite::Message>;

/// The gateway's end of a WebSocket as a byte stream, see [`crate::accept`].
pub type ByteStream = WebSocketStream<axum_ws::WebSocket, axum_ws::Message>;

/// A WebSocket `S` with messages `M`, read and written as bytes.
pub struct WebSocketStream<S, M> {
    socket: S,
    /// What is left of the message being read.
    unread: Bytes,
    ended: bool,
    message: PhantomData<fn(M) -> M>,
}

impl<S, M> WebSocketStream<S, M> {
    pub(crate) fn new(socket: S) -> Self {
        Self { socket, unread: Bytes::new(), ended: false, message: PhantomData }
    }
}

/// The settings of the agent's end; the gateway's are set in [`crate::accept`].
pub(crate) fn config() -> WebSocketConfig {
    WebSocketConfig::default()
        .read_buffer_size(WEBSOCKET_READ_BUFFER)
        .write_buffer_size(WEBSOCKET_WRITE_BUFFER)
        .max_message_size(Some(WEBSOCKET_MAX_MESSAGE))
        .max_frame_size(Some(WEBSOCKET_MAX_MESSAGE))
}

impl<S, M, E> AsyncRead for WebSocketStream<S, M>
where
    S: Stream<Item = Result<M, E>> + Unpin,
    M: Message,
    E: StdError + Send + Sync + 'static,
{
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        while this.unread.is_empty() && !this.ended {
            let received = match ready!(Pin::new(&mut this.socket).poll_next(cx)) {
                None => Received::Close,
                Some(message) => message.map_err(io_error)?.received(),
            };
            match received {
                Received::Bytes(bytes) => this.unread = bytes,
                Received::Nothing => {}
                Received::Close => this.ended = true,
                Received::Text => {
                    let text = "a text message on the link's WebSocket: the other end is not a Hostler";
                    return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, text)));
                }
            }
        }
        let n = this.unread.len().min(buf.remaining());
        buf.put_slice(&this.unread[..n]);
        this.unread.advance(n);
        if this.unread.is_empty() {
            // Gives the message's memory back now; `advance` alone keeps it until the next message.
            this.unread = Bytes::new();
        }
        Poll::Ready(Ok(()))
    }
}

impl<S, M, E> AsyncWrite for WebSocketStream<S, M>
where
    S: Sink<M, Error = E> + Unpin,
    M: Message,
    E: StdError + Send + Sync + 'static,
{
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[io::IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let wanted = bufs.iter().map(|buf| buf.len()).sum::<usize>().min(WEBSOCKET_MESSAGE);
        if wanted == 0 {
            return Poll::Ready(Ok(0));
        }
        // Ready means that the message before has left for the kernel: no more than one waits here.
        ready!(Pin::new(&mut self.socket).poll_ready(cx)).map_err(io_error)?;
        let mut message = BytesMut::with_capacity(wanted);
        for buf in bufs {
            let n = buf.len().min(wanted - message.len());
            message.extend_from_slice(&buf[..n]);
        }
        Pin::new(&mut self.socket).start_send(M::from_bytes(message.freeze())).map_err(io_error)?;
        Poll::Ready(Ok(wanted))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx).map_err(io_error)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_close(cx).map_err(io_error)
    }
}

/// The I/O error inside a WebSocket error, where there is one; anything else is the other end's data.
fn io_error<E: StdError + Send + Sync + 'static>(error: E) -> io::Error {
    let mut cause: Option<&(dyn StdError + 'static)> = Some(&error);
    let mut kind = io::ErrorKind::InvalidData;
    while let Some(inner) = cause {
        match inner.downcast_ref() {
            Some(tungstenite::Error::Io(inner)) => kind = inner.kind(),
            Some(
                tungstenite::Error::ConnectionClosed
                | tungstenite::Error::AlreadyClosed
                | tungstenite::Error::Protocol(tungstenite::error::ProtocolError::ResetWithoutClosingHandshake),
            ) => kind = io::ErrorKind::ConnectionReset,
            _ => {}
        }
        cause = inner.source();
    }
    io::Error::new(kind, error)
}
