//! The embedded store: one SQLite file, one writer.

mod activity;
mod audit;
mod backup;
mod browse;
mod changes;
mod cursor;
mod duplicates;
mod entries;
mod find;
mod growth;
mod hosts;
mod hosts_page;
mod identity;
mod index;
mod join;
mod names;
mod pool;
mod rows;
mod scans;
mod schedules;
mod schema;
mod snapfs;
mod staging;
mod top;
mod users;
mod webhooks;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use hostler_model::{
    Algorithm, ApiKeyId, ByteStr, ContentHash, DeliveryId, HostId, IndexOp, JoinTokenId, Role, ScanCounters, ScanId,
    ScanState, ScheduleId, SessionId, Timestamp, UserId, WebhookId,
};
use tokio::sync::watch;

use super::{
    ActivityEvent, ActivityFilter, ApiKey, AppendedEvents, AuditEntry, AuditFilter, CacheKey, Change, CompareQuery,
    Comparison, Delivery, DuplicateFiles, DuplicateGroup, DuplicateQuery, DuplicateTotals, Durable, FindQuery, Growth,
    GrowthQuery, Happened, Host, HostCounts, HostEventRecord, HostProof, HostQuery, HostRow, IndexCommit, IndexedEntry,
    JoinOutcome, JoinTokenRecord, LinkAdmission, LinkedNow, Listing, NewEvent, Page, PageRequest, Removal, Result,
    Root, Scan, ScanError, ScanFilter, Schedule, ScheduleFilter, ScheduleState, Session, SnapfsConsumer, SnapfsIngest,
    SnapfsMachine, SnapfsMessages, SnapfsScan, SnapfsScope, SnapfsToken, SortKey, StepScope, Store, StoreError, Told,
    ToldTotals, Tried, User, Webhook,
};
use crate::clock;

/// The embedded store. Closed by [`SqliteStore::close`], else when dropped.
pub struct SqliteStore {
    pool: Arc<pool::Pool>,
    dir: PathBuf,
    staging: staging::Staging,
    indexer: index::Indexer,
    selections: Arc<duplicates::Selections>,
    comparisons: Arc<changes::Comparisons>,
    published: watch::Sender<()>,
}

/// How long a question about duplicates waits for the background work on what was committed just before.
const SETTLING: Duration = Duration::from_secs(5);

impl SqliteStore {
    /// Opens `hostler.db` in `dir`, or makes it, ends the scans that an earlier run left running and takes up the removals
    /// that it did not finish.
    pub async fn open(dir: &Path, at: Timestamp) -> Result<Self> {
        let pool = Arc::new(pool::Pool::open(&dir.join("hostler.db"))?);
        let data = dir.to_owned();
        pool.write(move |db| {
            backup::put_files_back(db, &data)?;
            scans::end_interrupted(db, at)
        })
        .await?;
        let selections = Arc::<duplicates::Selections>::default();
        let store = Self {
            indexer: index::Indexer::start(pool.clone(), selections.clone()),
            staging: staging::Staging::open(dir)?,
            comparisons: Arc::default(),
            published: watch::Sender::new(()),
            dir: dir.to_owned(),
            selections,
            pool,
        };
        store.take_up_removals().await?;
        Ok(store)
    }

    /// Finishes the writes that wait and closes the file. Later calls fail with `Closed`.
    pub fn close(&self) {
        self.pool.close();
    }

    /// Removes what is left of a host. A task of its own: a caller that goes away does not stop it.
    fn remove(&self, host: i64) -> Removal {
        let (pool, wake) = (self.pool.clone(), self.indexer.waker());
        tokio::spawn(async move {
            while !pool.write(move |db| hosts::continue_removal(db, host)).await? {}
            wake.wake();
            Ok(())
        })
    }

    async fn take_up_removals(&self) -> Result<()> {
        for host in self.pool.read(hosts::unfinished_removals).await? {
            self.remove(host);
        }
        Ok(())
    }

    /// Drops a scan's staged differences, off the threads that answer.
    async fn unstage(&self, id: ScanId) {
        let staging = self.staging.clone();
        // A panic there was reported when it happened; the next start drops the file.
        let _ = tokio::task::spawn_blocking(move || staging.remove(id)).await;
    }
}

