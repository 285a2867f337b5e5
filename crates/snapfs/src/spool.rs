//! What a gateway could not take yet, on disk.
//!
//! A gateway's directory has a *lane* per scan that needed one: a journal of its calls. A lane belongs to one owner at a time,
//! who holds its journal's lock; whoever comes next sends what is in it, the oldest lane first, and removes it. Lanes are made
//! and removed under the lock of the gateway's directory, so that none is removed while another process opens it.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hostler_journal::{Durability, Journal, JournalError, JournalSettings, MAX_PAYLOAD};

use crate::gateway::Events;

/// A record has a flag before its part of a call.
const PART: usize = MAX_PAYLOAD - 1;
const FIRST: u8 = 1;
const LAST: u8 = 2;

/// Room beyond the bound for a scan's last event, which is small and closes what came before it.
const RESERVE: u64 = 1 << 20;

/// Longest call that is put together again: more than any that is written.
const LONGEST_CALL: usize = 64 << 20;

/// The spool of one gateway.
#[derive(Clone, Debug)]
pub struct Spool {
    dir: PathBuf,
    limit: u64,
}

/// A call that was kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpooledCall {
    /// Where to.
    pub subject: String,
    /// What.
    pub events: Events,
}

/// Calls of one scan, in order.
#[derive(Debug)]
pub struct Lane {
    dir: PathBuf,
    journal: Journal,
    /// Read up to here.
    read: u64,
}

impl Spool {
    /// Below `dir`, for the gateway at `url`; at most `limit` bytes. Touches nothing yet.
    pub fn new(dir: &Path, url: &str, limit: u64) -> Self {
        Self { dir: dir.join(dir_name(url)), limit }
    }

