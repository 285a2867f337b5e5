//! Links to the test service, over each byte stream.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::Router;
use axum::extract::ws::WebSocketUpgrade;
use axum::response::IntoResponse as _;
use axum::routing::get;
use hostler_link::stdio::from_fds;
use hostler_link::{
    ByteStream, CloseReason, Hello, Instance, LINK_PATH, LinkClient, LinkClosed, LinkError, Peer, Refusal, Settings,
    Token, Trust, Welcome, accept, dial_with, gateway_peer, listen, next_generation, serve_with,
};
use http::{HeaderMap, StatusCode};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{UnixStream, unix::pipe};
use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::{Live, routes, soon};

#[derive(Clone, Copy, Debug)]
pub enum Over {
    WebSocket,
    Unix,
    Pipes,
    Socketpair,
}

impl Over {
    pub const ALL: [Self; 4] = [Self::WebSocket, Self::Unix, Self::Pipes, Self::Socketpair];
}

/// Both ends of one link in this process.
pub struct Pair {
    pub client: LinkClient,
    pub closed: LinkClosed,
    pub live: Live,
    /// Ends the agent's end gracefully.
    pub shutdown: CancellationToken,
    pub server: JoinHandle<Result<CloseReason, LinkError>>,
}

impl Pair {
    /// A link over two byte streams that are connected to each other.
    pub async fn new<A, G>(agent: A, gateway: G, peer: Peer, settings: &Settings) -> Self
    where
        A: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        G: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (live, shutdown) = (Live::default(), CancellationToken::new());
        let (router, token, times) = (routes(live.clone()), shutdown.clone(), settings.clone());
        let server = tokio::spawn(async move { serve_with(agent, router, peer, token, &times).await });
        let (client, closed) = LinkClient::connect_with(gateway, settings).await.unwrap();
        Self { client, closed, live, shutdown, server }
    }
}

pub async fn open(over: Over) -> Pair {
    open_with(over, &Settings::default()).await
}

pub async fn open_with(over: Over, settings: &Settings) -> Pair {
    let peer = Peer::Stdio { parent_pid: 1 };
    match over {
        Over::WebSocket => {
            let gateway = Gateway::start().await;
            gateway.link(&hello(0), settings).await
        }
        Over::Unix => {
            let (agent, gateway) = UnixStream::pair().unwrap();
            Pair::new(agent, gateway, peer, settings).await
        }
        Over::Pipes => {
            let (down_in, down_out) = pipe::pipe().unwrap();
            let (up_in, up_out) = pipe::pipe().unwrap();
            let agent = from_fds(down_out.into_nonblocking_fd().unwrap(), up_in.into_nonblocking_fd().unwrap());
            Pair::new(agent.unwrap(), tokio::io::join(up_out, down_in), peer, settings).await
        }
        Over::Socketpair => {
            let (agent, gateway) = std::os::unix::net::UnixStream::pair().unwrap();
            let agent = OwnedFd::from(agent);
            let agent = from_fds(agent.try_clone().unwrap(), agent).unwrap();
            gateway.set_nonblocking(true).unwrap();
            Pair::new(agent, UnixStream::from_std(gateway).unwrap(), peer, settings).await
        }
    }
}

pub fn hello(generation: u64) -> Hello {
    Hello {
        protocol: hostler_link::handshake::PROTOCOL,
        host: hostler_model::HostId::new(),
        generation,
        agent_version: "0.1.0".to_owned(),
        instance: Instance(0x0123_4567_89ab_cdef),
        token: Token::new("secret").unwrap(),
    }
}

/// A gateway that takes every link whose token is right, on a real listener.
pub struct Gateway {
    pub address: SocketAddr,
    links: Mutex<mpsc::UnboundedReceiver<(u64, ByteStream)>>,
}

impl Gateway {
    pub async fn start() -> Arc<Self> {
        let (app, links) = Self::app();
        let listener = listen("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = axum::serve::Listener::local_addr(&listener).unwrap();
        tokio::spawn(async move { axum::serve(listener, app).await });
        Arc::new(Self { address, links: Mutex::new(links) })
    }

    /// What it serves, and the byte streams that come of it.
    pub fn app() -> (Router, mpsc::UnboundedReceiver<(u64, ByteStream)>) {
        let (sender, links) = mpsc::unbounded_channel();
        let stored = Arc::new(AtomicU64::new(0));
        let take = move |headers: HeaderMap, upgrade: WebSocketUpgrade| async move {
            let hello = match Hello::from_headers(&headers) {
                Ok(hello) => hello,
                Err(error) => return Refusal::from(error).into_response(),
            };
            if hello.token.expose() != "secret" {
                let refusal = Refusal {
                    hint: "run hostler join again".to_owned(),
                    retry_after: Some(std::time::Duration::from_secs(30)),
                    ..Refusal::new(StatusCode::UNAUTHORIZED, "token_revoked", "this host's token was revoked")
                };
                return refusal.into_response();
            }
            let generation = next_generation(stored.load(Ordering::SeqCst), hello.generation).unwrap();
            stored.store(generation, Ordering::SeqCst);
            let welcome = Welcome { generation, gateway: "gateway-1".to_owned() };
            accept(upgrade, &welcome, async move |stream| drop(sender.send((generation, stream))))
        };
        let app = Router::new().route(LINK_PATH, get(take.clone())).route(&format!("/prefix{LINK_PATH}"), get(take));
        (app, links)
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The next byte stream an agent dialled.
    pub async fn accepted(&self) -> (u64, ByteStream) {
        soon("accepting a link", async { self.links.lock().await.recv().await.unwrap() }).await
    }

    /// Dials as an agent and gives both ends.
    pub async fn link(&self, hello: &Hello, settings: &Settings) -> Pair {
        let (agent, welcome) = dial_with(&self.url(), &Trust::System, |_| Ok(hello.clone()), settings).await.unwrap();
        let (generation, gateway) = self.accepted().await;
        assert_eq!(generation, welcome.generation);
        let peer = gateway_peer(&self.url(), welcome.generation).unwrap();
        Pair::new(agent, gateway, peer, settings).await
    }
}
