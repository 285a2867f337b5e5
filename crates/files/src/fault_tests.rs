//! What cannot be read: with system calls that fail on purpose, as tests run as root.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use hostler_model::{Algorithm, ChangeOp, Entry, EntryKind, ScanOptions};
use rustix::fs::{CWD, FileType, Mode, mknodat};
use rustix::io::Errno;

use crate::faults::{Call, act, clear, inject};
use crate::manifest::format::Header;
use crate::merge::join;
use crate::stat::entry_at;
use crate::{
    Control, ManifestError, ManifestStore, Progress, ScanFailure, ScanRequest, ScanSink, ScanSummary, SinkClosed, scan,
};

/// Paths of everything held, errors, and deletions.
#[derive(Debug, Default)]
struct Seen {
    held: BTreeMap<String, Entry>,
    errors: Vec<(String, &'static str)>,
    deleted: Vec<String>,
}

fn text(path: &[u8]) -> String {
    String::from_utf8_lossy(path).into_owned()
}

impl ScanSink for Seen {
    fn started(&mut self, _full: bool) -> Result<(), SinkClosed> {
        Ok(())
    }

    fn dir(&mut self, path: &[u8], _op: Option<ChangeOp>, entry: &Entry) -> Result<(), SinkClosed> {
        self.held.insert(text(path), *entry);
        Ok(())
    }

    fn entry(
        &mut self,
        dir: &[u8],
        name: &[u8],
        _op: Option<ChangeOp>,
        entry: Option<&Entry>,
    ) -> Result<(), SinkClosed> {
        let mut path = dir.to_vec();
        join(&mut path, name);
        match entry {
            Some(entry) => {
                self.held.insert(text(&path), *entry);
            }
            None => self.deleted.push(text(&path)),
        }
        Ok(())
    }

    fn dir_removed(&mut self, path: &[u8]) -> Result<(), SinkClosed> {
        self.deleted.push(text(path));
        Ok(())
    }

    fn error(&mut self, path: &[u8], operation: &'static str, message: &str) -> Result<(), SinkClosed> {
        assert!(!message.is_empty());
        self.errors.push((text(path), operation));
        Ok(())
    }
}

struct Tree {
    dir: tempfile::TempDir,
    manifests: ManifestStore,
    committed: u64,
}

impl Tree {
    /// Six files in five directories, scanned and committed.
    fn new() -> Self {
        clear();
        let dir = tempfile::tempdir().unwrap();
        let manifests = ManifestStore::open(dir.path().join("manifests")).unwrap();
        let mut tree = Self { dir, manifests, committed: 0 };
        for path in ["a", "b/c", "b/d/e", "b/d/f/g", "z", "zz/y"] {
            let path = tree.root().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "content").unwrap();
        }
        let (summary, _) = tree.scan(0);
        tree.committed = summary.generation;
        tree
    }

    fn root(&self) -> PathBuf {
        self.dir.path().join("tree")
    }

    fn try_scan(&self, base_generation: u64) -> Result<(ScanSummary, Seen), ScanFailure> {
        let mut seen = Seen::default();
        let root = self.root();
        let request = ScanRequest {
            root: root.as_os_str().as_bytes(),
            options: &ScanOptions::default(),
            base_generation,
            manifests: &self.manifests,
            control: &Control::default(),
            progress: &Progress::default(),
        };
        let summary = scan(request, &mut seen)?;
        self.manifests.promote(request.root, summary.generation).unwrap();
        Ok((summary, seen))
    }

    fn scan(&self, base_generation: u64) -> (ScanSummary, Seen) {
        self.try_scan(base_generation).unwrap()
    }

    /// After the fault is over: nothing was lost from the manifest, so a scan tells nothing.
    fn nothing_was_lost(&self, generation: u64) {
        clear();
        let (summary, seen) = self.scan(generation);
        assert!(seen.held.is_empty() && seen.deleted.is_empty(), "{:?} {:?}", seen.held, seen.deleted);
        assert_eq!((summary.counters.files, summary.counters.hashed_files), (6, 0));
    }
}

