//! Who asks, and whether they may.
//!
//! Three ways to be somebody, tried in this order: what the local socket's kernel says of its peer, a key
//! (`Authorization: Bearer hst_...` or `X-API-Key`), a browser's session cookie. A cookie alone never changes anything:
//! requests other than GET and HEAD also need the session's CSRF token (form field `csrf` or header `x-csrf-token`).

use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Redirect, Response};
use axum::{Extension, RequestExt};
use hostler_model::{ApiKeyId, Role, Timestamp};
use serde::de::DeserializeOwned;
use subtle::ConstantTimeEq;

use crate::clock;
use crate::pages;
use crate::rest::ApiError;
use crate::secret;
use crate::state::AppState;
use crate::store::{ApiKey, Session, StoreError};

/// Name of the session cookie.
const COOKIE: &str = "hostler_session";
/// How long a browser stays signed in.
const SESSION_SECONDS: i64 = 30 * 86_400;
/// How long a sign-in link works.
pub const LINK_SECONDS: i64 = 15 * 60;
/// Every API key starts with this.
pub const KEY_PREFIX: &str = "hst_";

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal {
    /// For people and records: `admin (web)`, `key ci-deploy`, `uid 1000 (local socket)`.
    pub name: String,
    /// What they may do.
    pub role: Role,
    /// The token that this session's forms must carry; `None` for keys and sockets.
    pub csrf: Option<String>,
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
    /// Fails unless the principal has `role` or more.
    pub fn require(&self, role: Role) -> Result<(), Forbidden> {
        if self.role >= role { Ok(()) } else { Err(Forbidden { needs: role, has: self.role }) }
    }

    fn csrf_matches(&self, token: &str) -> bool {
        match &self.csrf {
            Some(expected) => expected.as_bytes().ct_eq(token.as_bytes()).into(),
            // Keys and socket peers are not sent along by a browser on its own.
            None => true,
        }
    }
}

/// The peer of the local socket, as the kernel told it at connect.
#[derive(Clone, Copy, Debug)]
pub struct LocalPeer {
    /// Effective user id.
    pub uid: u32,
}

