//! One scan.
//!
//! ```text
//! walk thread ──batches──> tasks: probe, hash, write events ──events──> publisher ──> gateway
//!                            │        ▲                                     └───────> spool
//!                            └─> hash threads
//! ```
//!
//! Every queue is bounded: whatever is slowest holds up the rest.

mod batch;
mod events;
mod item;
mod json;
mod links;
mod pool;
mod publisher;
mod tally;
mod trouble;
mod walker;

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use hostler_files::{Control, FileHasher, Progress, ScanFailure};
use hostler_model::ScanOptions;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use self::batch::Context;
use self::events::{Identity, Phase};
use self::item::Batch;
use self::pool::Pool;
use self::publisher::{Publisher, Refused, Stop};
use self::tally::Tally;
use self::trouble::Trouble;
use self::walker::Walker;
use crate::gateway::{Events, Gateway, GatewayError, Outbox};
use crate::outcome::{Listener, ScanEnd, ScanOutcome};
use crate::settings::{ScanSettings, ScanTarget};

/// Probes in flight at once.
const PROBES: usize = 4;

/// Batches between two steps.
const QUEUE: usize = 4;

/// Hashing threads at most, whatever is asked for.
const MOST_WORKERS: usize = 256;

/// How long the last event of a cancelled scan is waited for: less than the second in which it is to end.
const LAST_WORD: Duration = Duration::from_millis(600);

/// Ends the threads with the scan, however it ends.
struct Threads {
    control: Control,
    pool: Option<Pool>,
}

impl Drop for Threads {
    fn drop(&mut self) {
        self.control.cancel();
        if let Some(pool) = &self.pool {
            pool.close();
        }
    }
}

/// Scans `target` and tells the gateway; in constant memory, however large the tree is.
///
/// Ends within a second of `cancel`. A thread that hangs in a filesystem which does not answer is left behind.
pub async fn scan(
    gateway: &Gateway,
    settings: &ScanSettings,
    target: &ScanTarget,
    cancel: CancellationToken,
    listener: Arc<dyn Listener>,
) -> ScanOutcome {
    let begin = Instant::now();
    let workers = settings.workers.clamp(1, MOST_WORKERS);
    let tally = Arc::new(Tally::new(workers));
    let mut threads = Threads { control: Control::default(), pool: None };
    let ended = run(gateway, settings, target, cancel, listener, &tally, &mut threads).await;
    drop(threads);
    let files = tally.report(0);
    let report = tally.report(files.files.saturating_sub(files.published));
    ScanOutcome { report, end: ended.end, closed: ended.closed, seconds: begin.elapsed().as_secs_f64() }
}

/// How it ended, and whether the gateway took its last event.
struct Ended {
    end: ScanEnd,
    closed: bool,
}

impl Ended {
    fn untold(end: ScanEnd) -> Self {
        Self { end, closed: false }
    }
}

