//! A scan's batches: staged as they come, applied to the index in one transaction at the end.

use std::collections::{HashMap, HashSet};

use buffa::Message;
use hostler_api::{BatchBuilder, index_ops, v1};
use hostler_model::{ByteStr, ChangeOp, Entry, EntryKind, IndexOp, ScanId};
use rusqlite::{Connection, OptionalExtension};

use super::scans;
use crate::store::{IndexCommit, MAX_SCAN_CHANGES, Owner, Result, StoreError};

pub fn stage(db: &Connection, id: ScanId, ops: &[IndexOp]) -> Result<()> {
    let mut builder = BatchBuilder::default();
    ops.iter().for_each(|op| builder.push(op));
    let Some(batch) = builder.take() else { return Ok(()) };
    let id = id.to_string();
    let seq: i64 = db
        .prepare_cached("SELECT COALESCE(MAX(seq) + 1, 0) FROM staged WHERE scan_id = ?")?
        .query_row([&id], |row| row.get(0))?;
    db.prepare_cached("INSERT INTO staged VALUES (?, ?, ?)")?.execute((id, seq, batch.encode_to_vec()))?;
    Ok(())
}

pub fn commit(db: &Connection, commit: &IndexCommit) -> Result<()> {
    let root_id = upsert_root(db, commit)?;
    if commit.full {
        db.execute("DELETE FROM files WHERE dir_id IN (SELECT id FROM dirs WHERE root_id = ?)", [root_id])?;
        db.execute("DELETE FROM dirs WHERE root_id = ?", [root_id])?;
    }
    let first: bool = db
        .prepare_cached("SELECT first FROM scans WHERE id = ?")?
        .query_row([commit.scan.to_string()], |row| row.get(0))?;
    // A whole state that is sent anew has no differences to list, as a first one has none.
    let mut applier = Applier::new(db, root_id, commit.scan, !first && !commit.full);
    let mut last = -1;
    while let Some((seq, batch)) = db
        .prepare_cached("SELECT seq, batch FROM staged WHERE scan_id = ? AND seq > ? ORDER BY seq LIMIT 1")?
        .query_row((commit.scan.to_string(), last), |row| Ok((row.get::<_, i64>(0)?, row.get::<_, Vec<u8>>(1)?)))
        .optional()?
    {
        last = seq;
        for op in unstage(&batch)? {
            applier.apply(&op)?;
        }
    }
    let touched = applier.finish();
    roll_up(db, root_id, &touched)?;
    name_owners(db, commit)?;
    scans::forget_old_details(db, commit.host, &commit.root)?;
    db.prepare_cached("DELETE FROM staged WHERE scan_id = ?")?.execute([commit.scan.to_string()])?;
    db.prepare_cached(
        "UPDATE scans SET state = 'completed', first = ?, ended_at = ?, counters = ?, generation = ?, error = NULL
         WHERE id = ?",
    )?
    .execute((
        first || commit.full,
        commit.at.micros(),
        scans::counters_json(&commit.counters)?,
        commit.generation as i64,
        commit.scan.to_string(),
    ))?;
    Ok(())
}

fn unstage(batch: &[u8]) -> Result<Vec<IndexOp>> {
    let corrupt = |why: String| {
        StoreError::Database(rusqlite::Error::FromSqlConversionFailure(0, rusqlite::types::Type::Blob, why.into()))
    };
    let batch = v1::ScanBatch::decode_from_slice(batch).map_err(|e| corrupt(format!("staged batch: {e}")))?;
    index_ops(&batch).map_err(|e| corrupt(format!("staged batch: {e}")))
}

fn upsert_root(db: &Connection, commit: &IndexCommit) -> Result<i64> {
    let id = db
        .prepare_cached(
            "INSERT INTO roots (host_id, path, generation, algorithm, indexed_at) VALUES (?1, ?2, ?3, ?4, ?5)
             ON CONFLICT (host_id, path) DO UPDATE SET generation = ?3, algorithm = ?4, indexed_at = ?5 RETURNING id",
        )?
        .query_row(
            (
                commit.host.to_string(),
                commit.root.as_bytes(),
                commit.generation as i64,
                commit.algorithm.code(),
                commit.at.micros(),
            ),
            |row| row.get(0),
        )?;
    Ok(id)
}

fn name_owners(db: &Connection, commit: &IndexCommit) -> Result<()> {
    let mut insert = db.prepare_cached("INSERT OR REPLACE INTO owners VALUES (?, ?, ?, ?)")?;
    for Owner { group, id, name } in &commit.owners {
        insert.execute((commit.host.to_string(), group, id, name))?;
    }
    Ok(())
}

