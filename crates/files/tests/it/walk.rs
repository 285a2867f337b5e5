//! A walk without a manifest, and hashing what it lists.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, symlink};
use std::sync::Arc;

use hostler_files::{
    Control, FileContent, FileHasher, Found, Progress, ScanFailure, SinkClosed, WalkProblem, WalkRequest, WalkSink,
    walk,
};
use hostler_model::{Algorithm, EntryKind, ScanOptions};
use rustix::fs::{CWD, Mode, OFlags, mkdirat, openat};

use crate::support::{self, Fixture};

/// A directory, a name in it, and what it is.
type Told = ((Vec<u8>, Vec<u8>), Found);

#[derive(Default)]
struct Seen {
    entries: Vec<Told>,
    problems: Vec<String>,
    /// Closes, or cancels, after so many entries.
    close_after: Option<usize>,
    cancel_after: Option<(usize, Control)>,
}

impl WalkSink for Seen {
    fn entry(&mut self, dir: &[u8], name: &[u8], found: &Found) -> Result<(), SinkClosed> {
        self.entries.push(((dir.to_vec(), name.to_vec()), *found));
        if let Some((at, control)) = &self.cancel_after
            && self.entries.len() == *at
        {
            control.cancel();
        }
        if self.close_after == Some(self.entries.len()) { Err(SinkClosed) } else { Ok(()) }
    }

    fn problem(&mut self, problem: WalkProblem<'_>) -> Result<(), SinkClosed> {
        self.problems.push(format!("{} {}", problem.operation, String::from_utf8_lossy(problem.path)));
        Ok(())
    }
}

fn walk_into(f: &Fixture, seen: &mut Seen, control: &Control) -> Result<(), ScanFailure> {
    let root = f.root();
    let request = WalkRequest {
        root: root.as_os_str().as_bytes(),
        options: &f.options,
        skipped_dirs: &[b".snapshot"],
        control,
        progress: &Progress::default(),
    };
    walk(request, seen)
}

fn walked(f: &Fixture) -> Seen {
    let mut seen = Seen::default();
    walk_into(f, &mut seen, &Control::default()).unwrap();
    assert_eq!(seen.problems, Vec::<String>::new());
    seen
}

fn hasher(f: &Fixture, control: &Control) -> FileHasher {
    let root = f.root();
    FileHasher::new(root.as_os_str().as_bytes(), Algorithm::Blake3, control.clone(), Arc::default()).unwrap()
}

#[test]
fn walk_and_hashes_make_the_same_state_as_a_scan() {
    let f = Fixture::new();
    for (path, content) in [("a", "1"), ("b/c", "2"), ("b/d/e", "3"), ("b/.hidden", "4"), ("empty", ""), ("z/big", "")]
    {
        f.write(path, content);
    }
    f.write("z/big", vec![7; 300_000]);
    symlink("a", f.path("link")).unwrap();
    fs::write(f.root().join(std::ffi::OsStr::from_bytes(b"b/bad\xff")), "5").unwrap();
    let there = support::walk(&f.root());
    let mut hasher = hasher(&f, &Control::default());
    let mut state = BTreeMap::new();
    for ((dir, name), found) in walked(&f).entries {
        let mut entry = found.entry;
        if entry.kind == EntryKind::File {
            match hasher.hash(&dir, &name, &entry).unwrap() {
                FileContent::Hashed(hashed) => entry = hashed,
                other => panic!("{other:?}"),
            }
        }
        state.insert((dir, name), entry);
    }
    assert_eq!(state, there.entries);
}

#[test]
fn times_are_exact_milliseconds_also_before_1970() {
    let f = Fixture::new();
    f.write("old", "1");
    let spec = |tv_sec, tv_nsec| rustix::fs::Timespec { tv_sec, tv_nsec };
    let times = rustix::fs::Timestamps { last_access: spec(-1, 999_999_999), last_modification: spec(-2, 1) };
    rustix::fs::utimensat(CWD, f.path("old"), &times, rustix::fs::AtFlags::empty()).unwrap();
    let (_, found) = walked(&f).entries[0];
    assert_eq!((found.times.accessed, found.times.modified), (-1, -2000));
    let data = fs::metadata(f.path("old")).unwrap();
    assert_eq!(found.times.changed, data.ctime() * 1000 + data.ctime_nsec() / 1_000_000);
}

