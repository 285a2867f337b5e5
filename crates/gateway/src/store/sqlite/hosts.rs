//! Hosts, their keys and their links' numbers.

use hostler_model::{HostId, Timestamp};
use rusqlite::{Connection, OptionalExtension, Row, named_params};

use super::{index, rows, snapfs};
use crate::store::{Host, HostProof, LinkAdmission, Protocol, Result, StoreError};

/// Rows of one table that one write of a removal deletes.
const REMOVED_AT_ONCE: i64 = 20_000;

pub fn register(db: &Connection, id: HostId, name: &str, public_key: [u8; 32], at: Timestamp) -> Result<()> {
    db.prepare_cached(
        "INSERT INTO hosts (id, name, public_key, created_at) VALUES (:id, :name, :key, :at)
         ON CONFLICT (id) DO UPDATE SET name = :name, public_key = :key WHERE removed = 0",
    )?
    .execute(named_params! { ":id": id.to_string(), ":name": name, ":key": public_key, ":at": at.micros() })?;
    Ok(())
}

pub fn key(db: &Connection, id: HostId) -> Result<Option<[u8; 32]>> {
    let key = db
        .prepare_cached("SELECT public_key FROM hosts WHERE id = ? AND removed = 0")?
        .query_row([id.to_string()], |row| row.get(0))
        .optional()?;
    Ok(key.flatten())
}

pub fn all(db: &Connection) -> Result<Vec<Host>> {
    let mut query = db.prepare_cached("SELECT * FROM hosts WHERE removed = 0 ORDER BY name, id")?;
    let hosts = query.query_map([], from_row)?.collect::<rusqlite::Result<_>>()?;
    Ok(hosts)
}

pub fn one(db: &Connection, id: HostId) -> Result<Host> {
    db.prepare_cached("SELECT * FROM hosts WHERE id = ? AND removed = 0")?
        .query_row([id.to_string()], from_row)
        .optional()?
        .ok_or_else(|| unknown(id))
}

