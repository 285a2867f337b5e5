//! One scan of one root: the walk that feeds the merge.

use std::collections::BTreeSet;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{SystemTime, UNIX_EPOCH};

use hostler_model::{Algorithm, ByteStr, Entry, EntryKind, ScanCounters, ScanOptions};
use rustix::fs::CWD;
use rustix::io::Errno;

use crate::count::count_files;
use crate::dirs::DirChain;
use crate::error::{ManifestError, ScanFailure};
use crate::excludes::Excludes;
use crate::faults::{self, Call};
use crate::listing::{Hint, Listing, NameQueue};
use crate::manifest::format::Header;
use crate::manifest::store::ManifestStore;
use crate::merge::{Merge, Reporting, join};
use crate::progress::{Cancel, Progress};
use crate::pseudo::is_pseudo;
use crate::read::{Content, FileReader};
use crate::sink::ScanSink;
use crate::stat::{entry_at, entry_of, open_dir};

/// Entries between two updates of [`Progress`] within a directory.
const PROGRESS_STEP: u32 = 256;

/// What to scan, from which state, and how to watch it.
#[derive(Clone, Copy, Debug)]
pub struct ScanRequest<'a> {
    /// The directory: absolute, with symbolic links resolved. Also the manifests' key.
    pub root: &'a [u8],
    /// What to leave out and how to hash.
    pub options: &'a ScanOptions,
    /// The generation that the receiver has committed; 0 for none.
    pub base_generation: u64,
    /// Where manifests are kept.
    pub manifests: &'a ManifestStore,
    /// Stops the scan.
    pub cancel: &'a Cancel,
    /// Shows how far it is.
    pub progress: &'a Progress,
}

/// A finished scan; its manifest is pending.
#[derive(Clone, Debug)]
pub struct ScanSummary {
    /// The new state's number: pass it to [`ManifestStore::promote`] once the differences are committed.
    pub generation: u64,
    /// What was seen and done.
    pub counters: ScanCounters,
    /// What made the hashes.
    pub algorithm: Algorithm,
    /// Every owner in the new state.
    pub uids: BTreeSet<u32>,
    /// Every group in the new state.
    pub gids: BTreeSet<u32>,
}

/// Walks the root and tells `sink` what differs from the base; blocks until done.
///
/// On success the new manifest is on disk as the pending one. On failure, and when cancelled, manifests are as before.
///
/// # Errors
/// Only what makes the whole scan worthless: see [`ScanFailure`]. Anything below the root that cannot be read is told
/// to the sink and keeps its old entries.
pub fn scan(request: ScanRequest<'_>, sink: &mut dyn ScanSink) -> Result<ScanSummary, ScanFailure> {
    let outcome = run(&request, sink);
    if let Err(ScanFailure::Manifest(ManifestError::Damaged { path })) = &outcome {
        // It passed verification once; left in place it could fail every scan to come.
        let _ = std::fs::remove_file(path);
    }
    outcome
}

