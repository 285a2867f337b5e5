//! A gateway and agents in one process over real TLS: who may join, and which links are taken.

use std::time::Duration;

use hostler_agent::{
    Agent, AgentError, AgentSettings, GatewayLink, JoinError, JoinRequest, Joined, Policy, gateway_of, join, rehearse,
};
use hostler_gateway::state::AppState;
use hostler_gateway::store::JoinTokenRecord;
use hostler_gateway::{Gateway, GatewaySettings, TlsSettings, clock};
use hostler_identity::assertion::{self, ChannelBinding, Claims, Purpose};
use hostler_identity::{HostKey, JoinToken, Pin};
use hostler_link::{DialError, Dialled, Hello, Instance, Refusal, Settings, Token, Trust, dial};
use hostler_model::{HostId, JoinTokenId, Timestamp};
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

const HOUR: i64 = 3_600_000_000;

struct Running {
    state: AppState,
    url: String,
    pin: Option<Pin>,
    id: String,
    stop: CancellationToken,
    task: JoinHandle<()>,
    _data: TempDir,
}

impl Running {
    async fn start(tls: TlsSettings) -> Self {
        let data = tempfile::tempdir().unwrap();
        let settings = GatewaySettings {
            data: data.path().join("gateway"),
            listen: "127.0.0.1:0".parse().unwrap(),
            insecure_http: false,
            tls,
            external_url: None,
            trusted_proxies: Vec::new(),
            agent_binaries: None,
            webhooks_anywhere: false,
            snapfs_require_key: false,
        };
        let gateway = Gateway::open(settings).await.unwrap();
        let (state, url, pin) = (gateway.state().clone(), gateway.local_url(), gateway.pin());
        let (id, stop) = (gateway.id().to_owned(), CancellationToken::new());
        let task = tokio::spawn(gateway.run(stop.clone()));
        Self { state, url, pin, id, stop, task, _data: data }
    }

    async fn end(self) {
        self.stop.cancel();
        self.task.await.unwrap();
    }

    /// A token that works for `seconds`, which may be over.
    async fn token(&self, seconds: i64) -> (JoinToken, JoinTokenId) {
        let token = JoinToken::generate(&self.url, self.pin).unwrap();
        let now = clock::now();
        let record = JoinTokenRecord {
            id: JoinTokenId::new(),
            note: String::new(),
            created_by: "test".to_owned(),
            created_at: now,
            expires_at: Timestamp::from_micros(now.micros() + seconds * 1_000_000),
            used_at: None,
            used_by: None,
            revoked_at: None,
        };
        let id = record.id;
        self.state.store.create_join_token(record, token.secret_hash()).await.unwrap();
        (token, id)
    }

    async fn join(&self, data: &TempDir, token: &JoinToken, new_identity: bool) -> Result<Joined, JoinError> {
        join(data.path(), JoinRequest { url: &self.url, token, name: "web1", new_identity }).await
    }

    /// A host that is known here by `key`.
    async fn host(&self, key: &HostKey) -> HostId {
        let host = HostId::new();
        self.state.store.register_host(host, &host.to_string(), key.public_key().0, clock::now()).await.unwrap();
        host
    }

    fn trust(&self) -> Trust {
        self.pin.map_or(Trust::System, Trust::Pinned)
    }

    /// Dials with claims that are right for this gateway, as `change` makes them.
    async fn dial(&self, host: HostId, key: &HostKey, change: impl FnOnce(&mut Claims)) -> Result<String, Refusal> {
        let mut sent = String::new();
        let hello = |dialled: &Dialled| {
            let mut claims = self.claims(host, dialled);
            change(&mut claims);
            sent = assertion::sign(key, &claims)?;
            Ok(hello(host, &sent))
        };
        refused(dial(&self.url, &self.trust(), hello).await.map(drop)).map(|()| sent)
    }

    /// Dials with an assertion that was sent before.
    async fn replay(&self, host: HostId, sent: &str) -> Result<(), Refusal> {
        refused(dial(&self.url, &self.trust(), |_| Ok(hello(host, sent))).await.map(drop))
    }

    fn claims(&self, host: HostId, dialled: &Dialled) -> Claims {
        Claims {
            purpose: Purpose::Link,
            host,
            gateway: self.id.clone(),
            origin: dialled.origin.clone(),
            binding: dialled.binding,
            generation: 0,
            issued_at: clock::now(),
        }
    }

    async fn linked(&self, host: HostId) {
        let linked = async {
            while !self.state.fleet.linked(host) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), linked).await.expect("the host links up");
    }
}

fn hello(host: HostId, sent: &str) -> Hello {
    Hello {
        protocol: hostler_link::handshake::PROTOCOL,
        host,
        generation: 0,
        agent_version: "0.1.0".to_owned(),
        instance: Instance(7),
        token: Token::new(sent).unwrap(),
    }
}

