//! A call of one of the gateway's routes: credentials, the two forms of its path, and what its answer means.

use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::http::{self, Answer};
use super::{Gateway, GatewayError};
use crate::settings::{Credentials, Secret};

/// Most of an answer that is told to people.
const SHOWN: usize = 200;

/// Longest answer of the exchange of a key.
const TOKEN_ANSWER: usize = 64 << 10;

/// Why a call has no result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CallError {
    /// 401 or 403, also with a fresh token: nothing more is to be sent.
    Unauthorized(String),
    /// 400, 413 or 422: what was sent is the reason, or a part of it.
    Refused(String),
    /// 500: what was sent may be the reason.
    Broken(String),
    /// Not reached, not answered in time, cut off, or an answer that says nothing about what was sent.
    Away(String),
    /// A success that is not what a SnapFS gateway says.
    Strange(String),
}

impl CallError {
    /// What happened.
    pub fn text(&self) -> &str {
        match self {
            Self::Unauthorized(text)
            | Self::Refused(text)
            | Self::Broken(text)
            | Self::Away(text)
            | Self::Strange(text) => text,
        }
    }
}

#[derive(Serialize)]
struct TokenRequest<'a> {
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    scopes: &'a [String],
}

#[derive(Deserialize)]
struct TokenAnswer {
    #[serde(rename = "accessToken")]
    access_token: String,
}

impl Gateway {
    /// Posts `body` to `route` (`/ingest`, with a query where it has one) and gives a success's JSON, at most `limit` bytes.
    pub async fn call(&self, route: &str, body: Bytes, timeout: Duration, limit: usize) -> Result<Bytes, CallError> {
        let token = self.token().await?;
        let mut answer = self.either_path(route, token.as_ref(), &body, timeout, limit).await?;
        if is_refusal(&answer) && matches!(self.0.settings.credentials, Credentials::ApiKey(_)) {
            // Maybe the token has run out: once more with a fresh one.
            let token = self.exchange(token.as_ref()).await.map_err(of_token)?;
            answer = self.either_path(route, Some(&token), &body, timeout, limit).await?;
        }
        self.judge(route, answer)
    }

    fn judge(&self, route: &str, answer: Answer) -> Result<Bytes, CallError> {
        let base = &self.0.shown;
        let route = route.split('?').next().unwrap_or(route);
        let said = said(&answer.body);
        let status = answer.status;
        match status.as_u16() {
            200..=299 if answer.json => Ok(answer.body),
            200..=299 => Err(CallError::Strange(format!(
                "{base} answered {route} with {status} and no JSON; check that the URL is that of a SnapFS gateway"
            ))),
            401 | 403 => Err(CallError::Unauthorized(format!(
                "{base} refuses the credentials ({status}{said}); check the token or the API key, and what it is allowed"
            ))),
            400 | 413 | 422 => Err(CallError::Refused(format!("{base} does not take it ({status}{said})"))),
            500 => Err(CallError::Broken(format!("{base} failed at {route} ({status}{said})"))),
            300..=399 => Err(CallError::Away(format!(
                "{base} answers {route} with a redirect ({status}), which is not followed; give the URL it leads to"
            ))),
            404 => Err(CallError::Away(format!(
                "{base} has neither /api{route} nor {route}; check that the URL is that of a SnapFS gateway"
            ))),
            _ => Err(CallError::Away(format!("{base} cannot answer {route} now ({status}{said})"))),
        }
    }

    /// Tries the path that worked last, at first the one below `/api`, and after a 404 the other one.
    async fn either_path(
        &self,
        route: &str,
        token: Option<&Secret>,
        body: &Bytes,
        timeout: Duration,
        limit: usize,
    ) -> Result<Answer, CallError> {
        let inner = &self.0;
        let plain = inner.plain.load(Relaxed);
        let answer = self.one_path(plain, route, token, body, timeout, limit).await?;
        if answer.status != 404 {
            return Ok(answer);
        }
        let other = self.one_path(!plain, route, token, body, timeout, limit).await?;
        if other.status != 404 {
            inner.plain.store(!plain, Relaxed);
        }
        Ok(other)
    }

