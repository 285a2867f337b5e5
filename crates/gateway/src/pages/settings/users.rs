//! `/settings/users`: who may sign in with a password, and what they may do.

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};
use hostler_model::{Role, UserId};
use maud::{Markup, html};
use serde::Deserialize;

use super::draw;
use crate::audit::Entry;
use crate::auth::CsrfForm;
use crate::auth::users::{self, UserError};
use crate::pages::components::*;
use crate::pages::errors::{PageError, sentence};
use crate::pages::files::scans::NoFields;
use crate::pages::forms::{Confirm, ROLES, error_of, password_field, role_field};
use crate::pages::shell::{Nav, Page, Viewer, crumbs};
use crate::state::AppState;
use crate::store::{Session, StoreError, User};

const PLACE: &str = "/settings/users";
/// What a password must be.
pub const PASSWORD_HINT: &str = "10 characters or more.";

/// The field that is wrong, and why.
type Wrong = (&'static str, String);

/// The fields of a new user, as typed. A password is never sent back.
#[derive(Default, Deserialize)]
#[serde(default)]
pub struct UserFields {
    name: String,
    role: String,
    password: String,
}

/// `GET /settings/users`.
pub async fn list(State(state): State<AppState>, viewer: Viewer) -> Result<Markup, PageError> {
    page(&state, &viewer, &UserFields::default(), None).await
}

/// `POST /settings/users`: makes a user.
pub async fn create(
    State(state): State<AppState>,
    viewer: Viewer,
    CsrfForm(fields): CsrfForm<UserFields>,
) -> Result<Response, PageError> {
    viewer.require(Role::Admin)?;
    let role: Role = fields.role.parse().map_err(PageError::Bad)?;
    match users::create(&state, &fields.name, role, &fields.password).await {
        Ok(user) => {
            let entry = Entry::target(&user.name).detail(format!("role {}", user.role));
            Ok((entry, Redirect::to(PLACE)).into_response())
        }
        Err(error) => {
            let wrong = wrong_field(error)?;
            let page = page(&state, &viewer, &fields, Some(&wrong)).await?;
            Ok((StatusCode::UNPROCESSABLE_ENTITY, page).into_response())
        }
    }
}

/// Which field an error is about; what no field can mend is a page of its own.
pub fn wrong_field(error: UserError) -> Result<Wrong, PageError> {
    let text = sentence(&error.to_string());
    match error {
        UserError::Name | UserError::Store(StoreError::Exists { .. }) => Ok(("name", text)),
        UserError::Weak(_) | UserError::Busy(_) => Ok(("password", text)),
        UserError::WrongPassword => Ok(("current", text)),
        UserError::Store(error) => Err(error.into()),
        UserError::Hash(error) => Err(PageError::Bad(error.to_string())),
    }
}

async fn page(
    state: &AppState,
    viewer: &Viewer,
    fields: &UserFields,
    wrong: Option<&Wrong>,
) -> Result<Markup, PageError> {
    let body = if viewer.may(Role::Admin) {
        let users = state.store.users().await?;
        let sessions = state.store.sessions(viewer.now).await?;
        html! { (list_panel(&users, &sessions, viewer)) (create_panel(viewer, fields, wrong)) (roles_panel()) }
    } else {
        html! {
            (notice("", "lock", html! { "Who the users are is shown to admins only. You are signed in as " (viewer.principal.role) "." }))
            (roles_panel())
        }
    };
    Ok(draw(viewer, "Users", body))
}

fn list_panel(users: &[User], sessions: &[Session], viewer: &Viewer) -> Markup {
    html! {
        section.panel {
            div.panel-head { h2 { "Users" } span.sub { (counted(users.len() as u64, "user", "users")) } }
            @if users.is_empty() {
                (empty("user", "No users yet", "People come in by one-time links until they have a name and a password.", Some("hostler users create ada --role operator")))
            } @else {
                table.table.stack {
                    thead { tr {
                        th scope="col" { "Name" } th scope="col" { "Role" } th.p2 scope="col" { "Last sign-in" } th.p2 scope="col" { "Signed in on" }
                        th scope="col" { span.sr { "Actions" } }
                    } }
                    tbody { @for user in users { (row(user, sessions, viewer)) } }
                }
            }
        }
    }
}

fn row(user: &User, sessions: &[Session], viewer: &Viewer) -> Markup {
    let at = format!("{PLACE}/{}", user.id);
    let browsers = sessions.iter().filter(|s| s.user == Some(user.id)).count();
    html! {
        tr {
            td { span.name { bdi { (user.name) } } @if viewer.principal.user == Some(user.id) { " " span.chip.info { "you" } } }
            td.full {
                form.row-tight method="post" action={ (at) "/role" } {
                    (viewer.csrf())
                    select.select name="role" aria-label={ "Role of " (user.name) } {
                        @for (role, _) in ROLES { option value=(role) selected[role == user.role] { (role) } }
                    }
                    button.btn.sm aria-label={ "Set the role of " (user.name) } { "Set" }
                }
            }
            td.p2.full.nowrap data-l="signed in" { @match user.last_sign_in_at { Some(at) => (ago(at, viewer.now)), None => span.muted { "never" } } }
            td.p2.off.muted { @if browsers == 0 { "—" } @else { (counted(browsers as u64, "browser", "browsers")) } }
            td.act.full { span.row-acts {
                a.btn.sm href={ (at) "/password" } aria-label={ "Set the password of " (user.name) } { "Password…" }
                a.btn.sm.danger href={ (at) "/delete" } data-confirm aria-label={ "Delete " (user.name) } { "Delete…" }
            } }
        }
    }
}

fn create_panel(viewer: &Viewer, fields: &UserFields, wrong: Option<&Wrong>) -> Markup {
    html! {
        section.panel {
            div.panel-head { h2 { "Add a user" } }
            form method="post" action=(PLACE) {
                div.panel-body {
                    (viewer.csrf())
                    div.form-row {
                        (text_field("name", "Name", &fields.name, "Letters, digits, dots, dashes, underscores and @.", error_of(wrong, "name")))
                        (role_field(&fields.role))
                        (password_field("password", "Password", "new-password", PASSWORD_HINT, error_of(wrong, "password")))
                    }
                }
                div.panel-foot { button.btn.primary { (icon("plus")) "Add user" } span { "Tell them the password yourself; they can change it under My account." } }
            }
        }
    }
}

fn roles_panel() -> Markup {
    let may = [
        ("See hosts, files, scans and activity", Role::Viewer),
        ("Scan, cancel scans, ask hosts for proofs", Role::Operator),
        ("Add and remove hosts, users, keys; audit log and backup", Role::Admin),
    ];
    html! {
        section.panel {
            div.panel-head { h2 { "Roles" } span.sub { "What a host allows in agent.toml holds for every role." } }
            table.table {
                thead { tr { th scope="col" { "May" } @for (role, _) in ROLES { th scope="col" { (role) } } } }
                tbody {
                    @for (what, least) in may {
                        tr {
                            td { (what) }
                            @for (role, _) in ROLES {
                                td { @if role >= least { (icon_as("check", "i ok")) span.sr { "yes" } } @else { span.muted { "no" } } }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// A role to set.
#[derive(Default, Deserialize)]
#[serde(default)]
pub struct RoleFields {
    role: String,
}

/// `POST /settings/users/{id}/role`: counts at once, also in the sessions they have.
pub async fn set_role(
    State(state): State<AppState>,
    viewer: Viewer,
    Path(id): Path<String>,
    CsrfForm(fields): CsrfForm<RoleFields>,
) -> Result<Response, PageError> {
    viewer.require(Role::Admin)?;
    let role: Role = fields.role.parse().map_err(PageError::Bad)?;
    let user = users::set_role(&state, parse(&id)?, role).await.map_err(|error| match error {
        UserError::Store(error) => PageError::from(error),
        other => PageError::Bad(other.to_string()),
    })?;
    let entry = Entry::target(&user.name).detail(format!("role {role}"));
    Ok((entry, Redirect::to(PLACE)).into_response())
}

/// A password to set.
#[derive(Default, Deserialize)]
#[serde(default)]
pub struct PasswordFields {
    password: String,
}

/// `GET /settings/users/{id}/password`.
pub async fn password(
    State(state): State<AppState>,
    viewer: Viewer,
    Path(id): Path<String>,
) -> Result<Markup, PageError> {
    viewer.require(Role::Admin)?;
    Ok(password_page(&viewer, &users::find(&state, parse(&id)?).await?, None))
}

/// `POST /settings/users/{id}/password`: their sessions end.
pub async fn set_password(
    State(state): State<AppState>,
    viewer: Viewer,
    Path(id): Path<String>,
    CsrfForm(fields): CsrfForm<PasswordFields>,
) -> Result<Response, PageError> {
    viewer.require(Role::Admin)?;
    let user = users::find(&state, parse(&id)?).await?;
    if viewer.principal.user == Some(user.id) {
        // One's own needs the present one: who finds a browser signed in must not take the account over.
        return Ok(Redirect::to("/settings/account").into_response());
    }
    match users::set_password(&state, user.id, &fields.password, None).await {
        Ok(()) => Ok((Entry::target(user.name), Redirect::to(PLACE)).into_response()),
        Err(error) => {
            let wrong = wrong_field(error)?;
            Ok((StatusCode::UNPROCESSABLE_ENTITY, password_page(&viewer, &user, Some(&wrong))).into_response())
        }
    }
}

fn password_page(viewer: &Viewer, user: &User, wrong: Option<&Wrong>) -> Markup {
    let own = viewer.principal.user == Some(user.id);
    let main = html! {
        (crumbs(&[(PLACE, "Users")], "Set a password"))
        div.page-head { h1 { "Set a password" } }
        @if own {
            section.card { h2 { "This is your own account" } p { "Your password is changed with the present one, under " a href="/settings/account" { "My account" } "." } }
        } @else {
            form.card.confirm id="confirm" method="post" action={ (PLACE) "/" (user.id) "/password" } aria-labelledby="confirm-title" {
                (viewer.csrf())
                h2 id="confirm-title" { "Set the password of " bdi { (user.name) } }
                p { "Every browser that is signed in as " bdi { (user.name) } " is signed out at once." }
                (password_field("password", "New password", "new-password", PASSWORD_HINT, error_of(wrong, "password")))
                div.row { a.btn.push href=(PLACE) data-keep { "Keep it" } button.btn.primary { "Set password" } }
            }
        }
    };
    viewer.draw(Page { title: "Set a password".into(), nav: Nav::Settings, host: None, topics: Vec::new(), main })
}

/// `GET /settings/users/{id}/delete`: asks.
pub async fn confirm_delete(
    State(state): State<AppState>,
    viewer: Viewer,
    Path(id): Path<String>,
) -> Result<Markup, PageError> {
    viewer.require(Role::Admin)?;
    let user = users::find(&state, parse(&id)?).await?;
    let own = viewer.principal.user == Some(user.id);
    Ok(Confirm {
        nav: Nav::Settings,
        back: (PLACE, "Users"),
        title: "Delete a user",
        action: &format!("{PLACE}/{}/delete", user.id),
        question: html! { "Delete the user " bdi { (user.name) } "?" },
        text: html! {
            @if own { (notice("warn", "warn", html! { "This is you: you are signed out at once." })) }
            p { "Their browsers are signed out at once. Keys they made and scans they started stay, and so does what the audit log says of them." }
            ul.touch { li { span.strong { bdi { (user.name) } } span.muted { (user.role) } } }
        },
        button: html! { "Delete " bdi { (user.name) } },
        keep: "Keep them",
    }
    .draw(&viewer))
}

/// `POST /settings/users/{id}/delete`.
pub async fn delete(
    State(state): State<AppState>,
    viewer: Viewer,
    Path(id): Path<String>,
    CsrfForm(_): CsrfForm<NoFields>,
) -> Result<Response, PageError> {
    viewer.require(Role::Admin)?;
    let user = users::find(&state, parse(&id)?).await?;
    users::delete(&state, user.id).await?;
    Ok((Entry::target(user.name), Redirect::to(PLACE)).into_response())
}

fn parse(id: &str) -> Result<UserId, PageError> {
    id.parse().map_err(|_| PageError::NotFound("user"))
}
