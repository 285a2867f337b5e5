//! The gateway's index: what it costs to fill, how large it is, how long its pages take.
//!
//! Gateway and agent are two processes, so that the processor time of each is known.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use super::Binaries;
use super::agent::{Agent, join};
use super::gateway::{Gateway, cookie, field, get_as};
use super::table::{Table, mib};
use super::trees::{self, bytes_below_named, remove};
use crate::process;

/// Files in a directory of the trees.
const FILES_A_DIR: u64 = 20;
/// Requests of one kind whose latency is measured.
const REQUESTS: usize = 100;

/// Names of the rows for one size of tree.
struct Rows {
    rate: &'static str,
    background: &'static str,
    peak: &'static str,
    agent: &'static str,
    agent_peak: &'static str,
    store: &'static str,
    rescan: &'static str,
}

/// Measures T1 and a tree of a million small files.
pub fn measure(built: &Binaries, work: &Path, runs: usize, table: &mut Table) -> Result<()> {
    let small = Rows {
        rate: "T1: rows sent, committed and browsable per second of the gateway's processor time",
        background: "T1: rows of name index, hashes and duplicates per second of processor time, in the background",
        peak: "T1: gateway's peak memory",
        agent: "T1: agent's resident memory after the scan",
        agent_peak: "T1: agent's peak memory",
        store: "T1: store per file",
        rescan: "T1: rescan with nothing changed, gateway's processor time",
    };
    let large = Rows {
        rate: "a million files: rows sent, committed and browsable per second of the gateway's processor time",
        background: "a million files: rows of name index, hashes and duplicates per second of processor time, in the background",
        peak: "a million files: gateway's peak memory",
        agent: "a million files: agent's resident memory after the scan",
        agent_peak: "a million files: agent's peak memory",
        store: "a million files: store per file",
        rescan: "a million files: rescan with nothing changed, gateway's processor time",
    };
    let t1 = work.join("t1");
    trees::make_tree(&t1)?;
    let million = work.join("million");
    trees::make_million(&million)?;
    for run in 0..runs {
        eprintln!("index: run {} of {runs}", run + 1);
        one_run(built, work, &t1, 200_000, &small, table)?;
        one_run(built, work, &million, 1_000_000, &large, table)?;
    }
    Ok(())
}

fn one_run(built: &Binaries, work: &Path, tree: &Path, count: u64, rows: &Rows, table: &mut Table) -> Result<()> {
    let text = tree.to_str().context("the tree's path is not UTF-8")?;
    let (data, agent_data) = (work.join("index-gateway"), work.join("index-agent"));
    remove(&data)?;
    remove(&agent_data)?;
    let gateway = Gateway::start(&built.hostler, &data, &["gateway", "--listen", "127.0.0.1:0", "--insecure-http"])?;
    join(built, &gateway, &agent_data)?;
    fs::write(agent_data.join("agent/agent.toml"), format!("[files]\nroots = [{text:?}]\n"))?;
    let agent = Agent::start(built, &agent_data)?;
    gateway.wait_linked()?;

    let indexed = count + count / FILES_A_DIR;
    let before = process::cpu_seconds(gateway.pid())?;
    gateway.client(&["scan", text])?;
    let committed = process::cpu_seconds(gateway.pid())?;
    table.add(rows.rate, indexed as f64 / (committed - before), "rows/s");
    let key = gateway.client(&["api-keys", "create", "bench", "--role", "admin", "--json"])?;
    let key = format!("X-API-Key: {}", field(&key, "key").context("no key was printed")?);
    settle(&gateway, &key)?;
    let settled = process::cpu_seconds(gateway.pid())?;
    table.add(rows.background, indexed as f64 / (settled - committed), "rows/s");
    table.add(rows.peak, mib(process::peak_bytes(gateway.pid())?), "MiB");
    table.add(rows.agent, mib(process::resident_bytes(agent.pid())?), "MiB");
    table.add(rows.agent_peak, mib(process::peak_bytes(agent.pid())?), "MiB");

    let before = process::cpu_seconds(gateway.pid())?;
    gateway.client(&["scan", text])?;
    table.add(rows.rescan, process::cpu_seconds(gateway.pid())? - before, "s");
    if count >= 1_000_000 {
        change(tree)?;
        gateway.client(&["scan", text])?;
        settle(&gateway, &key)?;
        pages(&gateway, &key, text, table)?;
        change_back(tree)?;
    }
    drop(agent);
    gateway.stop()?;
    table.add(rows.store, bytes_below_named(&data, "hostler.db")? as f64 / count as f64, "bytes");
    remove(&data)?;
    remove(&agent_data)
}

