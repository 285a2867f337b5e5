//! Beginning and ending a browser's session: by name and password, or by a one-time link.

use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};
use hostler_model::{Role, SessionId, Timestamp, UserId};

use super::{Busy, COOKIE, Peer, session_token};
use crate::attempts::{Attempt, TooMany};
use crate::state::AppState;
use crate::store::{Session, StoreError};
use crate::{clock, pages, secret};

/// How long a browser stays signed in at most.
const SESSION_SECONDS: i64 = 30 * 86_400;
/// How long a sign-in link works.
pub const LINK_SECONDS: i64 = 15 * 60;
/// What is kept of a browser's name for itself, characters.
const MAX_AGENT: usize = 200;

/// Why nobody was signed in.
#[derive(Debug, thiserror::Error)]
pub enum SignInError {
    /// Unknown, used or expired: which one is nobody's business.
    #[error("this sign-in link was used before or has expired")]
    Useless,
    /// Which one is wrong is nobody's business.
    #[error("name or password is wrong")]
    Wrong {
        /// The user whose name was given, for the audit log; not for who asks.
        user: Option<String>,
    },
    /// Too many failures.
    #[error(transparent)]
    TooMany(#[from] TooMany),
    /// Too much at once.
    #[error(transparent)]
    Busy(#[from] Busy),
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
    let expires = later(clock::now(), LINK_SECONDS);
    state.store.create_sign_in_link(secret::hash(&token), Role::Admin, expires).await?;
    Ok(format!("{}/sign-in/{token}", state.public_url))
}

/// Uses up a sign-in link: starts a session and leads to the first page. Also who it is.
pub async fn use_link(
    state: &AppState,
    token: &str,
    from: Peer,
    headers: &HeaderMap,
) -> Result<(String, Response), SignInError> {
    state.auth.attempts.check(Attempt::SignIn, from.0)?;
    let role = match token.len() {
        64 => state.store.use_sign_in_link(secret::hash(token), clock::now()).await?,
        _ => None,
    };
    let Some(role) = role else {
        state.auth.attempts.failed(Attempt::SignIn, from.0);
        return Err(SignInError::Useless);
    };
    let name = format!("{role} (web)");
    Ok((name.clone(), begin_session(state, None, name, role, from, headers).await?))
}

/// Signs in by name and password: starts a session and leads to the first page. Also who it is.
pub async fn sign_in(
    state: &AppState,
    name: &str,
    password: String,
    from: Peer,
    headers: &HeaderMap,
) -> Result<(String, Response), SignInError> {
    let name = name.trim();
    state.auth.attempts.begin(Attempt::SignIn, from.0, Some(name))?;
    let known = state.store.user_by_name(name).await?;
    let (user, hash) = known.map_or((None, None), |(user, hash)| (Some(user), Some(hash)));
    // An unknown name costs as much as a wrong password.
    let right = match state.auth.passwords.verify(password, hash).await {
        Ok(right) => right,
        Err(busy) => {
            state.auth.attempts.forgive(Attempt::SignIn, from.0, Some(name));
            return Err(busy.into());
        }
    };
    let user = match (user, right) {
        (Some(user), true) => user,
        (user, _) => return Err(SignInError::Wrong { user: user.map(|user| user.name) }),
    };
    state.auth.attempts.forgive(Attempt::SignIn, from.0, Some(name));
    let response = begin_session(state, Some(user.id), user.name.clone(), user.role, from, headers).await?;
    Ok((user.name, response))
}

async fn begin_session(
    state: &AppState,
    user: Option<UserId>,
    name: String,
    role: Role,
    from: Peer,
    headers: &HeaderMap,
) -> Result<Response, SignInError> {
    let now = clock::now();
    let token = secret::random_hex(32)?;
    let agent = headers.get(header::USER_AGENT).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let session = Session {
        id: SessionId::new(),
        user,
        name,
        role,
        csrf: secret::random_hex(16)?,
        created_at: now,
        last_seen_at: now,
        expires_at: later(now, SESSION_SECONDS),
        address: from.to_string(),
        agent: agent.chars().filter(|c| !c.is_control()).take(MAX_AGENT).collect(),
    };
    // The session that this browser had is not left behind.
    if let Some(old) = session_token(headers) {
        state.store.end_session(secret::hash(old)).await?;
        state.auth.changed();
    }
    state.store.create_session(secret::hash(&token), session).await?;
    let secure = if state.secure { "; Secure" } else { "" };
    let cookie = format!("{COOKIE}={token}; Path=/; HttpOnly; SameSite=Lax; Max-Age={SESSION_SECONDS}{secure}");
    Ok(with_cookie(Redirect::to("/"), &cookie))
}

/// Ends the browser's session.
pub async fn sign_out(state: &AppState, headers: &HeaderMap) -> Response {
    if let Some(token) = session_token(headers) {
        if let Err(error) = state.store.end_session(secret::hash(token)).await {
            tracing::error!(%error, "a session was not ended");
            return pages::error_page(
                StatusCode::INTERNAL_SERVER_ERROR,
                "Not signed out",
                "The gateway's store failed. Its log says why.",
                None,
            );
        }
        state.auth.changed();
    }
    with_cookie(Redirect::to("/sign-in"), &format!("{COOKIE}=; Path=/; HttpOnly; SameSite=Lax; Max-Age=0"))
}

fn later(from: Timestamp, seconds: i64) -> Timestamp {
    Timestamp::from_micros(from.micros().saturating_add(seconds.saturating_mul(1_000_000)))
}

fn with_cookie(redirect: Redirect, cookie: &str) -> Response {
    let mut response = redirect.into_response();
    if let Ok(value) = HeaderValue::from_str(cookie) {
        response.headers_mut().insert(header::SET_COOKIE, value);
    }
    response
}
