//! The way to a gateway, hop by hop: name, TCP, TLS.

use std::net::SocketAddr;
use std::sync::Arc;

use hostler_identity::assertion::ChannelBinding;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::Settings;
use crate::dial_error::DialError;
use crate::target::Target;
use crate::tls::{self, Trust, channel_binding};
use crate::transport::Transport;

/// Addresses tried of one name.
const ADDRESSES_MAX: usize = 16;

/// A connection before anything was said on it: what an assertion is bound to.
#[derive(Clone, Debug)]
pub struct Dialled {
    /// The URL dialled, in the form of [`crate::origin`].
    pub origin: String,
    /// The TLS connection.
    pub binding: ChannelBinding,
}

/// A connection to the gateway, ready for HTTP.
pub(crate) async fn connect(
    target: &Target,
    trust: &Trust,
    settings: &Settings,
) -> Result<(Transport, Dialled), DialError> {
    check_trust(target, trust)?;
    let after = settings.connect_timeout;
    let tcp = timeout(after, connect_tcp(target))
        .await
        .map_err(|_| DialError::TimedOut { what: "take the connection", after })??;
    if !target.tls {
        return Ok((Transport::Plain(tcp), Dialled { origin: target.origin(), binding: ChannelBinding::None }));
    }
    let config = tls_config(trust).await?;
    handshake(target, tcp, config, settings).await
}

/// A pin on a connection without TLS would promise what nothing keeps.
pub(crate) fn check_trust(target: &Target, trust: &Trust) -> Result<(), DialError> {
    match trust {
        Trust::Pinned(_) if !target.tls => {
            Err(DialError::Url { url: target.origin(), why: "a gateway with a pin is reached by https:// only" })
        }
        _ => Ok(()),
    }
}

async fn connect_tcp(target: &Target) -> Result<TcpStream, DialError> {
    let mut last = None;
    for address in resolve(target).await? {
        match tcp(target, address).await {
            Ok(tcp) => return Ok(tcp),
            Err(error) => last = Some(error),
        }
    }
    Err(last.unwrap_or_else(|| no_address(target)))
}

/// At most [`ADDRESSES_MAX`] addresses, at least one.
pub(crate) async fn resolve(target: &Target) -> Result<Vec<SocketAddr>, DialError> {
    let addresses: Vec<_> = tokio::net::lookup_host((target.host.as_str(), target.port))
        .await
        .map_err(|source| DialError::Resolve { host: target.host.clone(), source })?
        .take(ADDRESSES_MAX)
        .collect();
    if addresses.is_empty() { Err(no_address(target)) } else { Ok(addresses) }
}

fn no_address(target: &Target) -> DialError {
    let source = std::io::Error::new(std::io::ErrorKind::NotFound, "the name has no address");
    DialError::Resolve { host: target.host.clone(), source }
}

pub(crate) async fn tcp(target: &Target, address: SocketAddr) -> Result<TcpStream, DialError> {
    let failed = |source| DialError::Connect { authority: target.authority(), source };
    let tcp = TcpStream::connect(address).await.map_err(failed)?;
    // A keystroke must not wait for the acknowledgement of the one before.
    tcp.set_nodelay(true).map_err(failed)?;
    Ok(tcp)
}

/// Reads the machine's roots off the async threads: they are some hundred files or one of hundreds of KiB.
async fn tls_config(trust: &Trust) -> Result<ClientConfig, DialError> {
    let trust = trust.clone();
    let made = tokio::task::spawn_blocking(move || tls::client_config(&trust)).await;
    Ok(made.map_err(|_| tls::TlsSetupError::Roots("reading them was broken off".to_owned()))??)
}

pub(crate) async fn handshake(
    target: &Target,
    tcp: TcpStream,
    config: ClientConfig,
    settings: &Settings,
) -> Result<(Transport, Dialled), DialError> {
    let authority = target.authority();
    let name = ServerName::try_from(target.host.clone())
        .map_err(|_| DialError::Url { url: target.origin(), why: "the host is no name that a certificate can have" })?;
    let after = settings.handshake_timeout;
    let stream = timeout(after, TlsConnector::from(Arc::new(config)).connect(name, tcp))
        .await
        .map_err(|_| DialError::TimedOut { what: "answer the TLS handshake", after })?
        .map_err(|error| DialError::Tls { why: tls::explain(&error, &authority), authority })?;
    // After the handshake there is always one.
    let binding = channel_binding(stream.get_ref().1).map_or(ChannelBinding::None, ChannelBinding::TlsExporter);
    Ok((Transport::Tls(Box::new(stream)), Dialled { origin: target.origin(), binding }))
}
