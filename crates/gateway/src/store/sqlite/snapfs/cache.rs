//! Hashes by device and inode, or by path (reference, sections 5.2 and 5.3).
//!
//! A row has all that is known of one key as a sequence of values, so a look-up is one row whatever it asks for:
//!
//! ```text
//! size (8 bytes)  mtime (8)  algorithm (1)  digest (as long as the algorithm's)
//! ```

use hostler_model::{Algorithm, ContentHash, Timestamp};
use rusqlite::{Connection, OptionalExtension};

use crate::store::{CacheKey, CachedHash, Result, SNAPFS_HASH_SECONDS, SNAPFS_HASHES_PER_KEY};

/// Rows that a write looks at for old ones, beside twice as many as it wrote: new ones may come faster than it goes on.
const PRUNE_MORE: usize = 8;
/// From here on a time is in milliseconds (reference, section 2).
const MILLISECONDS_FROM: i64 = 100_000_000_000;

/// Bytes of a value before its digest.
const HEAD: usize = 17;

/// Remembers hashes of a scope, and the algorithm of its scan that began. What is known already is written again only for
/// its age, once an hour.
pub fn put(
    db: &Connection,
    scope: &str,
    hashes: &[CachedHash],
    algorithm: Option<Algorithm>,
    at: Timestamp,
) -> Result<()> {
    if hashes.is_empty() && algorithm.is_none() {
        return Ok(());
    }
    let scope = number(db, scope, algorithm)?;
    let hour = hour(at);
    let mut select = db.prepare_cached("SELECT hour, hashes FROM snapfs_hashes WHERE scope = ? AND key = ?")?;
    let mut write = db.prepare_cached("INSERT OR REPLACE INTO snapfs_hashes VALUES (?, ?, ?, ?)")?;
    let mut written = 0;
    for hash in hashes {
        let key = Key::of(&hash.key);
        let known = select
            .query_row((scope, key.bytes()), |row| Ok((row.get::<_, i64>(0)?, row.get::<_, Vec<u8>>(1)?)))
            .optional()?;
        let (written_in, mut values) = known.unwrap_or((i64::MIN, Vec::new()));
        if keep(&mut values, hash) || written_in < hour {
            write.execute((scope, key.bytes(), hour, values))?;
            written += 1;
        }
    }
    if written > 0 { prune(db, 2 * written + PRUNE_MORE, hour) } else { Ok(()) }
}

/// What is remembered of each key, in their order.
pub fn probe(db: &Connection, scope: &str, keys: &[CacheKey]) -> Result<Vec<Option<(Algorithm, ContentHash)>>> {
    let known = db
        .prepare_cached("SELECT number, algorithm FROM snapfs_scopes WHERE name = ?")?
        .query_row([scope], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, Option<u8>>(1)?)))
        .optional()?;
    let Some((scope, algorithm)) = known else { return Ok(vec![None; keys.len()]) };
    let wanted = algorithm.and_then(Algorithm::from_code);
    let mut select = db.prepare_cached("SELECT hashes FROM snapfs_hashes WHERE scope = ? AND key = ?")?;
    let mut found = Vec::with_capacity(keys.len());
    for key in keys {
        let bytes = Key::of(key);
        let mut rows = select.query((scope, bytes.bytes()))?;
        found.push(match rows.next()? {
            Some(row) => choose(row.get_ref(0)?.as_blob().unwrap_or_default(), key, wanted),
            None => None,
        });
    }
    Ok(found)
}

/// What a row is found by.
enum Key {
    Inode([u8; 16]),
    Path([u8; 32]),
}

impl Key {
    fn of(key: &CacheKey) -> Self {
        match key.inode {
            Some((dev, inode)) => {
                let mut bytes = [0; 16];
                bytes[..8].copy_from_slice(&dev.to_be_bytes());
                bytes[8..].copy_from_slice(&inode.to_be_bytes());
                Self::Inode(bytes)
            }
            None => Self::Path(blake3::hash(key.path.as_bytes()).into()),
        }
    }

    fn bytes(&self) -> &[u8] {
        match self {
            Self::Inode(bytes) => bytes,
            Self::Path(bytes) => bytes,
        }
    }
}

/// One value of a row.
#[derive(Clone, Copy)]
struct Value<'a> {
    size: u64,
    mtime: i64,
    algorithm: Algorithm,
    digest: &'a [u8],
    /// All of it, as it is kept.
    bytes: &'a [u8],
}

/// The values of a row. What cannot be read ends them: it was written by nobody.
fn values(mut rest: &[u8]) -> impl Iterator<Item = Value<'_>> {
    std::iter::from_fn(move || {
        let size = u64::from_le_bytes(rest.get(..8)?.try_into().ok()?);
        let mtime = i64::from_le_bytes(rest.get(8..16)?.try_into().ok()?);
        let algorithm = Algorithm::from_code(*rest.get(16)?)?;
        let end = HEAD + algorithm.digest_len();
        let (bytes, after) = rest.split_at_checked(end)?;
        rest = after;
        Some(Value { size, mtime, algorithm, digest: &bytes[HEAD..], bytes })
    })
}

