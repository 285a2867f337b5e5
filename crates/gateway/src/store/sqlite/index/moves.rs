//! What moved: entries that came and entries that went in one scan, found to be the same.
//!
//! The same device and inode is the same thing when its size and time are the same too, as inodes are used again. A regular
//! file with content of which one copy went and one came has moved as well, across filesystems. A directory has moved when
//! its inode came back and its time is the same, or something in it moved along.

use std::collections::{HashMap, HashSet};

use hostler_model::{ByteStr, ChangeOp, EntryKind};

/// A difference that is going to be listed.
pub struct Tracked {
    pub op: ChangeOp,
    pub kind: EntryKind,
    /// Relative to the root.
    pub path: ByteStr,
    pub from: Option<ByteStr>,
    pub before: Option<u64>,
    pub after: Option<u64>,
    pub dev: u64,
    pub ino: u64,
    pub mtime_ns: i64,
    /// First bytes of its content's hash.
    pub hash: Option<i64>,
    /// The directory whose churn it counts for.
    pub dir: i64,
    /// Said by another line: one half of a move, or moved along with its directory.
    pub implied: bool,
}

impl Tracked {
    fn parent(&self) -> &[u8] {
        let path = self.path.as_bytes();
        &path[..path.iter().rposition(|b| *b == b'/').unwrap_or(0)]
    }

    fn size(&self) -> u64 {
        self.before.or(self.after).unwrap_or(0)
    }
}

/// Turns what went and came into what moved; gives pairs of positions, the one that went first.
pub fn find(changes: &mut [Tracked]) -> Vec<(usize, usize)> {
    let of = |op: ChangeOp, changes: &[Tracked]| -> Vec<usize> {
        (0..changes.len()).filter(|i| changes[*i].op == op).collect()
    };
    let (went, came) = (of(ChangeOp::Deleted, changes), of(ChangeOp::Created, changes));
    if went.is_empty() || came.is_empty() {
        return Vec::new();
    }
    let mut pairs = Vec::new();
    let mut taken = HashSet::new();
    // Inode 0 is one that was not told.
    let by_inode: HashMap<(u64, u64, EntryKind), usize> = went
        .iter()
        .filter(|i| changes[**i].ino != 0)
        .map(|i| ((changes[*i].dev, changes[*i].ino, changes[*i].kind), *i))
        .collect();
    let same_inode = |new: &Tracked| by_inode.get(&(new.dev, new.ino, new.kind)).copied();
    for &new in came.iter().filter(|i| changes[**i].kind != EntryKind::Dir) {
        if let Some(old) = same_inode(&changes[new])
            && same_thing(&changes[old], &changes[new])
            && taken.insert(old)
        {
            taken.insert(new);
            pairs.push((old, new));
        }
    }
    by_content(changes, &went, &came, &mut taken, &mut pairs);
    let mut along: HashSet<(Vec<u8>, Vec<u8>)> =
        pairs.iter().map(|(old, new)| (changes[*old].parent().to_vec(), changes[*new].parent().to_vec())).collect();
    // The deepest first: a directory that moved speaks for the one above it.
    for &new in came.iter().rev().filter(|i| changes[**i].kind == EntryKind::Dir) {
        if let Some(old) = same_inode(&changes[new])
            && (changes[old].mtime_ns == changes[new].mtime_ns
                || along.contains(&(changes[old].path.as_bytes().to_vec(), changes[new].path.as_bytes().to_vec())))
            && taken.insert(old)
        {
            taken.insert(new);
            along.insert((changes[old].parent().to_vec(), changes[new].parent().to_vec()));
            pairs.push((old, new));
        }
    }
    tell(changes, &pairs);
    pairs
}

fn same_thing(old: &Tracked, new: &Tracked) -> bool {
    old.size() == new.size() && (old.mtime_ns == new.mtime_ns || (old.hash.is_some() && old.hash == new.hash))
}

/// Regular files whose content went from one place and came to another; one of the same name is preferred.
fn by_content(
    changes: &[Tracked],
    went: &[usize],
    came: &[usize],
    taken: &mut HashSet<usize>,
    pairs: &mut Vec<(usize, usize)>,
) {
    let key = |i: usize| changes[i].hash.filter(|_| changes[i].size() > 0).map(|hash| (hash, changes[i].size()));
    type Content = (i64, u64);
    let mut by_name: HashMap<(Content, &[u8]), Vec<usize>> = HashMap::new();
    let mut by_content: HashMap<Content, Vec<usize>> = HashMap::new();
    // Taken from the end: the first in walk order goes first.
    for &old in went.iter().rev().filter(|i| !taken.contains(*i)) {
        if let Some(key) = key(old) {
            by_name.entry((key, changes[old].path.file_name())).or_default().push(old);
            by_content.entry(key).or_default().push(old);
        }
    }
    for same_name in [true, false] {
        for &new in came {
            let Some(key) = key(new).filter(|_| !taken.contains(&new)) else { continue };
            let candidates = match same_name {
                true => by_name.get_mut(&(key, changes[new].path.file_name())),
                false => by_content.get_mut(&key),
            };
            let Some(candidates) = candidates else { continue };
            while let Some(old) = candidates.pop() {
                if taken.insert(old) {
                    taken.insert(new);
                    pairs.push((old, new));
                    break;
                }
            }
        }
    }
}

