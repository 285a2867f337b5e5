//! Search over all indexes.

use std::collections::{HashMap, HashSet};

use hostler_model::{ContentHash, EntryKind, HostId};
use memchr::memmem::Finder;
use rusqlite::Connection;

use super::entries::{DIR_COLUMNS, Dir, Entries, IndexedRoot, roots};
use super::index::{self, Facts, Part, Pattern, Segment, absolute, entry_of_chunk, prefix_of};
use super::names;
use super::top::{Key, Order, Top};
use crate::store::{FindQuery, IndexedEntry, Page, PageRequest, Result, SortKey};

/// The first eight bytes of the hashes of nothing, by each algorithm: empty files are not in the index on hashes, where all
/// of them would be one entry.
const EMPTY: [i64; 4] = [
    0xaf13_49b9_f5f9_a1a6_u64.cast_signed(),
    0xda39_a3ee_5e6b_4b0d_u64.cast_signed(),
    0xe3b0_c442_98fc_1c14_u64.cast_signed(),
    0xef46_db37_51d8_e999_u64.cast_signed(),
];

/// Where a match is.
enum Match {
    File { root: i64, chunk: i64, dir: Vec<u8> },
    Dir { root: i64, dir: Dir },
}

pub fn find(db: &Connection, query: &FindQuery, page: &PageRequest) -> Result<Page<IndexedEntry>> {
    let roots = roots(db, query.host)?;
    let of_nothing = query.hash.as_ref().is_some_and(|hash| EMPTY.contains(&prefix_of(hash)));
    let empty = FindQuery { max_size: Some(0), kinds: vec![EntryKind::File], ..query.clone() };
    let query = if of_nothing { &empty } else { query };
    let order = match query.sort {
        SortKey::Name | SortKey::Files => Order { primary_descending: false, names_descending: query.descending },
        SortKey::Size | SortKey::Changed => Order { primary_descending: query.descending, names_descending: false },
    };
    let mut search = Search {
        db,
        query,
        owners: owners(db, query, &roots)?,
        below: query.below.as_ref().map(|below| Below::new(below.as_bytes())),
        top: Top::new(order, page)?,
        roots: &roots,
    };
    let kinds = &query.kinds;
    if kinds.is_empty() || kinds.iter().any(|kind| *kind != EntryKind::Dir) {
        match &query.hash {
            Some(hash) if !EMPTY.contains(&prefix_of(hash)) => search.by_hash(hash)?,
            _ => search.by_columns()?,
        }
    }
    if kinds.contains(&EntryKind::Dir) && query.hash.is_none() {
        search.dirs()?;
    }
    let (found, next) = search.top.finish();
    let mut entries = Entries::new(db);
    let mut items = Vec::with_capacity(found.len());
    for (key, found) in found {
        match found {
            Match::Dir { root, dir } => items.push(entries.dir(&roots[&root], &dir)?),
            Match::File { root, chunk, dir } => {
                let name = key.key().name;
                // Read in the transaction in which it was found.
                if let Some(row) = entry_of_chunk(db, chunk, name)? {
                    items.push(entries.file(&roots[&root], &dir, name, &row)?);
                }
            }
        }
    }
    Ok(Page { items, next })
}

/// The numbers that an owner's name or number stands for, on each host; `None` when any owner will do.
fn owners(
    db: &Connection,
    query: &FindQuery,
    roots: &HashMap<i64, IndexedRoot>,
) -> Result<Option<HashMap<HostId, HashSet<u32>>>> {
    let Some(owner) = &query.owner else { return Ok(None) };
    let mut by_name = db.prepare_cached("SELECT id FROM owners WHERE host_id = ? AND is_group = 0 AND name = ?")?;
    let mut all = HashMap::new();
    for host in roots.values().map(|root| root.host).collect::<HashSet<_>>() {
        let named = by_name.query_map((host.to_string(), owner), |row| row.get(0))?;
        let mut ids: HashSet<u32> = named.collect::<rusqlite::Result<_>>()?;
        ids.extend(owner.parse::<u32>());
        all.insert(host, ids);
    }
    Ok(Some(all))
}

/// An absolute path, and everything below it.
pub struct Below(Vec<u8>);

impl Below {
    /// With or without slashes at its end.
    pub fn new(path: &[u8]) -> Self {
        let end = path.iter().rposition(|b| *b != b'/').map_or(0, |last| last + 1);
        Self(path[..end].to_vec())
    }

    /// True for the directory itself and for those below it.
    pub fn holds(&self, dir: &[u8]) -> bool {
        dir.strip_prefix(self.0.as_slice()).is_some_and(|rest| rest.is_empty() || rest[0] == b'/')
    }

