//! Content hashes: BLAKE3, SHA-1, SHA-256 (FIPS 180-4) and XXH64 with seed 0.

use std::hash::Hasher as _;

use hostler_model::{Algorithm, ContentHash};
use sha1::Digest as _;

/// A hash in the making; one per scan, used again for each file.
pub enum ContentHasher {
    /// Boxed: its state is two kilobytes.
    Blake3(Box<blake3::Hasher>),
    Sha1(sha1::Sha1),
    Sha256(sha2::Sha256),
    Xxh64(twox_hash::XxHash64),
}

impl ContentHasher {
    /// Ready for a first file.
    pub fn new(algorithm: Algorithm) -> Self {
        match algorithm {
            Algorithm::Blake3 => Self::Blake3(Box::default()),
            Algorithm::Sha1 => Self::Sha1(sha1::Sha1::new()),
            Algorithm::Sha256 => Self::Sha256(sha2::Sha256::new()),
            Algorithm::Xxh64 => Self::Xxh64(twox_hash::XxHash64::with_seed(0)),
        }
    }

    /// Adds content.
    pub fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Blake3(hasher) => {
                hasher.update(bytes);
            }
            Self::Sha1(hasher) => hasher.update(bytes),
            Self::Sha256(hasher) => hasher.update(bytes),
            Self::Xxh64(hasher) => hasher.write(bytes),
        }
    }

    /// The digest of all content since the start or the last call, ready for the next file.
    pub fn finish(&mut self) -> Option<ContentHash> {
        match self {
            Self::Blake3(hasher) => {
                let digest = hasher.finalize();
                hasher.reset();
                ContentHash::new(digest.as_bytes())
            }
            Self::Sha1(hasher) => ContentHash::new(&hasher.finalize_reset()),
            Self::Sha256(hasher) => ContentHash::new(&hasher.finalize_reset()),
            Self::Xxh64(hasher) => {
                let digest = hasher.finish().to_be_bytes();
                self.reset();
                ContentHash::new(&digest)
            }
        }
    }

    /// The digest of this content alone. Nothing may have been added since the start or the last [`Self::finish`].
    pub fn of(&mut self, bytes: &[u8]) -> Option<ContentHash> {
        match self {
            // In one piece: the tree of a hash in the making is not kept.
            Self::Blake3(_) => ContentHash::new(blake3::hash(bytes).as_bytes()),
            _ => {
                self.update(bytes);
                self.finish()
            }
        }
    }

    /// Forgets content added so far.
    pub fn reset(&mut self) {
        match self {
            Self::Blake3(hasher) => {
                hasher.reset();
            }
            Self::Sha1(hasher) => sha1::Digest::reset(hasher),
            Self::Sha256(hasher) => sha1::Digest::reset(hasher),
            Self::Xxh64(hasher) => *hasher = twox_hash::XxHash64::with_seed(0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_answers() {
        let abc = [
            (Algorithm::Blake3, "6437b3ac38465133ffb63b75273a8db548c558465d79db03fd359c6cd5bd9d85"),
            (Algorithm::Sha1, "a9993e364706816aba3e25717850c26c9cd0d89d"),
            (Algorithm::Sha256, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
            (Algorithm::Xxh64, "44bc2cf5ad770999"),
        ];
        let empty = [
            (Algorithm::Blake3, "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262"),
            (Algorithm::Sha1, "da39a3ee5e6b4b0d3255bfef95601890afd80709"),
            (Algorithm::Sha256, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
            (Algorithm::Xxh64, "ef46db3751d8e999"),
        ];
        for ((algorithm, abc), (_, empty)) in abc.into_iter().zip(empty) {
            let mut hasher = ContentHasher::new(algorithm);
            hasher.update(b"lost by the reset");
            hasher.reset();
            hasher.update(b"a");
            hasher.update(b"bc");
            assert_eq!(hasher.finish().unwrap().to_string(), abc, "{algorithm}");
            assert_eq!(hasher.finish().unwrap().to_string(), empty, "{algorithm}, used again");
            assert_eq!(hasher.of(b"abc").unwrap().to_string(), abc, "{algorithm}, in one piece");
            assert_eq!(abc.len(), algorithm.digest_len() * 2);
        }
    }
}
