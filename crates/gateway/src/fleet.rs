//! Which hosts are linked now, and what they last proved.
//!
//! A host has at most one link: a newer one (greater generation) ends the older. While a link is up, the host is asked to
//! prove its capabilities every [`PROBE_INTERVAL`]; the answer is kept with its time, and its absence shows as age.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use connectrpc::ConnectError;
use connectrpc::client::CallOptions;
use hostler_api::v1;
use hostler_link::{CloseReason, LinkClient, LinkClosed};
use hostler_model::{ByteStr, HostId, Timestamp};

use crate::clock;
use crate::events::{Event, Events};
use crate::store::{Capability, CapabilityState, HostFacts, Store, StoreError};

/// Time between two proofs.
pub const PROBE_INTERVAL: Duration = Duration::from_secs(10);
/// How long a host may take to answer.
const PROBE_TIMEOUT: Duration = Duration::from_secs(8);
/// A host that has not answered for this long is shown as stale: more than three proofs were missed.
pub const STALE_AFTER_SECONDS: u64 = 45;

/// The host has no link.
#[derive(Debug, thiserror::Error)]
#[error("the host is not linked to this gateway now; start its agent, then try again")]
pub struct NotLinked;

/// Who is linked. Cheap to clone.
#[derive(Clone)]
pub struct Fleet(Arc<Inner>);

struct Inner {
    store: Arc<dyn Store>,
    events: Events,
    links: Mutex<HashMap<HostId, Link>>,
}

struct Link {
    client: LinkClient,
    generation: u64,
}

impl Fleet {
    /// An empty fleet.
    pub fn new(store: Arc<dyn Store>, events: Events) -> Self {
        Self(Arc::new(Inner { store, events, links: Mutex::default() }))
    }

    /// True while the host has a link.
    pub fn linked(&self, host: HostId) -> bool {
        self.links().get(&host).is_some_and(|link| !link.client.is_closed())
    }

    /// How many hosts have a link.
    pub fn linked_count(&self) -> usize {
        self.links().len()
    }

    /// The host's link.
    pub fn client(&self, host: HostId) -> Result<LinkClient, NotLinked> {
        self.links().get(&host).filter(|link| !link.client.is_closed()).map(|l| l.client.clone()).ok_or(NotLinked)
    }

    /// Keeps a host's link until it ends. A link of a lower generation than the present one is ended at once.
    pub async fn hold(&self, host: HostId, generation: u64, client: LinkClient, closed: LinkClosed) {
        if let Err(newer) = self.admit(host, generation, &client) {
            client.kill(CloseReason::Replaced { by: newer });
            return;
        }
        tracing::info!(%host, generation, "host linked");
        let reason = tokio::select! {
            reason = closed => reason,
            never = self.prove(host, client) => match never {},
        };
        tracing::info!(%host, generation, %reason, "host's link ended");
        let mut links = self.links();
        if links.get(&host).is_some_and(|link| link.generation == generation) {
            links.remove(&host);
            drop(links);
            self.0.events.send(Event::Host { host, linked: false, at: clock::now() });
        }
    }

    /// Ends every link: the gateway stops.
    pub fn shut_down(&self) {
        for (_, link) in self.links().drain() {
            link.client.kill(CloseReason::Shutdown);
        }
    }

    /// Fails with the generation of a newer link.
    fn admit(&self, host: HostId, generation: u64, client: &LinkClient) -> Result<(), u64> {
        let mut links = self.links();
        if let Some(present) = links.get(&host).filter(|present| present.generation > generation) {
            return Err(present.generation);
        }
        if let Some(older) = links.insert(host, Link { client: client.clone(), generation }) {
            older.client.kill(CloseReason::Replaced { by: generation });
        }
        Ok(())
    }

    fn links(&self) -> MutexGuard<'_, HashMap<HostId, Link>> {
        self.0.links.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn prove(&self, host: HostId, client: LinkClient) -> std::convert::Infallible {
        let mut ticks = tokio::time::interval(PROBE_INTERVAL);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            match probe(&client).await {
                Ok((facts, capabilities)) => {
                    if let Err(error) = self.keep_proof(host, facts, capabilities).await {
                        tracing::error!(%host, %error, "a host's proof was not kept");
                    }
                }
                Err(error) => tracing::warn!(%host, %error, "a host did not prove itself"),
            }
        }
    }

    async fn keep_proof(&self, host: HostId, facts: HostFacts, proofs: Vec<Capability>) -> Result<(), StoreError> {
        let at = clock::now();
        self.0.store.host_described(host, facts, proofs).await?;
        self.0.store.host_proved(host, at).await?;
        self.0.events.send(Event::Host { host, linked: true, at });
        Ok(())
    }
}

async fn probe(client: &LinkClient) -> Result<(HostFacts, Vec<Capability>), ConnectError> {
    let service = v1::HostServiceClient::new(client.clone(), client.config());
    let options = || CallOptions::default().with_timeout(PROBE_TIMEOUT);
    let described = service
        .describe_with_options(v1::DescribeRequest::default(), options())
        .await
        .map_err(|e| client.map_error(e))?
        .into_view()
        .to_owned_message();
    let probed = service
        .probe_with_options(v1::ProbeRequest::default(), options())
        .await
        .map_err(|e| client.map_error(e))?
        .into_view()
        .to_owned_message();
    let at = clock::now();
    Ok((facts(described), probed.capabilities.into_iter().take(32).map(|c| capability(c, at)).collect()))
}

fn facts(d: v1::DescribeResponse) -> HostFacts {
    HostFacts {
        hostname: bounded(d.hostname),
        os: bounded(d.os),
        kernel: bounded(d.kernel),
        arch: bounded(d.arch),
        cpus: d.cpus,
        memory_bytes: d.memory_bytes,
        booted_at: i64::try_from(d.boot_time)
            .ok()
            .filter(|seconds| (1..1 << 40).contains(seconds))
            .map(|seconds| Timestamp::from_micros(seconds * 1_000_000)),
        agent_version: bounded(d.agent_version),
    }
}

fn capability(c: v1::Capability, at: Timestamp) -> Capability {
    use v1::CapabilityState as Wire;
    Capability {
        name: bounded(c.name),
        state: match c.state.as_known() {
            Some(Wire::CAPABILITY_STATE_PROVED) => CapabilityState::Proved,
            Some(Wire::CAPABILITY_STATE_NOT_PRESENT) => CapabilityState::NotPresent,
            Some(Wire::CAPABILITY_STATE_NOT_GRANTED) => CapabilityState::NotGranted,
            _ => CapabilityState::Failed,
        },
        detail: bounded(c.detail),
        proved_at: at,
        roots: c.roots.into_iter().take(256).map(ByteStr::from).collect(),
    }
}

/// What a host says of itself is shown in tables; it may not fill them.
fn bounded(text: String) -> String {
    text.chars().filter(|c| !c.is_control()).take(400).collect()
}
