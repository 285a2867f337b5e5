//! Trees that are hard to bear, and trees that are taken away in the middle. After each the state is compared with what is
//! there.

use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, SystemTime};

use hostler_files::{Progress, ScanRequest, ScanSink, SinkClosed, scan};
use hostler_model::{ChangeOp, Entry};
use rustix::fs::{AtFlags, CWD, Mode, OFlags, RenameFlags, mkdirat, openat, renameat_with, statat, unlinkat};
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

use crate::support::{Fixture, Recorder, tick};

/// Counts only: a recorder would keep ten thousand long paths.
#[derive(Default)]
struct Count(u64);

impl Count {
    fn one(&mut self) -> Result<(), SinkClosed> {
        self.0 += 1;
        Ok(())
    }
}

impl ScanSink for Count {
    fn started(&mut self, _: bool) -> Result<(), SinkClosed> {
        Ok(())
    }
    fn dir(&mut self, _: &[u8], _: Option<ChangeOp>, _: &Entry) -> Result<(), SinkClosed> {
        self.one()
    }
    fn entry(&mut self, _: &[u8], _: &[u8], _: Option<ChangeOp>, _: Option<&Entry>) -> Result<(), SinkClosed> {
        self.one()
    }
    fn dir_removed(&mut self, _: &[u8]) -> Result<(), SinkClosed> {
        self.one()
    }
    fn error(&mut self, path: &[u8], operation: &'static str, message: &str) -> Result<(), SinkClosed> {
        panic!("{} bytes of path: {operation}: {message}", path.len())
    }
}

#[test]
fn ten_thousand_levels() {
    let f = Fixture::new();
    let flags = OFlags::DIRECTORY | OFlags::CLOEXEC;
    let top = openat(CWD, f.root(), flags, Mode::empty()).unwrap();
    let mut dir = openat(CWD, f.root(), flags, Mode::empty()).unwrap();
    for _ in 0..10_000 {
        mkdirat(&dir, "d", Mode::RWXU).unwrap();
        dir = openat(&dir, "d", flags, Mode::empty()).unwrap();
    }
    let scanned = |base_generation| {
        let root = f.root();
        let mut told = Count::default();
        let request = ScanRequest {
            root: root.as_os_str().as_bytes(),
            options: &f.options,
            base_generation,
            manifests: &f.manifests,
            control: &f.control,
            progress: &Progress::default(),
        };
        let summary = scan(request, &mut told).unwrap();
        f.promote(summary.generation);
        (summary, told.0)
    };
    let (first, told) = scanned(0);
    assert_eq!((first.counters.dirs, told), (10_001, 10_001));
    assert_eq!(scanned(first.generation).1, 0);
    // Taken down from the top: what removes recursively would need as many open directories.
    while renameat_with(&top, "d/d", &top, "e", RenameFlags::empty()).is_ok() {
        unlinkat(&top, "d", AtFlags::REMOVEDIR).unwrap();
        renameat_with(&top, "e", &top, "d", RenameFlags::empty()).unwrap();
    }
    assert!(statat(&top, "d", AtFlags::empty()).is_ok());
}

#[test]
fn one_directory_with_a_hundred_thousand_names() {
    let mut f = Fixture::new();
    let dir = f.path("flat");
    fs::create_dir(&dir).unwrap();
    for i in 0..100_000 {
        // Many share their first bytes.
        File::create(dir.join(format!("a-common-start-{:05}", (i * 7919) % 100_000))).unwrap();
    }
    let first = f.scan();
    assert_eq!((first.summary.counters.files, first.summary.counters.errors), (100_000, 0));
    fs::remove_file(dir.join("a-common-start-00000")).unwrap();
    fs::write(dir.join("a-common-start-99999"), "1").unwrap();
    assert_eq!(f.scan().changes(), ["deleted flat/a-common-start-00000", "modified flat/a-common-start-99999"]);
    f.settles();
}

