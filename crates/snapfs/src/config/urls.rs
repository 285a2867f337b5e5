//! The URLs of a gateway: its HTTP base and its socket.

use std::fmt;

use super::ConfigError;

/// Where an agent's socket is. The path may hold a key, so it is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct SocketUrl {
    pub(crate) tls: bool,
    /// A name, or an address; IPv6 without brackets.
    pub(crate) host: String,
    pub(crate) port: u16,
    authority: String,
    path: String,
}

impl SocketUrl {
    /// The whole, with its path: for the upgrade and nothing else.
    pub(crate) fn expose(&self) -> String {
        format!("{self}{}", self.path)
    }
}

/// Scheme, host and port.
impl fmt::Display for SocketUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", if self.tls { "wss" } else { "ws" }, self.authority)
    }
}

impl fmt::Debug for SocketUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}/***")
    }
}

/// A gateway's URL, taken apart. `ws` and `http` count as the same, and so do `wss` and `https`.
#[derive(Debug)]
pub(super) struct Base {
    tls: bool,
    host: String,
    port: u16,
    authority: String,
    /// Without a slash at its end.
    path: String,
}

impl Base {
    /// `given` names the flag and the variable in the error.
    pub(super) fn parse(url: &str, given: &'static str) -> Result<Self, ConfigError> {
        let wrong = |why| ConfigError::Url { given, why };
        let uri: http::Uri = url.trim().parse().map_err(|_| wrong("this is no URL"))?;
        let tls = match uri.scheme_str() {
            Some("http" | "ws") => false,
            Some("https" | "wss") => true,
            _ => return Err(wrong("the URL must begin with http://, https://, ws:// or wss://")),
        };
        let authority = uri.authority().ok_or_else(|| wrong("the URL names no host"))?;
        if authority.as_str().contains('@') {
            return Err(wrong("the URL must hold no user or password; a token or an API key has its own setting"));
        }
        if uri.query().is_some() {
            return Err(wrong("the URL must not have a query"));
        }
        let host = authority.host().trim_start_matches('[').trim_end_matches(']');
        if host.is_empty() {
            return Err(wrong("the URL names no host"));
        }
        let port = match authority.port() {
            Some(port) => port.as_u16(),
            None if authority.as_str().ends_with(':') || authority.as_str() != authority.host() => {
                return Err(wrong("the URL's port is no number from 1 to 65535"));
            }
            None if tls => 443,
            None => 80,
        };
        Ok(Self {
            tls,
            host: host.to_owned(),
            port,
            authority: authority.as_str().to_owned(),
            path: uri.path().trim_end_matches('/').to_owned(),
        })
    }

    /// As the HTTP client wants it, with its path.
    pub(super) fn http(&self) -> String {
        format!("{}{}", self.http_origin(), self.path)
    }

    /// Without its path.
    pub(super) fn http_origin(&self) -> String {
        format!("{}://{}", if self.tls { "https" } else { "http" }, self.authority)
    }

    /// TLS, or no network in between.
    pub(super) fn is_safe(&self) -> bool {
        self.tls || matches!(self.host.to_ascii_lowercase().as_str(), "localhost" | "127.0.0.1" | "::1")
    }

    /// The socket on `path`, behind the URL's own path when `keep` says so.
    pub(super) fn socket(&self, path: &str, keep: bool) -> Result<SocketUrl, ConfigError> {
        let slash = if path.starts_with('/') { "" } else { "/" };
        let before = if keep { self.path.as_str() } else { "" };
        let path = format!("{before}{slash}{path}");
        if path.parse::<http::uri::PathAndQuery>().is_err() {
            return Err(ConfigError::Url {
                given: "--ws-path or SNAPFS_AGENT_WS_PATH",
                why: "this is no path of a URL, such as /agents",
            });
        }
        let Self { tls, host, port, authority, .. } = self;
        Ok(SocketUrl { tls: *tls, host: host.clone(), port: *port, authority: authority.clone(), path })
    }
}
