//! Who a host, a gateway and a person are. No I/O but the system's random numbers.
//!
//! | thing | proves | made by | kept by the other side as |
//! |---|---|---|---|
//! | [`HostKey`] | that a host is the one that joined | the host, once | [`HostPublicKey`] |
//! | [`JoinToken`] | that an admin of the gateway lets one host in | the gateway | SHA-256 of its secret |
//! | [`Pin`] | that a certificate is the gateway's | the certificate | the pin |
//! | [`assertion`] | that this connection is the host's, now, once | the host, per dial | nothing |
//! | [`join_proof`] | that who joins has the key it shows | the host, once | nothing |
//! | [`password`] | a person | the person | an Argon2id hash |
//!
//! Signatures are Ed25519 (RFC 8032) over a domain string and length-prefixed fields, so that no message of one kind can
//! be read as one of another kind, and no two sets of fields have the same bytes.

pub mod assertion;
mod certificate;
mod claims;
pub mod join_proof;
mod key;
pub mod password;
mod pin;
mod token;

pub use certificate::{CertificateError, CertificateFacts};
pub use key::{HostKey, HostKeyError, HostPublicKey, ParseKeyError};
pub use pin::{ParsePinError, Pin};
pub use token::{JoinToken, ParseTokenError, TOKEN_PREFIX};

/// The system gave no random bytes.
#[derive(Debug, thiserror::Error)]
#[error("the system's random number generator failed")]
pub struct NoRandomness;

fn random<const N: usize>() -> Result<[u8; N], NoRandomness> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|_| NoRandomness)?;
    Ok(bytes)
}
