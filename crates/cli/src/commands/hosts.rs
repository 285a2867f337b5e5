//! `hostler hosts`.

use anyhow::Result;
use hostler_model::size;

use super::join_tokens;
use crate::args::{HostRef, HostRemove, Hosts, HostsList, HostsProbe};
use crate::client::{Client, Query};
use crate::output;
use crate::views::{Host, Root};

pub async fn run(args: Hosts) -> Result<()> {
    match args {
        Hosts::List(args) => list(args).await,
        Hosts::Show(args) => show(args).await,
        Hosts::Token(args) => join_tokens::make(args).await,
        Hosts::Probe(args) => probe(args).await,
        Hosts::Remove(args) => remove(args).await,
    }
}

async fn list(args: HostsList) -> Result<()> {
    let items = Client::new(&args.connection)?.all("/hosts").await?;
    if args.connection.json {
        return output::json_array(&items);
    }
    let rows = output::parse::<Host>(&items)?.into_iter().map(|h| {
        let capabilities: Vec<String> =
            h.capabilities.iter().map(|c| format!("{}: {}", c.name, c.state.replace('_', " "))).collect();
        vec![
            h.name,
            state(h.linked),
            output::ago(h.last_proof_at),
            capabilities.join(", "),
            h.facts.os,
            h.id.to_string(),
        ]
    });
    output::table(&["NAME", "LINK", "LAST PROOF", "CAPABILITIES", "SYSTEM", "ID"], rows)
}

async fn show(args: HostRef) -> Result<()> {
    let client = Client::new(&args.connection)?;
    let path = path(&args.host);
    let raw = client.get_raw(&path, &Query::default()).await?;
    if args.connection.json {
        return output::json(&raw);
    }
    let host: Host = serde_json::from_str(raw.get())?;
    let facts = &host.facts;
    output::details(&[
        ("Name", host.name.clone()),
        ("Id", host.id.to_string()),
        ("Link", link(&host)),
        ("System", format!("{}, Linux {}, {}", facts.os, facts.kernel, facts.arch)),
        ("Hardware", format!("{} processors, {}", facts.cpus, size::human(facts.memory_bytes))),
        ("Started", output::ago(facts.booted_at)),
        ("Agent", facts.agent_version.clone()),
    ])?;
    if let Some(duplicate) = &host.link.duplicate {
        let from = duplicate.address.as_deref().unwrap_or("an unknown address");
        output::line(format!("\nA second machine, at {from}, claims to be this host and is refused."))?;
    }
    output::line("\nGranted by the host's owner")?;
    let rows = host.grants.iter().map(|g| {
        let roots: Vec<String> = g.roots.iter().map(ToString::to_string).collect();
        vec![g.capability.clone(), g.level.clone(), roots.join(", ")]
    });
    output::table(&["CAPABILITY", "LEVEL", "DIRECTORIES"], rows)?;
    output::line("\nCapabilities")?;
    let rows = host.capabilities.iter().map(|c| {
        let roots: Vec<String> = c.roots.iter().map(ToString::to_string).collect();
        vec![
            c.name.clone(),
            c.state.replace('_', " "),
            output::ago(Some(c.proved_at)),
            c.detail.clone(),
            roots.join(", "),
        ]
    });
    output::table(&["NAME", "STATE", "PROVED", "HOW", "GRANTED"], rows)?;
    let mut query = Query::default();
    query.push("host", host.id.to_string().as_str());
    let roots: Roots = client.get("/roots", &query).await?;
    output::line("\nIndexed directories")?;
    let rows = roots.items.into_iter().map(|r| {
        vec![
            size::human(r.bytes),
            size::grouped(r.files),
            size::grouped(r.dirs),
            output::ago(Some(r.indexed_at)),
            r.path.to_string(),
        ]
    });
    output::table(&[">SIZE", ">FILES", ">DIRECTORIES", "INDEXED", "PATH"], rows)
}

#[derive(serde::Deserialize)]
struct Roots {
    items: Vec<Root>,
}

fn link(host: &Host) -> String {
    let from = host.link.address.as_deref().map_or_else(String::new, |a| format!(" from {a}"));
    match (host.linked, &host.link.ended_because) {
        (true, _) => {
            format!("linked{from} {}, last proof {}", output::ago(host.link.linked_at), output::ago(host.last_proof_at))
        }
        (false, Some(why)) => format!(
            "not linked: ended {} ({why}), last proof {}",
            output::ago(host.link.ended_at),
            output::ago(host.last_proof_at)
        ),
        (false, None) => format!("not linked, last proof {}", output::ago(host.last_proof_at)),
    }
}

fn state(linked: bool) -> String {
    if linked { "linked" } else { "not linked" }.into()
}

/// The route of a host given by name or id.
fn path(host: &str) -> String {
    format!("/hosts/{}", hostler_model::ByteStr::from(host).to_query().replace('/', "%2F"))
}

async fn probe(args: HostsProbe) -> Result<()> {
    #[derive(serde::Deserialize)]
    struct Probed {
        asked: u64,
        answered: u64,
        milliseconds: u64,
    }
    let route = args.host.as_deref().map_or_else(|| "/hosts/probe".into(), |host| format!("{}/probe", path(host)));
    let raw: Box<serde_json::value::RawValue> = Client::new(&args.connection)?.post(&route, None::<&()>).await?;
    if args.connection.json {
        return output::json(&raw);
    }
    let probed: Probed = serde_json::from_str(raw.get())?;
    eprintln!("{} of {} hosts answered within {} ms.", probed.answered, probed.asked, probed.milliseconds);
    anyhow::ensure!(probed.answered == probed.asked, "some hosts did not answer; `hostler hosts list` shows which");
    Ok(())
}

async fn remove(args: HostRemove) -> Result<()> {
    let client = Client::new(&args.connection)?;
    let host: Host = client.get(&path(&args.host), &Query::default()).await?;
    if !args.yes {
        let question = format!(
            "Remove {} ({})? Its key is revoked, and its index, scans and events are deleted here. Nothing on the host is touched.",
            host.name, host.id
        );
        anyhow::ensure!(output::confirm(&question)?, "nothing was removed");
    }
    client.delete(&format!("/hosts/{}", host.id)).await?;
    if args.connection.json {
        return output::line(format!("{{\"id\":\"{}\",\"removed\":true}}", host.id));
    }
    eprintln!("Removed {}.", host.name);
    Ok(())
}
