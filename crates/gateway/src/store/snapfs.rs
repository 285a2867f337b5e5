//! What the gateway keeps of SnapFS clients.

use hostler_model::{Algorithm, ByteStr, ContentHash, Entry, HostId, ScanId, Timestamp};

use super::Owner;

/// Stands for an owner that was not told: no system has it, as chown(2) takes it for "as it was".
pub const UNKNOWN_OWNER: u32 = u32::MAX;

/// A machine as SnapFS clients name it: by the host name of its scans, or by the id of its agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapfsMachine {
    /// Whose client it is, see [`SnapfsIngest::scope`]: names of two scopes are two machines.
    pub scope: String,
    /// `hostname` of `scan.started`.
    pub hostname: Option<String>,
    /// `agent_id` of `AGENT_HELLO`.
    pub agent_id: Option<String>,
    /// The scope's only machine is meant when that has no such name yet: a scan and an agent do not name each other.
    pub joins_only: bool,
}

/// A scan that a SnapFS client makes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapfsScan {
    /// What its files are kept under until they are committed.
    pub number: i64,
    /// The scan.
    pub scan: ScanId,
    /// Whose client makes it.
    pub scope: String,
    /// `scan_id` in its events; empty while that is not known.
    pub wire_id: String,
    /// Its host's root and state, as kept.
    pub root: ByteStr,
    /// The host.
    pub host: HostId,
    /// It has ended; what comes late is still kept.
    pub ended: bool,
    /// How it hashes; `None` while it has not said so.
    pub algorithm: Option<Algorithm>,
}

/// What a hash is remembered under (reference 5.2): device and inode when both are there, else the path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CacheKey {
    /// Device and inode, neither 0.
    pub inode: Option<(u64, u64)>,
    /// The path; what counts when there is no inode.
    pub path: ByteStr,
    /// Bytes.
    pub size: u64,
    /// As sent: whole seconds or milliseconds, which never meet.
    pub mtime: i64,
}

/// A hash to remember.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CachedHash {
    /// Of which file.
    pub key: CacheKey,
    /// How it was made.
    pub algorithm: Algorithm,
    /// The hash.
    pub hash: ContentHash,
}

/// A file that a scan told of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ToldFile {
    /// Its directory, relative to the scan's root.
    pub dir: ByteStr,
    /// Its name.
    pub name: ByteStr,
    /// What it is; times in whole milliseconds.
    pub entry: Entry,
}

/// What a scan told of so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ToldTotals {
    /// Files.
    pub files: u64,
    /// Directories they are in.
    pub dirs: u64,
    /// Hard links of those files, beyond one each.
    pub further_names: u64,
}

/// One call of a client, kept in one write.
#[derive(Clone, Debug)]
pub struct SnapfsIngest {
    /// Whose hashes these are: `key:ID` of an API key, else `address:IP`. Nothing is shared between scopes.
    pub scope: String,
    /// When it came.
    pub at: Timestamp,
    /// Where `message` is published.
    pub subject: String,
    /// `{"events":[...]}` as consumers get it.
    pub message: Vec<u8>,
    /// Hashes to remember.
    pub hashes: Vec<CachedHash>,
    /// The algorithm of the scan that began.
    pub algorithm: Option<Algorithm>,
    /// Files by the scan that told of them. A file told of again replaces what was told before.
    pub files: Vec<(i64, Vec<ToldFile>)>,
    /// Names of owners.
    pub owners: Vec<(HostId, Owner)>,
}
