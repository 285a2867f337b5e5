//! Differences between two scans, exactly.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::time::{Duration, SystemTime};

use hostler_model::{Algorithm, EntryKind};

use crate::support::{Fixture, tick};

fn fixture() -> Fixture {
    let f = Fixture::new();
    f.write("a.txt", "alpha");
    f.write("dir/b.txt", "beta");
    f.write("dir/deep/c.txt", "gamma");
    f.write("z/d.txt", "delta");
    f
}

#[test]
fn a_first_scan_tells_everything_in_walk_order() {
    let mut f = fixture();
    let first = f.scan();
    assert!(first.full);
    assert_eq!(
        first.log,
        [
            "created dir ",
            "created a.txt",
            "created dir dir",
            "created dir/b.txt",
            "created dir dir/deep",
            "created dir/deep/c.txt",
            "created dir z",
            "created z/d.txt",
        ]
    );
    let counters = first.summary.counters;
    assert_eq!((counters.files, counters.dirs, counters.others, counters.bytes), (4, 4, 0, 19));
    assert_eq!((counters.hashed_files, counters.hashed_bytes, counters.created), (4, 19, 8));
    assert_eq!((counters.deleted, counters.errors), (0, 0));
    let entry = f.state.entry("", "a.txt");
    assert_eq!(entry.kind, EntryKind::File);
    assert_eq!(entry.hash.unwrap().as_bytes(), blake3::hash(b"alpha").as_bytes());
}

#[test]
fn a_rescan_of_the_same_tree_tells_nothing_and_reads_nothing() {
    let mut f = fixture();
    f.scan();
    let again = f.scan();
    assert!(!again.full);
    assert_eq!(again.log, Vec::<String>::new());
    assert_eq!((again.summary.counters.hashed_files, again.summary.counters.expected_files), (0, 4));
}

#[test]
fn each_kind_of_change_is_called_what_it_is() {
    let mut f = fixture();
    f.write("links/one", "shared");
    f.write("same-size", "12345");
    f.scan();
    tick();
    f.write("new.txt", "new");
    f.write("a.txt", "alpha, longer");
    f.write("same-size", "54321");
    fs::remove_file(f.path("dir/b.txt")).unwrap();
    fs::rename(f.path("dir/deep/c.txt"), f.path("dir/deep/renamed.txt")).unwrap();
    fs::set_permissions(f.path("z/d.txt"), fs::Permissions::from_mode(0o600)).unwrap();
    fs::set_permissions(f.path("z"), fs::Permissions::from_mode(0o700)).unwrap();
    fs::hard_link(f.path("links/one"), f.path("links/two")).unwrap();
    let second = f.scan();
    assert_eq!(
        second.changes(),
        [
            "modified a.txt",
            "created new.txt",
            "modified same-size",
            "deleted dir/b.txt",
            "deleted dir/deep/c.txt",
            "created dir/deep/renamed.txt",
            "metadata links/one",
            "created links/two",
            "metadata dir z",
            "metadata z/d.txt",
        ]
    );
    let counters = second.summary.counters;
    assert_eq!((counters.created, counters.modified, counters.metadata, counters.deleted), (3, 2, 3, 2));
    assert_eq!(f.state.entry("links", "one").hash, f.state.entry("links", "two").hash);
    assert_eq!(f.state.entry("links", "one").nlink, 2);
    assert_eq!(f.state, f.fresh());
}

#[test]
fn a_touched_file_is_modified_and_read_again() {
    let mut f = fixture();
    f.scan();
    let file = fs::File::options().write(true).open(f.path("a.txt")).unwrap();
    file.set_modified(SystemTime::UNIX_EPOCH - Duration::from_nanos(1)).unwrap();
    let second = f.scan();
    assert_eq!(second.log, ["modified a.txt"]);
    assert_eq!(second.summary.counters.hashed_files, 1);
    assert_eq!(f.state.entry("", "a.txt").mtime_ns, -1);
}

#[test]
fn content_changed_behind_the_same_size_and_mtime_is_found_by_the_change_time() {
    let mut f = fixture();
    f.scan();
    tick();
    let mtime = fs::metadata(f.path("a.txt")).unwrap().modified().unwrap();
    f.write("a.txt", "ALPHA");
    fs::File::options().write(true).open(f.path("a.txt")).unwrap().set_modified(mtime).unwrap();
    assert_eq!(f.scan().log, ["modified a.txt"]);
}

#[test]
fn a_name_may_turn_into_anything_else() {
    let mut f = fixture();
    f.write("swap-dir/x/y", "1");
    f.write("swap-dir/w", "1");
    f.write("swap-file", "1");
    symlink("a.txt", f.path("swap-link")).unwrap();
    f.scan();
    fs::remove_dir_all(f.path("swap-dir")).unwrap();
    f.write("swap-dir", "now a file");
    fs::remove_file(f.path("swap-file")).unwrap();
    f.write("swap-file/inside", "now in a directory");
    fs::remove_file(f.path("swap-link")).unwrap();
    f.write("swap-link", "now a file");
    let second = f.scan();
    assert_eq!(
        second.changes(),
        [
            "created swap-dir",
            "deleted swap-file",
            "modified swap-link",
            "removed swap-dir",
            "created dir swap-file",
            "created swap-file/inside",
        ]
    );
    // The file, and of the directory: itself, x, x/y and w.
    assert_eq!(second.summary.counters.deleted, 5);
    assert_eq!(f.state, f.fresh());
    fs::remove_file(f.path("swap-link")).unwrap();
    symlink("elsewhere", f.path("swap-link")).unwrap();
    fs::remove_dir_all(f.path("swap-file")).unwrap();
    symlink("dir", f.path("swap-file")).unwrap();
    assert_eq!(f.scan().changes(), ["created swap-file", "modified swap-link", "removed swap-file"]);
    assert_eq!(f.state, f.fresh());
}

#[test]
fn a_removed_tree_is_one_call() {
    let mut f = fixture();
    f.scan();
    fs::remove_dir_all(f.path("dir")).unwrap();
    let second = f.scan();
    assert_eq!(second.log, ["- dir ", "removed dir"]);
    assert_eq!(second.summary.counters.deleted, 4);
    assert_eq!(f.state, f.fresh());
}

#[test]
fn names_around_the_slash_in_byte_order_keep_the_walk_order() {
    let mut f = Fixture::new();
    // As whole paths "a-b/x" sorts before "a/x"; component by component "a" comes first.
    for path in ["a/x", "a-b/x", "a.b", "a0/x", "a/y/z"] {
        f.write(path, path);
    }
    f.scan();
    fs::remove_dir_all(f.path("a")).unwrap();
    f.write("a/x", "again");
    assert_eq!(f.scan().changes(), ["modified a/x", "removed a/y"]);
    assert_eq!(f.state, f.fresh());
}

#[test]
fn another_algorithm_hashes_again_and_is_no_change() {
    let mut f = fixture();
    f.scan();
    for algorithm in [Algorithm::Sha1, Algorithm::Sha256, Algorithm::Xxh64, Algorithm::Blake3] {
        f.options.algorithm = algorithm;
        let scanned = f.scan();
        assert_eq!(scanned.log, ["- a.txt", "- dir/b.txt", "- dir/deep/c.txt", "- z/d.txt"]);
        assert_eq!(scanned.summary.counters.modified, 0);
        assert_eq!(f.state.entry("", "a.txt").hash.unwrap().as_bytes().len(), algorithm.digest_len());
        assert_eq!(f.state, f.fresh());
    }
}
