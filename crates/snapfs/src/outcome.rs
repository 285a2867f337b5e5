//! What came of a scan.

use hostler_model::{Algorithm, ByteStr, ContentHash};

/// Counters of a scan, as its summary line has them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ScanReport {
    /// Entries that are not directories.
    pub files: u64,
    /// Sum of their sizes in bytes.
    pub bytes: u64,
    /// Files whose hash the gateway knew.
    pub cache_hits: u64,
    /// Files that were read.
    pub hashed: u64,
    /// Files that could not be read.
    pub hash_errors: u64,
    /// Directories and entries that could not be listed.
    pub walk_errors: u64,
    /// Of both, those for want of permission.
    pub permission_errors: u64,
    /// Files the gateway took.
    pub published: u64,
    /// Sum of their sizes in bytes.
    pub bytes_published: u64,
    /// Files the gateway did not take: lost, or in the spool.
    pub unpublished: u64,
}

/// How a scan ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ScanEnd {
    /// All was walked; see [`ScanReport::unpublished`].
    Completed,
    /// Stopped on request.
    Cancelled,
    /// The gateway refused the credentials: its words.
    Unauthorized(String),
    /// Why it broke off.
    Failed(String),
}

/// A scan that ended.
#[derive(Clone, Debug, PartialEq)]
pub struct ScanOutcome {
    /// Counters.
    pub report: ScanReport,
    /// How it ended.
    pub end: ScanEnd,
    /// The gateway took the scan's last event. Otherwise it is in the spool, and goes out with the next scan; or there was
    /// nothing to end, as the scan had not begun, or nothing could keep it.
    pub closed: bool,
    /// Seconds it took.
    pub seconds: f64,
}

/// Follows a scan, for people. Called from several threads.
pub trait Listener: Send + Sync {
    /// `scan.started` was built.
    fn started(&self, _root: &ByteStr, _scan_id: &str) {}
    /// A file was read.
    fn hashed(&self, _path: &ByteStr, _algorithm: Algorithm, _hash: &ContentHash) {}
    /// The gateway knew a file's hash.
    fn cache_hit(&self, _path: &ByteStr, _algorithm: Algorithm, _hash: &ContentHash) {}
    /// Something failed; the scan goes on.
    fn problem(&self, _text: &str) {}
    /// `scan.completed` was built.
    fn completed(&self, _root: &ByteStr, _scan_id: &str, _report: &ScanReport) {}
}
