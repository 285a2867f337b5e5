//! Dialling a gateway, and everything else that may answer at its address.

use std::time::Duration;

use hostler_link::{DialError, Hello, LINK_PATH, Settings, Token, Trust, dial, dial_with};
use http::StatusCode;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::support::{Gateway, hello, soon};

/// A server that reads a request's head, sends `answer` to it, and keeps the connection open.
async fn server(answer: Vec<u8>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        let (mut tcp, _) = listener.accept().await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(tcp.read_u8().await.unwrap());
        }
        assert!(head.starts_with(format!("GET {LINK_PATH} HTTP/1.1\r\n").as_bytes()));
        let _ = tcp.write_all(&answer).await;
        std::future::pending::<()>().await;
    });
    url
}

async fn error(url: &str) -> DialError {
    let settings = Settings { handshake_timeout: Duration::from_millis(500), ..Settings::default() };
    soon("dialling", dial_with(url, &Trust::System, |_| Ok(hello(0)), &settings)).await.err().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_generation_grows_past_both_ends() {
    let gateway = Gateway::start().await;
    for (known, given) in [(0, 1), (1, 2), (100, 101), (5, 102)] {
        let (_stream, welcome) = dial(&gateway.url(), &Trust::System, |_| Ok(hello(known))).await.unwrap();
        assert_eq!((welcome.generation, welcome.gateway.as_str()), (given, "gateway-1"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn schemes_and_prefixes() {
    let gateway = Gateway::start().await;
    for url in [
        format!("ws://{}", gateway.address),
        format!("http://{}/prefix", gateway.address),
        format!("{}/prefix/", gateway.url()),
    ] {
        dial(&url, &Trust::System, |_| Ok(hello(0))).await.unwrap();
    }
    for url in [
        "",
        "gw",
        "gw:7440",
        "ftp://gw",
        "http://",
        "http://user@gw",
        "http://gw?token=1",
        "http://gw:99999",
        "http://gw:x",
    ] {
        assert!(matches!(error(url).await, DialError::Url { .. }), "{url}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_is_told_with_its_reason() {
    let gateway = Gateway::start().await;
    let revoked = Hello { token: Token::new("old").unwrap(), ..hello(0) };
    match dial(&gateway.url(), &Trust::System, |_| Ok(revoked)).await.err().unwrap() {
        DialError::Refused(refusal) => {
            assert_eq!(refusal.status, StatusCode::UNAUTHORIZED);
            assert_eq!(refusal.code, "token_revoked");
            assert_eq!(refusal.hint, "run hostler join again");
            assert_eq!(refusal.retry_after, Some(Duration::from_secs(30)));
        }
        other => panic!("{other}"),
    }
    let newer = Hello { protocol: 2, ..hello(0) };
    match dial(&gateway.url(), &Trust::System, |_| Ok(newer)).await.err().unwrap() {
        DialError::Refused(refusal) => assert_eq!(refusal.code, "protocol_mismatch"),
        other => panic!("{other}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endless_refusal_is_read_in_part() {
    let mut answer = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 1000000000\r\n\r\n".to_vec();
    answer.extend(vec![b'x'; 1 << 20]);
    match error(&server(answer).await).await {
        DialError::Refused(refusal) => {
            assert_eq!(refusal.code, "http_503");
            assert!(refusal.message.starts_with("xxx") && refusal.message.len() < 1000);
        }
        other => panic!("{other}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn silence_is_bounded() {
    for answer in ["", "HTTP/1.1 101 Switching", "HTTP/1.1 500 No\r\ncontent-length: 10\r\n\r\nhal"] {
        let error = error(&server(answer.into()).await).await;
        assert!(matches!(error, DialError::TimedOut { .. }), "{answer:?}: {error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_gateway_is_told() {
    let upgrade = "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n";
    let answers = [
        "SSH-2.0-OpenSSH_9.9\r\n".to_owned(),
        format!("HTTP/1.1 101 Switching Protocols\r\nx: {}\r\n\r\n", "x".repeat(100_000)),
        format!("{upgrade}\r\n"),
        format!("{upgrade}sec-websocket-accept: bm90IHRoZSBrZXk=\r\n\r\n"),
    ];
    for answer in answers {
        let error = error(&server(answer.clone().into()).await).await;
        assert!(matches!(error, DialError::Protocol(_)), "{answer:?}: {error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_there() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    assert!(matches!(error(&url).await, DialError::Connect { .. }));
    assert!(matches!(
        error("http://no-such-host.invalid").await,
        DialError::Resolve { .. } | DialError::TimedOut { .. }
    ));
}
