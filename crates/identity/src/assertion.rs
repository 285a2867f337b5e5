//! The assertion: what a host sends as its bearer token each time it dials.
//!
//! ```text
//! hsa_ base64url(claims) . base64url(signature)
//! claims = purpose | host id | gateway id | origin | binding | generation | issued at     each with its length before it
//! ```
//!
//! It says which host dials which gateway, at which address, on which TLS connection, and when. The gateway takes each
//! once (see the `links` module there), so what leaks of it (a proxy's log) opens nothing.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hostler_model::{HostId, Timestamp};

use crate::claims::{Reader, Writer, message};
use crate::key::SIGNATURE;
use crate::{HostKey, HostPublicKey};

const DOMAIN: &str = "hostler assertion v1";
const PREFIX: &str = "hsa_";
/// Longest text of an assertion, characters.
pub const TEXT_MAX: usize = 1024;
/// Longest origin, bytes.
pub const ORIGIN_MAX: usize = 400;
/// Longest gateway id, bytes.
pub const GATEWAY_MAX: usize = 64;

/// The TLS connection an assertion is for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum ChannelBinding {
    /// The connection has no TLS.
    None,
    /// `tls-exporter` (RFC 9266) of the connection.
    TlsExporter([u8; 32]),
}

impl fmt::Debug for ChannelBinding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "None",
            Self::TlsExporter(_) => "TlsExporter(***)",
        })
    }
}

/// What an assertion is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// A link. The gateway takes each once.
    Link,
    /// Asking whether a link would be taken, and nothing else. It is not used up, so it must not open one.
    Rehearsal,
}

impl Purpose {
    fn byte(self) -> u8 {
        match self {
            Self::Link => 1,
            Self::Rehearsal => 2,
        }
    }
}

/// What an assertion says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claims {
    /// What it is good for.
    pub purpose: Purpose,
    /// Who dials.
    pub host: HostId,
    /// The gateway it means to reach: the id it learned when it joined, at most [`GATEWAY_MAX`] bytes.
    pub gateway: String,
    /// What it dialled: `https://name:port/prefix`, lower-case, the port always there, at most [`ORIGIN_MAX`] bytes.
    pub origin: String,
    /// The connection.
    pub binding: ChannelBinding,
    /// The last link generation it knows.
    pub generation: u64,
    /// When it was signed, by the host's clock corrected by what the gateway told it.
    pub issued_at: Timestamp,
}

/// Why an assertion is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AssertionError {
    /// The claims are too long to be carried.
    #[error("the gateway's id or URL is too long for an assertion")]
    TooLong,
    /// The text has another form.
    #[error("the text is no assertion")]
    Malformed,
    /// Another key signed it, or it was changed.
    #[error("the assertion is not signed by this host's key")]
    Signature,
}

/// An assertion whose signature was not looked at: good for finding the key to check it with.
#[derive(Clone, Debug)]
pub struct Unverified {
    /// What it says, true or not.
    pub claims: Claims,
    fields: Vec<u8>,
    signature: Vec<u8>,
}

impl Unverified {
    /// The claims, when the private half of `key` signed them.
    ///
    /// # Errors
    /// [`AssertionError::Signature`].
    pub fn verify(self, key: &HostPublicKey) -> Result<Claims, AssertionError> {
        match key.signed(&message(DOMAIN, &self.fields), &self.signature) {
            true => Ok(self.claims),
            false => Err(AssertionError::Signature),
        }
    }
}

/// Signs `claims`.
///
/// # Errors
/// [`AssertionError::TooLong`].
pub fn sign(key: &HostKey, claims: &Claims) -> Result<String, AssertionError> {
    if claims.gateway.len() > GATEWAY_MAX || claims.origin.len() > ORIGIN_MAX {
        return Err(AssertionError::TooLong);
    }
    let binding: &[u8] = match &claims.binding {
        ChannelBinding::None => &[],
        ChannelBinding::TlsExporter(exporter) => exporter,
    };
    let fields = Writer::default()
        .field(&[claims.purpose.byte()])
        .and_then(|w| w.field(claims.host.to_string().as_bytes()))
        .and_then(|w| w.field(claims.gateway.as_bytes()))
        .and_then(|w| w.field(claims.origin.as_bytes()))
        .and_then(|w| w.field(binding))
        .and_then(|w| w.field(&claims.generation.to_be_bytes()))
        .and_then(|w| w.field(&claims.issued_at.micros().to_be_bytes()))
        .ok_or(AssertionError::TooLong)?
        .bytes();
    let signature = key.sign(&message(DOMAIN, &fields));
    Ok(format!("{PREFIX}{}.{}", URL_SAFE_NO_PAD.encode(fields), URL_SAFE_NO_PAD.encode(signature)))
}

/// Reads an assertion without checking its signature.
///
/// # Errors
/// [`AssertionError::Malformed`].
pub fn open(text: &str) -> Result<Unverified, AssertionError> {
    parse(text).ok_or(AssertionError::Malformed)
}

/// Reads an assertion and checks its signature.
///
/// # Errors
/// [`AssertionError::Malformed`] and [`AssertionError::Signature`].
pub fn verify(text: &str, key: &HostPublicKey) -> Result<Claims, AssertionError> {
    open(text)?.verify(key)
}

