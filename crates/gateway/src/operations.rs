//! `/healthz`, `/health` and `/metrics`: for those who run the gateway, without signing in.

use axum::Router;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use metrics_exporter_prometheus::PrometheusHandle;
use serde_json::json;

use crate::rest::ApiError;
use crate::state::AppState;

/// The routes.
pub fn router(metrics: PrometheusHandle) -> Router<AppState> {
    let exposition = move |State(state): State<AppState>| {
        let metrics = metrics.clone();
        async move { expose(&state, &metrics) }
    };
    Router::new().route("/healthz", get(health)).route("/health", get(health)).route("/metrics", get(exposition))
}

async fn health(State(state): State<AppState>) -> Result<Response, ApiError> {
    // Answering at all proves the process; this proves the store.
    state.store.api_keys().await?;
    Ok(axum::Json(json!({ "status": "ok", "env": "prod", "version": env!("CARGO_PKG_VERSION") })).into_response())
}

fn expose(state: &AppState, handle: &PrometheusHandle) -> Response {
    metrics::gauge!("hostler_hosts_linked").set(state.fleet.linked_count() as f64);
    metrics::gauge!("hostler_scans_active").set(state.scans.active().len() as f64);
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], handle.render()).into_response()
}
