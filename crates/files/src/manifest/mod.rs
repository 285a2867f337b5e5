//! Manifests: one flat file per root with every entry of a scan, in walk order.
//!
//! [`mod@format`] says how entries become bytes, [`writer`] and [`reader`] stream them, [`store`] keeps the files.

pub mod format;
pub mod reader;
pub mod store;
pub mod writer;
