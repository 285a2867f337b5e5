//! Which hosts are linked now, since when, and how their last link ended.
//!
//! A host has at most one link. A newer one of the same agent process (greater generation) ends the older; one of another
//! process is let in only when the older no longer answers, see [`Fleet::challenge`]. While a link is up, [`probe`] asks
//! the host to prove its capabilities, and its journal is followed.

mod probe;

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hostler_link::handshake::Instance;
use hostler_link::{CloseReason, LinkClient, LinkClosed};
use hostler_model::{HostId, Timestamp};
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use crate::clock;
use crate::events::{Event, Events};
use crate::journal;
use crate::store::{NewEvent, Severity, Store, StoreError};

pub use probe::ProbeReport;

/// How long a linked host has to answer when a second one claims its identity.
const CHALLENGE_TIMEOUT: Duration = Duration::from_secs(3);
/// A second claimant tries again within a minute; one not seen for this long is gone.
const DUPLICATE_FORGOTTEN_SECONDS: u64 = 180;

/// The host has no link.
#[derive(Debug, thiserror::Error)]
#[error("the host is not linked to this gateway now; start its agent, then try again")]
pub struct NotLinked;

/// What is known of a link when it begins.
#[derive(Clone, Debug)]
pub struct LinkInfo {
    /// Orders the links of one host.
    pub generation: u64,
    /// Which run of the agent it is.
    pub instance: Instance,
    /// Where it dialled from; `None` when that is not known.
    pub address: Option<IpAddr>,
}

/// A second machine that claims to be a host that is linked and answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Duplicate {
    /// Where it dials from.
    #[schema(value_type = Option<String>)]
    pub address: Option<IpAddr>,
    /// When it was refused last.
    pub at: Timestamp,
    /// How often it was refused.
    pub refused: u64,
}

/// A host's link as it is now.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct LinkStatus {
    /// True while there is a link.
    pub linked: bool,
    /// When the present link began.
    pub linked_at: Option<Timestamp>,
    /// Where the present link comes from.
    #[schema(value_type = Option<String>)]
    pub address: Option<IpAddr>,
    /// When the last link ended, since the gateway was started.
    pub ended_at: Option<Timestamp>,
    /// Why it ended.
    pub ended_because: Option<String>,
    /// Another machine that claims to be this host.
    pub duplicate: Option<Duplicate>,
}

/// Who is linked. Cheap to clone.
#[derive(Clone)]
pub struct Fleet(Arc<Inner>);

struct Inner {
    store: Arc<dyn Store>,
    events: Events,
    links: Mutex<HashMap<HostId, Link>>,
    /// Hosts with an agent that speaks another protocol.
    attached: Mutex<HashMap<HostId, Attached>>,
    /// Of hosts that were linked since the start; goes with the host.
    past: Mutex<HashMap<HostId, Past>>,
    proofs: probe::Proofs,
    stopping: CancellationToken,
}

struct Link {
    client: LinkClient,
    info: LinkInfo,
    since: Timestamp,
}

/// An agent that speaks another protocol.
#[derive(Clone, Copy)]
struct Attached {
    since: Timestamp,
    address: Option<IpAddr>,
}

#[derive(Default)]
struct Past {
    ended: Option<(Timestamp, String)>,
    duplicate: Option<Duplicate>,
}

impl Fleet {
    /// An empty fleet. Its task that keeps proofs ends with `stopping`.
    pub fn new(store: Arc<dyn Store>, events: Events, stopping: CancellationToken) -> Self {
        let proofs = probe::Proofs::start(store.clone(), events.clone(), stopping.clone());
        let (links, attached, past) = Default::default();
        Self(Arc::new(Inner { store, events, links, attached, past, proofs, stopping }))
    }

    /// True while the host has a link.
    pub fn linked(&self, host: HostId) -> bool {
        self.links().get(&host).is_some_and(|link| !link.client.is_closed()) || self.attached().contains_key(&host)
    }

    /// How many hosts have a link.
    pub fn linked_count(&self) -> usize {
        self.links().len() + self.attached().len()
    }

    /// The hosts that have a link.
    pub fn linked_hosts(&self) -> Vec<HostId> {
        let mut hosts: Vec<HostId> =
            self.links().iter().filter(|(_, link)| !link.client.is_closed()).map(|(id, _)| *id).collect();
        hosts.extend(self.attached().keys());
        hosts
    }

