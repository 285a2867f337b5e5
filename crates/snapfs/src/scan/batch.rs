//! What happens to one batch between the walk and the gateway: it is asked for, hashed, and written as events.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use hostler_files::{FileContent, Found};
use hostler_model::{Algorithm, ByteStr, ContentHash, EntryKind};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::events::{Identity, now};
use super::item::{Batch, Item, join};
use super::json;
use super::links::Link;
use super::pool::Pool;
use super::tally::Tally;
use super::trouble::Trouble;
use crate::gateway::{CallError, Events, Gateway, Probes};
use crate::outcome::Listener;

/// What the batches of a scan share.
pub struct Context {
    pub gateway: Gateway,
    pub algorithm: Algorithm,
    pub force: bool,
    pub pool: Pool,
    pub identity: Arc<Identity>,
    pub tally: Arc<Tally>,
    pub trouble: Arc<Trouble>,
    pub listener: Arc<dyn Listener>,
    /// Set once `scan.started` was sent, or could not be: nothing goes before it.
    pub begun: CancellationToken,
    /// Probes in flight.
    pub probes: Semaphore,
}

/// What is known of an entry beyond what the walk found.
#[derive(Clone, Copy)]
struct Known {
    found: Found,
    hash: Option<ContentHash>,
    /// It was gone when it was to be read.
    gone: bool,
}

impl Context {
    /// The batch's events. The error is that the gateway refuses the credentials; `None` when the scan was stopped.
    pub async fn process(&self, batch: Batch) -> Result<Option<Events>, String> {
        let batch = Arc::new(batch);
        let mut known: Vec<Known> =
            batch.items.iter().map(|item| Known { found: item.found, hash: None, gone: false }).collect();
        let files: Vec<usize> = (0..known.len()).filter(|at| known[*at].found.entry.kind == EntryKind::File).collect();
        self.probe(&batch, &files, &mut known).await?;

        let later = |at: usize| matches!(batch.items[at].link, Some(Link::Later(_)));
        let missing =
            |known: &[Known]| files.iter().copied().filter(|at| known[*at].hash.is_none()).collect::<Vec<_>>();
        let (others, first): (Vec<_>, Vec<_>) = missing(&known).into_iter().partition(|at| later(*at));
        if !self.hash(&batch, first, &mut known).await {
            return Ok(None);
        }
        for &at in &files {
            if let Some(Link::First(leader)) = &batch.items[at].link {
                leader.set(known[at].hash.map(|hash| (known[at].found.entry, hash)));
            }
        }
        let mut unlike = Vec::new();
        for at in others {
            let Some(Link::Later(leader)) = &batch.items[at].link else { continue };
            known[at].hash = leader.hash(&known[at].found.entry).await;
            if known[at].hash.is_none() {
                unlike.push(at);
            }
        }
        if !self.hash(&batch, unlike, &mut known).await {
            return Ok(None);
        }
        Ok(Some(self.events(&batch, &known)))
    }

    /// Asks the gateway for hashes it knows.
    async fn probe(&self, batch: &Batch, files: &[usize], known: &mut [Known]) -> Result<(), String> {
        self.begun.cancelled().await;
        if self.force || files.is_empty() {
            return Ok(());
        }
        let mut probes = Probes::default();
        probes.json.reserve(files.len() * 160);
        for &at in files {
            let item = &batch.items[at];
            let entry = &item.found.entry;
            let out = &mut probes.json;
            out.extend_from_slice(b"{\"path\":");
            let mut name = Vec::with_capacity(64);
            json::escaped(&mut name, batch.name(item));
            path(out, item, &name);
            field(out, b",\"size\":", entry.size);
            field(out, b",\"mtime\":", item.found.times.modified);
            field(out, b",\"inode\":", entry.ino);
            field(out, b",\"dev\":", entry.dev);
            out.push(b'}');
            probes.end();
        }
        // Never closed.
        let _turn = self.probes.acquire().await;
        let problem = |text: &str| self.listener.problem(text);
        let answers = self.gateway.probe(&probes, self.algorithm, &problem).await;
        let hashes = answers.map_err(|error: CallError| error.text().to_owned())?;
        for (&at, hash) in files.iter().zip(hashes) {
            if let Some(hash) = hash {
                known[at].hash = Some(hash);
                add(&self.tally.cache_hits, 1);
                self.listener.cache_hit(&self.path(batch, at), self.algorithm, &hash);
            }
        }
        Ok(())
    }

    /// Hashes the files at `want`; `false` when the scan was stopped.
    async fn hash(&self, batch: &Arc<Batch>, want: Vec<usize>, known: &mut [Known]) -> bool {
        let Some(contents) = self.pool.hash(batch.clone(), want).await else { return false };
        for (at, content) in contents {
            let now = &mut known[at];
            match content {
                FileContent::Hashed(entry) => {
                    now.found = with(&now.found, entry);
                    now.hash = entry.hash;
                    add(&self.tally.hashed, 1);
                    add(&self.tally.bytes_hashed, entry.size);
                    if let Some(hash) = &entry.hash {
                        self.listener.hashed(&self.path(batch, at), self.algorithm, hash);
                    }
                }
                FileContent::Vanished => self.gone(now),
                FileContent::Replaced(entry) if entry.kind == EntryKind::Dir => {
                    let became = io::Error::from(io::ErrorKind::IsADirectory);
                    self.trouble.walk(self.path(batch, at).as_bytes(), "list", &became);
                    self.gone(now);
                }
                FileContent::Replaced(entry) => now.found = with(&now.found, entry),
                FileContent::Changing(entry) => {
                    now.found = with(&now.found, entry);
                    let changing = io::Error::other("it was changed each time it was read");
                    self.trouble.hash(self.path(batch, at).as_bytes(), &changing);
                }
                FileContent::Failed(error) => self.trouble.hash(self.path(batch, at).as_bytes(), &error),
            }
        }
        true
    }