    /// The names of all lanes, oldest first.
    pub fn lanes(&self) -> io::Result<Vec<String>> {
        let entries = match std::fs::read_dir(&self.dir) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut names = Vec::new();
        for entry in entries {
            let name = entry?.file_name().to_string_lossy().into_owned();
            if name.starts_with(|c: char| c.is_ascii_digit()) {
                names.push(name);
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    /// Takes a lane; `None` when somebody else has it, or it is gone.
    pub fn claim(&self, name: &str) -> io::Result<Option<Lane>> {
        let _lock = self.lock()?;
        let dir = self.dir.join(name);
        if !dir.is_dir() {
            return Ok(None);
        }
        match self.open(dir) {
            Ok(lane) => Ok(Some(lane)),
            Err(JournalError::InUse { .. }) => Ok(None),
            Err(error) => Err(io::Error::other(error)),
        }
    }

    /// Makes a lane, after all others.
    pub fn create(&self) -> io::Result<Lane> {
        let mut builder = DirBuilder::new();
        builder.recursive(true).mode(0o700).create(&self.dir)?;
        let _lock = self.lock()?;
        let last = self.lanes()?.pop().and_then(|name| name.parse::<u64>().ok()).unwrap_or(0);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |age| age.as_micros());
        let number = u64::try_from(now).unwrap_or(0).max(last.saturating_add(1));
        self.open(self.dir.join(format!("{number:020}"))).map_err(io::Error::other)
    }

    /// Removes a lane that is not needed any more.
    pub fn remove(&self, lane: Lane) -> io::Result<()> {
        let _lock = self.lock()?;
        let Lane { dir, journal, .. } = lane;
        drop(journal);
        std::fs::remove_dir_all(dir)
    }

    /// True when `bytes` more fit within the bound. `last`: a scan's last event may use the reserve.
    pub fn has_room(&self, bytes: usize, last: bool) -> bool {
        let limit = if last { self.limit.saturating_add(RESERVE) } else { self.limit };
        self.used().saturating_add(bytes as u64) <= limit
    }

    fn used(&self) -> u64 {
        let lanes = self.lanes().unwrap_or_default();
        let files = lanes.iter().filter_map(|lane| std::fs::read_dir(self.dir.join(lane)).ok()).flatten().flatten();
        files.filter_map(|file| file.metadata().ok()).map(|data| data.len()).sum()
    }

    /// Files in lanes that nobody has in hand. Reads them all.
    pub fn files(&self) -> io::Result<u64> {
        let mut files = 0;
        for name in self.lanes()? {
            let Some(mut lane) = self.claim(&name)? else { continue };
            while let Some((call, through)) = lane.peek().map_err(io::Error::other)? {
                files += call.events.files();
                lane.read = through;
            }
        }
        Ok(files)
    }

    fn open(&self, dir: PathBuf) -> Result<Lane, JournalError> {
        let settings = JournalSettings {
            dir: dir.clone(),
            // Never reached: there the journal would drop the oldest, while the spool refuses the newest.
            max_bytes: self.limit.saturating_mul(2).saturating_add(64 << 20),
            segment_bytes: (self.limit / 8).clamp(4 * MAX_PAYLOAD as u64, 4 << 20),
            flush_every: Duration::from_millis(100),
        };
        let journal = Journal::open(settings)?;
        let read = journal.status().acknowledged;
        Ok(Lane { dir, journal, read })
    }

    fn lock(&self) -> io::Result<File> {
        let file =
            OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(self.dir.join("lock"))?;
        file.lock()?;
        Ok(file)
    }
}

impl Lane {
    /// Keeps a call behind the others; on the disk when it returns.
    pub fn append(&self, call: &SpooledCall) -> Result<(), JournalError> {
        let bytes = call.encode();
        let mut parts = bytes.chunks(PART).peekable();
        let mut flag = FIRST;
        while let Some(part) = parts.next() {
            let last = parts.peek().is_none();
            let mut record = Vec::with_capacity(part.len() + 1);
            record.push(if last { flag | LAST } else { flag });
            record.extend_from_slice(part);
            // One wait for the disk: what is flushed last is flushed with all before it.
            self.journal.append(&record, if last { Durability::Flushed } else { Durability::Buffered })?;
            flag = 0;
        }
        Ok(())
    }

    /// The oldest call, and what [`Lane::done`] takes it off with. A call that was damaged is passed over.
    pub fn peek(&mut self) -> Result<Option<(SpooledCall, u64)>, JournalError> {
        let mut bytes = Vec::new();
        let (mut whole, mut after) = (false, self.read);
        loop {
            let batch = self.journal.read(after, 1)?;
            let Some(record) = batch.records.first() else { return Ok(None) };
            let Some((flag, part)) = record.payload.split_first() else {
                (whole, after) = (false, batch.through);
                continue;
            };
            if flag & FIRST != 0 {
                bytes.clear();
                whole = true;
            } else if record.seq != after + 1 {
                // A part is missing.
                whole = false;
            }
            after = record.seq;
            bytes.extend_from_slice(if whole && bytes.len() <= LONGEST_CALL { part } else { &[] });
            if flag & LAST != 0 {
                match SpooledCall::decode(&bytes).filter(|_| whole) {
                    Some(call) => return Ok(Some((call, after))),
                    None => tracing::warn!(lane = %self.dir.display(), "a damaged call of the spool is passed over"),
                }
                whole = false;
            }
        }
    }

    /// Takes calls off up to what [`Lane::peek`] said.
    pub fn done(&mut self, through: u64) {
        self.read = through;
        self.journal.acknowledge(through);
    }
}

impl SpooledCall {
    /// `version 1 | files u8 | subject length u16, subject | events u32, (end u32, size u64) each | JSON`, little endian.
    fn encode(&self) -> Vec<u8> {
        let Events { json, ends, files } = &self.events;
        let mut out = Vec::with_capacity(json.len() + 12 * ends.len() + self.subject.len() + 8);
        out.extend_from_slice(&[1, u8::from(*files)]);
        let subject = &self.subject.as_bytes()[..self.subject.len().min(usize::from(u16::MAX))];
        out.extend_from_slice(&(subject.len() as u16).to_le_bytes());
        out.extend_from_slice(subject);
        out.extend_from_slice(&(ends.len() as u32).to_le_bytes());
        for (end, size) in ends {
            out.extend_from_slice(&end.to_le_bytes());
            out.extend_from_slice(&size.to_le_bytes());
        }
        out.extend_from_slice(json);
        out
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (&[version, files], rest) = bytes.split_first_chunk()?;
        if version != 1 {
            return None;
        }
        let (length, rest) = rest.split_first_chunk()?;
        let (subject, rest) = rest.split_at_checked(usize::from(u16::from_le_bytes(*length)))?;
        let subject = String::from_utf8(subject.to_vec()).ok()?;
        let (count, rest) = rest.split_first_chunk()?;
        let (table, json) = rest.split_at_checked(12usize.checked_mul(u32::from_le_bytes(*count) as usize)?)?;
        let mut ends = Vec::with_capacity(table.len() / 12);
        for row in table.chunks_exact(12) {
            let (end, size) = row.split_first_chunk()?;
            ends.push((u32::from_le_bytes(*end), u64::from_le_bytes(size.try_into().ok()?)));
        }
        let in_order = ends.is_sorted_by(|a, b| a.0 < b.0) && ends.last().is_none_or(|l| l.0 as usize == json.len());
        in_order.then(|| Self { subject, events: Events { json: json.to_vec(), ends, files: files != 0 } })
    }
}

/// A name for a directory: what a person recognises of the URL, and a checksum (FNV-1a, 64 bits) of all of it.
fn dir_name(url: &str) -> String {
    let host = url.split_once("://").map_or(url, |(_, rest)| rest);
    let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
    let safe = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '.' | '-') { c } else { '_' };
    let shown: String = host.chars().take(60).map(safe).collect();
    let sum = url.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |sum, b| (sum ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3));
    format!("gateway-{shown}-{sum:016x}")
}
