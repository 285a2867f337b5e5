//! Browsing, searching and duplicates.

use std::sync::Arc;

use anyhow::Result;
use serde_json::json;

use crate::driver::{Browser, Scripts, Site, test};

async fn names(b: &Browser) -> Result<Vec<String>> {
    b.texts("tbody .file-name a").await
}

#[test]
fn directories_have_the_size_of_what_they_hold_and_sort_and_page() {
    test(Scripts::On, |b: Browser, site: Arc<Site>| async move {
        site.fill()?;
        site.scan();
        b.sign_in(&site).await?;
        b.goto(&site.place("")).await?;
        assert_eq!(names(&b).await?[..2], ["video", "docs"], "greatest first");
        // Both names of the film count.
        b.shows("tbody tr:nth-child(1)", "6.00 MiB").await?;
        b.follow("Name").await?;
        b.until("sorted by name", || async { Ok(names(&b).await?[0] == "docs") }).await?;
        assert_eq!(b.find("th[aria-sort]").await?.attr("aria-sort").await?.as_deref(), Some("ascending"));
        b.follow("many").await?;
        b.shows("nav.pager", "1–50 of 120 entries").await?;
        let first = names(&b).await?;
        b.follow("Next").await?;
        b.shows("nav.pager", "51–100 of 120 entries").await?;
        b.follow("Next").await?;
        b.shows("nav.pager", "101–120 of 120 entries").await?;
        assert_eq!(names(&b).await?.len(), 20);
        b.follow("Previous").await?;
        b.shows("nav.pager", "51–100").await?;
        b.follow("Previous").await?;
        b.shows("nav.pager", "1–50").await?;
        assert_eq!(names(&b).await?, first);
        b.follow("200").await?;
        b.shows("nav.pager", "1–120").await?;
        assert_eq!(names(&b).await?.len(), 120);
        Ok(())
    });
}

#[test]
fn hostile_names_are_text_and_can_be_entered() {
    test(Scripts::On, |b: Browser, site: Arc<Site>| async move {
        site.fill()?;
        site.scan();
        b.sign_in(&site).await?;
        b.goto(&site.place("hostile")).await?;
        b.follow("dir\\xff").await?;
        b.shows("ol.crumbs", "dir\\xff").await?;
        let shown = names(&b).await?;
        assert_eq!(shown.len(), 9, "{shown:?}");
        for name in
            ["caf\\xe9.pdf", "two\\nlines.txt", "\\x1b[31mred.txt", "gpj.\\u{202e}exe", "-rf", "%2e%2e%2f", "'\"&.txt"]
        {
            assert!(shown.iter().any(|s| s == name), "{name} in {shown:?}");
        }
        assert!(shown.iter().any(|s| s.starts_with('<')), "markup is shown as it is: {shown:?}");
        assert_eq!(b.count("main img, main script").await?, 0);
        assert_eq!(b.texts("tbody .chip").await?, ["not UTF-8"]);
        // Each of them opens.
        for name in shown {
            b.follow(&name).await?;
            b.shows("ol.crumbs [aria-current]", name.trim()).await?;
            b.shows("dl.kv", "Inode").await?;
            b.eval("history.back()").await?;
            b.find("nav.pager").await?;
        }
        Ok(())
    });
}

#[test]
fn search_by_each_field_finds_exactly_that() {
    test(Scripts::On, |b: Browser, site: Arc<Site>| async move {
        site.fill()?;
        let film = site.tree.join("video/film.mkv");
        std::fs::File::options()
            .write(true)
            .open(&film)?
            .set_modified(std::time::SystemTime::now() - std::time::Duration::from_secs(30 * 86_400))?;
        site.scan();
        let listed = site.hostler.ok(["files", "find", "coast.jpg", "--json"]).json();
        let hash = listed[0]["hash"].as_str().unwrap_or_default().to_owned();
        assert!(hash.len() > 16, "{listed}");
        b.sign_in(&site).await?;
        let uid = rustix::process::geteuid().as_raw();
        let films = &["film.mkv", "same-film.mkv"][..];
        for (query, expected) in [
            ("name=coast".to_owned(), &["coast.jpg"][..]),
            ("name=*.jpg&sort=size&order=desc".into(), &["coast.jpg", "garden.jpg"]),
            ("ext=txt&below=".to_owned() + &site.tree.join("docs").display().to_string(), &["notes.txt"]),
            ("min_size=250K&max_size=1MiB".into(), &["coast.jpg"]),
            ("older=7d".into(), films),
            (format!("name=notes&owner={uid}"), &["notes.txt"]),
            (format!("hash={hash}"), &["coast.jpg"]),
            ("name=notes&owner=4294967".into(), &[]),
        ] {
            b.goto(&format!("/files/search?{query}")).await?;
            assert_eq!(names(&b).await?, expected, "{query}");
        }
        // Filters and the order survive paging, forth and back.
        b.goto("/files/search?name=file-&min_size=11&sort=size&order=desc").await?;
        b.follow("Next").await?;
        b.shows("nav.pager", "51–100").await?;
        assert_eq!(names(&b).await?[0], "file-069.dat");
        b.follow("Next").await?;
        b.shows("nav.pager", "101–110").await?;
        b.follow("Previous").await?;
        b.shows("nav.pager", "51–100").await?;
        b.goto("/files/search?name=*.jpg&sort=size&order=desc&rows=100").await?;
        b.fill("#min_size", "250K").await?;
        b.click(".search-form button.primary").await?;
        b.until("one is left", || async { Ok(names(&b).await? == ["coast.jpg"]) }).await?;
        let here = b.here().await?;
        assert!(here.contains("sort=size") && here.contains("rows=100"), "sort and rows are kept: {here}");
        b.fill("#min_size", "big").await?;
        b.fill("#newer", "7 parsecs").await?;
        b.click(".search-form button.primary").await?;
        b.shows("#min_size-error", "\"big\" is not a size").await?;
        b.shows("#newer-error", "is not an age").await?;
        assert_eq!(b.find("#min_size").await?.prop("value").await?.as_deref(), Some("big"));
        assert_eq!(b.count("tbody tr").await?, 0);
        Ok(())
    });
}

#[test]
fn duplicates_show_their_copies_and_hard_links() {
    test(Scripts::On, |b: Browser, site: Arc<Site>| async move {
        site.fill()?;
        site.scan();
        b.sign_in(&site).await?;
        b.goto("/files/duplicates?min_size=1MiB").await?;
        assert_eq!(b.count("details.dup").await?, 1);
        b.shows("details.dup summary", "2 copies + 1 link").await?;
        b.shows(".stats", "3.00 MiB").await?;
        b.click("details.dup summary").await?;
        b.until("the copies", || async { Ok(b.count("details.dup li .chip.outline").await? == 3) }).await?;
        let copies = b.texts("details.dup li").await?;
        for name in ["docs/film-copy.mkv", "video/film.mkv", "video/same-film.mkv"] {
            assert_eq!(copies.iter().filter(|c| c.contains(name)).count(), 1, "{copies:?}");
        }
        assert_eq!(copies.iter().filter(|c| c.contains("hard link")).count(), 1, "{copies:?}");
        // A filter is used as it is typed, and the field keeps the focus.
        b.fill("#min_size", "4MiB").await?;
        b.shows("main", "No duplicates").await?;
        assert_eq!(b.eval("return document.activeElement.id").await?, json!("min_size"));
        Ok(())
    });
}
