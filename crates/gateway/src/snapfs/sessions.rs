//! What clients tell of their scans, put where it belongs: files to their scan, scans among the others.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hostler_model::{Algorithm, ByteStr, ContentHash, Entry, EntryKind, HostId, ScanId, ScanOptions, ScanState};
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

use super::agents::{Agent, Agents, Generation};
use super::cache_key::{self, cached};
use super::events::{Event, ScanEvent, Sent, Upsert};
use super::places;
use super::session::{End, Known, Session, Sessions};
use crate::clock;
use crate::scans::Scans;
use crate::store::{
    Owner, Scan, ScanError, SnapfsIngest, SnapfsMachine, SnapfsScan, Store, StoreError, ToldFile, UNKNOWN_OWNER,
};

/// Longest id of a scan, bytes.
const MAX_WIRE_ID: usize = 256;
/// Longest path that is indexed, bytes; consumers get longer ones too.
const MAX_PATH: usize = 32 << 10;
/// Directories in it.
const MAX_DEPTH: usize = 512;
/// Scans of clients that are followed at the same time.
const MAX_UNDER_WAY: usize = 2000;
/// Errors of one call that are kept.
const MAX_ERRORS: usize = 1000;
/// Files that come after their scan's end are committed when none came for this long.
const LATE: Duration = Duration::from_secs(2);

/// One call of a client, read.
pub struct Call {
    /// See [`SnapfsIngest::scope`].
    pub scope: String,
    /// Where it comes from.
    pub address: Option<IpAddr>,
    /// Whose it is, for people.
    pub who: String,
    /// Where it is published.
    pub subject: String,
    /// What is published.
    pub message: Vec<u8>,
    /// Its events in their order.
    pub events: Vec<Event>,
}

/// The edge for SnapFS clients. Cheap to clone.
#[derive(Clone)]
pub struct Snapfs(Arc<Inner>);

struct Inner {
    store: Arc<dyn Store>,
    scans: Scans,
    agents: Agents,
    sessions: Sessions,
    /// Held while a scan that nobody knows becomes known: two calls must not make two of it.
    adopting: Mutex<()>,
}

/// What a call adds up to.
#[derive(Default)]
struct Gathered {
    files: Vec<(Arc<Session>, Vec<ToldFile>)>,
    errors: Vec<(Arc<Session>, Vec<ScanError>)>,
    owners: Vec<(HostId, Owner)>,
    algorithm: Option<Algorithm>,
    ends: Vec<(Arc<Session>, ScanEvent, End)>,
}

impl Gathered {
    fn file(&mut self, session: &Arc<Session>, file: ToldFile) {
        match self.files.last_mut().filter(|(s, _)| Arc::ptr_eq(s, session)) {
            Some((_, files)) => files.push(file),
            None => self.files.push((session.clone(), vec![file])),
        }
    }

    fn error(&mut self, session: &Arc<Session>, error: ScanError) {
        match self.errors.last_mut().filter(|(s, _)| Arc::ptr_eq(s, session)) {
            Some((_, errors)) if errors.len() >= MAX_ERRORS => {}
            Some((_, errors)) => errors.push(error),
            None => self.errors.push((session.clone(), vec![error])),
        }
    }
}

impl Snapfs {
    /// The edge over these.
    pub fn new(store: Arc<dyn Store>, scans: Scans, agents: Agents, sessions: Sessions) -> Self {
        Self(Arc::new(Inner { store, scans, agents, sessions, adopting: Mutex::default() }))
    }

    /// The agents with a socket open.
    pub fn agents(&self) -> &Agents {
        &self.0.agents
    }

    /// The scans that are remembered.
    pub fn sessions(&self) -> &Sessions {
        &self.0.sessions
    }

    /// The host was removed: its agent's socket and its scans end. A client that goes on is another host from now on.
    pub fn forget(&self, host: HostId) {
        self.0.agents.close(host);
        self.0.sessions.forget(host);
    }

    /// The store was replaced: agents introduce themselves again, and scans under way are not those of the store.
    pub fn forget_all(&self) {
        for agent in self.0.agents.all() {
            agent.close.cancel();
            self.0.sessions.forget(agent.host);
        }
        for session in self.0.sessions.which(|_| true) {
            self.0.sessions.forget(session.host);
        }
    }

    /// Follows again what went on while the gateway was away. Before any client is answered: what it tells must meet its scan.
    pub async fn resume(&self) {
        if let Err(error) = self.0.resume().await {
            tracing::error!(%error, "scans of SnapFS clients that were under way are not followed");
        }
    }