#[test]
fn times_before_the_epoch_in_the_far_future_and_a_nanosecond_apart() {
    let mut f = Fixture::new();
    let epoch = SystemTime::UNIX_EPOCH;
    let day = Duration::from_secs(86_400);
    for (name, time) in [
        ("old", epoch - day * 20_000 - Duration::from_nanos(1)),
        ("new", epoch + day * 80_000),
        ("now", epoch + day * 10_000 + Duration::from_nanos(999_999_998)),
    ] {
        f.write(name, name);
        File::options().write(true).open(f.path(name)).unwrap().set_modified(time).unwrap();
    }
    f.scan();
    f.settles();
    let file = File::options().write(true).open(f.path("now")).unwrap();
    file.set_modified(epoch + day * 10_000 + Duration::from_nanos(999_999_999)).unwrap();
    assert_eq!(f.scan().log, ["modified now"]);
    f.settles();
}

#[test]
fn an_inode_used_again_with_the_same_size_and_time_is_another_file() {
    let mut f = Fixture::new();
    f.write("file", "one");
    f.scan();
    let before = fs::metadata(f.path("file")).unwrap();
    tick();
    for attempt in 0.. {
        fs::remove_file(f.path("file")).unwrap();
        f.write("file", "two");
        File::options().write(true).open(f.path("file")).unwrap().set_modified(before.modified().unwrap()).unwrap();
        let after = fs::metadata(f.path("file")).unwrap();
        assert_eq!((after.len(), after.modified().unwrap()), (before.len(), before.modified().unwrap()));
        if after.ino() == before.ino() {
            break;
        }
        if attempt == 100 {
            println!("not tested: this filesystem does not use an inode's number again");
            break;
        }
    }
    assert_eq!(f.scan().log.last().unwrap(), "modified file");
    f.settles();
}

#[test]
fn a_filesystem_unmounted_in_the_middle_leaves_no_trace_of_itself() {
    /// Unmounts once the scan is inside.
    struct Unmounts<'a>(Recorder, &'a Fixture);
    impl ScanSink for Unmounts<'_> {
        fn started(&mut self, full: bool) -> Result<(), SinkClosed> {
            self.0.started(full)
        }
        fn dir(&mut self, path: &[u8], op: Option<ChangeOp>, entry: &Entry) -> Result<(), SinkClosed> {
            if path == b"m/inside" {
                unmount(self.1.path("m"), UnmountFlags::DETACH).unwrap();
            }
            self.0.dir(path, op, entry)
        }
        fn entry(&mut self, d: &[u8], n: &[u8], op: Option<ChangeOp>, e: Option<&Entry>) -> Result<(), SinkClosed> {
            self.0.entry(d, n, op, e)
        }
        fn dir_removed(&mut self, path: &[u8]) -> Result<(), SinkClosed> {
            self.0.dir_removed(path)
        }
        fn error(&mut self, path: &[u8], operation: &'static str, message: &str) -> Result<(), SinkClosed> {
            self.0.error(path, operation, message)
        }
    }
    let mut f = Fixture::new();
    f.write("m/below", "what the mount hides");
    f.write("z", "after it");
    if let Err(error) = mount("none", f.path("m"), "tmpfs", MountFlags::empty(), None) {
        println!("not tested, mount: {error}");
        return;
    }
    f.write("m/inside/deep/file", "1");
    f.write("m/other/file", "2");
    let mut sink = Unmounts(Recorder::default(), &f);
    let root = f.root();
    let request = ScanRequest {
        root: root.as_os_str().as_bytes(),
        options: &f.options,
        base_generation: 0,
        manifests: &f.manifests,
        control: &f.control,
        progress: &Progress::default(),
    };
    let summary = scan(request, &mut sink).unwrap();
    let recorder = sink.0;
    // What was open stays readable: the walk goes on where it was.
    assert!(recorder.state.entries.keys().any(|(dir, _)| dir == b"m/inside/deep"));
    f.promote(summary.generation);
    (f.committed, f.state) = (summary.generation, recorder.state);
    f.settles();
    assert_eq!(f.state.paths(), ["z", "m/below"]);
}
