//! A scan's differences, applied to the index in one transaction.

use std::collections::{HashMap, HashSet};

use hostler_model::{ByteStr, ChangeOp, Entry, EntryKind, IndexOp, ScanId};
use rusqlite::{Connection, OptionalExtension};

use super::chunk::Entries;
use super::directory::{self, EntryOp, Others};
use super::moves::{self, Tracked};
use super::rollup::{self, Churn};
use super::slots::Slots;
use super::{Row, prefix_of};
use crate::store::sqlite::scans;
use crate::store::{Extent, IndexCommit, MAX_SCAN_CHANGES, Owner, Result, StoreError};

/// Remembered directory ids; when there are more, all are forgotten and looked up again.
const REMEMBERED_DIRS: usize = 4096;
/// Differences of one directory that are merged together.
const MERGED_OPS: usize = 8192;
/// Differences held in memory to be listed and searched for moves. What went and came again makes one line of two.
const MAX_TRACKED: usize = 2 * MAX_SCAN_CHANGES as usize;

/// Applies what `tell` tells, rolls up, and completes the scan if it is to.
pub fn commit(db: &Connection, commit: &IndexCommit, tell: impl FnOnce(&mut Applier<'_>) -> Result<()>) -> Result<()> {
    let (root_id, first) = upsert_root(db, commit)?;
    let mut applier = Applier {
        db,
        root_id,
        first,
        extent: commit.extent,
        slots: Slots::new(db, root_id)?,
        dirs: HashMap::new(),
        open: None,
        filled: HashSet::new(),
        seen: HashSet::new(),
        told: Told::default(),
    };
    tell(&mut applier)?;
    applier.close_dir()?;
    if commit.extent == Extent::Whole && !first {
        applier.remove_unseen()?;
    }
    let Applier { slots, mut told, .. } = applier;
    slots.finish()?;
    let mut counters = commit.counters;
    if commit.extent != Extent::Differences && !first {
        let Tally { created, modified, metadata, deleted } = told.tally;
        (counters.created, counters.modified, counters.metadata, counters.deleted) =
            (created, modified, metadata, deleted);
    }
    if !first {
        for (old, new) in moves::find(&mut told.changes) {
            counters.moved += 1;
            told.unwrite(old, new);
        }
        counters.created = counters.created.saturating_sub(counters.moved);
        counters.deleted = counters.deleted.saturating_sub(counters.moved);
        if commit.completes {
            keep_changes(db, commit.scan, &told.changes)?;
        }
    }
    rollup::roll_up(db, root_id, &told.touched, told.churn, (!first).then_some(commit.at))?;
    name_owners(db, commit)?;
    if !commit.completes {
        return Ok(());
    }
    scans::forget_old_details(db, commit.host, &commit.root)?;
    db.prepare_cached(
        "UPDATE scans SET state = 'completed', first = ?, ended_at = ?, counters = ?, generation = ?, error = NULL,
            options = json_set(options, '$.algorithm', ?) WHERE id = ?",
    )?
    .execute((
        first,
        commit.at.micros(),
        scans::counters_json(&counters)?,
        commit.generation as i64,
        commit.algorithm.name(),
        commit.scan.to_string(),
    ))?;
    Ok(())
}

/// The root's id, and whether it had no index.
fn upsert_root(db: &Connection, commit: &IndexCommit) -> Result<(i64, bool)> {
    let host = commit.host.to_string();
    let known: Option<i64> = db
        .prepare_cached("SELECT id FROM roots WHERE host_id = ? AND path = ?")?
        .query_row((&host, commit.root.as_bytes()), |row| row.get(0))
        .optional()?;
    let (generation, algorithm, at) = (commit.generation as i64, commit.algorithm.code(), commit.at.micros());
    match known {
        Some(id) => {
            db.prepare_cached("UPDATE roots SET generation = ?, algorithm = ?, indexed_at = ? WHERE id = ?")?
                .execute((generation, algorithm, at, id))?;
            Ok((id, false))
        }
        None => {
            db.prepare_cached(
                "INSERT INTO roots (host_id, path, generation, algorithm, indexed_at, tracked_since)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?5)",
            )?
            .execute((host, commit.root.as_bytes(), generation, algorithm, at))?;
            Ok((db.last_insert_rowid(), true))
        }
    }
}

fn name_owners(db: &Connection, commit: &IndexCommit) -> Result<()> {
    let mut insert = db.prepare_cached("INSERT OR REPLACE INTO owners VALUES (?, ?, ?, ?)")?;
    for Owner { group, id, name } in &commit.owners {
        insert.execute((commit.host.to_string(), group, id, name))?;
    }
    Ok(())
}

fn keep_changes(db: &Connection, scan: ScanId, changes: &[Tracked]) -> Result<()> {
    let mut insert = db.prepare_cached("INSERT INTO scan_changes VALUES (?, ?, ?, ?, ?, ?, ?, ?)")?;
    let scan = scan.to_string();
    let kept = changes.iter().filter(|c| !c.implied).take(MAX_SCAN_CHANGES as usize);
    for (seq, change) in kept.enumerate() {
        let size = |size: Option<u64>| size.map(|size| i64::try_from(size).unwrap_or(i64::MAX));
        insert.execute((
            &scan,
            seq as i64,
            change.op.code(),
            change.kind.code(),
            change.path.as_bytes(),
            size(change.before),
            size(change.after),
            change.from.as_ref().map(ByteStr::as_bytes),
        ))?;
    }
    Ok(())
}

/// The directory whose entries are being gathered.
struct OpenDir {
    id: i64,
    path: ByteStr,
    ops: Vec<EntryOp>,
    /// In a whole state: names up to this one are settled.
    through: Option<Vec<u8>>,
}

/// Applies differences in walk order: a directory before what is in it, and all entries of one directory together.
pub struct Applier<'db> {
    db: &'db Connection,
    root_id: i64,
    /// The root had no index: every directory is new.
    first: bool,
    extent: Extent,
    slots: Slots<'db>,
    /// Ids of the walk's current branch, so that a directory is looked up once.
    dirs: HashMap<ByteStr, i64>,
    open: Option<OpenDir>,
    /// Of a first state: directories that have chunks by now.
    filled: HashSet<i64>,
    /// Of a whole state: directories that it has.
    seen: HashSet<i64>,
    told: Told,
}

