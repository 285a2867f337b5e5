//! Serving HTTP/1.1 on TCP, with TLS or without, and on the local socket: bounded connections, bounded headers, graceful
//! end. Each request carries its [`ConnectionInfo`].

use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::middleware::Next;
use axum::response::Response;
use axum::{BoxError, Router};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixListener, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Sleep};
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::rustls::server::Acceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

use crate::auth::LocalPeer;
use crate::state::AppState;
use crate::tls::Tls;

/// Connections at the same time, agents' links included; more wait in the listen queue.
const MAX_CONNECTIONS: usize = 20_000;
/// Open files this process asks for, as the gateway's systemd unit does: each connection is one.
const OPEN_FILES: u64 = 32_768;
/// Open files that connections leave to everything else.
const OTHER_FILES: u64 = 512;
/// A client has this long to send its request's head.
const HEADER_TIMEOUT: Duration = Duration::from_secs(15);
/// Requests in flight have this long to end when the gateway stops.
const DRAIN: Duration = Duration::from_secs(5);

/// A client has this long to send its request's body, and a second more for each [`BODY_RATE`] bytes of it.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);
/// Slowest body that is waited for, bytes a second.
const BODY_RATE: u64 = 1024;
/// A client that takes nothing of what is sent to it is given up after this time, milliseconds.
const UNTAKEN_MS: u32 = 60_000;
/// A client has this long to say its first byte and shake hands.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// The first byte of a TLS connection: a handshake record (RFC 8446, 5.1).
const TLS_HANDSHAKE: u8 = 0x16;
/// Hops read of `x-forwarded-for`.
const MAX_HOPS: usize = 32;

/// The answer to plain HTTP where TLS is spoken.
const USE_HTTPS: &str = "HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-length: 45\r\n\
     connection: close\r\n\r\nThis port speaks TLS only: use an https URL.\n";

/// The connection a request came on.
#[derive(Clone, Copy, Debug, Default)]
pub struct ConnectionInfo {
    /// The other end; `None` on the local socket.
    pub address: Option<SocketAddr>,
    /// Who asks: the other end, or what trusted proxies say of who is behind them.
    pub client: Option<IpAddr>,
    /// The `tls-exporter` channel binding, when TLS is this gateway's own.
    pub exporter: Option<[u8; 32]>,
    /// TLS is this gateway's own.
    pub tls: bool,
}

/// Serves `router` on `listener` until `stopping`. `proxies` may say for whom they ask.
pub async fn serve_tcp<L>(
    mut listener: L,
    tls: Option<Arc<Tls>>,
    proxies: Arc<[IpAddr]>,
    router: Router,
    stopping: CancellationToken,
) where
    L: axum::serve::Listener<Io = TcpStream, Addr = SocketAddr>,
{
    let connections = Connections::new(router, proxies, stopping);
    while let Some(permit) = connections.permit().await {
        tokio::select! {
            () = connections.stopping.cancelled() => break,
            // axum's listener retries what can be retried.
            (stream, address) = listener.accept() => {
                // Without it a slow reader is only waited for longer.
                let _ = rustix::net::sockopt::set_tcp_user_timeout(&stream, UNTAKEN_MS);
                let info = ConnectionInfo { address: Some(address), ..ConnectionInfo::default() };
                match &tls {
                    None => connections.spawn(stream, info, None, permit),
                    Some(tls) => connections.spawn_tls(stream, info, tls.clone(), permit),
                }
            }
        }
    }
    drop(listener);
    connections.drain().await;
}

/// Serves `router` on the local socket until `stopping`; each request carries its [`LocalPeer`].
pub async fn serve_unix(listener: UnixListener, router: Router, stopping: CancellationToken) {
    let connections = Connections::new(router, Arc::default(), stopping);
    while let Some(permit) = connections.permit().await {
        tokio::select! {
            () = connections.stopping.cancelled() => break,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => match peer(&stream) {
                    Ok(peer) => connections.spawn(stream, ConnectionInfo::default(), Some(peer), permit),
                    Err(error) => tracing::warn!(%error, "a local peer could not be identified"),
                },
                Err(error) => {
                    tracing::warn!(%error, "the local socket took no connection");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            },
        }
    }
    drop(listener);
    connections.drain().await;
}

