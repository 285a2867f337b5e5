//! Why a link ended, and how a link can fail to start.

use std::fmt;
use std::time::Duration;

/// Why a link is down. The first cause is the one kept.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CloseReason {
    /// The other end closed the byte stream, or said that it takes no more calls and was done with the old ones.
    PeerClosed,
    /// Keep-alive pings were not answered in time.
    Silent,
    /// The byte stream failed; the text is the system's.
    Lost(String),
    /// The other end broke HTTP/2 (or never spoke it).
    Protocol(String),
    /// Nobody holds the link any more.
    Released,
    /// This end is shutting down.
    Shutdown,
    /// The host's key or token was revoked.
    Revoked,
    /// An operator removed the host or cut its link.
    Evicted,
    /// The same host dialled in again.
    Replaced {
        /// The newer link's generation.
        by: u64,
    },
}

impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PeerClosed => f.write_str("the other end closed it"),
            Self::Silent => f.write_str("the other end stopped answering"),
            Self::Lost(text) => write!(f, "the connection failed ({text})"),
            Self::Protocol(text) => write!(f, "the other end does not speak HTTP/2 correctly ({text})"),
            Self::Released => f.write_str("nobody uses it any more"),
            Self::Shutdown => f.write_str("this end is shutting down"),
            Self::Revoked => f.write_str("the host's access was revoked"),
            Self::Evicted => f.write_str("the host was removed"),
            Self::Replaced { by } => write!(f, "the host connected again (generation {by})"),
        }
    }
}

/// The link could not be started, or the other end does not speak HTTP/2.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LinkError {
    /// HTTP/2 could not be started on the byte stream.
    #[error("the link could not be started: {0}")]
    Start(#[source] hyper::Error),
    /// The other end did not take even the first bytes of HTTP/2.
    #[error("the link could not be started: the other end read nothing for {} s", after.as_secs_f32())]
    Stuck {
        /// How long it was given: [`crate::Settings::handshake_timeout`].
        after: Duration,
    },
    /// The other end sent something that is not HTTP/2, or broke its rules.
    #[error("the other end does not speak HTTP/2 correctly: {0}")]
    Protocol(#[source] hyper::Error),
}
