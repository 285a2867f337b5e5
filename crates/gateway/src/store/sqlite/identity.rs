//! Keys, sign-in links and sessions. Secrets are kept as SHA-256 only.

use hostler_model::{ApiKeyId, Role, SessionId, Timestamp, UserId};
use rusqlite::{Connection, OptionalExtension, Row};

use super::rows;
use crate::store::{ApiKey, Result, SESSION_IDLE_SECONDS, Session, StoreError};

/// The last use of a key or a session is written at most this often.
pub const USE_RESOLUTION_SECONDS: u64 = 60;

pub fn create_key(db: &Connection, key: &ApiKey, key_hash: [u8; 32]) -> Result<()> {
    let taken =
        db.prepare_cached("SELECT 1 FROM api_keys WHERE name = ?")?.query_row([&key.name], |_| Ok(())).optional()?;
    if taken.is_some() {
        return Err(StoreError::Exists { what: "an API key", name: key.name.clone() });
    }
    db.prepare_cached(
        "INSERT INTO api_keys (id, name, role, hint, key_hash, created_at, expires_at) VALUES (?, ?, ?, ?, ?, ?, ?)",
    )?
    .execute((
        key.id.to_string(),
        &key.name,
        key.role.word(),
        &key.hint,
        key_hash,
        key.created_at.micros(),
        key.expires_at.map(Timestamp::micros),
    ))?;
    Ok(())
}

pub fn keys(db: &Connection) -> Result<Vec<ApiKey>> {
    let mut query = db.prepare_cached("SELECT * FROM api_keys ORDER BY created_at DESC, id DESC")?;
    let keys = query.query_map([], key_from_row)?.collect::<rusqlite::Result<_>>()?;
    Ok(keys)
}

pub fn key_by_hash(db: &Connection, key_hash: [u8; 32], at: Timestamp) -> Result<Option<ApiKey>> {
    let key = db
        .prepare_cached("SELECT * FROM api_keys WHERE key_hash = ? AND (expires_at IS NULL OR expires_at > ?)")?
        .query_row((key_hash, at.micros()), key_from_row)
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

/// The user's role counts, not the one they had when they signed in.
const SESSIONS: &str = "SELECT sessions.*, COALESCE(users.role, sessions.role) AS present_role
    FROM sessions LEFT JOIN users ON users.id = sessions.user_id
    WHERE sessions.expires_at > ?1 AND sessions.last_seen_at > ?2";

fn idle_before(at: Timestamp) -> i64 {
    at.micros().saturating_sub(SESSION_IDLE_SECONDS * 1_000_000)
}

pub fn create_session(db: &Connection, token_hash: [u8; 32], session: &Session) -> Result<()> {
    let at = session.created_at;
    db.prepare_cached("DELETE FROM sessions WHERE expires_at <= ? OR last_seen_at <= ?")?
        .execute((at.micros(), idle_before(at)))?;
    let user = session.user.map(|id| id.to_string());
    db.prepare_cached("INSERT INTO sessions VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)")?.execute((
        token_hash,
        session.id.to_string(),
        &user,
        &session.name,
        session.role.word(),
        &session.csrf,
        at.micros(),
        session.last_seen_at.micros(),
        session.expires_at.micros(),
        &session.address,
        &session.agent,
    ))?;
    db.prepare_cached("UPDATE users SET last_sign_in_at = ? WHERE id = ?")?.execute((at.micros(), user))?;
    Ok(())
}

pub fn session(db: &Connection, token_hash: [u8; 32], at: Timestamp) -> Result<Option<Session>> {
    let session = db
        .prepare_cached(&format!("{SESSIONS} AND token_hash = ?3"))?
        .query_row((at.micros(), idle_before(at), token_hash), session_from_row)
        .optional()?;
    Ok(session)
}

pub fn sessions(db: &Connection, at: Timestamp) -> Result<Vec<Session>> {
    let mut query = db.prepare_cached(&format!("{SESSIONS} ORDER BY last_seen_at DESC, sessions.id"))?;
    let found = query.query_map((at.micros(), idle_before(at)), session_from_row)?.collect::<rusqlite::Result<_>>()?;
    Ok(found)
}

pub fn session_seen(db: &Connection, id: SessionId, at: Timestamp) -> Result<()> {
    db.prepare_cached("UPDATE sessions SET last_seen_at = MAX(last_seen_at, ?) WHERE id = ?")?
        .execute((at.micros(), id.to_string()))?;
    Ok(())
}

pub fn end_session_by_id(db: &Connection, id: SessionId) -> Result<()> {
    match db.prepare_cached("DELETE FROM sessions WHERE id = ?")?.execute([id.to_string()])? {
        0 => Err(StoreError::NotFound { what: "session", id: id.to_string() }),
        _ => Ok(()),
    }
}

pub fn end_sessions_of(db: &Connection, user: UserId, except: Option<SessionId>) -> Result<u64> {
    let ended = db
        .prepare_cached("DELETE FROM sessions WHERE user_id = ? AND id IS NOT ?")?
        .execute((user.to_string(), except.map(|id| id.to_string())))?;
    Ok(ended as u64)
}

pub fn end_session(db: &Connection, token_hash: [u8; 32]) -> Result<()> {
    db.prepare_cached("DELETE FROM sessions WHERE token_hash = ?")?.execute([token_hash])?;
    Ok(())
}

pub fn key_from_row(row: &Row<'_>) -> rusqlite::Result<ApiKey> {
    Ok(ApiKey {
        id: rows::parsed(row, "id")?,
        name: row.get("name")?,
        role: rows::parsed(row, "role")?,
        hint: row.get("hint")?,
        created_at: rows::time(row, "created_at")?,
        last_used_at: rows::optional_time(row, "last_used_at")?,
        expires_at: rows::optional_time(row, "expires_at")?,
    })
}

fn session_from_row(row: &Row<'_>) -> rusqlite::Result<Session> {
    Ok(Session {
        id: rows::parsed(row, "id")?,
        user: rows::optional_parsed(row, "user_id")?,
        name: row.get("name")?,
        role: rows::parsed(row, "present_role")?,
        csrf: row.get("csrf")?,
        created_at: rows::time(row, "created_at")?,
        last_seen_at: rows::time(row, "last_seen_at")?,
        expires_at: rows::time(row, "expires_at")?,
        address: row.get("address")?,
        agent: row.get("agent")?,
    })
}
