//! Scanning, the index and its store.
//!
//! T1 is 200,000 files of 0 to 16 KiB in 10,000 directories, made from a fixed seed. Everything is measured several
//! times, interleaved with what it is compared with. Files come from the page cache.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, bail};

use super::Binaries;
use super::gateway::{Gateway, field, get};
use super::table::{Table, mib};
use crate::process;

const DIRS: u64 = 10_000;
const FILES_A_DIR: u64 = 20;
pub(super) const FILES: u64 = DIRS * FILES_A_DIR;
/// With the hundred directories above the others and the root.
const ROWS: u64 = FILES + DIRS + 101;
const MAX_SIZE: u64 = 16 * 1024;
const SEED: u64 = 0x5eed_0001;
/// Requests of one kind whose latency is measured.
const REQUESTS: usize = 200;

/// Measures `runs` times.
pub fn measure(built: &Binaries, work: &Path, runs: usize, table: &mut Table) -> Result<()> {
    let tree = work.join("t1");
    make_tree(&tree)?;
    for run in 0..runs {
        eprintln!("files: run {} of {runs}", run + 1);
        one_run(built, work, &tree, table)?;
    }
    Ok(())
}

/// SplitMix64 (Steele, Lea and Flood, 2014): small, and the same everywhere.
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

/// Makes T1 once; a file beside it says that it is complete.
pub(super) fn make_tree(tree: &Path) -> Result<()> {
    let complete = tree.with_extension("complete");
    if complete.exists() {
        return Ok(());
    }
    eprintln!("making {FILES} files in {}", tree.display());
    let mut random = Random(SEED);
    let mut content = vec![0u8; MAX_SIZE as usize];
    for dir in 0..DIRS {
        // A hundred directories of a hundred each.
        let path = tree.join(format!("d{:02}", dir / 100)).join(format!("s{:02}", dir % 100));
        fs::create_dir_all(&path)?;
        for file in 0..FILES_A_DIR {
            let size = (random.next() % (MAX_SIZE + 1)) as usize;
            // Every tenth file is one of a few, so that there are duplicates.
            let seed = if file % 10 == 9 { random.next() % 500 } else { random.next() };
            let size = if file % 10 == 9 { (seed * 31 % MAX_SIZE) as usize } else { size };
            let mut bytes = Random(seed);
            for word in content[..size].chunks_mut(8) {
                word.copy_from_slice(&bytes.next().to_le_bytes()[..word.len()]);
            }
            fs::write(
                path.join(format!("file-{file:02}.{}", ["txt", "jpg", "rs", "log"][(seed % 4) as usize])),
                &content[..size],
            )?;
        }
    }
    fs::write(&complete, "")?;
    Ok(())
}

/// A directory of the tree of a million files.
pub(super) fn million_dir(tree: &Path, dir: u64) -> PathBuf {
    tree.join(format!("d{:03}", dir / 100)).join(format!("s{:02}", dir % 100))
}

/// Makes a million files of 0 to 1 KiB in 50,000 directories once. One in ten is one of two thousand.
pub(super) fn make_million(tree: &Path) -> Result<()> {
    let complete = tree.with_extension("complete");
    if complete.exists() {
        return Ok(());
    }
    eprintln!("making a million files in {}", tree.display());
    let mut random = Random(SEED);
    for dir in 0..50_000 {
        let path = million_dir(tree, dir);
        fs::create_dir_all(&path)?;
        for file in 0..FILES_A_DIR {
            let seed = if file % 10 == 9 { random.next() % 2000 } else { random.next() };
            let text = format!("{seed:x} ").repeat((seed % 61) as usize);
            let extension = ["txt", "jpg", "rs", "log"][(file % 4) as usize];
            fs::write(path.join(format!("file-{file:02}.{extension}")), &text.as_bytes()[..text.len().min(1024)])?;
        }
    }
    fs::write(&complete, "")?;
    Ok(())
}

