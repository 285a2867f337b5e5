//! Errors of a scan: counted, told to the listener, and kept for the gateway.

use std::io;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, PoisonError};

use hostler_model::bytestr::display;

use super::events::{ErrorEvent, Identity, now};
use super::tally::Tally;
use crate::gateway::Events;
use crate::outcome::Listener;

/// Errors that wait for the gateway; more are only counted and told to the listener.
const KEPT: usize = 1000;

/// Errors in one call.
const EACH_CALL: usize = 200;

/// Where a scan's threads tell what failed.
pub struct Trouble {
    tally: Arc<Tally>,
    identity: Arc<Identity>,
    listener: Arc<dyn Listener>,
    kept: Mutex<Events>,
}

impl Trouble {
    /// For one scan.
    pub fn new(tally: Arc<Tally>, identity: Arc<Identity>, listener: Arc<dyn Listener>) -> Self {
        Self { tally, identity, listener, kept: Mutex::default() }
    }

    /// A directory or an entry could not be looked at: `enter`, `list` or `stat`.
    pub fn walk(&self, path: &[u8], operation: &str, source: &io::Error) {
        self.tally.walk_errors.fetch_add(1, Relaxed);
        let what = match operation {
            "stat" => "looked at",
            "list" => "listed",
            _ => "entered",
        };
        self.listener.problem(&format!("{} cannot be {what}: {source}", display(path)));
        self.keep(if operation == "stat" { "stat" } else { "walk" }, path, source);
    }

    /// A file could not be read.
    pub fn hash(&self, path: &[u8], source: &io::Error) {
        self.tally.hash_errors.fetch_add(1, Relaxed);
        self.listener.problem(&format!("{} cannot be read: {source}", display(path)));
        self.keep("hash", path, source);
    }

    fn keep(&self, stage: &str, path: &[u8], source: &io::Error) {
        if source.kind() == io::ErrorKind::PermissionDenied {
            self.tally.permission_errors.fetch_add(1, Relaxed);
        }
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() < KEPT {
            let event = ErrorEvent { observed_at: now(), stage, path, source };
            self.identity.error(&mut kept.json, &event);
            kept.end(0);
        }
    }

    /// Errors for one call.
    pub fn take(&self) -> Option<Events> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        Some(kept.split_to(EACH_CALL)).filter(|events| !events.is_empty())
    }
}
