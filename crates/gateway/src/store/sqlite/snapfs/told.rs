//! Files that SnapFS clients told of, until they are committed.
//!
//! A row holds what one call told of one directory, packed as a chunk is; a commit reads them by directory and sorts each in
//! memory, about 150 bytes a file of the largest directory. Of a file that was told of twice the later holds. They
//! survive a restart: the client goes on where it was.

use std::collections::{HashMap, HashSet};

use hostler_model::{ByteStr, Entry, EntryKind};
use rusqlite::{Connection, OptionalExtension};

use crate::store::sqlite::hosts;
use crate::store::sqlite::index::{self, Applier, Entries, EntryOp, Packer, Row};
use crate::store::{Extent, IndexCommit, Result, ToldFile, ToldTotals, UNKNOWN_OWNER};

/// Rows deleted by one write.
const FORGOTTEN_AT_ONCE: i64 = 2000;
/// Directories whose names are read at once.
const DIRS: i64 = 512;

/// Files by name.
type Files = Vec<(Vec<u8>, Row)>;

/// Keeps files of a scan; one told of again replaces what was told.
pub fn put(db: &Connection, scan: i64, files: &[ToldFile]) -> Result<()> {
    for together in files.chunk_by(|a, b| a.dir == b.dir) {
        let mut packer = Packer::default();
        for file in together {
            packer.push(file.name.as_bytes(), &Row::from(&file.entry));
        }
        for chunk in packer.finish() {
            append(db, scan, together[0].dir.as_bytes(), &chunk.data)?;
        }
    }
    Ok(())
}

fn append(db: &Connection, scan: i64, dir: &[u8], entries: &[u8]) -> Result<()> {
    db.prepare_cached("INSERT INTO snapfs_told (scan, dir, entries) VALUES (?, ?, ?)")?
        .execute((scan, dir, entries))?;
    Ok(())
}

/// What a scan told of so far, each file once.
pub fn count(db: &Connection, scan: i64) -> Result<ToldTotals> {
    let mut totals = ToldTotals::default();
    let mut untold: HashMap<(u64, u64), u64> = HashMap::new();
    each_dir(db, scan, |dir| {
        totals.dirs += 1;
        for (_, row) in files_of(db, scan, dir)? {
            totals.files += 1;
            if row.nlink > 1 {
                let left = untold.entry((row.dev, row.ino)).or_insert(row.nlink);
                *left = left.saturating_sub(1);
            }
        }
        Ok(())
    })?;
    totals.further_names = untold.into_values().fold(0, u64::saturating_add);
    Ok(totals)
}

/// Applies a scan's files to the index and forgets them, in one transaction: what is told later is not lost with them.
pub fn commit(db: &Connection, commit: &IndexCommit, scan: i64) -> Result<()> {
    // Not into the index of a host that is being removed.
    hosts::number(db, commit.host)?;
    match (is_superseded(db, commit)?, commit.completes) {
        (true, true) => {
            let commit = IndexCommit { extent: Extent::Part, ..commit.clone() };
            index::commit(db, &commit, |_| Ok(()))?;
        }
        (true, false) => {}
        (false, _) => {
            if commit.extent == Extent::Whole {
                add_further_names(db, commit, scan)?;
            }
            index::commit(db, commit, |index| apply(db, index, scan))?;
        }
    }
    db.prepare_cached("DELETE FROM snapfs_told WHERE scan = ?")?.execute([scan])?;
    Ok(())
}

/// A scan of the same root that was begun later has completed: what an older one tells is of the past.
fn is_superseded(db: &Connection, commit: &IndexCommit) -> Result<bool> {
    Ok(db
        .prepare_cached(
            "SELECT 1 FROM scans WHERE host_id = ?1 AND root = ?2 AND state = 'completed'
                AND created_at > (SELECT created_at FROM scans WHERE id = ?3)",
        )?
        .exists((commit.host.to_string(), commit.root.as_bytes(), commit.scan.to_string()))?)
}

/// Tells the index of a scan's files, with their directories, which clients do not tell of.
fn apply(db: &Connection, index: &mut Applier<'_>, scan: i64) -> Result<()> {
    // Bytes sort "a-b" between "a" and "a/b": a directory that was told is remembered, as telling it again would empty it.
    let mut told: HashSet<[u8; 16]> = HashSet::new();
    each_dir(db, scan, |dir| {
        let files = files_of(db, scan, dir)?;
        let ends = [0].into_iter().chain((0..dir.len()).filter(|at| dir[*at] == b'/'));
        for above in ends.map(|end| &dir[..end]).filter(|above| above.len() < dir.len()) {
            if told.insert(fingerprint(above)) {
                index.dir(above.into(), None, &directory(0))?;
            }
        }
        told.insert(fingerprint(dir));
        // As old as its newest file.
        let newest = files.iter().map(|(_, row)| row.mtime_ns).max().unwrap_or(0);
        index.dir(dir.into(), None, &directory(newest))?;
        let ops = files.into_iter().map(|(name, row)| EntryOp { name, op: None, row: Some(row) }).collect();
        index.entries(&dir.into(), ops)
    })?;
    match told.is_empty() {
        // Also a root without files has been scanned.
        true => index.dir(ByteStr::default(), None, &directory(0)),
        false => Ok(()),
    }
}

fn fingerprint(path: &[u8]) -> [u8; 16] {
    let mut print = [0; 16];
    print.copy_from_slice(&blake3::hash(path).as_bytes()[..16]);
    print
}

