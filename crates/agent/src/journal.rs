//! What happened on this host: events in a log on its disk, and `hostler.v1.JournalService`, which hands them over.

#![allow(refining_impl_trait, reason = "connectrpc's traits are implemented with concrete types")]

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use connectrpc::{ConnectError, RequestContext, Response, ServiceRequest, ServiceResult, ServiceStream};
use futures_util::StreamExt;
use hostler_api::v1;
use hostler_journal::{Durability, Journal, JournalError, JournalSettings};
use hostler_model::ByteStr;
use tokio_util::sync::CancellationToken;

use crate::policy::Policy;
use crate::refusals::Refusals;

/// What one answer of Follow holds, about.
const BATCH: usize = 64 << 10;
/// Bounds of one event's texts, in characters; the JSON is left out when it is longer.
const MAX_SUBJECT: usize = 4096;
const MAX_MESSAGE: usize = 1000;
const MAX_DATA: usize = 8 << 10;
/// A position this far ahead was never in the journal.
const FAR: u64 = 1 << 32;
/// The grants of the last start, for comparison.
const LAST_POLICY: &str = "policy.last";

/// How much an event matters; its number on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// As it should be.
    Info = 1,
    /// Somebody should look at it.
    Warning = 2,
    /// Something failed.
    Error = 3,
}

/// An event that happens now. `message` is one sentence for people.
pub fn event(kind: &str, severity: Severity, subject: impl Into<String>, message: impl Into<String>) -> v1::HostEvent {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_micros();
    v1::HostEvent {
        at_us: i64::try_from(now).unwrap_or(i64::MAX),
        kind: kind.into(),
        severity: severity as u32,
        subject: subject.into(),
        message: message.into(),
        ..Default::default()
    }
}

/// Where events are recorded. A cheap clone.
#[derive(Clone)]
pub struct EventLog {
    journal: Journal,
    refusals: Arc<Refusals>,
    /// Followers are sent away.
    stopping: CancellationToken,
}

impl EventLog {
    /// Opens the journal below `data`.
    ///
    /// # Errors
    /// A [`JournalError`]; [`JournalError::InUse`] when another agent runs on this data directory.
    pub fn open(data: &Path) -> Result<Self, JournalError> {
        let journal = Journal::open(JournalSettings::new(data.join("journal")))?;
        let log = journal.clone();
        let refusals = Refusals::new(Box::new(move |rpc, count, last| {
            let message = match count {
                1 => format!("refused a call: {last}"),
                _ => format!("refused {count} calls within a second, the last one: {last}"),
            };
            // Also where the gateway cannot reach: what it acknowledges, the journal forgets.
            tracing::warn!(rpc, "{message}");
            let mut event = event("rpc.refused", Severity::Warning, rpc, message);
            event.data_json = serde_json::json!({ "count": count }).to_string();
            record(&log, event, Durability::Buffered);
        }));
        Ok(Self { journal, refusals, stopping: CancellationToken::new() })
    }

    /// Keeps an event. One that cannot be kept is logged; [`Durability::Flushed`] waits for the disk.
    pub fn record(&self, event: v1::HostEvent, durability: Durability) {
        record(&self.journal, event, durability);
    }

    /// A call of `rpc`, the path of a known one, was refused with these words. Needs a tokio runtime.
    pub fn refused(&self, rpc: &'static str, message: &str) {
        self.refusals.add(rpc, message);
    }

    /// The agent serves a gateway.
    pub fn link_up(&self, url: &str, generation: u64) {
        let message = format!("linked to {url}, link {generation}");
        self.record(event("link.up", Severity::Info, url, message), Durability::Buffered);
    }

    /// The link ended; `reason` is the link's word for why.
    pub fn link_down(&self, reason: &str) {
        self.record(
            event("link.down", Severity::Warning, "", format!("the link ended: {reason}")),
            Durability::Buffered,
        );
    }

    /// The agent began, with this policy: `agent.started`, and `policy.changed` when the last start had another one.
    /// The end is recorded when what this returns is dropped.
    pub fn started(&self, data: &Path, policy: &Policy) -> Running {
        let message = format!("agent {} started", env!("CARGO_PKG_VERSION"));
        self.record(event("agent.started", Severity::Info, "", message), Durability::Buffered);
        if let Err(error) = self.compare_policy(&data.join(LAST_POLICY), policy) {
            tracing::warn!(%error, "the policy of this start was not kept; the next start cannot tell whether it changed");
        }
        Running(self.clone())
    }

    fn compare_policy(&self, path: &Path, policy: &Policy) -> io::Result<()> {
        let now = grants_json(policy);
        let before = match std::fs::read_to_string(path) {
            Ok(before) if before == now => return Ok(()),
            Ok(before) => Some(before),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        if let Some(before) = before {
            let message = "this host's owner changed what it grants";
            let mut changed = event("policy.changed", Severity::Warning, "agent.toml", message);
            let before: Option<serde_json::Value> = serde_json::from_str(&before).ok();
            let parsed: Option<serde_json::Value> = serde_json::from_str(&now).ok();
            changed.data_json = serde_json::json!({ "before": before, "now": parsed }).to_string();
            self.record(changed, Durability::Flushed);
        }
        let aside = path.with_extension("new");
        std::fs::write(&aside, now)?;
        std::fs::rename(aside, path)
    }

    /// Sends followers away when `stop` is cancelled: their calls have no end of their own, and a link that ends waits for
    /// its calls. Needs a tokio runtime.
    pub fn end_with(&self, stop: CancellationToken) {
        let stopping = self.stopping.clone();
        tokio::spawn(async move {
            tokio::select! {
                () = stop.cancelled() => stopping.cancel(),
                () = stopping.cancelled() => {}
            }
        });
    }

    /// `hostler.v1.JournalService` over this log.
    pub fn service(&self) -> JournalServer {
        JournalServer { journal: self.journal.clone(), stopping: self.stopping.clone() }
    }
}

/// Records `agent.stopped` when it is dropped, so that a start without it tells of a crash.
pub struct Running(EventLog);

impl Drop for Running {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.0.record(event("agent.stopped", Severity::Info, "", "agent stopped"), Durability::Flushed);
        }
    }
}

