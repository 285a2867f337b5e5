//! What SnapFS clients cost the gateway: files that land in the index, probes, and messages to consumers.
//!
//! The clients are made of strings here, and speak as those in the field do: a connection for each call, 200 items in it.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};

use super::Binaries;
use super::gateway::{Gateway, field};
use super::table::{Table, mib};
use super::trees::remove;
use super::websocket::Socket;
use crate::process;

/// Files of the tree, about as many as T1 has.
const FILES: u64 = 80_000;
/// Items in a call.
const BATCH: u64 = 200;
/// Files in a directory.
const FILES_A_DIR: u64 = 20;
/// Calls a second while there are consumers, how many of those, and for how long.
const CALLS_A_SECOND: u32 = 50;
const CONSUMERS: u64 = 3;
const STREAMED: Duration = Duration::from_secs(20);
/// The end of a scan is waited for so long.
const PATIENCE: Duration = Duration::from_secs(120);

/// Measures `runs` times.
pub fn measure(built: &Binaries, work: &Path, runs: usize, table: &mut Table) -> Result<()> {
    let data = work.join("snapfs-gateway");
    for run in 0..runs {
        eprintln!("snapfs: run {} of {runs}", run + 1);
        remove(&data)?;
        let gateway = Gateway::start(&built.hostler, &data, &["gateway", "--listen", "127.0.0.1:0"])?;
        let name = "SnapFS: upserts in the index per second of the gateway's processor time, first scan";
        table.add(name, FILES as f64 / scan(&gateway, "first")?, "files/s");
        let name = "SnapFS: upserts in the index per second of the gateway's processor time, nothing changed";
        table.add(name, FILES as f64 / scan(&gateway, "again")?, "files/s");
        table.add("SnapFS: probes answered per second of the gateway's processor time", probes(&gateway)?, "probes/s");
        stream(&gateway, table)?;
        table.add("SnapFS: gateway's peak memory", mib(process::peak_bytes(gateway.pid())?), "MiB");
        gateway.stop()?;
    }
    remove(&data)
}

/// A scan from its start until the index has it: processor seconds of the gateway.
fn scan(gateway: &Gateway, id: &str) -> Result<f64> {
    let bodies: Vec<String> = (0..FILES / BATCH).map(|batch| upserts(batch, id)).collect();
    let before = process::cpu_seconds(gateway.pid())?;
    post(&gateway.address, "/api/ingest", &scan_event("scan.started", "walking", id))?;
    for body in &bodies {
        post(&gateway.address, "/api/ingest?subject=snapfs.files", body)?;
    }
    post(&gateway.address, "/api/ingest", &scan_event("scan.completed", "completed", id))?;
    let begun = Instant::now();
    while !newest_scan(gateway)?.contains("\"state\":\"completed\"") {
        ensure!(begun.elapsed() < PATIENCE, "the scan did not complete: {}", newest_scan(gateway)?);
        std::thread::sleep(Duration::from_millis(200));
    }
    let used = process::cpu_seconds(gateway.pid())? - before;
    let last = format!("{}.exr", FILES - 1);
    let found = gateway.client(&["files", "find", &last, "--json"])?;
    ensure!(found.contains(&last), "the index does not have the last file: {found}");
    Ok(used)
}

fn newest_scan(gateway: &Gateway) -> Result<String> {
    Ok(gateway.client(&["scans", "list", "--limit", "1", "--json"])?.split_whitespace().collect())
}

