//! Old manifest in, walk in, new manifest and differences out: all in walk order, in one pass.
//!
//! The cursor on the old manifest never lies before what the walk has reached. What it steps over was not seen and is
//! gone; what the walk could not read is copied. A directory that the old manifest does not have needs no care: the
//! cursor then stands at a directory less deep than any of its children would be.

use std::cmp::Ordering;
use std::collections::BTreeSet;

use hostler_model::{ChangeOp, Entry, EntryKind, ScanCounters};

use crate::compare::{dir_change, entry_change};
use crate::error::ScanFailure;
use crate::manifest::reader::ManifestReader;
use crate::manifest::writer::ManifestWriter;
use crate::sink::{ScanSink, SinkClosed};

impl From<SinkClosed> for ScanFailure {
    fn from(SinkClosed: SinkClosed) -> Self {
        Self::Cancelled
    }
}

/// What is sent, and what changes are called.
#[derive(Clone, Copy, Debug)]
pub struct Reporting {
    /// Send everything that is there, and no deletions.
    pub full: bool,
    /// Call everything created: the receiver has nothing.
    pub all_created: bool,
    /// The old manifest's hashes were made by this scan's algorithm.
    pub hashes_comparable: bool,
}

/// The state of the pass.
pub struct Merge<'a> {
    old: Option<ManifestReader>,
    new: ManifestWriter,
    sink: &'a mut dyn ScanSink,
    reporting: Reporting,
    /// What was seen, changed and failed so far.
    pub counters: ScanCounters,
    /// Owners of everything in the new manifest.
    pub uids: BTreeSet<u32>,
    /// Groups of everything in the new manifest.
    pub gids: BTreeSet<u32>,
    /// Spares the two sets most look-ups: neighbours mostly belong to the same.
    last_owner: Option<(u32, u32)>,
}

impl<'a> Merge<'a> {
    /// Starts before the root.
    pub fn new(
        mut old: Option<ManifestReader>,
        new: ManifestWriter,
        sink: &'a mut dyn ScanSink,
        reporting: Reporting,
    ) -> Result<Self, ScanFailure> {
        if let Some(old) = &mut old {
            old.advance()?;
        }
        Ok(Self {
            old,
            new,
            sink,
            reporting,
            counters: ScanCounters::default(),
            uids: BTreeSet::new(),
            gids: BTreeSet::new(),
            last_owner: None,
        })
    }

    /// The new manifest, complete.
    pub fn into_manifest(self) -> ManifestWriter {
        self.new
    }

    /// True when there is no old manifest: nothing is known of any entry.
    pub fn knows_nothing(&self) -> bool {
        self.old.is_none()
    }

    /// True when `old`'s hash stands for the content of `new` as well.
    pub fn hash_holds(&self, old: &Entry, new: &Entry) -> bool {
        self.reporting.hashes_comparable && old.kind == EntryKind::File && crate::stat::same_content(old, new)
    }

    /// Moves to the old entry `name` in `dir` and takes it. Entries before it are gone.
    pub fn take_entry(&mut self, dir: &[u8], name: &[u8]) -> Result<Option<Entry>, ScanFailure> {
        while let Some(old) = &mut self.old
            && let Some(&entry) = old.entry()
        {
            match old.name().cmp(name) {
                Ordering::Less => self.drop_entry(dir)?,
                Ordering::Equal => {
                    old.advance()?;
                    return Ok(Some(entry));
                }
                Ordering::Greater => break,
            }
        }
        Ok(None)
    }

    /// `dir` was listed to its end: old entries that were not taken are gone.
    pub fn end_entries(&mut self, dir: &[u8]) -> Result<(), ScanFailure> {
        while self.old.as_ref().is_some_and(|old| old.entry().is_some()) {
            self.drop_entry(dir)?;
        }
        Ok(())
    }

    /// Moves to the old directory `name`, `depth` below the root, in `parent`, and takes it. Directories before it are
    /// gone.
    pub fn take_dir(&mut self, parent: &[u8], depth: usize, name: &[u8]) -> Result<Option<Entry>, ScanFailure> {
        while let Some(old) = &mut self.old
            && let Some((old_depth, &entry)) = old.dir()
            && old_depth == depth
        {
            match old.name().cmp(name) {
                Ordering::Less => self.drop_dir(parent, depth)?,
                Ordering::Equal => {
                    old.advance()?;
                    return Ok(Some(entry));
                }
                Ordering::Greater => break,
            }
        }
        Ok(None)
    }

    /// All subdirectories of `parent` were visited: old ones, `depth` below the root, that were not taken are gone.
    pub fn end_dirs(&mut self, parent: &[u8], depth: usize) -> Result<(), ScanFailure> {
        while self.old.as_ref().and_then(ManifestReader::dir).is_some_and(|(old_depth, _)| old_depth == depth) {
            self.drop_dir(parent, depth)?;
        }
        Ok(())
    }

    /// Records an entry that is not a directory; `old` is what [`Merge::take_entry`] gave for it.
    pub fn entry(&mut self, dir: &[u8], name: &[u8], old: Option<&Entry>, new: &Entry) -> Result<(), ScanFailure> {
        self.new.push(None, name, new)?;
        self.owner(new);
        let hashes_comparable = self.reporting.hashes_comparable;
        let op = self.op(old, |old| entry_change(old, new, hashes_comparable));
        if self.reporting.full || op.is_some() || old != Some(new) {
            self.sink.entry(dir, name, op, Some(new))?;
        }
        Ok(())
    }

