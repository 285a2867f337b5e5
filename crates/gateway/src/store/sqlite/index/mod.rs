//! The index of files: what every root's scans left.
//!
//! ```text
//! scan ──> staging file ── commit ──> dirs, chunks ── refresh (background) ──> segments, hashes, duplicates
//!                                      browse, stat                            find, duplicates
//! ```
//!
//! - A **directory** is a row with its path, so that a path is kept once.
//! - Its entries are packed in **chunks** of up to 256, by name: the truth, written in the commit's transaction.
//! - A **segment** has the columns a search reads (names; sizes, times, kinds, owners; hashes) of 64 chunks of one root. It is
//!   rebuilt in the background. A search builds the columns of a stale segment as it goes, so what it finds is exact at
//!   any time and only its speed depends on the background work.
//! - **Duplicates** are kept per scope (fleet, host, root), and brought up to date for the hashes that came or went.

mod apply;
mod chunk;
mod convert;
pub mod directory;
mod groups;
mod moves;
mod refresh;
mod removal;
mod rollup;
mod segment;
mod slots;

pub use apply::{Applier, commit};
pub use chunk::{Entries, Packer, Row};
pub use convert::pack_files;
pub use directory::EntryOp;
pub use groups::{Group, Member, Scope, group, members, members_of_chunk, reclaimable};
pub use refresh::{Indexer, stale_entries};
pub use removal::remove_some;
pub use segment::{Columns, Facts, Part, Pattern, Segment, entry_of_chunk, prefix_of};

/// Chunks of one segment: chunk ids are `segment * 64 + slot`.
pub const SLOTS: i64 = 64;

/// A path relative to a root, as an absolute one.
pub fn absolute(root: &[u8], below: &[u8]) -> Vec<u8> {
    let mut path = root.to_vec();
    if !below.is_empty() {
        if path.last() != Some(&b'/') {
            path.push(b'/');
        }
        path.extend_from_slice(below);
    }
    path
}
