//! Rows of the index as entries for people: with the names of their host, root and owners.

use std::collections::HashMap;

use hostler_model::{Algorithm, EntryKind, HostId, Timestamp};
use rusqlite::{Connection, OptionalExtension};

use super::index::{self, Row};
use super::rows;
use crate::store::{IndexedEntry, Result, UNKNOWN_OWNER};

/// A root that is searched.
#[derive(Clone, Debug)]
pub struct IndexedRoot {
    /// Its number here.
    pub id: i64,
    /// Its host.
    pub host: HostId,
    /// The host's number here.
    pub host_number: i64,
    /// The host's name.
    pub host_name: String,
    /// Absolute path.
    pub path: Vec<u8>,
    /// How content is hashed.
    pub algorithm: Algorithm,
}

/// The roots of one host, or of all, by their numbers.
pub fn roots(db: &Connection, host: Option<HostId>) -> Result<HashMap<i64, IndexedRoot>> {
    let mut query = db.prepare_cached(
        "SELECT roots.id, roots.host_id, hosts.number, hosts.name AS host_name, roots.path, roots.algorithm
         FROM roots JOIN hosts ON hosts.id = roots.host_id WHERE hosts.removed = 0 AND (?1 IS NULL OR roots.host_id = ?1)",
    )?;
    let found = query.query_map([host.map(|h| h.to_string())], |row| {
        let id = row.get("id")?;
        let root = IndexedRoot {
            id,
            host: rows::parsed(row, "host_id")?,
            host_number: row.get("number")?,
            host_name: row.get("host_name")?,
            path: row.get("path")?,
            algorithm: rows::coded(row, "algorithm", Algorithm::from_code)?,
        };
        Ok((id, root))
    })?;
    Ok(found.collect::<rusqlite::Result<_>>()?)
}

/// A directory with its sums, and where it is.
pub struct Dir {
    /// Its number here.
    pub id: i64,
    /// Relative to the root.
    pub path: Vec<u8>,
    /// The size is the sum of all below.
    pub row: Row,
    /// Regular files below it.
    pub files: u64,
}

/// Columns of a [`Dir`].
pub const DIR_COLUMNS: &str = "dirs.id, dirs.path, dirs.total_bytes, dirs.total_files, dirs.mtime_ns, dirs.dev, dirs.ino, dirs.nlink, dirs.mode, dirs.uid, dirs.gid";

impl Dir {
    /// From [`DIR_COLUMNS`].
    pub fn from_row(row: &rusqlite::Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            id: row.get("id")?,
            path: row.get("path")?,
            row: Row {
                kind: EntryKind::Dir,
                size: rows::unsigned(row, "total_bytes")?,
                mtime_ns: row.get("mtime_ns")?,
                dev: rows::unsigned(row, "dev")?,
                ino: rows::unsigned(row, "ino")?,
                nlink: rows::unsigned(row, "nlink")?,
                mode: row.get("mode")?,
                uid: row.get("uid")?,
                gid: row.get("gid")?,
                hash: None,
            },
            files: rows::unsigned(row, "total_files")?,
        })
    }

    /// The directory of this path, relative to the root.
    pub fn at(db: &Connection, root: i64, path: &[u8]) -> Result<Option<Self>> {
        Ok(db
            .prepare_cached(&format!("SELECT {DIR_COLUMNS} FROM dirs WHERE root_id = ? AND path = ?"))?
            .query_row((root, path), Self::from_row)
            .optional()?)
    }
}

/// Makes entries; remembers the names of owners.
pub struct Entries<'db> {
    db: &'db Connection,
    owners: HashMap<(HostId, bool, u32), String>,
}

impl<'db> Entries<'db> {
    /// For one query.
    pub fn new(db: &'db Connection) -> Self {
        Self { db, owners: HashMap::new() }
    }

    /// An entry that is not a directory; `dir` is relative to the root.
    pub fn file(&mut self, root: &IndexedRoot, dir: &[u8], name: &[u8], row: &Row) -> Result<IndexedEntry> {
        let path = match dir.is_empty() {
            true => name.to_vec(),
            false => [dir, b"/", name].concat(),
        };
        self.entry(root, &path, row, None)
    }

    /// A directory.
    pub fn dir(&mut self, root: &IndexedRoot, dir: &Dir) -> Result<IndexedEntry> {
        self.entry(root, &dir.path, &dir.row, Some(dir.files))
    }

    fn entry(&mut self, root: &IndexedRoot, path: &[u8], row: &Row, files: Option<u64>) -> Result<IndexedEntry> {
        Ok(IndexedEntry {
            host: root.host,
            host_name: root.host_name.clone(),
            root: root.path.as_slice().into(),
            path: index::absolute(&root.path, path).into(),
            kind: row.kind,
            size: row.size,
            files,
            mtime: Timestamp::from_nanos(row.mtime_ns),
            owner: self.owner(root.host, false, row.uid)?,
            group: self.owner(root.host, true, row.gid)?,
            mode: row.mode,
            nlink: row.nlink,
            ino: row.ino,
            dev: row.dev,
            hash: row.hash.map(|hash| hash.to_string()),
            algo: row.hash.map(|hash| root.algorithm.of_digest(hash.as_bytes().len())),
        })
    }

    /// The name of a user or group, or its number when it has none.
    fn owner(&mut self, host: HostId, group: bool, id: u32) -> Result<String> {
        if id == UNKNOWN_OWNER {
            return Ok("unknown".to_owned());
        }
        if let Some(name) = self.owners.get(&(host, group, id)) {
            return Ok(name.clone());
        }
        let name: Option<String> = self
            .db
            .prepare_cached("SELECT name FROM owners WHERE host_id = ? AND is_group = ? AND id = ?")?
            .query_row((host.to_string(), group, id), |row| row.get(0))
            .optional()?;
        let name = name.unwrap_or_else(|| id.to_string());
        self.owners.insert((host, group, id), name.clone());
        Ok(name)
    }
}
