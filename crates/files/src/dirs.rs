//! The directories from the root to where a walk is, with a bounded number of open handles.
//!
//! Each is opened relative to its parent's handle, so no path is ever too long and no rename above can lead the walk
//! elsewhere. Of a deep chain only the root and the deepest [`MAX_OPEN`] handles stay open. On the way back a closed
//! one is opened again as `..` of its child, or name by name from the root, and must be the same inode as before.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use hostler_model::Entry;
use rustix::io::Errno;

use crate::faults::{self, Call};
use crate::pseudo::is_pseudo;
use crate::stat::{entry_of, open_dir};

/// Open directory handles of one walk, the root's not counted. A process has 1,024 by default, and several walks may
/// run.
const MAX_OPEN: usize = 64;

/// The chain; never empty, the root is its first.
pub struct DirChain {
    levels: Vec<Level>,
    /// Names from below the root to the deepest level, joined by slashes.
    path: Vec<u8>,
    /// Levels in `1..closed` have been closed to stay in bounds.
    closed: usize,
}

struct Level {
    fd: Option<OwnedFd>,
    dev: u64,
    ino: u64,
    path_len: usize,
}

impl DirChain {
    /// Starts at the root. `entry` is what `fd` has open.
    pub fn new(fd: OwnedFd, entry: &Entry) -> Self {
        let root = Level { fd: Some(fd), dev: entry.dev, ino: entry.ino, path_len: 0 };
        Self { levels: vec![root], path: Vec::new(), closed: 1 }
    }

    /// How many directories the deepest one is below the root.
    pub fn depth(&self) -> usize {
        self.levels.len() - 1
    }

    /// The deepest directory, relative to the root.
    pub fn path(&self) -> &[u8] {
        &self.path
    }

    /// The deepest directory's handle; `None` when it could not be opened again.
    pub fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.levels.last().and_then(|level| level.fd.as_ref()).map(AsFd::as_fd)
    }

    /// True when `fd`, a subdirectory of the deepest one that has `entry` open, is the top of a filesystem that stores
    /// nothing. Asks the kernel only where the device changes.
    pub fn leads_to_pseudo(&self, fd: &OwnedFd, entry: &Entry) -> Result<bool, Errno> {
        match self.levels.last() {
            Some(level) if level.dev == entry.dev => Ok(false),
            _ => is_pseudo(fd),
        }
    }

    /// Goes down to `name`. `entry` is what `fd` has open.
    pub fn push(&mut self, name: &[u8], fd: OwnedFd, entry: &Entry) {
        if !self.path.is_empty() {
            self.path.push(b'/');
        }
        self.path.extend_from_slice(name);
        self.levels.push(Level { fd: Some(fd), dev: entry.dev, ino: entry.ino, path_len: self.path.len() });
        if self.levels.len() - self.closed > MAX_OPEN {
            self.levels[self.closed].fd = None;
            self.closed += 1;
        }
    }

    /// Goes back to the parent, and does nothing at the root.
    ///
    /// An error means that the walk is at the parent, but its handle could not be had again; the parent's own
    /// parents may still be reached.
    pub fn pop(&mut self) -> Result<(), Errno> {
        if self.levels.len() == 1 {
            return Ok(());
        }
        let child = self.levels.pop();
        let top = self.levels.len() - 1;
        self.path.truncate(self.levels[top].path_len);
        self.closed = self.closed.min(top).max(1);
        if self.levels[top].fd.is_none() {
            let child = child.and_then(|level| level.fd);
            self.levels[top].fd = Some(self.reopen(child.as_ref())?);
        }
        Ok(())
    }

    fn reopen(&self, child: Option<&OwnedFd>) -> Result<OwnedFd, Errno> {
        faults::check(Call::Return, &self.path, b"")?;
        if let Some(child) = child
            && let Ok(parent) = self.verified(open_dir(child, b".."))
        {
            return Ok(parent);
        }
        // The child was moved meanwhile, or was itself lost.
        self.verified(self.descend())
    }

    fn descend(&self) -> Result<OwnedFd, Errno> {
        let root = self.levels[0].fd.as_ref().ok_or(Errno::STALE)?;
        let mut fd = open_dir(root, b".")?;
        for name in self.path.split(|&b| b == b'/') {
            fd = open_dir(&fd, name)?;
        }
        Ok(fd)
    }

    fn verified(&self, opened: Result<OwnedFd, Errno>) -> Result<OwnedFd, Errno> {
        let fd = opened?;
        let entry = entry_of(&fd)?;
        let same = self.levels.last().is_some_and(|level| (level.dev, level.ino) == (entry.dev, entry.ino));
        if same { Ok(fd) } else { Err(Errno::STALE) }
    }
}
