//! What happened: on hosts (their journals), to the gateway, and by whom (the audit log).

use hostler_model::{HostId, Role, Timestamp};
use serde::Serialize;

use super::words::words;

words! {
    /// How much an event matters.
    Severity, "severity" {
        /// As it should be.
        Info = "info",
        /// Somebody should look at it.
        Warning = "warning",
        /// Something failed.
        Error = "error",
    }
}

impl Severity {
    /// The number on the wire and in the store; 1 to 3.
    pub const fn code(self) -> u8 {
        self as u8 + 1
    }

    /// From the number on the wire.
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.get(usize::from(code.checked_sub(1)?)).copied()
    }
}

words! {
    /// Who told of an event.
    EventSource, "source" {
        /// The host's journal.
        Host = "host",
        /// The gateway itself.
        Gateway = "gateway",
    }
}

/// One record of a host's journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostEventRecord {
    /// Its number in the journal; starts at 1 and only grows.
    pub seq: u64,
    /// When it happened, by the host's clock.
    pub at: Timestamp,
    /// Words joined by dots: `scan.completed`.
    pub kind: String,
    /// How much it matters.
    pub severity: Severity,
    /// What it is about, such as a path; may be empty.
    pub subject: String,
    /// One sentence for people.
    pub message: String,
    /// More, as JSON text; empty when there is none.
    pub data: String,
}

/// What [`super::Store::append_host_events`] kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AppendedEvents {
    /// Records that were not kept before.
    pub new: u64,
    /// The newest of all rows that this made, gaps included, oldest first, for those who watch live; at most
    /// [`MAX_ANNOUNCED`].
    pub newest: Vec<ActivityEvent>,
}

/// Rows of one append that are handed on to live readers: more, nobody can read.
pub const MAX_ANNOUNCED: usize = 100;

/// Something the gateway itself noticed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewEvent {
    /// About which host.
    pub host: Option<HostId>,
    /// When.
    pub at: Timestamp,
    /// Words joined by dots: `host.linked`.
    pub kind: String,
    /// How much it matters.
    pub severity: Severity,
    /// What it is about; may be empty.
    pub subject: String,
    /// One sentence for people.
    pub message: String,
    /// More, as JSON text; empty when there is none.
    pub data: String,
}

impl NewEvent {
    /// An event about a host, now.
    pub fn of_host(host: HostId, kind: &str, severity: Severity, message: String) -> Self {
        Self { host: Some(host), ..Self::of_gateway(kind, severity, message) }
    }

    /// An event about no host, now.
    pub fn of_gateway(kind: &str, severity: Severity, message: String) -> Self {
        Self {
            host: None,
            at: crate::clock::now(),
            kind: kind.to_owned(),
            severity,
            subject: String::new(),
            message,
            data: String::new(),
        }
    }
}

/// An event as it is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct ActivityEvent {
    /// Grows with each event that arrives.
    pub id: i64,
    /// About which host.
    pub host: Option<HostId>,
    /// That host's name.
    pub host_name: Option<String>,
    /// When it happened, by the clock of its source.
    pub at: Timestamp,
    /// When the gateway kept it.
    pub received_at: Timestamp,
    /// Who told of it.
    pub source: EventSource,
    /// Words joined by dots: `scan.completed`.
    pub kind: String,
    /// How much it matters.
    pub severity: Severity,
    /// What it is about; may be empty.
    pub subject: String,
    /// One sentence for people.
    pub message: String,
    /// More, by kind.
    pub data: Option<serde_json::Value>,
}

/// Which events. Empty fields do not restrict.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ActivityFilter {
    /// Only about this host.
    pub host: Option<HostId>,
    /// The kind is this, or starts with this and a dot.
    pub kind: Option<String>,
    /// At least as severe.
    pub min_severity: Option<Severity>,
    /// Happened at or after.
    pub since: Option<Timestamp>,
    /// Happened before.
    pub until: Option<Timestamp>,
    /// Subject or message holds this; ASCII letters in either case.
    pub text: Option<String>,
}

words! {
    /// How somebody proved who they are.
    Via, "way in" {
        /// A browser's session.
        Web = "web",
        /// An API key.
        Key = "key",
        /// The local socket.
        Socket = "socket",
        /// Not yet anybody: signing in, or joining with a token.
        SignIn = "sign-in",
    }
}

words! {
    /// How an action ended.
    AuditResult, "result" {
        /// Done.
        Ok = "ok",
        /// Not allowed, or not accepted: nothing was changed.
        Refused = "refused",
        /// It went wrong.
        Failed = "failed",
    }
}

/// Who did what: a line of the audit log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct AuditEntry {
    /// Grows; 0 before the entry is kept.
    pub id: i64,
    /// When.
    pub at: Timestamp,
    /// A user's, a key's or a socket peer's name; the name that was tried when signing in failed.
    pub who: String,
    /// What they may do; `None` when they were nobody.
    pub role: Option<Role>,
    /// Where from: an address, or `local socket`.
    pub from: String,
    /// How they proved who they are.
    pub via: Via,
    /// What they did: `hosts.remove`.
    pub action: String,
    /// To which host.
    pub host: Option<HostId>,
    /// That host's name then.
    pub host_name: String,
    /// To what: an id, a name, a path; may be empty.
    pub target: String,
    /// How it ended.
    pub result: AuditResult,
    /// More for people; may be empty. Never a secret.
    pub detail: String,
}

/// Which entries of the audit log. Empty fields do not restrict.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuditFilter {
    /// The name holds this; ASCII letters in either case.
    pub who: Option<String>,
    /// The action is this, or starts with this and a dot.
    pub action: Option<String>,
    /// Only to this host.
    pub host: Option<HostId>,
    /// At or after.
    pub since: Option<Timestamp>,
    /// Before.
    pub until: Option<Timestamp>,
    /// How it ended.
    pub result: Option<AuditResult>,
}

/// Events kept; the oldest go first.
pub const MAX_ACTIVITY: i64 = 1_000_000;

/// Seconds an entry of the audit log is kept: two years.
pub const AUDIT_SECONDS: i64 = 2 * 366 * 86_400;
