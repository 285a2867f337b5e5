//! The socket of a SnapFS agent (reference, section 7): `/agents` and `/ws/agents`, either generation on either, with the key
//! in the path for agents that can send no header.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade, rejection::WebSocketUpgradeRejection};
use axum::extract::{Path, Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use hostler_model::{ByteStr, HostId, ScanId};
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::sync::mpsc;

use super::access::{Caller, caller};
use super::agents::{Agent, Generation};
use super::events::Number;
use super::reply;
use super::session::{End, Session};
use super::sessions::Snapfs;
use crate::clock;
use crate::state::AppState;
use crate::store::{Capability, CapabilityState, HostFacts, HostProof, SnapfsMachine, StoreError};

/// Longest frame of an agent, bytes.
const MAX_FRAME: usize = 1 << 20;
/// An agent introduces itself within this time.
const HELLO: Duration = Duration::from_secs(15);
/// How often an agent is asked whether it lives, and how long it has to answer.
const PING: Duration = Duration::from_secs(10);
const DEAD: Duration = Duration::from_secs(45);
/// A second agent of the same name waits so long for the first one to show that it lives.
const CHALLENGE: Duration = Duration::from_secs(3);
/// Agents of one name on one address.
const MAX_NAMESAKES: u32 = 20;
/// What agents call themselves when nobody gave them a name (reference, section 14).
const NO_NAME: &str = "scanner-01";

/// The routes.
pub fn router() -> Router<AppState> {
    let mut router = Router::new();
    for path in ["/agents", "/agents/", "/ws/agents", "/ws/agents/"] {
        router = router.route(path, get(plain).fallback(reply::wrong_method));
    }
    for path in ["/agents/{key}", "/ws/agents/{key}"] {
        router = router.route(path, get(with_key).fallback(reply::wrong_method));
    }
    router
}

type Upgrade = Result<WebSocketUpgrade, WebSocketUpgradeRejection>;

async fn plain(State(state): State<AppState>, upgrade: Upgrade, request: Request) -> Response {
    admit(state, upgrade, request, None).await
}

async fn with_key(
    State(state): State<AppState>,
    Path(key): Path<String>,
    upgrade: Upgrade,
    request: Request,
) -> Response {
    admit(state, upgrade, request, Some(&key)).await
}

async fn admit(state: AppState, upgrade: Upgrade, request: Request, key: Option<&str>) -> Response {
    let caller = match caller(&state, request.headers(), request.extensions(), key).await {
        Ok(caller) => caller,
        Err(refusal) => return refusal,
    };
    // Before the upgrade: an agent whose socket is opened and closed comes again without a pause.
    if let Err(refusal) = caller.write() {
        return refusal;
    }
    match upgrade {
        Ok(upgrade) => upgrade
            .max_message_size(MAX_FRAME)
            .max_frame_size(MAX_FRAME)
            .on_upgrade(move |socket| async move { serve(&state, &caller, socket).await }),
        Err(error) => error.into_response(),
    }
}

/// `AGENT_HELLO` of both generations.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Hello {
    agent_id: Option<ByteStr>,
    version: Option<ByteStr>,
    capabilities: Vec<Box<RawValue>>,
    root_path: Option<ByteStr>,
    busy: Option<bool>,
    active_scan_ids: Option<Vec<ByteStr>>,
    max_concurrency: Number,
}

/// A capability of generation A.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Offered {
    root: Option<ByteStr>,
}

/// Any later message.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Told {
    r#type: Option<ByteStr>,
    command_id: Option<ByteStr>,
    scan_id: Option<ByteStr>,
    status: Option<ByteStr>,
    error: Option<ByteStr>,
    stderr: Option<ByteStr>,
    returncode: Number,
    summary: Option<Summary>,
}

/// What `SCAN_COMPLETE` adds up.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Summary {
    bytes: Number,
    hashed: Number,
}

async fn serve(state: &AppState, caller: &Caller, mut socket: WebSocket) {
    let Some((hello, generation)) = introduced(&mut socket).await else { return };
    match attach(state, caller, &hello, generation).await {
        Ok((agent, queue)) => {
            let host = agent.host;
            tracing::info!(%host, agent = %agent.agent_id, "a SnapFS agent linked");
            let reason = converse(state, caller, &agent, socket, queue).await;
            if state.snapfs.agents().detach(&agent) {
                state.fleet.detach(host, reason.to_owned()).await;
            }
        }
        Err(error) => tracing::error!(%error, "a SnapFS agent could not be made known"),
    }
}

