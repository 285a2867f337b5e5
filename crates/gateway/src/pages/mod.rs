//! The web pages: server-rendered, usable with plain links and forms; a small script makes them live.
//!
//! A page is a URL: filter, sort, page and tab are in its query ([`query`]). Names from hosts are bytes until they are
//! drawn ([`components::name`]). Nothing here decides who may do what: [`crate::auth`] does.

pub mod activity;
pub mod assets;
pub mod components;
pub mod errors;
pub mod files;
pub mod forms;
pub mod hosts;
pub mod live;
pub mod palette;
pub mod prefix;
pub mod query;
pub mod settings;
pub mod shell;
pub mod sign_in;
pub mod welcome;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::StatusCode;
use axum::middleware::from_fn;
use axum::response::Response;
use axum::routing::{get, post};

pub use errors::{error_page, not_found};

use crate::state::AppState;

/// Largest form of somebody who is not signed in, bytes.
const SIGN_IN_LIMIT: usize = 16 * 1024;

/// The pages for those who are signed in.
pub fn router() -> Router<AppState> {
    Router::new()
        .route("/", get(welcome::start))
        .route("/welcome", get(welcome::page))
        .route("/hosts", get(hosts::list::page))
        .route("/hosts/join", get(hosts::join::page).post(hosts::join::create))
        .route("/hosts/join/{id}/revoke", get(hosts::join::confirm_revoke).post(hosts::join::revoke))
        .route("/hosts/{id}", get(hosts::show::page))
        .route("/hosts/{id}/probe", post(hosts::remove::probe))
        .route("/hosts/{id}/remove", get(hosts::remove::confirm).post(hosts::remove::remove))
        .route("/activity", get(activity::page))
        .route("/files", get(files::browse::page))
        .route("/files/entry", get(files::entry::page))
        .route("/files/search", get(files::search::page))
        .route("/files/duplicates", get(files::duplicates::page))
        .route("/files/duplicates.csv", get(files::export::csv))
        .route("/files/duplicates/plan", get(files::plan::page))
        .route("/files/duplicates.sh", get(files::plan::script))
        .route("/files/compare", get(files::compare::page))
        .route("/files/growth", get(files::growth::page))
        .route("/files/scans", get(files::scans::history).post(files::scan_form::start))
        .route("/files/scans/{id}", get(files::scans::show))
        .route("/files/scans/{id}/cancel", post(files::scans::cancel))
        .route("/files/scans/{id}/pause", post(files::scans::pause))
        .route("/files/scans/{id}/resume", post(files::scans::resume))
        .merge(schedules_router())
        .merge(settings_router())
        .route("/search", get(palette::page))
        .route("/search/fragment", get(palette::fragment))
        .route("/live", get(live::stream))
        .route("/theme", post(sign_in::theme))
        .route("/sign-out", post(sign_in::sign_out))
        .method_not_allowed_fallback(errors::wrong_method)
        .layer(from_fn(errors::with_theme))
}

fn schedules_router() -> Router<AppState> {
    use files::{schedule_form as form, schedules};
    Router::new()
        .route("/files/schedules", get(schedules::list).post(form::create))
        .route("/files/schedules/new", get(form::new))
        .route("/files/schedules/{id}", get(form::edit).post(form::save))
        .route("/files/schedules/{id}/run", post(schedules::run))
        .route("/files/schedules/{id}/enable", post(schedules::enable))
        .route("/files/schedules/{id}/disable", post(schedules::disable))
        .route("/files/schedules/{id}/delete", get(schedules::confirm_delete).post(schedules::delete))
}

fn settings_router() -> Router<AppState> {
    use settings::{account, audit, gateway, keys, sessions, snapfs, users, webhooks};
    Router::new()
        .route("/settings", get(settings::start))
        .route("/settings/account", get(account::page))
        .route("/settings/account/password", post(account::change_password))
        .route("/settings/users", get(users::list).post(users::create))
        .route("/settings/users/{id}/role", post(users::set_role))
        .route("/settings/users/{id}/password", get(users::password).post(users::set_password))
        .route("/settings/users/{id}/delete", get(users::confirm_delete).post(users::delete))
        .route("/settings/sessions", get(sessions::list))
        .route("/settings/sessions/{id}/end", post(sessions::end))
        .route("/settings/keys", get(keys::keys).post(keys::create))
        .route("/settings/keys/{id}/revoke", get(keys::confirm_revoke).post(keys::revoke))
        .route("/settings/webhooks", get(webhooks::list).post(webhooks::create))
        .route("/settings/webhooks/{id}", get(webhooks::show))
        .route("/settings/webhooks/{id}/test", post(webhooks::test))
        .route("/settings/webhooks/{id}/enable", post(webhooks::enable))
        .route("/settings/webhooks/{id}/disable", post(webhooks::disable))
        .route("/settings/webhooks/{id}/delete", get(webhooks::confirm_delete).post(webhooks::delete))
        .route("/settings/webhooks/{id}/deliveries/{delivery}/redeliver", post(webhooks::redeliver))
        .route("/settings/snapfs", get(snapfs::page))
        .route("/settings/snapfs/{subject}/{durable}/forget", get(snapfs::confirm_forget).post(snapfs::forget))
        .route("/settings/audit", get(audit::list))
        .route("/settings/gateway", get(gateway::page))
}

/// What nobody needs to be signed in for.
pub fn public_router() -> Router<AppState> {
    Router::new()
        .route("/sign-in", get(sign_in::page).post(sign_in::sign_in).layer(DefaultBodyLimit::max(SIGN_IN_LIMIT)))
        // HEAD, as previews of links send it, must not use the link up.
        .route("/sign-in/{token}", get(sign_in::use_link).head(sign_in::page))
        .route("/assets/{name}", get(assets::serve))
        .route("/favicon.ico", get(assets::favicon))
        .route("/favicon.svg", get(assets::favicon))
        .layer(from_fn(errors::with_theme))
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
