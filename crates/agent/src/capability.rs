//! What a capability is to the agent.

use std::future::Future;
use std::pin::Pin;

use hostler_api::v1;

/// One thing this host can do. The agent serves its routes and asks it for proofs.
pub trait Capability: Send + Sync {
    /// Adds its services to the agent's router.
    fn routes(&self, router: connectrpc::Router) -> connectrpc::Router;

    /// Proves now that it works, or says why not. Bounded in time by the caller.
    fn probe(&self) -> Pin<Box<dyn Future<Output = v1::Capability> + Send + '_>>;
}
