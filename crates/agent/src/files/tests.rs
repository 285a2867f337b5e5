//! Scans as the gateway sees them: paused, and on a filesystem that stops answering.

use std::ffi::CString;
use std::fs::File;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

use super::*;

const HANGS_AFTER: Duration = Duration::from_secs(1);
/// No test waits longer for anything.
const LONG: Duration = Duration::from_secs(60);

struct Host {
    dir: tempfile::TempDir,
    files: Files,
}

impl Host {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let tree = dir.path().canonicalize().unwrap().join("tree");
        std::fs::create_dir_all(tree.join("net")).unwrap();
        std::fs::write(tree.join("file"), "content").unwrap();
        let policy = FilesPolicy { roots: vec![tree], ..FilesPolicy::default() };
        let manifests = ManifestStore::open(dir.path().join("manifests")).unwrap();
        let log = EventLog::open(dir.path()).unwrap();
        Self { files: Files::with_patience(policy, manifests, log, HANGS_AFTER, Duration::from_secs(2)), dir }
    }

    fn root(&self) -> PathBuf {
        self.dir.path().canonicalize().unwrap().join("tree")
    }

    async fn begin(&self, id: &str, limit: u64) -> Result<ReceiverStream<Message>, ConnectError> {
        let root = self.root().into_os_string().into_vec();
        let request = v1::ScanRequest { scan_id: id.into(), root, bytes_per_second: limit, ..Default::default() };
        self.files.begin(request).await
    }

    /// Until the scan has a result.
    async fn finishes(&self, id: &str) {
        let mut last = String::new();
        for _ in 0..100 {
            match self.begin(id, 0).await {
                Ok(stream) => match end(stream).await {
                    Ok(()) => return,
                    Err(error) => last = error,
                },
                Err(error) => last = error.to_string(),
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("{last}");
    }
}

/// How the scan ended.
async fn end(mut stream: ReceiverStream<Message>) -> Result<(), String> {
    loop {
        match tokio::time::timeout(LONG, stream.next()).await.unwrap() {
            Some(Ok(message)) => {
                if matches!(message.event, Some(v1::scan_event::Event::Finished(_))) {
                    return Ok(());
                }
            }
            Some(Err(error)) => return Err(error.to_string()),
            None => return Err("no result".into()),
        }
    }
}

/// The next report of progress.
async fn report(stream: &mut ReceiverStream<Message>) -> v1::ScanProgress {
    loop {
        let message = tokio::time::timeout(LONG, stream.next()).await.unwrap().unwrap().unwrap();
        if let Some(v1::scan_event::Event::Progress(progress)) = message.event {
            return *progress;
        }
    }
}

/// A FUSE filesystem whose server takes requests and answers none: what looks at it hangs until the server is gone.
struct Hanging {
    server: Option<OwnedFd>,
    at: PathBuf,
}

impl Hanging {
    fn mount(at: &Path) -> Option<Self> {
        let server: OwnedFd = match File::options().read(true).write(true).open("/dev/fuse") {
            Ok(file) => file.into(),
            Err(error) => {
                println!("not tested, /dev/fuse: {error}");
                return None;
            }
        };
        let options = format!("fd={},rootmode=40000,user_id=0,group_id=0", server.as_raw_fd());
        let options = CString::new(options).unwrap();
        if let Err(error) = mount("hanging", at, "fuse", MountFlags::empty(), options.as_c_str()) {
            println!("not tested, mount: {error}");
            return None;
        }
        Some(Self { server: Some(server), at: at.to_owned() })
    }
}

impl Drop for Hanging {
    fn drop(&mut self) {
        drop(self.server.take());
        unmount(&self.at, UnmountFlags::DETACH).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scan_that_hangs_fails_with_its_place_and_frees_its_turn() {
    let host = Host::new();
    let Some(hanging) = Hanging::mount(&host.root().join("net")) else { return };
    let place = host.root().join("net").display().to_string();
    let error = end(host.begin("1", 0).await.unwrap()).await.unwrap_err();
    assert!(error.contains(&place) && error.contains("does not answer"), "{error}");
    assert_eq!(host.files.0.turns.available_permits(), SCANS);
    let error = host.begin("2", 0).await.err().unwrap().to_string();
    assert!(error.contains("still hangs at") && error.contains(&place), "{error}");
    drop(hanging);
    host.finishes("3").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scan_that_hangs_is_cancelled_all_the_same() {
    let host = Host::new();
    let Some(hanging) = Hanging::mount(&host.root().join("net")) else { return };
    let mut stream = host.begin("1", 0).await.unwrap();
    report(&mut stream).await;
    drop(stream);
    // It is given up after a while, though nobody waits for it.
    let freed = async {
        while host.files.0.turns.available_permits() < SCANS || !host.files.scans().known.is_empty() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(LONG, freed).await.unwrap();
    drop(hanging);
    host.finishes("2").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_granted_directory_that_hangs_holds_up_neither_probes_nor_requests() {
    let host = Host::new();
    let Some(_hanging) = Hanging::mount(&host.root()) else { return };
    for _ in 0..3 {
        let capability = tokio::time::timeout(LONG, host.files.probe()).await.unwrap();
        assert!(capability.detail.contains("does not answer"), "{}", capability.detail);
    }
    let path = host.dir.path().join("tree").into_os_string().into_vec();
    let error = host.files.resolve(&path).await.unwrap_err().to_string();
    assert!(error.contains("does not answer"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_scan_says_so_and_is_not_taken_for_one_that_hangs() {
    let host = Host::new();
    // At this rate it takes a minute.
    std::fs::write(host.root().join("big"), vec![1; 6 << 20]).unwrap();
    let mut stream = host.begin("scan", 100 << 10).await.unwrap();
    assert!(!report(&mut stream).await.paused);
    assert_eq!(host.files.set_paused("other", true).unwrap_err().code, connectrpc::ErrorCode::NotFound);
    host.files.set_paused("scan", true).unwrap();
    while !report(&mut stream).await.paused {}
    // Longer than a scan may hang; and with nothing new there is nothing to report.
    tokio::time::sleep(HANGS_AFTER * 3).await;
    host.files.set_paused("scan", true).unwrap();
    let quiet = tokio::time::timeout(Duration::from_millis(100), stream.next()).await;
    assert!(quiet.is_err(), "{quiet:?}");
    host.files.set_paused("scan", false).unwrap();
    while report(&mut stream).await.paused {}
    drop(stream);
    host.finishes("again").await;
    assert_eq!(host.files.set_paused("scan", true).unwrap_err().code, connectrpc::ErrorCode::NotFound);
}