/// The small number that events hang on, and the host's name.
pub fn number(db: &Connection, id: HostId) -> Result<(i64, String)> {
    db.prepare_cached("SELECT number, name FROM hosts WHERE id = ? AND removed = 0")?
        .query_row([id.to_string()], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?
        .ok_or_else(|| unknown(id))
}

/// `name`, or the first of `name-2`, `name-3`, ... that no host has.
pub fn free_name(db: &Connection, name: &str) -> Result<String> {
    let mut taken = db.prepare_cached("SELECT 1 FROM hosts WHERE name = ?")?;
    let mut candidate = name.to_owned();
    // As many hosts as there are could have the names before it.
    for number in 2_u64.. {
        if !taken.exists([&candidate])? {
            break;
        }
        candidate = format!("{name}-{number}");
    }
    Ok(candidate)
}

pub fn admit_link(db: &Connection, id: HostId, agent_knows: u64, asserted_at: Timestamp) -> Result<LinkAdmission> {
    let (stored, last): (i64, i64) = db
        .prepare_cached("SELECT generation, last_assertion_at FROM hosts WHERE id = ? AND removed = 0")?
        .query_row([id.to_string()], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?
        .ok_or_else(|| unknown(id))?;
    let stored = stored as u64;
    if asserted_at.micros() <= last {
        return Ok(LinkAdmission::Replayed);
    }
    let Some(generation) = hostler_link::next_generation(stored, agent_knows) else {
        return Ok(LinkAdmission::BadGeneration { stored });
    };
    db.prepare_cached("UPDATE hosts SET generation = ?, last_assertion_at = ? WHERE id = ?")?.execute((
        generation as i64,
        asserted_at.micros(),
        id.to_string(),
    ))?;
    Ok(LinkAdmission::Admitted { generation })
}

pub fn keep_proofs(db: &Connection, proofs: &[HostProof]) -> Result<()> {
    let mut update = db.prepare_cached(
        "UPDATE hosts SET last_proof_at = MAX(COALESCE(last_proof_at, 0), ?), facts = COALESCE(?, facts),
         capabilities = COALESCE(?, capabilities), grants = COALESCE(?, grants) WHERE id = ? AND removed = 0",
    )?;
    for proof in proofs {
        update.execute((
            proof.at.micros(),
            proof.facts.as_ref().map(rows::to_json).transpose()?,
            proof.capabilities.as_ref().map(rows::to_json).transpose()?,
            proof.grants.as_ref().map(rows::to_json).transpose()?,
            proof.host.to_string(),
        ))?;
    }
    Ok(())
}

/// Begins a removal: the host is known no more, and its key is of no use. Its number, for [`continue_removal`].
pub fn begin_removal(db: &Connection, id: HostId) -> Result<i64> {
    let (number, _) = self::number(db, id)?;
    db.prepare_cached("UPDATE hosts SET removed = 1, public_key = NULL WHERE number = ?")?.execute([number])?;
    // A SnapFS machine of this name that comes again is another host.
    db.prepare_cached("DELETE FROM snapfs_hosts WHERE host_id = ?")?.execute([id.to_string()])?;
    Ok(number)
}

/// Removals that an earlier run did not finish.
pub fn unfinished_removals(db: &Connection) -> Result<Vec<i64>> {
    let mut query = db.prepare_cached("SELECT number FROM hosts WHERE removed = 1")?;
    let numbers = query.query_map([], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?;
    Ok(numbers)
}

/// Goes on with a removal, a bounded number of rows; true when nothing of the host is left.
pub fn continue_removal(db: &Connection, number: i64) -> Result<bool> {
    let removed: Option<bool> = db
        .prepare_cached("SELECT removed FROM hosts WHERE number = ?")?
        .query_row([number], |row| row.get(0))
        .optional()?;
    // A restore in between may have given the number to another host.
    if removed != Some(true) {
        return Ok(true);
    }
    if !index::remove_some(db, number, REMOVED_AT_ONCE)? {
        return Ok(false);
    }
    const OF_SCANS: &str = "SELECT id FROM scans WHERE host_id = (SELECT id FROM hosts WHERE number = ?1)";
    let steps = [
        format!(
            "DELETE FROM scan_changes WHERE (scan_id, seq) IN
             (SELECT scan_id, seq FROM scan_changes WHERE scan_id IN ({OF_SCANS}) LIMIT ?2)"
        ),
        format!(
            "DELETE FROM scan_errors WHERE (scan_id, seq) IN
             (SELECT scan_id, seq FROM scan_errors WHERE scan_id IN ({OF_SCANS}) LIMIT ?2)"
        ),
        "DELETE FROM activity WHERE id IN (SELECT id FROM activity WHERE host = ?1 LIMIT ?2)".to_owned(),
    ];
    for step in steps {
        if db.prepare_cached(&step)?.execute((number, REMOVED_AT_ONCE))? as i64 == REMOVED_AT_ONCE {
            return Ok(false);
        }
    }
    let told = snapfs::told::of_host(db, number)?;
    if let Some(scan) = told {
        snapfs::told::forget_some(db, scan)?;
        return Ok(false);
    }
    // What is left is few: owners, roots, scans and the journal's position go with the host.
    db.prepare_cached("DELETE FROM hosts WHERE number = ?")?.execute([number])?;
    Ok(true)
}

pub fn unknown(id: HostId) -> StoreError {
    StoreError::NotFound { what: "host", id: id.to_string() }
}

pub fn from_row(row: &Row<'_>) -> rusqlite::Result<Host> {
    Ok(Host {
        id: rows::parsed(row, "id")?,
        name: row.get("name")?,
        facts: rows::json(row, "facts")?,
        capabilities: rows::json(row, "capabilities")?,
        grants: rows::json(row, "grants")?,
        created_at: rows::time(row, "created_at")?,
        last_proof_at: rows::optional_time(row, "last_proof_at")?,
        generation: rows::unsigned(row, "generation")?,
        protocol: if row.get("snapfs")? { Protocol::Snapfs } else { Protocol::Hostler },
    })
}
