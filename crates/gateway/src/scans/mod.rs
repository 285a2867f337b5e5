//! Scans as jobs: asked for, queued per host, followed, committed.
//!
//! ```text
//! start ─ CheckRoot ─> queued ─ host free ─> running ─ Finished ─ commit_index ─ Promote ─> completed
//!                        └──── cancel ────────┴──── cancel | link lost | error ────> cancelled | failed
//! ```
//!
//! A scan that runs is paused by its host: the walk halts, the stream stays open. One that is queued and paused takes no
//! turn; once resumed, it queues behind those that wait by then. One scan runs per host at a time.
//!
//! `link.rs` has scans by Hostler's own agent, `clients.rs` those by SnapFS clients.

mod clients;
mod link;
mod rates;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hostler_model::{ByteStr, HostId, ScanId, ScanOptions, ScanState};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::clock;
use crate::events::{Event, Events, ScanUpdate};
use crate::fleet::{Fleet, NotLinked};
use crate::snapfs::agents::{Agent, Agents, Generation};
use crate::snapfs::session::{Known, Session, Sessions};
use crate::store::{Protocol, Scan, Store, StoreError};

pub use clients::Trigger;

/// Scans of one host that may wait.
const QUEUE: usize = 100;
/// Bounds of what a client may ask for.
const MAX_PATH: usize = 4096;
const MAX_EXCLUDES: usize = 100;
const MAX_EXCLUDE_LEN: usize = 1024;

/// What to scan, and for whom.
#[derive(Clone, Debug)]
pub struct StartScan {
    /// The host that walks.
    pub host: HostId,
    /// Absolute path.
    pub root: ByteStr,
    /// How.
    pub options: ScanOptions,
    /// Who asks, for the record.
    pub requested_by: String,
    /// What asks.
    pub trigger: Trigger,
}

