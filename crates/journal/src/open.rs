//! Opening: the directory is locked, what a crash left is repaired, and the next number is found.
//!
//! No number that a reader may have seen is given twice: behind damage the numbers of whole records count, and so does the
//! acknowledged position. A jump that this makes is kept as the name and header of a new segment.

use std::fs::{DirBuilder, File, OpenOptions};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Mutex;

use crate::disk::{Active, Disk};
use crate::segment::{self, Step, Walk};
use crate::view::{Segment, View};
use crate::{JournalError, JournalId, JournalSettings, lock, position};

/// An opened journal, not yet written to.
pub struct Opened {
    pub disk: Disk,
    pub view: View,
    /// The next number.
    pub next: u64,
    /// Locked as long as it lives.
    pub lock: File,
}

struct Found {
    first: u64,
    file: File,
    len: u64,
    id: Option<JournalId>,
}

/// Opens the directory, and makes it when it is missing.
pub fn open(settings: &JournalSettings) -> Result<Opened, JournalError> {
    let dir = &settings.dir;
    DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(JournalError::io("make the directory", dir))?;
    let locked = lock_dir(dir)?;
    let found = list(dir)?;
    let id = match found.iter().rev().find_map(|f| f.id) {
        Some(id) => id,
        None => new_id(dir)?,
    };
    let (mut good, bad): (Vec<Found>, Vec<Found>) = found.into_iter().partition(|f| f.id == Some(id));

    let position = position::open(dir).map_err(JournalError::io("open", dir.join("acknowledged")))?;
    let acknowledged = position::read(&position, id);
    let mut view = View { acknowledged, ..View::default() };
    for (at, f) in good.iter().enumerate() {
        let last = good.get(at + 1).map_or(f.first - 1, |next| next.first - 1);
        view.segments.push_back(Segment { first: f.first, last, len: f.len, damaged: false });
    }
    let mut next = 1;
    let mut active = None;
    if let Some(last) = good.pop() {
        let end = repair(dir, &last)?;
        view.grown(end.len, end.last);
        view.lost += end.lost;
        if let Some(segment) = view.segments.back_mut() {
            segment.damaged = end.damaged;
        }
        next = end.next;
        if next == end.last + 1 && !end.damaged {
            active = Some(Active { file: last.file, first: last.first, len: end.len });
        }
    }
    for f in &bad {
        tracing::warn!(path = %segment::path(dir, f.first).display(), "a damaged journal segment is skipped");
        let held = segment::salvage_last(&f.file, 0, f.len, f.first - 1).unwrap_or(f.first - 1);
        view.lost += held + 1 - f.first;
        if !view.segments.is_empty() {
            next = next.max(held + 1);
        }
    }
    if acknowledged >= next {
        next = acknowledged + 1;
    }
    if active.as_ref().is_some_and(|_| next != view.durable() + 1) {
        active = None;
    }

    let segment_bytes = settings.segment_bytes.min(settings.max_bytes / 2).max(segment::HEADER as u64 + 1);
    let max_bytes = settings.max_bytes;
    let dir = dir.clone();
    let mut disk = Disk {
        dir,
        id,
        segment_bytes,
        max_bytes,
        active,
        position,
        kept_position: acknowledged,
        batch: Vec::new(),
        failing: false,
    };
    let view = Mutex::new(view);
    if disk.active.is_none() {
        match disk.begin_segment(next, &view) {
            Ok(active) => disk.active = Some(active),
            // A full disk does not keep the agent from starting; the next write tries again.
            Err(error) => tracing::error!(%error, "events are lost until the journal can be written"),
        }
    }
    if disk.active.is_some() {
        let begun = lock(&view).segments.back().map(|s| s.first);
        disk.delete(bad.iter().map(|f| f.first).filter(|first| Some(*first) != begun).collect());
    }
    Ok(Opened { disk, view: view.into_inner().unwrap_or_else(|e| e.into_inner()), next, lock: locked })
}

fn lock_dir(dir: &Path) -> Result<File, JournalError> {
    let path = dir.join("lock");
    let options = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path);
    let file = options.map_err(JournalError::io("open", &path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(std::fs::TryLockError::WouldBlock) => Err(JournalError::InUse { dir: dir.to_owned() }),
        Err(std::fs::TryLockError::Error(error)) => Err(JournalError::io("lock", &path)(error)),
    }
}

/// The segments by number. Files aside, which a crash left, are removed.
fn list(dir: &Path) -> Result<Vec<Found>, JournalError> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(JournalError::io("list", dir))? {
        let entry = entry.map_err(JournalError::io("list", dir))?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.ends_with(".tmp") {
            let _ = std::fs::remove_file(entry.path());
        }
        let Some(first) = segment::first_of_name(&name).filter(|first| *first > 0) else { continue };
        let open = OpenOptions::new().read(true).write(true).open(entry.path());
        let file = open.map_err(JournalError::io("open", entry.path()))?;
        let len = file.metadata().map_err(JournalError::io("look at", entry.path()))?.len();
        // A header that cannot be read is as good as a damaged one.
        let id = segment::read_header(&file, first).unwrap_or(None);
        found.push(Found { first, file, len, id });
    }
    found.sort_by_key(|f| f.first);
    Ok(found)
}

fn new_id(dir: &Path) -> Result<JournalId, JournalError> {
    let mut id = [0; 16];
    match getrandom::fill(&mut id) {
        Ok(()) => Ok(JournalId(id)),
        Err(error) => Err(JournalError::io("name the journal", dir)(std::io::Error::other(error))),
    }
}

struct End {
    len: u64,
    last: u64,
    next: u64,
    lost: u64,
    damaged: bool,
}

/// Walks the last segment, cuts a torn tail, and flushes what a killed process left in the page cache.
fn repair(dir: &Path, found: &Found) -> Result<End, JournalError> {
    let path = segment::path(dir, found.first);
    let mut walk = Walk::new(&found.file, segment::HEADER as u64, found.len, found.first - 1);
    let torn = loop {
        match walk.step().map_err(JournalError::io("read the journal segment", &path))? {
            Step::Record { .. } => {}
            Step::End => break None,
            Step::Torn => break Some(0),
            // A whole record with a wrong checksum was on disk once: its number is not used again.
            Step::Damaged => break Some(1),
        }
    };
    let (len, last) = (walk.offset(), walk.seq());
    let mut end = End { len, last, next: last + 1, lost: 0, damaged: false };
    if let Some(lost) = torn {
        let behind = segment::salvage_last(&found.file, len + 1, found.len, last)
            .map_err(JournalError::io("read the journal segment", &path))?;
        end.lost = lost.max(behind - last);
        end.next = last + 1 + end.lost;
        end.damaged = behind > last;
        tracing::warn!(path = %path.display(), at = len, lost = end.lost, "a journal segment ends in damaged bytes");
        if !end.damaged {
            found.file.set_len(len).map_err(JournalError::io("cut the torn end of", &path))?;
        }
    }
    found.file.sync_all().map_err(JournalError::io("flush", &path))?;
    Ok(end)
}