    /// The host's link.
    pub fn client(&self, host: HostId) -> Result<LinkClient, NotLinked> {
        self.links().get(&host).filter(|link| !link.client.is_closed()).map(|l| l.client.clone()).ok_or(NotLinked)
    }

    /// The host's link as it is now.
    pub fn status(&self, host: HostId) -> LinkStatus {
        let mut status = LinkStatus::default();
        if let Some(link) = self.links().get(&host).filter(|link| !link.client.is_closed()) {
            status.linked = true;
            status.linked_at = Some(link.since);
            status.address = link.info.address;
        }
        if let Some(attached) = self.attached().get(&host) {
            status.linked = true;
            status.linked_at = Some(attached.since);
            status.address = attached.address;
        }
        if let Some(past) = self.past().get(&host) {
            if let Some((at, reason)) = &past.ended {
                status.ended_at = Some(*at);
                status.ended_because = Some(reason.clone());
            }
            let now = clock::now();
            let recent = |d: &&Duplicate| now.seconds_since(d.at) <= DUPLICATE_FORGOTTEN_SECONDS;
            status.duplicate = past.duplicate.as_ref().filter(recent).cloned();
        }
        status
    }

    /// After this many seconds without a proof a linked host is shown as stale: more than three probes were missed.
    pub fn stale_after_seconds(&self) -> u64 {
        probe::stale_after_seconds(self.linked_count())
    }

    /// Asks the link that a host has whether it lives, before a link of another agent process takes its place.
    ///
    /// A network that went away leaves a link that looks alive for half a minute: it does not answer, and the newcomer is
    /// let in. When it answers, two machines have one identity (a copied data directory, a cloned disk, a stolen key): the
    /// one that is there stays, and the other is reported and refused.
    pub async fn challenge(&self, host: HostId, instance: Instance, address: Option<IpAddr>) -> Result<(), Duplicate> {
        let present = self.links().get(&host).filter(|l| l.info.instance != instance).map(|l| l.client.clone());
        let Some(client) = present else { return Ok(()) };
        if client.is_closed() || !probe::answers(&client, CHALLENGE_TIMEOUT).await {
            return Ok(());
        }
        let (duplicate, first) = {
            let mut past = self.past();
            let kept = &mut past.entry(host).or_default().duplicate;
            let at = clock::now();
            // One event as long as it goes on, however many machines or names for its runs a claimant makes up.
            let known = kept.take().filter(|d| at.seconds_since(d.at) <= DUPLICATE_FORGOTTEN_SECONDS);
            let refused = known.as_ref().map_or(0, |d| d.refused) + 1;
            (kept.insert(Duplicate { address, at, refused }).clone(), known.is_none())
        };
        if first {
            let from = address.map_or_else(|| "an unknown address".into(), |a| a.to_string());
            let message = format!(
                "a second machine, at {from}, claims to be this host and was refused; if it is a copy of this one, join it anew with `hostler join --new-identity`"
            );
            self.record(host, "host.duplicate", Severity::Warning, message).await;
        }
        Err(duplicate)
    }

    /// Keeps a host's link until it ends. A link of a lower generation than the present one is ended at once.
    pub async fn hold(&self, host: HostId, info: LinkInfo, client: LinkClient, closed: LinkClosed) {
        let generation = info.generation;
        if let Err(newer) = self.admit(host, info.clone(), &client) {
            client.kill(CloseReason::Replaced { by: newer });
            return;
        }
        if !self.still_admitted(host, generation).await {
            // It was removed, or the store replaced, after it was let in and before anybody could see this link.
            let mut links = self.links();
            if links.get(&host).is_some_and(|link| link.info.generation == generation) {
                links.remove(&host);
            }
            client.kill(CloseReason::Evicted);
            return;
        }
        tracing::info!(%host, generation, "host linked");
        let from = info.address.map_or_else(String::new, |a| format!(" from {a}"));
        self.record(host, "host.linked", Severity::Info, format!("linked{from}")).await;
        let reason = tokio::select! {
            reason = closed => reason,
            never = self.prove(host, client.clone()) => match never {},
            never = self.follow_journal(host, client) => match never {},
        };
        tracing::info!(%host, generation, %reason, "host's link ended");
        let was_present = {
            let mut links = self.links();
            let present = links.get(&host).is_some_and(|link| link.info.generation == generation);
            present && links.remove(&host).is_some()
        };
        // A removed host leaves nothing behind, and a gateway that stops does not write one row for each of its hosts.
        if !was_present || self.0.stopping.is_cancelled() || matches!(reason, CloseReason::Evicted) {
            return;
        }
        let at = clock::now();
        self.ended(host, at, reason.to_string()).await;
    }

