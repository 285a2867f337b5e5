//! Talking to a gateway: over its local socket, or by URL and key.

use std::path::PathBuf;

use anyhow::Result;
use bytes::Bytes;
use futures_util::{Stream, StreamExt, TryStreamExt};
use hostler_identity::Pin;
use hostler_link::Trust;
use hostler_model::ByteStr;
use reqwest::{Method, Response};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::args::Connection;
use crate::dirs;

/// Rows asked for at once.
const PAGE: u64 = 1000;
/// Longest line of an event stream.
const MAX_LINE: usize = 1 << 20;

/// A gateway to ask.
pub struct Client {
    http: reqwest::Client,
    base: String,
    key: Option<String>,
    reached_by: String,
}

/// What went wrong.
#[derive(Debug)]
pub enum ClientError {
    /// The gateway's own words.
    Refused { message: String, hint: Option<String> },
    /// It was not reached.
    Unreachable { by: String, source: reqwest::Error },
    /// The answer makes no sense.
    Strange { by: String, what: String },
}

impl ClientError {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Refused { hint, .. } => hint.clone(),
            Self::Unreachable { .. } => {
                Some("start one with `hostler up`, or name one with --gateway URL --key KEY".into())
            }
            Self::Strange { .. } => None,
        }
    }
}

impl std::fmt::Display for ClientError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Refused { message, .. } => f.write_str(message),
            Self::Unreachable { by, .. } => write!(f, "no gateway answers at {by}"),
            Self::Strange { by, what } => write!(f, "{by} is no Hostler gateway of this version: {what}"),
        }
    }
}

impl std::error::Error for ClientError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            // The innermost one says what happened; those around it name the library's layers.
            Self::Unreachable { source, .. } => {
                let mut cause: &(dyn std::error::Error + 'static) = source;
                while let Some(inner) = cause.source() {
                    cause = inner;
                }
                Some(cause)
            }
            _ => None,
        }
    }
}

#[derive(Deserialize)]
struct ErrorBody {
    error: ErrorText,
}

#[derive(Deserialize)]
struct ErrorText {
    message: String,
    hint: Option<String>,
}

/// A page as it came.
#[derive(Deserialize)]
struct RawPage {
    items: Vec<Box<RawValue>>,
    #[serde(default)]
    next: Option<String>,
}

