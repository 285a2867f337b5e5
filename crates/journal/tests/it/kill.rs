//! A process that appends is killed again and again; what it was told is on disk stays there.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::time::Duration;

use hostler_journal::{Durability, Journal};

use crate::support::{read_all, small};

const DIR: &str = "JOURNAL_STORM_DIR";
const KILLS: u64 = 30;

#[test]
#[ignore = "run by the storm as its child"]
fn child_of_the_storm() {
    let Some(dir) = std::env::var_os(DIR) else { return };
    let journal = Journal::open(small(dir.as_ref(), 5_000, 10 << 20)).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..3 {
            let journal = journal.clone();
            scope.spawn(move || {
                for n in 0u64.. {
                    let payload = format!("{} {thread} {n}", std::process::id());
                    if n % 3 == 0 {
                        journal.append(format!("b {payload}").as_bytes(), Durability::Buffered).unwrap();
                    }
                    let seq = journal.append(payload.as_bytes(), Durability::Flushed).unwrap();
                    let mut out = std::io::stdout().lock();
                    writeln!(out, "\nkept {seq} {payload}").unwrap();
                    out.flush().unwrap();
                }
            });
        }
    });
}

#[test]
fn what_was_flushed_outlives_every_kill() {
    let dir = tempfile::tempdir().unwrap();
    let mut kept = BTreeMap::new();
    for kill in 0..KILLS {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["kill::child_of_the_storm", "--exact", "--ignored", "--nocapture"])
            .env(DIR, dir.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let reader = std::thread::spawn(move || {
            let parse = |line: String| {
                let (seq, payload) = line.strip_prefix("kept ")?.split_once(' ')?;
                Some((seq.parse::<u64>().ok()?, payload.to_owned()))
            };
            // The last line may be cut by the kill; then its payload is only a beginning.
            let all: Vec<String> = lines.map_while(Result::ok).collect();
            all.into_iter().filter_map(parse).collect::<Vec<_>>()
        });
        let random = u64::from(getrandom());
        std::thread::sleep(Duration::from_millis(30 + (random + kill * 7) % 120));
        child.kill().unwrap();
        child.wait().unwrap();
        for (seq, payload) in reader.join().unwrap() {
            let before = kept.insert(seq, payload);
            assert_eq!(before, None, "number {seq} was given twice");
        }
    }
    let journal = Journal::open(small(dir.path(), 5_000, 10 << 20)).unwrap();
    let read = read_all(&journal, 0, 64 << 10).0;
    let on_disk: BTreeMap<u64, String> = read.iter().cloned().collect();
    assert_eq!(on_disk.len(), read.len());
    println!("{} events were told to be on disk, {} are there, after {KILLS} kills", kept.len(), on_disk.len());
    assert!(kept.len() > KILLS as usize, "the children hardly ran");
    for (seq, payload) in &kept {
        let there = on_disk.get(seq).unwrap_or_else(|| panic!("event {seq} is gone"));
        assert!(there.starts_with(payload), "event {seq} is {there}, not {payload}");
    }
    assert_eq!(journal.status().lost, 0);
}

fn getrandom() -> u8 {
    let mut byte = [0];
    std::io::Read::read_exact(&mut std::fs::File::open("/dev/urandom").unwrap(), &mut byte).unwrap();
    byte[0]
}
