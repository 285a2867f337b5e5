//! A fleet of agents in one process: real keys, real joins, real links, and capabilities that only claim to be there.

#![allow(refining_impl_trait, reason = "connectrpc's traits are implemented with concrete types")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use connectrpc::{RequestContext, Response, ServiceRequest, ServiceResult, ServiceStream};
use futures_util::stream::{self, StreamExt, TryStreamExt};
use hostler_api::v1;
use hostler_identity::assertion::{self, Claims, Purpose};
use hostler_identity::{HostKey, JoinToken, join_proof};
use hostler_link::handshake::{Instance, PROTOCOL};
use hostler_link::{DialError, Hello, Peer, Token, Trust};
use hostler_model::{HostId, Timestamp};
use tokio_util::sync::CancellationToken;

/// Joins under way at the same time.
const JOINS: usize = 32;
/// As the real agent waits.
const FIRST_WAIT: Duration = Duration::from_millis(500);
const LAST_WAIT: Duration = Duration::from_secs(60);

/// Agents that joined one gateway.
pub struct Fleet {
    url: String,
    trust: Trust,
    gateway: String,
    agents: Vec<Arc<SimulatedAgent>>,
    counts: Arc<Counts>,
    stop: CancellationToken,
}

struct SimulatedAgent {
    host: HostId,
    key: HostKey,
    instance: Instance,
    generation: AtomicU64,
}

/// What the fleet went through so far.
#[derive(Default)]
pub struct Counts {
    linked: AtomicUsize,
    /// Links that came up.
    pub links: AtomicU64,
    /// Dials that failed or were refused.
    pub refused: AtomicU64,
    /// Probes that were answered.
    pub probes: AtomicU64,
}

impl Fleet {
    /// Makes `agents` hosts and joins each with a token of its own. `key` is an admin's API key.
    pub async fn join(url: &str, trust: Trust, key: &str, agents: usize) -> Result<Self> {
        let http = crate::http_client(&trust)?;
        let joined: Vec<(SimulatedAgent, String)> = stream::iter(0..agents)
            .map(|number| join(&http, url, key, number))
            .buffer_unordered(JOINS)
            .try_collect()
            .await?;
        let gateway = joined.first().map(|(_, gateway)| gateway.clone()).unwrap_or_default();
        Ok(Self {
            url: url.to_owned(),
            trust,
            gateway,
            agents: joined.into_iter().map(|(agent, _)| Arc::new(agent)).collect(),
            counts: Arc::default(),
            stop: CancellationToken::new(),
        })
    }

    /// Starts them all at once. Each dials again whenever its link ends.
    pub fn start(&self) {
        let router = router(self.counts.clone());
        for agent in &self.agents {
            let (agent, router, counts) = (agent.clone(), router.clone(), self.counts.clone());
            let (url, trust, gateway, stop) =
                (self.url.clone(), self.trust.clone(), self.gateway.clone(), self.stop.clone());
            tokio::spawn(async move { agent.follow(&url, &trust, &gateway, router, &counts, stop).await });
        }
    }

    /// How many have a link now.
    pub fn linked(&self) -> usize {
        self.counts.linked.load(Ordering::Relaxed)
    }

