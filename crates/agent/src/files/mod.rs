//! The files capability: `hostler.v1.FilesService` over `hostler_files`, within the granted roots.

#![allow(refining_impl_trait, reason = "connectrpc's traits are implemented with concrete types")]

mod patience;
mod resolve;
mod run;
mod sink;
mod stuck;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::ffi::OsStr;
use std::future::Future;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use connectrpc::{ConnectError, RequestContext, Response, ServiceRequest, ServiceResult, ServiceStream};
use futures_util::StreamExt;
use hostler_api::v1;
use hostler_files::{Control, ManifestStore, PromoteError};
use hostler_model::{Algorithm, ByteStr, ScanLimits, ScanOptions};
use tokio::sync::{Semaphore, mpsc};
use tokio_stream::wrappers::ReceiverStream;

use crate::capability::Capability;
use crate::journal::EventLog;
use crate::policy::FilesPolicy;
use patience::{NoAnswer, Patience};
use run::Job;
use stuck::Stuck;

/// Scans at the same time; more wait for their turn.
const SCANS: usize = 2;
/// Events that wait for a slow gateway before the walk waits too: half a MiB.
const QUEUE: usize = 8;
/// A scan that reads nothing for this long, and waits for nothing else, hangs.
const HANGS_AFTER: Duration = Duration::from_secs(60);
/// How long a path may take to be looked up; a gateway waits 15 s.
const LOOK: Duration = Duration::from_secs(10);
/// Threads that look up paths for the gateway, hanging ones included.
const LOOKS: usize = 8;

/// File trees of this host.
#[derive(Clone)]
pub struct Files(Arc<Inner>);

struct Inner {
    policy: FilesPolicy,
    manifests: ManifestStore,
    log: EventLog,
    turns: Arc<Semaphore>,
    /// Scans that wait or run, by a number of our own: ids come from the gateway.
    scans: Mutex<Scans>,
    stuck: Stuck,
    hangs_after: Duration,
    looks: Patience,
    /// One: while a probe hangs, the next ones say so.
    probes: Patience,
}

#[derive(Default)]
struct Scans {
    last: u64,
    known: HashMap<u64, (String, Control)>,
}

impl Files {
    /// Serves what `policy` grants, keeps manifests in `manifests` and records scans in `log`.
    pub fn new(policy: FilesPolicy, manifests: ManifestStore, log: EventLog) -> Self {
        Self::with_patience(policy, manifests, log, HANGS_AFTER, LOOK)
    }

    /// The same, with other times after which something hangs.
    fn with_patience(
        policy: FilesPolicy,
        manifests: ManifestStore,
        log: EventLog,
        hangs_after: Duration,
        look: Duration,
    ) -> Self {
        Self(Arc::new(Inner {
            policy,
            manifests,
            log,
            turns: Arc::new(Semaphore::new(SCANS)),
            scans: Mutex::default(),
            stuck: Stuck::default(),
            hangs_after,
            looks: Patience::new(LOOKS, look),
            probes: Patience::new(1, look),
        }))
    }

    /// The directory `path` stands for, when it is one and granted.
    async fn resolve(&self, path: &[u8]) -> Result<PathBuf, ConnectError> {
        let wanted = PathBuf::from(OsStr::from_bytes(path));
        let roots = self.0.policy.roots.clone();
        self.0.looks.run(move || resolve::resolve(&wanted, &roots)).await.unwrap_or_else(|NoAnswer| {
            let shown = ByteStr::from(path);
            Err(ConnectError::failed_precondition(format!(
                "looking up {shown} takes too long: its filesystem, or that of a granted directory, does not answer; mount \
                 it again or unmount it (umount -f or -l)"
            )))
        })
    }

    /// Begins a scan; its messages, until one is an error or the last.
    async fn begin(&self, request: v1::ScanRequest) -> Result<ReceiverStream<Message>, ConnectError> {
        let root = self.resolve(&request.root).await?.into_os_string().into_vec();
        let options = options(&request, &self.0.policy)?;
        self.0.stuck.check(&root)?;
        let control = Control::default();
        let (events, receiver) = mpsc::channel(QUEUE);
        let known = self.know(request.scan_id, control.clone());
        let files = self.clone();
        let job = Job { root, options, base: request.base_generation, control, events };
        tokio::spawn(async move {
            let _known = known;
            files.run(job).await;
        });
        Ok(ReceiverStream::new(receiver))
    }

    fn scans(&self) -> MutexGuard<'_, Scans> {
        self.0.scans.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets the gateway pause the scan, until what this gives is dropped.
    fn know(&self, id: String, control: Control) -> Known {
        let mut scans = self.scans();
        scans.last += 1;
        let number = scans.last;
        scans.known.insert(number, (id, control));
        Known { files: self.clone(), number }
    }

    fn set_paused(&self, id: &str, paused: bool) -> Result<(), ConnectError> {
        let scans = self.scans();
        let mut found = scans.known.values().filter(|(known, _)| known == id).peekable();
        if found.peek().is_none() {
            return Err(ConnectError::not_found("this host does not run that scan; it has ended, or not begun"));
        }
        found.for_each(|(_, control)| control.set_paused(paused));
        Ok(())
    }
}

type Message = Result<v1::ScanEvent, ConnectError>;

struct Known {
    files: Files,
    number: u64,
}

impl Drop for Known {
    fn drop(&mut self) {
        self.files.scans().known.remove(&self.number);
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
            let (state, detail) = self.0.probes.run(move || resolve::prove(&roots)).await.unwrap_or_else(|NoAnswer| {
                let detail = "a granted directory does not answer; its filesystem may have to be mounted again";
                (v1::CapabilityState::CAPABILITY_STATE_FAILED, detail.into())
            });
            v1::Capability { name: "files".into(), state: state.into(), detail, roots: listed, ..Default::default() }
        })
    }
}

impl v1::FilesService for Files {
    async fn scan(
        &self,
        _: RequestContext,
        request: ServiceRequest<'_, v1::ScanRequest>,
    ) -> ServiceResult<ServiceStream<v1::ScanEvent>> {
        let events = self.begin(request.to_owned_message()).await?;
        // A thread that hangs holds the other end for as long: what ends the stream is its last message.
        let mut ended = false;
        let events = events.take_while(move |message| {
            let go_on = !ended;
            ended = message.is_err();
            std::future::ready(go_on)
        });
        Response::ok(Box::pin(events) as ServiceStream<v1::ScanEvent>)
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

    async fn set_paused(
        &self,
        _: RequestContext,
        request: ServiceRequest<'_, v1::SetPausedRequest>,
    ) -> ServiceResult<v1::SetPausedResponse> {
        Self::set_paused(self, request.scan_id, request.paused)?;
        Response::ok(v1::SetPausedResponse::default())
    }
}

/// As asked for, within the owner's limits.
fn options(request: &v1::ScanRequest, policy: &FilesPolicy) -> Result<ScanOptions, ConnectError> {
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
        limits: policy.limits(ScanLimits {
            cpu_percent: request.cpu_percent,
            bytes_per_second: request.bytes_per_second,
            idle: request.idle,
        }),
    })
}
