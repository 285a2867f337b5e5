//! A scan from its start in the browser to its place in the history.

use std::fs::File;
use std::sync::Arc;

use anyhow::Result;
use serde_json::json;

use crate::driver::{Browser, Scripts, Site, left_out, test};

#[test]
fn a_scan_starts_in_the_browser_is_watched_and_cancelled() {
    test(Scripts::On, |b: Browser, site: Arc<Site>| async move {
        // Holes: no room on the disk, and long to hash.
        for i in 0..400 {
            let path = site.write(&format!("big/{i:03}/disk.img"), "")?;
            File::options().write(true).open(path)?.set_len(512 << 20)?;
        }
        b.sign_in(&site).await?;
        b.shows("h1", "Welcome").await?;
        let offered = b.find("#root").await?.prop("value").await?;
        assert_eq!(offered.as_deref(), site.tree.to_str(), "the granted directory is offered");
        b.click("form[action='/files/scans'] button").await?;
        b.find(".scan .facts").await?;
        b.eval("window.kept = true").await?;
        for _ in 0..3 {
            let before = b.text(".scan .facts b").await?;
            b.until("the counter moves", || async { Ok(b.text(".scan .facts b").await? != before) }).await?;
        }
        assert_eq!(b.eval("return window.kept").await?, json!(true), "the page was loaded again");
        b.shows("#live", "Live").await?;
        b.click(".scan form[action$='/cancel'] button").await?;
        b.shows("main", "The scan was cancelled. The index is as it was before.").await?;
        b.goto("/files/scans").await?;
        b.shows("tbody tr", "Cancelled").await
    });
}

#[test]
fn a_finished_scan_shows_itself_without_a_reload() {
    test(Scripts::On, |b: Browser, site: Arc<Site>| async move {
        site.write("notes.txt", "hello")?;
        b.sign_in(&site).await?;
        b.goto("/files").await?;
        b.eval("window.kept = true").await?;
        b.shows("main", "Nothing is indexed yet").await?;
        site.scan();
        b.shows("table.table", site.tree.to_str().unwrap_or("the tree")).await?;
        assert_eq!(b.eval("return window.kept").await?, json!(true));
        Ok(())
    });
}

#[test]
fn the_history_has_exactly_what_changed() {
    test(Scripts::On, |b: Browser, site: Arc<Site>| async move {
        site.write("kept.txt", "kept")?;
        site.write("old.txt", "old")?;
        site.write("note.txt", "short")?;
        site.scan();
        std::fs::remove_file(site.tree.join("old.txt"))?;
        site.write("note.txt", "longer by some")?;
        site.write("new.txt", "new")?;
        site.scan();
        b.sign_in(&site).await?;
        b.goto("/files/scans").await?;
        assert_eq!(b.count("tbody tr").await?, 2);
        b.shows("tbody tr:first-child", "+1 ~1 −1").await?;
        b.shows("tbody tr:last-child", "first scan").await?;
        b.click("tbody tr:first-child a.strong").await?;
        b.find(".stats").await?;
        let mut rows = b.texts("section.panel tbody tr").await?;
        for row in &mut rows {
            *row = row.split_whitespace().collect::<Vec<_>>().join(" ");
        }
        rows.sort();
        assert_eq!(
            rows,
            [
                "+ Created new.txt Created — 3 B",
                "~ Modified note.txt Modified 5 B 14 B",
                "− Deleted old.txt Deleted 3 B —"
            ]
        );
        b.follow("Options").await?;
        b.shows("dl.kv", "blake3").await
    });
}

#[test]
fn what_cannot_be_read_is_listed() {
    if rustix::process::geteuid().is_root() {
        left_out("an unreadable directory among a scan's errors; root reads everything, run as another user");
        return;
    }
    test(Scripts::On, |b: Browser, site: Arc<Site>| async move {
        use std::os::unix::fs::PermissionsExt;
        site.write("closed/secret.txt", "secret")?;
        let closed = site.tree.join("closed");
        std::fs::set_permissions(&closed, std::fs::Permissions::from_mode(0o000))?;
        let _ = site.hostler.run(["scan".as_ref(), site.tree.as_os_str()])?;
        std::fs::set_permissions(&closed, std::fs::Permissions::from_mode(0o700))?;
        b.sign_in(&site).await?;
        b.goto("/files/scans").await?;
        b.click("tbody a.bad").await?;
        b.shows("section.panel tbody tr", "closed").await
    });
}

#[test]
fn a_refused_directory_keeps_the_form_and_says_why() {
    test(Scripts::On, |b: Browser, site: Arc<Site>| async move { refused(&b, &site).await });
}

/// Shared with the test without scripts.
pub async fn refused(b: &Browser, site: &Site) -> Result<()> {
    b.sign_in(site).await?;
    b.goto("/files").await?;
    b.fill("#scan-root", "/proc").await?;
    b.click("#scan button.primary").await?;
    b.shows("#root-error", "/proc").await?;
    let kept = b.find("#scan-root").await?;
    assert_eq!(kept.prop("value").await?.as_deref(), Some("/proc"));
    assert_eq!(kept.attr("aria-invalid").await?.as_deref(), Some("true"));
    Ok(())
}
