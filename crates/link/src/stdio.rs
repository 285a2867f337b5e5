//! Standard input and output as one byte stream, for `ssh host hostler agent --stdio`.
//!
//! Pipes and sockets are polled by the runtime; tokio's own stdin and stdout move every chunk through a blocking thread,
//! at a third of the speed. A terminal or a file is refused: nobody at a keyboard speaks HTTP/2.
//!
//! The other side, a child's pipes, is [`join`]`(child.stdout, child.stdin)`.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixStream as StdUnixStream;
use std::pin::Pin;
use std::task::{Context, Poll};

use rustix::fs::FileType;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::UnixStream;
use tokio::net::unix::pipe;

pub use tokio::io::{Join, join};

use crate::Peer;

/// Standard input or output cannot carry a link.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StdioError {
    /// It is a terminal, a file, or a device.
    #[error("{which} is {what}, not a pipe or a socket; start this through ssh or another program")]
    Kind {
        /// "standard input" or "standard output".
        which: &'static str,
        /// What it is.
        what: &'static str,
    },
    /// The system refused.
    #[error("{which} cannot be used: {source}")]
    Io {
        /// "standard input" or "standard output".
        which: &'static str,
        /// The system's word.
        source: io::Error,
    },
}

/// This process's standard input and output.
///
/// They are set to non-blocking, and nothing else in the process may use them from now on. The other end sees the end of
/// the stream when the process exits.
///
/// # Errors
/// [`StdioError`] when one of them is neither a pipe nor a socket.
pub fn stdio() -> Result<Join<ReadEnd, WriteEnd>, StdioError> {
    let (stdin, stdout) = (io::stdin(), io::stdout());
    let input = stdin.as_fd().try_clone_to_owned();
    let output = stdout.as_fd().try_clone_to_owned();
    from_fds(
        input.map_err(|source| StdioError::Io { which: "standard input", source })?,
        output.map_err(|source| StdioError::Io { which: "standard output", source })?,
    )
}

/// A byte stream of any two descriptors, as [`stdio`] makes it of 0 and 1. They may be the same socket twice.
///
/// # Errors
/// As [`stdio`].
pub fn from_fds(input: OwnedFd, output: OwnedFd) -> Result<Join<ReadEnd, WriteEnd>, StdioError> {
    let read = ReadEnd::new(input)?;
    let write = WriteEnd::new(output)?;
    Ok(join(read, write))
}

/// The [`Peer`] on standard input: the process that started this one.
pub fn stdio_peer() -> Peer {
    let parent = rustix::process::getppid().map_or(0, |pid| pid.as_raw_nonzero().get().unsigned_abs());
    Peer::Stdio { parent_pid: parent }
}

/// What can be read: a pipe or a socket.
pub enum ReadEnd {
    /// A pipe.
    Pipe(pipe::Receiver),
    /// A socket.
    Socket(UnixStream),
}

/// What can be written: a pipe or a socket.
pub enum WriteEnd {
    /// A pipe.
    Pipe(pipe::Sender),
    /// A socket.
    Socket(UnixStream),
}

impl ReadEnd {
    fn new(fd: OwnedFd) -> Result<Self, StdioError> {
        let which = "standard input";
        match kind(&fd, which)? {
            Kind::Pipe => pipe::Receiver::from_owned_fd(fd).map(Self::Pipe),
            Kind::Socket => socket(fd).map(Self::Socket),
        }
        .map_err(|source| StdioError::Io { which, source })
    }
}

impl WriteEnd {
    fn new(fd: OwnedFd) -> Result<Self, StdioError> {
        let which = "standard output";
        match kind(&fd, which)? {
            Kind::Pipe => pipe::Sender::from_owned_fd(fd).map(Self::Pipe),
            Kind::Socket => socket(fd).map(Self::Socket),
        }
        .map_err(|source| StdioError::Io { which, source })
    }
}

enum Kind {
    Pipe,
    Socket,
}

fn kind(fd: &OwnedFd, which: &'static str) -> Result<Kind, StdioError> {
    let stat = rustix::fs::fstat(fd).map_err(|error| StdioError::Io { which, source: error.into() })?;
    let what = match FileType::from_raw_mode(stat.st_mode) {
        FileType::Fifo => return Ok(Kind::Pipe),
        FileType::Socket => return Ok(Kind::Socket),
        FileType::RegularFile => "a file",
        FileType::CharacterDevice if rustix::termios::isatty(fd) => "a terminal",
        FileType::CharacterDevice => "a device",
        _ => "something else",
    };
    Err(StdioError::Kind { which, what })
}

fn socket(fd: OwnedFd) -> io::Result<UnixStream> {
    let socket = StdUnixStream::from(fd);
    socket.set_nonblocking(true)?;
    UnixStream::from_std(socket)
}

impl AsyncRead for ReadEnd {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Pipe(pipe) => Pin::new(pipe).poll_read(cx, buf),
            Self::Socket(socket) => Pin::new(socket).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for WriteEnd {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Pipe(pipe) => Pin::new(pipe).poll_write(cx, buf),
            Self::Socket(socket) => Pin::new(socket).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Pipe(pipe) => Pin::new(pipe).poll_write_vectored(cx, bufs),
            Self::Socket(socket) => Pin::new(socket).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Pipe(pipe) => Pin::new(pipe).poll_flush(cx),
            Self::Socket(socket) => Pin::new(socket).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Pipe(pipe) => Pin::new(pipe).poll_shutdown(cx),
            Self::Socket(socket) => Pin::new(socket).poll_shutdown(cx),
        }
    }
}
