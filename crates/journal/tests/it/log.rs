use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use hostler_journal::{Durability, Journal, JournalError, MAX_PAYLOAD};

use crate::support::{append, read_all, segments, settings, small};

#[test]
fn events_come_back_in_order_and_stay_over_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let journal = Journal::open(settings(dir.path())).unwrap();
    let id = journal.id();
    for n in 1..=100 {
        assert_eq!(append(&journal, &format!("event {n}")), n);
    }
    drop(journal);
    let journal = Journal::open(settings(dir.path())).unwrap();
    assert_eq!(journal.id(), id);
    assert_eq!(append(&journal, "event 101"), 101);
    let expected: Vec<(u64, String)> = (1..=101).map(|n| (n, format!("event {n}"))).collect();
    for max_bytes in [0, 100, 1 << 20] {
        assert_eq!(read_all(&journal, 0, max_bytes), (expected.clone(), 101));
    }
    assert_eq!(read_all(&journal, 99, 1 << 20).0, expected[99..]);
    assert_eq!(read_all(&journal, 5000, 1 << 20), (Vec::new(), 5000));
}

#[test]
fn a_lost_directory_is_another_journal() {
    let dir = tempfile::tempdir().unwrap();
    let first = Journal::open(settings(&dir.path().join("a"))).unwrap();
    let second = Journal::open(settings(&dir.path().join("b"))).unwrap();
    assert_ne!(first.id(), second.id());
}

#[test]
fn one_directory_is_opened_once() {
    let dir = tempfile::tempdir().unwrap();
    let journal = Journal::open(settings(dir.path())).unwrap();
    let error = Journal::open(settings(dir.path())).unwrap_err();
    assert!(matches!(&error, JournalError::InUse { .. }), "{error}");
    assert!(error.to_string().contains(&*dir.path().to_string_lossy()), "{error}");
    drop(journal);
    Journal::open(settings(dir.path())).unwrap();
}

#[test]
fn sizes_at_the_limit_and_above() {
    let dir = tempfile::tempdir().unwrap();
    let journal = Journal::open(small(dir.path(), 1000, 10 << 20)).unwrap();
    let largest = "x".repeat(MAX_PAYLOAD);
    assert_eq!(append(&journal, &largest), 1);
    assert_eq!(append(&journal, ""), 2);
    let error = journal.append(&vec![0; MAX_PAYLOAD + 1], Durability::Flushed).unwrap_err();
    assert!(matches!(error, JournalError::TooLarge { bytes } if bytes == MAX_PAYLOAD + 1));
    assert_eq!(append(&journal, "last"), 3);
    assert_eq!(read_all(&journal, 0, 100).0, [(1, largest), (2, String::new()), (3, "last".into())]);
}

#[test]
fn acknowledged_segments_are_deleted_and_the_position_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    let journal = Journal::open(small(dir.path(), 1000, 1 << 20)).unwrap();
    for n in 1..=100 {
        append(&journal, &format!("{n:0100}"));
    }
    let before = segments(dir.path()).len();
    assert!(before > 10);
    journal.acknowledge(50);
    journal.acknowledge(20);
    let status = journal.status();
    assert!(status.acknowledged == 50 && status.first <= 51 && status.first > 40 && status.lost == 0, "{status:?}");
    assert!(segments(dir.path()).len() < before - 4);
    drop(journal);
    let journal = Journal::open(small(dir.path(), 1000, 1 << 20)).unwrap();
    assert_eq!(journal.status(), status);
    assert_eq!(read_all(&journal, 50, 4096).0.len(), 50);
    journal.acknowledge(u64::MAX);
    assert_eq!(journal.status().acknowledged, 100);
    drop(journal);
    assert_eq!(append(&Journal::open(settings(dir.path())).unwrap(), "next"), 101);
}

