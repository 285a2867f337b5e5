//! One row of a file index: what the host's kernel says of a name, and the hash of its content.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::bytestr::ByteStr;
use crate::scan::ChangeOp;

/// What a directory entry is (`stat(2)`, `st_mode & S_IFMT`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum EntryKind {
    /// A regular file; the only kind that is opened.
    File,
    /// A directory.
    Dir,
    /// A symbolic link, recorded as a link and never followed.
    Symlink,
    /// A FIFO, a socket or a device; recorded, never opened.
    Other,
}

impl EntryKind {
    /// The number used on the link and in the store.
    pub const fn code(self) -> u8 {
        match self {
            Self::File => 1,
            Self::Dir => 2,
            Self::Symlink => 3,
            Self::Other => 4,
        }
    }

    /// The inverse of [`EntryKind::code`].
    pub const fn from_code(code: u8) -> Option<Self> {
        Some(match code {
            1 => Self::File,
            2 => Self::Dir,
            3 => Self::Symlink,
            4 => Self::Other,
            _ => return None,
        })
    }

    /// The word for people and JSON.
    pub const fn word(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Dir => "dir",
            Self::Symlink => "symlink",
            Self::Other => "other",
        }
    }
}

/// How content is hashed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Algorithm {
    /// BLAKE3, 32 bytes; the default.
    #[default]
    Blake3,
    /// SHA-1, 20 bytes (FIPS 180-4).
    Sha1,
    /// SHA-256, 32 bytes (FIPS 180-4).
    Sha256,
    /// XXH64 with seed 0, 8 bytes, most significant first.
    Xxh64,
}

impl Algorithm {
    /// Every algorithm, in the order of their codes.
    pub const ALL: [Self; 4] = [Self::Blake3, Self::Sha1, Self::Sha256, Self::Xxh64];

    /// The number used on the link, in manifests and in the store.
    pub const fn code(self) -> u8 {
        match self {
            Self::Blake3 => 1,
            Self::Sha1 => 2,
            Self::Sha256 => 3,
            Self::Xxh64 => 4,
        }
    }

    /// The inverse of [`Algorithm::code`].
    pub const fn from_code(code: u8) -> Option<Self> {
        Some(match code {
            1 => Self::Blake3,
            2 => Self::Sha1,
            3 => Self::Sha256,
            4 => Self::Xxh64,
            _ => return None,
        })
    }

    /// The length of a digest in bytes.
    pub const fn digest_len(self) -> usize {
        match self {
            Self::Blake3 | Self::Sha256 => 32,
            Self::Sha1 => 20,
            Self::Xxh64 => 8,
        }
    }

    /// How a digest of this length was made in a root whose last scan used this algorithm: entries that a later scan did not
    /// hash again keep their digests. Only SHA-256 has the length of BLAKE3, and no root mixes those two.
    pub const fn of_digest(self, len: usize) -> Self {
        if len == self.digest_len() {
            return self;
        }
        match len {
            8 => Self::Xxh64,
            20 => Self::Sha1,
            _ => Self::Sha256,
        }
    }

    /// The name on the command line and in JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Blake3 => "blake3",
            Self::Sha1 => "sha1",
            Self::Sha256 => "sha256",
            Self::Xxh64 => "xxh64",
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Algorithm {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|a| a.name() == text)
            .ok_or_else(|| format!("unknown hash algorithm {text:?}: use blake3, sha1, sha256 or xxh64"))
    }
}

/// A digest, at most 32 bytes, without a heap allocation.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ContentHash {
    len: u8,
    bytes: [u8; 32],
}

impl ContentHash {
    /// Takes a digest of 1 to 32 bytes; `None` for any other length.
    pub fn new(digest: &[u8]) -> Option<Self> {
        if digest.is_empty() || digest.len() > 32 {
            return None;
        }
        let mut bytes = [0; 32];
        bytes[..digest.len()].copy_from_slice(digest);
        Some(Self { len: digest.len() as u8, bytes })
    }

    /// The digest.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }

    /// Parses hex digits (either case).
    pub fn from_hex(text: &str) -> Option<Self> {
        if !text.bytes().all(|b| b.is_ascii_hexdigit()) || !text.len().is_multiple_of(2) || text.len() > 64 {
            return None;
        }
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
            let digit = |at: usize| char::from(pair[at]).to_digit(16);
            *byte = (digit(0)? << 4 | digit(1)?) as u8;
        }
        Self::new(&bytes[..text.len() / 2])
    }
}

impl fmt::Display for ContentHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_bytes().iter().try_for_each(|b| write!(f, "{b:02x}"))
    }
}

impl fmt::Debug for ContentHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// What is known of one entry, without its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// What it is.
    pub kind: EntryKind,
    /// `st_size` in bytes.
    pub size: u64,
    /// Modification time in nanoseconds since the epoch; may be negative.
    pub mtime_ns: i64,
    /// Status change time in nanoseconds since the epoch.
    pub ctime_ns: i64,
    /// Device number (`makedev`).
    pub dev: u64,
    /// Inode number.
    pub ino: u64,
    /// Number of hard links.
    pub nlink: u64,
    /// Permission bits (`st_mode & 0o7777`).
    pub mode: u32,
    /// Owner's numeric id.
    pub uid: u32,
    /// Group's numeric id.
    pub gid: u32,
    /// Hash of a regular file's content; `None` for other kinds, and for a file that was outside the size
    /// bounds, could not be read, or kept changing.
    pub hash: Option<ContentHash>,
}

/// One difference between two states of a root, or one line of a full state. They come in walk order: a directory, its
/// entries by name, then its subdirectories by name, each with all below it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IndexOp {
    /// The directory itself is new or differs.
    Dir {
        /// Relative to the root; empty for the root.
        path: ByteStr,
        /// `None` when it is sent only because the state is full, or only its times differ.
        op: Option<ChangeOp>,
        /// What it is now.
        entry: Entry,
    },
    /// The directory is gone with everything below it.
    DirRemoved {
        /// Relative to the root.
        path: ByteStr,
    },
    /// An entry that is not a directory.
    Entry {
        /// The directory, relative to the root.
        dir: ByteStr,
        /// Its name.
        name: ByteStr,
        /// `None` when it is sent only because the state is full.
        op: Option<ChangeOp>,
        /// What it is now; `None` when it is gone.
        entry: Option<Entry>,
    },
}

impl IndexOp {
    /// Length of its paths and names in bytes.
    pub fn path_bytes(&self) -> usize {
        match self {
            Self::Dir { path, .. } | Self::DirRemoved { path } => path.as_bytes().len(),
            Self::Entry { dir, name, .. } => dir.as_bytes().len() + name.as_bytes().len(),
        }
    }
}
