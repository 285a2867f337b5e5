//! A bounded log of events on disk: bytes in, bytes out, each with a number.
//!
//! ```text
//!  append ──> buffer ── every flush_every, or at once for those who wait ──> segment, flushed ──> read, wait
//!                                                                               └── acknowledged, or the bound: deleted
//! ```
//!
//! - Readers see only what is flushed to the disk, so that a number that was read stands for the same event for ever.
//! - Events are lost at the bound, on a full disk and by damage. Their numbers are missing, and [`Status::lost`] counts them.
//! - Appenders who wait share a flush.
//!
//! `segment.rs` and `record.rs` have the format; `open.rs` says what is repaired.

mod disk;
mod error;
mod journal;
mod open;
mod position;
mod read;
mod record;
mod segment;
mod view;

use std::fmt;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;

pub use error::JournalError;
pub use journal::Journal;
pub use record::MAX_PAYLOAD;

/// Where a journal is, and its bounds.
#[derive(Clone, Debug)]
pub struct JournalSettings {
    /// Its directory; made when missing, closed to others.
    pub dir: PathBuf,
    /// All segments together. The oldest is deleted before they are larger, read or not.
    pub max_bytes: u64,
    /// One segment; at most half of `max_bytes`.
    pub segment_bytes: u64,
    /// How long a buffered event may wait for the disk.
    pub flush_every: Duration,
}

impl JournalSettings {
    /// 64 MiB in segments of 4 MiB, flushed every 100 ms.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into(), max_bytes: 64 << 20, segment_bytes: 4 << 20, flush_every: Duration::from_millis(100) }
    }
}

/// Which journal a number belongs to.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct JournalId(pub [u8; 16]);

impl fmt::Display for JournalId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for JournalId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// When an append returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// When the event is on the disk, as far as fdatasync(2) tells.
    Flushed,
    /// At once. A crash loses the events of the last [`JournalSettings::flush_every`]; their numbers were then never read.
    Buffered,
}

/// An event as it was appended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its number.
    pub seq: u64,
    /// What was appended.
    pub payload: Bytes,
}

/// What one read found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// In order of their numbers.
    pub records: Vec<Record>,
    /// Everything up to this number was read or is lost; the next read goes on after it.
    pub through: u64,
}

/// What a journal holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status {
    /// The oldest number it may still have.
    pub first: u64,
    /// The number of the next event.
    pub next: u64,
    /// How far it was acknowledged.
    pub acknowledged: u64,
    /// Bytes on disk.
    pub bytes: u64,
    /// Events dropped since it was opened that nobody had acknowledged: at the bound, on a full disk, by damage.
    pub lost: u64,
}

/// Nothing is left half done by a panic under these locks.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
