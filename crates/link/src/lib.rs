//! One session over any byte stream, in which the **agent is the HTTP/2 server** and the gateway the client.
//!
//! | byte stream | agent | other end |
//! |---|---|---|
//! | WebSocket, dialled by the agent | [`dial`], then [`serve`] | [`accept`], then [`LinkClient::connect`] |
//! | unix socket | [`UnixServer`] | a connected `UnixStream`, then [`LinkClient::connect`] |
//! | standard input and output | [`stdio::stdio`], then [`serve`] | [`stdio::join`] of a child's pipes, then [`LinkClient::connect`] |
//!
//! Calls are ordinary Connect or gRPC calls with flow control, deadlines and cancellation: there is no second protocol
//! for logs, terminals or files. [`handshake`] is the HTTP upgrade that starts a dialled link, [`settings`] has the
//! numbers and their reasons.
//!
//! What this crate takes care of, because the defaults of the libraries below fail at it:
//! - stalled streams never block other calls (windows, in [`settings`]);
//! - an idle link is cheap (WebSocket buffers, in [`settings`]);
//! - a link can be cut at once, with everything on it ([`LinkClient::kill`]);
//! - calls on a lost link fail as `unavailable`, whatever they were doing ([`LinkClient::map_error`]).

mod accept;
pub mod check;
mod client;
mod connect;
mod dial;
mod dial_error;
pub mod handshake;
mod kill;
mod peer;
mod post;
mod reason;
mod server;
pub mod settings;
mod state;
pub mod stdio;
mod target;
pub mod tls;
mod transport;
mod unix;
mod websocket;

pub use accept::{accept, listen};
pub use client::{LinkBody, LinkClient, LinkClosed};
pub use connect::Dialled;
pub use dial::{HelloError, LINK_PATH, dial, dial_with, gateway_peer, rehearse};
pub use dial_error::DialError;
pub use handshake::{HandshakeError, Hello, Instance, Refusal, Token, Welcome, next_generation};
pub use peer::Peer;
pub use post::post;
pub use reason::{CloseReason, LinkError};
pub use server::{serve, serve_with};
pub use settings::Settings;
pub use target::origin;
pub use tls::Trust;
pub use transport::Transport;
pub use unix::{MAX_CONNECTIONS, UnixError, UnixServer};
pub use websocket::{ByteStream, DialledStream, WebSocketStream};
