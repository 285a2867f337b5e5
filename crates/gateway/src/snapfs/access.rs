//! Who calls a route of SnapFS, and what they may do (reference, sections 3.4, 7 and 11.20).
//!
//! | credential | may write | may read | scope of what they tell |
//! |---|---|---|---|
//! | an API key as bearer, or in the path | from operator on | yes | `key:ID` |
//! | a token that the key was exchanged for | with `ingest:write` | with `query:read`, `stream:read` | `key:ID` of the key |
//! | none, on this machine | yes | yes | `address:127.0.0.1` |
//!
//! Without a credential a caller is taken only when nothing says that they are elsewhere: not through a proxy, and not out
//! of a web page, which a browser on this machine may have from anywhere.

#![expect(clippy::result_large_err, reason = "the errors are answers, as handlers give them")]

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{Extensions, HeaderMap, Method, StatusCode, header};
use axum::response::Response;
use hostler_model::{ApiKeyId, Role};

use super::reply;
use crate::auth::{KEY_PREFIX, Peer};
use crate::state::AppState;
use crate::store::{ApiKey, SnapfsScope, StoreError};
use crate::{clock, secret};

/// Every token starts with this.
pub const TOKEN_PREFIX: &str = "hstt_";
/// Hex digits of a token after it.
pub const TOKEN_DIGITS: usize = 64;
/// Hex digits of an API key after [`KEY_PREFIX`].
const KEY_DIGITS: usize = 32;
/// An open stream looks this often whether its credential has ended, and its token counts as used.
const LOOK_AGAIN: Duration = Duration::from_secs(15 * 60);

/// Headers that proxies add.
const FORWARDED: [&str; 4] = ["x-forwarded-for", "forwarded", "x-real-ip", "via"];
/// Headers that only browsers send, and with every request that a page may not make of its own.
const BY_A_PAGE: [&str; 2] = ["origin", "sec-fetch-site"];

/// Who calls.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    /// Whose hashes, hosts and scans theirs are.
    pub scope: String,
    /// For people: `key NAME`, or an address.
    pub who: String,
    /// Where they call from; `None` on the local socket.
    pub address: Option<IpAddr>,
    /// May probe, ingest and be an agent.
    pub may_write: bool,
    /// May query and read the stream.
    pub may_read: bool,
    credential: Credential,
}

/// How to look a caller up again: the SHA-256 of what was presented. A token is not its key.
#[derive(Clone, Copy)]
enum Credential {
    None,
    Key([u8; 32]),
    Token([u8; 32]),
}

impl std::fmt::Debug for Credential {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::None => "None",
            Self::Key(_) => "Key",
            Self::Token(_) => "Token",
        })
    }
}

impl Caller {
    /// Fails unless the caller may tell something.
    pub fn write(&self) -> Result<(), Response> {
        if self.may_write { Ok(()) } else { Err(lacks("ingest:write, which comes with the operator role")) }
    }

    /// Fails unless the caller may read.
    pub fn read(&self) -> Result<(), Response> {
        if self.may_read { Ok(()) } else { Err(lacks("query:read and stream:read")) }
    }

    /// Returns when what the caller was let in for has changed or ended. A store that cannot tell lets nobody go on.
    pub async fn until_ended(&self, state: &AppState) {
        let mut changes = state.auth.watch();
        loop {
            let present = match self.credential {
                Credential::None => return std::future::pending().await,
                Credential::Key(hash) => by_key(state, hash).await,
                Credential::Token(hash) => by_token(state, hash).await,
            };
            let Ok(Some((key, may_write, may_read))) = present else { return };
            if (may_write, may_read) != (self.may_write, self.may_read) {
                return;
            }
            let left = key.expires_at.map_or(LOOK_AGAIN, |at| {
                let micros = at.micros().saturating_sub(clock::now().micros()).max(0);
                Duration::from_micros(micros.unsigned_abs()).min(LOOK_AGAIN)
            });
            tokio::select! {
                () = tokio::time::sleep(left) => {}
                // The sender is in `state`, which is held here.
                _ = changes.changed() => {}
            }
        }
    }
}

impl FromRequestParts<AppState> for Caller {
    type Rejection = Response;
    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, Response> {
        let caller = caller(state, &parts.headers, &parts.extensions, None).await?;
        if matches!(caller.credential, Credential::None) && parts.method == Method::POST {
            json_only(&parts.headers)?;
        }
        Ok(caller)
    }
}