/// Why a scan was not started.
#[derive(Debug, thiserror::Error)]
pub enum StartScanError {
    /// The request makes no sense.
    #[error("{0}")]
    Invalid(String),
    /// The host refuses this root: not granted, missing, or no directory. Its own words.
    #[error("{0}")]
    Refused(String),
    /// No link.
    #[error(transparent)]
    NotLinked(#[from] NotLinked),
    /// Too many wait.
    #[error("{QUEUE} scans of this host wait already; let some end or cancel them")]
    QueueFull,
    /// The gateway is stopping.
    #[error("the gateway is stopping")]
    Stopping,
    /// The host did not answer.
    #[error("the host did not answer: {0}")]
    Unreachable(String),
    /// The store failed, or does not know the host.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why a scan was neither paused nor resumed.
#[derive(Debug, thiserror::Error)]
pub enum SetPausedError {
    /// It has ended.
    #[error("the scan has ended as {0}; only one that waits or runs can be paused or resumed")]
    Ended(ScanState),
    /// It is about to end: cancelled, or all is walked.
    #[error("the scan is about to end; there is nothing left to pause or resume")]
    Ending,
    /// A SnapFS client makes it.
    #[error("SnapFS clients cannot be paused; cancel the scan instead")]
    Never,
    /// No link.
    #[error(transparent)]
    NotLinked(#[from] NotLinked),
    /// The host does not do it. Its own words.
    #[error("the host refused: {0}")]
    Refused(String),
    /// The host did not answer.
    #[error("the host did not answer: {0}")]
    Unreachable(String),
    /// The store failed, or does not know the scan.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Starts, follows, pauses and cancels scans. Cheap to clone.
#[derive(Clone)]
pub struct Scans(Arc<Inner>);

struct Inner {
    store: Arc<dyn Store>,
    fleet: Fleet,
    events: Events,
    agents: Agents,
    sessions: Sessions,
    live: Mutex<HashMap<ScanId, Live>>,
    turns: Mutex<HashMap<HostId, Arc<Semaphore>>>,
    tasks: TaskTracker,
    stopping: CancellationToken,
}

struct Live {
    update: ScanUpdate,
    cancel: CancellationToken,
    /// What `update.paused` says, for those who wait for it to change.
    paused: watch::Sender<bool>,
}

impl Live {
    fn set_paused(&mut self, paused: bool) {
        self.update.paused = paused;
        // Those would be of the time before.
        self.update.rate = None;
        self.paused.send_replace(paused);
    }
}

/// How a run ended short of completion.
enum Ended {
    /// On request, and what is to be said of it.
    Cancelled(Option<String>),
    Failed(String),
}

impl From<StoreError> for Ended {
    fn from(error: StoreError) -> Self {
        Self::Failed(error.to_string())
    }
}

impl Scans {
    /// No scans yet. When `stopping` is cancelled, all that wait or run end as failed.
    pub(crate) fn new(
        store: Arc<dyn Store>,
        fleet: Fleet,
        events: Events,
        agents: Agents,
        sessions: Sessions,
        stopping: CancellationToken,
    ) -> Self {
        Self(Arc::new(Inner {
            store,
            fleet,
            events,
            agents,
            sessions,
            live: Mutex::default(),
            turns: Mutex::default(),
            tasks: TaskTracker::new(),
            stopping,
        }))
    }

    /// Checks the root with the host and queues the scan.
    pub async fn start(&self, request: StartScan) -> Result<Scan, StartScanError> {
        check(&request)?;
        let inner = &self.0;
        if inner.stopping.is_cancelled() {
            return Err(StartScanError::Stopping);
        }
        let host = inner.store.host(request.host).await?;
        let root = self.check_root(request.host, host.protocol, &request.root).await?;
        let protocol = host.protocol;
        let scan = Scan::queued(host, root, request.options, request.requested_by, clock::now());
        let agent = match protocol {
            Protocol::Hostler => None,
            Protocol::Snapfs => Some(inner.snapfs_agent(&scan)?),
        };
        let cancel = inner.stopping.child_token();
        let (paused, pauses) = watch::channel(false);
        {
            let mut live = inner.live();
            if live.values().filter(|l| l.update.scan.host == scan.host).count() > QUEUE {
                return Err(StartScanError::QueueFull);
            }
            let update = ScanUpdate { pausable: agent.is_none(), ..still(scan.clone()) };
            live.insert(scan.id, Live { update, cancel: cancel.clone(), paused });
        }
        if let Err(error) = inner.store.create_scan(scan.clone()).await {
            inner.live().remove(&scan.id);
            return Err(error.into());
        }
        let begun = match agent {
            None => {
                inner.tasks.spawn(inner.clone().job(scan.clone(), cancel, pauses));
                Ok(())
            }
            Some(agent) => inner.give(&scan, agent, request.trigger, cancel, pauses).await,
        };
        if let Err(error) = begun {
            inner.live().remove(&scan.id);
            inner
                .store
                .scan_ended(scan.id, ScanState::Failed, Some(error.to_string()), scan.counters, clock::now())
                .await?;
            return Err(error.into());
        }
        inner.announce(scan.id);
        Ok(scan)
    }

    /// Asks the host whether it lets this directory be scanned; the path as it is to be kept.
    pub(crate) async fn check_root(
        &self,
        host: HostId,
        protocol: Protocol,
        root: &ByteStr,
    ) -> Result<ByteStr, StartScanError> {
        match protocol {
            Protocol::Hostler => link::check_root(&self.0.fleet.client(host)?, root).await,
            // SnapFS agents answer no such question; what they refuse ends the scan.
            Protocol::Snapfs => Ok(clients::client_root(root)),
        }
    }

    /// Asks a scan to stop. One that has ended stays as it is. Returns the scan as it is now.
    pub async fn cancel(&self, id: ScanId) -> Result<Scan, StoreError> {
        let cancelled = {
            let mut live = self.0.live();
            live.get_mut(&id).map(|l| {
                l.update.cancelling = true;
                l.cancel.cancel();
            })
        };
        if cancelled.is_some() {
            self.0.announce(id);
        }
        self.scan(id).await
    }

    /// Halts a scan that waits or runs, or lets it go on. One that is as asked already stays so. Returns the scan as it is
    /// now; its state is what it was.
    ///
    /// # Errors
    /// [`SetPausedError`]; the scan goes on as before.
    pub async fn set_paused(&self, id: ScanId, paused: bool) -> Result<Scan, SetPausedError> {
        let Some(update) = self.live(id) else {
            return Err(SetPausedError::Ended(self.0.store.scan(id).await?.state));
        };
        if update.cancelling {
            return Err(SetPausedError::Ending);
        }
        if self.0.sessions.of(id).is_some() {
            return Err(SetPausedError::Never);
        }
        let queued = {
            let mut live = self.0.live();
            let live = live.get_mut(&id).filter(|l| l.update.scan.state == ScanState::Queued);
            live.map(|l| l.set_paused(paused)).is_some()
        };
        if !queued {
            self.0.tell_paused(&update.scan, paused).await?;
            if let Some(live) = self.0.live().get_mut(&id) {
                live.set_paused(paused);
            }
        }
        self.0.announce(id);
        Ok(self.scan(id).await?)
    }

    /// A scan with its counters up to now.
    pub async fn scan(&self, id: ScanId) -> Result<Scan, StoreError> {
        match self.live(id) {
            Some(update) => Ok(update.scan),
            None => self.0.store.scan(id).await,
        }
    }

    /// A scan that waits or runs.
    pub fn live(&self, id: ScanId) -> Option<ScanUpdate> {
        self.0.live().get(&id).map(|l| l.update.clone())
    }

    /// All scans that wait or run, oldest first.
    pub fn active(&self) -> Vec<ScanUpdate> {
        let mut all: Vec<ScanUpdate> = self.0.live().values().map(|l| l.update.clone()).collect();
        all.sort_by_key(|u| (u.scan.created_at, u.scan.id));
        all
    }

    /// Waits until no scan runs; call it after the token given to [`Scans::new`] was cancelled.
    pub async fn drain(&self) {
        self.0.tasks.close();
        self.0.tasks.wait().await;
    }
}

/// Whether a request makes sense, whatever the host says.
pub(crate) fn check(request: &StartScan) -> Result<(), StartScanError> {
    let invalid = |text: &str| Err(StartScanError::Invalid(text.into()));
    if !request.root.as_bytes().starts_with(b"/") {
        return invalid("the root must be an absolute path, such as /srv/media");
    }
    if request.root.as_bytes().len() > MAX_PATH || request.root.as_bytes().contains(&0) {
        return invalid("the root is longer than 4096 bytes or holds a NUL byte");
    }
    let options = &request.options;
    if options.excludes.len() > MAX_EXCLUDES || options.excludes.iter().any(|e| e.len() > MAX_EXCLUDE_LEN) {
        return invalid("at most 100 exclude patterns of 1024 bytes each");
    }
    if options.hash_max_size != 0 && options.hash_min_size > options.hash_max_size {
        return invalid("the lower bound of the sizes to hash is above the upper one");
    }
    Ok(())
}

/// A scan of which nothing moves.
fn still(scan: Scan) -> ScanUpdate {
    ScanUpdate { scan, rate: None, current: None, cancelling: false, paused: false, pausable: true }
}

impl Inner {
    fn live(&self) -> MutexGuard<'_, HashMap<ScanId, Live>> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn update(&self, id: ScanId, change: impl FnOnce(&mut ScanUpdate)) {
        if let Some(live) = self.live().get_mut(&id) {
            change(&mut live.update);
        }
    }

    fn announce(&self, id: ScanId) {
        let update = self.live().get(&id).map(|l| l.update.clone());
        if let Some(update) = update {
            self.events.send(Event::Scan(Box::new(update)));
        }
    }

    /// Gives a scan to a SnapFS agent.
    async fn give(
        self: &Arc<Self>,
        scan: &Scan,
        agent: Arc<Agent>,
        trigger: Trigger,
        cancel: CancellationToken,
        pauses: watch::Receiver<bool>,
    ) -> Result<(), StoreError> {
        // Generation B takes our id for its scan's; generation A makes one up.
        let wire_id = match agent.generation {
            Generation::A => String::new(),
            Generation::B => scan.id.to_string(),
        };
        let number = self.store.begin_snapfs_scan(scan.id, &agent.scope, &wire_id).await?;
        let known = Known { scope: agent.scope.clone(), wire_id, root: scan.root.clone(), ..Known::default() };
        let session = Arc::new(Session::new(scan.id, scan.host, number, known));
        self.sessions.add(session.clone());
        let job = clients::AgentJob { agent, trigger };
        self.tasks.spawn(self.clone().client_job(scan.clone(), session, Some(job), cancel, pauses));
        Ok(())
    }

    fn turns_of(&self, host: HostId) -> Arc<Semaphore> {
        let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        turns.entry(host).or_insert_with(|| Arc::new(Semaphore::new(1))).clone()
    }

    /// Waits until the scan is not paused and its host has a turn for it; from then on the host pauses it.
    async fn turn(&self, scan: &Scan, pauses: &mut watch::Receiver<bool>) -> Option<OwnedSemaphorePermit> {
        let turn = self.turns_of(scan.host);
        loop {
            pauses.wait_for(|paused| !paused).await.ok()?;
            let permit = tokio::select! {
                permit = turn.clone().acquire_owned() => permit.ok()?,
                // Paused while it waited.
                changed = pauses.changed() => {
                    changed.ok()?;
                    continue;
                }
            };
            let mut live = self.live();
            let live = live.get_mut(&scan.id)?;
            if !live.update.paused {
                live.update.scan.state = ScanState::Running;
                return Some(permit);
            }
        }
    }

    async fn job(self: Arc<Self>, scan: Scan, cancel: CancellationToken, mut pauses: watch::Receiver<bool>) {
        let result = tokio::select! {
            biased;
            () = cancel.cancelled() => Err(Ended::Cancelled(None)),
            permit = self.turn(&scan, &mut pauses) => match permit {
                Some(_permit) => self.run_over_link(&scan, &cancel, &pauses).await,
                None => Err(Ended::Failed("the gateway is stopping".into())),
            },
        };
        if let Err(ended) = result {
            self.end(scan.id, ended).await;
        }
        self.finished(scan.id).await;
    }

    /// A scan is in the store as it ended: tells so, and it is live no more.
    async fn finished(&self, id: ScanId) {
        let last = match self.store.scan(id).await {
            Ok(scan) => Some(scan),
            Err(error) => {
                tracing::error!(scan = %id, %error, "a scan that ended was not read back");
                None
            }
        };
        let live = self.live().remove(&id);
        if let (Some(live), Some(scan)) = (live, last) {
            tracing::info!(id = %scan.id, state = %scan.state, error = scan.error.as_deref(), "scan ended");
            metrics::counter!("hostler_scans_total", "state" => scan.state.word()).increment(1);
            self.events.send(Event::Scan(Box::new(still(scan))));
            drop(live);
        }
    }

    async fn end(&self, id: ScanId, ended: Ended) {
        let counters = self.live().get(&id).map(|l| l.update.scan.counters).unwrap_or_default();
        let (state, error) = match ended {
            Ended::Cancelled(_) if self.stopping.is_cancelled() => {
                (ScanState::Failed, Some("the gateway was stopped while this scan ran; start it again".to_owned()))
            }
            Ended::Cancelled(note) => (ScanState::Cancelled, note),
            Ended::Failed(text) => (ScanState::Failed, Some(text)),
        };
        if let Err(error) = self.store.scan_ended(id, state, error, counters, clock::now()).await {
            tracing::error!(scan = %id, %error, "a scan's end was not kept; the next start marks it as failed");
        }
    }
}
