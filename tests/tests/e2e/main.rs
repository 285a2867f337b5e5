//! The real binary on real directories.

mod smoke;
