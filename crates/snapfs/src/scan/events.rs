//! The events of a scan, as JSON.

use std::io::{self, Write as _};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{SystemTime, UNIX_EPOCH};

use hostler_files::owners;
use hostler_model::bytestr::display;

use super::json;
use super::tally::{Shown, Tally};
use crate::settings::{ScanSettings, ScanTarget};

/// Seconds since the epoch.
pub fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |age| age.as_secs_f64())
}

/// What opens every event of a scan, and what does not change in it.
#[derive(Debug)]
pub struct Identity {
    /// The identity fields as members of a JSON object, with a comma behind.
    identity: Vec<u8>,
    /// The fields `hash_algo`, `hash_workers` and `hash_chunk_size`, likewise without a comma.
    hashing: Vec<u8>,
    /// `root_path` and `scan_id` with a comma behind, for each file.
    pub file: Vec<u8>,
    pub root: Vec<u8>,
    started_at: f64,
}

/// One error.
pub struct ErrorEvent<'a> {
    pub observed_at: f64,
    pub stage: &'a str,
    pub path: &'a [u8],
    pub source: &'a io::Error,
}

/// How a scan ended, or that it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    Started,
    Running,
    Completed,
    Cancelled,
    Failed,
}

impl Identity {
    /// For a scan that starts now.
    pub fn new(settings: &ScanSettings, target: &ScanTarget) -> Self {
        let started_at = now();
        let mut file = Vec::new();
        text(&mut file, "root_path", target.root.as_bytes());
        text(&mut file, "scan_id", target.scan_id.as_bytes());
        let mut identity = file.clone();
        text(&mut identity, "hostname", rustix::system::uname().nodename().to_bytes());
        let uid = rustix::process::geteuid().as_raw();
        let user = owners::user_name(uid).unwrap_or_else(|| uid.to_string());
        text(&mut identity, "user", user.as_bytes());
        number(&mut identity, "pid", std::process::id());
        time(&mut identity, "started_at", started_at);
        text(&mut identity, "trigger_type", target.trigger.word().as_bytes());
        match &target.schedule_id {
            Some(id) => text(&mut identity, "schedule_id", id.as_bytes()),
            None => identity.extend_from_slice(b"\"schedule_id\":null,"),
        }
        let mut hashing = Vec::new();
        text(&mut hashing, "hash_algo", settings.algorithm.name().as_bytes());
        number(&mut hashing, "hash_workers", settings.workers.max(1));
        number(&mut hashing, "hash_chunk_size", settings.hash_chunk_size);
        hashing.pop();
        Self { identity, hashing, file, root: target.root.as_bytes().to_vec(), started_at }
    }

    /// `scan.started`.
    pub fn started(&self, tally: &Tally) -> Vec<u8> {
        let mut out = self.open("scan.started");
        self.progress(&mut out, tally, Phase::Started);
        self.close(out)
    }

    /// `scan.telemetry`. `unpublished`: files that did not arrive, so far.
    pub fn telemetry(&self, tally: &Tally, phase: Phase, unpublished: u64) -> Vec<u8> {
        let get = |counter: &AtomicU64| counter.load(Relaxed);
        let mut out = self.open("scan.telemetry");
        let status = match phase {
            Phase::Started | Phase::Running => "running",
            Phase::Completed => "completed",
            Phase::Cancelled => "canceled",
            Phase::Failed => "failed",
        };
        text(&mut out, "status", status.as_bytes());
        let report = tally.report(unpublished);
        number(&mut out, "files_total", report.files);
        number(&mut out, "bytes_published", report.bytes_published);
        self.counters(&mut out, tally, phase, unpublished);
        let elapsed = (now() - self.started_at).max(0.001);
        rate(&mut out, "elapsed_sec", elapsed);
        rate(&mut out, "files_per_sec", report.hashed.max(report.published) as f64 / elapsed);
        let bytes = tally.bytes_processed().max(get(&tally.bytes_published));
        rate(&mut out, "bytes_per_sec", bytes as f64 / elapsed);
        self.progress(&mut out, tally, phase);
        self.close(out)
    }

    /// `scan.completed`, `scan.cancelled` or `scan.failed`; the latter two with an `error`.
    pub fn ended(&self, tally: &Tally, phase: Phase, unpublished: u64, error: Option<&str>) -> Vec<u8> {
        let mut out = self.open(match phase {
            Phase::Cancelled => "scan.cancelled",
            Phase::Failed => "scan.failed",
            _ => "scan.completed",
        });
        time(&mut out, "finished_at", now());
        let report = tally.report(unpublished);
        number(&mut out, "files_seen", report.files);
        number(&mut out, "bytes_seen", report.bytes);
        if let Some(error) = error {
            text(&mut out, "error", error.as_bytes());
        }
        self.counters(&mut out, tally, phase, unpublished);
        self.progress(&mut out, tally, phase);
        self.close(out)
    }

