//! What differs between scans, and how directories grew.

use hostler_model::{ByteStr, ChangeOp, EntryKind, HostId, ScanId, Timestamp};
use serde::Serialize;

use super::{IndexedEntry, Page, Root, Scan};

/// One difference a scan found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Change {
    /// What happened.
    pub op: ChangeOp,
    /// To what.
    pub kind: EntryKind,
    /// Relative to the root. Of something that moved, where it is now.
    pub path: ByteStr,
    /// Where something that moved was, relative to the root. What moved along below a directory is not listed.
    pub from: Option<ByteStr>,
    /// Size before; `None` when it was not there.
    pub size_before: Option<u64>,
    /// Size after; `None` when it is gone.
    pub size_after: Option<u64>,
}

/// Which changes of a root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CompareQuery {
    /// The state that this completed scan left; `None` for the one before `to`.
    pub from: Option<ScanId>,
    /// A later completed scan of the same root.
    pub to: ScanId,
    /// Only these; empty means all.
    pub ops: Vec<ChangeOp>,
    /// Only at or below this path, relative to the root.
    pub below: Option<ByteStr>,
}

/// What became of a root between the states that two of its scans left.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Comparison {
    /// The earlier scan; `None` when `to` is the first one.
    pub from: Option<Scan>,
    /// The later scan.
    pub to: Scan,
    /// Scans whose changes were put together.
    pub scans: u64,
    /// All changes that [`CompareQuery::below`] leaves, by what happened.
    pub counts: ChangeCounts,
    /// False when changes of a scan in between were not kept, or were too many to be kept all.
    pub complete: bool,
    /// The changes, by path.
    pub changes: Page<Change>,
}

/// Changes by what happened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct ChangeCounts {
    /// Entries that were not there before.
    pub created: u64,
    /// Entries whose content, size, kind or modification time differs.
    pub modified: u64,
    /// Entries of which only owner, mode or links differ.
    pub metadata: u64,
    /// Entries that are gone.
    pub deleted: u64,
    /// Entries that are at another path.
    pub moved: u64,
    /// Bytes that were added: sizes of what is new, and by how much others grew.
    pub added_bytes: u64,
    /// Bytes that went: sizes of what is gone, and by how much others shrank.
    pub removed_bytes: u64,
}

/// How a directory's content grew and was exchanged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Growth {
    /// The directory as it is now.
    pub dir: IndexedEntry,
    /// The root it is in.
    pub root: Root,
    /// Its size after each scan of the time asked for that changed it, oldest first, with one before them when it is known.
    /// At most [`MAX_GROWTH_POINTS`]: neighbours are put together when there are more.
    pub points: Vec<GrowthPoint>,
    /// What became of it in that time.
    pub change: GrowthChange,
    /// What became of its own subdirectories in that time, the greatest difference first; at most 200.
    pub children: Vec<GrowthOfChild>,
    /// Since when changes of this root are known.
    pub known_since: Option<Timestamp>,
}

/// Most points of one [`Growth`].
pub const MAX_GROWTH_POINTS: usize = 400;

/// A directory after a scan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct GrowthPoint {
    /// When the scan was committed.
    pub at: Timestamp,
    /// Regular files below it.
    pub files: u64,
    /// Sum of their sizes.
    pub bytes: u64,
    /// What that scan found changed.
    pub change: GrowthChange,
}

/// What changed below a directory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct GrowthChange {
    /// Files more, or fewer.
    pub files: i64,
    /// Bytes more, or fewer.
    pub bytes: i64,
    /// Churn: bytes of files that are new, plus whole new sizes of files that were modified.
    pub written_bytes: u64,
    /// Bytes of files that are gone.
    pub removed_bytes: u64,
    /// Entries that were created, modified, moved or deleted.
    pub changes: u64,
}

/// A subdirectory, and what became of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct GrowthOfChild {
    /// Absolute path.
    pub path: ByteStr,
    /// Regular files below it now.
    pub files: u64,
    /// Sum of their sizes now.
    pub bytes: u64,
    /// What changed.
    pub change: GrowthChange,
}

/// Which directory, and when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GrowthQuery {
    /// Its host.
    pub host: HostId,
    /// Absolute path.
    pub path: ByteStr,
    /// From then on.
    pub since: Timestamp,
}
