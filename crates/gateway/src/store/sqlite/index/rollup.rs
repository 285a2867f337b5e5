//! Sums of directories over everything below them, and how they grew.

use std::collections::{HashMap, HashSet};

use hostler_model::Timestamp;
use rusqlite::{Connection, OptionalExtension};

use crate::store::Result;

/// Seconds for which growth is kept: 400 days.
const GROWTH_KEPT_SECONDS: i64 = 400 * 86_400;
/// Growth rows kept of one root; the oldest go first.
const GROWTH_KEPT_ROWS: i64 = 200_000;

/// What changed in a directory.
#[derive(Clone, Copy, Default)]
pub struct Churn {
    /// Bytes of new files, and of modified ones as they are now.
    pub written: u64,
    /// Bytes of files that are gone.
    pub removed: u64,
    /// Entries that were created, modified, moved or deleted.
    pub changes: u64,
}

impl Churn {
    fn add(&mut self, other: &Self) {
        self.written = self.written.saturating_add(other.written);
        self.removed = self.removed.saturating_add(other.removed);
        self.changes = self.changes.saturating_add(other.changes);
    }
}

/// A directory on the way from a touched one to the root.
struct Dir {
    id: i64,
    parent: Option<i64>,
    path_len: i64,
    total: (i64, i64),
}

/// Brings the sums of the touched directories, then of all above them, up to date. With `at`, growth is kept.
///
/// Sparse files claim any size: the sums saturate, and are exact up to 2^53 bytes.
pub fn roll_up(
    db: &Connection,
    root_id: i64,
    touched: &HashSet<i64>,
    mut churn: HashMap<i64, Churn>,
    at: Option<Timestamp>,
) -> Result<()> {
    let mut own = db.prepare_cached(
        "UPDATE dirs SET (own_files, own_bytes) =
            (SELECT COALESCE(SUM(files), 0), CAST(MIN(TOTAL(bytes), 9.2e18) AS INTEGER) FROM chunks WHERE dir_id = ?1)
         WHERE id = ?1",
    )?;
    for id in touched {
        own.execute([id])?;
    }
    let mut dirs = with_ancestors(db, touched.iter().chain(churn.keys()))?;
    // A path is longer than those of the directories above it: each sum is complete when it is read.
    dirs.sort_unstable_by_key(|dir| std::cmp::Reverse(dir.path_len));
    let mut below = db.prepare_cached(
        "SELECT own_files + (SELECT COALESCE(SUM(total_files), 0) FROM dirs WHERE parent_id = ?1),
            CAST(MIN(own_bytes + (SELECT TOTAL(total_bytes) FROM dirs WHERE parent_id = ?1), 9.2e18) AS INTEGER)
         FROM dirs WHERE id = ?1",
    )?;
    let mut update = db.prepare_cached("UPDATE dirs SET total_files = ?, total_bytes = ? WHERE id = ?")?;
    let mut grew =
        db.prepare_cached("INSERT OR REPLACE INTO growth VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)")?;
    for dir in dirs {
        let (files, bytes): (i64, i64) = below.query_row([dir.id], |row| Ok((row.get(0)?, row.get(1)?)))?;
        let differs = (files, bytes) != dir.total;
        if differs {
            update.execute((files, bytes, dir.id))?;
        }
        let changed = churn.remove(&dir.id).unwrap_or_default();
        if let Some(at) = at
            && (differs || changed.changes > 0)
        {
            let signed = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
            let more = (files.saturating_sub(dir.total.0), bytes.saturating_sub(dir.total.1));
            grew.execute((
                dir.id,
                at.micros(),
                root_id,
                files,
                bytes,
                more.0,
                more.1,
                signed(changed.written),
                signed(changed.removed),
                signed(changed.changes),
            ))?;
        }
        if let Some(parent) = dir.parent {
            churn.entry(parent).or_default().add(&changed);
        }
    }
    at.map_or(Ok(()), |at| forget_old_growth(db, root_id, at))
}

fn with_ancestors<'a>(db: &Connection, ids: impl Iterator<Item = &'a i64>) -> Result<Vec<Dir>> {
    let mut query =
        db.prepare_cached("SELECT parent_id, length(path), total_files, total_bytes FROM dirs WHERE id = ?")?;
    let (mut known, mut dirs) = (HashSet::new(), Vec::new());
    for &id in ids {
        let mut next = Some(id);
        while let Some(id) = next.filter(|id| known.insert(*id)) {
            let dir = query
                .query_row([id], |row| {
                    Ok(Dir { id, parent: row.get(0)?, path_len: row.get(1)?, total: (row.get(2)?, row.get(3)?) })
                })
                .optional()?;
            next = dir.as_ref().and_then(|dir| dir.parent);
            dirs.extend(dir);
        }
    }
    Ok(dirs)
}

fn forget_old_growth(db: &Connection, root_id: i64, at: Timestamp) -> Result<()> {
    let newest_of_the_rest: Option<i64> = db
        .prepare_cached("SELECT at FROM growth WHERE root_id = ? ORDER BY at DESC LIMIT 1 OFFSET ?")?
        .query_row((root_id, GROWTH_KEPT_ROWS), |row| row.get(0))
        .optional()?;
    let expired = at.micros().saturating_sub(GROWTH_KEPT_SECONDS * 1_000_000);
    // What this commit adds stays, however much it is.
    let through = newest_of_the_rest.map_or(expired, |newest| newest.min(at.micros() - 1).max(expired));
    let gone = db.prepare_cached("DELETE FROM growth WHERE root_id = ? AND at <= ?")?.execute((root_id, through))?;
    if gone > 0 {
        db.prepare_cached("UPDATE roots SET tracked_since = MAX(COALESCE(tracked_since, 0), ?) WHERE id = ?")?
            .execute((through, root_id))?;
    }
    Ok(())
}
