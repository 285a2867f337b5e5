//! Tokens that API keys were exchanged for.

use hostler_model::Timestamp;
use rusqlite::{Connection, OptionalExtension};

use super::super::identity;
use crate::store::{ApiKey, MAX_SNAPFS_TOKENS, Result, SNAPFS_TOKEN_SECONDS, SnapfsScope, SnapfsToken};

/// A token's end is moved when it comes nearer by this much: a use a day is written.
const RENEW_SECONDS: u64 = 86_400;

/// Keeps a token, and forgets those that ended and the oldest of a key that has too many.
pub fn create(db: &Connection, token_hash: [u8; 32], token: &SnapfsToken) -> Result<()> {
    let key = token.key.to_string();
    let scopes: Vec<&str> = token.scopes.iter().map(|scope| scope.word()).collect();
    db.prepare_cached("DELETE FROM snapfs_tokens WHERE expires_at <= ?")?.execute([token.created_at.micros()])?;
    db.prepare_cached("INSERT INTO snapfs_tokens VALUES (?, ?, ?, ?, ?)")?.execute((
        token_hash,
        &key,
        scopes.join(" "),
        token.created_at.micros(),
        token.expires_at.micros(),
    ))?;
    db.prepare_cached(
        "DELETE FROM snapfs_tokens WHERE token_hash IN (SELECT token_hash FROM snapfs_tokens
         WHERE key_id = ? ORDER BY created_at DESC LIMIT -1 OFFSET ?)",
    )?
    .execute((key, MAX_SNAPFS_TOKENS as i64))?;
    Ok(())
}

/// The token that works now, its key, and whether its end is to be moved.
pub fn by_hash(
    db: &Connection,
    token_hash: [u8; 32],
    at: Timestamp,
) -> Result<Option<(ApiKey, Vec<SnapfsScope>, bool)>> {
    let renew_before = at.micros().saturating_add(micros(SNAPFS_TOKEN_SECONDS - RENEW_SECONDS));
    let found = db
        .prepare_cached(
            "SELECT api_keys.*, scopes, snapfs_tokens.expires_at < ?3 AS renew
             FROM snapfs_tokens JOIN api_keys ON api_keys.id = key_id
             WHERE token_hash = ?1 AND snapfs_tokens.expires_at > ?2
             AND (api_keys.expires_at IS NULL OR api_keys.expires_at > ?2)",
        )?
        .query_row((token_hash, at.micros(), renew_before), |row| {
            let scopes: String = row.get("scopes")?;
            // A scope that this program does not know allows nothing.
            let scopes = scopes.split(' ').filter_map(|word| word.parse().ok()).collect();
            Ok((identity::key_from_row(row)?, scopes, row.get("renew")?))
        })
        .optional()?;
    Ok(found)
}

/// Moves a token's end.
pub fn renew(db: &Connection, token_hash: [u8; 32], at: Timestamp) -> Result<()> {
    let until = at.micros().saturating_add(micros(SNAPFS_TOKEN_SECONDS));
    db.prepare_cached("UPDATE snapfs_tokens SET expires_at = ? WHERE token_hash = ?")?.execute((until, token_hash))?;
    Ok(())
}

fn micros(seconds: u64) -> i64 {
    i64::try_from(seconds.saturating_mul(1_000_000)).unwrap_or(i64::MAX)
}