    fn gone(&self, known: &mut Known) {
        known.gone = true;
        add(&self.tally.gone, 1);
        add(&self.tally.gone_bytes, known.found.entry.size);
    }

    fn path(&self, batch: &Batch, at: usize) -> ByteStr {
        let item = &batch.items[at];
        join(&join(&self.identity.root, &item.dir.path), batch.name(item)).into()
    }

    /// A `file.upsert` for every entry that is still there.
    fn events(&self, batch: &Batch, known: &[Known]) -> Events {
        let mut events = Events::of_files();
        events.json.reserve(known.len() * 640 + 3 * batch.bytes);
        let mut opening = b"{\"type\":\"file.upsert\",\"data\":{".to_vec();
        opening.extend_from_slice(&self.identity.file);
        opening.extend_from_slice(b"\"seen_at\":");
        json::seconds(&mut opening, now());
        opening.extend_from_slice(b",\"path\":");
        let mut name = Vec::new();
        for (item, known) in batch.items.iter().zip(known).filter(|(_, known)| !known.gone) {
            name.clear();
            json::escaped(&mut name, batch.name(item));
            let out = &mut events.json;
            out.extend_from_slice(&opening);
            self.upsert(out, item, &name, known);
            events.end(known.found.entry.size);
        }
        events
    }

    /// The rest of an event, from the value of `path` on. `name` is escaped.
    fn upsert(&self, out: &mut Vec<u8>, item: &Item, name: &[u8], known: &Known) {
        let Known { found, hash, .. } = known;
        let entry = &found.entry;
        path(out, item, name);
        out.extend_from_slice(b",\"dir\":\"");
        out.extend_from_slice(&item.dir.json);
        out.extend_from_slice(b"\",\"name\":\"");
        out.extend_from_slice(name);
        out.extend_from_slice(b"\",\"ext\":\"");
        out.extend_from_slice(extension(name));
        field(out, b"\",\"type\":\"file\",\"size\":", entry.size);
        field(out, b",\"fsize_du\":", if item.again { 0 } else { entry.size });
        field(out, b",\"mtime\":", found.times.modified);
        field(out, b",\"atime\":", found.times.accessed);
        field(out, b",\"ctime\":", found.times.changed);
        field(out, b",\"nlinks\":", entry.nlink.max(1));
        field(out, b",\"inode\":", entry.ino);
        field(out, b",\"dev\":", entry.dev);
        out.push(b',');
        out.extend_from_slice(&item.owner);
        field(out, b"\"mode\":", entry.mode);
        match hash {
            Some(hash) => {
                out.extend_from_slice(b",\"algo\":\"");
                out.extend_from_slice(self.algorithm.name().as_bytes());
                out.extend_from_slice(b"\",\"hash\":");
                json::hash(out, hash);
            }
            None => out.extend_from_slice(b",\"algo\":null,\"hash\":null"),
        }
        out.extend_from_slice(b"}}");
    }
}

/// The path of an item, in quotes. `name` is escaped.
fn path(out: &mut Vec<u8>, item: &Item, name: &[u8]) {
    out.push(b'"');
    out.extend_from_slice(&item.dir.json);
    if item.dir.json.last() != Some(&b'/') {
        out.push(b'/');
    }
    out.extend_from_slice(name);
    out.push(b'"');
}

fn field(out: &mut Vec<u8>, key: &[u8], number: impl itoa::Integer) {
    out.extend_from_slice(key);
    json::int(out, number);
}

/// From the last dot on, of a name that has something else than dots before it. Works on escaped names, as an escape holds
/// no dot.
fn extension(name: &[u8]) -> &[u8] {
    let dots = name.iter().take_while(|b| **b == b'.').count();
    let rest = &name[dots..];
    rest.iter().rposition(|b| *b == b'.').map_or(&[], |at| &rest[at..])
}

/// What the walk found, brought up to what is there now. Times that did not change stay exact where nanoseconds cannot
/// hold them.
fn with(found: &Found, entry: hostler_model::Entry) -> Found {
    const MILLISECOND: i64 = 1_000_000;
    let mut times = found.times;
    if entry.mtime_ns != found.entry.mtime_ns {
        times.modified = entry.mtime_ns.div_euclid(MILLISECOND);
    }
    if entry.ctime_ns != found.entry.ctime_ns {
        times.changed = entry.ctime_ns.div_euclid(MILLISECOND);
    }
    Found { entry, times }
}

fn add(counter: &AtomicU64, more: u64) {
    counter.fetch_add(more, Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extensions_are_those_of_python() {
        for (name, ext) in [
            ("a.txt", ".txt"),
            ("a.tar.GZ", ".GZ"),
            (".hidden", ""),
            ("..a", ""),
            (".a.b", ".b"),
            ("a.", "."),
            ("none", ""),
        ] {
            assert_eq!(extension(name.as_bytes()), ext.as_bytes(), "{name}");
        }
    }
}
