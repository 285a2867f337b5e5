//! What the store keeps, in the shapes that REST and the pages read.

use hostler_model::{
    Algorithm, ByteStr, ContentHash, EntryKind, HostId, ScanCounters, ScanId, ScanOptions, ScanState, Timestamp,
};
use serde::{Deserialize, Serialize};

/// What a host says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(default)]
pub struct HostFacts {
    /// The kernel's host name.
    pub hostname: String,
    /// `PRETTY_NAME` of os-release.
    pub os: String,
    /// `uname -r`.
    pub kernel: String,
    /// `uname -m`.
    pub arch: String,
    /// Logical processors.
    pub cpus: u32,
    /// Physical memory in bytes.
    pub memory_bytes: u64,
    /// When the host was started.
    pub booted_at: Option<Timestamp>,
    /// The agent's version.
    pub agent_version: String,
}

/// The last word on one capability of a host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Capability {
    /// `files`, ...
    pub name: String,
    /// What the probe found.
    pub state: CapabilityState,
    /// What was probed, or what is wrong and what to do.
    pub detail: String,
    /// When.
    pub proved_at: Timestamp,
    /// For files: the granted directories.
    pub roots: Vec<ByteStr>,
}

/// What a host's owner allows, in the words of the agent's policy file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Grant {
    /// `files`, ...
    pub capability: String,
    /// `none`, `read`, ...
    pub level: String,
    /// The directories it holds for.
    pub roots: Vec<ByteStr>,
}

/// What a host told of itself; what it did not tell stays as it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostProof {
    /// Which host.
    pub host: HostId,
    /// When it answered.
    pub at: Timestamp,
    /// What it is.
    pub facts: Option<HostFacts>,
    /// What it can do.
    pub capabilities: Option<Vec<Capability>>,
    /// What its owner allows.
    pub grants: Option<Vec<Grant>>,
}

/// What a probe can find.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum CapabilityState {
    /// It worked at that time.
    Proved,
    /// It is there and did not work.
    Failed,
    /// The host has no such thing.
    NotPresent,
    /// The host's owner does not allow it.
    NotGranted,
}

/// Who speaks for a host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// Hostler's own agent, over a link.
    #[default]
    Hostler,
    /// SnapFS clients: its command line or its agents.
    Snapfs,
}

/// A host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Host {
    /// Its id.
    pub id: HostId,
    /// Its name in the fleet.
    pub name: String,
    /// What it said of itself last.
    pub facts: HostFacts,
    /// Its capabilities, each with its own age.
    pub capabilities: Vec<Capability>,
    /// What its owner allows.
    pub grants: Vec<Grant>,
    /// When it was made known.
    pub created_at: Timestamp,
    /// When it last answered.
    pub last_proof_at: Option<Timestamp>,
    /// Number of its latest link; each new link has a greater one.
    pub generation: u64,
    /// Who speaks for it.
    pub protocol: Protocol,
}

/// How sure it is that a host can be reached now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LinkState {
    /// Linked, and it answered lately.
    Linked,
    /// Linked, and it has not answered for three proofs.
    Stale,
    /// No link.
    Down,
}

/// Which hosts are linked now and what counts as lately: the store does not know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkedNow {
    /// The hosts that have a link.
    pub hosts: Vec<HostId>,
    /// Of them, those that proved themselves at or after this are not stale.
    pub fresh_since: Timestamp,
}

/// How a list of hosts is sorted; then by name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HostSort {
    /// By name.
    #[default]
    Name,
    /// Linked first.
    Link,
    /// By operating system.
    System,
    /// By indexed files.
    Files,
    /// By indexed bytes.
    Size,
}

/// Which hosts, and which of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostQuery {
    /// The name or the kernel's host name holds this; ASCII letters in either case.
    pub text: Option<String>,
    /// Only those whose link is so.
    pub link: Option<LinkState>,
    /// How to sort.
    pub sort: HostSort,
    /// Greatest first.
    pub descending: bool,
    /// Hosts to pass over.
    pub offset: u64,
    /// At most this many.
    pub limit: u32,
}

/// A host with its link and the sums of its indexes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostRow {
    /// The host.
    pub host: Host,
    /// Its link.
    pub link: LinkState,
    /// Indexed directories.
    pub roots: u64,
    /// Files in them.
    pub files: u64,
    /// Sum of their sizes.
    pub bytes: u64,
}

/// Hosts by the state of their link.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HostCounts {
    /// Linked, and they answered lately.
    pub linked: u64,
    /// Linked, and they have not answered lately.
    pub stale: u64,
    /// Without a link.
    pub down: u64,
}

impl HostCounts {
    /// All of them.
    pub fn all(self) -> u64 {
        self.linked + self.stale + self.down
    }

    /// Those whose link is so.
    pub fn of(self, link: LinkState) -> u64 {
        match link {
            LinkState::Linked => self.linked,
            LinkState::Stale => self.stale,
            LinkState::Down => self.down,
        }
    }
}

/// A directory of a host that has an index.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Root {
    /// Its host.
    pub host: HostId,
    /// The host's name.
    pub host_name: String,
    /// Absolute path.
    pub path: ByteStr,
    /// The committed generation.
    pub generation: u64,
    /// When that was committed.
    pub indexed_at: Timestamp,
    /// Regular files.
    pub files: u64,
    /// Directories, the root included.
    pub dirs: u64,
    /// Sum of the files' sizes.
    pub bytes: u64,
}

