//! The numbers of a link, and the HTTP/2 builders that carry them.
//!
//! | setting | value | why |
//! |---|---|---|
//! | stream window | 1 MiB | what one stalled stream may cost the sender's peer |
//! | connection window | 2^31 - 1 | at least streams x stream window, see [`CONNECTION_WINDOW`] |
//! | frame | 64 KiB | fewer headers and wake-ups than 16 KiB; a terminal's byte waits at most for one |
//! | concurrent calls | 1,024 | hyper's server default is 200: a page of 300 followed logs would hang |
//! | keep-alive | 15 s + 15 s | only a pong ends the wait, so a much shorter timeout cuts thin links that are full |

use std::time::Duration;

use hyper::client::conn::http2 as client;
use hyper::server::conn::http2 as server;
use hyper_util::rt::{TokioExecutor, TokioTimer};

/// Flow-control window of one stream, bytes.
pub const STREAM_WINDOW: u32 = 1024 * 1024;

/// Flow-control window of the whole connection, bytes: the largest HTTP/2 allows.
///
/// It is shared by all streams and given back only as the application reads. If it were smaller than
/// [`MAX_CALLS`] x [`STREAM_WINDOW`], a few stalled streams would freeze every call on the link. A window is a promise,
/// not an allocation: an idle link pays nothing for it.
pub const CONNECTION_WINDOW: u32 = (1 << 31) - 1;

/// Largest HTTP/2 frame payload accepted, bytes.
pub const MAX_FRAME: u32 = 64 * 1024;

/// Concurrent calls on one link; further calls wait for one to end.
pub const MAX_CALLS: u32 = 1024;

const _: () = assert!(MAX_CALLS as u64 * STREAM_WINDOW as u64 <= CONNECTION_WINDOW as u64);

/// WebSocket read buffer, bytes. It is allocated and zero-filled for every link, idle or not.
pub const WEBSOCKET_READ_BUFFER: usize = 4 * 1024;

/// WebSocket write buffer, bytes: none, each message goes straight out.
pub const WEBSOCKET_WRITE_BUFFER: usize = 0;

/// Largest WebSocket message or frame accepted, bytes.
pub const WEBSOCKET_MAX_MESSAGE: usize = 1024 * 1024;

/// Largest WebSocket message sent, bytes: one full HTTP/2 frame with its 9-byte header.
pub const WEBSOCKET_MESSAGE: usize = MAX_FRAME as usize + 9;

/// Pending connections the gateway's listener holds: a fleet that reconnects at once fits.
pub const LISTEN_BACKLOG: u32 = 4096;

/// The times of a link. The defaults are for production; tests use shorter ones.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How long the link may be quiet before a ping is sent. Default 15 s.
    pub keep_alive_interval: Duration,
    /// How long a ping may stay unanswered before the link is given up. Default 15 s.
    pub keep_alive_timeout: Duration,
    /// How long calls in flight may go on after a shutdown was asked for. Default 10 s.
    pub drain: Duration,
    /// Bound of resolving a name and connecting. Default 10 s.
    pub connect_timeout: Duration,
    /// Bound of the upgrade: from the request to the last byte of its answer. Default 10 s.
    pub handshake_timeout: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            keep_alive_interval: Duration::from_secs(15),
            keep_alive_timeout: Duration::from_secs(15),
            drain: Duration::from_secs(10),
            connect_timeout: Duration::from_secs(10),
            handshake_timeout: Duration::from_secs(10),
        }
    }
}

impl Settings {
    /// The gateway's end of HTTP/2.
    pub(crate) fn client(&self) -> client::Builder<TokioExecutor> {
        let mut builder = client::Builder::new(TokioExecutor::new());
        builder
            .timer(TokioTimer::new())
            .adaptive_window(false)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_frame_size(MAX_FRAME)
            .max_concurrent_streams(MAX_CALLS)
            .keep_alive_interval(self.keep_alive_interval)
            .keep_alive_timeout(self.keep_alive_timeout)
            .keep_alive_while_idle(true)
            // Late frames of calls that were cancelled are answered with a reset, and those resets are counted over
            // the life of the connection: hyper's 1,024 would cut a healthy link after some weeks of cancelled calls.
            .max_concurrent_reset_streams(MAX_CALLS as usize)
            .max_local_error_reset_streams(None);
        builder
    }

    /// The agent's end of HTTP/2.
    pub(crate) fn server(&self) -> server::Builder<TokioExecutor> {
        let mut builder = server::Builder::new(TokioExecutor::new());
        builder
            .timer(TokioTimer::new())
            .adaptive_window(false)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_frame_size(MAX_FRAME)
            .max_concurrent_streams(MAX_CALLS)
            .keep_alive_interval(self.keep_alive_interval)
            .keep_alive_timeout(self.keep_alive_timeout)
            // A gateway whose user leaves a page cancels all of its calls at once: that is no attack (h2 allows 20).
            .max_pending_accept_reset_streams(MAX_CALLS as usize)
            .max_local_error_reset_streams(None);
        builder
    }
}
