//! Asking the agent that runs here, over its socket: for the commands of the same machine.

use std::path::Path;

use connectrpc::ConnectError;
use hostler_api::v1;
use hostler_link::{LinkClient, LinkError};

use crate::gateway_link::LinkState;

/// The agent that runs here did not answer.
#[derive(Debug, thiserror::Error)]
pub enum LocalError {
    /// Nobody serves the socket.
    #[error(transparent)]
    Socket(#[from] std::io::Error),
    /// What serves it is no agent.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// The call failed.
    #[error(transparent)]
    Call(#[from] ConnectError),
}

/// What the agent says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalReport {
    /// Its link to the gateway.
    pub link: LinkState,
    /// Its capabilities, proved just now.
    pub capabilities: Vec<CapabilityReport>,
}

/// One capability, proved just now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CapabilityReport {
    /// `files`, ...
    pub name: String,
    /// It works.
    pub working: bool,
    /// The host's owner grants it, and the host has it.
    pub granted: bool,
    /// What was probed, or what is wrong and what to do.
    pub detail: String,
}

/// The link of the agent behind `socket`.
///
/// # Errors
/// A [`LocalError`].
pub async fn link_state(socket: &Path) -> Result<LinkState, LocalError> {
    describe(&connect(socket).await?).await
}

/// Has the agent behind `socket` prove its capabilities.
///
/// # Errors
/// A [`LocalError`].
pub async fn local_report(socket: &Path) -> Result<LocalReport, LocalError> {
    use v1::CapabilityState as State;
    let client = connect(socket).await?;
    let link = describe(&client).await?;
    let host = v1::HostServiceClient::new(client.clone(), client.config());
    let probed = host.probe(v1::ProbeRequest::default()).await?.into_view().to_owned_message();
    let capabilities = probed.capabilities.into_iter().map(|c| {
        let state = c.state.as_known();
        CapabilityReport {
            name: c.name,
            working: state == Some(State::CAPABILITY_STATE_PROVED),
            granted: state != Some(State::CAPABILITY_STATE_NOT_GRANTED)
                && state != Some(State::CAPABILITY_STATE_NOT_PRESENT),
            detail: c.detail,
        }
    });
    Ok(LocalReport { link, capabilities: capabilities.collect() })
}

async fn connect(socket: &Path) -> Result<LinkClient, LocalError> {
    let stream = tokio::net::UnixStream::connect(socket).await?;
    Ok(LinkClient::connect(stream).await?.0)
}

async fn describe(client: &LinkClient) -> Result<LinkState, LocalError> {
    let host = v1::HostServiceClient::new(client.clone(), client.config());
    let told = host.describe(v1::DescribeRequest::default()).await?.into_view().to_owned_message();
    Ok(LinkState { linked: told.linked, last_error: Some(told.link_error).filter(|error| !error.is_empty()) })
}
