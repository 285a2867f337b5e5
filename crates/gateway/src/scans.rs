//! Scans as jobs: asked for, queued per host, followed, committed.
//!
//! ```text
//! start ─ CheckRoot ─> queued ─ host free ─> running ─ Finished ─ commit_index ─ Promote ─> completed
//!                        └──── cancel ────────┴──── cancel | link lost | error ────> cancelled | failed
//! ```
//!
//! A scan that runs is paused by its host: the walk halts, the stream stays open. One that is queued and paused takes no
//! turn; once resumed, it queues behind those that wait by then.
//!
//! One scan runs per host at a time. Batches are staged as they come; the index changes in one step at the end, so a scan
//! that ends in any other way leaves no trace in it. Promote may be lost: the next scan's base generation tells the host.

use std::collections::{HashMap, VecDeque};
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use connectrpc::client::CallOptions;
use connectrpc::{ConnectError, ErrorCode};
use hostler_api::{index_ops, v1};
use hostler_link::LinkClient;
use hostler_model::{Algorithm, ByteStr, HostId, IndexOp, ScanCounters, ScanId, ScanOptions, ScanState};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::clock;
use crate::events::{Event, Events, ScanRate, ScanUpdate};
use crate::fleet::{Fleet, NotLinked};
use crate::store::{IndexCommit, Owner, Scan, ScanError, Store, StoreError};

/// Scans of one host that may wait.
const QUEUE: usize = 100;
/// How long a host may take for a short call.
const CALL_TIMEOUT: Duration = Duration::from_secs(15);
/// A running scan reports every 20 seconds at least; after this long without a word it has failed.
const SILENCE: Duration = Duration::from_secs(120);
/// How often the host is asked to pause a scan it does not know, as the call that starts it may be under way.
const HEARD_OF: u32 = 50;
/// How long after another.
const HEARD_OF_EVERY: Duration = Duration::from_millis(100);
/// Differences that are staged together.
const STAGE_OPS: usize = 8192;
/// Bytes of their paths: each difference carries its directory's.
const STAGE_BYTES: usize = 4 << 20;
/// Progress events of one scan are at least this far apart.
const PROGRESS_EVERY: Duration = Duration::from_millis(250);
/// Rates are taken over this long.
const RATE_WINDOW: Duration = Duration::from_secs(5);
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
    Cancelled,
    Failed(String),
}

impl From<StoreError> for Ended {
    fn from(error: StoreError) -> Self {
        Self::Failed(error.to_string())
    }
}

