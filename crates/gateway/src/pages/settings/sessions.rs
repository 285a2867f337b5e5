//! `/settings/sessions`: browsers that are signed in.

use axum::extract::{Path, State};
use axum::response::{IntoResponse, Redirect, Response};
use hostler_model::{Role, SessionId};
use maud::{Markup, html};
use serde::Deserialize;

use super::draw;
use crate::audit::Entry;
use crate::auth::{CsrfForm, Principal};
use crate::pages::components::*;
use crate::pages::errors::PageError;
use crate::pages::shell::Viewer;
use crate::state::AppState;
use crate::store::Session;

/// Sessions that one page lists; the last used come first.
const MAX_SHOWN: usize = 200;

/// `GET /settings/sessions`: all for admins, else one's own.
pub async fn list(State(state): State<AppState>, viewer: Viewer) -> Result<Markup, PageError> {
    let sessions = state.store.sessions(viewer.now).await?;
    let shown: Vec<Session> = sessions.into_iter().filter(|s| may_end(s, &viewer.principal)).collect();
    let sub = if viewer.may(Role::Admin) { "of everybody, the last used first" } else { "your own; admins see all" };
    Ok(draw(&viewer, "Sessions", panel(&shown, &viewer, sub, "sessions")))
}

/// True when the viewer sees this session and may end it.
fn may_end(session: &Session, principal: &Principal) -> bool {
    principal.role >= Role::Admin || own(session, principal)
}

/// True when it is the viewer's own.
pub fn own(session: &Session, principal: &Principal) -> bool {
    principal.session == Some(session.id) || (principal.user.is_some() && principal.user == session.user)
}

/// A table of sessions. `back` is the page of the settings to come back to.
pub fn panel(sessions: &[Session], viewer: &Viewer, sub: &str, back: &str) -> Markup {
    html! {
        section.panel {
            div.panel-head { h2 { "Sessions" } span.sub { (sub) } }
            @if sessions.is_empty() {
                (empty("user", "No sessions", "Browsers that are signed in are listed here.", Some("hostler sign-in")))
            } @else {
                table.table.stack {
                    thead { tr {
                        th scope="col" { "Who" } th scope="col" { "Browser" } th.p2 scope="col" { "From" } th scope="col" { "Last used" }
                        th.p3 scope="col" { "Signed in" } th scope="col" { span.sr { "Actions" } }
                    } }
                    tbody { @for session in sessions.iter().take(MAX_SHOWN) { (row(session, viewer, back)) } }
                }
                @if sessions.len() > MAX_SHOWN { div.panel-foot { "And " (sessions.len() - MAX_SHOWN) " more that were used longer ago." } }
            }
        }
    }
}

fn row(session: &Session, viewer: &Viewer, back: &str) -> Markup {
    let here = viewer.principal.session == Some(session.id);
    html! {
        tr {
            td { span.name { bdi { (session.name) } } span.sub { (session.role) } }
            td.full { span title=(session.agent) { (browser(&session.agent)) } @if here { " " span.chip.info { "this browser" } } }
            td.p2.full.mono.xs data-l="from" { (session.address) }
            td.nowrap.full data-l="used" { (ago(session.last_seen_at, viewer.now)) }
            td.p3.off.muted.nowrap { (ago(session.created_at, viewer.now)) }
            td.act.full {
                form method="post" action={ "/settings/sessions/" (session.id) "/end" } {
                    (viewer.csrf())
                    input type="hidden" name="back" value=(back);
                    button.btn.sm.danger aria-label={ "Sign out " (session.name) " on " (browser(&session.agent)) } { "Sign out" }
                }
            }
        }
    }
}

/// The browser and the system that a user agent names, for people; browsers name others before themselves.
fn browser(agent: &str) -> String {
    const BROWSERS: [(&str, &str); 6] = [
        ("Edg/", "Edge"),
        ("OPR/", "Opera"),
        ("Firefox/", "Firefox"),
        ("HeadlessChrome/", "Chrome (headless)"),
        ("Chrome/", "Chrome"),
        ("Safari/", "Safari"),
    ];
    const SYSTEMS: [(&str, &str); 6] = [
        ("Android", "Android"),
        ("iPhone", "iPhone"),
        ("iPad", "iPad"),
        ("Windows", "Windows"),
        ("Mac OS X", "macOS"),
        ("Linux", "Linux"),
    ];
    let named = |of: &[(&str, &'static str)]| of.iter().find(|(mark, _)| agent.contains(mark)).map(|(_, name)| *name);
    match (named(&BROWSERS), named(&SYSTEMS)) {
        (Some(browser), Some(system)) => format!("{browser} on {system}"),
        (Some(browser), None) => browser.to_owned(),
        _ if agent.is_empty() => "unknown".to_owned(),
        _ => agent.chars().take(40).collect(),
    }
}

/// Where to come back to.
#[derive(Default, Deserialize)]
#[serde(default)]
pub struct EndFields {
    back: String,
}

/// `POST /settings/sessions/{id}/end`: signs a browser out at once.
pub async fn end(
    State(state): State<AppState>,
    viewer: Viewer,
    Path(id): Path<String>,
    CsrfForm(fields): CsrfForm<EndFields>,
) -> Result<Response, PageError> {
    let id: SessionId = id.parse().map_err(|_| PageError::NotFound("session"))?;
    let sessions = state.store.sessions(viewer.now).await?;
    // Others' sessions are as if they were not there.
    let session = sessions.into_iter().find(|s| s.id == id && may_end(s, &viewer.principal));
    let session = session.ok_or(PageError::NotFound("session"))?;
    state.store.end_session_by_id(id).await?;
    state.auth.changed();
    let back = if fields.back == "account" { "/settings/account" } else { "/settings/sessions" };
    Ok((Entry::default().detail(format!("of {}", session.name)), Redirect::to(back)).into_response())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn browsers_are_named_for_people() {
        let chrome =
            "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0 Safari/537.36";
        assert_eq!(browser(chrome), "Chrome on Linux");
        assert_eq!(
            browser("Mozilla/5.0 (Windows NT 10.0; rv:140.0) Gecko/20100101 Firefox/140.0"),
            "Firefox on Windows"
        );
        assert_eq!(browser("curl/8.14"), "curl/8.14");
        assert_eq!(browser(""), "unknown");
    }
}
