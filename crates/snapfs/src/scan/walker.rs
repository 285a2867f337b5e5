//! The thread that walks.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use hostler_files::owners::Owners;
use hostler_files::{Control, Found, ScanFailure, SinkClosed, WalkProblem, WalkRequest, WalkSink, walk};
use hostler_model::ScanOptions;
use tokio::sync::mpsc;

use super::item::{BATCH_BYTES, Batch, Dir, join};
use super::json;
use super::links::Links;
use super::tally::Tally;
use super::trouble::Trouble;

/// Owners whose names are held.
const OWNERS: usize = 1 << 16;

/// Snapshots of filers that are not among the names every scan leaves out.
const SKIPPED: [&[u8]; 1] = [b".snapshot"];

/// Gathers what the walk finds into batches.
pub struct Walker {
    pub root: Vec<u8>,
    pub options: ScanOptions,
    pub control: Control,
    pub tally: Arc<Tally>,
    pub trouble: Arc<Trouble>,
    /// Entries in a batch.
    pub batch_size: usize,
    pub batches: mpsc::Sender<Batch>,
}

struct Sink<'a> {
    walker: &'a Walker,
    batch: Batch,
    dir: Arc<Dir>,
    links: Links,
    owners: Owners,
    owner_json: HashMap<(u32, u32), Arc<[u8]>>,
}

impl Walker {
    /// Walks until the end, until it is stopped, or until nobody receives.
    pub fn run(self) -> Result<(), ScanFailure> {
        let mut sink = Sink {
            walker: &self,
            batch: Batch::default(),
            dir: Arc::new(Dir { path: Vec::new(), json: escaped(&self.root) }),
            links: Links::default(),
            owners: Owners::load(),
            owner_json: HashMap::new(),
        };
        let request = WalkRequest {
            root: &self.root,
            options: &self.options,
            skipped_dirs: &SKIPPED,
            control: &self.control,
            progress: &self.tally.walk,
        };
        let walked = walk(request, &mut sink);
        // Also what came before a failure.
        let sent = sink.send();
        self.tally.walked.store(true, Relaxed);
        walked?;
        sent.map_err(|SinkClosed| ScanFailure::Cancelled)
    }
}

impl Sink<'_> {
    fn send(&mut self) -> Result<(), SinkClosed> {
        if self.batch.items.is_empty() {
            return Ok(());
        }
        let batch = std::mem::take(&mut self.batch);
        self.walker.batches.blocking_send(batch).map_err(|_| SinkClosed)
    }

    fn owner(&mut self, uid: u32, gid: u32) -> Arc<[u8]> {
        if let Some(known) = self.owner_json.get(&(uid, gid)) {
            return known.clone();
        }
        if self.owner_json.len() >= OWNERS {
            self.owner_json.clear();
        }
        let user = self.owners.user(uid).unwrap_or_else(|| uid.to_string());
        let group = self.owners.group(gid).unwrap_or_else(|| gid.to_string());
        let mut out = Vec::new();
        out.extend_from_slice(b"\"owner\":");
        json::string(&mut out, user.as_bytes());
        out.extend_from_slice(b",\"group\":");
        json::string(&mut out, group.as_bytes());
        out.extend_from_slice(b",\"uid\":");
        json::int(&mut out, uid);
        out.extend_from_slice(b",\"gid\":");
        json::int(&mut out, gid);
        out.push(b',');
        let out: Arc<[u8]> = out.into();
        self.owner_json.insert((uid, gid), out.clone());
        out
    }
}

impl WalkSink for Sink<'_> {
    fn entry(&mut self, dir: &[u8], name: &[u8], found: &Found) -> Result<(), SinkClosed> {
        if self.dir.path != dir {
            self.dir = Arc::new(Dir { path: dir.to_vec(), json: escaped(&join(&self.walker.root, dir)) });
        }
        let owner = self.owner(found.entry.uid, found.entry.gid);
        let (again, link) = self.links.see(found);
        let tally = &self.walker.tally;
        // This thread alone writes them.
        tally.files.store(tally.files.load(Relaxed) + 1, Relaxed);
        tally.bytes.store(tally.bytes.load(Relaxed).saturating_add(found.entry.size), Relaxed);
        self.batch.push(&self.dir, name, found, &owner, again, link);
        if self.batch.items.len() >= self.walker.batch_size || self.batch.bytes >= BATCH_BYTES {
            self.send()?;
        }
        Ok(())
    }

    fn problem(&mut self, problem: WalkProblem<'_>) -> Result<(), SinkClosed> {
        let path = join(&self.walker.root, problem.path);
        self.walker.trouble.walk(&path, problem.operation, &problem.source);
        Ok(())
    }
}

fn escaped(path: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(path.len());
    json::escaped(&mut out, path);
    out
}
