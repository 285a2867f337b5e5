//! The agent dials its gateway: TCP, TLS, the HTTP upgrade of [`crate::handshake`], then a byte stream.

use bytes::{Bytes, BytesMut};
use http::header::{CONNECTION, HOST, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, UPGRADE};
use http::{HeaderValue, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::handshake::{client::generate_key, derive_accept_key};
use tokio_tungstenite::tungstenite::protocol::Role;
use tokio_util::task::AbortOnDropHandle;

use crate::client::error_text;
use crate::connect::{Dialled, connect};
use crate::dial_error::DialError;
use crate::handshake::{Hello, REFUSAL_MAX, Refusal, TIME_HEADER, Welcome};
use crate::target::Target;
use crate::tls::Trust;
use crate::transport::Transport;
use crate::websocket::{DialledStream, WebSocketStream, config};
use crate::{Peer, Settings};

/// Where a gateway takes links, below the prefix of its URL.
pub const LINK_PATH: &str = "/api/v1/link";

/// Largest head of the gateway's answer, bytes.
const ANSWER_HEAD_MAX: usize = 16 * 1024;

/// The [`Peer`] a link dialled to `url` has.
///
/// # Errors
/// As [`dial`], for a URL that cannot be dialled.
pub fn gateway_peer(url: &str, generation: u64) -> Result<Peer, DialError> {
    Ok(Peer::Gateway { authority: Target::parse(url)?.authority(), generation })
}

/// Why no hello was made.
pub type HelloError = Box<dyn std::error::Error + Send + Sync>;

/// Dials the gateway at `url` (`https://host:port[/prefix]`, `http://`, `wss://` or `ws://`) with the default
/// [`Settings`]. `hello` is made when the connection stands, so that it can be bound to it.
///
/// # Errors
/// A [`DialError`] for each way it can fail; [`DialError::Refused`] is the gateway's own word.
pub async fn dial<F>(url: &str, trust: &Trust, hello: F) -> Result<(DialledStream, Welcome), DialError>
where
    F: FnOnce(&Dialled) -> Result<Hello, HelloError>,
{
    dial_with(url, trust, hello, &Settings::default()).await
}

/// As [`dial`], with other times.
///
/// # Errors
/// As [`dial`].
pub async fn dial_with<F>(
    url: &str,
    trust: &Trust,
    hello: F,
    settings: &Settings,
) -> Result<(DialledStream, Welcome), DialError>
where
    F: FnOnce(&Dialled) -> Result<Hello, HelloError>,
{
    let target = Target::parse(url)?;
    let (stream, dialled) = connect(&target, trust, settings).await?;
    let hello = hello(&dialled).map_err(DialError::Hello)?;
    let after = settings.handshake_timeout;
    timeout(after, upgrade(stream, &target, &hello))
        .await
        .map_err(|_| DialError::TimedOut { what: "answer the upgrade", after })?
}

/// Asks whether a link would be taken: all of [`dial_with`] up to the gateway's answer, which is no link. The assertion in
/// the hello must say so. Gives the gateway's time, Unix microseconds.
///
/// # Errors
/// As [`dial`].
pub async fn rehearse<F>(url: &str, trust: &Trust, hello: F, settings: &Settings) -> Result<i64, DialError>
where
    F: FnOnce(&Dialled) -> Result<Hello, HelloError>,
{
    let target = Target::parse(url)?;
    let (stream, dialled) = connect(&target, trust, settings).await?;
    let hello = hello(&dialled).map_err(DialError::Hello)?;
    let after = settings.handshake_timeout;
    let asked = async {
        let mut asked = ask(stream, &target, &hello).await?;
        if asked.response.status() != StatusCode::NO_CONTENT {
            return Err(DialError::Refused(refusal(&mut asked.response).await));
        }
        let time = asked.response.headers().get(TIME_HEADER).and_then(|value| value.to_str().ok()?.parse().ok());
        time.ok_or_else(|| DialError::Protocol("it does not tell its time".to_owned()))
    };
    timeout(after, asked).await.map_err(|_| DialError::TimedOut { what: "answer the upgrade", after })?
}

/// An answer to the upgrade.
struct Asked {
    response: Response<Incoming>,
    key: String,
    /// Ends with the upgrade; aborted when it is given up.
    _connection: AbortOnDropHandle<hyper::Result<()>>,
}

async fn ask(stream: Transport, target: &Target, hello: &Hello) -> Result<Asked, DialError> {
    let protocol = |error: hyper::Error| match error.is_parse() && !target.tls {
        true => DialError::Protocol(format!("{}; if it speaks TLS, use https://", error_text(&error))),
        false => DialError::Protocol(error_text(&error)),
    };
    let key = generate_key();
    let request = request(target, hello, &key)?;
    let (mut send, connection) =
        http1::Builder::new().max_buf_size(ANSWER_HEAD_MAX).handshake(TokioIo::new(stream)).await.map_err(protocol)?;
    let connection = AbortOnDropHandle::new(tokio::spawn(connection.with_upgrades()));
    let response = send.send_request(request).await.map_err(protocol)?;
    Ok(Asked { response, key, _connection: connection })
}

async fn upgrade(stream: Transport, target: &Target, hello: &Hello) -> Result<(DialledStream, Welcome), DialError> {
    let Asked { mut response, key, _connection } = ask(stream, target, hello).await?;
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
        .map_err(|error| DialError::Protocol(error_text(&error)))?
        .downcast::<TokioIo<Transport>>()
        .map_err(|_| DialError::Protocol("the upgraded connection is not the one dialled".to_owned()))?;
    // Bytes that came with the answer's head belong to the WebSocket already.
    let (stream, early) = (parts.io.into_inner(), parts.read_buf.to_vec());
    let socket =
        tokio_tungstenite::WebSocketStream::from_partially_read(stream, early, Role::Client, Some(config())).await;
    Ok((WebSocketStream::new(socket), welcome))
}

fn request(target: &Target, hello: &Hello, key: &str) -> Result<Request<Empty<Bytes>>, DialError> {
    let mut request = Request::builder()
        .uri(format!("{}{LINK_PATH}", target.prefix))
        .header(HOST, target.authority())
        .header(CONNECTION, "upgrade")
        .header(UPGRADE, "websocket")
        .header(SEC_WEBSOCKET_VERSION, "13")
        .header(SEC_WEBSOCKET_KEY, key)
        .body(Empty::new())
        .map_err(|error| DialError::Protocol(error.to_string()))?;
    request.headers_mut().extend(hello.to_headers().map_err(|error| DialError::Hello(error.into()))?);
    Ok(request)
}

/// Reads the beginning of the body; what is beyond [`REFUSAL_MAX`], or does not come, is left.
pub(crate) async fn refusal(response: &mut Response<Incoming>) -> Refusal {
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
