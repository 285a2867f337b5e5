//! A disk that is full, made of a small tmpfs. Mounting needs root.

use std::path::Path;
use std::process::Command;

use hostler_journal::{Durability, Journal, JournalError};

use crate::support::{append, read_all, segments, small};

/// Unmounts at the end, whatever the test says.
struct Tmpfs<'a>(&'a Path);

impl Drop for Tmpfs<'_> {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.0).status();
    }
}

#[test]
fn a_full_disk_loses_events_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=512k", "tmpfs"]).arg(dir.path()).status();
    if !mounted.is_ok_and(|s| s.success()) {
        println!("LEFT OUT: the full disk; mounting a tmpfs is not allowed here (run as root)");
        return;
    }
    let _tmpfs = Tmpfs(dir.path());
    let data = dir.path().join("journal");
    let journal = Journal::open(small(&data, 50_000, 10 << 20)).unwrap();
    let ballast = dir.path().join("ballast");
    let mut written = Vec::new();
    let text = |n: u64| format!("{n:0300}");
    let mut fill = |count: u64| {
        let mut failed = 0;
        for _ in 0..count {
            let next = journal.status().next;
            match journal.append(text(next).as_bytes(), Durability::Flushed) {
                Ok(seq) => written.push((seq, text(seq))),
                Err(error) => {
                    assert!(matches!(&error, JournalError::Io { .. }), "{error}");
                    assert!(error.to_string().contains("No space left"), "{error}");
                    failed += 1;
                }
            }
        }
        failed
    };
    assert_eq!(fill(10), 0);
    // Full: the ballast takes what is left.
    let mut file = std::fs::File::create(&ballast).unwrap();
    while std::io::Write::write_all(&mut file, &[1; 4096]).is_ok() {}
    let failed = fill(200);
    assert!(failed > 150, "{failed}");
    assert_eq!(journal.status().lost, failed);
    assert_eq!(journal.status().next, 211);
    assert!(segments(&data).len() <= 2);
    drop(file);
    std::fs::remove_file(&ballast).unwrap();
    assert_eq!(fill(10), 0);
    assert_eq!(journal.status().lost, failed);
    drop(journal);
    let journal = Journal::open(small(&data, 50_000, 10 << 20)).unwrap();
    let (read, through) = read_all(&journal, 0, 1000);
    assert_eq!(read, written);
    assert_eq!(through, 220);
    assert_eq!(append(&journal, "next"), 221);
}

#[test]
fn a_journal_on_a_full_disk_opens_and_begins_when_there_is_space() {
    let dir = tempfile::tempdir().unwrap();
    let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=64k", "tmpfs"]).arg(dir.path()).status();
    if !mounted.is_ok_and(|s| s.success()) {
        println!("LEFT OUT: opening on a full disk; mounting a tmpfs is not allowed here (run as root)");
        return;
    }
    let _tmpfs = Tmpfs(dir.path());
    let ballast = dir.path().join("ballast");
    let mut file = std::fs::File::create(&ballast).unwrap();
    while std::io::Write::write_all(&mut file, &[1; 4096]).is_ok() {}
    drop(file);
    let journal = Journal::open(small(&dir.path().join("journal"), 5_000, 20_000)).unwrap();
    assert!(journal.append(b"lost", Durability::Flushed).is_err());
    std::fs::remove_file(&ballast).unwrap();
    let seq = append(&journal, "kept");
    assert_eq!(seq, 2);
    assert_eq!(read_all(&journal, 0, 1000), (vec![(2, "kept".to_owned())], 2));
}
