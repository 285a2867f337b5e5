//! Links over real TLS: who is believed, and what both ends know of the connection.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::routing::post;
use hostler_identity::Pin;
use hostler_identity::assertion::ChannelBinding;
use hostler_link::check::{Hop, check};
use hostler_link::tls::channel_binding;
use hostler_link::{ByteStream, DialError, Dialled, Peer, Settings, Trust, dial_with};
use http::StatusCode;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rcgen::{CertificateParams, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;
use tower::ServiceExt as _;

use crate::support::{Echo, Gateway, Pair, hello, soon};

/// A gateway with a self-made certificate on a real listener.
struct TlsGateway {
    url: String,
    pin: Pin,
    links: mpsc::UnboundedReceiver<(u64, ByteStream)>,
    bindings: mpsc::UnboundedReceiver<[u8; 32]>,
}

impl TlsGateway {
    async fn start(change: impl FnOnce(&mut CertificateParams)) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
        change(&mut params);
        let certificate = params.self_signed(&key).unwrap();
        let pin = Pin::of_certificate(certificate.der()).unwrap();
        let private = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], private)
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://{}", listener.local_addr().unwrap());
        let (app, links) = Gateway::app();
        let app = app.route("/api/v1/echo", post(|body: String| async move { (StatusCode::CREATED, body) }));
        let (told, bindings) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            loop {
                let (tcp, _) = listener.accept().await.unwrap();
                let (acceptor, app, told) = (acceptor.clone(), app.clone(), told.clone());
                tokio::spawn(async move {
                    if let Ok(stream) = acceptor.accept(tcp).await {
                        told.send(channel_binding(stream.get_ref().1).unwrap()).unwrap();
                        serve(stream, app).await;
                    }
                });
            }
        });
        Self { url, pin, links, bindings }
    }

    /// Dials with `trust` and gives the agent's view of the connection.
    async fn dial(&self, trust: &Trust) -> Result<(hostler_link::DialledStream, Dialled), DialError> {
        let mut seen = None;
        let hello = |dialled: &Dialled| {
            seen = Some(dialled.clone());
            Ok(hello(0))
        };
        let dialled = soon("dialling", dial_with(&self.url, trust, hello, &Settings::default())).await;
        dialled.map(|(stream, _)| (stream, seen.unwrap()))
    }
}