    /// `scan.error`, without closing the list it is in.
    pub fn error(&self, out: &mut Vec<u8>, event: &ErrorEvent<'_>) {
        use io::ErrorKind::*;
        let (category, class) = match event.source.kind() {
            PermissionDenied => ("permission", "PermissionError"),
            NotFound => ("not_found", "FileNotFoundError"),
            IsADirectory => ("is_directory", "IsADirectoryError"),
            NotADirectory => ("not_directory", "NotADirectoryError"),
            TimedOut => ("timeout", "TimeoutError"),
            _ if event.source.raw_os_error().is_some() => ("os_error", "OSError"),
            _ => ("runtime", "RuntimeError"),
        };
        out.extend_from_slice(b"{\"type\":\"scan.error\",\"data\":{");
        out.extend_from_slice(&self.identity);
        time(out, "observed_at", event.observed_at);
        text(out, "stage", event.stage.as_bytes());
        text(out, "path", &super::item::join(&self.root, event.path));
        text(out, "category", category.as_bytes());
        text(out, "exception_type", class.as_bytes());
        text(out, "message", display(event.source.to_string().as_bytes()).as_bytes());
        match event.source.raw_os_error() {
            Some(errno) => number(out, "errno", errno),
            None => out.extend_from_slice(b"\"errno\":null,"),
        }
        out.pop();
        out.extend_from_slice(b"}}");
    }

    fn open(&self, kind: &str) -> Vec<u8> {
        let mut out = Vec::with_capacity(1024);
        let _ = write!(out, "{{\"type\":\"{kind}\",\"data\":{{");
        out.extend_from_slice(&self.identity);
        out
    }

    /// Counters of telemetry and of a scan's end, with a comma behind.
    fn counters(&self, out: &mut Vec<u8>, tally: &Tally, phase: Phase, unpublished: u64) {
        let report = tally.report(unpublished);
        number(out, "cache_hits", report.cache_hits);
        number(out, "hashed", report.hashed);
        number(out, "published", report.published);
        number(out, "hash_errors", report.hash_errors);
        number(out, "walk_errors", report.walk_errors);
        number(out, "permission_errors", report.permission_errors);
        let whole = report.walk_errors + report.permission_errors + unpublished == 0
            && !matches!(phase, Phase::Cancelled | Phase::Failed);
        let _ = write!(out, "\"authoritative_for_deletes\":{whole},");
    }

    /// The progress fields, with no comma behind.
    fn progress(&self, out: &mut Vec<u8>, tally: &Tally, phase: Phase) {
        let get = |counter: &AtomicU64| counter.load(Relaxed);
        let (word, shown) = match phase {
            Phase::Started => ("walking", Shown { path: Some(self.root.clone()), ..Shown::default() }),
            Phase::Running => {
                let word = match (get(&tally.jobs) > 0, tally.walked.load(Relaxed)) {
                    (true, _) => "hashing",
                    (false, false) => "walking",
                    (false, true) => "publishing",
                };
                (word, tally.shown(&self.root))
            }
            Phase::Completed => ("completed", Shown::default()),
            Phase::Cancelled => ("canceled", Shown::default()),
            Phase::Failed => ("failed", Shown::default()),
        };
        text(out, "phase", word.as_bytes());
        number(out, "files_discovered", get(&tally.files));
        number(out, "bytes_hashed", get(&tally.bytes_hashed));
        number(out, "bytes_processed", tally.bytes_processed());
        number(out, "hash_jobs_active", get(&tally.jobs));
        number(out, "bytes_hashing", get(&tally.job_bytes));
        match &shown.path {
            Some(path) => text(out, "current_path", path),
            None => out.extend_from_slice(b"\"current_path\":null,"),
        }
        number(out, "current_size", shown.size);
        number(out, "current_offset", shown.offset);
        out.extend_from_slice(&self.hashing);
    }

    fn close(&self, mut out: Vec<u8>) -> Vec<u8> {
        out.extend_from_slice(b"}}");
        out
    }
}

fn key(out: &mut Vec<u8>, key: &str) {
    let _ = write!(out, "\"{key}\":");
}

fn text(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    key(out, name);
    json::string(out, value);
    out.push(b',');
}

fn number(out: &mut Vec<u8>, name: &str, value: impl itoa::Integer) {
    key(out, name);
    json::int(out, value);
    out.push(b',');
}

fn time(out: &mut Vec<u8>, name: &str, value: f64) {
    key(out, name);
    json::seconds(out, value);
    out.push(b',');
}

fn rate(out: &mut Vec<u8>, name: &str, value: f64) {
    let _ = write!(out, "\"{name}\":{value:.3},");
}
