//! Who this host is: an id and a key that live as long as the data directory, and the last link's generation.
//!
//! `host.key` is the private key (Ed25519, PKCS#8); it never leaves the host. `host.json` has the rest.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hostler_identity::{HostKey, HostKeyError};
use hostler_model::{ByteStr, HostId};
use serde::{Deserialize, Serialize};

use crate::keep;

const FILE: &str = "host.json";
const KEY_FILE: &str = "host.key";

/// The host's id, its key, and what it knows of its links.
#[derive(Clone, Debug)]
pub struct Identity {
    path: PathBuf,
    kept: Kept,
    key: Arc<HostKey>,
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
    #[error("{path} is damaged ({reason}); restore it, or remove it and join as a new host")]
    Damaged {
        /// Which.
        path: ByteStr,
        /// What is wrong.
        reason: String,
    },
    /// No key was made.
    #[error(transparent)]
    Key(#[from] HostKeyError),
}

impl Identity {
    /// Reads the identity in `data`, or makes what is missing of it: the key first, so that an id that is there has one.
    pub fn load_or_create(data: &Path) -> Result<Self, IdentityError> {
        let key = Arc::new(load_or_create_key(&data.join(KEY_FILE))?);
        let path = data.join(FILE);
        match read(&path)? {
            Some(text) => match serde_json::from_slice(&text) {
                Ok(kept) => Ok(Self { path, kept, key }),
                Err(error) => Err(IdentityError::Damaged { path: bytes(&path), reason: error.to_string() }),
            },
            None => {
                let identity = Self { path, kept: Kept { id: HostId::new(), generation: 0 }, key };
                identity.keep()?;
                Ok(identity)
            }
        }
    }

    /// Forgets the identity in `data`: the next one is another host. The id goes first; a key alone is nobody.
    pub fn forget(data: &Path) -> Result<(), IdentityError> {
        for path in [data.join(FILE), data.join(KEY_FILE)] {
            match std::fs::remove_file(&path) {
                Err(source) if source.kind() != io::ErrorKind::NotFound => {
                    return Err(IdentityError::File { action: "remove", path: bytes(&path), source });
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// The host's id.
    pub fn id(&self) -> HostId {
        self.kept.id
    }

    /// The host's key.
    pub fn key(&self) -> &HostKey {
        &self.key
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
        let failed = |source| IdentityError::File { action: "write", path: bytes(&self.path), source };
        let text = serde_json::to_vec(&self.kept).map_err(|error| failed(error.into()))?;
        keep::write(&self.path, &text).map_err(failed)
    }
}

fn load_or_create_key(path: &Path) -> Result<HostKey, IdentityError> {
    if let Some(content) = read(path)? {
        return HostKey::from_pkcs8(&content)
            .map_err(|error| IdentityError::Damaged { path: bytes(path), reason: error.to_string() });
    }
    let key = HostKey::generate()?;
    keep::write(path, key.pkcs8()).map_err(|source| IdentityError::File {
        action: "write",
        path: bytes(path),
        source,
    })?;
    Ok(key)
}

fn read(path: &Path) -> Result<Option<Vec<u8>>, IdentityError> {
    match std::fs::read(path) {
        Ok(content) => Ok(Some(content)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(IdentityError::File { action: "read", path: bytes(path), source }),
    }
}

fn bytes(path: &Path) -> ByteStr {
    ByteStr::from(path.as_os_str().as_encoded_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn stays_the_same_host_and_says_when_it_cannot() {
        let dir = tempfile::tempdir().unwrap();
        let mut first = Identity::load_or_create(dir.path()).unwrap();
        first.linked(7).unwrap();
        let again = Identity::load_or_create(dir.path()).unwrap();
        assert_eq!((again.id(), again.generation()), (first.id(), 7));
        assert_eq!(again.key().public_key(), first.key().public_key());
        let mode = std::fs::metadata(dir.path().join(KEY_FILE)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        for file in [FILE, KEY_FILE] {
            let whole = std::fs::read(dir.path().join(file)).unwrap();
            std::fs::write(dir.path().join(file), &whole[..whole.len() / 2]).unwrap();
            assert!(Identity::load_or_create(dir.path()).unwrap_err().to_string().contains("damaged"), "{file}");
            std::fs::write(dir.path().join(file), whole).unwrap();
        }
    }

    #[test]
    fn a_start_that_was_cut_off_is_made_good() {
        let dir = tempfile::tempdir().unwrap();
        let key = Identity::load_or_create(dir.path()).unwrap().key().public_key();
        // Killed between the key and the id, with a half-written next file left behind.
        std::fs::rename(dir.path().join(FILE), dir.path().join("host.json.new")).unwrap();
        std::fs::write(dir.path().join("host.key.new"), b"half").unwrap();
        let identity = Identity::load_or_create(dir.path()).unwrap();
        assert_eq!(identity.key().public_key(), key);
        assert_eq!(Identity::load_or_create(dir.path()).unwrap().id(), identity.id());
    }

    #[test]
    fn a_forgotten_host_is_another_one() {
        let dir = tempfile::tempdir().unwrap();
        let first = Identity::load_or_create(dir.path()).unwrap();
        Identity::forget(dir.path()).unwrap();
        Identity::forget(dir.path()).unwrap();
        let next = Identity::load_or_create(dir.path()).unwrap();
        assert_ne!((next.id(), next.key().public_key()), (first.id(), first.key().public_key()));
    }
}
