//! Who this host is: an id that lives as long as the data directory, and the last link's generation.

use std::io;
use std::path::{Path, PathBuf};

use hostler_model::{ByteStr, HostId};
use serde::{Deserialize, Serialize};

const FILE: &str = "host.json";

/// The host's id and what it knows of its links.
#[derive(Clone, Debug)]
pub struct Identity {
    path: PathBuf,
    kept: Kept,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    id: HostId,
    generation: u64,
}

/// The identity could not be read or kept.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The file failed.
    #[error("cannot {action} {path}: {source}")]
    File {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: ByteStr,
        /// Why not.
        source: io::Error,
    },
    /// The file is not what this program writes.
    #[error("{path} is damaged ({reason}); restore it, or remove it and this host will be a new one")]
    Damaged {
        /// Which.
        path: ByteStr,
        /// What is wrong.
        reason: String,
    },
}

impl Identity {
    /// Reads the identity in `data`, or makes one.
    pub fn load_or_create(data: &Path) -> Result<Self, IdentityError> {
        let path = data.join(FILE);
        match std::fs::read(&path) {
            Ok(text) => match serde_json::from_slice(&text) {
                Ok(kept) => Ok(Self { path, kept }),
                Err(error) => Err(IdentityError::Damaged { path: bytes(&path), reason: error.to_string() }),
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let identity = Self { path, kept: Kept { id: HostId::new(), generation: 0 } };
                identity.keep()?;
                Ok(identity)
            }
            Err(source) => Err(IdentityError::File { action: "read", path: bytes(&path), source }),
        }
    }

    /// The host's id.
    pub fn id(&self) -> HostId {
        self.kept.id
    }

    /// The greatest generation any of its links had; 0 before the first.
    pub fn generation(&self) -> u64 {
        self.kept.generation
    }

    /// Keeps the generation of a new link.
    pub fn linked(&mut self, generation: u64) -> Result<(), IdentityError> {
        self.kept.generation = generation;
        self.keep()
    }

    fn keep(&self) -> Result<(), IdentityError> {
        let text = serde_json::to_vec(&self.kept).map_err(|e| self.file_error("write", e.into()))?;
        let temporary = self.path.with_extension("json.new");
        let write = || {
            let mut file = std::fs::File::create(&temporary)?;
            io::Write::write_all(&mut file, &text)?;
            file.sync_all()?;
            std::fs::rename(&temporary, &self.path)
        };
        write().map_err(|source| self.file_error("write", source))
    }

    fn file_error(&self, action: &'static str, source: io::Error) -> IdentityError {
        IdentityError::File { action, path: bytes(&self.path), source }
    }
}

fn bytes(path: &Path) -> ByteStr {
    ByteStr::from(path.as_os_str().as_encoded_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stays_the_same_host_and_says_when_it_cannot() {
        let dir = tempfile::tempdir().unwrap();
        let mut first = Identity::load_or_create(dir.path()).unwrap();
        first.linked(7).unwrap();
        let again = Identity::load_or_create(dir.path()).unwrap();
        assert_eq!((again.id(), again.generation()), (first.id(), 7));
        std::fs::write(dir.path().join(FILE), b"{\"id\":").unwrap();
        assert!(Identity::load_or_create(dir.path()).unwrap_err().to_string().contains("damaged"));
    }
}
