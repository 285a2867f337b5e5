//! How many files a first scan is to expect: a second, much cheaper walk beside it, with names only.

use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use hostler_model::Entry;
use rustix::io::Errno;

use crate::control::Control;
use crate::dirs::DirChain;
use crate::listing::{Hint, Listing, NameQueue};
use crate::progress::Progress;
use crate::stat::{entry_of, open_dir};

/// Counts regular files below `root` (what it has open is `entry`) and publishes the number when done; gives up
/// without one when `done` or `control` says so. An estimate: options are ignored, what cannot be read is left out.
pub fn count_files(root: OwnedFd, entry: &Entry, progress: &Progress, control: &Control, done: &AtomicBool) {
    let mut chain = DirChain::new(root, entry);
    let mut listing = Listing::new();
    let (subdirs, mut files) = list(&chain, &mut listing);
    let mut pending = vec![subdirs];
    let mut name = Vec::new();
    while let Some(subdirs) = pending.last_mut() {
        if done.load(Relaxed) || !(control.is_clear() || control.wait_while_paused()) {
            return;
        }
        let more = subdirs.pop(&mut name).is_some();
        // Without a handle the directory could not be opened again on the way back: its rest is not counted.
        let opened = chain.fd().filter(|_| more).map(|dir| open(dir, &name));
        match opened {
            Some(Ok((fd, entry))) if chain.leads_to_pseudo(&fd, &entry) == Ok(false) => {
                chain.push(&name, fd, &entry);
                let (subdirs, count) = list(&chain, &mut listing);
                pending.push(subdirs);
                files += count;
            }
            Some(_) => {}
            None => {
                pending.pop();
                let _ = chain.pop();
            }
        }
    }
    progress.expect(files);
}

fn open(dir: BorrowedFd<'_>, name: &[u8]) -> Result<(OwnedFd, Entry), Errno> {
    let fd = open_dir(dir, name)?;
    let entry = entry_of(&fd)?;
    Ok((fd, entry))
}

/// The deepest directory's subdirectories and its number of files.
fn list(chain: &DirChain, listing: &mut Listing) -> (NameQueue, u64) {
    let mut subdirs = NameQueue::default();
    let mut files = 0;
    if chain.fd().is_some_and(|fd| listing.read(fd).is_ok()) {
        for (name, hint) in listing.iter() {
            match hint {
                Hint::Dir => subdirs.push(name, false),
                Hint::NotDir { file } => files += u64::from(file),
                Hint::Unknown => files += 1,
            }
        }
    }
    (subdirs, files)
}
