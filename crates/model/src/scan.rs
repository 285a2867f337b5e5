//! Scans: their states, options and counters; and the roles that may ask for one.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::entry::Algorithm;

/// Where a scan is.
///
/// ```text
/// queued ──> running ──> completed
///    │          ├──────> cancelled
///    │          └──────> failed
///    └──> cancelled | failed
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum ScanState {
    /// Waits for the host's running scan to end.
    Queued,
    /// The host walks and hashes.
    Running,
    /// The index shows this scan's state of the root. Single files may still have failed: see `counters.errors`.
    Completed,
    /// Stopped on request; the index is as it was before.
    Cancelled,
    /// Stopped by an error; the index is as it was before.
    Failed,
}

impl ScanState {
    /// The word for people, JSON and the store.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Completed => "completed",
            Self::Cancelled => "cancelled",
            Self::Failed => "failed",
        }
    }

    /// True when nothing more will happen.
    pub const fn is_final(self) -> bool {
        matches!(self, Self::Completed | Self::Cancelled | Self::Failed)
    }
}

impl fmt::Display for ScanState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

impl FromStr for ScanState {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        [Self::Queued, Self::Running, Self::Completed, Self::Cancelled, Self::Failed]
            .into_iter()
            .find(|s| s.word() == text)
            .ok_or_else(|| format!("unknown scan state {text:?}: use queued, running, completed, cancelled or failed"))
    }
}

/// What to leave out and how to hash.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ScanOptions {
    /// How content is hashed.
    pub algorithm: Algorithm,
    /// Hash every file again, even those that look unchanged.
    pub force: bool,
    /// Patterns in gitignore syntax, relative to the root; what matches is neither entered nor recorded.
    pub excludes: Vec<String>,
    /// Do not enter directories on another filesystem than the root's.
    pub one_file_system: bool,
    /// Enter `.zfs` and `.snapshots` too.
    pub snapshots: bool,
    /// Files smaller than this many bytes are recorded but not hashed.
    pub hash_min_size: u64,
    /// Files larger than this many bytes are recorded but not hashed; 0 means no bound.
    pub hash_max_size: u64,
    /// What the scan may use of the machine.
    pub limits: ScanLimits,
}

/// What a scan may use of its machine. The stricter of these and the host owner's own limits holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ScanLimits {
    /// Percent of one core, 1 to 100 times the number of cores; 0 means no bound.
    pub cpu_percent: u32,
    /// Bytes of content read a second; 0 means no bound.
    pub bytes_per_second: u64,
    /// Read only when nobody else does (`ioprio_set(2)`, class idle) and at the lowest processor priority.
    pub idle: bool,
}

/// What a scan has done so far, or did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(default)]
pub struct ScanCounters {
    /// Regular files seen.
    pub files: u64,
    /// Directories seen, the root included.
    pub dirs: u64,
    /// Symbolic links, FIFOs, sockets and devices seen.
    pub others: u64,
    /// Sum of the sizes of the regular files seen.
    pub bytes: u64,
    /// Files whose content was read.
    pub hashed_files: u64,
    /// Bytes read for it.
    pub hashed_bytes: u64,
    /// Entries that were not there before.
    pub created: u64,
    /// Regular files whose content, size or modification time differs; links and others that differ.
    pub modified: u64,
    /// Entries of which only owner, mode, links or change time differ.
    pub metadata: u64,
    /// Entries that are gone.
    pub deleted: u64,
    /// Names that could not be read.
    pub errors: u64,
    /// Expected number of regular files; 0 while unknown.
    pub expected_files: u64,
    /// Entries that are at another path than before; they count as neither created nor deleted. Known once the scan is
    /// committed.
    pub moved: u64,
}

/// What happened to one entry between two scans of its root.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum ChangeOp {
    /// Was not there before.
    Created,
    /// Content, size, kind or modification time differs.
    Modified,
    /// Only owner, mode, links or change time differ.
    Metadata,
    /// Is gone.
    Deleted,
    /// Was at another path. Never told by a host: the gateway finds it when it commits a scan.
    Moved,
}

impl ChangeOp {
    /// Every operation, in the order of their codes.
    pub const ALL: [Self; 5] = [Self::Created, Self::Modified, Self::Metadata, Self::Deleted, Self::Moved];

    /// The number used on the link and in the store.
    pub const fn code(self) -> u8 {
        match self {
            Self::Created => 1,
            Self::Modified => 2,
            Self::Metadata => 3,
            Self::Deleted => 4,
            Self::Moved => 5,
        }
    }

    /// The inverse of [`ChangeOp::code`].
    pub const fn from_code(code: u8) -> Option<Self> {
        Some(match code {
            1 => Self::Created,
            2 => Self::Modified,
            3 => Self::Metadata,
            4 => Self::Deleted,
            5 => Self::Moved,
            _ => return None,
        })
    }

    /// The word for people and JSON.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Modified => "modified",
            Self::Metadata => "metadata",
            Self::Deleted => "deleted",
            Self::Moved => "moved",
        }
    }
}

/// What a person or a key may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Reads.
    Viewer,
    /// Reads and acts on hosts.
    Operator,
    /// Also manages users, keys and hosts.
    Admin,
}

impl Role {
    /// The word for people, JSON and the store.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Admin => "admin",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

impl FromStr for Role {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        [Self::Viewer, Self::Operator, Self::Admin]
            .into_iter()
            .find(|r| r.word() == text)
            .ok_or_else(|| format!("unknown role {text:?}: use viewer, operator or admin"))
    }
}
