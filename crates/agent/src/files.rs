//! The files capability: `hostler.v1.FilesService` over `hostler_files`, within the granted roots.

#![allow(refining_impl_trait, reason = "connectrpc's traits are implemented with concrete types")]

use std::ffi::OsStr;
use std::future::Future;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use connectrpc::{ConnectError, RequestContext, Response, ServiceRequest, ServiceResult, ServiceStream};
use futures_util::StreamExt;
use hostler_api::{BatchBuilder, v1};
use hostler_files::owners::Owners;
use hostler_files::{
    Cancel, ManifestStore, Progress, PromoteError, ScanFailure, ScanRequest, ScanSink, ScanSummary, SinkClosed,
};
use hostler_journal::Durability;
use hostler_model::{Algorithm, ByteStr, ChangeOp, Entry, ScanCounters, ScanOptions};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinError;
use tokio_stream::wrappers::ReceiverStream;

use crate::capability::Capability;
use crate::journal::{EventLog, Severity, event as host_event};
use crate::policy::FilesPolicy;

/// Scans at the same time; more wait for their turn.
const SCANS: usize = 2;
/// Events that wait for a slow gateway before the walk waits too: half a MiB.
const QUEUE: usize = 8;
/// How often a running scan reports.
const PROGRESS_EVERY: Duration = Duration::from_millis(400);

/// File trees of this host.
#[derive(Clone)]
pub struct Files(Arc<Inner>);

struct Inner {
    policy: FilesPolicy,
    manifests: ManifestStore,
    log: EventLog,
    turns: Arc<Semaphore>,
}

impl Files {
    /// Serves what `policy` grants, keeps manifests in `manifests` and records scans in `log`.
    pub fn new(policy: FilesPolicy, manifests: ManifestStore, log: EventLog) -> Self {
        Self(Arc::new(Inner { policy, manifests, log, turns: Arc::new(Semaphore::new(SCANS)) }))
    }

    /// The directory `path` stands for, when it is one and granted.
    async fn resolve(&self, path: &[u8]) -> Result<PathBuf, ConnectError> {
        let path = PathBuf::from(OsStr::from_bytes(path));
        let roots = self.0.policy.roots.clone();
        tokio::task::spawn_blocking(move || resolve(&path, &roots))
            .await
            .map_err(|_| ConnectError::internal("the path could not be looked up"))?
    }
}

impl Capability for Files {
    fn routes(&self, router: connectrpc::Router) -> connectrpc::Router {
        router.add_service(Arc::new(self.clone()))
    }

    fn probe(&self) -> Pin<Box<dyn Future<Output = v1::Capability> + Send + '_>> {
        let roots = self.0.policy.roots.clone();
        Box::pin(async move {
            let listed = roots.iter().map(|r| r.as_os_str().as_bytes().to_vec()).collect();
            let (state, detail) = tokio::task::spawn_blocking(move || prove(&roots)).await.unwrap_or_else(|_| {
                (v1::CapabilityState::CAPABILITY_STATE_FAILED, "the granted directories could not be read".into())
            });
            v1::Capability { name: "files".into(), state: state.into(), detail, roots: listed, ..Default::default() }
        })
    }
}

fn prove(roots: &[PathBuf]) -> (v1::CapabilityState, String) {
    use v1::CapabilityState as State;
    if roots.is_empty() {
        let detail = "no directory is granted; set files.roots in agent.toml, such as roots = [\"/srv\"]";
        return (State::CAPABILITY_STATE_NOT_GRANTED, detail.into());
    }
    for root in roots {
        if let Err(error) = std::fs::read_dir(root) {
            let shown = ByteStr::from(root.as_os_str().as_bytes());
            return (State::CAPABILITY_STATE_FAILED, format!("cannot list {shown}: {error}"));
        }
    }
    let count = roots.len();
    (
        State::CAPABILITY_STATE_PROVED,
        format!("listed {count} granted {}", if count == 1 { "directory" } else { "directories" }),
    )
}

