//! One try to deliver one message, and when the next one is.

use std::net::SocketAddr;
use std::time::Duration;

use hostler_identity::Pin;
use hostler_link::Trust;
use hostler_model::Timestamp;
use reqwest::{StatusCode, Url, redirect};

use super::address::{self, Guard};
use super::sign::signature;
use crate::clock;
use crate::store::{Delivery, Tried, Webhook};

/// How long a try may take, from the look-up of the name to the status of the answer.
const TIMEOUT: Duration = Duration::from_secs(15);
/// Seconds from a try that failed to the next.
const WAITS: [u64; 9] = [5, 15, 60, 300, 1200, 3600, 2 * 3600, 4 * 3600, 8 * 3600];
/// A webhook of which every try failed for this long is switched off, seconds.
const GIVE_UP: u64 = 3 * 86_400;
/// Addresses of a name that are tried.
const MAX_ADDRESSES: usize = 8;

/// Sends it, and judges the answer.
pub async fn try_once(webhook: &Webhook, delivery: &Delivery, guard: Guard) -> Tried {
    let at = clock::now();
    let result = match tokio::time::timeout(TIMEOUT, send(webhook, delivery, guard, at)).await {
        Ok(result) => result,
        Err(_) => Err(format!("no answer within {} seconds", TIMEOUT.as_secs())),
    };
    judge(webhook, delivery, at, result)
}

async fn send(webhook: &Webhook, delivery: &Delivery, guard: Guard, at: Timestamp) -> Result<StatusCode, String> {
    let url = address::parse(webhook.target.reveal())?;
    let addresses = look_up(&url, guard).await?;
    // Without TLS nobody's word is needed, nor the machine's root certificates.
    let trust = if url.scheme() == "https" { Trust::System } else { Trust::Pinned(Pin([0; 32])) };
    let tls = hostler_link::tls::client_config(&trust).map_err(|error| error.to_string())?;
    let mut client = reqwest::Client::builder()
        .no_proxy()
        .redirect(redirect::Policy::none())
        .timeout(TIMEOUT)
        .user_agent(concat!("Hostler/", env!("CARGO_PKG_VERSION")))
        .tls_backend_preconfigured(tls);
    if let Some(name) = url.domain() {
        // Not looked up again: another answer would not have been checked.
        client = client.resolve_to_addrs(name, &addresses);
    }
    let client = client.build().map_err(words)?;
    let (id, seconds) = (delivery.id.to_string(), at.micros().div_euclid(1_000_000));
    let signature = signature(&webhook.secret, &id, seconds, &delivery.body);
    let request = client
        .post(url)
        .header("content-type", "application/json")
        .header("webhook-id", id)
        .header("webhook-timestamp", seconds.to_string())
        .header("webhook-signature", signature.ok_or("the secret cannot be used; make the webhook anew")?)
        .body(delivery.body.clone());
    // The answer's body is not read: its status says all that counts.
    request.send().await.map(|answer| answer.status()).map_err(words)
}

/// The addresses of the URL's host, none of which is refused.
async fn look_up(url: &Url, guard: Guard) -> Result<Vec<SocketAddr>, String> {
    let port = url.port_or_known_default().unwrap_or(443);
    let host = url.host_str().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    let found = tokio::net::lookup_host((host, port)).await.map_err(|error| format!("{host} is not found: {error}"))?;
    let found: Vec<SocketAddr> = found.take(MAX_ADDRESSES).collect();
    match found.iter().find_map(|address| guard.refuses(*address)) {
        Some(why) => Err(format!("refused: {why}; the gateway's flag --webhooks-anywhere allows it")),
        None if found.is_empty() => Err(format!("{host} has no address")),
        None => Ok(found),
    }
}

