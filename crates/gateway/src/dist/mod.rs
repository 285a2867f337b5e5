//! What a host needs to join: the install script and the binary itself, at `/install.sh` and `/dist/*`.
//!
//! The gateway hands out its own binary, which is static, and those in `--agent-binary DIR`. They are public: there is no
//! secret in them, and a host that wants to join has no key yet.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::{Arc, OnceLock};

use axum::Router;
use axum::body::Body;
use axum::extract::{Path as UrlPath, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use hostler_model::ByteStr;
use sha2::{Digest, Sha256};

use crate::state::AppState;

const SCRIPT: &str = include_str!("install.sh");
const PREFIX: &str = "hostler-linux-";
/// Binaries in one directory.
const MAX_BINARIES: usize = 32;
/// Bytes read at once.
const CHUNK: usize = 256 * 1024;

/// The binaries this gateway hands out, by architecture as `uname -m` says it.
#[derive(Clone)]
pub struct Binaries(Arc<BTreeMap<String, Binary>>);

struct Binary {
    /// Open from the start: it stays the one that runs, also when its file is replaced.
    file: File,
    /// Hex; computed when it is first asked for.
    sha256: OnceLock<String>,
}

/// A binary cannot be handed out.
#[derive(Debug, thiserror::Error)]
#[error("cannot hand out the agent {path}: {source}")]
pub struct BinaryError {
    path: ByteStr,
    source: io::Error,
}

impl Binaries {
    /// The running program, and the files `hostler-linux-ARCH` in `dir`, which go first.
    pub fn open(dir: Option<&Path>) -> Result<Self, BinaryError> {
        let error =
            |path: &Path, source| BinaryError { path: ByteStr::from(path.as_os_str().as_encoded_bytes()), source };
        let mut found = BTreeMap::new();
        let own = Path::new("/proc/self/exe");
        found.insert(std::env::consts::ARCH.to_owned(), Binary::open(own).map_err(|e| error(own, e))?);
        for entry in dir.map(|dir| std::fs::read_dir(dir).map_err(|e| error(dir, e))).transpose()?.into_iter().flatten()
        {
            let path = entry.map_err(|e| error(dir.unwrap_or(own), e))?.path();
            let name = path.file_name().and_then(|name| name.to_str()).and_then(|name| name.strip_prefix(PREFIX));
            let Some(arch) = name.filter(|arch| is_arch(arch)) else { continue };
            found.insert(arch.to_owned(), Binary::open(&path).map_err(|e| error(&path, e))?);
            if found.len() > MAX_BINARIES {
                let source = io::Error::other(format!("more than {MAX_BINARIES} binaries lie there"));
                return Err(error(dir.unwrap_or(own), source));
            }
        }
        Ok(Self(Arc::new(found)))
    }

    /// The shell's cases: `x86_64) sum=... ;;`.
    fn cases(&self) -> io::Result<String> {
        let mut cases = Vec::new();
        for (arch, binary) in &*self.0 {
            cases.push(format!("{arch}) sum={} ;;", binary.sha256()?));
        }
        Ok(cases.join("\n        "))
    }
}

/// It becomes part of a shell script.
fn is_arch(text: &str) -> bool {
    (1..=32).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

impl Binary {
    fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        if !file.metadata()?.is_file() {
            return Err(io::Error::other("it is not a regular file"));
        }
        Ok(Self { file, sha256: OnceLock::new() })
    }

    fn sha256(&self) -> io::Result<&str> {
        if let Some(known) = self.sha256.get() {
            return Ok(known);
        }
        let mut hasher = Sha256::new();
        let mut reader = At { file: &self.file, offset: 0 };
        let mut buffer = vec![0; CHUNK];
        loop {
            match reader.read(&mut buffer)? {
                0 => break,
                n => hasher.update(&buffer[..n]),
            }
        }
        let hex = hasher.finalize().iter().map(|b| format!("{b:02x}")).collect();
        Ok(self.sha256.get_or_init(|| hex))
    }
}

/// Reads from an offset of its own: the file is shared by all who fetch it.
struct At<F> {
    file: F,
    offset: u64,
}

impl<F: std::borrow::Borrow<File>> Read for At<F> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = std::os::unix::fs::FileExt::read_at(self.file.borrow(), buffer, self.offset)?;
        self.offset += n as u64;
        Ok(n)
    }
}

/// The public routes.
pub fn router() -> Router<AppState> {
    Router::new().route("/install.sh", get(install)).route("/dist/{name}", get(binary))
}

