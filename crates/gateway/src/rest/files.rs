//! `/files`, `/files/ls`, `/files/stat`.

use axum::Json;
use axum::extract::State;
use hostler_model::{ContentHash, EntryKind, size};

use super::params::Params;
use super::{ApiError, error::ErrorBody};
use crate::state::AppState;
use crate::store::{FindQuery, IndexedEntry, Listing, Page, SortKey, StoreError};

/// Search all indexes
#[utoipa::path(get, path = "/files", params(
    ("host" = Option<String>, Query, description = "only this host: id or name"),
    ("below" = Option<String>, Query, description = "only below this absolute path; percent-encoded bytes"),
    ("name" = Option<String>, Query, description = "the name holds this, or matches it as a whole when it has * or ? in it"),
    ("ext" = Option<Vec<String>>, Query, description = "the name ends in a dot and this; may be repeated"),
    ("kind" = Option<Vec<EntryKind>>, Query, description = "file, dir, symlink or other; may be repeated; all but dir by default"),
    ("min_size" = Option<String>, Query, description = "at least this many bytes; units as in 10M or 1.5GiB"),
    ("max_size" = Option<String>, Query, description = "at most this many bytes"),
    ("newer" = Option<String>, Query, description = "modified within this age, such as 7d, or after this RFC 3339 time"),
    ("older" = Option<String>, Query, description = "modified before that"),
    ("owner" = Option<String>, Query, description = "owner's name or number"),
    ("hash" = Option<String>, Query, description = "the content's hash in hex"),
    ("sort" = Option<SortKey>, Query, description = "name, size or changed"),
    ("desc" = Option<bool>, Query, description = "greatest first"),
    ("limit" = Option<u32>, Query, description = "1 to 1000, 100 by default"),
    ("cursor" = Option<String>, Query, description = "`next` of the page before"),
), responses((status = 200, body = Page<IndexedEntry>), (status = 400, body = ErrorBody)))]
pub async fn find(State(state): State<AppState>, mut params: Params) -> Result<Json<Page<IndexedEntry>>, ApiError> {
    let query = FindQuery {
        host: params.host(&*state.store).await?,
        below: params.maybe_absolute("below")?,
        name: params.bytes("name"),
        extensions: params.all("ext")?,
        kinds: params.all("kind")?.iter().map(|k| kind(k)).collect::<Result<_, _>>()?,
        min_size: params.with("min_size", size::parse)?,
        max_size: params.with("max_size", size::parse)?,
        modified_after: params.instant("newer")?,
        modified_before: params.instant("older")?,
        owner: params.text("owner")?,
        hash: params.with("hash", |text| {
            ContentHash::from_hex(text).ok_or_else(|| "it is not a hash: use 2 to 64 hex digits".to_owned())
        })?,
        sort: sort(&mut params)?,
        descending: params.flag("desc")?,
    };
    let page = params.page()?;
    params.end()?;
    Ok(Json(state.store.find(query, page).await?))
}

/// One directory with rolled-up sizes
#[utoipa::path(get, path = "/files/ls", params(
    ("host" = Option<String>, Query, description = "id or name; may be left out when there is one host"),
    ("path" = String, Query, description = "absolute path; percent-encoded bytes"),
    ("sort" = Option<SortKey>, Query, description = "name, size, files or changed"),
    ("desc" = Option<bool>, Query, description = "greatest first"),
    ("limit" = Option<u32>, Query, description = "1 to 1000, 100 by default"),
    ("cursor" = Option<String>, Query, description = "`next` of the page before"),
), responses((status = 200, body = Listing), (status = 404, body = ErrorBody)))]
pub async fn list(State(state): State<AppState>, mut params: Params) -> Result<Json<Listing>, ApiError> {
    let host = params.one_host(&*state.store).await?;
    let path = params.absolute("path")?;
    let (sort, descending) = (sort(&mut params)?, params.flag("desc")?);
    let page = params.page()?;
    params.end()?;
    Ok(Json(state.store.list_dir(host, &path, sort, descending, page).await.map_err(scan_first)?))
}

/// One entry
#[utoipa::path(get, path = "/files/stat", params(
    ("host" = Option<String>, Query, description = "id or name; may be left out when there is one host"),
    ("path" = String, Query, description = "absolute path; percent-encoded bytes"),
), responses((status = 200, body = IndexedEntry), (status = 404, body = ErrorBody)))]
pub async fn stat(State(state): State<AppState>, mut params: Params) -> Result<Json<IndexedEntry>, ApiError> {
    let host = params.one_host(&*state.store).await?;
    let path = params.absolute("path")?;
    params.end()?;
    Ok(Json(state.store.stat(host, &path).await.map_err(scan_first)?))
}

/// An error that says to scan when the index has no such thing.
pub(super) fn scan_first(error: StoreError) -> ApiError {
    let missing = matches!(error, StoreError::NotFound { .. });
    let error = ApiError::from(error);
    if missing { error.hint("scan a directory that holds it: hostler scan PATH") } else { error }
}

fn kind(text: &str) -> Result<EntryKind, ApiError> {
    [EntryKind::File, EntryKind::Dir, EntryKind::Symlink, EntryKind::Other]
        .into_iter()
        .find(|k| k.word() == text)
        .ok_or_else(|| {
            ApiError::bad_request(format!("query parameter kind: {text:?} is not file, dir, symlink or other"))
        })
}

fn sort(params: &mut Params) -> Result<SortKey, ApiError> {
    let parse = |text: &str| match text {
        "name" | "path" => Ok(SortKey::Name),
        "size" => Ok(SortKey::Size),
        "files" => Ok(SortKey::Files),
        "changed" | "mtime" => Ok(SortKey::Changed),
        _ => Err("use name, size, files or changed".to_owned()),
    };
    Ok(params.with("sort", parse)?.unwrap_or_default())
}
