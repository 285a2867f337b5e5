//! `hostler audit`.

use anyhow::Result;

use crate::args::Audit;
use crate::client::{Client, Query};
use crate::output;
use crate::views::AuditEntry;

pub async fn run(args: Audit) -> Result<()> {
    let mut query = Query::default();
    query.maybe("who", args.who.as_ref()).maybe("action", args.action.as_ref());
    query.maybe("host", args.host.as_ref()).maybe("result", args.result.as_ref());
    query.maybe("since", args.since.as_ref());
    let items = Client::new(&args.connection)?.list("/audit", &query, args.limit.limit).await?;
    if args.connection.json {
        return output::json_array(&items);
    }
    let rows = output::parse::<AuditEntry>(&items)?.into_iter().map(|e| {
        vec![e.at.to_string(), e.who, e.from, e.action, dash(e.host_name), dash(e.target), e.result, e.detail]
    });
    output::table(&["WHEN", "WHO", "FROM", "ACTION", "HOST", "WHAT", "RESULT", "DETAIL"], rows)
}

fn dash(text: String) -> String {
    if text.is_empty() { "—".into() } else { text }
}
