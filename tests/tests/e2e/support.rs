//! A running Hostler with one granted tree, and the ways in which tests look at it.

use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use hostler_model::ByteStr;
use hostler_testkit::Hostler;
use serde_json::Value;
use serde_json::value::RawValue;
use tempfile::TempDir;

/// A directory of a test's own with a granted tree in it, and Hostler running on it.
pub struct Bench {
    pub hostler: Hostler,
    /// The granted directory, links resolved.
    pub tree: PathBuf,
    dir: TempDir,
}

impl Bench {
    /// Fills the tree, then starts Hostler.
    pub fn new(fill: impl FnOnce(&Path)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let tree = dir.path().canonicalize().unwrap().join("tree");
        std::fs::create_dir(&tree).unwrap();
        fill(&tree);
        let hostler = Hostler::start(&dir.path().join("data"), &[&tree]).unwrap();
        Self { hostler, tree, dir }
    }

    /// A path beside the tree, which is not granted.
    pub fn beside(&self, name: &str) -> PathBuf {
        self.dir.path().canonicalize().unwrap().join(name)
    }

    /// Stops it and starts it again on the same data.
    pub fn restart(self, end: impl FnOnce(Hostler) -> anyhow::Result<()>) -> Self {
        let data = self.hostler.data().to_owned();
        end(self.hostler).unwrap();
        Self { hostler: Hostler::start_as_is(&data).unwrap(), ..self }
    }

    /// Scans the tree to the end; what `scan --json` printed.
    pub fn scan(&self) -> Value {
        self.scan_with(&[])
    }

    /// As [`Bench::scan`], with options.
    pub fn scan_with(&self, options: &[&str]) -> Value {
        let mut args = vec!["scan".into(), self.tree.clone().into_os_string(), "--json".into()];
        args.extend(options.iter().map(Into::into));
        self.hostler.ok(args).json()
    }

    /// What a scan found changed, as `op kind path`, sorted.
    pub fn changes(&self, scan: &Value) -> Vec<String> {
        let shown = self.hostler.ok(["scans", "show", id(scan), "--json"]).json();
        let text = |change: &Value, field: &str| change[field].as_str().unwrap().to_owned();
        let mut all: Vec<String> = shown["changes"]
            .as_array()
            .unwrap()
            .iter()
            .map(|c| format!("{} {} {}", text(c, "op"), text(c, "kind"), text(c, "path")))
            .collect();
        all.sort();
        all
    }

    /// The index below the tree: relative path to (kind, size). Everything but directories.
    pub fn index(&self) -> BTreeMap<Vec<u8>, (String, u64)> {
        let args = ["files", "find", "--json", "--limit", "100000", "--root"].map(Into::into);
        let output = self.hostler.ok(args.into_iter().chain([self.tree.clone().into_os_string()]));
        let rows: Vec<BTreeMap<String, Box<RawValue>>> = serde_json::from_str(&output.stdout).unwrap();
        let prefix = [self.tree.as_os_str().as_bytes(), b"/"].concat();
        rows.iter()
            .map(|row| {
                let path: ByteStr = serde_json::from_str(row["path"].get()).unwrap();
                let kind: String = serde_json::from_str(row["kind"].get()).unwrap();
                let size = serde_json::from_str(row["size"].get()).unwrap();
                (path.as_bytes().strip_prefix(prefix.as_slice()).unwrap().to_vec(), (kind, size))
            })
            .collect()
    }

    /// The same, seen by a walk of the test.
    pub fn walked(&self) -> BTreeMap<Vec<u8>, (String, u64)> {
        let mut found = BTreeMap::new();
        walk(&self.tree, &mut |path, metadata| {
            if metadata.is_dir() {
                return;
            }
            let kind = match metadata.file_type() {
                t if t.is_file() => "file",
                t if t.is_symlink() => "symlink",
                _ => "other",
            };
            let relative = path.strip_prefix(&self.tree).unwrap().as_os_str().as_bytes().to_vec();
            found.insert(relative, (kind.to_owned(), metadata.len()));
        });
        found
    }
}

/// Calls `see` for everything below `dir`.
pub fn walk(dir: &Path, see: &mut dyn FnMut(&Path, &std::fs::Metadata)) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let metadata = path.symlink_metadata().unwrap();
        see(&path, &metadata);
        if metadata.is_dir() {
            walk(&path, see);
        }
    }
}

/// The id of a scan in JSON.
pub fn id(scan: &Value) -> &str {
    scan["id"].as_str().unwrap()
}

/// Writes a file, and the directories above it.
pub fn write(path: PathBuf, content: impl AsRef<[u8]>) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, content).unwrap();
}

/// Fills a tree with files of a few bytes.
pub fn files(tree: &Path, count: usize) {
    for i in 0..count {
        write(tree.join(format!("dir-{}/a-file-with-a-name-of-some-length-{i:05}", i % 20)), i.to_string());
    }
}

/// True for a host, as `hosts list --json` has it, that is linked.
pub fn linked(host: &Value) -> bool {
    host["linked"] == true
}

/// How many files the indexes of a gateway have.
pub fn found(gateway: &Hostler) -> usize {
    let args = ["files", "find", "--kind", "file", "--limit", "100000", "--json"];
    gateway.ok(args).json().as_array().unwrap().len()
}

/// Scans a tree of a gateway's only host; the scan when it has ended.
pub fn scan_to_end(gateway: &Hostler, tree: &Path) -> Value {
    let started = gateway.start_scan(tree, [""; 0]);
    gateway.wait_scan(&started, &["completed", "failed", "cancelled"])["scan"].clone()
}
