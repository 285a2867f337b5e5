//! What happened to an entry between two scans.

use hostler_model::{ChangeOp, Entry};

/// The change of something that is not a directory; `None` when nothing differs.
///
/// Hashes count only when both are there and `hashes_comparable`, that is, one algorithm made them.
pub fn entry_change(old: &Entry, new: &Entry, hashes_comparable: bool) -> Option<ChangeOp> {
    let content_differs = match (&old.hash, &new.hash) {
        (Some(a), Some(b)) if hashes_comparable => a != b,
        _ => false,
    };
    if content_differs || (old.kind, old.size, old.mtime_ns) != (new.kind, new.size, new.mtime_ns) {
        return Some(ChangeOp::Modified);
    }
    (Entry { hash: None, ..*old } != Entry { hash: None, ..*new }).then_some(ChangeOp::Metadata)
}

/// The change of a directory itself. Its size, links and times follow from its entries, whose changes are told anyway.
pub fn dir_change(old: &Entry, new: &Entry) -> Option<ChangeOp> {
    ((old.mode, old.uid, old.gid) != (new.mode, new.uid, new.gid)).then_some(ChangeOp::Metadata)
}

#[cfg(test)]
mod tests {
    use hostler_model::{ContentHash, EntryKind};

    use super::*;

    const FILE: Entry = Entry {
        kind: EntryKind::File,
        size: 1,
        mtime_ns: 2,
        ctime_ns: 3,
        dev: 4,
        ino: 5,
        nlink: 1,
        mode: 0o644,
        uid: 0,
        gid: 0,
        hash: None,
    };

    #[test]
    fn ops_of_entries() {
        let hash = |byte| ContentHash::new(&[byte; 8]);
        let hashed = Entry { hash: hash(1), ..FILE };
        for (new, comparable, op) in [
            (hashed, true, None),
            (Entry { size: 9, ..hashed }, true, Some(ChangeOp::Modified)),
            (Entry { mtime_ns: 9, ..hashed }, true, Some(ChangeOp::Modified)),
            (Entry { kind: EntryKind::Symlink, ..hashed }, true, Some(ChangeOp::Modified)),
            (Entry { hash: hash(2), ..FILE }, true, Some(ChangeOp::Modified)),
            (Entry { hash: hash(2), ..FILE }, false, None),
            (FILE, true, None),
            (Entry { mode: 0o600, ..hashed }, true, Some(ChangeOp::Metadata)),
            (Entry { uid: 9, ..hashed }, true, Some(ChangeOp::Metadata)),
            (Entry { nlink: 2, ..hashed }, true, Some(ChangeOp::Metadata)),
            (Entry { ctime_ns: 9, ..hashed }, true, Some(ChangeOp::Metadata)),
            (Entry { ino: 9, dev: 9, ..hashed }, true, Some(ChangeOp::Metadata)),
        ] {
            assert_eq!(entry_change(&hashed, &new, comparable), op, "{new:?}");
        }
    }

    #[test]
    fn ops_of_directories() {
        let dir = Entry { kind: EntryKind::Dir, ..FILE };
        assert_eq!(dir_change(&dir, &Entry { mtime_ns: 9, ctime_ns: 9, nlink: 9, size: 9, ..dir }), None);
        assert_eq!(dir_change(&dir, &Entry { mode: 0o700, ..dir }), Some(ChangeOp::Metadata));
        assert_eq!(dir_change(&dir, &Entry { gid: 1, ..dir }), Some(ChangeOp::Metadata));
    }
}
