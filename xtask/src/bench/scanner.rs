//! The files crate alone, against programs that do the least of the same.
//!
//! Time is user and system time of the command with all its children, as bash gives it to the millisecond. What is compared
//! runs directly one after the other, and the medians are of the ratios: a busy machine slows both. Files come from the page
//! cache.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::table::Table;
use super::trees::{FILES, Random, bytes_below, make_tree, remove};
use crate::process;

const BIG_FILES: usize = 40;
const BIG_SIZE: usize = 100 << 20;
const MILLION: usize = 1_000_000;

/// Builds only what scans.
pub fn build(root: &Path) -> Result<PathBuf> {
    let arguments = ["build", "--release", "--package", "hostler-files", "--example", "scan"];
    if std::env::var_os("XTASK_NO_BUILD").is_none() {
        ensure!(process::show(process::cargo(root).args(arguments))?.success, "the build failed");
    }
    Ok(super::release_directory()?.join("examples/scan"))
}

/// Measures `runs` times; memory once, as it does not vary.
pub fn measure(scan: &Path, work: &Path, runs: usize, table: &mut Table) -> Result<()> {
    ensure!(process::program("b3sum").is_some(), "b3sum is not installed; apt-get install b3sum");
    let (tree, big, manifests) = (work.join("t1"), work.join("big"), work.join("manifests"));
    make_tree(&tree)?;
    make_big(&big)?;
    let scanned = |tree: &Path| cpu(&[scan, tree, &manifests], "\"$1\" \"$2\" \"$3\"");
    for run in 0..runs {
        eprintln!("scanner: run {} of {runs}", run + 1);
        remove(&manifests)?;
        let first = scanned(&tree)?;
        let b3sum = cpu(&[&tree], "find \"$1\" -type f -print0 | xargs -0 b3sum --num-threads 1")?;
        table.add("first scan: processor time", first, "s");
        table.add("first scan against `find -type f -print0 | xargs -0 b3sum --num-threads 1`", first / b3sum, "times");
        table.add("manifest per file", bytes_below(&manifests)? as f64 / FILES as f64, "bytes");
        let rescan = scanned(&tree)?;
        let find = cpu(&[&tree], "find \"$1\" -printf '%p %s %T@ %i\\n'")?;
        let again = scanned(&tree)?;
        let walk = cpu(&[scan, &tree], "\"$1\" --walk \"$2\"")?;
        table.add("rescan, nothing changed: processor time", rescan, "s");
        table.add("rescan against `find -printf '%p %s %T@ %i\\n'`", rescan / find, "times");
        table.add("rescan against getdents64 and statx alone", again / walk, "times");
        remove(&manifests)?;
        let first = scanned(&big)?;
        let b3sum = cpu(&[&big], "b3sum --num-threads 1 --no-mmap \"$1\"/*")?;
        table.add(
            "first scan of 40 files of 100 MiB against `b3sum --num-threads 1 --no-mmap`",
            first / b3sum,
            "times",
        );
        let b3sum = cpu(&[&big], "b3sum --num-threads 1 \"$1\"/*")?;
        table.add("first scan of these against `b3sum --num-threads 1`, which maps them", first / b3sum, "times");
    }
    memory(scan, work, table)
}

/// Peak memory of the process that scans.
fn memory(scan: &Path, work: &Path, table: &mut Table) -> Result<()> {
    let manifests = work.join("manifests");
    let (spread, flat) = (work.join("million"), work.join("million-flat"));
    make_million(&spread, 1000)?;
    make_million(&flat, 1)?;
    for (tree, first, again) in [
        (work.join("t1"), "peak memory of a first scan of 200,000 files", "peak memory of its rescan"),
        (spread, "peak memory of a first scan of a million files in 1,000 directories", "peak memory of that rescan"),
        (flat, "peak memory of a first scan of a million files in one directory", "peak memory of the rescan of it"),
    ] {
        remove(&manifests)?;
        for label in [first, again] {
            let output = process::read(Command::new(scan).arg(&tree).arg(&manifests))?;
            let line = output.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("no VmHWM was printed")?;
            let kib: f64 = line.trim().trim_end_matches(" kB").parse().context("VmHWM is no number")?;
            table.add(label, kib / 1024.0, "MiB");
        }
    }
    remove(&manifests)
}

/// Processor time in seconds of a line of shell with these arguments.
pub fn cpu(arguments: &[&Path], line: &str) -> Result<f64> {
    let timed = format!("TIMEFORMAT='%U %S'; set -e; {{ time {{ {line}; }} > /dev/null; }} 2>&1");
    let output = process::read(Command::new("bash").args(["-c", &timed, "bash"]).args(arguments))?;
    let last = output.lines().last().unwrap_or_default();
    let times: Vec<f64> = last.split_ascii_whitespace().filter_map(|number| number.parse().ok()).collect();
    ensure!(times.len() == 2, "bash printed no times: {output}");
    Ok(times.iter().sum())
}

/// Makes a tree once; a file beside it says that it is complete.
fn once(tree: &Path, make: impl FnOnce() -> Result<()>) -> Result<()> {
    let complete = tree.with_extension("complete");
    if complete.exists() {
        return Ok(());
    }
    eprintln!("making {}", tree.display());
    fs::create_dir_all(tree)?;
    make()?;
    Ok(fs::write(&complete, "")?)
}

fn make_big(tree: &Path) -> Result<()> {
    once(tree, || {
        let mut random = Random(1);
        let mut content = vec![0; 1 << 20];
        for number in 0..BIG_FILES {
            let mut file = File::create(tree.join(format!("file-{number:02}")))?;
            for _ in 0..BIG_SIZE / content.len() {
                for word in content.chunks_exact_mut(8) {
                    word.copy_from_slice(&random.next().to_le_bytes());
                }
                file.write_all(&content)?;
            }
        }
        Ok(())
    })
}

/// A million empty files in so many directories.
fn make_million(tree: &Path, dirs: usize) -> Result<()> {
    once(tree, || {
        for number in 0..dirs {
            let dir = tree.join(format!("directory-{number:03}"));
            fs::create_dir_all(&dir)?;
            for file in 0..MILLION / dirs {
                File::create(dir.join(format!("file-{file:06}.txt")))?;
            }
        }
        Ok(())
    })
}
