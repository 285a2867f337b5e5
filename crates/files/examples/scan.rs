//! Scans a directory and prints what came of it: `cargo run --release --example scan -- PATH [MANIFESTS]`.
//!
//! With a directory for manifests, a second run tells the differences from the first. `scan --walk PATH` only lists all
//! directories and looks at all names, as the least that any scan has to do.

use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::time::Instant;

use hostler_files::owners::Owners;
use hostler_files::{Control, ManifestStore, Progress, ScanRequest, ScanSink, SinkClosed, scan};
use hostler_model::{ChangeOp, Entry, ScanOptions, size};
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, RawDir, StatxFlags, openat, statx};

/// The base generation is kept beside the manifests, where a gateway would have it in its store.
const COMMITTED: &str = "committed";

/// Counts what it is told.
#[derive(Default)]
struct Count {
    full: bool,
    updates: u64,
}

impl ScanSink for Count {
    fn started(&mut self, full: bool) -> Result<(), SinkClosed> {
        self.full = full;
        Ok(())
    }

    fn dir(&mut self, _path: &[u8], _op: Option<ChangeOp>, _entry: &Entry) -> Result<(), SinkClosed> {
        self.updates += 1;
        Ok(())
    }

    fn entry(
        &mut self,
        _dir: &[u8],
        _name: &[u8],
        _op: Option<ChangeOp>,
        _entry: Option<&Entry>,
    ) -> Result<(), SinkClosed> {
        self.updates += 1;
        Ok(())
    }

    fn dir_removed(&mut self, _path: &[u8]) -> Result<(), SinkClosed> {
        self.updates += 1;
        Ok(())
    }

    fn error(&mut self, path: &[u8], operation: &'static str, message: &str) -> Result<(), SinkClosed> {
        eprintln!("{}: {operation}: {message}", hostler_model::bytestr::display(path));
        Ok(())
    }
}

/// Lists `dir` and all below and looks at every name; how many there are.
fn walk(dir: OwnedFd, buffer: &mut Vec<u8>) -> rustix::io::Result<u64> {
    let mut subdirs = Vec::new();
    let mut count = 0;
    {
        let mut listing = RawDir::new(&dir, buffer.spare_capacity_mut());
        while let Some(entry) = listing.next() {
            let entry = entry?;
            if matches!(entry.file_name().to_bytes(), b"." | b"..") {
                continue;
            }
            let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT;
            std::hint::black_box(statx(&dir, entry.file_name(), flags, StatxFlags::BASIC_STATS)?);
            count += 1;
            if entry.file_type() == FileType::Directory {
                subdirs.push(entry.file_name().to_owned());
            }
        }
    }
    for name in subdirs {
        count += walk(openat(&dir, name, DIRECTORY, Mode::empty())?, buffer)?;
    }
    Ok(count)
}

const DIRECTORY: OFlags = OFlags::DIRECTORY.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args_os().skip(1).map(PathBuf::from).peekable();
    if arguments.next_if(|argument| argument.as_os_str() == "--walk").is_some() {
        let root = openat(CWD, arguments.next().ok_or("usage: scan --walk PATH")?, DIRECTORY, Mode::empty())?;
        println!("{} names", size::grouped(walk(root, &mut Vec::with_capacity(64 << 10))?));
        return Ok(());
    }
    let root = std::fs::canonicalize(arguments.next().ok_or("usage: scan PATH [MANIFESTS]")?)?;
    let dir = arguments.next().unwrap_or_else(|| std::env::temp_dir().join(format!("scan-{}", std::process::id())));
    let manifests = ManifestStore::open(dir.clone())?;
    let committed = std::fs::read_to_string(dir.join(COMMITTED)).ok().and_then(|text| text.parse().ok());
    let request = ScanRequest {
        root: root.as_os_str().as_bytes(),
        options: &ScanOptions::default(),
        base_generation: committed.unwrap_or(0),
        manifests: &manifests,
        control: &Control::default(),
        progress: &Progress::default(),
    };
    let mut count = Count::default();
    let start = Instant::now();
    let summary = scan(request, &mut count)?;
    let elapsed = start.elapsed();
    manifests.promote(request.root, summary.generation)?;
    std::fs::write(dir.join(COMMITTED), summary.generation.to_string())?;

    let counters = summary.counters;
    println!("{} of {}", if count.full { "the whole state" } else { "differences" }, root.display());
    println!("{counters:#?}");
    let mut owners = Owners::load();
    let users: Vec<_> = summary.uids.iter().map(|&uid| owners.user(uid).unwrap_or_else(|| uid.to_string())).collect();
    println!(
        "{} files, {}, {} updates, owned by {}; {:.3} s",
        size::grouped(counters.files),
        size::human(counters.bytes),
        size::grouped(count.updates),
        users.join(", "),
        elapsed.as_secs_f64()
    );
    let status = std::fs::read_to_string("/proc/self/status")?;
    println!("{}", status.lines().find(|line| line.starts_with("VmHWM")).unwrap_or_default());
    Ok(())
}
