//! The smallest HTTP/1.1 client that can misbehave: whole requests by method and path, and raw bytes for what no proper
//! client would send. One connection a request; every wait is bounded.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;

/// Longest wait for the next byte of an answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// A server, and headers for every request.
#[derive(Clone, Debug)]
pub struct Http {
    address: String,
    headers: Vec<(String, String)>,
}

/// A whole answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// Headers as they came, names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body, chunks joined.
    pub body: Vec<u8>,
}

impl Http {
    /// For a server at `http://HOST:PORT`.
    pub fn new(url: &str) -> Self {
        Self { address: url.trim_start_matches("http://").to_owned(), headers: Vec::new() }
    }

    /// The same server with one more header.
    pub fn with(&self, name: &str, value: &str) -> Self {
        let mut more = self.clone();
        more.headers.push((name.to_owned(), value.to_owned()));
        more
    }

    /// The same server with an API key.
    pub fn key(&self, key: &str) -> Self {
        self.with("Authorization", &format!("Bearer {key}"))
    }

    /// GET.
    pub fn get(&self, path: &str) -> Answer {
        self.send("GET", path, b"")
    }

    /// POST of JSON.
    pub fn post(&self, path: &str, body: &Value) -> Answer {
        self.with("Content-Type", "application/json").send("POST", path, body.to_string().as_bytes())
    }

    /// POST of a form.
    pub fn form(&self, path: &str, body: &str) -> Answer {
        self.with("Content-Type", "application/x-www-form-urlencoded").send("POST", path, body.as_bytes())
    }

    /// Any request; panics with the reason when no answer comes.
    #[track_caller]
    pub fn send(&self, method: &str, path: &str, body: &[u8]) -> Answer {
        self.try_send(method, path, body).unwrap_or_else(|e| panic!("{method} {path}: {e:#}"))
    }

    /// Any request.
    pub fn try_send(&self, method: &str, path: &str, body: &[u8]) -> Result<Answer> {
        let mut request = self.head(method, path);
        if !body.is_empty() || matches!(method, "POST" | "PUT" | "PATCH") {
            request += &format!("Content-Length: {}\r\n", body.len());
        }
        request += "\r\n";
        let mut connection = self.connect()?;
        connection.write_all(request.as_bytes())?;
        // A server that refuses a large body may close before it has read it; its answer counts all the same.
        if let Err(error) = connection.write_all(body)
            && !matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset)
        {
            return Err(error.into());
        }
        read_answer(&mut BufReader::new(connection), method == "HEAD")
    }

    /// The request line and headers without the empty line that ends them.
    pub fn head(&self, method: &str, path: &str) -> String {
        let mut head = format!("{method} {path} HTTP/1.1\r\nHost: {}\r\n", self.address);
        if self.headers.iter().all(|(name, _)| name != "Connection") {
            head += "Connection: close\r\n";
        }
        for (name, value) in &self.headers {
            head += &format!("{name}: {value}\r\n");
        }
        head
    }

    /// A connection on which nothing was sent.
    pub fn connect(&self) -> Result<TcpStream> {
        let connection = TcpStream::connect(&self.address).with_context(|| format!("connect to {}", self.address))?;
        connection.set_read_timeout(Some(PATIENCE))?;
        connection.set_write_timeout(Some(PATIENCE))?;
        Ok(connection)
    }

    /// Opens a stream of Server-Sent Events.
    pub fn events(&self, path: &str) -> Result<EventStream> {
        let mut connection = self.connect()?;
        connection.write_all(format!("{}\r\n", self.head("GET", path)).as_bytes())?;
        let mut reader = BufReader::new(connection);
        let (status, headers) = read_head(&mut reader)?;
        anyhow::ensure!(status == 200, "status {status}");
        let kind = headers.iter().find(|(name, _)| name == "content-type").map(|(_, value)| value.as_str());
        anyhow::ensure!(kind == Some("text/event-stream"), "{kind:?} is no event stream");
        Ok(EventStream { reader, text: String::new() })
    }
}

