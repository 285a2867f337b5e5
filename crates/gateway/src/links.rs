//! Where agents dial in: `GET /api/v1/link`, upgraded to a WebSocket.
//!
//! The agent's bearer token is an assertion ([`hostler_identity::assertion`]). It is taken when
//!
//! 1. the host's stored key signed it, for this host and this gateway (`unknown_host`, `bad_assertion`, `other_gateway`);
//! 2. it was signed for this connection (`relayed`): on TLS of ours, the channel binding is this connection's. Without it
//!    the host dialled plain HTTP, or the configured external URL, whose TLS ends at a proxy;
//! 3. it was signed within [`SKEW`] of now (`clock_skew`, which tells the gateway's time);
//! 4. no other machine is linked as this host and answers (`duplicate_host`);
//! 5. it is newer than every one taken of this host, which the store decides and keeps (`replayed`).
//!
//! An assertion for a rehearsal is checked up to the third point and answered with 204 and the gateway's time: it opens
//! nothing, and uses up nothing.
//!
//! A fleet that comes back at once is let in a few at a time; what waits too long is told when to come again.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Extension;
use axum::extract::State;
use axum::extract::ws::{WebSocketUpgrade, rejection::WebSocketUpgradeRejection};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use hostler_identity::HostPublicKey;
use hostler_identity::assertion::{self, ChannelBinding, Claims, Purpose};
use hostler_link::handshake::{Hello, Refusal, TIME_HEADER, Welcome};
use hostler_link::{LinkClient, accept};
use hostler_model::Timestamp;
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::clock;
use crate::fleet::LinkInfo;
use crate::http::ConnectionInfo;
use crate::state::AppState;
use crate::store::{LinkAdmission, StoreError};

/// How far a host's clock may be off.
const SKEW: Duration = Duration::from_secs(60);
/// Links being admitted at a time.
const ADMITTING: usize = 64;
/// Links that wait to be admitted; more are sent away at once. A fleet of ten thousand that comes back at once fits: to be
/// sent away costs each of them more than to wait.
const WAITING: usize = 10_000;
/// When a second machine with one identity may ask again.
const DUPLICATE_RETRY: Duration = Duration::from_secs(30);
/// How long one waits: less than an agent does for its answer.
const PATIENCE: Duration = Duration::from_secs(8);

/// Bounds how many links are looked up at a time. Cheap to clone.
#[derive(Clone)]
pub struct Admissions(Arc<Queue>);

struct Queue {
    places: Semaphore,
    waiting: AtomicUsize,
}

impl Default for Admissions {
    fn default() -> Self {
        Self(Arc::new(Queue { places: Semaphore::new(ADMITTING), waiting: AtomicUsize::new(0) }))
    }
}

impl Admissions {
    /// A place, or a refusal that says when to come again. Nothing is looked up before.
    async fn enter(&self) -> Result<SemaphorePermit<'_>, Refusal> {
        struct Waiting<'a>(&'a AtomicUsize);
        impl Drop for Waiting<'_> {
            fn drop(&mut self) {
                self.0.fetch_sub(1, Ordering::Relaxed);
            }
        }
        let before = self.0.waiting.fetch_add(1, Ordering::Relaxed);
        let _waiting = Waiting(&self.0.waiting);
        if before >= WAITING {
            return Err(busy());
        }
        match tokio::time::timeout(PATIENCE, self.0.places.acquire()).await {
            Ok(Ok(place)) => Ok(place),
            _ => Err(busy()),
        }
    }
}

/// Each agent is sent away for another time, so that they do not come back together.
fn busy() -> Refusal {
    let seconds = 1 + u64::from(getrandom::u32().unwrap_or(0) % 10);
    Refusal {
        retry_after: Some(Duration::from_secs(seconds)),
        ..Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "busy", "many hosts link up just now")
    }
}

