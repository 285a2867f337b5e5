//! What a scan and the agent are told alike.

use std::path::PathBuf;
use std::time::Duration;

use hostler_model::Algorithm;

use super::urls::Base;
use super::{ConfigError, Environment, text};
use crate::settings::{Credentials, GatewaySettings, ScanSettings, Secret, Waits};

/// More files in one call than any gateway must take.
const BATCH_MAX: usize = 10_000;
/// More threads than any disk feeds.
const WORKERS_MAX: usize = 256;

/// Flags that `snapfs scan` and `snapfs agent` share, and ours. `None` where nothing was typed.
#[derive(Clone, Debug, Default)]
pub struct Flags {
    /// `-g`, `--gateway`
    pub gateway: Option<String>,
    /// `-t`, `--token`
    pub token: Option<Secret>,
    /// `--api-key`
    pub api_key: Option<Secret>,
    /// `--algo`
    pub algorithm: Option<Algorithm>,
    /// `--workers`
    pub workers: Option<usize>,
    /// `--hash-chunk-size`, in bytes
    pub hash_chunk_size: Option<u64>,
    /// `--exclude`
    pub excludes: Vec<String>,
    /// `--one-file-system`
    pub one_file_system: bool,
    /// `--spool`, or the program's default
    pub spool: PathBuf,
    /// `--spool-size` in bytes, or the program's default
    pub spool_bytes: u64,
}

/// The settings of one scan: an explicit token wins over an API key.
///
/// # Errors
/// [`ConfigError`]: no gateway, or a value that cannot be used.
pub fn scan_settings(flags: &Flags, env: Environment<'_>) -> Result<(GatewaySettings, ScanSettings), ConfigError> {
    let url = match &flags.gateway {
        Some(url) => url.clone(),
        None => text(env, "SNAPFS_GATEWAY")?.ok_or(ConfigError::NoGateway)?,
    };
    let base = Base::parse(&url, "-g or SNAPFS_GATEWAY")?;
    let credentials = match (token(flags, env)?, api_key(flags, env)?) {
        (Some(token), _) => Credentials::Token(token),
        (None, Some(key)) => Credentials::ApiKey(key),
        (None, None) => Credentials::None,
    };
    Ok((gateway(flags, env, base.http(), credentials)?, scan(flags, env)?))
}

/// The token that was typed, else the variable's.
pub(super) fn token(flags: &Flags, env: Environment<'_>) -> Result<Option<Secret>, ConfigError> {
    secret(&flags.token, env, "SNAPFS_TOKEN")
}

/// The API key that was typed, else the variable's.
pub(super) fn api_key(flags: &Flags, env: Environment<'_>) -> Result<Option<Secret>, ConfigError> {
    secret(&flags.api_key, env, "SNAPFS_API_KEY")
}

fn secret(flag: &Option<Secret>, env: Environment<'_>, name: &'static str) -> Result<Option<Secret>, ConfigError> {
    match flag.clone().filter(|secret| !secret.expose().is_empty()) {
        Some(secret) => Ok(Some(secret)),
        None => Ok(text(env, name)?.map(Secret::new)),
    }
}

pub(super) fn gateway(
    flags: &Flags,
    env: Environment<'_>,
    http: String,
    credentials: Credentials,
) -> Result<GatewaySettings, ConfigError> {
    // Here alone an empty variable says something: ask for no scope.
    let scopes = match env("SNAPFS_SCANNER_TOKEN_SCOPES") {
        Some(list) => list.into_string().map_err(|_| ConfigError::NotUtf8("SNAPFS_SCANNER_TOKEN_SCOPES"))?,
        None => "ingest:write".to_owned(),
    };
    Ok(GatewaySettings {
        http,
        credentials,
        scopes: scopes.split(',').map(str::trim).filter(|s| !s.is_empty()).map(str::to_owned).collect(),
        subject: text(env, "SNAPFS_SUBJECT")?.unwrap_or_else(|| "snapfs.files".to_owned()),
        events_subject: text(env, "SNAPFS_EVENTS_SUBJECT")?.unwrap_or_else(|| "snapfs.events".to_owned()),
        spool: flags.spool.clone(),
        spool_bytes: flags.spool_bytes,
        waits: Waits::default(),
    })
}

pub(super) fn scan(flags: &Flags, env: Environment<'_>) -> Result<ScanSettings, ConfigError> {
    let algorithm = match flags.algorithm {
        Some(algorithm) => algorithm,
        None => algorithm(env)?,
    };
    // `snapfs` takes its default where these two make no sense.
    let lax = |name| Ok(text(env, name)?.and_then(|value| value.parse().ok()).filter(|n: &u64| *n > 0));
    let workers = match flags.workers {
        Some(workers) => workers,
        None => lax("SNAPFS_HASH_WORKERS")?.and_then(|n| usize::try_from(n).ok()).unwrap_or(1),
    };
    let hash_chunk_size = match flags.hash_chunk_size {
        Some(bytes) => bytes,
        None => lax("SNAPFS_HASH_CHUNK_SIZE")?.unwrap_or(1024 * 1024),
    };
    let interval = number::<i64>(env, "SNAPFS_SCAN_TELEMETRY_INTERVAL_SEC")?.unwrap_or(10);
    Ok(ScanSettings {
        algorithm,
        workers: workers.clamp(1, WORKERS_MAX),
        hash_chunk_size: hash_chunk_size.max(1),
        probe_batch: batch(env, "SNAPFS_PROBE_BATCH")?,
        publish_batch: batch(env, "SNAPFS_PUBLISH_BATCH")?,
        telemetry_interval: u64::try_from(interval).ok().filter(|s| *s > 0).map(Duration::from_secs),
        excludes: flags.excludes.clone(),
        one_file_system: flags.one_file_system,
    })
}

fn algorithm(env: Environment<'_>) -> Result<Algorithm, ConfigError> {
    let Some(value) = text(env, "SNAPFS_HASH_ALGO")? else { return Ok(Algorithm::Sha1) };
    match value.to_ascii_lowercase().parse() {
        Ok(Algorithm::Blake3) | Err(_) => {
            Err(ConfigError::Variable { name: "SNAPFS_HASH_ALGO", value, why: "use sha1, sha256 or xxh64" })
        }
        Ok(algorithm) => Ok(algorithm),
    }
}

fn batch(env: Environment<'_>, name: &'static str) -> Result<usize, ConfigError> {
    let size = number::<usize>(env, name)?.unwrap_or(200);
    if size == 0 {
        return Err(ConfigError::Variable { name, value: "0".to_owned(), why: "a batch has a file at least" });
    }
    Ok(size.min(BATCH_MAX))
}

/// A variable's number.
pub(super) fn number<N: std::str::FromStr>(env: Environment<'_>, name: &'static str) -> Result<Option<N>, ConfigError> {
    let Some(value) = text(env, name)? else { return Ok(None) };
    match value.parse() {
        Ok(number) => Ok(Some(number)),
        Err(_) => Err(ConfigError::Variable { name, value, why: "this should be a whole number" }),
    }
}
