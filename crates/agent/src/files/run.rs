//! One scan on a thread of its own, watched: reports, pauses, a gateway that goes away, a filesystem that hangs.

use std::sync::Arc;
use std::time::{Duration, Instant};

use connectrpc::ConnectError;
use hostler_api::v1;
use hostler_files::{Control, Progress, ScanFailure, ScanRequest, SinkClosed, Watch, scan};
use hostler_journal::Durability;
use hostler_model::{ByteStr, ScanCounters, ScanOptions};
use tokio::sync::oneshot;

use super::Files;
use super::sink::{Sender, Sink, event, finished};
use crate::journal::{Severity, event as host_event};

/// How often a young scan reports, where there is something new.
const REPORT_EVERY: Duration = Duration::from_millis(400);
/// How often an old one does.
const REPORT_AT_LEAST_EVERY: Duration = Duration::from_secs(2);
/// How often it does with nothing new: a gateway gives up one that says nothing for two minutes.
const SIGN_OF_LIFE_EVERY: Duration = Duration::from_secs(20);
/// How long a cancelled walk, which stops within one system call, is waited for.
const GRACE: Duration = Duration::from_secs(5);

/// What to scan, how, and for whom.
pub struct Job {
    pub root: Vec<u8>,
    pub options: ScanOptions,
    pub base: u64,
    pub control: Control,
    pub events: Sender,
}

type Ended = Result<v1::ScanFinished, ScanFailure>;

impl Files {
    /// Runs one scan from its turn on, and reports beside it until it ends.
    pub(super) async fn run(&self, job: Job) {
        let Job { root, control, events, .. } = &job;
        let (root, control, events) = (root.clone(), control.clone(), events.clone());
        let progress = Arc::new(Progress::default());
        let mut reports = Reports::new(&progress, &control, &events);
        let mut turn = std::pin::pin!(self.0.turns.clone().acquire_owned());
        let turn = loop {
            tokio::select! {
                biased;
                () = events.closed() => return,
                turn = &mut turn => break turn,
                () = reports.due() => reports.send(),
            }
        };
        let mut walk = match self.walk(job, progress.clone()) {
            Ok(walk) => walk,
            Err(error) => {
                let error =
                    ConnectError::resource_exhausted(format!("the scan got no thread: {error}; start it again"));
                let _ = events.send(Err(error)).await;
                return;
            }
        };
        let mut watch = Watch::new(self.0.hangs_after);
        let mut unwanted = None;
        let ended = loop {
            tokio::select! {
                ended = &mut walk => break ended.ok(),
                () = events.closed(), if unwanted.is_none() => {
                    control.cancel();
                    unwanted = Some(Instant::now());
                }
                () = reports.due() => {
                    reports.send();
                    let hung = match unwanted {
                        Some(since) if since.elapsed() > GRACE => Err(ScanFailure::Cancelled),
                        Some(_) => Ok(()),
                        None => watch.check(&root, &progress, &control),
                    };
                    if let Err(failure) = hung {
                        control.cancel();
                        self.give_up(root.clone(), &progress, walk);
                        break Some(Err(failure));
                    }
                }
            }
        };
        drop(turn);
        self.0.log.record(scan_event(ByteStr::from(root).to_string(), ended.as_ref()), Durability::Buffered);
        let message = match ended {
            Some(Ok(finished)) => Ok(event(v1::scan_event::Event::Finished(finished.into()))),
            Some(Err(failure)) => Err(refusal(&failure)),
            None => Err(ConnectError::internal("the scan broke off; the agent's log says why")),
        };
        // When the gateway is gone, nobody waits for the end.
        let _ = events.send(message).await;
    }

    /// Starts the walk; what it gives comes once it ends, or nothing when it breaks off.
    fn walk(&self, job: Job, progress: Arc<Progress>) -> std::io::Result<oneshot::Receiver<Ended>> {
        let (ended, walk) = oneshot::channel();
        let files = self.clone();
        // Not one of the runtime's: it may get the lowest priority for good, or never come back.
        std::thread::Builder::new().name("scan".into()).spawn(move || {
            let Job { root, options, base, control, events } = job;
            let mut sink = Sink::new(root.clone(), events);
            let request = ScanRequest {
                root: &root,
                options: &options,
                base_generation: base,
                manifests: &files.0.manifests,
                control: &control,
                progress: &progress,
            };
            let summary = scan(request, &mut sink)
                .and_then(|summary| sink.flush().map(|()| summary).map_err(|SinkClosed| ScanFailure::Cancelled));
            // Whoever waited may have given up.
            let _ = ended.send(summary.map(finished));
        })?;
        Ok(walk)
    }

