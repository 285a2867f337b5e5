//! Scans that SnapFS clients make, under the names that those give them.

use hostler_model::{Algorithm, ScanId, Timestamp};
use rusqlite::{Connection, OptionalExtension, Row};

use crate::store::sqlite::rows;
use crate::store::{Result, SnapfsScan};

const SELECT: &str = "SELECT snapfs_scans.number, snapfs_scans.scan_id, snapfs_scans.scope, snapfs_scans.wire_id,
    scans.host_id, scans.root, scans.state IN ('completed', 'failed', 'cancelled') AS ended,
    json_extract(scans.options, '$.algorithm') AS algorithm
    FROM snapfs_scans JOIN scans ON scans.id = snapfs_scans.scan_id JOIN hosts ON hosts.id = scans.host_id
    WHERE hosts.removed = 0";

pub fn begin(db: &Connection, scan: ScanId, scope: &str, wire_id: &str) -> Result<i64> {
    forget_name(db, scope, wire_id)?;
    db.prepare_cached("INSERT INTO snapfs_scans (scan_id, scope, wire_id) VALUES (?, ?, ?)")?.execute((
        scan.to_string(),
        scope,
        wire_id,
    ))?;
    Ok(db.last_insert_rowid())
}

pub fn name(db: &Connection, number: i64, scope: &str, wire_id: &str) -> Result<()> {
    forget_name(db, scope, wire_id)?;
    db.prepare_cached("UPDATE snapfs_scans SET scope = ?, wire_id = ? WHERE number = ?")?
        .execute((scope, wire_id, number))?;
    Ok(())
}

fn forget_name(db: &Connection, scope: &str, wire_id: &str) -> Result<()> {
    db.prepare_cached("UPDATE snapfs_scans SET wire_id = '' WHERE scope = ? AND wire_id = ?")?
        .execute((scope, wire_id))?;
    Ok(())
}

pub fn by_wire_id(db: &Connection, scope: &str, wire_id: &str) -> Result<Option<SnapfsScan>> {
    let found = db
        .prepare_cached(&format!("{SELECT} AND scope = ? AND wire_id = ? AND wire_id <> ''"))?
        .query_row((scope, wire_id), from_row)
        .optional()?;
    Ok(found)
}

pub fn open(db: &Connection) -> Result<Vec<SnapfsScan>> {
    let mut query = db.prepare_cached(&format!(
        "{SELECT} AND (scans.state IN ('queued', 'running')
            OR EXISTS (SELECT 1 FROM snapfs_told WHERE snapfs_told.scan = snapfs_scans.number))"
    ))?;
    let open = query.query_map([], from_row)?.collect::<rusqlite::Result<_>>()?;
    Ok(open)
}

/// Ends all that have not ended, and forgets what they told: their clients know nothing of the store that was restored.
pub fn end_all(db: &Connection, at: Timestamp) -> Result<()> {
    db.execute(
        "UPDATE scans SET state = 'failed', ended_at = ?, error = 'a backup was restored while this scan ran; start it again'
         WHERE state IN ('running', 'queued')",
        [at.micros()],
    )?;
    db.execute("DELETE FROM snapfs_told", [])?;
    Ok(())
}

fn from_row(row: &Row<'_>) -> rusqlite::Result<SnapfsScan> {
    Ok(SnapfsScan {
        number: row.get("number")?,
        scan: rows::parsed(row, "scan_id")?,
        scope: row.get("scope")?,
        wire_id: row.get("wire_id")?,
        host: rows::parsed(row, "host_id")?,
        root: rows::path(row, "root")?,
        ended: row.get("ended")?,
        // Jobs begin with the default, which no SnapFS client has.
        algorithm: row.get::<_, String>("algorithm")?.parse().ok().filter(|a| *a != Algorithm::default()),
    })
}