impl Applier<'_> {
    /// Applies batches of differences.
    pub fn batches(&mut self, batches: impl Iterator<Item = Result<Vec<IndexOp>>>) -> Result<()> {
        for batch in batches {
            for op in batch? {
                self.apply(op)?;
            }
        }
        Ok(())
    }

    /// Applies a directory's entries, all of them at once.
    pub fn entries(&mut self, dir: &ByteStr, ops: Vec<EntryOp>) -> Result<()> {
        self.open(dir)?;
        if let Some(open) = &mut self.open {
            open.ops = ops;
        }
        self.close_dir()
    }

    /// Entries of this directory follow.
    fn open(&mut self, dir: &ByteStr) -> Result<()> {
        if self.open.as_ref().is_none_or(|open| open.path != *dir) {
            self.close_dir()?;
            let id = self.dir_id(dir)?;
            self.open = Some(OpenDir { id, path: dir.clone(), ops: Vec::new(), through: None });
        }
        Ok(())
    }

    fn apply(&mut self, op: IndexOp) -> Result<()> {
        match op {
            IndexOp::Dir { path, op, entry } => self.dir(path, op, &entry),
            IndexOp::DirRemoved { path } => {
                self.close_dir()?;
                self.dir_removed(&path)
            }
            IndexOp::Entry { dir, name, op, entry } => {
                self.open(&dir)?;
                let Some(open) = &mut self.open else { return Ok(()) };
                open.ops.push(EntryOp { name: name.into_bytes(), op, row: entry.as_ref().map(Row::from) });
                if open.ops.len() >= MERGED_OPS { self.merge(false) } else { Ok(()) }
            }
        }
    }

    /// A directory that is new, or differs, or is there.
    pub fn dir(&mut self, path: ByteStr, op: Option<ChangeOp>, e: &Entry) -> Result<()> {
        self.close_dir()?;
        let parent = match path.as_bytes() {
            b"" => None,
            bytes => {
                let cut = bytes.iter().rposition(|b| *b == b'/').unwrap_or(0);
                Some(self.dir_id(&ByteStr::from(&bytes[..cut]))?)
            }
        };
        let known: Option<(i64, u32, u32, u32, bool)> = match self.first {
            true => None,
            false => self
                .db
                .prepare_cached(
                    "SELECT id, mode, uid, gid, (mtime_ns, dev, ino, nlink) = (?3, ?4, ?5, ?6) FROM dirs
                     WHERE root_id = ?1 AND path = ?2",
                )?
                .query_row(
                    (self.root_id, path.as_bytes(), e.mtime_ns, e.dev as i64, e.ino as i64, e.nlink as i64),
                    |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?)),
                )
                .optional()?,
        };
        let as_it_was =
            known.filter(|(_, mode, uid, gid, same)| *same && (*mode, *uid, *gid) == (e.mode, e.uid, e.gid));
        let id: i64 = match as_it_was {
            Some((id, ..)) => id,
            None => self.write_dir(&path, parent, e)?,
        };
        self.remember(&path, id);
        if known.is_none() {
            // Also an empty one is part of its parent's sums from now on.
            self.told.touched.insert(id);
        }
        let op = match (self.extent != Extent::Differences, known) {
            (false, _) => op,
            (true, None) => Some(ChangeOp::Created),
            (true, Some((_, mode, uid, gid, _))) => {
                ((mode, uid, gid) != (e.mode, e.uid, e.gid)).then_some(ChangeOp::Metadata)
            }
        };
        if let (false, Some(op)) = (self.first, op) {
            let seen = Seen { dev: e.dev, ino: e.ino, mtime_ns: e.mtime_ns, hash: None, kind: EntryKind::Dir };
            self.told.change(op, seen, || path.clone(), None, None, parent.unwrap_or(id));
        }
        if self.extent == Extent::Whole && !self.first {
            self.seen.insert(id);
            self.open = Some(OpenDir { id, path, ops: Vec::new(), through: None });
        }
        Ok(())
    }

    fn write_dir(&self, path: &ByteStr, parent: Option<i64>, e: &Entry) -> Result<i64> {
        let id = self
            .db
            .prepare_cached(
                "INSERT INTO dirs (root_id, parent_id, path, name, mtime_ns, dev, ino, nlink, mode, uid, gid)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)
                 ON CONFLICT (root_id, path) DO UPDATE SET mtime_ns = ?5, dev = ?6, ino = ?7, nlink = ?8, mode = ?9,
                    uid = ?10, gid = ?11
                 RETURNING id",
            )?
            .query_row(
                (
                    self.root_id,
                    parent,
                    path.as_bytes(),
                    path.file_name(),
                    e.mtime_ns,
                    e.dev as i64,
                    e.ino as i64,
                    e.nlink as i64,
                    e.mode,
                    e.uid,
                    e.gid,
                ),
                |row| row.get(0),
            )?;
        Ok(id)
    }

    /// Settles what was gathered of the open directory.
    fn close_dir(&mut self) -> Result<()> {
        if self.open.is_some() {
            self.merge(true)?;
            self.open = None;
        }
        Ok(())
    }

    /// Merges what was gathered; `complete` when the directory's entries end with it.
    fn merge(&mut self, complete: bool) -> Result<()> {
        let Some(open) = &mut self.open else { return Ok(()) };
        let replaces = self.extent == Extent::Whole && !self.first;
        let last = if replaces { open.ops.iter().map(|op| &op.name).max().cloned() } else { None };
        let others = match replaces {
            true => Others::Go(open.through.as_deref(), if complete { None } else { last.as_deref() }),
            false => Others::Stay,
        };
        let compares = self.extent != Extent::Differences;
        let (told, first, dir, path) = (&mut self.told, self.first, open.id, &open.path);
        let mut tell = |name: &[u8], op: Option<ChangeOp>, old: Option<&Row>, new: Option<&Row>| {
            let op = if compares && !first { difference(old, new) } else { op };
            if first || !compares || op.is_some() {
                told.touched.insert(dir);
            }
            if first {
                return;
            }
            let (Some(op), Some(seen)) = (op, new.or(old)) else { return };
            let full_path = || match path.is_empty() {
                true => ByteStr::from(name),
                false => [path.as_bytes(), b"/", name].concat().into(),
            };
            told.change(op, Seen::from(seen), full_path, old.map(|r| r.size), new.map(|r| r.size), dir);
        };
        if first && self.filled.insert(dir) {
            directory::fill(self.db, &mut self.slots, dir, &mut open.ops, &mut tell)?;
        } else {
            directory::merge(self.db, &mut self.slots, dir, &mut open.ops, others, &mut tell)?;
        }
        open.ops.clear();
        open.through = last.or(open.through.take());
        Ok(())
    }

    /// Removes a directory with everything below.
    fn dir_removed(&mut self, path: &ByteStr) -> Result<()> {
        let Some(top) = self.find_dir(path)? else { return Ok(()) };
        let parent: Option<i64> =
            self.db.prepare_cached("SELECT parent_id FROM dirs WHERE id = ?")?.query_row([top], |row| row.get(0))?;
        let counted = parent.unwrap_or(top);
        self.told.touched.insert(counted);
        // All paths below start with "path/"; '0' is the byte after '/'.
        let (from, to) = ([path.as_bytes(), b"/"].concat(), [path.as_bytes(), b"0"].concat());
        let mut below = self.db.prepare_cached(
            "SELECT id, path, dev, ino, mtime_ns FROM dirs
             WHERE root_id = ?1 AND (path = ?2 OR (path >= ?3 AND path < ?4)) ORDER BY path",
        )?;
        let mut rows = below.query((self.root_id, path.as_bytes(), &from, &to))?;
        let mut ids = Vec::new();
        while let Some(row) = rows.next()? {
            let id: i64 = row.get(0)?;
            let dir = ByteStr::from(row.get::<_, Vec<u8>>(1)?);
            let seen = Seen {
                dev: row.get::<_, i64>(2)? as u64,
                ino: row.get::<_, i64>(3)? as u64,
                mtime_ns: row.get(4)?,
                hash: None,
                kind: EntryKind::Dir,
            };
            self.told.change(ChangeOp::Deleted, seen, || dir.clone(), None, None, counted);
            let mut chunks = self.db.prepare_cached("SELECT id, data FROM chunks WHERE dir_id = ? ORDER BY first")?;
            let mut chunk = chunks.query([id])?;
            while let Some(row) = chunk.next()? {
                self.slots.changed(row.get(0)?);
                let mut entries = Entries::new(row.get_ref(1)?.as_blob().map_err(rusqlite::Error::from)?);
                while let Some((name, row)) = entries.next()? {
                    let path = || [dir.as_bytes(), b"/", name].concat().into();
                    self.told.change(ChangeOp::Deleted, Seen::from(&row), path, Some(row.size), None, counted);
                }
            }
            ids.push(id);
        }
        drop(rows);
        for id in ids {
            for sql in [
                "DELETE FROM chunks WHERE dir_id = ?",
                "DELETE FROM growth WHERE dir_id = ?",
                "DELETE FROM dirs WHERE id = ?",
            ] {
                self.db.prepare_cached(sql)?.execute([id])?;
            }
            self.told.touched.remove(&id);
            self.told.churn.remove(&id);
        }
        self.dirs.clear();
        Ok(())
    }

    /// Ends a whole state: directories that it does not have are gone.
    fn remove_unseen(&mut self) -> Result<()> {
        let mut after: Option<Vec<u8>> = None;
        loop {
            let next: Option<(i64, Vec<u8>)> = self
                .db
                .prepare_cached(
                    "SELECT id, path FROM dirs WHERE root_id = ?1 AND (?2 IS NULL OR path > ?2) ORDER BY path LIMIT 1",
                )?
                .query_row((self.root_id, &after), |row| Ok((row.get(0)?, row.get(1)?)))
                .optional()?;
            let Some((id, path)) = next else { return Ok(()) };
            if !self.seen.contains(&id) {
                self.dir_removed(&path.as_slice().into())?;
            }
            after = Some(path);
        }
    }

    fn find_dir(&mut self, path: &ByteStr) -> Result<Option<i64>> {
        if let Some(id) = self.dirs.get(path) {
            return Ok(Some(*id));
        }
        let id = self
            .db
            .prepare_cached("SELECT id FROM dirs WHERE root_id = ? AND path = ?")?
            .query_row((self.root_id, path.as_bytes()), |row| row.get(0))
            .optional()?;
        if let Some(id) = id {
            self.remember(path, id);
        }
        Ok(id)
    }

    fn dir_id(&mut self, path: &ByteStr) -> Result<i64> {
        self.find_dir(path)?
            .ok_or_else(|| StoreError::NotFound { what: "indexed directory", id: path.display().into_owned() })
    }

    fn remember(&mut self, path: &ByteStr, id: i64) {
        if self.dirs.len() >= REMEMBERED_DIRS {
            self.dirs.clear();
        }
        self.dirs.insert(path.clone(), id);
    }
}

