use std::fs::OpenOptions;
use std::path::Path;

use hostler_journal::Journal;
use proptest::prelude::*;

use crate::support::{append, read_all, segments, settings, small};

/// What was written before, each time with other words, so that a wrong payload is seen.
fn text(n: u64) -> String {
    format!("event {n} {}", "abcdefghij".repeat(n as usize % 5))
}

fn write(dir: &Path, events: u64, segment_bytes: u64) {
    let journal = Journal::open(small(dir, segment_bytes, 10 << 20)).unwrap();
    for n in 1..=events {
        append(&journal, &text(n));
    }
}

#[test]
fn a_tail_torn_anywhere_is_cut_and_its_number_given_again() {
    let whole = tempfile::tempdir().unwrap();
    write(whole.path(), 5, 1 << 20);
    let segment = segments(whole.path()).remove(0);
    let bytes = std::fs::read(&segment).unwrap();
    let last = 16 + text(5).len();
    for cut in 0..last {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(segment.file_name().unwrap()), &bytes[..bytes.len() - last + cut]).unwrap();
        let journal = Journal::open(settings(dir.path())).unwrap();
        let expected: Vec<(u64, String)> = (1..=4).map(|n| (n, text(n))).collect();
        assert_eq!(read_all(&journal, 0, 1000), (expected.clone(), 4), "cut to {cut}");
        assert_eq!(append(&journal, "again"), 5);
        assert_eq!(read_all(&journal, 4, 1000).0, [(5, "again".to_owned())]);
        drop(journal);
        assert_eq!(append(&Journal::open(settings(dir.path())).unwrap(), "more"), 6);
    }
}

#[test]
fn damage_in_the_middle_of_the_last_segment_gives_no_number_twice() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), 50, 1 << 20);
    flip(&segments(dir.path())[0], 200, 1);
    for _ in 0..2 {
        let journal = Journal::open(settings(dir.path())).unwrap();
        let next = append(&journal, "after the damage");
        assert!(next > 50);
        let (read, through) = read_all(&journal, 0, 1000);
        assert!(read.len() < 50 && through == next);
        assert!(read.iter().all(|(seq, payload)| *seq > 50 || *payload == text(*seq)));
    }
}

#[test]
fn damage_found_while_reading_skips_to_the_next_segment_and_is_counted_once() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), 100, 1000);
    let journal = Journal::open(small(dir.path(), 1000, 10 << 20)).unwrap();
    let files = segments(dir.path());
    let number = |at: usize| files[at].file_stem().unwrap().to_str().unwrap().parse::<u64>().unwrap();
    flip(&files[1], 60, 4);
    std::fs::remove_file(&files[3]).unwrap();
    let lost: Vec<u64> = (number(1)..number(2)).chain(number(3)..number(4)).collect();
    let expected: Vec<(u64, String)> = (1..=100).filter(|n| !lost.contains(n)).map(|n| (n, text(n))).collect();
    for _ in 0..2 {
        assert_eq!(read_all(&journal, 0, 300), (expected.clone(), 100));
        assert_eq!(journal.status().lost, lost.len() as u64);
    }
}

#[test]
fn damage_in_the_segment_being_written_does_not_hide_what_follows() {
    let dir = tempfile::tempdir().unwrap();
    let journal = Journal::open(settings(dir.path())).unwrap();
    for n in 1..=10 {
        append(&journal, &text(n));
    }
    flip(&segments(dir.path())[0], 60, 4);
    assert_eq!(read_all(&journal, 0, 1000), (Vec::new(), 10));
    assert_eq!(journal.status().lost, 10);
    assert_eq!(append(&journal, "after"), 11);
    assert_eq!(read_all(&journal, 10, 1000).0, [(11, "after".to_owned())]);
    drop(journal);
    let journal = Journal::open(settings(dir.path())).unwrap();
    assert_eq!(read_all(&journal, 0, 1000).0, [(11, "after".to_owned())]);
}

#[test]
fn acknowledged_numbers_are_not_given_again_when_the_segments_are_cut() {
    let dir = tempfile::tempdir().unwrap();
    let journal = Journal::open(settings(dir.path())).unwrap();
    for n in 1..=10 {
        append(&journal, &text(n));
    }
    journal.acknowledge(10);
    drop(journal);
    let file = OpenOptions::new().write(true).open(&segments(dir.path())[0]).unwrap();
    file.set_len(100).unwrap();
    assert_eq!(append(&Journal::open(settings(dir.path())).unwrap(), "next"), 11);
    assert_eq!(append(&Journal::open(settings(dir.path())).unwrap(), "next"), 12);
}

fn flip(path: &Path, at: usize, bit: u8) {
    let mut bytes = std::fs::read(path).unwrap();
    let at = at % bytes.len();
    bytes[at] ^= 1 << bit;
    std::fs::write(path, bytes).unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    /// Flipped bits, cut and grown files, in any segment: what is read is what was written, and appending goes on.
    #[test]
    fn damage_is_never_taken_for_an_event(
        flips in prop::collection::vec((any::<usize>(), any::<usize>(), 0u8..8), 1..4),
        cut in prop::option::of((any::<usize>(), any::<usize>())),
        noise in prop::collection::vec(any::<u8>(), 0..40),
    ) {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), 40, 700);
        let files = segments(dir.path());
        for (file, at, bit) in flips {
            flip(&files[file % files.len()], at, bit);
        }
        if let Some((file, len)) = cut {
            let path = &files[file % files.len()];
            let mut bytes = std::fs::read(path).unwrap();
            bytes.truncate(len % bytes.len());
            bytes.extend(noise);
            std::fs::write(path, bytes).unwrap();
        }
        for _ in 0..2 {
            let journal = Journal::open(small(dir.path(), 700, 10 << 20)).unwrap();
            let next = append(&journal, "new");
            let (read, through) = read_all(&journal, 0, 300);
            prop_assert_eq!(through, next);
            prop_assert_eq!(&read.last().unwrap().1, "new");
            for (seq, payload) in &read {
                prop_assert!(payload == "new" || *payload == text(*seq), "{} {}", seq, payload);
            }
        }
    }
}
