//! A tree to scan, and a sink that remembers.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use hostler_files::{
    Control, ManifestStore, Progress, ScanFailure, ScanRequest, ScanSink, ScanSummary, SinkClosed, scan,
};
use hostler_model::bytestr::display;
use hostler_model::{ChangeOp, ContentHash, Entry, EntryKind, ScanOptions};

/// What the receiver of scans holds: directories, and other entries by directory and name.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct State {
    pub dirs: BTreeMap<Vec<u8>, Entry>,
    pub entries: BTreeMap<(Vec<u8>, Vec<u8>), Entry>,
}

impl State {
    pub fn entry(&self, dir: &str, name: &str) -> &Entry {
        &self.entries[&(dir.as_bytes().to_vec(), name.as_bytes().to_vec())]
    }

    pub fn paths(&self) -> Vec<String> {
        self.entries.keys().map(|(dir, name)| display(&join(dir, name)).into_owned()).collect()
    }
}

/// Applies what it is told to a state, checks the order, and keeps a readable log.
#[derive(Default)]
pub struct Recorder {
    pub state: State,
    pub full: bool,
    /// `created a/b`, `- dir a` for no op, `removed a`; in the order of the calls.
    pub log: Vec<String>,
    /// Path, operation, message.
    pub errors: Vec<(String, &'static str, String)>,
    close_after: Option<usize>,
    cancel_at: Option<(usize, Control)>,
    last_dir: Option<Vec<Vec<u8>>>,
    calls: usize,
}

impl Recorder {
    /// A receiver that holds an earlier state.
    pub fn holding(state: State) -> Self {
        Self { state, ..Self::default() }
    }

    /// A receiver that goes away after so many calls.
    pub fn closing_after(calls: usize) -> Self {
        Self { close_after: Some(calls), ..Self::default() }
    }

    /// A receiver that cancels in its n-th call.
    pub fn cancelling_at(call: usize, cancel: &Control) -> Self {
        Self { cancel_at: Some((call, cancel.clone())), ..Self::default() }
    }

    fn call(&mut self) -> Result<(), SinkClosed> {
        self.calls += 1;
        if let Some((at, cancel)) = &self.cancel_at
            && self.calls == *at
        {
            cancel.cancel();
        }
        if self.close_after.is_some_and(|limit| self.calls > limit) { Err(SinkClosed) } else { Ok(()) }
    }

    fn in_walk_order(&mut self, dir: &[u8]) {
        let parts: Vec<Vec<u8>> = dir.split(|&b| b == b'/').filter(|p| !p.is_empty()).map(<[u8]>::to_vec).collect();
        assert!(self.last_dir.as_ref().is_none_or(|last| *last <= parts), "{dir:?} after {:?}", self.last_dir);
        self.last_dir = Some(parts);
    }

    fn note(&mut self, op: Option<ChangeOp>, what: &str, path: &[u8]) {
        self.log.push(format!("{} {what}{}", op.map_or("-", ChangeOp::word), display(path)));
    }
}

impl ScanSink for Recorder {
    fn started(&mut self, full: bool) -> Result<(), SinkClosed> {
        self.full = full;
        if full {
            self.state = State::default();
        }
        self.call()
    }

    fn dir(&mut self, path: &[u8], op: Option<ChangeOp>, entry: &Entry) -> Result<(), SinkClosed> {
        self.in_walk_order(path);
        self.note(op, "dir ", path);
        self.state.dirs.insert(path.to_vec(), *entry);
        self.call()
    }

    fn entry(
        &mut self,
        dir: &[u8],
        name: &[u8],
        op: Option<ChangeOp>,
        entry: Option<&Entry>,
    ) -> Result<(), SinkClosed> {
        self.in_walk_order(dir);
        assert_eq!(entry.is_none(), op == Some(ChangeOp::Deleted));
        self.note(op, "", &join(dir, name));
        let key = (dir.to_vec(), name.to_vec());
        match entry {
            Some(entry) => {
                self.state.entries.insert(key, *entry);
            }
            None => assert!(self.state.entries.remove(&key).is_some(), "{key:?} was not there"),
        }
        self.call()
    }

    fn dir_removed(&mut self, path: &[u8]) -> Result<(), SinkClosed> {
        self.in_walk_order(path);
        self.log.push(format!("removed {}", display(path)));
        assert!(self.state.dirs.contains_key(path), "{path:?} was not there");
        let below = |dir: &[u8]| dir == path || dir.strip_prefix(path).is_some_and(|rest| rest.starts_with(b"/"));
        self.state.dirs.retain(|dir, _| !below(dir));
        self.state.entries.retain(|(dir, _), _| !below(dir));
        self.call()
    }

    fn error(&mut self, path: &[u8], operation: &'static str, message: &str) -> Result<(), SinkClosed> {
        self.errors.push((display(path).into_owned(), operation, message.to_owned()));
        self.call()
    }
}

fn join(dir: &[u8], name: &[u8]) -> Vec<u8> {
    if dir.is_empty() { name.to_vec() } else { [dir, b"/", name].concat() }
}

/// A temporary tree with manifests beside it, and the generation that the receiver committed.
pub struct Fixture {
    pub dir: tempfile::TempDir,
    pub options: ScanOptions,
    pub manifests: ManifestStore,
    pub committed: u64,
    pub state: State,
    pub control: Control,
}

/// One scan with all that came of it.
pub struct Scanned {
    pub summary: ScanSummary,
    pub log: Vec<String>,
    pub errors: Vec<(String, &'static str, String)>,
    pub full: bool,
}

impl Scanned {
    /// The log without directories that only have other times.
    pub fn changes(&self) -> Vec<&str> {
        self.log.iter().map(String::as_str).filter(|line| !line.starts_with('-')).collect()
    }
}

impl Fixture {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("tree")).unwrap();
        let manifests = ManifestStore::open(dir.path().join("manifests")).unwrap();
        Self {
            dir,
            options: ScanOptions::default(),
            manifests,
            committed: 0,
            state: State::default(),
            control: Control::default(),
        }
    }

