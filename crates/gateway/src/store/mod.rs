//! What the gateway keeps, behind one trait.
//!
//! Everything here is durable when a call returns. The index of a root changes only in [`Store::commit_index`], in one
//! transaction: a reader sees the generation before or the one after, never a mixture.

mod activity;
mod changes;
mod duplicates;
mod people;
mod schedules;
mod snapfs;
mod snapfs_clients;
pub mod sqlite;
pub mod types;
mod webhooks;
mod words;

use std::path::Path;

use async_trait::async_trait;
use hostler_model::{
    Algorithm, ApiKeyId, ByteStr, ContentHash, DeliveryId, HostId, IndexOp, JoinTokenId, Role, ScanCounters, ScanId,
    ScanState, ScheduleId, SessionId, Timestamp, UserId, WebhookId,
};
use tokio::sync::watch;

pub use activity::*;
pub use changes::*;
pub use duplicates::*;
pub use people::*;
pub use schedules::*;
pub use snapfs::*;
pub use snapfs_clients::*;
pub use types::*;
pub use webhooks::*;

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
    #[error("{what} named {name:?} exists already; choose another name, or remove that one first")]
    Exists {
        /// `an API key`, ...
        what: &'static str,
        /// Which.
        name: String,
    },
    /// As many as there may be.
    #[error("there are {most} {what} already, which is as many as a gateway keeps; delete some first")]
    TooMany {
        /// `schedules`, ...
        what: &'static str,
        /// How many there may be.
        most: u64,
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
    /// A file that is no backup of this program's database, or a damaged one.
    #[error("this file cannot be restored: {0}; nothing was changed")]
    BadBackup(String),
    /// No room for what was to be written.
    #[error("the gateway's disk is full and nothing was written; free some space where its data directory lies")]
    Full,
    /// The database failed.
    #[error("the database failed: {0}")]
    Database(#[source] rusqlite::Error),
    /// A file of the store failed.
    #[error("{path}: {source}")]
    File {
        /// Which.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// A write broke off and was undone; the store goes on.
    #[error("a write broke off and was undone; the gateway's log says where, please report it")]
    Broken,
    /// The store is shutting down.
    #[error("the store is closed: the gateway is stopping")]
    Closed,
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(rusqlite::ErrorCode::DiskFull) => Self::Full,
            _ => Self::Database(error),
        }
    }
}

/// What is left of a removed host, on its way out. It goes on when this is dropped.
pub type Removal = tokio::task::JoinHandle<Result<()>>;

/// The result of a store call.
pub type Result<T> = std::result::Result<T, StoreError>;