/// When somebody was here last matters less than that they get in: a full disk stops what writes, and nobody else.
fn unless_full(noted: Result<()>) -> Result<()> {
    match noted {
        Err(StoreError::Full) => Ok(()),
        other => other,
    }
}

#[async_trait]
impl Store for SqliteStore {
    async fn register_host(&self, id: HostId, name: &str, public_key: [u8; 32], at: Timestamp) -> Result<()> {
        let name = name.to_owned();
        self.pool.write(move |db| hosts::register(db, id, &name, public_key, at)).await
    }
    async fn host_key(&self, id: HostId) -> Result<Option<[u8; 32]>> {
        self.pool.read(move |db| hosts::key(db, id)).await
    }
    async fn hosts(&self) -> Result<Vec<Host>> {
        self.pool.read(hosts::all).await
    }
    async fn hosts_page(&self, query: HostQuery, linked: LinkedNow) -> Result<(Vec<HostRow>, HostCounts)> {
        self.pool.read(move |db| hosts_page::page(db, &query, &linked)).await
    }
    async fn host(&self, id: HostId) -> Result<Host> {
        self.pool.read(move |db| hosts::one(db, id)).await
    }
    async fn admit_link(&self, id: HostId, agent_knows: u64, asserted_at: Timestamp) -> Result<LinkAdmission> {
        self.pool.write(move |db| hosts::admit_link(db, id, agent_knows, asserted_at)).await
    }
    async fn keep_proofs(&self, proofs: Vec<HostProof>) -> Result<()> {
        self.pool.write(move |db| hosts::keep_proofs(db, &proofs)).await
    }
    async fn remove_host(&self, id: HostId) -> Result<Removal> {
        let number = self.pool.write(move |db| hosts::begin_removal(db, id)).await?;
        Ok(self.remove(number))
    }

    async fn create_join_token(&self, token: JoinTokenRecord, secret_hash: [u8; 32]) -> Result<()> {
        self.pool.write(move |db| join::create(db, &token, secret_hash)).await
    }
    async fn join_tokens(&self) -> Result<Vec<JoinTokenRecord>> {
        self.pool.read(join::list).await
    }
    async fn revoke_join_token(&self, id: JoinTokenId, at: Timestamp) -> Result<()> {
        self.pool.write(move |db| join::revoke(db, id, at)).await
    }
    async fn join(
        &self,
        secret_hash: [u8; 32],
        host: HostId,
        name: &str,
        public_key: [u8; 32],
        at: Timestamp,
    ) -> Result<JoinOutcome> {
        let name = name.to_owned();
        self.pool.write(move |db| join::join(db, secret_hash, host, &name, public_key, at)).await
    }

    async fn create_scan(&self, scan: Scan) -> Result<()> {
        self.pool.write(move |db| scans::create(db, &scan)).await
    }
    async fn scan(&self, id: ScanId) -> Result<Scan> {
        self.pool.read(move |db| scans::one(db, id)).await
    }
    async fn scans(&self, filter: ScanFilter, page: PageRequest) -> Result<Page<Scan>> {
        self.pool.read(move |db| scans::list(db, &filter, &page)).await
    }
    async fn scan_started(&self, id: ScanId, root: ByteStr, first: bool, at: Timestamp) -> Result<()> {
        self.pool.write(move |db| scans::started(db, id, &root, first, at)).await
    }
    async fn scan_ended(
        &self,
        id: ScanId,
        state: ScanState,
        error: Option<String>,
        counters: ScanCounters,
        at: Timestamp,
    ) -> Result<()> {
        self.pool.write(move |db| scans::ended(db, id, state, error.as_deref(), &counters, at)).await?;
        self.unstage(id).await;
        Ok(())
    }
    async fn add_scan_errors(&self, id: ScanId, errors: Vec<ScanError>) -> Result<()> {
        self.pool.write(move |db| scans::add_errors(db, id, &errors)).await
    }
    async fn scan_errors(&self, id: ScanId, page: PageRequest) -> Result<Page<ScanError>> {
        self.pool.read(move |db| scans::errors(db, id, &page)).await
    }
    async fn scan_changes(&self, id: ScanId, page: PageRequest) -> Result<Page<Change>> {
        self.pool.read(move |db| scans::changes(db, id, &page)).await
    }