#[test]
fn a_journal_that_went_back_in_time_gives_no_number_again() {
    let dir = tempfile::tempdir().unwrap();
    let journal = Journal::open(settings(dir.path())).unwrap();
    append(&journal, "one");
    journal.append(b"two", Durability::Buffered).unwrap();
    journal.skip_to(1).unwrap();
    journal.skip_to(10).unwrap();
    journal.skip_to(10).unwrap();
    assert_eq!(read_all(&journal, 0, 1000), (vec![(1, "one".into()), (2, "two".into())], 10));
    drop(journal);
    let journal = Journal::open(settings(dir.path())).unwrap();
    assert_eq!(append(&journal, "eleven"), 11);
    assert_eq!(read_all(&journal, 1, 1000).0, [(2, "two".to_owned()), (11, "eleven".to_owned())]);
}

#[test]
fn concurrent_appenders_share_flushes_and_no_number() {
    let dir = tempfile::tempdir().unwrap();
    let journal = Journal::open(small(dir.path(), 20_000, 10 << 20)).unwrap();
    let numbers: Vec<(u64, String)> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8)
            .map(|thread| {
                let journal = journal.clone();
                scope.spawn(move || {
                    let one = |n| {
                        let payload = format!("{thread} {n}");
                        let how = if n % 10 == 0 { Durability::Flushed } else { Durability::Buffered };
                        (journal.append(payload.as_bytes(), how).unwrap(), payload)
                    };
                    (0..500).map(one).collect::<Vec<_>>()
                })
            })
            .collect();
        threads.into_iter().flat_map(|t| t.join().unwrap()).collect()
    });
    journal.close();
    let expected: BTreeSet<(u64, String)> = numbers.into_iter().collect();
    let read = read_all(&journal, 0, 4096).0;
    assert_eq!(read.len(), 4000);
    assert_eq!(read.into_iter().collect::<BTreeSet<_>>(), expected);
    assert!(matches!(journal.append(b"late", Durability::Buffered), Err(JournalError::Closed)));
}

#[tokio::test]
async fn waiting_ends_when_there_is_something_to_read() {
    let dir = tempfile::tempdir().unwrap();
    let journal = Journal::open(settings(dir.path())).unwrap();
    let waiter = journal.clone();
    let waiting = tokio::spawn(async move {
        waiter.wait(0).await;
        waiter.read(0, 1000).unwrap()
    });
    tokio::task::yield_now().await;
    assert!(!waiting.is_finished());
    journal.append(b"buffered", Durability::Buffered).unwrap();
    let batch = waiting.await.unwrap();
    assert_eq!((&batch.records[0].payload[..], batch.through), (&b"buffered"[..], 1));
}

/// CPU time of the process, from schedstat(5): nanoseconds on a CPU of all threads.
fn cpu() -> Duration {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    let one = |task: std::io::Result<std::fs::DirEntry>| {
        let text = std::fs::read_to_string(task.ok()?.path().join("schedstat")).ok()?;
        text.split_whitespace().next()?.parse::<u64>().ok()
    };
    Duration::from_nanos(tasks.filter_map(one).sum())
}

#[test]
fn many_appends_arrive() {
    const EVENTS: u64 = 200_000;
    let dir = tempfile::tempdir().unwrap();
    let journal = Journal::open(settings(dir.path())).unwrap();
    let (from, wall) = (cpu(), Instant::now());
    for _ in 0..EVENTS {
        journal.append(&[7; 200], Durability::Buffered).unwrap();
    }
    append(&journal, "end");
    let (cpu, wall) = (cpu() - from, wall.elapsed());
    println!("{EVENTS} appends of 200 bytes: {cpu:?} of CPU, {wall:?}");
    let from = Instant::now();
    let (mut count, mut through) = (0, 0);
    while through < EVENTS + 1 {
        let batch = journal.read(through, 64 << 10).unwrap();
        count += batch.records.len() as u64;
        through = batch.through;
    }
    println!("read in {:?}", from.elapsed());
    assert_eq!(count, EVENTS + 1);
}
