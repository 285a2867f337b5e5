//! The agent as a gateway sees it, over its unix socket.

#![allow(clippy::unwrap_used, reason = "clippy's own exception for tests does not reach their helpers")]

mod grants;
mod journal;
mod limits;
mod support;