/// What the gateway keeps. See the module's notes for what a returned call promises.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    // ---- hosts ----

    /// Makes a host known without a join token, or renames it and replaces its Ed25519 key.
    async fn register_host(&self, id: HostId, name: &str, public_key: [u8; 32], at: Timestamp) -> Result<()>;
    /// The key with which a host signs; `None` when the host is not known, was removed or has no key yet.
    async fn host_key(&self, id: HostId) -> Result<Option<[u8; 32]>>;
    /// All hosts by name.
    async fn hosts(&self) -> Result<Vec<Host>>;
    /// A page of the hosts that match, and how many match by the state of their link whatever [`HostQuery::link`] is.
    async fn hosts_page(&self, query: HostQuery, linked: LinkedNow) -> Result<(Vec<HostRow>, HostCounts)>;
    /// One host.
    async fn host(&self, id: HostId) -> Result<Host>;
    /// Settles the number of a host's new link, in one write with the time of the assertion that asked for it: an
    /// assertion is accepted once, and only when it is newer than all before.
    async fn admit_link(&self, id: HostId, agent_knows: u64, asserted_at: Timestamp) -> Result<LinkAdmission>;
    /// Keeps what many hosts told, in one write. Hosts that are not known are passed over.
    async fn keep_proofs(&self, proofs: Vec<HostProof>) -> Result<()>;
    /// Forgets a host. When this returns its key is of no use and it is listed no more; its index, scans and events go in
    /// bounded writes after that, which a later start takes up when they are interrupted.
    async fn remove_host(&self, id: HostId) -> Result<Removal>;

    // ---- joining ----

    /// Keeps a join token; `secret_hash` is SHA-256.
    async fn create_join_token(&self, token: JoinTokenRecord, secret_hash: [u8; 32]) -> Result<()>;
    /// All join tokens, newest first. Those that expired more than [`JOIN_TOKEN_KEPT_SECONDS`] ago are forgotten.
    async fn join_tokens(&self) -> Result<Vec<JoinTokenRecord>>;
    /// Makes a join token useless; fails with `NotFound` when it is not known or was used.
    async fn revoke_join_token(&self, id: JoinTokenId, at: Timestamp) -> Result<()>;
    /// Lets a host join with a token, in one write. `name` gets a number when another host has it.
    async fn join(
        &self,
        secret_hash: [u8; 32],
        host: HostId,
        name: &str,
        public_key: [u8; 32],
        at: Timestamp,
    ) -> Result<JoinOutcome>;

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
    /// What became of a root between two of its scans.
    async fn compare(&self, query: CompareQuery, page: PageRequest) -> Result<Comparison>;
    /// How a directory grew.
    async fn growth(&self, query: GrowthQuery) -> Result<Growth>;

    // ---- index ----

    /// Keeps a batch until its scan is committed or ended.
    async fn stage(&self, id: ScanId, ops: Vec<IndexOp>) -> Result<()>;
    /// Applies a scan's staged batches, rolls up sizes, finds what moved, and completes the scan, in one transaction. What it
    /// committed can be browsed and searched when this returns; duplicates follow in the background.
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
    /// [`Store::duplicates`] with the files of each group.
    async fn duplicate_files(&self, query: DuplicateQuery, page: PageRequest) -> Result<Page<DuplicateFiles>>;

    // ---- users ----

    /// Keeps a user; `password_hash` is a PHC string.
    async fn create_user(&self, user: User, password_hash: String) -> Result<()>;
    /// All users by name.
    async fn users(&self) -> Result<Vec<User>>;
    /// The user of this name and the hash of their password.
    async fn user_by_name(&self, name: &str) -> Result<Option<(User, String)>>;
    /// Changes what a user may do, also in the sessions they have.
    async fn set_user_role(&self, id: UserId, role: Role) -> Result<()>;
    /// Replaces a user's password. Their sessions go on: see [`Store::end_sessions_of`].
    async fn set_user_password(&self, id: UserId, password_hash: String) -> Result<()>;
    /// Forgets a user and ends their sessions.
    async fn delete_user(&self, id: UserId) -> Result<()>;

    // ---- keys, links, sessions ----

    /// Keeps a key; `key_hash` is SHA-256.
    async fn create_api_key(&self, key: ApiKey, key_hash: [u8; 32]) -> Result<()>;
    /// All keys, newest first.
    async fn api_keys(&self) -> Result<Vec<ApiKey>>;
    /// The key with this SHA-256 that has not expired, noting its use.
    async fn use_api_key(&self, key_hash: [u8; 32], at: Timestamp) -> Result<Option<ApiKey>>;
    /// Makes a key useless at once.
    async fn revoke_api_key(&self, id: ApiKeyId) -> Result<()>;
    /// Keeps a one-time sign-in link.
    async fn create_sign_in_link(&self, token_hash: [u8; 32], role: Role, expires_at: Timestamp) -> Result<()>;
    /// Uses up a sign-in link; `None` when it is unknown, used or expired.
    async fn use_sign_in_link(&self, token_hash: [u8; 32], at: Timestamp) -> Result<Option<Role>>;
    /// Keeps a session, and when it has a user, that they signed in.
    async fn create_session(&self, token_hash: [u8; 32], session: Session) -> Result<()>;
    /// The session with this token that has not ended, noting its use.
    async fn session(&self, token_hash: [u8; 32], at: Timestamp) -> Result<Option<Session>>;
    /// All sessions that have not ended, the last used first.
    async fn sessions(&self, at: Timestamp) -> Result<Vec<Session>>;
    /// Ends a session by its token.
    async fn end_session(&self, token_hash: [u8; 32]) -> Result<()>;
    /// Ends a session by its id.
    async fn end_session_by_id(&self, id: SessionId) -> Result<()>;
    /// Ends the sessions of a user but one; how many they were.
    async fn end_sessions_of(&self, user: UserId, except: Option<SessionId>) -> Result<u64>;

    // ---- what happened ----

    /// Adds to the audit log. Entries are never changed, and pruned after [`AUDIT_SECONDS`].
    async fn append_audit(&self, entry: AuditEntry) -> Result<()>;
    /// The audit log, newest first.
    async fn audit(&self, filter: AuditFilter, page: PageRequest) -> Result<Page<AuditEntry>>;
    /// Keeps records of a host's journal and how far it was read, in one write: each record once, however often it is sent.
    ///
    /// `records` come in the order of the journal and `through` is the last number they cover. A jump in the numbers adds a
    /// `journal.gap` event that says how many were lost, and another `journal` than the one kept a `journal.new` event.
    async fn append_host_events(
        &self,
        host: HostId,
        journal: [u8; 16],
        records: Vec<HostEventRecord>,
        through: u64,
    ) -> Result<AppendedEvents>;
    /// How far a host's journal was kept: which journal, and the last number.
    async fn journal_position(&self, host: HostId) -> Result<Option<([u8; 16], u64)>>;
    /// Keeps an event of the gateway itself.
    async fn append_gateway_event(&self, event: NewEvent) -> Result<ActivityEvent>;
    /// Events, the last received first. The newest [`MAX_ACTIVITY`] are kept.
    async fn activity(&self, filter: ActivityFilter, page: PageRequest) -> Result<Page<ActivityEvent>>;

    // ---- backup ----

    /// Writes a consistent copy to a new file while the store is used, with the files that are the gateway's identity.
    /// Sessions and sign-in links are left out.
    async fn backup_to(&self, path: &Path) -> Result<()>;
    /// Replaces everything by a backup's content, while the store is used. The file is checked first.
    ///
    /// The gateway's identity is the backup's from the next start on.
    /// What guards links against replay is not set back: per host the newer of both is kept.
    async fn restore_from(&self, path: &Path, at: Timestamp) -> Result<()>;

    // ---- schedules ----

    /// Keeps a new schedule; at most [`MAX_SCHEDULES`].
    async fn create_schedule(&self, schedule: Schedule) -> Result<()>;
    /// One schedule.
    async fn schedule(&self, id: ScheduleId) -> Result<Schedule>;
    /// Schedules by host's name and directory.
    async fn schedules(&self, filter: ScheduleFilter, page: PageRequest) -> Result<Page<Schedule>>;
    /// Writes what a person decides: all but the host and [`ScheduleState`], of which only the next time is written. Switched
    /// off, a run that waits is forgotten and one that runs goes on.
    async fn change_schedule(&self, schedule: Schedule) -> Result<()>;
    /// Forgets a schedule; its scans stay.
    async fn delete_schedule(&self, id: ScheduleId) -> Result<()>;
    /// Schedules that are to be looked at, those that are due first.
    async fn schedules_to_step(&self, now: Timestamp, scope: StepScope) -> Result<Vec<Schedule>>;
    /// Writes where a schedule is, and in the same write notes `missed` (JSON) for webhooks. False, and nothing is written,
    /// when the schedule is gone or was written since this revision.
    async fn schedule_stepped(
        &self,
        id: ScheduleId,
        revision: u64,
        state: ScheduleState,
        missed: Option<String>,
    ) -> Result<bool>;

    // ---- webhooks ----

    /// Keeps a new webhook; at most [`MAX_WEBHOOKS`].
    async fn create_webhook(&self, webhook: Webhook) -> Result<()>;
    /// All webhooks, oldest first.
    async fn webhooks(&self) -> Result<Vec<Webhook>>;
    /// One webhook.
    async fn webhook(&self, id: WebhookId) -> Result<Webhook>;
    /// Writes what a person decides: URL, events, host, root, on or off. Switched on again, past failures are forgotten.
    async fn change_webhook(&self, webhook: Webhook) -> Result<()>;
    /// Forgets a webhook and its deliveries.
    async fn delete_webhook(&self, id: WebhookId) -> Result<()>;
    /// The oldest things that happened and that [`Store::enqueue_deliveries`] has not taken up. They are noted in the
    /// transaction in which they happen, while a webhook is switched on.
    async fn happened(&self) -> Result<Vec<Happened>>;
    /// Puts deliveries into their webhooks' queues and forgets what they tell of, in one write. A queue holds at most
    /// [`MAX_PENDING`]: the oldest are dropped and counted.
    async fn enqueue_deliveries(&self, happened: Option<i64>, deliveries: Vec<Delivery>) -> Result<()>;
    /// The delivery of a webhook that is to be tried next, also when its time has not come.
    async fn next_delivery(&self, webhook: WebhookId) -> Result<Option<Delivery>>;
    /// Keeps what became of a try.
    async fn delivery_tried(&self, tried: Tried) -> Result<()>;
    /// Deliveries of a webhook, newest first. Of those that ended the last [`KEPT_DELIVERIES`] are kept.
    async fn deliveries(&self, webhook: WebhookId, page: PageRequest) -> Result<Page<Delivery>>;
    /// Puts a delivery back into its queue, as if it had never been tried.
    async fn redeliver(&self, webhook: WebhookId, id: DeliveryId, at: Timestamp) -> Result<Delivery>;

    // ---- SnapFS clients ----

    /// The host that a SnapFS client speaks for; a new one named `name` when there is none, with a number when another has it.
    async fn snapfs_host(&self, machine: SnapfsMachine, name: &str, at: Timestamp) -> Result<Host>;
    /// Makes a scan one whose files clients tell of; its number. An id that its scope used before means the new scan from now
    /// on.
    async fn begin_snapfs_scan(&self, id: ScanId, scope: &str, wire_id: &str) -> Result<i64>;
    /// Says how a client calls a scan, once that is known.
    async fn name_snapfs_scan(&self, number: i64, scope: &str, wire_id: &str) -> Result<()>;
    /// The scan that a client calls so.
    async fn snapfs_scan(&self, scope: &str, wire_id: &str) -> Result<Option<SnapfsScan>>;
    /// Scans that have not ended, and those that have and of which files wait to be committed.
    async fn open_snapfs_scans(&self) -> Result<Vec<SnapfsScan>>;
    /// What waits to be committed under a scan's number.
    async fn told_files(&self, number: i64) -> Result<ToldTotals>;
    /// Keeps what a client sent: message, hashes and files in one write.
    async fn snapfs_ingest(&self, ingest: SnapfsIngest) -> Result<()>;
    /// The hashes of these files that a scope's clients told before, in their order.
    async fn snapfs_probe(&self, scope: &str, keys: Vec<CacheKey>) -> Result<Vec<Option<(Algorithm, ContentHash)>>>;
    /// Changes after each [`Store::snapfs_ingest`] and when a reader is forgotten.
    fn snapfs_published(&self) -> watch::Receiver<()>;
    /// Somebody reads: makes the position when there is none, before the oldest message that is kept; at most
    /// [`MAX_SNAPFS_CONSUMERS`].
    async fn open_snapfs_consumer(&self, durable: Durable, at: Timestamp) -> Result<()>;
    /// The messages after a reader's position: at most so many, and of `bytes` at most unless the first alone has more.
    async fn snapfs_next(&self, durable: Durable, messages: u32, bytes: u64) -> Result<SnapfsMessages>;
    /// Moves a reader's position forward; never back.
    async fn snapfs_ack(&self, durable: Durable, through: u64, at: Timestamp) -> Result<()>;
    /// All readers by subject and name.
    async fn snapfs_consumers(&self) -> Result<Vec<SnapfsConsumer>>;
    /// Forgets a reader's position.
    async fn forget_snapfs_consumer(&self, durable: Durable) -> Result<()>;
    /// Keeps a token; `token_hash` is SHA-256. The oldest of a key go when it has more than [`MAX_SNAPFS_TOKENS`].
    async fn create_snapfs_token(&self, token: SnapfsToken, token_hash: [u8; 32]) -> Result<()>;
    /// The key of a token that has not ended, and what the token allows; its use moves its end.
    async fn use_snapfs_token(&self, token_hash: [u8; 32], at: Timestamp)
    -> Result<Option<(ApiKey, Vec<SnapfsScope>)>>;
}

/// Seconds an expired join token stays listed: 90 days.
pub const JOIN_TOKEN_KEPT_SECONDS: i64 = 90 * 86_400;

/// Errors kept of one scan; more are counted, not kept.
pub const MAX_SCAN_ERRORS: u64 = 10_000;

/// Changes kept of one scan; more are counted, not kept.
pub const MAX_SCAN_CHANGES: u64 = 100_000;