/// Probes of every file, all of which are known: how many are answered in a processor second.
fn probes(gateway: &Gateway) -> Result<f64> {
    let bodies: Vec<String> = (0..FILES / BATCH)
        .map(|batch| {
            let probe = |n| {
                let (size, mtime) = facts(n);
                let (path, inode) = (path(n), 5_000_000 + n);
                format!(r#"{{"path": "{path}", "size": {size}, "mtime": {mtime}, "inode": {inode}, "dev": 2049}}"#)
            };
            format!("[{}]", (batch * BATCH..(batch + 1) * BATCH).map(probe).collect::<Vec<_>>().join(", "))
        })
        .collect();
    let before = process::cpu_seconds(gateway.pid())?;
    for body in &bodies {
        let answer = post(&gateway.address, "/api/cache/batch", body)?;
        ensure!(answer.matches("\"HIT\"").count() as u64 == BATCH, "not all was known: {answer}");
    }
    Ok(FILES as f64 / (process::cpu_seconds(gateway.pid())? - before))
}

/// Consumers that read what is told at a steady rate.
fn stream(gateway: &Gateway, table: &mut Table) -> Result<()> {
    let calls = u64::from(CALLS_A_SECOND) * STREAMED.as_secs();
    // The scans before are read first, so that only what comes is counted.
    let all_read = FILES / BATCH * 2 + 4;
    let (caught_up, ready) = mpsc::channel();
    std::thread::scope(|scope| {
        let consumers: Vec<_> = (0..CONSUMERS)
            .map(|n| {
                let caught_up = caught_up.clone();
                scope.spawn(move || consume(&gateway.address, n, all_read, calls, &caught_up))
            })
            .collect();
        drop(caught_up);
        // One that failed says why when it is joined.
        let ready = ready.iter().take(consumers.len()).count();
        if ready < consumers.len() {
            for consumer in consumers {
                consumer.join().map_err(|_| anyhow!("a consumer panicked"))??;
            }
            bail!("a consumer ended too early");
        }
        let before = process::cpu_seconds(gateway.pid())?;
        let begun = Instant::now();
        for call in 0..calls {
            let due = STREAMED.mul_f64(call as f64 / calls as f64);
            std::thread::sleep(due.saturating_sub(begun.elapsed()));
            post(&gateway.address, "/api/ingest", &upserts(call % (FILES / BATCH), "again"))?;
        }
        let sent_in = begun.elapsed().as_secs_f64();
        for consumer in consumers {
            consumer.join().map_err(|_| anyhow!("a consumer panicked"))??;
        }
        let used = process::cpu_seconds(gateway.pid())? - before;
        let delivered = (calls * BATCH * CONSUMERS) as f64;
        table.add(
            "SnapFS: events told per second while 3 consumers read",
            (calls * BATCH) as f64 / sent_in,
            "events/s",
        );
        let name = "SnapFS: gateway's processor time per delivered event, 3 consumers, what they are told of included";
        table.add(name, used / delivered * 1e6, "us");
        table.add(
            "SnapFS: gateway's resident memory with 3 consumers",
            mib(process::resident_bytes(gateway.pid())?),
            "MiB",
        );
        Ok(())
    })
}

/// Reads and acknowledges `old` messages, then `new` ones.
fn consume(address: &str, n: u64, old: u64, new: u64, caught_up: &mpsc::Sender<()>) -> Result<()> {
    let mut socket = Socket::open(address, &format!("/stream?subject=snapfs.files&durable=bench{n}&batch=5"))?;
    for (count, meet) in [(old, true), (new, false)] {
        let mut read = 0;
        while read < count {
            let frame = String::from_utf8(socket.text()?)?;
            read += frame.matches("{\"index\":").count() as u64;
            let batch = field(&frame[..200.min(frame.len())], "batch").context("no batch")?;
            socket.send(&format!("{{\"type\":\"ack\",\"batch\":\"{batch}\"}}"))?;
        }
        ensure!(read == count, "a consumer got {read} messages instead of {count}");
        if meet {
            caught_up.send(())?;
        }
    }
    Ok(())
}

fn path(n: u64) -> String {
    format!("/srv/show/seq{:03}/shot{:04}/plate.{n}.exr", n / FILES_A_DIR / 50, n / FILES_A_DIR)
}

/// Size and time of a file, in bytes and milliseconds.
fn facts(n: u64) -> (u64, u64) {
    (1000 + n * 37 % 5_000_000, 1_790_000_000_123 + n * 1001)
}

fn upserts(batch: u64, id: &str) -> String {
    let event = |n: u64| {
        let (path, (size, mtime)) = (path(n), facts(n));
        let (dir, name) = path.rsplit_once('/').unwrap_or_default();
        // Digits that look like those of a hash, and are those of this file at each scan.
        let hash = format!("{:040x}", u128::from(n).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835));
        let inode = 5_000_000 + n;
        format!(
            r#"{{"type": "file.upsert", "data": {{"root_path": "/srv/show", "scan_id": "{id}", "seen_at": 1790000100.25, "path": "{path}", "dir": "{dir}", "name": "{name}", "ext": ".exr", "type": "file", "size": {size}, "fsize_du": {size}, "mtime": {mtime}, "atime": {mtime}, "ctime": {mtime}, "nlinks": 1, "inode": {inode}, "dev": 2049, "owner": "artist", "group": "artist", "uid": 1000, "gid": 1000, "mode": 420, "algo": "sha1", "hash": "{hash}"}}}}"#
        )
    };
    let events: Vec<String> = (batch * BATCH..(batch + 1) * BATCH).map(event).collect();
    format!("{{\"events\": [{}]}}", events.join(", "))
}

fn scan_event(kind: &str, phase: &str, id: &str) -> String {
    format!(
        r#"{{"events": [{{"type": "{kind}", "data": {{"root_path": "/srv/show", "scan_id": "{id}", "hostname": "store1", "user": "artist", "pid": 4711, "started_at": 1790000100.0, "trigger_type": "manual", "schedule_id": null, "phase": "{phase}", "files_seen": {FILES}, "files_discovered": {FILES}, "hash_errors": 0, "walk_errors": 0, "permission_errors": 0, "authoritative_for_deletes": true, "hash_algo": "sha1"}}}}]}}"#
    )
}

/// One call; the answer's body.
fn post(address: &str, target: &str, body: &str) -> Result<String> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(60)))?;
    let head = format!(
        "POST {target} HTTP/1.1\r\nHost: {address}\r\nAccept: */*\r\nAccept-Encoding: gzip, deflate\r\n\
         User-Agent: Python/3.12 aiohttp/3.11\r\nContent-Length: {}\r\nContent-Type: application/json\r\n\
         Connection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes())?;
    stream.write_all(body.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").context("no HTTP answer")?;
    ensure!(head.starts_with("HTTP/1.1 200"), "{target}: {answer}");
    Ok(body.to_owned())
}
