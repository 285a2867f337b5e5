//! Conversions between wire messages and the model, and batches of bounded size.

use buffa::Message;
use hostler_model::{ByteStr, ChangeOp, ContentHash, Entry, EntryKind, IndexOp, ScanCounters};

use crate::v1;

/// A message from the other side that means nothing.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("the host sent a scan batch with {0}")]
pub struct InvalidMessage(&'static str);

/// What a journal's record holds.
pub fn encode_event(event: &v1::HostEvent) -> Vec<u8> {
    event.encode_to_vec()
}

/// The event in a journal's record; `None` for bytes that are none.
pub fn decode_event(record: &[u8]) -> Option<v1::HostEvent> {
    v1::HostEvent::decode_from_slice(record).ok()
}

impl From<Entry> for v1::Entry {
    fn from(e: Entry) -> Self {
        Self {
            kind: u32::from(e.kind.code()),
            size: e.size,
            mtime_ns: e.mtime_ns,
            ctime_ns: e.ctime_ns,
            dev: e.dev,
            ino: e.ino,
            nlink: e.nlink,
            mode: e.mode,
            uid: e.uid,
            gid: e.gid,
            hash: e.hash.map(|h| h.as_bytes().to_vec()).unwrap_or_default(),
            ..Default::default()
        }
    }
}

impl TryFrom<&v1::Entry> for Entry {
    type Error = InvalidMessage;
    fn try_from(e: &v1::Entry) -> Result<Self, InvalidMessage> {
        let kind = u8::try_from(e.kind).ok().and_then(EntryKind::from_code);
        if e.size > i64::MAX as u64 {
            return Err(InvalidMessage("a size above 2^63"));
        }
        Ok(Self {
            kind: kind.ok_or(InvalidMessage("an unknown kind of entry"))?,
            size: e.size,
            mtime_ns: e.mtime_ns,
            ctime_ns: e.ctime_ns,
            dev: e.dev,
            ino: e.ino,
            nlink: e.nlink,
            mode: e.mode,
            uid: e.uid,
            gid: e.gid,
            hash: match e.hash.len() {
                0 => None,
                _ => Some(ContentHash::new(&e.hash).ok_or(InvalidMessage("a hash longer than 32 bytes"))?),
            },
        })
    }
}

/// Largest number a host may count to: sums of a few of them stay numbers.
const MAX_COUNT: u64 = 1 << 60;

macro_rules! counters {
    ($($field:ident)*) => {
        impl From<ScanCounters> for v1::ScanCounters {
            fn from(c: ScanCounters) -> Self {
                Self { $($field: c.$field,)* ..Default::default() }
            }
        }
        impl From<&v1::ScanCounters> for ScanCounters {
            fn from(c: &v1::ScanCounters) -> Self {
                Self { $($field: c.$field.min(MAX_COUNT),)* ..Default::default() }
            }
        }
    };
}
counters!(files dirs others bytes hashed_files hashed_bytes created modified metadata deleted errors expected_files);

/// Gathers differences and errors into [`v1::ScanBatch`] messages of bounded size.
#[derive(Default)]
pub struct BatchBuilder {
    batch: v1::ScanBatch,
    bytes: usize,
}

/// A batch is sent once it holds about this many bytes; one entry more can add a name and 100 bytes.
pub const BATCH_BYTES: usize = 64 * 1024;

impl BatchBuilder {
    /// The directory itself is new or differs.
    pub fn dir(&mut self, path: &[u8], op: Option<ChangeOp>, entry: &Entry) {
        self.bytes += path.len() + 64;
        self.batch.dirs.push(v1::DirChange {
            path: path.to_vec(),
            dir: Some(v1::Entry::from(*entry)).into(),
            op: op_code(op),
            ..Default::default()
        });
    }

    /// The directory is gone with everything below it.
    pub fn dir_removed(&mut self, path: &[u8]) {
        self.bytes += path.len() + 16;
        self.batch.dirs.push(v1::DirChange {
            path: path.to_vec(),
            removed: true,
            op: op_code(Some(ChangeOp::Deleted)),
            ..Default::default()
        });
    }

    /// An entry that is not a directory; `None` when it is gone.
    pub fn entry(&mut self, dir: &[u8], name: &[u8], op: Option<ChangeOp>, entry: Option<&Entry>) {
        let change = v1::EntryChange {
            name: name.to_vec(),
            op: op_code(op),
            entry: entry.map(|e| v1::Entry::from(*e)).into(),
            ..Default::default()
        };
        self.bytes += name.len() + 96;
        match self.batch.dirs.last_mut().filter(|last| last.path == dir && !last.removed) {
            Some(last) => last.entries.push(change),
            None => {
                self.bytes += dir.len() + 16;
                self.batch.dirs.push(v1::DirChange { path: dir.to_vec(), entries: vec![change], ..Default::default() });
            }
        }
    }

    /// Adds one difference.
    pub fn push(&mut self, op: &IndexOp) {
        match op {
            IndexOp::Dir { path, op, entry } => self.dir(path.as_bytes(), *op, entry),
            IndexOp::DirRemoved { path } => self.dir_removed(path.as_bytes()),
            IndexOp::Entry { dir, name, op, entry } => {
                self.entry(dir.as_bytes(), name.as_bytes(), *op, entry.as_ref());
            }
        }
    }

    /// A name that could not be read.
    pub fn error(&mut self, path: &[u8], operation: &str, message: &str) {
        self.bytes += path.len() + operation.len() + message.len() + 16;
        self.batch.errors.push(v1::ScanError {
            path: path.to_vec(),
            operation: operation.into(),
            message: message.into(),
            ..Default::default()
        });
    }

    /// True when it should be sent.
    pub fn is_full(&self) -> bool {
        self.bytes >= BATCH_BYTES
    }

    /// What was gathered; `None` when there is nothing. The builder starts anew.
    pub fn take(&mut self) -> Option<v1::ScanBatch> {
        (std::mem::take(&mut self.bytes) > 0).then(|| std::mem::take(&mut self.batch))
    }
}

/// Most a batch's paths may come to, with each entry's directory counted.
const MAX_PATH_BYTES: usize = 64 << 20;

/// The differences of a batch in their order. Paths that leave the root, names that are no names and unknown codes are
/// errors: the host may be hostile.
pub fn index_ops(batch: &v1::ScanBatch) -> Result<Vec<IndexOp>, InvalidMessage> {
    let mut ops = Vec::new();
    let mut bytes = 0;
    for dir in &batch.dirs {
        // Each entry gets a copy of its directory's path: a small message could ask for a lot of memory.
        bytes += dir.path.len() * (dir.entries.len() + 1);
        if bytes > MAX_PATH_BYTES {
            return Err(InvalidMessage("more than 64 MiB of paths"));
        }
        if !is_relative(&dir.path) {
            return Err(InvalidMessage("a path that is not inside its root"));
        }
        let path = ByteStr::from(dir.path.as_slice());
        if dir.removed {
            if path.is_empty() {
                return Err(InvalidMessage("the root as removed"));
            }
            ops.push(IndexOp::DirRemoved { path });
            continue;
        }
        if let Some(entry) = dir.dir.as_option() {
            let entry = Entry::try_from(entry)?;
            if entry.kind != EntryKind::Dir {
                return Err(InvalidMessage("a directory that is none"));
            }
            ops.push(IndexOp::Dir { path: path.clone(), op: op_from_code(dir.op)?, entry });
        }
        for change in &dir.entries {
            if !is_name(&change.name) {
                return Err(InvalidMessage("a name that no file can have"));
            }
            let entry = change.entry.as_option().map(Entry::try_from).transpose()?;
            if entry.is_some_and(|e| e.kind == EntryKind::Dir) {
                return Err(InvalidMessage("a directory among the entries"));
            }
            let op = op_from_code(change.op)?;
            if entry.is_none() != (op == Some(ChangeOp::Deleted)) {
                return Err(InvalidMessage("an entry that is both there and gone"));
            }
            ops.push(IndexOp::Entry { dir: path.clone(), name: ByteStr::from(change.name.as_slice()), op, entry });
        }
    }
    Ok(ops)
}

fn op_code(op: Option<ChangeOp>) -> u32 {
    op.map_or(0, |op| u32::from(op.code()))
}

fn op_from_code(code: u32) -> Result<Option<ChangeOp>, InvalidMessage> {
    match code {
        0 => Ok(None),
        _ => u8::try_from(code)
            .ok()
            .and_then(ChangeOp::from_code)
            // Hosts see names come and go; that one moved is found later.
            .filter(|op| *op != ChangeOp::Moved)
            .map(Some)
            .ok_or(InvalidMessage("an unknown change")),
    }
}

fn is_name(name: &[u8]) -> bool {
    !name.is_empty()
        && name.len() <= 255
        && name != b"."
        && name != b".."
        && !name.iter().any(|b| matches!(b, 0 | b'/'))
}

fn is_relative(path: &[u8]) -> bool {
    path.is_empty() || path.split(|b| *b == b'/').all(is_name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(kind: EntryKind) -> Entry {
        Entry {
            kind,
            size: 7,
            mtime_ns: -5,
            ctime_ns: 9,
            dev: 1,
            ino: 2,
            nlink: 1,
            mode: 0o644,
            uid: 0,
            gid: 0,
            hash: (kind == EntryKind::File).then(|| ContentHash::new(&[3; 32]).unwrap()),
        }
    }

    #[test]
    fn a_batch_is_read_back_as_it_was_built() {
        let ops = vec![
            IndexOp::Dir { path: "".into(), op: None, entry: entry(EntryKind::Dir) },
            IndexOp::Entry { dir: "".into(), name: "a".into(), op: None, entry: Some(entry(EntryKind::File)) },
            IndexOp::Entry { dir: "".into(), name: "b".into(), op: Some(ChangeOp::Deleted), entry: None },
            IndexOp::DirRemoved { path: "gone".into() },
            IndexOp::Entry {
                dir: "sub/x".into(),
                name: ByteStr::from(&b"\xff\n"[..]),
                op: Some(ChangeOp::Created),
                entry: Some(entry(EntryKind::Other)),
            },
        ];
        let mut builder = BatchBuilder::default();
        ops.iter().for_each(|op| builder.push(op));
        let batch = builder.take().unwrap();
        assert_eq!(index_ops(&batch).unwrap(), ops);
        assert!(builder.take().is_none());
    }

    #[test]
    fn a_hostile_batch_is_refused() {
        for path in [&b"/etc"[..], b"a/../b", b"..", b"a//b", b"a/", b"a\0b"] {
            let batch = v1::ScanBatch {
                dirs: vec![v1::DirChange { path: path.to_vec(), ..Default::default() }],
                ..Default::default()
            };
            assert!(index_ops(&batch).is_err(), "{path:?}");
        }
        for name in [&b""[..], b".", b"..", b"a/b", &[b'x'; 256]] {
            let change = v1::EntryChange {
                name: name.to_vec(),
                entry: Some(v1::Entry::from(entry(EntryKind::File))).into(),
                ..Default::default()
            };
            let batch = v1::ScanBatch {
                dirs: vec![v1::DirChange { entries: vec![change], ..Default::default() }],
                ..Default::default()
            };
            assert!(index_ops(&batch).is_err(), "{name:?}");
        }
    }
}