fn parse(text: &str) -> Option<Unverified> {
    let (fields, signature) = text.strip_prefix(PREFIX).filter(|_| text.len() <= TEXT_MAX)?.split_once('.')?;
    let fields = URL_SAFE_NO_PAD.decode(fields).ok()?;
    let signature = URL_SAFE_NO_PAD.decode(signature).ok().filter(|bytes| bytes.len() == SIGNATURE)?;
    let mut reader = Reader(&fields);
    let [purpose] = reader.array()?;
    let claims = Claims {
        purpose: [Purpose::Link, Purpose::Rehearsal].into_iter().find(|known| known.byte() == purpose)?,
        host: reader.text()?.parse().ok()?,
        gateway: reader.text().filter(|text| text.len() <= GATEWAY_MAX)?.to_owned(),
        origin: reader.text().filter(|text| text.len() <= ORIGIN_MAX)?.to_owned(),
        binding: match reader.field()? {
            [] => ChannelBinding::None,
            exporter => ChannelBinding::TlsExporter(exporter.try_into().ok()?),
        },
        generation: u64::from_be_bytes(reader.array()?),
        issued_at: Timestamp::from_micros(i64::from_be_bytes(reader.array()?)),
    };
    reader.end()?;
    Some(Unverified { claims, fields, signature })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn claims() -> Claims {
        Claims {
            purpose: Purpose::Link,
            host: HostId::new(),
            gateway: "0123456789abcdef0123456789abcdef".to_owned(),
            origin: "https://gateway.example:7440".to_owned(),
            binding: ChannelBinding::TlsExporter([3; 32]),
            generation: 17,
            issued_at: Timestamp::from_micros(1_800_000_000_000_000),
        }
    }

    #[test]
    fn tells_its_claims_to_who_has_the_public_key() {
        let key = HostKey::generate().unwrap();
        for binding in [ChannelBinding::None, ChannelBinding::TlsExporter([3; 32])] {
            let claims = Claims { binding, ..claims() };
            let text = sign(&key, &claims).unwrap();
            assert_eq!(verify(&text, &key.public_key()), Ok(claims.clone()));
            assert_eq!(open(&text).unwrap().claims, claims);
            let other = HostKey::generate().unwrap().public_key();
            assert_eq!(verify(&text, &other), Err(AssertionError::Signature));
        }
    }

    #[test]
    fn the_longest_one_can_be_sent() {
        let key = HostKey::generate().unwrap();
        let longest = Claims { gateway: "g".repeat(GATEWAY_MAX), origin: "o".repeat(ORIGIN_MAX), ..claims() };
        let text = sign(&key, &longest).unwrap();
        assert!(text.len() <= TEXT_MAX, "{}", text.len());
        assert_eq!(verify(&text, &key.public_key()), Ok(longest.clone()));
        let too_long = Claims { origin: "o".repeat(ORIGIN_MAX + 1), ..longest };
        assert_eq!(sign(&key, &too_long), Err(AssertionError::TooLong));
    }

    #[test]
    fn a_signature_of_another_domain_is_refused() {
        let key = HostKey::generate().unwrap();
        let text = sign(&key, &claims()).unwrap();
        let fields = text[PREFIX.len()..].split_once('.').unwrap().0;
        let signature = key.sign(&message("hostler join v1", &URL_SAFE_NO_PAD.decode(fields).unwrap()));
        let swapped = format!("{PREFIX}{fields}.{}", URL_SAFE_NO_PAD.encode(signature));
        assert_eq!(verify(&swapped, &key.public_key()), Err(AssertionError::Signature));
    }

    #[test]
    fn every_changed_character_is_refused() {
        let key = HostKey::generate().unwrap();
        let text = sign(&key, &claims()).unwrap();
        for at in 0..text.len() {
            for to in ["A", "B", "z", "-", "."] {
                if text[at..=at] != *to {
                    let mut changed = text.clone();
                    changed.replace_range(at..=at, to);
                    assert!(verify(&changed, &key.public_key()).is_err(), "character {at} to {to}");
                }
            }
            assert!(verify(&text[..at], &key.public_key()).is_err(), "cut at {at}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "\\PC{0,60}|hsa_[A-Za-z0-9_-]{0,600}\\.[A-Za-z0-9_-]{0,100}") {
            let _ = open(&text);
        }

        #[test]
        fn no_claims_make_it_panic(fields in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = open(&format!("{PREFIX}{}.{}", URL_SAFE_NO_PAD.encode(fields), URL_SAFE_NO_PAD.encode([0; SIGNATURE])));
        }

        #[test]
        fn all_claims_survive(gateway in "[!-~]{0,64}", origin in "[!-~]{0,400}", generation: u64, at: i64, exporter: Option<[u8; 32]>) {
            let claims = Claims {
                purpose: Purpose::Rehearsal,
                host: HostId::new(),
                gateway,
                origin,
                binding: exporter.map_or(ChannelBinding::None, ChannelBinding::TlsExporter),
                generation,
                issued_at: Timestamp::from_micros(at),
            };
            let key = HostKey::generate().unwrap();
            prop_assert_eq!(verify(&sign(&key, &claims).unwrap(), &key.public_key()), Ok(claims));
        }
    }
}