    async fn compare(&self, query: CompareQuery, page: PageRequest) -> Result<Comparison> {
        let known = self.comparisons.clone();
        self.pool.read(move |db| changes::compare(db, &known, &query, &page)).await
    }
    async fn growth(&self, query: GrowthQuery) -> Result<Growth> {
        self.pool.read(move |db| growth::growth(db, &query)).await
    }

    async fn stage(&self, id: ScanId, ops: Vec<IndexOp>) -> Result<()> {
        let staging = self.staging.clone();
        tokio::task::spawn_blocking(move || staging.append(id, &ops)).await.map_err(|_| StoreError::Closed)?
    }
    async fn commit_index(&self, commit: IndexCommit) -> Result<()> {
        let (scan, told) = (commit.scan, commit.told);
        match told {
            Told::Staged => {
                let staging = self.staging.clone();
                self.pool
                    .write(move |db| index::commit(db, &commit, |index| index.batches(staging.read(scan)?)))
                    .await?;
                self.unstage(scan).await;
            }
            Told::Files(number) => {
                self.pool.write(move |db| snapfs::told::commit(db, &commit, number)).await?;
            }
        }
        self.indexer.wake();
        Ok(())
    }
    async fn generation(&self, host: HostId, root: &ByteStr) -> Result<u64> {
        let root = root.clone();
        self.pool.read(move |db| browse::generation(db, host, &root)).await
    }
    async fn roots(&self, host: Option<HostId>) -> Result<Vec<Root>> {
        self.pool.read(move |db| browse::roots(db, host)).await
    }
    async fn list_dir(
        &self,
        host: HostId,
        path: &ByteStr,
        sort: SortKey,
        descending: bool,
        page: PageRequest,
    ) -> Result<Listing> {
        let path = path.clone();
        self.pool.read(move |db| browse::list_dir(db, host, &path, sort, descending, &page)).await
    }
    async fn stat(&self, host: HostId, path: &ByteStr) -> Result<IndexedEntry> {
        let path = path.clone();
        self.pool.read(move |db| browse::stat(db, host, &path)).await
    }
    async fn find(&self, query: FindQuery, page: PageRequest) -> Result<Page<IndexedEntry>> {
        self.pool.read(move |db| find::find(db, &query, &page)).await
    }
    async fn duplicates(&self, query: DuplicateQuery, page: PageRequest) -> Result<Page<DuplicateGroup>> {
        self.indexer.settled(SETTLING).await;
        let selections = self.selections.clone();
        self.pool.read(move |db| duplicates::groups(db, &selections, &query, &page)).await
    }
    async fn duplicate_totals(&self, query: DuplicateQuery) -> Result<DuplicateTotals> {
        self.indexer.settled(SETTLING).await;
        let selections = self.selections.clone();
        self.pool.read(move |db| duplicates::totals(db, &selections, &query)).await
    }
    async fn duplicate_files(&self, query: DuplicateQuery, page: PageRequest) -> Result<Page<DuplicateFiles>> {
        self.indexer.settled(SETTLING).await;
        let selections = self.selections.clone();
        self.pool.read(move |db| duplicates::files(db, &selections, &query, &page)).await
    }

    async fn create_user(&self, user: User, password_hash: String) -> Result<()> {
        self.pool.write(move |db| users::create(db, &user, &password_hash)).await
    }
    async fn users(&self) -> Result<Vec<User>> {
        self.pool.read(users::all).await
    }
    async fn user_by_name(&self, name: &str) -> Result<Option<(User, String)>> {
        let name = name.to_owned();
        self.pool.read(move |db| users::by_name(db, &name)).await
    }
    async fn set_user_role(&self, id: UserId, role: Role) -> Result<()> {
        self.pool.write(move |db| users::set_role(db, id, role)).await
    }
    async fn set_user_password(&self, id: UserId, password_hash: String) -> Result<()> {
        self.pool.write(move |db| users::set_password(db, id, &password_hash)).await
    }
    async fn delete_user(&self, id: UserId) -> Result<()> {
        self.pool.write(move |db| users::delete(db, id)).await
    }

