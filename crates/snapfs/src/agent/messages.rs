//! What is said on the socket: one JSON object per text frame.
//!
//! Both generations of gateways are understood alike, and lax: a field of another type counts as missing. What is sent
//! differs:
//!
//! | | first | second |
//! |---|---|---|
//! | capabilities | objects with `id`, `kind`, `root` | strings |
//! | hello | `agent_id`, `agent_type`, `version` | also root, type, concurrency, what it is busy with |
//! | refusals | with `agent_id`, `status` | bare |
//! | busy | `"status":"busy"`, "Scan already in progress" | "Agent is busy running another scan." |
//!
//! Texts and paths keep names that are not UTF-8: every message is a plain struct, see `hostler_model::bytestr`.

use hostler_model::ByteStr;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::config::{AgentSettings, Generation};
use crate::outcome::ScanReport;
use crate::settings::Trigger;

/// What the first generation calls a command without an id.
const UNKNOWN: &str = "unknown";
const OUTSIDE: &str = "Scan root does not exist or is not a directory below this agent's root";
const UNMATCHED: &str = "No active scan matched cancel request.";

/// What a gateway says.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Received {
    Ping,
    Pong,
    Scan(ScanRequest),
    Cancel {
        command_id: Option<String>,
        scan_id: Option<String>,
    },
    /// A type that is not known, or none.
    Unknown,
    /// No JSON object.
    Garbage,
}

/// `SCAN_TARGET`
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct ScanRequest {
    pub command_id: Option<String>,
    /// `None` for the agent's own.
    pub root: Option<ByteStr>,
    pub scan_id: Option<String>,
    pub trigger: Trigger,
    pub schedule_id: Option<String>,
    pub force: bool,
}

#[derive(Deserialize)]
struct Frame<'a> {
    #[serde(borrow, rename = "type")]
    kind: Option<&'a RawValue>,
    #[serde(borrow)]
    command_id: Option<&'a RawValue>,
    #[serde(borrow)]
    scan_id: Option<&'a RawValue>,
    #[serde(borrow)]
    target: Option<&'a RawValue>,
    #[serde(borrow)]
    options: Option<&'a RawValue>,
}

#[derive(Default, Deserialize)]
struct Target<'a> {
    #[serde(borrow)]
    root: Option<&'a RawValue>,
    #[serde(borrow)]
    scan_id: Option<&'a RawValue>,
    #[serde(borrow)]
    trigger_type: Option<&'a RawValue>,
    #[serde(borrow)]
    schedule_id: Option<&'a RawValue>,
}

#[derive(Default, Deserialize)]
struct Options<'a> {
    #[serde(borrow)]
    force: Option<&'a RawValue>,
}

/// A value of the type asked for; `None` for any other.
fn value<'a, T: Deserialize<'a>>(raw: Option<&'a RawValue>) -> Option<T> {
    raw.and_then(|raw| serde_json::from_str(raw.get()).ok())
}

/// An id: a string that is not empty, or a whole number.
fn id(raw: Option<&RawValue>) -> Option<String> {
    value::<String>(raw).or_else(|| value::<i64>(raw).map(|n| n.to_string())).filter(|text| !text.is_empty())
}

impl Received {
    pub(super) fn parse(text: &str) -> Self {
        let Ok(frame) = serde_json::from_str::<Frame<'_>>(text) else { return Self::Garbage };
        // An array would do for serde.
        if !text.trim_start().starts_with('{') {
            return Self::Garbage;
        }
        match value::<String>(frame.kind).as_deref() {
            Some("PING") => Self::Ping,
            Some("PONG") => Self::Pong,
            Some("SCAN_CANCEL") => Self::Cancel { command_id: id(frame.command_id), scan_id: id(frame.scan_id) },
            Some("SCAN_TARGET") => {
                let target: Target<'_> = value(frame.target).unwrap_or_default();
                let options: Options<'_> = value(frame.options).unwrap_or_default();
                Self::Scan(ScanRequest {
                    command_id: id(frame.command_id),
                    root: value::<ByteStr>(target.root).filter(|root| !root.is_empty()),
                    scan_id: id(target.scan_id),
                    trigger: value::<String>(target.trigger_type).map(|w| Trigger::from_word(&w)).unwrap_or_default(),
                    schedule_id: id(target.schedule_id),
                    force: value(options.force).unwrap_or_default(),
                })
            }
            _ => Self::Unknown,
        }
    }
}

/// A scan that was asked for, as its replies name it.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    pub command_id: Option<String>,
    pub scan_id: String,
    /// As the gateway named it.
    pub root: ByteStr,
    pub trigger: Trigger,
    pub schedule_id: Option<String>,
}

#[derive(Serialize)]
struct Capability<'a> {
    id: &'static str,
    kind: &'static str,
    root: &'a ByteStr,
}

#[derive(Serialize)]
struct FirstHello<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    agent_id: &'a str,
    agent_type: &'static str,
    version: &'static str,
    capabilities: [Capability<'a>; 1],
}

#[derive(Serialize)]
struct SecondHello<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    agent_id: &'a str,
    agent_type: &'static str,
    version: &'static str,
    capabilities: [&'static str; 1],
    root_path: &'a ByteStr,
    scanner_type: &'a str,
    max_concurrency: u64,
    busy: bool,
    active_scan_ids: &'a [&'a str],
}

