//! The join token: what an admin hands to a host so that it may join once.
//!
//! ```text
//! hjt_ base64url( 1 | secret (16 bytes) | 0, or 1 and the pin (32 bytes) | URL of the gateway, UTF-8 )
//! ```

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};

use crate::{NoRandomness, Pin, random};

/// Every join token starts with this.
pub const TOKEN_PREFIX: &str = "hjt_";

const VERSION: u8 = 1;
const SECRET: usize = 16;
/// Longest text of a token, characters.
const TEXT_MAX: usize = 1024;
/// Longest URL in a token, bytes.
const URL_MAX: usize = 512;

/// A join token. Neither its text nor its secret is shown by `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct JoinToken {
    secret: [u8; SECRET],
    pin: Option<Pin>,
    url: String,
}

/// The text is no join token. The text is not repeated: it may be a damaged secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseTokenError {
    /// It does not look like one.
    #[error("a join token starts with hjt_; print a new one with `hostler hosts token` at the gateway")]
    NotAToken,
    /// It looks like one and is not.
    #[error("the join token is damaged: copy the whole of it, or print a new one with `hostler hosts token`")]
    Damaged,
    /// A newer gateway made it.
    #[error("the join token is of version {0}, this program reads version 1: install the gateway's version of hostler")]
    Version(u8),
}

impl JoinToken {
    /// A token with a new secret for the gateway at `url`, whose certificate has `pin` when it is self-made.
    ///
    /// # Errors
    /// [`NoRandomness`].
    pub fn generate(url: &str, pin: Option<Pin>) -> Result<Self, NoRandomness> {
        Ok(Self { secret: random()?, pin, url: url.to_owned() })
    }

    /// The gateway's URL.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The pin of the gateway's certificate.
    pub fn pin(&self) -> Option<Pin> {
        self.pin
    }

    /// SHA-256 of the secret: all that the gateway keeps of it.
    pub fn secret_hash(&self) -> [u8; 32] {
        Sha256::digest(self.secret).into()
    }

    /// The secret text itself, `hjt_...`. A URL longer than 512 bytes makes a text that cannot be read back.
    pub fn expose(&self) -> String {
        let mut bytes = vec![VERSION];
        bytes.extend_from_slice(&self.secret);
        match self.pin {
            None => bytes.push(0),
            Some(Pin(pin)) => {
                bytes.push(1);
                bytes.extend_from_slice(&pin);
            }
        }
        bytes.extend_from_slice(self.url.as_bytes());
        format!("{TOKEN_PREFIX}{}", URL_SAFE_NO_PAD.encode(bytes))
    }
}

impl fmt::Debug for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinToken").field("url", &self.url).field("pin", &self.pin).finish_non_exhaustive()
    }
}

impl FromStr for JoinToken {
    type Err = ParseTokenError;
    fn from_str(text: &str) -> Result<Self, ParseTokenError> {
        let coded = text.strip_prefix(TOKEN_PREFIX).ok_or(ParseTokenError::NotAToken)?;
        if text.len() > TEXT_MAX {
            return Err(ParseTokenError::Damaged);
        }
        let bytes = URL_SAFE_NO_PAD.decode(coded).map_err(|_| ParseTokenError::Damaged)?;
        match bytes.split_first() {
            Some((&VERSION, rest)) => read(rest).ok_or(ParseTokenError::Damaged),
            Some((&version, _)) => Err(ParseTokenError::Version(version)),
            None => Err(ParseTokenError::Damaged),
        }
    }
}

fn read(bytes: &[u8]) -> Option<JoinToken> {
    let (secret, rest) = bytes.split_first_chunk::<SECRET>()?;
    let (pin, url) = match rest.split_first()? {
        (0, rest) => (None, rest),
        (1, rest) => rest.split_first_chunk::<32>().map(|(pin, rest)| (Some(Pin(*pin)), rest))?,
        _ => return None,
    };
    let url = std::str::from_utf8(url).ok()?;
    // What is printed and dialled: no spaces, no control characters, no other scripts.
    let plain = (1..=URL_MAX).contains(&url.len()) && url.bytes().all(|byte| byte.is_ascii_graphic());
    plain.then(|| JoinToken { secret: *secret, pin, url: url.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn survives_its_text_and_is_not_shown() {
        for pin in [None, Some(Pin([9; 32]))] {
            let token = JoinToken::generate("https://gateway.example:7440", pin).unwrap();
            let text = token.expose();
            assert!(text.starts_with("hjt_"));
            assert_eq!(text.parse(), Ok(token.clone()));
            let shown = format!("{token:?}");
            assert!(shown.contains("gateway.example") && !shown.contains(&text[10..20]), "{shown}");
        }
        let pair = [0, 1].map(|_| JoinToken::generate("http://a", None).unwrap().secret_hash());
        assert_ne!(pair[0], pair[1]);
    }

    #[test]
    fn what_is_wrong_is_told() {
        let of = |bytes: &[u8]| format!("hjt_{}", URL_SAFE_NO_PAD.encode(bytes)).parse::<JoinToken>();
        assert_eq!("hst_0123".parse::<JoinToken>(), Err(ParseTokenError::NotAToken));
        assert_eq!(of(&[]), Err(ParseTokenError::Damaged));
        assert_eq!(of(&[2, 0, 0]), Err(ParseTokenError::Version(2)));
        assert_eq!(of(&[[1].as_slice(), &[5; 16], &[0]].concat()), Err(ParseTokenError::Damaged), "no URL");
        assert_eq!(of(&[[1].as_slice(), &[5; 16], &[2], b"http://a"].concat()), Err(ParseTokenError::Damaged));
        assert_eq!(of(&[[1].as_slice(), &[5; 16], &[0], b"http://a\x1b[2J"].concat()), Err(ParseTokenError::Damaged));
        let long = JoinToken::generate(&format!("http://{}", "a".repeat(URL_MAX)), None).unwrap();
        assert_eq!(long.expose().parse::<JoinToken>(), Err(ParseTokenError::Damaged));
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "\\PC{0,40}|hjt_[A-Za-z0-9_-]{0,1100}", bytes in prop::collection::vec(any::<u8>(), 0..900)) {
            let _ = text.parse::<JoinToken>();
            if let Ok(token) = format!("hjt_{}", URL_SAFE_NO_PAD.encode(bytes)).parse::<JoinToken>() {
                prop_assert_eq!(token.expose().parse(), Ok(token));
            }
        }

        #[test]
        fn every_changed_character_is_another_token_or_none(at: prop::sample::Index, to in "[!-~]") {
            let token = JoinToken::generate("https://gateway.example:7440", Some(Pin([9; 32]))).unwrap();
            let mut text = token.expose();
            let at = at.index(text.len());
            prop_assume!(text[at..=at] != *to);
            text.replace_range(at..=at, &to);
            prop_assert_ne!(text.parse(), Ok(token));
        }
    }
}
