//! A browser for one test: a chromedriver of its own on a free port, a headless Chromium with an empty profile, and a
//! `hostler up` on a small tree.

use std::future::Future;
use std::io::Write;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use fantoccini::elements::Element;
use fantoccini::{Client, ClientBuilder, Locator};
use hostler_testkit::{Hostler, tree};
use hyper_util::client::legacy::connect::HttpConnector;
use serde_json::{Value, json};
use tempfile::TempDir;

/// How long a page may take to show what is waited for.
const PATIENCE: Duration = Duration::from_secs(30);
/// Between two looks at a page.
const LOOK: Duration = Duration::from_millis(50);

/// One browser at a time: two of them starve each other on a small machine.
static ONE: Mutex<()> = Mutex::new(());

/// Whether the browser runs scripts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scripts {
    On,
    Off,
}

/// The running program and its tree.
pub struct Site {
    pub hostler: Hostler,
    /// What is granted and scanned.
    pub tree: PathBuf,
    _dir: TempDir,
}

impl Site {
    fn start() -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let tree = dir.path().join("tree");
        std::fs::create_dir(&tree)?;
        let hostler = Hostler::start(&dir.path().join("data"), &[&tree])?;
        Ok(Self { hostler, tree, _dir: dir })
    }

    /// Writes a file below the tree.
    pub fn write(&self, path: &str, content: impl AsRef<[u8]>) -> Result<PathBuf> {
        let at = self.tree.join(path);
        std::fs::create_dir_all(at.parent().context("no parent")?)?;
        std::fs::write(&at, content)?;
        Ok(at)
    }

    /// The tree that most tests browse.
    pub fn fill(&self) -> Result<()> {
        self.write("docs/notes.txt", "hello")?;
        self.write("photos/coast.jpg", vec![7; 300_000])?;
        self.write("photos/garden.jpg", vec![8; 200_000])?;
        let film = self.write("video/film.mkv", vec![9; 3 << 20])?;
        std::fs::hard_link(&film, self.tree.join("video/same-film.mkv"))?;
        std::fs::copy(&film, self.tree.join("docs/film-copy.mkv"))?;
        for i in 0..120 {
            self.write(&format!("many/file-{i:03}.dat"), vec![1; i + 1])?;
        }
        tree::hostile_names(&self.tree.join("hostile"))?;
        tree::hostile_names(&self.tree.join("hostile").join(not_utf8()))?;
        Ok(())
    }

    /// Scans the tree by the command line.
    pub fn scan(&self) {
        self.hostler.ok(["scan".as_ref(), self.tree.as_os_str()]);
    }

    /// The page of a directory of the tree, which must be plain.
    pub fn place(&self, below: &str) -> String {
        let hosts = self.hostler.ok(["hosts", "list", "--json"]).json();
        let host = hosts[0]["id"].as_str().unwrap_or_default().to_owned();
        format!("/files?host={host}&path={}", self.tree.join(below).display())
    }
}

/// A directory name that is no text.
pub fn not_utf8() -> &'static Path {
    use std::os::unix::ffi::OsStrExt;
    Path::new(std::ffi::OsStr::from_bytes(b"dir\xff"))
}

/// A browser window.
pub struct Browser {
    client: Client,
    http: reqwest::Client,
    session: String,
    origin: String,
}

/// Ends the driver with the test, however it ends.
struct Driver(Child);

impl Drop for Driver {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn program(names: &[&str]) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).flat_map(|dir| names.iter().map(move |name| dir.join(name))).find(|p| p.is_file())
}

/// Says what was not tested, past the capture of a passing test's output; each line once.
pub fn left_out(what: &'static str) {
    static SAID: Mutex<Vec<&'static str>> = Mutex::new(Vec::new());
    let mut said = SAID.lock().unwrap_or_else(PoisonError::into_inner);
    if !said.contains(&what) {
        said.push(what);
        let _ = writeln!(std::io::stderr(), "left out: {what}");
    }
}

