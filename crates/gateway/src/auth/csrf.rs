//! Forms that carry their session's token, and requests that come from this site.

use axum::body::Bytes;
use axum::extract::{FromRequest, Request};
use axum::http::{HeaderMap, Method, StatusCode};
use axum::response::Response;
use axum::{Extension, RequestExt};
use serde::de::DeserializeOwned;

use super::Principal;
use crate::pages;

/// A form whose field `csrf` is the session's token. The body is bounded by the router.
pub struct CsrfForm<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for CsrfForm<T> {
    type Rejection = Response;
    async fn from_request(mut request: Request, _: &S) -> Result<Self, Response> {
        let principal: Option<Principal> = request.extract_parts::<Extension<Principal>>().await.ok().map(|e| e.0);
        let body = body(request).await?;
        #[derive(serde::Deserialize)]
        struct Token {
            #[serde(default)]
            csrf: String,
        }
        let Token { csrf } = parse(&body).map_err(not_understood)?;
        if !principal.is_some_and(|p| p.csrf_matches(&csrf)) {
            return Err(not_ours());
        }
        parse(&body).map(Self).map_err(not_understood)
    }
}

/// A form of somebody who is not signed in: there is no token yet, so the browser's word must do that no other site
/// sent it (the Fetch metadata headers, <https://www.w3.org/TR/fetch-metadata/>).
pub struct OwnForm<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for OwnForm<T> {
    type Rejection = Response;
    async fn from_request(request: Request, _: &S) -> Result<Self, Response> {
        if !from_here(request.headers()) {
            return Err(not_ours());
        }
        parse(&body(request).await?).map(Self).map_err(not_understood)
    }
}

fn from_here(headers: &HeaderMap) -> bool {
    // Old browsers and programs say nothing; the latter carry no one else's cookies.
    headers.get("sec-fetch-site").is_none_or(|site| site == "same-origin" || site == "none")
}

async fn body(request: Request) -> Result<Bytes, Response> {
    request.extract().await.map_err(|_| {
        pages::error_page(
            StatusCode::PAYLOAD_TOO_LARGE,
            "Form too large",
            "The form could not be read.",
            "Send less at once.",
        )
    })
}

fn not_ours() -> Response {
    pages::error_page(
        StatusCode::FORBIDDEN,
        "Not done",
        "The form does not belong to this session, so nothing was changed.",
        "Open the page again and repeat the action there.",
    )
}

fn not_understood(why: String) -> Response {
    pages::error_page(StatusCode::BAD_REQUEST, "Form not understood", &why, "Go back and try again.")
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, String> {
    let query = std::str::from_utf8(body).map_err(|_| "the form is not text".to_owned())?;
    let request = Request::builder().method(Method::GET).uri(format!("/?{query}"));
    let request = request.body(()).map_err(|_| "the form is not URL-encoded".to_owned())?;
    let (parts, ()) = request.into_parts();
    axum::extract::Query::try_from_uri(&parts.uri).map(|q| q.0).map_err(|e| e.body_text())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_sites_form_is_told_by_the_browser() {
        for (site, expected) in [
            (None, true),
            (Some("same-origin"), true),
            (Some("none"), true),
            (Some("cross-site"), false),
            (Some("same-site"), false),
        ] {
            let headers = site.map(|s| ("sec-fetch-site".parse().unwrap(), s.parse().unwrap()));
            assert_eq!(from_here(&headers.into_iter().collect()), expected, "{site:?}");
        }
    }
}
