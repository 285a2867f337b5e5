//! Messages by subject, and how far each reader is.

use hostler_model::Timestamp;
use rusqlite::{Connection, OptionalExtension};

use super::super::rows;
use crate::store::{
    Durable, MAX_SNAPFS_CONSUMERS, MAX_SNAPFS_SUBJECTS, Result, SNAPFS_CONSUMER_SECONDS, SNAPFS_FILES_BYTES,
    SNAPFS_SUBJECT_BYTES, SnapfsConsumer, SnapfsMessages, StoreError,
};

/// The subject of files, which is kept longest.
const FILES: &str = "snapfs.files";
/// A message's number below its subject's, see the schema.
const MESSAGE_BITS: u32 = 40;
/// What a message takes beside its body, about; so that empty ones are bounded too.
const MESSAGE_BYTES: i64 = 64;
/// Old messages that one new one drops.
const DROPPED_AT_ONCE: i64 = 64;

/// Adds a message to a subject, which is made when there is none, and drops the oldest when it has too many bytes.
pub fn append(db: &Connection, subject: &str, body: &[u8], at: Timestamp) -> Result<()> {
    let number = subject_number(db, subject)?;
    let (last, bytes): (i64, i64) = db
        .prepare_cached(
            "UPDATE snapfs_subjects SET last = last + 1, bytes = bytes + ? WHERE number = ? RETURNING last, bytes",
        )?
        .query_row((bytes_of(body.len() as i64), number), |row| Ok((row.get(0)?, row.get(1)?)))?;
    db.prepare_cached("INSERT INTO snapfs_messages VALUES (?, ?)")?.execute((key(number, last), body))?;
    let most = if subject == FILES { SNAPFS_FILES_BYTES } else { SNAPFS_SUBJECT_BYTES } as i64;
    if bytes > most { drop_oldest(db, subject, number, bytes - most, at) } else { Ok(()) }
}

fn bytes_of(body: i64) -> i64 {
    body + MESSAGE_BYTES
}

fn key(subject: i64, message: i64) -> i64 {
    subject << MESSAGE_BITS | message
}

fn message(key: i64) -> i64 {
    key & ((1 << MESSAGE_BITS) - 1)
}

fn subject_number(db: &Connection, name: &str) -> Result<i64> {
    let known = db
        .prepare_cached("SELECT number FROM snapfs_subjects WHERE name = ?")?
        .query_row([name], |row| row.get(0))
        .optional()?;
    if let Some(number) = known {
        return Ok(number);
    }
    let count: i64 = db.query_row("SELECT COUNT(*) FROM snapfs_subjects", [], |row| row.get(0))?;
    if count >= MAX_SNAPFS_SUBJECTS as i64 {
        return Err(StoreError::TooMany { what: "SnapFS subjects", most: MAX_SNAPFS_SUBJECTS });
    }
    db.execute("INSERT INTO snapfs_subjects (name) VALUES (?)", [name])?;
    Ok(db.last_insert_rowid())
}

/// Drops messages of at least `excess` bytes, a bounded number of them, and notes who had not read them.
fn drop_oldest(db: &Connection, subject: &str, number: i64, excess: i64, at: Timestamp) -> Result<()> {
    let mut query = db.prepare_cached(
        "SELECT number, length(body) FROM snapfs_messages WHERE number > ? AND number < ? ORDER BY number LIMIT ?",
    )?;
    let mut oldest = query.query((key(number, 0), key(number + 1, 0), DROPPED_AT_ONCE))?;
    let (mut through, mut freed) = (0, 0);
    while freed < excess
        && let Some(row) = oldest.next()?
    {
        through = row.get(0)?;
        freed += bytes_of(row.get(1)?);
    }
    drop(oldest);
    db.prepare_cached("DELETE FROM snapfs_messages WHERE number > ? AND number <= ?")?
        .execute((key(number, 0), through))?;
    db.prepare_cached("UPDATE snapfs_subjects SET bytes = bytes - ? WHERE number = ?")?.execute((freed, number))?;
    forget_unused(db, at)?;
    let through = message(through);
    let behind = db
        .prepare_cached("SELECT durable FROM snapfs_consumers WHERE subject = ? AND position < ? AND lost = 0")?
        .query_map((number, through), |row| row.get::<_, String>(0))?
        .collect::<rusqlite::Result<Vec<_>>>()?;
    for durable in behind {
        tracing::warn!(
            subject,
            durable,
            "a SnapFS consumer is so far behind that it loses messages; from now on they are only counted"
        );
    }
    db.prepare_cached(
        "UPDATE snapfs_consumers SET lost = lost + ?2 - position, position = ?2 WHERE subject = ?1 AND position < ?2",
    )?
    .execute((number, through))?;
    Ok(())
}

fn forget_unused(db: &Connection, at: Timestamp) -> Result<()> {
    let before = at.micros().saturating_sub(SNAPFS_CONSUMER_SECONDS * 1_000_000);
    db.prepare_cached("DELETE FROM snapfs_consumers WHERE seen_at < ?")?.execute([before])?;
    Ok(())
}

