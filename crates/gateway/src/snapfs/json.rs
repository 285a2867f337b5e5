//! JSON as clients send it, read without loss.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{self, Deserialize, Deserializer, Visitor};
use serde_json::value::RawValue;

use super::problems::Problems;

/// Levels of arrays and objects in a body. Readers of the stream fail at deeper ones, the same each time they are sent.
const MAX_DEPTH: usize = 100;
/// Levels of what clients send as a rule: a body, its events, one of them, its data.
const MAX_KNOWN: usize = 4;

/// Fields of an object; of those that come twice the last counts.
pub type Fields<'a> = BTreeMap<Name, &'a RawValue>;

/// The name of a field, any text.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Name(Vec<u8>);

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct Bytes;
        impl Visitor<'_> for Bytes {
            type Value = Name;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Name, E> {
                Ok(Name(text.as_bytes().to_vec()))
            }
            fn visit_bytes<E: de::Error>(self, text: &[u8]) -> Result<Name, E> {
                Ok(Name(text.to_vec()))
            }
        }
        // Names may hold lone surrogates, which no Rust string can.
        d.deserialize_bytes(Bytes)
    }
}

impl Name {
    /// Its text; lone surrogates in their WTF-8 form.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl std::borrow::Borrow<[u8]> for Name {
    fn borrow(&self) -> &[u8] {
        &self.0
    }
}

/// The text of a body.
pub fn text(body: &[u8]) -> Result<&str, Problems<'_>> {
    std::str::from_utf8(body).map_err(|error| Problems::syntax(error.valid_up_to(), "Invalid UTF-8"))
}

/// Fails when arrays and objects are nested too deeply. What parses here does so without recursion.
pub fn check_depth(text: &str) -> Result<(), Problems<'_>> {
    match too_deep(text.as_bytes()) {
        Some(at) => Err(Problems::syntax(at, "More than 100 levels of arrays and objects")),
        None => Ok(()),
    }
}

/// True when a text that was parsed is what it seems. It has one array, the list that was asked for: serde reads structures from
/// arrays too, and clients know them as objects only. And apart from `known` objects within [`MAX_KNOWN`] levels it has so few
/// others that they cannot be too deep. Brackets in strings count, so some that are plain are not called so.
pub fn is_plain(text: &str, known: usize) -> bool {
    let opening = |bracket| memchr::memchr_iter(bracket, text.as_bytes()).count();
    opening(b'[') == 1 && opening(b'{') <= known + MAX_DEPTH - MAX_KNOWN
}

/// Where arrays and objects are nested too deeply.
fn too_deep(body: &[u8]) -> Option<usize> {
    let (mut at, mut depth) = (0, 0_usize);
    while let Some(&byte) = body.get(at) {
        match byte {
            b'"' => {
                // Strings are short: a search that is set up for each of them costs more than it saves.
                at += 1;
                while let Some(&byte) = body.get(at)
                    && byte != b'"'
                {
                    at += if byte == b'\\' { 2 } else { 1 };
                }
            }
            b'{' | b'[' => {
                depth += 1;
                if depth > MAX_DEPTH {
                    return Some(at);
                }
            }
            b'}' | b']' => depth = depth.saturating_sub(1),
            _ => {}
        }
        at += 1;
    }
    None
}

/// The fields of an object; `None` when it is none.
pub fn fields(raw: &RawValue) -> Option<Fields<'_>> {
    serde_json::from_str(raw.get()).ok()
}

/// What a number is, taken as laxly as upstream takes it: integers, floats without a fraction, booleans, and integers in a
/// string. Numbers beyond 128 bits are as good as the largest. Otherwise the type of the problem and its text.
pub fn int(raw: &RawValue) -> Result<i128, (&'static str, &'static str)> {
    const NOT_AN_INT: (&str, &str) = ("int_type", "Input should be a valid integer");
    const UNREADABLE: (&str, &str) =
        ("int_parsing", "Input should be a valid integer, unable to parse string as an integer");
    const FRACTION: (&str, &str) =
        ("int_from_float", "Input should be a valid integer, got a number with a fractional part");
    let text = raw.get();
    match text.as_bytes().first() {
        Some(b't') => Ok(1),
        Some(b'f') => Ok(0),
        Some(b'"') => {
            let text: String = serde_json::from_str(text).map_err(|_| UNREADABLE)?;
            let text = text.trim();
            let whole =
                text.split_once('.').filter(|(_, zeros)| zeros.bytes().all(|b| b == b'0')).map(|(whole, _)| whole);
            whole_number(whole.unwrap_or(text)).ok_or(UNREADABLE)
        }
        Some(b'-' | b'0'..=b'9') => whole_number(text).map_or_else(
            || {
                let number: f64 = text.parse().map_err(|_| NOT_AN_INT)?;
                if !number.is_finite() {
                    return Err(("finite_number", "Input should be a finite number"));
                }
                if number.fract() == 0.0 { Ok(number as i128) } else { Err(FRACTION) }
            },
            Ok,
        ),
        _ => Err(NOT_AN_INT),
    }
}