/// Adds a hash to a row; false when it is there. The oldest goes when there are too many.
fn keep(row: &mut Vec<u8>, hash: &CachedHash) -> bool {
    let same = |value: &Value<'_>| {
        (value.size, value.mtime, value.algorithm) == (hash.key.size, hash.key.mtime, hash.algorithm)
    };
    if values(row).any(|value| same(&value) && value.digest == hash.hash.as_bytes()) {
        return false;
    }
    let stay: Vec<Value<'_>> = values(row).filter(|value| !same(value)).collect();
    let skipped = (stay.len() + 1).saturating_sub(SNAPFS_HASHES_PER_KEY);
    let mut new = Vec::with_capacity(row.len() + HEAD + hash.hash.as_bytes().len());
    stay[skipped..].iter().for_each(|value| new.extend_from_slice(value.bytes));
    new.extend_from_slice(&hash.key.size.to_le_bytes());
    new.extend_from_slice(&hash.key.mtime.to_le_bytes());
    new.push(hash.algorithm.code());
    new.extend_from_slice(hash.hash.as_bytes());
    *row = new;
    true
}

/// The value of a row that answers a probe: the last written of `wanted`, or of any algorithm. Of an inode at a time in
/// milliseconds, one of the neighbouring millisecond too: clients compute the two times differently (reference, 5.3).
fn choose(row: &[u8], key: &CacheKey, wanted: Option<Algorithm>) -> Option<(Algorithm, ContentHash)> {
    let at = |mtime: i64| {
        let fits = |v: &Value<'_>| v.size == key.size && v.mtime == mtime && wanted.is_none_or(|a| a == v.algorithm);
        values(row).filter(fits).last()
    };
    let near = key.inode.is_some() && key.mtime >= MILLISECONDS_FROM;
    let found = at(key.mtime).or_else(|| {
        near.then(|| at(key.mtime.saturating_add(1)).or_else(|| at(key.mtime.saturating_sub(1)))).flatten()
    })?;
    Some((found.algorithm, ContentHash::new(found.digest)?))
}

fn hour(at: Timestamp) -> i64 {
    at.micros().div_euclid(3_600_000_000)
}

/// The number of a scope, made when there is none.
fn number(db: &Connection, scope: &str, algorithm: Option<Algorithm>) -> Result<i64> {
    let algorithm = algorithm.map(Algorithm::code);
    let known = db
        .prepare_cached("SELECT number, algorithm FROM snapfs_scopes WHERE name = ?")?
        .query_row([scope], |row| Ok((row.get(0)?, row.get::<_, Option<u8>>(1)?)))
        .optional()?;
    Ok(match known {
        Some((number, present)) if algorithm.is_none() || algorithm == present => number,
        Some((number, _)) => {
            db.prepare_cached("UPDATE snapfs_scopes SET algorithm = ? WHERE number = ?")?
                .execute((algorithm, number))?;
            number
        }
        None => {
            db.prepare_cached("INSERT INTO snapfs_scopes (name, algorithm) VALUES (?, ?)")?
                .execute((scope, algorithm))?;
            db.last_insert_rowid()
        }
    })
}

/// Looks at the next `rows` for those that are too old. Each write goes a bit further; at the end of a round it is known when
/// the next one is worth its while.
fn prune(db: &Connection, rows: usize, hour: i64) -> Result<()> {
    const KEPT: i64 = SNAPFS_HASH_SECONDS / 3600;
    let before = hour - KEPT;
    let (scope, key, oldest, due): (i64, Vec<u8>, Option<i64>, i64) = db
        .prepare_cached("SELECT scope, key, oldest, due FROM snapfs_pruned")?
        .query_row([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)))?;
    if hour < due {
        return Ok(());
    }
    // What is written during a round is no older than its beginning.
    let mut oldest = oldest.unwrap_or(hour);
    let mut query = db.prepare_cached(
        "SELECT scope, key, hour FROM snapfs_hashes WHERE (scope, key) > (?, ?) ORDER BY scope, key LIMIT ?",
    )?;
    let mut seen = query.query((scope, key, rows as i64))?;
    let (mut count, mut last, mut old) = (0, (0, Vec::new()), Vec::new());
    while let Some(row) = seen.next()? {
        count += 1;
        let written_in: i64 = row.get(2)?;
        let aged = written_in < before;
        if !aged {
            oldest = oldest.min(written_in);
        }
        if aged || count == rows {
            last = (row.get(0)?, row.get(1)?);
        }
        if aged {
            old.push(last.clone());
        }
    }
    drop(seen);
    let mut delete = db.prepare_cached("DELETE FROM snapfs_hashes WHERE scope = ? AND key = ?")?;
    for row in &old {
        delete.execute((row.0, &row.1))?;
    }
    let next = match count == rows {
        true => (last.0, last.1, Some(oldest), due),
        false => (0, Vec::new(), None, oldest + KEPT + 1),
    };
    db.prepare_cached("UPDATE snapfs_pruned SET scope = ?, key = ?, oldest = ?, due = ?")?.execute(next)?;
    Ok(())
}
