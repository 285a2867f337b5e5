//! Who asks, and whether they may.
//!
//! Three ways to be somebody, tried in this order: what the local socket's kernel says of its peer, a key
//! (`Authorization: Bearer hst_...` or `X-API-Key`), a browser's session cookie. A cookie alone never changes anything:
//! requests other than GET and HEAD also need the session's CSRF token (form field `csrf` or header `x-csrf-token`).
//!
//! What somebody may do is looked up for each request. Streams that stay open end when it changes, see
//! [`Principal::until_changed`].

mod csrf;
mod keys;
mod passwords;
mod peer;
mod sign_in;
pub mod users;

use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::extract::{FromRequestParts, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Redirect, Response};
use hostler_model::{Role, SessionId, Timestamp, UserId};
use subtle::ConstantTimeEq;
use tokio::sync::watch;

use crate::attempts::{Attempt, Attempts};
use crate::audit::Anonymous;
use crate::rest::ApiError;
use crate::state::AppState;
use crate::store::{ApiKey, Via};
use crate::{clock, pages, secret};

pub use csrf::{CsrfForm, OwnForm};
pub use keys::{KEY_PREFIX, NewKeyError, new_api_key, revoke_api_key};
pub use passwords::{Busy, Passwords};
pub use peer::{LocalPeer, Peer};
pub use sign_in::{LINK_SECONDS, SignInError, create_link, sign_in, sign_out, use_link};

/// Name of the session cookie.
const COOKIE: &str = "hostler_session";

/// What signing in shares: limits, and the news that somebody's rights changed. Cheap to clone.
#[derive(Clone)]
pub struct Auth {
    /// Failed attempts.
    pub attempts: Arc<Attempts>,
    /// Hashing of passwords.
    pub passwords: Passwords,
    changes: watch::Sender<()>,
}

impl Default for Auth {
    fn default() -> Self {
        Self { attempts: Arc::default(), passwords: Passwords::default(), changes: watch::Sender::new(()) }
    }
}

impl Auth {
    /// Somebody's rights changed: open streams look whether it was theirs.
    pub fn changed(&self) {
        self.changes.send_replace(());
    }

    /// Changes when somebody's rights did.
    pub fn watch(&self) -> watch::Receiver<()> {
        self.changes.subscribe()
    }
}

/// Who asks.
#[derive(Clone, PartialEq, Eq)]
pub struct Principal {
    /// For people and records: `ada`, `key ci-deploy`, `uid 1000 (local socket)`.
    pub name: String,
    /// What they may do.
    pub role: Role,
    /// The token that this session's forms must carry; `None` for keys and sockets.
    pub csrf: Option<String>,
    /// How they proved who they are.
    pub via: Via,
    /// Where they ask from: an address, or `local socket`.
    pub from: String,
    /// The user; `None` for keys, sockets and those who came by a one-time link.
    pub user: Option<UserId>,
    /// The browser's session.
    pub session: Option<SessionId>,
    /// When the key or the session ends.
    pub expires_at: Option<Timestamp>,
    credential: Credential,
}

impl std::fmt::Debug for Principal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Principal").field("name", &self.name).field("role", &self.role).field("via", &self.via).finish()
    }
}

/// How to look a principal up again: the SHA-256 of what was presented.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Credential {
    Socket,
    Key([u8; 32]),
    Session([u8; 32]),
}

/// The one who asks may not do this.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this needs the {needs} role; you are signed in as {has}")]
pub struct Forbidden {
    /// What it needs.
    pub needs: Role,
    /// What the one who asks has.
    pub has: Role,
}

impl Principal {
    /// Who has this key, whose SHA-256 is `hash`.
    pub fn of_key(key: &ApiKey, hash: [u8; 32], from: Peer) -> Self {
        Self {
            name: format!("key {}", key.name),
            role: key.role,
            csrf: None,
            via: Via::Key,
            from: from.to_string(),
            user: None,
            session: None,
            expires_at: key.expires_at,
            credential: Credential::Key(hash),
        }
    }

    /// Fails unless the principal has `role` or more.
    pub fn require(&self, role: Role) -> Result<(), Forbidden> {
        if self.role >= role { Ok(()) } else { Err(Forbidden { needs: role, has: self.role }) }
    }

