//! Scans, their errors and their changes.

use hostler_model::{ByteStr, HostId, ScanCounters, ScanId, ScanState, Timestamp};
use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, Row, params_from_iter};

use super::{changes, cursor, rows};
use crate::store::{Change, MAX_SCAN_ERRORS, Page, PageRequest, Result, Scan, ScanError, ScanFilter, StoreError};

/// Scans of a root whose errors and changes are kept.
const SCANS_WITH_DETAILS: i64 = 50;

const SELECT: &str =
    "SELECT scans.*, hosts.name AS host_name FROM scans JOIN hosts ON hosts.id = scans.host_id WHERE 1";

/// Scans that a stopped gateway left running: nothing of them was committed. Those of SnapFS clients go on without it.
pub fn end_interrupted(db: &Connection, at: Timestamp) -> Result<()> {
    db.execute(
        "UPDATE scans SET state = 'failed', ended_at = ?, error = 'the gateway was stopped while this scan ran; start it again'
         WHERE state IN ('running', 'queued') AND NOT EXISTS (SELECT 1 FROM snapfs_scans WHERE scan_id = scans.id)",
        [at.micros()],
    )?;
    Ok(())
}

pub fn create(db: &Connection, scan: &Scan) -> Result<()> {
    let encode = |e: serde_json::Error| rusqlite::Error::ToSqlConversionFailure(e.into());
    db.prepare_cached(
        "INSERT INTO scans (id, host_id, root, state, options, requested_by, created_at) VALUES (?, ?, ?, ?, ?, ?, ?)",
    )?
    .execute((
        scan.id.to_string(),
        scan.host.to_string(),
        scan.root.as_bytes(),
        scan.state.word(),
        serde_json::to_string(&scan.options).map_err(encode)?,
        &scan.requested_by,
        scan.created_at.micros(),
    ))?;
    Ok(())
}

pub fn one(db: &Connection, id: ScanId) -> Result<Scan> {
    db.prepare_cached(&format!("{SELECT} AND scans.id = ?"))?
        .query_row([id.to_string()], from_row)
        .optional()?
        .ok_or_else(|| StoreError::NotFound { what: "scan", id: id.to_string() })
}

pub fn list(db: &Connection, filter: &ScanFilter, page: &PageRequest) -> Result<Page<Scan>> {
    let mut sql = SELECT.to_owned();
    let mut values: Vec<Value> = Vec::new();
    if let Some(host) = filter.host {
        sql.push_str(" AND host_id = ?");
        values.push(host.to_string().into());
    }
    if let Some(root) = &filter.root {
        sql.push_str(" AND root = ?");
        values.push(root.as_bytes().to_vec().into());
    }
    if !filter.states.is_empty() {
        let marks = vec!["?"; filter.states.len()].join(",");
        sql.push_str(&format!(" AND state IN ({marks})"));
        values.extend(filter.states.iter().map(|s| Value::from(s.word().to_owned())));
    }
    if let Some(text) = &page.cursor {
        sql.push_str(" AND (scans.created_at, scans.id) < (?, ?)");
        values.extend(cursor::decode(text, 2)?);
    }
    sql.push_str(" ORDER BY scans.created_at DESC, scans.id DESC LIMIT ?");
    values.push((i64::from(page.limit) + 1).into());
    let mut query = db.prepare_cached(&sql)?;
    let mut items: Vec<Scan> = query.query_map(params_from_iter(values), from_row)?.collect::<rusqlite::Result<_>>()?;
    let more = items.len() > page.limit as usize;
    items.truncate(page.limit as usize);
    let next = items
        .last()
        .filter(|_| more)
        .map(|scan| cursor::encode(&[scan.created_at.micros().into(), scan.id.to_string().into()]));
    Ok(Page { items, next })
}

pub fn started(db: &Connection, id: ScanId, root: &ByteStr, first: bool, at: Timestamp) -> Result<()> {
    db.prepare_cached("UPDATE scans SET state = 'running', root = ?, first = ?, started_at = ? WHERE id = ?")?
        .execute((root.as_bytes(), first, at.micros(), id.to_string()))?;
    Ok(())
}

