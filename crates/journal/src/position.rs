//! How far the journal was acknowledged, in the file `acknowledged`: `journal id 16 | seq u64 | crc32 u32`.
//!
//! It is written in place and not flushed: when it is lost or torn, segments are kept longer and nothing else happens.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use crate::JournalId;

const LEN: usize = 28;

pub fn open(dir: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(dir.join("acknowledged"))
}

/// 0 for a file that says nothing of this journal.
pub fn read(file: &File, id: JournalId) -> u64 {
    let mut bytes = [0; LEN];
    if file.read_exact_at(&mut bytes, 0).is_err() {
        return 0;
    }
    let (body, crc) = bytes.split_at(LEN - 4);
    match body.split_last_chunk::<8>() {
        Some((owner, seq)) if crc == crc32fast::hash(body).to_le_bytes() && owner == id.0 => u64::from_le_bytes(*seq),
        _ => 0,
    }
}

pub fn write(file: &File, id: JournalId, seq: u64) -> io::Result<()> {
    let mut bytes = [0; LEN];
    bytes[..16].copy_from_slice(&id.0);
    bytes[16..24].copy_from_slice(&seq.to_le_bytes());
    let crc = crc32fast::hash(&bytes[..LEN - 4]).to_le_bytes();
    bytes[LEN - 4..].copy_from_slice(&crc);
    file.write_all_at(&bytes, 0)
}