    /// Returns when the principal's rights have changed or ended: open streams end then.
    pub async fn until_changed(self, state: AppState) {
        let mut changes = state.auth.changes.subscribe();
        loop {
            // Before anything is waited for: it may have changed since the request was let in. A store that cannot tell
            // lets nobody go on.
            if !matches!(self.credential.role(&state).await, Ok(Some(role)) if role == self.role) {
                return;
            }
            let expiry = async {
                match self.expires_at {
                    Some(at) => {
                        let left = at.micros().saturating_sub(clock::now().micros()).max(0);
                        tokio::time::sleep(Duration::from_micros(left.unsigned_abs())).await;
                    }
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = expiry => return,
                // The sender is in `state`, which is held here.
                _ = changes.changed() => {}
            }
        }
    }

    fn csrf_matches(&self, token: &str) -> bool {
        match &self.csrf {
            Some(expected) => expected.as_bytes().ct_eq(token.as_bytes()).into(),
            // Keys and socket peers are not sent along by a browser on its own.
            None => true,
        }
    }
}

impl Credential {
    async fn role(self, state: &AppState) -> Result<Option<Role>, crate::store::StoreError> {
        Ok(match self {
            Self::Socket => Some(Role::Admin),
            Self::Key(hash) => state.store.use_api_key(hash, clock::now()).await?.map(|key| key.role),
            Self::Session(hash) => state.store.session(hash, clock::now()).await?.map(|session| session.role),
        })
    }
}

/// Finds out who asks; `Ok(None)` when they did not say.
async fn identify(state: &AppState, parts: &Parts) -> Result<Option<Principal>, ApiError> {
    let from = Peer::of(&parts.extensions);
    if let Some(LocalPeer { uid }) = parts.extensions.get() {
        let own = rustix::process::geteuid().as_raw();
        if *uid == own || *uid == 0 {
            return Ok(Some(Principal {
                name: format!("uid {uid} (local socket)"),
                role: Role::Admin,
                csrf: None,
                via: Via::Socket,
                from: from.to_string(),
                user: None,
                session: None,
                expires_at: None,
                credential: Credential::Socket,
            }));
        }
    }
    if let Some(key) = presented_key(&parts.headers) {
        return by_key(state, key, from).await.map(Some);
    }
    let Some(token) = session_token(&parts.headers) else { return Ok(None) };
    let hash = secret::hash(token);
    let session = state.store.session(hash, clock::now()).await?;
    Ok(session.map(|s| Principal {
        name: s.name,
        role: s.role,
        csrf: Some(s.csrf),
        via: Via::Web,
        from: from.to_string(),
        user: s.user,
        session: Some(s.id),
        expires_at: Some(s.expires_at),
        credential: Credential::Session(hash),
    }))
}

async fn by_key(state: &AppState, key: &str, from: Peer) -> Result<Principal, ApiError> {
    let hash = secret::hash(key);
    let found = match key.starts_with(KEY_PREFIX) && key.len() == KEY_PREFIX.len() + 32 {
        true => state.store.use_api_key(hash, clock::now()).await?,
        false => None,
    };
    // Wrong keys are not counted: 128 random bits are not guessed, and one client with an old key behind an address must not
    // lock out all others there.
    let Some(key) = found else {
        return Err(ApiError::new(
            StatusCode::UNAUTHORIZED,
            "bad_key",
            "this API key is not known here, was revoked, or has expired",
        )
        .hint("make a new one with `hostler api-keys create NAME --role viewer`"));
    };
    Ok(Principal::of_key(&key, hash, from))
}

fn presented_key(headers: &HeaderMap) -> Option<&str> {
    let bearer = headers.get(header::AUTHORIZATION).and_then(|v| v.to_str().ok()).and_then(|v| {
        let (scheme, token) = v.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
    });
    // A header that is there but unreadable is a wrong key, not a missing one.
    bearer.or_else(|| headers.get("x-api-key").map(|v| v.to_str().unwrap_or("")))
}

fn session_token(headers: &HeaderMap) -> Option<&str> {
    headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|v| v.to_str().ok())
        .flat_map(|v| v.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .find(|(name, value)| *name == COOKIE && value.len() == 64)
        .map(|(_, value)| value)
}

/// Middleware of the REST routes: adds the [`Principal`] or answers 401; 403 for a session's request without its token.
/// The answer carries the principal too, for [`crate::audit`].
pub async fn for_rest(State(state): State<AppState>, request: Request, next: Next) -> Response {
    let (mut parts, body) = request.into_parts();
    let principal = match identify(&state, &parts).await {
        Ok(Some(principal)) => principal,
        Ok(None) => {
            return ApiError::unauthorized("no API key, session or local socket peer")
                .hint("make a key with `hostler api-keys create NAME --role viewer` and send it as `Authorization: Bearer KEY`")
                .into_response();
        }
        Err(error) => return with_wrong_key(error.into_response(), &state, &parts),
    };
    let changes = !matches!(parts.method, Method::GET | Method::HEAD | Method::OPTIONS);
    let token = parts.headers.get("x-csrf-token").and_then(|v| v.to_str().ok()).unwrap_or_default();
    let mut response = if changes && !principal.csrf_matches(token) {
        ApiError::new(StatusCode::FORBIDDEN, "csrf", "the request does not carry its session's CSRF token")
            .hint("send it in the header x-csrf-token, or use an API key")
            .into_response()
    } else {
        parts.extensions.insert(principal.clone());
        next.run(Request::from_parts(parts, body)).await
    };
    response.extensions_mut().insert(principal);
    response
}

/// Middleware of the pages: adds the [`Principal`] or leads to the sign-in page.
pub async fn for_pages(State(state): State<AppState>, request: Request, next: Next) -> Response {
    let (mut parts, body) = request.into_parts();
    match identify(&state, &parts).await {
        Ok(Some(principal)) => {
            parts.extensions.insert(principal.clone());
            let mut response = next.run(Request::from_parts(parts, body)).await;
            response.extensions_mut().insert(principal);
            response
        }
        Ok(None) => Redirect::to("/sign-in").into_response(),
        Err(error) => {
            let page = pages::error_page(error.status, "Not signed in", &error.message, error.hint.as_deref());
            let mut response = with_wrong_key(page, &state, &parts);
            if let Some(seconds) = error.retry_after {
                response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
            }
            response
        }
    }
}

/// Somebody tried a key: that belongs into the audit log, but a stranger must not be able to fill it.
fn with_wrong_key(mut response: Response, state: &AppState, parts: &Parts) -> Response {
    let recorded = || state.auth.attempts.begin(Attempt::Key, Peer::of(&parts.extensions).0, None).is_ok();
    if response.status() == StatusCode::UNAUTHORIZED && recorded() {
        response.extensions_mut().insert(Anonymous("(unknown API key)".to_owned()));
    }
    response
}

impl<S: Send + Sync> FromRequestParts<S> for Principal {
    type Rejection = ApiError;
    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        Extension::from_request_parts(parts, state)
            .await
            .map(|Extension(principal)| principal)
            .map_err(|_| ApiError::unauthorized("not signed in"))
    }
}
