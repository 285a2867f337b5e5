//! Manifests that are cut off, altered or foreign are never believed.

use std::fs;

use proptest::prelude::*;

use crate::support::{Fixture, tick};

fn scanned() -> Fixture {
    let mut f = Fixture::new();
    for i in 0..40 {
        f.write(&format!("dir{}/file{i}", i % 5), format!("content {i}"));
    }
    f.scan();
    f
}

/// After damage a scan from the committed state is full, reads everything, and is right.
fn recovers(f: &mut Fixture) {
    tick();
    let scanned = f.scan();
    assert!(scanned.full);
    assert_eq!(scanned.summary.counters.hashed_files, 40);
    assert_eq!(f.state, f.fresh());
}

#[test]
fn a_manifest_is_small() {
    let mut f = Fixture::new();
    for i in 0..2000 {
        f.write(&format!("d{}/some-file-name-{i}.txt", i % 20), format!("{i}"));
    }
    f.scan();
    let size = fs::metadata(&f.manifest_files("manifest")[0]).unwrap().len();
    println!("{} bytes per file", size / 2000);
    assert!(size / 2000 <= 90, "{size}");
}

#[test]
fn truncated_anywhere() {
    let mut f = scanned();
    let path = f.manifest_files("manifest").remove(0);
    let whole = fs::read(&path).unwrap();
    for len in [0, 7, 8, 20, whole.len() / 2, whole.len() - 1] {
        let path = f.manifest_files("manifest").remove(0);
        fs::write(&path, &whole[..len]).unwrap();
        recovers(&mut f);
    }
    let path = f.manifest_files("manifest").remove(0);
    fs::write(&path, [&whole[..], b"more"].concat()).unwrap();
    recovers(&mut f);
}

#[test]
fn of_another_root_or_version() {
    let mut f = scanned();
    let other = scanned();
    fs::copy(&other.manifest_files("manifest")[0], &f.manifest_files("manifest")[0]).unwrap();
    recovers(&mut f);
    let path = f.manifest_files("manifest").remove(0);
    let mut bytes = fs::read(&path).unwrap();
    bytes[7] += 1;
    fs::write(&path, bytes).unwrap();
    recovers(&mut f);
    let path = f.manifest_files("manifest").remove(0);
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    let mut recorder = crate::support::Recorder::default();
    f.scan_into(&mut recorder).unwrap();
    assert!(recorder.full);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]
    #[test]
    fn any_altered_byte(position in any::<prop::sample::Index>(), flip in 1u8..) {
        let mut f = scanned();
        let path = f.manifest_files("manifest").remove(0);
        let mut bytes = fs::read(&path).unwrap();
        let at = position.index(bytes.len());
        bytes[at] ^= flip;
        fs::write(&path, bytes).unwrap();
        recovers(&mut f);
    }
}
