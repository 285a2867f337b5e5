use hostler_journal::{Durability, Journal};

use crate::support::{read_all, segments, small};

fn bytes(dir: &std::path::Path) -> u64 {
    segments(dir).iter().map(|p| p.metadata().unwrap().len()).sum()
}

#[test]
fn at_the_bound_the_oldest_go_and_the_reader_sees_a_jump() {
    let dir = tempfile::tempdir().unwrap();
    let journal = Journal::open(small(dir.path(), 2_000, 10_000)).unwrap();
    for n in 1..=10u64 {
        journal.append(format!("{n:0100}").as_bytes(), Durability::Flushed).unwrap();
    }
    let first = journal.read(0, 300).unwrap();
    assert_eq!(first.through, 2);
    for n in 11..=1000u64 {
        journal.append(format!("{n:0100}").as_bytes(), Durability::Flushed).unwrap();
        assert!(bytes(dir.path()) <= 10_000);
    }
    let status = journal.status();
    let (rest, through) = read_all(&journal, first.through, 300);
    let numbers: Vec<u64> = rest.iter().map(|(seq, _)| *seq).collect();
    assert_eq!((numbers[0], through), (status.first, 1000));
    assert!(numbers[0] > 900);
    assert_eq!(numbers, (numbers[0]..=1000).collect::<Vec<_>>());
    assert_eq!(status.lost, numbers[0] - 1);
    drop(journal);
    // Over a restart the jump stays, and the numbers go on.
    let journal = Journal::open(small(dir.path(), 2_000, 10_000)).unwrap();
    assert_eq!(read_all(&journal, 2, 300).0, rest);
    assert_eq!(journal.append(b"next", Durability::Flushed).unwrap(), 1001);
}

#[test]
fn acknowledged_events_that_go_are_not_lost() {
    let dir = tempfile::tempdir().unwrap();
    let journal = Journal::open(small(dir.path(), 2_000, 10_000)).unwrap();
    for n in 1..=1000u64 {
        journal.append(format!("{n:0100}").as_bytes(), Durability::Flushed).unwrap();
        journal.acknowledge(n);
    }
    assert_eq!(journal.status().lost, 0);
    assert!(journal.status().bytes < 5_000);
}