/// Waits for the first message.
async fn introduced(socket: &mut WebSocket) -> Option<(Hello, Generation)> {
    let hello = async {
        while let Some(Ok(message)) = socket.recv().await {
            let Message::Text(text) = message else { continue };
            let told: Told = serde_json::from_str(&text).unwrap_or_default();
            if told.r#type.is_some_and(|kind| kind.as_bytes() == b"AGENT_HELLO") {
                let hello: Hello = serde_json::from_str(&text).ok()?;
                // Capabilities that are objects are the first documents' and generation A's.
                let objects = hello.capabilities.iter().any(|capability| capability.get().starts_with('{'));
                return Some((hello, if objects { Generation::A } else { Generation::B }));
            }
        }
        None
    };
    tokio::time::timeout(HELLO, hello).await.ok().flatten()
}

/// Finds the agent's host and takes its place there.
async fn attach(
    state: &AppState,
    caller: &Caller,
    hello: &Hello,
    generation: Generation,
) -> Result<(Arc<Agent>, mpsc::Receiver<String>), StoreError> {
    let name: String = hello.agent_id.as_ref().map_or(NO_NAME.into(), |id| id.display()).chars().take(100).collect();
    let name = if name.trim().is_empty() { NO_NAME.to_owned() } else { name };
    let address = caller.address.map_or_else(|| "this machine".to_owned(), |address| address.to_string());
    let unnamed = name == NO_NAME;
    let mut namesake = 1;
    let host = loop {
        // Many installations have the default name, so it says nothing without the address.
        let mut identity = if unnamed { format!("{name}@{address}") } else { name.clone() };
        if namesake > 1 {
            identity = format!("{identity}#{namesake}");
        }
        let machine = SnapfsMachine {
            scope: caller.scope.clone(),
            hostname: (!unnamed && namesake == 1).then(|| name.clone()),
            agent_id: Some(identity),
            joins_only: unnamed && namesake == 1,
        };
        let host = state.store.snapfs_host(machine, &name, clock::now()).await?;
        if namesake >= MAX_NAMESAKES || !lives(state, host.id).await {
            break host;
        }
        namesake += 1;
    };
    let mut roots: Vec<ByteStr> = hello
        .capabilities
        .iter()
        .take(100)
        .filter_map(|capability| serde_json::from_str::<Offered>(capability.get()).ok()?.root)
        .chain(hello.root_path.clone())
        .filter(|root| !root.is_empty())
        .collect();
    roots.dedup();
    let (agent, queue) = Agent::new(host.id, generation, caller.scope.clone(), caller.address, name.clone());
    state.snapfs.agents().attach(agent.clone());
    state.fleet.attach(host.id, caller.address).await;
    let version: String = hello.version.as_ref().map_or_else(String::new, |v| v.display().chars().take(50).collect());
    let at = clock::now();
    let detail = format!(
        "SnapFS agent {name}{}{}, {} at a time",
        if version.is_empty() { "" } else { " " },
        version,
        hello.max_concurrency.unsigned().unwrap_or(1).max(1)
    );
    let files = Capability { name: "files".into(), state: CapabilityState::Proved, detail, proved_at: at, roots };
    let facts = HostFacts { agent_version: format!("snapfs {version}").trim().to_owned(), ..host.facts };
    let proof = HostProof { host: host.id, at, facts: Some(facts), capabilities: Some(vec![files]), grants: None };
    state.fleet.keep_proof(proof).await;
    if generation == Generation::B && hello.busy.is_some() {
        mark_orphans(&state.snapfs, host.id, hello);
    }
    Ok((agent, queue))
}

/// Whether an agent is there and answers. One that was cut off and comes again finds its old socket dead.
async fn lives(state: &AppState, host: HostId) -> bool {
    let Some(agent) = state.snapfs.agents().of(host) else { return false };
    tokio::time::timeout(CHALLENGE, agent.answers()).await.unwrap_or(false)
}

/// Jobs that the agent does not know any more are lost unless they are heard of.
fn mark_orphans(snapfs: &Snapfs, host: HostId, hello: &Hello) {
    let active = hello.active_scan_ids.as_deref().unwrap_or_default();
    let open = |session: &Session| {
        session.host == host && session.get(|known| known.end.is_none() && !known.wire_id.is_empty())
    };
    for session in snapfs.sessions().which(open) {
        let known = |id: &ByteStr| id.as_bytes() == session.scan.to_string().as_bytes();
        let is_job = session.get(|k| k.wire_id == session.scan.to_string());
        session.note(|k| k.orphaned = is_job && !active.iter().any(known));
    }
}

