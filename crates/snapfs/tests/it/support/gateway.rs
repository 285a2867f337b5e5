//! A SnapFS gateway that reads strictly and fails on demand. It speaks HTTP by hand, so that it can break it.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use hostler_model::ByteStr;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;

use super::events::{Body, Parsed, Probe, Upsert};

/// What goes wrong with a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Answered with this status; nothing is taken.
    Status(u16),
    /// Never answered; nothing is taken.
    Silence,
    /// The connection ends before the answer; nothing is taken.
    Cut,
    /// Taken, and the connection ends within the answer.
    CutAnswer,
    /// A probe gets one result too few; anything else is fine.
    WrongLength,
    /// A success that is a web page; nothing is taken.
    WebPage,
    /// Fine, late.
    Slow,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Probe,
    Ingest,
    Token,
}

/// One request as it came.
#[derive(Clone, Debug)]
pub struct Call {
    pub kind: Kind,
    pub path: String,
    pub authorization: Option<String>,
    pub at: Instant,
    pub fault: Option<Fault>,
    /// Of an ingest call.
    pub events: Vec<Parsed>,
    pub probes: Vec<Probe>,
}

type Judge = Box<dyn FnMut(usize, &Call) -> Option<Fault> + Send>;

#[derive(Default)]
struct State {
    calls: Vec<Call>,
    /// Events that were taken.
    taken: Vec<Parsed>,
    cache: HashMap<(u64, u64, u64, i64), (String, String)>,
    judge: Option<Judge>,
    /// Why a call was not what it should be.
    wrong: Vec<String>,
    tokens: u32,
}

pub struct FakeGateway {
    port: u16,
    state: Arc<Mutex<State>>,
    away: Arc<AtomicBool>,
    server: AbortHandle,
}

impl Drop for FakeGateway {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl FakeGateway {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Arc::<Mutex<State>>::default();
        let away = Arc::<AtomicBool>::default();
        let (served, gone) = (state.clone(), away.clone());
        let server = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                tokio::spawn(serve(stream, served.clone(), gone.clone()));
            }
        });
        Self { port, state, away, server: server.abort_handle() }
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}/base", self.port)
    }

    /// Says for each call, with its number from 0, what goes wrong with it.
    pub fn judge(&self, judge: impl FnMut(usize, &Call) -> Option<Fault> + Send + 'static) {
        self.state.lock().unwrap().judge = Some(Box::new(judge));
    }

    /// Every call goes well.
    pub fn mend(&self) {
        self.state.lock().unwrap().judge = None;
    }

    /// Connections end as soon as they are made.
    pub fn set_away(&self, away: bool) {
        self.away.store(away, SeqCst);
    }

    pub fn calls(&self) -> Vec<Call> {
        self.state.lock().unwrap().calls.clone()
    }

    pub fn forget(&self) {
        let mut state = self.state.lock().unwrap();
        state.calls.clear();
        state.taken.clear();
    }

    /// Events of a scan that were taken, in order; everything must have been well-formed.
    pub fn taken(&self, scan_id: &str) -> Vec<Parsed> {
        let state = self.state.lock().unwrap();
        assert_eq!(state.wrong, Vec::<String>::new());
        state.taken.iter().filter(|event| event.scan_id() == scan_id).cloned().collect()
    }

    /// The upserts of a scan that were taken, by path; the last one counts.
    pub fn upserts(&self, scan_id: &str) -> BTreeMap<ByteStr, Upsert> {
        let upsert = |event| match event {
            Parsed::Upsert(upsert) => Some((upsert.path.clone(), *upsert)),
            _ => None,
        };
        self.taken(scan_id).into_iter().filter_map(upsert).collect()
    }

    /// The kinds of a scan's events on the subject of files, without repetitions.
    pub fn order(&self, scan_id: &str) -> Vec<&'static str> {
        let taken = self.taken(scan_id);
        let mut words: Vec<_> =
            taken.iter().filter(|event| event.subject() == "snapfs.files").map(Parsed::word).collect();
        words.dedup();
        words
    }
}

async fn serve(mut stream: TcpStream, state: Arc<Mutex<State>>, away: Arc<AtomicBool>) {
    let mut buffer = Vec::new();
    loop {
        if away.load(SeqCst) {
            return;
        }
        let Some((head, body)) = read_request(&mut stream, &mut buffer).await else { return };
        if away.load(SeqCst) {
            return;
        }
        let (fault, answer) = state.lock().unwrap().answer(&head, &body);
        let (status, kind, body) = answer;
        match fault {
            Some(Fault::Silence) => {
                // Until the client has gone.
                let _ = stream.read(&mut [0; 16]).await;
                return;
            }
            Some(Fault::Cut) => return,
            Some(Fault::Slow) => tokio::time::sleep(Duration::from_millis(300)).await,
            _ => {}
        }
        let head = format!(
            "HTTP/1.1 {status} Whatever\r\ncontent-type: {kind}\r\ncontent-length: {}\r\nlocation: /elsewhere\r\n\r\n",
            body.len()
        );
        let mut answer = head.into_bytes();
        let whole = body.len();
        answer.extend_from_slice(body.as_bytes());
        if fault == Some(Fault::CutAnswer) {
            answer.truncate(answer.len() - whole / 2 - 1);
            let _ = stream.write_all(&answer).await;
            return;
        }
        if stream.write_all(&answer).await.is_err() {
            return;
        }
    }
}