    /// False when no directory of this root can be at or below the path.
    pub fn meets(&self, root: &[u8]) -> bool {
        self.holds(root) || Self::new(root).holds(&self.0)
    }
}

struct Search<'a> {
    db: &'a Connection,
    query: &'a FindQuery,
    owners: Option<HashMap<HostId, HashSet<u32>>>,
    below: Option<Below>,
    top: Top<Match>,
    roots: &'a HashMap<i64, IndexedRoot>,
}

impl Search<'_> {
    fn by_columns(&mut self) -> Result<()> {
        let mut segments = self.db.prepare_cached("SELECT id, root_id, fresh FROM segments ORDER BY id")?;
        let mut rows = segments.query([])?;
        let lower = self.query.name.as_ref().map(|name| name.as_bytes().to_ascii_lowercase());
        let pattern = match (&self.query.name, &lower) {
            (Some(name), _) if names::is_pattern(name.as_bytes()) => Pattern::Glob(name.as_bytes()),
            (_, Some(lower)) if !lower.is_empty() => Pattern::Substring(Box::new(Finder::new(lower))),
            _ => Pattern::Any,
        };
        let (mut scratch, mut found) = (Vec::new(), Vec::new());
        while let Some(row) = rows.next()? {
            let Some(root) = self.roots.get(&row.get(1)?) else { continue };
            if self.below.as_ref().is_some_and(|below| !below.meets(&root.path)) {
                continue;
            }
            let segment = Segment::load(self.db, row.get(0)?, row.get(2)?)?;
            self.segment(root, &segment, &pattern, &mut scratch, &mut found)?;
        }
        Ok(())
    }

    fn segment(
        &mut self,
        root: &IndexedRoot,
        segment: &Segment,
        pattern: &Pattern<'_>,
        scratch: &mut Vec<u8>,
        found: &mut Vec<usize>,
    ) -> Result<()> {
        segment.matching(pattern, 0..segment.len(), scratch, found);
        let extensions = &self.query.extensions;
        if !extensions.is_empty() {
            found.retain(|entry| has_extension(segment.name(*entry), extensions));
        }
        if found.is_empty() {
            return Ok(());
        }
        let facts = if self.needs_facts() { Some(segment.facts(self.db)?) } else { None };
        let mut hits = found.iter().copied().peekable();
        for part in &segment.parts {
            if hits.peek().is_none_or(|hit| *hit >= part.entries.end) {
                continue;
            }
            let dir = absolute(&root.path, segment.path(part));
            let outside = self.below.as_ref().is_some_and(|below| !below.holds(&dir));
            while let Some(hit) = hits.next_if(|hit| *hit < part.entries.end) {
                if !outside && facts.as_ref().is_none_or(|facts| self.fits(root, facts, hit)) {
                    self.add(root, segment, part, &dir, facts.as_ref(), hit);
                }
            }
        }
        Ok(())
    }

    fn needs_facts(&self) -> bool {
        let q = self.query;
        let by_size_or_time = !matches!(q.sort, SortKey::Name | SortKey::Files);
        let bounds =
            [q.min_size.is_some(), q.max_size.is_some(), q.modified_after.is_some(), q.modified_before.is_some()];
        by_size_or_time || bounds.contains(&true) || !q.kinds.is_empty() || self.owners.is_some()
    }

    fn fits(&self, root: &IndexedRoot, facts: &Facts, entry: usize) -> bool {
        let q = self.query;
        let nanos = |time: hostler_model::Timestamp| time.micros().saturating_mul(1000);
        let (size, mtime) = (facts.size(entry), facts.mtime_ns(entry));
        q.min_size.is_none_or(|min| size >= min)
            && q.max_size.is_none_or(|max| size <= max)
            && q.modified_after.is_none_or(|after| mtime >= nanos(after))
            && q.modified_before.is_none_or(|before| mtime < nanos(before))
            && (q.kinds.is_empty() || q.kinds.contains(&facts.kind(entry)))
            && self.owned(root, facts.uid(entry))
    }

    fn owned(&self, root: &IndexedRoot, uid: u32) -> bool {
        self.owners.as_ref().is_none_or(|owners| owners.get(&root.host).is_some_and(|ids| ids.contains(&uid)))
    }

    fn add(
        &mut self,
        root: &IndexedRoot,
        segment: &Segment,
        part: &Part,
        dir: &[u8],
        facts: Option<&Facts>,
        entry: usize,
    ) {
        let primary = facts.map_or(0, |facts| self.primary(facts.size(entry), facts.mtime_ns(entry)));
        let key = Key { primary, rank: 0, dir, name: segment.name(entry), tie: part.dir };
        if self.top.admits(&key) {
            let dir = segment.path(part).to_vec();
            self.top.add(key, Match::File { root: root.id, chunk: part.chunk, dir });
        }
    }

    fn primary(&self, size: u64, mtime_ns: i64) -> i64 {
        match self.query.sort {
            SortKey::Name | SortKey::Files => 0,
            SortKey::Size => i64::try_from(size).unwrap_or(i64::MAX),
            SortKey::Changed => mtime_ns,
        }
    }

    /// By the index on hashes, and by looking through what is not in it yet.
    fn by_hash(&mut self, hash: &ContentHash) -> Result<()> {
        let mut chunks = self.db.prepare_cached(
            "SELECT chunks.id, chunks.dir_id, dirs.root_id, dirs.path, chunks.data
             FROM chunks JOIN dirs ON dirs.id = chunks.dir_id
             WHERE chunks.id IN (SELECT chunk_id FROM hashes WHERE prefix = ?1 UNION
                SELECT fresh.id FROM segments JOIN chunks AS fresh
                    ON fresh.id >= segments.id * ?2 AND fresh.id < (segments.id + 1) * ?2
                WHERE segments.fresh = 0)",
        )?;
        let mut rows = chunks.query((prefix_of(hash), index::SLOTS))?;
        while let Some(row) = rows.next()? {
            let (chunk, dir_id, root): (i64, i64, i64) = (row.get(0)?, row.get(1)?, row.get(2)?);
            let Some(root) = self.roots.get(&root) else { continue };
            let path: Vec<u8> = row.get(3)?;
            let dir = absolute(&root.path, &path);
            if self.below.as_ref().is_some_and(|below| !below.holds(&dir)) {
                continue;
            }
            let mut entries = index::Entries::new(row.get_ref(4)?.as_blob().map_err(rusqlite::Error::from)?);
            while let Some((name, row)) = entries.next()? {
                if row.hash.as_ref() == Some(hash) && self.row_fits(root, name, &row) {
                    let primary = self.primary(row.size, row.mtime_ns);
                    let key = Key { primary, rank: 0, dir: &dir, name, tie: dir_id };
                    self.top.add(key, Match::File { root: root.id, chunk, dir: path.clone() });
                }
            }
        }
        Ok(())
    }

    fn row_fits(&self, root: &IndexedRoot, name: &[u8], row: &index::Row) -> bool {
        let q = self.query;
        let nanos = |time: hostler_model::Timestamp| time.micros().saturating_mul(1000);
        q.name.as_ref().is_none_or(|pattern| names::matches(name, pattern.as_bytes()))
            && (q.extensions.is_empty() || has_extension(name, &q.extensions))
            && q.min_size.is_none_or(|min| row.size >= min)
            && q.max_size.is_none_or(|max| row.size <= max)
            && q.modified_after.is_none_or(|after| row.mtime_ns >= nanos(after))
            && q.modified_before.is_none_or(|before| row.mtime_ns < nanos(before))
            && (q.kinds.is_empty() || q.kinds.contains(&row.kind))
            && self.owned(root, row.uid)
    }

    fn dirs(&mut self) -> Result<()> {
        let mut query =
            self.db.prepare_cached(&format!("SELECT dirs.root_id, {DIR_COLUMNS} FROM dirs WHERE path <> x''"))?;
        let mut rows = query.query([])?;
        while let Some(row) = rows.next()? {
            let Some(root) = self.roots.get(&row.get(0)?) else { continue };
            let dir = Dir::from_row(row)?;
            let (parent, name) = match dir.path.iter().rposition(|b| *b == b'/') {
                Some(cut) => (&dir.path[..cut], &dir.path[cut + 1..]),
                None => (&b""[..], dir.path.as_slice()),
            };
            if !self.row_fits(root, name, &dir.row) {
                continue;
            }
            let (parent, name) = (absolute(&root.path, parent), name.to_vec());
            if self.below.as_ref().is_some_and(|below| !below.holds(&parent)) {
                continue;
            }
            let primary = self.primary(dir.row.size, dir.row.mtime_ns);
            let key = Key { primary, rank: 0, dir: &parent, name: &name, tie: dir.id };
            if self.top.admits(&key) {
                self.top.add(key, Match::Dir { root: root.id, dir });
            }
        }
        Ok(())
    }
}

/// True when the name ends in one of the extensions.
pub fn has_extension(name: &[u8], extensions: &[String]) -> bool {
    extensions.iter().any(|extension| names::has_extension(name, extension.trim_start_matches('.').as_bytes()))
}
