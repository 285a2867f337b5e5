//! Errors of the native API: `{"error": {"code", "message", "hint"}}`.

use axum::Json;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use crate::attempts::TooMany;
use crate::audit::Why;
use crate::auth::users::UserError;
use crate::auth::{Busy, Forbidden, NewKeyError, SignInError};
use crate::backup::BackupError;
use crate::scans::{SetPausedError, StartScanError};
use crate::schedules::ScheduleError;
use crate::store::StoreError;
use crate::webhooks::WebhookError;

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
    /// Seconds after which it may work.
    pub retry_after: Option<u64>,
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
        Self { status, code, message: message.into(), hint: None, retry_after: None }
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
    pub fn internal(error: &dyn std::error::Error) -> Self {
        tracing::error!(error = %error, "a request failed");
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "the gateway failed; its log says why")
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let error = ErrorText { code: self.code.into(), message: self.message, hint: self.hint };
        let mut response = (self.status, Json(ErrorBody { error })).into_response();
        response.extensions_mut().insert(Why(self.code));
        if let Some(seconds) = self.retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
        }
        response
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        match &error {
            StoreError::NotFound { .. } => Self::new(StatusCode::NOT_FOUND, "not_found", error.to_string()),
            StoreError::Exists { .. } => Self::new(StatusCode::CONFLICT, "exists", error.to_string()),
            StoreError::TooMany { .. } => Self::new(StatusCode::CONFLICT, "too_many", error.to_string()),
            StoreError::BadCursor(_) => Self::new(StatusCode::BAD_REQUEST, "bad_cursor", error.to_string()),
            StoreError::BadBackup(_) => Self::new(StatusCode::UNPROCESSABLE_ENTITY, "bad_backup", error.to_string()),
            StoreError::TooNew { .. } => Self::new(StatusCode::UNPROCESSABLE_ENTITY, "too_new", error.to_string()),
            StoreError::Closed => Self::new(StatusCode::SERVICE_UNAVAILABLE, "stopping", error.to_string()),
            StoreError::Full => {
                tracing::error!(%error, "a request failed");
                Self::new(StatusCode::INSUFFICIENT_STORAGE, "disk_full", error.to_string())
            }
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

impl From<SetPausedError> for ApiError {
    fn from(error: SetPausedError) -> Self {
        let text = error.to_string();
        match error {
            SetPausedError::Ended(_) | SetPausedError::Ending => Self::new(StatusCode::CONFLICT, "ended", text),
            SetPausedError::NotLinked(_) => Self::new(StatusCode::CONFLICT, "not_linked", text),
            SetPausedError::Never => Self::new(StatusCode::CONFLICT, "not_possible", text),
            SetPausedError::Refused(_) => Self::new(StatusCode::UNPROCESSABLE_ENTITY, "refused", text),
            SetPausedError::Unreachable(_) => Self::new(StatusCode::BAD_GATEWAY, "unreachable", text),
            SetPausedError::Store(error) => error.into(),
        }
    }
}

impl From<ScheduleError> for ApiError {
    fn from(error: ScheduleError) -> Self {
        let text = error.to_string();
        match error {
            ScheduleError::Invalid { .. } => Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid", text),
            ScheduleError::Busy => Self::new(StatusCode::CONFLICT, "busy", text),
            ScheduleError::Start(error) => error.into(),
            ScheduleError::Store(error) => error.into(),
        }
    }
}

impl From<WebhookError> for ApiError {
    fn from(error: WebhookError) -> Self {
        let text = error.to_string();
        match error {
            WebhookError::Invalid { .. } => Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid", text),
            WebhookError::Disabled => Self::new(StatusCode::CONFLICT, "disabled", text),
            WebhookError::Random(error) => Self::internal(&error),
            WebhookError::Store(error) => error.into(),
        }
    }
}

impl From<NewKeyError> for ApiError {
    fn from(error: NewKeyError) -> Self {
        match error {
            NewKeyError::Name | NewKeyError::Expired => {
                Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid", error.to_string())
            }
            NewKeyError::Store(error) => error.into(),
            NewKeyError::Random(error) => Self::internal(&error),
        }
    }
}

impl From<TooMany> for ApiError {
    fn from(error: TooMany) -> Self {
        let text = error.to_string();
        Self { retry_after: Some(error.seconds), ..Self::new(StatusCode::TOO_MANY_REQUESTS, "too_many_attempts", text) }
    }
}

impl From<Busy> for ApiError {
    fn from(error: Busy) -> Self {
        Self { retry_after: Some(3), ..Self::new(StatusCode::SERVICE_UNAVAILABLE, "busy", error.to_string()) }
    }
}

impl From<UserError> for ApiError {
    fn from(error: UserError) -> Self {
        let text = error.to_string();
        match error {
            UserError::Name | UserError::Weak(_) => Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid", text),
            UserError::WrongPassword => Self::new(StatusCode::FORBIDDEN, "wrong_password", text),
            UserError::Busy(error) => error.into(),
            UserError::Store(error) => error.into(),
            UserError::Hash(error) => Self::internal(&error),
        }
    }
}

impl From<SignInError> for ApiError {
    fn from(error: SignInError) -> Self {
        match error {
            SignInError::Useless | SignInError::Wrong { .. } => Self::unauthorized(&error.to_string()),
            SignInError::TooMany(error) => error.into(),
            SignInError::Busy(error) => error.into(),
            SignInError::Store(error) => error.into(),
            SignInError::Random(error) => Self::internal(&error),
        }
    }
}

impl From<BackupError> for ApiError {
    fn from(error: BackupError) -> Self {
        let text = error.to_string();
        match error {
            BackupError::Busy => Self::new(StatusCode::CONFLICT, "busy", text),
            BackupError::TooLarge => Self::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", text),
            BackupError::Body(_) => Self::new(StatusCode::BAD_REQUEST, "bad_body", text),
            BackupError::File { .. } => Self::internal(&error),
            BackupError::Store(error) => error.into(),
        }
    }
}
