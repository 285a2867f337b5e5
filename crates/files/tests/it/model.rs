//! Whatever happens between scans: the differences, applied in order, give what a fresh scan gives.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use proptest::prelude::*;

use crate::support::{Fixture, Recorder, tick};

#[derive(Clone, Debug)]
enum Step {
    Write { path: String, size: usize },
    Mkdir { path: String },
    Link { path: String },
    Remove { path: String },
    Rename { from: String, to: String },
    Chmod { path: String, mode: u32 },
    HardLink { from: String, to: String },
    Scan { commit: bool, promote: bool },
}

/// Few names and three levels, so that steps meet.
fn path() -> impl Strategy<Value = String> {
    proptest::collection::vec(prop::sample::select(vec!["a", "b", "a.b", "a-"]), 1..=3)
        .prop_map(|parts| parts.join("/"))
}

fn mode() -> impl Strategy<Value = u32> {
    prop::sample::select(vec![0o700, 0o755, 0o640])
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (path(), 0usize..9).prop_map(|(path, size)| Step::Write { path, size }),
        2 => path().prop_map(|path| Step::Mkdir { path }),
        1 => path().prop_map(|path| Step::Link { path }),
        3 => path().prop_map(|path| Step::Remove { path }),
        2 => (path(), path()).prop_map(|(from, to)| Step::Rename { from, to }),
        1 => (path(), mode()).prop_map(|(path, mode)| Step::Chmod { path, mode }),
        1 => (path(), path()).prop_map(|(from, to)| Step::HardLink { from, to }),
        2 => (any::<bool>(), any::<bool>()).prop_map(|(commit, promote)| Step::Scan { commit, promote }),
    ]
}

/// Steps that make no sense in the tree as it is do nothing.
fn act(f: &mut Fixture, step: Step) {
    match step {
        Step::Write { path, size } => {
            let path = f.path(path);
            let _ = fs::create_dir_all(path.parent().unwrap()).and_then(|()| fs::write(path, vec![b'x'; size]));
        }
        Step::Mkdir { path } => {
            let _ = fs::create_dir_all(f.path(path));
        }
        Step::Link { path } => {
            let _ = symlink("a", f.path(path));
        }
        Step::Remove { path } => {
            let path = f.path(path);
            let _ = fs::remove_file(&path).or_else(|_| fs::remove_dir_all(&path));
        }
        Step::Rename { from, to } => {
            let _ = fs::rename(f.path(from), f.path(to));
        }
        Step::Chmod { path, mode } => {
            let _ = fs::set_permissions(f.path(path), fs::Permissions::from_mode(mode));
        }
        Step::HardLink { from, to } => {
            let _ = fs::hard_link(f.path(from), f.path(to));
        }
        Step::Scan { commit, promote } => scan(f, commit, promote),
    }
}

fn scan(f: &mut Fixture, commit: bool, promote: bool) {
    let mut recorder = Recorder::holding(f.state.clone());
    let summary = f.scan_into(&mut recorder).unwrap();
    assert_eq!(recorder.errors, []);
    assert_eq!(recorder.state, f.fresh());
    if commit {
        f.state = recorder.state;
        f.committed = summary.generation;
        if promote {
            f.promote(summary.generation);
        }
    }
    tick();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]
    #[test]
    fn differences_add_up(steps in proptest::collection::vec(step(), 1..40)) {
        let mut f = Fixture::new();
        for step in steps {
            act(&mut f, step);
        }
        scan(&mut f, true, true);
        scan(&mut f, true, true);
    }
}