fn run(request: &ScanRequest<'_>, sink: &mut dyn ScanSink) -> Result<ScanSummary, ScanFailure> {
    let ScanRequest { root, options, base_generation, manifests, cancel, progress } = *request;
    let excludes = Excludes::new(options)?;
    let generation = next_generation(base_generation)?;
    let of_root = |errno| ScanFailure::of_root(root, errno);
    let root_fd = open_dir(CWD, root).map_err(of_root)?;
    let root_entry = entry_of(&root_fd).map_err(of_root)?;
    if is_pseudo(&root_fd).map_err(of_root)? {
        return Err(ScanFailure::NothingStored { root: ByteStr::from(root) });
    }

    let _lock = manifests.lock(root)?;
    let base = manifests.base(root, base_generation)?;
    let header = Header { root: root.to_vec(), generation, algorithm: options.algorithm };
    let manifest = manifests.create(&header)?;
    let reporting = Reporting {
        full: base.full,
        all_created: base.full && base_generation == 0,
        hashes_comparable: base.manifest.as_ref().is_some_and(|m| m.algorithm() == options.algorithm),
    };
    let count = match &base.manifest {
        Some(old) => {
            progress.expect(old.totals().files);
            None
        }
        // A description of its own: two that share one would share the position in the directory. A scan without an
        // expected number is still a scan.
        None => open_dir(&root_fd, b".").ok(),
    };
    sink.started(base.full)?;
    let mut walk = Walk {
        merge: Merge::new(base.manifest, manifest, sink, reporting)?,
        chain: DirChain::new(root_fd, &root_entry),
        pending: Vec::new(),
        reader: FileReader::new(options.algorithm, cancel.clone()),
        excludes,
        options,
        root,
        root_dev: root_entry.dev,
        cancel,
        progress,
        since_progress: 0,
    };
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        if let Some(fd) = count {
            scope.spawn(|| count_files(fd, &root_entry, progress, cancel, &done));
        }
        let walked = walk.run(&root_entry);
        done.store(true, Relaxed);
        walked
    })?;
    let Walk { merge, .. } = walk;
    progress.publish(&merge.counters);
    let summary = ScanSummary {
        generation,
        counters: progress.snapshot(),
        algorithm: options.algorithm,
        uids: merge.uids.clone(),
        gids: merge.gids.clone(),
    };
    manifests.keep_pending(root, merge.into_manifest())?;
    Ok(summary)
}

/// After the base and, where the clock allows, after every generation this host ever gave out: microseconds
/// since the epoch. Fits 63 bits, as stores have signed integers.
fn next_generation(base: u64) -> Result<u64, ScanFailure> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |age| age.as_micros());
    let now = u64::try_from(now).unwrap_or(0).min(i64::MAX.cast_unsigned());
    base.checked_add(1)
        .filter(|next| *next <= i64::MAX.cast_unsigned())
        .map(|next| next.max(now))
        .ok_or(ScanFailure::BadGeneration { generation: base })
}

/// A walk in progress. `pending` has one element per directory of `chain`.
struct Walk<'a> {
    merge: Merge<'a>,
    chain: DirChain,
    pending: Vec<Pending>,
    reader: FileReader,
    excludes: Excludes,
    options: &'a ScanOptions,
    root: &'a [u8],
    root_dev: u64,
    cancel: &'a Cancel,
    progress: &'a Progress,
    since_progress: u32,
}

/// What is left to do in a directory whose entries have been recorded.
struct Pending {
    /// Flagged: could not be looked at, and may or may not be a directory.
    subdirs: NameQueue,
    /// The directory's handle could not be had again.
    lost: bool,
}

