//! Follows a linked host's journal: each of its events is kept once, whatever happens to the link or the gateway.
//!
//! ```text
//! position ─> Follow ─> records ─ append_host_events commits ─> Acknowledge ─> live readers
//!                          ^                                        │
//!                          └────────────────────────────────────────┘
//! ```
//!
//! When Acknowledge is lost, the host keeps its records longer; when the link is, the next one begins at what was committed.

use std::time::Duration;

use connectrpc::ConnectError;
use connectrpc::client::CallOptions;
use hostler_api::{decode_event, v1};
use hostler_link::LinkClient;
use hostler_model::{HostId, Timestamp};

use crate::clock;
use crate::events::{Event, Events};
use crate::store::{HostEventRecord, Severity, Store, StoreError};

/// An answer holds about 64 KiB of records.
const MAX_ANSWER: usize = 1 << 20;
/// Very small records are many in that; a host sends about two thousand at most.
const MAX_RECORDS: usize = 10_000;
/// How long a host may take to acknowledge.
const CALL_TIMEOUT: Duration = Duration::from_secs(15);
/// Bounds of what a host says, in characters.
const MAX_KIND: usize = 64;
const MAX_SUBJECT: usize = 4096;
const MAX_MESSAGE: usize = 1000;
const MAX_DATA: usize = 8 << 10;
/// The last second that RFC 3339 can show in every time zone.
const LAST_MICROS: i64 = 253_402_207_200_000_000;

/// Why a journal is not followed any more.
#[derive(Debug, thiserror::Error)]
pub enum FollowError {
    /// The link ended, or the host answered with an error.
    #[error("the host's journal cannot be read: {0}")]
    Call(#[from] ConnectError),
    /// The host does not do as it should.
    #[error("the host sent {0}")]
    Invalid(&'static str),
    /// The events were not kept.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Follows the journal of `host` until its agent stops or the link ends.
///
/// # Errors
/// [`FollowError`] for anything else; what was kept until then is kept, and the next call goes on from there.
pub async fn follow(store: &dyn Store, events: &Events, host: HostId, client: &LinkClient) -> Result<(), FollowError> {
    let service = v1::JournalServiceClient::new(client.clone(), client.config());
    let (mut journal, mut position) = match store.journal_position(host).await? {
        Some((journal, position)) => (Some(journal), position),
        None => (None, 0),
    };
    let request = v1::FollowRequest {
        journal_id: journal.map(Vec::from).unwrap_or_default(),
        after: position,
        ..Default::default()
    };
    // It has no end of its own, so it has no deadline; a dead link is found by the link.
    let options = CallOptions::default().with_max_message_size(MAX_ANSWER);
    let mut stream = service.follow_with_options(request, options).await.map_err(|e| client.map_error(e))?;
    while let Some(answer) = stream.message().await.map_err(|e| client.map_error(e))? {
        let answer = answer.to_owned_message();
        let (id, through, records) = checked(answer)?;
        if journal == Some(id) && through <= position {
            continue;
        }
        let kept = store.append_host_events(host, id, records, through).await?;
        (journal, position) = (Some(id), through);
        let done = v1::AcknowledgeRequest { journal_id: id.to_vec(), seq: through, ..Default::default() };
        let options = CallOptions::default().with_timeout(CALL_TIMEOUT);
        service.acknowledge_with_options(done, options).await.map_err(|e| client.map_error(e))?;
        metrics::counter!("hostler_host_events_total").increment(kept.new);
        for event in kept.newest {
            events.send(Event::Activity(Box::new(event)));
        }
    }
    match stream.error() {
        Some(error) => Err(client.map_error(error.clone()).into()),
        None => Ok(()),
    }
}

/// The journal, the last number the answer covers, and its records in order.
fn checked(answer: v1::FollowResponse) -> Result<([u8; 16], u64, Vec<HostEventRecord>), FollowError> {
    let id = answer.journal_id.try_into().map_err(|_| FollowError::Invalid("a journal id that is not 16 bytes"))?;
    let through =
        answer.next_seq.checked_sub(1).filter(|through| i64::try_from(*through).is_ok() && *through >= answer.after);
    let through = through.ok_or(FollowError::Invalid("a position before the one it began at"))?;
    if answer.records.len() > MAX_RECORDS {
        return Err(FollowError::Invalid("too many records at once"));
    }
    let mut last = answer.after;
    let mut records = Vec::with_capacity(answer.records.len());
    for wire in answer.records {
        if wire.seq <= last || wire.seq > through {
            return Err(FollowError::Invalid("records out of order"));
        }
        last = wire.seq;
        records.push(record(&wire));
    }
    Ok((id, through, records))
}

/// What a host says is shown in tables and kept: it may not fill them, and it may not be what it is not.
fn record(wire: &v1::Record) -> HostEventRecord {
    let Some(event) = decode_event(&wire.event) else {
        return HostEventRecord {
            seq: wire.seq,
            at: clock::now(),
            kind: "journal.unreadable".into(),
            severity: Severity::Warning,
            subject: String::new(),
            message: "an event of this host could not be read; its agent may be newer than this gateway".into(),
            data: String::new(),
        };
    };
    let word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '_' | '-');
    let known = !event.kind.is_empty() && event.kind.len() <= MAX_KIND && event.kind.chars().all(word);
    let is_object = |text: &str| serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(text).is_ok();
    HostEventRecord {
        seq: wire.seq,
        at: Timestamp::from_micros(event.at_us.clamp(0, LAST_MICROS)),
        kind: if known { event.kind } else { "unknown".into() },
        severity: u8::try_from(event.severity).ok().and_then(Severity::from_code).unwrap_or(Severity::Info),
        subject: bounded(&event.subject, MAX_SUBJECT),
        message: bounded(&event.message, MAX_MESSAGE),
        data: if event.data_json.len() <= MAX_DATA && is_object(&event.data_json) {
            event.data_json
        } else {
            String::new()
        },
    }
}

fn bounded(text: &str, max: usize) -> String {
    text.chars().filter(|c| !c.is_control()).take(max).collect()
}

#[cfg(test)]
mod tests;
