//! `/files/changes`, `/files/growth`.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use hostler_model::{ByteStr, ChangeOp, Timestamp};

use super::files::scan_first;
use super::params::Params;
use super::{ApiError, error::ErrorBody};
use crate::clock;
use crate::compare::{self, CompareError, Point};
use crate::state::AppState;
use crate::store::{CompareQuery, Comparison, Growth, GrowthQuery};

/// Seconds that growth is told of when nothing else is asked for: 30 days.
const GROWTH_SECONDS: i64 = 30 * 86_400;

/// What changed between two scans of a directory
#[utoipa::path(get, path = "/files/changes", params(
    ("host" = Option<String>, Query, description = "id or name; may be left out when there is one host"),
    ("root" = Option<String>, Query, description = "indexed directory, or one below it; percent-encoded bytes; may be left out when there is one"),
    ("from" = Option<String>, Query, description = "earlier scan: its id, or an age such as 7d or an RFC 3339 time for the last completed one before that; the one before `to` by default"),
    ("to" = Option<String>, Query, description = "later scan, as for from; the last completed one by default"),
    ("op" = Option<Vec<ChangeOp>>, Query, description = "created, modified, metadata, deleted or moved; may be repeated; all by default"),
    ("below" = Option<String>, Query, description = "only at or below this path, relative to the root; percent-encoded bytes"),
    ("limit" = Option<u32>, Query, description = "1 to 1000, 100 by default"),
    ("cursor" = Option<String>, Query, description = "`next` of the page before"),
), responses((status = 200, body = Comparison), (status = 400, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub async fn compare(State(state): State<AppState>, mut params: Params) -> Result<Json<Comparison>, ApiError> {
    let now = clock::now();
    let host = params.one_host(&*state.store).await?;
    let dir = params.maybe_absolute("root")?;
    let from = params.with("from", |text| Point::parse(text, now))?;
    let to = params.with("to", |text| Point::parse(text, now))?;
    let ops = params.all("op")?.iter().map(|text| op(text)).collect::<Result<_, _>>()?;
    let below = params.bytes("below").map(relative).transpose()?;
    let page = params.page()?;
    params.end()?;
    let (root, rest) = compare::root_of(&*state.store, host, dir.as_ref()).await?;
    let (from, to) = compare::sides(&*state.store, &root, from, to).await?;
    let below = match (rest, below) {
        (Some(rest), Some(below)) => Some([rest.as_bytes(), b"/", below.as_bytes()].concat().into()),
        (rest, below) => rest.or(below),
    };
    Ok(Json(state.store.compare(CompareQuery { from, to, ops, below }, page).await?))
}

fn op(text: &str) -> Result<ChangeOp, ApiError> {
    ChangeOp::ALL.into_iter().find(|op| op.word() == text).ok_or_else(|| {
        let words = ChangeOp::ALL.map(ChangeOp::word).join(", ");
        ApiError::bad_request(format!("query parameter op: {text:?} is none of {words}"))
    })
}

fn relative(path: ByteStr) -> Result<ByteStr, ApiError> {
    match path.as_bytes().first() {
        Some(b'/') => Err(ApiError::bad_request("query parameter below: it must be relative to the root")),
        _ => Ok(path),
    }
}

/// How a directory grew, and how much of it was exchanged
#[utoipa::path(get, path = "/files/growth", params(
    ("host" = Option<String>, Query, description = "id or name; may be left out when there is one host"),
    ("path" = String, Query, description = "absolute path of a directory; percent-encoded bytes"),
    ("since" = Option<String>, Query, description = "since this age, such as 7d, or this RFC 3339 time; 30d by default"),
), responses((status = 200, body = Growth), (status = 404, body = ErrorBody)))]
pub async fn growth(State(state): State<AppState>, mut params: Params) -> Result<Json<Growth>, ApiError> {
    let host = params.one_host(&*state.store).await?;
    let path = params.absolute("path")?;
    let since = params.instant("since")?;
    params.end()?;
    let since = since
        .unwrap_or_else(|| Timestamp::from_micros(clock::now().micros().saturating_sub(GROWTH_SECONDS * 1_000_000)));
    Ok(Json(state.store.growth(GrowthQuery { host, path, since }).await.map_err(scan_first)?))
}

impl From<CompareError> for ApiError {
    fn from(error: CompareError) -> Self {
        let text = error.to_string();
        match error {
            CompareError::Store(error) => error.into(),
            CompareError::WhichRoot(_) => Self::bad_request(text).hint("add root=PATH, or PATH on the command line"),
            CompareError::Unfit(..) => Self::bad_request(text).hint("`hostler scans list` shows them"),
            CompareError::NotIndexed(_) | CompareError::NoScan(_) => {
                Self::new(StatusCode::NOT_FOUND, "not_found", text).hint("`hostler scan PATH` scans it")
            }
        }
    }
}
