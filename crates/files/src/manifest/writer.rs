//! Writing a manifest while the scan walks.

use std::fs::File;
use std::io::{self, Write};
use std::path::PathBuf;

use hostler_model::Entry;

use super::format::{Codec, FRAME_TARGET, FrameKind, Header, MAGIC, Totals, checksum};
use crate::error::ManifestError;

/// An unfinished manifest under its temporary name; dropped without [`ManifestWriter::finish`], it is removed.
pub struct ManifestWriter {
    file: File,
    path: PathBuf,
    finished: bool,
    codec: Codec,
    payload: Vec<u8>,
    frames: u64,
    totals: Totals,
}

impl ManifestWriter {
    /// Starts a manifest in `file`, which is empty and has the name `path`.
    pub fn new(file: File, path: PathBuf, header: &Header) -> Result<Self, ManifestError> {
        let mut writer = Self {
            file,
            path,
            finished: false,
            codec: Codec::default(),
            payload: Vec::with_capacity(FRAME_TARGET + 4096),
            frames: 0,
            totals: Totals::default(),
        };
        writer.file.write_all(&MAGIC).map_err(|source| writer.error(source))?;
        writer.frame(FrameKind::Header, &header.encode())?;
        Ok(writer)
    }

    /// Adds an entry; `depth` for directories only. Entries come in walk order.
    pub fn push(&mut self, depth: Option<usize>, name: &[u8], entry: &Entry) -> Result<(), ManifestError> {
        self.codec.encode(&mut self.payload, depth, name, entry);
        self.totals.add(entry);
        if self.payload.len() >= FRAME_TARGET { self.flush() } else { Ok(()) }
    }

    /// Writes what is left and waits until the disk has it; the path of the complete file.
    pub fn finish(mut self) -> Result<PathBuf, ManifestError> {
        self.flush()?;
        let trailer = self.totals.encode();
        self.frame(FrameKind::Trailer, &trailer)?;
        self.file.sync_all().map_err(|source| self.error(source))?;
        self.finished = true;
        Ok(self.path.clone())
    }

    fn flush(&mut self) -> Result<(), ManifestError> {
        if self.payload.is_empty() {
            return Ok(());
        }
        let payload = std::mem::take(&mut self.payload);
        let written = self.frame(FrameKind::Records, &payload);
        self.payload = payload;
        self.payload.clear();
        self.totals.frames += 1;
        written
    }

    fn frame(&mut self, kind: FrameKind, payload: &[u8]) -> Result<(), ManifestError> {
        let too_long = |_| self.error(io::ErrorKind::InvalidInput.into());
        let len = u32::try_from(payload.len()).map_err(too_long)?;
        let mut head = Vec::with_capacity(super::format::FRAME_HEAD);
        head.push(kind as u8);
        head.extend_from_slice(&len.to_le_bytes());
        head.extend_from_slice(&checksum(self.frames, kind, payload).to_le_bytes());
        let written = self.file.write_all(&head).and_then(|()| self.file.write_all(payload));
        self.frames += 1;
        written.map_err(|source| self.error(source))
    }

    fn error(&self, source: io::Error) -> ManifestError {
        ManifestError::Io { action: "write", path: self.path.clone(), source }
    }
}

impl Drop for ManifestWriter {
    fn drop(&mut self) {
        if !self.finished {
            // What stays behind is overwritten by the root's next scan.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}
