//! The way to a gateway's socket: name, TCP, TLS, upgrade. No error names the path, which may hold a key.

use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::handshake::client::Request;
use tokio_tungstenite::tungstenite::http::header::{AUTHORIZATION, HeaderValue};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{self, error::UrlError};

use crate::config::SocketUrl;
use crate::settings::Secret;

/// What upstream clients receive in one message.
const MESSAGE_MAX: usize = 4 << 20;
/// What is written and not yet sent; replies are small.
const WRITE_MAX: usize = 1 << 20;
/// For the connection, and again for the upgrade.
const CONNECT_MAX: Duration = Duration::from_secs(15);

/// A byte stream below a socket.
pub(super) trait Transport: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Transport for T {}

pub(super) type Socket = WebSocketStream<Box<dyn Transport>>;

/// There is no socket.
#[derive(Debug, thiserror::Error)]
pub(super) enum ConnectError {
    #[error("{url} cannot be reached: {source}")]
    Tcp { url: String, source: std::io::Error },
    #[error("{url} did not answer within {} s", CONNECT_MAX.as_secs())]
    TimedOut { url: String },
    #[error("the TLS connection to {url} failed: {source}")]
    Tls { url: String, source: std::io::Error },
    #[error(
        "this machine's root certificates cannot be used: {0}; install the package ca-certificates, or set SSL_CERT_FILE"
    )]
    Roots(String),
    #[error("TLS cannot be set up: {0}")]
    Library(#[from] rustls::Error),
    #[error("{url} refuses the credentials, or asks for some (HTTP status {status})")]
    Refused { url: String, status: u16 },
    #[error("{url} has no agent socket where it was looked for (HTTP status {status}); see SNAPFS_AGENT_WS_PATH")]
    Status { url: String, status: u16 },
    #[error("{url} did not make the connection a WebSocket: {why}")]
    Upgrade { url: String, why: String },
}

/// Opens the socket; `bearer` is the whole value of the header `Authorization`.
pub(super) async fn connect(to: &SocketUrl, bearer: Option<&Secret>) -> Result<Socket, ConnectError> {
    let timed_out = |_| ConnectError::TimedOut { url: to.to_string() };
    let stream = timeout(CONNECT_MAX, transport(to)).await.map_err(timed_out)??;
    let request = request(to, bearer)?;
    let upgrade = tokio_tungstenite::client_async_with_config(request, stream, Some(config()));
    match timeout(CONNECT_MAX, upgrade).await.map_err(timed_out)? {
        Ok((socket, _)) => Ok(socket),
        Err(error) => Err(explain(to, &error)),
    }
}

fn config() -> WebSocketConfig {
    WebSocketConfig::default()
        .max_message_size(Some(MESSAGE_MAX))
        .max_frame_size(Some(MESSAGE_MAX))
        .max_write_buffer_size(WRITE_MAX)
}

fn request(to: &SocketUrl, bearer: Option<&Secret>) -> Result<Request, ConnectError> {
    let mut request = to.expose().into_client_request().map_err(|error| explain(to, &error))?;
    if let Some(bearer) = bearer {
        let mut value = HeaderValue::from_str(bearer.expose()).map_err(|_| ConnectError::Upgrade {
            url: to.to_string(),
            why: "the token cannot be sent: it has characters that no header may have".to_owned(),
        })?;
        value.set_sensitive(true);
        request.headers_mut().insert(AUTHORIZATION, value);
    }
    Ok(request)
}

fn explain(to: &SocketUrl, error: &tungstenite::Error) -> ConnectError {
    let url = to.to_string();
    match error {
        tungstenite::Error::Http(response) => match response.status().as_u16() {
            status @ (401 | 403) => ConnectError::Refused { url, status },
            status => ConnectError::Status { url, status },
        },
        // These two show the URL.
        tungstenite::Error::Url(UrlError::UnableToConnect(_)) | tungstenite::Error::HttpFormat(_) => {
            ConnectError::Upgrade { url, why: "its URL cannot be used".to_owned() }
        }
        other => ConnectError::Upgrade { url, why: other.to_string() },
    }
}

async fn transport(to: &SocketUrl) -> Result<Box<dyn Transport>, ConnectError> {
    let failed = |source| ConnectError::Tcp { url: to.to_string(), source };
    let tcp = TcpStream::connect((to.host.as_str(), to.port)).await.map_err(failed)?;
    tcp.set_nodelay(true).map_err(failed)?;
    if !to.tls {
        return Ok(Box::new(tcp));
    }
    let failed = |source| ConnectError::Tls { url: to.to_string(), source };
    let name = ServerName::try_from(to.host.clone()).map_err(|error| failed(std::io::Error::other(error)))?;
    // Reading the machine's roots, some hundred files, is no work for an async thread.
    let config = tokio::task::spawn_blocking(tls_config).await;
    let config = config.map_err(|_| ConnectError::Roots("reading them was broken off".to_owned()))??;
    Ok(Box::new(TlsConnector::from(Arc::new(config)).connect(name, tcp).await.map_err(failed)?))
}

/// Believes the machine's roots. They are read each time, so a changed file counts at the next connection.
fn tls_config() -> Result<ClientConfig, ConnectError> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        return Err(ConnectError::Roots(found.errors.first().map_or("there are none".to_owned(), ToString::to_string)));
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}