fn resolve(path: &Path, roots: &[PathBuf]) -> Result<PathBuf, ConnectError> {
    let shown = ByteStr::from(path.as_os_str().as_bytes());
    if !path.is_absolute() {
        return Err(ConnectError::invalid_argument(format!("{shown} is not an absolute path")));
    }
    let granted =
        |path: &Path| roots.iter().any(|root| std::fs::canonicalize(root).is_ok_and(|root| path.starts_with(root)));
    let refuse = || {
        let list: Vec<String> =
            roots.iter().map(|r| ByteStr::from(r.as_os_str().as_bytes()).display().into_owned()).collect();
        let granted =
            if list.is_empty() { "grants no directory".into() } else { format!("grants {}", list.join(", ")) };
        ConnectError::permission_denied(format!(
            "{shown} is not granted: this host {granted}. Its owner sets files.roots in agent.toml"
        ))
    };
    match std::fs::canonicalize(path) {
        // What lies outside the grant is not told apart: not even whether it exists.
        Ok(resolved) if !granted(&resolved) => Err(refuse()),
        Ok(resolved) if !resolved.is_dir() => {
            Err(ConnectError::invalid_argument(format!("{shown} is not a directory; scan the directory that holds it")))
        }
        Ok(resolved) => Ok(resolved),
        // A dangling link inside would tell what exists outside.
        Err(_) if path.ancestors().take_while(|a| a.canonicalize().is_err()).any(Path::is_symlink) => Err(refuse()),
        Err(error) => match existing_parent(path) {
            Some(parent) if granted(&parent) => {
                let suggestion = did_you_mean(path, &parent);
                Err(ConnectError::not_found(format!("{shown}: {error}.{suggestion}")))
            }
            _ => Err(refuse()),
        },
    }
}

fn existing_parent(path: &Path) -> Option<PathBuf> {
    path.ancestors().skip(1).find_map(|parent| std::fs::canonicalize(parent).ok())
}

/// A directory beside the missing one whose name differs little: `/srv/meda` finds `/srv/media`.
fn did_you_mean(path: &Path, parent: &Path) -> String {
    const LOOKED_AT: usize = 1000;
    /// No name is longer (NAME_MAX), and comparing takes as long as both names together.
    const LONGEST_NAME: usize = 255;
    let wanted = path.file_name().map(|n| n.to_string_lossy().to_lowercase()).unwrap_or_default();
    let likely = std::fs::read_dir(parent).ok().filter(|_| wanted.len() <= LONGEST_NAME);
    let near = likely.and_then(|entries| {
        entries
            .take(LOOKED_AT)
            .flatten()
            .filter(|e| e.path().is_dir())
            .map(|e| (crate::policy::edit_distance(&wanted, &e.file_name().to_string_lossy().to_lowercase()), e.path()))
            .filter(|(distance, _)| *distance <= 2)
            .min()
    });
    match near {
        Some((_, path)) => format!(" Did you mean {}?", ByteStr::from(path.as_os_str().as_bytes())),
        None => format!(" {} exists", ByteStr::from(parent.as_os_str().as_bytes())),
    }
}

impl v1::FilesService for Files {
    async fn scan(
        &self,
        _: RequestContext,
        request: ServiceRequest<'_, v1::ScanRequest>,
    ) -> ServiceResult<ServiceStream<v1::ScanEvent>> {
        let request = request.to_owned_message();
        let root = self.resolve(&request.root).await?.into_os_string().into_vec();
        let options = options(&request)?;
        let files = self.clone();
        let cancel = Cancel::default();
        let (events, receiver) = mpsc::channel(QUEUE);
        let stop = CancelOnDrop(cancel.clone());
        tokio::spawn(async move {
            let Ok(_turn) = files.0.turns.clone().acquire_owned().await else { return };
            files.run(root, options, request.base_generation, cancel, events).await;
        });
        let stream = ReceiverStream::new(receiver).map(move |event| {
            // Lives as long as the stream: when the gateway resets the call, the walk stops.
            let _ = &stop;
            event
        });
        Response::ok(Box::pin(stream) as ServiceStream<v1::ScanEvent>)
    }

