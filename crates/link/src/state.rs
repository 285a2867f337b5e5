//! What both ends of a link know about its life.
//!
//! ```text
//!   up ── first of: end of stream, I/O error, kill, the connection ended ──> down(reason) ──> released
//! ```
//! `down` is final and keeps its first reason. `released` follows when HTTP/2 has let go of the byte stream.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::CloseReason;

/// How long a failed call waits to learn whether its link is down. HTTP/2 tells the calls an instant before it lets go
/// of the byte stream, so a call may fail before the reason is recorded; a reset call on a healthy link pays this once.
const SETTLE: Duration = Duration::from_millis(250);

/// The life of one link, shared by its byte stream, its calls and its handles.
#[derive(Debug, Default)]
pub(crate) struct LinkState {
    reason: OnceLock<CloseReason>,
    abandoned: AtomicBool,
    down: CancellationToken,
    kill: CancellationToken,
    released: CancellationToken,
}

impl LinkState {
    /// Records why the link ended; later reasons are dropped. Once nobody holds the link, HTTP/2 says goodbye, and how
    /// the byte stream ends after that is no news.
    pub(crate) fn close(&self, reason: CloseReason) {
        let reason = match reason {
            CloseReason::PeerClosed | CloseReason::Lost(_) if self.abandoned.load(Ordering::Acquire) => {
                CloseReason::Released
            }
            reason => reason,
        };
        if self.reason.set(reason).is_ok() {
            self.down.cancel();
        }
    }

    /// Notes that the last handle is gone.
    pub(crate) fn abandon(&self) {
        self.abandoned.store(true, Ordering::Release);
    }

    /// Records the reason and makes the byte stream fail at its next poll.
    pub(crate) fn kill(&self, reason: CloseReason) {
        self.close(reason);
        self.kill.cancel();
    }

    /// Why the link is down, or `None` while it is up.
    pub(crate) fn reason(&self) -> Option<&CloseReason> {
        self.reason.get()
    }

    /// Fires when the link is down.
    pub(crate) fn down(&self) -> &CancellationToken {
        &self.down
    }

    /// Fires when the byte stream has to fail.
    pub(crate) fn killed(&self) -> &CancellationToken {
        &self.kill
    }

    /// Fires when the byte stream was dropped.
    pub(crate) fn released(&self) -> &CancellationToken {
        &self.released
    }

    /// Waits until the link is down, at most [`SETTLE`].
    pub(crate) async fn settle(&self) -> Option<&CloseReason> {
        let _ = tokio::time::timeout(SETTLE, self.down.cancelled()).await;
        self.reason()
    }
}
