//! Sends what earlier scans could not publish, in the background.

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::gateway::Gateway;

pub(super) struct Drain {
    gateway: Gateway,
    stop: CancellationToken,
    running: Option<JoinHandle<()>>,
}

impl Drain {
    pub(super) fn new(gateway: Gateway, stop: &CancellationToken) -> Self {
        Self { gateway, stop: stop.child_token(), running: None }
    }

    /// Starts when there is something to send and nothing does so yet.
    pub(super) fn start_if_needed(&mut self) {
        let runs = self.running.as_ref().is_some_and(|task| !task.is_finished());
        // A spool that cannot be read is told of by the scans that need it.
        if runs || !self.gateway.has_spooled() {
            return;
        }
        let (gateway, stop) = (self.gateway.clone(), self.stop.clone());
        self.running = Some(tokio::spawn(async move {
            match gateway.drain_spool(stop).await {
                Ok(drained) if drained.calls > 0 => {
                    tracing::info!("published {} files that were kept from earlier scans", drained.files);
                }
                Ok(_) => {}
                Err(error) => tracing::warn!("what earlier scans could not publish stays in the spool: {error}"),
            }
        }));
    }
}
