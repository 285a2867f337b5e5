//! A SnapFS gateway that does as it is told: takes what agents and scans send, keeps it, and misbehaves on request.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Result;
use axum::Router;
use axum::body::Bytes;
use axum::extract::ws::{Message, WebSocket};
use axum::extract::{State, WebSocketUpgrade};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde_json::{Value, json};
use tokio::runtime::Runtime;
use tokio::sync::{mpsc, watch};

use crate::eventually;

/// What becomes of an agent's socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sockets {
    /// It is taken and held.
    Hold,
    /// It is taken and closed at once.
    CloseAtOnce,
    /// The upgrade is refused with this status.
    Refuse(u16),
}

/// An agent's socket.
#[derive(Clone, Debug)]
pub struct Seen {
    /// The path of the upgrade.
    pub path: String,
    /// Its header `Authorization`.
    pub authorization: Option<String>,
    /// What the agent said, in order. What `Value` cannot hold, such as names that are not UTF-8, is a string here.
    pub frames: Vec<Value>,
    /// Neither end has closed it.
    pub open: bool,
}

/// An HTTP call.
#[derive(Clone, Debug)]
pub struct Call {
    /// Path and query.
    pub path: String,
    /// The header `Authorization`.
    pub authorization: Option<String>,
    /// The body; a string when `Value` cannot hold it.
    pub body: Value,
}

enum Order {
    Say(Message),
    /// Without a closing handshake.
    Cut,
}

struct Kept {
    sockets: Vec<(Seen, mpsc::UnboundedSender<Order>)>,
    calls: Vec<Call>,
    on_socket: Sockets,
    /// Statuses by the beginning of a path; others are answered well.
    statuses: Vec<(String, u16)>,
}

#[derive(Clone)]
struct Shared {
    kept: Arc<Mutex<Kept>>,
    /// Probes wait while it is true.
    held: watch::Sender<bool>,
}

/// A running gateway; gone when dropped.
pub struct SnapfsGateway {
    address: SocketAddr,
    shared: Shared,
    runtime: Option<Runtime>,
}

impl SnapfsGateway {
    /// Listens on a port of its own.
    pub fn start() -> Result<Self> {
        Self::start_at("127.0.0.1:0".parse()?)
    }

    /// Listens there, as after a restart.
    pub fn start_at(address: SocketAddr) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let listener = runtime.block_on(tokio::net::TcpListener::bind(address))?;
        let address = listener.local_addr()?;
        let kept = Kept { sockets: Vec::new(), calls: Vec::new(), on_socket: Sockets::Hold, statuses: Vec::new() };
        let shared = Shared { kept: Arc::new(Mutex::new(kept)), held: watch::Sender::new(false) };
        let router = Router::new()
            .route("/agents", get(socket))
            .route("/agents/{key}", get(socket))
            .route("/ws/agents", get(socket))
            .route("/ws/agents/{key}", get(socket))
            .fallback(post(call))
            .with_state(shared.clone());
        runtime.spawn(async move { axum::serve(listener, router).await });
        Ok(Self { address, shared, runtime: Some(runtime) })
    }

    /// Where it listens.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// `http://127.0.0.1:PORT`
    pub fn http(&self) -> String {
        format!("http://{}", self.address)
    }

    /// `ws://127.0.0.1:PORT`
    pub fn ws(&self) -> String {
        format!("ws://{}", self.address)
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.shared.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What becomes of sockets from now on.
    pub fn on_socket(&self, what: Sockets) {
        self.kept().on_socket = what;
    }

    /// Calls whose path begins so are answered with this status; the last word counts.
    pub fn answer(&self, path: &str, status: u16) {
        self.kept().statuses.insert(0, (path.to_owned(), status));
    }

    /// Probes are not answered until [`SnapfsGateway::release`], so scans go on.
    pub fn hold_probes(&self) {
        self.shared.held.send_replace(true);
    }

    /// Probes are answered.
    pub fn release(&self) {
        self.shared.held.send_replace(false);
    }

    /// All sockets since the start.
    pub fn sockets(&self) -> Vec<Seen> {
        self.kept().sockets.iter().map(|(seen, _)| seen.clone()).collect()
    }

    /// Waits for that many sockets in all; the last one.
    pub fn wait_socket(&self, count: usize) -> Seen {
        eventually(&format!("socket {count}, with its hello"), || {
            let sockets = self.sockets();
            sockets.get(count.checked_sub(1)?).filter(|seen| !seen.frames.is_empty()).cloned()
        })
    }

    /// Says something on the last socket.
    pub fn say(&self, message: &Value) {
        self.order(Order::Say(Message::text(message.to_string())));
    }

    /// Sends any text on the last socket.
    pub fn say_text(&self, text: &str) {
        self.order(Order::Say(Message::text(text)));
    }

    /// Sends a binary frame on the last socket.
    pub fn say_binary(&self, bytes: &'static [u8]) {
        self.order(Order::Say(Message::binary(bytes)));
    }

    /// Closes the last socket in an orderly way.
    pub fn close(&self) {
        self.order(Order::Say(Message::Close(None)));
    }

    /// Cuts the last socket.
    pub fn cut(&self) {
        self.order(Order::Cut);
    }

    fn order(&self, order: Order) {
        if let Some((_, orders)) = self.kept().sockets.last() {
            // The socket may be gone.
            let _ = orders.send(order);
        }
    }

    /// All frames of all sockets.
    pub fn frames(&self) -> Vec<Value> {
        self.sockets().into_iter().flat_map(|seen| seen.frames).collect()
    }

    /// Waits for a frame of this type that answers this command.
    pub fn wait_reply(&self, kind: &str, command_id: &str) -> Value {
        eventually(&format!("{kind} of {command_id}"), || {
            self.frames().into_iter().find(|frame| frame["type"] == kind && frame["command_id"] == command_id)
        })
    }

    /// All calls since the start.
    pub fn calls(&self) -> Vec<Call> {
        self.kept().calls.clone()
    }

    /// Waits for a call whose path has this in it.
    pub fn wait_call(&self, part: &str) -> Call {
        eventually(&format!("a call of {part}"), || self.calls().into_iter().find(|call| call.path.contains(part)))
    }

    /// All events that were taken, in order.
    pub fn events(&self) -> Vec<Value> {
        let calls = self.calls();
        let lists = calls.iter().filter(|call| call.path.contains("/ingest"));
        lists.filter_map(|call| call.body["events"].as_array()).flatten().cloned().collect()
    }

    /// The data of the events of this type.
    pub fn events_of(&self, kind: &str) -> Vec<Value> {
        self.events().into_iter().filter(|event| event["type"] == kind).map(|event| event["data"].clone()).collect()
    }
}

