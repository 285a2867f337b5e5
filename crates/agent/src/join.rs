//! A host joins a gateway: it shows its public key and a join token, once.
//!
//! Repeating is safe at every point. The identity is made and kept before the gateway hears of it, and the gateway answers the same
//! host with the same token as before, so a join that was cut off is finished by running it again.

use std::path::Path;

use hostler_identity::{JoinToken, join_proof};
use hostler_link::{DialError, Settings, Trust, post};
use hostler_model::{ByteStr, HostId};
use serde::{Deserialize, Serialize};

use crate::agent::{AgentError, make_private};
use crate::gateway_link::{self, GatewayFileError, GatewayLink};
use crate::identity::{Identity, IdentityError};
use crate::keep;

const PATH: &str = "/api/v1/join";
/// Names the token for which a new identity was made.
const MADE_FOR: &str = "host.made-for";

/// What to join, and as whom.
#[derive(Clone, Copy, Debug)]
pub struct JoinRequest<'a> {
    /// The gateway, as this host reaches it; mostly the token's own URL.
    pub url: &'a str,
    /// What lets it in. Its pin decides whom to believe.
    pub token: &'a JoinToken,
    /// The host's name; the gateway adds a number when another host has it.
    pub name: &'a str,
    /// Join as another host than before: this machine's disk was copied from one that joined.
    pub new_identity: bool,
}

/// A host that joined.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Joined {
    /// The gateway, as dialled.
    pub url: String,
    /// The gateway's id.
    pub gateway: String,
    /// The host's id.
    pub host: HostId,
    /// The name it has there.
    pub name: String,
}

/// Why a host did not join.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    /// The data directory.
    #[error(transparent)]
    Data(#[from] AgentError),
    /// The identity.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// A file of the data directory.
    #[error("cannot write {path}: {source}")]
    File {
        /// Which.
        path: ByteStr,
        /// Why not.
        source: std::io::Error,
    },
    /// What is kept of the gateway.
    #[error(transparent)]
    Kept(#[from] GatewayFileError),
    /// The gateway was not reached, or said no.
    #[error(transparent)]
    Dial(#[from] DialError),
    /// The gateway's answer cannot be read.
    #[error("what answers at {url} is not a gateway of this version: {why}")]
    Answer {
        /// Where.
        url: String,
        /// What is wrong with it.
        why: String,
    },
}

#[derive(Serialize)]
struct Body<'a> {
    token: String,
    host: HostId,
    name: &'a str,
    public_key: String,
    proof: String,
    agent_version: &'static str,
}

#[derive(Deserialize)]
struct Answer {
    host: HostId,
    name: String,
    gateway: String,
}

/// Joins, and keeps the gateway in `data`: the agent dials it from then on.
///
/// # Errors
/// A [`JoinError`]; nothing is kept of a gateway that said no.
pub async fn join(data: &Path, request: JoinRequest<'_>) -> Result<Joined, JoinError> {
    make_private(data)?;
    if request.new_identity {
        renew(data, request.token)?;
    }
    let identity = Identity::load_or_create(data)?;
    let body = Body {
        token: request.token.expose(),
        host: identity.id(),
        name: request.name,
        public_key: identity.key().public_key().to_string(),
        proof: join_proof::sign(identity.key(), request.token, identity.id()),
        agent_version: env!("CARGO_PKG_VERSION"),
    };
    let strange = |why: String| JoinError::Answer { url: request.url.to_owned(), why };
    let body = serde_json::to_vec(&body).map_err(|error| strange(error.to_string()))?;
    let trust = request.token.pin().map_or(Trust::System, Trust::Pinned);
    let (_, answer) = post(request.url, &trust, PATH, body, &Settings::default()).await?;
    let answer: Answer = serde_json::from_slice(&answer).map_err(|error| strange(error.to_string()))?;
    if answer.host != identity.id() {
        return Err(strange("it answers for another host".to_owned()));
    }
    let gateway = GatewayLink { url: request.url.to_owned(), gateway_id: answer.gateway.clone(), trust };
    gateway_link::keep(data, &gateway)?;
    Ok(Joined { url: gateway.url, gateway: answer.gateway, host: answer.host, name: answer.name })
}

/// Makes another identity, once a token: a join that is repeated goes on with the one made before.
fn renew(data: &Path, token: &JoinToken) -> Result<(), JoinError> {
    let path = data.join(MADE_FOR);
    let hash: String = token.secret_hash().iter().map(|byte| format!("{byte:02x}")).collect();
    if std::fs::read_to_string(&path).is_ok_and(|made_for| made_for == hash) {
        return Ok(());
    }
    Identity::forget(data)?;
    Identity::load_or_create(data)?;
    let failed = |source| JoinError::File { path: ByteStr::from(path.as_os_str().as_encoded_bytes()), source };
    keep::write(&path, hash.as_bytes()).map_err(failed)
}
