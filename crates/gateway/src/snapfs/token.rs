//! `POST /api/auth/token`: an API key becomes a token with fewer rights (reference, section 3.4).

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use serde_json::value::RawValue;

use super::access::{self, TOKEN_DIGITS, TOKEN_PREFIX};
use super::body::{self, Bounded, Small};
use super::json;
use super::problems::{self, Problems, Step};
use super::reply;
use crate::audit::{Anonymous, Entry};
use crate::auth::{Peer, Principal};
use crate::state::AppState;
use crate::store::{SNAPFS_TOKEN_SECONDS, SnapfsScope, SnapfsToken};
use crate::{clock, secret};

/// Makes a token for the key that the bearer is.
pub async fn exchange(
    State(state): State<AppState>,
    from: Peer,
    headers: HeaderMap,
    Small(body): Small,
) -> Result<Response, Response> {
    let (key, hash) = access::api_key(&state, &headers).await.map_err(|mut response| {
        if response.status() == axum::http::StatusCode::UNAUTHORIZED {
            response.extensions_mut().insert(Anonymous("(unknown API key)".to_owned()));
        }
        response
    })?;
    let made = make(&state, &key, body).await;
    let mut response = match made {
        Ok((token, scopes)) => {
            let text =
                format!(r#"{{"accessToken":"{token}","tokenType":"Bearer","expiresIn":{SNAPFS_TOKEN_SECONDS}}}"#);
            (Entry::target(key.name.as_str()).detail(scopes), reply::json(text)).into_response()
        }
        Err(refused) => refused,
    };
    response.extensions_mut().insert(Principal::of_key(&key, hash, from));
    Ok(response)
}

/// A token that is kept, and its scopes for people.
async fn make(state: &AppState, key: &crate::store::ApiKey, body: Bounded) -> Result<(String, String), Response> {
    let asked = body::parse(body, scopes).await?;
    let scopes: Vec<SnapfsScope> = match asked {
        None => SnapfsScope::ALL.iter().copied().filter(|scope| access::allows(key.role, *scope)).collect(),
        Some(names) => {
            #[expect(clippy::result_large_err, reason = "the error is the answer, as handlers give it")]
            let known = |name: String| match name.parse::<SnapfsScope>() {
                Ok(scope) if access::allows(key.role, scope) => Ok(scope),
                Ok(scope) => Err(reply::refused(&format!("a key with the role {} lacks the scope {scope}", key.role))),
                Err(_) => Err(reply::refused("a scope that was asked for is not known here")),
            };
            names.into_iter().map(known).collect::<Result<_, _>>()?
        }
    };
    let token = secret::random_hex(TOKEN_DIGITS / 2).map(|digits| format!("{TOKEN_PREFIX}{digits}"));
    let token = token.map_err(|error| {
        tracing::error!(%error, "no token was made");
        reply::detail(axum::http::StatusCode::INTERNAL_SERVER_ERROR, "the gateway failed; its log says why")
    })?;
    let words: Vec<&str> = scopes.iter().map(|scope| scope.word()).collect();
    let words = words.join(" ");
    let kept = SnapfsToken {
        key: key.id,
        scopes,
        created_at: clock::now(),
        expires_at: clock::in_seconds(SNAPFS_TOKEN_SECONDS),
    };
    state.store.create_snapfs_token(kept, secret::hash(&token)).await.map_err(|error| reply::broken(&error))?;
    Ok((token, words))
}

/// The scopes that a body asks for; `None` when it leaves that open.
fn scopes(text: &str) -> Result<Option<Vec<String>>, Problems<'_>> {
    const AT: [Step; 2] = [Step::Name("body"), Step::Name("scopes")];
    json::check_depth(text)?;
    // No body at all is as good as an empty object.
    if text.trim().is_empty() {
        return Ok(None);
    }
    let body: &RawValue = serde_json::from_str(text).map_err(|error| Problems::of(text, &error))?;
    let fields = json::fields(body).ok_or_else(|| Problems::one(problems::OBJECT, &AT[..1], Some(body)))?;
    let Some(asked) = fields.get(&b"scopes"[..]).copied().filter(|asked| asked.get() != "null") else {
        return Ok(None);
    };
    let names: Vec<&RawValue> =
        serde_json::from_str(asked.get()).map_err(|_| Problems::one(problems::LIST, &AT, Some(asked)))?;
    let mut problems = Problems::default();
    let mut found = Vec::new();
    for (index, name) in names.into_iter().enumerate() {
        match serde_json::from_str::<String>(name.get()) {
            Ok(text) => found.push(text),
            Err(_) => problems.add(problems::STRING, &[AT[0], AT[1], Step::Index(index)], Some(name)),
        }
    }
    // None of them is what an empty list in a client's settings means.
    if problems.is_empty() { Ok(Some(found).filter(|found| !found.is_empty())) } else { Err(problems) }
}
