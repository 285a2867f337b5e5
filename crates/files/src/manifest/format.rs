//! The bytes of a manifest.
//!
//! ```text
//! file    = magic frame(header) frame(records)* frame(trailer)
//! magic   = "HSTLRMF" version(1 byte)
//! frame   = kind(1) payload length(u32) checksum(u64) payload      numbers little-endian
//! header  = generation(u64) algorithm(1) root path
//! trailer = record frames(u64) files(u64) dirs(u64) others(u64) bytes(u64)
//! records = record+                                                a record never spans frames
//! record  = flags(1) [depth] name length, name, size, mtime, ctime, inode [device] [links] [mode uid gid] [hash]
//! ```
//!
//! The checksum is XXH3-64 of the payload, seeded with the frame's number and kind, so that frames which are swapped,
//! repeated or left out are found as well. Numbers in records are LEB128; those written as differences are
//! zigzagged first: mtime from the previous record's, ctime from mtime, inode from the previous
//! record's. Device, owner and mode are written only when they differ from the previous record's,
//! links only when not 1, depth only for directories (the root has depth 0 and no name).

use hostler_model::varint::{put, take, unzigzag, zigzag};
use hostler_model::{Algorithm, ContentHash, Entry, EntryKind};
use twox_hash::XxHash3_64;

/// The first bytes of a manifest, the last of them the format's version.
pub const MAGIC: [u8; 8] = *b"HSTLRMF\x01";

/// A frame's payload is closed once it has grown past this many bytes.
pub const FRAME_TARGET: usize = 64 << 10;

/// Longest payload a reader accepts: the target and one record with the longest name `getdents64` can tell.
pub const FRAME_MAX: usize = 2 * FRAME_TARGET + 1024;

/// Bytes before a frame's payload.
pub const FRAME_HEAD: usize = 13;

/// What a frame holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum FrameKind {
    Header = 1,
    Records = 2,
    Trailer = 3,
}

impl FrameKind {
    /// The kind with this number.
    pub const fn from_code(code: u8) -> Option<Self> {
        Some(match code {
            1 => Self::Header,
            2 => Self::Records,
            3 => Self::Trailer,
            _ => return None,
        })
    }
}

/// The checksum of the frame with this number (the header is 0).
pub fn checksum(number: u64, kind: FrameKind, payload: &[u8]) -> u64 {
    XxHash3_64::oneshot_with_seed(number << 8 | kind as u64, payload)
}

/// What a manifest is of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// The root, absolute.
    pub root: Vec<u8>,
    /// Which state of it.
    pub generation: u64,
    /// What made the hashes.
    pub algorithm: Algorithm,
}

impl Header {
    /// The payload of the header frame.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = self.generation.to_le_bytes().to_vec();
        out.push(self.algorithm.code());
        out.extend_from_slice(&self.root);
        out
    }

    /// The inverse; `None` for anything else.
    pub fn decode(payload: &[u8]) -> Option<Self> {
        let (generation, rest) = payload.split_first_chunk()?;
        let (&algorithm, root) = rest.split_first()?;
        Some(Self {
            root: root.to_vec(),
            generation: u64::from_le_bytes(*generation),
            algorithm: Algorithm::from_code(algorithm)?,
        })
    }
}

/// What a manifest holds in all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Record frames.
    pub frames: u64,
    /// Regular files.
    pub files: u64,
    /// Directories, the root included.
    pub dirs: u64,
    /// Symbolic links, FIFOs, sockets and devices.
    pub others: u64,
    /// Sum of the sizes of regular files.
    pub bytes: u64,
}

impl Totals {
    /// Counts one entry.
    pub fn add(&mut self, entry: &Entry) {
        match entry.kind {
            EntryKind::File => {
                self.files += 1;
                self.bytes = self.bytes.saturating_add(entry.size);
            }
            EntryKind::Dir => self.dirs += 1,
            EntryKind::Symlink | EntryKind::Other => self.others += 1,
        }
    }

    /// The payload of the trailer frame.
    pub fn encode(&self) -> Vec<u8> {
        [self.frames, self.files, self.dirs, self.others, self.bytes].iter().flat_map(|n| n.to_le_bytes()).collect()
    }

    /// The inverse; `None` for anything else.
    pub fn decode(payload: &[u8]) -> Option<Self> {
        let (numbers, rest) = payload.as_chunks::<8>();
        let [frames, files, dirs, others, bytes] = <[[u8; 8]; 5]>::try_from(numbers).ok()?.map(u64::from_le_bytes);
        rest.is_empty().then_some(Self { frames, files, dirs, others, bytes })
    }
}

const KIND_MASK: u8 = 0b111;
const HAS_HASH: u8 = 1 << 3;
const SAME_OWNER: u8 = 1 << 4;
const SAME_DEV: u8 = 1 << 5;
const ONE_LINK: u8 = 1 << 6;

/// One entry as it is in a record frame; the name lies in the frame.
#[derive(Clone, Copy, Debug)]
pub struct Record {
    /// For directories, how far below the root.
    pub depth: Option<usize>,
    /// Where the name starts in the payload.
    pub name_start: usize,
    /// The name's length in bytes.
    pub name_len: usize,
    /// What is known of it.
    pub entry: Entry,
}

/// Turns entries into records and back; both ends keep the previous entry, from which differences are made.
#[derive(Debug)]
pub struct Codec {
    previous: Entry,
}

