//! Roots, directories and single entries.

use hostler_model::{Algorithm, ByteStr, HostId};
use rusqlite::{Connection, OptionalExtension, Row};

use super::entries::{DIR_COLUMNS, Dir, Entries, IndexedRoot};
use super::index::{self, directory};
use super::rows;
use super::top::{Key, Order, Top};
use crate::store::{IndexedEntry, Listing, Page, PageRequest, Result, Root, SortKey, StoreError};

const ROOTS: &str = "SELECT roots.*, hosts.name AS host_name, hosts.number, top.total_files, top.total_bytes,
        (SELECT COUNT(*) FROM dirs WHERE root_id = roots.id) AS total_dirs
    FROM roots JOIN hosts ON hosts.id = roots.host_id JOIN dirs AS top ON top.root_id = roots.id AND top.path = x''";

pub fn generation(db: &Connection, host: HostId, root: &ByteStr) -> Result<u64> {
    let found = db
        .prepare_cached("SELECT generation FROM roots WHERE host_id = ? AND path = ?")?
        .query_row((host.to_string(), root.as_bytes()), |row| rows::unsigned(row, "generation"))
        .optional()?;
    Ok(found.unwrap_or(0))
}

pub fn roots(db: &Connection, host: Option<HostId>) -> Result<Vec<Root>> {
    let mut query = db.prepare_cached(&format!(
        "{ROOTS} WHERE ?1 IS NULL OR roots.host_id = ?1 ORDER BY hosts.name, hosts.id, roots.path"
    ))?;
    let roots = query.query_map([host.map(|h| h.to_string())], root_from_row)?.collect::<rusqlite::Result<_>>()?;
    Ok(roots)
}

/// Where a path is: the longest root of its host that is the path or holds it, and the path relative to it.
pub struct Place {
    /// The root, for people.
    pub root: Root,
    /// The root, for look-ups.
    pub indexed: IndexedRoot,
    /// Relative to the root.
    pub inside: Vec<u8>,
}

/// Finds where a path is.
pub fn locate(db: &Connection, host: HostId, path: &ByteStr) -> Result<Place> {
    let bytes = trim(path.as_bytes());
    let mut query = db.prepare_cached(&format!("{ROOTS} WHERE roots.host_id = ?1 AND roots.path = ?2"))?;
    let mut candidate = bytes.len();
    loop {
        let root = if candidate == 0 { &b"/"[..] } else { &bytes[..candidate] };
        let found = query
            .query_row((host.to_string(), root), |row| {
                let root = root_from_row(row)?;
                let indexed = IndexedRoot {
                    id: row.get("id")?,
                    host,
                    host_number: row.get("number")?,
                    host_name: root.host_name.clone(),
                    path: root.path.as_bytes().to_vec(),
                    algorithm: rows::coded(row, "algorithm", Algorithm::from_code)?,
                };
                Ok((root, indexed))
            })
            .optional()?;
        if let Some((root, indexed)) = found {
            let inside = bytes[candidate..].strip_prefix(b"/").unwrap_or(&bytes[candidate..]).to_vec();
            return Ok(Place { root, indexed, inside });
        }
        match bytes[..candidate].iter().rposition(|b| *b == b'/') {
            Some(cut) if candidate > 0 => candidate = cut,
            _ => return Err(not_indexed(path)),
        }
    }
}

fn trim(path: &[u8]) -> &[u8] {
    let end = path.iter().rposition(|b| *b != b'/').map_or(0, |last| last + 1);
    &path[..end]
}

pub fn not_indexed(path: &ByteStr) -> StoreError {
    StoreError::NotFound { what: "indexed path", id: path.display().into_owned() }
}

pub fn stat(db: &Connection, host: HostId, path: &ByteStr) -> Result<IndexedEntry> {
    let Place { indexed, inside, .. } = locate(db, host, path)?;
    let mut entries = Entries::new(db);
    if let Some(dir) = Dir::at(db, indexed.id, &inside)? {
        return entries.dir(&indexed, &dir);
    }
    let (parent, name) = match inside.iter().rposition(|b| *b == b'/') {
        Some(cut) => (&inside[..cut], &inside[cut + 1..]),
        None => (&b""[..], inside.as_slice()),
    };
    let dir: Option<i64> = db
        .prepare_cached("SELECT id FROM dirs WHERE root_id = ? AND path = ?")?
        .query_row((indexed.id, parent), |row| row.get(0))
        .optional()?;
    match dir.map(|dir| directory::entry(db, dir, name)).transpose()?.flatten() {
        Some(row) => entries.file(&indexed, parent, name, &row),
        None => Err(not_indexed(path)),
    }
}

/// One line of a directory.
enum Line {
    Dir(Dir),
    File(index::Row),
}

