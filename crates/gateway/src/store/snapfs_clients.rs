//! Who reads what SnapFS clients sent, and the tokens with which they ask.

use hostler_model::{ApiKeyId, Timestamp};
use serde::Serialize;

use super::words::words;

/// Seconds a hash is kept after it was last written: 30 days, so that a monthly scan still finds most. Clients expect a day.
pub const SNAPFS_HASH_SECONDS: i64 = 30 * 86_400;
/// Values kept under one inode or path: contents by size, time and algorithm. The oldest go first.
pub const SNAPFS_HASHES_PER_KEY: usize = 8;

/// Subjects there may be.
pub const MAX_SNAPFS_SUBJECTS: u64 = 100;
/// Bytes of messages kept of `snapfs.files`; the oldest are dropped.
pub const SNAPFS_FILES_BYTES: u64 = 1 << 30;
/// Bytes of messages kept of every other subject.
pub const SNAPFS_SUBJECT_BYTES: u64 = 64 << 20;
/// Reading positions there may be, over all subjects.
pub const MAX_SNAPFS_CONSUMERS: u64 = 1000;
/// Seconds after which a reading position that nobody used is forgotten: 30 days.
pub const SNAPFS_CONSUMER_SECONDS: i64 = 30 * 86_400;

/// Tokens of one API key; the oldest go.
pub const MAX_SNAPFS_TOKENS: u64 = 1000;
/// Seconds a token works after it was last used: 7 days.
pub const SNAPFS_TOKEN_SECONDS: u64 = 7 * 86_400;

/// Whose reading position: a name of the reader's choice in a subject.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Durable {
    /// Of which messages: `snapfs.files`.
    pub subject: String,
    /// Its name.
    pub name: String,
}

/// Somebody who reads messages, and how far they are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct SnapfsConsumer {
    /// Of which messages: `snapfs.files`.
    pub subject: String,
    /// The name of the reading position.
    pub durable: String,
    /// The number of the last message that was applied; messages of a subject count from 1.
    pub position: u64,
    /// Messages that are still to be applied.
    pub behind: u64,
    /// Messages that were dropped before they were applied: a subject keeps a bounded number of bytes.
    pub lost: u64,
    /// When it was last connected.
    pub seen_at: Timestamp,
}

/// Messages to be delivered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapfsMessages {
    /// The number of the last of them; the reader's position when there are none.
    pub last: u64,
    /// `{"events":[...]}` each.
    pub bodies: Vec<Vec<u8>>,
}

words! {
    /// What a token allows.
    SnapfsScope, "scope" {
        /// To ask for what is kept.
        QueryRead = "query:read",
        /// To read messages.
        StreamRead = "stream:read",
        /// To probe, to ingest and to be an agent.
        IngestWrite = "ingest:write",
    }
}

/// What an API key was exchanged for, without its secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapfsToken {
    /// Of which key; it ends with it.
    pub key: ApiKeyId,
    /// What it allows.
    pub scopes: Vec<SnapfsScope>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it ends, unless it is used until then.
    pub expires_at: Timestamp,
}
