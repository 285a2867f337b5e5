//! Errors of the native API: `{"error": {"code", "message", "hint"}}`.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use crate::auth::{Forbidden, NewKeyError, SignInError};
use crate::scans::StartScanError;
use crate::store::StoreError;

/// An error with its HTTP status.
#[derive(Debug)]
pub struct ApiError {
    /// The status.
    pub status: StatusCode,
    /// One word for programs.
    pub code: &'static str,
    /// What happened, to which thing.
    pub message: String,
    /// What to do.
    pub hint: Option<String>,
}

#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = Error)]
pub struct ErrorBody {
    error: ErrorText,
}

#[derive(Serialize, utoipa::ToSchema)]
pub struct ErrorText {
    code: String,
    message: String,
    hint: Option<String>,
}

impl ApiError {
    /// An error without a hint.
    pub fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into(), hint: None }
    }

    /// 401.
    pub fn unauthorized(message: &str) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "unauthorized", message)
    }

    /// 400.
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad_request", message)
    }

    /// Adds what to do.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// 500: the cause goes to the log, not to the client.
    fn internal(error: &dyn std::error::Error) -> Self {
        tracing::error!(error = %error, "a request failed");
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "the gateway failed; its log says why")
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let error = ErrorText { code: self.code.into(), message: self.message, hint: self.hint };
        (self.status, Json(ErrorBody { error })).into_response()
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        match &error {
            StoreError::NotFound { .. } => Self::new(StatusCode::NOT_FOUND, "not_found", error.to_string()),
            StoreError::Exists { .. } => Self::new(StatusCode::CONFLICT, "exists", error.to_string()),
            StoreError::BadCursor(_) => Self::new(StatusCode::BAD_REQUEST, "bad_cursor", error.to_string()),
            StoreError::Closed => Self::new(StatusCode::SERVICE_UNAVAILABLE, "stopping", error.to_string()),
            _ => Self::internal(&error),
        }
    }
}

impl From<Forbidden> for ApiError {
    fn from(error: Forbidden) -> Self {
        Self::new(StatusCode::FORBIDDEN, "forbidden", error.to_string())
    }
}

impl From<StartScanError> for ApiError {
    fn from(error: StartScanError) -> Self {
        let text = error.to_string();
        match error {
            StartScanError::Invalid(_) => Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid", text),
            StartScanError::Refused(_) => Self::new(StatusCode::UNPROCESSABLE_ENTITY, "refused", text),
            StartScanError::NotLinked(_) => Self::new(StatusCode::CONFLICT, "not_linked", text),
            StartScanError::QueueFull => Self::new(StatusCode::TOO_MANY_REQUESTS, "queue_full", text),
            StartScanError::Stopping => Self::new(StatusCode::SERVICE_UNAVAILABLE, "stopping", text),
            StartScanError::Unreachable(_) => Self::new(StatusCode::BAD_GATEWAY, "unreachable", text),
            StartScanError::Store(error) => error.into(),
        }
    }
}

impl From<NewKeyError> for ApiError {
    fn from(error: NewKeyError) -> Self {
        match error {
            NewKeyError::Name => Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid", error.to_string()),
            NewKeyError::Store(error) => error.into(),
            NewKeyError::Random(error) => Self::internal(&error),
        }
    }
}

impl From<SignInError> for ApiError {
    fn from(error: SignInError) -> Self {
        match error {
            SignInError::Useless => Self::unauthorized(&error.to_string()),
            SignInError::Store(error) => error.into(),
            SignInError::Random(error) => Self::internal(&error),
        }
    }
}