/// Binds the local socket, open to its owner only. The data directory's lock says that no other gateway uses it, so what
/// is there is a leftover.
pub fn bind_unix(path: &Path) -> io::Result<UnixListener> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    // The directory is 0700, so there is no moment in which others could connect.
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
    Ok(listener)
}

fn peer(stream: &UnixStream) -> io::Result<LocalPeer> {
    Ok(LocalPeer { uid: stream.peer_cred()?.uid() })
}

struct Connections {
    serving: Serving,
    stopping: CancellationToken,
    permits: Arc<Semaphore>,
    tasks: TaskTracker,
}

/// What one connection's task needs.
#[derive(Clone)]
struct Serving {
    router: Router,
    proxies: Arc<[IpAddr]>,
    stopping: CancellationToken,
}

impl Connections {
    fn new(router: Router, proxies: Arc<[IpAddr]>, stopping: CancellationToken) -> Self {
        Self {
            serving: Serving { router, proxies, stopping: stopping.clone() },
            stopping,
            permits: Arc::new(Semaphore::new(max_connections())),
            tasks: TaskTracker::new(),
        }
    }

    async fn permit(&self) -> Option<OwnedSemaphorePermit> {
        tokio::select! {
            () = self.stopping.cancelled() => None,
            permit = self.permits.clone().acquire_owned() => permit.ok(),
        }
    }

    fn spawn<IO>(&self, io: IO, info: ConnectionInfo, peer: Option<LocalPeer>, permit: OwnedSemaphorePermit)
    where
        IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let serving = self.serving.clone();
        self.tasks.spawn(async move {
            serving.serve(io, info, peer).await;
            drop(permit);
        });
    }

    /// The handshake is made off the accepting task: it waits for the client.
    fn spawn_tls(&self, tcp: TcpStream, info: ConnectionInfo, tls: Arc<Tls>, permit: OwnedSemaphorePermit) {
        let serving = self.serving.clone();
        self.tasks.spawn(async move {
            let shaken = tokio::time::timeout(HANDSHAKE_TIMEOUT, shake_hands(tcp, &tls));
            match serving.stopping.run_until_cancelled(shaken).await {
                Some(Ok(Ok(Some((stream, exporter))))) => {
                    let info = ConnectionInfo { exporter, tls: true, ..info };
                    serving.serve(stream, info, None).await;
                }
                Some(Ok(Err(error))) => tracing::debug!(%error, address = ?info.address, "no TLS with a client"),
                // Answered in plain HTTP, too slow, or the gateway stops.
                _ => {}
            }
            drop(permit);
        });
    }

    async fn drain(&self) {
        self.tasks.close();
        if tokio::time::timeout(DRAIN, self.tasks.wait()).await.is_err() {
            tracing::warn!(open = self.tasks.len(), "connections were cut: their requests did not end in time");
        }
    }
}

/// `None` when the client does not speak TLS; then it was told to.
async fn shake_hands(mut tcp: TcpStream, tls: &Tls) -> io::Result<Option<(TlsStream<TcpStream>, Option<[u8; 32]>)>> {
    let mut first = [0];
    if tcp.peek(&mut first).await? == 1 && first[0] != TLS_HANDSHAKE {
        tcp.write_all(USE_HTTPS.as_bytes()).await?;
        tcp.shutdown().await?;
        // What the client sent is read before the socket is closed: otherwise a reset may overtake the answer.
        let mut rest = [0; 4096];
        while tokio::io::AsyncReadExt::read(&mut tcp, &mut rest).await? > 0 {}
        return Ok(None);
    }
    // No number of clients that begin and do not go on holds up the others: what costs time, the signature, is made at once
    // when the whole greeting is there, and all that is waited for after it is the client.
    let greeted = LazyConfigAcceptor::new(Acceptor::default(), tcp).await?;
    let stream = greeted.into_stream(tls.acceptor().config().clone()).await?;
    let exporter = hostler_link::tls::channel_binding(stream.get_ref().1);
    Ok(Some((stream, exporter)))
}

