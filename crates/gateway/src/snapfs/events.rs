//! Events as SnapFS clients send them (reference, section 4). Clients of all releases are taken: what is not needed may be
//! missing or of another type, and is then as if it were not there.

use std::fmt;

use hostler_model::ByteStr;
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::json::Fields;

/// A number as clients send it: JSON integers and floats, and digits in a string. Anything else is [`Number::None`].
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Number {
    /// Not there, or no number.
    #[default]
    None,
    /// Fits 64 bits with a sign.
    Int(i64),
    /// Above that.
    Large(u64),
    /// With a fraction or an exponent.
    Float(f64),
}

impl Number {
    /// The whole number; a fraction is cut off.
    pub fn int(self) -> Option<i64> {
        match self {
            Self::Int(number) => Some(number),
            // `as` saturates.
            Self::Float(number) if number.is_finite() => Some(number as i64),
            Self::None | Self::Large(_) | Self::Float(_) => None,
        }
    }

    /// The whole number if it is not negative.
    pub fn unsigned(self) -> Option<u64> {
        match self {
            Self::Large(number) => Some(number),
            other => u64::try_from(other.int()?).ok(),
        }
    }

    /// A time in nanoseconds since the epoch. Below 10^11 it is seconds, else milliseconds (reference, section 2).
    pub fn time_ns(self) -> Option<i64> {
        const SECONDS_BELOW: i64 = 100_000_000_000;
        match self {
            Self::Int(n) if n.abs() < SECONDS_BELOW => n.checked_mul(1_000_000_000),
            Self::Int(n) => n.checked_mul(1_000_000),
            Self::Float(n) if n.is_finite() => {
                // Doubles near today's date are 0.2 us apart: what is finer is not there.
                let micros = if n.abs() < SECONDS_BELOW as f64 { n * 1e6 } else { n * 1e3 };
                (micros.round() as i64).checked_mul(1000)
            }
            Self::None | Self::Large(_) | Self::Float(_) => None,
        }
    }
}

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = Number;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number")
            }
            fn visit_i64<E>(self, number: i64) -> Result<Number, E> {
                Ok(Number::Int(number))
            }
            fn visit_u64<E>(self, number: u64) -> Result<Number, E> {
                Ok(i64::try_from(number).map_or(Number::Large(number), Number::Int))
            }
            fn visit_f64<E>(self, number: f64) -> Result<Number, E> {
                Ok(Number::Float(number))
            }
            fn visit_str<E>(self, text: &str) -> Result<Number, E> {
                let text = text.trim();
                let int = || text.parse().map(Number::Int).or_else(|_| text.parse().map(Number::Large));
                Ok(int().or_else(|_| text.parse().map(Number::Float)).unwrap_or_default())
            }
            fn visit_bool<E>(self, _: bool) -> Result<Number, E> {
                Ok(Number::None)
            }
            fn visit_unit<E>(self) -> Result<Number, E> {
                Ok(Number::None)
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Number, A::Error> {
                while items.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Number::None)
            }
            fn visit_map<A: MapAccess<'de>>(self, mut items: A) -> Result<Number, A::Error> {
                while items.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(Number::None)
            }
        }
        d.deserialize_any(Any)
    }
}

/// `file.upsert` (4.1).
#[derive(Clone, Debug, Default, serde::Deserialize)]
#[serde(default)]
pub struct Upsert {
    pub path: Option<ByteStr>,
    pub root_path: Option<ByteStr>,
    pub scan_id: Option<ByteStr>,
    pub size: Number,
    pub mtime: Number,
    pub ctime: Number,
    pub nlinks: Number,
    pub inode: Number,
    pub dev: Number,
    pub owner: Option<ByteStr>,
    pub group: Option<ByteStr>,
    pub uid: Number,
    pub gid: Number,
    pub mode: Number,
    pub algo: Option<ByteStr>,
    pub hash: Option<ByteStr>,
    pub is_deleted: Option<bool>,
}

