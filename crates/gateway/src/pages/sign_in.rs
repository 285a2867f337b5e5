//! Signing in by a one-time link, signing out, and the theme.

use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};
use maud::{Markup, html};
use serde::Deserialize;

use super::components::{command, icon};
use super::errors::error_page;
use super::files::scans::NoFields;
use super::shell::{gate, theme_of};
use crate::auth::{self, CsrfForm, SignInError};
use crate::state::AppState;

/// `GET /sign-in`: how to get in.
pub async fn page(headers: HeaderMap) -> Markup {
    let card = html! {
        section.card aria-labelledby="sign-in-title" {
            h1 id="sign-in-title" { "Sign in" }
            p { "Open a one-time link. On the gateway's host, this prints one:" }
            (command("hostler sign-in"))
            p.muted.small { "First time here? " code { "hostler up" } " printed a link when it started." }
        }
    };
    gate("Sign in", theme_of(&headers), card)
}

/// `GET /sign-in/{token}`: uses the link up and goes to the pages.
pub async fn use_link(State(state): State<AppState>, Path(token): Path<String>, headers: HeaderMap) -> Response {
    match auth::use_link(&state, &token).await {
        Ok(response) => response,
        Err(SignInError::Useless) => {
            let card = html! {
                section.card aria-labelledby="sign-in-title" {
                    h1 id="sign-in-title" { "This link does not work" }
                    div.notice.bad role="alert" { (icon("warn")) div { "It was used before, or it has expired. A link works once, for 15 minutes." } }
                    p { "On the gateway's host, this prints a new one:" }
                    (command("hostler sign-in"))
                }
            };
            (StatusCode::UNAUTHORIZED, gate("Sign in", theme_of(&headers), card)).into_response()
        }
        Err(error) => {
            tracing::error!(%error, "a sign-in link could not be used");
            error_page(
                StatusCode::INTERNAL_SERVER_ERROR,
                "Not signed in",
                "The gateway could not check the link. Its log says why.",
                "Try again with a new link: hostler sign-in prints one.",
            )
        }
    }
}

/// `POST /sign-out`.
pub async fn sign_out(State(state): State<AppState>, headers: HeaderMap, CsrfForm(_): CsrfForm<NoFields>) -> Response {
    auth::sign_out(&state, &headers).await
}

/// Which theme, and which page to go back to.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct ThemeFields {
    theme: String,
    back: String,
}

/// `POST /theme`: keeps the choice in a cookie for a year.
pub async fn theme(CsrfForm(fields): CsrfForm<ThemeFields>) -> Response {
    let theme = if fields.theme == "dark" { "dark" } else { "light" };
    let cookie = format!("theme={theme}; Path=/; Max-Age=31536000; SameSite=Lax; HttpOnly");
    ([(header::SET_COOKIE, cookie)], Redirect::to(local(&fields.back))).into_response()
}

/// The path when it is one of this gateway, else the start: a redirect must not lead elsewhere.
fn local(path: &str) -> &str {
    let inside =
        path.starts_with('/') && !path.starts_with("//") && path.bytes().all(|b| b.is_ascii_graphic() && b != b'\\');
    if inside { path } else { "/" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirects_stay_here() {
        assert_eq!(local("/files?path=/a%E9"), "/files?path=/a%E9");
        for path in ["//evil.example", "https://evil.example", "/\\evil.example", "/a\r\nb", ""] {
            assert_eq!(local(path), "/", "{path:?}");
        }
    }
}