#[test]
fn what_is_left_out_is_neither_told_nor_entered() {
    let mut f = Fixture::new();
    for path in ["keep", "x.tmp", "cache/in", ".zfs/in", ".snapshots/in", ".snapshot/in", "sub/.snapshot/in", "sub/ok"]
    {
        f.write(path, "1");
    }
    f.write("sub/file/.snapshot", "a file of that name is one");
    f.options = ScanOptions { excludes: vec!["*.tmp".into(), "cache/".into()], ..ScanOptions::default() };
    let names: Vec<_> = walked(&f).entries.into_iter().map(|((dir, name), _)| [dir, name].join(&b'/')).collect();
    assert_eq!(names, [&b"/keep"[..], b"sub/ok", b"sub/file/.snapshot"]);
}

#[test]
fn a_walk_stops_when_it_is_cancelled_or_nobody_listens() {
    let f = Fixture::new();
    for at in 0..100 {
        f.write(&format!("d{}/{at}", at % 7), "1");
    }
    let control = Control::default();
    let mut seen = Seen { cancel_after: Some((10, control.clone())), ..Seen::default() };
    assert!(matches!(walk_into(&f, &mut seen, &control), Err(ScanFailure::Cancelled)));
    assert_eq!(seen.entries.len(), 10);
    let mut seen = Seen { close_after: Some(10), ..Seen::default() };
    assert!(matches!(walk_into(&f, &mut seen, &Control::default()), Err(ScanFailure::Cancelled)));
    assert_eq!(seen.entries.len(), 10);
}

#[test]
fn files_at_paths_that_are_too_long_for_one_call_are_hashed() {
    let f = Fixture::new();
    let flags = OFlags::DIRECTORY | OFlags::CLOEXEC;
    let mut dir = openat(CWD, f.root(), flags, Mode::empty()).unwrap();
    for _ in 0..60 {
        let name = "d".repeat(100);
        mkdirat(&dir, &name, Mode::RWXU).unwrap();
        dir = openat(&dir, &name, flags, Mode::empty()).unwrap();
    }
    let file = openat(&dir, "deep", OFlags::CREATE | OFlags::WRONLY, Mode::RUSR).unwrap();
    rustix::io::write(&file, b"abc").unwrap();
    let seen = walked(&f);
    let ((dir, name), found) = &seen.entries[0];
    assert!(dir.len() > 4096);
    let content = hasher(&f, &Control::default()).hash(dir, name, &found.entry).unwrap();
    assert!(matches!(content, FileContent::Hashed(entry) if entry.hash.is_some()), "{content:?}");
}

#[test]
fn nothing_is_read_through_a_link_that_took_a_directorys_place() {
    let f = Fixture::new();
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("secret"), "abc").unwrap();
    f.write("d/secret", "xyz");
    let seen = walked(&f);
    let ((dir, name), found) = &seen.entries[0];
    fs::remove_dir_all(f.path("d")).unwrap();
    symlink(outside.path(), f.path("d")).unwrap();
    let content = hasher(&f, &Control::default()).hash(dir, name, &found.entry).unwrap();
    assert!(matches!(content, FileContent::Vanished), "{content:?}");
}

#[test]
fn what_takes_a_files_place_is_told_and_not_read() {
    let f = Fixture::new();
    f.write("a", "abc");
    let found = walked(&f).entries[0].1;
    let control = Control::default();
    let mut hasher = hasher(&f, &control);

    fs::remove_file(f.path("a")).unwrap();
    assert!(matches!(hasher.hash(b"", b"a", &found.entry).unwrap(), FileContent::Vanished));
    rustix::fs::mknodat(CWD, f.path("a"), rustix::fs::FileType::Fifo, Mode::RUSR, 0).unwrap();
    let content = hasher.hash(b"", b"a", &found.entry).unwrap();
    assert!(matches!(content, FileContent::Replaced(entry) if entry.kind == EntryKind::Other), "{content:?}");
    fs::remove_file(f.path("a")).unwrap();
    symlink("/etc/passwd", f.path("a")).unwrap();
    let content = hasher.hash(b"", b"a", &found.entry).unwrap();
    assert!(matches!(content, FileContent::Replaced(entry) if entry.kind == EntryKind::Symlink), "{content:?}");

    control.cancel();
    assert!(matches!(hasher.hash(b"", b"a", &found.entry), Err(ScanFailure::Cancelled)));
}

#[test]
fn a_root_that_is_none_is_named() {
    let f = Fixture::new();
    f.write("file", "1");
    for (path, missing) in [("none", true), ("file", false)] {
        let root = f.path(path);
        let made =
            FileHasher::new(root.as_os_str().as_bytes(), Algorithm::Sha1, Control::default(), Arc::default()).map(drop);
        let failure = made.unwrap_err();
        assert!(failure.to_string().contains(root.to_str().unwrap()), "{failure}");
        assert_eq!(matches!(failure, ScanFailure::RootMissing { .. }), missing);
    }
}
