//! The scanner agent: keeps a socket to its gateway and scans when it is told to, in the place of `snapfs agent` and
//! `snapfs-agent-scanner`.
//!
//! ```text
//!            ┌──────────────── back-off, or at once after an orderly end ───────────────┐
//!            ▼                                                                           │
//!   exchange the API key ──► name, TCP, TLS, upgrade ──► hello, replies, commands ───────┘
//! ```
//!
//! It never gives up, except when the gateway refuses the API key at the start. A scan goes on while the socket is down
//! ([`work`]); replies that were not delivered follow on the next socket ([`outbox`]).

mod backoff;
mod drain;
mod messages;
mod outbox;
mod session;
mod socket;
mod work;

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::config::{AgentSettings, Generation};
use crate::gateway::{Gateway, GatewayError};
use crate::outcome::Listener;
use backoff::{Attempt, Backoff, chance};
use drain::Drain;
use session::{Ended, Session};
use socket::Socket;
use work::Work;

/// For a scan that was interrupted to end.
const STOP_MAX: Duration = Duration::from_secs(3);

/// Runs the agent until `stop`; then a running scan is cancelled and told of, for a few seconds at most.
///
/// # Errors
/// [`GatewayError::Unauthorized`] when the gateway refuses the credentials at the start, and what keeps the HTTP client
/// or the spool from working at all.
pub async fn run_agent(
    settings: AgentSettings,
    listener: Arc<dyn Listener>,
    stop: CancellationToken,
) -> Result<(), GatewayError> {
    let gateway = Gateway::new(settings.gateway.clone())?;
    let mut work = Work::new(Arc::new(settings), gateway.clone(), listener);
    let mut agent = Agent { drain: Drain::new(gateway.clone(), &stop), gateway, started: false };
    let mut backoff = Backoff::default();
    while let Some(attempt) = agent.attempt(&mut work, &stop).await? {
        let wait = backoff.after(attempt, chance());
        tracing::debug!("the next socket in {} ms", wait.as_millis());
        tokio::select! {
            () = stop.cancelled() => break,
            () = tokio::time::sleep(wait) => {}
        }
    }
    work.finish(STOP_MAX).await;
    Ok(())
}

struct Agent {
    gateway: Gateway,
    drain: Drain,
    /// The gateway has taken the credentials once, or did not ask.
    started: bool,
}

impl Agent {
    /// One socket, from the exchange of the key to its end; `None` when the agent is to end.
    async fn attempt(&mut self, work: &mut Work, stop: &CancellationToken) -> Result<Option<Attempt>, GatewayError> {
        let settings = Arc::clone(&work.settings);
        let socket = tokio::select! {
            biased;
            () = stop.cancelled() => return Ok(None),
            socket = self.connect(&settings) => socket?,
        };
        let Some(socket) = socket else { return Ok(Some(Attempt::Failed)) };
        tracing::info!("connected to {} as {}", settings.socket, settings.agent_id);
        let begun = Instant::now();
        let ended = Session::new(socket, work, &mut self.drain).run(stop).await;
        let lived = begun.elapsed();
        Ok(match ended {
            Ended::Stopped => None,
            Ended::Closed => {
                tracing::warn!("{} closed the socket after {} s", settings.socket, lived.as_secs());
                Some(Attempt::Closed(lived))
            }
            Ended::Broken(why) => {
                tracing::warn!("the socket to {} broke after {} s: {why}", settings.socket, lived.as_secs());
                Some(Attempt::Broken(lived))
            }
        })
    }

    /// The socket, or `None` when another attempt may succeed.
    async fn connect(&mut self, settings: &AgentSettings) -> Result<Option<Socket>, GatewayError> {
        match self.gateway.authenticate().await {
            Ok(()) => self.started = true,
            Err(error) => {
                let passes = match &error {
                    GatewayError::Unavailable(_) => true,
                    GatewayError::Unauthorized(_) => self.started,
                    _ => false,
                };
                if !passes {
                    return Err(error);
                }
                tracing::warn!("no token from {}: {error}", settings.gateway.http);
                // Gateways of the first generation ask for none on the socket.
                if settings.generation == Generation::Second {
                    return Ok(None);
                }
            }
        }
        let bearer = self.gateway.bearer().filter(|_| settings.generation == Generation::Second);
        match socket::connect(&settings.socket, bearer.as_ref()).await {
            Ok(socket) => Ok(Some(socket)),
            Err(error) => {
                tracing::warn!("{error}; trying again");
                Ok(None)
            }
        }
    }
}
