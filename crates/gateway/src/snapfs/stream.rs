//! `GET /stream`: messages for those who keep an index of their own (reference, sections 8 and 11.19).
//!
//! All connections with one name share a reading position. One of them has its turn at a time:
//!
//! ```text
//!            turn is free           a message is there          all is sent
//!  waiting ───────────────> idle ─────────────────────> sent ───────────────┐
//!     ^                      ^                            │                  │
//!     │                      └── ack: position moves ─────┤ <────────────────┘
//!     └──── 30 s without ack, or 30 s after a refusal ────┘
//! ```
//!
//! The turn is given to who waits longest, so a batch that was not acknowledged goes to the next connection if there is one.
//! A connection is read all the time: when it ends, its turn is free at once. An ack that comes late counts too, since what
//! it speaks of was applied.

use std::collections::{HashMap, VecDeque};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use axum::extract::rejection::QueryRejection;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::ws::{CloseFrame, Message, Utf8Bytes, WebSocket, WebSocketUpgrade, close_code};
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::Response;
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use serde::Deserialize;
use tokio::sync::{OwnedMutexGuard, watch};
use tokio::time::Instant;

use super::access::Caller;
use super::ingest::is_name;
use super::reply;
use crate::state::AppState;
use crate::store::{Durable, SnapfsMessages, Store, StoreError};
use crate::{clock, secret};

/// A batch that is not acknowledged within this time is offered again, and so is one that was refused after it.
const ACK_WAIT: Duration = Duration::from_secs(30);
/// Bytes of messages in a frame, unless one alone has more: clients take 4 MiB.
const FRAME_BYTES: u64 = 3_500_000;
/// Most messages in a frame, and how many a client gets that does not say.
const MAX_BATCH: u32 = 10_000;
const DEFAULT_BATCH: u32 = 100;
/// Largest message of a client: it sends acknowledgements.
const CLIENT_BYTES: usize = 64 * 1024;
/// A ping keeps proxies from closing a silent connection, and finds out whether the other end is there. No pong is waited
/// for: the kernel gives up a connection on which nothing is taken.
const PING_EVERY: Duration = Duration::from_secs(15);
/// A position counts as used this often while somebody is connected.
const SEEN_EVERY: Duration = Duration::from_secs(3600);
/// Batches of a connection whose late acknowledgement is still understood.
const REMEMBERED: usize = 4;

/// Whose turn it is, by reading position. Cheap to clone.
#[derive(Clone, Default)]
pub struct Turns(Arc<Mutex<HashMap<Durable, Weak<tokio::sync::Mutex<()>>>>>);

impl Turns {
    fn of(&self, durable: &Durable) -> Arc<tokio::sync::Mutex<()>> {
        let mut turns = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(turn) = turns.get(durable).and_then(Weak::upgrade) {
            return turn;
        }
        turns.retain(|_, turn| turn.strong_count() > 0);
        let turn = Arc::default();
        turns.insert(durable.clone(), Arc::downgrade(&turn));
        turn
    }
}

/// A place in the queue for a reading position, or the turn itself.
struct Turn {
    of: Arc<tokio::sync::Mutex<()>>,
    /// Kept while it waits, so that the place in the queue is.
    taking: Option<Pin<Box<dyn Future<Output = OwnedMutexGuard<()>> + Send>>>,
    held: Option<OwnedMutexGuard<()>>,
}

impl Turn {
    /// Gives the turn to who waits longest, and queues up behind the others.
    fn pass(&mut self) {
        self.held = None;
        self.taking = Some(Box::pin(self.of.clone().lock_owned()));
    }

    /// Returns when it is there; may be given up and called again.
    async fn take(&mut self) {
        match &mut self.taking {
            Some(taking) => {
                self.held = Some(taking.await);
                self.taking = None;
            }
            None => std::future::pending().await,
        }
    }
}

