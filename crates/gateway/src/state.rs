//! What every handler reaches.

use std::sync::Arc;

use hostler_identity::Pin;
use tokio_util::sync::CancellationToken;

use crate::auth::Auth;
use crate::backup::Backups;
use crate::dist::Binaries;
use crate::events::Events;
use crate::fleet::Fleet;
use crate::links::Admissions;
use crate::pages::prefix::Prefix;
use crate::scans::Scans;
use crate::schedules::Schedules;
use crate::snapfs::{Room, Snapfs, Turns};
use crate::store::Store;
use crate::webhooks::Webhooks;

/// Shared by all handlers; cheap to clone.
#[derive(Clone)]
pub struct AppState {
    /// Everything durable.
    pub store: Arc<dyn Store>,
    /// Which hosts are linked now.
    pub fleet: Fleet,
    /// Starts, follows and cancels scans.
    pub scans: Scans,
    /// The edge for SnapFS clients.
    pub snapfs: Snapfs,
    /// Room for what SnapFS clients send.
    pub snapfs_room: Room,
    /// Whose turn it is to read what SnapFS clients sent.
    pub snapfs_turns: Turns,
    /// SnapFS clients need a key also on this machine.
    pub snapfs_require_key: bool,
    /// Scans that come again and again.
    pub schedules: Schedules,
    /// Tells others by HTTP.
    pub webhooks: Webhooks,
    /// What happens, live.
    pub events: Events,
    /// Where the gateway is reached, without a trailing slash: `http://127.0.0.1:7440`.
    pub base_url: Arc<str>,
    /// Where other machines reach the gateway, without a trailing slash: the configured external URL, else what it listens
    /// on, with a wildcard replaced by this machine's address.
    pub public_url: Arc<str>,
    /// The pin of a self-made certificate.
    pub pin: Option<Pin>,
    /// Browsers reach the gateway by TLS only: its own, or that of the proxy at the external URL.
    pub secure: bool,
    /// The configured external URL as agents sign it: [`hostler_link::origin`].
    pub external_origin: Option<Arc<str>>,
    /// The path of the external URL: a proxy strips it, and browsers need it.
    pub prefix: Prefix,
    /// How many links are admitted at a time.
    pub admissions: Admissions,
    /// Limits on signing in, and the news that somebody's rights changed.
    pub auth: Auth,
    /// Backups that go out and come in.
    pub backups: Backups,
    /// What hosts that join run.
    pub binaries: Binaries,
    /// This gateway, for agents that know several.
    pub gateway_id: Arc<str>,
    /// Cancelled when the gateway stops: long-lived responses end.
    pub stopping: CancellationToken,
}
