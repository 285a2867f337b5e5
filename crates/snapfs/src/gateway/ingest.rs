//! Events on their way to the gateway.

use bytes::Bytes;
use serde::de::IgnoredAny;

use super::Gateway;
use super::call::CallError;

/// Longest answer of an ingest call; nothing in it matters.
const ANSWER: usize = 64 << 10;

/// Encoded events of one kind, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Events {
    /// JSON objects with a comma behind each.
    pub json: Vec<u8>,
    /// Where each event ends in `json`, behind its comma, and the size of its file in bytes.
    pub ends: Vec<(u32, u64)>,
    /// Each tells of a file.
    pub files: bool,
}

/// What the gateway made of events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Taken {
    /// Files it took.
    pub files: u64,
    /// Sum of their sizes in bytes.
    pub bytes: u64,
    /// Events it will never take.
    pub dropped: u64,
    /// Files among these.
    pub dropped_files: u64,
}

impl Events {
    /// An empty list of events that tell of files.
    pub fn of_files() -> Self {
        Self { files: true, ..Self::default() }
    }

    /// One event that tells of no file.
    pub fn one(json: Vec<u8>) -> Self {
        let mut events = Self { json, ..Self::default() };
        events.end(0);
        events
    }

    /// How many events there are.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// True without any.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// How many files they tell of.
    pub fn files(&self) -> u64 {
        if self.files { self.ends.len() as u64 } else { 0 }
    }

    /// Ends the event whose object was just written to `json`.
    pub fn end(&mut self, size: u64) {
        self.json.push(b',');
        // Bounded by what a batch may hold, far below 4 GiB.
        self.ends.push((self.json.len() as u32, size));
    }

    /// Moves `other` behind these.
    pub fn append(&mut self, other: &Self) {
        let base = self.json.len() as u32;
        self.json.extend_from_slice(&other.json);
        self.ends.extend(other.ends.iter().map(|(end, size)| (base + end, *size)));
    }

    /// Takes the first `count` off.
    pub fn split_to(&mut self, count: usize) -> Self {
        let count = count.min(self.len());
        let cut = self.start(count);
        let rest = self.json.split_off(cut);
        let json = std::mem::replace(&mut self.json, rest);
        let ends = self.ends.drain(..count).collect();
        for (end, _) in &mut self.ends {
            *end -= cut as u32;
        }
        Self { json, ends, files: self.files }
    }

    fn start(&self, index: usize) -> usize {
        index.checked_sub(1).and_then(|before| self.ends.get(before)).map_or(0, |(end, _)| *end as usize)
    }

    /// The body of a call with the events `from..to`.
    fn body(&self, from: usize, to: usize) -> Bytes {
        let json = &self.json[self.start(from)..self.start(to)];
        let mut body = Vec::with_capacity(json.len() + 16);
        body.extend_from_slice(b"{\"events\":[");
        // Without the comma behind the last one.
        body.extend_from_slice(json.strip_suffix(b",").unwrap_or(json));
        body.extend_from_slice(b"]}");
        body.into()
    }

    fn taken(&self, from: usize, to: usize) -> Taken {
        let count = if self.files { (to - from) as u64 } else { 0 };
        let bytes = self.ends[from..to].iter().map(|(_, size)| *size).fold(0, u64::saturating_add);
        Taken { files: count, bytes, ..Taken::default() }
    }
}

impl Gateway {
    /// Sends `events` to a subject. What the gateway refuses is searched for the events at fault, which are dropped and
    /// told to `problem`; all others arrive.
    ///
    /// An error says that some may have arrived and some not: all of them are to be sent again, which changes nothing
    /// for those that did.
    pub async fn ingest(
        &self,
        subject: &str,
        events: &Events,
        problem: &(dyn Fn(&str) + Sync),
    ) -> Result<Taken, CallError> {
        let mut taken = Taken::default();
        let mut parts = vec![(0, events.len())];
        while let Some((from, to)) = parts.pop() {
            match self.ingest_once(subject, events.body(from, to)).await {
                Ok(()) => {
                    let part = events.taken(from, to);
                    taken.files += part.files;
                    taken.bytes += part.bytes;
                }
                Err(CallError::Refused(_)) if to - from > 1 => {
                    let middle = from + (to - from) / 2;
                    parts.push((middle, to));
                    parts.push((from, middle));
                }
                Err(CallError::Refused(why)) => {
                    problem(&format!("an event is lost: {why}: {}", shown(&events.json[events.start(from)..])));
                    taken.dropped += 1;
                    taken.dropped_files += u64::from(events.files);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(taken)
    }

    /// One ingest call.
    async fn ingest_once(&self, subject: &str, body: Bytes) -> Result<(), CallError> {
        let subject = hostler_model::ByteStr::from(subject).to_query().replace('/', "%2F");
        let route = format!("/ingest?subject={subject}");
        let answer = self.call(&route, body, self.settings().waits.call, ANSWER).await?;
        match serde_json::from_slice::<IgnoredAny>(&answer) {
            Ok(IgnoredAny) => Ok(()),
            Err(error) => Err(CallError::Strange(format!(
                "{} answered /ingest with broken JSON ({error}); check that the URL is that of a SnapFS gateway",
                self.shown()
            ))),
        }
    }
}

/// The beginning of an event, for people.
fn shown(json: &[u8]) -> String {
    hostler_model::bytestr::display(&json[..json.len().min(300)]).into_owned()
}