/// Query parameters; values are bytes.
#[derive(Clone, Default)]
pub struct Query(Vec<(&'static str, String)>);

impl Query {
    /// Adds a parameter.
    pub fn push(&mut self, name: &'static str, value: impl Into<ByteStr>) -> &mut Self {
        self.0.push((name, value.into().to_query()));
        self
    }

    /// Adds a parameter when there is a value.
    pub fn maybe(&mut self, name: &'static str, value: Option<&String>) -> &mut Self {
        if let Some(value) = value {
            self.push(name, value.as_str());
        }
        self
    }

    /// Replaces a parameter, or adds it.
    pub fn set(&mut self, name: &'static str, value: impl Into<ByteStr>) -> &mut Self {
        self.0.retain(|(each, _)| *each != name);
        self.push(name, value)
    }

    /// The path with the parameters.
    pub fn append_to(&self, path: &str) -> String {
        let pairs: Vec<String> = self.0.iter().map(|(name, value)| format!("{name}={value}")).collect();
        if pairs.is_empty() { path.into() } else { format!("{path}?{}", pairs.join("&")) }
    }
}

impl Client {
    /// A client for the gateway the flags name, else for the local socket.
    pub fn new(connection: &Connection) -> Result<Self> {
        let key = connection.key.clone();
        match &connection.gateway {
            Some(url) => {
                let builder = match url.split_once("://") {
                    Some(("http", _)) => builder(&NOBODY)?,
                    Some(("https", _)) => builder(&connection.pin.map_or(Trust::System, Trust::Pinned))?,
                    _ => anyhow::bail!("--gateway {url}: give a URL such as https://gateway.example.com:7440"),
                };
                let base = url.trim_end_matches('/').to_owned();
                Ok(Self { http: builder.build()?, reached_by: base.clone(), base, key })
            }
            None => {
                let socket: PathBuf = hostler_gateway::socket_path(&dirs::data(connection.data.clone())?);
                let reached_by = ByteStr::from(socket.as_os_str().as_encoded_bytes()).to_string();
                let http = builder(&NOBODY)?.unix_socket(socket).build()?;
                Ok(Self { http, base: "http://gateway".into(), key, reached_by })
            }
        }
    }

    /// GETs one object.
    pub async fn get<T: DeserializeOwned>(&self, path: &str, query: &Query) -> Result<T, ClientError> {
        self.read(self.send(Method::GET, &query.append_to(path), None::<&()>).await?).await
    }

    /// GETs one object as it came.
    pub async fn get_raw(&self, path: &str, query: &Query) -> Result<Box<RawValue>, ClientError> {
        self.get(path, query).await
    }

    /// GETs a list, page by page, up to `limit` items.
    pub async fn list(&self, path: &str, query: &Query, limit: u64) -> Result<Vec<Box<RawValue>>, ClientError> {
        let mut items = Vec::new();
        let mut cursor = None;
        while (items.len() as u64) < limit {
            let mut query = query.clone();
            query.push("limit", (limit - items.len() as u64).min(PAGE).to_string().as_str());
            query.maybe("cursor", cursor.as_ref());
            let page: RawPage = self.get(path, &query).await?;
            items.extend(page.items);
            cursor = page.next;
            if cursor.is_none() {
                break;
            }
        }
        Ok(items)
    }

    /// POSTs an object.
    pub async fn post<T: DeserializeOwned>(&self, path: &str, body: Option<&impl Serialize>) -> Result<T, ClientError> {
        self.read(self.send(Method::POST, path, body).await?).await
    }

    /// GETs a list that comes whole.
    pub async fn all(&self, path: &str) -> Result<Vec<Box<RawValue>>, ClientError> {
        let page: RawPage = self.get(path, &Query::default()).await?;
        Ok(page.items)
    }

    /// POSTs an object to a route that answers without a body.
    pub async fn post_nothing(&self, path: &str, body: &impl Serialize) -> Result<(), ClientError> {
        self.send(Method::POST, path, Some(body)).await.map(drop)
    }

    /// PATCHes an object.
    pub async fn patch<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T, ClientError> {
        self.read(self.send(Method::PATCH, path, Some(body)).await?).await
    }

    /// GETs a file, piece by piece.
    pub async fn download(
        &self,
        path: &str,
    ) -> Result<impl Stream<Item = reqwest::Result<Bytes>> + Unpin, ClientError> {
        Ok(Box::pin(self.send(Method::GET, path, None::<&()>).await?.bytes_stream()))
    }

    /// POSTs a file.
    pub async fn upload(&self, path: &str, file: tokio::fs::File) -> Result<(), ClientError> {
        let body = reqwest::Body::wrap_stream(tokio_util::io::ReaderStream::new(file));
        let request = self.request(Method::POST, path).header("content-type", "application/octet-stream").body(body);
        self.answer(request).await.map(drop)
    }

    /// DELETEs.
    pub async fn delete(&self, path: &str) -> Result<(), ClientError> {
        self.send(Method::DELETE, path, None::<&()>).await.map(drop)
    }

    /// The data of the events named `name`, as they come.
    pub async fn events(&self, name: &'static str) -> Result<impl Stream<Item = Result<String>> + Unpin, ClientError> {
        let response = self.send(Method::GET, "/events/stream", None::<&()>).await?;
        let mut lines = Lines::default();
        let mut current = String::new();
        let events = response.bytes_stream().map_err(anyhow::Error::from).map(move |chunk| {
            let mut found = Vec::new();
            for line in lines.feed(&chunk?)? {
                match line.split_once(':').map(|(field, value)| (field, value.trim_start())) {
                    Some(("event", value)) => current = value.to_owned(),
                    Some(("data", value)) if current == name => found.push(value.to_owned()),
                    _ => {}
                }
            }
            Ok::<_, anyhow::Error>(futures_util::stream::iter(found.into_iter().map(Ok)))
        });
        Ok(Box::pin(events.try_flatten()))
    }

    async fn send(&self, method: Method, path: &str, body: Option<&impl Serialize>) -> Result<Response, ClientError> {
        let mut request = self.request(method, path);
        if let Some(body) = body {
            let json = serde_json::to_vec(body).map_err(|e| self.strange(e.to_string()))?;
            request = request.header("content-type", "application/json").body(json);
        }
        self.answer(request).await
    }

    fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        let request = self.http.request(method, format!("{}/api/v1{path}", self.base));
        match &self.key {
            Some(key) => request.bearer_auth(key),
            None => request,
        }
    }

    async fn answer(&self, request: reqwest::RequestBuilder) -> Result<Response, ClientError> {
        let unreachable = |source| ClientError::Unreachable { by: self.reached_by.clone(), source };
        let response = request.send().await.map_err(unreachable)?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let body = response.bytes().await.unwrap_or_default();
        Err(match serde_json::from_slice::<ErrorBody>(&body) {
            Ok(ErrorBody { error }) => ClientError::Refused { message: error.message, hint: error.hint },
            Err(_) => self.strange(format!("status {status} without a message")),
        })
    }

    async fn read<T: DeserializeOwned>(&self, response: Response) -> Result<T, ClientError> {
        let bytes = response.bytes().await.map_err(|e| self.strange(e.to_string()))?;
        serde_json::from_slice(&bytes).map_err(|e| self.strange(e.to_string()))
    }

    fn strange(&self, what: String) -> ClientError {
        ClientError::Strange { by: self.reached_by.clone(), what }
    }
}

/// Whom to trust where there is no TLS. Without a word on it reqwest would read all of the machine's roots.
const NOBODY: Trust = Trust::Pinned(Pin([0; 32]));

fn builder(trust: &Trust) -> Result<reqwest::ClientBuilder> {
    let tls = hostler_link::tls::client_config(trust)?;
    let builder = reqwest::Client::builder().no_proxy().tls_backend_preconfigured(tls);
    Ok(builder.connect_timeout(std::time::Duration::from_secs(10)))
}

/// Cuts a byte stream into lines.
#[derive(Default)]
struct Lines(Vec<u8>);

impl Lines {
    fn feed(&mut self, bytes: &[u8]) -> Result<Vec<String>> {
        self.0.extend_from_slice(bytes);
        let mut lines = Vec::new();
        while let Some(end) = self.0.iter().position(|b| *b == b'\n') {
            let line: Vec<u8> = self.0.drain(..=end).collect();
            lines.push(String::from_utf8_lossy(&line).trim_end().to_owned());
        }
        anyhow::ensure!(self.0.len() <= MAX_LINE, "the gateway sent an event of more than 1 MiB");
        Ok(lines)
    }
}