/// Makes one line of each pair, and none of those that moved along with their directory.
fn tell(changes: &mut [Tracked], pairs: &[(usize, usize)]) {
    let dirs: HashMap<Vec<u8>, Vec<u8>> = pairs
        .iter()
        .filter(|(_, new)| changes[*new].kind == EntryKind::Dir)
        .map(|(old, new)| (changes[*new].path.as_bytes().to_vec(), changes[*old].path.as_bytes().to_vec()))
        .collect();
    for &(old, new) in pairs {
        let along = dirs.get(changes[new].parent()).is_some_and(|was| was == changes[old].parent())
            && changes[old].path.file_name() == changes[new].path.file_name();
        let (from, before) = (changes[old].path.clone(), changes[old].before);
        changes[old].implied = true;
        let line = &mut changes[new];
        line.op = ChangeOp::Moved;
        line.from = Some(from);
        line.before = before;
        line.implied = along;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(op: ChangeOp, kind: EntryKind, path: &str, ino: u64, size: u64, mtime_ns: i64, hash: i64) -> Tracked {
        let size = Some(size);
        let (before, after) = if op == ChangeOp::Deleted { (size, None) } else { (None, size) };
        let hash = (kind == EntryKind::File).then_some(hash);
        Tracked {
            op,
            kind,
            path: path.into(),
            from: None,
            before,
            after,
            dev: 1,
            ino,
            mtime_ns,
            hash,
            dir: 0,
            implied: false,
        }
    }

    fn lines(mut changes: Vec<Tracked>) -> Vec<String> {
        find(&mut changes);
        let shown = |path: &ByteStr| path.display().into_owned();
        changes
            .iter()
            .filter(|c| !c.implied)
            .map(|c| match &c.from {
                Some(from) => format!("{} {} from {}", c.op.word(), shown(&c.path), shown(from)),
                None => format!("{} {}", c.op.word(), shown(&c.path)),
            })
            .collect()
    }

    use ChangeOp::{Created, Deleted};
    use EntryKind::{Dir, File};

    #[test]
    fn a_renamed_file_has_moved_and_a_reused_inode_has_not() {
        let renamed = vec![change(Deleted, File, "a", 7, 10, 5, 1), change(Created, File, "b", 7, 10, 5, 1)];
        assert_eq!(lines(renamed), ["moved b from a"]);
        let reused = vec![change(Deleted, File, "a", 7, 10, 5, 1), change(Created, File, "b", 7, 10, 6, 2)];
        assert_eq!(lines(reused), ["deleted a", "created b"]);
    }

    #[test]
    fn content_that_went_and_came_has_moved_once() {
        let copied = vec![
            change(Deleted, File, "x/one", 1, 9, 1, 3),
            change(Created, File, "y/other", 11, 9, 2, 3),
            change(Created, File, "y/one", 12, 9, 3, 3),
        ];
        assert_eq!(lines(copied), ["created y/other", "moved y/one from x/one"]);
        let empty = vec![change(Deleted, File, "a", 1, 0, 1, 3), change(Created, File, "b", 2, 0, 2, 3)];
        assert_eq!(lines(empty), ["deleted a", "created b"], "empty files are all alike");
    }

    #[test]
    fn many_files_with_one_content_are_paired_quickly() {
        let all = 100_000;
        let old = (0..all).map(|n| change(Deleted, File, &format!("a/{n}"), n, 4, 1, 3));
        let new = (0..all).map(|n| change(Created, File, &format!("b/x{n}"), all + n, 4, 2, 3));
        let mut changes: Vec<Tracked> = old.chain(new).collect();
        assert_eq!(find(&mut changes).len() as u64, all);
    }

    #[test]
    fn a_moved_directory_is_one_line() {
        let moved = vec![
            change(Deleted, Dir, "old", 2, 0, 1, 0),
            change(Deleted, File, "old/f", 3, 5, 1, 1),
            change(Deleted, Dir, "old/sub", 4, 0, 1, 0),
            change(Deleted, File, "old/sub/g", 5, 5, 1, 2),
            change(Created, Dir, "new", 2, 0, 9, 0),
            change(Created, File, "new/f", 3, 5, 1, 1),
            change(Created, File, "new/renamed", 6, 5, 1, 9),
            change(Created, Dir, "new/sub", 4, 0, 1, 0),
            change(Created, File, "new/sub/g", 5, 5, 1, 2),
        ];
        assert_eq!(lines(moved), ["moved new from old", "created new/renamed"]);
    }

    #[test]
    fn a_directory_with_a_reused_inode_has_not_moved() {
        let other = vec![change(Deleted, Dir, "old", 2, 0, 1, 0), change(Created, Dir, "new", 2, 0, 9, 0)];
        assert_eq!(lines(other), ["deleted old", "created new"]);
    }
}
