//! Writing JSON by hand where there is a piece of it for every file.

use std::io::Write as _;

/// A string with its quotes. Bytes that are not UTF-8 become lone surrogates, as [`hostler_model::ByteStr`] has them.
pub fn string(out: &mut Vec<u8>, bytes: &[u8]) {
    out.push(b'"');
    escaped(out, bytes);
    out.push(b'"');
}

/// A string without its quotes. Escaped parts of a path, joined by slashes, are the escaped path.
pub fn escaped(out: &mut Vec<u8>, bytes: &[u8]) {
    if bytes.iter().all(|b| matches!(b, 0x20 | 0x21 | 0x23..=0x5b | 0x5d..=0x7e)) {
        out.extend_from_slice(bytes);
        return;
    }
    for chunk in bytes.utf8_chunks() {
        for &byte in chunk.valid().as_bytes() {
            match byte {
                b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
                0..0x20 | 0x7f => escape(out, u16::from(byte)),
                _ => out.push(byte),
            }
        }
        for &byte in chunk.invalid() {
            escape(out, 0xdc00 + u16::from(byte));
        }
    }
}

fn escape(out: &mut Vec<u8>, unit: u16) {
    // Writing to a vector does not fail.
    let _ = write!(out, "\\u{unit:04x}");
}

/// A whole number.
pub fn int(out: &mut Vec<u8>, number: impl itoa::Integer) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

/// Seconds since the epoch, to the microsecond.
pub fn seconds(out: &mut Vec<u8>, seconds: f64) {
    let _ = write!(out, "{seconds:.6}");
}

/// A hash as lower-case hex digits, in quotes.
pub fn hash(out: &mut Vec<u8>, hash: &hostler_model::ContentHash) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    out.push(b'"');
    for byte in hash.as_bytes() {
        out.extend_from_slice(&[DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
    }
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use hostler_model::ByteStr;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_name_survives(bytes in proptest::collection::vec(1u8.., 0..40)) {
            let mut out = Vec::new();
            string(&mut out, &bytes);
            let back: ByteStr = serde_json::from_slice(&out).unwrap();
            prop_assert_eq!(back.as_bytes(), &bytes[..]);
        }
    }

    #[test]
    fn escapes_are_those_of_python() {
        let mut out = Vec::new();
        string(&mut out, b"caf\xe9 \"\\\n\x7f\xc3\xa9");
        assert_eq!(String::from_utf8(out).unwrap(), "\"caf\\udce9 \\\"\\\\\\u000a\\u007f\u{e9}\"");
    }
}
