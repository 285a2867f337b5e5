//! What a scan tells of each entry.

use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

use hostler_model::{Algorithm, ByteStr};
use hostler_snapfs::{ScanEnd, ScanSettings, ScanTarget};

use crate::support::events::Parsed;
use crate::support::{FakeGateway, Kind, Tree, run, run_with, settings};

const ABC: &str = "a9993e364706816aba3e25717850c26c9cd0d89d";
const EMPTY: &str = "da39a3ee5e6b4b0d3255bfef95601890afd80709";

/// `touch -d`, also before 1970.
fn set_times(path: &std::path::Path, atime: (i64, i64), mtime: (i64, i64)) {
    let spec = |(tv_sec, tv_nsec)| rustix::fs::Timespec { tv_sec, tv_nsec };
    let times = rustix::fs::Timestamps { last_access: spec(atime), last_modification: spec(mtime) };
    rustix::fs::utimensat(rustix::fs::CWD, path, &times, rustix::fs::AtFlags::SYMLINK_NOFOLLOW).unwrap();
}

fn millis(seconds: i64, nanos: i64) -> i64 {
    seconds * 1000 + nanos.div_euclid(1_000_000)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_entry_is_told_with_all_its_fields() {
    let tree = Tree::new();
    tree.write("abc.txt", b"abc");
    tree.write("empty", b"");
    tree.write(".hidden", b"abc");
    tree.write("a b\"\\\n/tab\t.Tar.GZ", b"abc");
    tree.write("sub/caf\u{e9}", b"abc");
    std::fs::write(tree.bytes_path(b"bad\xff\xfe.txt"), b"abc").unwrap();
    std::fs::create_dir(tree.bytes_path(b"dir\xe9")).unwrap();
    std::fs::write(tree.bytes_path(b"dir\xe9/in"), b"abc").unwrap();
    let old = tree.write("old", b"abc");
    set_times(&old, (-1, 999_999_999), (-2, 1));
    let far = tree.write("far", b"abc");
    set_times(&far, (0, 0), (9_000_000_000, 123_456_789));
    symlink("abc.txt", tree.path("link")).unwrap();
    symlink("nowhere", tree.path("dangling")).unwrap();
    symlink("sub", tree.path("dirlink")).unwrap();
    rustix::fs::mknodat(rustix::fs::CWD, tree.path("fifo"), rustix::fs::FileType::Fifo, 0o640.into(), 0).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(tree.path("socket")).unwrap();
    std::os::unix::fs::chown(tree.path("abc.txt"), Some(0), Some(54321)).unwrap();
    std::fs::set_permissions(tree.path("abc.txt"), PermissionsExt::from_mode(0o4751)).unwrap();

    let gateway = FakeGateway::start().await;
    let (outcome, notes) = run(&tree.gateway(&gateway), &tree, "s").await;
    assert_eq!(outcome.end, ScanEnd::Completed);
    assert!(notes.problems.lock().unwrap().is_empty(), "{:?}", notes.problems.lock().unwrap());

    let upserts = gateway.upserts("s");
    let entries = tree.entries();
    assert_eq!(upserts.keys().collect::<Vec<_>>(), entries.keys().collect::<Vec<_>>());
    let root: ByteStr = tree.target("s").root;
    for (path, data) in &entries {
        let told = &upserts[path];
        let slash = path.as_bytes().iter().rposition(|b| *b == b'/').unwrap();
        assert_eq!(told.root_path, root);
        assert_eq!((told.dir.as_bytes(), told.name.as_bytes()), (&path.as_bytes()[..slash], path.file_name()));
        assert_eq!((told.size, told.fsize_du), (data.size(), data.size()), "{path}");
        assert_eq!((told.inode, told.dev), (Some(data.ino()), Some(data.dev())), "{path}");
        assert_eq!(told.mtime, millis(data.mtime(), data.mtime_nsec()), "{path}");
        assert_eq!(told.ctime, millis(data.ctime(), data.ctime_nsec()), "{path}");
        assert_eq!((told.uid, told.gid, told.nlinks), (Some(data.uid()), Some(data.gid()), data.nlink()), "{path}");
        assert_eq!((told.mode, told.kind.as_str()), (data.mode() & 0o7777, "file"), "{path}");
        assert!((told.seen_at - 1.7e9) > 0.0 && told.owner.as_deref() == Some("root"));
        let expected = match (data.is_file(), data.size()) {
            (false, _) => (None, None),
            (true, 0) => (Some("sha1"), Some(EMPTY)),
            (true, _) => (Some("sha1"), Some(ABC)),
        };
        assert_eq!((told.algo.as_deref(), told.hash.as_deref()), expected, "{path}");
    }
    let of = |name: &str| &upserts[&ByteStr::from(format!("{}/{name}", tree.root().display()).as_str())];
    assert_eq!((of("abc.txt").mode, of("abc.txt").group.as_deref()), (0o4751, Some("54321")));
    assert_eq!((of("old").mtime, of("old").atime), (-2000, -1));
    assert_eq!(of("far").mtime, 9_000_000_000_123);
    assert_eq!(of("a b\"\\\n/tab\t.Tar.GZ").ext.as_bytes(), b".GZ");
    assert_eq!((of(".hidden").ext.as_bytes(), of("abc.txt").ext.as_bytes()), (&b""[..], &b".txt"[..]));

    let regular = entries.values().filter(|data| data.is_file()).count() as u64;
    let report = outcome.report;
    assert_eq!((report.files, report.published, report.unpublished), (entries.len() as u64, entries.len() as u64, 0));
    assert_eq!((report.hashed, report.cache_hits, report.hash_errors), (regular, 0, 0));
    assert_eq!(report.bytes, entries.values().map(MetadataExt::size).sum::<u64>());
    assert_eq!(report.bytes_published, report.bytes);
    assert_eq!((*notes.started.lock().unwrap(), *notes.completed.lock().unwrap()), (1, 1));

    // Once more: the gateway knows all of it, and nothing is read.
    let (outcome, notes) = run(&tree.gateway(&gateway), &tree, "again").await;
    assert_eq!((outcome.report.cache_hits, outcome.report.hashed), (regular, 0));
    assert_eq!(notes.hits.lock().unwrap().len() as u64, regular);
    let again = gateway.upserts("again");
    assert!(upserts.iter().all(|(path, told)| again[path].hash == told.hash && again[path].mtime == told.mtime));

    // By force everything is read all the same.
    let forced = ScanTarget { force: true, ..tree.target("forced") };
    let (outcome, _) = run_with(&tree.gateway(&gateway), &settings(), &forced).await;
    assert_eq!((outcome.report.cache_hits, outcome.report.hashed), (0, regular));

    // What the gateway knows by another algorithm does not count.
    let other = ScanSettings { algorithm: Algorithm::Sha256, ..settings() };
    let (outcome, _) = run_with(&tree.gateway(&gateway), &other, &tree.target("other")).await;
    assert_eq!((outcome.report.cache_hits, outcome.report.hashed), (0, regular));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_events_of_a_scan_say_how_it_went() {
    let tree = Tree::with_files(30);
    let gateway = FakeGateway::start().await;
    run(&tree.gateway(&gateway), &tree, "s").await;
    let taken = gateway.taken("s");
    let (Parsed::Started(started), Parsed::Telemetry(first)) = (&taken[0], &taken[1]) else { panic!("{taken:?}") };
    assert_eq!((started.phase.as_str(), started.files_discovered), ("walking", 0));
    assert_eq!((started.trigger_type.as_str(), started.schedule_id.as_deref()), ("api", Some("sch-1")));
    assert_eq!(started.current_path.as_ref(), Some(&tree.target("s").root));
    assert_eq!((started.hash_algo.as_str(), started.hash_workers, started.hash_chunk_size), ("sha1", 2, 1 << 20));
    assert_eq!((started.pid, started.user.as_str()), (std::process::id(), "root"));
    assert_eq!(first.status, "running");
    let [.., Parsed::Telemetry(last), Parsed::Completed(end)] = &taken[..] else { panic!("{taken:?}") };
    assert_eq!((last.status.as_str(), last.phase.as_str(), last.files_total), ("completed", "completed", 30));
    assert!(last.elapsed_sec >= 0.001 && last.files_per_sec > 0.0 && last.authoritative_for_deletes);
    assert_eq!((end.files_seen, end.published, end.hashed, end.cache_hits), (30, 30, 30, 0));
    assert_eq!((end.phase.as_str(), end.current_path.clone(), end.hash_jobs_active), ("completed", None, 0));
    assert_eq!((end.bytes_hashed, end.bytes_processed), (end.bytes_seen, end.bytes_seen));
    assert!(end.authoritative_for_deletes && end.finished_at >= end.started_at);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_with_three_names_is_read_once_and_told_three_times() {
    let tree = Tree::with_files(10);
    let first = tree.write("d0/a-first", &[b'x'; 5000]);
    std::fs::hard_link(&first, tree.path("d0/b-second")).unwrap();
    std::fs::hard_link(&first, tree.path("d3/c-third")).unwrap();
    let gateway = FakeGateway::start().await;
    let client = tree.gateway(&gateway);
    let (outcome, notes) = run(&client, &tree, "s").await;
    assert_eq!((outcome.report.files, outcome.report.published), (13, 13));
    assert_eq!(notes.hashed.lock().unwrap().len(), 11, "once for three names");
    let told: Vec<_> = gateway.upserts("s").into_values().filter(|u| u.nlinks == 3).collect();
    assert_eq!(told.len(), 3);
    assert_eq!(told.iter().map(|u| u.fsize_du).collect::<Vec<_>>(), [5000, 0, 0]);
    assert!(told.iter().all(|u| u.hash == told[0].hash && u.hash.is_some() && u.size == 5000));
    let (outcome, _) = run(&client, &tree, "again").await;
    assert_eq!((outcome.report.cache_hits, outcome.report.hashed), (13, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_written_to_all_the_time_has_no_hash() {
    let tree = Tree::with_files(3);
    let path = tree.write("busy.log", &vec![0; 8 << 20]);
    let stop = Arc::new(AtomicBool::new(false));
    let writer = std::thread::spawn({
        let (stop, path) = (stop.clone(), path.clone());
        move || {
            use std::os::unix::fs::FileExt;
            let file = std::fs::OpenOptions::new().write(true).open(path).unwrap();
            let mut byte = 0u8;
            while !stop.load(SeqCst) {
                byte = byte.wrapping_add(1);
                file.write_all_at(&[byte], 0).unwrap();
                std::thread::sleep(std::time::Duration::from_micros(200));
            }
        }
    });
    let gateway = FakeGateway::start().await;
    let (outcome, notes) = run(&tree.gateway(&gateway), &tree, "s").await;
    stop.store(true, SeqCst);
    writer.join().unwrap();
    assert_eq!((outcome.report.hash_errors, outcome.report.published), (1, 4));
    let busy = &gateway.upserts("s")[&ByteStr::from(path.to_str().unwrap())];
    assert_eq!((&busy.algo, &busy.hash), (&None, &None));
    assert!(notes.problems.lock().unwrap()[0].contains("busy.log"));
    let errors: Vec<_> = gateway.taken("s").into_iter().filter(|e| e.word() == "error").collect();
    let [Parsed::Error(error)] = &errors[..] else { panic!("{errors:?}") };
    assert_eq!((error.stage.as_str(), error.category.as_str(), error.errno), ("hash", "runtime", None));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_turns_into_a_fifo_does_not_block() {
    let tree = Tree::with_files(3);
    let path = tree.write("z-changes", b"abc");
    let gateway = FakeGateway::start().await;
    let change = path.clone();
    // Between the listing and the reading: when it is asked for.
    gateway.judge(move |_, call| {
        if call.probes.iter().any(|p| p.path.file_name() == b"z-changes") {
            std::fs::remove_file(&change).unwrap();
            rustix::fs::mknodat(rustix::fs::CWD, &change, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
        }
        None
    });
    let (outcome, _) = run(&tree.gateway(&gateway), &tree, "s").await;
    assert_eq!((outcome.end, outcome.report.published), (ScanEnd::Completed, 4));
    assert_eq!(gateway.upserts("s")[&ByteStr::from(path.to_str().unwrap())].hash, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_gone_before_it_is_read_is_not_told() {
    let tree = Tree::with_files(3);
    let path = tree.write("z-gone", b"abc");
    let gateway = FakeGateway::start().await;
    gateway.judge(move |_, call| {
        if call.kind == Kind::Probe {
            let _ = std::fs::remove_file(&path);
        }
        None
    });
    let (outcome, _) = run(&tree.gateway(&gateway), &tree, "s").await;
    assert_eq!((outcome.report.files, outcome.report.published, outcome.report.unpublished), (3, 3, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_files() {
    let tree = Tree::with_files(10_000);
    let gateway = FakeGateway::start().await;
    let client = tree.gateway(&gateway);
    let settings = ScanSettings { probe_batch: 200, publish_batch: 200, ..settings() };
    for (id, hashed) in [("1", 10_000), ("2", 0)] {
        let (outcome, _) = run_with(&client, &settings, &tree.target(id)).await;
        assert_eq!((outcome.report.published, outcome.report.hashed), (10_000, hashed));
        assert_eq!(gateway.upserts(id).len(), 10_000);
        assert_eq!(gateway.order(id), ["started", "upsert", "completed"]);
        let calls = gateway.calls().into_iter().filter(|c| c.events.iter().any(|e| e.word() == "upsert")).count();
        assert_eq!(calls, 50, "calls are full");
        gateway.forget();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn directories_of_snapshots_and_excluded_names_are_left_out() {
    let tree = Tree::with_files(2);
    for dir in [".zfs", ".snapshots", ".snapshot", "keep/.snapshot"] {
        tree.write(&format!("{dir}/file"), b"x");
    }
    tree.write("x.tmp", b"x");
    let gateway = FakeGateway::start().await;
    let settings = ScanSettings { excludes: vec!["*.tmp".into()], ..settings() };
    let (outcome, _) = run_with(&tree.gateway(&gateway), &settings, &tree.target("s")).await;
    assert_eq!(outcome.report.files, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_root_that_cannot_be_scanned_is_named_and_nothing_is_sent() {
    let tree = Tree::with_files(1);
    let file = tree.write("file", b"x");
    let gateway = FakeGateway::start().await;
    for root in [tree.path("missing"), file] {
        let target = ScanTarget { root: root.to_str().unwrap().into(), ..tree.target("s") };
        let (outcome, _) = run_with(&tree.gateway(&gateway), &settings(), &target).await;
        let ScanEnd::Failed(why) = outcome.end else { panic!("{:?}", outcome.end) };
        assert!(why.contains(root.to_str().unwrap()), "{why}");
    }
    assert!(gateway.calls().is_empty());
}
