//! `POST /query/sql`: answered as the public gateway answers it (reference, section 3.5). No statement is run.

use axum::extract::State;
use axum::response::Response;
use serde_json::value::RawValue;

use super::access::Caller;
use super::body::{self, Small};
use super::json;
use super::problems::{self, Problems, Step};
use super::reply;
use crate::state::AppState;

/// No rows, to any statement.
pub async fn sql(State(_): State<AppState>, caller: Caller, Small(body): Small) -> Result<Response, Response> {
    caller.read()?;
    body::parse(body, check).await?;
    Ok(reply::json(r#"{"rows":[]}"#))
}

fn check(text: &str) -> Result<(), Problems<'_>> {
    json::check_depth(text)?;
    let in_body = Step::Name("body");
    let body: &RawValue = serde_json::from_str(text).map_err(|error| Problems::of(text, &error))?;
    let fields = json::fields(body).ok_or_else(|| Problems::one(problems::OBJECT, &[in_body], Some(body)))?;
    let mut problems = Problems::default();
    match fields.get(&b"sql"[..]).copied() {
        None => problems.add(problems::MISSING, &[in_body, Step::Name("sql")], Some(body)),
        Some(sql) if !sql.get().starts_with('"') => {
            problems.add(problems::STRING, &[in_body, Step::Name("sql")], Some(sql));
        }
        Some(_) => {}
    }
    if let Some(params) = fields.get(&b"params"[..]).copied()
        && !(params.get().starts_with('{') || params.get() == "null")
    {
        problems.add(problems::DICT, &[in_body, Step::Name("params")], Some(params));
    }
    if problems.is_empty() { Ok(()) } else { Err(problems) }
}
