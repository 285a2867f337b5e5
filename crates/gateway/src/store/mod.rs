//! What the gateway keeps, behind one trait.
//!
//! Everything here is durable when a call returns. The index of a root changes only in [`Store::commit_index`], in one
//! transaction: a reader sees the generation before or the one after, never a mixture.

pub mod sqlite;
pub mod types;

use async_trait::async_trait;
use hostler_model::{ApiKeyId, ByteStr, HostId, IndexOp, Role, ScanCounters, ScanId, ScanState, Timestamp};

pub use types::*;

/// Why a store call failed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The thing asked for is not there.
    #[error("{what} {id} is not known here")]
    NotFound {
        /// `scan`, `host`, ...
        what: &'static str,
        /// Which.
        id: String,
    },
    /// Another one has this name.
    #[error("{what} named {name:?} exists already; choose another name or revoke that one first")]
    Exists {
        /// `an API key`, ...
        what: &'static str,
        /// Which.
        name: String,
    },
    /// A cursor that no page of this list gave.
    #[error("the cursor {0:?} belongs to no page of this list; start again without one")]
    BadCursor(String),
    /// The database was written by a newer Hostler.
    #[error(
        "the database has schema {found}, this program knows up to {known}: run the newer Hostler that wrote it, or restore a backup"
    )]
    TooNew {
        /// What the database says.
        found: i64,
        /// What this program knows.
        known: i64,
    },
    /// The database failed.
    #[error("the database failed: {0}")]
    Database(#[from] rusqlite::Error),
    /// A file of the store failed.
    #[error("{path}: {source}")]
    File {
        /// Which.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// The store is shutting down.
    #[error("the store is closed: the gateway is stopping")]
    Closed,
}

/// The result of a store call.
pub type Result<T> = std::result::Result<T, StoreError>;

/// What the gateway keeps. See the module's notes for what a returned call promises.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    // ---- hosts ----

    /// Makes a host known, or renames it and replaces its token. `token_hash` is SHA-256.
    async fn register_host(&self, id: HostId, name: &str, token_hash: [u8; 32], at: Timestamp) -> Result<()>;
    /// The host whose link token has this SHA-256.
    async fn host_by_token(&self, token_hash: [u8; 32]) -> Result<Option<HostId>>;
    /// All hosts by name.
    async fn hosts(&self) -> Result<Vec<Host>>;
    /// One host.
    async fn host(&self, id: HostId) -> Result<Host>;
    /// Settles the number of a host's new link: greater than every one before and than what the agent remembers.
    async fn next_generation(&self, id: HostId, agent_knows: u64) -> Result<u64>;
    /// The host answered.
    async fn host_proved(&self, id: HostId, at: Timestamp) -> Result<()>;
    /// The host described itself and its capabilities.
    async fn host_described(&self, id: HostId, facts: HostFacts, capabilities: Vec<Capability>) -> Result<()>;

    // ---- scans ----

    /// Keeps a new scan, queued.
    async fn create_scan(&self, scan: Scan) -> Result<()>;
    /// One scan.
    async fn scan(&self, id: ScanId) -> Result<Scan>;
    /// Scans, newest first.
    async fn scans(&self, filter: ScanFilter, page: PageRequest) -> Result<Page<Scan>>;
    /// The host began; `first` when its root has no index.
    async fn scan_started(&self, id: ScanId, root: ByteStr, first: bool, at: Timestamp) -> Result<()>;
    /// Ends a scan that did not complete and drops what it staged.
    async fn scan_ended(
        &self,
        id: ScanId,
        state: ScanState,
        error: Option<String>,
        counters: ScanCounters,
        at: Timestamp,
    ) -> Result<()>;
    /// Names the scan could not read; at most [`MAX_SCAN_ERRORS`] are kept.
    async fn add_scan_errors(&self, id: ScanId, errors: Vec<ScanError>) -> Result<()>;
    /// Names a scan could not read, in walk order.
    async fn scan_errors(&self, id: ScanId, page: PageRequest) -> Result<Page<ScanError>>;
    /// What a scan found changed, in walk order; at most [`MAX_SCAN_CHANGES`] are kept. Empty for a first scan.
    async fn scan_changes(&self, id: ScanId, page: PageRequest) -> Result<Page<Change>>;

    // ---- index ----

    /// Keeps a batch until its scan is committed or ended.
    async fn stage(&self, id: ScanId, ops: Vec<IndexOp>) -> Result<()>;
    /// Applies a scan's staged batches, rolls up sizes, and completes the scan, in one transaction.
    async fn commit_index(&self, commit: IndexCommit) -> Result<()>;
    /// The committed generation of a root; 0 when there is none.
    async fn generation(&self, host: HostId, root: &ByteStr) -> Result<u64>;
    /// All indexed roots by host and path.
    async fn roots(&self, host: Option<HostId>) -> Result<Vec<Root>>;
    /// A directory and a page of its entries, from the longest indexed root that holds it.
    async fn list_dir(
        &self,
        host: HostId,
        path: &ByteStr,
        sort: SortKey,
        descending: bool,
        page: PageRequest,
    ) -> Result<Listing>;
    /// One entry by absolute path.
    async fn stat(&self, host: HostId, path: &ByteStr) -> Result<IndexedEntry>;
    /// Entries that match.
    async fn find(&self, query: FindQuery, page: PageRequest) -> Result<Page<IndexedEntry>>;
    /// Groups of files with equal content, most reclaimable first.
    async fn duplicates(&self, query: DuplicateQuery, page: PageRequest) -> Result<Page<DuplicateGroup>>;
    /// Totals of [`Store::duplicates`].
    async fn duplicate_totals(&self, query: DuplicateQuery) -> Result<DuplicateTotals>;

    // ---- identity ----

    /// Keeps a key; `key_hash` is SHA-256.
    async fn create_api_key(&self, key: ApiKey, key_hash: [u8; 32]) -> Result<()>;
    /// All keys, newest first.
    async fn api_keys(&self) -> Result<Vec<ApiKey>>;
    /// The key with this SHA-256, noting its use.
    async fn use_api_key(&self, key_hash: [u8; 32], at: Timestamp) -> Result<Option<ApiKey>>;
    /// Makes a key useless at once.
    async fn revoke_api_key(&self, id: ApiKeyId) -> Result<()>;
    /// Keeps a one-time sign-in link.
    async fn create_sign_in_link(&self, token_hash: [u8; 32], role: Role, expires_at: Timestamp) -> Result<()>;
    /// Uses up a sign-in link; `None` when it is unknown, used or expired.
    async fn use_sign_in_link(&self, token_hash: [u8; 32], at: Timestamp) -> Result<Option<Role>>;
    /// Keeps a session.
    async fn create_session(&self, token_hash: [u8; 32], session: Session) -> Result<()>;
    /// The session with this token that has not ended.
    async fn session(&self, token_hash: [u8; 32], at: Timestamp) -> Result<Option<Session>>;
    /// Ends a session.
    async fn end_session(&self, token_hash: [u8; 32]) -> Result<()>;
}

/// Errors kept of one scan; more are counted, not kept.
pub const MAX_SCAN_ERRORS: u64 = 10_000;

/// Changes kept of one scan; more are counted, not kept.
pub const MAX_SCAN_CHANGES: u64 = 100_000;
