//! Where agents dial in: `GET /api/v1/link`, upgraded to a WebSocket.

use axum::extract::State;
use axum::extract::ws::{WebSocketUpgrade, rejection::WebSocketUpgradeRejection};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use hostler_link::handshake::{self, Hello, Refusal, Welcome};
use hostler_link::{LinkClient, accept};

use crate::secret;
use crate::state::AppState;

/// Checks who dials, settles the link's generation and hands the link to the fleet.
pub async fn dial_in(
    State(state): State<AppState>,
    headers: HeaderMap,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Response {
    // Before anything is looked up: a link that cannot be upgraded must not take a generation.
    let upgrade = match upgrade {
        Ok(upgrade) => upgrade,
        Err(error) => {
            return Refusal::new(StatusCode::BAD_REQUEST, "no_upgrade", format!("agents link up here: {error}"))
                .into_response();
        }
    };
    match admit(&state, &headers).await {
        Err(refusal) => refusal.into_response(),
        Ok((hello, welcome)) => {
            let generation = welcome.generation;
            accept(upgrade, &welcome, move |stream| async move {
                match LinkClient::connect(stream).await {
                    Ok((client, closed)) => state.fleet.hold(hello.host, generation, client, closed).await,
                    Err(error) => tracing::warn!(host = %hello.host, %error, "a host's link did not start"),
                }
            })
        }
    }
}

async fn admit(state: &AppState, headers: &HeaderMap) -> Result<(Hello, Welcome), Refusal> {
    let hello = Hello::from_headers(headers)?;
    let broken = |error: crate::store::StoreError| {
        tracing::error!(%error, "a host could not be looked up");
        Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "store", "the gateway's store failed; see the gateway's log")
    };
    let known = state.store.host_by_token(secret::hash(hello.token.expose())).await.map_err(broken)?;
    if known != Some(hello.host) {
        let mut refusal =
            Refusal::new(StatusCode::UNAUTHORIZED, "bad_token", "this gateway does not know the host's token");
        refusal.hint = "the host was removed, or its data directory belongs to another gateway".into();
        return Err(refusal);
    }
    let stored = state.store.host(hello.host).await.map_err(broken)?.generation;
    if handshake::next_generation(stored, hello.generation).is_none() {
        return Err(Refusal::new(
            StatusCode::CONFLICT,
            "bad_generation",
            format!("the host claims link generation {}, this gateway gave out {stored}", hello.generation),
        ));
    }
    let generation = state.store.next_generation(hello.host, hello.generation).await.map_err(broken)?;
    Ok((hello, Welcome { generation, gateway: state.gateway_id.to_string() }))
}
