//! Pausing, limits, and what counts as hanging.

use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use hostler_files::{Control, Progress, ScanFailure, ScanRequest, ScanSink, SinkClosed, Watch, scan};
use hostler_model::{ChangeOp, Entry};

use crate::support::{Fixture, Recorder};

/// Calls a function with the number of each entry.
struct Each<F: FnMut(usize)>(usize, F);

impl<F: FnMut(usize)> ScanSink for Each<F> {
    fn started(&mut self, _: bool) -> Result<(), SinkClosed> {
        Ok(())
    }
    fn dir(&mut self, _: &[u8], _: Option<ChangeOp>, _: &Entry) -> Result<(), SinkClosed> {
        Ok(())
    }
    fn entry(&mut self, _: &[u8], _: &[u8], _: Option<ChangeOp>, _: Option<&Entry>) -> Result<(), SinkClosed> {
        self.0 += 1;
        (self.1)(self.0);
        Ok(())
    }
    fn dir_removed(&mut self, _: &[u8]) -> Result<(), SinkClosed> {
        Ok(())
    }
    fn error(&mut self, _: &[u8], _: &'static str, _: &str) -> Result<(), SinkClosed> {
        Ok(())
    }
}

fn scan_each(f: &Fixture, progress: &Progress, each: impl FnMut(usize)) -> Result<(), ScanFailure> {
    let root = f.root();
    let request = ScanRequest {
        root: root.as_os_str().as_bytes(),
        options: &f.options,
        base_generation: 0,
        manifests: &f.manifests,
        control: &f.control,
        progress,
    };
    scan(request, &mut Each(0, each)).map(drop)
}

fn many() -> Fixture {
    let f = Fixture::new();
    for i in 0..200 {
        f.write(&format!("{}/{i}", i % 9), "content");
    }
    f
}

#[test]
fn a_paused_scan_stands_still_goes_on_and_misses_nothing() {
    let mut f = many();
    let control = f.control.clone();
    let progress = Progress::default();
    let (reached, at) = mpsc::channel();
    let entries = std::thread::scope(|scope| {
        let scanning = scope.spawn(|| {
            let mut entries = 0;
            let ended = scan_each(&f, &progress, |number| {
                entries = number;
                if number == 100 {
                    control.set_paused(true);
                    reached.send(()).unwrap();
                }
            });
            ended.unwrap();
            entries
        });
        at.recv().unwrap();
        std::thread::sleep(Duration::from_millis(200));
        assert!(progress.snapshot().files <= 101, "{:?}", progress.snapshot());
        assert_eq!(progress.pulse(), None, "a pause is not taken for a scan that hangs");
        assert!(!scanning.is_finished());
        control.set_paused(false);
        scanning.join().unwrap()
    });
    assert_eq!(entries, 200);
    f.settles();
}

#[test]
fn a_paused_scan_is_cancelled_at_once() {
    let f = many();
    let control = f.control.clone();
    control.set_paused(true);
    std::thread::scope(|scope| {
        let scanning = scope.spawn(|| scan_each(&f, &Progress::default(), |_| ()));
        std::thread::sleep(Duration::from_millis(50));
        assert!(!scanning.is_finished());
        control.cancel();
        assert!(matches!(scanning.join().unwrap(), Err(ScanFailure::Cancelled)));
    });
    assert!(f.manifest_files("tmp").is_empty() && f.manifest_files("pending").is_empty());
}

#[test]
fn a_scan_pauses_and_is_cancelled_within_a_big_file_and_within_a_limit() {
    let mut f = Fixture::new();
    // Sparse: hours of hashing, no disk.
    File::create(f.path("big")).unwrap().set_len(1 << 42).unwrap();
    // Unlimited, and so slow that one buffer takes a minute.
    for limit in [0, 64] {
        f.options.limits.bytes_per_second = limit;
        f.control = Control::default();
        let control = f.control.clone();
        let progress = Progress::default();
        std::thread::scope(|scope| {
            let scanning = scope.spawn(|| scan_each(&f, &progress, |_| ()));
            while progress.place().as_bytes() != b"big" {
                std::thread::sleep(Duration::from_millis(5));
            }
            control.set_paused(true);
            while progress.pulse().is_some() {
                std::thread::sleep(Duration::from_millis(5));
            }
            control.cancel();
            assert!(matches!(scanning.join().unwrap(), Err(ScanFailure::Cancelled)));
        });
    }
}