/// Applies differences in walk order. Directory ids of the walk's current branch are remembered, so that a directory is
/// looked up once.
struct Applier<'db> {
    db: &'db Connection,
    root_id: i64,
    scan: String,
    dirs: HashMap<ByteStr, i64>,
    touched: HashSet<i64>,
    /// Sequence number of the next kept change; `None` when changes are not listed.
    next_change: Option<u64>,
}

/// Remembered directory ids; when there are more, all are forgotten and looked up again.
const REMEMBERED_DIRS: usize = 4096;

impl<'db> Applier<'db> {
    fn new(db: &'db Connection, root_id: i64, scan: ScanId, list_changes: bool) -> Self {
        Self {
            db,
            root_id,
            scan: scan.to_string(),
            dirs: HashMap::new(),
            touched: HashSet::new(),
            next_change: list_changes.then_some(0),
        }
    }

    /// Directories whose own files differ.
    fn finish(self) -> HashSet<i64> {
        self.touched
    }

    fn apply(&mut self, op: &IndexOp) -> Result<()> {
        match op {
            IndexOp::Dir { path, op, entry } => self.dir(path, *op, entry),
            IndexOp::DirRemoved { path } => self.dir_removed(path),
            IndexOp::Entry { dir, name, op, entry } => self.entry(dir, name, *op, entry.as_ref()),
        }
    }

    fn dir(&mut self, path: &ByteStr, op: Option<ChangeOp>, e: &Entry) -> Result<()> {
        let parent = match path.as_bytes() {
            b"" => None,
            bytes => {
                let cut = bytes.iter().rposition(|b| *b == b'/').unwrap_or(0);
                Some(self.dir_id(&ByteStr::from(&bytes[..cut]))?)
            }
        };
        let id: i64 = self
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
        self.remember(path, id);
        match op {
            Some(op) => self.change(op, EntryKind::Dir, path, None, None),
            None => Ok(()),
        }
    }

    fn dir_removed(&mut self, path: &ByteStr) -> Result<()> {
        // All paths below start with "path/"; '0' is the byte after '/'.
        let (from, to) = ([path.as_bytes(), b"/"].concat(), [path.as_bytes(), b"0"].concat());
        if self.next_change.is_some() {
            let mut below = self.db.prepare_cached(
                "SELECT dirs.path AS dir, NULL AS name, 2 AS kind, NULL AS size FROM dirs
                 WHERE root_id = ?1 AND (path = ?2 OR (path >= ?3 AND path < ?4))
                 UNION ALL
                 SELECT dirs.path, files.name, files.kind, files.size FROM dirs JOIN files ON files.dir_id = dirs.id
                 WHERE root_id = ?1 AND (path = ?2 OR (path >= ?3 AND path < ?4))
                 ORDER BY 1, 2 LIMIT ?5",
            )?;
            let mut gone = below.query((self.root_id, path.as_bytes(), &from, &to, MAX_SCAN_CHANGES as i64))?;
            while let Some(row) = gone.next()? {
                let mut full = row.get::<_, Vec<u8>>(0)?;
                if let Some(name) = row.get::<_, Option<Vec<u8>>>(1)? {
                    full.push(b'/');
                    full.extend(name);
                }
                let kind = EntryKind::from_code(row.get(2)?).unwrap_or(EntryKind::Other);
                let size = row.get::<_, Option<i64>>(3)?;
                self.change(ChangeOp::Deleted, kind, &full.into(), size, None)?;
            }
        }
        for sql in [
            "DELETE FROM files WHERE dir_id IN
                (SELECT id FROM dirs WHERE root_id = ?1 AND (path = ?2 OR (path >= ?3 AND path < ?4)))",
            "DELETE FROM dirs WHERE root_id = ?1 AND (path = ?2 OR (path >= ?3 AND path < ?4))",
        ] {
            self.db.prepare_cached(sql)?.execute((self.root_id, path.as_bytes(), &from, &to))?;
        }
        self.dirs.clear();
        Ok(())
    }

