//! The host's key: Ed25519, made on the host, never sent.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::SystemRandom;
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};

/// Length of a signature, bytes.
pub(crate) const SIGNATURE: usize = 64;

/// The key cannot be made or read.
#[derive(Debug, thiserror::Error)]
pub enum HostKeyError {
    /// No randomness.
    #[error("the system's random number generator failed, so no host key was made")]
    Random,
    /// The bytes are no key.
    #[error("the bytes are no Ed25519 key in PKCS#8: {0}")]
    Damaged(String),
}

/// A host's private key. Its bytes are never shown.
pub struct HostKey {
    pair: Ed25519KeyPair,
    pkcs8: Vec<u8>,
}

impl HostKey {
    /// A new key.
    ///
    /// # Errors
    /// [`HostKeyError::Random`].
    pub fn generate() -> Result<Self, HostKeyError> {
        let pkcs8 = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).map_err(|_| HostKeyError::Random)?;
        Self::from_pkcs8(pkcs8.as_ref())
    }

    /// Reads PKCS#8 version 2 (RFC 5958), whose public key must fit the private one.
    ///
    /// # Errors
    /// [`HostKeyError::Damaged`].
    pub fn from_pkcs8(bytes: &[u8]) -> Result<Self, HostKeyError> {
        let pair = Ed25519KeyPair::from_pkcs8(bytes).map_err(|error| HostKeyError::Damaged(error.to_string()))?;
        Ok(Self { pair, pkcs8: bytes.to_vec() })
    }

    /// The private key, to be kept in a file that only the agent's user can read.
    pub fn pkcs8(&self) -> &[u8] {
        &self.pkcs8
    }

    /// What others may know.
    pub fn public_key(&self) -> HostPublicKey {
        let mut bytes = [0; 32];
        // An Ed25519 public key has 32 bytes (RFC 8032, 5.1.5).
        bytes.copy_from_slice(self.pair.public_key().as_ref());
        HostPublicKey(bytes)
    }

    pub(crate) fn sign(&self, message: &[u8]) -> [u8; SIGNATURE] {
        let mut bytes = [0; SIGNATURE];
        // An Ed25519 signature has 64 bytes (RFC 8032, 5.1.6).
        bytes.copy_from_slice(self.pair.sign(message).as_ref());
        bytes
    }
}

impl fmt::Debug for HostKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HostKey").field("public_key", &self.public_key()).finish_non_exhaustive()
    }
}

/// A host's public key: 32 bytes; as text, base64url without padding (43 characters).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct HostPublicKey(pub [u8; 32]);

/// The text is no public key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a host's public key is 32 bytes in base64url without padding (43 characters)")]
pub struct ParseKeyError;

impl HostPublicKey {
    pub(crate) fn signed(&self, message: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(&ED25519, self.0).verify(message, signature).is_ok()
    }
}

impl fmt::Display for HostPublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&URL_SAFE_NO_PAD.encode(self.0))
    }
}

impl fmt::Debug for HostPublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HostPublicKey({self})")
    }
}

impl FromStr for HostPublicKey {
    type Err = ParseKeyError;
    fn from_str(text: &str) -> Result<Self, ParseKeyError> {
        let bytes = (text.len() == 43).then(|| URL_SAFE_NO_PAD.decode(text).ok()).flatten().ok_or(ParseKeyError)?;
        bytes.try_into().map(Self).map_err(|_| ParseKeyError)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kept_key_is_the_same_key() {
        let key = HostKey::generate().unwrap();
        let again = HostKey::from_pkcs8(key.pkcs8()).unwrap();
        assert_eq!(again.public_key(), key.public_key());
        assert!(key.public_key().signed(b"text", &again.sign(b"text")));
        assert!(!key.public_key().signed(b"test", &again.sign(b"text")));
        assert_ne!(HostKey::generate().unwrap().public_key(), key.public_key());
    }

    #[test]
    fn a_damaged_key_is_refused_and_none_is_shown() {
        let key = HostKey::generate().unwrap();
        for cut in 0..key.pkcs8().len() {
            assert!(HostKey::from_pkcs8(&key.pkcs8()[..cut]).is_err());
        }
        let shown = format!("{key:?}");
        assert!(shown.contains(&key.public_key().to_string()) && shown.len() < 120, "{shown}");
    }

    #[test]
    fn public_keys_have_one_text() {
        let key = HostKey::generate().unwrap().public_key();
        assert_eq!(key.to_string().parse(), Ok(key));
        for bad in ["", "AAAA", &format!("{key}="), &"A".repeat(44), &format!("{}+", &key.to_string()[..42])] {
            assert_eq!(bad.parse::<HostPublicKey>(), Err(ParseKeyError), "{bad}");
        }
    }
}
