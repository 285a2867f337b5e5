//! System calls that fail during a walk: the rest of the tree is told all the same.

use std::fs;
use std::os::unix::ffi::OsStrExt;

use hostler_model::ScanOptions;
use rustix::io::Errno;

use crate::faults::{Call, clear, inject};
use crate::{Control, Found, Progress, ScanFailure, SinkClosed, WalkProblem, WalkRequest, WalkSink, walk};

#[derive(Default)]
struct Seen {
    names: Vec<String>,
    problems: Vec<String>,
}

impl WalkSink for Seen {
    fn entry(&mut self, dir: &[u8], name: &[u8], _found: &Found) -> Result<(), SinkClosed> {
        self.names.push(format!("{}/{}", String::from_utf8_lossy(dir), String::from_utf8_lossy(name)));
        Ok(())
    }

    fn problem(&mut self, problem: WalkProblem<'_>) -> Result<(), SinkClosed> {
        let WalkProblem { path, operation, source } = problem;
        self.problems.push(format!("{operation} {}: {}", String::from_utf8_lossy(path), source.kind()));
        Ok(())
    }
}

fn walked(call: Call, path: &[u8], errno: Errno) -> Result<Seen, ScanFailure> {
    clear();
    let dir = tempfile::tempdir().unwrap();
    for path in ["a", "b/c", "b/d/e", "z/y"] {
        let path = dir.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "content").unwrap();
    }
    inject(call, path, errno);
    let mut seen = Seen::default();
    let request = WalkRequest {
        root: dir.path().as_os_str().as_bytes(),
        options: &ScanOptions::default(),
        skipped_dirs: &[],
        control: &Control::default(),
        progress: &Progress::default(),
    };
    walk(request, &mut seen).map(|()| seen)
}

#[test]
fn what_cannot_be_looked_at_is_told_and_the_rest_too() {
    for (call, path, problem, names) in [
        (Call::Stat, &b"b/c"[..], "stat b/c: permission denied", &["/a", "b/d/e", "z/y"][..]),
        (Call::List, b"b", "list b: permission denied", &["/a", "z/y"]),
        (Call::Enter, b"b/d", "enter b/d: permission denied", &["/a", "b/c", "z/y"]),
    ] {
        let seen = walked(call, path, Errno::ACCESS).unwrap();
        assert_eq!(seen.problems, [problem]);
        assert_eq!(seen.names, names);
    }
}

#[test]
fn what_is_gone_is_passed_over() {
    for (call, path) in [(Call::Stat, &b"b/c"[..]), (Call::List, b"b"), (Call::Enter, b"b")] {
        assert_eq!(walked(call, path, Errno::NOENT).unwrap().problems, Vec::<String>::new());
    }
}

#[test]
fn a_root_that_cannot_be_listed_ends_the_walk() {
    assert!(matches!(walked(Call::List, b"", Errno::IO), Err(ScanFailure::RootUnreadable { .. })));
}