    /// Commits what comes late, until `stopping`.
    pub async fn run(&self, stopping: CancellationToken) {
        let mut tick = tokio::time::interval(Duration::from_secs(1));
        while stopping.run_until_cancelled(tick.tick()).await.is_some() {
            self.0.commit_late().await;
        }
    }

    /// Takes one call of a client: returns when it is durable.
    pub async fn ingest(&self, call: Call) -> Result<(), StoreError> {
        let Call { scope, address, who, subject, message, events } = call;
        let caller = Caller { scope: &scope, address, who: &who };
        let mut gathered = Gathered::default();
        let mut hashes = Vec::new();
        let mut last: Option<(Option<ByteStr>, Arc<Session>, ByteStr)> = None;
        for event in events {
            match event {
                Event::Upsert(upsert, sent) => {
                    let session = match &last {
                        Some((id, session, _)) if *id == upsert.scan_id => session.clone(),
                        _ => self.0.session_of_file(&caller, &upsert).await?,
                    };
                    if last.as_ref().is_none_or(|(id, ..)| *id != upsert.scan_id) {
                        let root = session.get(|known| known.root.clone());
                        last = Some((upsert.scan_id.clone(), session.clone(), root));
                    }
                    let cached = cached(&upsert);
                    let hash = cached.as_ref().map(|cached| cached.hash);
                    hashes.extend(cached);
                    if let Some((_, session, root)) = &last {
                        gather_file(&mut gathered, session, root, &upsert, hash, &sent);
                    }
                }
                Event::Started(event) => {
                    let session = self.0.session_of_scan(&caller, &event).await?;
                    let algorithm = algorithm(&event);
                    gathered.algorithm = algorithm.or(gathered.algorithm);
                    let root = event.root_path.as_ref().map(places::root);
                    last = None;
                    session.heard(|known| {
                        known.started = true;
                        known.algorithm = algorithm.or(known.algorithm);
                        known.root = root.unwrap_or_else(|| known.root.clone());
                    });
                }
                Event::Telemetry(event) => {
                    if let Some(session) = self.0.known_session(&caller, &event).await? {
                        session.heard(|known| {
                            known.telemetry = true;
                            count(known, &event);
                        });
                    }
                }
                Event::Error(event) => {
                    if let Some(session) = self.0.known_session(&caller, &event).await? {
                        let root = session.get(|known| known.root.clone());
                        gathered.error(&session, scan_error(&event, &root));
                    }
                }
                Event::Completed(event) => {
                    let whole = event.authoritative_for_deletes.unwrap_or(false)
                        && [event.walk_errors, event.permission_errors].iter().all(|n| n.unsigned().unwrap_or(0) == 0);
                    // Upstream counts each file that it was to tell of once, whether the call was taken or not.
                    let sent = [event.cache_hits, event.hashed, event.hash_errors]
                        .iter()
                        .filter_map(|n| n.unsigned())
                        .fold(0, u64::saturating_add);
                    let end = End::Completed { seen: event.files_seen.unsigned(), sent, authoritative: whole };
                    self.0.ends(&caller, &mut gathered, event, end).await?;
                }
                Event::Failed(event) => {
                    let why = event.error.as_ref().map_or_else(|| "the client did not say why".to_owned(), words);
                    self.0.ends(&caller, &mut gathered, event, End::Failed(why)).await?;
                }
                Event::Cancelled(event) => self.0.ends(&caller, &mut gathered, event, End::Cancelled).await?,
                Event::Unreadable(why) => {
                    tracing::warn!(client = %who, %why, "an event was published and not indexed");
                    if let Some((_, session, _)) = &last {
                        let error = ScanError { path: ByteStr::default(), operation: "event".into(), message: why };
                        gathered.error(session, error);
                    }
                }
                Event::Unknown => {}
            }
        }
        let Gathered { files, errors, owners, algorithm, ends } = gathered;
        let counts: Vec<(Arc<Session>, u64, u64)> = files
            .iter()
            .map(|(session, files)| {
                (session.clone(), files.len() as u64, files.iter().map(|f| f.entry.size).fold(0, u64::saturating_add))
            })
            .collect();
        let files = files.into_iter().map(|(session, files)| (session.number, files)).collect();
        let at = clock::now();
        self.0
            .store
            .snapfs_ingest(SnapfsIngest { scope, at, subject, message, hashes, algorithm, files, owners })
            .await?;
        for (session, files, bytes) in counts {
            session.heard(|known| {
                known.started = true;
                known.counters.files += files;
                known.counters.bytes = known.counters.bytes.saturating_add(bytes);
                if known.end.is_some() {
                    known.late = Some(Instant::now());
                }
            });
        }
        for (session, errors) in errors {
            self.0.store.add_scan_errors(session.scan, errors).await?;
        }
        for (session, event, end) in ends {
            session.heard(|known| {
                known.started = true;
                count(known, &event);
            });
            session.end(end);
        }
        Ok(())
    }
}

