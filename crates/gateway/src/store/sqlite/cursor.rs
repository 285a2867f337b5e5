//! Where a page ended: the last row's sort values, as `i<decimal>` and `b<hex>` joined by dots. Opaque to callers.

use rusqlite::types::Value;

use crate::store::{Result, StoreError};

/// Values of a cursor are names, paths and numbers; a longer text is no cursor of ours.
const MAX_LEN: usize = 20_000;

/// The cursor of a row.
pub fn encode(values: &[Value]) -> String {
    let parts: Vec<String> = values
        .iter()
        .map(|value| match value {
            Value::Integer(n) => format!("i{n}"),
            Value::Blob(bytes) => hex('b', bytes),
            Value::Text(text) => hex('t', text.as_bytes()),
            Value::Null | Value::Real(_) => "i0".into(),
        })
        .collect();
    parts.join(".")
}

/// The values of a cursor that has `count` of them.
pub fn decode(cursor: &str, count: usize) -> Result<Vec<Value>> {
    let wrong = || StoreError::BadCursor(cursor.chars().take(80).collect());
    if cursor.len() > MAX_LEN || !cursor.is_ascii() {
        return Err(wrong());
    }
    let values: Option<Vec<Value>> = cursor
        .split('.')
        .take(count + 1)
        .map(|part| {
            let rest = part.get(1..)?;
            match part.as_bytes()[0] {
                b'i' => rest.parse().ok().map(Value::Integer),
                b'b' => unhex(rest).map(Value::Blob),
                b't' => unhex(rest).and_then(|b| String::from_utf8(b).ok()).map(Value::Text),
                _ => None,
            }
        })
        .collect();
    values.filter(|v| v.len() == count).ok_or_else(wrong)
}

fn hex(tag: char, bytes: &[u8]) -> String {
    let mut out = String::with_capacity(1 + 2 * bytes.len());
    out.push(tag);
    bytes.iter().for_each(|b| out.push_str(&format!("{b:02x}")));
    out
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(2) {
        return None;
    }
    (0..text.len() / 2).map(|i| u8::from_str_radix(text.get(2 * i..2 * i + 2)?, 16).ok()).collect()
}
