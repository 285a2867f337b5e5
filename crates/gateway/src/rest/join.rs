//! `/join-tokens`, and `/join`, with which a host becomes one of the fleet.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use hostler_identity::{HostPublicKey, JoinToken, join_proof};
use hostler_model::{HostId, JoinTokenId, Role, Timestamp};
use serde::{Deserialize, Serialize};

use super::params::{Body, Id, Params};
use super::{ApiError, error::ErrorBody};
use crate::attempts::Attempt;
use crate::audit::{Anonymous, Entry};
use crate::auth::{Peer, Principal};
use crate::clock;
use crate::events::Event;
use crate::state::AppState;
use crate::store::{JoinOutcome, JoinTokenRecord, NewEvent, Page, Severity};

/// Largest body of a join, bytes.
pub const BODY_LIMIT: usize = 16 * 1024;
/// How long a token works when nothing else is asked for.
const DEFAULT_SECONDS: u64 = 3600;
/// How long a token works at most: a week.
const MAX_SECONDS: u64 = 7 * 86_400;
/// Longest note and name, characters.
const MAX_TEXT: usize = 200;
const MAX_NAME: usize = 64;

/// A token to make.
#[derive(Default, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct NewJoinToken {
    /// What it is for; up to 200 characters.
    note: String,
    /// How long it works; an hour by default, a week at most.
    expires_in_seconds: Option<u64>,
}

/// A token that was made.
#[derive(Serialize, utoipa::ToSchema)]
pub struct CreatedJoinToken {
    /// Its id.
    pub id: JoinTokenId,
    /// The secret; it is shown this once.
    pub token: String,
    /// What to type on the host that shall join.
    pub command: String,
    /// Where hosts reach the gateway.
    pub url: String,
    /// The pin of the gateway's self-made certificate.
    pin: Option<String>,
    /// When it stops working.
    pub expires_at: Timestamp,
}

/// A token without its secret.
#[derive(Serialize, utoipa::ToSchema)]
pub struct JoinTokenView {
    #[serde(flatten)]
    token: JoinTokenRecord,
    /// The name of the host that joined with it; `null` when none did, or it was removed.
    used_by_name: Option<String>,
}

/// All join tokens, newest first, without their secrets
#[utoipa::path(get, path = "/join-tokens", responses((status = 200, body = Page<JoinTokenView>), (status = 403, body = ErrorBody)))]
pub async fn tokens(
    State(state): State<AppState>,
    principal: Principal,
    params: Params,
) -> Result<Json<Page<JoinTokenView>>, ApiError> {
    principal.require(Role::Admin)?;
    params.end()?;
    let names: std::collections::HashMap<HostId, String> =
        state.store.hosts().await?.into_iter().map(|host| (host.id, host.name)).collect();
    let name = |token: &JoinTokenRecord| token.used_by.and_then(|host| names.get(&host).cloned());
    let tokens = state.store.join_tokens().await?;
    let items = tokens.into_iter().map(|token| JoinTokenView { used_by_name: name(&token), token }).collect();
    Ok(Json(Page { items, next: None }))
}

/// Make a token with which one host may join
#[utoipa::path(post, path = "/join-tokens", request_body = NewJoinToken,
    responses((status = 201, body = CreatedJoinToken), (status = 422, body = ErrorBody)))]
pub async fn create_token(
    State(state): State<AppState>,
    principal: Principal,
    Body(new): Body<NewJoinToken>,
) -> Result<(StatusCode, Entry, Json<CreatedJoinToken>), ApiError> {
    principal.require(Role::Admin)?;
    let seconds = new.expires_in_seconds.unwrap_or(DEFAULT_SECONDS);
    let (entry, made) = new_token(&state, &new.note, seconds, principal.name).await?;
    Ok((StatusCode::CREATED, entry, Json(made)))
}

/// Makes a join token in the name of `by`.
pub async fn new_token(
    state: &AppState,
    note: &str,
    seconds: u64,
    by: String,
) -> Result<(Entry, CreatedJoinToken), ApiError> {
    let invalid = |why: &str| ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid", why);
    if !(1..=MAX_SECONDS).contains(&seconds) {
        return Err(invalid("a join token works for 1 second to 7 days; choose expires_in_seconds from 1 to 604800"));
    }
    let note = note.trim();
    if note.chars().count() > MAX_TEXT || note.chars().any(char::is_control) {
        return Err(invalid("a note has at most 200 characters, none of them a control character"));
    }
    let token = JoinToken::generate(&state.public_url, state.pin).map_err(|e| ApiError::internal(&e))?;
    let record = JoinTokenRecord {
        id: JoinTokenId::new(),
        note: note.to_owned(),
        created_by: by,
        created_at: clock::now(),
        expires_at: clock::in_seconds(seconds),
        used_at: None,
        used_by: None,
        revoked_at: None,
    };
    state.store.create_join_token(record.clone(), token.secret_hash()).await?;
    let entry = Entry::target(record.id.to_string()).detail(record.note.clone());
    Ok((entry, created(state, &record, &token)))
}

fn created(state: &AppState, record: &JoinTokenRecord, token: &JoinToken) -> CreatedJoinToken {
    let (url, text) = (&state.public_url, token.expose());
    // With a pin the certificate's issuer is nobody's business; without, the system's roots vouch for it.
    let trust = state.pin.map_or_else(String::new, |pin| format!("-k --pinnedpubkey '{pin}' "));
    CreatedJoinToken {
        id: record.id,
        command: format!("curl -fsSL {trust}{url}/install.sh | sh -s -- {text}"),
        token: text,
        url: url.to_string(),
        pin: state.pin.map(|pin| pin.to_string()),
        expires_at: record.expires_at,
    }
}

