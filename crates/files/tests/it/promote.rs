//! Generations: what is current, what is pending, and what a scan compares with.

use std::os::unix::ffi::OsStrExt;

use hostler_files::{PromoteError, ScanFailure};

use crate::support::{Fixture, Recorder, tick};

#[test]
fn promoting_is_idempotent_and_knows_only_its_generations() {
    let f = Fixture::new();
    let root = f.root();
    let root = root.as_os_str().as_bytes();
    let summary = f.scan_into(&mut Recorder::default()).unwrap();
    let wrong = f.manifests.promote(root, summary.generation + 1).unwrap_err();
    assert!(matches!(wrong, PromoteError::UnknownGeneration { pending: Some(p), .. } if p == summary.generation));
    f.manifests.promote(root, summary.generation).unwrap();
    f.manifests.promote(root, summary.generation).unwrap();
    assert!(f.manifests.promote(b"/never/scanned", summary.generation).is_err());
    f.manifests.forget(root).unwrap();
    f.manifests.forget(root).unwrap();
    assert!(f.manifests.promote(root, summary.generation).is_err());
}

#[test]
fn a_lost_promote_is_made_up_for() {
    let mut f = Fixture::new();
    f.write("a", "1");
    f.scan();
    f.write("b", "2");
    let mut recorder = Recorder::holding(f.state.clone());
    let summary = f.scan_into(&mut recorder).unwrap();
    assert_eq!(recorder.log, ["- dir ", "created b"]);
    // Committed, and the promote never came.
    f.committed = summary.generation;
    f.state = recorder.state;
    f.write("c", "3");
    let third = f.scan();
    assert!(!third.full);
    assert_eq!(third.changes(), ["created c"]);
    assert_eq!(f.state, f.fresh());
}

#[test]
fn differences_that_were_not_committed_come_again() {
    let mut f = Fixture::new();
    f.write("a", "1");
    f.scan();
    f.write("b", "2");
    f.scan_into(&mut Recorder::holding(f.state.clone())).unwrap();
    let again = f.scan();
    assert_eq!(again.changes(), ["created b"]);
    assert_eq!(f.state, f.fresh());
}

#[test]
fn an_unknown_base_makes_the_scan_full_and_saves_hashing() {
    let mut f = Fixture::new();
    f.write("a", "1");
    f.write("b", "2");
    f.scan();
    tick();
    f.write("b", "changed");
    std::fs::remove_file(f.path("a")).unwrap();
    f.write("c", "3");
    f.committed = 12345;
    let full = f.scan();
    assert!(full.full);
    assert_eq!(full.log, ["- dir ", "modified b", "created c"]);
    assert_eq!(f.state, f.fresh());

    f.committed = 0;
    let fresh = f.scan();
    assert!(fresh.full);
    assert_eq!(fresh.log, ["created dir ", "created b", "created c"]);
    assert_eq!((fresh.summary.counters.hashed_files, fresh.summary.counters.expected_files), (0, 2));
}

#[test]
fn generations_grow_and_fit_signed_integers() {
    let f = Fixture::new();
    let first = f.scan_with(0, &mut Recorder::default()).unwrap().generation;
    assert!(first > 1_600_000_000_000_000, "microseconds since the epoch");
    let ahead = first + 3_600_000_000;
    assert_eq!(f.scan_with(ahead, &mut Recorder::default()).unwrap().generation, ahead + 1);
    let last = i64::MAX.cast_unsigned();
    assert_eq!(f.scan_with(last - 1, &mut Recorder::default()).unwrap().generation, last);
    for base in [last, u64::MAX] {
        let error = f.scan_with(base, &mut Recorder::default()).unwrap_err();
        assert!(matches!(error, ScanFailure::BadGeneration { .. }));
    }
}
