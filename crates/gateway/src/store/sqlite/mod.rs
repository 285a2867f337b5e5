//! The embedded store: one SQLite file, one writer.

mod activity;
mod apply;
mod audit;
mod backup;
mod browse;
mod cursor;
mod duplicates;
mod find;
mod hosts;
mod hosts_page;
mod identity;
mod join;
mod names;
mod pool;
mod rows;
mod scans;
mod schema;
mod users;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use hostler_model::{
    ApiKeyId, ByteStr, HostId, IndexOp, JoinTokenId, Role, ScanCounters, ScanId, ScanState, SessionId, Timestamp,
    UserId,
};

use super::{
    ActivityEvent, ActivityFilter, ApiKey, AppendedEvents, AuditEntry, AuditFilter, Change, DuplicateGroup,
    DuplicateQuery, DuplicateTotals, FindQuery, Host, HostCounts, HostEventRecord, HostProof, HostQuery, HostRow,
    IndexCommit, IndexedEntry, JoinOutcome, JoinTokenRecord, LinkAdmission, LinkedNow, Listing, NewEvent, Page,
    PageRequest, Removal, Result, Root, Scan, ScanError, ScanFilter, Session, SortKey, Store, StoreError, User,
};
use crate::clock;

/// The embedded store. Closed by [`SqliteStore::close`], else when dropped.
pub struct SqliteStore {
    pool: Arc<pool::Pool>,
    dir: PathBuf,
}

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
        take_up_removals(&pool).await?;
        Ok(Self { pool, dir: dir.to_owned() })
    }

    /// Finishes the writes that wait and closes the file. Later calls fail with `Closed`.
    pub fn close(&self) {
        self.pool.close();
    }
}

/// When somebody was here last matters less than that they get in: a full disk stops what writes, and nobody else.
fn unless_full(noted: Result<()>) -> Result<()> {
    match noted {
        Err(StoreError::Full) => Ok(()),
        other => other,
    }
}

/// Removes what is left of a host. A task of its own: a caller that goes away does not stop it.
fn remove(pool: Arc<pool::Pool>, host: i64) -> Removal {
    tokio::spawn(async move {
        while !pool.write(move |db| hosts::continue_removal(db, host)).await? {}
        Ok(())
    })
}

async fn take_up_removals(pool: &Arc<pool::Pool>) -> Result<()> {
    for host in pool.read(hosts::unfinished_removals).await? {
        remove(pool.clone(), host);
    }
    Ok(())
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
        Ok(remove(self.pool.clone(), number))
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
        self.pool.write(move |db| scans::ended(db, id, state, error.as_deref(), &counters, at)).await
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

    async fn stage(&self, id: ScanId, ops: Vec<IndexOp>) -> Result<()> {
        self.pool.write(move |db| apply::stage(db, id, &ops)).await
    }
    async fn commit_index(&self, commit: IndexCommit) -> Result<()> {
        self.pool.write(move |db| apply::commit(db, &commit)).await
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
        self.pool.read(move |db| duplicates::groups(db, &query, &page)).await
    }
    async fn duplicate_totals(&self, query: DuplicateQuery) -> Result<DuplicateTotals> {
        self.pool.read(move |db| duplicates::totals(db, &query)).await
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
        take_up_removals(&self.pool).await
    }
}