/// What went wrong, without the URL, which may hold credentials.
fn words(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut cause: &(dyn std::error::Error + 'static) = &error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    let text =
        if error.is_timeout() { format!("no answer within {} seconds", TIMEOUT.as_secs()) } else { cause.to_string() };
    text.chars().filter(|c| !c.is_control()).take(300).collect()
}

fn judge(webhook: &Webhook, delivery: &Delivery, at: Timestamp, result: Result<StatusCode, String>) -> Tried {
    let response = result.as_ref().ok().map(StatusCode::as_u16);
    let error = match result {
        Ok(status) if status.is_success() => None,
        Ok(status) if status.is_redirection() => {
            Some(format!("the receiver redirects ({status}), which is not followed; give the webhook the new URL"))
        }
        Ok(status) => Some(format!("the receiver answered {status}")),
        Err(text) => Some(text),
    };
    let long = webhook.failing_since.is_some_and(|since| at.seconds_since(since) > GIVE_UP);
    let disable = match response {
        _ if error.is_none() => None,
        Some(410) => Some("the receiver answered 410 Gone: it wants no more".to_owned()),
        _ if long => Some(format!("every try failed for {} days", GIVE_UP / 86_400)),
        _ => None,
    };
    let next_at = WAITS.get(delivery.attempts as usize).filter(|_| error.is_some()).map(|wait| {
        // Up to a tenth more, so that what failed together does not come back together.
        let micros =
            (wait * 1_000_000).saturating_add(wait * 1_000 * (u64::from(delivery.id.to_string().as_bytes()[35]) % 100));
        Timestamp::from_micros(at.micros().saturating_add(i64::try_from(micros).unwrap_or(i64::MAX)))
    });
    Tried { id: delivery.id, webhook: webhook.id, at, response, error, next_at, disable }
}

/// Whether it is time to try; when a clock went back, what is further away than any wait is due too.
pub fn is_due(next_at: Timestamp, now: Timestamp) -> bool {
    let longest = WAITS.last().copied().unwrap_or_default() * 11 / 10 + 1;
    next_at <= now || next_at.seconds_since(now) > longest
}

#[cfg(test)]
mod tests {
    use hostler_model::{DeliveryId, WebhookId};

    use super::*;
    use crate::store::{DeliveryState, Hidden, WebhookEvent};

    fn webhook(failing_since: Option<Timestamp>) -> Webhook {
        Webhook {
            id: WebhookId::new(),
            target: Hidden::new("http://127.0.0.1:1/"),
            secret: Hidden::new("whsec_"),
            url: String::new(),
            events: vec![WebhookEvent::ScanFailed],
            host: None,
            root: None,
            enabled: true,
            disabled_because: None,
            created_by: "ada".into(),
            created_at: at(0),
            delivered_at: None,
            failing_since,
            pending: 0,
            dropped: 0,
        }
    }

    fn delivery(attempts: u32) -> Delivery {
        Delivery {
            id: DeliveryId::new(),
            webhook: WebhookId::new(),
            event: WebhookEvent::ScanFailed,
            body: "{}".into(),
            state: DeliveryState::Pending,
            created_at: at(0),
            attempts,
            next_at: Some(at(0)),
            tried_at: None,
            response: None,
            error: None,
        }
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_micros(seconds * 1_000_000)
    }

    #[test]
    fn ten_tries_with_growing_waits() {
        let mut waits = Vec::new();
        for attempts in 0..10 {
            let tried = judge(&webhook(None), &delivery(attempts), at(100), Ok(StatusCode::BAD_GATEWAY));
            assert_eq!(tried.response, Some(502));
            waits.push(tried.next_at.map(|next| next.seconds_since(at(100))));
        }
        assert_eq!(waits.pop(), Some(None), "the tenth try is the last");
        let waits: Vec<u64> = waits.into_iter().map(Option::unwrap).collect();
        assert!((5..=6).contains(&waits[0]) && waits[8] >= 8 * 3600, "{waits:?}");
        assert!(waits.windows(2).all(|pair| pair[0] < pair[1]), "{waits:?}");
        assert!(waits.iter().all(|wait| !is_due(at(100 + *wait as i64), at(100))));
        assert!(is_due(at(100_000), at(100)), "a clock that went back");
    }

    #[test]
    fn only_success_is_success() {
        let judged = |status| judge(&webhook(None), &delivery(0), at(100), Ok(status));
        assert_eq!(judged(StatusCode::NO_CONTENT).error, None);
        for status in [StatusCode::FOUND, StatusCode::UNAUTHORIZED, StatusCode::INTERNAL_SERVER_ERROR] {
            assert!(judged(status).error.is_some() && judged(status).next_at.is_some(), "{status}");
        }
        assert!(judged(StatusCode::GONE).disable.is_some());
    }

    #[test]
    fn what_fails_for_days_is_switched_off() {
        let judged = |since| judge(&webhook(since), &delivery(3), at(1_000_000), Err("refused".into())).disable;
        assert_eq!(judged(None), None);
        assert_eq!(judged(Some(at(1_000_000 - 86_400))), None);
        assert!(judged(Some(at(1_000_000 - 4 * 86_400))).is_some());
    }
}
