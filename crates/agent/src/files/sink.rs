//! What a scan finds, as messages on the link.

use connectrpc::ConnectError;
use hostler_api::{BatchBuilder, v1};
use hostler_files::owners::Owners;
use hostler_files::{ScanSink, ScanSummary, SinkClosed};
use hostler_model::{ChangeOp, Entry};
use tokio::sync::mpsc;

/// Where a scan's messages go; closed once nobody reads them.
pub type Sender = mpsc::Sender<Result<v1::ScanEvent, ConnectError>>;

/// The message.
pub fn event(event: v1::scan_event::Event) -> v1::ScanEvent {
    v1::ScanEvent { event: Some(event), ..Default::default() }
}

/// The last message of a scan that has a result. Blocks: names may have to be asked for.
pub fn finished(summary: ScanSummary) -> v1::ScanFinished {
    let mut names = Owners::load();
    let owner = |group, id, name: Option<String>| name.map(|name| v1::Owner { group, id, name, ..Default::default() });
    let mut owners: Vec<v1::Owner> = summary.uids.iter().filter_map(|id| owner(false, *id, names.user(*id))).collect();
    owners.extend(summary.gids.iter().filter_map(|id| owner(true, *id, names.group(*id))));
    v1::ScanFinished {
        counters: Some(v1::ScanCounters::from(summary.counters)).into(),
        generation: summary.generation,
        algorithm: u32::from(summary.algorithm.code()),
        owners,
        ..Default::default()
    }
}

/// Sends what the walk finds in batches; waits when the gateway is slower than the walk.
pub struct Sink {
    events: Sender,
    batch: BatchBuilder,
    root: Vec<u8>,
}

impl Sink {
    /// For a scan of `root`.
    pub fn new(root: Vec<u8>, events: Sender) -> Self {
        Self { events, batch: BatchBuilder::default(), root }
    }

    /// Sends what has been gathered.
    pub fn flush(&mut self) -> Result<(), SinkClosed> {
        match self.batch.take() {
            Some(batch) => self.send(v1::scan_event::Event::Batch(batch.into())),
            None => Ok(()),
        }
    }

    fn flush_when_full(&mut self) -> Result<(), SinkClosed> {
        if self.batch.is_full() { self.flush() } else { Ok(()) }
    }

    fn send(&self, message: v1::scan_event::Event) -> Result<(), SinkClosed> {
        self.events.blocking_send(Ok(event(message))).map_err(|_| SinkClosed)
    }
}

impl ScanSink for Sink {
    fn started(&mut self, full: bool) -> Result<(), SinkClosed> {
        let started = v1::ScanStarted { root: self.root.clone(), full, ..Default::default() };
        self.send(v1::scan_event::Event::Started(started.into()))
    }
    fn dir(&mut self, path: &[u8], op: Option<ChangeOp>, entry: &Entry) -> Result<(), SinkClosed> {
        self.batch.dir(path, op, entry);
        self.flush_when_full()
    }
    fn entry(
        &mut self,
        dir: &[u8],
        name: &[u8],
        op: Option<ChangeOp>,
        entry: Option<&Entry>,
    ) -> Result<(), SinkClosed> {
        self.batch.entry(dir, name, op, entry);
        self.flush_when_full()
    }
    fn dir_removed(&mut self, path: &[u8]) -> Result<(), SinkClosed> {
        self.batch.dir_removed(path);
        self.flush_when_full()
    }
    fn error(&mut self, path: &[u8], operation: &'static str, message: &str) -> Result<(), SinkClosed> {
        self.batch.error(path, operation, message);
        self.flush_when_full()
    }
}
