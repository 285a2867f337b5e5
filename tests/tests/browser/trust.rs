//! Users, sessions and keys, hosts that come and go, and what happened on them.

use std::sync::Arc;

use anyhow::{Context, Result};
use hostler_testkit::AgentProcess;
use serde_json::json;

use crate::driver::{Browser, Scripts, Site, test};

const PASSWORD: &str = "correct horse battery";

/// Adds a user by the settings page.
async fn add_user(b: &Browser, name: &str, role: &str) -> Result<()> {
    b.goto("/settings/users").await?;
    b.fill("#name", name).await?;
    b.eval(&format!("document.querySelector('#role').value = '{role}'")).await?;
    b.fill("#password", PASSWORD).await?;
    b.click("form[action='/settings/users'] button.primary").await?;
    b.shows("table", name).await
}

/// Signs in by name and password.
async fn sign_in_as(b: &Browser, name: &str, password: &str) -> Result<()> {
    b.goto("/sign-in").await?;
    b.fill("#name", name).await?;
    b.fill("#password", password).await?;
    b.click("form[action='/sign-in'] button").await
}

/// The page of the only host.
async fn host_page(b: &Browser) -> Result<String> {
    b.goto("/hosts").await?;
    b.find("tbody a.name").await?.attr("href").await?.context("no host")
}

/// The status of a form posted from the open page with its own token.
async fn posted(b: &Browser, path: &str, fields: &str) -> Result<u64> {
    let script = format!(
        "const ask = new XMLHttpRequest(); ask.open('POST', '{path}', false);
         ask.setRequestHeader('content-type', 'application/x-www-form-urlencoded');
         ask.send('csrf=' + document.querySelector('[name=csrf]').value + '&{fields}'); return ask.status;"
    );
    b.eval(&script).await?.as_u64().context("no status")
}

#[test]
fn a_viewer_signs_in_by_password_and_can_act_on_nothing() {
    test(Scripts::On, |b: Browser, site: Arc<Site>| async move {
        b.sign_in(&site).await?;
        b.goto("/settings/users").await?;
        b.fill("#name", "lee").await?;
        b.fill("#password", "short").await?;
        b.click("form[action='/settings/users'] button.primary").await?;
        b.shows("#password-error", "10").await?;
        let kept = b.find("#name").await?.prop("value").await?;
        assert_eq!(kept.as_deref(), Some("lee"), "what was typed stays");
        assert_eq!(b.find("#password").await?.prop("value").await?.as_deref(), Some(""), "but no password");
        add_user(&b, "lee", "viewer").await?;
        let host = host_page(&b).await?;

        sign_in_as(&b, "lee", "not the password").await?;
        b.shows("[role=alert]", "Name or password is wrong").await?;
        sign_in_as(&b, "nobody", PASSWORD).await?;
        b.shows("[role=alert]", "Name or password is wrong").await?;
        sign_in_as(&b, "lee", PASSWORD).await?;
        b.find(".avatar").await?;

        b.goto(&host).await?;
        let disabled = b.texts(".page-head [aria-disabled=true]").await?;
        assert_eq!(disabled, ["Prove now", "Remove host…", "Scan a directory"]);
        let why = b.find(".page-head [aria-disabled=true]").await?.attr("title").await?;
        assert_eq!(why.as_deref(), Some("Needs the operator role"));
        assert_eq!(posted(&b, &format!("{host}/probe"), "").await?, 403);
        assert_eq!(posted(&b, &format!("{host}/remove"), "typed=x").await?, 403);
        assert_eq!(posted(&b, "/hosts/join", "expires=3600").await?, 403);
        assert_eq!(posted(&b, "/settings/users", "name=eve&role=admin&password=correct-horse").await?, 403);
        b.goto("/settings/users").await?;
        b.shows("main", "shown to admins only").await?;
        b.goto("/settings/audit").await?;
        b.shows("main", "shown to admins only").await
    });
}