/// What happened to an entry, from what was and what is.
fn difference(old: Option<&Row>, new: Option<&Row>) -> Option<ChangeOp> {
    match (old, new) {
        (None, None) => None,
        (None, Some(_)) => Some(ChangeOp::Created),
        (Some(_), None) => Some(ChangeOp::Deleted),
        (Some(a), Some(b)) => {
            let content = |r: &Row| (r.kind, r.size, r.mtime_ns, r.hash);
            let metadata = |r: &Row| (r.mode, r.uid, r.gid, r.nlink);
            if content(a) != content(b) {
                Some(ChangeOp::Modified)
            } else {
                (metadata(a) != metadata(b)).then_some(ChangeOp::Metadata)
            }
        }
    }
}

/// What tells an entry from others.
struct Seen {
    kind: EntryKind,
    dev: u64,
    ino: u64,
    mtime_ns: i64,
    hash: Option<i64>,
}

impl From<&Row> for Seen {
    fn from(row: &Row) -> Self {
        let Row { kind, dev, ino, mtime_ns, hash, .. } = *row;
        Self { kind, dev, ino, mtime_ns, hash: hash.as_ref().map(prefix_of) }
    }
}

/// Differences by what happened.
#[derive(Default)]
struct Tally {
    created: u64,
    modified: u64,
    metadata: u64,
    deleted: u64,
}

