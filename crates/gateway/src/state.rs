//! What every handler reaches.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::events::Events;
use crate::fleet::Fleet;
use crate::scans::Scans;
use crate::store::Store;

/// Shared by all handlers; cheap to clone.
#[derive(Clone)]
pub struct AppState {
    /// Everything durable.
    pub store: Arc<dyn Store>,
    /// Which hosts are linked now.
    pub fleet: Fleet,
    /// Starts, follows and cancels scans.
    pub scans: Scans,
    /// What happens, live.
    pub events: Events,
    /// Where the gateway is reached, without a trailing slash: `http://127.0.0.1:7440`.
    pub base_url: Arc<str>,
    /// This gateway, for agents that know several.
    pub gateway_id: Arc<str>,
    /// Cancelled when the gateway stops: long-lived responses end.
    pub stopping: CancellationToken,
}
