//! The gateway this host serves: what is kept of it, and one dial to it.

use std::io;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hostler_identity::Pin;
use hostler_identity::assertion::{self, Claims, Purpose};
use hostler_link::handshake::PROTOCOL;
use hostler_link::{
    DialError, Dialled, DialledStream, Hello, HelloError, Instance, Refusal, Settings, Token, Trust, Welcome, dial,
};
use hostler_model::{ByteStr, Timestamp};
use serde::{Deserialize, Serialize};

use crate::identity::Identity;
use crate::keep;

const FILE: &str = "gateway.json";

/// First wait after a lost or refused link; doubles up to the last, and each wait is drawn from 0 to that ("full jitter").
const FIRST_WAIT: Duration = Duration::from_millis(500);
const LAST_WAIT: Duration = Duration::from_secs(60);
/// Wait after a refusal that only a person can mend.
const HOPELESS_WAIT: Duration = Duration::from_secs(60);
const HOPELESS_SPREAD: Duration = Duration::from_secs(240);
/// Refusals that only a person can mend.
const HOPELESS: [&str; 3] = ["unknown_host", "bad_assertion", "other_gateway"];

/// The gateway to serve.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GatewayLink {
    /// `https://host:port[/prefix]` or `http://...`.
    pub url: String,
    /// The gateway's id: what this host signs for is good at no other.
    pub gateway_id: String,
    /// How its certificate is judged.
    pub trust: Trust,
}

/// Whether the agent has a link now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LinkState {
    /// It has.
    pub linked: bool,
    /// Why the last link ended, or none was made; for people.
    pub last_error: Option<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    url: String,
    gateway: String,
    pin: Option<String>,
}

/// What is kept of the gateway could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum GatewayFileError {
    /// The file failed.
    #[error("cannot {action} {path}: {source}")]
    File {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: ByteStr,
        /// Why not.
        source: io::Error,
    },
    /// The file is not what this program writes.
    #[error("{path} is damaged ({reason}); join again with the line that `hostler hosts token` prints at the gateway")]
    Damaged {
        /// Which.
        path: ByteStr,
        /// What is wrong.
        reason: String,
    },
}

/// The gateway that the agent in `data` joined.
///
/// # Errors
/// A [`GatewayFileError`].
pub fn gateway_of(data: &Path) -> Result<Option<GatewayLink>, GatewayFileError> {
    let path = data.join(FILE);
    let name = || ByteStr::from(path.as_os_str().as_encoded_bytes());
    let text = match std::fs::read(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(GatewayFileError::File { action: "read", path: name(), source }),
    };
    let damaged = |reason: String| GatewayFileError::Damaged { path: name(), reason };
    let kept: Kept = serde_json::from_slice(&text).map_err(|error| damaged(error.to_string()))?;
    let trust = match kept.pin {
        None => Trust::System,
        Some(pin) => {
            Trust::Pinned(pin.parse().map_err(|error: hostler_identity::ParsePinError| damaged(error.to_string()))?)
        }
    };
    Ok(Some(GatewayLink { url: kept.url, gateway_id: kept.gateway, trust }))
}

/// Keeps the gateway that was joined.
pub(crate) fn keep(data: &Path, gateway: &GatewayLink) -> Result<(), GatewayFileError> {
    let path = data.join(FILE);
    let pin = match &gateway.trust {
        Trust::System => None,
        Trust::Pinned(pin) => Some(Pin::to_string(pin)),
    };
    let failed = |source| {
        let path = ByteStr::from(path.as_os_str().as_encoded_bytes());
        GatewayFileError::File { action: "write", path, source }
    };
    let kept = Kept { url: gateway.url.clone(), gateway: gateway.gateway_id.clone(), pin };
    let text = serde_json::to_vec(&kept).map_err(|error| failed(error.into()))?;
    keep::write(&path, &text).map_err(failed)
}

/// The wall clock.
pub(crate) fn system_clock() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_micros(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}

