//! Who may come in: users, sessions, API keys, and the tokens with which hosts join.

use hostler_model::{ApiKeyId, HostId, JoinTokenId, Role, SessionId, Timestamp, UserId};
use serde::Serialize;

/// A person who signs in with a password.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct User {
    /// Its id.
    pub id: UserId,
    /// Unique; letters compare in either case.
    pub name: String,
    /// What they may do.
    pub role: Role,
    /// When they were made.
    pub created_at: Timestamp,
    /// When they last signed in.
    pub last_sign_in_at: Option<Timestamp>,
}

/// An API key without its secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct ApiKey {
    /// Its id.
    pub id: ApiKeyId,
    /// What its owner calls it.
    pub name: String,
    /// What it may do.
    pub role: Role,
    /// The first characters of the key, to tell keys apart.
    pub hint: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last used (within a minute).
    pub last_used_at: Option<Timestamp>,
    /// When it stops working; `None` means never.
    pub expires_at: Option<Timestamp>,
}

/// A browser's session. Its CSRF token is neither shown nor logged.
#[derive(Clone, PartialEq, Eq)]
pub struct Session {
    /// Its id.
    pub id: SessionId,
    /// The user; `None` for those who came by a one-time link.
    pub user: Option<UserId>,
    /// Who signed in.
    pub name: String,
    /// What they may do: the user's present role.
    pub role: Role,
    /// The token every form must carry.
    pub csrf: String,
    /// When it began.
    pub created_at: Timestamp,
    /// When it was last used (within a minute).
    pub last_seen_at: Timestamp,
    /// When it ends at the latest.
    pub expires_at: Timestamp,
    /// Where it was begun from.
    pub address: String,
    /// What the browser says it is.
    pub agent: String,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").field("id", &self.id).field("name", &self.name).field("role", &self.role).finish()
    }
}

/// Seconds after which an unused session has ended: seven days.
pub const SESSION_IDLE_SECONDS: i64 = 7 * 86_400;

/// A token with which one host may join, without its secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct JoinTokenRecord {
    /// Its id.
    pub id: JoinTokenId,
    /// What it is for, in its maker's words.
    pub note: String,
    /// Who made it.
    pub created_by: String,
    /// When.
    pub created_at: Timestamp,
    /// When it stops working.
    pub expires_at: Timestamp,
    /// When a host joined with it.
    pub used_at: Option<Timestamp>,
    /// Which.
    pub used_by: Option<HostId>,
    /// When it was made useless.
    pub revoked_at: Option<Timestamp>,
}

/// What became of a host's wish to join.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JoinOutcome {
    /// It joined.
    Joined {
        /// The name it has now: another's name gets a number.
        name: String,
    },
    /// It had joined with this token before: an interrupted join is repeated.
    Again {
        /// The name it has.
        name: String,
    },
    /// No such token.
    Unknown,
    /// The token is too old.
    Expired,
    /// The token was made useless.
    Revoked,
    /// Another host has used the token.
    Used,
    /// The host's id is known with another key, or the key with another id.
    KeyTaken,
}

/// What became of a host's wish to link up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkAdmission {
    /// It may.
    Admitted {
        /// The link's number: greater than every one before, and than what the agent remembers.
        generation: u64,
    },
    /// An assertion as new as this one was accepted before.
    Replayed,
    /// The agent claims a number that this gateway cannot have given out.
    BadGeneration {
        /// The number of the latest link.
        stored: u64,
    },
}