async fn run(
    gateway: &Gateway,
    settings: &ScanSettings,
    target: &ScanTarget,
    cancel: CancellationToken,
    listener: Arc<dyn Listener>,
    tally: &Arc<Tally>,
    threads: &mut Threads,
) -> Ended {
    let root = target.root.as_bytes();
    let made = tokio::select! {
        () = cancel.cancelled() => return Ended::untold(ScanEnd::Cancelled),
        made = hashers(settings, target, &threads.control, tally) => made,
    };
    let hashers = match made {
        Ok(hashers) => hashers,
        Err(why) => return Ended::untold(ScanEnd::Failed(why)),
    };
    let authenticated = tokio::select! {
        () = cancel.cancelled() => return Ended::untold(ScanEnd::Cancelled),
        done = authenticate(gateway) => done,
    };
    if let Err(why) = authenticated {
        return Ended::untold(ScanEnd::Unauthorized(why));
    }
    let pool = match Pool::start(hashers, tally, root) {
        Ok(pool) => pool,
        Err(error) => return Ended::untold(ScanEnd::Failed(format!("a hashing thread cannot be started: {error}"))),
    };
    threads.pool = Some(pool.clone());

    let identity = Arc::new(Identity::new(settings, target));
    let trouble = Arc::new(Trouble::new(tally.clone(), identity.clone(), listener.clone()));
    listener.started(&target.root, &target.scan_id);
    let mut publisher = Publisher::new(
        gateway.clone(),
        Outbox::new(gateway.clone()).await,
        identity.clone(),
        tally.clone(),
        trouble.clone(),
        listener.clone(),
        cancel,
        settings.publish_batch,
        settings.telemetry_interval,
    );
    publisher.begin().await;

    let (batches_in, batches_out) = mpsc::channel(QUEUE);
    let (events_in, mut events_out) = mpsc::channel(QUEUE);
    let walker = Walker {
        root: root.to_vec(),
        options: ScanOptions {
            excludes: settings.excludes.clone(),
            one_file_system: settings.one_file_system,
            ..ScanOptions::default()
        },
        control: threads.control.clone(),
        tally: tally.clone(),
        trouble: trouble.clone(),
        batch_size: settings.probe_batch.max(1),
        batches: batches_in,
    };
    let walked = match start(walker) {
        Ok(walked) => walked,
        Err(error) => return Ended::untold(ScanEnd::Failed(format!("the walk's thread cannot be started: {error}"))),
    };
    let context = Arc::new(Context {
        gateway: gateway.clone(),
        algorithm: settings.algorithm,
        force: target.force,
        pool,
        identity: identity.clone(),
        tally: tally.clone(),
        trouble,
        listener: listener.clone(),
        begun: publisher.begun.clone(),
        probes: Semaphore::new(PROBES),
    });
    // Dropped with this future, and its tasks with it.
    let mut tasks = JoinSet::new();
    let halt = CancellationToken::new();
    let at_once = PROBES + settings.workers.min(MOST_WORKERS);
    tasks.spawn(feed(context, batches_out, events_in, publisher.refused.clone(), at_once, halt.clone()));
    let stop = publisher.run(Some(&mut events_out)).await;
    // Whatever is left of it has nobody to tell. It is waited for, so that none of its calls begins after the last event.
    halt.cancel();
    drop(events_out);
    while tasks.join_next().await.is_some() {}

    let (phase, end) = match stop {
        Stop::Cancelled => return cancelled(publisher).await,
        Stop::Unauthorized(why) => return unauthorized(publisher, why).await,
        Stop::Done | Stop::GaveUp => match walked.await {
            Ok(Ok(())) => (Phase::Completed, ScanEnd::Completed),
            Ok(Err(failure)) => (Phase::Failed, ScanEnd::Failed(failure.to_string())),
            Err(_) => (Phase::Failed, ScanEnd::Failed("the walk ended without a result".into())),
        },
    };
    let unpublished = {
        let report = tally.report(0);
        report.files.saturating_sub(report.published)
    };
    match publisher.last_telemetry(phase, unpublished).await {
        Some(Stop::Cancelled) => return cancelled(publisher).await,
        Some(Stop::Unauthorized(why)) => return unauthorized(publisher, why).await,
        _ => {}
    }
    let error = match &end {
        ScanEnd::Failed(why) => Some(why.as_str()),
        _ => None,
    };
    let event = identity.ended(tally, phase, unpublished, error);
    if end == ScanEnd::Completed {
        listener.completed(&target.root, &target.scan_id, &tally.report(unpublished));
    }
    let (closed, stop) = publisher.finish(event, stop == Stop::GaveUp).await;
    match stop {
        Stop::Cancelled => {
            // Too late to cancel: all was published, and only the last event is on its way.
            publisher.outbox.close(true).await;
            Ended { end, closed }
        }
        Stop::Unauthorized(why) => unauthorized(publisher, why).await,
        Stop::Done | Stop::GaveUp => {
            if !closed {
                listener.problem(&format!(
                    "{} did not take all of the scan; what is in the spool goes there with the next scan",
                    gateway.shown()
                ));
            }
            publisher.outbox.close(true).await;
            Ended { end, closed }
        }
    }
}

