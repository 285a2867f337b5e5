//! Files with equal content.

use hostler_model::{Algorithm, ByteStr, HostId, Timestamp};
use serde::Serialize;

/// Files with equal content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct DuplicateGroup {
    /// Hash in hex.
    pub hash: String,
    /// How it was hashed.
    pub algo: Algorithm,
    /// Size of each in bytes.
    pub size: u64,
    /// Distinct files (inodes).
    pub copies: u64,
    /// Names, hard links included.
    pub names: u64,
    /// What deleting all copies but one would free: `(copies - 1) * size`.
    pub reclaimable: u64,
}

/// All duplicates of a selection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct DuplicateTotals {
    /// Groups.
    pub groups: u64,
    /// Copies beyond the first of each group.
    pub extra_copies: u64,
    /// Bytes that deleting them would free.
    pub reclaimable: u64,
    /// Files that were committed and are not taken into account yet.
    pub pending_files: u64,
}

/// Which duplicates. Only files that match count: a group needs two of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DuplicateQuery {
    /// Only this host.
    pub host: Option<HostId>,
    /// Only below this absolute path.
    pub below: Option<ByteStr>,
    /// Files of at least this many bytes; never less than 1, as empty files free nothing.
    pub min_size: u64,
    /// The name ends in a dot and one of these, in either case; empty means all.
    pub extensions: Vec<String>,
}

/// A group with its files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct DuplicateFiles {
    /// The group.
    #[serde(flatten)]
    pub group: DuplicateGroup,
    /// Its names by host and path, at most [`MAX_DUPLICATE_NAMES`]. Names with the same host, `dev` and `ino` are one file.
    pub files: Vec<DuplicateFile>,
}

/// Most names of one group that are told.
pub const MAX_DUPLICATE_NAMES: usize = 10_000;

/// One name of a file that has copies.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct DuplicateFile {
    /// Its host.
    pub host: HostId,
    /// The host's name.
    pub host_name: String,
    /// Absolute path.
    pub path: ByteStr,
    /// Modification time.
    pub mtime: Timestamp,
    /// Device number.
    pub dev: u64,
    /// Inode number.
    pub ino: u64,
    /// Hard links, those outside of the index included.
    pub nlink: u64,
}
