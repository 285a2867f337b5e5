//! The agent dials its gateway: TCP, the HTTP upgrade of [`crate::handshake`], then a byte stream.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{CONNECTION, HOST, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, UPGRADE};
use http::{HeaderValue, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::handshake::{client::generate_key, derive_accept_key};
use tokio_tungstenite::tungstenite::protocol::Role;
use tokio_util::task::AbortOnDropHandle;

use crate::client::error_text;
use crate::handshake::{HandshakeError, Hello, REFUSAL_MAX, Refusal, Welcome};
use crate::websocket::{DialledStream, WebSocketStream, config};
use crate::{Peer, Settings};

/// Where a gateway takes links, below the prefix of its URL.
pub const LINK_PATH: &str = "/api/v1/link";

/// Largest head of the gateway's answer, bytes.
const ANSWER_HEAD_MAX: usize = 16 * 1024;

/// No link. The text is for the person who runs the agent.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DialError {
    /// The URL cannot be dialled.
    #[error("{url:?} is not a gateway's URL: {why} (expected http://host:port)")]
    Url {
        /// The URL as given.
        url: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The URL asks for TLS.
    #[error("{url:?} asks for TLS, which is not built in; use http:// on a trusted network or through a tunnel")]
    Tls {
        /// The URL as given.
        url: String,
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
    /// Nothing happened for too long.
    #[error("the gateway did not {what} within {} s", after.as_secs_f32())]
    TimedOut {
        /// What was waited for.
        what: &'static str,
        /// How long.
        after: Duration,
    },
    /// The gateway said no.
    #[error("the gateway refused the link: {0}")]
    Refused(Refusal),
    /// The hello has a value that no header can carry.
    #[error("this agent cannot introduce itself: {0}")]
    Hello(#[source] HandshakeError),
    /// Something answered that is not a Hostler gateway.
    #[error("what answers there is not a Hostler gateway: {0}")]
    Protocol(String),
}

/// A gateway's URL, taken apart.
struct Target {
    host: String,
    port: u16,
    path: String,
}

impl Target {
    fn parse(url: &str) -> Result<Self, DialError> {
        let bad = |why| DialError::Url { url: url.to_owned(), why };
        let uri: Uri = url.parse().map_err(|_| bad("it cannot be read"))?;
        match uri.scheme_str() {
            Some("http" | "ws") => {}
            Some("https" | "wss") => return Err(DialError::Tls { url: url.to_owned() }),
            Some(_) => return Err(bad("the scheme is unknown")),
            None => return Err(bad("the scheme is missing")),
        }
        let authority = uri.authority().ok_or_else(|| bad("the host is missing"))?;
        if authority.as_str().contains('@') {
            return Err(bad("it must not hold a user name"));
        }
        if uri.query().is_some() {
            return Err(bad("it must not hold a query"));
        }
        let host = authority.host().trim_start_matches('[').trim_end_matches(']');
        if host.is_empty() {
            return Err(bad("the host is missing"));
        }
        // `Authority::port` takes a port that is no number for none at all.
        let port = match &authority.as_str()[authority.host().len()..] {
            "" => 80,
            port => port[1..].parse().map_err(|_| bad("the port is not a number below 65536"))?,
        };
        Ok(Self { host: host.to_owned(), port, path: format!("{}{LINK_PATH}", uri.path().trim_end_matches('/')) })
    }

    fn authority(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

/// The [`Peer`] a link dialled to `url` has.
///
/// # Errors
/// As [`dial`], for a URL that cannot be dialled.
pub fn gateway_peer(url: &str, generation: u64) -> Result<Peer, DialError> {
    Ok(Peer::Gateway { authority: Target::parse(url)?.authority(), generation })
}

/// Dials the gateway at `url` (`http://host:port[/prefix]` or `ws://`) with the default [`Settings`].
///
/// # Errors
/// A [`DialError`] for each way it can fail; [`DialError::Refused`] is the gateway's own word.
pub async fn dial(url: &str, hello: &Hello) -> Result<(DialledStream, Welcome), DialError> {
    dial_with(url, hello, &Settings::default()).await
}

/// As [`dial`], with other times.
///
/// # Errors
/// As [`dial`].
pub async fn dial_with(url: &str, hello: &Hello, settings: &Settings) -> Result<(DialledStream, Welcome), DialError> {
    let target = Target::parse(url)?;
    let after = settings.connect_timeout;
    let tcp = timeout(after, connect(&target))
        .await
        .map_err(|_| DialError::TimedOut { what: "take the connection", after })??;
    let after = settings.handshake_timeout;
    timeout(after, upgrade(tcp, &target, hello))
        .await
        .map_err(|_| DialError::TimedOut { what: "answer the upgrade", after })?
}

async fn connect(target: &Target) -> Result<TcpStream, DialError> {
    let addresses = tokio::net::lookup_host((target.host.as_str(), target.port))
        .await
        .map_err(|source| DialError::Resolve { host: target.host.clone(), source })?;
    let mut last = std::io::Error::new(std::io::ErrorKind::NotFound, "the name has no address");
    for address in addresses {
        match TcpStream::connect(address).await {
            Ok(tcp) => {
                // A keystroke must not wait for the acknowledgement of the one before.
                tcp.set_nodelay(true).map_err(|source| DialError::Connect { authority: target.authority(), source })?;
                return Ok(tcp);
            }
            Err(error) => last = error,
        }
    }
    Err(DialError::Connect { authority: target.authority(), source: last })
}

async fn upgrade(tcp: TcpStream, target: &Target, hello: &Hello) -> Result<(DialledStream, Welcome), DialError> {
    let protocol = |error: hyper::Error| DialError::Protocol(error_text(&error));
    let key = generate_key();
    let request = request(target, hello, &key)?;
    let (mut send, connection) =
        http1::Builder::new().max_buf_size(ANSWER_HEAD_MAX).handshake(TokioIo::new(tcp)).await.map_err(protocol)?;
    // Ends with the upgrade; aborted when it is given up.
    let _connection = AbortOnDropHandle::new(tokio::spawn(connection.with_upgrades()));

    let mut response = send.send_request(request).await.map_err(protocol)?;
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        return Err(DialError::Refused(refusal(&mut response).await));
    }
    let headers = response.headers();
    let accepted = headers.get(SEC_WEBSOCKET_ACCEPT).map(HeaderValue::as_bytes);
    if accepted != Some(derive_accept_key(key.as_bytes()).as_bytes()) {
        return Err(DialError::Protocol("it answers the upgrade with a wrong sec-websocket-accept".to_owned()));
    }
    let welcome =
        Welcome::from_headers(headers, hello.generation).map_err(|error| DialError::Protocol(error.to_string()))?;
    let parts = hyper::upgrade::on(response)
        .await
        .map_err(protocol)?
        .downcast::<TokioIo<TcpStream>>()
        .map_err(|_| DialError::Protocol("the upgraded connection is not the one dialled".to_owned()))?;
    // Bytes that came with the answer's head belong to the WebSocket already.
    let (tcp, early) = (parts.io.into_inner(), parts.read_buf.to_vec());
    let socket =
        tokio_tungstenite::WebSocketStream::from_partially_read(tcp, early, Role::Client, Some(config())).await;
    Ok((WebSocketStream::new(socket), welcome))
}

fn request(target: &Target, hello: &Hello, key: &str) -> Result<Request<Empty<Bytes>>, DialError> {
    let mut request = Request::builder()
        .uri(&target.path)
        .header(HOST, target.authority())
        .header(CONNECTION, "upgrade")
        .header(UPGRADE, "websocket")
        .header(SEC_WEBSOCKET_VERSION, "13")
        .header(SEC_WEBSOCKET_KEY, key)
        .body(Empty::new())
        .map_err(|error| DialError::Protocol(error.to_string()))?;
    request.headers_mut().extend(hello.to_headers().map_err(DialError::Hello)?);
    Ok(request)
}

/// Reads the beginning of the body; what is beyond [`REFUSAL_MAX`], or does not come, is left.
async fn refusal(response: &mut Response<Incoming>) -> Refusal {
    let mut body = BytesMut::new();
    while body.len() < REFUSAL_MAX
        && let Some(Ok(frame)) = response.body_mut().frame().await
    {
        if let Some(data) = frame.data_ref() {
            body.extend_from_slice(&data[..data.len().min(REFUSAL_MAX - body.len())]);
        }
    }
    Refusal::parse(response.status(), response.headers(), &body)
}
