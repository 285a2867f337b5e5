//! The doctor on a host: from its own disk over the network to the gateway's word on its key.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use hostler_agent::{Agent, GatewayLink};
use hostler_link::check::{Hop, Step, check};
use hostler_link::{DialError, Settings, Trust};
use hostler_model::{ByteStr, time};

use super::local;
use super::report::{Check, Report};

/// Clocks that differ by more than this are told, seconds. The gateway bears 60, and an agent corrects more by itself.
const SKEW_WARNING: u64 = 30;
/// A certificate that ends within this time is told.
const EXPIRY_WARNING: u64 = 14 * 86_400;
/// How long the local agent may take to answer.
const AGENT_TIMEOUT: Duration = Duration::from_secs(10);
const JOIN_HINT: &str = "on the gateway run `hostler hosts token` and paste the line here";

pub async fn examine(data: &Path, url: Option<&str>) -> Result<Report> {
    let mut report = Report::new("agent");
    let agent_data = data.join("agent");
    let there = report.add(local::directory("data", &agent_data));
    if there {
        report.add(local::disk(&agent_data));
    }
    let link = match there.then(|| hostler_agent::gateway_of(&agent_data)).transpose() {
        Ok(link) => link.flatten(),
        Err(error) => {
            report.add(Check::failed("joined", error.to_string(), JOIN_HINT));
            None
        }
    };
    match (&link, url) {
        (Some(link), _) => {
            report.add(Check::ok("joined", format!("{} as gateway {}", link.url, link.gateway_id)));
        }
        (None, Some(_)) => {
            report.add(Check::skipped("joined", "this host has joined no gateway; only the way to it is checked"));
        }
        (None, None) => {
            report.add(Check::failed("joined", "this host has joined no gateway", JOIN_HINT));
            return Ok(report);
        }
    }
    let (address, trust) = match (&link, url) {
        (Some(link), None) => (link.url.clone(), link.trust.clone()),
        (Some(link), Some(url)) if link.url == url => (link.url.clone(), link.trust.clone()),
        (_, Some(url)) => (url.to_owned(), Trust::System),
        (None, None) => return Ok(report),
    };
    let reached = way(&mut report, &address, &trust).await;
    match link {
        Some(link) if reached && link.url == address => key(&mut report, &agent_data, &link).await,
        Some(_) => {
            report.add(Check::skipped("key", "the gateway was not reached"));
        }
        None => {}
    }
    if there {
        running(&mut report, &agent_data).await;
    }
    Ok(report)
}

/// Name, addresses, TLS. True when all of it works.
async fn way(report: &mut Report, url: &str, trust: &Trust) -> bool {
    let steps = check(url, trust, &Settings::default()).await;
    let connects = steps.iter().any(|step| step.hop == Hop::Tcp && step.outcome.is_ok());
    let mut fine = true;
    for step in &steps {
        let check = hop(step, connects);
        fine &= report.add(check);
    }
    fine && connects
}

fn hop(step: &Step, connects: bool) -> Check {
    let (name, hint) = match step.hop {
        Hop::Url => ("url", "give the gateway's URL, such as https://gateway.example.com:7440"),
        Hop::Name => {
            ("dns", "is the name spelled right, and does this host's resolver know it? try: getent hosts NAME")
        }
        Hop::Tcp => {
            ("tcp", "is the gateway running, does it listen on this address, and does a firewall let it through?")
        }
        Hop::Tls => ("tls", "join again with the line of `hostler hosts token`, which has the gateway's present pin"),
    };
    match &step.outcome {
        Ok(found) => match &step.certificate {
            Some(certificate) => {
                let left = certificate.not_after.seconds_since(hostler_gateway::clock::now());
                let detail = format!("{}: {found}, for another {}", step.on, time::age(left));
                match left {
                    EXPIRY_WARNING.. => Check::ok(name, detail),
                    _ => Check::warning(name, detail, "renew the gateway's certificate"),
                }
            }
            None => Check::ok(name, format!("{}: {found}", step.on)),
        },
        // One of several addresses: another one works.
        Err(error) if step.hop == Hop::Tcp && connects => Check::warning(name, format!("{}: {error}", step.on), hint),
        Err(error) => Check::failed(name, format!("{}: {error}", step.on), hint),
    }
}

/// What the gateway says to this host's key, without taking a link.
async fn key(report: &mut Report, agent_data: &Path, link: &GatewayLink) {
    match hostler_agent::rehearse(agent_data, link).await {
        Ok(skew) => {
            let ahead = skew.unsigned_abs() / 1_000_000;
            let detail = format!("this clock and the gateway's differ by {}", time::age(ahead));
            report.add(match ahead {
                0..SKEW_WARNING => Check::ok("clock", detail),
                _ => Check::warning("clock", detail, "set this host's clock: timedatectl set-ntp true"),
            });
            report.add(Check::ok("key", "the gateway accepts this host's key"));
        }
        Err(DialError::Refused(refusal)) => {
            let hint = match refusal.hint.as_str() {
                "" => JOIN_HINT.to_owned(),
                told => told.to_owned(),
            };
            report.add(Check::failed("key", refusal.to_string(), hint));
        }
        Err(error) => {
            let hint =
                "does a proxy in front of the gateway pass WebSocket upgrades, and does the URL have its path prefix?";
            report.add(Check::failed("key", error.to_string(), hint));
        }
    }
}

/// The agent itself, over its socket: is it there, is it linked, what can it do?
async fn running(report: &mut Report, agent_data: &Path) {
    let socket = Agent::socket_path(agent_data);
    let asked = tokio::time::timeout(AGENT_TIMEOUT, hostler_agent::local_report(&socket)).await;
    let shown = ByteStr::from(socket.as_os_str().as_encoded_bytes());
    let hint = "start it: systemctl restart hostler-agent (with --user when it is yours), or hostler agent";
    let found = match asked {
        Err(_) => {
            let detail = format!("it does not answer on {shown} within {} s", AGENT_TIMEOUT.as_secs());
            report.add(Check::failed("agent", detail, hint));
            return;
        }
        Ok(Err(error)) => {
            report.add(Check::failed("agent", format!("it does not run: {shown}: {error}"), hint));
            return;
        }
        Ok(Ok(found)) => found,
    };
    report.add(match (found.link.linked, &found.link.last_error) {
        (true, _) => Check::ok("agent", "it runs and is linked"),
        (false, Some(error)) => {
            Check::failed("agent", format!("it runs and is not linked: {error}"), "the checks above say where it fails")
        }
        (false, None) => {
            Check::warning("agent", "it runs and is not linked yet", "it tries again by itself within a minute")
        }
    });
    for capability in found.capabilities {
        let detail = format!("{}: {}", capability.name, capability.detail);
        report.add(match capability.working {
            true => Check::ok("capability", detail),
            false if capability.granted => {
                Check::failed("capability", detail, "mend it, or take the grant out of agent.toml")
            }
            false => Check::skipped("capability", detail),
        });
    }
}
