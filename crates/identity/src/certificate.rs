//! What a certificate says of itself. Nothing here decides whether it is trusted.

use std::net::{Ipv4Addr, Ipv6Addr};

use hostler_model::Timestamp;
use x509_cert::Certificate;
use x509_cert::der::{Decode as _, Encode as _};
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;

use crate::pin::Pin;

/// Names kept of one certificate.
const NAMES_MAX: usize = 64;

/// The bytes are no X.509 certificate.
#[derive(Debug, thiserror::Error)]
#[error("the bytes are no X.509 certificate: {0}")]
pub struct CertificateError(String);

/// A certificate's public key, names and dates (RFC 5280).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFacts {
    /// The pin of its public key.
    pub pin: Pin,
    /// DNS names and addresses of the subjectAltName extension, at most 64.
    pub names: Vec<String>,
    /// Not valid before.
    pub not_before: Timestamp,
    /// Not valid after.
    pub not_after: Timestamp,
}

impl CertificateFacts {
    /// Reads a certificate in DER.
    ///
    /// # Errors
    /// A [`CertificateError`].
    pub fn read(der: &[u8]) -> Result<Self, CertificateError> {
        let bad = |error: x509_cert::der::Error| CertificateError(error.to_string());
        let certificate = Certificate::from_der(der).map_err(bad)?;
        let content = certificate.tbs_certificate();
        let names = match content.get_extension::<SubjectAltName>().map_err(bad)? {
            Some((_, names)) => names.0.iter().filter_map(name).take(NAMES_MAX).collect(),
            None => Vec::new(),
        };
        let validity = content.validity();
        Ok(Self {
            pin: Pin::of_public_key(&content.subject_public_key_info().to_der().map_err(bad)?),
            names,
            not_before: time(validity.not_before),
            not_after: time(validity.not_after),
        })
    }
}

fn time(time: x509_cert::time::Time) -> Timestamp {
    // Years up to 9999: far from the end of i64 in microseconds.
    Timestamp::from_micros(i64::try_from(time.to_unix_duration().as_micros()).unwrap_or(i64::MAX))
}

fn name(name: &GeneralName) -> Option<String> {
    match name {
        GeneralName::DnsName(name) => Some(name.to_string()),
        GeneralName::IpAddress(address) => match address.as_bytes() {
            bytes if bytes.len() == 4 => Some(Ipv4Addr::from(<[u8; 4]>::try_from(bytes).ok()?).to_string()),
            bytes => Some(Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?).to_string()),
        },
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn certificate() -> (Vec<u8>, rcgen::KeyPair) {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(["web1.example".to_owned(), "192.0.2.7".to_owned()]).unwrap();
        params.not_before = rcgen::date_time_ymd(2025, 1, 2);
        params.not_after = rcgen::date_time_ymd(2035, 1, 2);
        (params.self_signed(&key).unwrap().der().to_vec(), key)
    }

    #[test]
    fn tells_names_dates_and_pin() {
        let (der, key) = certificate();
        let facts = CertificateFacts::read(&der).unwrap();
        assert_eq!(facts.names, ["web1.example", "192.0.2.7"]);
        assert_eq!(facts.not_before.micros(), 1_735_776_000_000_000);
        assert_eq!(facts.not_after.micros(), 2_051_308_800_000_000);
        assert_eq!(facts.pin, Pin::of_public_key(&rcgen::PublicKeyData::subject_public_key_info(&key)));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..300), at: prop::sample::Index, flip in 1u8..) {
            let _ = CertificateFacts::read(&bytes);
            let (mut der, _) = certificate();
            let at = at.index(der.len());
            der[at] ^= flip;
            let _ = CertificateFacts::read(&der);
            let _ = CertificateFacts::read(&der[..at]);
        }
    }
}