/// Every section and its level, `max_memory_mib` too: whatever an owner can change.
fn grants_json(policy: &Policy) -> String {
    let shown = |roots: &[std::path::PathBuf]| -> Vec<ByteStr> {
        roots.iter().map(|root| ByteStr::from(root.as_os_str().as_encoded_bytes())).collect()
    };
    let grants: Vec<serde_json::Value> = policy
        .grants()
        .iter()
        .map(|g| serde_json::json!({ "capability": g.capability, "level": g.level, "roots": shown(&g.roots) }))
        .collect();
    serde_json::json!({ "grants": grants, "max_memory_mib": policy.sandboxes.max_memory_mib }).to_string()
}

fn record(journal: &Journal, mut event: v1::HostEvent, durability: Durability) {
    shorten(&mut event.subject, MAX_SUBJECT);
    shorten(&mut event.message, MAX_MESSAGE);
    if event.data_json.len() > MAX_DATA {
        event.data_json.clear();
    }
    if let Err(error) = journal.append(&hostler_api::encode_event(&event), durability) {
        tracing::warn!(kind = event.kind, %error, "an event was not recorded");
    }
}

fn shorten(text: &mut String, max: usize) {
    if let Some((end, _)) = text.char_indices().nth(max) {
        text.truncate(end);
    }
}

/// Implements `hostler.v1.JournalService`.
pub struct JournalServer {
    journal: Journal,
    stopping: CancellationToken,
}

/// A follower: what it has, and whether it was told anything yet.
struct Follower {
    journal: Journal,
    stopping: CancellationToken,
    after: u64,
    greeted: bool,
}

impl Follower {
    /// The next batch; at once the first time, so that the gateway learns which journal this is. `None` when the agent stops.
    async fn next(&mut self) -> Result<Option<v1::FollowResponse>, ConnectError> {
        while !self.stopping.is_cancelled() {
            let (journal, after) = (self.journal.clone(), self.after);
            let batch = tokio::task::spawn_blocking(move || journal.read(after, BATCH))
                .await
                .map_err(|_| ConnectError::internal("the journal could not be read"))?
                .map_err(|error| ConnectError::internal(error.to_string()))?;
            if batch.through > after || !self.greeted {
                self.after = batch.through;
                self.greeted = true;
                let record = |r: hostler_journal::Record| v1::Record {
                    seq: r.seq,
                    event: r.payload.to_vec(),
                    ..Default::default()
                };
                return Ok(Some(v1::FollowResponse {
                    journal_id: self.journal.id().0.to_vec(),
                    after,
                    records: batch.records.into_iter().map(record).collect(),
                    next_seq: batch.through.saturating_add(1),
                    ..Default::default()
                }));
            }
            tokio::select! {
                () = self.journal.wait(after) => {}
                () = self.stopping.cancelled() => {}
            }
        }
        Ok(None)
    }
}

impl JournalServer {
    /// The gateway has seen numbers this journal has not given yet: its directory is an older one. Numbers go on above.
    async fn went_back(&self, seen: u64) -> Result<(), ConnectError> {
        let journal = self.journal.clone();
        if seen.saturating_sub(journal.status().next) > FAR {
            return Err(ConnectError::invalid_argument(format!("{seen} is no position in this host's journal")));
        }
        let skipped = tokio::task::spawn_blocking(move || {
            journal.skip_to(seen)?;
            let message =
                "the agent's data directory went back in time, as in a restored snapshot; events may be missing";
            record(&journal, event("journal.went_back", Severity::Warning, "", message), Durability::Buffered);
            Ok::<_, JournalError>(())
        });
        skipped
            .await
            .map_err(|_| ConnectError::internal("the journal could not be written"))?
            .map_err(|error| ConnectError::internal(error.to_string()))
    }
}

impl v1::JournalService for JournalServer {
    async fn follow(
        &self,
        _: RequestContext,
        request: ServiceRequest<'_, v1::FollowRequest>,
    ) -> ServiceResult<ServiceStream<v1::FollowResponse>> {
        // Another journal's numbers say nothing of this one's.
        let after = if request.journal_id == self.journal.id().0 { request.after } else { 0 };
        if after >= self.journal.status().next {
            self.went_back(after).await?;
        }
        let (journal, stopping) = (self.journal.clone(), self.stopping.clone());
        let follower = Follower { journal, stopping, after, greeted: false };
        let stream = futures_util::stream::try_unfold(follower, async |mut follower| {
            Ok(follower.next().await?.map(|batch| (batch, follower)))
        });
        Response::ok(stream.boxed())
    }

    async fn acknowledge(
        &self,
        _: RequestContext,
        request: ServiceRequest<'_, v1::AcknowledgeRequest>,
    ) -> ServiceResult<v1::AcknowledgeResponse> {
        if request.journal_id != self.journal.id().0 {
            return Err(ConnectError::failed_precondition("this host has another journal now; follow it again"));
        }
        let (journal, seq) = (self.journal.clone(), request.seq);
        tokio::task::spawn_blocking(move || journal.acknowledge(seq))
            .await
            .map_err(|_| ConnectError::internal("the journal could not be written"))?;
        Response::ok(v1::AcknowledgeResponse::default())
    }
}
