//! Who is at the other end of a connection to the agent.
//!
//! HTTP/2 carries no identity, so it is decided when the byte stream is accepted and put into the extensions of every
//! request: a handler reads it with `Extension<Peer>` (axum) or from the request context (connectrpc).

use std::fmt;

/// The caller of an agent's services.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Peer {
    /// The gateway, over the link the agent dialled.
    Gateway {
        /// Host and port the agent dialled.
        authority: String,
        /// The link's generation, see [`crate::Welcome`].
        generation: u64,
    },
    /// A process on this host, over the unix socket; the kernel's word (`SO_PEERCRED`).
    Local {
        /// Effective user id.
        uid: u32,
        /// Effective group id.
        gid: u32,
        /// Process id, where the kernel tells it.
        pid: Option<i32>,
    },
    /// Whoever started this process with its standard input and output connected, such as sshd.
    Stdio {
        /// The process that started this one.
        parent_pid: u32,
    },
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gateway { authority, generation } => write!(f, "gateway {authority} (link {generation})"),
            Self::Local { uid, pid: Some(pid), .. } => write!(f, "local user {uid} (process {pid})"),
            Self::Local { uid, pid: None, .. } => write!(f, "local user {uid}"),
            Self::Stdio { parent_pid } => write!(f, "standard input of process {parent_pid}"),
        }
    }
}
