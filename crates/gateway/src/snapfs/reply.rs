//! Answers in the form that SnapFS clients know (reference, section 3.1).
//!
//! A client takes 401 and 403 for the end of a scan, and an answer's text too if it holds "unauthorized" or "forbidden":
//! neither word is in any text here.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use crate::store::StoreError;

/// 200 with JSON that is written already.
pub fn json(body: impl Into<axum::body::Body>) -> Response {
    with_type(StatusCode::OK, body)
}

/// An error with a text for people.
pub fn detail(status: StatusCode, text: &str) -> Response {
    #[derive(Serialize)]
    struct Body<'a> {
        detail: &'a str,
    }
    with_type(status, serde_json::to_string(&Body { detail: text }).unwrap_or_default())
}

/// 401.
pub fn no_credentials(text: &str) -> Response {
    let mut response = detail(StatusCode::UNAUTHORIZED, text);
    response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    response
}

/// 403.
pub fn refused(text: &str) -> Response {
    detail(StatusCode::FORBIDDEN, text)
}

/// The store failed: why goes to the log, unless the client's owner can do something about it.
pub fn broken(error: &StoreError) -> Response {
    let status = match error {
        StoreError::Closed => StatusCode::SERVICE_UNAVAILABLE,
        StoreError::Full => StatusCode::INSUFFICIENT_STORAGE,
        _ => {
            tracing::error!(%error, "a SnapFS client's request failed");
            return detail(StatusCode::INTERNAL_SERVER_ERROR, "the gateway failed; its log says why");
        }
    };
    detail(status, &error.to_string())
}

/// The answer to a method that a route has not.
pub async fn wrong_method() -> Response {
    detail(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed")
}

fn with_type(status: StatusCode, body: impl Into<axum::body::Body>) -> Response {
    (status, [(header::CONTENT_TYPE, "application/json")], body.into()).into_response()
}
