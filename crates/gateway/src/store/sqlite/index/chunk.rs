//! The bytes of a chunk: up to 256 entries of one directory, by name.
//!
//! ```text
//! chunk = entry+
//! entry = flags(1) shared name length, rest length, rest of name, size, mtime, inode
//!         [device] [links] [mode uid gid] [hash length(1)] [hash]
//! ```
//!
//! Numbers are LEB128. A name begins with as many bytes of the previous one as `shared` says. The mtime and the inode are
//! zigzagged differences from the previous entry's; device, owner and mode are there when they differ from the previous
//! entry's, links when not 1, a hash's length when it is not 32.

use hostler_model::varint::{put, take, unzigzag, zigzag};
use hostler_model::{ContentHash, Entry, EntryKind};

/// Most entries of a chunk.
pub const MAX_ENTRIES: u32 = 256;
/// A chunk is closed when it has grown past this many bytes.
const MAX_BYTES: usize = 24 << 10;

/// What is kept of an entry that is not a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    pub kind: EntryKind,
    pub size: u64,
    pub mtime_ns: i64,
    pub dev: u64,
    pub ino: u64,
    pub nlink: u64,
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub hash: Option<ContentHash>,
}

impl From<&Entry> for Row {
    fn from(e: &Entry) -> Self {
        let Entry { kind, size, mtime_ns, dev, ino, nlink, mode, uid, gid, hash, ctime_ns: _ } = *e;
        Self { kind, size, mtime_ns, dev, ino, nlink, mode, uid, gid, hash }
    }
}

/// Before the first entry.
const NOTHING: Row =
    Row { kind: EntryKind::Other, size: 0, mtime_ns: 0, dev: 0, ino: 0, nlink: 0, mode: 0, uid: 0, gid: 0, hash: None };

const KIND_MASK: u8 = 0b111;
const HAS_HASH: u8 = 1 << 3;
const SAME_OWNER: u8 = 1 << 4;
const SAME_DEV: u8 = 1 << 5;
const ONE_LINK: u8 = 1 << 6;
const HASH_OF_32: u8 = 1 << 7;

/// A chunk that is complete.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Chunk {
    /// Its first name.
    pub first: Vec<u8>,
    /// Entries in it.
    pub entries: u32,
    /// Regular files among them.
    pub files: u32,
    /// Sum of their sizes, saturating at `i64::MAX`.
    pub bytes: i64,
    /// The entries.
    pub data: Vec<u8>,
}

/// Packs entries, which come in the order of their names.
pub struct Packer {
    limit: u32,
    done: Vec<Chunk>,
    open: Chunk,
    name: Vec<u8>,
    last: Row,
}

impl Default for Packer {
    fn default() -> Self {
        Self { limit: MAX_ENTRIES, done: Vec::new(), open: Chunk::default(), name: Vec::new(), last: NOTHING }
    }
}

impl Packer {
    /// Chunks of about equal size for so many entries: each has room for more.
    pub fn balanced(entries: usize) -> Self {
        let chunks = entries.div_ceil(MAX_ENTRIES as usize).max(1);
        Self {
            limit: u32::try_from(entries.div_ceil(chunks)).unwrap_or(MAX_ENTRIES).clamp(1, MAX_ENTRIES),
            ..Self::default()
        }
    }

    /// Appends an entry.
    pub fn push(&mut self, name: &[u8], row: &Row) {
        if self.open.entries >= self.limit || self.open.data.len() >= MAX_BYTES {
            self.close();
        }
        if self.open.entries == 0 {
            self.open.first = name.to_vec();
        }
        self.open.entries += 1;
        if row.kind == EntryKind::File {
            self.open.files += 1;
            self.open.bytes = self.open.bytes.saturating_add(i64::try_from(row.size).unwrap_or(i64::MAX));
        }
        let (out, last) = (&mut self.open.data, &self.last);
        let same_owner = (row.mode, row.uid, row.gid) == (last.mode, last.uid, last.gid);
        let mut flags = row.kind.code();
        for (flag, set) in [
            (HAS_HASH, row.hash.is_some()),
            (SAME_OWNER, same_owner),
            (SAME_DEV, row.dev == last.dev),
            (ONE_LINK, row.nlink == 1),
            (HASH_OF_32, row.hash.is_some_and(|h| h.as_bytes().len() == 32)),
        ] {
            flags |= if set { flag } else { 0 };
        }
        out.push(flags);
        let shared = self.name.iter().zip(name).take_while(|(a, b)| a == b).count();
        put(out, shared as u64);
        put(out, (name.len() - shared) as u64);
        out.extend_from_slice(&name[shared..]);
        put(out, row.size);
        put(out, zigzag(row.mtime_ns.wrapping_sub(last.mtime_ns)));
        put(out, zigzag(row.ino.wrapping_sub(last.ino).cast_signed()));
        if flags & SAME_DEV == 0 {
            put(out, row.dev);
        }
        if flags & ONE_LINK == 0 {
            put(out, row.nlink);
        }
        if !same_owner {
            put(out, u64::from(row.mode));
            put(out, u64::from(row.uid));
            put(out, u64::from(row.gid));
        }
        if let Some(hash) = &row.hash {
            if flags & HASH_OF_32 == 0 {
                out.push(hash.as_bytes().len() as u8);
            }
            out.extend_from_slice(hash.as_bytes());
        }
        self.name.clear();
        self.name.extend_from_slice(name);
        self.last = *row;
    }

