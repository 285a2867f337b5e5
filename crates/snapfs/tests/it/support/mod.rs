//! A tree, a gateway, and a scan.

pub mod events;
pub mod gateway;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hostler_model::{Algorithm, ByteStr, ContentHash};
use hostler_snapfs::{
    Credentials, Gateway, GatewaySettings, Listener, ScanOutcome, ScanSettings, ScanTarget, Trigger, Waits, scan,
};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

pub use gateway::{FakeGateway, Fault, Kind};

/// Longest wait of a test for something that is to happen.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A directory to scan and a place for the spool.
pub struct Tree {
    pub dir: TempDir,
}

impl Tree {
    pub fn new() -> Self {
        let dir = TempDir::new().unwrap();
        std::fs::create_dir(dir.path().join("tree")).unwrap();
        Self { dir }
    }

    /// Four directories with `files` files in all, of 1 to 40 bytes.
    pub fn with_files(files: usize) -> Self {
        let tree = Self::new();
        for at in 0..files {
            tree.write(&format!("d{}/file-{at:05}.bin", at % 4), &vec![b'a' + (at % 26) as u8; at % 40 + 1]);
        }
        tree
    }

    pub fn root(&self) -> PathBuf {
        self.dir.path().join("tree").canonicalize().unwrap()
    }

    pub fn spool(&self) -> PathBuf {
        self.dir.path().join("spool")
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.root().join(name)
    }

    pub fn write(&self, name: &str, content: &[u8]) -> PathBuf {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, content).unwrap();
        path
    }

    pub fn bytes_path(&self, name: &[u8]) -> PathBuf {
        self.root().join(OsStr::from_bytes(name))
    }

    /// All entries that are no directories, by absolute path.
    pub fn entries(&self) -> BTreeMap<ByteStr, std::fs::Metadata> {
        let mut found = BTreeMap::new();
        list(&self.root(), &mut found);
        found
    }

    pub fn target(&self, id: &str) -> ScanTarget {
        ScanTarget {
            root: self.root().as_os_str().as_bytes().into(),
            scan_id: id.into(),
            trigger: Trigger::Api,
            schedule_id: Some("sch-1".into()),
            force: false,
        }
    }

    /// A client of `gateway` that loses patience soon.
    pub fn gateway(&self, gateway: &FakeGateway) -> Gateway {
        Gateway::new(self.gateway_settings(gateway)).unwrap()
    }

    pub fn gateway_settings(&self, gateway: &FakeGateway) -> GatewaySettings {
        GatewaySettings {
            http: gateway.url(),
            credentials: Credentials::None,
            scopes: vec!["ingest:write".into()],
            subject: "snapfs.files".into(),
            events_subject: "snapfs.events".into(),
            spool: self.spool(),
            spool_bytes: 64 << 20,
            waits: Waits {
                call: Duration::from_millis(1200),
                token: Duration::from_millis(1500),
                first_retry: Duration::from_millis(10),
                longest_retry: Duration::from_millis(100),
                give_up: Duration::from_secs(5),
            },
        }
    }
}

fn list(dir: &Path, found: &mut BTreeMap<ByteStr, std::fs::Metadata>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let data = path.symlink_metadata().unwrap();
        if data.is_dir() {
            list(&path, found);
        } else {
            found.insert(path.as_os_str().as_bytes().into(), data);
        }
    }
}

/// Small batches, so that a small tree makes several calls.
pub fn settings() -> ScanSettings {
    ScanSettings {
        algorithm: Algorithm::Sha1,
        workers: 2,
        hash_chunk_size: 1 << 20,
        probe_batch: 4,
        publish_batch: 4,
        telemetry_interval: Some(Duration::from_millis(200)),
        excludes: Vec::new(),
        one_file_system: false,
    }
}

/// Remembers what it was told.
#[derive(Default)]
pub struct Notes {
    pub problems: Mutex<Vec<String>>,
    pub hashed: Mutex<Vec<ByteStr>>,
    pub hits: Mutex<Vec<ByteStr>>,
    pub started: Mutex<u32>,
    pub completed: Mutex<u32>,
}

impl Listener for Notes {
    fn started(&self, _root: &ByteStr, _scan_id: &str) {
        *self.started.lock().unwrap() += 1;
    }
    fn hashed(&self, path: &ByteStr, _algorithm: Algorithm, _hash: &ContentHash) {
        self.hashed.lock().unwrap().push(path.clone());
    }
    fn cache_hit(&self, path: &ByteStr, _algorithm: Algorithm, _hash: &ContentHash) {
        self.hits.lock().unwrap().push(path.clone());
    }
    fn problem(&self, text: &str) {
        self.problems.lock().unwrap().push(text.to_owned());
    }
    fn completed(&self, _root: &ByteStr, _scan_id: &str, _report: &hostler_snapfs::ScanReport) {
        *self.completed.lock().unwrap() += 1;
    }
}

/// Scans to the end.
pub async fn run(gateway: &Gateway, tree: &Tree, id: &str) -> (ScanOutcome, Arc<Notes>) {
    run_with(gateway, &settings(), &tree.target(id)).await
}

pub async fn run_with(gateway: &Gateway, settings: &ScanSettings, target: &ScanTarget) -> (ScanOutcome, Arc<Notes>) {
    let notes = Arc::new(Notes::default());
    let scan = scan(gateway, settings, target, CancellationToken::new(), notes.clone());
    let outcome = tokio::time::timeout(PATIENCE, scan).await.expect("the scan ends");
    (outcome, notes)
}
