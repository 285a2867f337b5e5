//! A TCP proxy between two ends that treats their bytes badly: it cuts, stalls, throttles and cuts up.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::Result;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// What happens to connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weather {
    /// Bytes pass.
    Fair,
    /// Connections stay open and no byte passes: a cable that was pulled.
    Stalled,
    /// Open connections are reset, new ones at once: a gateway that is gone.
    Cut,
}

/// A running proxy. It ends when dropped.
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    task: tokio::task::JoinHandle<()>,
}

struct Shared {
    weather: watch::Sender<Weather>,
    /// Bytes a second and direction; 0 for as fast as it goes.
    rate: AtomicU64,
    /// Bytes passed on at once: 1 makes every read at the other end short.
    piece: AtomicUsize,
    accepted: AtomicU64,
}

impl Proxy {
    /// Listens on a loopback port of its own and connects to `to`.
    pub async fn start(to: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            weather: watch::Sender::new(Weather::Fair),
            rate: AtomicU64::new(0),
            piece: AtomicUsize::new(64 * 1024),
            accepted: AtomicU64::new(0),
        });
        let serving = shared.clone();
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                serving.accepted.fetch_add(1, Ordering::Relaxed);
                tokio::spawn(serving.clone().join(client, to));
            }
        });
        Ok(Self { address, shared, task })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Changes what happens to all connections.
    pub fn set(&self, weather: Weather) {
        self.shared.weather.send_replace(weather);
    }

    /// At most this many bytes a second in each direction; 0 for no bound.
    pub fn throttle(&self, bytes_per_second: u64) {
        self.shared.rate.store(bytes_per_second, Ordering::Relaxed);
    }

    /// Passes on at most this many bytes at once.
    pub fn cut_up(&self, bytes: usize) {
        self.shared.piece.store(bytes.max(1), Ordering::Relaxed);
    }

    /// Connections so far.
    pub fn accepted(&self) -> u64 {
        self.shared.accepted.load(Ordering::Relaxed)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.weather.send_replace(Weather::Cut);
        self.task.abort();
    }
}

impl Shared {
    async fn join(self: Arc<Self>, client: TcpStream, to: SocketAddr) {
        let mut weather = self.weather.subscribe();
        if *weather.borrow() == Weather::Cut {
            reset(client);
            return;
        }
        let Ok(server) = TcpStream::connect(to).await else { return };
        let _ = (client.set_nodelay(true), server.set_nodelay(true));
        let (mut client_read, mut client_write) = client.into_split();
        let (mut server_read, mut server_write) = server.into_split();
        tokio::select! {
            _ = weather.wait_for(|now| *now == Weather::Cut) => {}
            () = async {
                tokio::join!(
                    self.pass(&mut client_read, &mut server_write),
                    self.pass(&mut server_read, &mut client_write),
                );
            } => {}
        }
        for half in [client_read.reunite(client_write), server_read.reunite(server_write)].into_iter().flatten() {
            reset(half);
        }
    }

    async fn pass(&self, from: &mut tokio::net::tcp::OwnedReadHalf, to: &mut tokio::net::tcp::OwnedWriteHalf) {
        let mut weather = self.weather.subscribe();
        let mut buffer = vec![0; 64 * 1024];
        loop {
            let piece = self.piece.load(Ordering::Relaxed).min(buffer.len());
            let Ok(n) = from.read(&mut buffer[..piece]).await else { break };
            if n == 0 || weather.wait_for(|now| *now != Weather::Stalled).await.is_err() {
                break;
            }
            let rate = self.rate.load(Ordering::Relaxed);
            if rate > 0 {
                tokio::time::sleep(Duration::from_secs_f64(n as f64 / rate as f64)).await;
            }
            if to.write_all(&buffer[..n]).await.is_err() {
                break;
            }
        }
        // The other direction may go on: a half-closed connection is a connection.
        let _ = to.shutdown().await;
    }
}

/// Closes with a reset, as a machine does that knows nothing of the connection.
fn reset(stream: TcpStream) {
    // Without it the end is an orderly one, which is fair too.
    let _ = stream.set_zero_linger();
}
