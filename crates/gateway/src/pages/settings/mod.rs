//! `/settings`: one's own account, users, sessions, API keys, the audit log, the gateway itself.

pub mod account;
pub mod audit;
pub mod gateway;
pub mod keys;
pub mod sessions;
pub mod snapfs;
pub mod users;
pub mod webhooks;

use axum::response::Redirect;
use maud::{Markup, html};

use super::shell::{Nav, Page, Viewer};

/// The parts of the settings: address, name.
const TABS: [(&str, &str); 8] = [
    ("/settings/account", "My account"),
    ("/settings/users", "Users"),
    ("/settings/sessions", "Sessions"),
    ("/settings/keys", "API keys"),
    ("/settings/webhooks", "Webhooks"),
    ("/settings/snapfs", "SnapFS"),
    ("/settings/audit", "Audit log"),
    ("/settings/gateway", "Gateway"),
];

/// `GET /settings`.
pub async fn start() -> Redirect {
    Redirect::to("/settings/account")
}

/// A page of the settings beside their navigation.
fn draw(viewer: &Viewer, tab: &str, body: Markup) -> Markup {
    let main = html! {
        div.page-head { h1 { "Settings" } }
        div.settings {
            nav.subnav aria-label="Settings" {
                @for (href, label) in TABS { a href=(href) aria-current=[(label == tab).then_some("page")] { (label) } }
            }
            div.stackv { (body) }
        }
    };
    viewer.draw(Page { title: tab.to_owned(), nav: Nav::Settings, host: None, topics: Vec::new(), main })
}
