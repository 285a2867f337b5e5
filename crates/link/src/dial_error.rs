//! Every way not to get a connection or a link.

use std::time::Duration;

use crate::handshake::Refusal;

/// No link. The text is for the person who runs the agent.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DialError {
    /// The URL cannot be dialled.
    #[error("{url:?} is not a gateway's URL: {why} (expected https://host:port or http://host:port)")]
    Url {
        /// The URL as given.
        url: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The host's name has no address.
    #[error("cannot find the address of {host:?}: {source}")]
    Resolve {
        /// The name.
        host: String,
        /// The resolver's word.
        source: std::io::Error,
    },
    /// No address of the gateway takes connections.
    #[error("cannot connect to {authority}: {source}")]
    Connect {
        /// Host and port.
        authority: String,
        /// The last address's error.
        source: std::io::Error,
    },
    /// The TLS handshake failed, or the certificate is not trusted.
    #[error("no TLS with {authority}: {why}")]
    Tls {
        /// Host and port.
        authority: String,
        /// What happened and what to do, for people.
        why: String,
    },
    /// This machine cannot say whom it trusts.
    #[error(transparent)]
    TlsSetup(#[from] crate::tls::TlsSetupError),
    /// Nothing happened for too long.
    #[error("the gateway did not {what} within {} s", after.as_secs_f32())]
    TimedOut {
        /// What was waited for.
        what: &'static str,
        /// How long.
        after: Duration,
    },
    /// The gateway said no.
    #[error("the gateway refused: {0}")]
    Refused(Refusal),
    /// The hello could not be made, or has a value that no header can carry.
    #[error("this agent cannot introduce itself: {0}")]
    Hello(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// Something answered that is not a Hostler gateway.
    #[error("what answers there is not a Hostler gateway: {0}")]
    Protocol(String),
}
