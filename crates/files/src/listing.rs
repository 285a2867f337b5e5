//! One directory's names, read with `getdents64` and sorted by their bytes.

use std::mem::MaybeUninit;
use std::os::fd::AsFd;

use rustix::fs::{FileType, RawDir};
use rustix::io::Errno;

/// Bytes per `getdents64`: about 2,000 names.
const BUFFER: usize = 64 << 10;

/// What `getdents64` says of a name's kind (`d_type`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hint {
    /// A directory.
    Dir,
    /// Anything but a directory; whether a regular file.
    NotDir { file: bool },
    /// The filesystem does not say.
    Unknown,
}

struct Name {
    /// The first eight bytes, most significant first, zeros behind a shorter name: decides most comparisons, and
    /// in the right order, since no name holds a zero byte.
    prefix: u64,
    start: usize,
    len: u16,
    hint: Hint,
}

/// A directory's names; reused from directory to directory.
pub struct Listing {
    buffer: Vec<MaybeUninit<u8>>,
    bytes: Vec<u8>,
    names: Vec<Name>,
}

impl Listing {
    /// An empty one.
    pub fn new() -> Self {
        Self { buffer: vec![MaybeUninit::uninit(); BUFFER], bytes: Vec::new(), names: Vec::new() }
    }

    /// Takes the names of the directory `fd`, without `.` and `..`, in the filesystem's order.
    pub fn read(&mut self, fd: impl AsFd) -> Result<(), Errno> {
        self.bytes.clear();
        self.names.clear();
        let mut dir = RawDir::new(fd, &mut self.buffer);
        while let Some(entry) = dir.next() {
            let entry = match entry {
                Ok(entry) => entry,
                Err(Errno::INTR) => continue,
                Err(errno) => return Err(errno),
            };
            let name = entry.file_name().to_bytes();
            if name == b"." || name == b".." {
                continue;
            }
            let mut prefix = [0; 8];
            let head = name.len().min(8);
            prefix[..head].copy_from_slice(&name[..head]);
            self.names.push(Name {
                prefix: u64::from_be_bytes(prefix),
                start: self.bytes.len(),
                // A record of getdents64 has 16 bits for its length.
                len: name.len() as u16,
                hint: match entry.file_type() {
                    FileType::Directory => Hint::Dir,
                    FileType::Unknown => Hint::Unknown,
                    kind => Hint::NotDir { file: kind == FileType::RegularFile },
                },
            });
            self.bytes.extend_from_slice(name);
        }
        Ok(())
    }

    /// Sorts by bytes.
    pub fn sort(&mut self) {
        let bytes = &self.bytes;
        let text = |name: &Name| &bytes[name.start..name.start + usize::from(name.len)];
        self.names.sort_unstable_by(|a, b| a.prefix.cmp(&b.prefix).then_with(|| text(a).cmp(text(b))));
    }

    /// Forgets the names.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.names.clear();
    }

    /// The names with what is known of their kinds.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], Hint)> {
        self.names.iter().map(|name| (&self.bytes[name.start..name.start + usize::from(name.len)], name.hint))
    }
}

/// A queue of names in one allocation: subdirectories still to be visited.
#[derive(Default)]
pub struct NameQueue {
    /// Each name as its length (two bytes), a flag, and its bytes.
    packed: Vec<u8>,
    next: usize,
}

impl NameQueue {
    /// Adds a name at the end, with a flag of the caller's.
    pub fn push(&mut self, name: &[u8], flag: bool) {
        // Names come from a listing, whose lengths have 16 bits.
        self.packed.extend_from_slice(&(name.len() as u16).to_le_bytes());
        self.packed.push(u8::from(flag));
        self.packed.extend_from_slice(name);
    }

    /// Copies the first name to `name` and takes it off; gives its flag, or `None` at the end.
    pub fn pop(&mut self, name: &mut Vec<u8>) -> Option<bool> {
        let head: [u8; 3] = self.packed.get(self.next..self.next + 3)?.try_into().ok()?;
        let start = self.next + 3;
        self.next = start + usize::from(u16::from_le_bytes([head[0], head[1]]));
        name.clear();
        name.extend_from_slice(&self.packed[start..self.next]);
        Some(head[2] != 0)
    }
}