/// Somebody reads: a new position starts before the oldest message that is kept.
pub fn open(db: &Connection, durable: &Durable, at: Timestamp) -> Result<()> {
    let number = subject_number(db, &durable.subject)?;
    let known = db
        .prepare_cached("UPDATE snapfs_consumers SET seen_at = MAX(seen_at, ?) WHERE subject = ? AND durable = ?")?
        .execute((at.micros(), number, &durable.name))?;
    if known > 0 {
        return Ok(());
    }
    forget_unused(db, at)?;
    let count: i64 = db.query_row("SELECT COUNT(*) FROM snapfs_consumers", [], |row| row.get(0))?;
    if count >= MAX_SNAPFS_CONSUMERS as i64 {
        return Err(StoreError::TooMany { what: "SnapFS consumers", most: MAX_SNAPFS_CONSUMERS });
    }
    let oldest: Option<i64> = db
        .prepare_cached("SELECT MIN(number) FROM snapfs_messages WHERE number > ? AND number < ?")?
        .query_row((key(number, 0), key(number + 1, 0)), |row| row.get(0))?;
    let last = || db.query_row("SELECT last FROM snapfs_subjects WHERE number = ?", [number], |row| row.get(0));
    let position = oldest.map_or_else(last, |oldest| Ok(message(oldest) - 1))?;
    db.prepare_cached("INSERT INTO snapfs_consumers (subject, durable, position, seen_at) VALUES (?, ?, ?, ?)")?
        .execute((number, &durable.name, position, at.micros()))?;
    Ok(())
}

/// The messages after a reader's position: at most `messages`, and of `bytes` at most unless the first alone has more.
pub fn next(db: &Connection, durable: &Durable, messages: u32, bytes: u64) -> Result<SnapfsMessages> {
    let (number, position): (i64, i64) = db
        .prepare_cached(
            "SELECT number, position FROM snapfs_consumers JOIN snapfs_subjects ON number = subject
             WHERE name = ? AND durable = ?",
        )?
        .query_row((&durable.subject, &durable.name), |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?
        .ok_or_else(|| unknown(durable))?;
    let mut query = db.prepare_cached(
        "SELECT number, body FROM snapfs_messages WHERE number > ? AND number < ? ORDER BY number LIMIT ?",
    )?;
    let mut rows = query.query((key(number, position), key(number + 1, 0), messages))?;
    let mut found = SnapfsMessages { last: position.unsigned_abs(), bodies: Vec::new() };
    let mut total = 0u64;
    while let Some(row) = rows.next()? {
        let body = row.get_ref(1)?.as_blob().unwrap_or_default();
        total += body.len() as u64 + MESSAGE_BYTES as u64;
        if total > bytes && !found.bodies.is_empty() {
            break;
        }
        found.last = message(row.get(0)?).unsigned_abs();
        found.bodies.push(body.to_vec());
    }
    Ok(found)
}

/// Moves a reader's position forward; never back.
pub fn ack(db: &Connection, durable: &Durable, through: u64, at: Timestamp) -> Result<()> {
    let through = i64::try_from(through).unwrap_or(i64::MAX);
    let known = db
        .prepare_cached(
            "UPDATE snapfs_consumers SET position = MAX(position, ?), seen_at = MAX(seen_at, ?)
             WHERE subject = (SELECT number FROM snapfs_subjects WHERE name = ?) AND durable = ?",
        )?
        .execute((through, at.micros(), &durable.subject, &durable.name))?;
    if known == 0 { Err(unknown(durable)) } else { Ok(()) }
}

/// All readers by subject and name.
pub fn consumers(db: &Connection) -> Result<Vec<SnapfsConsumer>> {
    let mut query = db.prepare_cached(
        "SELECT name, durable, position, last - position AS behind, lost, seen_at
         FROM snapfs_consumers JOIN snapfs_subjects ON number = subject ORDER BY name, durable",
    )?;
    let found = query.query_map([], |row| {
        Ok(SnapfsConsumer {
            subject: row.get("name")?,
            durable: row.get("durable")?,
            position: rows::unsigned(row, "position")?,
            behind: rows::unsigned(row, "behind")?,
            lost: rows::unsigned(row, "lost")?,
            seen_at: rows::time(row, "seen_at")?,
        })
    })?;
    Ok(found.collect::<rusqlite::Result<_>>()?)
}

/// Forgets a reading position.
pub fn forget(db: &Connection, durable: &Durable) -> Result<()> {
    let known = db
        .prepare_cached(
            "DELETE FROM snapfs_consumers
             WHERE subject = (SELECT number FROM snapfs_subjects WHERE name = ?) AND durable = ?",
        )?
        .execute((&durable.subject, &durable.name))?;
    if known == 0 { Err(unknown(durable)) } else { Ok(()) }
}

fn unknown(durable: &Durable) -> StoreError {
    StoreError::NotFound { what: "SnapFS consumer", id: format!("{} of {}", durable.name, durable.subject) }
}
