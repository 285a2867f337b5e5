//! Files of a journal: `NNNNNNNNNNNNNNNNNNNN.seg`, named by the first number they may hold, and how they are walked.
//!
//! Header, little endian: `magic 8 | version u32 | journal id 16 | first u64 | crc32 u32`; then records, see `record.rs`.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::record::{self, MAX_PAYLOAD, Parsed};
use crate::{JournalError, JournalId};

const MAGIC: &[u8; 8] = b"HSTLRJNL";
const VERSION: u32 = 1;
/// Bytes before the first record.
pub const HEADER: usize = 40;
/// What a walk reads at a time: more than the largest record.
const CHUNK: usize = 128 << 10;
/// How much behind a damaged place is looked at for records that are whole.
const SALVAGE: u64 = 64 << 20;

/// The file of the segment that begins with `first`.
pub fn path(dir: &Path, first: u64) -> PathBuf {
    dir.join(format!("{first:020}.seg"))
}

/// The first number of the segment with this file name; `None` for other files.
pub fn first_of_name(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(".seg").filter(|d| d.len() == 20 && d.bytes().all(|b| b.is_ascii_digit()))?;
    digits.parse().ok()
}

/// Makes an empty segment that outlives a power cut: written aside, flushed, renamed, and the directory flushed.
pub fn create(dir: &Path, id: JournalId, first: u64) -> Result<File, JournalError> {
    let (path, aside) = (path(dir, first), dir.join("new.tmp"));
    let mut header = Vec::with_capacity(HEADER);
    header.extend_from_slice(MAGIC);
    header.extend_from_slice(&VERSION.to_le_bytes());
    header.extend_from_slice(&id.0);
    header.extend_from_slice(&first.to_le_bytes());
    header.extend_from_slice(&crc32fast::hash(&header).to_le_bytes());
    let make = || {
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).create(true).truncate(true).mode(0o600).open(&aside)?;
        file.write_all_at(&header, 0)?;
        file.sync_all()?;
        std::fs::rename(&aside, &path)?;
        File::open(dir)?.sync_all()?;
        Ok(file)
    };
    make().map_err(|error| {
        // What cannot be removed either is removed at the next start.
        let _ = std::fs::remove_file(&aside);
        JournalError::io("make the journal segment", &path)(error)
    })
}

/// Whose segment it is, when its header is whole and fits its name.
pub fn read_header(file: &File, first: u64) -> io::Result<Option<JournalId>> {
    let mut header = [0; HEADER];
    match file.read_exact_at(&mut header, 0) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(error),
    }
    let (body, crc) = header.split_at(HEADER - 4);
    let whole = crc == crc32fast::hash(body).to_le_bytes()
        && body.starts_with(MAGIC)
        && body[8..12] == VERSION.to_le_bytes()
        && body[28..36] == first.to_le_bytes();
    let mut id = [0; 16];
    id.copy_from_slice(&body[12..28]);
    Ok(whole.then_some(JournalId(id)))
}

/// One step of a [`Walk`].
#[derive(Debug, PartialEq, Eq)]
pub enum Step<'a> {
    /// The next record.
    Record { seq: u64, payload: &'a [u8] },
    /// All was read.
    End,
    /// The file ends within a record.
    Torn,
    /// The next bytes are not what was written.
    Damaged,
}

/// Reads the records of a segment in order, in constant memory.
pub struct Walk<'a> {
    file: &'a File,
    /// Of the next record, in the file.
    offset: u64,
    end: u64,
    seq: u64,
    chunk: Vec<u8>,
    /// Where the next record begins in `chunk`.
    at: usize,
}

impl<'a> Walk<'a> {
    /// Begins at `offset`, behind the record `after`, and reads up to `end`.
    pub fn new(file: &'a File, offset: u64, end: u64, after: u64) -> Self {
        Self { file, offset, end, seq: after, chunk: Vec::new(), at: 0 }
    }

    /// Where the next record begins.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// The number of the last record, at first the one the walk began behind.
    pub fn seq(&self) -> u64 {
        self.seq
    }

    /// The next record, or why there is none. After anything but a record it says the same again.
    pub fn step(&mut self) -> io::Result<Step<'_>> {
        let left = self.end.saturating_sub(self.offset);
        if left == 0 {
            return Ok(Step::End);
        }
        let largest = (record::HEADER + MAX_PAYLOAD) as u64;
        if ((self.chunk.len() - self.at) as u64) < left.min(largest) {
            let size = left.min(CHUNK as u64) as usize;
            self.chunk.resize(size, 0);
            self.at = 0;
            // Shorter than said: someone cut the file. What is there is still read.
            let got = read_full_at(self.file, &mut self.chunk, self.offset)?;
            self.chunk.truncate(got);
        }
        match record::parse(&self.chunk[self.at..], self.seq) {
            Parsed::Record { seq, payload } => {
                let len = record::HEADER + payload.len();
                self.seq = seq;
                self.offset += len as u64;
                let from = self.at + record::HEADER;
                self.at += len;
                Ok(Step::Record { seq, payload: &self.chunk[from..self.at] })
            }
            Parsed::Incomplete => Ok(Step::Torn),
            Parsed::Damaged => Ok(Step::Damaged),
        }
    }
}

/// The greatest number of a whole record behind a damaged place at `offset`; `after` when there is none.
///
/// Records behind the damage cannot be trusted to be all there, but their numbers may have been read and are not used again.
pub fn salvage_last(file: &File, offset: u64, end: u64, after: u64) -> io::Result<u64> {
    let mut bytes = vec![0; end.saturating_sub(offset).min(SALVAGE) as usize];
    let got = read_full_at(file, &mut bytes, offset)?;
    bytes.truncate(got);
    let (mut at, mut last) = (0, after);
    while at < bytes.len() {
        match record::parse(&bytes[at..], last) {
            // A number far away is noise that happens to look like a record.
            Parsed::Record { seq, payload } if seq - last <= u64::from(u32::MAX) => {
                last = seq;
                at += record::HEADER + payload.len();
            }
            _ => at += 1,
        }
    }
    Ok(last)
}

fn read_full_at(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut got = 0;
    while got < buffer.len() {
        match file.read_at(&mut buffer[got..], offset + got as u64) {
            Ok(0) => break,
            Ok(n) => got += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(got)
}
