//! System calls that fail on purpose, for unit tests: tests run as root, whom permission bits do not bind.
//!
//! Outside tests every check is an empty inline function.

use rustix::io::Errno;

/// A kind of system call the scan makes on a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// Opening a regular file.
    Open,
    /// `statx` of a name.
    Stat,
    /// Reading a file.
    Read,
    /// `getdents64` of an open directory.
    List,
    /// Opening a subdirectory.
    Enter,
    /// Going back to a parent whose handle was closed.
    Return,
}

/// Fails when a test asked for it on this thread.
#[cfg(not(test))]
#[inline(always)]
pub fn check(_call: Call, _dir: &[u8], _name: &[u8]) -> Result<(), Errno> {
    Ok(())
}

#[cfg(test)]
pub use injected::{act, check, clear, inject};

#[cfg(test)]
mod injected {
    use std::cell::RefCell;

    use super::{Call, Errno};

    type Act = Box<dyn FnOnce()>;

    thread_local! {
        static FAULTS: RefCell<Vec<(Call, Vec<u8>, Errno)>> = const { RefCell::new(Vec::new()) };
        static ACTS: RefCell<Vec<(Call, Vec<u8>, Act)>> = const { RefCell::new(Vec::new()) };
    }

    /// Does something the next time that this thread is about to `call` on `path`.
    pub fn act(call: Call, path: &[u8], act: impl FnOnce() + 'static) {
        ACTS.with_borrow_mut(|acts| acts.push((call, path.to_vec(), Box::new(act))));
    }

    /// From now on `call` on `path` fails on this thread; see [`check`].
    pub fn inject(call: Call, path: &[u8], errno: Errno) {
        FAULTS.with_borrow_mut(|faults| faults.push((call, path.to_vec(), errno)));
    }

    /// Nothing fails any more on this thread.
    pub fn clear() {
        FAULTS.with_borrow_mut(Vec::clear);
        ACTS.with_borrow_mut(Vec::clear);
    }

    /// Fails when a test asked for it on this thread.
    pub fn check(call: Call, dir: &[u8], name: &[u8]) -> Result<(), Errno> {
        let mut path = dir.to_vec();
        if !dir.is_empty() && !name.is_empty() {
            path.push(b'/');
        }
        path.extend_from_slice(name);
        let due = ACTS.with_borrow_mut(|acts| {
            let due = acts.iter().position(|(c, p, _)| *c == call && *p == path);
            due.map(|due| acts.remove(due).2)
        });
        if let Some(act) = due {
            act();
        }
        FAULTS.with_borrow(|faults| {
            faults.iter().find(|(c, p, _)| *c == call && *p == path).map_or(Ok(()), |(_, _, errno)| Err(*errno))
        })
    }
}
