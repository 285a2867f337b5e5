//! Telling others by HTTP what happened, as Standard Webhooks 1.0 has it.
//!
//! ```text
//! a scan ends ──(same transaction)──> happened ──> deliveries, a queue for each webhook ──> receivers
//! ```
//!
//! What happened is noted in the transaction in which it happens, so nothing is lost when the gateway is killed, and a
//! receiver is told at least once: the same message has the same `webhook-id`. Each webhook has a task of its own, so a
//! receiver that is slow or gone delays nobody else's messages.

mod address;
mod payload;
mod sign;
mod try_once;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hostler_model::{ByteStr, DeliveryId, HostId, WebhookId};
use tokio::sync::{broadcast, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub use address::shown;

use crate::clock;
use crate::events::{Event, Events};
use crate::secret::NoRandomness;
use crate::store::{
    Delivery, HappenedWhat, Hidden, NewEvent, PageRequest, Severity, Store, StoreError, Tried, Webhook, WebhookEvent,
};
use address::Guard;
use payload::{MAX_CHANGES, Message};

/// How often the store is looked at when nothing is heard.
const LOOK: Duration = Duration::from_secs(5);
/// Longest sleep of a webhook's task.
const NAP: Duration = Duration::from_secs(60);

/// A webhook as somebody wants it.
#[derive(Clone, Debug)]
pub struct NewWebhook {
    /// http or https; may hold credentials.
    pub url: Hidden,
    /// Empty for all.
    pub events: Vec<WebhookEvent>,
    /// Only of this host.
    pub host: Option<HostId>,
    /// Only of this directory and those below it.
    pub root: Option<ByteStr>,
    /// Who makes it.
    pub created_by: String,
}

/// What is to be different; what is `None` stays.
#[derive(Clone, Debug, Default)]
pub struct WebhookChange {
    /// See [`NewWebhook::url`].
    pub url: Option<Hidden>,
    /// See [`NewWebhook::events`].
    pub events: Option<Vec<WebhookEvent>>,
    /// Off or on.
    pub enabled: Option<bool>,
}

/// Why a webhook was not kept or not tried.
#[derive(Debug, thiserror::Error)]
pub enum WebhookError {
    /// A part of it makes no sense.
    #[error("{text}")]
    Invalid {
        /// `url`, `events` or `root`.
        field: &'static str,
        /// What is wrong.
        text: String,
    },
    /// It is switched off.
    #[error("this webhook is switched off; switch it on first")]
    Disabled,
    /// No secret could be made.
    #[error(transparent)]
    Random(#[from] NoRandomness),
    /// The store failed, or does not know it.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Keeps webhooks and tells them. Cheap to clone.
#[derive(Clone)]
pub struct Webhooks(Arc<Inner>);

struct Inner {
    store: Arc<dyn Store>,
    events: Events,
    guard: Guard,
    stopping: CancellationToken,
    /// Changes when there may be something to send.
    wake: watch::Sender<u64>,
}

impl Webhooks {
    /// Tells nobody before [`Webhooks::run`]. `own` is what the gateway listens on; `anywhere` refuses no address.
    pub fn new(
        store: Arc<dyn Store>,
        events: Events,
        own: SocketAddr,
        anywhere: bool,
        stopping: CancellationToken,
    ) -> Self {
        let guard = Guard { own, allow_all: anywhere };
        Self(Arc::new(Inner { store, events, guard, stopping, wake: watch::Sender::new(0) }))
    }

    /// Keeps a new webhook; its secret is in it.
    pub async fn create(&self, new: NewWebhook) -> Result<Webhook, WebhookError> {
        if new.root.as_ref().is_some_and(|root| !root.as_bytes().starts_with(b"/")) {
            let text = "the directory must be an absolute path, such as /srv/media".into();
            return Err(WebhookError::Invalid { field: "root", text });
        }
        let webhook = Webhook {
            id: WebhookId::new(),
            url: shown(new.url.reveal()),
            target: check_url(new.url)?,
            secret: sign::new_secret()?,
            events: check_events(new.events)?,
            host: new.host,
            root: new.root,
            enabled: true,
            disabled_because: None,
            created_by: new.created_by,
            created_at: clock::now(),
            delivered_at: None,
            failing_since: None,
            pending: 0,
            dropped: 0,
        };
        self.0.store.create_webhook(webhook.clone()).await?;
        self.0.wake();
        Ok(webhook)
    }

    /// Changes a webhook; the secret stays.
    pub async fn change(&self, id: WebhookId, change: WebhookChange) -> Result<Webhook, WebhookError> {
        let mut webhook = self.0.store.webhook(id).await?;
        if let Some(url) = change.url {
            webhook.target = check_url(url)?;
        }
        if let Some(events) = change.events {
            webhook.events = check_events(events)?;
        }
        webhook.enabled = change.enabled.unwrap_or(webhook.enabled);
        self.0.store.change_webhook(webhook).await?;
        self.0.wake();
        Ok(self.0.store.webhook(id).await?)
    }

    /// Sends a test event.
    pub async fn test(&self, id: WebhookId) -> Result<Delivery, WebhookError> {
        let webhook = self.0.store.webhook(id).await?;
        if !webhook.enabled {
            return Err(WebhookError::Disabled);
        }
        let now = clock::now();
        let delivery = Message::test(now).to(&webhook, now);
        self.0.store.enqueue_deliveries(None, vec![delivery.clone()]).await?;
        self.0.wake();
        Ok(delivery)
    }

    /// Sends an old delivery once more.
    pub async fn redeliver(&self, id: WebhookId, delivery: DeliveryId) -> Result<Delivery, WebhookError> {
        if !self.0.store.webhook(id).await?.enabled {
            return Err(WebhookError::Disabled);
        }
        let delivery = self.0.store.redeliver(id, delivery, clock::now()).await?;
        self.0.wake();
        Ok(delivery)
    }

    /// Tells receivers until the gateway stops.
    pub async fn run(&self) {
        let inner = &self.0;
        let mut events = inner.events.subscribe();
        let mut wake = inner.wake.subscribe();
        let mut workers: HashMap<WebhookId, JoinHandle<()>> = HashMap::new();
        loop {
            match inner.look(&mut workers).await {
                Ok(()) => {}
                Err(StoreError::Closed) => return,
                Err(error) => tracing::error!(%error, "webhooks could not be looked at"),
            }
            let heard = async {
                loop {
                    match events.recv().await {
                        Ok(Event::Scan(update)) if update.scan.state.is_final() => return,
                        Ok(Event::Activity(event)) if event.kind == "schedule.missed" => return,
                        Err(broadcast::error::RecvError::Lagged(_)) => return,
                        Err(broadcast::error::RecvError::Closed) => std::future::pending().await,
                        Ok(_) => {}
                    }
                }
            };
            tokio::select! {
                () = inner.stopping.cancelled() => return,
                () = heard => {}
                _ = wake.changed() => {}
                () = tokio::time::sleep(LOOK) => {}
            }
        }
    }
}

fn check_url(url: Hidden) -> Result<Hidden, WebhookError> {
    let parsed = address::parse(url.reveal()).map_err(|text| WebhookError::Invalid { field: "url", text })?;
    Ok(Hidden::new(parsed.as_str()))
}

fn check_events(mut events: Vec<WebhookEvent>) -> Result<Vec<WebhookEvent>, WebhookError> {
    if events.contains(&WebhookEvent::Test) {
        let text = "a test event needs no subscription; it comes when somebody sends one".into();
        return Err(WebhookError::Invalid { field: "events", text });
    }
    events.sort_unstable();
    events.dedup();
    if events.is_empty() {
        events = WebhookEvent::ALL.iter().copied().filter(|event| *event != WebhookEvent::Test).collect();
    }
    Ok(events)
}

impl Inner {
    fn wake(&self) {
        self.wake.send_modify(|count| *count = count.wrapping_add(1));
    }

    /// Puts what happened into the queues, and sees to it that each webhook has its task.
    async fn look(self: &Arc<Self>, workers: &mut HashMap<WebhookId, JoinHandle<()>>) -> Result<(), StoreError> {
        let webhooks = self.store.webhooks().await?;
        loop {
            let happened = self.store.happened().await?;
            if happened.is_empty() {
                break;
            }
            for each in happened {
                let deliveries = self.deliveries(&each.what, &webhooks).await?;
                let any = !deliveries.is_empty();
                self.store.enqueue_deliveries(Some(each.number), deliveries).await?;
                if any {
                    self.wake();
                }
            }
        }
        workers.retain(|_, worker| !worker.is_finished());
        for webhook in webhooks.iter().filter(|webhook| webhook.enabled) {
            workers.entry(webhook.id).or_insert_with(|| tokio::spawn(self.clone().work(webhook.id)));
        }
        Ok(())
    }

    async fn deliveries(&self, what: &HappenedWhat, webhooks: &[Webhook]) -> Result<Vec<Delivery>, StoreError> {
        let now = clock::now();
        let messages = match what {
            HappenedWhat::ScheduleMissed(json) => Message::of_missed(json, now).into_iter().collect(),
            HappenedWhat::Scan(id) => {
                let first = PageRequest { limit: MAX_CHANGES, cursor: None };
                match self.store.scan(*id).await {
                    Ok(scan) => {
                        let changes = self.store.scan_changes(*id, first).await?.items;
                        Message::of_scan(&scan, &changes, now)
                    }
                    // Its host was removed.
                    Err(StoreError::NotFound { .. }) => Vec::new(),
                    Err(error) => return Err(error),
                }
            }
        };
        let told = |message: &Message| {
            webhooks.iter().filter(|webhook| message.is_for(webhook)).map(|w| message.to(w, now)).collect::<Vec<_>>()
        };
        Ok(messages.iter().flat_map(told).collect())
    }

    /// One webhook's task: ends when the webhook is gone or switched off.
    async fn work(self: Arc<Self>, id: WebhookId) {
        let mut wake = self.wake.subscribe();
        let work = async {
            loop {
                wake.borrow_and_update();
                match self.send_next(id).await {
                    Ok(Some(wait)) => {
                        let _ = tokio::time::timeout(wait.min(NAP), wake.changed()).await;
                    }
                    Ok(None) | Err(StoreError::Closed | StoreError::NotFound { .. }) => return,
                    Err(error) => {
                        tracing::error!(webhook = %id, %error, "a webhook's queue failed");
                        tokio::time::sleep(LOOK).await;
                    }
                }
            }
        };
        self.stopping.run_until_cancelled(work).await;
    }

    /// Sends what is due first; how long to wait for more, or `None` when the webhook is switched off.
    async fn send_next(&self, id: WebhookId) -> Result<Option<Duration>, StoreError> {
        let webhook = self.store.webhook(id).await?;
        if !webhook.enabled {
            return Ok(None);
        }
        let Some(delivery) = self.store.next_delivery(id).await? else { return Ok(Some(NAP)) };
        let (now, next) = (clock::now(), delivery.next_at.unwrap_or(delivery.created_at));
        if !try_once::is_due(next, now) {
            let micros = u64::try_from(next.micros().saturating_sub(now.micros())).unwrap_or(0);
            return Ok(Some(Duration::from_micros(micros)));
        }
        let tried = try_once::try_once(&webhook, &delivery, self.guard).await;
        self.told(&webhook, &tried);
        let disabled = tried.disable.clone();
        self.store.delivery_tried(tried).await?;
        if let Some(why) = disabled {
            let message = format!("the webhook to {} was switched off: {why}", webhook.url);
            let event = NewEvent::of_gateway("webhook.disabled", Severity::Error, message);
            match self.store.append_gateway_event(event).await {
                Ok(event) => self.events.send(Event::Activity(Box::new(event))),
                Err(error) => tracing::error!(webhook = %id, %error, "an event was not kept"),
            }
        }
        Ok(Some(Duration::ZERO))
    }

    fn told(&self, webhook: &Webhook, tried: &Tried) {
        let result = if tried.error.is_none() { "delivered" } else { "failed" };
        metrics::counter!("hostler_webhook_tries_total", "result" => result).increment(1);
        if let Some(error) = &tried.error {
            tracing::info!(webhook = %webhook.id, url = webhook.url, error, "a webhook was not told");
        }
    }
}