impl Scans {
    /// No scans yet. When `stopping` is cancelled, all that wait or run end as failed.
    pub fn new(store: Arc<dyn Store>, fleet: Fleet, events: Events, stopping: CancellationToken) -> Self {
        Self(Arc::new(Inner {
            store,
            fleet,
            events,
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
        let client = inner.fleet.client(request.host)?;
        let root = check_root(&client, &request.root).await?;
        let scan = Scan {
            id: ScanId::new(),
            host: host.id,
            host_name: host.name,
            root,
            state: ScanState::Queued,
            options: request.options,
            requested_by: request.requested_by,
            created_at: clock::now(),
            started_at: None,
            ended_at: None,
            counters: ScanCounters::default(),
            error: None,
            generation: None,
            first: false,
        };
        let cancel = inner.stopping.child_token();
        let (paused, pauses) = watch::channel(false);
        {
            let mut live = inner.live();
            if live.values().filter(|l| l.update.scan.host == scan.host).count() > QUEUE {
                return Err(StartScanError::QueueFull);
            }
            let update = still(scan.clone());
            live.insert(scan.id, Live { update, cancel: cancel.clone(), paused });
        }
        if let Err(error) = inner.store.create_scan(scan.clone()).await {
            inner.live().remove(&scan.id);
            return Err(error.into());
        }
        inner.announce(scan.id);
        inner.tasks.spawn(inner.clone().job(scan.clone(), cancel, pauses));
        Ok(scan)
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
    ScanUpdate { scan, rate: None, current: None, cancelling: false, paused: false }
}

/// Asks the host whether it lets this directory be scanned; the path with symbolic links resolved.
pub(crate) async fn check_root(client: &LinkClient, root: &ByteStr) -> Result<ByteStr, StartScanError> {
    let files = v1::FilesServiceClient::new(client.clone(), client.config());
    let request = v1::CheckRootRequest { path: root.as_bytes().to_vec(), ..Default::default() };
    match files.check_root_with_options(request, CallOptions::default().with_timeout(CALL_TIMEOUT)).await {
        Ok(answer) => Ok(ByteStr::from(answer.into_view().to_owned_message().resolved)),
        Err(error) => {
            let error = client.map_error(error);
            let text = words(&error);
            Err(match error.code {
                ErrorCode::Unavailable | ErrorCode::DeadlineExceeded => StartScanError::Unreachable(text),
                _ => StartScanError::Refused(text),
            })
        }
    }
}

fn words(error: &ConnectError) -> String {
    match &error.message {
        Some(text) if !text.is_empty() => text.chars().filter(|c| !c.is_control()).take(1000).collect(),
        _ => error.to_string().chars().take(1000).collect(),
    }
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

    /// Has the host pause a running scan, or go on.
    async fn tell_paused(&self, scan: &Scan, paused: bool) -> Result<(), SetPausedError> {
        let client = self.fleet.client(scan.host)?;
        let files = v1::FilesServiceClient::new(client.clone(), client.config());
        for attempt in 1.. {
            let request = v1::SetPausedRequest { scan_id: scan.id.to_string(), paused, ..Default::default() };
            let options = CallOptions::default().with_timeout(CALL_TIMEOUT);
            let Err(error) = files.set_paused_with_options(request, options).await else { break };
            let error = client.map_error(error);
            match error.code {
                // It runs for us before the host has heard of it.
                ErrorCode::NotFound if attempt < HEARD_OF => tokio::time::sleep(HEARD_OF_EVERY).await,
                ErrorCode::NotFound => return Err(SetPausedError::Ending),
                ErrorCode::Unavailable | ErrorCode::DeadlineExceeded => {
                    return Err(SetPausedError::Unreachable(words(&error)));
                }
                _ => return Err(SetPausedError::Refused(words(&error))),
            }
        }
        Ok(())
    }

    /// Waits until the scan is not paused and its host has a turn for it; from then on the host pauses it.
    async fn turn(&self, scan: &Scan, pauses: &mut watch::Receiver<bool>) -> Option<OwnedSemaphorePermit> {
        let turn = {
            let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
            turns.entry(scan.host).or_insert_with(|| Arc::new(Semaphore::new(1))).clone()
        };
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
            () = cancel.cancelled() => Err(Ended::Cancelled),
            permit = self.turn(&scan, &mut pauses) => match permit {
                Some(_permit) => self.run(&scan, &cancel, &pauses).await,
                None => Err(Ended::Failed("the gateway is stopping".into())),
            },
        };
        if let Err(ended) = result {
            self.end(scan.id, ended).await;
        }
        let last = match self.store.scan(scan.id).await {
            Ok(scan) => Some(scan),
            Err(error) => {
                tracing::error!(scan = %scan.id, %error, "a scan that ended was not read back");
                None
            }
        };
        let live = self.live().remove(&scan.id);
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
            Ended::Cancelled if self.stopping.is_cancelled() => {
                (ScanState::Failed, Some("the gateway was stopped while this scan ran; start it again".to_owned()))
            }
            Ended::Cancelled => (ScanState::Cancelled, None),
            Ended::Failed(text) => (ScanState::Failed, Some(text)),
        };
        if let Err(error) = self.store.scan_ended(id, state, error, counters, clock::now()).await {
            tracing::error!(scan = %id, %error, "a scan's end was not kept; the next start marks it as failed");
        }
    }

    async fn run(&self, scan: &Scan, cancel: &CancellationToken, pauses: &watch::Receiver<bool>) -> Result<(), Ended> {
        let client = self.fleet.client(scan.host).map_err(|e| Ended::Failed(e.to_string()))?;
        let base = self.store.generation(scan.host, &scan.root).await?;
        let started = clock::now();
        self.store.scan_started(scan.id, scan.root.clone(), base == 0, started).await?;
        self.update(scan.id, |u| {
            u.scan.started_at = Some(started);
            u.scan.first = base == 0;
        });
        self.announce(scan.id);
        let commit = tokio::select! {
            biased;
            // Dropping the call resets its stream, and the host stops.
            () = cancel.cancelled() => return Err(Ended::Cancelled),
            commit = self.follow(scan, base, &client, pauses) => commit?,
        };
        // The last moment at which nothing has changed yet.
        if cancel.is_cancelled() {
            return Err(Ended::Cancelled);
        }
        let (root, generation) = (commit.root.clone(), commit.generation);
        self.store.commit_index(commit).await?;
        let files = v1::FilesServiceClient::new(client.clone(), client.config());
        let request = v1::PromoteRequest { root: root.into_bytes(), generation, ..Default::default() };
        if let Err(error) = files.promote_with_options(request, CallOptions::default().with_timeout(CALL_TIMEOUT)).await
        {
            tracing::info!(scan = %scan.id, %error, "the host was not told of the commit; its next scan will be");
        }
        Ok(())
    }

    async fn follow(
        &self,
        scan: &Scan,
        base: u64,
        client: &LinkClient,
        pauses: &watch::Receiver<bool>,
    ) -> Result<IndexCommit, Ended> {
        let failed = |error: ConnectError| Ended::Failed(words(&client.map_error(error)));
        let files = v1::FilesServiceClient::new(client.clone(), client.config());
        let mut stream = files.scan(request(scan, base)).await.map_err(failed)?;
        let mut staging = Staging { store: &*self.store, scan: scan.id, ops: Vec::new(), bytes: 0 };
        let mut rates = Rates::default();
        let mut full = None;
        loop {
            let mut message = pin!(stream.message());
            let message = loop {
                match tokio::time::timeout(SILENCE, &mut message).await {
                    Ok(message) => break message,
                    Err(_) if *pauses.borrow() => {}
                    Err(_) => return Err(Ended::Failed("the host went silent in the middle of the scan".into())),
                }
            };
            let message = message
                .map_err(failed)?
                .ok_or_else(|| Ended::Failed("the host ended the scan without a result".into()))?;
            use v1::scan_event::Event as Wire;
            match message.to_owned_message().event {
                Some(Wire::Started(started)) => full = Some(started.full),
                Some(Wire::Progress(progress)) => {
                    let counters = progress.counters.as_option().map(ScanCounters::from).unwrap_or_default();
                    let paused = progress.paused || *pauses.borrow();
                    let rate = rates.add(Instant::now(), &counters, paused);
                    let due = rates.announce_due();
                    self.update(scan.id, |u| {
                        u.scan.counters = counters;
                        u.rate = rate;
                        u.current = Some(progress.current.into());
                    });
                    if due {
                        self.announce(scan.id);
                    }
                }
                Some(Wire::Batch(batch)) => {
                    if full.is_none() {
                        return Err(Ended::Failed("the host sent differences before it said of what".into()));
                    }
                    staging.add(&batch).await?;
                }
                Some(Wire::Finished(finished)) => {
                    staging.flush().await?;
                    let full = full.ok_or_else(|| Ended::Failed("the host finished what it had not begun".into()))?;
                    return finish(scan, base, full, *finished);
                }
                None => {}
            }
        }
    }
}

fn request(scan: &Scan, base_generation: u64) -> v1::ScanRequest {
    let o = &scan.options;
    v1::ScanRequest {
        scan_id: scan.id.to_string(),
        root: scan.root.as_bytes().to_vec(),
        base_generation,
        algorithm: u32::from(o.algorithm.code()),
        force: o.force,
        excludes: o.excludes.clone(),
        one_file_system: o.one_file_system,
        snapshots: o.snapshots,
        hash_min_size: o.hash_min_size,
        hash_max_size: o.hash_max_size,
        cpu_percent: o.limits.cpu_percent,
        bytes_per_second: o.limits.bytes_per_second,
        idle: o.limits.idle,
        ..Default::default()
    }
}

fn finish(scan: &Scan, base: u64, full: bool, finished: v1::ScanFinished) -> Result<IndexCommit, Ended> {
    if finished.generation <= base || finished.generation > i64::MAX as u64 {
        return Err(Ended::Failed(format!("the host made generation {} after {base}", finished.generation)));
    }
    let algorithm = u8::try_from(finished.algorithm).ok().and_then(Algorithm::from_code);
    Ok(IndexCommit {
        scan: scan.id,
        host: scan.host,
        root: scan.root.clone(),
        full,
        generation: finished.generation,
        algorithm: algorithm.ok_or_else(|| Ended::Failed("the host hashed in an unknown way".into()))?,
        owners: finished
            .owners
            .into_iter()
            .take(100_000)
            .map(|o| Owner { group: o.group, id: o.id, name: o.name.chars().take(256).collect() })
            .collect(),
        counters: finished.counters.as_option().map(ScanCounters::from).unwrap_or_default(),
        at: clock::now(),
    })
}

/// Gathers batches so that the store is not asked for each.
struct Staging<'a> {
    store: &'a dyn Store,
    scan: ScanId,
    ops: Vec<IndexOp>,
    /// Of the paths in `ops`.
    bytes: usize,
}

impl Staging<'_> {
    async fn add(&mut self, batch: &v1::ScanBatch) -> Result<(), Ended> {
        let ops = index_ops(batch).map_err(|e| Ended::Failed(e.to_string()))?;
        self.bytes += ops.iter().map(IndexOp::path_bytes).sum::<usize>();
        self.ops.extend(ops);
        if !batch.errors.is_empty() {
            let clean = |text: &str| text.chars().filter(|c| !c.is_control()).take(400).collect();
            let errors = batch
                .errors
                .iter()
                .map(|e| ScanError {
                    path: ByteStr::from(e.path.as_slice()),
                    operation: clean(&e.operation),
                    message: clean(&e.message),
                })
                .collect();
            self.store.add_scan_errors(self.scan, errors).await?;
        }
        if self.ops.len() >= STAGE_OPS || self.bytes >= STAGE_BYTES { self.flush().await } else { Ok(()) }
    }

