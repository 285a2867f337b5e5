//! `cargo xtask bench`: the numbers of SPECIFICATION.md, as a table in Markdown on standard output.
//!
//! T1 is 200,000 files of 0 to 16 KiB in 10,000 directories, made from a fixed seed. Everything is measured several
//! times, interleaved with what it is compared with; the medians are printed. Time is user and system time of all threads
//! (`/proc/PID/stat`), which a busy machine changes less than the clock. Files come from the page cache.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::process;

const DIRS: u64 = 10_000;
const FILES_A_DIR: u64 = 20;
const FILES: u64 = DIRS * FILES_A_DIR;
/// With the hundred directories above the others and the root.
const ROWS: u64 = FILES + DIRS + 101;
const MAX_SIZE: u64 = 16 * 1024;
const SEED: u64 = 0x5eed_0001;
/// Requests of one kind whose latency is measured.
const REQUESTS: usize = 200;

/// Builds, measures `runs` times and prints.
pub fn bench(root: &Path, runs: usize) -> Result<()> {
    let ended = process::show(process::cargo(root).args(["build", "--release", "--package", "hostler"]))?;
    let example = ["build", "--release", "--package", "hostler-files", "--example", "scan"];
    ensure!(ended.success && process::show(process::cargo(root).args(example))?.success, "the build failed");
    let built = built_binaries()?;
    let work = std::env::var_os("TMPDIR").map_or_else(|| root.join("target"), PathBuf::from).join("hostler-bench");
    fs::create_dir_all(&work)?;
    let tree = work.join("t1");
    make_tree(&tree)?;
    let mut table = Table::default();
    for run in 0..runs {
        eprintln!("run {} of {runs}", run + 1);
        measure(&built, &work, &tree, &mut table)?;
    }
    table.print();
    Ok(())
}

struct Binaries {
    hostler: PathBuf,
    scan: PathBuf,
}

/// Beside this program's own profile: `target/<triple>/debug/xtask`.
fn built_binaries() -> Result<Binaries> {
    let own = std::env::current_exe()?;
    let target = own.ancestors().nth(2).context("xtask does not lie in a target directory")?.join("release");
    let found = Binaries { hostler: target.join("hostler"), scan: target.join("examples/scan") };
    ensure!(found.hostler.exists() && found.scan.exists(), "nothing was built in {}", target.display());
    Ok(found)
}

/// SplitMix64 (Steele, Lea and Flood, 2014): small, and the same everywhere.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

/// Makes T1 once; a file beside it says that it is complete.
fn make_tree(tree: &Path) -> Result<()> {
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

/// Named numbers of several runs.
#[derive(Default)]
struct Table {
    rows: Vec<(&'static str, Vec<f64>, &'static str)>,
}

impl Table {
    fn add(&mut self, name: &'static str, value: f64, unit: &'static str) {
        match self.rows.iter_mut().find(|row| row.0 == name) {
            Some(row) => row.1.push(value),
            None => self.rows.push((name, vec![value], unit)),
        }
    }

    fn print(&self) {
        println!("| what | median | lowest to highest |\n|---|---|---|");
        for (name, values, unit) in &self.rows {
            let mut sorted = values.clone();
            sorted.sort_by(f64::total_cmp);
            let (low, high) = (sorted[0], sorted[sorted.len() - 1]);
            println!("| {name} | {} {unit} | {} to {} |", short(median(&sorted)), short(low), short(high));
        }
    }
}

fn median(sorted: &[f64]) -> f64 {
    let middle = sorted.len() / 2;
    if sorted.len().is_multiple_of(2) { (sorted[middle - 1] + sorted[middle]) / 2.0 } else { sorted[middle] }
}

/// Three digits, or all of a whole number.
fn short(value: f64) -> String {
    match value {
        v if v >= 100.0 => format!("{v:.0}"),
        v if v >= 10.0 => format!("{v:.1}"),
        v => format!("{v:.2}"),
    }
}

/// One run of everything.
fn measure(built: &Binaries, work: &Path, tree: &Path, table: &mut Table) -> Result<()> {
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
    let gateway = Gateway::start(&built.hostler, &data, tree)?;
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

fn mib(bytes: u64) -> f64 {
    bytes as f64 / (1024.0 * 1024.0)
}

fn remove(path: &Path) -> Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
        _ => Ok(()),
    }
}