/// A scan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Scan {
    /// Its id.
    pub id: ScanId,
    /// The host that walks.
    pub host: HostId,
    /// The host's name.
    pub host_name: String,
    /// Absolute path of the root.
    pub root: ByteStr,
    /// Where it is.
    pub state: ScanState,
    /// How it was asked for.
    pub options: ScanOptions,
    /// Who asked: a user's, a key's or a socket peer's name.
    pub requested_by: String,
    /// When it was asked for.
    pub created_at: Timestamp,
    /// When the host began.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// What it did.
    pub counters: ScanCounters,
    /// Why it failed.
    pub error: Option<String>,
    /// The generation it committed.
    pub generation: Option<u64>,
    /// True when the root had no index before it: differences are not listed.
    pub first: bool,
}

impl Scan {
    /// A new one of this host, which waits.
    pub fn queued(host: Host, root: ByteStr, options: ScanOptions, requested_by: String, at: Timestamp) -> Self {
        Self {
            id: ScanId::new(),
            host: host.id,
            host_name: host.name,
            root,
            state: ScanState::Queued,
            options,
            requested_by,
            created_at: at,
            started_at: None,
            ended_at: None,
            counters: ScanCounters::default(),
            error: None,
            generation: None,
            first: false,
        }
    }
}

/// Something a scan could not read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct ScanError {
    /// Relative to the root.
    pub path: ByteStr,
    /// `open`, `stat`, `read`, `list` or `enter`.
    pub operation: String,
    /// The system's words.
    pub message: String,
}

/// One indexed entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct IndexedEntry {
    /// Its host.
    pub host: HostId,
    /// The host's name.
    pub host_name: String,
    /// The root whose index it is in.
    pub root: ByteStr,
    /// Absolute path.
    pub path: ByteStr,
    /// What it is.
    pub kind: EntryKind,
    /// Bytes; for a directory, the sum of the regular files below it.
    pub size: u64,
    /// Regular files below a directory.
    pub files: Option<u64>,
    /// Modification time.
    pub mtime: Timestamp,
    /// Owner's name, or its number when it has none.
    pub owner: String,
    /// Group's name, or its number when it has none.
    pub group: String,
    /// Permission bits.
    pub mode: u32,
    /// Hard links.
    pub nlink: u64,
    /// Inode number.
    pub ino: u64,
    /// Device number.
    pub dev: u64,
    /// Hash in hex.
    pub hash: Option<String>,
    /// How it was hashed.
    pub algo: Option<Algorithm>,
}

/// One directory with its entries.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Listing {
    /// The directory itself.
    pub dir: IndexedEntry,
    /// The root's index it is from.
    pub root: Root,
    /// One page of its entries; directories carry their rolled-up size and count.
    pub entries: Page<IndexedEntry>,
    /// All of its entries.
    pub total_entries: u64,
}

/// A page of a list, and where the next one starts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Page<T> {
    /// The items.
    pub items: Vec<T>,
    /// Opaque; `None` at the end.
    pub next: Option<String>,
}

/// How entries are sorted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum SortKey {
    /// By name (listings: directories first) or path.
    #[default]
    Name,
    /// By size.
    Size,
    /// By number of files below (listings only; elsewhere as by name).
    Files,
    /// By modification time.
    Changed,
}

/// Which part of a list is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PageRequest {
    /// At most this many items, 1 to 1000.
    pub limit: u32,
    /// Where an earlier page ended.
    pub cursor: Option<String>,
}

/// What entries to find. Empty fields do not restrict.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FindQuery {
    /// Only this host.
    pub host: Option<HostId>,
    /// Only below this absolute path.
    pub below: Option<ByteStr>,
    /// The name holds this text; ASCII letters in either case. With `*` or `?` in it, the whole name must match the pattern.
    pub name: Option<ByteStr>,
    /// The name ends in a dot and one of these, in either case.
    pub extensions: Vec<String>,
    /// Only these kinds; empty means all but directories.
    pub kinds: Vec<EntryKind>,
    /// At least this many bytes.
    pub min_size: Option<u64>,
    /// At most this many bytes.
    pub max_size: Option<u64>,
    /// Modified at or after.
    pub modified_after: Option<Timestamp>,
    /// Modified before.
    pub modified_before: Option<Timestamp>,
    /// Owner's name or number.
    pub owner: Option<String>,
    /// The content's hash.
    pub hash: Option<ContentHash>,
    /// How to sort.
    pub sort: SortKey,
    /// Greatest first.
    pub descending: bool,
}

/// Which scans.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ScanFilter {
    /// Only this host.
    pub host: Option<HostId>,
    /// Only this root.
    pub root: Option<ByteStr>,
    /// Only in these states; empty means all.
    pub states: Vec<ScanState>,
}

/// A user or group of a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// A group, else a user.
    pub group: bool,
    /// Numeric id.
    pub id: u32,
    /// Name.
    pub name: String,
}

/// How much of a root a scan tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// What differs from the committed generation.
    Differences,
    /// All there is: what was there before and is not told of is gone.
    Whole,
    /// Some of what there is: what is not told of stays as it was.
    Part,
}

/// Where what a scan told is kept until it is committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// Batches given to [`Store::stage`](super::Store::stage).
    Staged,
    /// Files of this [`SnapfsScan`](super::SnapfsScan)'s number.
    Files(i64),
}

/// The end of a scan, or a part of it that came late.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IndexCommit {
    /// The scan.
    pub scan: ScanId,
    /// Its host.
    pub host: HostId,
    /// The root, with symbolic links resolved.
    pub root: ByteStr,
    /// What was told.
    pub told: Told,
    /// How much of the root it says.
    pub extent: Extent,
    /// The scan has completed with it. Else the scan stays as it is, and only the index changes.
    pub completes: bool,
    /// The generation this makes.
    pub generation: u64,
    /// How content was hashed.
    pub algorithm: Algorithm,
    /// Names for the numeric owners.
    pub owners: Vec<Owner>,
    /// What the scan did.
    pub counters: ScanCounters,
    /// When.
    pub at: Timestamp,
}
