//! Removing the indexes of a host, a bounded part at a time.

use rusqlite::{Connection, OptionalExtension};

use super::refresh::replace_hashes;
use super::{Columns, SLOTS};
use crate::store::Result;

/// Segments of one write: each has up to some thousand entries.
const SEGMENTS_AT_ONCE: usize = 8;

/// Removes some of what is indexed of a host, and at most `rows` directories and growth rows; true when nothing is left.
pub fn remove_some(db: &Connection, host: i64, rows: i64) -> Result<bool> {
    const ROOTS: &str = "SELECT roots.id FROM hosts JOIN roots ON roots.host_id = hosts.id WHERE hosts.number = ?1";
    for _ in 0..SEGMENTS_AT_ONCE {
        let next: Option<i64> = db
            .prepare_cached(&format!("SELECT id FROM segments WHERE root_id IN ({ROOTS}) LIMIT 1"))?
            .query_row([host], |row| row.get(0))
            .optional()?;
        let Some(segment) = next else { return remove_dirs(db, ROOTS, host, rows) };
        let old = Columns::kept_hashes(db, segment)?;
        replace_hashes(db, segment, &old, &[])?;
        db.prepare_cached("DELETE FROM chunks WHERE id >= ?1 * ?2 AND id < (?1 + 1) * ?2")?
            .execute((segment, SLOTS))?;
        Columns::forget(db, segment)?;
        db.prepare_cached("DELETE FROM segments WHERE id = ?")?.execute([segment])?;
    }
    Ok(false)
}

fn remove_dirs(db: &Connection, roots: &str, host: i64, rows: i64) -> Result<bool> {
    let growth = db
        .prepare_cached(&format!(
            "DELETE FROM growth WHERE (dir_id, at) IN (SELECT dir_id, at FROM growth WHERE root_id IN ({roots}) LIMIT ?2)"
        ))?
        .execute((host, rows))?;
    let dirs = db
        .prepare_cached(&format!(
            "DELETE FROM dirs WHERE id IN (SELECT id FROM dirs WHERE root_id IN ({roots}) LIMIT ?2)"
        ))?
        .execute((host, rows))?;
    Ok((growth as i64) < rows && (dirs as i64) < rows)
}
