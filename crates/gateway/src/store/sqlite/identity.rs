//! Keys, sign-in links and sessions. Secrets are kept as SHA-256 only.

use hostler_model::{ApiKeyId, Role, Timestamp};
use rusqlite::{Connection, OptionalExtension, Row};

use super::rows;
use crate::store::{ApiKey, Result, Session, StoreError};

/// A key's last use is written at most this often.
pub const KEY_USE_RESOLUTION_SECONDS: u64 = 60;

pub fn create_key(db: &Connection, key: &ApiKey, key_hash: [u8; 32]) -> Result<()> {
    let taken =
        db.prepare_cached("SELECT 1 FROM api_keys WHERE name = ?")?.query_row([&key.name], |_| Ok(())).optional()?;
    if taken.is_some() {
        return Err(StoreError::Exists { what: "an API key", name: key.name.clone() });
    }
    db.prepare_cached("INSERT INTO api_keys (id, name, role, hint, key_hash, created_at) VALUES (?, ?, ?, ?, ?, ?)")?
        .execute((key.id.to_string(), &key.name, key.role.word(), &key.hint, key_hash, key.created_at.micros()))?;
    Ok(())
}

pub fn keys(db: &Connection) -> Result<Vec<ApiKey>> {
    let mut query = db.prepare_cached("SELECT * FROM api_keys ORDER BY created_at DESC, id DESC")?;
    let keys = query.query_map([], key_from_row)?.collect::<rusqlite::Result<_>>()?;
    Ok(keys)
}

pub fn key_by_hash(db: &Connection, key_hash: [u8; 32]) -> Result<Option<ApiKey>> {
    let key = db
        .prepare_cached("SELECT * FROM api_keys WHERE key_hash = ?")?
        .query_row([key_hash], key_from_row)
        .optional()?;
    Ok(key)
}

pub fn key_used(db: &Connection, id: ApiKeyId, at: Timestamp) -> Result<()> {
    db.prepare_cached("UPDATE api_keys SET last_used_at = ? WHERE id = ?")?.execute((at.micros(), id.to_string()))?;
    Ok(())
}

pub fn revoke_key(db: &Connection, id: ApiKeyId) -> Result<()> {
    match db.prepare_cached("DELETE FROM api_keys WHERE id = ?")?.execute([id.to_string()])? {
        0 => Err(StoreError::NotFound { what: "API key", id: id.to_string() }),
        _ => Ok(()),
    }
}

pub fn create_link(db: &Connection, token_hash: [u8; 32], role: Role, expires_at: Timestamp) -> Result<()> {
    db.prepare_cached("INSERT INTO sign_in_links VALUES (?, ?, ?)")?.execute((
        token_hash,
        role.word(),
        expires_at.micros(),
    ))?;
    Ok(())
}

pub fn use_link(db: &Connection, token_hash: [u8; 32], at: Timestamp) -> Result<Option<Role>> {
    db.prepare_cached("DELETE FROM sign_in_links WHERE expires_at <= ?")?.execute([at.micros()])?;
    let role = db
        .prepare_cached("DELETE FROM sign_in_links WHERE token_hash = ? RETURNING role")?
        .query_row([token_hash], |row| rows::parsed(row, "role"))
        .optional()?;
    Ok(role)
}

pub fn create_session(db: &Connection, token_hash: [u8; 32], session: &Session) -> Result<()> {
    db.prepare_cached("DELETE FROM sessions WHERE expires_at <= ?")?.execute([crate::clock::now().micros()])?;
    db.prepare_cached("INSERT INTO sessions VALUES (?, ?, ?, ?, ?)")?.execute((
        token_hash,
        &session.name,
        session.role.word(),
        &session.csrf,
        session.expires_at.micros(),
    ))?;
    Ok(())
}

pub fn session(db: &Connection, token_hash: [u8; 32], at: Timestamp) -> Result<Option<Session>> {
    let session = db
        .prepare_cached("SELECT * FROM sessions WHERE token_hash = ? AND expires_at > ?")?
        .query_row((token_hash, at.micros()), |row| {
            Ok(Session {
                name: row.get("name")?,
                role: rows::parsed(row, "role")?,
                csrf: row.get("csrf")?,
                expires_at: rows::time(row, "expires_at")?,
            })
        })
        .optional()?;
    Ok(session)
}

pub fn end_session(db: &Connection, token_hash: [u8; 32]) -> Result<()> {
    db.prepare_cached("DELETE FROM sessions WHERE token_hash = ?")?.execute([token_hash])?;
    Ok(())
}

fn key_from_row(row: &Row<'_>) -> rusqlite::Result<ApiKey> {
    Ok(ApiKey {
        id: rows::parsed(row, "id")?,
        name: row.get("name")?,
        role: rows::parsed(row, "role")?,
        hint: row.get("hint")?,
        created_at: rows::time(row, "created_at")?,
        last_used_at: rows::optional_time(row, "last_used_at")?,
    })
}