/// Until the socket ends; why it did.
async fn converse(
    state: &AppState,
    caller: &Caller,
    agent: &Agent,
    mut socket: WebSocket,
    mut queue: mpsc::Receiver<String>,
) -> &'static str {
    let mut ping = tokio::time::interval(PING);
    let mut heard = Instant::now();
    let mut rights = std::pin::pin!(caller.until_ended(state));
    loop {
        let sent = tokio::select! {
            message = socket.recv() => match message {
                Some(Ok(Message::Text(text))) => {
                    heard = Instant::now();
                    take(state, agent, &text).await;
                    Ok(())
                }
                Some(Ok(Message::Pong(_))) => {
                    heard = Instant::now();
                    agent.answered();
                    let at = clock::now();
                    let proof = HostProof { host: agent.host, at, facts: None, capabilities: None, grants: None };
                    state.fleet.keep_proof(proof).await;
                    Ok(())
                }
                Some(Ok(Message::Close(_))) | None => return "the agent closed it",
                Some(Ok(_)) => Ok(()),
                Some(Err(_)) => return "the connection broke",
            },
            text = queue.recv() => match text {
                Some(text) => socket.send(Message::Text(text.into())).await,
                None => return "it was given up",
            },
            _ = ping.tick() => {
                if heard.elapsed() > DEAD {
                    return "the agent does not answer any more";
                }
                socket.send(Message::Ping(Vec::new().into())).await
            }
            () = agent.challenged() => socket.send(Message::Ping(Vec::new().into())).await,
            () = agent.close.cancelled() => return "another agent took its place, or its host was removed",
            () = &mut rights => return "its key was revoked or changed",
            () = state.stopping.cancelled() => return "the gateway stopped",
        };
        if sent.is_err() {
            return "the connection broke";
        }
    }
}

/// What an agent says of its jobs. The first end of a scan counts, so late and repeated messages change nothing.
async fn take(state: &AppState, agent: &Agent, text: &str) {
    let Ok(told) = serde_json::from_str::<Told>(text) else {
        tracing::debug!(host = %agent.host, "a message of a SnapFS agent could not be read");
        return;
    };
    let kind = told.r#type.as_ref().map_or(&b""[..], ByteStr::as_bytes);
    match kind {
        b"PING" => {
            agent.pong();
        }
        b"SCAN_COMPLETE" | b"SCAN_ERROR" | b"SCAN_CANCELLED" => {
            let Some(session) = session_of(state, agent, &told) else { return };
            match kind {
                b"SCAN_COMPLETE" => complete(&session, &told),
                b"SCAN_CANCELLED" => drop(session.end(End::Cancelled)),
                _ => failed(&session, &told),
            }
        }
        _ => {}
    }
}

/// The job that a message names; only those of the agent's own host.
fn session_of(state: &AppState, agent: &Agent, told: &Told) -> Option<Arc<Session>> {
    [&told.command_id, &told.scan_id]
        .into_iter()
        .flatten()
        .filter_map(|id| std::str::from_utf8(id.as_bytes()).ok()?.parse::<ScanId>().ok())
        .filter_map(|id| state.snapfs.sessions().of(id))
        .find(|session| session.host == agent.host)
}

fn complete(session: &Session, told: &Told) {
    let number = |n: Number| n.unsigned().map(|n| n.min(i64::MAX.cast_unsigned()));
    session.heard(|known| {
        known.started = true;
        if let Some(summary) = told.summary.as_ref().filter(|_| known.end.is_none()) {
            known.counters.bytes = number(summary.bytes).unwrap_or(known.counters.bytes);
            known.counters.hashed_files = number(summary.hashed).unwrap_or(known.counters.hashed_files);
        }
    });
    // The event that says what may be gone has not come.
    session.end(End::Completed { seen: None, sent: 0, authoritative: false });
}

fn failed(session: &Session, told: &Told) {
    let words = |text: &Option<ByteStr>| text.as_ref().map(|t| t.display().chars().take(1000).collect::<String>());
    // Release 0.1.0 of the generation A agent tells of success so.
    if told.returncode.int() == Some(0) {
        return complete(session, told);
    }
    let lines = told.stderr.as_ref().map(|text| text.as_bytes().split(|b| *b == b'\n').map(<[u8]>::trim_ascii));
    let last_line = lines.and_then(|lines| lines.rev().find(|line| !line.is_empty())).map(ByteStr::from);
    let why = words(&told.error).or_else(|| words(&last_line)).filter(|why| !why.is_empty());
    let busy = told.status.as_ref().is_some_and(|status| status.as_bytes() == b"busy");
    let why = match (why, told.returncode.int()) {
        (Some(why), _) if busy => format!("the agent is busy: {why}"),
        (Some(why), _) => why,
        (None, Some(code)) => format!("the scan tool ended with code {code} and said nothing"),
        (None, None) => "the agent did not say why".to_owned(),
    };
    session.end(End::Failed(why));
}
