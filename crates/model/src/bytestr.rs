//! Names and paths as the kernel has them: bytes.
//!
//! Three texts are made of them, each for one purpose:
//! - **JSON** ([`ByteStr::to_json`], and `serde` through serde_json): each byte that is not part of valid UTF-8 is
//!   a lone low surrogate, U+DC80 to U+DCFF (`surrogateescape` of Python's PEP 383), written as a `\udcXX` escape. Other lone
//!   surrogates, of names from Windows, are read as the three bytes of their WTF-8 form.
//! - **URLs** ([`ByteStr::to_query`], [`ByteStr::from_query`]): percent-encoded bytes.
//! - **People** ([`ByteStr::display`]): escapes for control characters, for characters that turn
//!   writing direction, and for bytes that are not UTF-8 (`\xe9`, `\n`), so that a name can neither
//!   move a terminal's cursor nor lie about its extension.
//! - **The store and the link**: the bytes themselves.

use std::borrow::Cow;
use std::fmt;

use serde::de::{self, Deserialize, Deserializer, Visitor};
use serde::ser::{Error as _, Serialize, Serializer};
use serde_json::value::RawValue;

/// A name or a path: any bytes but NUL, in no particular encoding.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct ByteStr(Vec<u8>);

impl ByteStr {
    /// The bytes as they are on disk.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The bytes, owned.
    pub fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    /// True when nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// True when the bytes are valid UTF-8.
    pub fn is_utf8(&self) -> bool {
        std::str::from_utf8(&self.0).is_ok()
    }

    /// What a person reads: see the module's notes. Never holds a control character.
    pub fn display(&self) -> Cow<'_, str> {
        display(&self.0)
    }

    /// The last component; the whole when there is no slash.
    pub fn file_name(&self) -> &[u8] {
        match self.0.iter().rposition(|&b| b == b'/') {
            Some(at) => &self.0[at + 1..],
            None => &self.0,
        }
    }

    /// A JSON string literal, quotes included, with `\udcXX` for bytes that are not UTF-8.
    pub fn to_json(&self) -> String {
        let mut out = String::with_capacity(self.0.len() + 2);
        out.push('"');
        for chunk in self.0.utf8_chunks() {
            for c in chunk.valid().chars() {
                match c {
                    '"' => out.push_str("\\\""),
                    '\\' => out.push_str("\\\\"),
                    '\n' => out.push_str("\\n"),
                    '\r' => out.push_str("\\r"),
                    '\t' => out.push_str("\\t"),
                    c if (c as u32) < 0x20 || c == '\u{7f}' => {
                        out.push_str(&format!("\\u{:04x}", c as u32));
                    }
                    c => out.push(c),
                }
            }
            for byte in chunk.invalid() {
                out.push_str(&format!("\\udc{byte:02x}"));
            }
        }
        out.push('"');
        out
    }

    /// Percent-encodes for a URL's query or path: unreserved characters and `/` stay.
    pub fn to_query(&self) -> String {
        let mut out = String::with_capacity(self.0.len());
        for &byte in &self.0 {
            match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => {
                    out.push(byte as char);
                }
                _ => out.push_str(&format!("%{byte:02X}")),
            }
        }
        out
    }

    /// The inverse of [`ByteStr::to_query`]: any percent-encoded bytes, `+` as a space.
    /// A `%` that starts no escape stands for itself.
    pub fn from_query(text: &str) -> Self {
        let bytes = text.as_bytes();
        let mut out = Vec::with_capacity(bytes.len());
        let mut i = 0;
        while i < bytes.len() {
            let escape = bytes
                .get(i + 1..i + 3)
                .and_then(|hex| std::str::from_utf8(hex).ok())
                .filter(|hex| hex.bytes().all(|b| b.is_ascii_hexdigit()))
                .and_then(|hex| u8::from_str_radix(hex, 16).ok());
            match (bytes[i], escape) {
                (b'%', Some(byte)) => {
                    out.push(byte);
                    i += 3;
                    continue;
                }
                (b'+', _) => out.push(b' '),
                (byte, _) => out.push(byte),
            }
            i += 1;
        }
        Self(out)
    }
}

/// What a person reads of these bytes; see the module's notes.
pub fn display(bytes: &[u8]) -> Cow<'_, str> {
    if let Ok(text) = std::str::from_utf8(bytes)
        && !text.chars().any(needs_escape)
    {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(bytes.len() + 8);
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '\n' => out.push_str("\\n"),
                '\r' => out.push_str("\\r"),
                '\t' => out.push_str("\\t"),
                c if needs_escape(c) && (c as u32) < 0x100 => {
                    out.push_str(&format!("\\x{:02x}", c as u32));
                }
                c if needs_escape(c) => out.push_str(&format!("\\u{{{:x}}}", c as u32)),
                c => out.push(c),
            }
        }
        for byte in chunk.invalid() {
            out.push_str(&format!("\\x{byte:02x}"));
        }
    }
    Cow::Owned(out)
}