struct Caller<'a> {
    scope: &'a str,
    address: Option<IpAddr>,
    who: &'a str,
}

impl Inner {
    async fn session_of_file(&self, caller: &Caller<'_>, upsert: &Upsert) -> Result<Arc<Session>, StoreError> {
        let event =
            ScanEvent { scan_id: upsert.scan_id.clone(), root_path: upsert.root_path.clone(), ..ScanEvent::default() };
        self.session_of_scan(caller, &event).await
    }

    /// The scan that an event speaks of; a new one when nobody knows it.
    async fn session_of_scan(&self, caller: &Caller<'_>, event: &ScanEvent) -> Result<Arc<Session>, StoreError> {
        if let Some(session) = self.known_session(caller, event).await? {
            return Ok(session);
        }
        let _alone = self.adopting.lock().await;
        match self.known_session(caller, event).await? {
            Some(session) => Ok(session),
            None => self.adopt(caller, event).await,
        }
    }

    async fn known_session(&self, caller: &Caller<'_>, event: &ScanEvent) -> Result<Option<Arc<Session>>, StoreError> {
        let wire_id = wire_id(event);
        // Our own id, given to an agent. Its socket may have come with other credentials than its calls, as long as both come
        // from one place.
        if let Some(session) = wire_id.parse::<ScanId>().ok().and_then(|id| self.sessions.of(id))
            && session.get(|known| known.wire_id == wire_id)
            && (session.get(|known| known.scope == caller.scope)
                || self.agents.of(session.host).is_some_and(|agent| is_beside(caller, &agent)))
        {
            return Ok(Some(session));
        }
        if let Some(session) = self.sessions.named(caller.scope, &wire_id) {
            let is_over = session.get(|known| known.loose && known.end.is_some());
            return Ok((!is_over).then_some(session));
        }
        let Some(kept) = self.store.snapfs_scan(caller.scope, &wire_id).await? else { return Ok(None) };
        if event.scan_id.is_none() && kept.ended {
            return Ok(None);
        }
        Ok(Some(self.remember(kept)))
    }

    /// A scan that ended a while ago, or before a restart.
    fn remember(&self, kept: SnapfsScan) -> Arc<Session> {
        let SnapfsScan { number, scan, scope, wire_id, root, host, ended, algorithm } = kept;
        let end = ended.then_some(End::Cancelled);
        let known = Known { scope, wire_id, root, algorithm, started: true, end, ..Known::default() };
        let session = Arc::new(Session::new(scan, host, number, known));
        self.sessions.add(session.clone());
        session
    }

    /// Takes in a scan that begins: the one that an agent of generation A was asked for, or one that nobody asked for.
    async fn adopt(&self, caller: &Caller<'_>, event: &ScanEvent) -> Result<Arc<Session>, StoreError> {
        let wire_id = wire_id(event);
        let root = event.root_path.as_ref().map_or_else(|| ByteStr::from("/"), places::root);
        if let Some(session) = self.awaited(caller, event, &root) {
            self.store.name_snapfs_scan(session.number, caller.scope, &wire_id).await?;
            self.sessions.rename(&session, caller.scope, wire_id);
            return Ok(session);
        }
        let under_way = |session: &Session| session.get(|known| known.end.is_none());
        if self.sessions.which(under_way).len() >= MAX_UNDER_WAY {
            return Err(StoreError::TooMany { what: "scans of SnapFS clients under way", most: MAX_UNDER_WAY as u64 });
        }
        let hostname = event.hostname.as_ref().map(words).filter(|name| !name.is_empty());
        let machine = SnapfsMachine {
            scope: caller.scope.to_owned(),
            hostname: hostname.clone(),
            agent_id: None,
            joins_only: true,
        };
        let at = clock::now();
        let host = self.store.snapfs_host(machine, hostname.as_deref().unwrap_or(caller.who), at).await?;
        let user = event.user.as_ref().map(words).filter(|user| !user.is_empty());
        let requested_by = match user {
            Some(user) => format!("{user} on {} (snapfs)", host.name),
            None => format!("{} (snapfs)", caller.who),
        };
        let options = ScanOptions { algorithm: algorithm(event).unwrap_or(Algorithm::Sha1), ..ScanOptions::default() };
        let scan = Scan::queued(host, root.clone(), options, requested_by, at);
        self.store.create_scan(scan.clone()).await?;
        let number = self.store.begin_snapfs_scan(scan.id, caller.scope, &wire_id).await?;
        let known = Known {
            scope: caller.scope.to_owned(),
            wire_id,
            root,
            algorithm: algorithm(event),
            started: true,
            loose: event.scan_id.is_none(),
            ..Known::default()
        };
        let session = Arc::new(Session::new(scan.id, scan.host, number, known));
        self.sessions.add(session.clone());
        self.scans.follow_client(scan, session.clone());
        Ok(session)
    }

