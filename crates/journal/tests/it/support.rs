use std::path::{Path, PathBuf};
use std::time::Duration;

use hostler_journal::{Durability, Journal, JournalSettings};

pub fn settings(dir: &Path) -> JournalSettings {
    JournalSettings { flush_every: Duration::from_millis(5), ..JournalSettings::new(dir) }
}

/// Small segments, so that a test has many.
pub fn small(dir: &Path, segment_bytes: u64, max_bytes: u64) -> JournalSettings {
    JournalSettings { segment_bytes, max_bytes, ..settings(dir) }
}

pub fn append(journal: &Journal, payload: &str) -> u64 {
    journal.append(payload.as_bytes(), Durability::Flushed).unwrap()
}

/// Everything behind `after`, read in batches of `max_bytes`, and how far that went.
pub fn read_all(journal: &Journal, after: u64, max_bytes: usize) -> (Vec<(u64, String)>, u64) {
    let (mut all, mut through) = (Vec::new(), after);
    loop {
        let batch = journal.read(through, max_bytes).unwrap();
        assert!(batch.records.iter().all(|r| r.seq > through && r.seq <= batch.through));
        all.extend(batch.records.iter().map(|r| (r.seq, String::from_utf8(r.payload.to_vec()).unwrap())));
        if batch.through == through {
            return (all, through);
        }
        through = batch.through;
    }
}

pub fn segments(dir: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(dir)
        .unwrap()
        .map(|e| e.unwrap().path())
        .filter(|p| p.extension().is_some_and(|e| e == "seg"))
        .collect();
    files.sort();
    files
}