fn whole_number(text: &str) -> Option<i128> {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    Some(text.parse().unwrap_or(if text.starts_with('-') { i128::MIN } else { i128::MAX }))
}

/// The UTF-16 units of a JSON string, lone surrogates and all.
pub fn units(literal: &str) -> Vec<u16> {
    let inner = literal.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(literal);
    let mut out = Vec::with_capacity(inner.len());
    let mut rest = inner.chars();
    while let Some(c) = rest.next() {
        let unit = match c {
            '\\' => match rest.next() {
                Some('n') => 0x0a,
                Some('t') => 0x09,
                Some('r') => 0x0d,
                Some('b') => 0x08,
                Some('f') => 0x0c,
                Some('u') => {
                    let hex = rest.as_str().get(..4).unwrap_or_default();
                    rest = rest.as_str().get(4..).unwrap_or_default().chars();
                    u16::from_str_radix(hex, 16).unwrap_or(0xfffd)
                }
                // A quote, a slash or a backslash.
                Some(other) => other as u16,
                None => continue,
            },
            c => {
                out.extend_from_slice(c.encode_utf16(&mut [0; 2]));
                continue;
            }
        };
        out.push(unit);
    }
    out
}

/// A JSON string of UTF-16 units, in ASCII as clients write them.
pub fn literal(units: &[u16]) -> String {
    use fmt::Write as _;
    let mut out = String::with_capacity(units.len() + 2);
    out.push('"');
    for &unit in units {
        match u8::try_from(unit) {
            Ok(b'"') => out.push_str("\\\""),
            Ok(b'\\') => out.push_str("\\\\"),
            Ok(byte @ b' '..=b'~') => out.push(byte as char),
            _ => {
                // Writing to a string does not fail.
                let _ = write!(out, "\\u{unit:04x}");
            }
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(text: &str) -> &RawValue {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn integers_are_taken_laxly() {
        for (text, number) in [
            ("5", 5),
            ("-5", -5),
            ("\" 5 \"", 5),
            ("\"5.00\"", 5),
            ("1790000000.0", 1_790_000_000),
            ("1e3", 1000),
            ("true", 1),
            ("18446744073709551615", i128::from(u64::MAX)),
            (&"9".repeat(60), i128::MAX),
        ] {
            assert_eq!(int(raw(text)), Ok(number), "{text}");
        }
        for (text, kind) in [
            ("1790000000.5", "int_from_float"),
            ("null", "int_type"),
            ("[1]", "int_type"),
            ("{}", "int_type"),
            ("\"abc\"", "int_parsing"),
            ("\"\"", "int_parsing"),
            ("\"5.5\"", "int_parsing"),
            (r#""\udcff""#, "int_parsing"),
            ("1e999", "finite_number"),
        ] {
            assert_eq!(int(raw(text)).map_err(|(kind, _)| kind), Err(kind), "{text}");
        }
    }

    #[test]
    fn strings_survive_as_units() {
        for text in [r#""plain""#, r#""q\"b\\""#, r#""\ud83d\ude00 \udcff \ud800""#, r#""caf\u00e9\u0000""#] {
            assert_eq!(literal(&units(text)), text);
        }
        assert_eq!(literal(&units("\"\\n\\/é😀\"")), r#""\u000a/\u00e9\ud83d\ude00""#);
    }

    #[test]
    fn depth_is_counted_outside_of_strings() {
        let nested = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
        assert_eq!(too_deep(nested(100).as_bytes()), None);
        assert_eq!(too_deep(nested(101).as_bytes()), Some(100));
        assert_eq!(too_deep(format!(r#"["{}\"{}"]"#, "[".repeat(200), "{".repeat(200)).as_bytes()), None);
        assert_eq!(too_deep(br#""unfinished \"#), None);
        assert_eq!(too_deep("[]".repeat(1000).as_bytes()), None);
    }
}
