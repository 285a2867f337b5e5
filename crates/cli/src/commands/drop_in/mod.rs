//! `hostler drop-in`: in the place of another program.

mod snapfs_agent;
mod snapfs_scan;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Mutex;

use anyhow::Result;
use hostler_model::{Algorithm, ByteStr, ContentHash};
use hostler_snapfs::{Flags, Listener, ScanReport, Secret};

use crate::args::{DropIn, Snapfs};
use crate::dirs;

pub async fn run(command: DropIn) -> Result<ExitCode> {
    match command {
        DropIn::SnapfsAgent(args) => snapfs_agent::run(args, false).await,
        DropIn::SnapfsAgentScanner(args) => snapfs_agent::run(args, true).await,
        DropIn::SnapfsScan(args) => snapfs_scan::run(args).await,
    }
}

/// The flags that scan and agent share. `root` is what will be scanned.
fn flags(args: Snapfs, root: &Path) -> Result<Flags> {
    Ok(Flags {
        gateway: args.gateway,
        token: args.token.map(Secret::new),
        api_key: args.api_key.map(Secret::new),
        algorithm: args.algo,
        workers: args.workers.map(usize::from),
        hash_chunk_size: args.hash_chunk_size,
        excludes: args.exclude,
        one_file_system: args.one_file_system,
        spool: match args.spool {
            Some(dir) => std::path::absolute(dir)?,
            None => default_spool(root)?,
        },
        spool_bytes: args.spool_size,
    })
}

/// `snapfs` in the data directory. A container's may be what it scans, `/data`: then it is not used.
fn default_spool(root: &Path) -> Result<PathBuf> {
    let data = dirs::data(std::env::var_os("HOSTLER_DATA").filter(|dir| !dir.is_empty()).map(PathBuf::from))?;
    let scanned = root != Path::new("/") && data.starts_with(root);
    Ok(if scanned { dirs::data(None)? } else { data }.join("snapfs"))
}

/// Prints what `snapfs` would print.
struct Printer {
    verbose: u8,
    /// One line at a time.
    out: Mutex<std::io::Stdout>,
}

impl Printer {
    fn new(verbose: u8) -> Self {
        Self { verbose, out: Mutex::new(std::io::stdout()) }
    }

    /// A reader that has gone away stops no scan.
    fn say(&self, line: &str) {
        let mut out = self.out.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let _ = writeln!(out, "{line}");
    }

    /// The last line of every scan.
    fn summary(&self, report: &ScanReport) {
        self.say(&format!(
            "[scanner] done. files={} cache_hits={} hashed={} hash_errors={} walk_errors={} permission_errors={} published={} bytes_published={}",
            report.files,
            report.cache_hits,
            report.hashed,
            report.hash_errors,
            report.walk_errors,
            report.permission_errors,
            report.published,
            report.bytes_published
        ));
    }
}

impl Listener for Printer {
    fn started(&self, root: &ByteStr, scan_id: &str) {
        if self.verbose > 0 {
            self.say(&format!("[scanner] scan.started root={root} scan_id={scan_id}"));
        }
    }

    fn hashed(&self, path: &ByteStr, algorithm: Algorithm, hash: &ContentHash) {
        if self.verbose > 0 {
            self.say(&format!("hash:  {path} {algorithm}:{hash}"));
        }
    }

    fn cache_hit(&self, path: &ByteStr, algorithm: Algorithm, hash: &ContentHash) {
        if self.verbose > 1 {
            self.say(&format!("cache: {path} {algorithm}:{hash}"));
        }
    }

    fn problem(&self, text: &str) {
        // As above.
        let _ = writeln!(std::io::stderr(), "[scanner] {text}");
    }

    fn completed(&self, root: &ByteStr, scan_id: &str, report: &ScanReport) {
        if self.verbose > 0 {
            self.say(&format!("[scanner] scan.completed root={root} scan_id={scan_id} files={}", report.files));
        }
    }
}