    async fn flush(&mut self) -> Result<(), Ended> {
        if self.ops.is_empty() {
            return Ok(());
        }
        self.bytes = 0;
        Ok(self.store.stage(self.scan, std::mem::take(&mut self.ops)).await?)
    }
}

/// Rates over the last seconds.
#[derive(Default)]
struct Rates {
    samples: VecDeque<(Instant, u64, u64)>,
    announced: Option<Instant>,
}

impl Rates {
    /// The rate now; none while the scan is paused, and then from the resume on.
    fn add(&mut self, now: Instant, counters: &ScanCounters, paused: bool) -> Option<ScanRate> {
        if paused {
            self.samples.clear();
            return None;
        }
        self.samples.push_back((now, counters.files, counters.hashed_bytes));
        while self.samples.len() > 2 && now.duration_since(self.samples[1].0) > RATE_WINDOW {
            self.samples.pop_front();
        }
        let &(first, files, bytes) = self.samples.front()?;
        let seconds = now.duration_since(first).as_secs_f64();
        if seconds < 0.05 {
            return Some(ScanRate::default());
        }
        let files_per_second = counters.files.saturating_sub(files) as f64 / seconds;
        let left = counters.expected_files.saturating_sub(counters.files);
        Some(ScanRate {
            files_per_second,
            bytes_per_second: counters.hashed_bytes.saturating_sub(bytes) as f64 / seconds,
            seconds_left: (counters.expected_files > 0 && files_per_second >= 0.1)
                .then(|| (left as f64 / files_per_second).ceil() as u64),
        })
    }

