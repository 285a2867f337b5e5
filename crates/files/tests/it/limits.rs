//! Cancelling, closed sinks, deep trees, files that change, scans at the same time.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use hostler_files::{Control, ManifestError, ScanFailure};
use rustix::fs::{CWD, Mode, OFlags, mkdirat, openat};

use crate::support::{Fixture, Recorder};

#[test]
fn cancelled_before_it_starts_nothing_changes() {
    let mut f = Fixture::new();
    f.write("a", "1");
    f.scan();
    let before = fs::read(&f.manifest_files("manifest")[0]).unwrap();
    f.write("b", "2");
    f.control.cancel();
    let error = f.scan_into(&mut Recorder::default()).unwrap_err();
    assert!(matches!(error, ScanFailure::Cancelled));
    assert_eq!(fs::read(&f.manifest_files("manifest")[0]).unwrap(), before);
    assert!(f.manifest_files("pending").is_empty() && f.manifest_files("tmp").is_empty());
}

#[test]
fn cancelled_within_a_big_tree_stops_at_once() {
    let f = Fixture::new();
    for i in 0..500 {
        f.write(&format!("{}/{i}", i % 9), "1");
    }
    let mut recorder = Recorder::cancelling_at(100, &f.control);
    let error = f.scan_into(&mut recorder).unwrap_err();
    assert!(matches!(error, ScanFailure::Cancelled));
    // The start is a call without a line in the log.
    assert_eq!(recorder.log.len(), 99);
    assert!(f.manifest_files("pending").is_empty() && f.manifest_files("tmp").is_empty());
}

#[test]
fn cancelled_inside_a_big_file_stops_at_once() {
    let f = Fixture::new();
    // Sparse: hours of hashing, no disk.
    File::create(f.path("big")).unwrap().set_len(1 << 42).unwrap();
    let cancel = f.control.clone();
    let stopper = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(100));
        cancel.cancel();
        Instant::now()
    });
    let error = f.scan_into(&mut Recorder::default()).unwrap_err();
    assert!(matches!(error, ScanFailure::Cancelled));
    assert!(stopper.join().unwrap().elapsed() < Duration::from_secs(2));
    assert!(f.manifest_files("pending").is_empty() && f.manifest_files("tmp").is_empty());
}

#[test]
fn a_closed_sink_cancels_at_every_call() {
    let mut f = Fixture::new();
    for path in ["a", "gone/x", "sub/b", "sub/c"] {
        f.write(path, path);
    }
    f.scan();
    fs::remove_dir_all(f.path("gone")).unwrap();
    f.write("sub/c", "changed");
    f.committed += 1;
    for calls in 0..6 {
        let mut recorder = Recorder::closing_after(calls);
        let error = f.scan_into(&mut recorder).unwrap_err();
        assert!(matches!(error, ScanFailure::Cancelled), "{calls}: {error}");
    }
    assert!(f.manifest_files("pending").is_empty());
}

#[test]
fn a_tree_of_3000_levels() {
    let mut f = Fixture::new();
    let name = "level-with-a-name-that-takes-the-path-past-PATH_MAX";
    let flags = OFlags::DIRECTORY | OFlags::CLOEXEC;
    let mut dir = openat(CWD, f.root(), flags, Mode::empty()).unwrap();
    for level in 0..3000 {
        mkdirat(&dir, name, Mode::RWXU).unwrap();
        if level % 500 == 0 {
            // Visited only after the way back over closed handles.
            mkdirat(&dir, "z", Mode::RWXU).unwrap();
        }
        dir = openat(&dir, name, flags, Mode::empty()).unwrap();
    }
    let leaf = openat(&dir, "leaf", OFlags::CREATE | OFlags::WRONLY, Mode::RUSR).unwrap();
    File::from(leaf).write_all(b"deep").unwrap();
    let first = f.scan();
    assert_eq!(first.errors, []);
    assert_eq!((first.summary.counters.dirs, first.summary.counters.files), (3007, 1));
    assert_eq!(f.scan().log, Vec::<String>::new());
    let (path, entry) = f.state.entries.first_key_value().unwrap();
    assert_eq!(path.0.len(), 3000 * (name.len() + 1) - 1);
    assert_eq!(entry.hash.unwrap().as_bytes(), blake3::hash(b"deep").as_bytes());
}

#[test]
fn a_file_that_grows_while_it_is_read_is_marked() {
    let f = Fixture::new();
    File::create(f.path("log")).unwrap().set_len(64 << 20).unwrap();
    f.write("still", "1");
    let stop = AtomicBool::new(false);
    let mut recorder = Recorder::default();
    let summary = std::thread::scope(|scope| {
        let (appends, appending) = mpsc::channel();
        let (log, stop) = (f.path("log"), &stop);
        scope.spawn(move || {
            let mut file = File::options().append(true).open(log).unwrap();
            while !stop.load(Relaxed) {
                file.write_all(b"line\n").unwrap();
                let _ = appends.send(());
            }
        });
        appending.recv().unwrap();
        let summary = f.scan_into(&mut recorder);
        stop.store(true, Relaxed);
        summary.unwrap()
    });
    assert_eq!(recorder.errors, [("log".into(), "read", "changed while it was read".into())]);
    assert_eq!(recorder.state.entry("", "log").hash, None);
    assert!(recorder.state.entry("", "log").size > 64 << 20);
    assert!(recorder.state.entry("", "still").hash.is_some());
    assert_eq!((summary.counters.errors, summary.counters.files), (1, 2));
}

#[test]
fn one_scan_of_a_root_at_a_time() {
    struct Nested<'a>(&'a Fixture);
    impl hostler_files::ScanSink for Nested<'_> {
        fn started(&mut self, _: bool) -> Result<(), hostler_files::SinkClosed> {
            let error = self.0.scan_into(&mut Recorder::default()).unwrap_err();
            assert!(matches!(error, ScanFailure::Manifest(ManifestError::Busy)));
            let root = self.0.root();
            assert!(matches!(self.0.manifests.forget(root.as_os_str().as_bytes()), Err(ManifestError::Busy)));
            Ok(())
        }
        fn dir(
            &mut self,
            _: &[u8],
            _: Option<hostler_model::ChangeOp>,
            _: &hostler_model::Entry,
        ) -> Result<(), hostler_files::SinkClosed> {
            Ok(())
        }
        fn entry(
            &mut self,
            _: &[u8],
            _: &[u8],
            _: Option<hostler_model::ChangeOp>,
            _: Option<&hostler_model::Entry>,
        ) -> Result<(), hostler_files::SinkClosed> {
            Ok(())
        }
        fn dir_removed(&mut self, _: &[u8]) -> Result<(), hostler_files::SinkClosed> {
            Ok(())
        }
        fn error(&mut self, _: &[u8], _: &'static str, _: &str) -> Result<(), hostler_files::SinkClosed> {
            Ok(())
        }
    }
    let f = Fixture::new();
    let root = f.root();
    let request = hostler_files::ScanRequest {
        root: root.as_os_str().as_bytes(),
        options: &f.options,
        base_generation: 0,
        manifests: &f.manifests,
        control: &Control::default(),
        progress: &hostler_files::Progress::default(),
    };
    hostler_files::scan(request, &mut Nested(&f)).unwrap();
    f.scan_into(&mut Recorder::default()).unwrap();
}
