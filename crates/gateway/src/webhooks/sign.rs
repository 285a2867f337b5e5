//! Signatures as in Standard Webhooks 1.0: `v1,` and base64 of HMAC-SHA256 over `id.timestamp.body`.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::hmac;

use crate::secret::NoRandomness;
use crate::store::Hidden;

/// What a secret begins with.
const PREFIX: &str = "whsec_";
/// Bytes of a key; the specification asks for 24 to 64.
const KEY_BYTES: usize = 32;

/// A new secret.
pub fn new_secret() -> Result<Hidden, NoRandomness> {
    let key = crate::secret::random_bytes::<KEY_BYTES>()?;
    Ok(Hidden::new(format!("{PREFIX}{}", STANDARD.encode(key))))
}

/// The `webhook-signature` of a message; `seconds` since the epoch is its `webhook-timestamp`. `None` when the secret is none
/// that [`new_secret`] makes.
pub fn signature(secret: &Hidden, id: &str, seconds: i64, body: &str) -> Option<String> {
    let key = STANDARD.decode(secret.reveal().strip_prefix(PREFIX)?).ok()?;
    let key = hmac::Key::new(hmac::HMAC_SHA256, &key);
    let tag = hmac::sign(&key, format!("{id}.{seconds}.{body}").as_bytes());
    Some(format!("v1,{}", STANDARD.encode(tag)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signs_the_example_of_the_specification() {
        let secret = Hidden::new("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
        let body = r#"{"test": 2432232314}"#;
        assert_eq!(
            signature(&secret, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, body).as_deref(),
            Some("v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=")
        );
    }

    #[test]
    fn secrets_are_new_and_not_shown() {
        let (one, two) = (new_secret().unwrap(), new_secret().unwrap());
        assert_ne!(one.reveal(), two.reveal());
        assert_eq!(one.reveal().len(), PREFIX.len() + 44);
        assert!(signature(&one, "a", 1, "{}").is_some());
        assert!(!format!("{one:?}").contains("whsec"));
        assert_eq!(signature(&Hidden::new("plain"), "a", 1, "{}"), None);
    }
}
