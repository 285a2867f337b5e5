//! Looks whether a gateway's index of a root says exactly what is on disk.

use std::collections::{BTreeMap, HashMap};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use anyhow::{Context, Result, ensure};
use hostler_model::{ByteStr, Timestamp};
use serde_json::value::RawValue;

use crate::http::Http;

/// What is compared of an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Seen {
    kind: &'static str,
    /// Of a directory, the sum of the files below.
    size: u64,
    /// Files below a directory.
    files: u64,
    /// As JSON has it.
    mtime_ms: i64,
    dev: u64,
    ino: u64,
    nlink: u64,
    mode: u32,
    hash: String,
}

/// What is told of a root that does not agree, a line an entry and at most twenty of them; empty when index and tree agree
/// exactly: names, kinds, sizes, times, devices, inodes, links, modes, contents, and the sums of directories.
///
/// # Errors
/// When the gateway does not answer, or the tree cannot be read.
pub fn disagreements(gateway: &Http, root: &Path) -> Result<Vec<String>> {
    let mut tree = BTreeMap::new();
    walk(root, &mut tree)?;
    let index = indexed(gateway, root)?;
    let mut told = Vec::new();
    for (path, on_disk) in &tree {
        match index.get(path) {
            None => told.push(format!("{}: on disk, not in the index", path.display())),
            Some(indexed) if indexed != on_disk => {
                told.push(format!("{}:\n  disk  {on_disk:?}\n  index {indexed:?}", path.display()));
            }
            Some(_) => {}
        }
    }
    told.extend(
        index
            .keys()
            .filter(|path| !tree.contains_key(*path))
            .map(|p| format!("{}: in the index, not on disk", p.display())),
    );
    told.truncate(20);
    Ok(told)
}

/// Adds everything below `dir`; gives the files and bytes below it.
fn walk(dir: &Path, tree: &mut BTreeMap<ByteStr, Seen>) -> Result<(u64, u64)> {
    let (mut files, mut bytes) = (0, 0);
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        let m = path.symlink_metadata()?;
        let t = m.file_type();
        let mut seen = Seen {
            kind: if t.is_file() {
                "file"
            } else if t.is_symlink() {
                "symlink"
            } else {
                "other"
            },
            size: m.size(),
            files: 0,
            mtime_ms: millis(Timestamp::from_nanos(m.mtime() * 1_000_000_000 + m.mtime_nsec())),
            dev: m.dev(),
            ino: m.ino(),
            nlink: m.nlink(),
            mode: m.mode() & 0o7777,
            hash: String::new(),
        };
        if t.is_file() {
            seen.hash = blake3::hash(&std::fs::read(&path)?).to_hex().to_string();
            (files, bytes) = (files + 1, bytes + m.size());
        } else if t.is_dir() {
            let below = walk(&path, tree)?;
            seen = Seen { kind: "dir", size: below.1, files: below.0, ..seen };
            (files, bytes) = (files + below.0, bytes + below.1);
        } else if t.is_block_device() || t.is_char_device() {
            seen.size = m.size();
        }
        tree.insert(ByteStr::from(path.as_os_str().as_bytes()), seen);
    }
    Ok((files, bytes))
}

fn indexed(gateway: &Http, root: &Path) -> Result<HashMap<ByteStr, Seen>> {
    let below = ByteStr::from(root.as_os_str().as_bytes()).to_query();
    let mut all = HashMap::new();
    let mut cursor = String::new();
    loop {
        let target =
            format!("/api/v1/files?below={below}&kind=file&kind=dir&kind=symlink&kind=other&limit=1000{cursor}");
        let answer = gateway.try_send("GET", &target, b"")?;
        ensure!(answer.status == 200, "{}: {}", answer.status, answer.text());
        let page: BTreeMap<String, Box<RawValue>> = serde_json::from_slice(&answer.body)?;
        let items = page.get("items").context("no items")?.get();
        for row in serde_json::from_str::<Vec<HashMap<String, Box<RawValue>>>>(items)? {
            let (path, seen) = read(&row)?;
            ensure!(all.insert(path.clone(), seen).is_none(), "{} is in the index twice", path.display());
        }
        match serde_json::from_str::<Option<String>>(page.get("next").map_or("null", |next| next.get()))? {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return Ok(all),
        }
    }
}

fn read(row: &HashMap<String, Box<RawValue>>) -> Result<(ByteStr, Seen)> {
    let raw = |field: &str| row.get(field).map(|raw| raw.get()).with_context(|| format!("no {field}"));
    let number = |field: &str| Ok::<u64, anyhow::Error>(serde_json::from_str::<Option<u64>>(raw(field)?)?.unwrap_or(0));
    let kind: String = serde_json::from_str(raw("kind")?)?;
    let kind = ["file", "dir", "symlink", "other"].into_iter().find(|k| *k == kind).context("an unknown kind")?;
    let seen = Seen {
        kind,
        size: number("size")?,
        files: number("files")?,
        mtime_ms: millis(serde_json::from_str::<Timestamp>(raw("mtime")?)?),
        dev: number("dev")?,
        ino: number("ino")?,
        nlink: number("nlink")?,
        mode: u32::try_from(number("mode")?)?,
        hash: serde_json::from_str::<Option<String>>(raw("hash")?)?.unwrap_or_default(),
    };
    Ok((serde_json::from_str(raw("path")?)?, seen))
}

fn millis(time: Timestamp) -> i64 {
    time.micros().div_euclid(1000)
}
