//! The gateway takes links: the answer to the HTTP upgrade, as a piece of an axum handler.
//!
//! The caller reads the [`Hello`](crate::Hello), decides, and answers with [`accept`] or with a
//! [`Refusal`](crate::Refusal), which is an axum response.

use std::io;
use std::net::SocketAddr;

use axum::extract::ws::WebSocketUpgrade;
use axum::response::{IntoResponse, Response};
use axum::serve::ListenerExt as _;
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderValue, StatusCode};
use tokio::net::TcpSocket;

use crate::handshake::{Refusal, TIME_HEADER, Welcome};
use crate::settings::{LISTEN_BACKLOG, WEBSOCKET_MAX_MESSAGE, WEBSOCKET_READ_BUFFER, WEBSOCKET_WRITE_BUFFER};
use crate::websocket::{ByteStream, WebSocketStream};

/// Answers the upgrade with `welcome` and runs `on_link` with the byte stream in a task of its own.
///
/// A `welcome` that no header can carry is answered with status 500; `on_link` is not run then, nor when the agent goes
/// away before the upgrade is done.
pub fn accept<F, Fut>(upgrade: WebSocketUpgrade, welcome: &Welcome, on_link: F) -> Response
where
    F: FnOnce(ByteStream) -> Fut + Send + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    let headers = match welcome.to_headers() {
        Ok(headers) => headers,
        Err(error) => {
            return Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "bad_welcome", error.to_string()).into_response();
        }
    };
    let mut response = upgrade
        .read_buffer_size(WEBSOCKET_READ_BUFFER)
        .write_buffer_size(WEBSOCKET_WRITE_BUFFER)
        .max_message_size(WEBSOCKET_MAX_MESSAGE)
        .max_frame_size(WEBSOCKET_MAX_MESSAGE)
        .on_failed_upgrade(|error| tracing::debug!(%error, "an agent went away during the upgrade"))
        .on_upgrade(|socket| on_link(WebSocketStream::new(socket)));
    response.headers_mut().extend(headers);
    response
}

/// A listener for `axum::serve` that fits a fleet: a long backlog, and no delay of small writes.
///
/// # Errors
/// When the address cannot be bound.
pub fn listen(
    address: SocketAddr,
) -> io::Result<impl axum::serve::Listener<Io = tokio::net::TcpStream, Addr = SocketAddr>> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    Ok(socket.listen(LISTEN_BACKLOG)?.tap_io(|tcp| {
        if let Err(error) = tcp.set_nodelay(true) {
            tracing::debug!(%error, "small writes to a connection may be late");
        }
    }))
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut response = (self.status, self.to_json()).into_response();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Some(after) = self.retry_after {
            headers.insert(RETRY_AFTER, HeaderValue::from(after.as_secs()));
        }
        if let Some(time) = self.gateway_time {
            headers.insert(TIME_HEADER, HeaderValue::from(time));
        }
        response
    }
}
