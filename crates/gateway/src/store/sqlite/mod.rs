//! The embedded store: one SQLite file, one writer.

mod apply;
mod browse;
mod cursor;
mod duplicates;
mod find;
mod hosts;
mod identity;
mod names;
mod pool;
mod rows;
mod scans;
mod schema;

use std::path::Path;

use async_trait::async_trait;
use hostler_model::{ApiKeyId, ByteStr, HostId, IndexOp, Role, ScanCounters, ScanId, ScanState, Timestamp};

use super::{
    ApiKey, Capability, Change, DuplicateGroup, DuplicateQuery, DuplicateTotals, FindQuery, Host, HostFacts,
    IndexCommit, IndexedEntry, Listing, Page, PageRequest, Result, Root, Scan, ScanError, ScanFilter, Session, SortKey,
    Store,
};

/// The embedded store. Closed by [`SqliteStore::close`], else when dropped.
pub struct SqliteStore {
    pool: pool::Pool,
}

impl SqliteStore {
    /// Opens `hostler.db` in `dir`, or makes it, and ends the scans that an earlier run left running.
    pub async fn open(dir: &Path, at: Timestamp) -> Result<Self> {
        let pool = pool::Pool::open(&dir.join("hostler.db"))?;
        pool.write(move |db| scans::end_interrupted(db, at)).await?;
        Ok(Self { pool })
    }

    /// Finishes the writes that wait and closes the file. Later calls fail with `Closed`.
    pub fn close(&self) {
        self.pool.close();
    }
}

#[async_trait]
impl Store for SqliteStore {
    async fn register_host(&self, id: HostId, name: &str, token_hash: [u8; 32], at: Timestamp) -> Result<()> {
        let name = name.to_owned();
        self.pool.write(move |db| hosts::register(db, id, &name, token_hash, at)).await
    }
    async fn host_by_token(&self, token_hash: [u8; 32]) -> Result<Option<HostId>> {
        self.pool.read(move |db| hosts::by_token(db, token_hash)).await
    }
    async fn hosts(&self) -> Result<Vec<Host>> {
        self.pool.read(hosts::all).await
    }
    async fn host(&self, id: HostId) -> Result<Host> {
        self.pool.read(move |db| hosts::one(db, id)).await
    }
    async fn next_generation(&self, id: HostId, agent_knows: u64) -> Result<u64> {
        self.pool.write(move |db| hosts::next_generation(db, id, agent_knows)).await
    }
    async fn host_proved(&self, id: HostId, at: Timestamp) -> Result<()> {
        self.pool.write(move |db| hosts::proved(db, id, at)).await
    }
    async fn host_described(&self, id: HostId, facts: HostFacts, capabilities: Vec<Capability>) -> Result<()> {
        self.pool.write(move |db| hosts::described(db, id, &facts, &capabilities)).await
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

    async fn create_api_key(&self, key: ApiKey, key_hash: [u8; 32]) -> Result<()> {
        self.pool.write(move |db| identity::create_key(db, &key, key_hash)).await
    }
    async fn api_keys(&self) -> Result<Vec<ApiKey>> {
        self.pool.read(identity::keys).await
    }
    async fn use_api_key(&self, key_hash: [u8; 32], at: Timestamp) -> Result<Option<ApiKey>> {
        let key = self.pool.read(move |db| identity::key_by_hash(db, key_hash)).await?;
        if let Some(key) = &key
            && key.last_used_at.is_none_or(|used| at.seconds_since(used) >= identity::KEY_USE_RESOLUTION_SECONDS)
        {
            let id = key.id;
            self.pool.write(move |db| identity::key_used(db, id, at)).await?;
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
        self.pool.read(move |db| identity::session(db, token_hash, at)).await
    }
    async fn end_session(&self, token_hash: [u8; 32]) -> Result<()> {
        self.pool.write(move |db| identity::end_session(db, token_hash)).await
    }
}
