//! What changed, how it grew, and the plan of a clean-up.

use std::sync::Arc;

use anyhow::Result;

use crate::driver::{Browser, Scripts, Site, test};

/// Three scans with changes between them.
fn three_scans(site: &Site) -> Result<()> {
    site.fill()?;
    site.scan();
    site.write("docs/notes.txt", "hello again, with more")?;
    std::fs::remove_file(site.tree.join("photos/garden.jpg"))?;
    std::fs::create_dir(site.tree.join("films"))?;
    std::fs::rename(site.tree.join("video/film.mkv"), site.tree.join("films/<b>film.mkv"))?;
    site.scan();
    site.write("photos/harbour.jpg", vec![5; 700_000])?;
    site.scan();
    Ok(())
}

#[test]
fn any_two_scans_can_be_compared() {
    test(Scripts::On, |b: Browser, site: Arc<Site>| async move {
        three_scans(&site)?;
        b.sign_in(&site).await?;
        b.goto(&site.place("")).await?;
        b.follow("Changes").await?;
        b.shows("h1", "Changes of").await?;
        b.shows("tbody", "photos/harbour.jpg").await?;
        assert!(!b.text("tbody").await?.contains("notes.txt"), "only the last scan");
        // From the first scan on.
        b.click("#since option:last-child").await?;
        b.click("form.panel button.primary").await?;
        b.shows("tbody", "docs/notes.txt").await?;
        b.shows("tbody", "photos/garden.jpg").await?;
        b.shows("tbody", "films/<b>film.mkv").await?;
        assert_eq!(b.count("main tbody b").await?, 0, "a name is no markup");
        let all = b.count("tbody tr").await?;
        b.click("nav.tabs a[href*='op=moved']").await?;
        b.shows("nav.tabs a[aria-current] .n", "1").await?;
        b.until("only what moved", || async { Ok(b.count("tbody tr").await? < all) }).await?;
        b.shows("tbody", "video/film.mkv → films/<b>film.mkv").await?;
        b.follow("films/<b>film.mkv").await?;
        b.shows("ol.crumbs [aria-current]", "<b>film.mkv").await?;
        // The directory of a page is where its changes are looked for.
        b.goto(&site.place("docs")).await?;
        b.follow("Changes").await?;
        b.shows(".pill", "below docs").await?;
        b.shows("section.panel", "No changes").await
    });
}

#[test]
fn growth_is_drawn_and_leads_into_subdirectories() {
    test(Scripts::Off, |b: Browser, site: Arc<Site>| async move {
        three_scans(&site)?;
        b.sign_in(&site).await?;
        b.goto("/files/growth").await?;
        assert_eq!(b.count("svg.chart-body").await?, 2);
        assert_eq!(b.count("svg.chart-body > title, svg.chart-body > desc").await?, 4);
        assert_eq!(b.count("svg.chart-body g").await?, 2, "a bar for each scan that found a change");
        b.shows(".stats", "Written").await?;
        b.click("nav[aria-label='Time'] a:first-child").await?;
        b.shows("nav[aria-label='Time'] [aria-current]", "24 h").await?;
        b.follow("photos").await?;
        b.shows("ol.crumbs.path [aria-current]", "photos").await?;
        assert!(b.here().await?.contains("range=24h"), "the time is kept");
        b.shows(".stats", "+488 KiB").await?;
        b.click("details.options summary").await?;
        b.until("the numbers", || async { Ok(b.count("details.options tbody tr").await? >= 2) }).await?;
        Ok(())
    });
}

#[test]
fn a_clean_up_is_planned_before_anything_happens() {
    test(Scripts::On, |b: Browser, site: Arc<Site>| async move {
        site.fill()?;
        site.scan();
        b.sign_in(&site).await?;
        b.goto("/files/duplicates?min_size=1MiB").await?;
        b.follow("Plan a clean-up").await?;
        b.shows("h1", "Plan a clean-up").await?;
        b.shows(".stats", "3.00 MiB").await?;
        b.fill("#prefer", &site.tree.join("docs").display().to_string()).await?;
        b.click(".search-form button.primary").await?;
        b.shows(".pill", "docs").await?;
        let rows = b.texts("details.dup li").await?;
        let of = |name: &str| rows.iter().find(|r| r.contains(name)).cloned().unwrap_or_default();
        assert!(of("docs/film-copy.mkv").contains("stays"), "{rows:?}");
        assert!(of("video/film.mkv").contains("goes") && of("video/same-film.mkv").contains("goes"), "{rows:?}");
        // Protected, nothing of the two names goes, as they are one file.
        b.fill("#protect", &site.tree.join("video").display().to_string()).await?;
        b.click(".search-form button.primary").await?;
        b.shows("details.dup", "protected").await?;
        b.shows(".stats", "0 B").await?;
        let button = b.find(".actions .btn.primary").await?;
        assert_eq!(button.attr("aria-disabled").await?.as_deref(), Some("true"), "nothing to download");
        b.shows("details.dup", "frees nothing").await
    });
}
