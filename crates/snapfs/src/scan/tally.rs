//! How far a scan is; written from all its threads.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

use hostler_files::Progress;

use crate::outcome::ScanReport;

/// Counters of a running scan. Single numbers are exact; numbers that belong together may be a few files apart.
#[derive(Debug, Default)]
pub struct Tally {
    pub files: AtomicU64,
    pub bytes: AtomicU64,
    /// Files that were gone when they were to be read.
    pub gone: AtomicU64,
    pub gone_bytes: AtomicU64,
    pub cache_hits: AtomicU64,
    pub hashed: AtomicU64,
    pub bytes_hashed: AtomicU64,
    pub hash_errors: AtomicU64,
    pub walk_errors: AtomicU64,
    pub permission_errors: AtomicU64,
    pub published: AtomicU64,
    pub bytes_published: AtomicU64,
    pub jobs: AtomicU64,
    pub job_bytes: AtomicU64,
    pub walked: AtomicBool,
    /// Where the walk is.
    pub walk: Arc<Progress>,
    /// What each hashing thread reads.
    pub readers: Vec<Arc<Progress>>,
    current: Mutex<Option<Current>>,
}

/// The file that was begun last.
#[derive(Debug)]
struct Current {
    path: Vec<u8>,
    size: u64,
    reader: usize,
    /// What its thread had read before.
    before: u64,
}

/// What telemetry shows as the file at hand.
#[derive(Debug, Default)]
pub struct Shown {
    pub path: Option<Vec<u8>>,
    pub size: u64,
    pub offset: u64,
}

impl Tally {
    /// For so many hashing threads.
    pub fn new(readers: usize) -> Self {
        Self { readers: (0..readers).map(|_| Arc::default()).collect(), ..Self::default() }
    }

    /// A thread begins to read a file.
    pub fn begin(&self, reader: usize, path: impl FnOnce() -> Vec<u8>, size: u64) {
        self.jobs.fetch_add(1, Relaxed);
        self.job_bytes.fetch_add(size, Relaxed);
        // Shown to people now and then: not worth waiting for.
        if let Ok(mut current) = self.current.try_lock() {
            *current = Some(Current { path: path(), size, reader, before: self.readers[reader].read_bytes() });
        }
    }

    /// It has ended.
    pub fn end(&self, size: u64) {
        self.jobs.fetch_sub(1, Relaxed);
        self.job_bytes.fetch_sub(size, Relaxed);
    }

    /// Bytes of content read so far.
    pub fn bytes_processed(&self) -> u64 {
        self.readers.iter().map(|reader| reader.read_bytes()).sum()
    }

    /// The file at hand, or where the walk is.
    pub fn shown(&self, root: &[u8]) -> Shown {
        if self.jobs.load(Relaxed) > 0
            && let Some(current) = &*self.current.lock().unwrap_or_else(PoisonError::into_inner)
        {
            let read = self.readers[current.reader].read_bytes().saturating_sub(current.before);
            return Shown { path: Some(current.path.clone()), size: current.size, offset: read.min(current.size) };
        }
        let path = super::item::join(root, self.walk.place().as_bytes());
        Shown { path: Some(path), ..Shown::default() }
    }

    /// The report with `unpublished` files.
    pub fn report(&self, unpublished: u64) -> ScanReport {
        let get = |counter: &AtomicU64| counter.load(Relaxed);
        ScanReport {
            files: get(&self.files).saturating_sub(get(&self.gone)),
            bytes: get(&self.bytes).saturating_sub(get(&self.gone_bytes)),
            cache_hits: get(&self.cache_hits),
            hashed: get(&self.hashed),
            hash_errors: get(&self.hash_errors),
            walk_errors: get(&self.walk_errors),
            permission_errors: get(&self.permission_errors),
            published: get(&self.published),
            bytes_published: get(&self.bytes_published),
            unpublished,
        }
    }
}