#[derive(Serialize)]
struct Summary<'a> {
    files: u64,
    bytes: u64,
    cache_hits: u64,
    hashed: u64,
    published: u64,
    scan_id: &'a str,
}

#[derive(Serialize)]
struct Complete<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    command_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    scan_id: Option<&'a str>,
    root: &'a ByteStr,
    took_s: f64,
    summary: Summary<'a>,
    trigger_type: &'static str,
    schedule_id: Option<&'a str>,
}

/// `SCAN_ERROR` and `SCAN_CANCELLED`.
#[derive(Serialize)]
struct Refusal<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    command_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    scan_id: Option<Option<&'a str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    agent_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    root: Option<&'a ByteStr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<&'static str>,
    error: &'a str,
}

/// Builds what is sent, as the gateway's generation has it.
pub(super) struct Words<'a>(pub &'a AgentSettings);

impl Words<'_> {
    pub(super) fn hello(&self, active: &[&str]) -> String {
        let settings = self.0;
        let (kind, agent_id, agent_type, version) =
            ("AGENT_HELLO", settings.agent_id.as_str(), "scanner", env!("CARGO_PKG_VERSION"));
        match settings.generation {
            Generation::First => json(&FirstHello {
                kind,
                agent_id,
                agent_type,
                version,
                capabilities: [Capability { id: "default-fs", kind: "fs", root: &settings.root }],
            }),
            Generation::Second => json(&SecondHello {
                kind,
                agent_id,
                agent_type,
                version,
                capabilities: ["scan.fs"],
                root_path: &settings.root,
                scanner_type: &settings.scanner_type,
                max_concurrency: settings.max_concurrency,
                busy: !active.is_empty(),
                active_scan_ids: active,
            }),
        }
    }

    pub(super) fn busy(&self, command_id: Option<&str>) -> String {
        json(&match self.0.generation {
            Generation::First => {
                Refusal { status: Some("busy"), ..self.refusal("SCAN_ERROR", command_id, "Scan already in progress") }
            }
            Generation::Second => {
                let command_id = Some(command_id.unwrap_or_default());
                self.refusal("SCAN_ERROR", command_id, "Agent is busy running another scan.")
            }
        })
    }

    /// The root cannot be scanned: in the same words whether it lies outside or is not there.
    pub(super) fn outside(&self, asked: &Asked) -> String {
        let text = format!("{OUTSIDE}: {}", asked.root.display());
        json(&Refusal { root: Some(&asked.root), ..self.refusal("SCAN_ERROR", Some(self.command_id(asked)), &text) })
    }

    pub(super) fn failed(&self, asked: &Asked, why: &str) -> String {
        self.end("SCAN_ERROR", asked, why)
    }

    pub(super) fn cancelled(&self, asked: &Asked, by_operator: bool) -> String {
        self.end("SCAN_CANCELLED", asked, if by_operator { "canceled by operator" } else { "scan interrupted" })
    }

    pub(super) fn complete(&self, asked: &Asked, report: &ScanReport, seconds: f64) -> String {
        json(&Complete {
            kind: "SCAN_COMPLETE",
            command_id: self.command_id(asked),
            scan_id: differing(asked),
            root: &asked.root,
            took_s: (seconds * 1000.0).round() / 1000.0,
            summary: Summary {
                files: report.files,
                bytes: report.bytes_published,
                cache_hits: report.cache_hits,
                hashed: report.hashed,
                published: report.published,
                scan_id: &asked.scan_id,
            },
            trigger_type: asked.trigger.word(),
            schedule_id: asked.schedule_id.as_deref(),
        })
    }

    /// A cancel that names no scan of ours.
    pub(super) fn unmatched(&self, command_id: Option<&str>, scan_id: Option<&str>) -> String {
        json(&Refusal { scan_id: Some(scan_id), ..self.refusal("SCAN_ERROR", command_id, UNMATCHED) })
    }

    fn end(&self, kind: &'static str, asked: &Asked, text: &str) -> String {
        json(&Refusal {
            scan_id: differing(asked).map(Some),
            root: Some(&asked.root),
            ..self.refusal(kind, Some(self.command_id(asked)), text)
        })
    }

    fn refusal<'b>(&'b self, kind: &'static str, command_id: Option<&'b str>, error: &'b str) -> Refusal<'b> {
        let first = self.0.generation == Generation::First;
        Refusal {
            kind,
            command_id,
            scan_id: None,
            agent_id: first.then_some(self.0.agent_id.as_str()),
            root: None,
            status: (first && kind == "SCAN_ERROR").then_some("error"),
            error,
        }
    }

    fn command_id<'b>(&self, asked: &'b Asked) -> &'b str {
        match (&asked.command_id, self.0.generation) {
            (Some(id), _) => id,
            (None, Generation::First) => UNKNOWN,
            (None, Generation::Second) => "",
        }
    }
}

/// The scan's id, when it is not the command's.
fn differing(asked: &Asked) -> Option<&str> {
    (asked.command_id.as_deref() != Some(&asked.scan_id)).then_some(asked.scan_id.as_str())
}

fn json(message: &impl Serialize) -> String {
    // Structs of texts and numbers have no way to fail.
    serde_json::to_string(message).unwrap_or_default()
}

#[cfg(test)]
mod tests;
