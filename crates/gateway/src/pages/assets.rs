//! Files of the pages: one stylesheet, one script, one icon, inside the binary.
//!
//! A page names each with the hash of its content, so that browsers may keep it for ever.

use std::sync::LazyLock;

use axum::extract::{Path, RawQuery};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};

/// The icons, each a `<symbol>`; drawn once into every page.
pub const SPRITE: &str = include_str!("../../assets/sprite.svg");

/// One file.
struct Asset {
    name: &'static str,
    media_type: &'static str,
    bytes: &'static [u8],
    hash: LazyLock<String>,
}

macro_rules! asset {
    ($name:literal, $media_type:literal) => {
        Asset {
            name: $name,
            media_type: $media_type,
            bytes: include_bytes!(concat!("../../assets/", $name)),
            hash: LazyLock::new(|| {
                blake3::hash(include_bytes!(concat!("../../assets/", $name))).to_hex()[..16].to_string()
            }),
        }
    };
}

static ASSETS: [Asset; 3] = [
    asset!("hostler.css", "text/css; charset=utf-8"),
    asset!("app.js", "text/javascript; charset=utf-8"),
    asset!("favicon.svg", "image/svg+xml"),
];

/// Where a page loads the file from: `/assets/NAME?v=HASH`.
pub fn url(name: &str) -> String {
    match ASSETS.iter().find(|a| a.name == name) {
        Some(asset) => format!("/assets/{name}?v={}", asset.hash.as_str()),
        None => format!("/assets/{name}"),
    }
}

/// `GET /assets/{name}`: kept for ever when asked for with the hash of its content, else checked each time.
pub async fn serve(Path(name): Path<String>, RawQuery(query): RawQuery) -> Response {
    let Some(asset) = ASSETS.iter().find(|a| a.name == name) else {
        return (StatusCode::NOT_FOUND, "no such file\n").into_response();
    };
    let current = query.as_deref().and_then(|q| q.strip_prefix("v=")) == Some(asset.hash.as_str());
    let caching = if current { "public, max-age=31536000, immutable" } else { "no-cache" };
    ([(header::CONTENT_TYPE, asset.media_type), (header::CACHE_CONTROL, caching)], asset.bytes).into_response()
}

/// `GET /favicon.ico` and `/favicon.svg`, for those who ask without reading the page.
pub async fn favicon() -> Response {
    serve(Path("favicon.svg".into()), RawQuery(None)).await
}
