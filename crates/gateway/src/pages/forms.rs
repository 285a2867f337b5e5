//! What several forms share: choices of roles and times, passwords, and the page that asks before something is lost.

use hostler_model::{Role, Timestamp, time};
use maud::{Markup, html};

use super::components::field_error;
use super::query::Query;
use super::shell::{Nav, Page, Viewer, crumbs};

/// The title of what others see and cannot use.
pub const NEEDS_ADMIN: &str = "Needs the admin role";

/// What each role may do, least first.
pub const ROLES: [(Role, &str); 3] = [
    (Role::Viewer, "reads, changes nothing"),
    (Role::Operator, "also scans and asks hosts for proofs"),
    (Role::Admin, "also manages hosts, users and keys"),
];

/// A choice of roles with what each may do.
pub fn role_field(chosen: &str) -> Markup {
    html! {
        div.field {
            label for="role" { "Role" }
            select.select id="role" name="role" {
                @for (role, what) in ROLES { option value=(role) selected[chosen == role.word()] { (role) ": " (what) } }
            }
        }
    }
}

/// A password to type; it is never sent back into the page. `autocomplete` is `current-password` or `new-password`.
pub fn password_field(key: &str, label: &str, autocomplete: &str, hint: &str, error: Option<&str>) -> Markup {
    let described =
        if error.is_some() { Some(format!("{key}-error")) } else { (!hint.is_empty()).then(|| format!("{key}-hint")) };
    html! {
        div.field {
            label for=(key) { (label) }
            input.input id=(key) name=(key) type="password" required autocomplete=(autocomplete)
                aria-invalid=[error.map(|_| "true")] aria-describedby=[described];
            @if error.is_some() { (field_error(key, error)) } @else if !hint.is_empty() { span.hint id={ (key) "-hint" } { (hint) } }
        }
    }
}

/// The error that belongs to this field.
pub fn error_of<'a>(error: Option<&'a (&'static str, String)>, field: &str) -> Option<&'a str> {
    error.filter(|(of, _)| *of == field).map(|(_, text)| text.as_str())
}

/// How long ago a list may begin, for a filter.
const SINCE: [(&str, &str); 4] =
    [("1h", "Last hour"), ("24h", "Last 24 hours"), ("7d", "Last 7 days"), ("30d", "Last 30 days")];

/// A choice of the time since which a list is wanted.
pub fn since_select(query: &Query) -> Markup {
    let chosen = query.text("since").unwrap_or_default();
    html! {
        select.select name="since" aria-label="When" {
            option value="" { "Any time" }
            @for (value, label) in SINCE { option value=(value) selected[chosen == value] { (label) } }
        }
    }
}

/// The instant that `since` in a query names: an age such as `24h`.
pub fn since(query: &Query, now: Timestamp) -> Option<Timestamp> {
    let seconds = time::parse_age(&query.text("since")?).ok()?;
    let micros = i64::try_from(seconds).unwrap_or(i64::MAX).saturating_mul(1_000_000);
    Some(Timestamp::from_micros(now.micros().saturating_sub(micros)))
}

/// A page that asks before something is lost. The script shows its form as a dialog.
pub struct Confirm<'a> {
    /// The open part of the navigation.
    pub nav: Nav,
    /// Where to go when it is kept, and what that page is called.
    pub back: (&'a str, &'a str),
    /// For the window's title and the breadcrumb.
    pub title: &'a str,
    /// Where the form goes.
    pub action: &'a str,
    /// `Delete the user ada?`
    pub question: Markup,
    /// What it touches and what stays.
    pub text: Markup,
    /// On the button that does it.
    pub button: Markup,
    /// On the link that does not.
    pub keep: &'a str,
}

impl Confirm<'_> {
    /// Draws the page.
    pub fn draw(self, viewer: &Viewer) -> Markup {
        let main = html! {
            (crumbs(&[self.back], self.title))
            div.page-head { h1 { (self.title) } }
            form.card.confirm id="confirm" method="post" action=(self.action) aria-labelledby="confirm-title" {
                (viewer.csrf())
                h2 id="confirm-title" { (self.question) }
                (self.text)
                div.row { a.btn.push href=(self.back.0) data-keep { (self.keep) } button.btn.danger-fill { span { (self.button) } } }
            }
        };
        viewer.draw(Page { title: self.title.to_owned(), nav: self.nav, host: None, topics: Vec::new(), main })
    }
}
