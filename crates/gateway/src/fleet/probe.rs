//! Asking linked hosts to prove what they can do, and keeping their answers with their time.
//!
//! The link's own pings say that a host is there; a probe says that its capabilities work. All hosts together are probed
//! at a bounded rate, so each host's interval grows with the fleet: 10 s for up to a thousand hosts, 100 s for ten thousand.
//! Answers are kept in groups, so that a fleet that links up at once costs the store few commits.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use connectrpc::ConnectError;
use connectrpc::client::CallOptions;
use futures_util::stream::{self, StreamExt};
use hostler_api::v1;
use hostler_link::LinkClient;
use hostler_model::{ByteStr, HostId, Timestamp};
use serde::Serialize;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Fleet;
use crate::clock;
use crate::events::{Event, Events};
use crate::store::{Capability, CapabilityState, Grant, HostFacts, HostProof, Store};

/// Shortest time between two probes of one host.
const SHORTEST_INTERVAL: Duration = Duration::from_secs(10);
/// Probes of all hosts together, a second.
const PROBES_PER_SECOND: usize = 100;
/// How long a host may take to answer.
const PROBE_TIMEOUT: Duration = Duration::from_secs(8);
/// Probes under way at the same time: a fleet that links up at once is asked in turns.
const CONCURRENT: usize = 64;
/// Hosts asked at the same time when somebody asks all of them.
const AT_ONCE: usize = 256;
/// A host describes itself at the first probe of a link and at every so many after it.
const DESCRIBE_EVERY: u32 = 20;
/// Proofs kept in one write.
const GROUP: usize = 1024;
/// Between two such writes, while few wait.
const FLUSH_EVERY: Duration = Duration::from_secs(1);
/// How often it is looked whether many wait.
const FLUSH_LOOK: Duration = Duration::from_millis(50);

/// Time between two probes of one host when `linked` hosts are linked.
fn interval(linked: usize) -> Duration {
    SHORTEST_INTERVAL.max(Duration::from_secs((linked / PROBES_PER_SECOND) as u64))
}

/// What came of asking hosts to prove themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct ProbeReport {
    /// Hosts that were asked.
    pub asked: u64,
    /// Hosts that answered in time.
    pub answered: u64,
    /// How long it took.
    pub milliseconds: u64,
}

/// See [`Fleet::stale_after_seconds`].
pub fn stale_after_seconds(linked: usize) -> u64 {
    let missed = interval(linked) * 3 + PROBE_TIMEOUT;
    missed.as_secs() + 7
}

/// Proofs on their way to the store.
pub struct Proofs {
    sender: mpsc::Sender<HostProof>,
    turns: Semaphore,
}

impl Proofs {
    /// Starts the task that keeps them; it ends with `stopping`.
    pub fn start(store: Arc<dyn Store>, events: Events, stopping: CancellationToken) -> Self {
        let (sender, receiver) = mpsc::channel(GROUP);
        tokio::spawn(async move {
            tokio::select! {
                () = stopping.cancelled() => {}
                () = keep(&*store, &events, receiver) => {}
            }
        });
        Self { sender, turns: Semaphore::new(CONCURRENT) }
    }

    /// Hands one over to be kept.
    pub async fn add(&self, proof: HostProof) {
        // Closed only when the gateway stops.
        let _ = self.sender.send(proof).await;
    }
}

async fn keep(store: &dyn Store, events: &Events, mut proofs: mpsc::Receiver<HostProof>) {
    let mut group = Vec::with_capacity(GROUP);
    while proofs.recv_many(&mut group, GROUP).await > 0 {
        let begun = Instant::now();
        let hosts: Vec<(HostId, Timestamp)> = group.iter().map(|proof| (proof.host, proof.at)).collect();
        match store.keep_proofs(std::mem::take(&mut group)).await {
            Ok(()) => {
                for &(host, at) in &hosts {
                    events.send(Event::Host { host, linked: true, at });
                }
            }
            Err(error) => tracing::error!(%error, hosts = hosts.len(), "proofs were not kept"),
        }
        // A few within a second share the next write. Many are a fleet that links up or is asked at once: it is not held up.
        while hosts.len() > 1 && proofs.len() < GROUP / 2 && begun.elapsed() < FLUSH_EVERY {
            tokio::time::sleep(FLUSH_LOOK).await;
        }
    }
}

