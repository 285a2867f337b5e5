//! Typed ids: a host's id can never be passed where a scan's is wanted.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The text is not an id of the wanted kind.
#[derive(Debug, thiserror::Error)]
#[error("{text:?} is not {what} id: expected a UUID such as 0198b2c0-6d2e-7c3a-9f00-2b1c3d4e5f60")]
pub struct ParseIdError {
    what: &'static str,
    text: String,
}

macro_rules! typed_id {
    ($(#[$doc:meta])* $name:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, utoipa::ToSchema)]
        #[schema(value_type = String)]
        #[serde(transparent)]
        pub struct $name(Uuid);

        impl $name {
            /// A new id (UUID version 7: sorts by the time it was made).
            pub fn new() -> Self {
                Self(Uuid::now_v7())
            }
        }

        impl Default for $name {
            fn default() -> Self {
                Self::new()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.0)
            }
        }

        impl FromStr for $name {
            type Err = ParseIdError;
            fn from_str(text: &str) -> Result<Self, ParseIdError> {
                Uuid::try_parse(text).map(Self).map_err(|_| ParseIdError {
                    what: $what,
                    text: text.chars().take(80).collect(),
                })
            }
        }
    };
}

typed_id!(
    /// One host, for as long as its data directory lives.
    HostId,
    "a host"
);
typed_id!(
    /// One scan of one root.
    ScanId,
    "a scan"
);
typed_id!(
    /// One API key; not secret.
    ApiKeyId,
    "an API key"
);
typed_id!(
    /// One person who signs in with a password.
    UserId,
    "a user"
);
typed_id!(
    /// One browser that is signed in; not secret.
    SessionId,
    "a session"
);
typed_id!(
    /// One join token; not secret.
    JoinTokenId,
    "a join token"
);
typed_id!(
    /// One schedule of scans.
    ScheduleId,
    "a schedule"
);
typed_id!(
    /// One webhook; not secret.
    WebhookId,
    "a webhook"
);
typed_id!(
    /// One message to one webhook, the same for all its tries.
    DeliveryId,
    "a delivery"
);
