//! The way to a gateway, tried hop by hop and told hop by hop: which one fails, and what the others say.

use hostler_identity::CertificateFacts;
use tokio::time::timeout;

use crate::Settings;
use crate::connect::{check_trust, handshake, resolve, tcp};
use crate::dial_error::DialError;
use crate::target::Target;
use crate::tls::{self, Recording, Trust};

/// One hop of the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hop {
    /// The URL was read.
    Url,
    /// The name was looked up.
    Name,
    /// One address was connected to.
    Tcp,
    /// TLS was shaken hands on.
    Tls,
}

/// What came of one hop.
#[derive(Debug)]
pub struct Step {
    /// Which hop.
    pub hop: Hop,
    /// What was tried: the URL, the name, the address, the name with the port.
    pub on: String,
    /// What was found, for people; or why not.
    pub outcome: Result<String, DialError>,
    /// The certificate that was shown, also when it was not believed.
    pub certificate: Option<CertificateFacts>,
}

/// Tries every hop to the gateway at `url`, and every address. Ends at the first hop that cannot be passed; its step is
/// the last one. Sends nothing but what the hops themselves need.
pub async fn check(url: &str, trust: &Trust, settings: &Settings) -> Vec<Step> {
    let step = |hop, on: &str, outcome| Step { hop, on: on.to_owned(), outcome, certificate: None };
    let target = match Target::parse(url).and_then(|target| check_trust(&target, trust).map(|()| target)) {
        Ok(target) => target,
        Err(error) => return vec![step(Hop::Url, url, Err(error))],
    };
    let mut steps = vec![step(Hop::Url, url, Ok(target.origin()))];

    let after = settings.connect_timeout;
    let found = timeout(after, resolve(&target)).await;
    let addresses = match found.unwrap_or(Err(DialError::TimedOut { what: "get its name looked up", after })) {
        Ok(addresses) => addresses,
        Err(error) => {
            steps.push(step(Hop::Name, &target.host, Err(error)));
            return steps;
        }
    };
    let list = addresses.iter().map(|address| address.ip().to_string()).collect::<Vec<_>>().join(", ");
    steps.push(step(Hop::Name, &target.host, Ok(list)));

    let mut first = None;
    for address in addresses {
        let tried = timeout(after, tcp(&target, address)).await;
        let outcome = match tried.unwrap_or(Err(DialError::TimedOut { what: "take the connection", after })) {
            Ok(stream) => {
                first.get_or_insert(stream);
                Ok("connected".to_owned())
            }
            Err(error) => Err(error),
        };
        steps.push(step(Hop::Tcp, &address.to_string(), outcome));
    }
    if let Some(stream) = first.filter(|_| target.tls) {
        steps.push(tls_step(&target, trust, stream, settings).await);
    }
    steps
}

async fn tls_step(target: &Target, trust: &Trust, tcp: tokio::net::TcpStream, settings: &Settings) -> Step {
    let on = target.authority();
    let ready = tls::verifier(trust).and_then(|verifier| {
        let recording = Recording::new(verifier);
        Ok((tls::config(recording.clone())?, recording))
    });
    let (config, recording) = match ready {
        Ok(ready) => ready,
        Err(error) => return Step { hop: Hop::Tls, on, outcome: Err(error.into()), certificate: None },
    };
    let outcome = handshake(target, tcp, config, settings).await;
    let trusted = match trust {
        Trust::System => "TLS 1.3; this machine's roots vouch for the certificate",
        Trust::Pinned(_) => "TLS 1.3; the certificate has the pin",
    };
    Step { hop: Hop::Tls, on, outcome: outcome.map(|_| trusted.to_owned()), certificate: recording.shown() }
}
