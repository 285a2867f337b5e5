//! The directory of manifests: which one is current, which one waits to be promoted.
//!
//! Per root, named by the first half of the BLAKE3 hash of its path: `X.manifest` is what the gateway has committed,
//! `X.pending` the last finished scan, `X.tmp` a scan that runs (or was killed), `X.lock` what a running scan holds
//! locked.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use hostler_model::ByteStr;

use super::format::Header;
use super::reader::{ManifestReader, Unusable};
use super::writer::ManifestWriter;
use crate::error::{ManifestError, PromoteError};

/// The manifests of one host. Other processes may use the same directory.
#[derive(Debug)]
pub struct ManifestStore {
    dir: PathBuf,
    /// Held while manifests are chosen by generation and renamed, so that none takes another's name meanwhile.
    renames: Mutex<()>,
}

/// What a scan starts from.
pub struct Base {
    /// A verified manifest to compare with, or only to save hashing when the scan is full.
    pub manifest: Option<ManifestReader>,
    /// True when the manifest is not the base the caller named.
    pub full: bool,
}

/// Keeps other scans of one root out until dropped, in this process and others.
pub struct ScanLock {
    _file: File,
}

struct Names {
    current: PathBuf,
    pending: PathBuf,
    unfinished: PathBuf,
    lock: PathBuf,
}

impl ManifestStore {
    /// Opens the directory, and creates it, for its owner only, when it is missing.
    pub fn open(dir: PathBuf) -> Result<Self, ManifestError> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&dir)
            .map_err(|source| io_error("create", &dir, source))?;
        Ok(Self { dir, renames: Mutex::default() })
    }

    /// The gateway has committed `generation`: its manifest becomes the current one. Idempotent.
    ///
    /// # Errors
    /// [`PromoteError::UnknownGeneration`] when neither the current nor the pending manifest has that generation.
    pub fn promote(&self, root: &[u8], generation: u64) -> Result<(), PromoteError> {
        let names = self.names(root);
        let _renames = self.renames.lock().unwrap_or_else(PoisonError::into_inner);
        let pending = ManifestReader::read_generation(&names.pending, root).ok();
        if pending == Some(generation) {
            return Ok(self.rename(&names.pending, &names.current)?);
        }
        let current = ManifestReader::read_generation(&names.current, root).ok();
        if current == Some(generation) {
            return Ok(());
        }
        Err(PromoteError::UnknownGeneration { root: ByteStr::from(root), generation, current, pending })
    }

    /// Removes what is kept of `root`; its next scan reads everything. Fails while a scan of it runs.
    pub fn forget(&self, root: &[u8]) -> Result<(), ManifestError> {
        let _lock = self.lock(root)?;
        let names = self.names(root);
        // The lock file stays: removing it would let two scans lock two files of one name.
        for path in [names.current, names.pending, names.unfinished] {
            match std::fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(io_error("remove", &path, error)),
                _ => {}
            }
        }
        Ok(())
    }

    /// Reserves `root` for one scan.
    pub(crate) fn lock(&self, root: &[u8]) -> Result<ScanLock, ManifestError> {
        let path = self.names(root).lock;
        let file = open_private(&path).map_err(|source| io_error("lock", &path, source))?;
        match file.try_lock() {
            Ok(()) => Ok(ScanLock { _file: file }),
            Err(TryLockError::WouldBlock) => Err(ManifestError::Busy),
            Err(TryLockError::Error(source)) => Err(io_error("lock", &path, source)),
        }
    }

    /// What to compare with, given the generation that the gateway has committed (0: none).
    pub(crate) fn base(&self, root: &[u8], generation: u64) -> Result<Base, ManifestError> {
        let names = self.names(root);
        let _renames = self.renames.lock().unwrap_or_else(PoisonError::into_inner);
        let is_base = |m: &ManifestReader| generation != 0 && m.generation() == generation;
        let mut pending = usable(&names.pending, root);
        if let Some(manifest) = pending.take_if(|m| is_base(m)) {
            // The gateway committed, and its promote was lost.
            self.rename(&names.pending, &names.current)?;
            return Ok(Base { manifest: Some(manifest.renamed(names.current)), full: false });
        }
        let mut current = usable(&names.current, root);
        if let Some(manifest) = current.take_if(|m| is_base(m)) {
            return Ok(Base { manifest: Some(manifest), full: false });
        }
        let newest = [current, pending].into_iter().flatten().max_by_key(ManifestReader::generation);
        Ok(Base { manifest: newest, full: true })
    }

    /// Starts a new manifest. The caller holds the root's lock.
    pub(crate) fn create(&self, header: &Header) -> Result<ManifestWriter, ManifestError> {
        let path = self.names(&header.root).unfinished;
        let file = open_private(&path)
            .and_then(|file| file.set_len(0).map(|()| file))
            .map_err(|source| io_error("create", &path, source))?;
        ManifestWriter::new(file, path, header)
    }

    /// Ends a manifest and makes it the pending one.
    pub(crate) fn keep_pending(&self, root: &[u8], writer: ManifestWriter) -> Result<(), ManifestError> {
        let unfinished = writer.finish()?;
        let _renames = self.renames.lock().unwrap_or_else(PoisonError::into_inner);
        self.rename(&unfinished, &self.names(root).pending)
    }

    /// Renames, and waits until the disk has it.
    fn rename(&self, from: &Path, to: &Path) -> Result<(), ManifestError> {
        std::fs::rename(from, to)
            .and_then(|()| File::open(&self.dir)?.sync_all())
            .map_err(|source| io_error("rename", from, source))
    }

    fn names(&self, root: &[u8]) -> Names {
        let hash = blake3::hash(root).to_hex();
        let name = |suffix: &str| self.dir.join(format!("{}.{suffix}", &hash.as_str()[..32]));
        Names { current: name("manifest"), pending: name("pending"), unfinished: name("tmp"), lock: name("lock") }
    }
}

fn open_private(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path)
}

fn usable(path: &Path, root: &[u8]) -> Option<ManifestReader> {
    match ManifestReader::open(path, root) {
        Ok(manifest) => Some(manifest),
        Err(Unusable::Missing) => None,
        Err(reason) => {
            tracing::warn!(path = %path.display(), %reason, "the manifest is not used; files are hashed again");
            None
        }
    }
}

fn io_error(action: &'static str, path: &Path, source: io::Error) -> ManifestError {
    ManifestError::Io { action, path: path.to_owned(), source }
}
