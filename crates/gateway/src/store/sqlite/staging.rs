//! Differences of running scans, each scan's in a file of its own until it is committed or ends.
//!
//! Nothing here survives a restart: scans that a stopped gateway left running have failed.
//!
//! ```text
//! file = ( length(u32, little-endian) hostler.v1.ScanBatch )*
//! ```

use std::fs::{self, File};
use std::io::{self, BufReader, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use buffa::Message;
use hostler_api::{BatchBuilder, index_ops, v1};
use hostler_model::{IndexOp, ScanId, bytestr};

use crate::store::{Result, StoreError};

/// Largest batch read back: the store is given bounded ones.
const MAX_BATCH: u32 = 64 << 20;

/// Free bytes that are left to others: this much, or a fiftieth of a small disk.
const RESERVE: u64 = 512 << 20;

/// The directory of the files.
#[derive(Clone)]
pub struct Staging(PathBuf);

impl Staging {
    /// An empty one in `dir`; what an earlier run left is removed.
    pub fn open(dir: &Path) -> Result<Self> {
        let staging = Self(dir.join("staging"));
        match fs::remove_dir_all(&staging.0) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(&staging.0, error)),
            _ => {}
        }
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&staging.0).map_err(|e| failed(&staging.0, e))?;
        Ok(staging)
    }

    /// Appends a scan's differences.
    pub fn append(&self, scan: ScanId, ops: &[IndexOp]) -> Result<()> {
        let mut builder = BatchBuilder::default();
        ops.iter().for_each(|op| builder.push(op));
        let Some(batch) = builder.take() else { return Ok(()) };
        let batch = batch.encode_to_vec();
        let path = self.path(scan);
        self.leave_room()?;
        let write = || {
            let mut file = File::options().append(true).create(true).mode(0o600).open(&path)?;
            let before = file.metadata()?.len();
            let len = u32::try_from(batch.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
            let mut frame = len.to_le_bytes().to_vec();
            frame.extend_from_slice(&batch);
            // Half of a batch must not stand before the next one.
            file.write_all(&frame).inspect_err(|_| drop(file.set_len(before)))
        };
        write().map_err(|error| failed(&path, error))
    }

    /// A host may send as much as it likes, and must not fill the disk on which everything else is kept.
    fn leave_room(&self) -> Result<()> {
        let disk = rustix::fs::statvfs(&self.0).map_err(|error| failed(&self.0, error.into()))?;
        let reserve = (disk.f_blocks / 50).saturating_mul(disk.f_frsize).min(RESERVE);
        match disk.f_bavail.saturating_mul(disk.f_frsize) < reserve {
            true => Err(StoreError::Full),
            false => Ok(()),
        }
    }

    /// A scan's differences in the order in which they were appended; none when there are none.
    pub fn read(&self, scan: ScanId) -> Result<Batches> {
        let path = self.path(scan);
        let file = match File::open(&path) {
            Ok(file) => Some(BufReader::with_capacity(1 << 20, file)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(failed(&path, error)),
        };
        Ok(Batches { path, file })
    }

    /// Drops what a scan staged.
    pub fn remove(&self, scan: ScanId) {
        // What cannot be removed now goes with the next start.
        let _ = fs::remove_file(self.path(scan));
    }

    /// Drops everything.
    pub fn clear(&self) {
        for entry in fs::read_dir(&self.0).into_iter().flatten().flatten() {
            let _ = fs::remove_file(entry.path());
        }
    }

    fn path(&self, scan: ScanId) -> PathBuf {
        self.0.join(scan.to_string())
    }
}

/// See [`Staging::read`].
pub struct Batches {
    path: PathBuf,
    file: Option<BufReader<File>>,
}

impl Iterator for Batches {
    type Item = Result<Vec<IndexOp>>;

    fn next(&mut self) -> Option<Self::Item> {
        let read = self.batch();
        if !matches!(read, Ok(Some(_))) {
            self.file = None;
        }
        read.transpose()
    }
}

impl Batches {
    fn batch(&mut self) -> Result<Option<Vec<IndexOp>>> {
        let Some(file) = &mut self.file else { return Ok(None) };
        let mut len = [0; 4];
        match file.read_exact(&mut len) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            other => other.map_err(|error| failed(&self.path, error))?,
        }
        let corrupt = |why: String| failed(&self.path, io::Error::new(io::ErrorKind::InvalidData, why));
        let len = u32::from_le_bytes(len);
        if len > MAX_BATCH {
            return Err(corrupt(format!("a staged batch of {len} bytes")));
        }
        let mut bytes = vec![0; len as usize];
        file.read_exact(&mut bytes).map_err(|error| failed(&self.path, error))?;
        let batch = v1::ScanBatch::decode_from_slice(&bytes).map_err(|e| corrupt(format!("staged batch: {e}")))?;
        index_ops(&batch).map(Some).map_err(|e| corrupt(format!("staged batch: {e}")))
    }
}

fn failed(path: &Path, source: io::Error) -> StoreError {
    match source.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => StoreError::Full,
        _ => StoreError::File { path: bytestr::display(path.as_os_str().as_encoded_bytes()).into(), source },
    }
}
