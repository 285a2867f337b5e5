//! Signing in by a one-time link, signing out, and the theme.

use axum::Extension;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};
use maud::{Markup, html};
use serde::Deserialize;

use super::components::{command, icon};
use super::errors::sentence;
use super::files::scans::NoFields;
use super::shell::{gate, theme_of};
use crate::audit::Anonymous;
use crate::auth::{self, CsrfForm, OwnForm, Peer, SignInError};
use crate::state::AppState;

/// What the form sends.
#[derive(Default, Deserialize)]
#[serde(default)]
pub struct SignInFields {
    name: String,
    password: String,
}

/// `GET /sign-in`: how to get in.
pub async fn page(headers: HeaderMap) -> Markup {
    form("", None, &headers)
}

/// `POST /sign-in`: by name and password.
pub async fn sign_in(
    State(state): State<AppState>,
    peer: Peer,
    headers: HeaderMap,
    OwnForm(fields): OwnForm<SignInFields>,
) -> Response {
    let SignInFields { name, password } = fields;
    match auth::sign_in(&state, &name, password, peer, &headers).await {
        Ok((who, response)) => signed_in(who, response),
        Err(error) => {
            let status = refused_with(&error);
            let text = match status {
                StatusCode::INTERNAL_SERVER_ERROR => "The gateway could not look you up. Its log says why.".to_owned(),
                _ => sentence(&error.to_string()),
            };
            let page = form(&name, Some(&text), &headers);
            refused(error, status, page.into_response())
        }
    }
}

/// `GET /sign-in/{token}`: uses the link up and goes to the pages.
pub async fn use_link(
    State(state): State<AppState>,
    Path(token): Path<String>,
    peer: Peer,
    headers: HeaderMap,
) -> Response {
    match auth::use_link(&state, &token, peer, &headers).await {
        Ok((who, response)) => signed_in(who, response),
        Err(error) => {
            let status = refused_with(&error);
            let text = match &error {
                SignInError::Useless => {
                    "It was used before, or it has expired. A link works once, for 15 minutes.".to_owned()
                }
                _ if status == StatusCode::INTERNAL_SERVER_ERROR => {
                    "The gateway could not check the link. Its log says why.".to_owned()
                }
                _ => sentence(&error.to_string()),
            };
            let card = html! {
                section.card aria-labelledby="sign-in-title" {
                    h1 id="sign-in-title" { "This link does not work" }
                    div.notice.bad role="alert" { (icon("warn")) div { (text) } }
                    p { "On the gateway's host, this prints a new one:" }
                    (command("hostler sign-in"))
                }
            };
            refused(error, status, gate("Sign in", theme_of(&headers), card).into_response())
        }
    }
}

fn form(name: &str, error: Option<&str>, headers: &HeaderMap) -> Markup {
    let card = html! {
        section.card aria-labelledby="sign-in-title" {
            h1 id="sign-in-title" { "Sign in" }
            @if let Some(error) = error { div.notice.bad role="alert" { (icon("warn")) div { (error) } } }
            form.form method="post" action="/sign-in" {
                div.field { label for="name" { "Name" }
                    input.input id="name" name="name" value=(name) required autocomplete="username" autocapitalize="none" spellcheck="false"; }
                div.field { label for="password" { "Password" }
                    input.input id="password" name="password" type="password" required autocomplete="current-password"; }
                div.row { button.btn.primary { "Sign in" } }
            }
            p.muted.small { "Without a password, open a one-time link. On the gateway's host, this prints one:" }
            (command("hostler sign-in"))
        }
    };
    gate("Sign in", theme_of(headers), card)
}

fn signed_in(who: String, response: Response) -> Response {
    (Extension(Anonymous(who)), response).into_response()
}

fn refused_with(error: &SignInError) -> StatusCode {
    match error {
        SignInError::Useless | SignInError::Wrong { .. } => StatusCode::UNAUTHORIZED,
        SignInError::TooMany(_) => StatusCode::TOO_MANY_REQUESTS,
        SignInError::Busy(_) => StatusCode::SERVICE_UNAVAILABLE,
        SignInError::Store(_) | SignInError::Random(_) => {
            tracing::error!(%error, "nobody could be signed in");
            StatusCode::INTERNAL_SERVER_ERROR
        }
    }
}

fn refused(error: SignInError, status: StatusCode, page: Response) -> Response {
    let mut response = (status, page).into_response();
    let retry_after = match &error {
        SignInError::TooMany(error) => error.seconds,
        SignInError::Busy(_) => 3,
        SignInError::Wrong { user: Some(user) } => {
            return (Extension(Anonymous(user.clone())), response).into_response();
        }
        // A name that nobody has is not written down: it may be a password in the wrong field.
        _ => return (Extension(Anonymous("(unknown)".to_owned())), response).into_response(),
    };
    response.headers_mut().insert(header::RETRY_AFTER, retry_after.into());
    response
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
