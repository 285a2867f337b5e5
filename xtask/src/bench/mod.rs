//! `cargo xtask bench`: the numbers of SPECIFICATION.md, as a table in Markdown on standard output.
//!
//! Time is user and system time of all threads (`/proc/PID/stat`, or `schedstat` where little is used), which a busy
//! machine changes less than the clock. The medians of several runs are printed.

mod agent;
mod drop_in;
mod fleet;
pub mod gateway;
mod index;
mod scanner;
mod snapfs;
mod table;
mod trees;
mod trust;
mod websocket;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use crate::process;
use table::Table;
pub use trees::remove;

/// What is measured.
pub const SUBJECTS: [&str; 6] = ["scanner", "index", "snapfs", "drop-in", "trust", "fleet"];

/// Builds, measures the subject, or all, `runs` times and prints.
pub fn bench(root: &Path, subject: Option<&str>, runs: usize) -> Result<()> {
    let work = work_directory(root)?;
    if subject == Some("scanner") {
        // Nothing else is needed, and the whole product takes long to build.
        let mut table = Table::default();
        scanner::measure(&scanner::build(root)?, &work, runs, &mut table)?;
        table.print();
        return Ok(());
    }
    let built = Binaries::build(root)?;
    let mut table = Table::default();
    let wanted = |name| subject.is_none_or(|subject| subject == name);
    if wanted("scanner") {
        scanner::measure(&built.scan, &work, runs, &mut table)?;
    }
    if wanted("index") {
        index::measure(&built, &work, runs, &mut table)?;
    }
    if wanted("snapfs") {
        snapfs::measure(&built, &work, runs, &mut table)?;
    }
    if wanted("drop-in") {
        drop_in::measure(&built, &work, runs, &mut table)?;
    }
    if wanted("trust") {
        trust::measure(&built, &work, runs, &mut table)?;
    }
    if wanted("fleet") {
        fleet::measure(&built, &work, 10_000, &mut table)?;
    }
    table.print();
    Ok(())
}

/// `cargo xtask fleet`: simulated agents on a gateway of their own.
pub fn simulate(root: &Path, agents: usize) -> Result<()> {
    let built = Binaries::build(root)?;
    let mut table = Table::default();
    fleet::measure(&built, &work_directory(root)?, agents, &mut table)?;
    table.print();
    Ok(())
}

/// Where measurements keep their things; made when missing.
pub fn work_directory(root: &Path) -> Result<PathBuf> {
    let work = std::env::var_os("TMPDIR").map_or_else(|| root.join("target"), PathBuf::from).join("hostler-bench");
    fs::create_dir_all(&work)?;
    Ok(work)
}

/// What is measured, and what measures.
pub struct Binaries {
    /// The product.
    pub hostler: PathBuf,
    scan: PathBuf,
    fleet: PathBuf,
    /// `hostler-measure`.
    pub measure: PathBuf,
    /// `hostler-storm`.
    pub storm: PathBuf,
}

impl Binaries {
    const BUILDS: [&[&str]; 3] = [
        &["build", "--release", "--package", "hostler"],
        &["build", "--release", "--package", "hostler-files", "--example", "scan"],
        &["build", "--release", "--package", "hostler-testkit", "--bins"],
    ];

    /// Builds them for release, unless `$XTASK_NO_BUILD` says that those which are there will do.
    pub fn build(root: &Path) -> Result<Self> {
        let builds = match std::env::var_os("XTASK_NO_BUILD") {
            Some(_) => &[][..],
            None => &Self::BUILDS[..],
        };
        for arguments in builds {
            ensure!(process::show(process::cargo(root).args(*arguments))?.success, "the build failed");
        }
        let target = release_directory()?;
        let found = Self {
            hostler: target.join("hostler"),
            scan: target.join("examples/scan"),
            fleet: target.join("hostler-fleet"),
            measure: target.join("hostler-measure"),
            storm: target.join("hostler-storm"),
        };
        for binary in [&found.hostler, &found.scan, &found.fleet, &found.measure, &found.storm] {
            ensure!(binary.exists(), "{} was not built", binary.display());
        }
        Ok(found)
    }
}

/// Beside this program's own profile: `target/<triple>/debug/xtask`.
fn release_directory() -> Result<PathBuf> {
    let own = std::env::current_exe()?;
    Ok(own.ancestors().nth(2).context("xtask does not lie in a target directory")?.join("release"))
}
