//! The agent's services as Rust: messages, server traits and clients, generated from `proto/`, and the conversions between
//! wire messages and [`hostler_model`].

mod convert;

/// Generated code; `proto/` holds its documentation.
#[allow(missing_docs, clippy::all, clippy::unwrap_used, unused)]
mod generated {
    connectrpc::include_generated!();
}

pub use convert::{BATCH_BYTES, BatchBuilder, InvalidMessage, decode_event, encode_event, index_ops};
pub use generated::hostler::v1;

/// The path of every RPC there is, such as `/hostler.v1.FilesService/Scan`, sorted.
pub const METHODS: &[&str] = include!(concat!(env!("OUT_DIR"), "/methods.rs"));