#[test]
fn roles_count_at_once_and_a_password_is_changed_with_the_present_one() {
    test(Scripts::On, |b: Browser, site: Arc<Site>| async move {
        b.sign_in(&site).await?;
        add_user(&b, "ada", "viewer").await?;
        b.eval("document.querySelector('tbody select[name=role]').value = 'operator'").await?;
        b.click("tbody form[action$='/role'] button").await?;
        b.until("the role is kept", || async {
            Ok(b.find("tbody select[name=role]").await?.prop("value").await?.as_deref() == Some("operator"))
        })
        .await?;
        sign_in_as(&b, "ada", PASSWORD).await?;
        b.find(".avatar").await?;
        let host = host_page(&b).await?;
        b.goto(&host).await?;
        b.click("form[action$='/probe'] button").await?;
        b.shows(".notice.ok", "answered after").await?;

        b.goto("/settings/account").await?;
        b.fill("#current", "not the password").await?;
        b.fill("#password", "another long password").await?;
        b.click("form[action$='/password'] button.primary").await?;
        b.shows("#current-error", "present password is wrong").await?;
        b.fill("#current", PASSWORD).await?;
        b.fill("#password", "another long password").await?;
        b.click("form[action$='/password'] button.primary").await?;
        b.shows(".notice.ok", "password was changed").await?;
        sign_in_as(&b, "ada", PASSWORD).await?;
        b.shows("[role=alert]", "Name or password is wrong").await?;
        sign_in_as(&b, "ada", "another long password").await?;
        b.find(".avatar").await?;
        Ok(())
    });
}

#[test]
fn a_session_that_is_ended_is_signed_out_in_the_other_browser() {
    test(Scripts::On, |b: Browser, site: Arc<Site>| async move {
        b.sign_in(&site).await?;
        add_user(&b, "kim", "operator").await?;
        let other = site.hostler.http();
        let answer = other.form("/sign-in", &format!("name=kim&password={}", PASSWORD.replace(' ', "+")));
        let cookie = answer.header("set-cookie").context("not signed in")?.split(';').next().unwrap_or_default();
        let other = other.with("cookie", cookie);
        assert_eq!(other.get("/hosts").status, 200);
        b.goto("/settings/sessions").await?;
        b.shows("table", "kim").await?;
        b.shows("table", "this browser").await?;
        b.click("button[aria-label^='Sign out kim']").await?;
        b.until("the session is gone", || async { Ok(!b.text("table").await?.contains("kim")) }).await?;
        let answer = other.get("/hosts");
        assert_eq!((answer.status, answer.header("location")), (303, Some("/sign-in")));
        b.goto("/settings/audit?action=sessions").await?;
        b.shows("table", "of kim").await
    });
}

#[test]
fn the_gateway_examines_itself_and_gives_its_backup() {
    test(Scripts::On, |b: Browser, site: Arc<Site>| async move {
        b.sign_in(&site).await?;
        b.goto("/settings/gateway").await?;
        b.follow("Check now").await?;
        b.shows("#checks", "is reached").await?;
        assert_eq!(b.count("#checks .chip.bad").await?, 0, "{}", b.text("#checks").await?);
        let script = "const ask = new XMLHttpRequest(); ask.open('GET', document.querySelector('a[download]').href, false);
             ask.overrideMimeType('text/plain; charset=x-user-defined'); ask.send(); return ask.responseText.slice(0, 15);";
        assert_eq!(b.eval(script).await?, json!("SQLite format 3"));
        Ok(())
    });
}

#[test]
fn keys_show_when_they_expire() {
    test(Scripts::On, |b: Browser, site: Arc<Site>| async move {
        site.hostler.ok(["api-keys", "create", "old", "--role", "viewer", "--expires", "1s"]);
        b.sign_in(&site).await?;
        b.goto("/settings/keys").await?;
        b.fill("#name", "new").await?;
        b.click("form[action='/settings/keys'] button.primary").await?;
        b.find(".notice.ok .cmd").await?;
        b.until("one works, one has expired", || async {
            b.goto("/settings/keys").await?;
            let shown = b.text("table").await?;
            Ok(shown.contains("expires in 8") && shown.contains("expired"))
        })
        .await
    });
}

