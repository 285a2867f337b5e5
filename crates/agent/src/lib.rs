//! The agent: what one host can do, served on any byte stream.
//!
//! [`Agent::open`] composes the capabilities behind one router. The router is served over the link the agent dials
//! ([`Agent::follow_gateway`]), on a unix socket ([`Agent::serve_socket`]) and on standard input and output
//! ([`Agent::serve_stdio`]). A capability is one implementation of [`capability::Capability`].

mod agent;
pub mod capability;
mod files;
mod host;
mod identity;
mod policy;

pub use agent::{Agent, AgentError, AgentSettings, GatewayLink};
pub use identity::{Identity, IdentityError};
pub use policy::{FilesPolicy, Policy, PolicyError};
