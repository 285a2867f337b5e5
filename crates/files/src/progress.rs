//! Watching a scan from another thread.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};

use hostler_model::{ByteStr, ScanCounters};

/// Longest part of a directory's path that [`Progress::current`] shows, in bytes: very deep trees
/// would otherwise cost a copy of a long path per directory.
const SHOWN_PATH: usize = 4096;

/// What a running scan has done so far. Written by the scan, read by anyone; single numbers are
/// exact, and numbers that belong together may be a few entries apart.
#[derive(Debug, Default)]
pub struct Progress {
    files: AtomicU64,
    dirs: AtomicU64,
    others: AtomicU64,
    bytes: AtomicU64,
    hashed_files: AtomicU64,
    hashed_bytes: AtomicU64,
    created: AtomicU64,
    modified: AtomicU64,
    metadata: AtomicU64,
    deleted: AtomicU64,
    errors: AtomicU64,
    expected_files: AtomicU64,
    read_bytes: AtomicU64,
    place: Mutex<Place>,
    /// Grows with each entry and buffer; [`WAITING`] is set while the scan waits for something else than the tree.
    pulse: AtomicU64,
}

/// Top bit of the pulse.
const WAITING: u64 = 1 << 63;

/// Where the walk is.
#[derive(Debug, Default)]
struct Place {
    /// Relative to the root.
    dir: Vec<u8>,
    /// The entry at hand in `dir`; empty while `dir` itself is.
    name: Vec<u8>,
}

impl Progress {
    /// The counters as of now.
    pub fn snapshot(&self) -> ScanCounters {
        ScanCounters {
            files: self.files.load(Relaxed),
            dirs: self.dirs.load(Relaxed),
            others: self.others.load(Relaxed),
            bytes: self.bytes.load(Relaxed),
            hashed_files: self.hashed_files.load(Relaxed),
            hashed_bytes: self.hashed_bytes.load(Relaxed),
            created: self.created.load(Relaxed),
            modified: self.modified.load(Relaxed),
            metadata: self.metadata.load(Relaxed),
            deleted: self.deleted.load(Relaxed),
            errors: self.errors.load(Relaxed),
            expected_files: self.expected_files.load(Relaxed),
            moved: 0,
        }
    }

    /// The directory being walked, relative to the root; its first 4 KiB when it is longer.
    pub fn current(&self) -> ByteStr {
        ByteStr::from(self.place.lock().unwrap_or_else(PoisonError::into_inner).dir.as_slice())
    }

    /// The directory or entry at hand, relative to the root; only the first 4 KiB of the directory.
    pub fn place(&self) -> ByteStr {
        let place = self.place.lock().unwrap_or_else(PoisonError::into_inner);
        let mut path = place.dir.clone();
        if !place.name.is_empty() {
            crate::merge::join(&mut path, &place.name);
        }
        ByteStr::from(path)
    }

    /// A number that changes as long as the scan gets on with the tree; `None` while it waits for something else, or has
    /// not begun.
    pub fn pulse(&self) -> Option<u64> {
        Some(self.pulse.load(Relaxed)).filter(|pulse| pulse & WAITING == 0 && *pulse > 0)
    }

    /// Bytes of content that were read so far, all tries included, also of a file that is being read.
    pub fn read_bytes(&self) -> u64 {
        self.read_bytes.load(Relaxed)
    }

    /// So many bytes of content were read.
    #[inline]
    pub(crate) fn read(&self, bytes: usize) {
        // As for the pulse: one thread writes.
        self.read_bytes.store(self.read_bytes.load(Relaxed) + bytes as u64, Relaxed);
    }

    /// The scan gets on.
    #[inline]
    pub(crate) fn beat(&self) {
        // One thread writes: no need for a locked instruction.
        self.pulse.store((self.pulse.load(Relaxed) & !WAITING).wrapping_add(1) & !WAITING, Relaxed);
    }

    /// Does something that says nothing about the tree, however long it takes.
    #[inline]
    pub(crate) fn waiting<T>(&self, wait: impl FnOnce() -> T) -> T {
        self.pulse.store(self.pulse.load(Relaxed) | WAITING, Relaxed);
        let done = wait();
        self.beat();
        done
    }

    /// All counters but `expected_files`, which has its own writer: see [`Progress::expect`].
    pub(crate) fn publish(&self, counters: &ScanCounters) {
        self.files.store(counters.files, Relaxed);
        self.dirs.store(counters.dirs, Relaxed);
        self.others.store(counters.others, Relaxed);
        self.bytes.store(counters.bytes, Relaxed);
        self.hashed_files.store(counters.hashed_files, Relaxed);
        self.hashed_bytes.store(counters.hashed_bytes, Relaxed);
        self.created.store(counters.created, Relaxed);
        self.modified.store(counters.modified, Relaxed);
        self.metadata.store(counters.metadata, Relaxed);
        self.deleted.store(counters.deleted, Relaxed);
        self.errors.store(counters.errors, Relaxed);
    }

    /// Sets the expected number of regular files: from the old manifest, or counted beside the walk.
    pub(crate) fn expect(&self, files: u64) {
        self.expected_files.store(files, Relaxed);
    }

    /// Goes to the directory `path`. Skipped when somebody reads it at this moment: the walk never waits for a reader.
    pub(crate) fn enter(&self, path: &[u8]) {
        if let Ok(mut place) = self.place.try_lock() {
            place.dir.clear();
            place.dir.extend_from_slice(&path[..path.len().min(SHOWN_PATH)]);
            place.name.clear();
        }
    }

    /// Goes to the entry `name` of that directory.
    #[inline]
    pub(crate) fn at(&self, name: &[u8]) {
        if let Ok(mut place) = self.place.try_lock() {
            place.name.clear();
            place.name.extend_from_slice(name);
        }
    }
}