#[test]
fn a_line_is_shown_once_waits_for_its_host_and_can_be_revoked() {
    test(Scripts::On, |b: Browser, site: Arc<Site>| async move {
        b.sign_in(&site).await?;
        b.goto("/hosts").await?;
        b.click(".page-head a.primary").await?;
        b.shows("h1", "Add a host").await?;
        b.fill("#note", "for the laptop").await?;
        b.click("form[action='/hosts/join'] button.primary").await?;
        b.shows(".steps", "Waiting for a host to join").await?;
        let line = b.text(".steps .cmd code").await?;
        assert!(line.contains("/install.sh | sh -s -- hjt_"), "{line}");
        let token = line.rsplit(' ').next().context("no token")?.to_owned();

        // Another machine uses it, and the page says so as it is.
        b.eval("window.kept = true").await?;
        let data = tempfile::tempdir()?;
        let _agent = AgentProcess::start(data.path(), ["--gateway", &site.hostler.url, "--token", &token], [])?;
        b.shows(".steps", "Joined: ").await?;
        b.shows(".steps", "and linked").await?;
        assert_eq!(b.eval("return window.kept").await?, json!(true), "the page was loaded again");

        b.goto("/hosts/join").await?;
        b.shows("table", "used").await?;
        let source = b.eval("return document.documentElement.outerHTML").await?.to_string();
        assert!(!source.contains(&token), "the token is shown again");
        b.click("form[action='/hosts/join'] button.primary").await?;
        b.shows("table", "works for").await?;
        b.click("a[data-confirm]").await?;
        b.shows("dialog[open] h2", "Revoke the token?").await?;
        b.click("dialog[open] .danger-fill").await?;
        b.shows("table", "revoked").await?;
        assert_eq!(b.count("a[data-confirm]").await?, 0, "there is nothing left to revoke");
        Ok(())
    });
}

#[test]
fn what_happens_appears_live_as_far_as_the_filter_lets_it() {
    test(Scripts::On, |b: Browser, site: Arc<Site>| async move {
        site.write("a.txt", "a")?;
        b.sign_in(&site).await?;
        b.goto("/activity").await?;
        b.shows("#activity-rows", "host.linked").await?;
        b.eval("window.kept = true").await?;
        site.scan();
        b.shows("#activity-rows tr:first-child", "scan.completed").await?;
        assert_eq!(b.eval("return window.kept").await?, json!(true), "the page was loaded again");

        // Of the host's page only its own, of a kind only that kind.
        let host = host_page(&b).await?;
        b.goto(&host).await?;
        let before = b.count("#activity-rows tr").await?;
        site.scan();
        b.until("one more row", || async { Ok(b.count("#activity-rows tr").await? == before + 1) }).await?;
        b.goto("/activity?kind=host").await?;
        b.shows("#activity-rows", "Linked").await?;
        site.scan();
        let data = tempfile::tempdir()?;
        let _agent = AgentProcess::join(&site.hostler, &site.hostler.url, data.path(), &[])?;
        b.shows("#activity-rows", "joined").await?;
        assert!(!b.text("#activity-rows").await?.contains("scan."), "the filter holds for what comes live");
        b.goto("/activity?severity=error").await?;
        b.shows("main", "No such events").await
    });
}

#[test]
fn a_host_is_removed_when_its_name_is_typed() {
    test(Scripts::On, |b: Browser, site: Arc<Site>| async move {
        b.sign_in(&site).await?;
        let host = host_page(&b).await?;
        b.goto(&host).await?;
        let name = b.text("h1").await?;
        b.shows("main", "What this host allows").await?;
        b.click("a[data-confirm]").await?;
        b.shows("dialog[open] h2", "Remove the host").await?;
        b.fill("dialog[open] #typed", "another").await?;
        b.click("dialog[open] .danger-fill").await?;
        b.shows("#typed-error", "not the host's name").await?;
        b.fill("#typed", &name).await?;
        b.click("#confirm .danger-fill").await?;
        b.shows("main", "No hosts yet").await?;
        b.goto("/activity").await?;
        b.shows("#activity-rows", "was removed by").await?;
        b.goto(&host).await?;
        b.shows("h1", "No such host").await
    });
}

#[test]
fn users_and_lines_need_no_scripts() {
    test(Scripts::Off, |b: Browser, site: Arc<Site>| async move {
        b.sign_in(&site).await?;
        b.goto("/settings/users").await?;
        b.fill("#name", "ada").await?;
        b.fill("#password", PASSWORD).await?;
        b.click("form[action='/settings/users'] button.primary").await?;
        b.shows("table", "ada").await?;
        b.follow("Delete…").await?;
        b.shows("h2", "Delete the user ada?").await?;
        b.click(".danger-fill").await?;
        b.shows("main", "No users yet").await?;
        b.goto("/hosts/join").await?;
        b.click("form[action='/hosts/join'] button.primary").await?;
        b.shows(".steps .cmd", "hjt_").await?;
        b.goto("/activity").await?;
        b.shows("#activity-rows", "host.linked").await
    });
}