    async fn create_api_key(&self, key: ApiKey, key_hash: [u8; 32]) -> Result<()> {
        self.pool.write(move |db| identity::create_key(db, &key, key_hash)).await
    }
    async fn api_keys(&self) -> Result<Vec<ApiKey>> {
        self.pool.read(identity::keys).await
    }
    async fn use_api_key(&self, key_hash: [u8; 32], at: Timestamp) -> Result<Option<ApiKey>> {
        let key = self.pool.read(move |db| identity::key_by_hash(db, key_hash, at)).await?;
        if let Some(key) = &key
            && key.last_used_at.is_none_or(|used| at.seconds_since(used) >= identity::USE_RESOLUTION_SECONDS)
        {
            let id = key.id;
            unless_full(self.pool.write(move |db| identity::key_used(db, id, at)).await)?;
        }
        Ok(key)
    }
    async fn revoke_api_key(&self, id: ApiKeyId) -> Result<()> {
        self.pool.write(move |db| identity::revoke_key(db, id)).await
    }
    async fn create_sign_in_link(&self, token_hash: [u8; 32], role: Role, expires_at: Timestamp) -> Result<()> {
        self.pool.write(move |db| identity::create_link(db, token_hash, role, expires_at)).await
    }
    async fn use_sign_in_link(&self, token_hash: [u8; 32], at: Timestamp) -> Result<Option<Role>> {
        self.pool.write(move |db| identity::use_link(db, token_hash, at)).await
    }
    async fn create_session(&self, token_hash: [u8; 32], session: Session) -> Result<()> {
        self.pool.write(move |db| identity::create_session(db, token_hash, &session)).await
    }
    async fn session(&self, token_hash: [u8; 32], at: Timestamp) -> Result<Option<Session>> {
        let session = self.pool.read(move |db| identity::session(db, token_hash, at)).await?;
        if let Some(session) = &session
            && at.seconds_since(session.last_seen_at) >= identity::USE_RESOLUTION_SECONDS
        {
            let id = session.id;
            unless_full(self.pool.write(move |db| identity::session_seen(db, id, at)).await)?;
        }
        Ok(session)
    }
    async fn sessions(&self, at: Timestamp) -> Result<Vec<Session>> {
        self.pool.read(move |db| identity::sessions(db, at)).await
    }
    async fn end_session(&self, token_hash: [u8; 32]) -> Result<()> {
        self.pool.write(move |db| identity::end_session(db, token_hash)).await
    }
    async fn end_session_by_id(&self, id: SessionId) -> Result<()> {
        self.pool.write(move |db| identity::end_session_by_id(db, id)).await
    }
    async fn end_sessions_of(&self, user: UserId, except: Option<SessionId>) -> Result<u64> {
        self.pool.write(move |db| identity::end_sessions_of(db, user, except)).await
    }

    async fn append_audit(&self, entry: AuditEntry) -> Result<()> {
        self.pool.write(move |db| audit::append(db, &entry)).await
    }
    async fn audit(&self, filter: AuditFilter, page: PageRequest) -> Result<Page<AuditEntry>> {
        self.pool.read(move |db| audit::list(db, &filter, &page)).await
    }
    async fn append_host_events(
        &self,
        host: HostId,
        journal: [u8; 16],
        records: Vec<HostEventRecord>,
        through: u64,
    ) -> Result<AppendedEvents> {
        let at = clock::now();
        self.pool.write(move |db| activity::append_host_events(db, host, journal, records, through, at)).await
    }
    async fn journal_position(&self, host: HostId) -> Result<Option<([u8; 16], u64)>> {
        self.pool.read(move |db| activity::position(db, host)).await
    }
    async fn append_gateway_event(&self, event: NewEvent) -> Result<ActivityEvent> {
        let at = clock::now();
        self.pool.write(move |db| activity::append_gateway_event(db, event, at)).await
    }
    async fn activity(&self, filter: ActivityFilter, page: PageRequest) -> Result<Page<ActivityEvent>> {
        self.pool.read(move |db| activity::list(db, &filter, &page)).await
    }

