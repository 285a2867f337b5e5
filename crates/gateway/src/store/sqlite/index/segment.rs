//! The columns of a segment: what a search reads of the entries of 64 chunks.
//!
//! ```text
//! names  = chunks(u32) chunk* entries(u32) offset(u32){entries + 1} name*
//! chunk  = slot(u8) directory id(i64) entries(u32) path length(u32) path       path relative to the root
//! facts  = size(u64)* mtime_ns(i64)* kind(u8)* uid(u32)*                       one uid when all are equal
//! hashes = ( prefix(i64) slot(u8) mark(u32) )*                                 sorted; of regular files that are not empty
//! ```
//!
//! Numbers are little-endian. Entries have the order of their chunks, and of their names within a chunk.

use hostler_model::{ContentHash, EntryKind};
use memchr::memmem::Finder;
use rusqlite::{Connection, OptionalExtension};

use super::chunk::{Damaged, Entries};
use super::{Row, SLOTS};
use crate::store::Result;
use crate::store::sqlite::names;

/// Columns per segment: `columns.id` is `segment * 4 + column`.
const COLUMNS: i64 = 4;
const NAMES: i64 = 0;
const FACTS: i64 = 1;
const HASHES: i64 = 2;

/// The first eight bytes of a hash, as the store keeps them.
pub fn prefix_of(hash: &ContentHash) -> i64 {
    let mut bytes = [0; 8];
    let len = hash.as_bytes().len().min(8);
    bytes[..len].copy_from_slice(&hash.as_bytes()[..len]);
    i64::from_be_bytes(bytes)
}

/// The columns as they are stored.
#[derive(Default)]
pub struct Columns {
    names: Vec<u8>,
    facts: Vec<u8>,
    hashes: Vec<u8>,
}

impl Columns {
    /// Makes the columns from the segment's chunks; also how many entries they have.
    pub fn build(db: &Connection, segment: i64) -> Result<(Self, u64)> {
        let mut query = db.prepare_cached(
            "SELECT chunks.id, chunks.dir_id, dirs.path, chunks.data FROM chunks JOIN dirs ON dirs.id = chunks.dir_id
             WHERE chunks.id >= ?1 AND chunks.id < ?2 ORDER BY chunks.id",
        )?;
        let mut rows = query.query((segment * SLOTS, (segment + 1) * SLOTS))?;
        let (mut chunks, mut names, mut offsets) = (Vec::new(), Vec::new(), vec![0u32]);
        let (mut sizes, mut mtimes, mut kinds, mut uids) = (Vec::new(), Vec::new(), Vec::new(), Vec::<u32>::new());
        let mut hashes: Vec<Occurrence> = Vec::new();
        let mut count = 0u32;
        while let Some(row) = rows.next()? {
            let (id, dir): (i64, i64) = (row.get(0)?, row.get(1)?);
            let slot = id.rem_euclid(SLOTS) as u8;
            let before = offsets.len();
            let data = row.get_ref(3)?.as_blob().map_err(rusqlite::Error::from)?;
            let mut entries = Entries::new(data);
            while let Some((name, row)) = entries.next()? {
                names.extend_from_slice(name);
                offsets.push(names.len() as u32);
                sizes.extend_from_slice(&row.size.to_le_bytes());
                mtimes.extend_from_slice(&row.mtime_ns.to_le_bytes());
                kinds.push(row.kind.code());
                uids.push(row.uid);
                if let Some(hash) = row.hash.filter(|_| row.kind == EntryKind::File && row.size > 0) {
                    hashes.push(Occurrence { prefix: prefix_of(&hash), slot, mark: mark_of(&row) });
                }
            }
            let path = row.get_ref(2)?.as_blob().map_err(rusqlite::Error::from)?;
            chunks.push(slot);
            chunks.extend_from_slice(&dir.to_le_bytes());
            chunks.extend_from_slice(&((offsets.len() - before) as u32).to_le_bytes());
            chunks.extend_from_slice(&(path.len() as u32).to_le_bytes());
            chunks.extend_from_slice(path);
            count += 1;
        }
        let entries = kinds.len();
        let mut all = Vec::with_capacity(chunks.len() + 4 * offsets.len() + names.len() + 8);
        all.extend_from_slice(&count.to_le_bytes());
        all.extend(chunks);
        all.extend_from_slice(&(entries as u32).to_le_bytes());
        offsets.iter().for_each(|at| all.extend_from_slice(&at.to_le_bytes()));
        all.extend(names);
        let mut facts = sizes;
        facts.extend(mtimes);
        facts.extend(kinds);
        if uids.iter().all(|uid| *uid == uids[0]) {
            uids.truncate(1);
        }
        uids.iter().for_each(|uid| facts.extend_from_slice(&uid.to_le_bytes()));
        hashes.sort_unstable();
        let mut packed = Vec::with_capacity(OCCURRENCE * hashes.len());
        for Occurrence { prefix, slot, mark } in hashes {
            packed.extend_from_slice(&prefix.to_le_bytes());
            packed.push(slot);
            packed.extend_from_slice(&mark.to_le_bytes());
        }
        Ok((Self { names: all, facts, hashes: packed }, entries as u64))
    }

