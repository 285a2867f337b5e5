//! One binary: the link over every byte stream it runs on, and every way it can end.

#![allow(clippy::unwrap_used, reason = "clippy's own exception for tests does not reach their helpers")]

mod calls;
mod cancel;
mod dialling;
mod headers;
mod loss;
mod memory;
mod peers;
mod shutdown;
mod support;
mod tls;
mod unix_socket;
mod websocket;
mod windows;