pub fn ended(
    db: &Connection,
    id: ScanId,
    state: ScanState,
    error: Option<&str>,
    counters: &ScanCounters,
    at: Timestamp,
) -> Result<()> {
    db.prepare_cached(
        "UPDATE scans SET state = ?, error = ?, counters = ?, ended_at = ? WHERE id = ? AND state IN ('queued', 'running')",
    )?
    .execute((state.word(), error, counters_json(counters)?, at.micros(), id.to_string()))?;
    Ok(())
}

/// Drops the errors and changes of all but the newest scans of a root; the scans themselves stay.
pub fn forget_old_details(db: &Connection, host: HostId, root: &ByteStr) -> Result<()> {
    // Scans that did not complete have no changes, and must not push out those of scans that did.
    for (table, states) in [("scan_changes", "'completed'"), ("scan_errors", "'completed', 'failed', 'cancelled'")] {
        db.prepare_cached(&format!(
            "DELETE FROM {table} WHERE scan_id IN (
                SELECT id FROM scans WHERE host_id = ? AND root = ? AND state IN ({states})
                ORDER BY created_at DESC, id DESC LIMIT 50 OFFSET ?)"
        ))?
        .execute((host.to_string(), root.as_bytes(), SCANS_WITH_DETAILS))?;
    }
    Ok(())
}

pub fn counters_json(counters: &ScanCounters) -> Result<String> {
    Ok(serde_json::to_string(counters).map_err(|e| rusqlite::Error::ToSqlConversionFailure(e.into()))?)
}

pub fn add_errors(db: &Connection, id: ScanId, errors: &[ScanError]) -> Result<()> {
    let id = id.to_string();
    let kept: u64 = db
        .prepare_cached("SELECT COALESCE(MAX(seq) + 1, 0) AS seq FROM scan_errors WHERE scan_id = ?")?
        .query_row([&id], |row| rows::unsigned(row, "seq"))?;
    let room = MAX_SCAN_ERRORS.saturating_sub(kept) as usize;
    let mut insert = db.prepare_cached("INSERT INTO scan_errors VALUES (?, ?, ?, ?, ?)")?;
    for (seq, error) in (kept..).zip(errors.iter().take(room)) {
        insert.execute((&id, seq as i64, error.path.as_bytes(), &error.operation, &error.message))?;
    }
    Ok(())
}

pub fn errors(db: &Connection, id: ScanId, page: &PageRequest) -> Result<Page<ScanError>> {
    one(db, id)?;
    let mut query = db.prepare_cached(
        "SELECT seq, path, operation, message FROM scan_errors WHERE scan_id = ? AND seq > ? ORDER BY seq LIMIT ?",
    )?;
    let found = query
        .query_map((id.to_string(), rows::seq_after(page)?, page.limit + 1), |row| {
            let error = ScanError {
                path: rows::path(row, "path")?,
                operation: row.get("operation")?,
                message: row.get("message")?,
            };
            Ok((row.get("seq")?, error))
        })?
        .collect::<rusqlite::Result<_>>()?;
    Ok(rows::page_by_seq(found, page))
}

pub fn changes(db: &Connection, id: ScanId, page: &PageRequest) -> Result<Page<Change>> {
    one(db, id)?;
    let mut query =
        db.prepare_cached("SELECT * FROM scan_changes WHERE scan_id = ? AND seq > ? ORDER BY seq LIMIT ?")?;
    let found = query
        .query_map((id.to_string(), rows::seq_after(page)?, page.limit + 1), |row| {
            Ok((row.get("seq")?, changes::from_row(row)?))
        })?
        .collect::<rusqlite::Result<_>>()?;
    Ok(rows::page_by_seq(found, page))
}

fn from_row(row: &Row<'_>) -> rusqlite::Result<Scan> {
    Ok(Scan {
        id: rows::parsed(row, "id")?,
        host: rows::parsed(row, "host_id")?,
        host_name: row.get("host_name")?,
        root: rows::path(row, "root")?,
        state: rows::parsed(row, "state")?,
        options: rows::json(row, "options")?,
        requested_by: row.get("requested_by")?,
        created_at: rows::time(row, "created_at")?,
        started_at: rows::optional_time(row, "started_at")?,
        ended_at: rows::optional_time(row, "ended_at")?,
        counters: rows::json(row, "counters")?,
        error: row.get("error")?,
        generation: row.get::<_, Option<i64>>("generation")?.map(|n| n as u64),
        first: row.get("first")?,
    })
}