    async fn backup_to(&self, path: &Path) -> Result<()> {
        let (path, dir) = (path.to_owned(), self.dir.clone());
        self.pool.read(move |db| backup::copy_out(db, &dir, &path)).await
    }
    async fn restore_from(&self, path: &Path, at: Timestamp) -> Result<()> {
        let (path, scratch, dir) = (path.to_owned(), self.dir.clone(), self.dir.clone());
        // Off the writer: checking a large file takes its time.
        let backup = tokio::task::spawn_blocking(move || backup::open_checked(&path, &scratch))
            .await
            .map_err(|_| StoreError::Closed)??;
        self.pool.write_alone(move |live| backup::copy_in(live, &dir, &backup, at)).await?;
        self.staging.clear();
        self.comparisons.forget();
        self.indexer.wake();
        self.take_up_removals().await
    }

    async fn create_schedule(&self, schedule: Schedule) -> Result<()> {
        self.pool.write(move |db| schedules::create(db, &schedule)).await
    }
    async fn schedule(&self, id: ScheduleId) -> Result<Schedule> {
        self.pool.read(move |db| schedules::one(db, id)).await
    }
    async fn schedules(&self, filter: ScheduleFilter, page: PageRequest) -> Result<Page<Schedule>> {
        self.pool.read(move |db| schedules::list(db, &filter, &page)).await
    }
    async fn change_schedule(&self, schedule: Schedule) -> Result<()> {
        self.pool.write(move |db| schedules::change(db, &schedule)).await
    }
    async fn delete_schedule(&self, id: ScheduleId) -> Result<()> {
        self.pool.write(move |db| schedules::delete(db, id)).await
    }
    async fn schedules_to_step(&self, now: Timestamp, scope: StepScope) -> Result<Vec<Schedule>> {
        self.pool.read(move |db| schedules::to_step(db, now, scope)).await
    }
    async fn schedule_stepped(
        &self,
        id: ScheduleId,
        revision: u64,
        state: ScheduleState,
        missed: Option<String>,
    ) -> Result<bool> {
        self.pool.write(move |db| schedules::stepped(db, id, revision, &state, missed.as_deref())).await
    }

    async fn create_webhook(&self, webhook: Webhook) -> Result<()> {
        self.pool.write(move |db| webhooks::create(db, &webhook)).await
    }
    async fn webhooks(&self) -> Result<Vec<Webhook>> {
        self.pool.read(webhooks::all).await
    }
    async fn webhook(&self, id: WebhookId) -> Result<Webhook> {
        self.pool.read(move |db| webhooks::one(db, id)).await
    }
    async fn change_webhook(&self, webhook: Webhook) -> Result<()> {
        self.pool.write(move |db| webhooks::change(db, &webhook)).await
    }
    async fn delete_webhook(&self, id: WebhookId) -> Result<()> {
        self.pool.write(move |db| webhooks::delete(db, id)).await
    }
    async fn happened(&self) -> Result<Vec<Happened>> {
        self.pool.read(webhooks::happened).await
    }
    async fn enqueue_deliveries(&self, happened: Option<i64>, deliveries: Vec<Delivery>) -> Result<()> {
        self.pool.write(move |db| webhooks::enqueue(db, happened, &deliveries)).await
    }
    async fn next_delivery(&self, webhook: WebhookId) -> Result<Option<Delivery>> {
        self.pool.read(move |db| webhooks::next(db, webhook)).await
    }
    async fn delivery_tried(&self, tried: Tried) -> Result<()> {
        self.pool.write(move |db| webhooks::tried(db, &tried)).await
    }
    async fn deliveries(&self, webhook: WebhookId, page: PageRequest) -> Result<Page<Delivery>> {
        self.pool.read(move |db| webhooks::deliveries(db, webhook, &page)).await
    }
    async fn redeliver(&self, webhook: WebhookId, id: DeliveryId, at: Timestamp) -> Result<Delivery> {
        self.pool.write(move |db| webhooks::redeliver(db, webhook, id, at)).await
    }