    pub fn root(&self) -> PathBuf {
        self.dir.path().join("tree")
    }

    pub fn path(&self, path: impl AsRef<Path>) -> PathBuf {
        self.root().join(path)
    }

    /// Writes a file and the directories above it.
    pub fn write(&self, path: &str, content: impl AsRef<[u8]>) {
        let path = self.path(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }

    /// Scans from the committed state into `recorder`, and commits nothing.
    pub fn scan_into(&self, recorder: &mut Recorder) -> Result<ScanSummary, ScanFailure> {
        self.scan_with(self.committed, recorder)
    }

    /// A first scan, watched.
    pub fn scan_with_progress(&self, progress: &Progress, recorder: &mut Recorder) -> Result<ScanSummary, ScanFailure> {
        let root = self.root();
        let request = ScanRequest {
            root: root.as_os_str().as_bytes(),
            options: &self.options,
            base_generation: 0,
            manifests: &self.manifests,
            control: &self.control,
            progress,
        };
        scan(request, recorder)
    }

    pub fn scan_with(&self, base_generation: u64, recorder: &mut Recorder) -> Result<ScanSummary, ScanFailure> {
        let root = self.root();
        let request = ScanRequest {
            root: root.as_os_str().as_bytes(),
            options: &self.options,
            base_generation,
            manifests: &self.manifests,
            control: &self.control,
            progress: &Progress::default(),
        };
        scan(request, recorder)
    }

    /// Scans, commits and promotes.
    pub fn scan(&mut self) -> Scanned {
        let mut recorder = Recorder::holding(std::mem::take(&mut self.state));
        let summary = self.scan_into(&mut recorder).unwrap();
        self.promote(summary.generation);
        self.committed = summary.generation;
        self.state = recorder.state;
        Scanned { summary, log: recorder.log, errors: recorder.errors, full: recorder.full }
    }

    pub fn promote(&self, generation: u64) {
        self.manifests.promote(self.root().as_os_str().as_bytes(), generation).unwrap();
    }

    /// The whole state as a host without manifests tells it.
    pub fn fresh(&self) -> State {
        let manifests = tempfile::tempdir().unwrap();
        let store = ManifestStore::open(manifests.path().to_owned()).unwrap();
        let mut recorder = Recorder::default();
        let root = self.root();
        let request = ScanRequest {
            root: root.as_os_str().as_bytes(),
            options: &self.options,
            base_generation: 0,
            manifests: &store,
            control: &Control::default(),
            progress: &Progress::default(),
        };
        scan(request, &mut recorder).unwrap();
        assert!(recorder.full);
        recorder.state
    }

    /// After a fault has ended: one more scan, and what its receiver holds is exactly what is there. Another one tells
    /// nothing.
    pub fn settles(&mut self) {
        let scanned = self.scan();
        assert_eq!(scanned.errors, []);
        let there = walk(&self.root());
        assert!(self.state.dirs == there.dirs, "{:?}\n{:?}", self.state.dirs, there.dirs);
        assert!(self.state.entries == there.entries, "{:?}\n{:?}", self.state.entries, there.entries);
        assert_eq!(self.scan().log, Vec::<String>::new());
    }

    /// Manifest files with this extension.
    pub fn manifest_files(&self, extension: &str) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(self.dir.path().join("manifests")).unwrap();
        entries.map(|e| e.unwrap().path()).filter(|p| p.extension().is_some_and(|e| e == extension)).collect()
    }
}

/// What is there, found without the crate: with the standard library's calls, names of directories relative to the root.
pub fn walk(root: &Path) -> State {
    let mut state = State::default();
    let mut dirs = vec![Vec::new()];
    while let Some(dir) = dirs.pop() {
        let path = root.join(OsStr::from_bytes(&dir));
        state.dirs.insert(dir.clone(), look(&path));
        for name in std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().file_name()) {
            let entry = look(&path.join(&name));
            match entry.kind {
                EntryKind::Dir => dirs.push(join(&dir, name.as_bytes())),
                _ => {
                    state.entries.insert((dir.clone(), name.as_bytes().to_vec()), entry);
                }
            }
        }
    }
    state
}

fn look(path: &Path) -> Entry {
    let there = std::fs::symlink_metadata(path).unwrap();
    let kind = match there.file_type() {
        t if t.is_file() => EntryKind::File,
        t if t.is_dir() => EntryKind::Dir,
        t if t.is_symlink() => EntryKind::Symlink,
        _ => EntryKind::Other,
    };
    let content = (kind == EntryKind::File).then(|| std::fs::read(path).unwrap());
    Entry {
        kind,
        size: there.size(),
        mtime_ns: there.mtime() * 1_000_000_000 + there.mtime_nsec(),
        ctime_ns: there.ctime() * 1_000_000_000 + there.ctime_nsec(),
        dev: there.dev(),
        ino: there.ino(),
        nlink: there.nlink(),
        mode: there.mode() & 0o7777,
        uid: there.uid(),
        gid: there.gid(),
        hash: content.and_then(|content| ContentHash::new(blake3::hash(&content).as_bytes())),
    }
}

/// Lets the filesystem's clock tick, so that the next change has another time.
pub fn tick() {
    std::thread::sleep(std::time::Duration::from_millis(15));
}
