//! Groups of files with equal content, kept per scope for the hashes that occur more than once.

use std::collections::{BTreeMap, HashMap, HashSet};

use hostler_model::{Algorithm, ContentHash, EntryKind};
use rusqlite::Connection;

use super::chunk::Entries;
use super::prefix_of;
use crate::store::Result;

/// What a group is counted in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Scope {
    /// All hosts.
    Fleet,
    /// One host, by its number.
    Host(i64),
    /// One root, by its id.
    Root(i64),
}

impl Scope {
    /// The number in the table.
    pub const fn code(self) -> i64 {
        match self {
            Self::Fleet => 0,
            Self::Host(number) => 2 * number,
            Self::Root(id) => 2 * id + 1,
        }
    }
}

/// One name of a file whose hash begins like that of others.
pub struct Member {
    pub host: i64,
    pub root: i64,
    pub algorithm: u8,
    pub hash: ContentHash,
    pub size: u64,
    pub dev: u64,
    pub ino: u64,
    pub nlink: u64,
    pub mtime_ns: i64,
    pub dir: i64,
    pub name: Vec<u8>,
}

/// A group's numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Group {
    pub copies: u64,
    pub names: u64,
}

/// Names whose hash begins so, in every index; about `most` of them.
pub fn members(db: &Connection, prefix: i64, most: usize) -> Result<Vec<Member>> {
    let mut query = db.prepare_cached(
        "SELECT chunks.dir_id, chunks.data, roots.id, hosts.number, roots.algorithm
         FROM hashes JOIN chunks ON chunks.id = hashes.chunk_id JOIN dirs ON dirs.id = chunks.dir_id
            JOIN roots ON roots.id = dirs.root_id JOIN hosts ON hosts.id = roots.host_id
         WHERE hashes.prefix = ? AND hosts.removed = 0 ORDER BY chunks.id",
    )?;
    let mut rows = query.query([prefix])?;
    let mut members = Vec::new();
    while members.len() < most
        && let Some(row) = rows.next()?
    {
        let (dir, root, host) = (row.get(0)?, row.get(2)?, row.get(3)?);
        let algorithm = Algorithm::from_code(row.get(4)?).unwrap_or_default();
        members_of_chunk(
            row.get_ref(1)?.as_blob().map_err(rusqlite::Error::from)?,
            |p| p == prefix,
            |name, row, hash| {
                members.push(Member {
                    host,
                    root,
                    algorithm: algorithm.of_digest(hash.as_bytes().len()).code(),
                    hash,
                    size: row.size,
                    dev: row.dev,
                    ino: row.ino,
                    nlink: row.nlink,
                    mtime_ns: row.mtime_ns,
                    dir,
                    name: name.to_vec(),
                });
            },
        )?;
    }
    Ok(members)
}

/// Tells of the regular files in a chunk that have content and a hash whose prefix is `wanted`.
pub fn members_of_chunk(
    data: &[u8],
    wanted: impl Fn(i64) -> bool,
    mut tell: impl FnMut(&[u8], &super::Row, ContentHash),
) -> Result<()> {
    let mut entries = Entries::new(data);
    while let Some((name, row)) = entries.next()? {
        if let Some(hash) = row.hash
            && row.kind == EntryKind::File
            && row.size > 0
            && wanted(prefix_of(&hash))
        {
            tell(name, &row, hash);
        }
    }
    Ok(())
}

/// Counts the files and names among members that are one group in one scope. The same file may be in the indexes of two
/// roots that overlap: it is counted once.
pub fn group<'a>(db: &Connection, members: impl Iterator<Item = &'a Member> + Clone) -> Result<Group> {
    let copies = members.clone().map(|m| (m.host, m.dev, m.ino)).collect::<HashSet<_>>().len() as u64;
    let mut roots: HashMap<i64, i64> = HashMap::new();
    let overlap = members.clone().any(|m| *roots.entry(m.host).or_insert(m.root) != m.root);
    let names = match overlap {
        false => members.count() as u64,
        true => {
            let mut names = HashSet::new();
            for member in members {
                names.insert((member.host, path(db, member.dir)?, &member.name));
            }
            names.len() as u64
        }
    };
    Ok(Group { copies, names })
}

/// The absolute path of a directory.
fn path(db: &Connection, dir: i64) -> Result<Vec<u8>> {
    let (root, path): (Vec<u8>, Vec<u8>) = db
        .prepare_cached(
            "SELECT roots.path, dirs.path FROM dirs JOIN roots ON roots.id = dirs.root_id WHERE dirs.id = ?",
        )?
        .query_row([dir], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(super::absolute(&root, &path))
}

/// Brings the groups of a hash's prefix up to date in every scope. Gives how many names were looked at.
pub fn refresh(db: &Connection, prefix: i64) -> Result<usize> {
    db.prepare_cached("DELETE FROM duplicates WHERE prefix = ?")?.execute([prefix])?;
    let occurrences: i64 = db
        .prepare_cached("SELECT COALESCE(SUM(entries), 0) FROM hashes WHERE prefix = ?")?
        .query_row([prefix], |row| row.get(0))?;
    if occurrences < 2 {
        return Ok(0);
    }
    let mut members = members(db, prefix, usize::MAX)?;
    members.sort_by(|a, b| (a.algorithm, a.hash.as_bytes(), a.size).cmp(&(b.algorithm, b.hash.as_bytes(), b.size)));
    let mut insert = db.prepare_cached("INSERT INTO duplicates VALUES (?, ?, ?, ?, ?, ?, ?, ?)")?;
    for alike in members.chunk_by(|a, b| (a.algorithm, a.hash, a.size) == (b.algorithm, b.hash, b.size)) {
        let mut scopes: BTreeMap<Scope, Vec<&Member>> = BTreeMap::new();
        for member in alike {
            for scope in [Scope::Fleet, Scope::Host(member.host), Scope::Root(member.root)] {
                scopes.entry(scope).or_default().push(member);
            }
        }
        for (scope, members) in scopes {
            let group = group(db, members.iter().copied())?;
            if group.copies > 1 {
                insert.execute((
                    prefix,
                    scope.code(),
                    alike[0].algorithm,
                    alike[0].hash.as_bytes(),
                    i64::try_from(alike[0].size).unwrap_or(i64::MAX),
                    group.copies as i64,
                    group.names as i64,
                    reclaimable(group.copies, alike[0].size),
                ))?;
            }
        }
    }
    Ok(members.len())
}

/// What deleting all copies but one frees, as the store keeps it.
pub fn reclaimable(copies: u64, size: u64) -> i64 {
    i64::try_from(copies.saturating_sub(1).saturating_mul(size)).unwrap_or(i64::MAX)
}