    async fn ended(&self, host: HostId, at: Timestamp, reason: String) {
        let message = format!("the link ended: {reason}");
        self.past().entry(host).or_default().ended = Some((at, reason));
        self.0.events.send(Event::Host { host, linked: false, at });
        self.record(host, "host.unlinked", Severity::Warning, message).await;
    }

    /// The host has an agent that speaks another protocol; until [`Fleet::detach`].
    pub async fn attach(&self, host: HostId, address: Option<IpAddr>) {
        let at = clock::now();
        let before = self.attached().insert(host, Attached { since: at, address });
        self.0.events.send(Event::Host { host, linked: true, at });
        if before.is_none() {
            let from = address.map_or_else(String::new, |a| format!(" from {a}"));
            self.record(host, "host.linked", Severity::Info, format!("linked{from}")).await;
        }
    }

    /// Its socket closed.
    pub async fn detach(&self, host: HostId, reason: String) {
        if self.attached().remove(&host).is_some() && !self.0.stopping.is_cancelled() {
            self.ended(host, clock::now(), reason).await;
        }
    }

    /// Keeps what a host told of itself, with those of others.
    pub async fn keep_proof(&self, proof: crate::store::HostProof) {
        self.0.proofs.add(proof).await;
    }

    /// Ends a removed host's link and forgets what was kept of it.
    pub fn revoke(&self, host: HostId) {
        self.past().remove(&host);
        self.attached().remove(&host);
        if let Some(link) = self.links().remove(&host) {
            link.client.kill(CloseReason::Evicted);
        }
        self.0.events.send(Event::Host { host, linked: false, at: clock::now() });
    }

    /// Ends every link: the gateway stops, or its store was replaced and the hosts must introduce themselves again.
    pub fn end_all(&self, reason: &CloseReason) {
        for (_, link) in self.links().drain() {
            link.client.kill(reason.clone());
        }
    }

    /// Fails with the generation of a newer link.
    fn admit(&self, host: HostId, info: LinkInfo, client: &LinkClient) -> Result<(), u64> {
        let mut links = self.links();
        let generation = info.generation;
        if let Some(present) = links.get(&host).filter(|present| present.info.generation > generation) {
            return Err(present.info.generation);
        }
        let link = Link { client: client.clone(), info, since: clock::now() };
        if let Some(older) = links.insert(host, link) {
            older.client.kill(CloseReason::Replaced { by: generation });
        }
        Ok(())
    }

    /// Whether the store still knows the link. Asked when the link can be seen here: a removal that begins later ends it.
    async fn still_admitted(&self, host: HostId, generation: u64) -> bool {
        match self.0.store.host(host).await {
            Ok(known) => known.generation >= generation,
            Err(StoreError::NotFound { .. }) => false,
            Err(error) => {
                tracing::error!(%host, %error, "a host could not be looked up");
                false
            }
        }
    }

    async fn follow_journal(&self, host: HostId, client: LinkClient) -> std::convert::Infallible {
        /// Between a follow that failed and the next.
        const AGAIN: Duration = Duration::from_secs(10);
        loop {
            if let Err(error) = journal::follow(&*self.0.store, &self.0.events, host, &client).await
                && !client.is_closed()
            {
                tracing::warn!(%host, %error, "a host's journal is not followed");
            }
            tokio::time::sleep(AGAIN).await;
        }
    }

    async fn record(&self, host: HostId, kind: &str, severity: Severity, message: String) {
        let event = NewEvent::of_host(host, kind, severity, message);
        match self.0.store.append_gateway_event(event).await {
            Ok(event) => self.0.events.send(Event::Activity(Box::new(event))),
            Err(error) => tracing::error!(%host, kind, %error, "an event was not kept"),
        }
    }

    fn links(&self) -> MutexGuard<'_, HashMap<HostId, Link>> {
        self.0.links.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn attached(&self) -> MutexGuard<'_, HashMap<HostId, Attached>> {
        self.0.attached.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn past(&self) -> MutexGuard<'_, HashMap<HostId, Past>> {
        self.0.past.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