/// Server-Sent Events as they come.
pub struct EventStream {
    reader: BufReader<TcpStream>,
    text: String,
}

impl EventStream {
    /// The next event's name and data; `None` at the end of the stream.
    pub fn next_event(&mut self) -> Result<Option<(String, String)>> {
        loop {
            while let Some((event, rest)) = self.text.split_once("\n\n") {
                let (mut name, mut data) = (String::new(), String::new());
                for line in event.lines() {
                    match line.split_once(": ") {
                        Some(("event", value)) => name = value.to_owned(),
                        Some(("data", value)) => data += value,
                        _ => {}
                    }
                }
                self.text = rest.to_owned();
                if !data.is_empty() {
                    return Ok(Some((name, data)));
                }
            }
            match read_chunk(&mut self.reader)? {
                Some(chunk) => self.text += std::str::from_utf8(&chunk)?,
                None => return Ok(None),
            }
        }
    }
}

impl Answer {
    /// The first header of this name, in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    /// The body; bytes that are not UTF-8 replaced.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("no JSON ({e}): {} {}", self.status, self.text()))
    }

    /// The message of an error with this status; panics unless it has the shape every REST error has.
    #[track_caller]
    pub fn error(&self, status: u16) -> String {
        assert_eq!(self.status, status, "{}", self.text());
        assert_eq!(self.header("content-type"), Some("application/json"), "{}", self.text());
        let body = self.json();
        let error = body["error"].as_object().unwrap_or_else(|| panic!("no error: {body}"));
        assert!(error["code"].as_str().is_some_and(|code| !code.is_empty()), "{body}");
        assert!(error.contains_key("hint"), "{body}");
        let message = error["message"].as_str().unwrap_or_default();
        assert!(!message.is_empty(), "{body}");
        match error["hint"].as_str() {
            Some(hint) => format!("{message}; {hint}"),
            None => message.to_owned(),
        }
    }
}

/// Reads one answer from a connection.
pub fn read_answer(reader: &mut BufReader<TcpStream>, head_only: bool) -> Result<Answer> {
    let (status, headers) = read_head(reader)?;
    let header = |wanted: &str| headers.iter().find(|(name, _)| name == wanted).map(|(_, value)| value.as_str());
    let mut body = Vec::new();
    if head_only || status == 204 || status < 200 {
        // None comes.
    } else if header("transfer-encoding").is_some_and(|v| v.contains("chunked")) {
        while let Some(chunk) = read_chunk(reader)? {
            body.extend(chunk);
        }
    } else if let Some(length) = header("content-length") {
        body = vec![0; length.parse()?];
        reader.read_exact(&mut body)?;
    } else {
        reader.read_to_end(&mut body)?;
    }
    Ok(Answer { status, headers, body })
}

fn read_head(reader: &mut BufReader<TcpStream>) -> Result<(u16, Vec<(String, String)>)> {
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let status = line.split(' ').nth(1).and_then(|code| code.parse().ok());
    let Some(status) = status else { bail!("not a status line: {line:?}") };
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        match line.trim_end().split_once(':') {
            Some((name, value)) => headers.push((name.to_lowercase(), value.trim().to_owned())),
            None => return Ok((status, headers)),
        }
    }
}

fn read_chunk(reader: &mut BufReader<TcpStream>) -> Result<Option<Vec<u8>>> {
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let length = usize::from_str_radix(line.trim_end(), 16).with_context(|| format!("not a chunk: {line:?}"))?;
    let mut chunk = vec![0; length + 2];
    reader.read_exact(&mut chunk)?;
    chunk.truncate(length);
    Ok((length > 0).then_some(chunk))
}

/// A client with a connection pool, for what a test only needs answers from.
pub fn client(trust: &hostler_link::Trust) -> anyhow::Result<reqwest::Client> {
    let tls = hostler_link::tls::client_config(trust)?;
    Ok(reqwest::Client::builder().no_proxy().tls_backend_preconfigured(tls).build()?)
}
