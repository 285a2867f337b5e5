//! Roots, directories and single entries.

use hostler_model::{ByteStr, EntryKind, HostId};
use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, Row, params_from_iter};

use super::{cursor, rows};
use crate::store::{IndexedEntry, Listing, Page, PageRequest, Result, Root, SortKey, StoreError};

const ROOTS: &str = "SELECT roots.*, hosts.name AS host_name, top.total_files, top.total_bytes,
        (SELECT COUNT(*) FROM dirs WHERE root_id = roots.id) AS total_dirs
    FROM roots JOIN hosts ON hosts.id = roots.host_id JOIN dirs AS top ON top.root_id = roots.id AND top.path = x''";

/// Columns of an [`IndexedEntry`], from `e` (a row of `files` or the like with `dir_path`), `roots` and `hosts`.
pub const ENTRY_COLUMNS: &str = "hosts.id AS host_id, hosts.name AS host_name, roots.path AS root_path,
    roots.algorithm, e.dir_id, e.dir_path, e.name, e.kind, e.size, e.files, e.mtime_ns, e.dev, e.ino, e.nlink, e.mode,
    e.uid, e.gid, e.hash,
    (SELECT name FROM owners WHERE host_id = hosts.id AND is_group = 0 AND id = e.uid) AS owner,
    (SELECT name FROM owners WHERE host_id = hosts.id AND is_group = 1 AND id = e.gid) AS grp";

/// Rows of `files`, as `e` wants them.
pub const FILE_ROWS: &str =
    "SELECT dirs.root_id, files.dir_id, dirs.path AS dir_path, files.name, files.kind, files.size,
    NULL AS files, files.mtime_ns, files.dev, files.ino, files.nlink, files.mode, files.uid, files.gid, files.hash
    FROM files JOIN dirs ON dirs.id = files.dir_id";

/// Rows of `dirs` (`d`, below `p`), as `e` wants them.
pub const DIR_ROWS: &str =
    "SELECT d.root_id, p.id AS dir_id, p.path AS dir_path, d.name, 2 AS kind, d.total_bytes AS size,
    d.total_files AS files, d.mtime_ns, d.dev, d.ino, d.nlink, d.mode, d.uid, d.gid, NULL AS hash
    FROM dirs AS d JOIN dirs AS p ON p.id = d.parent_id";

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