    async fn one_path(
        &self,
        plain: bool,
        route: &str,
        token: Option<&Secret>,
        body: &Bytes,
        timeout: Duration,
        limit: usize,
    ) -> Result<Answer, CallError> {
        let url = format!("{}{}{route}", self.0.settings.http, if plain { "" } else { "/api" });
        let posted = http::post(&self.0.client, &url, token, body.clone(), timeout, limit).await;
        posted.map_err(|why| CallError::Away(self.unreachable(&why)))
    }

    fn unreachable(&self, why: &str) -> String {
        format!("{} cannot be reached: {why}; check that it runs and that the network lets it through", self.0.shown)
    }

    /// What is sent as bearer; an API key is exchanged for it first.
    async fn token(&self) -> Result<Option<Secret>, CallError> {
        match &self.0.settings.credentials {
            Credentials::None => Ok(None),
            Credentials::Token(token) => Ok(Some(token.clone())),
            Credentials::ApiKey(_) => {
                let held = self.held();
                match held {
                    Some(token) => Ok(Some(token)),
                    None => self.exchange(None).await.map(Some).map_err(of_token),
                }
            }
        }
    }

    fn held(&self) -> Option<Secret> {
        self.0.token.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }

    /// A token that is not `stale`. Callers that come together share one exchange.
    pub(super) async fn exchange(&self, stale: Option<&Secret>) -> Result<Secret, GatewayError> {
        let inner = &self.0;
        let Credentials::ApiKey(key) = &inner.settings.credentials else {
            return Err(GatewayError::Setup("there is no API key to exchange".into()));
        };
        let _one_at_a_time = inner.exchanging.lock().await;
        if let Some(token) = self.held().filter(|token| Some(token) != stale) {
            return Ok(token);
        }
        let request = TokenRequest { scopes: &inner.settings.scopes };
        let body = serde_json::to_vec(&request).map_err(|error| GatewayError::Setup(error.to_string()))?;
        let url = format!("{}/api/auth/token", inner.settings.http);
        let timeout = inner.settings.waits.token;
        let posted = http::post(&inner.client, &url, Some(key), body.into(), timeout, TOKEN_ANSWER).await;
        let answer = posted.map_err(|why| GatewayError::Unavailable(self.unreachable(&why)))?;
        let (base, status) = (&inner.shown, answer.status);
        let said = said(&answer.body);
        match status.as_u16() {
            200..=299 => {}
            401 | 403 => {
                return Err(GatewayError::Unauthorized(format!(
                    "{base} refuses the API key ({status}{said}); make a new one there, with the role that scanning needs"
                )));
            }
            404 | 405 => {
                return Err(GatewayError::Unavailable(format!(
                    "{base} exchanges no API keys for tokens ({status}); give a token, or no credentials when it asks for none"
                )));
            }
            _ => {
                return Err(GatewayError::Unavailable(format!(
                    "{base} cannot exchange the API key now ({status}{said})"
                )));
            }
        }
        let token = match serde_json::from_slice::<TokenAnswer>(&answer.body) {
            Ok(TokenAnswer { access_token }) if !access_token.is_empty() && is_header_text(&access_token) => {
                access_token
            }
            _ => {
                return Err(GatewayError::Unavailable(format!(
                    "{base} answered the exchange of the API key without a token; check that the URL is that of a SnapFS gateway"
                )));
            }
        };
        let token = Secret::new(token);
        *inner.token.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(token.clone());
        Ok(token)
    }
}

fn is_refusal(answer: &Answer) -> bool {
    matches!(answer.status.as_u16(), 401 | 403)
}

fn is_header_text(text: &str) -> bool {
    text.bytes().all(|b| matches!(b, 0x21..=0x7e))
}

fn of_token(error: GatewayError) -> CallError {
    match error {
        GatewayError::Unauthorized(text) => CallError::Unauthorized(text),
        other => CallError::Away(other.to_string()),
    }
}

/// The beginning of an answer's text, for people.
fn said(body: &[u8]) -> String {
    let text = hostler_model::bytestr::display(&body[..body.len().min(SHOWN)]).trim().to_owned();
    if text.is_empty() { text } else { format!(", {text}") }
}