impl Serving {
    async fn serve<IO>(self, io: IO, info: ConnectionInfo, peer: Option<LocalPeer>)
    where
        IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let Self { router, proxies, stopping } = self;
        let service = service_fn(move |request: hyper::Request<Incoming>| {
            let (router, proxies) = (router.clone(), proxies.clone());
            async move {
                let mut request = request.map(|body| Body::new(Timely { body, begun: None, bytes: 0 }));
                let client = info.address.map(|address| client(address.ip(), request.headers(), &proxies));
                request.extensions_mut().insert(ConnectionInfo { client, ..info });
                if let Some(peer) = peer {
                    request.extensions_mut().insert(peer);
                }
                Ok::<_, Infallible>(router.oneshot(request).await.unwrap_or_else(|never| match never {}))
            }
        });
        let connection = hyper::server::conn::http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADER_TIMEOUT)
            .max_buf_size(64 * 1024)
            .serve_connection(TokioIo::new(io), service)
            .with_upgrades();
        let mut connection = std::pin::pin!(connection);
        let result = tokio::select! {
            result = connection.as_mut() => result,
            () = stopping.cancelled() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = result {
            tracing::debug!(%error, "a connection ended badly");
        }
    }
}

/// A request's body that fails when it comes too slowly: the time it may take is bounded as its size is.
struct Timely<B> {
    body: B,
    /// When it was waited for first, and the end of the wait.
    begun: Option<(Instant, Pin<Box<Sleep>>)>,
    bytes: u64,
}

impl<B: hyper::body::Body + Unpin> hyper::body::Body for Timely<B>
where
    B::Error: Into<BoxError>,
{
    type Data = B::Data;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, BoxError>>> {
        let this = &mut *self;
        if let Poll::Ready(frame) = Pin::new(&mut this.body).poll_frame(context) {
            if let Some(data) = frame.as_ref().and_then(|frame| frame.as_ref().ok()?.data_ref()) {
                this.bytes = this.bytes.saturating_add(hyper::body::Buf::remaining(data) as u64);
            }
            return Poll::Ready(frame.map(|frame| frame.map_err(Into::into)));
        }
        let (begun, end) = this.begun.get_or_insert_with(|| {
            let begun = Instant::now();
            (begun, Box::pin(tokio::time::sleep_until(begun + BODY_TIMEOUT)))
        });
        let until = *begun + BODY_TIMEOUT + Duration::from_secs(this.bytes / BODY_RATE);
        if end.deadline() != until {
            end.as_mut().reset(until);
        }
        ready!(end.as_mut().poll(context));
        Poll::Ready(Some(Err("the body came too slowly".into())))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> hyper::body::SizeHint {
        self.body.size_hint()
    }
}

/// How many connections the limit of open files has room for, once it is raised as far as it may be: at the limit the
/// store could open nothing either.
fn max_connections() -> usize {
    let limit = getrlimit(Resource::Nofile);
    let wanted = limit.maximum.map_or(OPEN_FILES, |maximum| maximum.min(OPEN_FILES));
    let mut present = limit.current.unwrap_or(u64::MAX);
    if present < wanted && setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), ..limit }).is_ok() {
        present = wanted;
    }
    let room = present.saturating_sub(OTHER_FILES).max(present / 2);
    usize::try_from(room).unwrap_or(MAX_CONNECTIONS).clamp(1, MAX_CONNECTIONS)
}

/// Who asks. Each proxy appends the address it was asked from to `x-forwarded-for`, so the last hop that is no trusted
/// proxy is the nearest one that nobody trusted vouches for; everything before it is that one's word.
fn client(peer: IpAddr, headers: &HeaderMap, proxies: &[IpAddr]) -> IpAddr {
    let trusted = |address: IpAddr| proxies.iter().any(|proxy| proxy.to_canonical() == address);
    let mut client = peer.to_canonical();
    let values: Vec<_> = headers.get_all("x-forwarded-for").iter().filter_map(|value| value.to_str().ok()).collect();
    for hop in values.iter().rev().flat_map(|value| value.rsplit(',')).take(MAX_HOPS) {
        if !trusted(client) {
            break;
        }
        let hop = hop.trim();
        // Some proxies add the port.
        let address = hop.parse().ok().or_else(|| hop.parse::<SocketAddr>().ok().map(|address| address.ip()));
        match address {
            Some(address) => client = address.to_canonical(),
            None => break,
        }
    }
    client
}

