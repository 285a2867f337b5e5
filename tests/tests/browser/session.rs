//! Signing in and out, API keys, the theme, the keyboard.

use std::sync::Arc;

use anyhow::{Context, Result};
use serde_json::json;

use crate::driver::{Browser, Scripts, Site, test};

#[test]
fn a_link_signs_in_once_and_signing_out_ends_it() {
    test(Scripts::On, |b: Browser, site: Arc<Site>| async move {
        b.goto("/hosts").await?;
        b.shows("h1", "Sign in").await?;
        b.sign_in(&site).await?;
        assert_eq!(b.here().await?, "/welcome", "nothing was ever scanned");
        b.goto(&site.hostler.sign_in).await?;
        b.shows("h1", "This link does not work").await?;
        b.shows(".cmd", "hostler sign-in").await?;
        b.goto("/hosts").await?;
        b.shows("h1", "Hosts").await?;
        b.click("summary[aria-label^=Account]").await?;
        b.click("form[action='/sign-out'] button").await?;
        b.shows("h1", "Sign in").await?;
        b.goto("/hosts").await?;
        b.shows("h1", "Sign in").await
    });
}

#[test]
fn a_key_is_shown_once_works_and_is_refused_once_revoked() {
    test(Scripts::On, |b: Browser, site: Arc<Site>| async move {
        b.sign_in(&site).await?;
        b.goto("/settings/keys").await?;
        b.fill("#name", "not a name").await?;
        b.click("form[action='/settings/keys'] button.primary").await?;
        b.shows("#name-error", "letters, digits").await?;
        b.fill("#name", "ci-deploy").await?;
        b.click("form[action='/settings/keys'] button.primary").await?;
        let secret = b.find(".notice.ok .cmd code").await?.text().await?;
        assert!(secret.starts_with("hst_") && secret.len() == 36, "{secret}");
        assert_eq!(status(&site, &secret).await?, 200);
        b.goto("/settings/keys").await?;
        b.shows("table", "ci-deploy").await?;
        let source = b.eval("return document.documentElement.outerHTML").await?.to_string();
        assert!(!source.contains(&secret), "the key is shown again");
        b.click("a[data-confirm]").await?;
        b.shows("dialog[open] h2", "Revoke the key ci-deploy?").await?;
        b.shows("dialog[open]", "Keep it").await?;
        assert_eq!(b.eval("return document.activeElement.textContent").await?, json!("Keep it"));
        b.click("dialog[open] .danger-fill").await?;
        b.shows("main", "No API keys").await?;
        assert_eq!(status(&site, &secret).await?, 401);
        Ok(())
    });
}

async fn status(site: &Site, key: &str) -> Result<u16> {
    let url = format!("{}/api/v1/hosts", site.hostler.url);
    Ok(hostler_testkit::http_client(&hostler_link::Trust::System)?
        .get(url)
        .bearer_auth(key)
        .send()
        .await?
        .status()
        .as_u16())
}

#[test]
fn the_theme_flips_at_once_and_is_remembered() {
    test(Scripts::On, |b: Browser, site: Arc<Site>| async move {
        b.sign_in(&site).await?;
        b.goto("/hosts").await?;
        let ground = "return getComputedStyle(document.body).backgroundColor";
        let before = b.eval(ground).await?;
        b.eval("window.kept = true").await?;
        b.click("button.theme").await?;
        b.until("another ground", || async { Ok(b.eval(ground).await? != before) }).await?;
        assert_eq!(b.eval("return window.kept").await?, json!(true), "the page was loaded again");
        let after = b.eval(ground).await?;
        b.until("the theme is kept", || async {
            b.goto("/files").await?;
            Ok(b.eval(ground).await? == after)
        })
        .await
    });
}

#[test]
fn the_keyboard_reaches_search_filter_and_pages() {
    test(Scripts::On, |b: Browser, site: Arc<Site>| async move {
        site.write("video/harbour.mkv", "film")?;
        site.scan();
        b.sign_in(&site).await?;
        b.goto("/hosts").await?;
        // Control, K, and Control let go.
        b.press("\u{e009}k\u{e000}").await?;
        b.find("#palette[open]").await?;
        b.press("harbour").await?;
        b.shows("#palette-list [role=option][aria-selected=true]", "harbour.mkv").await?;
        b.press("\u{e007}").await?;
        b.until("the file is open", || async { Ok(b.here().await?.starts_with("/files/entry")) }).await?;
        b.press("gh").await?;
        b.until("G H", || async { Ok(b.here().await? == "/hosts") }).await?;
        b.shows("h1", "Hosts").await?;
        b.press("/").await?;
        assert_eq!(b.eval("return document.activeElement.id").await?, json!("filter"));
        b.press("gs").await?;
        let typed = b.find("#filter").await?.prop("value").await?.context("no value")?;
        assert_eq!(typed, "gs", "keys of places stay text in a field");
        b.shows("main", "No host has that in its name").await
    });
}
