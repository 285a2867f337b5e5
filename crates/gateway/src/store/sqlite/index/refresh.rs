//! Background work on the index, in steps that leave room for other writes: columns of stale segments, then groups of
//! duplicates.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension};
use tokio::sync::watch;

use super::segment::Occurrence;
use super::{Columns, SLOTS, groups};
use crate::store::sqlite::duplicates::Selections;
use crate::store::sqlite::pool::Pool;
use crate::store::{Result, StoreError};

/// Entries whose columns are made in one write. Hashes go to random places of a tree: few large writes touch each page of it
/// less often than many small ones.
const ENTRIES_AT_ONCE: u64 = 50_000;
/// Names of duplicates that are looked at in one write, and hashes.
const MEMBERS_AT_ONCE: usize = 20_000;
const HASHES_AT_ONCE: i64 = 2_000;
/// A full disk or another failure is met again after this long.
const AFTER_FAILURE: Duration = Duration::from_secs(5);

/// Does the work whenever there is some; stops when dropped.
pub struct Indexer {
    task: tokio::task::JoinHandle<()>,
    wanted: Waker,
    done: watch::Receiver<u64>,
}

/// Tells the [`Indexer`] of new work.
#[derive(Clone)]
pub struct Waker(watch::Sender<u64>);

impl Waker {
    /// There is new work.
    pub fn wake(&self) {
        self.0.send_modify(|wanted| *wanted += 1);
    }
}

impl Drop for Indexer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Indexer {
    /// Takes up what an earlier run left.
    pub fn start(pool: Arc<Pool>, selections: Arc<Selections>) -> Self {
        let (wanted, mut wants) = watch::channel(1);
        let (finished, done) = watch::channel(0);
        let task = tokio::spawn(async move {
            loop {
                let want = *wants.borrow_and_update();
                loop {
                    let stepped = pool.write(step).await;
                    selections.outdate();
                    match stepped {
                        Ok(true) => {}
                        Ok(false) => break,
                        Err(StoreError::Closed) => return,
                        Err(error) => {
                            tracing::warn!(%error, "the search index was not brought up to date; trying again");
                            tokio::time::sleep(AFTER_FAILURE).await;
                        }
                    }
                }
                finished.send_replace(want);
                if wants.changed().await.is_err() {
                    return;
                }
            }
        });
        Self { task, wanted: Waker(wanted), done }
    }

    /// There is new work.
    pub fn wake(&self) {
        self.wanted.wake();
    }

    /// For those who outlive the store.
    pub fn waker(&self) -> Waker {
        self.wanted.clone()
    }

    /// Waits until the work that there is now is done, at most so long.
    pub async fn settled(&self, limit: Duration) {
        let wanted = *self.wanted.0.borrow();
        let mut done = self.done.clone();
        // An answer that is behind says so itself.
        let _ = tokio::time::timeout(limit, done.wait_for(|done| *done >= wanted)).await;
    }
}

/// Committed entries whose columns are not made yet, and hashes whose groups are not.
pub fn stale_entries(db: &Connection) -> Result<u64> {
    let entries: i64 = db
        .prepare_cached(
            "SELECT COALESCE(SUM((SELECT SUM(entries) FROM chunks WHERE chunks.id >= segments.id * ?1
                AND chunks.id < (segments.id + 1) * ?1)), 0) + (SELECT COUNT(*) FROM stale_duplicates)
             FROM segments WHERE fresh = 0",
        )?
        .query_row([SLOTS], |row| row.get(0))?;
    Ok(entries.unsigned_abs())
}

/// Does some of the work; false when there is none.
fn step(db: &Connection) -> Result<bool> {
    let mut entries = 0;
    while entries < ENTRIES_AT_ONCE {
        let stale: Option<i64> = db
            .prepare_cached("SELECT id FROM segments WHERE fresh = 0 ORDER BY id LIMIT 1")?
            .query_row([], |row| row.get(0))
            .optional()?;
        match stale {
            Some(segment) => entries += refresh_segment(db, segment)?.max(1),
            None if entries > 0 => return Ok(true),
            None => return refresh_groups(db),
        }
    }
    Ok(true)
}

