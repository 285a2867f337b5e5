//! Files with equal content. Hard links are one file with several names.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

use hostler_model::{Algorithm, ContentHash, HostId, Timestamp};
use rusqlite::types::Value;
use rusqlite::{Connection, Row, params_from_iter};

use super::cursor;
use super::entries::{IndexedRoot, roots};
use super::find::{Below, has_extension};
use super::index::{self, Columns, Member, SLOTS, Scope};
use super::rows;
use crate::store::{
    DuplicateFile, DuplicateFiles, DuplicateGroup, DuplicateQuery, DuplicateTotals, MAX_DUPLICATE_NAMES, Page,
    PageRequest, Result, StoreError,
};

/// Selections whose groups are remembered.
const REMEMBERED: usize = 8;
/// Groups of one selection that are remembered; with more, only the greatest are listed.
const MAX_GROUPS: usize = 200_000;

/// Names of one hash that are looked at for a list of them.
const MAX_LOOKED_AT: usize = 5 * MAX_DUPLICATE_NAMES;

/// Groups of selections that no scope is kept for, until the index changes.
#[derive(Default)]
pub struct Selections {
    version: AtomicU64,
    kept: Mutex<Vec<Selected>>,
}

/// What was asked, at which version of the index, and the groups.
type Selected = (DuplicateQuery, u64, Arc<Vec<Group>>);

impl Selections {
    /// The index has changed.
    pub fn outdate(&self) {
        self.version.fetch_add(1, Relaxed);
    }

    /// To be asked before the index is first read: what is read may be newer than that, never older.
    fn version(&self) -> u64 {
        self.version.load(Relaxed)
    }

    fn get(
        &self,
        query: &DuplicateQuery,
        version: u64,
        make: impl FnOnce() -> Result<Vec<Group>>,
    ) -> Result<Arc<Vec<Group>>> {
        let lock = || self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((.., groups)) = lock().iter().find(|(of, at, _)| of == query && *at == version) {
            return Ok(groups.clone());
        }
        let groups = Arc::new(make()?);
        let mut kept = lock();
        kept.retain(|(of, at, _)| *at == version && of != query);
        if kept.len() >= REMEMBERED {
            kept.remove(0);
        }
        kept.push((query.clone(), version, groups.clone()));
        Ok(groups)
    }
}

/// A group as it is sorted.
#[derive(Clone)]
pub struct Group {
    hash: ContentHash,
    algorithm: u8,
    size: i64,
    copies: i64,
    names: i64,
    reclaimable: i64,
}

impl Group {
    fn from_row(row: &Row<'_>) -> rusqlite::Result<Self> {
        let hash: Vec<u8> = row.get("hash")?;
        Ok(Self {
            hash: ContentHash::new(&hash).ok_or(rusqlite::Error::InvalidQuery)?,
            algorithm: row.get("algorithm")?,
            size: row.get("size")?,
            copies: row.get("copies")?,
            names: row.get("names")?,
            reclaimable: row.get("reclaimable")?,
        })
    }

    /// The greatest gain first.
    fn key(&self) -> (std::cmp::Reverse<i64>, &[u8]) {
        (std::cmp::Reverse(self.reclaimable), self.hash.as_bytes())
    }

    fn told(&self) -> DuplicateGroup {
        DuplicateGroup {
            hash: self.hash.to_string(),
            algo: Algorithm::from_code(self.algorithm).unwrap_or_default(),
            size: self.size.unsigned_abs(),
            copies: self.copies.unsigned_abs(),
            names: self.names.unsigned_abs(),
            reclaimable: self.reclaimable.unsigned_abs(),
        }
    }

    fn cursor(&self) -> String {
        cursor::encode(&[self.reclaimable.into(), Value::Blob(self.hash.as_bytes().to_vec())])
    }
}

/// A selection: in a scope whose groups are kept, or narrower than one.
struct Selection {
    scope: Scope,
    narrower: bool,
}

