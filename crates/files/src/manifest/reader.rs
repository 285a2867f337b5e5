//! Reading a manifest: verified whole, then record by record.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use hostler_model::{Algorithm, Entry};

use super::format::{Codec, FRAME_HEAD, FRAME_MAX, FrameKind, Header, MAGIC, Record, Totals, checksum};
use crate::error::ManifestError;

/// Why a manifest cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Unusable {
    /// There is none.
    #[error("it does not exist")]
    Missing,
    /// Cut off, altered, or not a manifest at all.
    #[error("it is damaged")]
    Damaged,
    /// Written by a Hostler with another format.
    #[error("its format is of another version")]
    OtherVersion,
    /// Of another root: the file was moved, or two roots have one name hash.
    #[error("it belongs to another root")]
    OtherRoot,
    /// A system call failed.
    #[error(transparent)]
    Io(io::Error),
}

impl From<io::Error> for Unusable {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::NotFound => Self::Missing,
            io::ErrorKind::UnexpectedEof => Self::Damaged,
            _ => Self::Io(error),
        }
    }
}

/// A cursor on a verified manifest. [`ManifestReader::current`] is the record under it.
pub struct ManifestReader {
    frames: Frames,
    path: PathBuf,
    header: Header,
    totals: Totals,
    codec: Codec,
    at: usize,
    /// Depth of the directory whose entries are being read; `None` before the root.
    depth: Option<usize>,
    current: Option<Record>,
}

impl ManifestReader {
    /// Verifies the manifest at `path` from end to end and puts the cursor before its first record:
    /// call [`ManifestReader::advance`].
    pub fn open(path: &Path, root: &[u8]) -> Result<Self, Unusable> {
        let mut frames = Frames { file: File::open(path)?, payload: Vec::new(), number: 0 };
        let header = frames.header(root)?;
        let records_start = frames.file.stream_position()?;
        let mut count = 0;
        let totals = loop {
            match frames.next()? {
                FrameKind::Records => count += 1,
                FrameKind::Trailer => break Totals::decode(&frames.payload).ok_or(Unusable::Damaged)?,
                FrameKind::Header => return Err(Unusable::Damaged),
            }
        };
        let complete = frames.file.read(&mut [0])? == 0 && totals.frames == count && totals.dirs > 0;
        if !complete {
            return Err(Unusable::Damaged);
        }
        frames.file.seek(SeekFrom::Start(records_start))?;
        frames.number = 1;
        frames.payload.clear();
        let path = path.to_owned();
        Ok(Self { frames, path, header, totals, codec: Codec::default(), at: 0, depth: None, current: None })
    }

    /// The generation in the header of the manifest at `path`; the rest is not looked at.
    pub fn read_generation(path: &Path, root: &[u8]) -> Result<u64, Unusable> {
        let mut frames = Frames { file: File::open(path)?, payload: Vec::new(), number: 0 };
        Ok(frames.header(root)?.generation)
    }

    /// The same manifest, whose file has been given another name.
    pub fn renamed(self, path: PathBuf) -> Self {
        Self { path, ..self }
    }

    /// Which state it is.
    pub fn generation(&self) -> u64 {
        self.header.generation
    }

    /// What the manifest holds in all.
    pub fn totals(&self) -> &Totals {
        &self.totals
    }

    /// What made the hashes.
    pub fn algorithm(&self) -> Algorithm {
        self.header.algorithm
    }

    /// The name of the record under the cursor; empty at the end.
    pub fn name(&self) -> &[u8] {
        self.current.map_or(&[], |r| &self.frames.payload[r.name_start..r.name_start + r.name_len])
    }

    /// The entry under the cursor if it is not a directory.
    pub fn entry(&self) -> Option<&Entry> {
        self.current.as_ref().filter(|record| record.depth.is_none()).map(|record| &record.entry)
    }

    /// The directory under the cursor and its depth.
    pub fn dir(&self) -> Option<(usize, &Entry)> {
        self.current.as_ref().and_then(|record| Some((record.depth?, &record.entry)))
    }

    /// Moves the cursor to the next record.
    pub fn advance(&mut self) -> Result<(), ManifestError> {
        match self.next() {
            Ok(record) => {
                self.current = record;
                Ok(())
            }
            Err(Unusable::Io(source)) => Err(ManifestError::Io { action: "read", path: self.path.clone(), source }),
            Err(_) => Err(ManifestError::Damaged { path: self.path.clone() }),
        }
    }

    fn next(&mut self) -> Result<Option<Record>, Unusable> {
        if self.at == self.frames.payload.len() {
            if self.frames.number > self.totals.frames {
                return Ok(None);
            }
            if self.frames.next()? != FrameKind::Records {
                return Err(Unusable::Damaged);
            }
            self.at = 0;
        }
        let record =
            self.codec.decode(&self.frames.payload, &mut self.at, self.header.algorithm).ok_or(Unusable::Damaged)?;
        let in_order = match (record.depth, self.depth) {
            (Some(depth), None) => depth == 0,
            (Some(depth), Some(parent)) => depth >= 1 && depth <= parent + 1,
            (None, parent) => parent.is_some(),
        };
        if !in_order {
            return Err(Unusable::Damaged);
        }
        self.depth = record.depth.or(self.depth);
        Ok(Some(record))
    }
}

/// The frames of an open file, one at a time.
struct Frames {
    file: File,
    payload: Vec<u8>,
    /// Of the next frame.
    number: u64,
}

impl Frames {
    /// The magic and the first frame.
    fn header(&mut self, root: &[u8]) -> Result<Header, Unusable> {
        let mut magic = [0; MAGIC.len()];
        self.file.read_exact(&mut magic)?;
        if magic != MAGIC {
            let ours = magic[..MAGIC.len() - 1] == MAGIC[..MAGIC.len() - 1];
            return Err(if ours { Unusable::OtherVersion } else { Unusable::Damaged });
        }
        if self.next()? != FrameKind::Header {
            return Err(Unusable::Damaged);
        }
        let header = Header::decode(&self.payload).ok_or(Unusable::Damaged)?;
        if header.root == root { Ok(header) } else { Err(Unusable::OtherRoot) }
    }

    /// Reads the next frame into `payload` and verifies it.
    fn next(&mut self) -> Result<FrameKind, Unusable> {
        let mut head = [0; FRAME_HEAD];
        self.file.read_exact(&mut head)?;
        let [kind, l0, l1, l2, l3, sum @ ..] = head;
        let kind = FrameKind::from_code(kind).ok_or(Unusable::Damaged)?;
        let len = u32::from_le_bytes([l0, l1, l2, l3]) as usize;
        if len > FRAME_MAX {
            return Err(Unusable::Damaged);
        }
        self.payload.resize(len, 0);
        self.file.read_exact(&mut self.payload)?;
        if checksum(self.number, kind, &self.payload) != u64::from_le_bytes(sum) {
            return Err(Unusable::Damaged);
        }
        self.number += 1;
        Ok(kind)
    }
}