pub fn list_dir(
    db: &Connection,
    host: HostId,
    path: &ByteStr,
    sort: SortKey,
    descending: bool,
    page: &PageRequest,
) -> Result<Listing> {
    let Place { root, indexed, inside } = locate(db, host, path)?;
    let dir = Dir::at(db, indexed.id, &inside)?
        .ok_or_else(|| StoreError::NotFound { what: "indexed directory", id: path.display().into_owned() })?;
    let order = match sort {
        SortKey::Name => Order { primary_descending: false, names_descending: descending },
        SortKey::Size | SortKey::Files | SortKey::Changed => {
            Order { primary_descending: descending, names_descending: false }
        }
    };
    let mut top = Top::new(order, page)?;
    let subdirs = add_dirs(db, dir.id, sort, &mut top)?;
    add_files(db, dir.id, sort, descending, &mut top)?;
    let files: i64 = db
        .prepare_cached("SELECT COALESCE(SUM(entries), 0) FROM chunks WHERE dir_id = ?")?
        .query_row([dir.id], |row| row.get(0))?;
    let mut entries = Entries::new(db);
    let (lines, next) = top.finish();
    let items = lines
        .into_iter()
        .map(|(key, line)| match line {
            Line::Dir(sub) => entries.dir(&indexed, &sub),
            Line::File(row) => entries.file(&indexed, &inside, key.key().name, &row),
        })
        .collect::<Result<_>>()?;
    Ok(Listing {
        dir: entries.dir(&indexed, &dir)?,
        root,
        entries: Page { items, next },
        total_entries: subdirs + files.unsigned_abs(),
    })
}

fn add_dirs(db: &Connection, parent: i64, sort: SortKey, top: &mut Top<Line>) -> Result<u64> {
    let mut query = db.prepare_cached(&format!("SELECT {DIR_COLUMNS} FROM dirs WHERE parent_id = ?"))?;
    let mut rows = query.query([parent])?;
    let mut count = 0;
    while let Some(row) = rows.next()? {
        let dir = Dir::from_row(row)?;
        let primary = match sort {
            SortKey::Name => 0,
            SortKey::Size => dir.row.size.cast_signed(),
            SortKey::Files => dir.files.cast_signed(),
            SortKey::Changed => dir.row.mtime_ns,
        };
        let name = dir.path.rsplit(|b| *b == b'/').next().unwrap_or_default();
        let key = Key { primary, rank: 0, dir: b"", name, tie: 0 };
        if top.admits(&key) {
            let name = name.to_vec();
            top.add(Key { name: &name, ..key_without_name(primary, 0) }, Line::Dir(dir));
        }
        count += 1;
    }
    Ok(count)
}

fn key_without_name(primary: i64, rank: i64) -> Key<'static> {
    Key { primary, rank, dir: b"", name: b"", tie: 0 }
}

/// By name, chunks are read from the cursor on until the page is full; else all of them are.
fn add_files(db: &Connection, dir: i64, sort: SortKey, descending: bool, top: &mut Top<Line>) -> Result<()> {
    let by_name = sort == SortKey::Name;
    // A cursor that stands on a directory has all files after it.
    let after = top.after().filter(|after| by_name && after.rank == 1).map(|after| after.name.to_vec());
    let (range, direction) = match (&after, descending) {
        (None, _) => ("1 OR ?2", if descending { "DESC" } else { "ASC" }),
        (Some(_), true) => ("first <= ?2", "DESC"),
        (Some(_), false) => {
            ("first >= COALESCE((SELECT MAX(first) FROM chunks WHERE dir_id = ?1 AND first <= ?2), x'')", "ASC")
        }
    };
    let mut query = db.prepare_cached(&format!(
        "SELECT data FROM chunks WHERE dir_id = ?1 AND ({range}) ORDER BY first {direction}"
    ))?;
    let mut chunks = query.query((dir, after.unwrap_or_default()))?;
    let (wanted, mut added) = (top.wanted(), 0);
    while let Some(chunk) = chunks.next()? {
        let mut entries = index::Entries::new(chunk.get_ref(0)?.as_blob().map_err(rusqlite::Error::from)?);
        while let Some((name, row)) = entries.next()? {
            let primary = match sort {
                SortKey::Name => 0,
                SortKey::Size => row.size.cast_signed(),
                // Only directories have files below them.
                SortKey::Files => -1,
                SortKey::Changed => row.mtime_ns,
            };
            let key = Key { name, ..key_without_name(primary, 1) };
            if top.admits(&key) {
                top.add(key, Line::File(row));
                added += 1;
            }
        }
        if by_name && added >= wanted {
            break;
        }
    }
    Ok(())
}

fn root_from_row(row: &Row<'_>) -> rusqlite::Result<Root> {
    Ok(Root {
        host: rows::parsed(row, "host_id")?,
        host_name: row.get("host_name")?,
        path: rows::path(row, "path")?,
        generation: rows::unsigned(row, "generation")?,
        indexed_at: rows::time(row, "indexed_at")?,
        files: rows::unsigned(row, "total_files")?,
        dirs: rows::unsigned(row, "total_dirs")?,
        bytes: rows::unsigned(row, "total_bytes")?,
    })
}