fn select(db: &Connection, query: &DuplicateQuery) -> Result<Option<Selection>> {
    let roots = roots(db, query.host)?;
    let Some(any) = roots.values().next() else { return Ok(None) };
    let mut scope = match query.host {
        Some(_) => Scope::Host(any.host_number),
        None => Scope::Fleet,
    };
    let mut narrower = !query.extensions.is_empty();
    if let Some(path) = &query.below {
        let below = Below::new(path.as_bytes());
        let mut meeting = roots.values().filter(|root| below.meets(&root.path));
        match (meeting.next(), meeting.next()) {
            (None, _) => return Ok(None),
            (Some(root), None) => {
                scope = Scope::Root(root.id);
                narrower |= !below.holds(&root.path);
            }
            (Some(_), Some(_)) => narrower = true,
        }
    }
    Ok(Some(Selection { scope, narrower }))
}

fn min_size(query: &DuplicateQuery) -> i64 {
    i64::try_from(query.min_size.max(1)).unwrap_or(i64::MAX)
}

pub fn groups(
    db: &Connection,
    selections: &Selections,
    query: &DuplicateQuery,
    page: &PageRequest,
) -> Result<Page<DuplicateGroup>> {
    let page = page_of(db, selections, query, page)?;
    Ok(Page { items: page.items.iter().map(Group::told).collect(), next: page.next })
}

fn page_of(
    db: &Connection,
    selections: &Selections,
    query: &DuplicateQuery,
    page: &PageRequest,
) -> Result<Page<Group>> {
    let version = selections.version();
    let after = page.cursor.as_deref().map(after).transpose()?;
    let limit = page.limit as usize;
    let mut items: Vec<Group> = match select(db, query)? {
        None => Vec::new(),
        Some(Selection { scope, narrower: false }) => {
            let mut sql = "SELECT * FROM duplicates WHERE scope = ?1 AND size >= ?2".to_owned();
            let mut values: Vec<Value> = vec![scope.code().into(), min_size(query).into()];
            if let Some((reclaimable, hash)) = after {
                sql.push_str(" AND reclaimable <= ?3 AND (reclaimable < ?3 OR hash > ?4)");
                values.extend([reclaimable.into(), Value::Blob(hash)]);
            }
            values.push((i64::from(page.limit) + 1).into());
            sql.push_str(&format!(" ORDER BY reclaimable DESC, hash LIMIT ?{}", values.len()));
            db.prepare_cached(&sql)?
                .query_map(params_from_iter(values), Group::from_row)?
                .collect::<rusqlite::Result<_>>()?
        }
        Some(Selection { scope, narrower: true }) => {
            let all = selections.get(query, version, || narrowed(db, query, scope))?;
            let start = match &after {
                Some((gain, hash)) => all.partition_point(|g| g.key() <= (std::cmp::Reverse(*gain), hash.as_slice())),
                None => 0,
            };
            all[start..].iter().take(limit + 1).cloned().collect()
        }
    };
    let more = items.len() > limit;
    items.truncate(limit);
    let next = items.last().filter(|_| more).map(Group::cursor);
    Ok(Page { items, next })
}

fn after(text: &str) -> Result<(i64, Vec<u8>)> {
    match <[Value; 2]>::try_from(cursor::decode(text, 2)?) {
        Ok([Value::Integer(reclaimable), Value::Blob(hash)]) => Ok((reclaimable, hash)),
        _ => Err(StoreError::BadCursor(text.chars().take(80).collect())),
    }
}

