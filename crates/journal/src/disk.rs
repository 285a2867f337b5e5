//! Writing: batches of records go to the last segment, and are told to readers once they are flushed to the disk.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Mutex;

use tokio::sync::watch;

use crate::view::View;
use crate::{JournalError, JournalId, lock, position, record, segment};

/// The one writer. It is locked while it writes.
pub struct Disk {
    pub dir: PathBuf,
    pub id: JournalId,
    pub segment_bytes: u64,
    pub max_bytes: u64,
    /// The last segment; `None` when it cannot be written any more and the next write makes another.
    pub active: Option<Active>,
    /// Where the acknowledged position is kept, and the one it holds.
    pub position: File,
    pub kept_position: u64,
    /// The batch being written; swapped with the appenders' buffer.
    pub batch: Vec<u8>,
    /// The last batch failed.
    pub failing: bool,
}

/// The segment being written.
pub struct Active {
    pub file: File,
    pub first: u64,
    /// Bytes that are flushed; what lies behind was never told to a reader.
    pub len: u64,
}

/// What became of a batch.
#[derive(Debug)]
pub struct Outcome {
    /// Numbers up to this one are on disk.
    pub through: u64,
    /// Why the rest is not.
    pub error: Option<JournalError>,
}

impl Disk {
    /// Writes and flushes the batch. After a failure nothing of the rest is left in the files.
    pub fn write_batch(&mut self, view: &Mutex<View>, durable: &watch::Sender<u64>) -> Outcome {
        let batch = std::mem::take(&mut self.batch);
        let mut outcome = Outcome { through: record::first(&batch).saturating_sub(1), error: None };
        let mut rest = batch.as_slice();
        while !rest.is_empty() {
            match self.write_part(rest, view) {
                Ok((taken, last)) => {
                    rest = &rest[taken..];
                    outcome.through = last;
                    durable.send_replace(last);
                }
                Err(error) => {
                    if !self.failing {
                        tracing::error!(%error, "events are lost until the journal can be written again");
                    }
                    outcome.error = Some(error);
                    break;
                }
            }
        }
        if outcome.error.is_none() && self.failing {
            tracing::info!(dir = %self.dir.display(), "the journal is written again");
        }
        self.failing = outcome.error.is_some();
        self.batch = batch;
        self.batch.clear();
        outcome
    }

    /// Writes as much as fits into one segment. Returns its length and its last number.
    fn write_part(&mut self, bytes: &[u8], view: &Mutex<View>) -> Result<(usize, u64), JournalError> {
        let (one, _) = record::fitting(bytes, 0);
        let full = |a: &Active| a.len > segment::HEADER as u64 && a.len + one as u64 > self.segment_bytes;
        let mut active = match self.active.take() {
            Some(active) if !full(&active) => active,
            full => {
                self.active = full;
                self.begin_segment(record::first(bytes), view)?
            }
        };
        let (taken, last) = record::fitting(bytes, self.segment_bytes.saturating_sub(active.len));
        if let Err(source) = active.file.write_all_at(&bytes[..taken], active.len) {
            let error = self.write_error(&active, source);
            // Without the half record the segment goes on as it was; else the next write begins another.
            if active.file.set_len(active.len).is_ok() {
                self.active = Some(active);
            }
            return Err(error);
        }
        if let Err(source) = active.file.sync_data() {
            // After a failed flush nobody knows what is on the disk: the segment ends here.
            let _ = active.file.set_len(active.len);
            return Err(self.write_error(&active, source));
        }
        active.len += taken as u64;
        lock(view).grown(active.len, last);
        self.active = Some(active);
        Ok((taken, last))
    }

    /// Makes a segment that begins with `first`, and deletes the oldest ones above the bound. On failure the active one stays.
    pub fn begin_segment(&mut self, first: u64, view: &Mutex<View>) -> Result<Active, JournalError> {
        let file = segment::create(&self.dir, self.id, first)?;
        let gone = lock(view).begin(first, self.segment_bytes, self.max_bytes);
        self.delete(gone);
        Ok(Active { file, first, len: segment::HEADER as u64 })
    }

    /// Deletes segments that are in no view any more.
    pub fn delete(&self, gone: Vec<u64>) {
        for first in gone {
            let path = segment::path(&self.dir, first);
            if let Err(error) = std::fs::remove_file(&path) {
                tracing::warn!(path = %path.display(), %error, "a journal segment was not deleted");
            }
        }
    }

    /// Keeps the acknowledged position, when it is another one.
    pub fn keep_position(&mut self, acknowledged: u64) {
        if acknowledged != self.kept_position {
            match position::write(&self.position, self.id, acknowledged) {
                Ok(()) => self.kept_position = acknowledged,
                Err(error) => tracing::debug!(%error, "the acknowledged position was not kept"),
            }
        }
    }

    fn write_error(&self, active: &Active, source: std::io::Error) -> JournalError {
        JournalError::io("write the journal segment", segment::path(&self.dir, active.first))(source)
    }
}
