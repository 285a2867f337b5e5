//! Refused calls as events: a caller that asks ten thousand times a second makes one event a second, with a count.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

/// At most one event of a kind in this time.
const EVERY: Duration = Duration::from_secs(1);

/// Where refusals go: how many there were, and the last one's words.
type Sink = Box<dyn Fn(&'static str, u64, &str) + Send + Sync>;

/// Gathers refusals by kind.
pub struct Refusals {
    /// Kinds that were told within the last [`EVERY`], with what came since.
    recent: Mutex<HashMap<&'static str, Since>>,
    sink: Sink,
}

#[derive(Default)]
struct Since {
    count: u64,
    last: String,
}

impl Refusals {
    /// Tells `sink`.
    pub fn new(sink: Sink) -> Arc<Self> {
        Arc::new(Self { recent: Mutex::default(), sink })
    }

    /// A call of this kind was refused. Kinds are few: they are the rows of a table.
    pub fn add(self: &Arc<Self>, kind: &'static str, message: &str) {
        {
            let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(since) = recent.get_mut(kind) {
                since.count += 1;
                since.last.clear();
                since.last.push_str(message);
                return;
            }
            recent.insert(kind, Since::default());
        }
        (self.sink)(kind, 1, message);
        tokio::spawn(tell_later(Arc::downgrade(self), kind));
    }

    /// Takes what came since the last event; `None` when nothing did, and the kind is quiet again.
    fn take(&self, kind: &'static str) -> Option<Since> {
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        match recent.get_mut(kind) {
            Some(since) if since.count > 0 => Some(std::mem::take(since)),
            _ => {
                recent.remove(kind);
                None
            }
        }
    }
}

async fn tell_later(refusals: Weak<Refusals>, kind: &'static str) {
    loop {
        tokio::time::sleep(EVERY).await;
        let Some(refusals) = refusals.upgrade() else { return };
        let Some(since) = refusals.take(kind) else { return };
        (refusals.sink)(kind, since.count, &since.last);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_flood_becomes_one_event_a_second_and_none_is_left_out_of_the_count() {
        let told = Arc::new(Mutex::new(Vec::new()));
        let sink = told.clone();
        let refusals = Refusals::new(Box::new(move |kind, count, last| {
            sink.lock().unwrap().push((kind, count, last.to_owned()));
        }));
        for n in 0..1000 {
            refusals.add("a", &format!("a {n}"));
        }
        refusals.add("b", "b 0");
        tokio::time::sleep(EVERY * 3).await;
        refusals.add("a", "again");
        let expected = [("a", 1, "a 0"), ("b", 1, "b 0"), ("a", 999, "a 999"), ("a", 1, "again")];
        assert_eq!(*told.lock().unwrap(), expected.map(|(kind, count, last)| (kind, count, last.to_owned())));
    }
}