/// A directory as far as it is known.
fn directory(mtime_ns: i64) -> Entry {
    Entry {
        kind: EntryKind::Dir,
        size: 0,
        mtime_ns,
        ctime_ns: 0,
        dev: 0,
        ino: 0,
        nlink: 1,
        mode: 0,
        uid: UNKNOWN_OWNER,
        gid: UNKNOWN_OWNER,
        hash: None,
    }
}

/// Visits the directories that a scan told of, a directory before those in it.
fn each_dir(db: &Connection, scan: i64, mut visit: impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
    // The first one may be the root, whose path is empty.
    let mut sql = "SELECT DISTINCT dir FROM snapfs_told WHERE scan = ? AND dir >= ? ORDER BY dir LIMIT ?";
    let mut after = Vec::new();
    loop {
        let dirs: Vec<Vec<u8>> = db
            .prepare_cached(sql)?
            .query_map((scan, &after, DIRS), |row| row.get(0))?
            .collect::<rusqlite::Result<_>>()?;
        for dir in &dirs {
            visit(dir)?;
        }
        let Some(last) = dirs.into_iter().next_back() else { return Ok(()) };
        after = last;
        sql = "SELECT DISTINCT dir FROM snapfs_told WHERE scan = ? AND dir > ? ORDER BY dir LIMIT ?";
    }
}

/// The files of a directory by name.
fn files_of(db: &Connection, scan: i64, dir: &[u8]) -> Result<Files> {
    let mut query = db.prepare_cached("SELECT entries FROM snapfs_told WHERE scan = ? AND dir = ? ORDER BY id DESC")?;
    let mut rows = query.query((scan, dir))?;
    let mut files = Files::new();
    while let Some(row) = rows.next()? {
        let first = files.len();
        let mut entries = Entries::new(row.get_ref(0)?.as_blob().map_err(rusqlite::Error::from)?);
        while let Some((name, row)) = entries.next()? {
            files.push((name.to_vec(), row));
        }
        files[first..].reverse();
    }
    // The latest comes first, and the order of those of one name stays.
    files.sort_by(|a, b| a.0.cmp(&b.0));
    files.dedup_by(|later, first| later.0 == first.0);
    Ok(files)
}

/// Adds names of hard links that are indexed: the upstream client tells of one name of each, and means by it that the others
/// are there too, as many as the file has links.
fn add_further_names(db: &Connection, commit: &IndexCommit, scan: i64) -> Result<()> {
    let mut twins: HashMap<(u64, u64), (u64, Row)> = HashMap::new();
    each_dir(db, scan, |dir| {
        for (_, row) in files_of(db, scan, dir)?.into_iter().filter(|(_, row)| row.nlink > 1 && row.ino != 0) {
            let (untold, _) = twins.entry((row.dev, row.ino)).or_insert((row.nlink, row));
            *untold = untold.saturating_sub(1);
        }
        Ok(())
    })?;
    twins.retain(|_, (untold, _)| *untold > 0);
    if twins.is_empty() {
        return Ok(());
    }
    let mut indexed = db.prepare_cached(
        "SELECT dirs.path, chunks.data FROM roots JOIN dirs ON dirs.root_id = roots.id JOIN chunks ON chunks.dir_id = dirs.id
         WHERE roots.host_id = ? AND roots.path = ? ORDER BY dirs.path, chunks.first",
    )?;
    let mut rows = indexed.query((commit.host.to_string(), commit.root.as_bytes()))?;
    let mut added: Vec<(Vec<u8>, Vec<u8>, Row)> = Vec::new();
    let mut told: (Option<Vec<u8>>, Files) = (None, Files::new());
    while let Some(row) = rows.next()? {
        let dir = row.get_ref(0)?.as_blob().map_err(rusqlite::Error::from)?;
        let mut entries = Entries::new(row.get_ref(1)?.as_blob().map_err(rusqlite::Error::from)?);
        while let Some((name, row)) = entries.next()? {
            let Some((untold, twin)) = twins.get_mut(&(row.dev, row.ino)).filter(|(untold, _)| *untold > 0) else {
                continue;
            };
            if told.0.as_deref() != Some(dir) {
                told = (Some(dir.to_vec()), files_of(db, scan, dir)?);
            }
            if told.1.binary_search_by(|(told, _)| told.as_slice().cmp(name)).is_err() {
                *untold -= 1;
                added.push((dir.to_vec(), name.to_vec(), *twin));
            }
        }
    }
    for (dir, name, twin) in added {
        let mut packer = Packer::default();
        packer.push(&name, &twin);
        for chunk in packer.finish() {
            append(db, scan, &dir, &chunk.data)?;
        }
    }
    Ok(())
}

/// Deletes what a scan told, a bounded number of rows; true when none is left.
pub fn forget_some(db: &Connection, scan: i64) -> Result<bool> {
    let deleted = db
        .prepare_cached("DELETE FROM snapfs_told WHERE id IN (SELECT id FROM snapfs_told WHERE scan = ? LIMIT ?)")?
        .execute((scan, FORGOTTEN_AT_ONCE))?;
    Ok((deleted as i64) < FORGOTTEN_AT_ONCE)
}

/// Any scan of a host that is being removed of which something waits.
pub fn of_host(db: &Connection, host: i64) -> Result<Option<i64>> {
    Ok(db
        .prepare_cached(
            "SELECT number FROM snapfs_scans JOIN scans ON scans.id = snapfs_scans.scan_id
             WHERE scans.host_id = (SELECT id FROM hosts WHERE number = ?)
                AND EXISTS (SELECT 1 FROM snapfs_told WHERE snapfs_told.scan = snapfs_scans.number) LIMIT 1",
        )?
        .query_row([host], |row| row.get(0))
        .optional()?)
}
