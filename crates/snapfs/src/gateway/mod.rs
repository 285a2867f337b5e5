//! The HTTP side of a SnapFS gateway.

mod backoff;
mod call;
mod error;
mod http;
mod ingest;
mod outbox;
mod probe;

use std::fmt;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU32};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use tokio_util::sync::CancellationToken;

use crate::settings::{Credentials, GatewaySettings, Secret};
use crate::spool::Spool;

pub use error::GatewayError;

pub(crate) use backoff::Backoff;
pub(crate) use call::CallError;
pub(crate) use ingest::{Events, Taken};
pub(crate) use outbox::Outbox;
pub(crate) use probe::Probes;

/// What was sent of the spool.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Drained {
    /// Calls the gateway took.
    pub calls: u64,
    /// Files in them.
    pub files: u64,
}

/// A SnapFS gateway's HTTP side: reuses connections, and remembers which of its paths it has. A cheap clone.
#[derive(Clone, Debug)]
pub struct Gateway(Arc<Inner>);

struct Inner {
    settings: GatewaySettings,
    /// The URL without a password.
    shown: String,
    client: reqwest::Client,
    /// What the API key was exchanged for.
    token: Mutex<Option<Secret>>,
    exchanging: tokio::sync::Mutex<()>,
    /// Its routes are not below `/api`.
    plain: AtomicBool,
    /// Probes in a row that came to nothing, and when the next one is worth a try.
    probe_failures: AtomicU32,
    probe_again: Mutex<Option<Instant>>,
    spool: Spool,
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inner").field("gateway", &self.shown).finish_non_exhaustive()
    }
}

impl Gateway {
    /// Makes a client; nothing is sent yet.
    ///
    /// # Errors
    /// [`GatewayError::Setup`] when the URL cannot be used or TLS cannot be set up.
    pub fn new(mut settings: GatewaySettings) -> Result<Self, GatewayError> {
        settings.http.truncate(settings.http.trim_end_matches('/').len());
        let client = http::client(&settings.http)?;
        let shown = match (settings.http.split_once("://"), settings.http.rsplit_once('@')) {
            (Some((scheme, _)), Some((_, host))) => format!("{scheme}://{host}"),
            _ => settings.http.clone(),
        };
        let spool = Spool::new(&settings.spool, &settings.http, settings.spool_bytes);
        Ok(Self(Arc::new(Inner {
            settings,
            shown,
            client,
            token: Mutex::default(),
            exchanging: tokio::sync::Mutex::default(),
            plain: AtomicBool::new(false),
            probe_failures: AtomicU32::new(0),
            probe_again: Mutex::default(),
            spool,
        })))
    }

    /// Exchanges an API key for a token, also when there is one already; does nothing with other credentials.
    ///
    /// # Errors
    /// [`GatewayError::Unauthorized`] on 401 and 403; [`GatewayError::Unavailable`].
    pub async fn authenticate(&self) -> Result<(), GatewayError> {
        if !matches!(self.0.settings.credentials, Credentials::ApiKey(_)) {
            return Ok(());
        }
        let held = self.0.token.lock().unwrap_or_else(PoisonError::into_inner).clone();
        self.exchange(held.as_ref()).await.map(drop)
    }

    /// The value of the header `Authorization`, with its `Bearer`: a token as given, or one that an API key was exchanged for.
    pub fn bearer(&self) -> Option<Secret> {
        let token = match &self.0.settings.credentials {
            Credentials::None => None,
            Credentials::Token(token) => Some(token.clone()),
            Credentials::ApiKey(_) => self.0.token.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        };
        token.map(|token| Secret::new(format!("Bearer {}", token.expose())))
    }

    /// Sends what the spool holds, oldest first, until it is empty or `cancel`. Waits for a gateway that is away.
    ///
    /// # Errors
    /// [`GatewayError::Unauthorized`]; [`GatewayError::Spool`].
    pub async fn drain_spool(&self, cancel: CancellationToken) -> Result<Drained, GatewayError> {
        let mut outbox = Outbox::leftovers(self.clone()).await.map_err(|error| self.spool_error(&error))?;
        let mut drained = Drained::default();
        let mut backoff = Backoff::new(&self.0.settings.waits);
        let problem = |text: &str| tracing::warn!("{text}");
        let work = async {
            while let Some(head) = outbox.head().await {
                match self.ingest(&head.subject, &head.events, &problem).await {
                    Ok(taken) => {
                        backoff.reset();
                        outbox.done().await;
                        drained.calls += 1;
                        drained.files += taken.files;
                    }
                    Err(CallError::Unauthorized(why)) => return Err(GatewayError::Unauthorized(why)),
                    Err(error) => {
                        tracing::debug!("the spool waits: {}", error.text());
                        tokio::time::sleep(backoff.next()).await;
                    }
                }
            }
            Ok(())
        };
        tokio::select! {
            () = cancel.cancelled() => {}
            done = work => done?,
        }
        Ok(drained)
    }

    /// Files in the spool, without those that a running scan or drain has in its hands. Reads the whole spool, and blocks.
    ///
    /// # Errors
    /// [`GatewayError::Spool`].
    pub fn spooled(&self) -> Result<u64, GatewayError> {
        self.0.spool.files().map_err(|error| self.spool_error(&error))
    }

    /// Whether the spool may hold something. Reads names only.
    pub(crate) fn has_spooled(&self) -> bool {
        self.0.spool.lanes().is_ok_and(|lanes| !lanes.is_empty())
    }

    fn spool_error(&self, error: &io::Error) -> GatewayError {
        GatewayError::Spool(format!(
            "the spool in {} cannot be used: {error}; check its permissions and free space",
            self.0.settings.spool.display()
        ))
    }

    pub(crate) fn settings(&self) -> &GatewaySettings {
        &self.0.settings
    }

    /// The URL for people.
    pub(crate) fn shown(&self) -> &str {
        &self.0.shown
    }

    pub(crate) fn spool(&self) -> &Spool {
        &self.0.spool
    }
}