    /// Replaces what is kept.
    pub fn keep(&self, db: &Connection, segment: i64) -> Result<()> {
        let mut insert = db.prepare_cached("INSERT OR REPLACE INTO columns VALUES (?, ?)")?;
        for (column, data) in [(NAMES, &self.names), (FACTS, &self.facts), (HASHES, &self.hashes)] {
            insert.execute((segment * COLUMNS + column, data))?;
        }
        Ok(())
    }

    /// Removes what is kept.
    pub fn forget(db: &Connection, segment: i64) -> Result<()> {
        db.prepare_cached("DELETE FROM columns WHERE id >= ?1 * 4 AND id < (?1 + 1) * 4")?.execute([segment])?;
        Ok(())
    }

    /// Where hashes occur, sorted.
    pub fn hashes(&self) -> Vec<Occurrence> {
        hash_column(&self.hashes)
    }

    /// The hashes that are kept of a segment, whether it is stale or not.
    pub fn kept_hashes(db: &Connection, segment: i64) -> Result<Vec<Occurrence>> {
        Ok(hash_column(&kept(db, segment, HASHES)?.unwrap_or_default()))
    }
}

/// Bytes of an [`Occurrence`].
const OCCURRENCE: usize = 13;

/// One regular file whose hash is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Occurrence {
    /// The hash's first bytes.
    pub prefix: i64,
    /// Where its chunk is in the segment.
    pub slot: u8,
    /// Differs when the file is another inode.
    pub mark: u32,
}

