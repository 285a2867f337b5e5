//! Roots that cannot be scanned, and what real permission bits do where they bind.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;

use hostler_files::{Control, ManifestStore, Progress, ScanFailure, ScanRequest, scan};
use hostler_model::ScanOptions;

use crate::support::{Fixture, Recorder};

fn failure(f: &Fixture, path: &str) -> ScanFailure {
    let root = f.path(path);
    let request = ScanRequest {
        root: root.as_os_str().as_bytes(),
        options: &ScanOptions::default(),
        base_generation: 0,
        manifests: &f.manifests,
        control: &Control::default(),
        progress: &Progress::default(),
    };
    scan(request, &mut Recorder::default()).unwrap_err()
}

#[test]
fn a_root_is_a_directory_that_exists() {
    let f = Fixture::new();
    f.write("file", "");
    std::os::unix::fs::symlink(".", f.path("link")).unwrap();
    assert!(matches!(failure(&f, "missing"), ScanFailure::RootMissing { .. }));
    assert!(matches!(failure(&f, "file"), ScanFailure::NotADirectory { .. }));
    assert!(matches!(failure(&f, "/proc"), ScanFailure::NothingStored { .. }));
    // The caller resolves links: one that is there now was put there since.
    assert!(matches!(failure(&f, "link"), ScanFailure::NotADirectory { .. }));
    let text = failure(&f, "missing").to_string();
    assert!(text.contains("tree/missing does not exist"), "{text}");
}

#[test]
fn the_manifest_directory_is_private_and_must_be_creatable() {
    let f = Fixture::new();
    let mode = fs::metadata(f.dir.path().join("manifests")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
    f.write("file", "");
    let error = ManifestStore::open(f.path("file/below")).unwrap_err().to_string();
    assert!(error.starts_with("cannot create "), "{error}");
}

#[test]
fn permission_bits_where_they_bind() {
    if rustix::process::geteuid().is_root() {
        println!("not tested: permission bits do not bind root; see the crate's unit tests with injected faults");
        return;
    }
    let mut f = Fixture::new();
    f.write("closed/file", "1");
    f.scan();
    fs::set_permissions(f.path("closed"), fs::Permissions::from_mode(0o000)).unwrap();
    let second = f.scan();
    fs::set_permissions(f.path("closed"), fs::Permissions::from_mode(0o755)).unwrap();
    assert_eq!(second.errors[0].1, "enter");
    assert_eq!(f.state.paths(), ["closed/file"]);
}
