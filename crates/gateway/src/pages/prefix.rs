//! Pages below a path: a proxy leads `https://name/hostler/…` to this gateway's `/…`, and what the gateway answers leads
//! back to the proxy.
//!
//! Pages write paths as if there were no prefix; it is put before them where a response leaves: in redirects, in the paths
//! of cookies, and in the attributes of HTML that hold URLs. The script takes it from `data-base` of the page.

use std::sync::Arc;

use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::state::AppState;

/// Largest page, bytes: lists have pages of some hundred rows, so none comes near it.
const PAGE_LIMIT: usize = 16 * 1024 * 1024;
/// The attributes of pages that hold URLs.
const ATTRIBUTES: [&str; 6] = ["href", "action", "formaction", "src", "data-load", "data-base"];

/// What comes before every path for a browser: `/hostler`, or nothing.
#[derive(Clone, Debug, Default)]
pub struct Prefix(Arc<str>);

impl Prefix {
    /// The path of an origin as [`hostler_link::origin`] makes it. `None` when it has characters that would need escapes in
    /// a page or a cookie, or an empty part, which would lead to another host.
    pub fn of(origin: &str) -> Option<Self> {
        let rest = origin.split_once("://").map_or(origin, |(_, rest)| rest);
        let path = rest.find('/').map_or("", |at| &rest[at..]);
        let plain = path.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~%/".contains(&b));
        (plain && !path.contains("//")).then(|| Self(path.into()))
    }

    /// `html` with the prefix before the path of each link. A quote in a text or in a value is escaped there, so what looks
    /// like an attribute is one.
    pub fn put_into(&self, html: String) -> String {
        if self.0.is_empty() {
            return html;
        }
        let mut out = String::with_capacity(html.len() + html.len() / 8);
        let mut copied = 0;
        for (at, start) in html.match_indices("=\"/") {
            let value = at + start.len() - 1;
            let ends_with = |name: &str| html[..at].strip_suffix(name).is_some_and(|before| before.ends_with(' '));
            if ATTRIBUTES.iter().any(|attribute| ends_with(attribute)) && !html[value..].starts_with("//") {
                out.push_str(&html[copied..value]);
                out.push_str(&self.0);
                copied = value;
            }
        }
        out.push_str(&html[copied..]);
        out
    }

    fn put_into_headers(&self, headers: &mut HeaderMap) {
        if let Some(location) = headers.get_mut(header::LOCATION)
            && let Some(path) = location.to_str().ok().filter(|to| to.starts_with('/') && !to.starts_with("//"))
            && let Ok(moved) = HeaderValue::from_str(&format!("{}{path}", self.0))
        {
            *location = moved;
        }
        for (name, value) in headers.iter_mut() {
            if name == header::SET_COOKIE
                && let Ok(cookie) = value.to_str()
                && let Ok(moved) = HeaderValue::from_str(&cookie.replace("; Path=/;", &format!("; Path={}/;", self.0)))
            {
                *value = moved;
            }
        }
    }
}

/// Puts the prefix, when there is one, into what goes to a browser.
pub async fn put(State(state): State<AppState>, request: Request, next: Next) -> Response {
    let response = next.run(request).await;
    let prefix = &state.prefix;
    if prefix.0.is_empty() {
        return response;
    }
    let (mut parts, body) = response.into_parts();
    prefix.put_into_headers(&mut parts.headers);
    let kind = parts.headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    if !kind.is_some_and(|kind| kind.starts_with("text/html")) {
        return Response::from_parts(parts, body);
    }
    let page = match to_bytes(body, PAGE_LIMIT).await {
        Ok(page) => page,
        Err(error) => {
            tracing::error!(%error, "a page could not be moved below the external URL's path");
            let text = "This page could not be made. The gateway's log says why.\n";
            return (StatusCode::INTERNAL_SERVER_ERROR, text).into_response();
        }
    };
    // That of the page as it was.
    parts.headers.remove(header::CONTENT_LENGTH);
    let body = match String::from_utf8(page.into()) {
        Ok(page) => Body::from(prefix.put_into(page)),
        Err(error) => Body::from(error.into_bytes()),
    };
    Response::from_parts(parts, body)
}

#[cfg(test)]
mod tests {
    use maud::html;

    use super::*;

    fn prefix() -> Prefix {
        Prefix::of("https://name.example:443/hostler").unwrap()
    }

    #[test]
    fn an_origin_has_a_path_or_none() {
        let path = |origin| Prefix::of(origin).map(|prefix| prefix.0.to_string());
        assert_eq!(path("https://name.example:443").as_deref(), Some(""));
        assert_eq!(path("http://[::1]:80/a/b-c").as_deref(), Some("/a/b-c"));
        for bad in
            ["https://name:443//evil.example", "https://name:443/a;b", "https://name:443/a\"b", "https://n:1/a'b"]
        {
            assert_eq!(path(bad), None, "{bad}");
        }
    }

    #[test]
    fn links_get_the_prefix_and_other_text_does_not() {
        let text = r#" href="/hosts" action='/x' src="/y""#;
        let page = html! {
            html data-base="/" {
                a href="/" { (text) }
                form action="/files?path=/srv" { input name="back" value="/hosts" title=(text); button formaction={ "/x/" (text) } {} }
                details data-load="/copies" data-copy="/srv" { a href="#i-x" {} a href="//elsewhere/" {} a href="https://x/" {} }
                script src="/assets/app.js" {}
            }
        };
        let moved = prefix().put_into(page.clone().into_string());
        let mut expected = page.clone().into_string();
        for (from, to) in [
            ("data-base=\"/", "data-base=\"/hostler/"),
            ("<a href=\"/\"", "<a href=\"/hostler/\""),
            ("form action=\"/files", "form action=\"/hostler/files"),
            ("button formaction=\"/x", "button formaction=\"/hostler/x"),
            ("data-load=\"/copies", "data-load=\"/hostler/copies"),
            ("script src=\"/assets", "script src=\"/hostler/assets"),
        ] {
            assert_eq!(expected.matches(from).count(), 1, "{from}");
            expected = expected.replace(from, to);
        }
        assert_eq!(moved, expected);
        assert_eq!(Prefix::default().put_into(page.clone().into_string()), page.into_string());
    }

    #[test]
    fn redirects_and_cookies_get_the_prefix() {
        let mut headers = HeaderMap::new();
        headers.insert(header::LOCATION, HeaderValue::from_static("/hosts?q=/a"));
        for cookie in ["session=ab; Path=/; HttpOnly", "theme=dark; Path=/; Max-Age=1"] {
            headers.append(header::SET_COOKIE, HeaderValue::from_static(cookie));
        }
        prefix().put_into_headers(&mut headers);
        assert_eq!(headers[header::LOCATION], "/hostler/hosts?q=/a");
        let cookies: Vec<_> = headers.get_all(header::SET_COOKIE).iter().collect();
        assert_eq!(cookies, ["session=ab; Path=/hostler/; HttpOnly", "theme=dark; Path=/hostler/; Max-Age=1"]);
        for elsewhere in ["//other.example/", "https://other.example/"] {
            headers.insert(header::LOCATION, HeaderValue::from_static(elsewhere));
            prefix().put_into_headers(&mut headers);
            assert_eq!(headers[header::LOCATION], elsewhere);
        }
    }
}
