//! What the gateway answers, as far as tables show it.

use hostler_model::{
    ApiKeyId, ByteStr, ChangeOp, DeliveryId, EntryKind, HostId, JoinTokenId, Role, ScanCounters, ScanId, ScanState,
    ScheduleId, SessionId, Timestamp, UserId, WebhookId,
};
use serde::Deserialize;

#[derive(Deserialize)]
pub struct Host {
    pub id: HostId,
    pub name: String,
    pub facts: Facts,
    pub capabilities: Vec<Capability>,
    pub grants: Vec<Grant>,
    pub last_proof_at: Option<Timestamp>,
    pub linked: bool,
    pub link: Link,
}

#[derive(Deserialize)]
pub struct Grant {
    pub capability: String,
    pub level: String,
    pub roots: Vec<ByteStr>,
}

#[derive(Deserialize)]
pub struct Link {
    pub linked_at: Option<Timestamp>,
    pub address: Option<String>,
    pub ended_at: Option<Timestamp>,
    pub ended_because: Option<String>,
    pub duplicate: Option<Duplicate>,
}

#[derive(Deserialize)]
pub struct Duplicate {
    pub address: Option<String>,
}

#[derive(Deserialize)]
pub struct Facts {
    pub os: String,
    pub kernel: String,
    pub arch: String,
    pub cpus: u32,
    pub memory_bytes: u64,
    pub booted_at: Option<Timestamp>,
    pub agent_version: String,
}

#[derive(Deserialize)]
pub struct Capability {
    pub name: String,
    pub state: String,
    pub detail: String,
    pub proved_at: Timestamp,
    pub roots: Vec<ByteStr>,
}

#[derive(Deserialize)]
pub struct Root {
    pub path: ByteStr,
    pub indexed_at: Timestamp,
    pub files: u64,
    pub dirs: u64,
    pub bytes: u64,
}

#[derive(Deserialize)]
pub struct Scan {
    pub id: ScanId,
    pub host_name: String,
    pub root: ByteStr,
    pub state: ScanState,
    pub requested_by: String,
    pub created_at: Timestamp,
    pub started_at: Option<Timestamp>,
    pub ended_at: Option<Timestamp>,
    pub counters: ScanCounters,
    pub error: Option<String>,
    pub first: bool,
    #[serde(default)]
    pub paused: bool,
}

impl Scan {
    /// `running`, `running, paused`.
    pub fn state_words(&self) -> String {
        if self.paused { format!("{}, paused", self.state) } else { self.state.to_string() }
    }
}

#[derive(Deserialize)]
pub struct ScanUpdate {
    pub id: ScanId,
    pub state: ScanState,
    pub counters: ScanCounters,
    pub rate: Option<Rate>,
    pub current: Option<ByteStr>,
    pub paused: bool,
}

#[derive(Deserialize)]
pub struct Rate {
    pub files_per_second: f64,
    pub bytes_per_second: f64,
    pub seconds_left: Option<u64>,
}

#[derive(Deserialize)]
pub struct Change {
    pub op: ChangeOp,
    pub kind: EntryKind,
    pub path: ByteStr,
    pub from: Option<ByteStr>,
    pub size_before: Option<u64>,
    pub size_after: Option<u64>,
}

#[derive(Deserialize)]
pub struct ScanError {
    pub path: ByteStr,
    pub operation: String,
    pub message: String,
}

#[derive(Deserialize)]
pub struct Entry {
    pub host_name: String,
    pub root: ByteStr,
    pub path: ByteStr,
    pub kind: EntryKind,
    pub size: u64,
    pub files: Option<u64>,
    pub mtime: Timestamp,
    pub owner: String,
    pub group: String,
    pub mode: u32,
    pub nlink: u64,
    pub ino: u64,
    pub dev: u64,
    pub hash: Option<String>,
    pub algo: Option<String>,
}

#[derive(Deserialize)]
pub struct DuplicateGroup {
    pub hash: String,
    pub algo: String,
    pub size: u64,
    pub copies: u64,
    pub names: u64,
    pub reclaimable: u64,
}

#[derive(Deserialize)]
pub struct Totals {
    pub groups: u64,
    pub extra_copies: u64,
    pub reclaimable: u64,
    pub pending_files: u64,
}

#[derive(Deserialize)]
pub struct PlannedGroup {
    pub hash: String,
    pub algo: String,
    pub size: u64,
    pub frees: u64,
    pub files: Vec<PlannedName>,
}

