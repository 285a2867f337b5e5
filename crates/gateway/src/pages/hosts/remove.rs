//! Asking a host for proofs now, and removing it.

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};
use hostler_model::Role;
use maud::{Markup, html};
use serde::Deserialize;

use super::of_path;
use crate::audit::Entry;
use crate::auth::CsrfForm;
use crate::pages::components::*;
use crate::pages::errors::PageError;
use crate::pages::files::scans::NoFields;
use crate::pages::forms::Confirm;
use crate::pages::shell::{Nav, Viewer};
use crate::rest::remove_host;
use crate::state::AppState;
use crate::store::Host;

/// `POST /hosts/{id}/probe`: asks the host to prove what it can do.
pub async fn probe(
    State(state): State<AppState>,
    viewer: Viewer,
    Path(id): Path<String>,
    CsrfForm(_): CsrfForm<NoFields>,
) -> Result<Response, PageError> {
    viewer.require(Role::Operator)?;
    let host = of_path(&state, &id).await?;
    let report = state.fleet.probe_now(Some(vec![host.id])).await;
    let outcome = match report.answered {
        0 => "failed".to_owned(),
        _ => report.milliseconds.to_string(),
    };
    let to = format!("/hosts/{}?answered={outcome}", host.id);
    Ok((Entry::host(host.id, host.name), Redirect::to(&to)).into_response())
}

/// What is typed to show that it is meant.
#[derive(Default, Deserialize)]
#[serde(default)]
pub struct RemoveFields {
    typed: String,
}

/// `GET /hosts/{id}/remove`: asks.
pub async fn confirm(
    State(state): State<AppState>,
    viewer: Viewer,
    Path(id): Path<String>,
) -> Result<Markup, PageError> {
    viewer.require(Role::Admin)?;
    ask(&state, &viewer, &of_path(&state, &id).await?, "", None).await
}

/// `POST /hosts/{id}/remove`.
pub async fn remove(
    State(state): State<AppState>,
    viewer: Viewer,
    Path(id): Path<String>,
    CsrfForm(fields): CsrfForm<RemoveFields>,
) -> Result<Response, PageError> {
    viewer.require(Role::Admin)?;
    let host = of_path(&state, &id).await?;
    if fields.typed.trim() != host.name {
        let page = ask(&state, &viewer, &host, &fields.typed, Some("This is not the host's name.")).await?;
        return Ok((StatusCode::UNPROCESSABLE_ENTITY, page).into_response());
    }
    remove_host(&state, &host, &viewer.principal.name).await?;
    Ok((Entry::host(host.id, host.name), Redirect::to("/hosts")).into_response())
}

async fn ask(
    state: &AppState,
    viewer: &Viewer,
    host: &Host,
    typed: &str,
    error: Option<&str>,
) -> Result<Markup, PageError> {
    let roots = state.store.roots(Some(host.id)).await?;
    let files = roots.iter().map(|root| root.files).sum::<u64>();
    let here = format!("/hosts/{}", host.id);
    Ok(Confirm {
        nav: Nav::Hosts,
        back: (&here, &host.name),
        title: "Remove a host",
        action: &format!("{here}/remove"),
        question: html! { "Remove the host " bdi { (host.name) } "?" },
        text: html! {
            p { "Its link ends at once and its key is refused from then on. Nothing on the host itself is changed: its files stay, and the agent there can join again with a new line." }
            ul.touch {
                li { span.strong { "Index" } span.muted { (counted(roots.len() as u64, "directory", "directories")) ", " (counted(files, "file", "files")) " listed" } }
                li { span.strong { "History" } span.muted { "its scans and its events" } }
            }
            (text_field("typed", "The host's name", typed, &format!("Type {} to remove it.", host.name), error))
        },
        button: html! { "Remove " bdi { (host.name) } },
        keep: "Keep it",
    }
    .draw(viewer))
}
