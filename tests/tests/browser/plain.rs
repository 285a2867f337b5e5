//! With scripts off everything still works by links and forms.

use std::sync::Arc;

use crate::driver::{Browser, Scripts, Site, test};
use crate::scans::refused;

#[test]
fn sign_in_scan_browse_and_search_need_no_scripts() {
    test(Scripts::Off, |b: Browser, site: Arc<Site>| async move {
        site.fill()?;
        b.sign_in(&site).await?;
        b.shows("h1", "Welcome").await?;
        b.click("form[action='/files/scans'] button").await?;
        b.shows("h1", "Scan of").await?;
        b.until("completed", || async {
            let place = b.here().await?;
            b.goto(&place).await?;
            Ok(b.text(".page-head").await?.contains("Completed"))
        })
        .await?;
        assert_eq!(b.count("[data-copy]:not([hidden])").await?, 0, "a script ran");
        b.follow("Browse").await?;
        b.follow("photos").await?;
        b.shows("table", "coast.jpg").await?;
        b.fill("#filter", "gard").await?;
        b.click("section.panel form[role=search] button").await?;
        b.shows("table", "garden.jpg").await?;
        assert_eq!(b.count("tbody tr").await?, 1);
        b.goto("/files/duplicates?min_size=1MiB").await?;
        b.click("details.dup summary").await?;
        b.until("all names", || async { Ok(b.count("details.dup li .chip.outline").await? == 3) }).await
    });
}

#[test]
fn errors_of_the_form_need_no_scripts() {
    test(Scripts::Off, |b: Browser, site: Arc<Site>| async move { refused(&b, &site).await });
}
