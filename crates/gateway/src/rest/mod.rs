//! The native API: `/api/v1`, JSON in and out, documented by the OpenAPI document that is made from these handlers.

mod audit;
mod backup;
mod changes;
mod duplicates;
mod error;
mod events;
mod files;
mod hosts;
mod join;
mod keys;
mod params;
mod scans;
mod schedules;
mod sessions;
mod sign_in;
mod snapfs;
mod users;
mod webhooks;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::{StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use maud::{DOCTYPE, html};
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub use duplicates::script_response;
pub use error::ApiError;
pub use hosts::remove_host;
pub use join::{CreatedJoinToken, new_token};

use crate::state::AppState;

#[derive(OpenApi)]
#[openapi(info(
    title = "Hostler",
    description = "One agent per host, one gateway for the fleet. Send an API key as `Authorization: Bearer KEY` or `X-API-Key: KEY`. \
        Lists are `{\"items\": [...], \"next\": cursor}`; errors are `{\"error\": {\"code\", \"message\", \"hint\"}}`. \
        Times are RFC 3339 in UTC, sizes are bytes, bytes of paths that are not UTF-8 are lone surrogates U+DC80 to U+DCFF."
))]
struct Documentation;

fn documented() -> OpenApiRouter<AppState> {
    OpenApiRouter::with_openapi(Documentation::openapi())
        .routes(routes!(hosts::list))
        .routes(routes!(hosts::show, hosts::remove))
        .routes(routes!(hosts::probe_all))
        .routes(routes!(hosts::probe))
        .routes(routes!(hosts::roots))
        .routes(routes!(hosts::doctor))
        .routes(routes!(scans::list, scans::create))
        .routes(routes!(scans::show))
        .routes(routes!(scans::cancel))
        .routes(routes!(scans::pause))
        .routes(routes!(scans::resume))
        .routes(routes!(scans::errors))
        .routes(routes!(scans::changes))
        .routes(routes!(schedules::list, schedules::create))
        .routes(routes!(schedules::show, schedules::change, schedules::delete))
        .routes(routes!(schedules::run))
        .routes(routes!(files::find))
        .routes(routes!(files::list))
        .routes(routes!(files::stat))
        .routes(routes!(changes::compare))
        .routes(routes!(changes::growth))
        .routes(routes!(duplicates::list))
        .routes(routes!(duplicates::plan))
        .routes(routes!(duplicates::script))
        .routes(routes!(keys::list, keys::create))
        .routes(routes!(keys::revoke))
        .routes(routes!(sign_in::create))
        .routes(routes!(sessions::me))
        .routes(routes!(sessions::list))
        .routes(routes!(sessions::end))
        .routes(routes!(users::list, users::create))
        .routes(routes!(users::change, users::delete))
        .routes(routes!(users::set_password))
        .routes(routes!(join::tokens, join::create_token))
        .routes(routes!(join::revoke_token))
        .routes(routes!(audit::list))
        .routes(routes!(events::list))
        .routes(routes!(events::stream))
        .routes(routes!(webhooks::list, webhooks::create))
        .routes(routes!(webhooks::show, webhooks::change, webhooks::delete))
        .routes(routes!(webhooks::test))
        .routes(routes!(webhooks::deliveries))
        .routes(routes!(webhooks::redeliver))
        .routes(routes!(snapfs::consumers))
        .routes(routes!(snapfs::forget))
        .routes(routes!(backup::backup))
        .routes(routes!(backup::restore))
}

/// Routes whose body is the credential.
fn documented_public() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(join::join))
}

/// The routes below `/api/v1`; the caller adds authentication.
pub fn router() -> Router<AppState> {
    documented().split_for_parts().0.fallback(unknown).method_not_allowed_fallback(wrong_method)
}

/// The OpenAPI document, paths complete, as pretty JSON.
pub fn openapi() -> String {
    let document = OpenApiRouter::<AppState>::with_openapi(Documentation::openapi())
        .nest("/api/v1", documented().merge(documented_public()))
        .split_for_parts()
        .1;
    // The document is built of strings and maps only.
    document.to_pretty_json().unwrap_or_default()
}

/// `/api/openapi.json`, `/api/docs` and joining: for everybody.
pub fn public_router() -> Router<AppState> {
    let json = || async { ([(header::CONTENT_TYPE, "application/json")], openapi()) };
    let join = documented_public().split_for_parts().0.layer(DefaultBodyLimit::max(join::BODY_LIMIT));
    let join = join.method_not_allowed_fallback(wrong_method);
    Router::new().nest("/api/v1", join).route("/api/openapi.json", get(json)).route("/api/docs", get(docs))
}

/// The answer to a request that the gateway's end cut short.
pub fn stopping() -> Response {
    ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "stopping", "the gateway is stopping").into_response()
}

/// The answer where no route is.
pub async fn unknown() -> ApiError {
    ApiError::new(StatusCode::NOT_FOUND, "no_route", "there is no such route").hint("GET /api/docs lists them all")
}

/// The answer of every route to a method it has not.
pub async fn wrong_method() -> ApiError {
    ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "method", "this route has no such method")
        .hint("GET /api/docs lists them all")
}

/// A plain page made from the document, without scripts.
async fn docs() -> impl IntoResponse {
    let document: serde_json::Value = serde_json::from_str(&openapi()).unwrap_or_default();
    let empty = serde_json::Map::new();
    let paths = document["paths"].as_object().unwrap_or(&empty);
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { "API · Hostler" }
                link rel="stylesheet" href=(crate::pages::stylesheet());
            }
            body {
                main class="main narrow" id="main" {
                    div class="page-head" { h1 { "Hostler API" } p class="sub" { (document["info"]["description"].as_str().unwrap_or("")) } }
                    p { a href="/api/openapi.json" { "OpenAPI document" } }
                    @for (path, operations) in paths {
                        @for (method, operation) in operations.as_object().unwrap_or(&empty) {
                            section class="panel" {
                                div class="panel-head" { h2 class="mono" { (method.to_uppercase()) " " (path) } }
                                div class="panel-body" {
                                    p { (operation["summary"].as_str().unwrap_or("")) " " (operation["description"].as_str().unwrap_or("")) }
                                    @if let Some(parameters) = operation["parameters"].as_array() {
                                        dl class="kv" {
                                            @for parameter in parameters {
                                                dt class="mono" { (parameter["name"].as_str().unwrap_or("")) }
                                                dd { (parameter["description"].as_str().unwrap_or("")) }
                                            }
                                        }
                                    }
                                }
                            }
                        }
                    }
                }
            }
        }
    };
    Html(page.into_string())
}