async fn serve(stream: tokio_rustls::server::TlsStream<tokio::net::TcpStream>, app: Router) {
    let service = service_fn(move |request: http::Request<hyper::body::Incoming>| {
        let app = app.clone();
        async move { Ok::<_, Infallible>(app.oneshot(request.map(Body::new)).await.unwrap()) }
    });
    let server = hyper::server::conn::http1::Builder::new();
    let _ = server.serve_connection(TokioIo::new(stream), service).with_upgrades().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pinned_gateway_is_believed_whatever_its_names_and_dates() {
    let mut gateway = TlsGateway::start(|params| {
        params.subject_alt_names.clear();
        params.not_after = rcgen::date_time_ymd(2020, 1, 1);
    })
    .await;
    let (agent, _) = gateway.dial(&Trust::Pinned(gateway.pin)).await.unwrap();
    let (_, stream) = soon("accepting", gateway.links.recv()).await.unwrap();
    let pair = Pair::new(agent, stream, Peer::Stdio { parent_pid: 1 }, &Settings::default()).await;
    assert_eq!(Echo::new(&pair.client).unary("hello", Default::default()).await.unwrap(), b"hello");
}

#[tokio::test(flavor = "multi_thread")]
async fn another_pin_is_refused_with_both() {
    let gateway = TlsGateway::start(|_| ()).await;
    let expected = Pin([7; 32]);
    let error = gateway.dial(&Trust::Pinned(expected)).await.err().unwrap();
    let text = error.to_string();
    assert!(matches!(error, DialError::Tls { .. }), "{text}");
    assert!(text.contains(&expected.to_string()) && text.contains(&gateway.pin.to_string()), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_self_made_certificate_needs_its_pin() {
    let gateway = TlsGateway::start(|_| ()).await;
    match gateway.dial(&Trust::System).await.err().unwrap() {
        DialError::Tls { why, .. } => assert!(why.contains("needs its pin"), "{why}"),
        // A machine without root certificates believes nobody at all.
        DialError::TlsSetup(error) => assert!(error.to_string().contains("ca-certificates"), "{error}"),
        other => panic!("{other}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn both_ends_know_the_connection_and_no_other() {
    let mut gateway = TlsGateway::start(|_| ()).await;
    let mut seen = Vec::new();
    for _ in 0..3 {
        let (_stream, dialled) = gateway.dial(&Trust::Pinned(gateway.pin)).await.unwrap();
        let theirs = gateway.bindings.recv().await.unwrap();
        assert_eq!(dialled.binding, ChannelBinding::TlsExporter(theirs));
        assert_eq!(dialled.origin, gateway.url);
        assert!(!seen.contains(&theirs));
        seen.push(theirs);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_scheme_is_told() {
    let plain = Gateway::start().await;
    let settings = Settings { handshake_timeout: Duration::from_secs(2), ..Settings::default() };
    let pinned = Trust::Pinned(Pin([7; 32]));
    let error = dial_with(&plain.url().replace("http:", "https:"), &pinned, |_| Ok(hello(0)), &settings).await;
    let text = error.err().unwrap().to_string();
    assert!(text.contains("use http://"), "{text}");

    let tls = TlsGateway::start(|_| ()).await;
    let url = tls.url.replace("https:", "http:");
    let error = dial_with(&url, &Trust::System, |_| Ok(hello(0)), &settings).await.err().unwrap();
    assert!(matches!(error, DialError::Protocol(_)), "{error}");

    // The pin promises something that plain HTTP does not keep.
    let error = dial_with(&url, &pinned, |_| Ok(hello(0)), &settings).await.err().unwrap();
    assert!(error.to_string().contains("https:// only"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_way_is_told_hop_by_hop() {
    let gateway = TlsGateway::start(|_| ()).await;
    let settings = Settings::default();
    let steps = check(&gateway.url, &Trust::Pinned(gateway.pin), &settings).await;
    let hops: Vec<_> = steps.iter().map(|step| (step.hop, step.outcome.is_ok())).collect();
    assert_eq!(hops, [(Hop::Url, true), (Hop::Name, true), (Hop::Tcp, true), (Hop::Tls, true)]);
    let shown = steps[3].certificate.as_ref().unwrap();
    assert_eq!((shown.pin, shown.names[0].as_str()), (gateway.pin, "localhost"));

    let steps = check(&gateway.url, &Trust::Pinned(Pin([7; 32])), &settings).await;
    let last = steps.last().unwrap();
    assert!(last.hop == Hop::Tls && last.outcome.is_err());
    assert_eq!(last.certificate.as_ref().unwrap().pin, gateway.pin, "the certificate is told though not believed");

    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}", closed.local_addr().unwrap());
    drop(closed);
    let steps = check(&url, &Trust::Pinned(gateway.pin), &settings).await;
    assert!(matches!(steps.last().unwrap(), step if step.hop == Hop::Tcp && step.outcome.is_err()));
    let steps = check("gateway", &Trust::System, &settings).await;
    assert!(matches!(&steps[..], [step] if step.hop == Hop::Url && step.outcome.is_err()));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_request_outside_a_link() {
    let gateway = TlsGateway::start(|_| ()).await;
    let (trust, settings) = (Trust::Pinned(gateway.pin), Settings::default());
    let send = |path: &'static str, body: Vec<u8>| hostler_link::post(&gateway.url, &trust, path, body, &settings);
    let (status, body) = send("/api/v1/echo", b"{\"a\":1}".to_vec()).await.unwrap();
    assert_eq!((status, body.as_slice()), (StatusCode::CREATED, b"{\"a\":1}".as_slice()));
    let refused = send("/api/v1/nowhere", Vec::new()).await.unwrap_err();
    assert!(matches!(refused, DialError::Refused(refusal) if refusal.status == StatusCode::NOT_FOUND));
    let endless = send("/api/v1/echo", vec![b'x'; 100_000]).await.unwrap_err();
    assert!(matches!(endless, DialError::Protocol(_)));
}
