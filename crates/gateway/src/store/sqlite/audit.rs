//! The audit log: entries are added, read, and pruned by age; there is no other statement on its table.

use hostler_model::Timestamp;
use rusqlite::types::Value;
use rusqlite::{Connection, Row, params_from_iter};

use super::rows;
use crate::store::{AUDIT_SECONDS, AuditEntry, AuditFilter, Page, PageRequest, Result};

/// Oldest entries that one append looks at.
const PRUNED_AT_ONCE: i64 = 64;

pub fn append(db: &Connection, entry: &AuditEntry) -> Result<()> {
    db.prepare_cached(
        "INSERT INTO audit (at, who, role, from_address, via, action, host_id, host_name, target, result, detail)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    )?
    .execute((
        entry.at.micros(),
        &entry.who,
        entry.role.map(|role| role.word()),
        &entry.from,
        entry.via.word(),
        &entry.action,
        entry.host.map(|host| host.to_string()),
        &entry.host_name,
        &entry.target,
        entry.result.word(),
        &entry.detail,
    ))?;
    prune(db, entry.at)
}

fn prune(db: &Connection, now: Timestamp) -> Result<()> {
    let before = now.micros().saturating_sub(AUDIT_SECONDS * 1_000_000);
    db.prepare_cached("DELETE FROM audit WHERE id < (SELECT MIN(id) FROM audit) + ? AND at < ?")?
        .execute((PRUNED_AT_ONCE, before))?;
    Ok(())
}

pub fn list(db: &Connection, filter: &AuditFilter, page: &PageRequest) -> Result<Page<AuditEntry>> {
    let mut query = rows::Conditions::default();
    if let Some(who) = &filter.who {
        query.add(r"who LIKE ? ESCAPE '\'", [rows::like(who).into()]);
    }
    if let Some(action) = &filter.action {
        query.add_words("action", action);
    }
    if let Some(host) = filter.host {
        query.add("host_id = ?", [host.to_string().into()]);
    }
    if let Some(since) = filter.since {
        query.add("at >= ?", [since.micros().into()]);
    }
    if let Some(until) = filter.until {
        query.add("at < ?", [until.micros().into()]);
    }
    if let Some(result) = filter.result {
        query.add("result = ?", [result.word().to_owned().into()]);
    }
    if let Some(text) = &page.cursor {
        query.add("id < ?", [rows::number(text)?.into()]);
    }
    let sql = format!("SELECT * FROM audit WHERE {} ORDER BY id DESC LIMIT ?", query.sql());
    let values = query.values(Value::from(i64::from(page.limit) + 1));
    let mut query = db.prepare_cached(&sql)?;
    let items: Vec<AuditEntry> =
        query.query_map(params_from_iter(values), from_row)?.collect::<rusqlite::Result<_>>()?;
    Ok(rows::page_by_id(items, page, |entry| entry.id))
}

fn from_row(row: &Row<'_>) -> rusqlite::Result<AuditEntry> {
    Ok(AuditEntry {
        id: row.get("id")?,
        at: rows::time(row, "at")?,
        who: row.get("who")?,
        role: rows::optional_parsed(row, "role")?,
        from: row.get("from_address")?,
        via: rows::parsed(row, "via")?,
        action: row.get("action")?,
        host: rows::optional_parsed(row, "host_id")?,
        host_name: row.get("host_name")?,
        target: row.get("target")?,
        result: rows::parsed(row, "result")?,
        detail: row.get("detail")?,
    })
}