/// Make an unused join token useless
#[utoipa::path(delete, path = "/join-tokens/{id}", params(("id" = String, Path)),
    responses((status = 204), (status = 404, body = ErrorBody)))]
pub async fn revoke_token(
    State(state): State<AppState>,
    principal: Principal,
    Id(id): Id<JoinTokenId>,
) -> Result<StatusCode, ApiError> {
    principal.require(Role::Admin)?;
    state.store.revoke_join_token(id, clock::now()).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// A host that wants to join.
#[derive(Deserialize, utoipa::ToSchema)]
pub struct Join {
    /// The join token.
    token: String,
    /// The host's own id.
    host: HostId,
    /// What it would like to be called.
    name: String,
    /// Its Ed25519 key: 32 bytes, base64url without padding.
    public_key: String,
    /// A signature with that key over the token's URL, the host's id and the SHA-256 of the token's secret.
    proof: String,
    /// The agent's version.
    #[serde(default)]
    agent_version: String,
}

/// A host that joined.
#[derive(Serialize, utoipa::ToSchema)]
pub struct Joined {
    host: HostId,
    /// What it is called: another host's name gets a number.
    name: String,
    /// The gateway's id, to which the host signs.
    gateway: String,
}

/// Join with a token, which is the credential; repeated with the same token, host and key, it answers the same
#[utoipa::path(post, path = "/join", request_body = Join, security(()), responses(
    (status = 201, body = Joined), (status = 200, description = "it had joined before", body = Joined),
    (status = 401, body = ErrorBody), (status = 409, body = ErrorBody), (status = 410, body = ErrorBody),
    (status = 429, body = ErrorBody)))]
pub async fn join(State(state): State<AppState>, peer: Peer, body: Result<Body<Join>, ApiError>) -> Response {
    if let Err(error) = state.auth.attempts.check(Attempt::Join, peer.0) {
        return ApiError::from(error).into_response();
    }
    let target = body.as_ref().map(|Body(join)| join.host.to_string()).unwrap_or_default();
    let joined = async {
        let Body(join) = body?;
        let (status, name) = try_join(&state, &join, peer).await?;
        Ok::<_, ApiError>((status, name, join))
    };
    match joined.await {
        Ok((status, name, join)) => {
            let who = Anonymous(format!("host {name}"));
            let agent = format!("agent {}", printable(&join.agent_version, MAX_NAME));
            let entry = Entry::host(join.host, &name).detail(agent);
            let body = Joined { host: join.host, name, gateway: state.gateway_id.to_string() };
            (status, entry, axum::Extension(who), Json(body)).into_response()
        }
        Err(error) => {
            // A gateway that failed is not the host's fault.
            if error.status.is_client_error() {
                state.auth.attempts.failed(Attempt::Join, peer.0);
            }
            let who = Anonymous("(a host with a join token)".to_owned());
            (Entry::target(target), axum::Extension(who), error).into_response()
        }
    }
}

async fn try_join(state: &AppState, join: &Join, peer: Peer) -> Result<(StatusCode, String), ApiError> {
    let bad_token = || {
        ApiError::new(StatusCode::UNAUTHORIZED, "bad_token", "this gateway knows no such join token")
            .hint("print a new one with `hostler hosts token` at the gateway")
    };
    let token: JoinToken = join.token.parse().map_err(|_| bad_token())?;
    let key: HostPublicKey = join.public_key.parse().map_err(|e: hostler_identity::ParseKeyError| {
        ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid", e.to_string())
    })?;
    if !join_proof::verify(&join.proof, &key, &token, join.host) {
        return Err(ApiError::new(
            StatusCode::UNAUTHORIZED,
            "bad_proof",
            "the host's signature is not that of the key it shows",
        ));
    }
    let name = match printable(&join.name, MAX_NAME) {
        name if name.is_empty() => "host".to_owned(),
        name => name,
    };
    let gone = |code, message| {
        ApiError::new(StatusCode::GONE, code, message).hint("print a new one with `hostler hosts token` at the gateway")
    };
    match state.store.join(token.secret_hash(), join.host, &name, key.0, clock::now()).await? {
        JoinOutcome::Joined { name } => {
            let message = format!("{name} joined from {peer}");
            let event = NewEvent::of_host(join.host, "host.joined", Severity::Info, message);
            state.events.send(Event::Activity(Box::new(state.store.append_gateway_event(event).await?)));
            Ok((StatusCode::CREATED, name))
        }
        JoinOutcome::Again { name } => Ok((StatusCode::OK, name)),
        JoinOutcome::Unknown => Err(bad_token()),
        JoinOutcome::Expired => Err(gone("token_expired", "this join token has expired")),
        JoinOutcome::Revoked => Err(gone("token_revoked", "this join token was revoked")),
        JoinOutcome::Used => Err(ApiError::new(
            StatusCode::CONFLICT,
            "token_used",
            "another host, or this one with another key, has joined with this token",
        )
        .hint("a token works once: print a new one with `hostler hosts token` at the gateway")),
        JoinOutcome::KeyTaken => Err(ApiError::new(
            StatusCode::CONFLICT,
            "key_taken",
            "this gateway knows the host's id with another key, or its key with another id",
        )
        .hint("remove the host at the gateway first, or join as a new one with `hostler join --new-identity`")),
    }
}

/// What a host says of itself is shown in tables and terminals.
fn printable(text: &str, limit: usize) -> String {
    text.trim().chars().filter(|c| !c.is_control()).take(limit).collect()
}
