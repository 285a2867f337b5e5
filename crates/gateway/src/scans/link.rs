//! Scans by Hostler's own agent, over its link.
//!
//! Batches are staged as they come; the index changes in one step at the end, so a scan that ends in any other way leaves no
//! trace in it. Promote may be lost: the next scan's base generation tells the host.

use std::pin::pin;
use std::time::{Duration, Instant};

use connectrpc::client::CallOptions;
use connectrpc::{ConnectError, ErrorCode};
use hostler_api::{index_ops, v1};
use hostler_link::LinkClient;
use hostler_model::{Algorithm, ByteStr, IndexOp, ScanCounters, ScanId};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::rates::Rates;
use super::{Ended, Inner, SetPausedError, StartScanError};
use crate::clock;
use crate::store::{Extent, IndexCommit, Owner, Scan, ScanError, Store, Told};

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

/// Asks the host whether it lets this directory be scanned; the path with symbolic links resolved.
pub(super) async fn check_root(client: &LinkClient, root: &ByteStr) -> Result<ByteStr, StartScanError> {
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
    /// Has the host pause a running scan, or go on.
    pub(super) async fn tell_paused(&self, scan: &Scan, paused: bool) -> Result<(), SetPausedError> {
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

    pub(super) async fn run_over_link(
        &self,
        scan: &Scan,
        cancel: &CancellationToken,
        pauses: &watch::Receiver<bool>,
    ) -> Result<(), Ended> {
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
            () = cancel.cancelled() => return Err(Ended::Cancelled(None)),
            commit = self.follow(scan, base, &client, pauses) => commit?,
        };
        // The last moment at which nothing has changed yet.
        if cancel.is_cancelled() {
            return Err(Ended::Cancelled(None));
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
        told: Told::Staged,
        extent: if full { Extent::Whole } else { Extent::Differences },
        completes: true,
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