/// Runs a test signed out on an empty tree, and checks that the console stayed free of errors.
pub fn test<F, Fut>(scripts: Scripts, body: F)
where
    F: FnOnce(Browser, Arc<Site>) -> Fut,
    Fut: Future<Output = Result<()>> + Send + 'static,
{
    let (Some(chromium), Some(driver)) =
        (program(&["chromium", "chromium-browser", "google-chrome"]), program(&["chromedriver"]))
    else {
        left_out("the pages in a browser; apt-get install chromium chromium-driver");
        return;
    };
    if let Err(error) = run(&chromium, &driver, scripts, body) {
        panic!("{error:?}");
    }
}

fn run<F, Fut>(chromium: &Path, driver: &Path, scripts: Scripts, body: F) -> Result<()>
where
    F: FnOnce(Browser, Arc<Site>) -> Fut,
    Fut: Future<Output = Result<()>> + Send + 'static,
{
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    let runtime = tokio::runtime::Runtime::new()?;
    let profile = tempfile::tempdir()?;
    // Kept beyond the body: a gateway that ends first would be an error in the console.
    let site = Arc::new(Site::start()?);
    let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let child = Command::new(driver)
        .arg(format!("--port={port}"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    let _driver = Driver(child);
    runtime.block_on(async {
        let browser = Browser::open(port, chromium, profile.path(), scripts, &site.hostler.url).await?;
        let (client, http, session) = (browser.client.clone(), browser.http.clone(), browser.session.clone());
        let ended = tokio::spawn(body(browser, site.clone())).await;
        let errors = console_errors(&http, &session).await;
        client.close().await?;
        match ended {
            Ok(result) => result?,
            Err(panic) => std::panic::resume_unwind(panic.into_panic()),
        }
        let errors = errors?;
        anyhow::ensure!(errors.is_empty(), "the browser's console has errors: {errors:?}");
        Ok(())
    })
}

/// What went wrong in the console. That a page was refused is no mistake of the page.
async fn console_errors(http: &reqwest::Client, session: &str) -> Result<Vec<String>> {
    let log = call(http, &format!("{session}/se/log"), &json!({"type": "browser"})).await?;
    let entries = log.as_array().context("no console log")?;
    let bad = entries.iter().filter(|e| e["level"] == "SEVERE").map(|e| e["message"].to_string());
    let refused = ["401 (", "403 (", "404 (", "422 ("];
    Ok(bad.filter(|m| !refused.iter().any(|r| m.contains(&format!("status of {r}")))).collect())
}

async fn call(http: &reqwest::Client, url: &str, body: &Value) -> Result<Value> {
    let answer: Value = http.post(url).json(body).send().await?.json().await?;
    let value = answer.get("value").cloned().unwrap_or_default();
    anyhow::ensure!(value.get("error").is_none(), "{url}: {value}");
    Ok(value)
}

impl Browser {
    async fn open(port: u16, chromium: &Path, profile: &Path, scripts: Scripts, origin: &str) -> Result<Self> {
        let http = hostler_testkit::http_client(&hostler_link::Trust::System)?;
        let base = format!("http://127.0.0.1:{port}");
        let begun = Instant::now();
        while http.get(format!("{base}/status")).send().await.is_err() {
            anyhow::ensure!(begun.elapsed() < PATIENCE, "chromedriver does not answer");
            tokio::time::sleep(LOOK).await;
        }
        let mut args: Vec<String> = [
            "headless",
            "no-sandbox",
            "disable-gpu",
            "disable-dev-shm-usage",
            "disable-background-networking",
            "disable-component-update",
            "disable-sync",
            "disable-quic",
            "no-first-run",
            "window-size=1440,900",
        ]
        .map(|a| format!("--{a}"))
        .to_vec();
        args.push(format!("--user-data-dir={}", profile.display()));
        let mut options = json!({"binary": chromium, "args": args});
        if scripts == Scripts::Off {
            options["prefs"] = json!({"profile.managed_default_content_settings.javascript": 2});
        }
        let wanted = json!({"goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"}});
        let Value::Object(capabilities) = wanted else { bail!("capabilities are an object") };
        let client = ClientBuilder::new(HttpConnector::new()).capabilities(capabilities).connect(&base).await?;
        let id = client.session_id().await?.context("no session")?;
        Ok(Self { client, http, session: format!("{base}/session/{id}"), origin: origin.to_owned() })
    }

    /// Opens a path of the gateway or a whole address.
    pub async fn goto(&self, place: &str) -> Result<()> {
        let url = if place.starts_with("http") { place.to_owned() } else { format!("{}{place}", self.origin) };
        Ok(self.client.goto(&url).await?)
    }

    /// The path and query that is open.
    pub async fn here(&self) -> Result<String> {
        let url = self.client.current_url().await?.to_string();
        Ok(url.strip_prefix(&self.origin).unwrap_or(&url).to_owned())
    }

    /// What a script says.
    pub async fn eval(&self, script: &str) -> Result<Value> {
        Ok(self.client.execute(script, Vec::new()).await?)
    }

    /// Polls until `look` holds; names `what` otherwise.
    pub async fn until<Fut: Future<Output = Result<bool>>>(
        &self,
        what: &str,
        mut look: impl FnMut() -> Fut,
    ) -> Result<()> {
        let begun = Instant::now();
        loop {
            // An element may go while it is looked at; then the next look finds the new one.
            if look().await.unwrap_or(false) {
                return Ok(());
            }
            if begun.elapsed() > PATIENCE {
                let shown = self.text("body").await.unwrap_or_default();
                bail!("not within {PATIENCE:?}: {what}; {} shows: {shown}", self.here().await?);
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// The first element, as soon as there is one.
    pub async fn find(&self, css: &str) -> Result<Element> {
        self.until(css, || async { Ok(self.client.find(Locator::Css(css)).await.is_ok()) }).await?;
        Ok(self.client.find(Locator::Css(css)).await?)
    }

    /// How many elements there are.
    pub async fn count(&self, css: &str) -> Result<usize> {
        Ok(self.client.find_all(Locator::Css(css)).await?.len())
    }

    /// The visible texts of all such elements.
    pub async fn texts(&self, css: &str) -> Result<Vec<String>> {
        let mut texts = Vec::new();
        for element in self.client.find_all(Locator::Css(css)).await? {
            texts.push(element.text().await?);
        }
        Ok(texts)
    }

    /// The visible text of the first such element.
    pub async fn text(&self, css: &str) -> Result<String> {
        Ok(self.client.find(Locator::Css(css)).await?.text().await?)
    }

    /// Waits until the element shows this text.
    pub async fn shows(&self, css: &str, text: &str) -> Result<()> {
        self.until(&format!("{css} shows {text:?}"), || async { Ok(self.text(css).await?.contains(text)) }).await
    }

    /// Clicks the first such element; one that was swapped meanwhile is looked up again.
    pub async fn click(&self, css: &str) -> Result<()> {
        self.until(&format!("a click on {css}"), || async {
            Ok(self.client.find(Locator::Css(css)).await?.click().await.is_ok())
        })
        .await
    }

    /// Clicks the link with this text.
    pub async fn follow(&self, text: &str) -> Result<()> {
        self.until(&format!("a link {text:?}"), || async {
            Ok(self.client.find(Locator::LinkText(text)).await?.click().await.is_ok())
        })
        .await
    }

    /// Types into a field in place of what is there.
    pub async fn fill(&self, css: &str, text: &str) -> Result<()> {
        let field = self.find(css).await?;
        field.clear().await?;
        Ok(field.send_keys(text).await?)
    }

    /// Presses keys as a person without a chosen field does; see the WebDriver standard for those above U+E000.
    pub async fn press(&self, keys: &str) -> Result<()> {
        Ok(self.client.active_element().await?.send_keys(keys).await?)
    }

    /// Sets the size of the page, also below what a window can be.
    pub async fn size(&self, width: u32, height: u32) -> Result<()> {
        let params = json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": false});
        let body = json!({"cmd": "Emulation.setDeviceMetricsOverride", "params": params});
        call(&self.http, &format!("{}/goog/cdp/execute", self.session), &body).await?;
        Ok(())
    }

    /// Signs in by the link that the start printed.
    pub async fn sign_in(&self, site: &Site) -> Result<()> {
        self.goto(&site.hostler.sign_in).await?;
        self.find(".avatar").await?;
        Ok(())
    }
}
