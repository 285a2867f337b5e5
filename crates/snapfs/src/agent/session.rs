//! The life of one socket.
//!
//! The hello is the first frame, then replies that the socket before did not deliver. A protocol ping every 30 s finds
//! a gateway that is gone without a word; so does one behind each reply. In the second generation a `PING` goes out too,
//! whose `PONG` is not waited for.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep_until, timeout};
use tokio_tungstenite::tungstenite::{Bytes, Error, Message, Utf8Bytes};
use tokio_util::sync::CancellationToken;

use super::drain::Drain;
use super::messages::{Received, Words};
use super::socket::Socket;
use super::work::Work;
use crate::config::Generation;

const KEEPALIVE: Duration = Duration::from_secs(30);
const PONG_MAX: Duration = Duration::from_secs(15);
/// A gateway that does not read for as long is gone.
const SEND_MAX: Duration = Duration::from_secs(15);
/// For a scan that was interrupted to end, and for the last words.
const STOP_MAX: Duration = Duration::from_secs(3);
const CLOSE_MAX: Duration = Duration::from_millis(500);
/// Marks pings that say nothing of replies.
const KEEPALIVE_NUMBER: u64 = 0;

/// How a socket ended.
pub(super) enum Ended {
    /// The agent was told to end.
    Stopped,
    /// The gateway closed it in an orderly way.
    Closed,
    /// It broke: why.
    Broken(String),
}

pub(super) struct Session<'a> {
    socket: Socket,
    work: &'a mut Work,
    drain: &'a mut Drain,
    /// When the oldest ping that was not answered must be.
    pong_due: Option<Instant>,
}

impl<'a> Session<'a> {
    pub(super) fn new(socket: Socket, work: &'a mut Work, drain: &'a mut Drain) -> Self {
        Self { socket, work, drain, pong_due: None }
    }

    /// Runs it to its end.
    pub(super) async fn run(mut self, stop: &CancellationToken) -> Ended {
        let ended = match self.follow(stop).await {
            Ok(ended) => ended,
            Err(Error::ConnectionClosed) => Ended::Closed,
            Err(error) => Ended::Broken(error.to_string()),
        };
        match ended {
            Ended::Stopped => self.say_goodbye().await,
            // What the gateway waits for in an orderly end. It has closed, so nothing depends on it.
            Ended::Closed => drop(timeout(CLOSE_MAX, self.socket.close(None)).await),
            Ended::Broken(_) => {}
        }
        ended
    }

    async fn follow(&mut self, stop: &CancellationToken) -> Result<Ended, Error> {
        self.work.settle_ended();
        self.work.outbox.reconnected();
        let hello = Words(&self.work.settings).hello(&self.work.active_ids());
        self.say(hello).await?;
        self.say_outbox().await?;
        self.drain.start_if_needed();
        let mut keepalive = interval_at(Instant::now() + KEEPALIVE, KEEPALIVE);
        let every = self.work.settings.ping_interval;
        let mut pings = interval_at(Instant::now() + every, every);
        keepalive.set_missed_tick_behavior(MissedTickBehavior::Delay);
        pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let says_ping = self.work.settings.generation == Generation::Second;
        loop {
            tokio::select! {
                () = stop.cancelled() => return Ok(Ended::Stopped),
                frame = self.socket.next() => match frame {
                    Some(Ok(Message::Close(_))) | None => return Ok(Ended::Closed),
                    Some(frame) => self.answer(frame?).await?,
                },
                () = self.work.next_end() => self.say_outbox().await?,
                _ = keepalive.tick() => {
                    self.ping(KEEPALIVE_NUMBER).await?;
                    self.drain.start_if_needed();
                }
                _ = pings.tick(), if says_ping => self.say(r#"{"type":"PING"}"#.to_owned()).await?,
                () = sleep_until(self.pong_due.unwrap_or_else(Instant::now)), if self.pong_due.is_some() => {
                    return Ok(Ended::Broken(format!("no answer to a ping within {} s", PONG_MAX.as_secs())));
                }
            }
        }
    }

    async fn answer(&mut self, frame: Message) -> Result<(), Error> {
        let text: Utf8Bytes = match frame {
            Message::Text(text) => text,
            Message::Pong(number) => {
                self.pong_due = None;
                if let Ok(number) = <[u8; 8]>::try_from(number.as_ref()) {
                    self.work.outbox.answered(u64::from_be_bytes(number));
                }
                return Ok(());
            }
            _ => return Ok(()),
        };
        match Received::parse(&text) {
            Received::Ping => self.say(r#"{"type":"PONG"}"#.to_owned()).await,
            Received::Scan(request) => {
                self.work.begin(request);
                self.say_outbox().await
            }
            Received::Cancel { command_id, scan_id } => {
                // A scan that has ended meanwhile is told of first.
                self.work.settle_ended();
                let unmatched = self.work.cancel(command_id.as_deref(), scan_id.as_deref());
                self.say_outbox().await?;
                match unmatched {
                    Some(reply) => self.say(reply).await,
                    None => Ok(()),
                }
            }
            Received::Pong | Received::Unknown => Ok(()),
            Received::Garbage => {
                tracing::warn!("the gateway sent a frame of {} bytes that is no JSON object: ignored", text.len());
                Ok(())
            }
        }
    }

    /// Replies that this socket was not given, and a ping that tells when they have arrived.
    async fn say_outbox(&mut self) -> Result<(), Error> {
        let Some((texts, number)) = self.work.outbox.take() else { return Ok(()) };
        for text in texts {
            self.say(text).await?;
        }
        self.ping(number).await
    }

    async fn ping(&mut self, number: u64) -> Result<(), Error> {
        self.pong_due.get_or_insert(Instant::now() + PONG_MAX);
        self.send(Message::Ping(Bytes::copy_from_slice(&number.to_be_bytes()))).await
    }

    async fn say(&mut self, text: String) -> Result<(), Error> {
        self.send(Message::text(text)).await
    }

    async fn send(&mut self, message: Message) -> Result<(), Error> {
        match timeout(SEND_MAX, self.socket.send(message)).await {
            Ok(sent) => sent,
            Err(_) => Err(Error::Io(std::io::Error::new(std::io::ErrorKind::TimedOut, "the gateway reads nothing"))),
        }
    }

    /// Ends a running scan, tells how it ended, closes the socket.
    async fn say_goodbye(&mut self) {
        self.work.finish(STOP_MAX).await;
        // The agent ends, whatever becomes of this.
        let _ = timeout(CLOSE_MAX, async {
            self.say_outbox().await?;
            self.socket.close(None).await
        })
        .await;
    }
}
