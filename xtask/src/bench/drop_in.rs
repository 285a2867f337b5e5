//! `hostler drop-in snapfs-scan` against `snapfs scan` 0.4.3: the same tree, a gateway of the same kind, the same algorithm.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::Binaries;
use super::gateway::Gateway;
use super::scanner::cpu;
use super::table::Table;
use super::trees::{self, remove};

/// Measures `runs` times, each program on a gateway that knows nothing yet.
pub fn measure(built: &Binaries, work: &Path, runs: usize, table: &mut Table) -> Result<()> {
    let upstream = upstream()?;
    let tree = work.join("t1");
    trees::make_tree(&tree)?;
    for run in 0..runs {
        eprintln!("drop-in: run {} of {runs}", run + 1);
        let theirs = twice(built, work, &tree, &upstream, "\"$1\" scan \"$2\" -g \"$3\"")?;
        let line = "HOSTLER_DATA=\"$4\" \"$1\" drop-in snapfs-scan \"$2\" -g \"$3\"";
        let ours = twice(built, work, &tree, &built.hostler, line)?;
        table.add("`snapfs scan` 0.4.3 of T1, SHA-1, first: processor time", theirs.0, "s");
        table.add("drop-in: first scan against it", ours.0 / theirs.0, "times");
        table.add("`snapfs scan` 0.4.3 of T1, second: processor time", theirs.1, "s");
        table.add("drop-in: second scan against it", ours.1 / theirs.1, "times");
    }
    Ok(())
}

/// Processor seconds of a first and of a second scan.
fn twice(built: &Binaries, work: &Path, tree: &Path, program: &Path, line: &str) -> Result<(f64, f64)> {
    let (data, spool) = (work.join("drop-in-gateway"), work.join("drop-in-spool"));
    remove(&data)?;
    remove(&spool)?;
    let gateway = Gateway::start(&built.hostler, &data, &["gateway", "--listen", "127.0.0.1:0"])?;
    let url = format!("http://{}", gateway.address);
    let scan = || cpu(&[program, tree, Path::new(&url), &spool], line);
    let times = (scan()?, scan()?);
    let begun = Instant::now();
    while !gateway.client(&["scans", "list", "--json"])?.matches("\"files\":200000").count().eq(&2) {
        ensure!(begun.elapsed() < Duration::from_secs(60), "not all files of both scans came");
        std::thread::sleep(Duration::from_millis(200));
    }
    gateway.stop()?;
    remove(&data)?;
    remove(&spool)?;
    Ok(times)
}

/// The real program: `$SNAPFS`, else the one that the tests installed beside their binaries.
fn upstream() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("SNAPFS") {
        return Ok(path.into());
    }
    let own = std::env::current_exe()?;
    let installed = own.parent().context("xtask lies nowhere")?.join("snapfs-venv/bin/snapfs");
    ensure!(installed.exists(), "snapfs 0.4.3 is not there: run `cargo xtask test` once, or set SNAPFS to the program");
    Ok(installed)
}
