//! Passwords: Argon2id (RFC 9106) with 19 MiB, 2 passes and 1 lane, kept as a PHC string.
//!
//! A hash costs tens of milliseconds of CPU and 19 MiB: callers run it off the async threads and bound how many run.

use std::sync::LazyLock;

use argon2::password_hash::{PasswordHasher as _, PasswordVerifier as _};
use argon2::{Algorithm, Argon2, Params, PasswordHash, Version};

use crate::{NoRandomness, random};

/// Shortest password, bytes.
pub const MIN: usize = 10;
/// Longest password, bytes: what is hashed is bounded.
pub const MAX: usize = 1024;

/// Memory of one hash, KiB.
const MEMORY_KIB: u32 = 19 * 1024;
const PASSES: u32 = 2;
const LANES: u32 = 1;

/// The password is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WeakPassword {
    /// Too short.
    #[error("the password has {0} bytes; choose one of at least 10, such as four random words")]
    Short(usize),
    /// Too long.
    #[error("the password has {0} bytes; choose one of at most 1,024")]
    Long(usize),
}

/// The password was not hashed.
#[derive(Debug, thiserror::Error)]
pub enum HashError {
    /// No randomness for the salt.
    #[error(transparent)]
    Random(#[from] NoRandomness),
    /// The hash function failed.
    #[error("the password could not be hashed: {0}")]
    Argon2(String),
}

/// Refuses what is too short or too long.
///
/// # Errors
/// A [`WeakPassword`] that says what to do.
pub fn check_strength(password: &str) -> Result<(), WeakPassword> {
    match password.len() {
        length if length < MIN => Err(WeakPassword::Short(length)),
        length if length > MAX => Err(WeakPassword::Long(length)),
        _ => Ok(()),
    }
}

/// The PHC string to keep: `$argon2id$v=19$m=19456,t=2,p=1$salt$hash`.
///
/// # Errors
/// A [`HashError`].
pub fn hash(password: &str) -> Result<String, HashError> {
    let salt: [u8; 16] = random()?;
    hash_with(password, &salt)
}

/// Whether `password` is the one that `hash` was made of. A text that is no hash of ours matches nothing.
pub fn verify(password: &str, hash: &str) -> bool {
    let parsed = match PasswordHash::new(hash) {
        Ok(parsed) if password.len() <= MAX => parsed,
        _ => return false,
    };
    // The hash's own cost is what is used: one from a restored backup must not take the machine's memory.
    let affordable = Params::try_from(&parsed).is_ok_and(|p| p.m_cost() <= 4 * MEMORY_KIB && p.t_cost() <= 4 * PASSES);
    affordable && argon2().is_ok_and(|argon2| argon2.verify_password(password.as_bytes(), &parsed).is_ok())
}

/// Costs what [`verify`] costs and is false: a name that nobody has takes as long to refuse as a wrong password.
pub fn verify_nobody(password: &str) -> bool {
    static NOBODY: LazyLock<Option<String>> = LazyLock::new(|| hash_with("nobody has this password", &[0; 16]).ok());
    // The compiler must not leave the work out because its result is not used.
    std::hint::black_box(NOBODY.as_ref().is_some_and(|hash| verify(password, hash)));
    false
}

fn hash_with(password: &str, salt: &[u8]) -> Result<String, HashError> {
    let failed = |error: &dyn std::fmt::Display| HashError::Argon2(error.to_string());
    let argon2 = argon2().map_err(|e| failed(&e))?;
    let hash: PasswordHash = argon2.hash_password_with_salt(password.as_bytes(), salt).map_err(|e| failed(&e))?;
    Ok(hash.to_string())
}

fn argon2() -> Result<Argon2<'static>, argon2::Error> {
    Ok(Argon2::new(Algorithm::Argon2id, Version::V0x13, Params::new(MEMORY_KIB, PASSES, LANES, None)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_password_matches_its_hash() {
        let kept = hash("correct horse battery").unwrap();
        assert!(kept.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{kept}");
        assert!(verify("correct horse battery", &kept));
        assert!(!verify("correct horse batterz", &kept));
        assert_ne!(hash("correct horse battery").unwrap(), kept, "each has its own salt");
        assert!(!verify_nobody("nobody has this password"));
    }

    #[test]
    fn no_text_is_a_hash_by_mistake() {
        for bad in
            ["", "correct horse battery", "$argon2id$", "$argon2id$v=19$m=4000000,t=2,p=1$AAAAAAAAAAA$AAAAAAAAAAAAAAAA"]
        {
            assert!(!verify("correct horse battery", bad), "{bad}");
        }
    }

    #[test]
    fn short_and_endless_passwords_are_told() {
        assert_eq!(check_strength("123456789"), Err(WeakPassword::Short(9)));
        assert_eq!(check_strength("1234567890"), Ok(()));
        assert_eq!(check_strength(&"x".repeat(1024)), Ok(()));
        assert_eq!(check_strength(&"x".repeat(1025)), Err(WeakPassword::Long(1025)));
    }
}