/// One run of everything.
fn one_run(built: &Binaries, work: &Path, tree: &Path, table: &mut Table) -> Result<()> {
    let text = tree.to_str().context("the tree's path is not UTF-8")?;
    let read_all = match process::program("b3sum") {
        Some(_) => ("b3sum --num-threads 1", "xargs -0 b3sum --num-threads 1"),
        None => ("cat", "xargs -0 cat"),
    };
    let pipe = |command: &str| {
        let before = process::children_cpu_seconds()?;
        process::read(Command::new("sh").args(["-c", &format!("{command} > /dev/null")]).env("TREE", text))?;
        Ok::<f64, anyhow::Error>(process::children_cpu_seconds()? - before)
    };
    let of_reader = pipe(&format!("find \"$TREE\" -type f -print0 | {}", read_all.1))?;
    eprintln!("  {} read everything in {of_reader:.2} s", read_all.0);

    let data = work.join("data");
    remove(&data)?;
    let gateway = Gateway::up(&built.hostler, &data, tree)?;
    table.add("resident memory of `hostler up`, idle", mib(process::resident_bytes(gateway.pid())?), "MiB");
    let before = process::cpu_seconds(gateway.pid())?;
    let clock = Instant::now();
    gateway.client(&["scan", text])?;
    table.add("first scan, agent and gateway: on the clock", clock.elapsed().as_secs_f64(), "s");
    let first = process::cpu_seconds(gateway.pid())? - before;
    table.add("first scan, agent and gateway: processor time", first, "s");
    table.add("`find -type f` and reading all of it (b3sum if installed, else cat): processor time", of_reader, "s");
    table.add("first scan against that", first / of_reader, "times");
    table.add("rows indexed per second of processor time, walk and hash included", ROWS as f64 / first, "rows/s");
    table.add("resident memory after the first scan", mib(process::resident_bytes(gateway.pid())?), "MiB");

    let before = process::cpu_seconds(gateway.pid())?;
    let clock = Instant::now();
    gateway.client(&["scan", text])?;
    table.add("rescan, nothing changed: on the clock", clock.elapsed().as_secs_f64(), "s");
    let again = process::cpu_seconds(gateway.pid())? - before;
    let of_find = pipe("find \"$TREE\" -printf '%p %s %T@ %i\\n'")?;
    table.add("rescan, nothing changed: processor time", again, "s");
    table.add("`find -printf '%p %s %T@ %i\\n'`: processor time", of_find, "s");
    table.add("rescan against find", again / of_find, "times");

    let manifests = work.join("manifests");
    remove(&manifests)?;
    let alone = |label: &'static str, table: &mut Table| {
        let before = process::children_cpu_seconds()?;
        process::read(Command::new(&built.scan).arg(tree).arg(&manifests))?;
        let seconds = process::children_cpu_seconds()? - before;
        table.add(label, seconds, "s");
        Ok::<f64, anyhow::Error>(seconds)
    };
    let first_alone = alone("first scan, files crate alone: processor time", table)?;
    alone("rescan, files crate alone: processor time", table)?;
    // Noise can make the difference vanish; then it says nothing.
    if first > first_alone {
        let rate = ROWS as f64 / (first - first_alone);
        table.add(
            "rows sent and committed per second of what the first scan costs beyond the files crate",
            rate,
            "rows/s",
        );
    }
    table.add("manifest per file", bytes_below(&manifests)? as f64 / FILES as f64, "bytes");

    let key = gateway.client(&["api-keys", "create", "bench", "--role", "viewer", "--json"])?;
    let key = field(&key, "key").context("no key was printed")?;
    let hosts = get(&gateway.address, &key, "/api/v1/hosts")?.1;
    let host = field(&hosts, "id").context("no host is listed")?;
    let path: String = text.bytes().map(|b| format!("%{b:02X}")).collect();
    for (name, target) in [
        ("a directory's listing, 95th percentile", format!("/api/v1/files/ls?host={host}&path={path}%2Fd00%2Fs00")),
        ("a page of a search by name, 95th percentile", "/api/v1/files?name=file-07&limit=100".to_owned()),
        ("a page of duplicates, 95th percentile", "/api/v1/duplicates?limit=50".to_owned()),
    ] {
        table.add(name, latency(&gateway.address, &key, &target)?, "ms");
    }
    table.add("resident memory after the requests", mib(process::resident_bytes(gateway.pid())?), "MiB");
    gateway.stop()?;
    table.add(
        "store per file, gateway stopped",
        bytes_below_named(&data, "hostler.db")? as f64 / FILES as f64,
        "bytes",
    );
    remove(&data)?;
    remove(&manifests)
}

/// Removes a directory, if it is there.
pub fn remove(path: &Path) -> Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
        _ => Ok(()),
    }
}

pub(super) fn bytes_below(dir: &Path) -> Result<u64> {
    bytes_below_named(dir, "")
}

/// Sum of the files whose names begin like this.
pub(super) fn bytes_below_named(dir: &Path, start: &str) -> Result<u64> {
    let mut sum = 0;
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_dir() {
            sum += bytes_below_named(&entry.path(), start)?;
        } else if kind.is_file() && entry.file_name().to_string_lossy().starts_with(start) {
            sum += entry.metadata()?.len();
        }
    }
    Ok(sum)
}

/// The 95th percentile in milliseconds.
fn latency(address: &str, key: &str, target: &str) -> Result<f64> {
    let mut times = Vec::with_capacity(REQUESTS);
    for _ in 0..REQUESTS {
        let begun = Instant::now();
        let (status, body) = get(address, key, target)?;
        if status != 200 {
            bail!("{target}: {status} {body}");
        }
        times.push(begun.elapsed().as_secs_f64() * 1000.0);
    }
    times.sort_by(f64::total_cmp);
    Ok(times[REQUESTS * 95 / 100 - 1])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tree_is_the_same_everywhere() {
        let mut random = Random(SEED);
        let first = [random.next(), random.next()];
        let mut again = Random(SEED);
        assert_eq!(first, [again.next(), again.next()]);
        assert_ne!(first[0], first[1]);
    }
}
