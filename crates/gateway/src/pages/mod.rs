//! The web pages: server-rendered, usable with plain links and forms; a small script makes them live.
//!
//! A page is a URL: filter, sort, page and tab are in its query ([`query`]). Names from hosts are bytes until they are
//! drawn ([`components::name`]). Nothing here decides who may do what: [`crate::auth`] does.

pub mod assets;
pub mod components;
pub mod errors;
pub mod files;
pub mod hosts;
pub mod live;
pub mod palette;
pub mod query;
pub mod settings;
pub mod shell;
pub mod sign_in;
pub mod welcome;

use axum::Router;
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::{get, post};

pub use errors::{error_page, not_found};

use crate::state::AppState;

/// The pages for those who are signed in.
pub fn router() -> Router<AppState> {
    Router::new()
        .route("/", get(welcome::start))
        .route("/welcome", get(welcome::page))
        .route("/hosts", get(hosts::list))
        .route("/hosts/{id}", get(hosts::show))
        .route("/files", get(files::browse::page))
        .route("/files/entry", get(files::entry::page))
        .route("/files/search", get(files::search::page))
        .route("/files/duplicates", get(files::duplicates::page))
        .route("/files/duplicates/copies", get(files::duplicates::copies))
        .route("/files/duplicates.csv", get(files::duplicates::csv))
        .route("/files/scans", get(files::scans::history).post(files::scan_form::start))
        .route("/files/scans/{id}", get(files::scans::show))
        .route("/files/scans/{id}/cancel", post(files::scans::cancel))
        .route("/settings/keys", get(settings::keys).post(settings::create))
        .route("/settings/keys/{id}/revoke", get(settings::confirm_revoke).post(settings::revoke))
        .route("/search", get(palette::page))
        .route("/search/fragment", get(palette::fragment))
        .route("/live", get(live::stream))
        .route("/theme", post(sign_in::theme))
        .route("/sign-out", post(sign_in::sign_out))
        .method_not_allowed_fallback(errors::wrong_method)
}

/// What nobody needs to be signed in for.
pub fn public_router() -> Router<AppState> {
    Router::new()
        .route("/sign-in", get(sign_in::page))
        // HEAD, as previews of links send it, must not use the link up.
        .route("/sign-in/{token}", get(sign_in::use_link).head(sign_in::page))
        .route("/assets/{name}", get(assets::serve))
        .route("/favicon.ico", get(assets::favicon))
        .route("/favicon.svg", get(assets::favicon))
}

/// Where the stylesheet is, for the few pages that others draw.
pub fn stylesheet() -> String {
    assets::url("hostler.css")
}

/// The page for a handler that panicked.
pub fn panicked(_: Box<dyn std::any::Any + Send>) -> Response {
    error_page(
        StatusCode::INTERNAL_SERVER_ERROR,
        "The gateway made a mistake",
        "This is a bug, not your doing. Nothing more of this request was done.",
        "The gateway's log has the details; they belong into a report.",
    )
}
