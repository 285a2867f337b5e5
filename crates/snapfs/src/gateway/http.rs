//! One HTTP call: a POST with a JSON body, and its whole answer.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE};
use reqwest::{Client, StatusCode, redirect};
use rustls::crypto::ring;
use rustls::{ClientConfig, RootCertStore};

use super::error::GatewayError;
use crate::settings::Secret;

/// Until a connection stands: a host that does not answer is not waited for as long as a call may take.
const CONNECT: Duration = Duration::from_secs(10);

/// An answer, whatever its status.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    /// Says that it is JSON.
    pub json: bool,
    pub body: Bytes,
}

/// A client that follows no redirect, asks for no compression and uses no proxy.
pub fn client(base: &str) -> Result<Client, GatewayError> {
    let url = reqwest::Url::parse(base).map_err(|error| unusable(base, &error.to_string()))?;
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
        return Err(unusable(base, "it does not begin with http:// or https:// and a host"));
    }
    let builder = Client::builder()
        .no_proxy()
        .redirect(redirect::Policy::none())
        .connect_timeout(CONNECT)
        .user_agent(concat!("Hostler/", env!("CARGO_PKG_VERSION")))
        .tls_backend_preconfigured(tls(url.scheme() == "https")?);
    builder.build().map_err(|error| GatewayError::Setup(format!("an HTTP client cannot be set up: {error}")))
}

fn unusable(base: &str, why: &str) -> GatewayError {
    // A password in the URL is not repeated.
    let shown = base.rsplit_once('@').map_or(base, |(_, host)| host);
    GatewayError::Setup(format!(
        "the gateway's URL {shown:?} cannot be used: {why}; give one such as http://127.0.0.1:7440"
    ))
}

/// Without `needed` nobody's word is taken, so that the machine's roots need not be read.
fn tls(needed: bool) -> Result<ClientConfig, GatewayError> {
    let mut roots = RootCertStore::empty();
    if needed {
        let found = rustls_native_certs::load_native_certs();
        roots.add_parsable_certificates(found.certs);
        if roots.is_empty() {
            let why = found.errors.first().map_or_else(|| "there are none".to_owned(), ToString::to_string);
            return Err(GatewayError::Setup(format!(
                "this machine's root certificates cannot be used: {why}; install the package ca-certificates, or set SSL_CERT_FILE"
            )));
        }
    }
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| GatewayError::Setup(format!("TLS cannot be set up: {error}")))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(config)
}

/// Sends one POST and reads at most `limit` bytes of the answer. An error says what happened, without the URL.
pub async fn post(
    client: &Client,
    url: &str,
    bearer: Option<&Secret>,
    body: Bytes,
    timeout: Duration,
    limit: usize,
) -> Result<Answer, String> {
    let mut request = client.post(url).header(CONTENT_TYPE, "application/json").body(body);
    if let Some(token) = bearer {
        request = request.header(AUTHORIZATION, format!("Bearer {}", token.expose()));
    }
    let exchange = async {
        let mut response = request.send().await.map_err(words)?;
        let kind = response.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        let kind = kind.split(';').next().unwrap_or_default().trim();
        let json = kind.eq_ignore_ascii_case("application/json");
        let status = response.status();
        let mut body = BytesMut::new();
        while let Some(chunk) = response.chunk().await.map_err(words)? {
            if body.len() + chunk.len() > limit {
                return Err(format!("it answered with more than {limit} bytes"));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(Answer { status, json, body: body.freeze() })
    };
    match tokio::time::timeout(timeout, exchange).await {
        Ok(answer) => answer,
        Err(_) => Err(format!("no answer within {} seconds", timeout.as_secs_f64())),
    }
}

/// The innermost reason, which is the one that says something; never the URL.
fn words(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut source: &dyn std::error::Error = &error;
    while let Some(inner) = source.source() {
        source = inner;
    }
    source.to_string()
}