/// Signs and dials. Lives as long as the agent's process.
pub(crate) struct Dialler {
    instance: Instance,
    clock: fn() -> Timestamp,
    /// What the gateway's time is ahead of this host's, microseconds: told by the gateway when it matters.
    offset: i64,
    /// No two assertions have the same time, and none an earlier one, also when the clock is set back.
    last: i64,
}

impl Dialler {
    pub(crate) fn new(clock: fn() -> Timestamp) -> Self {
        // Without randomness all runs look like one: a second machine would be taken for this one, nothing worse.
        Self { instance: Instance(getrandom::u64().unwrap_or(0)), clock, offset: 0, last: 0 }
    }

    /// Dials once, and once more at once when the gateway says that this host's clock is off.
    pub(crate) async fn dial(
        &mut self,
        gateway: &GatewayLink,
        identity: &Identity,
    ) -> Result<(DialledStream, Welcome), DialError> {
        let first = dial(&gateway.url, &gateway.trust, |d| self.hello(gateway, identity, d, Purpose::Link)).await;
        match first {
            Err(error) if self.corrected(&error) => {
                dial(&gateway.url, &gateway.trust, |d| self.hello(gateway, identity, d, Purpose::Link)).await
            }
            first => first,
        }
    }

    async fn rehearse(&mut self, gateway: &GatewayLink, identity: &Identity) -> Result<i64, DialError> {
        let settings = Settings::default();
        let hello = |d: &Dialled| self.hello(gateway, identity, d, Purpose::Rehearsal);
        match hostler_link::rehearse(&gateway.url, &gateway.trust, hello, &settings).await {
            Err(error) if self.corrected(&error) => {
                let hello = |d: &Dialled| self.hello(gateway, identity, d, Purpose::Rehearsal);
                hostler_link::rehearse(&gateway.url, &gateway.trust, hello, &settings).await
            }
            first => first,
        }
    }

    /// Takes over the gateway's time, when it refused an assertion for its time.
    fn corrected(&mut self, error: &DialError) -> bool {
        let Some(time) = gateway_time(error) else { return false };
        self.offset = time.saturating_sub((self.clock)().micros());
        let seconds = self.offset / 1_000_000;
        tracing::warn!(seconds, "this host's clock is off; set it. The gateway's time is used for signing meanwhile");
        // What was signed by the wrong clock may lie ahead of the right one; the gateway has not taken it.
        self.last = 0;
        true
    }

    fn hello(
        &mut self,
        gateway: &GatewayLink,
        identity: &Identity,
        dialled: &Dialled,
        purpose: Purpose,
    ) -> Result<Hello, HelloError> {
        self.last = (self.clock)().micros().saturating_add(self.offset).max(self.last.saturating_add(1));
        let claims = Claims {
            purpose,
            host: identity.id(),
            gateway: gateway.gateway_id.clone(),
            origin: dialled.origin.clone(),
            binding: dialled.binding,
            generation: identity.generation(),
            issued_at: Timestamp::from_micros(self.last),
        };
        Ok(Hello {
            protocol: PROTOCOL,
            host: identity.id(),
            generation: identity.generation(),
            agent_version: env!("CARGO_PKG_VERSION").into(),
            instance: self.instance,
            token: Token::new(assertion::sign(identity.key(), &claims)?)?,
        })
    }
}

/// Asks the gateway whether it would take a link of the host in `data`, without making one: an agent that is linked stays
/// so. Gives what this host's clock is ahead of the gateway's, microseconds.
///
/// # Errors
/// As for a link; [`DialError::Refused`] is the gateway's word on this host's key.
pub async fn rehearse(data: &Path, gateway: &GatewayLink) -> Result<i64, DialError> {
    let identity = Identity::load_or_create(data).map_err(|error| DialError::Hello(error.into()))?;
    let time = Dialler::new(system_clock).rehearse(gateway, &identity).await?;
    Ok(system_clock().micros().saturating_sub(time))
}

/// The gateway's time, when it refused an assertion for its time.
fn gateway_time(error: &DialError) -> Option<i64> {
    match error {
        DialError::Refused(refusal) if refusal.code == "clock_skew" => refusal.gateway_time,
        _ => None,
    }
}

