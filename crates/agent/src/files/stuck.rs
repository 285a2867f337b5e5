//! Scans whose threads hang in the kernel: they were given up, and cannot be ended.

use std::sync::{Mutex, PoisonError};

use connectrpc::ConnectError;
use hostler_model::ByteStr;

/// So many threads may hang. Each keeps its memory, its open files and its root's manifest locked.
pub const MOST: usize = 4;

/// The threads that hang.
#[derive(Debug, Default)]
pub struct Stuck(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    last: u64,
    hanging: Vec<Hanging>,
}

#[derive(Debug)]
struct Hanging {
    id: u64,
    root: Vec<u8>,
    at: ByteStr,
}

impl Stuck {
    /// The thread that scans `root` hangs at `at`; call [`Stuck::came_back`] with the number once it does.
    pub fn add(&self, root: Vec<u8>, at: ByteStr) -> u64 {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.last += 1;
        let id = state.last;
        state.hanging.push(Hanging { id, root, at });
        id
    }

    /// The thread has ended.
    pub fn came_back(&self, id: u64) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).hanging.retain(|hanging| hanging.id != id);
    }

    /// Refuses a scan of `root` while another one of it hangs, and any scan while too many do.
    pub fn check(&self, root: &[u8]) -> Result<(), ConnectError> {
        let state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(Hanging { at, .. }) = state.hanging.iter().find(|hanging| hanging.root == root) {
            let root = ByteStr::from(root);
            return Err(ConnectError::failed_precondition(format!(
                "an earlier scan of {root} still hangs at {at}, whose filesystem does not answer; mount it again or \
                 unmount it (umount -f or -l), or exclude it and restart the agent"
            )));
        }
        if state.hanging.len() >= MOST {
            let places: Vec<String> = state.hanging.iter().map(|hanging| hanging.at.to_string()).collect();
            return Err(ConnectError::failed_precondition(format!(
                "{MOST} scans of this host hang, at {}, whose filesystems do not answer; no further one begins until one \
                 of them is mounted again or unmounted (umount -f or -l), or the agent is restarted",
                places.join(", ")
            )));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_root_that_hangs_is_refused_and_all_are_when_too_many_hang() {
        let stuck = Stuck::default();
        let ids: Vec<u64> = (0..MOST)
            .map(|i| stuck.add(vec![b'/', b'a' + i as u8], ByteStr::from(format!("/{i}/x").as_bytes())))
            .collect();
        let error = stuck.check(b"/a").unwrap_err().to_string();
        assert!(error.contains("of /a still hangs at /0/x"), "{error}");
        let error = stuck.check(b"/other").unwrap_err().to_string();
        assert!(error.contains("/0/x, /1/x, /2/x, /3/x"), "{error}");
        stuck.came_back(ids[1]);
        assert!(stuck.check(b"/other").is_ok() && stuck.check(b"/b").is_ok() && stuck.check(b"/a").is_err());
    }
}
