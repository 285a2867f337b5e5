//! `POST /cache/batch`: which hashes are known (reference, sections 3.2, 5.2 and 5.3).

use axum::extract::State;
use axum::response::Response;
use hostler_model::{Algorithm, ByteStr, ContentHash};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::access::Caller;
use super::body::{self, Bounded};
use super::cache_key;
use super::events::Number;
use super::json;
use super::problems::{self, Problems, Step};
use super::reply;
use crate::state::AppState;
use crate::store::CacheKey;

/// About the longest answer to one probe, bytes.
const ANSWER_BYTES: usize = 112;

/// A probe as nearly all clients send it. What does not fit this is looked at field by field.
#[derive(Deserialize)]
struct Probe {
    path: ByteStr,
    size: Number,
    mtime: Number,
    #[serde(default)]
    inode: Option<Number>,
    #[serde(default)]
    dev: Option<Number>,
}

/// Answers each probe, in their order. A store that fails knows nothing: the client hashes the files.
pub async fn answer(State(state): State<AppState>, caller: Caller, body: Bounded) -> Result<Response, Response> {
    caller.write()?;
    let keys = body::parse(body, parse).await?;
    let count = keys.len();
    let found = state.store.snapfs_probe(&caller.scope, keys).await.unwrap_or_else(|error| {
        tracing::warn!(%error, scope = caller.scope, "SnapFS probes were answered as if nothing was known");
        vec![None; count]
    });
    metrics::counter!("hostler_snapfs_probes_total").increment(count as u64);
    metrics::counter!("hostler_snapfs_hits_total").increment(found.iter().flatten().count() as u64);
    Ok(reply::json(written(&found)))
}

fn written(found: &[Option<(Algorithm, ContentHash)>]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut out = String::with_capacity(2 + found.len() * ANSWER_BYTES);
    out.push('[');
    for (index, answer) in found.iter().enumerate() {
        if index > 0 {
            out.push(',');
        }
        match answer {
            None => out.push_str(r#"{"status":"MISS","algo":null,"hash":null}"#),
            Some((algorithm, hash)) => {
                out.push_str(r#"{"status":"HIT","algo":""#);
                out.push_str(algorithm.name());
                out.push_str(r#"","hash":""#);
                for byte in hash.as_bytes() {
                    out.push(DIGITS[usize::from(byte >> 4)] as char);
                    out.push(DIGITS[usize::from(byte & 15)] as char);
                }
                out.push_str("\"}");
            }
        }
    }
    out.push(']');
    out
}

/// The keys that a body asks for.
fn parse(text: &str) -> Result<Vec<CacheKey>, Problems<'_>> {
    if let Ok(probes) = serde_json::from_str::<Vec<Probe>>(text)
        && let Some(keys) = probes.into_iter().map(key).collect::<Option<Vec<_>>>()
        && json::is_plain(text, keys.len())
    {
        return Ok(keys);
    }
    json::check_depth(text)?;
    let body: &RawValue = serde_json::from_str(text).map_err(|error| Problems::of(text, &error))?;
    let Ok(probes) = serde_json::from_str::<Vec<&RawValue>>(body.get()) else {
        return Err(Problems::one(problems::LIST, &[Step::Name("body")], Some(body)));
    };
    let mut problems = Problems::default();
    let mut keys = Vec::with_capacity(probes.len());
    for (index, probe) in probes.into_iter().enumerate() {
        keys.extend(checked(probe, index, &mut problems));
        if problems.is_full() {
            break;
        }
    }
    if problems.is_empty() { Ok(keys) } else { Err(problems) }
}

fn key(probe: Probe) -> Option<CacheKey> {
    let whole = |number| match number {
        Number::Int(int) => Some(int),
        Number::Float(float) if float.fract() == 0.0 && float.abs() < 1e18 => Some(float as i64),
        _ => None,
    };
    // An inode that is no whole number is a problem to be told.
    let id = |number: Option<Number>| match number {
        None => Some(None),
        Some(Number::Large(large)) => Some(Some(large)),
        Some(number) => whole(number).map(|int| u64::try_from(int).ok()),
    };
    Some(CacheKey {
        inode: cache_key::inode(id(probe.dev)?, id(probe.inode)?),
        path: probe.path,
        size: u64::try_from(whole(probe.size)?).ok()?,
        mtime: whole(probe.mtime)?,
    })
}

/// A probe, field by field; `None` when something was added to `problems`.
fn checked<'a>(probe: &'a RawValue, index: usize, problems: &mut Problems<'a>) -> Option<CacheKey> {
    const NEGATIVE: (&str, &str) = ("greater_than_equal", "Input should be greater than or equal to 0");
    const TOO_LARGE: (&str, &str) = ("less_than_equal", "Input should be less than or equal to 9223372036854775807");
    const TOO_SMALL: (&str, &str) =
        ("greater_than_equal", "Input should be greater than or equal to -9223372036854775808");
    const NUL: (&str, &str) = ("value_error", "Value error, a path cannot hold a NUL character");
    let at = |name| [Step::Name("body"), Step::Index(index), Step::Name(name)];
    let Some(fields) = json::fields(probe) else {
        problems.add(problems::OBJECT, &[Step::Name("body"), Step::Index(index)], Some(probe));
        return None;
    };
    let given = |name: &str| fields.get(name.as_bytes()).copied();
    let path = match given("path") {
        None => Err((problems::MISSING, probe)),
        Some(path) if !path.get().starts_with('"') => Err((problems::STRING, path)),
        Some(path) => serde_json::from_str::<ByteStr>(path.get()).map_err(|_| (NUL, path)),
    };
    let required = |name: &str, least: (&'static str, &'static str), bound: i128| match given(name) {
        None => Err((problems::MISSING, probe)),
        Some(raw) => match json::int(raw) {
            Ok(int) if int < bound => Err((least, raw)),
            Ok(int) => i64::try_from(int).map_err(|_| (TOO_LARGE, raw)),
            Err(what) => Err((what, raw)),
        },
    };
    // What is beyond 64 bits is no inode of any file.
    let optional = |name: &str| match given(name).filter(|raw| raw.get() != "null") {
        None => Ok(None),
        Some(raw) => json::int(raw).map(|int| u64::try_from(int).ok()).map_err(|what| (what, raw)),
    };
    let mut told = |name, (what, input)| problems.add(what, &at(name), Some(input));
    let path = path.map_err(|problem| told("path", problem));
    let size = required("size", NEGATIVE, 0).map_err(|problem| told("size", problem));
    let mtime = required("mtime", TOO_SMALL, i64::MIN.into()).map_err(|problem| told("mtime", problem));
    let inode = optional("inode").map_err(|problem| told("inode", problem));
    let dev = optional("dev").map_err(|problem| told("dev", problem));
    let (Ok(path), Ok(size), Ok(mtime), Ok(inode), Ok(dev)) = (path, size, mtime, inode, dev) else { return None };
    Some(CacheKey { inode: cache_key::inode(dev, inode), path, size: size.unsigned_abs(), mtime })
}
