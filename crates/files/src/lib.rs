//! File trees of one host: what is there, its hashes, and what differs from the last committed state.
//!
//! # A scan
//!
//! [`scan()`] walks one root, compares it with the root's *manifest* (the state of an earlier scan, one flat file)
//! in the same order, hashes what the manifest cannot vouch for, tells a [`ScanSink`] the differences, and
//! leaves a new manifest as *pending*. Once the receiver has committed the differences it calls
//! [`ManifestStore::promote`], and the pending manifest becomes the current one.
//!
//! ```text
//!             scan(base = g1)                    promote(g2)
//! current g1 ────────────────> current g1        ───────────> current g2
//!                              pending g2 (disk)
//! ```
//!
//! A promote that got lost is made up for: the next scan's base is g2, which names the pending manifest. A base
//! that names neither manifest makes the scan *full*: everything is sent, and the manifest only saves hashing.
//!
//! # Walk order
//!
//! A directory, its entries that are not directories in byte order of their names, then its subdirectories in byte
//! order, each likewise. Manifest, walk and sink all have this order, so one pass in constant memory merges them: only
//! one directory's names and the names of subdirectories still to come are held.
//!
//! # What is trusted
//!
//! - Names are bytes; nothing is decoded.
//! - Filesystems that store nothing (proc, sysfs, cgroup and their like) are not entered.
//! - A file counts as unchanged when device, inode, size, modification and change time are those of the manifest.
//!   Kernels before 6.13, and some filesystems after it, give one time to all changes within a clock tick (1 to
//!   10 ms). There a change right after the file was hashed, to content of the same size, is seen only with the next
//!   change or by a forced scan.
//! - Deletions are inferred only from a listing that completed. What could not be read keeps its old entries.
//! - A manifest is verified from end to end before a scan believes it; a damaged one counts as absent.
//!
//! # Without a manifest
//!
//! [`walk()`] only tells what is there, and [`FileHasher`] hashes single files of it: for receivers that know by themselves
//! what they have hashes of.
//!
//! Everything blocks: call [`scan()`] on a thread of its own. [`Control`] stops and pauses it, [`Progress`] shows how
//! far it is, and [`Watch`] notices when that thread hangs in the kernel.

mod compare;
mod control;
mod count;
mod dirs;
mod error;
mod excludes;
#[cfg(test)]
mod fault_tests;
mod faults;
mod hash;
mod hasher;
mod idle;
mod listing;
mod manifest;
mod merge;
pub mod owners;
mod pace;
mod progress;
mod pseudo;
mod read;
mod scan;
mod sink;
mod stat;
mod walk;
#[cfg(test)]
mod walk_fault_tests;
mod watch;

pub use control::Control;
pub use error::{ManifestError, PromoteError, ScanFailure};
pub use hasher::{FileContent, FileHasher};
pub use manifest::store::ManifestStore;
pub use progress::Progress;
pub use scan::{ScanRequest, ScanSummary, scan};
pub use sink::{ScanSink, SinkClosed};
pub use walk::{Found, Times, WalkProblem, WalkRequest, WalkSink, walk};
pub use watch::Watch;