#[test]
fn what_cannot_be_entered_listed_or_examined_is_kept() {
    for (call, path, operation) in [
        (Call::Enter, "b", "enter"),
        (Call::Enter, "b/d", "enter"),
        (Call::List, "b", "list"),
        (Call::List, "b/d/f", "list"),
        (Call::Stat, "a", "stat"),
        (Call::Stat, "b/d/e", "stat"),
    ] {
        let tree = Tree::new();
        inject(call, path.as_bytes(), Errno::ACCESS);
        let (summary, seen) = tree.scan(tree.committed);
        assert_eq!(seen.errors, [(path.to_owned(), operation)]);
        assert!(seen.held.is_empty() && seen.deleted.is_empty(), "{path}");
        assert_eq!((summary.counters.errors, summary.counters.deleted), (1, 0));

        // A full scan sends what it keeps: the receiver has dropped it.
        let (full, seen) = tree.scan(0);
        assert_eq!(seen.errors.len(), 1);
        let all = ["", "a", "b", "b/c", "b/d", "b/d/e", "b/d/f", "b/d/f/g", "z", "zz", "zz/y"];
        assert!(seen.held.keys().eq(all), "{path}: {:?}", seen.held.keys());
        assert!(seen.held["b/d/f/g"].hash.is_some());
        tree.nothing_was_lost(full.generation);
    }
}

#[test]
fn what_cannot_be_read_is_recorded_and_keeps_a_hash_that_still_holds() {
    for (call, operation) in [(Call::Open, "open"), (Call::Read, "read")] {
        let tree = Tree::new();
        inject(call, b"z", Errno::IO);
        // Unchanged: not opened, so not even an error.
        let (summary, seen) = tree.scan(tree.committed);
        assert!(seen.errors.is_empty());
        fs::write(tree.root().join("z"), "other content").unwrap();
        let (summary, seen) = tree.scan(summary.generation);
        assert_eq!(seen.errors, [("z".to_owned(), operation)]);
        assert_eq!((seen.held["z"].hash, seen.held["z"].size), (None, 13));
        clear();
        let (_, seen) = tree.scan(summary.generation);
        assert!(seen.held["z"].hash.is_some());
    }
}

#[test]
fn a_subtree_that_is_new_and_unreadable_is_recorded_without_content() {
    let tree = Tree::new();
    fs::create_dir(tree.root().join("n")).unwrap();
    fs::write(tree.root().join("n/x"), "1").unwrap();
    inject(Call::Enter, b"n", Errno::ACCESS);
    let (_, seen) = tree.scan(tree.committed);
    assert!(seen.held.contains_key("n") && !seen.held.contains_key("n/x"));
    assert_eq!(seen.errors, [("n".to_owned(), "enter")]);
}

#[test]
fn what_vanishes_after_the_listing_is_gone_and_no_error() {
    for (call, path) in [(Call::Stat, "a"), (Call::Enter, "b")] {
        let tree = Tree::new();
        inject(call, path.as_bytes(), Errno::NOENT);
        let (_, seen) = tree.scan(tree.committed);
        assert_eq!((seen.errors, seen.deleted), (vec![], vec![path.to_owned()]));
    }
    let tree = Tree::new();
    fs::write(tree.root().join("z"), "other content").unwrap();
    inject(Call::Open, b"z", Errno::NOENT);
    let (_, seen) = tree.scan(tree.committed);
    assert_eq!((seen.errors, seen.deleted), (vec![], vec!["z".to_owned()]));
}

#[test]
fn the_root_must_be_readable() {
    let tree = Tree::new();
    inject(Call::List, b"", Errno::IO);
    let failure = tree.try_scan(tree.committed).unwrap_err();
    assert!(matches!(failure, ScanFailure::RootUnreadable { .. }), "{failure}");
    tree.nothing_was_lost(tree.committed);
}

#[test]
fn a_manifest_that_is_wrong_behind_right_checksums_fails_one_scan_only() {
    let tree = Tree::new();
    let root = tree.root();
    let root = root.as_os_str().as_bytes();
    let header = Header { root: root.to_vec(), generation: 7, algorithm: Algorithm::Blake3 };
    let mut writer = tree.manifests.create(&header).unwrap();
    let entry = entry_at(CWD, root).unwrap();
    writer.push(Some(0), b"", &entry).unwrap();
    // Its parent is missing.
    writer.push(Some(2), b"x", &entry).unwrap();
    tree.manifests.keep_pending(root, writer).unwrap();
    let failure = tree.try_scan(7).unwrap_err();
    assert!(matches!(failure, ScanFailure::Manifest(ManifestError::Damaged { .. })), "{failure}");
    let (summary, _) = tree.scan(7);
    tree.nothing_was_lost(summary.generation);
}

