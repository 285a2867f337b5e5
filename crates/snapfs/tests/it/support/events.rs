//! Events as section 4 of the protocol has them: every field, of its type, and no other.

use hostler_model::ByteStr;
use serde::Deserialize;
use serde_json::value::RawValue;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Body {
    pub events: Vec<Event>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Event {
    #[serde(rename = "type")]
    pub kind: String,
    pub data: Box<RawValue>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Probe {
    pub path: ByteStr,
    pub size: u64,
    pub mtime: i64,
    pub inode: Option<u64>,
    pub dev: Option<u64>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Upsert {
    pub root_path: ByteStr,
    pub scan_id: String,
    pub seen_at: f64,
    pub path: ByteStr,
    pub dir: ByteStr,
    pub name: ByteStr,
    pub ext: ByteStr,
    #[serde(rename = "type")]
    pub kind: String,
    pub size: u64,
    pub fsize_du: u64,
    pub mtime: i64,
    pub atime: i64,
    pub ctime: i64,
    pub nlinks: u64,
    pub inode: Option<u64>,
    pub dev: Option<u64>,
    pub owner: Option<String>,
    pub group: Option<String>,
    pub uid: Option<u32>,
    pub gid: Option<u32>,
    pub mode: u32,
    pub algo: Option<String>,
    pub hash: Option<String>,
}

/// Declares a scan-level event: the identity and progress fields, and its own.
macro_rules! scan_event {
    ($name:ident { $($field:ident: $type:ty,)* }) => {
        #[derive(Clone, Debug, Deserialize)]
        #[serde(deny_unknown_fields)]
        #[allow(dead_code, reason = "that it has every field is what is tested")]
        pub struct $name {
            pub root_path: ByteStr,
            pub scan_id: String,
            pub hostname: String,
            pub user: String,
            pub pid: u32,
            pub started_at: f64,
            pub trigger_type: String,
            pub schedule_id: Option<String>,
            $(pub $field: $type,)*
        }
    };
}

macro_rules! with_progress {
    ($name:ident { $($field:ident: $type:ty,)* }) => {
        scan_event!($name {
            phase: String,
            files_discovered: u64,
            bytes_hashed: u64,
            bytes_processed: u64,
            hash_jobs_active: u64,
            bytes_hashing: u64,
            current_path: Option<ByteStr>,
            current_size: u64,
            current_offset: u64,
            hash_algo: String,
            hash_workers: u64,
            hash_chunk_size: u64,
            $($field: $type,)*
        });
    };
}

with_progress!(Started {});

with_progress!(Telemetry {
    status: String,
    files_total: u64,
    cache_hits: u64,
    hashed: u64,
    published: u64,
    bytes_published: u64,
    hash_errors: u64,
    walk_errors: u64,
    permission_errors: u64,
    authoritative_for_deletes: bool,
    elapsed_sec: f64,
    files_per_sec: f64,
    bytes_per_sec: f64,
});

with_progress!(Completed {
    finished_at: f64,
    files_seen: u64,
    bytes_seen: u64,
    cache_hits: u64,
    hashed: u64,
    published: u64,
    hash_errors: u64,
    walk_errors: u64,
    permission_errors: u64,
    authoritative_for_deletes: bool,
});

with_progress!(Broken {
    finished_at: f64,
    files_seen: u64,
    bytes_seen: u64,
    cache_hits: u64,
    hashed: u64,
    published: u64,
    hash_errors: u64,
    walk_errors: u64,
    permission_errors: u64,
    authoritative_for_deletes: bool,
    error: String,
});

scan_event!(ScanError {
    observed_at: f64,
    stage: String,
    path: ByteStr,
    category: String,
    exception_type: String,
    message: String,
    errno: Option<i32>,
});

#[derive(Clone, Debug)]
pub enum Parsed {
    Upsert(Box<Upsert>),
    Started(Box<Started>),
    Telemetry(Box<Telemetry>),
    Completed(Box<Completed>),
    Cancelled(Box<Broken>),
    Failed(Box<Broken>),
    Error(Box<ScanError>),
}

impl Parsed {
    pub fn of(event: &Event) -> Self {
        let text = event.data.get();
        fn parse<'a, T: Deserialize<'a>>(text: &'a str) -> Box<T> {
            Box::new(serde_json::from_str(text).unwrap_or_else(|error| panic!("{error} in {text}")))
        }
        match event.kind.as_str() {
            "file.upsert" => Self::Upsert(parse(text)),
            "scan.started" => Self::Started(parse(text)),
            "scan.telemetry" => Self::Telemetry(parse(text)),
            "scan.completed" => Self::Completed(parse(text)),
            "scan.cancelled" => Self::Cancelled(parse(text)),
            "scan.failed" => Self::Failed(parse(text)),
            "scan.error" => Self::Error(parse(text)),
            other => panic!("an event {other:?}"),
        }
    }

    pub fn scan_id(&self) -> &str {
        match self {
            Self::Upsert(e) => &e.scan_id,
            Self::Started(e) => &e.scan_id,
            Self::Telemetry(e) => &e.scan_id,
            Self::Completed(e) => &e.scan_id,
            Self::Cancelled(e) | Self::Failed(e) => &e.scan_id,
            Self::Error(e) => &e.scan_id,
        }
    }

    pub fn word(&self) -> &'static str {
        match self {
            Self::Upsert(_) => "upsert",
            Self::Started(_) => "started",
            Self::Telemetry(_) => "telemetry",
            Self::Completed(_) => "completed",
            Self::Cancelled(_) => "cancelled",
            Self::Failed(_) => "failed",
            Self::Error(_) => "error",
        }
    }

    /// The subject it belongs to.
    pub fn subject(&self) -> &'static str {
        if matches!(self, Self::Telemetry(_) | Self::Error(_)) { "snapfs.events" } else { "snapfs.files" }
    }
}
