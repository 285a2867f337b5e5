//! Excludes, bounds, snapshot directories, other filesystems.

use hostler_files::ScanFailure;

use crate::support::{Fixture, Recorder};

#[test]
fn what_is_excluded_is_neither_recorded_nor_kept() {
    let mut f = Fixture::new();
    for path in ["keep", "x.tmp", "sub/x.tmp", "build/out", "sub/build/out", "node_modules/deep/er"] {
        f.write(path, path);
    }
    f.scan();
    f.options.excludes = ["*.tmp", "/build", "node_modules/"].map(String::from).to_vec();
    let second = f.scan();
    assert_eq!(second.log, ["deleted x.tmp", "removed build", "removed node_modules", "deleted sub/x.tmp"]);
    assert_eq!(f.state.paths(), ["keep", "sub/build/out"]);
    assert_eq!(f.state, f.fresh());
    f.options.excludes.clear();
    f.scan();
    assert_eq!(f.state, f.fresh());
}

#[test]
fn a_bad_pattern_fails_the_scan() {
    let mut f = Fixture::new();
    f.options.excludes = vec!["a[z-b]".into()];
    let error = f.scan_into(&mut Recorder::default()).unwrap_err();
    assert!(matches!(&error, ScanFailure::BadExclude { pattern, .. } if pattern == "a[z-b]"), "{error}");
}

#[test]
fn files_outside_the_size_bounds_are_recorded_without_a_hash() {
    let mut f = Fixture::new();
    for size in [1, 2, 3, 4] {
        f.write(&size.to_string(), vec![b'x'; size]);
    }
    f.options.hash_min_size = 2;
    f.options.hash_max_size = 3;
    let first = f.scan();
    assert_eq!(first.summary.counters.hashed_files, 2);
    let hashed = |f: &Fixture| ["1", "2", "3", "4"].map(|name| f.state.entry("", name).hash.is_some());
    assert_eq!(hashed(&f), [false, true, true, false]);
    assert_eq!(f.scan().log, Vec::<String>::new());
    // Wider bounds: what becomes known is sent, and is no change.
    f.options.hash_max_size = 0;
    assert_eq!(f.scan().log, ["- 4"]);
    assert_eq!(hashed(&f), [false, true, true, true]);
}

#[test]
fn snapshot_directories_only_on_request() {
    let mut f = Fixture::new();
    f.write(".zfs/snapshot/s/file", "1");
    f.write("sub/.snapshots/1/file", "1");
    f.write("sub/.snapshots.conf", "1");
    f.scan();
    assert_eq!(f.state.paths(), ["sub/.snapshots.conf"]);
    f.options.snapshots = true;
    f.scan();
    assert_eq!(f.state.entries.len(), 3);
}

#[test]
fn force_reads_everything_again() {
    let mut f = Fixture::new();
    f.write("a", "1");
    f.scan();
    f.options.force = true;
    let forced = f.scan();
    assert_eq!(forced.log, Vec::<String>::new());
    assert_eq!(forced.summary.counters.hashed_files, 1);
}

#[test]
fn one_file_system_records_a_mount_point_and_stays_out() {
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::MetadataExt;

    use hostler_files::{Control, Progress, ScanRequest, scan};

    // No mounting in a test: /dev has other filesystems below it on any Linux with /dev/shm or /dev/pts.
    let root = std::path::Path::new("/dev");
    let dev = std::fs::metadata(root).unwrap().dev();
    let mounts: Vec<_> = ["shm", "pts"]
        .into_iter()
        .filter(|name| std::fs::symlink_metadata(root.join(name)).is_ok_and(|m| m.is_dir() && m.dev() != dev))
        .collect();
    if mounts.is_empty() {
        println!("not tested: nothing is mounted below /dev");
        return;
    }
    let mut f = Fixture::new();
    f.options.one_file_system = true;
    let mut recorder = Recorder::default();
    let request = ScanRequest {
        root: root.as_os_str().as_bytes(),
        options: &f.options,
        base_generation: 0,
        manifests: &f.manifests,
        control: &Control::default(),
        progress: &Progress::default(),
    };
    scan(request, &mut recorder).unwrap();
    for name in mounts {
        let entry = recorder.state.dirs[name.as_bytes()];
        assert_ne!(entry.dev, dev);
        assert!(!recorder.state.entries.keys().any(|(dir, _)| dir.starts_with(name.as_bytes())), "{name}");
    }
}