/// Checks who dials, settles the link's generation and hands the link to the fleet.
pub async fn dial_in(
    State(state): State<AppState>,
    connection: Option<Extension<ConnectionInfo>>,
    headers: HeaderMap,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Response {
    // Before anything is looked up: a link that cannot be upgraded must not take a generation.
    let upgrade = match upgrade {
        Ok(upgrade) => upgrade,
        Err(error) => {
            return Refusal::new(StatusCode::BAD_REQUEST, "no_upgrade", format!("agents link up here: {error}"))
                .into_response();
        }
    };
    let connection = connection.map(|Extension(info)| info).unwrap_or_default();
    match admit(&state, &connection, &headers).await {
        Err(refusal) => {
            tracing::debug!(client = ?connection.client, code = refusal.code, "a link was refused");
            refusal.into_response()
        }
        Ok(Admitted::Rehearsal) => {
            (StatusCode::NO_CONTENT, [(TIME_HEADER, clock::now().micros().to_string())]).into_response()
        }
        Ok(Admitted::Link(hello, welcome)) => {
            let info =
                LinkInfo { generation: welcome.generation, instance: hello.instance, address: connection.client };
            accept(upgrade, &welcome, move |stream| async move {
                match LinkClient::connect(stream).await {
                    Ok((client, closed)) => state.fleet.hold(hello.host, info, client, closed).await,
                    Err(error) => tracing::warn!(host = %hello.host, %error, "a host's link did not start"),
                }
            })
        }
    }
}

/// What an agent may do.
enum Admitted {
    Link(Hello, Welcome),
    Rehearsal,
}

async fn admit(state: &AppState, connection: &ConnectionInfo, headers: &HeaderMap) -> Result<Admitted, Refusal> {
    let hello = Hello::from_headers(headers)?;
    let place = state.admissions.enter().await?;
    let bad = || refuse("bad_assertion", "the assertion is not signed by the key this host joined with");
    let opened = assertion::open(hello.token.expose()).map_err(|_| bad())?;
    let key = state.store.host_key(hello.host).await.map_err(broken)?.ok_or_else(unknown)?;
    let claims = opened.verify(&HostPublicKey(key)).map_err(|_| bad())?;
    if (claims.host, claims.generation) != (hello.host, hello.generation) {
        return Err(bad());
    }
    let here = Here { gateway: &state.gateway_id, external_origin: state.external_origin.as_deref(), connection };
    judge(&claims, &here, clock::now())?;
    if claims.purpose == Purpose::Rehearsal {
        return Ok(Admitted::Rehearsal);
    }
    // An old link that hangs may take seconds to be found out; others are let in meanwhile.
    drop(place);
    state.fleet.challenge(hello.host, hello.instance, connection.client).await.map_err(|_| duplicate())?;
    let admission = state.store.admit_link(hello.host, hello.generation, claims.issued_at).await;
    match admission {
        Ok(LinkAdmission::Admitted { generation }) => {
            Ok(Admitted::Link(hello, Welcome { generation, gateway: state.gateway_id.to_string() }))
        }
        Ok(LinkAdmission::Replayed) => Err(Refusal {
            hint: "the agent signs a new one when it dials again; if this goes on, two machines use one identity"
                .into(),
            ..refuse("replayed", "this assertion, or a later one, was used before")
        }),
        Ok(LinkAdmission::BadGeneration { stored }) => Err(Refusal::new(
            StatusCode::CONFLICT,
            "bad_generation",
            format!("the host claims link generation {}, this gateway gave out {stored}", hello.generation),
        )),
        Err(StoreError::NotFound { .. }) => Err(unknown()),
        Err(error) => Err(broken(error)),
    }
}

fn refuse(code: &str, message: impl Into<String>) -> Refusal {
    Refusal::new(StatusCode::UNAUTHORIZED, code, message)
}

fn unknown() -> Refusal {
    Refusal {
        hint: "it was removed here, or never joined; join again with the line that `hostler hosts token` prints".into(),
        ..refuse("unknown_host", "this gateway does not know the host")
    }
}

fn duplicate() -> Refusal {
    Refusal {
        retry_after: Some(DUPLICATE_RETRY),
        hint: "if this machine is a copy of that one, join it anew: `hostler join URL TOKEN --new-identity`".into(),
        ..Refusal::new(StatusCode::CONFLICT, "duplicate_host", "another machine is linked as this host, and it answers")
    }
}

fn broken(error: StoreError) -> Refusal {
    tracing::error!(%error, "a host could not be looked up");
    Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "store", "the gateway's store failed; see the gateway's log")
}

/// What an assertion is compared with.
struct Here<'a> {
    gateway: &'a str,
    external_origin: Option<&'a str>,
    connection: &'a ConnectionInfo,
}