    /// Records the directory `path`, whose last component is `name`; `old` is what [`Merge::take_dir`] gave for it.
    pub fn dir(
        &mut self,
        path: &[u8],
        depth: usize,
        name: &[u8],
        old: Option<&Entry>,
        new: &Entry,
    ) -> Result<(), ScanFailure> {
        self.new.push(Some(depth), name, new)?;
        self.owner(new);
        let op = self.op(old, |old| dir_change(old, new));
        if self.reporting.full || op.is_some() || old != Some(new) {
            self.sink.dir(path, op, new)?;
        }
        Ok(())
    }

    /// An entry that was taken, and then turned out to be gone.
    pub fn entry_gone(&mut self, dir: &[u8], name: &[u8]) -> Result<(), ScanFailure> {
        if !self.reporting.full {
            self.counters.deleted += 1;
            self.sink.entry(dir, name, Some(ChangeOp::Deleted), None)?;
        }
        Ok(())
    }

    /// A directory that was taken, and then turned out to be gone, with everything below.
    pub fn dir_gone(&mut self, path: &[u8], depth: usize) -> Result<(), ScanFailure> {
        let mut gone = 1;
        while let Some(old) = &mut self.old
            && is_below(old, depth)
        {
            old.advance()?;
            gone += 1;
        }
        if !self.reporting.full {
            self.counters.deleted += gone;
            self.sink.dir_removed(path)?;
        }
        Ok(())
    }

    /// Keeps the old entry `name` of `dir`, if there was one: it is there but cannot be looked at.
    pub fn keep_entry(&mut self, dir: &[u8], name: &[u8]) -> Result<(), ScanFailure> {
        match self.take_entry(dir, name)? {
            Some(old) => self.entry(dir, name, Some(&old), &self.kept(&old)),
            None => Ok(()),
        }
    }

    /// Keeps all that is left in the old manifest below the directory `path`: it cannot be read.
    pub fn keep_below(&mut self, path: &[u8], depth: usize) -> Result<(), ScanFailure> {
        let mut path = path.to_vec();
        // Lengths of the paths of the directory itself and those above the cursor, down from it.
        let mut lengths = vec![path.len()];
        let mut name = Vec::new();
        while let Some(old) = &mut self.old
            && is_below(old, depth)
        {
            name.clear();
            name.extend_from_slice(old.name());
            if let Some((old_depth, &entry)) = old.dir() {
                old.advance()?;
                lengths.truncate(old_depth - depth);
                path.truncate(lengths.last().copied().unwrap_or(0));
                join(&mut path, &name);
                lengths.push(path.len());
                self.dir(&path, old_depth, &name, Some(&entry), &entry)?;
            } else if let Some(&entry) = old.entry() {
                old.advance()?;
                self.entry(&path, &name, Some(&entry), &self.kept(&entry))?;
            }
        }
        Ok(())
    }

    /// Tells an error at `path`.
    pub fn error(&mut self, path: &[u8], operation: &'static str, message: &str) -> Result<(), ScanFailure> {
        self.counters.errors += 1;
        Ok(self.sink.error(path, operation, message)?)
    }

    /// Counts something that the walk has looked at.
    pub fn seen(&mut self, entry: &Entry) {
        match entry.kind {
            EntryKind::File => {
                self.counters.files += 1;
                self.counters.bytes = self.counters.bytes.saturating_add(entry.size);
            }
            EntryKind::Dir => self.counters.dirs += 1,
            EntryKind::Symlink | EntryKind::Other => self.counters.others += 1,
        }
    }

    /// An old entry as the new manifest can hold it: with hashes of one algorithm only.
    fn kept(&self, old: &Entry) -> Entry {
        Entry { hash: old.hash.filter(|_| self.reporting.hashes_comparable), ..*old }
    }

    fn drop_entry(&mut self, dir: &[u8]) -> Result<(), ScanFailure> {
        let Some(old) = &mut self.old else { return Ok(()) };
        if !self.reporting.full {
            self.counters.deleted += 1;
            self.sink.entry(dir, old.name(), Some(ChangeOp::Deleted), None)?;
        }
        Ok(old.advance()?)
    }

    fn drop_dir(&mut self, parent: &[u8], depth: usize) -> Result<(), ScanFailure> {
        let Some(old) = &mut self.old else { return Ok(()) };
        let mut path = parent.to_vec();
        join(&mut path, old.name());
        old.advance()?;
        self.dir_gone(&path, depth)
    }

    fn op(&mut self, old: Option<&Entry>, change: impl FnOnce(&Entry) -> Option<ChangeOp>) -> Option<ChangeOp> {
        let op = match old {
            Some(old) if !self.reporting.all_created => change(old),
            _ => Some(ChangeOp::Created),
        };
        match op {
            Some(ChangeOp::Created) => self.counters.created += 1,
            Some(ChangeOp::Modified) => self.counters.modified += 1,
            Some(ChangeOp::Metadata) => self.counters.metadata += 1,
            Some(ChangeOp::Deleted | ChangeOp::Moved) | None => {}
        }
        op
    }

    fn owner(&mut self, entry: &Entry) {
        let owner = (entry.uid, entry.gid);
        if self.last_owner != Some(owner) {
            self.last_owner = Some(owner);
            self.uids.insert(owner.0);
            self.gids.insert(owner.1);
        }
    }
}

/// Appends a name to a path relative to the root.
pub fn join(path: &mut Vec<u8>, name: &[u8]) {
    if !path.is_empty() {
        path.push(b'/');
    }
    path.extend_from_slice(name);
}

/// True when the cursor stands inside the directory, `depth` below the root, that was taken last.
fn is_below(old: &ManifestReader, depth: usize) -> bool {
    old.entry().is_some() || old.dir().is_some_and(|(old_depth, _)| old_depth > depth)
}