/// Opens a stream, or refuses the upgrade.
pub async fn open(
    State(state): State<AppState>,
    caller: Caller,
    query: Result<Query<HashMap<String, String>>, QueryRejection>,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, Response> {
    caller.read()?;
    let query = query.map(|Query(query)| query).unwrap_or_default();
    let (durable, batch) = wanted(&query).map_err(reply::refused)?;
    let upgrade = upgrade.map_err(|_| reply::detail(StatusCode::BAD_REQUEST, "this route is a WebSocket"))?;
    let upgrade = upgrade.max_message_size(CLIENT_BYTES).max_frame_size(CLIENT_BYTES);
    Ok(upgrade.on_upgrade(move |socket| async move {
        tokio::select! {
            () = serve(socket, &state, durable, batch) => {}
            () = caller.until_ended(&state) => {}
            () = state.stopping.cancelled() => {}
        }
    }))
}

fn wanted(query: &HashMap<String, String>) -> Result<(Durable, u32), &'static str> {
    let name = |key: &str| query.get(key).filter(|name| is_name(name)).cloned();
    let subject =
        name("subject").ok_or("subject is missing, or has other characters than letters, digits, . _ and -")?;
    let durable =
        name("durable").ok_or("durable is missing, or has other characters than letters, digits, . _ and -")?;
    let batch = match query.get("batch") {
        None => DEFAULT_BATCH,
        Some(text) => text.trim().parse().ok().filter(|n| (1..=MAX_BATCH).contains(n)).ok_or("batch is 1 to 10000")?,
    };
    Ok((Durable { subject, name: durable }, batch))
}

/// Delivers until the connection ends, or the store fails.
async fn serve(socket: WebSocket, state: &AppState, durable: Durable, batch: u32) {
    let (mut sink, source) = socket.split();
    let published = state.store.snapfs_published();
    let opened = state.store.open_snapfs_consumer(durable.clone(), clock::now()).await;
    let message = match opened {
        Err(error) => {
            let name = &durable.name;
            format!("Failed to create JetStream consumer for durable={name}: {}", told(&error))
        }
        Ok(()) => {
            let turn = state.snapfs_turns.of(&durable);
            let connection = Connection {
                store: &*state.store,
                durable,
                batch,
                sink: &mut sink,
                source,
                published,
                sent: VecDeque::new(),
            };
            match connection.deliver(turn).await {
                Ok(()) | Err(End::Gone) => return,
                Err(End::Store(error)) => told(&error),
                Err(End::Random(error)) => error.to_string(),
            }
        }
    };
    let text = serde_json::json!({ "type": "error", "message": message }).to_string();
    let close = CloseFrame { code: close_code::ERROR, reason: Utf8Bytes::from_static("the gateway failed") };
    // A client that is gone needs no farewell.
    if sink.send(Message::Text(text.into())).await.is_ok() {
        let _ = sink.send(Message::Close(Some(close))).await;
    }
}

fn told(error: &StoreError) -> String {
    tracing::warn!(%error, "a SnapFS consumer's stream ended");
    match error {
        StoreError::Database(_) | StoreError::File { .. } => "the gateway's store failed; its log says why".to_owned(),
        error => error.to_string(),
    }
}

/// Why a connection ends.
enum End {
    /// The other end went.
    Gone,
    Store(StoreError),
    Random(secret::NoRandomness),
}

impl From<StoreError> for End {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

/// A batch that was sent.
struct Sent {
    id: String,
    last: u64,
}

/// What a client says.
enum Said {
    /// Up to this message all is applied.
    Applied(u64),
    /// Something that is no ack of a batch: a refusal.
    Refused,
    /// Nothing that concerns batches.
    Other,
}

struct Connection<'a> {
    store: &'a dyn Store,
    durable: Durable,
    batch: u32,
    sink: &'a mut SplitSink<WebSocket, Message>,
    source: SplitStream<WebSocket>,
    published: watch::Receiver<()>,
    sent: VecDeque<Sent>,
}

/// What the connection does with its turn.
enum Phase {
    Waiting,
    Idle,
    /// Until then an ack of messages up to this one is waited for.
    Unacked(Instant, u64),
    /// Until then nothing is offered.
    Refused(Instant),
}