    fn announce_due(&mut self) -> bool {
        let now = Instant::now();
        let due = self.announced.is_none_or(|last| now.duration_since(last) >= PROGRESS_EVERY);
        if due {
            self.announced = Some(now);
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_left_comes_from_the_rate() {
        let mut rates = Rates::default();
        let start = Instant::now();
        let counters =
            |files| ScanCounters { files, expected_files: 1000, hashed_bytes: files * 10, ..Default::default() };
        assert_eq!(rates.add(start, &counters(0), false), Some(ScanRate::default()));
        let rate = rates.add(start + Duration::from_secs(2), &counters(200), false).unwrap();
        assert_eq!((rate.files_per_second, rate.bytes_per_second), (100.0, 1000.0));
        assert_eq!(rate.seconds_left, Some(8));
    }

    #[test]
    fn a_pause_does_not_count_as_time() {
        let mut rates = Rates::default();
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let counters = |files| ScanCounters { files, expected_files: 1000, ..Default::default() };
        rates.add(start, &counters(0), false);
        assert_eq!(rates.add(at(2), &counters(200), true), None);
        assert_eq!(rates.add(at(3600), &counters(200), true), None);
        assert_eq!(rates.add(at(3601), &counters(200), false), Some(ScanRate::default()));
        assert_eq!(rates.add(at(3602), &counters(300), false).unwrap().files_per_second, 100.0);
    }
}