    async fn promote(
        &self,
        _: RequestContext,
        request: ServiceRequest<'_, v1::PromoteRequest>,
    ) -> ServiceResult<v1::PromoteResponse> {
        let request = request.to_owned_message();
        let files = self.clone();
        let promoted =
            tokio::task::spawn_blocking(move || files.0.manifests.promote(&request.root, request.generation)).await;
        match promoted {
            Ok(Ok(())) => Response::ok(v1::PromoteResponse::default()),
            Ok(Err(error @ PromoteError::UnknownGeneration { .. })) => {
                Err(ConnectError::failed_precondition(error.to_string()))
            }
            Ok(Err(error)) => Err(ConnectError::internal(error.to_string())),
            Err(_) => Err(ConnectError::internal("the manifest could not be promoted")),
        }
    }

    async fn check_root(
        &self,
        _: RequestContext,
        request: ServiceRequest<'_, v1::CheckRootRequest>,
    ) -> ServiceResult<v1::CheckRootResponse> {
        let resolved = self.resolve(request.path).await?;
        Response::ok(v1::CheckRootResponse { resolved: resolved.into_os_string().into_vec(), ..Default::default() })
    }
}

struct CancelOnDrop(Cancel);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

type Sender = mpsc::Sender<Result<v1::ScanEvent, ConnectError>>;

impl Files {
    /// Runs one scan on a thread of its own and reports beside it until it ends.
    async fn run(&self, root: Vec<u8>, options: ScanOptions, base: u64, cancel: Cancel, events: Sender) {
        let progress = Arc::new(Progress::default());
        let files = self.clone();
        let subject = ByteStr::from(root.as_slice()).to_string();
        let mut walk = {
            let (progress, events) = (progress.clone(), events.clone());
            tokio::task::spawn_blocking(move || {
                let mut sink = Sink { events, batch: BatchBuilder::default(), root: root.clone() };
                let request = ScanRequest {
                    root: &root,
                    options: &options,
                    base_generation: base,
                    manifests: &files.0.manifests,
                    cancel: &cancel,
                    progress: &progress,
                };
                let summary = hostler_files::scan(request, &mut sink)?;
                sink.flush().map_err(|SinkClosed| ScanFailure::Cancelled)?;
                Ok(finished(summary))
            })
        };
        let mut ticks = tokio::time::interval(PROGRESS_EVERY);
        let last = loop {
            tokio::select! {
                ended = &mut walk => break ended,
                _ = ticks.tick() => {
                    let report = v1::ScanProgress {
                        counters: Some(v1::ScanCounters::from(progress.snapshot())).into(),
                        current: progress.current().into_bytes(),
                        ..Default::default()
                    };
                    // A full queue means that the gateway is behind: it gets the next report.
                    let _ = events.try_send(Ok(event(v1::scan_event::Event::Progress(report.into()))));
                }
            }
        };
        self.0.log.record(scan_event(subject, &last), Durability::Buffered);
        let message = match last {
            Ok(Ok(finished)) => Ok(event(v1::scan_event::Event::Finished(finished.into()))),
            Ok(Err(failure)) => Err(refusal(&failure)),
            Err(_) => Err(ConnectError::internal("the scan broke off; the agent's log says why")),
        };
        // When the gateway is gone, nobody waits for the end.
        let _ = events.send(message).await;
    }
}

