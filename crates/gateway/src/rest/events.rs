//! `/events`: what happens, live, as Server-Sent Events.

use std::convert::Infallible;
use std::time::Duration;

use axum::extract::State;
use axum::response::sse::{Event as SseEvent, KeepAlive, Sse};
use futures_util::{Stream, StreamExt, stream};
use tokio_stream::wrappers::BroadcastStream;
use tokio_stream::wrappers::errors::BroadcastStreamRecvError;

use super::ApiError;
use super::params::Params;
use crate::events::Event;
use crate::state::AppState;

/// Events as they happen: `scan` and `host`; `missed` tells how many a slow reader lost
#[utoipa::path(get, path = "/events", responses((status = 200, description = "text/event-stream", body = Event, content_type = "text/event-stream")))]
pub async fn stream(
    State(state): State<AppState>,
    params: Params,
) -> Result<Sse<impl Stream<Item = Result<SseEvent, Infallible>>>, ApiError> {
    params.end()?;
    // Readers who come late see what runs now.
    let running = state.scans.active().into_iter().map(|update| Ok(Event::Scan(Box::new(update))));
    let events =
        stream::iter(running).chain(BroadcastStream::new(state.events.subscribe())).map(|event| Ok(encode(event)));
    let stopping = state.stopping.clone();
    let events = events.take_until(async move { stopping.cancelled().await });
    Ok(Sse::new(events).keep_alive(KeepAlive::new().interval(Duration::from_secs(15))))
}

fn encode(event: Result<Event, BroadcastStreamRecvError>) -> SseEvent {
    let (name, data) = match event {
        Ok(event) => {
            let name = match event {
                Event::Scan(_) => "scan",
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