impl Connection<'_> {
    async fn deliver(mut self, turns: Arc<tokio::sync::Mutex<()>>) -> Result<(), End> {
        let mut turn = Turn { of: turns, taking: None, held: None };
        turn.pass();
        let mut phase = Phase::Waiting;
        let mut pings = tokio::time::interval_at(Instant::now() + PING_EVERY, PING_EVERY);
        let mut seen = tokio::time::interval_at(Instant::now() + SEEN_EVERY, SEEN_EVERY);
        loop {
            if matches!(phase, Phase::Idle) {
                // What is published from here on wakes this up again.
                self.published.borrow_and_update();
                let next = self.store.snapfs_next(self.durable.clone(), self.batch, FRAME_BYTES).await?;
                if !next.bodies.is_empty() {
                    let last = next.last;
                    let until = Instant::now() + ACK_WAIT;
                    self.send(next, until, &mut turn).await?;
                    phase = if turn.held.is_some() { Phase::Unacked(until, last) } else { Phase::Waiting };
                }
            }
            let until = match phase {
                Phase::Unacked(until, _) | Phase::Refused(until) => Some(until),
                Phase::Waiting | Phase::Idle => None,
            };
            tokio::select! {
                said = self.source.next() => {
                    match self.understood(said, &phase)? {
                        Said::Applied(last) => {
                            self.store.snapfs_ack(self.durable.clone(), last, clock::now()).await?;
                            if matches!(phase, Phase::Unacked(_, waited) if last >= waited) {
                                // Others with this name have their turn in between.
                                turn.pass();
                                phase = Phase::Waiting;
                            }
                        }
                        Said::Refused => {
                            if let Phase::Unacked(until, _) = phase {
                                phase = Phase::Refused(until);
                            }
                        }
                        Said::Other => {}
                    }
                }
                () = turn.take(), if matches!(phase, Phase::Waiting) => phase = Phase::Idle,
                changed = self.published.changed(), if matches!(phase, Phase::Idle) => {
                    changed.map_err(|_| End::Store(StoreError::Closed))?;
                }
                () = tokio::time::sleep_until(until.unwrap_or_else(Instant::now)), if until.is_some() => {
                    turn.pass();
                    phase = Phase::Waiting;
                }
                _ = pings.tick() => self.sink.send(Message::Ping(axum::body::Bytes::new())).await.map_err(|_| End::Gone)?,
                _ = seen.tick() => self.store.open_snapfs_consumer(self.durable.clone(), clock::now()).await?,
            }
        }
    }

    /// Sends a batch. While a client takes it too slowly another one has the turn; then the batch still goes out to its end.
    async fn send(&mut self, messages: SnapfsMessages, until: Instant, turn: &mut Turn) -> Result<(), End> {
        let id = batch_id().map_err(End::Random)?;
        let count = messages.bodies.len();
        let frame = frame(&id, &messages);
        self.sent.truncate(REMEMBERED - 1);
        self.sent.push_front(Sent { id, last: messages.last });
        drop(messages);
        let sending = self.sink.send(Message::Text(frame.into()));
        let mut sending = std::pin::pin!(sending);
        match tokio::time::timeout_at(until, sending.as_mut()).await {
            Ok(sent) => sent,
            Err(_) => {
                turn.pass();
                sending.await
            }
        }
        .map_err(|_| End::Gone)?;
        metrics::counter!("hostler_snapfs_messages_delivered_total").increment(count as u64);
        Ok(())
    }

    fn understood(&self, said: Option<Result<Message, axum::Error>>, phase: &Phase) -> Result<Said, End> {
        #[derive(Deserialize)]
        struct Ack {
            r#type: String,
            batch: String,
        }
        let text = match said {
            None | Some(Err(_) | Ok(Message::Close(_))) => return Err(End::Gone),
            Some(Ok(Message::Text(text))) => text,
            Some(Ok(_)) => return Ok(Said::Other),
        };
        let object = text.trim_start().starts_with('{');
        let ack = serde_json::from_str::<Ack>(&text).ok().filter(|ack| object && ack.r#type == "ack");
        let batch = ack.and_then(|ack| self.sent.iter().find(|sent| sent.id == ack.batch));
        Ok(match (batch, phase) {
            // What was refused is offered again, whatever is said of it afterwards.
            (Some(_), Phase::Refused(_)) => Said::Other,
            (Some(sent), _) => Said::Applied(sent.last),
            (None, _) => Said::Refused,
        })
    }
}

fn batch_id() -> Result<String, secret::NoRandomness> {
    let digits = secret::random_hex(16)?;
    let parts = [&digits[..8], &digits[8..12], &digits[12..16], &digits[16..20], &digits[20..]];
    Ok(parts.join("-"))
}

fn frame(id: &str, messages: &SnapfsMessages) -> String {
    let size: usize = messages.bodies.iter().map(|body| body.len() + 32).sum();
    let mut out = String::with_capacity(size + 96);
    out.push_str(r#"{"type":"events","batch":""#);
    out.push_str(id);
    out.push_str(r#"","messages":["#);
    for (index, body) in messages.bodies.iter().enumerate() {
        if index > 0 {
            out.push(',');
        }
        out.push_str(r#"{"index":"#);
        out.push_str(&index.to_string());
        out.push_str(r#","data":"#);
        // Only text is taken in.
        out.push_str(std::str::from_utf8(body).unwrap_or("null"));
        out.push('}');
    }
    out.push_str("]}");
    out
}