#[test]
fn content_is_read_no_faster_than_allowed() {
    let mut f = Fixture::new();
    f.write("one", vec![1; 300 << 10]);
    f.write("two", vec![2; 700 << 10]);
    f.options.limits.bytes_per_second = 1_000_000;
    let start = Instant::now();
    f.scan();
    // A tenth of a second may have been saved up, and the last buffer is not waited for.
    assert!(start.elapsed() >= Duration::from_millis(700), "{:?}", start.elapsed());
    f.options.limits.bytes_per_second = 0;
    f.settles();
}

#[test]
fn no_more_of_a_processor_is_used_than_allowed() {
    let mut f = Fixture::new();
    File::create(f.path("big")).unwrap().set_len(256 << 20).unwrap();
    f.options.limits.cpu_percent = 20;
    let start = Instant::now();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            f.scan();
            let used = fs::read_to_string("/proc/thread-self/schedstat").unwrap();
            let used = Duration::from_nanos(used.split_ascii_whitespace().next().unwrap().parse().unwrap());
            assert!(start.elapsed() >= used * 4, "{used:?} in {:?}", start.elapsed());
        });
    });
}

#[test]
fn an_idle_scan_gives_way_on_its_thread_only() {
    /// Nice value and scheduling policy, the 19th and the 41st field of proc_pid_stat(5).
    fn scheduled() -> (i64, i64) {
        let stat = fs::read_to_string("/proc/thread-self/stat").unwrap();
        let rest: Vec<&str> = stat[stat.rfind(')').unwrap() + 2..].split_ascii_whitespace().collect();
        (rest[16].parse().unwrap(), rest[38].parse().unwrap())
    }
    const SCHED_IDLE: i64 = 5;
    let mut f = many();
    f.options.limits.idle = true;
    let before = scheduled();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            f.scan();
            assert_eq!(scheduled(), (19, SCHED_IDLE));
        });
    });
    assert_eq!(scheduled(), before);
}

#[test]
fn waiting_for_the_receiver_or_a_limit_is_not_hanging() {
    let mut f = Fixture::new();
    f.write("a", vec![1; 100 << 10]);
    f.write("b", "1");
    f.options.limits.bytes_per_second = 100 << 10;
    let progress = Progress::default();
    let root = f.root();
    std::thread::scope(|scope| {
        let scanning = scope.spawn(|| scan_each(&f, &progress, |_| std::thread::sleep(Duration::from_secs(1))));
        let mut watch = Watch::new(Duration::from_millis(900));
        while !scanning.is_finished() {
            watch.check(root.as_os_str().as_bytes(), &progress, &f.control).unwrap();
            std::thread::sleep(Duration::from_millis(20));
        }
        scanning.join().unwrap().unwrap();
    });
}

#[test]
fn a_scan_without_a_sign_of_life_hangs() {
    let f = Fixture::new();
    f.write("file", "1");
    let progress = Progress::default();
    let mut watch = Watch::new(Duration::ZERO);
    let check = |watch: &mut Watch| watch.check(b"/srv/x", &progress, &f.control);
    check(&mut watch).unwrap();
    assert!(check(&mut watch).is_ok(), "it has not begun");
    f.scan_with_progress(&progress, &mut Recorder::default()).unwrap();
    // The thread has ended, which looks the same from here.
    check(&mut watch).unwrap();
    let error = check(&mut watch).unwrap_err();
    assert!(matches!(error, ScanFailure::Hung { .. }), "{error}");
    assert!(error.to_string().contains("/srv/x/file"), "{error}");
    f.control.set_paused(true);
    check(&mut watch).unwrap();
}