/// Control characters, line and paragraph separators, and the characters that turn writing
/// direction or join nothing (Unicode TR 36, "bidirectional text spoofing").
fn needs_escape(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

impl From<Vec<u8>> for ByteStr {
    fn from(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }
}

impl From<&[u8]> for ByteStr {
    fn from(bytes: &[u8]) -> Self {
        Self(bytes.to_vec())
    }
}

impl From<&str> for ByteStr {
    fn from(text: &str) -> Self {
        Self(text.as_bytes().to_vec())
    }
}

impl fmt::Debug for ByteStr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.display())
    }
}

impl fmt::Display for ByteStr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.display())
    }
}

impl Serialize for ByteStr {
    /// For serde_json's writers only: a Rust string cannot hold the lone surrogates of the JSON form.
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        RawValue::from_string(self.to_json()).map_err(S::Error::custom)?.serialize(s)
    }
}

impl<'de> Deserialize<'de> for ByteStr {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct Wtf8;
        impl Visitor<'_> for Wtf8 {
            type Value = ByteStr;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<ByteStr, E> {
                self.visit_bytes(text.as_bytes())
            }
            fn visit_bytes<E: de::Error>(self, wtf8: &[u8]) -> Result<ByteStr, E> {
                if wtf8.contains(&0) {
                    return Err(E::custom("a path cannot hold a NUL character"));
                }
                Ok(ByteStr(unescape_surrogates(wtf8)))
            }
        }
        // serde_json gives lone surrogates to `deserialize_bytes` in their WTF-8 form, ED A0 80 to ED BF BF.
        d.deserialize_bytes(Wtf8)
    }
}

/// Bytes for the surrogates that stand for them. Others (unpaired ones of Windows names) stay in their WTF-8 form, whose three
/// bytes become three surrogates when they are written.
fn unescape_surrogates(wtf8: &[u8]) -> Vec<u8> {
    if !wtf8.contains(&0xed) {
        return wtf8.to_vec();
    }
    let mut out = Vec::with_capacity(wtf8.len());
    let mut rest = wtf8;
    while let Some((&first, tail)) = rest.split_first() {
        match (first, tail) {
            // U+DC80 to U+DCFF: ED B2 80 to ED B3 BF.
            (0xed, [mid @ 0xb2..=0xb3, low @ 0x80..=0xbf, after @ ..]) => {
                out.push((mid & 1) << 6 | (low & 0x3f) | 0x80);
                rest = after;
            }
            _ => {
                out.push(first);
                rest = tail;
            }
        }
    }
    out
}

impl utoipa::PartialSchema for ByteStr {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
        utoipa::openapi::ObjectBuilder::new()
            .schema_type(utoipa::openapi::schema::Type::String)
            .description(Some("bytes that are not UTF-8 as lone surrogates U+DC80 to U+DCFF"))
            .into()
    }
}

impl utoipa::ToSchema for ByteStr {}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn people_see_escapes_for_what_could_mislead() {
        for (bytes, text) in [
            (&b"caf\xe9.pdf"[..], "caf\\xe9.pdf"),
            (b"a\nb\x1b[31m", "a\\nb\\x1b[31m"),
            ("gpj.\u{202e}exe".as_bytes(), "gpj.\\u{202e}exe"),
            ("größe <b>".as_bytes(), "größe <b>"),
        ] {
            assert_eq!(ByteStr::from(bytes).display(), text);
        }
    }

    #[test]
    fn json_refuses_what_no_path_can_be() {
        for text in [r#""a\u0000b""#, "7", "[]"] {
            assert!(serde_json::from_str::<ByteStr>(text).is_err(), "{text}");
        }
        assert_eq!(serde_json::from_str::<ByteStr>(r#""caf\udce9""#).unwrap().as_bytes(), b"caf\xe9");
        assert_eq!(ByteStr::from(&b"caf\xe9\n"[..]).to_json(), r#""caf\udce9\n""#);
    }

    #[test]
    fn surrogates_that_stand_for_no_byte_are_kept() {
        for (text, bytes) in
            [(r#""\ud800""#, b"\xed\xa0\x80"), (r#""\udc41""#, b"\xed\xb1\x81"), (r#""\udfff""#, b"\xed\xbf\xbf")]
        {
            let name: ByteStr = serde_json::from_str(text).unwrap();
            assert_eq!(name.as_bytes(), bytes, "{text}");
            assert_eq!(serde_json::from_str::<ByteStr>(&name.to_json()).unwrap(), name, "{text}");
        }
        assert_eq!(serde_json::from_str::<ByteStr>(r#""\udc80\udcff""#).unwrap().as_bytes(), b"\x80\xff");
    }

    proptest! {
        #[test]
        fn every_path_survives_json_and_urls(bytes in proptest::collection::vec(1u8.., 0..40)) {
            let path = ByteStr::from(bytes);
            let json = serde_json::to_string(&path).unwrap();
            prop_assert_eq!(&serde_json::from_str::<ByteStr>(&json).unwrap(), &path);
            prop_assert_eq!(&ByteStr::from_query(&path.to_query()), &path);
            prop_assert!(!path.display().chars().any(char::is_control));
        }
    }
}