/// Waits until everything that was committed can be searched quickly.
fn settle(gateway: &Gateway, key: &str) -> Result<()> {
    let begun = Instant::now();
    loop {
        let (status, body) = get_as(&gateway.address, key, "/api/v1/duplicates?limit=1")?;
        ensure!(status == 200, "duplicates: {status} {body}");
        if body.contains("\"pending_files\":0") {
            return Ok(());
        }
        ensure!(begun.elapsed() < Duration::from_secs(600), "the background work does not end");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Names of files that [`change`] touches: one in every fiftieth directory.
fn changed(tree: &Path) -> impl Iterator<Item = std::path::PathBuf> {
    let tree = tree.to_owned();
    (0..50_000u64).step_by(50).map(move |dir| trees::million_dir(&tree, dir).join("file-03.log"))
}

fn change(tree: &Path) -> Result<()> {
    for (n, path) in changed(tree).enumerate() {
        match n % 2 {
            0 => fs::rename(&path, path.with_file_name("renamed.log"))?,
            _ => fs::write(&path, format!("changed {n}"))?,
        }
    }
    Ok(())
}

fn change_back(tree: &Path) -> Result<()> {
    for (n, path) in changed(tree).enumerate() {
        if n.is_multiple_of(2) {
            fs::rename(path.with_file_name("renamed.log"), &path)?;
        }
    }
    Ok(())
}

fn pages(gateway: &Gateway, key: &str, root: &str, table: &mut Table) -> Result<()> {
    let hosts = get_as(&gateway.address, key, "/api/v1/hosts")?.1;
    let host = field(&hosts, "id").context("no host is listed")?;
    let path: String = root.bytes().map(|b| format!("%{b:02X}")).collect();
    let link = gateway.client(&["sign-in", "--json"])?;
    let cookie = cookie(&gateway.address, &field(&link, "url").context("no link was printed")?)?;
    for (name, target) in [
        (
            "a million files: a directory's page, 95th percentile",
            format!("/files?host={host}&path={path}%2Fd000%2Fs00"),
        ),
        (
            "a million files: a search that finds one name in twenty, 95th percentile",
            "/files/search?name=file-07".to_owned(),
        ),
        (
            "a million files: the same by size, 95th percentile",
            "/files/search?name=file-07&sort=size&desc=1".to_owned(),
        ),
        ("a million files: a search that finds nothing, 95th percentile", "/files/search?name=nowhere".to_owned()),
        ("a million files: the largest files, 95th percentile", "/files/search?name=*.log&sort=size&desc=1".to_owned()),
        ("a million files: the duplicates' page, 95th percentile", "/files/duplicates".to_owned()),
        (
            "a million files: duplicates below a directory, 95th percentile",
            format!("/files/duplicates?host={host}&below={path}%2Fd000"),
        ),
        ("a million files: the page of changes, 95th percentile", format!("/files/compare?host={host}&root={path}")),
        ("a million files: the page of growth, 95th percentile", format!("/files/growth?host={host}&path={path}")),
    ] {
        let mut times = Vec::with_capacity(REQUESTS);
        for _ in 0..REQUESTS {
            let begun = Instant::now();
            let (status, body) = get_as(&gateway.address, &cookie, &target)?;
            times.push(begun.elapsed().as_secs_f64() * 1000.0);
            if status != 200 {
                bail!("{target}: {status} {body}");
            }
        }
        times.sort_by(f64::total_cmp);
        table.add(name, times[REQUESTS * 95 / 100 - 1], "ms");
    }
    Ok(())
}
