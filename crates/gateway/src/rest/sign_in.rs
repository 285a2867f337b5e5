//! `/sign-in-links`: a new one-time link, for who lost the first.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use hostler_model::Role;
use serde::Serialize;

use super::ApiError;
use crate::auth::{self, LINK_SECONDS, Principal};
use crate::state::AppState;

/// A link that signs one browser in.
#[derive(Serialize, utoipa::ToSchema)]
pub struct SignInLink {
    /// Works once.
    url: String,
    /// Seconds until it stops working.
    expires_in: i64,
}

/// Make a one-time sign-in link for an admin
#[utoipa::path(post, path = "/sign-in-links", responses((status = 201, body = SignInLink)))]
pub async fn create(
    State(state): State<AppState>,
    principal: Principal,
) -> Result<(StatusCode, Json<SignInLink>), ApiError> {
    principal.require(Role::Admin)?;
    let url = auth::create_link(&state).await?;
    Ok((StatusCode::CREATED, Json(SignInLink { url, expires_in: LINK_SECONDS })))
}
