//! `/welcome`: the first steps, until something was scanned.

use axum::extract::State;
use axum::response::{IntoResponse, Redirect, Response};
use hostler_model::{ByteStr, Role};
use maud::{Markup, html};

use super::components::*;
use super::errors::PageError;
use super::files::scan_form::NEEDS_OPERATOR;
use super::shell::{Nav, Page, Viewer};
use crate::state::AppState;
use crate::store::{PageRequest, ScanFilter};

/// `GET /`: the hosts, or the first steps while nothing was ever scanned.
pub async fn start(State(state): State<AppState>, _viewer: Viewer) -> Result<Response, PageError> {
    let any = state.store.scans(ScanFilter::default(), PageRequest { limit: 1, cursor: None }).await?;
    Ok(Redirect::to(if any.items.is_empty() { "/welcome" } else { "/hosts" }).into_response())
}

/// `GET /welcome`.
pub async fn page(viewer: Viewer) -> Result<Markup, PageError> {
    let host = viewer.hosts.iter().min_by_key(|h| (viewer.link(h), h.name.clone()));
    let granted = host.and_then(|h| capability(h, "files")).and_then(|c| c.roots.first());
    let root = granted.filter(|r| is_plain(r)).map_or_else(String::new, |r| r.display().into_owned());
    let example = if root.is_empty() { "/home".to_string() } else { root.clone() };
    let main = html! {
        div.page-head { h1 { "Welcome" } p.sub { "Three steps to see what lies on your disks." } }
        section.panel {
            div.panel-head { h2 { "Get started" } }
            div.panel-body {
                ol.steps {
                    @match host {
                        Some(host) => li.done[viewer.link(host) == LinkState::Linked] { div {
                            h3 { "Gateway and agent run" }
                            p.muted.small { a href={ "/hosts/" (host.id) } { bdi { (host.name) } } ", " (proved(host.last_proof_at, viewer.now)) }
                        } },
                        None => li { div {
                            h3 { "Start an agent" }
                            p.muted.small { "The gateway runs; no host has linked to it yet. This starts both on one host:" }
                            (command("hostler up"))
                        } },
                    }
                    li { div {
                        h3 { "Look at a directory" }
                        @if let Some(host) = host {
                            form.form-row method="post" action="/files/scans" {
                                (viewer.csrf())
                                input type="hidden" name="host" value=(host.id);
                                @if let Some(odd) = granted.filter(|r| !is_plain(r)) { (hidden("root", odd)) p { (path(odd)) } }
                                @else {
                                    div.field { label for="root" { "Directory on " bdi { (host.name) } }
                                        input.input.mono id="root" name="root" value=(root) placeholder="/home" required autocomplete="off" spellcheck="false"; }
                                }
                                @if viewer.may(Role::Operator) { button.btn.primary { (icon("play")) "Scan" } }
                                @else { (disabled_button("primary", "play", "Scan", NEEDS_OPERATOR)) }
                            }
                        }
                        p.muted.xs { "It reads names, sizes and content. Nothing is changed on the host." }
                    } }
                    li { div {
                        h3 { "Use it from the command line" }
                        (command(&format!("hostler scan {}", shell_word(&ByteStr::from(example.as_str())))))
                        (command("hostler files find --name '*.iso' --min-size 1GiB"))
                        (command("hostler api-keys create ci --role viewer"))
                    } }
                }
            }
        }
    };
    let topics = host.map(|h| format!("host:{}", h.id)).into_iter().collect();
    Ok(viewer.draw(Page { title: "Welcome".into(), nav: Nav::Hosts, host: None, topics, main }))
}

/// A path as one word of a shell's command line.
pub(super) fn shell_word(path: &ByteStr) -> String {
    let text = path.display();
    if text.bytes().all(|b| b.is_ascii_alphanumeric() || b"/._-".contains(&b)) {
        text.into_owned()
    } else {
        format!("'{}'", text.replace('\'', "'\\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odd_paths_are_quoted() {
        assert_eq!(shell_word(&ByteStr::from("/srv/media")), "/srv/media");
        assert_eq!(shell_word(&ByteStr::from("/srv/it's $HOME")), "'/srv/it'\\''s $HOME'");
    }
}
