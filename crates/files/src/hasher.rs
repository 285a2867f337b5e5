//! Hashing single files that a walk has listed, on threads of their own.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use hostler_model::{Algorithm, Entry, ScanLimits};
use rustix::fs::{Mode, OFlags, ResolveFlags, openat, openat2};
use rustix::io::Errno;

use crate::control::Control;
use crate::error::ScanFailure;
use crate::pace::Pace;
use crate::progress::Progress;
use crate::read::{Content, FileReader};
use crate::walk::open_root;

/// Longest path that one system call takes: `PATH_MAX` counts the zero behind it.
const LONGEST_PATH: usize = 4095;

/// Nothing is read through it: a handle to look names up in needs no right to list them.
const DIR_FLAGS: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// What came of hashing a file.
#[derive(Debug)]
pub enum FileContent {
    /// The entry with the hash of its content. Its times may be younger than those listed.
    Hashed(Entry),
    /// Another kind of thing has taken the name meanwhile; it was not read.
    Replaced(Entry),
    /// The name is gone.
    Vanished,
    /// It was written to during each try; the latest metadata, without a hash.
    Changing(Entry),
    /// A system call failed.
    Failed(io::Error),
}

/// Hashes files below one root. One per thread.
///
/// Paths are resolved beneath the root and through no symbolic link, so nobody can lead it elsewhere by what they put in the
/// place of a directory. A file is opened without waiting for a FIFO, and what was opened must be a regular file that is
/// the same before and after.
pub struct FileHasher {
    root: OwnedFd,
    reader: FileReader,
    control: Control,
    progress: Arc<Progress>,
    /// The directory of the last file: the next one mostly lies in it too.
    dir: Option<(Vec<u8>, OwnedFd)>,
}

impl FileHasher {
    /// For files below `root`, which is absolute, with symbolic links resolved. `progress` shows what this one reads.
    ///
    /// # Errors
    /// The root cannot be opened.
    pub fn new(
        root: &[u8],
        algorithm: Algorithm,
        control: Control,
        progress: Arc<Progress>,
    ) -> Result<Self, ScanFailure> {
        let (root, _) = open_root(root)?;
        Ok(Self { root, reader: FileReader::new(algorithm), control, progress, dir: None })
    }

    /// Hashes the regular file `name` in `dir`, relative to the root. `listed` is what the walk found.
    ///
    /// # Errors
    /// [`ScanFailure::Cancelled`] only.
    pub fn hash(&mut self, dir: &[u8], name: &[u8], listed: &Entry) -> Result<FileContent, ScanFailure> {
        if listed.size > 0 && self.dir.as_ref().is_none_or(|(path, _)| path != dir) {
            match open_beneath(&self.root, dir) {
                Ok(fd) => self.dir = Some((dir.to_vec(), fd)),
                Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(FileContent::Vanished),
                Err(errno) => return Ok(FileContent::Failed(errno.into())),
            }
        }
        // Of an empty file the name is not looked up.
        let fd = self.dir.as_ref().map_or(self.root.as_fd(), |(_, fd)| fd.as_fd());
        let mut pace = Pace::new(&ScanLimits::default(), &self.control, &self.progress);
        pace.entry()?;
        Ok(match self.reader.hash(fd, dir, name, listed, &mut pace)? {
            Content::Hashed(entry) => FileContent::Hashed(entry),
            Content::Replaced(entry) => FileContent::Replaced(entry),
            Content::Vanished => FileContent::Vanished,
            Content::Changing(entry) => FileContent::Changing(entry),
            Content::Failed { errno, .. } => FileContent::Failed(errno.into()),
        })
    }
}

/// Opens the directory `path` beneath `root`.
fn open_beneath(root: &OwnedFd, path: &[u8]) -> Result<OwnedFd, Errno> {
    let path = if path.is_empty() { b"." } else { path };
    if path.len() <= LONGEST_PATH {
        let beneath = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        match openat2(root, path, DIR_FLAGS, Mode::empty(), beneath) {
            // A kernel before 5.6, or a sandbox that does not know the call.
            Err(Errno::NOSYS | Errno::PERM) => {}
            opened => return opened,
        }
    }
    let mut dir = openat(root, b".".as_slice(), DIR_FLAGS, Mode::empty())?;
    for name in path.split(|b| *b == b'/') {
        dir = openat(&dir, name, DIR_FLAGS, Mode::empty())?;
    }
    Ok(dir)
}
