//! What `hostler up` and `hostler gateway` share.

use std::path::PathBuf;

use anyhow::{Context, Result};
use hostler_gateway::{Gateway, GatewaySettings, TlsSettings};
use tokio_util::sync::CancellationToken;

use crate::args::Serve;

/// The gateway's settings as typed: beyond loopback there is TLS, unless plain HTTP was typed out.
pub fn settings(args: &Serve, data: PathBuf) -> GatewaySettings {
    let tls = match (&args.tls_cert, &args.tls_key) {
        (Some(cert), Some(key)) => TlsSettings::Files { cert: cert.clone(), key: key.clone() },
        _ if args.insecure_http || args.listen.ip().is_loopback() => TlsSettings::Off,
        _ => TlsSettings::SelfMade,
    };
    GatewaySettings {
        data,
        listen: args.listen,
        insecure_http: args.insecure_http,
        tls,
        external_url: args.external_url.clone(),
        trusted_proxies: args.trusted_proxy.clone(),
        agent_binaries: args.agent_binary.clone(),
        webhooks_anywhere: args.webhooks_anywhere,
        snapfs_require_key: args.snapfs_require_key,
    }
}

/// Cancelled by Ctrl-C or SIGTERM; a second one ends the process at once.
pub fn stop_on_signals() -> Result<CancellationToken> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot wait for Ctrl-C")?;
    let mut terminate = signal(SignalKind::terminate()).context("cannot wait for SIGTERM")?;
    let stop = CancellationToken::new();
    let told = stop.clone();
    tokio::spawn(async move {
        for code in [None, Some(130)] {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            match code {
                None => told.cancel(),
                Some(code) => std::process::exit(code),
            }
        }
    });
    Ok(stop)
}

/// The first lines a person sees.
pub fn announce(gateway: &Gateway, link: &str) {
    println!("Hostler {} is up: {}", env!("CARGO_PKG_VERSION"), gateway.url());
    println!("  Sign in     {link}");
    println!("              works once, within 15 minutes; `hostler sign-in` prints another");
    if let Some(pin) = gateway.pin() {
        println!("  Key         {pin} (the certificate is self-made: browsers ask once)");
    }
}

/// Tells systemd that the service is up, when it asked to be told: sd_notify(3).
pub fn ready() {
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::net::{SocketAddr, UnixDatagram};
    let Some(socket) = std::env::var_os("NOTIFY_SOCKET") else { return };
    let told = || {
        let address = match socket.as_bytes().strip_prefix(b"@") {
            Some(name) => SocketAddr::from_abstract_name(name)?,
            None => SocketAddr::from_pathname(&socket)?,
        };
        UnixDatagram::unbound()?.send_to_addr(b"READY=1", &address)
    };
    if let Err(error) = told() {
        eprintln!("systemd was not told that the service is up: {error}");
    }
}