    /// A job of a generation A agent that has not begun: its scan makes up its own id, so it is known by its root and by whose
    /// it is. The agent's child may have other credentials than the agent, but not another address.
    fn awaited(&self, caller: &Caller<'_>, event: &ScanEvent, root: &ByteStr) -> Option<Arc<Session>> {
        if event.trigger_type.as_ref().is_some_and(|trigger| trigger.as_bytes() != b"manual") {
            return None;
        }
        let waits = |session: &Session| {
            session
                .get(|known| known.wire_id.is_empty() && !known.started && known.end.is_none() && known.root == *root)
        };
        let ours = |session: &Session| {
            let agent = self.agents.of(session.host).filter(|agent| agent.generation == Generation::A);
            agent.is_some_and(|agent| agent.scope == caller.scope || is_beside(caller, &agent))
        };
        // The one that was asked for first.
        self.sessions.which(|session| waits(session) && ours(session)).into_iter().min_by_key(|session| session.number)
    }

    async fn ends(
        &self,
        caller: &Caller<'_>,
        gathered: &mut Gathered,
        event: Box<ScanEvent>,
        end: End,
    ) -> Result<(), StoreError> {
        // The end of a scan of which nothing else came is the end of nothing, unless it completed.
        let session = match end {
            End::Completed { .. } => Some(self.session_of_scan(caller, &event).await?),
            _ => self.known_session(caller, &event).await?,
        };
        gathered.ends.extend(session.map(|session| (session, *event, end)));
        Ok(())
    }

    async fn resume(&self) -> Result<(), StoreError> {
        for kept in self.store.open_snapfs_scans().await? {
            let (id, ended) = (kept.scan, kept.ended);
            if self.sessions.of(id).is_some() {
                continue;
            }
            let scan = self.store.scan(id).await?;
            if !ended && scan.started_at.is_none() {
                let error = "the gateway was stopped before this scan began; start it again".to_owned();
                self.store.scan_ended(id, ScanState::Failed, Some(error), scan.counters, clock::now()).await?;
                continue;
            }
            let session = self.remember(kept);
            if ended {
                session.note(|known| known.late = Some(Instant::now()));
                continue;
            }
            session.note(|known| {
                known.telemetry = true;
                known.loose = known.wire_id.starts_with(LOOSE);
            });
            self.scans.follow_client(scan, session);
        }
        Ok(())
    }

    async fn commit_late(&self) {
        let due = |session: &Session| session.get(|known| known.late.is_some_and(|at| at.elapsed() > LATE));
        for session in self.sessions.which(due) {
            session.note(|known| known.late = None);
            if let Err(error) = self.scans.commit_late(&session).await {
                tracing::error!(scan = %session.scan, %error, "files that came after their scan's end were not committed");
            }
        }
    }
}

/// One of the two has no credentials, and both come from one address: a program and its child. Two keys are two clients.
fn is_beside(caller: &Caller<'_>, agent: &Agent) -> bool {
    let anonymous = |scope: &str| scope.starts_with("address:");
    agent.address.is_some() && agent.address == caller.address && (anonymous(caller.scope) || anonymous(&agent.scope))
}

/// Before the root of a scan without an id.
const LOOSE: &str = "without an id: ";

/// The id under which a client's scan is known; clients without ids make one scan of each root.
fn wire_id(event: &ScanEvent) -> String {
    match &event.scan_id {
        Some(id) if id.as_bytes().len() <= MAX_WIRE_ID => id.display().into_owned(),
        Some(id) => format!("blake3:{}", blake3::hash(id.as_bytes())),
        None => {
            let root =
                event.root_path.as_ref().map_or_else(String::new, |root| places::root(root).display().into_owned());
            format!("{LOOSE}{}", blake3::hash(root.as_bytes()))
        }
    }
}

