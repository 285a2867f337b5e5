//! `/events`: what happened, and live as Server-Sent Events what happens.

use std::convert::Infallible;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::response::sse::{Event as SseEvent, KeepAlive, Sse};
use futures_util::{Stream, StreamExt, stream};
use tokio_stream::wrappers::BroadcastStream;
use tokio_stream::wrappers::errors::BroadcastStreamRecvError;

use super::params::Params;
use super::{ApiError, error::ErrorBody};
use crate::auth::Principal;
use crate::events::Event;
use crate::state::AppState;
use crate::store::{ActivityEvent, ActivityFilter, Page, Severity};

/// What happened on all hosts and to the gateway, the last received first
#[utoipa::path(get, path = "/events", params(
    ("host" = Option<String>, Query, description = "only about this host: id or name"),
    ("kind" = Option<String>, Query, description = "this kind, or those that start with this and a dot: scan or scan.completed"),
    ("severity" = Option<Severity>, Query, description = "at least as severe: info, warning or error"),
    ("text" = Option<String>, Query, description = "subject or message holds this"),
    ("since" = Option<String>, Query, description = "happened within this age, such as 7d, or after this RFC 3339 time"),
    ("until" = Option<String>, Query, description = "happened before that"),
    ("limit" = Option<u32>, Query, description = "1 to 1000, 100 by default"),
    ("cursor" = Option<String>, Query, description = "`next` of the page before"),
), responses((status = 200, body = Page<ActivityEvent>), (status = 400, body = ErrorBody)))]
pub async fn list(State(state): State<AppState>, mut params: Params) -> Result<Json<Page<ActivityEvent>>, ApiError> {
    let filter = ActivityFilter {
        host: params.host(&*state.store).await?,
        kind: params.text("kind")?,
        min_severity: params.parsed("severity")?,
        text: params.text("text")?,
        since: params.instant("since")?,
        until: params.instant("until")?,
    };
    let page = params.page()?;
    params.end()?;
    Ok(Json(state.store.activity(filter, page).await?))
}

/// Events as they happen: `scan`, `host` and `activity`; `missed` tells how many a slow reader lost
///
/// The stream ends when the rights of who reads it change or end.
#[utoipa::path(get, path = "/events/stream", responses((status = 200, description = "text/event-stream", body = Event, content_type = "text/event-stream")))]
pub async fn stream(
    State(state): State<AppState>,
    principal: Principal,
    params: Params,
) -> Result<Sse<impl Stream<Item = Result<SseEvent, Infallible>>>, ApiError> {
    params.end()?;
    // Readers who come late see what runs now.
    let running = state.scans.active().into_iter().map(|update| Ok(Event::Scan(Box::new(update))));
    let events =
        stream::iter(running).chain(BroadcastStream::new(state.events.subscribe())).map(|event| Ok(encode(event)));
    let stopping = state.stopping.clone();
    let events = events.take_until(async move {
        tokio::select! {
            () = stopping.cancelled() => {}
            () = principal.until_changed(state) => {}
        }
    });
    Ok(Sse::new(events).keep_alive(KeepAlive::new().interval(Duration::from_secs(15))))
}

fn encode(event: Result<Event, BroadcastStreamRecvError>) -> SseEvent {
    let (name, data) = match event {
        Ok(event) => {
            let name = match event {
                Event::Scan(_) => "scan",
                Event::Activity(_) => "activity",
                Event::Host { .. } => "host",
            };
            (name, serde_json::to_string(&event))
        }
        Err(BroadcastStreamRecvError::Lagged(count)) => ("missed", Ok(count.to_string())),
    };
    match data {
        Ok(data) => SseEvent::default().event(name).data(data),
        Err(error) => SseEvent::default().event("error").data(error.to_string()),
    }
}
