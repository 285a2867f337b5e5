//! One scan of one root: the walk that feeds the merge.

use std::collections::BTreeSet;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use hostler_model::{Algorithm, ByteStr, ContentHash, Entry, EntryKind, ScanCounters, ScanLimits, ScanOptions};
use rustix::fs::CWD;
use rustix::io::Errno;

use crate::control::Control;
use crate::count::count_files;
use crate::dirs::DirChain;
use crate::error::{ManifestError, ScanFailure};
use crate::excludes::Excludes;
use crate::faults::{self, Call};
use crate::idle::go_idle;
use crate::listing::{Hint, Listing, NameQueue};
use crate::manifest::format::Header;
use crate::manifest::store::ManifestStore;
use crate::merge::{Merge, Reporting, join};
use crate::pace::Pace;
use crate::progress::Progress;
use crate::pseudo::is_pseudo;
use crate::read::{Content, FileReader};
use crate::sink::{ScanSink, Waited};
use crate::stat::{entry_at, entry_of, open_dir};

/// Entries between two updates of [`Progress`] within a directory.
const PROGRESS_STEP: u32 = 256;

/// A first scan that ends before needs no estimate of its end. The counting pass is 5% of the processor time of scanning
/// 200,000 small files.
const COUNT_AFTER: Duration = Duration::from_secs(4);

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
    /// Stops and pauses the scan.
    pub control: &'a Control,
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
/// With `limits.idle` the calling thread keeps the lowest priorities: it should end with the scan.
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
    let ScanRequest { root, options, base_generation, manifests, control, progress } = *request;
    let excludes = Excludes::new(options)?;
    let generation = next_generation(base_generation)?;
    if options.limits.idle {
        go_idle();
    }
    progress.beat();
    let of_root = |errno| ScanFailure::of_root(root, errno);
    let root_fd = open_dir(CWD, root).map_err(of_root)?;
    let root_entry = entry_of(&root_fd).map_err(of_root)?;
    if is_pseudo(&root_fd).map_err(of_root)? {
        return Err(ScanFailure::NothingStored { root: ByteStr::from(root) });
    }

    let _lock = manifests.lock(root)?;
    // Verifying reads all of it.
    let base = progress.waiting(|| manifests.base(root, base_generation))?;
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
        None if may_count(&options.limits) => open_dir(&root_fd, b".").ok(),
        None => None,
    };
    let sink: &mut dyn ScanSink = &mut Waited { sink, progress };
    sink.started(base.full)?;
    let mut walk = Walk {
        merge: Merge::new(base.manifest, manifest, sink, reporting)?,
        chain: DirChain::new(root_fd, &root_entry),
        pending: Vec::new(),
        reader: FileReader::new(options.algorithm),
        excludes,
        options,
        root,
        root_dev: root_entry.dev,
        pace: Pace::new(&options.limits, control, progress),
        progress,
        since_progress: 0,
    };
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let done = &done;
        let root_entry = &root_entry;
        let counter = count.map(|fd| {
            scope.spawn(move || {
                if sleep_unless(done, COUNT_AFTER) {
                    count_files(fd, root_entry, progress, control, done);
                }
            })
        });
        let walked = walk.run(root_entry);
        done.store(true, Relaxed);
        if let Some(counter) = counter {
            counter.thread().unpark();
        }
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
    progress.waiting(|| manifests.keep_pending(root, merge.into_manifest()))?;
    Ok(summary)
}

/// The counting pass takes a processor's time beside the walk's: not where one core is all there may be.
fn may_count(limits: &ScanLimits) -> bool {
    limits.cpu_percent == 0 || limits.cpu_percent >= 200
}

/// False when `done` came first; whoever sets it unparks this thread.
fn sleep_unless(done: &AtomicBool, time: Duration) -> bool {
    let end = Instant::now() + time;
    loop {
        let left = end.saturating_duration_since(Instant::now());
        if done.load(Relaxed) || left.is_zero() {
            return !done.load(Relaxed);
        }
        std::thread::park_timeout(left);
    }
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
    pace: Pace<'a>,
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
            self.pace.entry()?;
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
        self.progress.enter(self.chain.path());
        self.progress.at(name);
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
        self.pace.entry()?;
        self.progress.at(name);
        let dir = self.chain.path();
        let known_dir = hint == Hint::Dir;
        if hint != Hint::Unknown && self.excludes.excluded(dir, name, known_dir) {
            return Ok(());
        }
        if known_dir {
            subdirs.push(name, false);
            return Ok(());
        }
        if hint == (Hint::NotDir { file: true })
            && self.opens_unseen()
            && let Some(entry) = self.unseen(name)?
        {
            return self.record(name, None, Some(entry), subdirs);
        }
        let dir = self.chain.path();
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
        self.record(name, old.as_ref(), new, subdirs)
    }

    /// The entry of a file that is opened without a look at it first; `None` when that fails, or finds no regular file.
    fn unseen(&mut self, name: &[u8]) -> Result<Option<Entry>, ScanFailure> {
        let Some(fd) = self.chain.fd() else { return Ok(None) };
        match self.reader.hash_new(fd, self.chain.path(), name, &mut self.pace)? {
            Some(Content::Replaced(_)) | None => Ok(None),
            Some(content) => self.hashed(name, content, None),
        }
    }

    /// True when a regular file is opened without a look at it first: nothing is known of it, and its size does not matter.
    fn opens_unseen(&self) -> bool {
        let ScanOptions { hash_min_size, hash_max_size, .. } = self.options;
        self.merge.knows_nothing() && self.reader.opens_unseen && (*hash_min_size, *hash_max_size) == (0, 0)
    }

    /// Records what became of the name `name` of the deepest directory, which was listed as no directory.
    fn record(
        &mut self,
        name: &[u8],
        old: Option<&Entry>,
        new: Option<Entry>,
        subdirs: &mut NameQueue,
    ) -> Result<(), ScanFailure> {
        let dir = self.chain.path();
        match new {
            Some(entry) if entry.kind != EntryKind::Dir => {
                self.merge.seen(&entry);
                self.merge.entry(dir, name, old, &entry)?;
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
        if !options.force
            && let Some(hash) = self.held(old, listed)
        {
            return Ok(Some(Entry { hash: Some(hash), ..*listed }));
        }
        let Some(fd) = self.chain.fd() else { return Ok(None) };
        let dir = self.chain.path();
        let content = self.reader.hash(fd.as_fd(), dir, name, listed, &mut self.pace)?;
        self.hashed(name, content, Some((old, listed)))
    }

    /// The hash of `old`, where it stands for what is there `now`.
    fn held(&self, old: Option<&Entry>, now: &Entry) -> Option<ContentHash> {
        old.filter(|old| self.merge.hash_holds(old, now)).and_then(|old| old.hash)
    }

    /// The entry that `content` makes of the file `name`; `None` when it is gone. `known`: the old entry and the listed one.
    fn hashed(
        &mut self,
        name: &[u8],
        content: Content,
        known: Option<(Option<&Entry>, &Entry)>,
    ) -> Result<Option<Entry>, ScanFailure> {
        let dir = self.chain.path();
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
                let (old, listed) = known.unzip();
                let entry = entry.or(listed.copied());
                entry.map(|entry| Entry { hash: self.held(old.flatten(), &entry), ..entry })
            }
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
