//! Join tokens and joining. Secrets are kept as SHA-256 only.

use hostler_model::{HostId, JoinTokenId, Timestamp};
use rusqlite::{Connection, OptionalExtension, Row};

use super::{hosts, rows};
use crate::store::{JOIN_TOKEN_KEPT_SECONDS, JoinOutcome, JoinTokenRecord, Result, StoreError};

pub fn create(db: &Connection, token: &JoinTokenRecord, secret_hash: [u8; 32]) -> Result<()> {
    let forgotten = token.created_at.micros() - JOIN_TOKEN_KEPT_SECONDS * 1_000_000;
    db.prepare_cached("DELETE FROM join_tokens WHERE expires_at < ?")?.execute([forgotten])?;
    db.prepare_cached(
        "INSERT INTO join_tokens (id, secret_hash, note, created_by, created_at, expires_at) VALUES (?, ?, ?, ?, ?, ?)",
    )?
    .execute((
        token.id.to_string(),
        secret_hash,
        &token.note,
        &token.created_by,
        token.created_at.micros(),
        token.expires_at.micros(),
    ))?;
    Ok(())
}

pub fn list(db: &Connection) -> Result<Vec<JoinTokenRecord>> {
    let mut query = db.prepare_cached("SELECT * FROM join_tokens ORDER BY created_at DESC, id DESC")?;
    let tokens = query.query_map([], from_row)?.collect::<rusqlite::Result<_>>()?;
    Ok(tokens)
}

pub fn revoke(db: &Connection, id: JoinTokenId, at: Timestamp) -> Result<()> {
    let changed = db
        .prepare_cached("UPDATE join_tokens SET revoked_at = COALESCE(revoked_at, ?) WHERE id = ? AND used_at IS NULL")?
        .execute((at.micros(), id.to_string()))?;
    match changed {
        0 => Err(StoreError::NotFound { what: "unused join token", id: id.to_string() }),
        _ => Ok(()),
    }
}

pub fn join(
    db: &Connection,
    secret_hash: [u8; 32],
    host: HostId,
    name: &str,
    public_key: [u8; 32],
    at: Timestamp,
) -> Result<JoinOutcome> {
    let token = db
        .prepare_cached("SELECT * FROM join_tokens WHERE secret_hash = ?")?
        .query_row([secret_hash], from_row)
        .optional()?;
    let Some(token) = token else { return Ok(JoinOutcome::Unknown) };
    let known = known_host(db, host)?;
    if token.used_at.is_some() {
        return Ok(match known {
            Some(known) if token.used_by == Some(host) && known.key == Some(public_key) => {
                JoinOutcome::Again { name: known.name }
            }
            _ => JoinOutcome::Used,
        });
    }
    if token.revoked_at.is_some() {
        return Ok(JoinOutcome::Revoked);
    }
    if token.expires_at <= at {
        return Ok(JoinOutcome::Expired);
    }
    let elsewhere: Option<String> = db
        .prepare_cached("SELECT id FROM hosts WHERE public_key = ?")?
        .query_row([public_key], |row| row.get(0))
        .optional()?;
    if elsewhere.is_some_and(|id| id != host.to_string()) {
        return Ok(JoinOutcome::KeyTaken);
    }
    let name = match known {
        // A removal that goes on must not take the newcomer with it, and a token is no leave to become a host that is known.
        Some(known) if known.removed || known.key != Some(public_key) => return Ok(JoinOutcome::KeyTaken),
        Some(known) => known.name,
        None => {
            let name = hosts::free_name(db, name)?;
            super::hosts::register(db, host, &name, public_key, at)?;
            name
        }
    };
    db.prepare_cached("UPDATE join_tokens SET used_at = ?, used_by = ? WHERE id = ?")?.execute((
        at.micros(),
        host.to_string(),
        token.id.to_string(),
    ))?;
    Ok(JoinOutcome::Joined { name })
}

struct Known {
    name: String,
    key: Option<[u8; 32]>,
    removed: bool,
}

fn known_host(db: &Connection, host: HostId) -> Result<Option<Known>> {
    let known = db
        .prepare_cached("SELECT name, public_key, removed FROM hosts WHERE id = ?")?
        .query_row([host.to_string()], |row| Ok(Known { name: row.get(0)?, key: row.get(1)?, removed: row.get(2)? }))
        .optional()?;
    Ok(known)
}

fn from_row(row: &Row<'_>) -> rusqlite::Result<JoinTokenRecord> {
    Ok(JoinTokenRecord {
        id: rows::parsed(row, "id")?,
        note: row.get("note")?,
        created_by: row.get("created_by")?,
        created_at: rows::time(row, "created_at")?,
        expires_at: rows::time(row, "expires_at")?,
        used_at: rows::optional_time(row, "used_at")?,
        used_by: rows::optional_parsed(row, "used_by")?,
        revoked_at: rows::optional_time(row, "revoked_at")?,
    })
}
