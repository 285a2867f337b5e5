//! A test service, and links to it over each kind of byte stream.

mod echo;
mod links;

use std::time::Duration;

pub use echo::{Echo, Kind, Live, bytes, routes};
pub use links::{Gateway, Over, Pair, hello, open, open_with};

/// Nothing here may be judged by a tighter bound: machines are noisy.
pub const SOON: Duration = Duration::from_secs(5);

/// Panics when `future` takes longer than [`SOON`].
pub async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(SOON, future).await.unwrap_or_else(|_| panic!("{what} took too long"))
}