impl Default for Codec {
    fn default() -> Self {
        Self {
            previous: Entry {
                kind: EntryKind::Other,
                size: 0,
                mtime_ns: 0,
                ctime_ns: 0,
                dev: 0,
                ino: 0,
                nlink: 0,
                mode: 0,
                uid: 0,
                gid: 0,
                hash: None,
            },
        }
    }
}

impl Codec {
    /// Appends a record; `depth` for directories only.
    pub fn encode(&mut self, out: &mut Vec<u8>, depth: Option<usize>, name: &[u8], entry: &Entry) {
        let last = &self.previous;
        let same_owner = (entry.mode, entry.uid, entry.gid) == (last.mode, last.uid, last.gid);
        let mut flags = entry.kind.code();
        for (flag, set) in [
            (HAS_HASH, entry.hash.is_some()),
            (SAME_OWNER, same_owner),
            (SAME_DEV, entry.dev == last.dev),
            (ONE_LINK, entry.nlink == 1),
        ] {
            flags |= if set { flag } else { 0 };
        }
        out.push(flags);
        if let Some(depth) = depth {
            put(out, depth as u64);
        }
        put(out, name.len() as u64);
        out.extend_from_slice(name);
        put(out, entry.size);
        put(out, zigzag(entry.mtime_ns.wrapping_sub(last.mtime_ns)));
        put(out, zigzag(entry.ctime_ns.wrapping_sub(entry.mtime_ns)));
        put(out, zigzag(entry.ino.wrapping_sub(last.ino).cast_signed()));
        if flags & SAME_DEV == 0 {
            put(out, entry.dev);
        }
        if flags & ONE_LINK == 0 {
            put(out, entry.nlink);
        }
        if !same_owner {
            put(out, u64::from(entry.mode));
            put(out, u64::from(entry.uid));
            put(out, u64::from(entry.gid));
        }
        if let Some(hash) = &entry.hash {
            out.extend_from_slice(hash.as_bytes());
        }
        self.previous = *entry;
    }

    /// Takes the record at `at`, and moves `at` behind it; `None` when the bytes are not one.
    pub fn decode(&mut self, payload: &[u8], at: &mut usize, algorithm: Algorithm) -> Option<Record> {
        let last = &self.previous;
        let flags = *payload.get(*at)?;
        *at += 1;
        let kind = EntryKind::from_code(flags & KIND_MASK)?;
        let depth = match kind {
            EntryKind::Dir => Some(usize::try_from(take(payload, at)?).ok()?),
            _ => None,
        };
        let name_len = usize::try_from(take(payload, at)?).ok()?;
        let name_start = *at;
        *at = at.checked_add(name_len).filter(|end| *end <= payload.len())?;
        let size = take(payload, at)?;
        let mtime_ns = last.mtime_ns.wrapping_add(unzigzag(take(payload, at)?));
        let ctime_ns = mtime_ns.wrapping_add(unzigzag(take(payload, at)?));
        let ino = last.ino.wrapping_add(unzigzag(take(payload, at)?).cast_unsigned());
        let dev = if flags & SAME_DEV != 0 { last.dev } else { take(payload, at)? };
        let nlink = if flags & ONE_LINK != 0 { 1 } else { take(payload, at)? };
        let (mode, uid, gid) = if flags & SAME_OWNER != 0 {
            (last.mode, last.uid, last.gid)
        } else {
            let mut number = || u32::try_from(take(payload, at)?).ok();
            (number()?, number()?, number()?)
        };
        let hash = if flags & HAS_HASH != 0 {
            let end = at.checked_add(algorithm.digest_len())?;
            let hash = ContentHash::new(payload.get(*at..end)?)?;
            *at = end;
            Some(hash)
        } else {
            None
        };
        let entry = Entry { kind, size, mtime_ns, ctime_ns, dev, ino, nlink, mode, uid, gid, hash };
        self.previous = entry;
        Some(Record { depth, name_start, name_len, entry })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_entry() -> impl Strategy<Value = Entry> {
        let numbers = any::<(u64, i64, i64, u64, u64, u64)>();
        (1u8..=4, numbers, any::<(u32, u32, u32)>(), proptest::option::of(any::<[u8; 32]>())).prop_map(
            |(kind, (size, mtime_ns, ctime_ns, dev, ino, nlink), (mode, uid, gid), hash)| Entry {
                kind: EntryKind::from_code(kind).unwrap(),
                size,
                mtime_ns,
                ctime_ns,
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
        #[test]
        fn records_round_trip(
            entries in proptest::collection::vec((any_entry(), proptest::collection::vec(any::<u8>(), 0..300)), 1..20)
        ) {
            let mut bytes = Vec::new();
            let mut codec = Codec::default();
            for (i, (entry, name)) in entries.iter().enumerate() {
                codec.encode(&mut bytes, (entry.kind == EntryKind::Dir).then_some(i), name, entry);
            }
            let (mut codec, mut at) = (Codec::default(), 0);
            for (entry, name) in &entries {
                let record = codec.decode(&bytes, &mut at, Algorithm::Blake3).unwrap();
                prop_assert_eq!(&record.entry, entry);
                prop_assert_eq!(&bytes[record.name_start..record.name_start + record.name_len], &name[..]);
            }
            prop_assert_eq!(at, bytes.len());
        }

        #[test]
        fn any_bytes_decode_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let (mut codec, mut at) = (Codec::default(), 0);
            while codec.decode(&bytes, &mut at, Algorithm::Sha1).is_some() {}
            Header::decode(&bytes);
            Totals::decode(&bytes);
        }
    }
}
