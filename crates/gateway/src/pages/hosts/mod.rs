//! `/hosts`: the fleet, one host, how hosts come and go.

pub mod join;
pub mod list;
pub mod remove;
pub mod show;

use hostler_model::HostId;

use super::errors::PageError;
use crate::state::AppState;
use crate::store::{Host, StoreError};

/// The host of a path.
async fn of_path(state: &AppState, id: &str) -> Result<Host, PageError> {
    let id: HostId = id.parse().map_err(|_| PageError::NotFound("host"))?;
    state.store.host(id).await.map_err(|error| match error {
        StoreError::NotFound { .. } => PageError::NotFound("host"),
        other => other.into(),
    })
}
