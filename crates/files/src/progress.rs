//! Watching and stopping a scan from another thread.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

use hostler_model::{ByteStr, ScanCounters};

/// Longest part of a directory's path that [`Progress::current`] shows, in bytes: very deep trees
/// would otherwise cost a copy of a long path per directory.
const SHOWN_PATH: usize = 4096;

/// Stops a scan; clones stop the same one. Takes effect within one entry, or one buffer of a file that is being read.
#[derive(Clone, Debug, Default)]
pub struct Cancel(Arc<AtomicBool>);

impl Cancel {
    /// Asks the scan to stop. Cannot be taken back.
    pub fn cancel(&self) {
        self.0.store(true, Relaxed);
    }

    /// True once somebody asked.
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Relaxed)
    }
}

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
    current: Mutex<Vec<u8>>,
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
        }
    }

    /// The directory being walked, relative to the root; its first 4 KiB when it is longer.
    pub fn current(&self) -> ByteStr {
        ByteStr::from(self.current.lock().unwrap_or_else(PoisonError::into_inner).as_slice())
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

    /// Skipped when somebody reads it at this moment: the walk never waits for a reader.
    pub(crate) fn enter(&self, path: &[u8]) {
        if let Ok(mut current) = self.current.try_lock() {
            current.clear();
            current.extend_from_slice(&path[..path.len().min(SHOWN_PATH)]);
        }
    }
}
