//! Reading one regular file so that hash and metadata belong together.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use hostler_model::{Algorithm, ContentHash, Entry, EntryKind};
use rustix::fs::{Mode, OFlags, openat};
use rustix::io::{Errno, pread};

use crate::faults::{self, Call};
use crate::hash::ContentHasher;
use crate::progress::Cancel;
use crate::stat::{entry_at, entry_of, same_content};

/// Bytes per read: small enough to stay in a core's cache between the copy and the hash.
const BUFFER: usize = 256 << 10;

/// How often a file is read before it is given up as changing.
const TRIES: usize = 2;

/// What came of reading a file.
pub enum Content {
    /// The entry with the hash of its content.
    Hashed(Entry),
    /// Another kind of thing has taken the name meanwhile; it was not read.
    Replaced(Entry),
    /// The name is gone.
    Vanished,
    /// Differed before and after each try; the latest metadata.
    Changing(Entry),
    /// A system call failed.
    Failed {
        /// `open`, `stat` or `read`.
        operation: &'static str,
        /// What the kernel said.
        errno: Errno,
        /// The file's metadata, when it could be had after the listing's.
        entry: Option<Entry>,
    },
    /// Asked to stop.
    Cancelled,
}

/// Hashes files, one after the other, through one buffer.
pub struct FileReader {
    hasher: ContentHasher,
    buffer: Vec<u8>,
    euid: u32,
    cancel: Cancel,
    /// Bytes read so far, all tries included.
    pub bytes_read: u64,
}

impl FileReader {
    /// For one scan.
    pub fn new(algorithm: Algorithm, cancel: Cancel) -> Self {
        Self {
            hasher: ContentHasher::new(algorithm),
            buffer: vec![0; BUFFER],
            euid: rustix::process::geteuid().as_raw(),
            cancel,
            bytes_read: 0,
        }
    }

    /// Opens, reads and hashes `name` in `dir`. `listed` is what `statx` said of it; `path` is the directory's path,
    /// for tests.
    pub fn hash(&mut self, dir: BorrowedFd<'_>, path: &[u8], name: &[u8], listed: &Entry) -> Content {
        let failed = |operation, errno, entry| Content::Failed { operation, errno, entry };
        let opened = faults::check(Call::Open, path, name).and_then(|()| self.open(dir, name, listed));
        let file = match opened {
            Ok(file) => file,
            Err(Errno::NOENT) => return Content::Vanished,
            // A symbolic link, or a socket: no longer the file that was listed.
            Err(errno @ (Errno::LOOP | Errno::NXIO)) => {
                return match entry_at(dir, name) {
                    Ok(entry) if entry.kind != EntryKind::File => Content::Replaced(entry),
                    Ok(entry) => failed("open", errno, Some(entry)),
                    Err(Errno::NOENT) => Content::Vanished,
                    Err(errno) => failed("stat", errno, None),
                };
            }
            Err(errno) => return failed("open", errno, None),
        };
        let mut before = match entry_of(&file) {
            Ok(entry) if entry.kind == EntryKind::File => entry,
            Ok(entry) => return Content::Replaced(entry),
            Err(errno) => return failed("stat", errno, None),
        };
        for _ in 0..TRIES {
            self.hasher.reset();
            let read = faults::check(Call::Read, path, name).and_then(|()| self.read(file.as_fd(), before.size));
            match read {
                Ok(true) => {}
                Ok(false) => return Content::Cancelled,
                Err(errno) => return failed("read", errno, Some(before)),
            }
            let after = match entry_of(&file) {
                Ok(entry) => entry,
                Err(errno) => return failed("stat", errno, Some(before)),
            };
            if same_content(&before, &after) {
                let hash: Option<ContentHash> = self.hasher.finish();
                return Content::Hashed(Entry { hash, ..before });
            }
            before = after;
        }
        Content::Changing(before)
    }

    /// `O_NONBLOCK`: if a FIFO or a device takes the name before it is opened, opening does not wait for it.
    /// `O_NOATIME`: being indexed is not being used; only the owner and root may ask for that.
    fn open(&self, dir: BorrowedFd<'_>, name: &[u8], listed: &Entry) -> Result<OwnedFd, Errno> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        if self.euid == 0 || self.euid == listed.uid {
            match openat(dir, name, flags | OFlags::NOATIME, Mode::empty()) {
                Err(Errno::PERM) => {}
                other => return other,
            }
        }
        openat(dir, name, flags, Mode::empty())
    }

    /// Adds the first `size` bytes to the hash; `false` when cancelled. No more than `size`, so that a file which
    /// is written to all the time has an end, and what the kernel calls empty (files of /proc) is not read.
    fn read(&mut self, file: BorrowedFd<'_>, size: u64) -> Result<bool, Errno> {
        let mut offset = 0;
        while offset < size {
            if self.cancel.is_cancelled() {
                return Ok(false);
            }
            let want = usize::try_from(size - offset).unwrap_or(BUFFER).min(BUFFER);
            match pread(file, &mut self.buffer[..want], offset) {
                Ok(0) => break,
                Ok(n) => {
                    self.hasher.update(&self.buffer[..n]);
                    offset += n as u64;
                    self.bytes_read += n as u64;
                }
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno),
            }
        }
        Ok(true)
    }
}
