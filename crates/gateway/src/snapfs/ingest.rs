//! `POST /ingest`: what clients tell, kept and published (reference, sections 3.3 and 6).

use std::collections::HashMap;
use std::fmt;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::response::Response;
use hostler_model::ByteStr;
use serde::Deserialize;
use serde::de::{Deserializer, Error as _, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::access::Caller;
use super::body::{self, Bounded};
use super::events::{Event, Sent, Upsert};
use super::json;
use super::problems::{self, Problems, Step};
use super::sessions::Call;
use super::{paths, reply};
use crate::state::AppState;
use crate::store::StoreError;

/// Where events go when the client does not say it.
const DEFAULT_SUBJECT: &str = "snapfs.files";
/// Longest name of a subject or of a reading position.
const MAX_NAME: usize = 256;

/// Takes events; the answer comes when they are durable.
pub async fn ingest(
    State(state): State<AppState>,
    caller: Caller,
    query: Result<Query<HashMap<String, String>>, QueryRejection>,
    body: Bounded,
) -> Result<Response, Response> {
    const PATTERN: (&str, &str) = ("string_pattern_mismatch", "String should match pattern '^[A-Za-z0-9._-]{1,256}$'");
    const TOO_MANY: (&str, &str) = ("value_error", "Value error, there are as many subjects as a gateway keeps");
    let in_query = [Step::Name("query"), Step::Name("subject")];
    caller.write()?;
    let subject = query.ok().and_then(|Query(mut query)| query.remove("subject")).filter(|subject| !subject.is_empty());
    let subject = subject.unwrap_or_else(|| DEFAULT_SUBJECT.to_owned());
    if !is_name(&subject) {
        return Err(Problems::one(PATTERN, &in_query, None).reply());
    }
    let told = body::parse(body, parse).await?;
    let received = told.events.len();
    let call = Call {
        scope: caller.scope,
        address: caller.address,
        who: caller.who,
        subject: subject.clone(),
        message: told.message,
        events: told.events,
    };
    match state.snapfs.ingest(call).await {
        Ok(()) => {}
        Err(StoreError::TooMany { what: "SnapFS subjects", .. }) => {
            return Err(Problems::one(TOO_MANY, &in_query, None).reply());
        }
        Err(error) => return Err(reply::broken(&error)),
    }
    metrics::counter!("hostler_snapfs_events_total").increment(received as u64);
    // A name has no character that JSON escapes.
    Ok(reply::json(format!(r#"{{"status":"ok","received":{received},"subject":"{subject}"}}"#)))
}

/// Whether a subject or a reading position may be called so.
pub fn is_name(text: &str) -> bool {
    let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    (1..=MAX_NAME).contains(&text.len()) && text.bytes().all(fits)
}

/// What a call tells.
#[derive(Debug)]
struct Told {
    /// `{"events":[...]}` for consumers: the client's own text, but for paths that were not normal.
    message: Vec<u8>,
    events: Vec<Event>,
}

/// An event as nearly all clients write it: its type first.
enum Plain<'a> {
    Upsert(Box<Upsert>),
    Other(Envelope<'a>),
}

/// An event's type and data, as they were sent.
struct Envelope<'a> {
    kind: &'a RawValue,
    data: &'a RawValue,
}

impl<'de: 'a, 'a> Deserialize<'de> for Plain<'a> {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(field_identifier, rename_all = "lowercase")]
        enum Field {
            Type,
            Data,
            #[serde(other)]
            Other,
        }
        struct Fields;
        impl<'de> Visitor<'de> for Fields {
            type Value = Plain<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an event")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Plain<'de>, A::Error> {
                const OTHERWISE: &str = "written in another way";
                let (mut kind, mut read) = (None::<&RawValue>, None);
                while let Some(field) = map.next_key()? {
                    match (field, kind, &read) {
                        (Field::Type, None, _) => kind = Some(map.next_value()?),
                        (Field::Data, Some(kind), None) if kind.get() == r#""file.upsert""# => {
                            read = Some(Plain::Upsert(map.next_value()?));
                        }
                        (Field::Data, Some(kind), None) => {
                            read = Some(Plain::Other(Envelope { kind, data: map.next_value()? }));
                        }
                        (Field::Other, ..) => drop(map.next_value::<IgnoredAny>()?),
                        _ => return Err(A::Error::custom(OTHERWISE)),
                    }
                }
                read.ok_or_else(|| A::Error::custom(OTHERWISE))
            }
        }
        d.deserialize_map(Fields)
    }
}

fn parse(text: &str) -> Result<Told, Problems<'_>> {
    if let Some(told) = at_once(text)
        && json::is_plain(text, 1 + 2 * told.events.len())
    {
        return Ok(told);
    }
    json::check_depth(text)?;
    let (list, envelopes) = carefully(text)?;
    let list = list.get();
    let mut message = Vec::with_capacity(list.len() + 11);
    message.extend_from_slice(b"{\"events\":");
    let mut copied = 0;
    let mut events = Vec::with_capacity(envelopes.len());
    for envelope in envelopes {
        let (event, path) = Event::read(envelope.kind, envelope.data);
        events.push(event);
        if let Some((from, to)) = path {
            // Both are parts of one text, so where one lies in the other is the difference of their addresses.
            let start = from.get().as_ptr().addr() - list.as_ptr().addr();
            message.extend_from_slice(&list.as_bytes()[copied..start]);
            message.extend_from_slice(to.as_bytes());
            copied = start + from.get().len();
        }
    }
    message.extend_from_slice(&list.as_bytes()[copied..]);
    message.push(b'}');
    Ok(Told { message, events })
}

