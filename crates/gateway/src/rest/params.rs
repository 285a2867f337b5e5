//! Reading requests: queries whose paths are bytes, JSON bodies, ids in paths. What is wrong is said, by name.

use std::fmt::Display;
use std::str::FromStr;

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{FromRequest, FromRequestParts, Path, Request};
use axum::http::StatusCode;
use axum::http::request::Parts;
use hostler_model::{ByteStr, HostId, Timestamp, time};
use serde::de::DeserializeOwned;

use super::ApiError;
use crate::clock;
use crate::store::{PageRequest, Store};

const MAX_PAIRS: usize = 64;
const MAX_LIMIT: u32 = 1000;
const DEFAULT_LIMIT: u32 = 100;

/// A query. Each value is taken out by name; [`Params::end`] refuses what is left.
#[derive(Default)]
pub struct Params(Vec<(String, ByteStr)>);

impl<S: Send + Sync> FromRequestParts<S> for Params {
    type Rejection = ApiError;
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let raw = parts.uri.query().unwrap_or_default();
        let pairs: Vec<_> = raw
            .split('&')
            .filter(|pair| !pair.is_empty())
            .take(MAX_PAIRS + 1)
            .map(|pair| {
                let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
                (ByteStr::from_query(name).display().into_owned(), ByteStr::from_query(value))
            })
            .collect();
        if pairs.len() > MAX_PAIRS {
            return Err(ApiError::bad_request(format!("more than {MAX_PAIRS} query parameters")));
        }
        Ok(Self(pairs))
    }
}

impl Params {
    /// The first value of this name.
    pub fn bytes(&mut self, name: &str) -> Option<ByteStr> {
        let at = self.0.iter().position(|(n, _)| n == name)?;
        Some(self.0.remove(at).1)
    }

    /// All values of this name.
    pub fn all(&mut self, name: &str) -> Result<Vec<String>, ApiError> {
        let mut values = Vec::new();
        while let Some(value) = self.text(name)? {
            values.push(value);
        }
        Ok(values)
    }

    /// The first value of this name, as text.
    pub fn text(&mut self, name: &str) -> Result<Option<String>, ApiError> {
        self.bytes(name)
            .map(|value| String::from_utf8(value.into_bytes()).map_err(|_| wrong(name, "it is not UTF-8")))
            .transpose()
    }

    /// The first value of this name, parsed.
    pub fn parsed<T>(&mut self, name: &str) -> Result<Option<T>, ApiError>
    where
        T: FromStr,
        T::Err: Display,
    {
        self.with(name, |text| text.parse().map_err(|e: T::Err| e.to_string()))
    }

    /// The first value of this name, read by `parse`.
    pub fn with<T>(&mut self, name: &str, parse: impl Fn(&str) -> Result<T, String>) -> Result<Option<T>, ApiError> {
        self.text(name)?.map(|text| parse(&text).map_err(|e| wrong(name, &e))).transpose()
    }

    /// An instant: an age such as `7d`, or an RFC 3339 time.
    pub fn instant(&mut self, name: &str) -> Result<Option<Timestamp>, ApiError> {
        self.with(name, |text| match time::parse_age(text) {
            Ok(seconds) => {
                let age = i64::try_from(seconds).unwrap_or(i64::MAX).saturating_mul(1_000_000);
                Ok(Timestamp::from_micros(clock::now().micros().saturating_sub(age)))
            }
            Err(_) => Timestamp::parse(text)
                .map_err(|_| format!("{text:?} is neither an age such as 7d nor an RFC 3339 time")),
        })
    }

    /// `true` and `1`, or `false` and `0`.
    pub fn flag(&mut self, name: &str) -> Result<bool, ApiError> {
        let parse = |text: &str| match text {
            "true" | "1" | "" => Ok(true),
            "false" | "0" => Ok(false),
            _ => Err("use true or false".to_owned()),
        };
        Ok(self.with(name, parse)?.unwrap_or(false))
    }

    /// `limit` and `cursor`.
    pub fn page(&mut self) -> Result<PageRequest, ApiError> {
        let limit = self.parsed::<u32>("limit")?.unwrap_or(DEFAULT_LIMIT);
        if !(1..=MAX_LIMIT).contains(&limit) {
            return Err(wrong("limit", &format!("use 1 to {MAX_LIMIT}")));
        }
        Ok(PageRequest { limit, cursor: self.text("cursor")? })
    }