/// The longest root of `host` that is `path` or holds it, and the path relative to it.
fn locate(db: &Connection, host: HostId, path: &ByteStr) -> Result<(i64, Root, ByteStr)> {
    let bytes = trim(path.as_bytes());
    let mut query = db.prepare_cached(&format!("{ROOTS} WHERE roots.host_id = ?1 AND roots.path = ?2"))?;
    let mut candidate = bytes.len();
    loop {
        let root = if candidate == 0 { &b"/"[..] } else { &bytes[..candidate] };
        let found = query
            .query_row((host.to_string(), root), |row| Ok((row.get::<_, i64>("id")?, root_from_row(row)?)))
            .optional()?;
        if let Some((id, root)) = found {
            let inside = bytes[candidate..].strip_prefix(b"/").unwrap_or(&bytes[candidate..]);
            return Ok((id, root, inside.into()));
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

fn not_indexed(path: &ByteStr) -> StoreError {
    StoreError::NotFound { what: "indexed path", id: path.display().into_owned() }
}

fn entry_sql(rows: &str, condition: &str) -> String {
    format!(
        "SELECT {ENTRY_COLUMNS} FROM ({rows}) AS e JOIN roots ON roots.id = e.root_id
         JOIN hosts ON hosts.id = roots.host_id WHERE {condition}"
    )
}

/// The root directory itself has no parent to be listed by.
const TOP_ROW: &str =
    "SELECT d.root_id, d.id AS dir_id, x'' AS dir_path, x'' AS name, 2 AS kind, d.total_bytes AS size,
    d.total_files AS files, d.mtime_ns, d.dev, d.ino, d.nlink, d.mode, d.uid, d.gid, NULL AS hash
    FROM dirs AS d WHERE d.path = x''";

pub fn stat(db: &Connection, host: HostId, path: &ByteStr) -> Result<IndexedEntry> {
    let (root_id, _, inside) = locate(db, host, path)?;
    if inside.is_empty() {
        return Ok(db
            .prepare_cached(&entry_sql(&format!("{TOP_ROW} AND d.root_id = ?1"), "1"))?
            .query_row([root_id], entry_from_row)?);
    }
    let dir = match inside.as_bytes().iter().rposition(|b| *b == b'/') {
        Some(cut) => &inside.as_bytes()[..cut],
        None => &b""[..],
    };
    let as_file = format!("{FILE_ROWS} WHERE dirs.root_id = ?1 AND dirs.path = ?2 AND files.name = ?3");
    let as_dir = format!("{DIR_ROWS} WHERE p.root_id = ?1 AND p.path = ?2 AND d.name = ?3");
    db.prepare_cached(&entry_sql(&format!("{as_file} UNION ALL {as_dir}"), "1"))?
        .query_row((root_id, dir, inside.file_name()), entry_from_row)
        .optional()?
        .ok_or_else(|| not_indexed(path))
}

pub fn list_dir(
    db: &Connection,
    host: HostId,
    path: &ByteStr,
    sort: SortKey,
    descending: bool,
    page: &PageRequest,
) -> Result<Listing> {
    let dir = stat(db, host, path)?;
    if dir.kind != EntryKind::Dir {
        return Err(StoreError::NotFound { what: "indexed directory", id: path.display().into_owned() });
    }
    let (root_id, root, inside) = locate(db, host, path)?;
    let dir_id: i64 = db
        .prepare_cached("SELECT id FROM dirs WHERE root_id = ? AND path = ?")?
        .query_row((root_id, inside.as_bytes()), |row| row.get(0))?;
    let total_entries = db
        .prepare_cached(
            "SELECT (SELECT COUNT(*) FROM files WHERE dir_id = ?1) + (SELECT COUNT(*) FROM dirs WHERE parent_id = ?1) AS n",
        )?
        .query_row([dir_id], |row| rows::unsigned(row, "n"))?;
    let rows = format!("{FILE_ROWS} WHERE files.dir_id = ?1 UNION ALL {DIR_ROWS} WHERE d.parent_id = ?1");
    let order = Order::listing(sort, descending);
    let entries = order.page(db, &entry_sql(&rows, "1"), vec![dir_id.into()], page)?;
    Ok(Listing { dir, root, entries, total_entries })
}

/// A sort order with a total order behind it, so that a cursor names one place.
pub struct Order {
    /// SQL expressions over [`ENTRY_COLUMNS`], the first ones sorted in `direction`, each with the comparison for "after".
    keys: Vec<(&'static str, bool)>,
}

impl Order {
    /// Of one directory's entries: by name, directories come first in both directions.
    fn listing(sort: SortKey, descending: bool) -> Self {
        let name = ("e.name", false);
        let is_file = ("(e.kind <> 2)", false);
        let keys = match sort {
            SortKey::Name => vec![is_file, ("e.name", descending)],
            SortKey::Size => vec![("e.size", descending), is_file, name],
            SortKey::Files => vec![("COALESCE(e.files, -1)", descending), is_file, name],
            SortKey::Changed => vec![("e.mtime_ns", descending), is_file, name],
        };
        Self { keys }
    }

    /// Of entries of many directories.
    pub fn found(sort: SortKey, descending: bool) -> Self {
        let tie = [("e.dir_path", false), ("e.name", false), ("e.dir_id", false)];
        let mut keys = match sort {
            SortKey::Name | SortKey::Files => return Self { keys: tie.map(|(key, _)| (key, descending)).into() },
            SortKey::Size => vec![("e.size", descending)],
            SortKey::Changed => vec![("e.mtime_ns", descending)],
        };
        keys.extend(tie);
        Self { keys }
    }

    /// One page of `select`, whose own parameters are `values`.
    pub fn page(
        &self,
        db: &Connection,
        select: &str,
        mut values: Vec<Value>,
        page: &PageRequest,
    ) -> Result<Page<IndexedEntry>> {
        let mut sql = select.to_owned();
        if let Some(text) = &page.cursor {
            let first = values.len() + 1;
            values.extend(cursor::decode(text, self.keys.len())?);
            sql.push_str(&format!(" AND ({})", self.after(first)));
        }
        let order: Vec<String> =
            self.keys.iter().map(|(key, desc)| format!("{key} {}", if *desc { "DESC" } else { "ASC" })).collect();
        values.push((i64::from(page.limit) + 1).into());
        sql.push_str(&format!(" ORDER BY {} LIMIT ?{}", order.join(", "), values.len()));
        // The sort values of each row, behind its columns.
        let keys: Vec<String> = self.keys.iter().enumerate().map(|(i, (key, _))| format!("{key} AS k{i}")).collect();
        let sql = sql.replacen("SELECT ", &format!("SELECT {}, ", keys.join(", ")), 1);
        let mut query = db.prepare_cached(&sql)?;
        let mut found = query.query(params_from_iter(values))?;
        let mut items = Vec::new();
        let mut last = None;
        while let Some(row) = found.next()? {
            if items.len() == page.limit as usize {
                return Ok(Page { items, next: last });
            }
            let at: Vec<Value> = (0..self.keys.len()).map(|i| row.get(i)).collect::<rusqlite::Result<_>>()?;
            last = Some(cursor::encode(&at));
            items.push(entry_from_row(row)?);
        }
        Ok(Page { items, next: None })
    }

    /// `k0 > ?n OR (k0 = ?n AND (k1 < ?n+1 OR ...))`.
    fn after(&self, first: usize) -> String {
        let mut sql = String::new();
        for (i, (key, desc)) in self.keys.iter().enumerate().rev() {
            let mark = first + i;
            let compare = if *desc { "<" } else { ">" };
            sql = match sql.is_empty() {
                true => format!("{key} {compare} ?{mark}"),
                false => format!("{key} {compare} ?{mark} OR ({key} = ?{mark} AND ({sql}))"),
            };
        }
        sql
    }
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

/// Reads [`ENTRY_COLUMNS`].
pub fn entry_from_row(row: &Row<'_>) -> rusqlite::Result<IndexedEntry> {
    let root = rows::path(row, "root_path")?;
    let mut path = root.as_bytes().to_vec();
    for part in [row.get::<_, Vec<u8>>("dir_path")?, row.get("name")?] {
        if !part.is_empty() {
            if path.last() != Some(&b'/') {
                path.push(b'/');
            }
            path.extend(part);
        }
    }
    let number = |id: u32, name: Option<String>| name.unwrap_or_else(|| id.to_string());
    let hash: Option<Vec<u8>> = row.get("hash")?;
    Ok(IndexedEntry {
        host: rows::parsed(row, "host_id")?,
        host_name: row.get("host_name")?,
        root,
        path: path.into(),
        kind: rows::coded(row, "kind", EntryKind::from_code)?,
        size: rows::unsigned(row, "size")?,
        files: row.get::<_, Option<i64>>("files")?.map(|n| n as u64),
        mtime: hostler_model::Timestamp::from_nanos(row.get("mtime_ns")?),
        owner: number(row.get("uid")?, row.get("owner")?),
        group: number(row.get("gid")?, row.get("grp")?),
        mode: row.get("mode")?,
        nlink: rows::unsigned(row, "nlink")?,
        ino: rows::unsigned(row, "ino")?,
        dev: rows::unsigned(row, "dev")?,
        algo: match hash {
            Some(_) => Some(rows::coded(row, "algorithm", hostler_model::Algorithm::from_code)?),
            None => None,
        },
        hash: hash.as_deref().and_then(hostler_model::ContentHash::new).map(|h| h.to_string()),
    })
}