/// What a commit found.
#[derive(Default)]
struct Told {
    /// To be listed; at most [`MAX_TRACKED`].
    changes: Vec<Tracked>,
    tally: Tally,
    /// Directories whose own files differ.
    touched: HashSet<i64>,
    /// What changed in directories themselves.
    churn: HashMap<i64, Churn>,
}

impl Told {
    fn change(
        &mut self,
        op: ChangeOp,
        seen: Seen,
        path: impl FnOnce() -> ByteStr,
        before: Option<u64>,
        after: Option<u64>,
        dir: i64,
    ) {
        let churn = self.churn.entry(dir).or_default();
        let counted = match op {
            ChangeOp::Created => &mut self.tally.created,
            ChangeOp::Modified => &mut self.tally.modified,
            ChangeOp::Metadata => &mut self.tally.metadata,
            ChangeOp::Deleted | ChangeOp::Moved => &mut self.tally.deleted,
        };
        *counted += 1;
        let file = seen.kind == EntryKind::File;
        if op != ChangeOp::Metadata {
            churn.changes += 1;
            if file && op == ChangeOp::Deleted {
                churn.removed = churn.removed.saturating_add(before.unwrap_or(0));
            } else if file {
                churn.written = churn.written.saturating_add(after.unwrap_or(0));
            }
        }
        if self.changes.len() < MAX_TRACKED {
            let Seen { kind, dev, ino, mtime_ns, hash } = seen;
            let path = path();
            self.changes.push(Tracked {
                op,
                kind,
                path,
                from: None,
                before,
                after,
                dev,
                ino,
                mtime_ns,
                hash,
                dir,
                implied: false,
            });
        }
    }

    /// What moved was neither written nor removed.
    fn unwrite(&mut self, old: usize, new: usize) {
        let sizes = [&self.changes[old], &self.changes[new]].map(|c| match c.kind {
            EntryKind::File => c.before.or(c.after).unwrap_or(0),
            _ => 0,
        });
        if let Some(churn) = self.churn.get_mut(&self.changes[old].dir) {
            churn.removed = churn.removed.saturating_sub(sizes[0]);
            churn.changes = churn.changes.saturating_sub(1);
        }
        if let Some(churn) = self.churn.get_mut(&self.changes[new].dir) {
            churn.written = churn.written.saturating_sub(sizes[1]);
        }
    }
}
