//! What every part of Hostler agrees on: typed ids, byte-exact names, the entry of a file index,
//! scans, sizes and times. Nothing here touches a file, a socket or a clock.

pub mod bytestr;
pub mod entry;
pub mod ids;
pub mod scan;
pub mod size;
pub mod time;
pub mod varint;

pub use bytestr::ByteStr;
pub use entry::{Algorithm, ContentHash, Entry, EntryKind, IndexOp};
pub use ids::{ApiKeyId, DeliveryId, HostId, JoinTokenId, ScanId, ScheduleId, SessionId, UserId, WebhookId};
pub use scan::{ChangeOp, Role, ScanCounters, ScanLimits, ScanOptions, ScanState};
pub use time::Timestamp;
