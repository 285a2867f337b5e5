//! Files with several names: each name is told, the content is read once.

use std::collections::HashMap;
use std::sync::Arc;

use hostler_files::Found;
use hostler_model::{ContentHash, Entry, EntryKind};
use tokio::sync::SetOnce;

/// Files held at once. Beyond, a file is read once more and counted with its size once more, and nothing else.
const HELD: usize = 1 << 18;

/// What is known of a file's content from the first of its names.
#[derive(Debug)]
pub struct Leader(SetOnce<Option<(Entry, ContentHash)>>);

/// A name of a file with several.
#[derive(Clone, Debug)]
pub enum Link {
    /// The first one.
    First(Arc<Leader>),
    /// Another one.
    Later(Arc<Leader>),
}

impl Leader {
    /// Tells what came of the first name; `None` when it has no hash.
    pub fn set(&self, known: Option<(Entry, ContentHash)>) {
        // Set by one batch only.
        let _ = self.0.set(known);
    }

    /// Waits for the first name's hash; `None` when there is none, or the file is not as it was then.
    pub async fn hash(&self, now: &Entry) -> Option<ContentHash> {
        let (then, hash) = self.0.wait().await.as_ref()?;
        let same = |e: &Entry| (e.dev, e.ino, e.size, e.mtime_ns, e.ctime_ns);
        (same(then) == same(now)).then_some(*hash)
    }
}

/// Files of which not all names were seen yet.
#[derive(Debug, Default)]
pub struct Links {
    seen: HashMap<(u64, u64), (u64, Arc<Leader>)>,
}

impl Links {
    /// Whether the entry is another name of one seen before, and its part in reading it.
    pub fn see(&mut self, found: &Found) -> (bool, Option<Link>) {
        let entry = &found.entry;
        if entry.nlink < 2 {
            return (false, None);
        }
        let file = entry.kind == EntryKind::File;
        let key = (entry.dev, entry.ino);
        if let Some((names, leader)) = self.seen.get_mut(&key) {
            *names += 1;
            let link = file.then(|| Link::Later(leader.clone()));
            if *names >= entry.nlink {
                self.seen.remove(&key);
            }
            return (true, link);
        }
        let leader = Arc::new(Leader(SetOnce::new()));
        if self.seen.len() >= HELD {
            return (false, None);
        }
        self.seen.insert(key, (1, leader.clone()));
        (false, file.then_some(Link::First(leader)))
    }
}
