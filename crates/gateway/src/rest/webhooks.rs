//! `/webhooks`: for admins. The secret is shown once, in the answer that makes it; of URLs, credentials and query never are.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use hostler_model::{ByteStr, DeliveryId, Role, WebhookId};
use serde::{Deserialize, Serialize};

use super::params::{Body, Id, Params, find_host};
use super::{ApiError, error::ErrorBody};
use crate::audit::Entry;
use crate::auth::Principal;
use crate::state::AppState;
use crate::store::{Delivery, Hidden, Page, Webhook, WebhookEvent};
use crate::webhooks::{NewWebhook, WebhookChange};

/// A webhook to make.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewWebhookBody {
    /// http or https; may hold credentials, which are sent and never shown.
    url: String,
    /// What it is told of; all by default.
    #[serde(default)]
    events: Vec<WebhookEvent>,
    /// Only of this host: id or name.
    #[serde(default)]
    host: Option<String>,
    /// Only of this directory and those below it.
    #[serde(default)]
    root: Option<ByteStr>,
}

/// What is to be different; what is left out stays.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct WebhookChangeBody {
    /// Where it is told.
    #[serde(default)]
    url: Option<String>,
    /// What it is told of.
    #[serde(default)]
    events: Option<Vec<WebhookEvent>>,
    /// On or off.
    #[serde(default)]
    enabled: Option<bool>,
}

/// A webhook that was made.
#[derive(Serialize, utoipa::ToSchema)]
pub struct CreatedWebhook {
    /// `whsec_` and base64: the key of its signatures. It is shown this once.
    secret: String,
    #[serde(flatten)]
    webhook: Webhook,
}

/// All webhooks
#[utoipa::path(get, path = "/webhooks", responses((status = 200, body = Page<Webhook>), (status = 403, body = ErrorBody)))]
pub async fn list(
    State(state): State<AppState>,
    principal: Principal,
    params: Params,
) -> Result<Json<Page<Webhook>>, ApiError> {
    principal.require(Role::Admin)?;
    params.end()?;
    Ok(Json(Page { items: state.store.webhooks().await?, next: None }))
}

/// Make a webhook (Standard Webhooks 1.0)
#[utoipa::path(post, path = "/webhooks", request_body = NewWebhookBody,
    responses((status = 201, body = CreatedWebhook), (status = 422, body = ErrorBody)))]
pub async fn create(
    State(state): State<AppState>,
    principal: Principal,
    Body(new): Body<NewWebhookBody>,
) -> Result<(StatusCode, Entry, Json<CreatedWebhook>), ApiError> {
    principal.require(Role::Admin)?;
    let host = match &new.host {
        Some(host) => Some(find_host(&*state.store, host).await?),
        None => None,
    };
    let new =
        NewWebhook { url: Hidden::new(new.url), events: new.events, host, root: new.root, created_by: principal.name };
    let webhook = state.webhooks.create(new).await?;
    let secret = webhook.secret.reveal().to_owned();
    Ok((StatusCode::CREATED, Entry::target(&webhook.url), Json(CreatedWebhook { secret, webhook })))
}

/// One webhook
#[utoipa::path(get, path = "/webhooks/{id}", params(("id" = String, Path)),
    responses((status = 200, body = Webhook), (status = 404, body = ErrorBody)))]
pub async fn show(
    State(state): State<AppState>,
    principal: Principal,
    Id(id): Id<WebhookId>,
) -> Result<Json<Webhook>, ApiError> {
    principal.require(Role::Admin)?;
    Ok(Json(state.store.webhook(id).await?))
}

/// Change a webhook, switch it off or on; its secret stays
#[utoipa::path(patch, path = "/webhooks/{id}", request_body = WebhookChangeBody, params(("id" = String, Path)),
    responses((status = 200, body = Webhook), (status = 404, body = ErrorBody), (status = 422, body = ErrorBody)))]
pub async fn change(
    State(state): State<AppState>,
    principal: Principal,
    Id(id): Id<WebhookId>,
    Body(change): Body<WebhookChangeBody>,
) -> Result<(Entry, Json<Webhook>), ApiError> {
    principal.require(Role::Admin)?;
    let change = WebhookChange { url: change.url.map(Hidden::new), events: change.events, enabled: change.enabled };
    let webhook = state.webhooks.change(id, change).await?;
    let detail = if webhook.enabled { "on" } else { "off" };
    Ok((Entry::target(&webhook.url).detail(detail), Json(webhook)))
}

/// Delete a webhook and what it is still to be told
#[utoipa::path(delete, path = "/webhooks/{id}", params(("id" = String, Path)),
    responses((status = 204), (status = 404, body = ErrorBody)))]
pub async fn delete(
    State(state): State<AppState>,
    principal: Principal,
    Id(id): Id<WebhookId>,
) -> Result<(Entry, StatusCode), ApiError> {
    principal.require(Role::Admin)?;
    let webhook = state.store.webhook(id).await?;
    state.store.delete_webhook(id).await?;
    Ok((Entry::target(webhook.url), StatusCode::NO_CONTENT))
}

/// Send a test event; what became of it is in the list of deliveries
#[utoipa::path(post, path = "/webhooks/{id}/test", params(("id" = String, Path)),
    responses((status = 202, body = Delivery), (status = 404, body = ErrorBody), (status = 409, body = ErrorBody)))]
pub async fn test(
    State(state): State<AppState>,
    principal: Principal,
    Id(id): Id<WebhookId>,
) -> Result<(StatusCode, Json<Delivery>), ApiError> {
    principal.require(Role::Admin)?;
    Ok((StatusCode::ACCEPTED, Json(state.webhooks.test(id).await?)))
}

/// What a webhook was told and is still to be told, newest first
#[utoipa::path(get, path = "/webhooks/{id}/deliveries", params(
    ("id" = String, Path),
    ("limit" = Option<u32>, Query, description = "1 to 1000, 100 by default"),
    ("cursor" = Option<String>, Query, description = "`next` of the page before"),
), responses((status = 200, body = Page<Delivery>), (status = 404, body = ErrorBody)))]
pub async fn deliveries(
    State(state): State<AppState>,
    principal: Principal,
    Id(id): Id<WebhookId>,
    mut params: Params,
) -> Result<Json<Page<Delivery>>, ApiError> {
    principal.require(Role::Admin)?;
    let page = params.page()?;
    params.end()?;
    Ok(Json(state.store.deliveries(id, page).await?))
}

/// Send a delivery once more, with the same `webhook-id`
#[utoipa::path(post, path = "/webhooks/{id}/deliveries/{delivery}/redeliver",
    params(("id" = String, Path), ("delivery" = String, Path)),
    responses((status = 202, body = Delivery), (status = 404, body = ErrorBody), (status = 409, body = ErrorBody)))]
pub async fn redeliver(
    State(state): State<AppState>,
    principal: Principal,
    Path((id, delivery)): Path<(String, String)>,
) -> Result<(StatusCode, Json<Delivery>), ApiError> {
    principal.require(Role::Admin)?;
    let wrong = |error: hostler_model::ids::ParseIdError| ApiError::bad_request(error.to_string());
    let (id, delivery) = (id.parse::<WebhookId>().map_err(wrong)?, delivery.parse::<DeliveryId>().map_err(wrong)?);
    Ok((StatusCode::ACCEPTED, Json(state.webhooks.redeliver(id, delivery).await?)))
}