/// Whether signed claims are meant for here and now.
fn judge(claims: &Claims, here: &Here<'_>, now: Timestamp) -> Result<(), Refusal> {
    if claims.gateway != here.gateway {
        return Err(Refusal {
            hint: "join again with the line that `hostler hosts token` prints".into(),
            ..refuse("other_gateway", "the host joined another gateway, or this one was made anew")
        });
    }
    let meant = match (here.connection.tls, claims.binding) {
        (true, ChannelBinding::TlsExporter(theirs)) => here.connection.exporter == Some(theirs),
        (true, ChannelBinding::None) => false,
        // TLS that ends at a proxy has a binding that only the proxy could check.
        (false, _) if here.external_origin == Some(&claims.origin) => true,
        (false, ChannelBinding::None) => claims.origin.starts_with("http://"),
        (false, ChannelBinding::TlsExporter(_)) => false,
    };
    if !meant {
        return Err(Refusal {
            hint: "behind a TLS proxy, start the gateway with --external-url and the URL that hosts dial".into(),
            ..refuse("relayed", "the assertion was made for another connection than this one")
        });
    }
    let off = i128::from(claims.issued_at.micros()) - i128::from(now.micros());
    if off.unsigned_abs() > SKEW.as_micros() {
        return Err(Refusal {
            gateway_time: Some(now.micros()),
            hint: "set the host's clock; the agent goes on with the gateway's time meanwhile".into(),
            ..refuse("clock_skew", format!("the host's clock is {} s off", off / 1_000_000))
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use hostler_model::HostId;

    const NOW: i64 = 1_800_000_000_000_000;

    fn judged(change: impl FnOnce(&mut Claims, &mut ConnectionInfo)) -> Result<(), String> {
        let mut claims = Claims {
            purpose: Purpose::Link,
            host: HostId::new(),
            gateway: "here".to_owned(),
            origin: "https://192.0.2.7:7440".to_owned(),
            binding: ChannelBinding::TlsExporter([3; 32]),
            generation: 1,
            issued_at: Timestamp::from_micros(NOW),
        };
        let mut connection = ConnectionInfo { exporter: Some([3; 32]), tls: true, ..ConnectionInfo::default() };
        change(&mut claims, &mut connection);
        let external_origin = Some("https://hosts.example:443");
        let here = Here { gateway: "here", external_origin, connection: &connection };
        judge(&claims, &here, Timestamp::from_micros(NOW)).map_err(|refusal| refusal.code)
    }

    #[test]
    fn an_assertion_is_for_one_gateway_connection_and_time() {
        let plain = ConnectionInfo::default();
        let minute = 60_000_000;
        assert_eq!(judged(|_, _| ()), Ok(()));
        let refused = |code: &str| Err(code.to_owned());
        assert_eq!(judged(|claims, _| claims.gateway = "there".to_owned()), refused("other_gateway"));
        assert_eq!(judged(|_, connection| connection.exporter = Some([4; 32])), refused("relayed"));
        assert_eq!(judged(|claims, _| claims.binding = ChannelBinding::None), refused("relayed"));
        assert_eq!(judged(|_, connection| *connection = plain), refused("relayed"), "TLS taken off on the way");
        assert_eq!(judged(|claims, _| claims.issued_at = Timestamp::from_micros(NOW + minute)), Ok(()));
        for at in [NOW + minute + 1, NOW - minute - 1, i64::MIN, i64::MAX] {
            assert_eq!(judged(|claims, _| claims.issued_at = Timestamp::from_micros(at)), refused("clock_skew"));
        }
    }

    #[test]
    fn without_our_tls_the_origin_counts() {
        let of = |origin: &str, binding: ChannelBinding| {
            judged(|claims, connection| {
                *connection = ConnectionInfo::default();
                (claims.origin, claims.binding) = (origin.to_owned(), binding);
            })
        };
        let bound = ChannelBinding::TlsExporter([3; 32]);
        assert_eq!(of("http://192.0.2.7:7440", ChannelBinding::None), Ok(()));
        assert_eq!(of("https://hosts.example:443", bound), Ok(()), "a proxy's TLS");
        assert!(of("https://hosts.example:443/prefix", bound).is_err());
        assert!(of("https://other.example:443", bound).is_err());
        assert!(of("https://other.example:443", ChannelBinding::None).is_err());
        assert!(of("http://192.0.2.7:7440", bound).is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn a_crowd_is_sent_away_for_a_while() {
        let admissions = Admissions::default();
        let mut places = Vec::new();
        for _ in 0..ADMITTING {
            places.push(admissions.enter().await.unwrap());
        }
        let refusal = admissions.enter().await.err().unwrap();
        let after = refusal.retry_after.unwrap();
        assert_eq!(refusal.status, StatusCode::SERVICE_UNAVAILABLE);
        assert!((1..=10).contains(&after.as_secs()), "{after:?}");
        places.pop();
        assert!(admissions.enter().await.is_ok());
    }
}
