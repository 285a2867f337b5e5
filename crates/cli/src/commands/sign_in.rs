//! `hostler sign-in`: a new one-time link.

use anyhow::Result;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::args::SignIn;
use crate::client::Client;
use crate::output;

#[derive(Deserialize)]
struct Link {
    url: String,
    expires_in: u64,
}

pub async fn run(args: SignIn) -> Result<()> {
    let made: Box<RawValue> = Client::new(&args.connection)?.post("/sign-in-links", None::<&()>).await?;
    if args.connection.json {
        return output::json(&made);
    }
    let link: Link = serde_json::from_str(made.get())?;
    output::line(link.url)?;
    eprintln!("Works once, within {}.", hostler_model::time::age(link.expires_in));
    Ok(())
}
