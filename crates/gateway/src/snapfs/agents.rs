//! SnapFS agents that have a socket open now, and what is said on it (reference, section 7).

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hostler_model::{ByteStr, HostId, ScanId};
use serde::Serialize;
use tokio::sync::{Notify, mpsc, watch};
use tokio_util::sync::CancellationToken;

/// Messages to one agent that may wait; an agent that takes none is dead before.
const WAITING: usize = 64;

/// Which generation of the wire an agent speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Generation {
    /// `snapfs-agent-scanner`: no cancel, no ids of scans, silent success.
    A,
    /// `snapfs agent`.
    B,
}

/// An agent on its socket.
pub struct Agent {
    /// The host it speaks for.
    pub host: HostId,
    /// How it speaks.
    pub generation: Generation,
    /// Whose client it is.
    pub scope: String,
    /// Where it comes from.
    pub address: Option<IpAddr>,
    /// What it calls itself.
    pub agent_id: String,
    /// Ends its socket.
    pub close: CancellationToken,
    /// Somebody waits for an answer.
    challenge: Notify,
    answers: watch::Sender<u64>,
    out: mpsc::Sender<String>,
    number: u64,
}

/// A job for an agent (reference 7.1 and 7.2).
#[derive(Clone, Debug)]
pub struct Job<'a> {
    /// Names the job, and in generation B its scan.
    pub scan: ScanId,
    /// The directory.
    pub root: &'a ByteStr,
    /// Hash also what is known.
    pub force: bool,
    /// The schedule that asks; a person otherwise.
    pub schedule: Option<String>,
}

impl Agent {
    /// Makes one, and the end from which its socket takes what is to be sent.
    pub fn new(
        host: HostId,
        generation: Generation,
        scope: String,
        address: Option<IpAddr>,
        agent_id: String,
    ) -> (Arc<Self>, mpsc::Receiver<String>) {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let (out, queue) = mpsc::channel(WAITING);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let close = CancellationToken::new();
        (
            Arc::new(Self {
                host,
                generation,
                scope,
                address,
                agent_id,
                close,
                challenge: Notify::new(),
                answers: watch::Sender::new(0),
                out,
                number,
            }),
            queue,
        )
    }

    /// Waits until the agent answers a ping that is sent now; false when its socket ended.
    pub async fn answers(&self) -> bool {
        let mut answers = self.answers.subscribe();
        self.challenge.notify_one();
        tokio::select! {
            changed = answers.changed() => changed.is_ok(),
            () = self.close.cancelled() => false,
        }
    }

    /// A ping is to be sent at once.
    pub async fn challenged(&self) {
        self.challenge.notified().await;
    }

    /// The agent answered a ping.
    pub fn answered(&self) {
        self.answers.send_modify(|count| *count += 1);
    }

    /// Gives a job; false when the socket takes nothing.
    pub fn give(&self, job: &Job<'_>) -> bool {
        #[derive(Serialize)]
        struct Message<'a> {
            r#type: &'static str,
            command_id: String,
            target: Target<'a>,
            options: Options,
        }
        #[derive(Serialize)]
        struct Target<'a> {
            root: &'a ByteStr,
            scan_id: String,
            trigger_type: &'static str,
            schedule_id: &'a Option<String>,
        }
        #[derive(Serialize)]
        struct Options {
            force: bool,
        }
        self.send(&Message {
            r#type: "SCAN_TARGET",
            command_id: job.scan.to_string(),
            target: Target {
                root: job.root,
                scan_id: job.scan.to_string(),
                trigger_type: if job.schedule.is_some() { "schedule" } else { "manual" },
                schedule_id: &job.schedule,
            },
            options: Options { force: job.force },
        })
    }

    /// Asks a job to stop; false when the socket takes nothing. Upstream agents of generation A ignore it.
    pub fn cancel(&self, scan: ScanId) -> bool {
        #[derive(Serialize)]
        struct Message {
            r#type: &'static str,
            command_id: String,
            scan_id: String,
            reason: &'static str,
        }
        let (command_id, scan_id) = (scan.to_string(), scan.to_string());
        let message = Message { r#type: "SCAN_CANCEL", command_id, scan_id, reason: "cancelled at the gateway" };
        self.send(&message)
    }

    /// Answers a `PING`.
    pub fn pong(&self) -> bool {
        #[derive(Serialize)]
        struct Message {
            r#type: &'static str,
        }
        self.send(&Message { r#type: "PONG" })
    }

    fn send(&self, message: &impl Serialize) -> bool {
        serde_json::to_string(message).is_ok_and(|text| self.out.try_send(text).is_ok())
    }
}

/// All agents that have a socket open. Cheap to clone.
#[derive(Clone, Default)]
pub struct Agents(Arc<Mutex<HashMap<HostId, Arc<Agent>>>>);

impl Agents {
    /// The agent of a host.
    pub fn of(&self, host: HostId) -> Option<Arc<Agent>> {
        self.lock().get(&host).cloned()
    }

    /// Those that offer something: for pages.
    pub fn all(&self) -> Vec<Arc<Agent>> {
        self.lock().values().cloned().collect()
    }

    /// Adds one; the one before it on the same host is closed.
    pub fn attach(&self, agent: Arc<Agent>) {
        if let Some(before) = self.lock().insert(agent.host, agent) {
            before.close.cancel();
        }
    }

    /// Takes one away; false when another one has its place.
    pub fn detach(&self, agent: &Agent) -> bool {
        let mut all = self.lock();
        let present = all.get(&agent.host).is_some_and(|a| a.number == agent.number);
        present && all.remove(&agent.host).is_some()
    }

    /// Ends the socket of a host that was removed.
    pub fn close(&self, host: HostId) {
        if let Some(agent) = self.of(host) {
            agent.close.cancel();
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<HostId, Arc<Agent>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