fn refused(result: Result<(), DialError>) -> Result<(), Refusal> {
    match result {
        Ok(()) => Ok(()),
        Err(DialError::Refused(refusal)) => Err(refusal),
        Err(other) => panic!("{other}"),
    }
}

fn code<T: std::fmt::Debug>(result: Result<T, Refusal>) -> String {
    result.unwrap_err().code
}

fn why(result: Result<Joined, JoinError>) -> String {
    match result {
        Err(JoinError::Dial(DialError::Refused(refusal))) => refusal.code,
        other => panic!("{other:?}"),
    }
}

/// The agent before may be on its way out: its last calls hold the journal for a moment.
async fn agent(data: &TempDir) -> Agent {
    let opened = async {
        loop {
            match Agent::open(AgentSettings { data: data.path().to_owned(), policy: Policy::default() }) {
                Ok(agent) => break agent,
                Err(AgentError::Journal(_)) => tokio::time::sleep(Duration::from_millis(20)).await,
                Err(error) => panic!("{error}"),
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(20), opened).await.expect("the journal is free")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_joins_once_and_links_from_then_on() {
    let gateway = Running::start(TlsSettings::SelfMade).await;
    let data = tempfile::tempdir().unwrap();
    let (token, _) = gateway.token(600).await;
    let joined = gateway.join(&data, &token, false).await.unwrap();
    assert_eq!((joined.name.as_str(), &joined.gateway), ("web1", &gateway.id));
    let link = gateway_of(data.path()).unwrap().unwrap();
    assert_eq!(link.trust, gateway.trust());

    for _ in 0..2 {
        let (agent, stop) = (agent(&data).await, CancellationToken::new());
        let to = link.clone();
        let following = tokio::spawn(agent.follow_gateway(move || to.clone(), stop.clone()));
        gateway.linked(joined.host).await;
        let before = gateway.state.store.host(joined.host).await.unwrap().generation;
        let skew = rehearse(data.path(), &link).await.unwrap();
        assert!(skew.abs() < 60_000_000, "{skew}");
        assert!(gateway.state.fleet.linked(joined.host), "asking takes no link away");
        assert_eq!(gateway.state.store.host(joined.host).await.unwrap().generation, before);
        stop.cancel();
        following.await.unwrap();
        while gateway.state.fleet.linked(joined.host) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    gateway.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_opens_once_for_one_host_and_for_a_time() {
    let gateway = Running::start(TlsSettings::SelfMade).await;
    let data = tempfile::tempdir().unwrap();
    let foreign = JoinToken::generate(&gateway.url, gateway.pin).unwrap();
    assert_eq!(why(gateway.join(&data, &foreign, false).await), "bad_token");
    let (expired, _) = gateway.token(-1).await;
    assert_eq!(why(gateway.join(&data, &expired, false).await), "token_expired");
    let (revoked, id) = gateway.token(600).await;
    gateway.state.store.revoke_join_token(id, clock::now()).await.unwrap();
    assert_eq!(why(gateway.join(&data, &revoked, false).await), "token_revoked");
    assert_eq!(gateway_of(data.path()).unwrap(), None, "nothing is kept of a gateway that said no");

    let (token, _) = gateway.token(600).await;
    gateway.join(&data, &token, false).await.unwrap();
    let other = tempfile::tempdir().unwrap();
    assert_eq!(why(gateway.join(&other, &token, false).await), "token_used");
    assert_eq!(why(gateway.join(&data, &token, true).await), "token_used", "another identity is another host");
    assert_eq!(gateway.state.store.hosts().await.unwrap().len(), 1);

    let wrong = JoinToken::generate(&gateway.url, Some(Pin([7; 32]))).unwrap();
    let error = gateway.join(&other, &wrong, false).await.unwrap_err();
    assert!(matches!(error, JoinError::Dial(DialError::Tls { .. })), "{error}");
    gateway.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_join_that_was_cut_off_is_finished_by_running_it_again() {
    let gateway = Running::start(TlsSettings::SelfMade).await;
    for new_identity in [false, true] {
        let data = tempfile::tempdir().unwrap();
        let (token, _) = gateway.token(600).await;
        let first = gateway.join(&data, &token, new_identity).await.unwrap();
        // Killed after the gateway had answered and before the answer was kept.
        std::fs::rename(data.path().join("gateway.json"), data.path().join("gateway.json.new")).unwrap();
        assert_eq!(gateway_of(data.path()).unwrap(), None);
        assert_eq!(gateway.join(&data, &token, new_identity).await.unwrap(), first);
        assert!(gateway_of(data.path()).unwrap().is_some());
    }
    assert_eq!(gateway.state.store.hosts().await.unwrap().len(), 2);
    gateway.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_assertion_is_good_once_on_its_own_connection() {
    let gateway = Running::start(TlsSettings::SelfMade).await;
    let key = HostKey::generate().unwrap();
    let host = gateway.host(&key).await;
    let sent = gateway.dial(host, &key, |_| ()).await.unwrap();
    assert_eq!(code(gateway.replay(host, &sent).await), "relayed");
    assert_eq!(code(gateway.dial(host, &key, |claims| claims.binding = ChannelBinding::None).await), "relayed");
    let other = |claims: &mut Claims| claims.binding = ChannelBinding::TlsExporter([7; 32]);
    assert_eq!(code(gateway.dial(host, &key, other).await), "relayed");

    // Where nothing binds it to its connection, its time does.
    let plain = Running::start(TlsSettings::Off).await;
    let host = plain.host(&key).await;
    let sent = plain.dial(host, &key, |_| ()).await.unwrap();
    assert_eq!(code(plain.replay(host, &sent).await), "replayed");
    let earlier =
        |claims: &mut Claims| claims.issued_at = Timestamp::from_micros(claims.issued_at.micros() - 30_000_000);
    assert_eq!(code(plain.dial(host, &key, earlier).await), "replayed");
    let lied = |claims: &mut Claims| claims.origin = "https://gateway.example:443".to_owned();
    assert_eq!(code(plain.dial(host, &key, lied).await), "relayed");
    plain.dial(host, &key, |_| ()).await.unwrap();
    gateway.end().await;
    plain.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_assertion_is_for_one_gateway_host_and_key() {
    let (gateway, other) = (Running::start(TlsSettings::SelfMade).await, Running::start(TlsSettings::SelfMade).await);
    let (key, stranger) = (HostKey::generate().unwrap(), HostKey::generate().unwrap());
    let host = gateway.host(&key).await;
    assert_eq!(code(gateway.dial(HostId::new(), &key, |_| ()).await), "unknown_host");
    assert_eq!(code(gateway.dial(host, &stranger, |_| ()).await), "bad_assertion");
    assert_eq!(code(gateway.dial(host, &key, |claims| claims.host = HostId::new()).await), "bad_assertion");
    assert_eq!(code(gateway.dial(host, &key, |claims| claims.generation = 5).await), "bad_assertion");
    assert_eq!(code(gateway.dial(host, &key, |claims| claims.gateway = other.id.clone()).await), "other_gateway");
    assert_eq!(code(gateway.replay(host, "no-assertion").await), "bad_assertion");
    let rehearsal = gateway.dial(host, &key, |claims| claims.purpose = Purpose::Rehearsal).await;
    assert_eq!(code(rehearsal), "http_204", "a rehearsal opens no link");
    assert!(!gateway.state.fleet.linked(host));

    gateway.state.store.remove_host(host).await.unwrap();
    assert_eq!(code(gateway.dial(host, &key, |_| ()).await), "unknown_host");
    gateway.end().await;
    other.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_is_off_is_told_and_borne() {
    let gateway = Running::start(TlsSettings::SelfMade).await;
    let data = tempfile::tempdir().unwrap();
    let (token, _) = gateway.token(600).await;
    let joined = gateway.join(&data, &token, false).await.unwrap();
    let key = HostKey::generate().unwrap();
    let host = gateway.host(&key).await;
    for off in [HOUR, -HOUR] {
        let skewed = |claims: &mut Claims| claims.issued_at = Timestamp::from_micros(claims.issued_at.micros() + off);
        let refusal = gateway.dial(host, &key, skewed).await.unwrap_err();
        assert_eq!(refusal.code, "clock_skew");
        assert!((refusal.gateway_time.unwrap() - clock::now().micros()).abs() < 60_000_000);
    }
    let clocks: [fn() -> Timestamp; 2] = [
        || Timestamp::from_micros(clock::now().micros() + HOUR),
        || Timestamp::from_micros(clock::now().micros() - HOUR),
    ];
    for off in clocks {
        let (agent, stop) = (agent(&data).await.with_clock(off), CancellationToken::new());
        let link: GatewayLink = gateway_of(data.path()).unwrap().unwrap();
        let following = tokio::spawn(agent.follow_gateway(move || link.clone(), stop.clone()));
        gateway.linked(joined.host).await;
        stop.cancel();
        following.await.unwrap();
        while gateway.state.fleet.linked(joined.host) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    gateway.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn plain_http_is_told_to_use_tls() {
    let gateway = Running::start(TlsSettings::SelfMade).await;
    let url = gateway.url.replace("https:", "http:");
    let error = hostler_link::post(&url, &Trust::System, "/api/v1/join", b"{}".to_vec(), &Settings::default()).await;
    let text = error.unwrap_err().to_string();
    assert!(text.contains("https"), "{text}");
    gateway.end().await;
}