fn mark_of(row: &Row) -> u32 {
    ((row.ino ^ row.dev.rotate_left(32)).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as u32
}

fn hash_column(data: &[u8]) -> Vec<Occurrence> {
    let (hashes, _) = data.as_chunks::<OCCURRENCE>();
    hashes
        .iter()
        .map(|[a, b, c, d, e, f, g, h, slot, i, j, k, l]| Occurrence {
            prefix: i64::from_le_bytes([*a, *b, *c, *d, *e, *f, *g, *h]),
            slot: *slot,
            mark: u32::from_le_bytes([*i, *j, *k, *l]),
        })
        .collect()
}

fn kept(db: &Connection, segment: i64, column: i64) -> Result<Option<Vec<u8>>> {
    let mut query = db.prepare_cached("SELECT data FROM columns WHERE id = ?")?;
    Ok(query.query_row([segment * COLUMNS + column], |row| row.get(0)).optional()?)
}

/// One chunk's part of a segment.
pub struct Part {
    /// The chunk.
    pub chunk: i64,
    /// Its directory.
    pub dir: i64,
    /// The directory's path relative to the root: a range of the segment's bytes.
    path: std::ops::Range<usize>,
    /// Its entries.
    pub entries: std::ops::Range<usize>,
}

/// A segment that is searched.
pub struct Segment {
    bytes: Vec<u8>,
    /// What its chunks contribute, in the order of the entries.
    pub parts: Vec<Part>,
    offsets: usize,
    names: usize,
    entries: usize,
    /// Columns that were built for this search, as the kept ones are stale.
    built: Option<Columns>,
    id: i64,
}

impl Segment {
    /// The columns of a segment; built when it is stale.
    pub fn load(db: &Connection, id: i64, fresh: bool) -> Result<Self> {
        let kept = if fresh { kept(db, id, NAMES)? } else { None };
        let (bytes, built) = match kept {
            Some(names) => (names, None),
            None => {
                let (mut columns, _) = Columns::build(db, id)?;
                (std::mem::take(&mut columns.names), Some(columns))
            }
        };
        Ok(Self::parse(id, bytes, built).ok_or(Damaged)?)
    }

    fn parse(id: i64, bytes: Vec<u8>, built: Option<Columns>) -> Option<Self> {
        let mut at = 0;
        let chunks = u32_at(&bytes, at)?;
        at += 4;
        let mut parts = Vec::with_capacity((chunks as usize).min(SLOTS as usize));
        let mut first = 0usize;
        for _ in 0..chunks {
            let slot = *bytes.get(at)?;
            let dir = i64::from_le_bytes(bytes.get(at + 1..at + 9)?.try_into().ok()?);
            let entries = u32_at(&bytes, at + 9)? as usize;
            let len = u32_at(&bytes, at + 13)? as usize;
            let path = at + 17..(at + 17).checked_add(len)?;
            at = path.end;
            parts.push(Part { chunk: id * SLOTS + i64::from(slot), dir, path, entries: first..first + entries });
            first += entries;
        }
        let entries = u32_at(&bytes, at)? as usize;
        let offsets = at + 4;
        let names = offsets.checked_add(4 * (entries + 1))?;
        let whole = entries == first && names <= bytes.len();
        whole.then_some(Self { bytes, parts, offsets, names, entries, built, id })
    }

    /// Entries in it.
    pub fn len(&self) -> usize {
        self.entries
    }

    /// A name.
    pub fn name(&self, entry: usize) -> &[u8] {
        self.bytes.get(self.names + self.offset(entry)..self.names + self.offset(entry + 1)).unwrap_or_default()
    }

    /// The path of a part's directory, relative to the root.
    pub fn path(&self, part: &Part) -> &[u8] {
        self.bytes.get(part.path.clone()).unwrap_or_default()
    }

    fn offset(&self, entry: usize) -> usize {
        u32_at(&self.bytes, self.offsets + 4 * entry).unwrap_or(0) as usize
    }

    /// Sizes, times, kinds and owners.
    pub fn facts(&self, db: &Connection) -> Result<Facts> {
        let data = match &self.built {
            Some(columns) => columns.facts.clone(),
            None => kept(db, self.id, FACTS)?.unwrap_or_default(),
        };
        let uids = data.len().checked_sub(17 * self.entries).ok_or(Damaged)?;
        let whole = self.entries == 0 || uids == 4 || uids == 4 * self.entries;
        if !whole {
            return Err(Damaged.into());
        }
        Ok(Facts { one_uid: uids == 4, entries: self.entries, data })
    }

    /// The entries among `range` whose names match, in their order.
    pub fn matching(
        &self,
        pattern: &Pattern<'_>,
        range: std::ops::Range<usize>,
        scratch: &mut Vec<u8>,
        found: &mut Vec<usize>,
    ) {
        found.clear();
        match pattern {
            Pattern::Any => found.extend(range),
            Pattern::Glob(glob) => found.extend(range.filter(|entry| names::matches(self.name(*entry), glob))),
            Pattern::Substring(finder) => {
                // Case is folded here and not in the store, so that names are kept once; it costs less than the search.
                let base = self.offset(range.start);
                scratch.clear();
                scratch.extend_from_slice(
                    self.bytes.get(self.names + base..self.names + self.offset(range.end)).unwrap_or_default(),
                );
                scratch.make_ascii_lowercase();
                let len = finder.needle().len();
                let (mut from, mut entry) = (0, range.start);
                while let Some(at) = scratch.get(from..).and_then(|rest| finder.find(rest)) {
                    let start = base + from + at;
                    entry = self.entry_at(start, entry, range.end);
                    let end = self.offset(entry + 1);
                    if start + len <= end {
                        found.push(entry);
                        from = end - base;
                    } else {
                        // The last bytes of one name and the first of the next.
                        from += at + 1;
                    }
                }
            }
        }
    }

    /// The entry in `from..to` whose name has the byte at this offset.
    fn entry_at(&self, offset: usize, from: usize, to: usize) -> usize {
        let (mut low, mut high) = (from, to);
        while high - low > 1 {
            let middle = low.midpoint(high);
            if self.offset(middle) <= offset { low = middle } else { high = middle }
        }
        low
    }
}

/// Sizes, times, kinds and owners of a segment's entries.
pub struct Facts {
    data: Vec<u8>,
    entries: usize,
    one_uid: bool,
}

impl Facts {
    /// Bytes.
    pub fn size(&self, entry: usize) -> u64 {
        u64::from_le_bytes(self.eight(8 * entry))
    }

    /// Nanoseconds since the epoch.
    pub fn mtime_ns(&self, entry: usize) -> i64 {
        i64::from_le_bytes(self.eight(8 * (self.entries + entry)))
    }

    /// What it is.
    pub fn kind(&self, entry: usize) -> EntryKind {
        self.data
            .get(16 * self.entries + entry)
            .and_then(|code| EntryKind::from_code(*code))
            .unwrap_or(EntryKind::Other)
    }

    /// The owner's number.
    pub fn uid(&self, entry: usize) -> u32 {
        let at = if self.one_uid { 0 } else { entry };
        u32_at(&self.data, 17 * self.entries + 4 * at).unwrap_or(0)
    }

    fn eight(&self, at: usize) -> [u8; 8] {
        self.data.get(at..at + 8).and_then(|bytes| bytes.try_into().ok()).unwrap_or_default()
    }
}

/// What a name is compared with.
pub enum Pattern<'a> {
    /// Every name matches.
    Any,
    /// The name holds this text, given in lower case.
    Substring(Box<Finder<'a>>),
    /// The whole name matches.
    Glob(&'a [u8]),
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at.checked_add(4)?)?.try_into().ok()?))
}

/// One entry of a chunk by its name.
pub fn entry_of_chunk(db: &Connection, chunk: i64, name: &[u8]) -> Result<Option<Row>> {
    let data: Option<Vec<u8>> =
        db.prepare_cached("SELECT data FROM chunks WHERE id = ?")?.query_row([chunk], |row| row.get(0)).optional()?;
    let Some(data) = data else { return Ok(None) };
    let mut entries = Entries::new(&data);
    while let Some((found, row)) = entries.next()? {
        if found == name {
            return Ok(Some(row));
        }
    }
    Ok(None)
}
