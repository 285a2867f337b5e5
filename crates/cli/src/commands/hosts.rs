//! `hostler hosts`.

use anyhow::Result;
use hostler_model::size;

use crate::args::{HostRef, Hosts, HostsList};
use crate::client::{Client, Query};
use crate::output;
use crate::views::{Host, Root};

pub async fn run(args: Hosts) -> Result<()> {
    match args {
        Hosts::List(args) => list(args).await,
        Hosts::Show(args) => show(args).await,
    }
}

async fn list(args: HostsList) -> Result<()> {
    // One page holds them all: the route has no limit.
    #[derive(serde::Deserialize)]
    struct All {
        items: Vec<Box<serde_json::value::RawValue>>,
    }
    let All { items } = Client::new(&args.connection)?.get("/hosts", &Query::default()).await?;
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
    let path = format!("/hosts/{}", hostler_model::ByteStr::from(args.host.as_str()).to_query().replace('/', "%2F"));
    let raw = client.get_raw(&path, &Query::default()).await?;
    if args.connection.json {
        return output::json(&raw);
    }
    let host: Host = serde_json::from_str(raw.get())?;
    let facts = &host.facts;
    output::details(&[
        ("Name", host.name.clone()),
        ("Id", host.id.to_string()),
        ("Link", format!("{}, last proof {}", state(host.linked), output::ago(host.last_proof_at))),
        ("System", format!("{}, Linux {}, {}", facts.os, facts.kernel, facts.arch)),
        ("Hardware", format!("{} processors, {}", facts.cpus, size::human(facts.memory_bytes))),
        ("Started", output::ago(facts.booted_at)),
        ("Agent", facts.agent_version.clone()),
    ])?;
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

fn state(linked: bool) -> String {
    if linked { "linked" } else { "not linked" }.into()
}