    /// Leaves the thread where it hangs. Its root's manifest stays locked until it comes back.
    fn give_up(&self, root: Vec<u8>, progress: &Progress, walk: oneshot::Receiver<Ended>) {
        let mut at = root.clone();
        let place = progress.place();
        if !place.as_bytes().is_empty() {
            at.push(b'/');
            at.extend_from_slice(place.as_bytes());
        }
        let at = ByteStr::from(at);
        tracing::warn!(%at, "the filesystem does not answer; the scan was given up, its thread hangs");
        let files = self.clone();
        let number = files.0.stuck.add(root, at.clone());
        tokio::spawn(async move {
            let _ = walk.await;
            files.0.stuck.came_back(number);
            tracing::info!(%at, "the filesystem answers again or is gone; the scan's thread has ended");
        });
    }
}

/// Progress reports: often at first, then ever less, and only when there is something new.
struct Reports<'a> {
    progress: &'a Progress,
    control: &'a Control,
    events: &'a Sender,
    began: Instant,
    next: tokio::time::Instant,
    last: Option<(ScanCounters, bool, Instant)>,
}

impl<'a> Reports<'a> {
    fn new(progress: &'a Progress, control: &'a Control, events: &'a Sender) -> Self {
        let next = tokio::time::Instant::now() + REPORT_EVERY;
        Self { progress, control, events, began: Instant::now(), next, last: None }
    }

    async fn due(&self) {
        tokio::time::sleep_until(self.next).await;
    }

    fn send(&mut self) {
        let every = (self.began.elapsed() / 50).clamp(REPORT_EVERY, REPORT_AT_LEAST_EVERY);
        self.next = tokio::time::Instant::now() + every;
        let (counters, paused, now) = (self.progress.snapshot(), self.control.is_paused(), Instant::now());
        let said = self.last.is_some_and(|(last_counters, last_paused, at)| {
            (last_counters, last_paused) == (counters, paused) && now - at < SIGN_OF_LIFE_EVERY
        });
        if said {
            return;
        }
        let report = v1::ScanProgress {
            counters: Some(v1::ScanCounters::from(counters)).into(),
            current: self.progress.current().into_bytes(),
            paused,
            ..Default::default()
        };
        // A full queue means that the gateway is behind: it gets the next report.
        if self.events.try_send(Ok(event(v1::scan_event::Event::Progress(report.into())))).is_ok() {
            self.last = Some((counters, paused, now));
        }
    }
}

/// How a scan ended, for the journal.
fn scan_event(root: String, ended: Option<&Ended>) -> v1::HostEvent {
    match ended {
        Some(Ok(finished)) => {
            let counters = finished.counters.as_option().map(ScanCounters::from).unwrap_or_default();
            let ScanCounters { files, bytes, created, modified, deleted, errors, .. } = counters;
            let noun = if files == 1 { "file" } else { "files" };
            let message = format!("scanned {root}: {files} {noun}, {created} new, {modified} changed, {deleted} gone");
            let mut event = host_event("scan.completed", Severity::Info, root, message);
            event.data_json = serde_json::json!({
                "files": files, "bytes": bytes, "created": created, "modified": modified, "deleted": deleted,
                "errors": errors,
            })
            .to_string();
            event
        }
        Some(Err(ScanFailure::Cancelled)) => {
            let message = format!("the scan of {root} was cancelled, or the gateway did not wait for its end");
            host_event("scan.cancelled", Severity::Info, root, message)
        }
        Some(Err(failure)) => {
            let message = format!("the scan of {root} failed: {failure}");
            host_event("scan.failed", Severity::Error, root, message)
        }
        None => {
            let message = format!("the scan of {root} broke off; the agent's log says why");
            host_event("scan.failed", Severity::Error, root, message)
        }
    }
}

fn refusal(failure: &ScanFailure) -> ConnectError {
    let text = failure.to_string();
    match failure {
        ScanFailure::Cancelled => ConnectError::canceled(text),
        ScanFailure::RootMissing { .. } => ConnectError::not_found(text),
        ScanFailure::NotADirectory { .. }
        | ScanFailure::NothingStored { .. }
        | ScanFailure::BadExclude { .. }
        | ScanFailure::BadGeneration { .. } => ConnectError::invalid_argument(text),
        _ => ConnectError::internal(text),
    }
}
