//! What happens, live: a bounded broadcast. A reader that falls behind is told how much it missed.

use hostler_model::{ByteStr, HostId, ScanId, Timestamp};
use serde::Serialize;
use tokio::sync::broadcast;

use crate::store::{ActivityEvent, Scan};

/// Events kept for a slow reader before it misses some.
const CAPACITY: usize = 1024;

/// Something happened.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Event {
    /// A scan was queued, began, went on or ended.
    Scan(Box<ScanUpdate>),
    /// An event was kept.
    Activity(Box<ActivityEvent>),
    /// A host was linked, answered, or its link ended.
    Host {
        /// Which.
        host: HostId,
        /// True while it is linked.
        linked: bool,
        /// When.
        at: Timestamp,
    },
}

/// A scan as it is now.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct ScanUpdate {
    /// The scan with its counters up to now.
    #[serde(flatten)]
    pub scan: Scan,
    /// Rates and estimates, while it runs.
    pub rate: Option<ScanRate>,
    /// The directory being walked, relative to the root.
    pub current: Option<ByteStr>,
    /// True from a cancel until the end.
    pub cancelling: bool,
    /// True from a pause until it is lifted. The state stays what it is: queued or running.
    pub paused: bool,
    /// It can be paused: scans by SnapFS clients cannot.
    pub pausable: bool,
}

/// How fast a scan goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, utoipa::ToSchema)]
pub struct ScanRate {
    /// Files seen a second, over the last seconds.
    pub files_per_second: f64,
    /// Bytes read a second, over the last seconds.
    pub bytes_per_second: f64,
    /// Seconds to go, when the number of files is known.
    pub seconds_left: Option<u64>,
}

impl ScanUpdate {
    /// The scan's id.
    pub fn id(&self) -> ScanId {
        self.scan.id
    }
}

/// Where events are sent and read.
#[derive(Clone)]
pub struct Events(broadcast::Sender<Event>);

impl Default for Events {
    fn default() -> Self {
        Self(broadcast::channel(CAPACITY).0)
    }
}

impl Events {
    /// Tells every reader. With none, nothing happens.
    pub fn send(&self, event: Event) {
        // An error only says that nobody listens.
        let _ = self.0.send(event);
    }

    /// Reads events from now on.
    pub fn subscribe(&self) -> broadcast::Receiver<Event> {
        self.0.subscribe()
    }
}
