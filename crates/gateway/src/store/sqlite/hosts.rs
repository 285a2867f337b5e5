//! Hosts and their links' numbers.

use hostler_model::{HostId, Timestamp};
use rusqlite::{Connection, OptionalExtension, Row, named_params};

use super::rows;
use crate::store::{Capability, Host, HostFacts, Result, StoreError};

pub fn register(db: &Connection, id: HostId, name: &str, token_hash: [u8; 32], at: Timestamp) -> Result<()> {
    db.prepare_cached(
        "INSERT INTO hosts (id, name, token_hash, created_at) VALUES (:id, :name, :token, :at)
         ON CONFLICT (id) DO UPDATE SET name = :name, token_hash = :token",
    )?
    .execute(named_params! { ":id": id.to_string(), ":name": name, ":token": token_hash, ":at": at.micros() })?;
    Ok(())
}

pub fn by_token(db: &Connection, token_hash: [u8; 32]) -> Result<Option<HostId>> {
    let found = db
        .prepare_cached("SELECT id FROM hosts WHERE token_hash = ?")?
        .query_row([token_hash], |row| rows::parsed(row, "id"))
        .optional()?;
    Ok(found)
}

pub fn all(db: &Connection) -> Result<Vec<Host>> {
    let mut query = db.prepare_cached("SELECT * FROM hosts ORDER BY name, id")?;
    let hosts = query.query_map([], from_row)?.collect::<rusqlite::Result<_>>()?;
    Ok(hosts)
}

pub fn one(db: &Connection, id: HostId) -> Result<Host> {
    db.prepare_cached("SELECT * FROM hosts WHERE id = ?")?
        .query_row([id.to_string()], from_row)
        .optional()?
        .ok_or_else(|| unknown(id))
}

pub fn next_generation(db: &Connection, id: HostId, agent_knows: u64) -> Result<u64> {
    let stored = one(db, id)?.generation;
    // The handshake has refused numbers near the end of the range.
    let next = stored.max(agent_knows) + 1;
    db.prepare_cached("UPDATE hosts SET generation = ? WHERE id = ?")?.execute((next as i64, id.to_string()))?;
    Ok(next)
}

pub fn proved(db: &Connection, id: HostId, at: Timestamp) -> Result<()> {
    let changed =
        db.prepare_cached("UPDATE hosts SET last_proof_at = ? WHERE id = ?")?.execute((at.micros(), id.to_string()))?;
    if changed == 0 { Err(unknown(id)) } else { Ok(()) }
}

pub fn described(db: &Connection, id: HostId, facts: &HostFacts, capabilities: &[Capability]) -> Result<()> {
    let encode = |e: serde_json::Error| rusqlite::Error::ToSqlConversionFailure(e.into());
    let changed = db.prepare_cached("UPDATE hosts SET facts = ?, capabilities = ? WHERE id = ?")?.execute((
        serde_json::to_string(facts).map_err(encode)?,
        serde_json::to_string(capabilities).map_err(encode)?,
        id.to_string(),
    ))?;
    if changed == 0 { Err(unknown(id)) } else { Ok(()) }
}

fn unknown(id: HostId) -> StoreError {
    StoreError::NotFound { what: "host", id: id.to_string() }
}

fn from_row(row: &Row<'_>) -> rusqlite::Result<Host> {
    Ok(Host {
        id: rows::parsed(row, "id")?,
        name: row.get("name")?,
        facts: rows::json(row, "facts")?,
        capabilities: rows::json(row, "capabilities")?,
        created_at: rows::time(row, "created_at")?,
        last_proof_at: rows::optional_time(row, "last_proof_at")?,
        generation: rows::unsigned(row, "generation")?,
    })
}
