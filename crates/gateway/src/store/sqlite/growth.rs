//! How directories grew.

use hostler_model::Timestamp;
use rusqlite::{Connection, Row};

use super::browse::{Place, locate, not_indexed};
use super::entries::{Dir, Entries};
use super::{index, rows};
use crate::store::{Growth, GrowthChange, GrowthOfChild, GrowthPoint, GrowthQuery, MAX_GROWTH_POINTS, Result};

/// Subdirectories that are told.
const MAX_CHILDREN: i64 = 200;

pub fn growth(db: &Connection, query: &GrowthQuery) -> Result<Growth> {
    let Place { root, indexed, inside } = locate(db, query.host, &query.path)?;
    let dir = Dir::at(db, indexed.id, &inside)?.ok_or_else(|| not_indexed(&query.path))?;
    let known_since = db
        .prepare_cached("SELECT tracked_since FROM roots WHERE id = ?")?
        .query_row([indexed.id], |row| rows::optional_time(row, "tracked_since"))?;
    let points = points(db, &dir, query.since, known_since, root.indexed_at)?;
    let mut change = GrowthChange::default();
    points.iter().for_each(|point| change.add(&point.change));
    Ok(Growth {
        dir: Entries::new(db).dir(&indexed, &dir)?,
        children: children(db, &indexed.path, &dir, query.since)?,
        root,
        points,
        change,
        known_since,
    })
}

fn points(
    db: &Connection,
    dir: &Dir,
    since: Timestamp,
    known_since: Option<Timestamp>,
    indexed_at: Timestamp,
) -> Result<Vec<GrowthPoint>> {
    let mut query = db.prepare_cached("SELECT * FROM growth WHERE dir_id = ? AND at >= ? ORDER BY at")?;
    let mut points: Vec<GrowthPoint> = query
        .query_map((dir.id, since.micros()), |row| {
            Ok(GrowthPoint {
                at: rows::time(row, "at")?,
                files: rows::unsigned(row, "files")?,
                bytes: rows::unsigned(row, "bytes")?,
                change: change_from_row(row)?,
            })
        })?
        .collect::<rusqlite::Result<_>>()?;
    // What it was before the first of them, or is as nothing changed.
    let start = known_since.map_or(since, |known| known.max(since)).min(indexed_at);
    let (files, bytes) = match points.first() {
        Some(first) => (
            first.files.saturating_add_signed(first.change.files.saturating_neg()),
            first.bytes.saturating_add_signed(first.change.bytes.saturating_neg()),
        ),
        None => (dir.files, dir.row.size),
    };
    if points.first().is_none_or(|first| start < first.at) {
        points.insert(0, GrowthPoint { at: start, files, bytes, change: GrowthChange::default() });
    }
    let together = points.len().div_ceil(MAX_GROWTH_POINTS);
    if together > 1 {
        points = points.chunks(together).filter_map(put_together).collect();
    }
    Ok(points)
}

/// Neighbouring points as one: the last state, and the sum of the changes.
fn put_together(points: &[GrowthPoint]) -> Option<GrowthPoint> {
    let mut change = GrowthChange::default();
    points.iter().for_each(|point| change.add(&point.change));
    points.last().map(|last| GrowthPoint { change, ..*last })
}

fn children(db: &Connection, root: &[u8], dir: &Dir, since: Timestamp) -> Result<Vec<GrowthOfChild>> {
    let mut query = db.prepare_cached(
        "SELECT dirs.path, dirs.total_files, dirs.total_bytes,
            CAST(TOTAL(growth.more_files) AS INTEGER) AS more_files, CAST(TOTAL(growth.more_bytes) AS INTEGER) AS more_bytes,
            CAST(TOTAL(growth.written_bytes) AS INTEGER) AS written_bytes,
            CAST(TOTAL(growth.removed_bytes) AS INTEGER) AS removed_bytes, CAST(TOTAL(growth.changes) AS INTEGER) AS changes
         FROM dirs LEFT JOIN growth ON growth.dir_id = dirs.id AND growth.at >= ?2
         WHERE dirs.parent_id = ?1 GROUP BY dirs.id
         ORDER BY ABS(TOTAL(growth.more_bytes)) DESC, TOTAL(growth.written_bytes) + TOTAL(growth.removed_bytes) DESC,
            dirs.total_bytes DESC, dirs.path LIMIT ?3",
    )?;
    let children = query.query_map((dir.id, since.micros(), MAX_CHILDREN), |row| {
        Ok(GrowthOfChild {
            path: index::absolute(root, &row.get::<_, Vec<u8>>("path")?).into(),
            files: rows::unsigned(row, "total_files")?,
            bytes: rows::unsigned(row, "total_bytes")?,
            change: change_from_row(row)?,
        })
    })?;
    Ok(children.collect::<rusqlite::Result<_>>()?)
}

fn change_from_row(row: &Row<'_>) -> rusqlite::Result<GrowthChange> {
    Ok(GrowthChange {
        files: row.get("more_files")?,
        bytes: row.get("more_bytes")?,
        written_bytes: rows::unsigned(row, "written_bytes")?,
        removed_bytes: rows::unsigned(row, "removed_bytes")?,
        changes: rows::unsigned(row, "changes")?,
    })
}

impl GrowthChange {
    fn add(&mut self, other: &Self) {
        self.files = self.files.saturating_add(other.files);
        self.bytes = self.bytes.saturating_add(other.bytes);
        self.written_bytes = self.written_bytes.saturating_add(other.written_bytes);
        self.removed_bytes = self.removed_bytes.saturating_add(other.removed_bytes);
        self.changes = self.changes.saturating_add(other.changes);
    }
}
