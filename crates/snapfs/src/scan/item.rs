//! What the walk found, on its way to the gateway.

use std::sync::Arc;

use hostler_files::Found;

use super::links::Link;

/// Bytes of names in a batch after which it is sent, however few they are.
pub const BATCH_BYTES: usize = 1 << 20;

/// A directory that has entries.
#[derive(Debug)]
pub struct Dir {
    /// Relative to the root.
    pub path: Vec<u8>,
    /// Absolute, escaped for JSON, without quotes.
    pub json: Vec<u8>,
}

/// An entry that is no directory.
#[derive(Debug)]
pub struct Item {
    pub dir: Arc<Dir>,
    /// Where its name is in the batch's names.
    name: (u32, u32),
    pub found: Found,
    /// Owner and group as members of a JSON object, with a comma behind.
    pub owner: Arc<[u8]>,
    /// A later name of a file that was told already.
    pub again: bool,
    /// Set for a regular file with several names.
    pub link: Option<Link>,
}

/// Entries that are asked for and told together.
#[derive(Debug, Default)]
pub struct Batch {
    pub items: Vec<Item>,
    names: Vec<u8>,
    /// Bytes of their directories' and own names.
    pub bytes: usize,
}

impl Batch {
    /// Adds an entry.
    pub fn push(
        &mut self,
        dir: &Arc<Dir>,
        name: &[u8],
        found: &Found,
        owner: &Arc<[u8]>,
        again: bool,
        link: Option<Link>,
    ) {
        // A batch is sent long before its names are 4 GiB.
        let at = (self.names.len() as u32, name.len() as u32);
        self.names.extend_from_slice(name);
        self.bytes += dir.json.len() + name.len();
        self.items.push(Item { dir: dir.clone(), name: at, found: *found, owner: owner.clone(), again, link });
    }

    /// The name of one of its items.
    pub fn name(&self, item: &Item) -> &[u8] {
        let (start, len) = item.name;
        &self.names[start as usize..][..len as usize]
    }
}

/// An absolute path.
pub fn join(dir: &[u8], name: &[u8]) -> Vec<u8> {
    let mut path = Vec::with_capacity(dir.len() + name.len() + 1);
    path.extend_from_slice(dir);
    if !name.is_empty() {
        if path.last() != Some(&b'/') {
            path.push(b'/');
        }
        path.extend_from_slice(name);
    }
    path
}
