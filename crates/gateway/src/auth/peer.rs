//! Where a request comes from.

use std::net::IpAddr;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;

use crate::http::ConnectionInfo;

/// The peer of the local socket, as the kernel told it at connect.
#[derive(Clone, Copy, Debug)]
pub struct LocalPeer {
    /// Effective user id.
    pub uid: u32,
}

/// Where a request comes from.
#[derive(Clone, Copy, Debug)]
pub struct Peer(pub Option<IpAddr>);

impl Peer {
    /// Of a request; `None` inside means the local socket.
    pub fn of(parts: &axum::http::Extensions) -> Self {
        let info = parts.get::<ConnectionInfo>();
        Self(info.and_then(|info| info.client.or(info.address.map(|address| address.ip()))))
    }
}

impl std::fmt::Display for Peer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            Some(address) => address.to_canonical().fmt(f),
            None => f.write_str("local socket"),
        }
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Peer {
    type Rejection = std::convert::Infallible;
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        Ok(Self::of(&parts.extensions))
    }
}
