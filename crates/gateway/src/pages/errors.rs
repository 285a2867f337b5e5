//! Errors as pages: what is wrong, then what to do; the code and the time below, for reports.

use axum::extract::Request;
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Redirect, Response};
use hostler_model::Role;
use maud::html;

use super::components::icon;
use super::shell::{gate, theme_of};
use crate::clock::now;
use crate::store::StoreError;

tokio::task_local! {
    /// The theme of the request that is answered: errors are drawn where its headers are not at hand.
    static THEME: Option<&'static str>;
}

/// Middleware of the pages: error pages have the theme that was chosen.
pub async fn with_theme(request: Request, next: Next) -> Response {
    THEME.scope(theme_of(request.headers()), next.run(request)).await
}

/// Why a page could not be drawn.
#[derive(Debug, thiserror::Error)]
pub enum PageError {
    /// Nobody is signed in.
    #[error("nobody is signed in")]
    SignedOut,
    /// The viewer's role is too small.
    #[error("this needs the {0} role")]
    Forbidden(Role),
    /// The address names nothing.
    #[error("there is no {0}")]
    NotFound(&'static str),
    /// The request makes no sense.
    #[error("{0}")]
    Bad(String),
    /// It could not be done, through no fault of who asked.
    #[error("{0}")]
    Failed(String),
    /// The store refused or failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl IntoResponse for PageError {
    fn into_response(self) -> Response {
        match self {
            Self::SignedOut => Redirect::to("/sign-in").into_response(),
            Self::Forbidden(role) => forbidden(role),
            Self::NotFound(what) => error_page(
                StatusCode::NOT_FOUND,
                &format!("No such {what}"),
                &format!("The gateway knows no {what} at this address."),
                "It may have been removed, or the address was cut short.",
            ),
            Self::Bad(why) => error_page(StatusCode::BAD_REQUEST, "That does not work", &sentence(&why), None),
            Self::Failed(why) => {
                tracing::error!(why, "a page could not do what was asked");
                error_page(
                    StatusCode::INTERNAL_SERVER_ERROR,
                    "That could not be done",
                    &sentence(&why),
                    "Try again; the gateway's log says more.",
                )
            }
            Self::Store(error @ StoreError::NotFound { .. }) => error_page(
                StatusCode::NOT_FOUND,
                "Nothing is here",
                &sentence(&error.to_string()),
                "It may have been removed, or the address was cut short.",
            ),
            Self::Store(error @ StoreError::BadCursor(_)) => error_page(
                StatusCode::BAD_REQUEST,
                "This page of the list is gone",
                &sentence(&error.to_string()),
                None,
            ),
            Self::Store(error @ StoreError::Exists { .. }) => {
                error_page(StatusCode::CONFLICT, "That name is taken", &sentence(&error.to_string()), None)
            }
            Self::Store(error @ StoreError::TooMany { .. }) => {
                error_page(StatusCode::CONFLICT, "There are too many", &sentence(&error.to_string()), None)
            }
            Self::Store(error @ StoreError::Closed) => {
                error_page(StatusCode::SERVICE_UNAVAILABLE, "The gateway stops", &sentence(&error.to_string()), None)
            }
            Self::Store(error @ StoreError::Full) => {
                tracing::error!(%error, "a page could not do what was asked");
                error_page(
                    StatusCode::INSUFFICIENT_STORAGE,
                    "The gateway's disk is full",
                    &sentence(&error.to_string()),
                    None,
                )
            }
            Self::Store(error) => {
                tracing::error!(%error, "a page could not be drawn");
                error_page(
                    StatusCode::INTERNAL_SERVER_ERROR,
                    "The gateway's store failed",
                    "Nothing was changed. The gateway's log says why.",
                    "Check the free space and the permissions of its data directory, then try again.",
                )
            }
        }
    }
}

/// The page that refuses for want of a role.
pub fn forbidden(role: Role) -> Response {
    error_page(
        StatusCode::FORBIDDEN,
        "Not allowed",
        &format!("This needs the {role} role."),
        "Sign in with a link of that role: hostler sign-in prints one.",
    )
}

/// An error as a page of its own. `hint` says what to do.
pub fn error_page<'a>(status: StatusCode, title: &str, text: &str, hint: impl Into<Option<&'a str>>) -> Response {
    themed(status, title, text, hint.into(), THEME.try_with(|theme| *theme).unwrap_or_default())
}

fn themed(status: StatusCode, title: &str, text: &str, hint: Option<&str>, theme: Option<&str>) -> Response {
    let card = html! {
        section.card.wide aria-labelledby="error-title" {
            h1 id="error-title" { (title) }
            div.notice.bad role="alert" { (icon("warn")) div { (text) } }
            @if let Some(hint) = hint { p { (hint) } }
            div.row { a.btn.primary href="/hosts" { "Hosts" } a.btn href="/files" { "Files" } }
            dl.kv {
                dt { "Status" } dd { (status.as_u16()) @if let Some(reason) = status.canonical_reason() { ", " (reason) } }
                dt { "Time" } dd { (now().exact()) }
            }
        }
    };
    (status, gate(title, theme, card)).into_response()
}

/// No page has this address.
pub async fn not_found(headers: HeaderMap) -> Response {
    themed(
        StatusCode::NOT_FOUND,
        "No such page",
        "No page has this address.",
        Some("Check it, or start from one of these."),
        theme_of(&headers),
    )
}

/// The page does not take this method.
pub async fn wrong_method() -> Response {
    error_page(
        StatusCode::METHOD_NOT_ALLOWED,
        "Not this way",
        "This address does not answer requests of this kind.",
        "Open the page it belongs to and use its buttons.",
    )
}

/// Begins with a capital and ends with a full stop, as sentences on pages do.
pub fn sentence(text: &str) -> String {
    let mut chars = text.chars();
    let Some(first) = chars.next() else { return String::new() };
    let mut out: String = first.to_uppercase().collect();
    out.push_str(chars.as_str());
    if !out.ends_with(['.', '?', ':']) {
        out.push('.');
    }
    out
}