impl Fleet {
    pub(super) async fn prove(&self, host: HostId, client: LinkClient) -> Infallible {
        for round in 0_u32.. {
            let begun = Instant::now();
            let answer = {
                // Later rounds are spread already, and a host that hangs must not hold up others. Closed only with the process.
                let _turn = if round == 0 { self.0.proofs.turns.acquire().await.ok() } else { None };
                probe(&client, round % DESCRIBE_EVERY == 0).await
            };
            match answer {
                Ok(answer) => self.keep(host, answer).await,
                Err(error) => tracing::warn!(%host, %error, "a host did not prove itself"),
            }
            tokio::time::sleep_until(begun + interval(self.linked_count())).await;
        }
        std::future::pending().await
    }

    async fn keep(&self, host: HostId, (facts, capabilities, grants): Answer) {
        let (capabilities, grants) = (Some(capabilities), Some(grants));
        // Fails only when the gateway stops.
        let _ = self.0.proofs.sender.send(HostProof { host, at: clock::now(), facts, capabilities, grants }).await;
    }

    /// Asks linked hosts to prove themselves now: these, or all. One that has no link, or does not answer, counts as asked.
    pub async fn probe_now(&self, hosts: Option<Vec<HostId>>) -> ProbeReport {
        let begun = Instant::now();
        let hosts = hosts.unwrap_or_else(|| self.links().keys().copied().collect());
        let asked = hosts.len() as u64;
        let answers = stream::iter(hosts).map(|host| {
            let fleet = self.clone();
            // A task each: many hosts keep all processors busy.
            tokio::spawn(async move {
                let answer = probe(&fleet.client(host).ok()?, false).await;
                fleet.keep(host, answer.ok()?).await;
                Some(())
            })
        });
        let answers = answers.buffer_unordered(AT_ONCE);
        let answered = answers.filter(|answer| std::future::ready(matches!(answer, Ok(Some(()))))).count().await as u64;
        ProbeReport { asked, answered, milliseconds: u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX) }
    }
}
/// True when the host answers within `limit`.
pub async fn answers(client: &LinkClient, limit: Duration) -> bool {
    let service = v1::HostServiceClient::new(client.clone(), client.config());
    let options = CallOptions::default().with_timeout(limit);
    let answer = service.describe_with_options(v1::DescribeRequest::default(), options);
    tokio::time::timeout(limit, answer).await.is_ok_and(|answer| answer.is_ok())
}

type Answer = (Option<HostFacts>, Vec<Capability>, Vec<Grant>);

async fn probe(client: &LinkClient, describe: bool) -> Result<Answer, ConnectError> {
    let service = v1::HostServiceClient::new(client.clone(), client.config());
    let options = || CallOptions::default().with_timeout(PROBE_TIMEOUT);
    let described = match describe {
        true => Some(
            service
                .describe_with_options(v1::DescribeRequest::default(), options())
                .await
                .map_err(|e| client.map_error(e))?
                .into_view()
                .to_owned_message(),
        ),
        false => None,
    };
    let probed = service
        .probe_with_options(v1::ProbeRequest::default(), options())
        .await
        .map_err(|e| client.map_error(e))?
        .into_view()
        .to_owned_message();
    let at = clock::now();
    let capabilities = probed.capabilities.into_iter().take(32).map(|c| capability(c, at)).collect();
    let grants = probed.grants.into_iter().take(32).map(grant).collect();
    Ok((described.map(facts), capabilities, grants))
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
        roots: roots(c.roots),
    }
}

fn grant(g: v1::GrantInfo) -> Grant {
    Grant { capability: bounded(g.capability), level: bounded(g.level), roots: roots(g.roots) }
}

/// No path is longer than Linux can open (PATH_MAX).
fn roots(paths: Vec<Vec<u8>>) -> Vec<ByteStr> {
    paths.into_iter().filter(|path| path.len() <= 4096).take(256).map(ByteStr::from).collect()
}

/// What a host says of itself is shown in tables; it may not fill them.
fn bounded(text: String) -> String {
    text.chars().filter(|c| !c.is_control()).take(400).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interval_grows_with_the_fleet_and_staleness_with_it() {
        assert_eq!(interval(1), Duration::from_secs(10));
        assert_eq!(interval(1_000), Duration::from_secs(10));
        assert_eq!(interval(10_000), Duration::from_secs(100));
        for linked in [0, 1, 500, 10_000, 100_000] {
            assert!(stale_after_seconds(linked) > interval(linked).as_secs() * 3, "{linked}");
        }
    }
}
