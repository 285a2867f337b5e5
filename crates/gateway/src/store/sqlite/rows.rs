//! Columns to model types. A value that no version of this program writes is reported, never guessed.

use std::str::FromStr;

use hostler_model::{ByteStr, Timestamp};
use rusqlite::Row;
use rusqlite::types::Type;

use super::cursor;
use crate::store::{Page, PageRequest, Result};

/// A column that holds an id, a state or a role as text.
pub fn parsed<T>(row: &Row<'_>, column: &str) -> rusqlite::Result<T>
where
    T: FromStr,
    T::Err: std::fmt::Display,
{
    let text: String = row.get(column)?;
    text.parse().map_err(|error: T::Err| corrupt(column, error.to_string()))
}

/// A column that holds JSON.
pub fn json<T: serde::de::DeserializeOwned>(row: &Row<'_>, column: &str) -> rusqlite::Result<T> {
    let text: String = row.get(column)?;
    serde_json::from_str(&text).map_err(|error| corrupt(column, error.to_string()))
}

/// A column that holds a number from a table of codes.
pub fn coded<T>(row: &Row<'_>, column: &str, decode: fn(u8) -> Option<T>) -> rusqlite::Result<T> {
    let code: u8 = row.get(column)?;
    decode(code).ok_or_else(|| corrupt(column, format!("unknown code {code}")))
}

/// A column that holds a name or a path.
pub fn path(row: &Row<'_>, column: &str) -> rusqlite::Result<ByteStr> {
    Ok(ByteStr::from(row.get::<_, Vec<u8>>(column)?))
}

/// A column that holds microseconds.
pub fn time(row: &Row<'_>, column: &str) -> rusqlite::Result<Timestamp> {
    row.get(column).map(Timestamp::from_micros)
}

/// A column that holds microseconds or nothing.
pub fn optional_time(row: &Row<'_>, column: &str) -> rusqlite::Result<Option<Timestamp>> {
    Ok(row.get::<_, Option<i64>>(column)?.map(Timestamp::from_micros))
}

/// 64 bits that the store keeps as a signed integer: device and inode numbers use all of them.
pub fn unsigned(row: &Row<'_>, column: &str) -> rusqlite::Result<u64> {
    Ok(row.get::<_, i64>(column)? as u64)
}

/// The page of a list that is kept in the order of a sequence number.
pub fn page_by_seq<T>(rows: Vec<(i64, T)>, page: &PageRequest) -> Page<T> {
    let more = rows.len() > page.limit as usize;
    let mut last = 0;
    let items = rows
        .into_iter()
        .take(page.limit as usize)
        .map(|(seq, item)| {
            last = seq;
            item
        })
        .collect();
    Page { items, next: more.then(|| cursor::encode(&[last.into()])) }
}

/// The sequence number after which a page starts.
pub fn seq_after(page: &PageRequest) -> Result<i64> {
    match &page.cursor {
        None => Ok(-1),
        Some(text) => match cursor::decode(text, 1)?.first() {
            Some(rusqlite::types::Value::Integer(seq)) => Ok(*seq),
            _ => Err(crate::store::StoreError::BadCursor(text.clone())),
        },
    }
}

fn corrupt(column: &str, why: String) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(0, Type::Text, format!("column {column}: {why}").into())
}