#[test]
fn a_parent_that_cannot_be_reopened_keeps_its_rest() {
    let mut tree = Tree::new();
    // Deeper than handles stay open, with something to visit on the way back up.
    let mut path = tree.root().join("b");
    for level in 0..100 {
        path.push("m");
        fs::create_dir(&path).unwrap();
        if level == 9 {
            fs::create_dir(path.join("rest")).unwrap();
            fs::write(path.join("rest/file"), "1").unwrap();
        }
    }
    tree.committed = tree.scan(tree.committed).0.generation;
    let lost = ["b"; 1].into_iter().chain(["m"; 10]).collect::<Vec<_>>().join("/");
    inject(Call::Return, lost.as_bytes(), Errno::STALE);
    let (summary, seen) = tree.scan(tree.committed);
    assert_eq!(seen.errors, [(lost, "enter")]);
    assert!(seen.held.is_empty() && seen.deleted.is_empty(), "{:?} {:?}", seen.held, seen.deleted);
    clear();
    let (_, seen) = tree.scan(summary.generation);
    assert!(seen.held.is_empty() && seen.deleted.is_empty());
}

/// What happens to a file between two looks at it, and what is then told of it: its kind and whether it has a hash.
type Accident = (&'static str, fn(&Path), Option<(EntryKind, bool)>);

#[test]
fn files_that_change_vanish_or_are_replaced_while_they_are_read() {
    let accidents: [Accident; 6] = [
        ("shrinks", |path| fs::write(path, "1").unwrap(), Some((EntryKind::File, true))),
        ("grows", |path| fs::write(path, "1".repeat(100)).unwrap(), Some((EntryKind::File, true))),
        ("vanishes", |path| fs::remove_file(path).unwrap(), None),
        (
            "becomes a FIFO",
            |path| {
                fs::remove_file(path).unwrap();
                mknodat(CWD, path, FileType::Fifo, Mode::RUSR, 0).unwrap();
            },
            Some((EntryKind::Other, false)),
        ),
        (
            "becomes a link",
            |path| {
                fs::remove_file(path).unwrap();
                std::os::unix::fs::symlink("/dev/zero", path).unwrap();
            },
            Some((EntryKind::Symlink, false)),
        ),
        (
            "becomes another file",
            |path| {
                fs::write(path.with_extension("new"), "different").unwrap();
                fs::rename(path.with_extension("new"), path).unwrap();
            },
            Some((EntryKind::File, false)),
        ),
    ];
    for (what, accident, told) in accidents {
        for call in [Call::Open, Call::Read] {
            // Without a manifest a file is opened unseen, with one it is looked at before.
            for known in [false, true] {
                let tree = Tree::new();
                std::thread::sleep(std::time::Duration::from_millis(15));
                let path = tree.root().join("b/d/e");
                fs::write(&path, "new content").unwrap();
                if !known {
                    tree.manifests.forget(tree.root().as_os_str().as_bytes()).unwrap();
                }
                act(call, b"b/d/e", move || accident(&path));
                let (summary, seen) = tree.scan(if known { tree.committed } else { 0 });
                let found = seen.held.get("b/d/e").map(|entry| (entry.kind, entry.hash.is_some()));
                // A file that was replaced before it was opened is simply the new one.
                let told = match (what, call) {
                    ("becomes another file", Call::Open) => Some((EntryKind::File, true)),
                    _ => told,
                };
                assert_eq!(found, told, "{what} at {call:?}, known: {known}");
                clear();
                let (_, seen) = tree.scan(summary.generation);
                let is_file = told.is_some_and(|(kind, _)| kind == EntryKind::File);
                let content = is_file.then(|| fs::read(tree.root().join("b/d/e")).unwrap());
                if let (Some(content), Some(entry)) = (content, seen.held.get("b/d/e")) {
                    assert_eq!(entry.hash.unwrap().as_bytes(), blake3::hash(&content).as_bytes());
                }
                let (_, seen) = tree.scan(0);
                assert_eq!(seen.held.contains_key("b/d/e"), told.is_some(), "{what}");
                assert!(seen.held.values().all(|e| e.kind != EntryKind::File || e.hash.is_some()), "{what}");
            }
        }
    }
}