fn bytes_below(dir: &Path) -> Result<u64> {
    bytes_below_named(dir, "")
}

/// Sum of the files whose names begin like this.
fn bytes_below_named(dir: &Path, start: &str) -> Result<u64> {
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

/// A running `hostler up`; killed when dropped.
struct Gateway {
    child: Child,
    binary: PathBuf,
    data: PathBuf,
    /// `127.0.0.1:PORT`.
    address: String,
}

impl Gateway {
    fn start(binary: &Path, data: &Path, granted: &Path) -> Result<Self> {
        let agent = data.join("agent");
        fs::create_dir_all(&agent)?;
        fs::write(agent.join("agent.toml"), format!("[files]\nroots = [{:?}]\n", granted.display().to_string()))?;
        let mut child = Command::new(binary)
            .args(["up", "--listen", "127.0.0.1:0", "--data"])
            .arg(data)
            .env("HOSTLER_LOG", "error")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()?;
        let stdout = child.stdout.take().context("no standard output")?;
        let mut lines = BufReader::new(stdout).lines();
        let mut address = None;
        for line in lines.by_ref() {
            let line = line?;
            if let Some((_, url)) = line.split_once(" is up: http://") {
                address = Some(url.trim_end_matches('/').to_owned());
            }
            if line.trim_start().starts_with("Stop") {
                break;
            }
        }
        std::thread::spawn(move || lines.for_each(drop));
        let gateway = Self {
            child,
            binary: binary.to_owned(),
            data: data.to_owned(),
            address: address.context("`hostler up` did not start")?,
        };
        let begun = Instant::now();
        while !gateway.client(&["hosts", "list", "--json"])?.contains("\"linked\":true") {
            ensure!(begun.elapsed() < Duration::from_secs(30), "the agent was not linked");
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(gateway)
    }

    fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Runs a client command; what it printed.
    fn client(&self, arguments: &[&str]) -> Result<String> {
        process::read(Command::new(&self.binary).args(arguments).env("HOSTLER_DATA", &self.data))
    }

    /// Ends it as Ctrl-C does.
    fn stop(mut self) -> Result<()> {
        process::read(Command::new("kill").args(["-INT", &self.pid().to_string()]))?;
        ensure!(self.child.wait()?.success(), "`hostler up` did not end well");
        Ok(())
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        // Both fail when it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The first text under a name in a JSON text that is known to have no escapes there.
fn field(json: &str, name: &str) -> Option<String> {
    let (_, rest) = json.split_once(&format!("\"{name}\""))?;
    let rest = rest.trim_start().strip_prefix(':')?.trim_start().strip_prefix('"')?;
    rest.split('"').next().map(str::to_owned)
}

/// One request on a connection of its own; status and body.
fn get(address: &str, key: &str, target: &str) -> Result<(u16, String)> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(60)))?;
    let request = format!("GET {target} HTTP/1.1\r\nHost: {address}\r\nX-API-Key: {key}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let answer = String::from_utf8_lossy(&answer);
    let status = answer.split(' ').nth(1).and_then(|s| s.parse().ok()).context("no HTTP answer")?;
    let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    Ok((status, body.to_owned()))
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
    fn medians_and_fields() {
        assert_eq!(median(&[1.0, 2.0, 30.0]), 2.0);
        assert_eq!(median(&[1.0, 2.0]), 1.5);
        assert_eq!(field("{\"a\": 1, \"key\" : \"hst_1\"}", "key").as_deref(), Some("hst_1"));
        assert_eq!(field("{}", "key"), None);
    }

    #[test]
    fn the_tree_is_the_same_everywhere() {
        let mut random = Random(SEED);
        let first = [random.next(), random.next()];
        let mut again = Random(SEED);
        assert_eq!(first, [again.next(), again.next()]);
        assert_ne!(first[0], first[1]);
    }
}