/// Who calls: by the key in the path, else by the bearer, else by where they are.
pub(crate) async fn caller(
    state: &AppState,
    headers: &HeaderMap,
    extensions: &Extensions,
    key_in_path: Option<&str>,
) -> Result<Caller, Response> {
    let address = Peer::of(extensions).0.map(|address| address.to_canonical());
    let presented = key_in_path.map_or_else(|| bearer(headers), |key| Some(key.as_bytes()));
    let Some(presented) = presented else {
        nobody_in_particular(state, headers, address)?;
        let this_machine = IpAddr::from(Ipv4Addr::LOCALHOST);
        let who = address.unwrap_or(this_machine).to_string();
        // Whichever of its addresses a client takes, it is the same machine.
        let scope = format!("address:{this_machine}");
        return Ok(Caller { scope, who, address, may_write: true, may_read: true, credential: Credential::None });
    };
    let text = std::str::from_utf8(presented).unwrap_or_default();
    let credential = credential(text);
    let found = match credential {
        Credential::None => Ok(None),
        Credential::Key(hash) => by_key(state, hash).await,
        Credential::Token(hash) => by_token(state, hash).await,
    };
    match found {
        Ok(Some((key, may_write, may_read))) => Ok(Caller {
            scope: scope_of(key.id),
            who: format!("key {}", key.name),
            address,
            may_write,
            may_read,
            credential,
        }),
        Ok(None) => Err(reply::no_credentials("this API key or token is not known here, was revoked, or has expired")),
        Err(error) => Err(reply::broken(&error)),
    }
}

/// The scope of a key and of what it was exchanged for.
fn scope_of(key: ApiKeyId) -> String {
    format!("key:{key}")
}

/// The API key that a bearer is; for the exchange of it.
pub(super) async fn api_key(state: &AppState, headers: &HeaderMap) -> Result<(ApiKey, [u8; 32]), Response> {
    let wrong = || {
        reply::no_credentials(
            "send an API key of this gateway as bearer: it is not known here, was revoked, or has expired",
        )
    };
    let presented = bearer(headers).and_then(|bytes| std::str::from_utf8(bytes).ok()).ok_or_else(wrong)?;
    let Credential::Key(hash) = credential(presented) else { return Err(wrong()) };
    let found = state.store.use_api_key(hash, clock::now()).await.map_err(|error| reply::broken(&error))?;
    Ok((found.ok_or_else(wrong)?, hash))
}

fn credential(text: &str) -> Credential {
    let has = |prefix: &str, digits: usize| text.starts_with(prefix) && text.len() == prefix.len() + digits;
    if has(KEY_PREFIX, KEY_DIGITS) {
        Credential::Key(secret::hash(text))
    } else if has(TOKEN_PREFIX, TOKEN_DIGITS) {
        Credential::Token(secret::hash(text))
    } else {
        Credential::None
    }
}

type Rights = Option<(ApiKey, bool, bool)>;

async fn by_key(state: &AppState, hash: [u8; 32]) -> Result<Rights, StoreError> {
    let key = state.store.use_api_key(hash, clock::now()).await?;
    Ok(key.map(|key| {
        let may_write = allows(key.role, SnapfsScope::IngestWrite);
        (key, may_write, true)
    }))
}

async fn by_token(state: &AppState, hash: [u8; 32]) -> Result<Rights, StoreError> {
    let found = state.store.use_snapfs_token(hash, clock::now()).await?;
    Ok(found.map(|(key, scopes)| {
        // The key's role counts now, not when the token was made.
        let may = |scope| scopes.contains(&scope) && allows(key.role, scope);
        let (write, read) =
            (may(SnapfsScope::IngestWrite), may(SnapfsScope::StreamRead) || may(SnapfsScope::QueryRead));
        (key, write, read)
    }))
}

/// Whether a scope comes with a role.
pub(super) fn allows(role: Role, scope: SnapfsScope) -> bool {
    match scope {
        SnapfsScope::IngestWrite => role >= Role::Operator,
        SnapfsScope::QueryRead | SnapfsScope::StreamRead => true,
    }
}

/// What the client presents; something that is no bearer is a wrong credential, not a missing one.
fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    let value = headers.get(header::AUTHORIZATION)?.as_bytes();
    let scheme = value.get(..7).filter(|scheme| scheme.eq_ignore_ascii_case(b"bearer "));
    Some(scheme.map_or(&[][..], |_| value[7..].trim_ascii()))
}

/// Lets a caller without credentials in, when they are on this machine.
fn nobody_in_particular(state: &AppState, headers: &HeaderMap, address: Option<IpAddr>) -> Result<(), Response> {
    if BY_A_PAGE.iter().any(|name| headers.contains_key(*name)) {
        return Err(reply::refused("this came out of a web page; pages need an API key here"));
    }
    if state.snapfs_require_key {
        return Err(reply::no_credentials(
            "this gateway asks SnapFS clients for an API key; set SNAPFS_API_KEY to one",
        ));
    }
    // A proxy that nobody said to trust may have anybody behind it, and one that is trusted is there for other machines.
    let through_a_proxy = FORWARDED.iter().any(|name| headers.contains_key(*name));
    if address.is_none_or(|address| address.is_loopback()) && !through_a_proxy {
        return Ok(());
    }
    Err(reply::no_credentials(
        "beyond this machine SnapFS clients need an API key of this gateway; set SNAPFS_API_KEY to one",
    ))
}

/// Of those without credentials only JSON is taken: a page can send other types elsewhere without asking.
fn json_only(headers: &HeaderMap) -> Result<(), Response> {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    if kind.eq_ignore_ascii_case("application/json") {
        return Ok(());
    }
    Err(reply::detail(StatusCode::UNSUPPORTED_MEDIA_TYPE, "send the body as application/json"))
}

fn lacks(what: &str) -> Response {
    reply::refused(&format!("this key or token lacks the scope {what}"))
}