    async fn snapfs_host(&self, machine: SnapfsMachine, name: &str, at: Timestamp) -> Result<Host> {
        let name = name.to_owned();
        self.pool.write(move |db| snapfs::machines::host(db, &machine, &name, at)).await
    }
    async fn begin_snapfs_scan(&self, id: ScanId, scope: &str, wire_id: &str) -> Result<i64> {
        let (scope, wire_id) = (scope.to_owned(), wire_id.to_owned());
        self.pool.write(move |db| snapfs::scans::begin(db, id, &scope, &wire_id)).await
    }
    async fn name_snapfs_scan(&self, number: i64, scope: &str, wire_id: &str) -> Result<()> {
        let (scope, wire_id) = (scope.to_owned(), wire_id.to_owned());
        self.pool.write(move |db| snapfs::scans::name(db, number, &scope, &wire_id)).await
    }
    async fn snapfs_scan(&self, scope: &str, wire_id: &str) -> Result<Option<SnapfsScan>> {
        let (scope, wire_id) = (scope.to_owned(), wire_id.to_owned());
        self.pool.read(move |db| snapfs::scans::by_wire_id(db, &scope, &wire_id)).await
    }
    async fn open_snapfs_scans(&self) -> Result<Vec<SnapfsScan>> {
        self.pool.read(snapfs::scans::open).await
    }
    async fn told_files(&self, number: i64) -> Result<ToldTotals> {
        self.pool.read(move |db| snapfs::told::count(db, number)).await
    }
    async fn snapfs_ingest(&self, ingest: SnapfsIngest) -> Result<()> {
        self.pool.write(move |db| snapfs::ingest(db, &ingest)).await?;
        self.published.send_replace(());
        Ok(())
    }
    async fn snapfs_probe(&self, scope: &str, keys: Vec<CacheKey>) -> Result<Vec<Option<(Algorithm, ContentHash)>>> {
        let scope = scope.to_owned();
        self.pool.read(move |db| snapfs::cache::probe(db, &scope, &keys)).await
    }
    fn snapfs_published(&self) -> watch::Receiver<()> {
        self.published.subscribe()
    }
    async fn open_snapfs_consumer(&self, durable: Durable, at: Timestamp) -> Result<()> {
        self.pool.write(move |db| snapfs::stream::open(db, &durable, at)).await
    }
    async fn snapfs_next(&self, durable: Durable, messages: u32, bytes: u64) -> Result<SnapfsMessages> {
        self.pool.read(move |db| snapfs::stream::next(db, &durable, messages, bytes)).await
    }
    async fn snapfs_ack(&self, durable: Durable, through: u64, at: Timestamp) -> Result<()> {
        self.pool.write(move |db| snapfs::stream::ack(db, &durable, through, at)).await
    }
    async fn snapfs_consumers(&self) -> Result<Vec<SnapfsConsumer>> {
        self.pool.read(snapfs::stream::consumers).await
    }
    async fn forget_snapfs_consumer(&self, durable: Durable) -> Result<()> {
        self.pool.write(move |db| snapfs::stream::forget(db, &durable)).await?;
        self.published.send_replace(());
        Ok(())
    }
    async fn create_snapfs_token(&self, token: SnapfsToken, token_hash: [u8; 32]) -> Result<()> {
        self.pool.write(move |db| snapfs::tokens::create(db, token_hash, &token)).await
    }
    async fn use_snapfs_token(
        &self,
        token_hash: [u8; 32],
        at: Timestamp,
    ) -> Result<Option<(ApiKey, Vec<SnapfsScope>)>> {
        let found = self.pool.read(move |db| snapfs::tokens::by_hash(db, token_hash, at)).await?;
        let Some((key, scopes, renew)) = found else { return Ok(None) };
        if renew {
            unless_full(self.pool.write(move |db| snapfs::tokens::renew(db, token_hash, at)).await)?;
        }
        Ok(Some((key, scopes)))
    }
}