#[derive(Deserialize)]
pub struct PlannedName {
    pub host_name: String,
    pub path: ByteStr,
    pub verdict: String,
}

#[derive(Deserialize)]
pub struct PlanTotals {
    pub groups: u64,
    pub files: u64,
    pub names: u64,
    pub frees: u64,
    pub complete: bool,
}

#[derive(Deserialize)]
pub struct ChangeCounts {
    pub created: u64,
    pub modified: u64,
    pub metadata: u64,
    pub deleted: u64,
    pub moved: u64,
    pub added_bytes: u64,
    pub removed_bytes: u64,
}

#[derive(Deserialize)]
pub struct Growth {
    pub dir: Entry,
    pub points: Vec<GrowthPoint>,
    pub change: GrowthChange,
    pub children: Vec<GrowthOfChild>,
    pub known_since: Option<Timestamp>,
}

#[derive(Deserialize)]
pub struct GrowthPoint {
    pub at: Timestamp,
    pub bytes: u64,
}

#[derive(Deserialize)]
pub struct GrowthChange {
    pub files: i64,
    pub bytes: i64,
    pub written_bytes: u64,
    pub removed_bytes: u64,
    pub changes: u64,
}

#[derive(Deserialize)]
pub struct GrowthOfChild {
    pub path: ByteStr,
    pub bytes: u64,
    pub change: GrowthChange,
}

#[derive(Deserialize)]
pub struct ApiKey {
    pub id: ApiKeyId,
    pub name: String,
    pub role: Role,
    pub hint: String,
    pub created_at: Timestamp,
    pub last_used_at: Option<Timestamp>,
    pub expires_at: Option<Timestamp>,
}

#[derive(Deserialize)]
pub struct Schedule {
    pub id: ScheduleId,
    pub host_name: String,
    pub root: ByteStr,
    pub cadence: String,
    pub zone: String,
    pub window: Option<String>,
    pub enabled: bool,
    pub created_by: String,
    pub next_run_at: Option<Timestamp>,
    pub due_at: Option<Timestamp>,
    pub waits_for: Option<String>,
    pub running: Option<ScanId>,
    pub last_run: Option<LastRun>,
}

#[derive(Deserialize)]
pub struct LastRun {
    pub at: Timestamp,
    pub outcome: String,
}

#[derive(Deserialize)]
pub struct Webhook {
    pub id: WebhookId,
    pub url: String,
    pub events: Vec<String>,
    pub enabled: bool,
    pub disabled_because: Option<String>,
    pub delivered_at: Option<Timestamp>,
    pub failing_since: Option<Timestamp>,
    pub pending: u64,
    pub dropped: u64,
}

#[derive(Deserialize)]
pub struct Delivery {
    pub id: DeliveryId,
    pub event: String,
    pub state: String,
    pub created_at: Timestamp,
    pub attempts: u32,
    pub response: Option<u16>,
    pub error: Option<String>,
}

#[derive(Deserialize)]
pub struct User {
    pub id: UserId,
    pub name: String,
    pub role: Role,
    pub created_at: Timestamp,
    pub last_sign_in_at: Option<Timestamp>,
}

#[derive(Deserialize)]
pub struct Session {
    pub id: SessionId,
    pub name: String,
    pub role: Role,
    pub created_at: Timestamp,
    pub last_seen_at: Option<Timestamp>,
    pub address: Option<String>,
    pub agent: Option<String>,
}

#[derive(Deserialize)]
pub struct JoinToken {
    pub id: JoinTokenId,
    pub note: String,
    pub created_by: String,
    pub created_at: Timestamp,
    pub expires_at: Timestamp,
    pub used_at: Option<Timestamp>,
    pub used_by_name: Option<String>,
    pub revoked_at: Option<Timestamp>,
}

#[derive(Deserialize)]
pub struct AuditEntry {
    pub at: Timestamp,
    pub who: String,
    pub from: String,
    pub action: String,
    pub host_name: String,
    pub target: String,
    pub result: String,
    pub detail: String,
}

#[derive(Deserialize)]
pub struct ActivityEvent {
    pub id: i64,
    pub at: Timestamp,
    pub host_name: Option<String>,
    pub kind: String,
    pub severity: String,
    pub subject: String,
    pub message: String,
}

impl ActivityEvent {
    /// Subject and message in one line.
    pub fn text(&self) -> String {
        if self.subject.is_empty() { self.message.clone() } else { format!("{}: {}", self.subject, self.message) }
    }
}
