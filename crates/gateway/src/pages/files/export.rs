//! `/files/duplicates.csv`: the names of all groups as a table.

use axum::body::Body;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use hostler_model::Role;

use super::duplicates::Asked;
use crate::duplicates::Walk;
use crate::pages::errors::PageError;
use crate::pages::shell::Viewer;
use crate::state::AppState;
use crate::store::{DuplicateFile, DuplicateGroup, StoreError};

/// `GET /files/duplicates.csv`: read from the store page by page as it is sent, within the bounds of [`Walk`].
pub async fn csv(State(state): State<AppState>, viewer: Viewer) -> Result<Response, PageError> {
    viewer.require(Role::Viewer)?;
    let asked = Asked::read(&viewer.query);
    if let Some(error) = asked.size_error {
        return Err(PageError::Bad(error));
    }
    let head = "group_hash,algorithm,size,host,path,modified,inode,device\r\n".to_owned();
    let walk = Walk::new(state.store.clone(), asked.filter);
    let body = stream::unfold((Some(head), Some(walk)), |(head, walk)| async move {
        if let Some(head) = head {
            return Some((Ok::<_, StoreError>(head), (None, walk)));
        }
        let mut walk = walk?;
        match walk.step().await {
            Ok(Some(groups)) => {
                let lines = groups.iter().flat_map(|g| g.files.iter().map(|file| line(&g.group, file))).collect();
                Some((Ok(lines), (None, Some(walk))))
            }
            Ok(None) => None,
            // The headers are sent: only a broken body can tell that the list is not whole.
            Err(error) => Some((Err(error), (None, None))),
        }
    });
    let headers = [
        (header::CONTENT_TYPE, "text/csv; charset=utf-8"),
        (header::CONTENT_DISPOSITION, "attachment; filename=\"duplicates.csv\""),
        (header::CACHE_CONTROL, "no-store"),
    ];
    Ok((headers, Body::from_stream(body)).into_response())
}

fn line(group: &DuplicateGroup, file: &DuplicateFile) -> String {
    format!(
        "{},{},{},{},{},{},{},{}\r\n",
        group.hash,
        group.algo,
        group.size,
        cell(&file.host_name),
        cell(&file.path.display()),
        file.mtime,
        file.ino,
        file.dev
    )
}

/// A cell that no spreadsheet takes for a formula.
fn cell(text: &str) -> String {
    let guard = if text.starts_with(['=', '+', '-', '@', '\t', '\r']) { "'" } else { "" };
    format!("\"{guard}{}\"", text.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_no_formulas() {
        assert_eq!(cell("=cmd|' /C calc'!A0"), "\"'=cmd|' /C calc'!A0\"");
        assert_eq!(cell("a \"b\", c"), "\"a \"\"b\"\", c\"");
    }
}