/// Opens the root, once for each hashing thread.
async fn hashers(
    settings: &ScanSettings,
    target: &ScanTarget,
    control: &Control,
    tally: &Arc<Tally>,
) -> Result<Vec<FileHasher>, String> {
    let (root, algorithm) = (target.root.as_bytes().to_vec(), settings.algorithm);
    let (control, tally) = (control.clone(), tally.clone());
    let opened = tokio::task::spawn_blocking(move || {
        let hasher = |reader: &Arc<Progress>| FileHasher::new(&root, algorithm, control.clone(), reader.clone());
        tally.readers.iter().map(hasher).collect::<Result<Vec<_>, ScanFailure>>()
    });
    match opened.await {
        Ok(opened) => opened.map_err(|failure| failure.to_string()),
        Err(error) => Err(format!("the root cannot be opened: {error}")),
    }
}

/// An API key that is refused ends the scan before its first call. A gateway that is away does not.
async fn authenticate(gateway: &Gateway) -> Result<(), String> {
    if gateway.bearer().is_some() {
        return Ok(());
    }
    match gateway.authenticate().await {
        Err(GatewayError::Unauthorized(why)) => Err(why),
        _ => Ok(()),
    }
}

fn start(walker: Walker) -> io::Result<oneshot::Receiver<Result<(), ScanFailure>>> {
    let (send, receive) = oneshot::channel();
    let thread = std::thread::Builder::new().name("walk".into());
    thread.spawn(move || {
        // Nobody waits for it when the scan was stopped.
        let _ = send.send(walker.run());
    })?;
    Ok(receive)
}

/// Makes events of batches, several at once.
async fn feed(
    context: Arc<Context>,
    mut batches: mpsc::Receiver<Batch>,
    events: mpsc::Sender<Events>,
    refused: Refused,
    at_once: usize,
    halt: CancellationToken,
) {
    let mut tasks = JoinSet::new();
    let mut walks = true;
    while walks || !tasks.is_empty() {
        tokio::select! {
            () = halt.cancelled() => return tasks.shutdown().await,
            Some(done) = tasks.join_next() => match done {
                Ok(Ok(Some(made))) => {
                    if events.send(made).await.is_err() {
                        return tasks.shutdown().await;
                    }
                }
                Ok(Ok(None)) => {}
                Ok(Err(why)) => {
                    refused.set(why);
                    return tasks.shutdown().await;
                }
                Err(error) => tracing::error!(%error, "a batch of a scan was lost"),
            },
            batch = batches.recv(), if walks && tasks.len() < at_once => match batch {
                Some(batch) => {
                    let context = context.clone();
                    tasks.spawn(async move { context.process(batch).await });
                }
                None => walks = false,
            },
        }
    }
}

/// Tells the gateway that the scan was cancelled, and nothing else any more.
async fn cancelled(mut publisher: Publisher) -> Ended {
    publisher.outbox.discard().await;
    let report = publisher.tally.report(0);
    let unpublished = report.files.saturating_sub(report.published);
    let event = publisher.identity.ended(&publisher.tally, Phase::Cancelled, unpublished, Some("scan interrupted"));
    let subject = publisher.gateway.settings().subject.clone();
    let event = Events::one(event);
    let told = tokio::time::timeout(LAST_WORD, publisher.gateway.ingest(&subject, &event, &|_| {})).await;
    let closed = matches!(told, Ok(Ok(taken)) if taken.dropped == 0);
    if !closed && publisher.started {
        publisher.outbox.push(&subject, event, true).await;
    }
    publisher.outbox.close(true).await;
    Ended { end: ScanEnd::Cancelled, closed }
}

/// Sends nothing more. What the gateway knows of is brought to its end by the next scan that it lets in.
async fn unauthorized(mut publisher: Publisher, why: String) -> Ended {
    if publisher.started {
        let report = publisher.tally.report(0);
        let unpublished = report.files.saturating_sub(report.published);
        let error = "Gateway authentication failed";
        let event = publisher.identity.ended(&publisher.tally, Phase::Failed, unpublished, Some(error));
        let subject = publisher.gateway.settings().subject.clone();
        publisher.outbox.push(&subject, Events::one(event), true).await;
    } else {
        publisher.outbox.discard().await;
    }
    publisher.outbox.close(true).await;
    publisher.tally.walked.store(true, Relaxed);
    Ended::untold(ScanEnd::Unauthorized(why))
}
