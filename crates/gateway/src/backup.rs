//! Backups over HTTP: one file out, one file in, one at a time, beside the running gateway.
//!
//! Both go through a file in the data directory, which needs as much room as the database takes. A backup's file has no
//! name any more when it is sent: nothing is left of it, however the download ends.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::body::{Body, BodyDataStream};
use futures_util::StreamExt;
use hostler_link::CloseReason;
use hostler_model::bytestr;
use tokio::io::AsyncWriteExt;
use tokio::sync::{Mutex, OwnedMutexGuard};
use tokio_util::io::ReaderStream;

use crate::clock;
use crate::events::Event;
use crate::state::AppState;
use crate::store::{NewEvent, Severity, StoreError};

/// Largest backup that is taken in.
pub const MAX_BYTES: u64 = 64 << 30;
/// Bytes read at once.
const CHUNK: usize = 256 * 1024;

/// Why nothing was backed up or restored.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// One at a time.
    #[error("another backup or restore is under way; wait until it has ended")]
    Busy,
    /// Too much.
    #[error("the backup is larger than {} GiB; nothing was changed", MAX_BYTES >> 30)]
    TooLarge,
    /// The client went away or sent nonsense.
    #[error("the backup did not arrive as a whole ({0}); nothing was changed")]
    Body(axum::Error),
    /// A file of the data directory.
    #[error("{path}: {source}")]
    File {
        /// Which.
        path: String,
        /// Why not.
        source: io::Error,
    },
    /// The store failed, or the file is no good backup.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Where backups pass through. Cheap to clone.
#[derive(Clone)]
pub struct Backups {
    dir: Arc<Path>,
    turn: Arc<Mutex<()>>,
}

/// A file that goes with this.
struct Scratch {
    path: PathBuf,
    _turn: OwnedMutexGuard<()>,
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What is left of it is replaced by the next one.
        let _ = std::fs::remove_file(&self.path);
    }
}

impl Backups {
    /// Backups that pass through files in the data directory.
    pub fn new(dir: &Path) -> Self {
        Self { dir: dir.into(), turn: Arc::default() }
    }

    fn scratch(&self, name: &str) -> Result<Scratch, BackupError> {
        let turn = self.turn.clone().try_lock_owned().map_err(|_| BackupError::Busy)?;
        let path = self.dir.join(name);
        match std::fs::remove_file(&path) {
            // Of a gateway that was killed while it made one.
            Ok(()) => tracing::info!(name, "removed what was left of an earlier backup or restore"),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(source) => return Err(file_error(&path)(source)),
        }
        Ok(Scratch { path, _turn: turn })
    }
}

/// A copy of the database as it is now, and its size in bytes.
pub async fn backup(state: &AppState) -> Result<(u64, Body), BackupError> {
    let scratch = state.backups.scratch("backup.db")?;
    state.store.backup_to(&scratch.path).await?;
    let file = tokio::fs::File::open(&scratch.path).await.map_err(file_error(&scratch.path))?;
    let size = file.metadata().await.map_err(file_error(&scratch.path))?.len();
    Ok((size, Body::from_stream(ReaderStream::with_capacity(file, CHUNK))))
}

/// Replaces everything by the backup that `body` holds. All links end: hosts must prove themselves to what is known now.
pub async fn restore(state: &AppState, body: BodyDataStream, by: &str) -> Result<(), BackupError> {
    let scratch = state.backups.scratch("restore.db")?;
    receive(body, &scratch.path).await?;
    // Before: nothing of the store that goes is to be committed into the one that comes.
    state.snapfs.forget_all();
    state.store.restore_from(&scratch.path, clock::now()).await?;
    state.snapfs.forget_all();
    state.fleet.end_all(&CloseReason::Evicted);
    state.auth.changed();
    let message = format!("a backup was restored by {by}; hosts that joined after it was made must join again");
    let kept = state.store.append_gateway_event(NewEvent::of_gateway("gateway.restored", Severity::Warning, message));
    state.events.send(Event::Activity(Box::new(kept.await?)));
    Ok(())
}

async fn receive(mut body: BodyDataStream, path: &Path) -> Result<(), BackupError> {
    let mut options = tokio::fs::File::options();
    options.write(true).create_new(true).mode(0o600);
    let mut file = options.open(path).await.map_err(file_error(path))?;
    let mut bytes = 0_u64;
    while let Some(piece) = body.next().await {
        let piece = piece.map_err(BackupError::Body)?;
        bytes += piece.len() as u64;
        if bytes > MAX_BYTES {
            return Err(BackupError::TooLarge);
        }
        file.write_all(&piece).await.map_err(file_error(path))?;
    }
    file.flush().await.map_err(file_error(path))
}

fn file_error(path: &Path) -> impl FnOnce(io::Error) -> BackupError {
    let path = bytestr::display(path.as_os_str().as_encoded_bytes()).into();
    move |source| BackupError::File { path, source }
}
