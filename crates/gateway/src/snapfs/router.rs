//! The routes of SnapFS that are HTTP, and the stream (reference, section 1). Both generations' paths do the same.

use axum::Router;
use axum::routing::{get, post};

use super::{ingest, probe, query, reply, stream, token};
use crate::state::AppState;

/// The routes; each finds out by itself who calls.
pub fn router() -> Router<AppState> {
    Router::new()
        .route("/cache/batch", post(probe::answer))
        .route("/api/cache/batch", post(probe::answer))
        .route("/ingest", post(ingest::ingest))
        .route("/api/ingest", post(ingest::ingest))
        .route("/api/auth/token", post(token::exchange))
        .route("/query/sql", post(query::sql))
        .route("/stream", get(stream::open))
        .method_not_allowed_fallback(reply::wrong_method)
}