    /// `host`: an id or a name.
    pub async fn host(&mut self, store: &dyn Store) -> Result<Option<HostId>, ApiError> {
        match self.text("host")? {
            Some(text) if !text.is_empty() => find_host(store, &text).await.map(Some),
            _ => Ok(None),
        }
    }

    /// As [`Params::host`]; the id may be one that is not known any more.
    pub async fn past_host(&mut self, store: &dyn Store) -> Result<Option<HostId>, ApiError> {
        match self.text("host")? {
            Some(text) if !text.is_empty() => match text.parse() {
                Ok(id) => Ok(Some(id)),
                Err(_) => find_host(store, &text).await.map(Some),
            },
            _ => Ok(None),
        }
    }

    /// As [`Params::host`]; without one, the only host there is.
    pub async fn one_host(&mut self, store: &dyn Store) -> Result<HostId, ApiError> {
        if let Some(host) = self.host(store).await? {
            return Ok(host);
        }
        match store.hosts().await?.as_slice() {
            [only] => Ok(only.id),
            _ => Err(ApiError::bad_request("which host is meant? there is not exactly one")
                .hint("add host=NAME, or --host NAME on the command line")),
        }
    }

    /// An absolute path that must be there.
    pub fn absolute(&mut self, name: &str) -> Result<ByteStr, ApiError> {
        self.maybe_absolute(name)?.ok_or_else(|| wrong(name, "it is missing"))
    }

    /// An absolute path, when there is one.
    pub fn maybe_absolute(&mut self, name: &str) -> Result<Option<ByteStr>, ApiError> {
        match self.bytes(name) {
            Some(path) if !path.as_bytes().starts_with(b"/") => Err(wrong(name, "it must be an absolute path")),
            path => Ok(path),
        }
    }

    /// Refuses parameters that nobody took.
    pub fn end(self) -> Result<(), ApiError> {
        match self.0.first() {
            None => Ok(()),
            Some((name, _)) => Err(wrong(name, "it is not known here, or there twice")),
        }
    }
}

/// The host of this id or name.
pub async fn find_host(store: &dyn Store, text: &str) -> Result<HostId, ApiError> {
    if let Ok(id) = text.parse() {
        return Ok(store.host(id).await?.id);
    }
    let hosts = store.hosts().await?;
    let mut named = hosts.iter().filter(|h| h.name == text);
    match (named.next(), named.next()) {
        (Some(host), None) => Ok(host.id),
        (Some(_), Some(_)) => Err(ApiError::bad_request(format!("two hosts are named {text:?}; use the id"))),
        (None, _) => Err(ApiError::new(StatusCode::NOT_FOUND, "not_found", format!("no host is named {text:?}"))
            .hint("`hostler hosts list` shows them")),
    }
}

fn wrong(name: &str, why: &str) -> ApiError {
    ApiError::bad_request(format!("query parameter {name}: {why}"))
}

/// A JSON body.
pub struct Body<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Body<T> {
    type Rejection = ApiError;
    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let bytes = Bytes::from_request(request, state).await.map_err(|e: BytesRejection| match e.status() {
            StatusCode::PAYLOAD_TOO_LARGE => ApiError::new(e.status(), "too_large", "the body is larger than 256 KiB"),
            status => ApiError::new(status, "bad_body", "the body could not be read to its end"),
        })?;
        let wrong = |why: &dyn Display| {
            ApiError::new(StatusCode::BAD_REQUEST, "bad_json", format!("the body is not what this route takes: {why}"))
                .hint("GET /api/openapi.json describes it")
        };
        let text = std::str::from_utf8(&bytes).map_err(|e| wrong(&e))?;
        serde_json::from_str(text).map(Self).map_err(|e| wrong(&e))
    }
}

/// An id in the path.
pub struct Id<T>(pub T);

impl<S, T> FromRequestParts<S> for Id<T>
where
    S: Send + Sync,
    T: FromStr,
    T::Err: Display,
{
    type Rejection = ApiError;
    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let Path(text) =
            Path::<String>::from_request_parts(parts, state).await.map_err(|e| ApiError::bad_request(e.body_text()))?;
        text.parse().map(Self).map_err(|e: T::Err| ApiError::bad_request(e.to_string()))
    }
}
