//! What the gateway answers, as far as tables show it.

use hostler_model::{ApiKeyId, ByteStr, ChangeOp, EntryKind, HostId, Role, ScanCounters, ScanId, ScanState, Timestamp};
use serde::Deserialize;

#[derive(Deserialize)]
pub struct Host {
    pub id: HostId,
    pub name: String,
    pub facts: Facts,
    pub capabilities: Vec<Capability>,
    pub last_proof_at: Option<Timestamp>,
    pub linked: bool,
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
}

#[derive(Deserialize)]
pub struct ScanUpdate {
    pub id: ScanId,
    pub state: ScanState,
    pub counters: ScanCounters,
    pub rate: Option<Rate>,
    pub current: Option<ByteStr>,
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
}

#[derive(Deserialize)]
pub struct ApiKey {
    pub id: ApiKeyId,
    pub name: String,
    pub role: Role,
    pub hint: String,
    pub created_at: Timestamp,
    pub last_used_at: Option<Timestamp>,
}