/// How long to wait before dialling again.
pub(crate) struct Backoff(Duration);

impl Backoff {
    pub(crate) fn new() -> Self {
        Self(FIRST_WAIT)
    }

    /// After a link that had stood.
    pub(crate) fn after_link(&mut self) -> Duration {
        self.0 = FIRST_WAIT;
        self.next()
    }

    /// After a dial that failed.
    pub(crate) fn after_failure(&mut self, refusal: Option<&Refusal>) -> Duration {
        match refusal {
            Some(refusal) if HOPELESS.contains(&refusal.code.as_str()) => HOPELESS_WAIT + jittered(HOPELESS_SPREAD),
            Some(refusal) => refusal.retry_after.unwrap_or_default() + self.next(),
            None => self.next(),
        }
    }

    fn next(&mut self) -> Duration {
        let wait = jittered(self.0);
        self.0 = (self.0 * 2).min(LAST_WAIT);
        wait
    }
}

fn jittered(wait: Duration) -> Duration {
    // Without randomness the whole wait is as good as any other.
    let part = getrandom::u32().unwrap_or(u32::MAX);
    wait.mul_f64(f64::from(part) / f64::from(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use hostler_identity::assertion::ChannelBinding;

    #[test]
    fn the_gateway_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(gateway_of(dir.path()).unwrap(), None);
        for trust in [Trust::System, Trust::Pinned(Pin([7; 32]))] {
            let gateway = GatewayLink { url: "https://gw:7440".into(), gateway_id: "0123".into(), trust };
            keep(dir.path(), &gateway).unwrap();
            assert_eq!(gateway_of(dir.path()).unwrap(), Some(gateway));
        }
        std::fs::write(dir.path().join(FILE), b"{\"url\":\"https://gw\",\"gateway\":\"0\",\"pin\":\"sha1\"}").unwrap();
        assert!(gateway_of(dir.path()).unwrap_err().to_string().contains("join again"));
    }

    #[test]
    fn assertions_go_forward_whatever_the_clock_does() {
        let dir = tempfile::tempdir().unwrap();
        let identity = Identity::load_or_create(dir.path()).unwrap();
        let gateway = GatewayLink { url: "http://gw".into(), gateway_id: "0123".into(), trust: Trust::System };
        let dialled = Dialled { origin: "http://gw:80".into(), binding: ChannelBinding::None };
        let mut dialler = Dialler::new(|| Timestamp::from_micros(1_000_000));
        let mut last = 0;
        for offset in [0, 0, 500, -500_000] {
            dialler.offset = offset;
            let hello = dialler.hello(&gateway, &identity, &dialled, Purpose::Link).unwrap();
            let claims = assertion::verify(hello.token.expose(), &identity.key().public_key()).unwrap();
            assert!(claims.issued_at.micros() > last);
            last = claims.issued_at.micros();
        }
    }

    #[test]
    fn waits_grow_and_what_only_people_mend_is_left_alone_for_minutes() {
        let mut backoff = Backoff::new();
        for _ in 0..20 {
            assert!(backoff.after_failure(None) <= LAST_WAIT);
        }
        assert_eq!(backoff.0, LAST_WAIT);
        assert!(backoff.after_link() <= FIRST_WAIT);
        for code in HOPELESS {
            let refusal = Refusal::new(http_401(), code, "no");
            let wait = backoff.after_failure(Some(&refusal));
            assert!((HOPELESS_WAIT..=HOPELESS_WAIT + HOPELESS_SPREAD).contains(&wait), "{code}: {wait:?}");
        }
        let busy = Refusal { retry_after: Some(Duration::from_secs(7)), ..Refusal::new(http_401(), "busy", "later") };
        assert!(backoff.after_failure(Some(&busy)) >= Duration::from_secs(7));
    }

    fn http_401() -> http::StatusCode {
        http::StatusCode::UNAUTHORIZED
    }
}