impl Drop for SnapfsGateway {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_timeout(Duration::from_secs(1));
        }
    }
}

fn value(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).unwrap_or_else(|_| Value::String(String::from_utf8_lossy(bytes).into_owned()))
}

fn authorization(headers: &HeaderMap) -> Option<String> {
    headers.get("authorization").and_then(|value| value.to_str().ok()).map(str::to_owned)
}

async fn socket(State(shared): State<Shared>, uri: Uri, headers: HeaderMap, upgrade: WebSocketUpgrade) -> Response {
    let what = shared.kept.lock().unwrap_or_else(PoisonError::into_inner).on_socket;
    let seen =
        Seen { path: uri.path().to_owned(), authorization: authorization(&headers), frames: Vec::new(), open: true };
    let (orders, waiting) = mpsc::unbounded_channel();
    let index = {
        let mut kept = shared.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.sockets.push((Seen { open: what == Sockets::Hold, ..seen }, orders));
        kept.sockets.len() - 1
    };
    match what {
        Sockets::Refuse(status) => StatusCode::from_u16(status).unwrap_or_default().into_response(),
        Sockets::CloseAtOnce => upgrade.on_upgrade(|mut socket| async move {
            // The agent may be quicker.
            let _ = socket.send(Message::Close(None)).await;
        }),
        Sockets::Hold => upgrade.on_upgrade(move |socket| async move {
            follow(&shared, index, socket, waiting).await;
            let mut kept = shared.kept.lock().unwrap_or_else(PoisonError::into_inner);
            kept.sockets[index].0.open = false;
        }),
    }
}

async fn follow(shared: &Shared, index: usize, mut socket: WebSocket, mut orders: mpsc::UnboundedReceiver<Order>) {
    loop {
        tokio::select! {
            frame = socket.recv() => match frame {
                Some(Ok(Message::Text(text))) => {
                    let value = value(text.as_bytes());
                    let mut kept = shared.kept.lock().unwrap_or_else(PoisonError::into_inner);
                    kept.sockets[index].0.frames.push(value);
                }
                Some(Ok(Message::Close(_)) | Err(_)) | None => return,
                Some(Ok(_)) => {}
            },
            order = orders.recv() => match order {
                Some(Order::Say(message)) => {
                    if socket.send(message).await.is_err() {
                        return;
                    }
                }
                Some(Order::Cut) | None => return,
            },
        }
    }
}

async fn call(State(shared): State<Shared>, uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
    let path = uri.path_and_query().map_or_else(|| uri.path().to_owned(), ToString::to_string);
    let body = value(&body);
    let status = {
        let mut kept = shared.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let status = kept.statuses.iter().find(|(start, _)| path.starts_with(start)).map_or(200, |(_, status)| *status);
        if status < 300 {
            kept.calls.push(Call { path: path.clone(), authorization: authorization(&headers), body: body.clone() });
        }
        status
    };
    if status >= 300 {
        let status = StatusCode::from_u16(status).unwrap_or_default();
        return (status, axum::Json(json!({"detail": "as told"}))).into_response();
    }
    let reply = match path.split('?').next().unwrap_or_default() {
        "/api/cache/batch" | "/cache/batch" => {
            let mut held = shared.held.subscribe();
            // The sender lives as long as this call.
            let _ = held.wait_for(|held| !held).await;
            let miss = json!({"status": "MISS", "algo": null, "hash": null});
            Value::Array(vec![miss; body.as_array().map_or(0, Vec::len)])
        }
        "/api/ingest" | "/ingest" => {
            let received = body["events"].as_array().map_or(0, Vec::len);
            json!({"status": "ok", "received": received, "subject": "snapfs.files"})
        }
        "/api/auth/token" => json!({"accessToken": "exchanged", "tokenType": "Bearer", "expiresIn": 86400}),
        _ => return (StatusCode::NOT_FOUND, axum::Json(json!({"detail": "Not Found"}))).into_response(),
    };
    axum::Json(reply).into_response()
}