    /// What they went through.
    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    /// Waits until as many are linked as `wanted` says; how long it took.
    pub async fn wait(&self, limit: Duration, wanted: impl Fn(usize) -> bool) -> Result<Duration> {
        let begun = Instant::now();
        while !wanted(self.linked()) {
            ensure!(begun.elapsed() < limit, "after {limit:?} {} of {} are linked", self.linked(), self.agents.len());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(begun.elapsed())
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

async fn join(http: &reqwest::Client, url: &str, key: &str, number: usize) -> Result<(SimulatedAgent, String)> {
    #[derive(serde::Deserialize)]
    struct Made {
        token: String,
    }
    #[derive(serde::Deserialize)]
    struct Joined {
        gateway: String,
    }
    let body = serde_json::json!({ "note": "simulated", "expires_in_seconds": 3600 });
    let made: Made = answer(http.post(format!("{url}/api/v1/join-tokens")).bearer_auth(key).json(&body)).await?;
    let token: JoinToken = made.token.parse()?;
    let (host, host_key) = (HostId::new(), HostKey::generate()?);
    let body = serde_json::json!({
        "token": made.token,
        "host": host,
        "name": format!("simulated-{number}"),
        "public_key": host_key.public_key().to_string(),
        "proof": join_proof::sign(&host_key, &token, host),
        "agent_version": env!("CARGO_PKG_VERSION"),
    });
    let joined: Joined = answer(http.post(format!("{url}/api/v1/join")).json(&body)).await?;
    let instance = Instance(getrandom::u64()?);
    Ok((SimulatedAgent { host, key: host_key, instance, generation: AtomicU64::new(0) }, joined.gateway))
}

async fn answer<T: serde::de::DeserializeOwned>(request: reqwest::RequestBuilder) -> Result<T> {
    let response = request.send().await?;
    let status = response.status();
    let body = response.bytes().await?;
    ensure!(status.is_success(), "{status}: {}", String::from_utf8_lossy(&body));
    serde_json::from_slice(&body).context("an answer that is not understood")
}

impl SimulatedAgent {
    async fn follow(
        &self,
        url: &str,
        trust: &Trust,
        gateway: &str,
        router: axum::Router,
        counts: &Counts,
        stop: CancellationToken,
    ) {
        let mut wait = FIRST_WAIT;
        while !stop.is_cancelled() {
            let mut at_least = Duration::ZERO;
            match self.link(url, trust, gateway, router.clone(), counts, &stop).await {
                Ok(()) => wait = FIRST_WAIT,
                Err(error) => {
                    counts.refused.fetch_add(1, Ordering::Relaxed);
                    if let Some(DialError::Refused(refusal)) = error.downcast_ref() {
                        at_least = refusal.retry_after.unwrap_or_default();
                    }
                    tracing::debug!(%error, "a simulated agent has no link");
                }
            }
            let part = f64::from(getrandom::u32().unwrap_or(u32::MAX)) / f64::from(u32::MAX);
            tokio::select! {
                () = stop.cancelled() => {}
                () = tokio::time::sleep(at_least + wait.mul_f64(part)) => {}
            }
            wait = (wait * 2).min(LAST_WAIT);
        }
    }

    async fn link(
        &self,
        url: &str,
        trust: &Trust,
        gateway: &str,
        router: axum::Router,
        counts: &Counts,
        stop: &CancellationToken,
    ) -> Result<()> {
        let generation = self.generation.load(Ordering::Relaxed);
        let (stream, welcome) = hostler_link::dial(url, trust, |dialled| {
            let claims = Claims {
                purpose: Purpose::Link,
                host: self.host,
                gateway: gateway.to_owned(),
                origin: dialled.origin.clone(),
                binding: dialled.binding,
                generation,
                issued_at: now(),
            };
            Ok(Hello {
                protocol: PROTOCOL,
                host: self.host,
                generation,
                instance: self.instance,
                agent_version: env!("CARGO_PKG_VERSION").into(),
                token: Token::new(assertion::sign(&self.key, &claims)?)?,
            })
        })
        .await?;
        self.generation.store(welcome.generation, Ordering::Relaxed);
        let peer = Peer::Gateway { authority: url.to_owned(), generation: welcome.generation };
        counts.links.fetch_add(1, Ordering::Relaxed);
        counts.linked.fetch_add(1, Ordering::Relaxed);
        let served = hostler_link::serve(stream, router, peer, stop.clone()).await;
        counts.linked.fetch_sub(1, Ordering::Relaxed);
        served?;
        Ok(())
    }
}

fn now() -> Timestamp {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_micros(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}

/// What all of them answer. One router serves the whole fleet.
fn router(counts: Arc<Counts>) -> axum::Router {
    let services = connectrpc::Router::new().add_service(Arc::new(Host(counts))).add_service(Arc::new(Journal));
    axum::Router::new().fallback_service(services.into_axum_service())
}

struct Host(Arc<Counts>);

impl v1::HostService for Host {
    async fn describe(
        &self,
        _: RequestContext,
        _: ServiceRequest<'_, v1::DescribeRequest>,
    ) -> ServiceResult<v1::DescribeResponse> {
        Response::ok(v1::DescribeResponse {
            hostname: "simulated".into(),
            os: "Debian GNU/Linux 12 (bookworm)".into(),
            kernel: "6.1.0-28-amd64".into(),
            arch: "x86_64".into(),
            cpus: 4,
            memory_bytes: 8 << 30,
            agent_version: env!("CARGO_PKG_VERSION").into(),
            ..Default::default()
        })
    }

    async fn probe(
        &self,
        _: RequestContext,
        _: ServiceRequest<'_, v1::ProbeRequest>,
    ) -> ServiceResult<v1::ProbeResponse> {
        self.0.probes.fetch_add(1, Ordering::Relaxed);
        let files = v1::Capability {
            name: "files".into(),
            state: v1::CapabilityState::CAPABILITY_STATE_PROVED.into(),
            detail: "listed 1 granted directory".into(),
            roots: vec![b"/srv".to_vec()],
            ..Default::default()
        };
        let granted = v1::GrantInfo {
            capability: "files".into(),
            level: "read".into(),
            roots: vec![b"/srv".to_vec()],
            ..Default::default()
        };
        Response::ok(v1::ProbeResponse { capabilities: vec![files], grants: vec![granted], ..Default::default() })
    }
}

/// A journal in which nothing happens.
struct Journal;

impl v1::JournalService for Journal {
    async fn follow(
        &self,
        _: RequestContext,
        _: ServiceRequest<'_, v1::FollowRequest>,
    ) -> ServiceResult<ServiceStream<v1::FollowResponse>> {
        Response::ok(Box::pin(stream::pending()))
    }

    async fn acknowledge(
        &self,
        _: RequestContext,
        _: ServiceRequest<'_, v1::AcknowledgeRequest>,
    ) -> ServiceResult<v1::AcknowledgeResponse> {
        Response::ok(v1::AcknowledgeResponse::default())
    }
}

/// How long each of `count` calls took over a link on loopback, through the WebSocket and HTTP/2 as the agent's and the
/// gateway's ends have them.
pub async fn time_calls(count: usize) -> Result<Vec<Duration>> {
    let (sender, mut clients) = tokio::sync::mpsc::channel(1);
    let accept = move |upgrade: axum::extract::ws::WebSocketUpgrade| {
        let sender = sender.clone();
        let welcome = hostler_link::Welcome { generation: 1, gateway: "measured".into() };
        async move {
            hostler_link::accept(upgrade, &welcome, move |stream| async move {
                if let Ok((client, closed)) = hostler_link::LinkClient::connect(stream).await
                    && sender.send(client).await.is_ok()
                {
                    closed.await;
                }
            })
        }
    };
    let gateway = axum::Router::new().route(hostler_link::LINK_PATH, axum::routing::get(accept));
    let listener = hostler_link::listen(([127, 0, 0, 1], 0).into())?;
    let address = axum::serve::Listener::local_addr(&listener)?;
    tokio::spawn(async move { axum::serve(listener, gateway).await });
    let hello = Hello {
        protocol: PROTOCOL,
        host: HostId::new(),
        generation: 0,
        instance: Instance(1),
        agent_version: env!("CARGO_PKG_VERSION").into(),
        token: Token::new("measured")?,
    };
    let (stream, _) = hostler_link::dial(&format!("http://{address}"), &Trust::System, |_| Ok(hello)).await?;
    let peer = Peer::Gateway { authority: address.to_string(), generation: 1 };
    tokio::spawn(hostler_link::serve(stream, router(Arc::default()), peer, CancellationToken::new()));
    let client = clients.recv().await.context("no link")?;
    let service = v1::HostServiceClient::new(client.clone(), client.config());
    let mut times = Vec::with_capacity(count);
    for round in 0..count + count / 10 {
        let begun = Instant::now();
        service.probe(v1::ProbeRequest::default()).await?;
        // The first tenth warms up.
        if round >= count / 10 {
            times.push(begun.elapsed());
        }
    }
    Ok(times)
}