/// Head and body of the next request.
async fn read_request(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<(String, Vec<u8>)> {
    loop {
        if let Some(at) = buffer.windows(4).position(|w| w == b"\r\n\r\n") {
            let head = String::from_utf8(buffer[..at].to_vec()).unwrap();
            let length: usize = header(&head, "content-length").map_or(0, |n| n.parse().unwrap());
            if buffer.len() >= at + 4 + length {
                let body = buffer[at + 4..at + 4 + length].to_vec();
                buffer.drain(..at + 4 + length);
                return Some((head, body));
            }
        }
        let mut chunk = [0; 16 << 10];
        match stream.read(&mut chunk).await {
            Ok(n) if n > 0 => buffer.extend_from_slice(&chunk[..n]),
            _ => return None,
        }
    }
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let lines = head.lines().skip(1).filter_map(|line| line.split_once(':'));
    lines.into_iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
}

type Answer = (u16, &'static str, String);

const JSON: &str = "application/json";

impl State {
    fn answer(&mut self, head: &str, body: &[u8]) -> (Option<Fault>, Answer) {
        let mut line = head.lines().next().unwrap().split(' ');
        let (method, target) = (line.next().unwrap(), line.next().unwrap());
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let path = path.strip_prefix("/base").unwrap_or(path);
        let kind = match path {
            "/api/cache/batch" | "/cache/batch" => Kind::Probe,
            "/api/ingest" | "/ingest" => Kind::Ingest,
            "/api/auth/token" => Kind::Token,
            _ => {
                self.wrong.push(format!("{method} {target}"));
                return (None, (404, JSON, "{}".into()));
            }
        };
        let mut call = Call {
            kind,
            path: path.to_owned(),
            authorization: header(head, "authorization").map(str::to_owned),
            at: Instant::now(),
            fault: None,
            events: Vec::new(),
            probes: Vec::new(),
        };
        if method != "POST"
            || header(head, "content-type") != Some(JSON)
            || header(head, "accept-encoding").is_some_and(|value| value.contains("gzip"))
        {
            self.wrong.push(head.to_owned());
        }
        match kind {
            Kind::Probe => match serde_json::from_slice::<Vec<Probe>>(body) {
                Ok(probes) if !probes.is_empty() => call.probes = probes,
                other => self.wrong.push(format!("{other:?} in a probe")),
            },
            Kind::Ingest => self.read_events(body, query, &mut call),
            Kind::Token if body == b"{\"scopes\":[\"ingest:write\"]}" => {}
            Kind::Token => self.wrong.push("scopes".into()),
        }
        let number = self.calls.len();
        let fault = self.judge.as_mut().and_then(|judge| judge(number, &call));
        call.fault = fault;
        self.calls.push(call.clone());
        let answer = match fault {
            Some(Fault::Status(status)) => (status, JSON, "{\"detail\":\"as asked for\"}".to_owned()),
            Some(Fault::WebPage) => (200, "text/html", "<p>Welcome</p>".to_owned()),
            Some(Fault::Silence | Fault::Cut) => (200, JSON, String::new()),
            _ => self.take(&call, fault),
        };
        (fault, answer)
    }

    fn read_events(&mut self, body: &[u8], query: &str, call: &mut Call) {
        let body: Body = match serde_json::from_slice(body) {
            Ok(body) => body,
            Err(error) => return self.wrong.push(format!("{error} in {}", String::from_utf8_lossy(body))),
        };
        call.events = body.events.iter().map(Parsed::of).collect();
        for event in &call.events {
            if query != format!("subject={}", event.subject()) {
                self.wrong.push(format!("{} with {query}", event.word()));
            }
        }
        if call.events.is_empty() {
            self.wrong.push("an empty ingest call".into());
        }
    }

    fn take(&mut self, call: &Call, fault: Option<Fault>) -> Answer {
        match call.kind {
            Kind::Token => {
                self.tokens += 1;
                (200, JSON, format!("{{\"accessToken\":\"token-{}\",\"tokenType\":\"Bearer\"}}", self.tokens))
            }
            Kind::Ingest => {
                for event in &call.events {
                    if let Parsed::Upsert(upsert) = event
                        && let (Some(algo), Some(hash)) = (&upsert.algo, &upsert.hash)
                    {
                        let key = (upsert.dev.unwrap(), upsert.inode.unwrap(), upsert.size, upsert.mtime);
                        self.cache.insert(key, (algo.clone(), hash.clone()));
                    }
                }
                self.taken.extend(call.events.iter().cloned());
                (200, JSON, format!("{{\"status\":\"ok\",\"received\":{}}}", call.events.len()))
            }
            Kind::Probe => {
                let mut results: Vec<String> = call.probes.iter().map(|probe| self.known(probe)).collect();
                if fault == Some(Fault::WrongLength) {
                    results.pop();
                }
                (200, JSON, format!("[{}]", results.join(", ")))
            }
        }
    }

    fn known(&self, probe: &Probe) -> String {
        match self.cache.get(&(probe.dev.unwrap(), probe.inode.unwrap(), probe.size, probe.mtime)) {
            Some((algo, hash)) => format!("{{\"status\": \"HIT\", \"algo\": \"{algo}\", \"hash\": \"{hash}\"}}"),
            None => "{\"status\": \"MISS\", \"algo\": null, \"hash\": null}".into(),
        }
    }
}