pub fn totals(db: &Connection, selections: &Selections, query: &DuplicateQuery) -> Result<DuplicateTotals> {
    let version = selections.version();
    let totals = match select(db, query)? {
        None => DuplicateTotals::default(),
        Some(Selection { scope, narrower: false }) => db
            .prepare_cached(
                "SELECT COUNT(*) AS groups, COALESCE(SUM(copies - 1), 0) AS extra,
                    CAST(MIN(TOTAL(reclaimable), 9.2e18) AS INTEGER) AS bytes
                 FROM duplicates WHERE scope = ? AND size >= ?",
            )?
            .query_row((scope.code(), min_size(query)), |row| {
                Ok(DuplicateTotals {
                    groups: rows::unsigned(row, "groups")?,
                    extra_copies: rows::unsigned(row, "extra")?,
                    reclaimable: rows::unsigned(row, "bytes")?,
                    pending_files: 0,
                })
            })?,
        Some(Selection { scope, narrower: true }) => {
            let all = selections.get(query, version, || narrowed(db, query, scope))?;
            DuplicateTotals {
                groups: all.len() as u64,
                extra_copies: all.iter().map(|g| (g.copies - 1).unsigned_abs()).sum(),
                reclaimable: all.iter().fold(0u64, |sum, g| sum.saturating_add(g.reclaimable.unsigned_abs())),
                pending_files: 0,
            }
        }
    };
    Ok(DuplicateTotals { pending_files: index::stale_entries(db)?, ..totals })
}

/// The groups among the files that match, the greatest gain first. Hashes that occur once in the scope around it are passed
/// over by the columns of the segments.
fn narrowed(db: &Connection, query: &DuplicateQuery, scope: Scope) -> Result<Vec<Group>> {
    let filter = Filter::new(query);
    let mut prefixes = db.prepare_cached("SELECT DISTINCT prefix FROM duplicates WHERE scope = ? AND size >= ?")?;
    let twice: HashSet<i64> =
        prefixes.query_map((scope.code(), min_size(query)), |row| row.get(0))?.collect::<rusqlite::Result<_>>()?;
    let roots = roots(db, query.host)?;
    let mut segments = db.prepare_cached("SELECT id, root_id FROM segments ORDER BY id")?;
    let mut chunks = db.prepare_cached(
        "SELECT chunks.dir_id, dirs.path, chunks.data FROM chunks JOIN dirs ON dirs.id = chunks.dir_id WHERE chunks.id = ?",
    )?;
    let mut alike: HashMap<(u8, ContentHash, u64), Vec<Member>> = HashMap::new();
    let mut rows = segments.query([])?;
    while let Some(row) = rows.next()? {
        let segment: i64 = row.get(0)?;
        let Some(root) = roots.get(&row.get(1)?) else { continue };
        if filter.below.as_ref().is_some_and(|below| !below.meets(&root.path)) {
            continue;
        }
        let slots: HashSet<u8> =
            Columns::kept_hashes(db, segment)?.iter().filter(|o| twice.contains(&o.prefix)).map(|o| o.slot).collect();
        for slot in slots {
            let mut chunk = chunks.query([segment * SLOTS + i64::from(slot)])?;
            let Some(row) = chunk.next()? else { continue };
            let dir: i64 = row.get(0)?;
            let path = index::absolute(&root.path, row.get_ref(1)?.as_blob().map_err(rusqlite::Error::from)?);
            if !filter.dir(&path) {
                continue;
            }
            let data = row.get_ref(2)?.as_blob().map_err(rusqlite::Error::from)?;
            index::members_of_chunk(
                data,
                |prefix| twice.contains(&prefix),
                |name, row, hash| {
                    if filter.file(name, row.size) {
                        let member = member(root, dir, name, row, hash);
                        alike.entry((member.algorithm, hash, row.size)).or_default().push(member);
                    }
                },
            )?;
        }
    }
    let mut groups = Vec::new();
    for ((algorithm, hash, size), members) in alike {
        let index::Group { copies, names } = index::group(db, members.iter())?;
        if copies > 1 {
            groups.push(Group {
                hash,
                algorithm,
                size: i64::try_from(size).unwrap_or(i64::MAX),
                copies: copies as i64,
                names: names as i64,
                reclaimable: index::reclaimable(copies, size),
            });
        }
    }
    groups.sort_unstable_by(|a, b| a.key().cmp(&b.key()));
    groups.truncate(MAX_GROUPS);
    Ok(groups)
}