    /// All chunks; none when nothing was pushed.
    pub fn finish(mut self) -> Vec<Chunk> {
        self.close();
        self.done
    }

    fn close(&mut self) {
        if self.open.entries > 0 {
            self.done.push(std::mem::take(&mut self.open));
        }
        self.name.clear();
        self.last = NOTHING;
    }
}

/// The bytes are not a chunk.
#[derive(Debug, thiserror::Error)]
#[error("a part of the index is damaged: scan its root again with --force, or restore a backup")]
pub struct Damaged;

impl From<Damaged> for crate::store::StoreError {
    fn from(error: Damaged) -> Self {
        let kind = rusqlite::types::Type::Blob;
        Self::Database(rusqlite::Error::FromSqlConversionFailure(0, kind, Box::new(error)))
    }
}

/// Reads a chunk's entries.
pub struct Entries<'a> {
    data: &'a [u8],
    at: usize,
    name: Vec<u8>,
    last: Row,
}

impl<'a> Entries<'a> {
    /// Before the first entry.
    pub fn new(data: &'a [u8]) -> Self {
        Self { data, at: 0, name: Vec::new(), last: NOTHING }
    }

    /// The next entry.
    pub fn next(&mut self) -> Result<Option<(&[u8], Row)>, Damaged> {
        if self.at == self.data.len() {
            return Ok(None);
        }
        let row = self.entry().ok_or(Damaged)?;
        self.last = row;
        Ok(Some((&self.name, row)))
    }

    fn entry(&mut self) -> Option<Row> {
        let last = self.last;
        let flags = self.byte()?;
        let kind = EntryKind::from_code(flags & KIND_MASK)?;
        let shared = usize::try_from(self.number()?).ok().filter(|shared| *shared <= self.name.len())?;
        let rest = usize::try_from(self.number()?).ok()?;
        self.name.truncate(shared);
        let rest = self.bytes(rest)?;
        self.name.extend_from_slice(rest);
        let size = self.number()?;
        let mtime_ns = last.mtime_ns.wrapping_add(unzigzag(self.number()?));
        let ino = last.ino.wrapping_add(unzigzag(self.number()?).cast_unsigned());
        let dev = if flags & SAME_DEV != 0 { last.dev } else { self.number()? };
        let nlink = if flags & ONE_LINK != 0 { 1 } else { self.number()? };
        let (mode, uid, gid) = if flags & SAME_OWNER != 0 {
            (last.mode, last.uid, last.gid)
        } else {
            let mut number = || u32::try_from(self.number()?).ok();
            (number()?, number()?, number()?)
        };
        let hash = if flags & HAS_HASH != 0 {
            let len = if flags & HASH_OF_32 != 0 { 32 } else { usize::from(self.byte()?) };
            Some(ContentHash::new(self.bytes(len)?)?)
        } else {
            None
        };
        Some(Row { kind, size, mtime_ns, dev, ino, nlink, mode, uid, gid, hash })
    }

    fn byte(&mut self) -> Option<u8> {
        let byte = *self.data.get(self.at)?;
        self.at += 1;
        Some(byte)
    }

    fn bytes(&mut self, len: usize) -> Option<&'a [u8]> {
        let end = self.at.checked_add(len)?;
        let bytes = self.data.get(self.at..end)?;
        self.at = end;
        Some(bytes)
    }

    fn number(&mut self) -> Option<u64> {
        take(self.data, &mut self.at)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_row() -> impl Strategy<Value = Row> {
        let numbers = any::<(u64, i64, u64, u64, u64)>();
        let hash = proptest::option::of(proptest::collection::vec(any::<u8>(), 1..=32));
        (1u8..=4, numbers, any::<(u32, u32, u32)>(), hash).prop_map(
            |(kind, (size, mtime_ns, dev, ino, nlink), (mode, uid, gid), hash)| Row {
                kind: EntryKind::from_code(kind).unwrap(),
                size,
                mtime_ns,
                dev,
                ino,
                nlink,
                mode,
                uid,
                gid,
                hash: hash.and_then(|h| ContentHash::new(&h)),
            },
        )
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn chunks_give_back_what_was_packed(
            rows in proptest::collection::btree_map(proptest::collection::vec(any::<u8>(), 1..60), any_row(), 1..400)
        ) {
            let mut packer = Packer::default();
            rows.iter().for_each(|(name, row)| packer.push(name, row));
            let chunks = packer.finish();
            let mut read = Vec::new();
            for chunk in &chunks {
                let mut entries = Entries::new(&chunk.data);
                let before = read.len();
                while let Some((name, row)) = entries.next().unwrap() {
                    read.push((name.to_vec(), row));
                }
                prop_assert_eq!(&read[before].0, &chunk.first);
                prop_assert_eq!(read.len() - before, chunk.entries as usize);
                prop_assert!(chunk.entries <= MAX_ENTRIES);
            }
            prop_assert_eq!(read, rows.into_iter().collect::<Vec<_>>());
        }

        #[test]
        fn any_bytes_are_read_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let mut entries = Entries::new(&bytes);
            while let Ok(Some(_)) = entries.next() {}
        }
    }
}