/// Finds out who asks; `Ok(None)` when they did not say.
async fn identify(state: &AppState, parts: &Parts) -> Result<Option<Principal>, ApiError> {
    if let Some(LocalPeer { uid }) = parts.extensions.get() {
        let own = rustix::process::geteuid().as_raw();
        if *uid == own || *uid == 0 {
            return Ok(Some(Principal { name: format!("uid {uid} (local socket)"), role: Role::Admin, csrf: None }));
        }
    }
    if let Some(key) = presented_key(&parts.headers) {
        let found = match key.starts_with(KEY_PREFIX) && key.len() == KEY_PREFIX.len() + 32 {
            true => state.store.use_api_key(secret::hash(key), clock::now()).await?,
            false => None,
        };
        return match found {
            Some(key) => Ok(Some(Principal { name: format!("key {}", key.name), role: key.role, csrf: None })),
            None => Err(ApiError::unauthorized("this API key is not known here, or was revoked")),
        };
    }
    let Some(token) = session_token(&parts.headers) else { return Ok(None) };
    let session = state.store.session(secret::hash(token), clock::now()).await?;
    Ok(session.map(|s| Principal { name: s.name, role: s.role, csrf: Some(s.csrf) }))
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
pub async fn for_rest(State(state): State<AppState>, request: Request, next: Next) -> Result<Response, ApiError> {
    let (mut parts, body) = request.into_parts();
    let principal = identify(&state, &parts).await?.ok_or_else(|| {
        ApiError::unauthorized("no API key, session or local socket peer").hint(
            "make a key with `hostler api-keys create NAME --role viewer` and send it as `Authorization: Bearer KEY`",
        )
    })?;
    let changes = !matches!(parts.method, Method::GET | Method::HEAD | Method::OPTIONS);
    let token = parts.headers.get("x-csrf-token").and_then(|v| v.to_str().ok()).unwrap_or_default();
    if changes && !principal.csrf_matches(token) {
        return Err(ApiError::new(
            StatusCode::FORBIDDEN,
            "csrf",
            "the request does not carry its session's CSRF token",
        )
        .hint("send it in the header x-csrf-token, or use an API key"));
    }
    parts.extensions.insert(principal);
    Ok(next.run(Request::from_parts(parts, body)).await)
}

/// Middleware of the pages: adds the [`Principal`] or leads to the sign-in page.
pub async fn for_pages(State(state): State<AppState>, mut request: Request, next: Next) -> Response {
    let (parts, body) = request.into_parts();
    let found = identify(&state, &parts).await;
    request = Request::from_parts(parts, body);
    match found {
        Ok(Some(principal)) => {
            request.extensions_mut().insert(principal);
            next.run(request).await
        }
        Ok(None) => Redirect::to("/sign-in").into_response(),
        Err(error) => pages::error_page(error.status, "Not signed in", &error.message, error.hint.as_deref()),
    }
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

/// A form whose field `csrf` is the session's token. The body is bounded by the router.
pub struct CsrfForm<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for CsrfForm<T> {
    type Rejection = Response;
    async fn from_request(mut request: Request, _: &S) -> Result<Self, Response> {
        let page = |status, title: &str, text: &str, hint: &str| pages::error_page(status, title, text, Some(hint));
        let principal: Option<Principal> = request.extract_parts::<Extension<Principal>>().await.ok().map(|e| e.0);
        let body: Bytes = request.extract().await.map_err(|_| {
            page(StatusCode::PAYLOAD_TOO_LARGE, "Form too large", "The form could not be read.", "Send less at once.")
        })?;
        #[derive(serde::Deserialize)]
        struct Token {
            #[serde(default)]
            csrf: String,
        }
        let malformed = |error: &dyn std::fmt::Display| {
            page(StatusCode::BAD_REQUEST, "Form not understood", &error.to_string(), "Go back and try again.")
        };
        let Token { csrf } = parse_form(&body).map_err(|e| malformed(&e))?;
        if !principal.is_some_and(|p| p.csrf_matches(&csrf)) {
            return Err(page(
                StatusCode::FORBIDDEN,
                "Not done",
                "The form does not belong to this session, so nothing was changed.",
                "Open the page again and repeat the action there.",
            ));
        }
        parse_form(&body).map(Self).map_err(|e| malformed(&e))
    }
}

fn parse_form<T: DeserializeOwned>(body: &[u8]) -> Result<T, String> {
    let request = Request::builder().method(Method::GET);
    let query = std::str::from_utf8(body).map_err(|_| "the form is not text".to_owned())?;
    let uri = format!("/?{query}");
    let request = request.uri(uri).body(()).map_err(|_| "the form is not URL-encoded".to_owned())?;
    let (parts, ()) = request.into_parts();
    axum::extract::Query::try_from_uri(&parts.uri).map(|q| q.0).map_err(|e| e.body_text())
}

/// A sign-in link that does not work.
#[derive(Debug, thiserror::Error)]
pub enum SignInError {
    /// Unknown, used or expired: which one is nobody's business.
    #[error("this sign-in link was used before or has expired")]
    Useless,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// No randomness.
    #[error(transparent)]
    Random(#[from] secret::NoRandomness),
}

/// Makes a sign-in link for an admin; it works once, for 15 minutes.
pub async fn create_link(state: &AppState) -> Result<String, SignInError> {
    let token = secret::random_hex(32)?;
    let expires = Timestamp::from_micros(clock::now().micros() + LINK_SECONDS * 1_000_000);
    state.store.create_sign_in_link(secret::hash(&token), Role::Admin, expires).await?;
    Ok(format!("{}/sign-in/{token}", state.base_url))
}

/// Uses up a sign-in link: starts a session and leads to the first page.
pub async fn use_link(state: &AppState, token: &str) -> Result<Response, SignInError> {
    if token.len() != 64 {
        return Err(SignInError::Useless);
    }
    let now = clock::now();
    let role = state.store.use_sign_in_link(secret::hash(token), now).await?.ok_or(SignInError::Useless)?;
    let session = secret::random_hex(32)?;
    let csrf = secret::random_hex(16)?;
    let expires_at = Timestamp::from_micros(now.micros() + SESSION_SECONDS * 1_000_000);
    let name = format!("{role} (web)");
    state.store.create_session(secret::hash(&session), Session { name, role, csrf, expires_at }).await?;
    let secure = if state.base_url.starts_with("https:") { "; Secure" } else { "" };
    let cookie = format!("{COOKIE}={session}; Path=/; HttpOnly; SameSite=Lax; Max-Age={SESSION_SECONDS}{secure}");
    Ok(with_cookie(Redirect::to("/"), &cookie))
}

/// Ends the browser's session.
pub async fn sign_out(state: &AppState, headers: &HeaderMap) -> Response {
    if let Some(token) = session_token(headers)
        && let Err(error) = state.store.end_session(secret::hash(token)).await
    {
        tracing::error!(%error, "a session was not ended");
        return pages::error_page(StatusCode::INTERNAL_SERVER_ERROR, "Not signed out", &error.to_string(), None);
    }
    with_cookie(Redirect::to("/sign-in"), &format!("{COOKIE}=; Path=/; HttpOnly; SameSite=Lax; Max-Age=0"))
}

fn with_cookie(redirect: Redirect, cookie: &str) -> Response {
    let mut response = redirect.into_response();
    if let Ok(value) = HeaderValue::from_str(cookie) {
        response.headers_mut().insert(header::SET_COOKIE, value);
    }
    response
}

/// Why a key was not made.
#[derive(Debug, thiserror::Error)]
pub enum NewKeyError {
    /// The name cannot be used.
    #[error("a key's name has 1 to 64 characters, none of them a control character")]
    Name,
    /// The store failed, or has a key of that name.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// No randomness.
    #[error(transparent)]
    Random(#[from] secret::NoRandomness),
}

/// Makes an API key. The secret is returned once and kept nowhere.
pub async fn new_api_key(
    store: &dyn crate::store::Store,
    name: &str,
    role: Role,
) -> Result<(ApiKey, String), NewKeyError> {
    let name = name.trim();
    if name.is_empty() || name.chars().count() > 64 || name.chars().any(char::is_control) {
        return Err(NewKeyError::Name);
    }
    let secret_text = format!("{KEY_PREFIX}{}", secret::random_hex(16)?);
    let key = ApiKey {
        id: ApiKeyId::new(),
        name: name.to_owned(),
        role,
        hint: secret_text.chars().take(KEY_PREFIX.len() + 4).collect(),
        created_at: clock::now(),
        last_used_at: None,
    };
    store.create_api_key(key.clone(), secret::hash(&secret_text)).await?;
    Ok((key, secret_text))
}