    fn entry(&mut self, dir: &ByteStr, name: &ByteStr, op: Option<ChangeOp>, entry: Option<&Entry>) -> Result<()> {
        let dir_id = self.dir_id(dir)?;
        self.touched.insert(dir_id);
        if let (Some(op), Some(_)) = (op, self.next_change) {
            let before: Option<(u8, i64)> = self
                .db
                .prepare_cached("SELECT kind, size FROM files WHERE dir_id = ? AND name = ?")?
                .query_row((dir_id, name.as_bytes()), |row| Ok((row.get(0)?, row.get(1)?)))
                .optional()?;
            let kind = entry
                .map(|e| e.kind)
                .or_else(|| before.and_then(|(code, _)| EntryKind::from_code(code)))
                .unwrap_or(EntryKind::Other);
            let path = match dir.is_empty() {
                true => name.clone(),
                false => [dir.as_bytes(), b"/", name.as_bytes()].concat().into(),
            };
            self.change(op, kind, &path, before.map(|(_, size)| size), entry.map(|e| e.size as i64))?;
        }
        match entry {
            None => {
                self.db
                    .prepare_cached("DELETE FROM files WHERE dir_id = ? AND name = ?")?
                    .execute((dir_id, name.as_bytes()))?;
            }
            Some(e) => {
                self.db.prepare_cached("INSERT OR REPLACE INTO files VALUES (?,?,?,?,?,?,?,?,?,?,?,?)")?.execute((
                    dir_id,
                    name.as_bytes(),
                    e.kind.code(),
                    e.size as i64,
                    e.mtime_ns,
                    e.dev as i64,
                    e.ino as i64,
                    e.nlink as i64,
                    e.mode,
                    e.uid,
                    e.gid,
                    e.hash.as_ref().map(|h| h.as_bytes()),
                ))?;
            }
        }
        Ok(())
    }

    fn change(
        &mut self,
        op: ChangeOp,
        kind: EntryKind,
        path: &ByteStr,
        before: Option<i64>,
        after: Option<i64>,
    ) -> Result<()> {
        let Some(seq) = self.next_change.filter(|seq| *seq < MAX_SCAN_CHANGES) else { return Ok(()) };
        self.db.prepare_cached("INSERT INTO scan_changes VALUES (?, ?, ?, ?, ?, ?, ?)")?.execute((
            &self.scan,
            seq as i64,
            op.code(),
            kind.code(),
            path.as_bytes(),
            before,
            after,
        ))?;
        self.next_change = Some(seq + 1);
        Ok(())
    }

    fn dir_id(&mut self, path: &ByteStr) -> Result<i64> {
        if let Some(id) = self.dirs.get(path) {
            return Ok(*id);
        }
        let id = self
            .db
            .prepare_cached("SELECT id FROM dirs WHERE root_id = ? AND path = ?")?
            .query_row((self.root_id, path.as_bytes()), |row| row.get(0))
            .optional()?
            .ok_or_else(|| StoreError::NotFound { what: "indexed directory", id: path.display().into_owned() })?;
        self.remember(path, id);
        Ok(id)
    }

    fn remember(&mut self, path: &ByteStr, id: i64) {
        if self.dirs.len() >= REMEMBERED_DIRS {
            self.dirs.clear();
        }
        self.dirs.insert(path.clone(), id);
    }
}

/// Brings the sums of the touched directories, then of all directories above them, up to date.
fn roll_up(db: &Connection, root_id: i64, touched: &HashSet<i64>) -> Result<()> {
    // Sparse files claim any size: the sums saturate, and are exact up to 2^53 bytes.
    let mut own = db.prepare_cached(
        "UPDATE dirs SET (own_files, own_bytes) =
            (SELECT COUNT(*), CAST(MIN(TOTAL(size), 9.2e18) AS INTEGER) FROM files WHERE dir_id = ?1 AND kind = 1)
         WHERE id = ?1",
    )?;
    for id in touched {
        own.execute([id])?;
    }
    // A path sorts before everything below it, so in descending order each directory's sum is complete when it is read.
    let mut dirs = db.prepare_cached(
        "SELECT id, parent_id, own_files, own_bytes, total_files, total_bytes FROM dirs WHERE root_id = ? ORDER BY path DESC",
    )?;
    let mut sums: HashMap<i64, (i64, i64)> = HashMap::new();
    let mut stale = Vec::new();
    let mut rows = dirs.query([root_id])?;
    while let Some(row) = rows.next()? {
        let (id, parent): (i64, Option<i64>) = (row.get(0)?, row.get(1)?);
        let (below_files, below_bytes) = sums.remove(&id).unwrap_or_default();
        let total = (row.get::<_, i64>(2)? + below_files, row.get::<_, i64>(3)?.saturating_add(below_bytes));
        if total != (row.get(4)?, row.get(5)?) {
            stale.push((id, total));
        }
        if let Some(parent) = parent {
            let sum = sums.entry(parent).or_default();
            sum.0 += total.0;
            sum.1 = sum.1.saturating_add(total.1);
        }
    }
    let mut update = db.prepare_cached("UPDATE dirs SET total_files = ?, total_bytes = ? WHERE id = ?")?;
    for (id, (files, bytes)) in stale {
        update.execute((files, bytes, id))?;
    }
    Ok(())
}