/// How a scan ended, for the journal.
fn scan_event(root: String, ended: &Result<Result<v1::ScanFinished, ScanFailure>, JoinError>) -> v1::HostEvent {
    match ended {
        Ok(Ok(finished)) => {
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
        Ok(Err(ScanFailure::Cancelled)) => {
            let message = format!("the scan of {root} was cancelled, or the gateway did not wait for its end");
            host_event("scan.cancelled", Severity::Info, root, message)
        }
        Ok(Err(failure)) => {
            let message = format!("the scan of {root} failed: {failure}");
            host_event("scan.failed", Severity::Error, root, message)
        }
        Err(_) => {
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

fn options(request: &v1::ScanRequest) -> Result<ScanOptions, ConnectError> {
    let algorithm = match request.algorithm {
        0 => Some(Algorithm::default()),
        code => u8::try_from(code).ok().and_then(Algorithm::from_code),
    };
    Ok(ScanOptions {
        algorithm: algorithm
            .ok_or_else(|| ConnectError::invalid_argument("this agent does not know that hash algorithm"))?,
        force: request.force,
        excludes: request.excludes.clone(),
        one_file_system: request.one_file_system,
        snapshots: request.snapshots,
        hash_min_size: request.hash_min_size,
        hash_max_size: request.hash_max_size,
    })
}

fn event(event: v1::scan_event::Event) -> v1::ScanEvent {
    v1::ScanEvent { event: Some(event), ..Default::default() }
}

/// Blocks: names may have to be asked for.
fn finished(summary: ScanSummary) -> v1::ScanFinished {
    let mut names = Owners::load();
    let owner = |group, id, name: Option<String>| name.map(|name| v1::Owner { group, id, name, ..Default::default() });
    let mut owners: Vec<v1::Owner> = summary.uids.iter().filter_map(|id| owner(false, *id, names.user(*id))).collect();
    owners.extend(summary.gids.iter().filter_map(|id| owner(true, *id, names.group(*id))));
    v1::ScanFinished {
        counters: Some(v1::ScanCounters::from(summary.counters)).into(),
        generation: summary.generation,
        algorithm: u32::from(summary.algorithm.code()),
        owners,
        ..Default::default()
    }
}

/// Sends what the walk finds in batches; waits when the gateway is slower than the walk.
struct Sink {
    events: Sender,
    batch: BatchBuilder,
    root: Vec<u8>,
}

impl Sink {
    fn flush(&mut self) -> Result<(), SinkClosed> {
        match self.batch.take() {
            Some(batch) => self.send(v1::scan_event::Event::Batch(batch.into())),
            None => Ok(()),
        }
    }

    fn flush_when_full(&mut self) -> Result<(), SinkClosed> {
        if self.batch.is_full() { self.flush() } else { Ok(()) }
    }

    fn send(&self, message: v1::scan_event::Event) -> Result<(), SinkClosed> {
        self.events.blocking_send(Ok(event(message))).map_err(|_| SinkClosed)
    }
}

impl ScanSink for Sink {
    fn started(&mut self, full: bool) -> Result<(), SinkClosed> {
        let started = v1::ScanStarted { root: self.root.clone(), full, ..Default::default() };
        self.send(v1::scan_event::Event::Started(started.into()))
    }
    fn dir(&mut self, path: &[u8], op: Option<ChangeOp>, entry: &Entry) -> Result<(), SinkClosed> {
        self.batch.dir(path, op, entry);
        self.flush_when_full()
    }
    fn entry(
        &mut self,
        dir: &[u8],
        name: &[u8],
        op: Option<ChangeOp>,
        entry: Option<&Entry>,
    ) -> Result<(), SinkClosed> {
        self.batch.entry(dir, name, op, entry);
        self.flush_when_full()
    }
    fn dir_removed(&mut self, path: &[u8]) -> Result<(), SinkClosed> {
        self.batch.dir_removed(path);
        self.flush_when_full()
    }
    fn error(&mut self, path: &[u8], operation: &'static str, message: &str) -> Result<(), SinkClosed> {
        self.batch.error(path, operation, message);
        self.flush_when_full()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_granted_directories_are_resolved() {
        let dir = tempfile::tempdir().unwrap();
        let base = dir.path().canonicalize().unwrap();
        std::fs::create_dir_all(base.join("in/media")).unwrap();
        std::fs::create_dir_all(base.join("inner")).unwrap();
        std::fs::write(base.join("in/file"), b"").unwrap();
        std::os::unix::fs::symlink("/etc", base.join("in/etc")).unwrap();
        std::os::unix::fs::symlink("/nowhere", base.join("in/dangling")).unwrap();
        let roots = [base.join("in")];
        let text = |path: &str| resolve(&base.join(path), &roots).unwrap_err().to_string();
        assert_eq!(resolve(&base.join("in/media/.."), &roots).unwrap(), base.join("in"));
        for outside in ["inner", "in/etc", "in/dangling", "in/../inner", "nowhere/at/all"] {
            assert!(text(outside).contains("is not granted"), "{outside}: {}", text(outside));
        }
        assert!(text("in/file").contains("not a directory"));
        assert!(text("in/meda").contains("Did you mean"), "{}", text("in/meda"));
        assert!(resolve(Path::new("relative"), &roots).unwrap_err().to_string().contains("absolute"));
    }
}