impl Walk<'_> {
    fn run(&mut self, root_entry: &Entry) -> Result<(), ScanFailure> {
        let mut listing = Listing::new();
        let mut name = Vec::new();
        let old = self.merge.take_dir(b"", 0, b"")?;
        self.merge.seen(root_entry);
        self.merge.dir(b"", 0, b"", old.as_ref(), root_entry)?;
        let subdirs = self.entries(&mut listing)?;
        self.pending.push(Pending { subdirs, lost: false });
        while let Some(top) = self.pending.last_mut() {
            if self.cancel.is_cancelled() {
                return Err(ScanFailure::Cancelled);
            }
            if top.lost {
                self.merge.keep_below(self.chain.path(), self.chain.depth())?;
                self.leave()?;
                continue;
            }
            match top.subdirs.pop(&mut name) {
                Some(unread) => {
                    if self.enter(&name, unread)? {
                        let subdirs = self.entries(&mut listing)?;
                        self.pending.push(Pending { subdirs, lost: false });
                    }
                }
                None => {
                    self.merge.end_dirs(self.chain.path(), self.chain.depth() + 1)?;
                    self.leave()?;
                }
            }
        }
        Ok(())
    }

    /// Goes back to the parent.
    fn leave(&mut self) -> Result<(), ScanFailure> {
        self.pending.pop();
        if let Err(errno) = self.chain.pop()
            && let Some(parent) = self.pending.last_mut()
        {
            parent.lost = true;
            self.merge.error(self.chain.path(), "enter", &text(errno))?;
        }
        Ok(())
    }

    /// Goes to the subdirectory `name` of the deepest directory and records it; `false` when there is nothing to do in
    /// it.
    fn enter(&mut self, name: &[u8], unread: bool) -> Result<bool, ScanFailure> {
        let depth = self.chain.depth() + 1;
        let old = self.merge.take_dir(self.chain.path(), depth, name)?;
        let mut path = self.chain.path().to_vec();
        join(&mut path, name);
        if unread {
            if let Some(old) = old {
                self.merge.dir(&path, depth, name, Some(&old), &old)?;
                self.merge.keep_below(&path, depth)?;
            }
            return Ok(false);
        }
        match self.open_subdir(name) {
            Ok(Subdir::Open(fd, entry)) => {
                self.merge.seen(&entry);
                self.merge.dir(&path, depth, name, old.as_ref(), &entry)?;
                self.chain.push(name, fd, &entry);
                Ok(true)
            }
            Ok(Subdir::OtherFilesystem(entry)) => {
                self.merge.seen(&entry);
                self.merge.dir(&path, depth, name, old.as_ref(), &entry)?;
                self.merge.end_entries(&path)?;
                self.merge.end_dirs(&path, depth + 1)?;
                Ok(false)
            }
            // Removed, or replaced by something that the next scan sees.
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => {
                if old.is_some() {
                    self.merge.dir_gone(&path, depth)?;
                }
                Ok(false)
            }
            Err(errno) => {
                self.merge.error(&path, "enter", &text(errno))?;
                let now = self.chain.fd().and_then(|dir| entry_at(dir, name).ok());
                let now = now.filter(|entry| entry.kind == EntryKind::Dir);
                if let Some(entry) = &now {
                    self.merge.seen(entry);
                }
                if let Some(entry) = now.or(old) {
                    self.merge.dir(&path, depth, name, old.as_ref(), &entry)?;
                    self.merge.keep_below(&path, depth)?;
                }
                Ok(false)
            }
        }
    }

    fn open_subdir(&self, name: &[u8]) -> Result<Subdir, Errno> {
        let dir = self.chain.fd().ok_or(Errno::STALE)?;
        faults::check(Call::Enter, self.chain.path(), name)?;
        if self.options.one_file_system {
            // Before it is opened: opening would mount what an automounter has there.
            let entry = entry_at(dir, name)?;
            if entry.kind == EntryKind::Dir && entry.dev != self.root_dev {
                return Ok(Subdir::OtherFilesystem(entry));
            }
        }
        let fd = open_dir(dir, name)?;
        let entry = entry_of(&fd)?;
        if self.chain.leads_to_pseudo(&fd, &entry)? {
            return Ok(Subdir::OtherFilesystem(entry));
        }
        Ok(Subdir::Open(fd, entry))
    }

    /// Lists the deepest directory, records its entries, and gives its subdirectories.
    fn entries(&mut self, listing: &mut Listing) -> Result<NameQueue, ScanFailure> {
        let mut subdirs = NameQueue::default();
        self.progress.enter(self.chain.path());
        let listed = faults::check(Call::List, self.chain.path(), b"")
            .and_then(|()| self.chain.fd().ok_or(Errno::STALE))
            .and_then(|fd| listing.read(fd));
        match listed {
            Ok(()) => listing.sort(),
            // Removed after it was opened: an empty one.
            Err(Errno::NOENT) if self.chain.depth() > 0 => listing.clear(),
            Err(errno) if self.chain.depth() == 0 => return Err(ScanFailure::of_root(self.root, errno)),
            Err(errno) => {
                self.merge.error(self.chain.path(), "list", &text(errno))?;
                self.merge.keep_below(self.chain.path(), self.chain.depth())?;
                return Ok(subdirs);
            }
        }
        for (name, hint) in listing.iter() {
            self.visit(name, hint, &mut subdirs)?;
        }
        self.merge.end_entries(self.chain.path())?;
        self.progress.publish(&self.merge.counters);
        Ok(subdirs)
    }

    /// Records one name of the deepest directory, or puts it off when it is a directory.
    fn visit(&mut self, name: &[u8], hint: Hint, subdirs: &mut NameQueue) -> Result<(), ScanFailure> {
        if self.cancel.is_cancelled() {
            return Err(ScanFailure::Cancelled);
        }
        let dir = self.chain.path();
        let known_dir = hint == Hint::Dir;
        if hint != Hint::Unknown && self.excludes.excluded(dir, name, known_dir) {
            return Ok(());
        }
        if known_dir {
            subdirs.push(name, false);
            return Ok(());
        }
        let Some(fd) = self.chain.fd() else { return Ok(()) };
        let listed = match faults::check(Call::Stat, dir, name).and_then(|()| entry_at(fd, name)) {
            Ok(entry) => entry,
            Err(Errno::NOENT) => return Ok(()),
            Err(errno) => {
                let mut path = dir.to_vec();
                join(&mut path, name);
                self.merge.error(&path, "stat", &text(errno))?;
                if hint == Hint::Unknown {
                    subdirs.push(name, true);
                }
                return self.merge.keep_entry(dir, name);
            }
        };
        let is_dir = listed.kind == EntryKind::Dir;
        if (hint == Hint::Unknown || is_dir) && self.excludes.excluded(dir, name, is_dir) {
            return Ok(());
        }
        if is_dir {
            subdirs.push(name, false);
            return Ok(());
        }
        let old = self.merge.take_entry(dir, name)?;
        let new = match listed.kind {
            EntryKind::File => self.file(name, old.as_ref(), &listed)?,
            _ => Some(listed),
        };
        let dir = self.chain.path();
        match new {
            Some(entry) if entry.kind != EntryKind::Dir => {
                self.merge.seen(&entry);
                self.merge.entry(dir, name, old.as_ref(), &entry)?;
            }
            replaced_by_dir_or_gone => {
                if replaced_by_dir_or_gone.is_some() {
                    subdirs.push(name, false);
                }
                if old.is_some() {
                    self.merge.entry_gone(dir, name)?;
                }
            }
        }
        self.since_progress += 1;
        if self.since_progress >= PROGRESS_STEP {
            self.since_progress = 0;
            self.progress.publish(&self.merge.counters);
        }
        Ok(())
    }

    /// The entry of a regular file with its hash, from the old manifest or from its content; `None` when it is gone.
    fn file(&mut self, name: &[u8], old: Option<&Entry>, listed: &Entry) -> Result<Option<Entry>, ScanFailure> {
        let options = self.options;
        let too_large = options.hash_max_size != 0 && listed.size > options.hash_max_size;
        if listed.size < options.hash_min_size || too_large {
            return Ok(Some(*listed));
        }
        let held = |merge: &Merge<'_>, now: &Entry| old.filter(|old| merge.hash_holds(old, now)).and_then(|o| o.hash);
        if !options.force
            && let Some(hash) = held(&self.merge, listed)
        {
            return Ok(Some(Entry { hash: Some(hash), ..*listed }));
        }
        let Some(fd) = self.chain.fd() else { return Ok(None) };
        let dir = self.chain.path();
        let content = self.reader.hash(fd.as_fd(), dir, name, listed);
        self.merge.counters.hashed_bytes = self.reader.bytes_read;
        // Some large files take longer than many small entries.
        self.progress.publish(&self.merge.counters);
        let path = || {
            let mut path = dir.to_vec();
            join(&mut path, name);
            path
        };
        Ok(match content {
            Content::Hashed(entry) => {
                self.merge.counters.hashed_files += 1;
                Some(entry)
            }
            Content::Replaced(entry) => Some(entry),
            Content::Vanished => None,
            Content::Changing(entry) => {
                self.merge.error(&path(), "read", "changed while it was read")?;
                Some(entry)
            }
            Content::Failed { operation, errno, entry } => {
                self.merge.error(&path(), operation, &text(errno))?;
                let entry = entry.unwrap_or(*listed);
                Some(Entry { hash: held(&self.merge, &entry), ..entry })
            }
            Content::Cancelled => return Err(ScanFailure::Cancelled),
        })
    }
}

/// A subdirectory that could be looked at.
enum Subdir {
    Open(OwnedFd, Entry),
    /// On another filesystem than the root's, and the options say to stay on one.
    OtherFilesystem(Entry),
}

fn text(errno: Errno) -> String {
    std::io::Error::from(errno).to_string()
}