async fn install(State(state): State<AppState>) -> Response {
    let binaries = state.binaries.clone();
    // The first time, the binaries are read whole.
    let cases = tokio::task::spawn_blocking(move || binaries.cases()).await.map_err(io::Error::other).flatten();
    match cases {
        Ok(cases) => {
            let text = script(&state.public_url, state.pin.map(|pin| pin.to_string()).as_deref(), &cases);
            ([(header::CONTENT_TYPE, "text/x-shellscript; charset=utf-8")], text).into_response()
        }
        Err(error) => failed(&error),
    }
}

/// A quote is the one character that could leave the script's quotes; in a URL it can be written otherwise.
fn script(url: &str, pin: Option<&str>, cases: &str) -> String {
    let url = &url.replace('\'', "%27");
    let curl_pin = pin.map_or_else(String::new, |pin| format!("-k --pinnedpubkey '{pin}' "));
    SCRIPT
        .replace("@CURL_PIN@", &curl_pin)
        .replace("@URL@", url)
        .replace("@PIN@", pin.unwrap_or_default())
        .replace("@CASES@", cases)
}

async fn binary(State(state): State<AppState>, UrlPath(name): UrlPath<String>) -> Response {
    let found = name.strip_prefix(PREFIX).and_then(|arch| state.binaries.0.get(arch));
    let Some(binary) = found else {
        let list: Vec<String> = state.binaries.0.keys().map(|arch| format!("{PREFIX}{arch}")).collect();
        return (StatusCode::NOT_FOUND, format!("no {name} here; there is {}\n", list.join(", "))).into_response();
    };
    let opened = binary.file.try_clone().and_then(|file| Ok((file.metadata()?.len(), file)));
    match opened {
        Ok((size, file)) => {
            let headers = [
                (header::CONTENT_TYPE, "application/octet-stream".to_owned()),
                (header::CONTENT_LENGTH, size.to_string()),
            ];
            (headers, Body::from_stream(stream(file))).into_response()
        }
        Err(error) => failed(&error),
    }
}

/// A file from its beginning, whatever others read of it.
fn stream(file: File) -> impl futures_util::Stream<Item = io::Result<bytes::Bytes>> {
    futures_util::stream::unfold(Some(At { file, offset: 0 }), |at| async move {
        let mut at = at?;
        let read = tokio::task::spawn_blocking(move || {
            let mut buffer = vec![0; CHUNK];
            let n = at.read(&mut buffer)?;
            buffer.truncate(n);
            Ok::<_, io::Error>((buffer, at))
        });
        match read.await.map_err(io::Error::other).flatten() {
            Ok((buffer, _)) if buffer.is_empty() => None,
            Ok((buffer, at)) => Some((Ok(buffer.into()), Some(at))),
            Err(error) => Some((Err(error), None)),
        }
    })
}

fn failed(error: &io::Error) -> Response {
    tracing::error!(%error, "the agent's binary could not be read");
    (StatusCode::INTERNAL_SERVER_ERROR, "the gateway cannot read the agent's binary; see its log\n").into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_script_is_filled_in_whole() {
        let text = script("https://gw:7440", Some("sha256//AAAA"), "x86_64) sum=00 ;;");
        for place in ["@URL@", "@PIN@", "@CURL_PIN@", "@CASES@"] {
            assert!(SCRIPT.contains(place) && !text.contains(place), "{place} in {text}");
        }
        assert!(!script("https://gw/'; id; '", None, "").contains("'; id"));
        assert!(text.contains("pin='sha256//AAAA'") && text.contains("x86_64) sum=00 ;;"), "{text}");
        assert!(!script("http://gw:7440", None, "").contains("pinnedpubkey 'sha"));
    }

    #[test]
    fn other_architectures_come_from_a_directory() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("hostler-linux-aarch64"), b"a binary").unwrap();
        std::fs::write(dir.path().join("hostler-linux-x$(id)"), b"no architecture").unwrap();
        let binaries = Binaries::open(Some(dir.path())).unwrap();
        let cases = binaries.cases().unwrap();
        let sum: String = Sha256::digest(b"a binary").iter().map(|b| format!("{b:02x}")).collect();
        assert!(cases.contains(&format!("aarch64) sum={sum} ;;")), "{cases}");
        assert!(cases.contains(std::env::consts::ARCH) && !cases.contains("id"), "{cases}");
        assert!(Binaries::open(Some(Path::new("/nonexistent"))).is_err());
    }
}
