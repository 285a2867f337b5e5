//! No page scrolls sideways, on a desk or on a phone, in light or in dark.

use std::sync::Arc;

use crate::driver::{Browser, Scripts, Site, test};

#[test]
fn no_page_scrolls_sideways() {
    test(Scripts::On, |b: Browser, site: Arc<Site>| async move {
        site.fill()?;
        site.write(&format!("{}/{}", "long-".repeat(45), "x".repeat(240)), "long")?;
        site.scan();
        b.sign_in(&site).await?;
        let (top, long) = (site.place(""), site.place(&"long-".repeat(45)));
        b.goto("/files/scans").await?;
        let scan = b.find("tbody a.strong").await?.attr("href").await?.unwrap_or_default();
        b.goto("/hosts").await?;
        let host = b.find("tbody a.name").await?.attr("href").await?.unwrap_or_default();
        let remove = format!("{host}/remove");
        let token = site.hostler.ok(["hosts", "token", "--json"]).json();
        let mut join = hostler_testkit::hostler::command()?;
        join.args(["join", &site.hostler.url, token["token"].as_str().unwrap_or_default(), "--service", "none"]);
        join.args(["--name", &"x".repeat(64), "--data"]).arg(site.hostler.data().join("joined"));
        assert!(hostler_testkit::hostler::run(&mut join)?.success);
        let name = "ada-with-a-long-name@department.example.org";
        let user = serde_json::json!({"name": name, "role": "viewer", "password": "correct horse battery"});
        let made = site.hostler.http_as("admin").post("/api/v1/users", &user).json();
        let user = format!("/settings/users/{}", made["id"].as_str().unwrap_or_default());
        let (password, delete) = (format!("{user}/password"), format!("{user}/delete"));
        let entry = format!("{}/{}", long.replace("/files?", "/files/entry?"), "x".repeat(240));
        let hostile = site.place("hostile");
        let growth = hostile.replace("/files?", "/files/growth?");
        let compare = top.replace("/files?", "/files/compare?").replace("&path=", "&root=");
        let pages = [
            "/welcome",
            "/hosts",
            &host,
            "/files",
            &top,
            &long,
            &hostile,
            &entry,
            "/files/search",
            "/files/search?name=a",
            "/files/search?min_size=big",
            "/files/duplicates",
            "/files/duplicates/plan?keep=newest&prefer=/srv/a-directory-with-a-long-name/below/another&protect=/srv",
            "/files/compare",
            &compare,
            "/files/growth",
            &growth,
            "/files/scans",
            &scan,
            "/hosts/join",
            &remove,
            "/activity",
            "/activity?severity=error",
            "/settings/account",
            "/settings/users",
            &password,
            &delete,
            "/settings/sessions",
            "/settings/keys",
            "/settings/audit",
            "/settings/gateway?check=1",
            "/search?q=file",
            "/nothing",
        ];
        for theme in ["light", "dark"] {
            b.eval(&format!("document.cookie = 'theme={theme}; path=/'")).await?;
            for (width, height) in [(390, 844), (1440, 900)] {
                b.size(width, height).await?;
                for page in pages {
                    b.goto(page).await?;
                    let themed = b.eval("return document.documentElement.dataset.theme").await?;
                    assert_eq!(themed, theme, "{page}");
                    let measured = b.eval("return [document.scrollingElement.scrollWidth, innerWidth]").await?;
                    assert_eq!(measured[1], width, "{page}");
                    assert!(measured[0].as_u64() <= measured[1].as_u64(), "{page} in {theme}: {measured}");
                }
            }
        }
        Ok(())
    });
}
