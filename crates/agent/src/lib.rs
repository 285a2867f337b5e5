//! The agent: what one host can do, served on any byte stream.
//!
//! [`Agent::open`] composes the capabilities behind one router. The router is served over the link the agent dials
//! ([`Agent::follow_gateway`]), on a unix socket ([`Agent::serve_socket`]) and on standard input and output
//! ([`Agent::serve_stdio`]). A capability is one implementation of [`capability::Capability`].

mod agent;
pub mod capability;
mod files;
mod gateway_link;
mod grants;
mod host;
mod identity;
mod join;
mod journal;
mod keep;
mod local;
mod policy;
mod refusals;

pub use agent::{Agent, AgentError, AgentSettings};
pub use gateway_link::{GatewayFileError, GatewayLink, LinkState, gateway_of, rehearse};
pub use identity::{Identity, IdentityError};
pub use join::{JoinError, JoinRequest, Joined, join};
pub use local::{CapabilityReport, LocalError, LocalReport, link_state, local_report};
pub use policy::{
    ClearanceGrant, ClearancePolicy, ContainersGrant, ContainersPolicy, FilesPolicy, GrantOf, Policy, PolicyError,
    SandboxesGrant, SandboxesPolicy, SnapshotsGrant, SnapshotsPolicy,
};
