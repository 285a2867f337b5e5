//! The signature a host sends when it joins: that it has the private half of the key it shows, for this token.
//!
//! Signed fields: URL in the token, host id (text), SHA-256 of the token's secret. Base64url without padding,
//! 86 characters. The URL is the token's own, so both ends have the same text however the gateway was reached.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hostler_model::HostId;

use crate::claims::{Writer, message};
use crate::key::SIGNATURE;
use crate::{HostKey, HostPublicKey, JoinToken};

const DOMAIN: &str = "hostler join v1";

/// The proof that `key` joins as `host` with `token`.
pub fn sign(key: &HostKey, token: &JoinToken, host: HostId) -> String {
    URL_SAFE_NO_PAD.encode(key.sign(&signed(token, host)))
}

/// Whether `proof` was made by the private half of `key` for this token and host.
pub fn verify(proof: &str, key: &HostPublicKey, token: &JoinToken, host: HostId) -> bool {
    let signature = (proof.len() == SIGNATURE * 4_usize / 3 + 1).then(|| URL_SAFE_NO_PAD.decode(proof).ok()).flatten();
    signature.is_some_and(|signature| key.signed(&signed(token, host), &signature))
}

fn signed(token: &JoinToken, host: HostId) -> Vec<u8> {
    let fields = Writer::default()
        .field(token.url().as_bytes())
        .and_then(|w| w.field(host.to_string().as_bytes()))
        .and_then(|w| w.field(&token.secret_hash()));
    // A token made by hand with a URL beyond 65,535 bytes has no proof: the empty message verifies nowhere else.
    message(DOMAIN, &fields.map(Writer::bytes).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proves_one_key_host_and_token() {
        let (key, host) = (HostKey::generate().unwrap(), HostId::new());
        let token = JoinToken::generate("https://gateway.example:7440", None).unwrap();
        let proof = sign(&key, &token, host);
        assert_eq!(proof.len(), 86);
        assert!(verify(&proof, &key.public_key(), &token, host));
        assert!(!verify(&proof, &HostKey::generate().unwrap().public_key(), &token, host));
        assert!(!verify(&proof, &key.public_key(), &token, HostId::new()));
        let other = JoinToken::generate("https://gateway.example:7440", None).unwrap();
        assert!(!verify(&proof, &key.public_key(), &other, host));
        for at in 0..proof.len() {
            let mut changed = proof.clone();
            let to = if &proof[at..=at] == "A" { "B" } else { "A" };
            changed.replace_range(at..=at, to);
            assert!(!verify(&changed, &key.public_key(), &token, host), "character {at}");
        }
        assert!(!verify("", &key.public_key(), &token, host));
    }

    #[test]
    fn is_no_assertion() {
        let (key, host) = (HostKey::generate().unwrap(), HostId::new());
        let token = JoinToken::generate("https://gateway.example:7440", None).unwrap();
        let same_fields = message("hostler assertion v1", &signed(&token, host)[DOMAIN.len() + 1..]);
        let swapped = URL_SAFE_NO_PAD.encode(key.sign(&same_fields));
        assert!(!verify(&swapped, &key.public_key(), &token, host));
    }
}