/// Reads a body in one pass, as nearly all clients write it: nothing but the events, types before data, paths in their normal
/// form. Only what is read so may be published as it came.
fn at_once(text: &str) -> Option<Told> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Body<'a> {
        #[serde(borrow)]
        events: Vec<Plain<'a>>,
    }
    let plain = serde_json::from_str::<Body<'_>>(text).ok()?.events;
    let mut events = Vec::with_capacity(plain.len());
    for event in plain {
        events.push(match event {
            Plain::Upsert(upsert) => {
                let path = upsert.path.as_ref().filter(|path| paths::normalise(path.as_bytes()).is_none())?;
                let sent = Sent(path.clone());
                Event::Upsert(upsert, sent)
            }
            Plain::Other(Envelope { kind, data }) => {
                if !kind.get().starts_with('"') || !data.get().starts_with('{') {
                    return None;
                }
                match Event::read(kind, data) {
                    (event, None) => event,
                    (_, Some(_)) => return None,
                }
            }
        });
    }
    Some(Told { message: text.trim().as_bytes().to_vec(), events })
}

/// The same field by field, with what is wrong.
fn carefully(text: &str) -> Result<(&RawValue, Vec<Envelope<'_>>), Problems<'_>> {
    let body: &RawValue = serde_json::from_str(text).map_err(|error| Problems::of(text, &error))?;
    let (in_body, in_events) = (Step::Name("body"), Step::Name("events"));
    let fields = json::fields(body).ok_or_else(|| Problems::one(problems::OBJECT, &[in_body], Some(body)))?;
    let list = fields.get(&b"events"[..]).copied();
    let list = list.ok_or_else(|| Problems::one(problems::MISSING, &[in_body, in_events], Some(body)))?;
    let events: Vec<&RawValue> = serde_json::from_str(list.get())
        .map_err(|_| Problems::one(problems::LIST, &[in_body, in_events], Some(list)))?;
    let mut problems = Problems::default();
    let mut envelopes = Vec::with_capacity(events.len());
    for (index, event) in events.into_iter().enumerate() {
        let at = [in_body, in_events, Step::Index(index)];
        let Some(fields) = json::fields(event) else {
            problems.add(problems::OBJECT, &at, Some(event));
            continue;
        };
        let mut field = |name: &'static str, first: char, what| {
            let at = [in_body, in_events, Step::Index(index), Step::Name(name)];
            let given = fields.get(name.as_bytes()).copied();
            match given {
                None => problems.add(problems::MISSING, &at, Some(event)),
                Some(raw) if !raw.get().starts_with(first) => problems.add(what, &at, Some(raw)),
                Some(raw) => return Some(raw),
            }
            None
        };
        let (kind, data) = (field("type", '"', problems::STRING), field("data", '{', problems::DICT));
        envelopes.extend(kind.zip(data).map(|(kind, data)| Envelope { kind, data }));
        if problems.is_full() {
            break;
        }
    }
    if problems.is_empty() { Ok((list, envelopes)) } else { Err(problems) }
}

impl Event {
    /// Reads an event from the texts of its `type` and its `data`. Where its path is not normal, also the text of that path
    /// in `data` and the one that takes its place.
    fn read<'a>(kind: &RawValue, data: &'a RawValue) -> (Self, Option<(&'a RawValue, String)>) {
        let known: String;
        let kind = match kind.get().trim_matches('"') {
            plain if !plain.contains('\\') => plain,
            // A name that no Rust string can hold is none that is known here.
            _ => {
                known = serde_json::from_str(kind.get()).unwrap_or_default();
                &known
            }
        };
        let of_scan = |make: fn(Box<super::events::ScanEvent>) -> Self| match super::events::read(data) {
            Ok(event) => make(Box::new(event)),
            Err(why) => Self::Unreadable(why),
        };
        let event = match kind {
            "file.upsert" => return upsert(data),
            "scan.started" => of_scan(Self::Started),
            "scan.telemetry" => of_scan(Self::Telemetry),
            "scan.error" => of_scan(Self::Error),
            "scan.completed" => of_scan(Self::Completed),
            "scan.failed" => of_scan(Self::Failed),
            "scan.cancelled" => of_scan(Self::Cancelled),
            _ => Self::Unknown,
        };
        (event, None)
    }
}

fn upsert(data: &RawValue) -> (Event, Option<(&RawValue, String)>) {
    let mut upsert: Upsert = match super::events::read(data) {
        Ok(upsert) => upsert,
        Err(why) => return (Event::Unreadable(why), None),
    };
    let Some(path) = &upsert.path else {
        return (Event::Unreadable("file.upsert without a path".to_owned()), None);
    };
    let sent = Sent(path.clone());
    if paths::normalise(path.as_bytes()).is_none() {
        return (Event::Upsert(Box::new(upsert), sent), None);
    }
    // In UTF-16, since surrogates of Windows names have no other form that comes out as it went in.
    let from = json::fields(data).and_then(|fields| fields.get(&b"path"[..]).copied());
    let replaced = from.and_then(|from| Some((from, json::literal(&paths::normalise(&json::units(from.get()))?))));
    if let Some(path) = replaced.as_ref().and_then(|(_, to)| serde_json::from_str::<ByteStr>(to).ok()) {
        upsert.path = Some(path);
    }
    (Event::Upsert(Box::new(upsert), sent), replaced)
}