/// Headers every response carries. Pages load nothing from elsewhere, run no inline script and are framed by nobody.
/// Over TLS a browser is told to stay with it for a year; one that was made to accept an unknown certificate ignores that
/// (RFC 6797, 8.1).
pub async fn security_headers(State(state): State<AppState>, request: Request, next: Next) -> Response {
    const CSP: &str = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data:; connect-src 'self'; \
         form-action 'self'; base-uri 'none'; frame-ancestors 'none'";
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CONTENT_SECURITY_POLICY, CSP),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        // Sign-in links and paths stay out of other sites' logs.
        (header::REFERRER_POLICY, "same-origin"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    if headers.get(header::CONTENT_TYPE).is_some_and(|kind| kind == "text/event-stream") {
        // nginx keeps answers until it has a buffer full, unless it is told not to.
        headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    }
    if state.secure {
        headers.insert(header::STRICT_TRANSPORT_SECURITY, HeaderValue::from_static("max-age=31536000"));
    }
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_trusted_proxies_say_for_whom_they_ask() {
        let of = |peer: &str, forwarded: &[&str]| {
            let proxies = ["127.0.0.1", "192.0.2.1"].map(|text| text.parse().unwrap());
            let mut headers = HeaderMap::new();
            for value in forwarded {
                headers.append("x-forwarded-for", HeaderValue::from_str(value).unwrap());
            }
            client(peer.parse().unwrap(), &headers, &proxies).to_string()
        };
        assert_eq!(of("198.51.100.9", &["203.0.113.5"]), "198.51.100.9", "not a proxy of ours");
        assert_eq!(of("127.0.0.1", &[]), "127.0.0.1");
        assert_eq!(of("127.0.0.1", &["203.0.113.5"]), "203.0.113.5");
        assert_eq!(of("::ffff:127.0.0.1", &["203.0.113.5:4711"]), "203.0.113.5");
        assert_eq!(of("127.0.0.1", &["10.0.0.1, 203.0.113.5, 192.0.2.1"]), "203.0.113.5", "the rest is its word");
        assert_eq!(of("127.0.0.1", &["10.0.0.1", "203.0.113.5"]), "203.0.113.5", "headers follow each other");
        assert_eq!(of("127.0.0.1", &["203.0.113.5, nonsense"]), "127.0.0.1");
        assert_eq!(of("127.0.0.1", &["2001:db8::5, 192.0.2.1"]), "2001:db8::5");
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_does_not_come_is_not_waited_for() {
        use tokio::io::AsyncReadExt as _;
        let read = |body: axum::body::Bytes| async move { body.len().to_string() };
        let router = Router::new().route("/", axum::routing::post(read));
        for (every, arrives) in [(1, true), (29, false)] {
            let (mut client, server) = tokio::io::duplex(64 * 1024);
            let stopping = CancellationToken::new();
            let serving = Serving { router: router.clone(), proxies: Arc::default(), stopping };
            tokio::spawn(serving.serve(server, ConnectionInfo::default(), None));
            let begun = Instant::now();
            client.write_all(b"POST / HTTP/1.1\r\ncontent-length: 20\r\nconnection: close\r\n\r\n").await.unwrap();
            for _ in 0..20 {
                tokio::time::sleep(Duration::from_secs(every)).await;
                if client.write_all(b"x").await.is_err() {
                    break;
                }
            }
            let mut answer = String::new();
            client.read_to_string(&mut answer).await.unwrap();
            assert_eq!(answer.starts_with("HTTP/1.1 200"), arrives, "{answer}");
            assert!(arrives || begun.elapsed() < BODY_TIMEOUT * 3, "{:?}", begun.elapsed());
        }
    }

    #[test]
    fn the_hint_has_the_length_it_says() {
        let (head, body) = USE_HTTPS.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("content-length: {}\r\n", body.len())), "{}", body.len());
    }
}
