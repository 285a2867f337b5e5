//! Bodies of requests: bounded each, and bounded together.

use std::sync::Arc;

use axum::extract::{FromRequest, Request};
use axum::http::{StatusCode, header};
use axum::response::Response;
use futures_util::StreamExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::problems::Problems;
use super::{json, reply};
use crate::state::AppState;

/// Largest body, bytes: clients choose how much they put into one (reference, 3.3).
const LIMIT: usize = 32 * 1024 * 1024;
/// What is read and worked on at a time, in parts of [`PART`]; more waits.
const TOGETHER: usize = 128 * 1024 * 1024 / PART;
/// Bytes of a permit.
const PART: usize = 64 * 1024;
/// A larger body is parsed off the threads that answer.
const LARGE: usize = 1024 * 1024;

/// Room for bodies. Cheap to clone.
#[derive(Clone)]
pub struct Room(Arc<Semaphore>);

impl Default for Room {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(TOGETHER)))
    }
}

/// A body, and the room that it takes.
pub struct Bounded {
    body: Vec<u8>,
    _room: Option<OwnedSemaphorePermit>,
}

impl FromRequest<AppState> for Bounded {
    type Rejection = Response;
    async fn from_request(request: Request, state: &AppState) -> Result<Self, Response> {
        let too_large =
            || reply::detail(StatusCode::PAYLOAD_TOO_LARGE, "a body has 32 MiB at most; send fewer at a time");
        let length =
            request.headers().get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
        let length: usize = length.unwrap_or(LIMIT);
        if length > LIMIT {
            return Err(too_large());
        }
        let parts = u32::try_from(length.div_ceil(PART)).unwrap_or(u32::MAX);
        // It is never closed.
        let room = state.snapfs_room.0.clone().acquire_many_owned(parts).await.ok();
        let mut stream = request.into_body().into_data_stream();
        let mut body = Vec::with_capacity(if length == LIMIT { PART } else { length });
        while let Some(part) = stream.next().await {
            let part = part.map_err(|_| reply::detail(StatusCode::BAD_REQUEST, "the body did not come to its end"))?;
            if body.len() + part.len() > LIMIT {
                return Err(too_large());
            }
            body.extend_from_slice(&part);
        }
        Ok(Self { body, _room: room })
    }
}

/// A body of a few words. It waits for no room: it takes next to none.
pub struct Small(pub Bounded);

impl FromRequest<AppState> for Small {
    type Rejection = Response;
    async fn from_request(request: Request, _: &AppState) -> Result<Self, Response> {
        let body = axum::body::to_bytes(request.into_body(), PART).await.map_err(|_| {
            reply::detail(StatusCode::PAYLOAD_TOO_LARGE, "this body has 64 KiB at most, and must come whole")
        })?;
        Ok(Self(Bounded { body: body.into(), _room: None }))
    }
}

/// Parses a body; what is wrong with it becomes a 422.
pub async fn parse<T, F>(body: Bounded, parse: F) -> Result<T, Response>
where
    T: Send + 'static,
    F: for<'a> FnOnce(&'a str) -> Result<T, Problems<'a>> + Send + 'static,
{
    let large = body.body.len() > LARGE;
    let work = move || json::text(&body.body).and_then(parse).map_err(|problems| Box::new(problems.reply()));
    let parsed = match large {
        false => work(),
        // A panic there was reported when it happened.
        true => tokio::task::spawn_blocking(work)
            .await
            .map_err(|_| reply::detail(StatusCode::INTERNAL_SERVER_ERROR, "the gateway failed; its log says why"))?,
    };
    parsed.map_err(|response| *response)
}