fn refresh_segment(db: &Connection, segment: i64) -> Result<u64> {
    let old = Columns::kept_hashes(db, segment)?;
    let (columns, entries) = match Columns::build(db, segment) {
        Ok(built) => built,
        // Nothing was written yet. One that cannot be read must not keep the others waiting; a scan that rewrites it heals it.
        Err(error @ StoreError::Database(rusqlite::Error::FromSqlConversionFailure(..))) => {
            tracing::error!(segment, %error, "a part of the search index was passed over");
            db.prepare_cached("UPDATE segments SET fresh = 2 WHERE id = ?")?.execute([segment])?;
            return Ok(1);
        }
        Err(error) => return Err(error),
    };
    replace_hashes(db, segment, &old, &columns.hashes())?;
    if entries == 0 {
        Columns::forget(db, segment)?;
        db.prepare_cached("DELETE FROM segments WHERE id = ?")?.execute([segment])?;
    } else {
        columns.keep(db, segment)?;
        db.prepare_cached("UPDATE segments SET fresh = 1 WHERE id = ?")?.execute([segment])?;
    }
    Ok(entries)
}

/// Replaces where a segment's hashes occur; hashes that are or were duplicates are noted for [`refresh_groups`].
pub fn replace_hashes(db: &Connection, segment: i64, old: &[Occurrence], new: &[Occurrence]) -> Result<()> {
    let mut delete = db.prepare_cached("DELETE FROM hashes WHERE prefix = ? AND chunk_id = ?")?;
    let mut insert = db.prepare_cached("INSERT OR REPLACE INTO hashes VALUES (?, ?, ?)")?;
    let mut stale = db.prepare_cached(
        "INSERT OR IGNORE INTO stale_duplicates SELECT ?1 WHERE EXISTS (SELECT 1 FROM duplicates WHERE prefix = ?1)
            OR (SELECT SUM(entries) FROM (SELECT entries FROM hashes WHERE prefix = ?1 LIMIT 2)) > 1",
    )?;
    let key = |o: &Occurrence| (o.prefix, o.slot);
    let mut changed = HashSet::new();
    let (mut old, mut new) = (old, new);
    while let Some(next) = old.first().into_iter().chain(new.first()).map(key).min() {
        let (was, is) = (take(&mut old, next), take(&mut new, next));
        if was == is {
            continue;
        }
        let chunk = segment * SLOTS + i64::from(next.1);
        if is.is_empty() {
            delete.execute((next.0, chunk))?;
        } else {
            insert.execute((next.0, chunk, is.len() as i64))?;
        }
        changed.insert(next.0);
    }
    for prefix in changed {
        stale.execute([prefix])?;
    }
    Ok(())
}

/// Cuts the occurrences of one hash in one chunk off the front.
fn take<'a>(from: &mut &'a [Occurrence], key: (i64, u8)) -> &'a [Occurrence] {
    let count = from.iter().take_while(|o| (o.prefix, o.slot) == key).count();
    let (taken, rest) = from.split_at(count);
    *from = rest;
    taken
}

fn refresh_groups(db: &Connection) -> Result<bool> {
    let mut query = db.prepare_cached("SELECT prefix FROM stale_duplicates ORDER BY prefix LIMIT ?")?;
    let stale: Vec<i64> = query.query_map([HASHES_AT_ONCE], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?;
    let mut settled = db.prepare_cached("DELETE FROM stale_duplicates WHERE prefix = ?")?;
    let mut members = 0;
    for prefix in &stale {
        members += groups::refresh(db, *prefix)?;
        settled.execute([prefix])?;
        if members >= MEMBERS_AT_ONCE {
            break;
        }
    }
    Ok(!stale.is_empty())
}