fn member(root: &IndexedRoot, dir: i64, name: &[u8], row: &index::Row, hash: ContentHash) -> Member {
    Member {
        host: root.host_number,
        root: root.id,
        algorithm: root.algorithm.of_digest(hash.as_bytes().len()).code(),
        hash,
        size: row.size,
        dev: row.dev,
        ino: row.ino,
        nlink: row.nlink,
        mtime_ns: row.mtime_ns,
        dir,
        name: name.to_vec(),
    }
}

/// What a selection asks of a file, apart from its host.
struct Filter<'a> {
    query: &'a DuplicateQuery,
    below: Option<Below>,
}

impl<'a> Filter<'a> {
    fn new(query: &'a DuplicateQuery) -> Self {
        Self { query, below: query.below.as_ref().map(|below| Below::new(below.as_bytes())) }
    }

    fn dir(&self, path: &[u8]) -> bool {
        self.below.as_ref().is_none_or(|below| below.holds(path))
    }

    fn file(&self, name: &[u8], size: u64) -> bool {
        let extensions = &self.query.extensions;
        size >= self.query.min_size.max(1) && (extensions.is_empty() || has_extension(name, extensions))
    }
}

pub fn files(
    db: &Connection,
    selections: &Selections,
    query: &DuplicateQuery,
    page: &PageRequest,
) -> Result<Page<DuplicateFiles>> {
    let page = page_of(db, selections, query, page)?;
    let roots = roots(db, query.host)?;
    let filter = Filter::new(query);
    let mut items = Vec::with_capacity(page.items.len());
    for group in &page.items {
        items.push(DuplicateFiles { group: group.told(), files: files_of(db, &roots, &filter, group)? });
    }
    Ok(Page { items, next: page.next })
}

fn files_of(
    db: &Connection,
    roots: &HashMap<i64, IndexedRoot>,
    filter: &Filter<'_>,
    group: &Group,
) -> Result<Vec<DuplicateFile>> {
    let mut dirs: HashMap<i64, Vec<u8>> = HashMap::new();
    let mut path_of = db.prepare_cached("SELECT path FROM dirs WHERE id = ?")?;
    let mut files: Vec<DuplicateFile> = Vec::new();
    let mut known: HashSet<(HostId, Vec<u8>)> = HashSet::new();
    for member in index::members(db, index::prefix_of(&group.hash), MAX_LOOKED_AT)? {
        let same = (member.algorithm, member.hash) == (group.algorithm, group.hash)
            && i64::try_from(member.size).unwrap_or(i64::MAX) == group.size;
        let Some(root) = roots.get(&member.root).filter(|_| same) else { continue };
        let dir = match dirs.entry(member.dir) {
            std::collections::hash_map::Entry::Occupied(known) => known.into_mut(),
            std::collections::hash_map::Entry::Vacant(new) => {
                let path: Vec<u8> = path_of.query_row([member.dir], |row| row.get(0))?;
                new.insert(index::absolute(&root.path, &path))
            }
        };
        if !filter.dir(dir) || !filter.file(&member.name, member.size) {
            continue;
        }
        let path = index::absolute(dir, &member.name);
        // Roots that overlap have the same name twice.
        if known.insert((root.host, path.clone())) && files.len() < MAX_DUPLICATE_NAMES {
            files.push(DuplicateFile {
                host: root.host,
                host_name: root.host_name.clone(),
                path: path.into(),
                mtime: Timestamp::from_nanos(member.mtime_ns),
                dev: member.dev,
                ino: member.ino,
                nlink: member.nlink,
            });
        }
    }
    files.sort_by(|a, b| (&a.host_name, a.host, &a.path).cmp(&(&b.host_name, b.host, &b.path)));
    Ok(files)
}