/// What all events of a scan say of it, and how it goes on: `scan.started` (4.4), `scan.telemetry` (4.5), `scan.error` (4.6),
/// `scan.completed`, `scan.failed`, `scan.cancelled` (4.7).
#[derive(Clone, Debug, Default, serde::Deserialize)]
#[serde(default)]
pub struct ScanEvent {
    pub root_path: Option<ByteStr>,
    pub scan_id: Option<ByteStr>,
    pub hostname: Option<ByteStr>,
    pub user: Option<ByteStr>,
    pub started_at: Number,
    pub trigger_type: Option<ByteStr>,
    pub schedule_id: Option<ByteStr>,
    pub hash_algo: Option<ByteStr>,
    pub current_path: Option<ByteStr>,
    pub files_discovered: Number,
    pub files_total: Number,
    pub files_seen: Number,
    pub bytes_seen: Number,
    pub bytes_processed: Number,
    pub cache_hits: Number,
    pub hashed: Number,
    pub published: Number,
    pub hash_errors: Number,
    pub walk_errors: Number,
    pub permission_errors: Number,
    pub authoritative_for_deletes: Option<bool>,
    pub error: Option<ByteStr>,
    pub stage: Option<ByteStr>,
    pub path: Option<ByteStr>,
    pub message: Option<ByteStr>,
}

/// Fields of [`Upsert`] and [`ScanEvent`] that are text.
const TEXTS: [&str; 18] = [
    "path",
    "root_path",
    "scan_id",
    "owner",
    "group",
    "algo",
    "hash",
    "hostname",
    "user",
    "trigger_type",
    "schedule_id",
    "hash_algo",
    "current_path",
    "error",
    "stage",
    "message",
    "phase",
    "status",
];
/// Those that are true or false.
const FLAGS: [&str; 2] = ["is_deleted", "authoritative_for_deletes"];

/// Reads the data of an event. Fields of another type are as if they were not there, and of those that come twice the last
/// counts; why it cannot be read otherwise.
pub fn read<T: serde::de::DeserializeOwned>(data: &RawValue) -> Result<T, String> {
    if let Ok(read) = serde_json::from_str(data.get()) {
        return Ok(read);
    }
    let fields: Fields<'_> = serde_json::from_str(data.get()).map_err(|error| error.to_string())?;
    let mut text = String::from("{");
    for (name, value) in &fields {
        let Ok(name) = std::str::from_utf8(name.bytes()) else { continue };
        let readable = if TEXTS.contains(&name) {
            serde_json::from_str::<ByteStr>(value.get()).is_ok()
        } else if FLAGS.contains(&name) {
            matches!(value.get(), "true" | "false")
        } else {
            serde_json::from_str::<Number>(value.get()).is_ok()
        };
        if readable {
            let name = serde_json::to_string(name).map_err(|error| error.to_string())?;
            let comma = if text.len() > 1 { "," } else { "" };
            text.extend([comma, &name, ":", value.get()]);
        }
    }
    text.push('}');
    serde_json::from_str(&text).map_err(|error| error.to_string())
}

/// An event, read as far as the gateway needs it.
#[derive(Clone, Debug)]
pub enum Event {
    /// `file.upsert`; its path is normalised as consumers get it, with what was sent beside it.
    Upsert(Box<Upsert>, Sent),
    /// `scan.started`.
    Started(Box<ScanEvent>),
    /// `scan.telemetry`.
    Telemetry(Box<ScanEvent>),
    /// `scan.error`.
    Error(Box<ScanEvent>),
    /// `scan.completed`.
    Completed(Box<ScanEvent>),
    /// `scan.failed`.
    Failed(Box<ScanEvent>),
    /// `scan.cancelled`.
    Cancelled(Box<ScanEvent>),
    /// Consumers may know it.
    Unknown,
    /// Of a type that is known, and its data cannot be read: why.
    Unreadable(String),
}

/// A path as the client sent it, before it was normalised.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sent(pub ByteStr);
