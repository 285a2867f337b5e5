//! A certificate's pin: SHA-256 of its public key, in the text form of curl's `--pinnedpubkey`.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256};
use subtle::{Choice, ConstantTimeEq};

use crate::certificate::{CertificateError, CertificateFacts};

const PREFIX: &str = "sha256//";

/// SHA-256 of a certificate's SubjectPublicKeyInfo (RFC 5280, 4.1) in DER. As text: `sha256//BASE64`, 52 characters.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Pin(pub [u8; 32]);

/// The text is no pin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a pin is sha256// and 44 characters of base64, as `hostler hosts token` prints it")]
pub struct ParsePinError;

impl Pin {
    /// The pin of a certificate in DER.
    ///
    /// # Errors
    /// A [`CertificateError`] when it cannot be read.
    pub fn of_certificate(der: &[u8]) -> Result<Self, CertificateError> {
        Ok(CertificateFacts::read(der)?.pin)
    }

    pub(crate) fn of_public_key(spki: &[u8]) -> Self {
        Self(Sha256::digest(spki).into())
    }
}

impl ConstantTimeEq for Pin {
    fn ct_eq(&self, other: &Self) -> Choice {
        self.0.ct_eq(&other.0)
    }
}

impl fmt::Display for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{}", STANDARD.encode(self.0))
    }
}

impl fmt::Debug for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pin({self})")
    }
}

impl FromStr for Pin {
    type Err = ParsePinError;
    fn from_str(text: &str) -> Result<Self, ParsePinError> {
        let text = text.strip_prefix(PREFIX).filter(|rest| rest.len() == 44).ok_or(ParsePinError)?;
        STANDARD.decode(text).ok().and_then(|bytes| bytes.try_into().ok()).map(Self).ok_or(ParsePinError)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn has_the_text_of_curl() {
        let pin = Pin([7; 32]);
        assert_eq!(pin.to_string(), "sha256//BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=");
        assert_eq!(pin.to_string().parse(), Ok(pin));
        for bad in ["", "sha256//", "sha1//BwcH", "sha256//BwcH", &pin.to_string()[8..], &format!("{pin}=")] {
            assert_eq!(bad.parse::<Pin>(), Err(ParsePinError), "{bad}");
        }
    }
}