fn algorithm(event: &ScanEvent) -> Option<Algorithm> {
    cache_key::algorithm(event.hash_algo.as_ref()?)
}

/// Text of a client, for people.
fn words(text: &ByteStr) -> String {
    text.display().chars().take(1000).collect()
}

fn count(known: &mut Known, event: &ScanEvent) {
    let counters = &mut known.counters;
    for (counter, told) in [
        (&mut counters.hashed_files, event.hashed),
        (&mut counters.hashed_bytes, event.bytes_processed),
        (&mut counters.bytes, event.bytes_seen),
    ] {
        if let Some(told) = told.unsigned() {
            *counter = told.min(i64::MAX.cast_unsigned());
        }
    }
    let errors =
        [event.hash_errors, event.walk_errors].iter().filter_map(|n| n.unsigned()).fold(0, u64::saturating_add);
    counters.errors = errors.max(counters.errors);
    if let Some(path) = &event.current_path {
        known.current = places::below(&known.root, path).ok().or_else(|| known.current.take());
    }
}

fn scan_error(event: &ScanEvent, root: &ByteStr) -> ScanError {
    let path = event.path.clone().unwrap_or_default();
    let short =
        |text: &Option<ByteStr>| text.as_ref().map_or_else(String::new, |t| words(t).chars().take(400).collect());
    ScanError {
        path: places::below(root, &path).unwrap_or(path),
        operation: short(&event.stage),
        message: short(&event.message),
    }
}

fn gather_file(
    gathered: &mut Gathered,
    session: &Arc<Session>,
    root: &ByteStr,
    upsert: &Upsert,
    hash: Option<ContentHash>,
    sent: &Sent,
) {
    if upsert.is_deleted == Some(true) {
        return;
    }
    let located = locate(root, &sent.0);
    let (dir, name) = match located {
        Ok(located) => located,
        Err(message) => {
            let error = ScanError { path: sent.0.clone(), operation: "event".into(), message: message.into() };
            return gathered.error(session, error);
        }
    };
    let entry = entry(upsert, hash);
    for (group, id, name) in [(false, entry.uid, &upsert.owner), (true, entry.gid, &upsert.group)] {
        if let Some(name) = name
            && id != UNKNOWN_OWNER
            && session.names_owner(group, id)
        {
            let name: String = name.display().chars().take(256).collect();
            gathered.owners.push((session.host, Owner { group, id, name }));
        }
    }
    gathered.file(session, ToldFile { dir, name, entry });
}

/// Directory below the root, and name.
fn locate(root: &ByteStr, sent: &ByteStr) -> Result<(ByteStr, ByteStr), &'static str> {
    if sent.as_bytes().len() > MAX_PATH {
        return Err("the path is longer than 32 KiB");
    }
    let below = places::below(root, sent)?;
    let bytes = below.as_bytes();
    if bytes.is_empty() {
        return Err("the path is that of the scan's root");
    }
    if bytes.split(|b| *b == b'/').any(|part| part == b"..") {
        return Err("the path leads upwards");
    }
    if bytes.iter().filter(|b| **b == b'/').count() > MAX_DEPTH {
        return Err("the path has more than 512 directories");
    }
    Ok(match bytes.iter().rposition(|b| *b == b'/') {
        Some(at) => (ByteStr::from(&bytes[..at]), ByteStr::from(&bytes[at + 1..])),
        None => (ByteStr::default(), below),
    })
}

/// `hash` when it was read already.
fn entry(upsert: &Upsert, hash: Option<ContentHash>) -> Entry {
    let id = |n: super::events::Number| n.unsigned().and_then(|n| u32::try_from(n).ok()).unwrap_or(UNKNOWN_OWNER);
    Entry {
        kind: EntryKind::File,
        size: upsert.size.unsigned().unwrap_or(0).min(i64::MAX.cast_unsigned()),
        mtime_ns: upsert.mtime.time_ns().unwrap_or(0),
        ctime_ns: upsert.ctime.time_ns().unwrap_or(0),
        dev: upsert.dev.unsigned().unwrap_or(0),
        ino: upsert.inode.unsigned().unwrap_or(0),
        nlink: upsert.nlinks.unsigned().unwrap_or(1).max(1),
        mode: upsert.mode.unsigned().map_or(0, |mode| mode as u32 & 0o7777),
        uid: id(upsert.uid),
        gid: id(upsert.gid),
        hash: hash.or_else(|| Some(cache_key::hash(upsert)?.1)),
    }
}
