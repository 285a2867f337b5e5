//! A WebSocket as a byte stream, against a WebSocket library used directly.

use std::io::{ErrorKind, IoSlice};

use futures_util::{SinkExt as _, StreamExt as _};
use hostler_link::{ByteStream, CloseReason, LINK_PATH, LinkClient};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;

use crate::support::{Gateway, hello, soon};

/// A plain WebSocket client, and the gateway's end of the same connection.
async fn raw() -> (WebSocketStream<TcpStream>, ByteStream) {
    let gateway = Gateway::start().await;
    let mut request = format!("ws://{}{LINK_PATH}", gateway.address).into_client_request().unwrap();
    request.headers_mut().extend(hello(0).to_headers().unwrap());
    let tcp = TcpStream::connect(gateway.address).await.unwrap();
    let (socket, _) = tokio_tungstenite::client_async(request, tcp).await.unwrap();
    let (_, stream) = gateway.accepted().await;
    (socket, stream)
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_have_no_meaning() {
    let (mut socket, mut stream) = raw().await;
    for message in [Message::binary("ab"), Message::binary(""), Message::Ping("x".into()), Message::binary("cdef")] {
        socket.send(message).await.unwrap();
    }
    let mut bytes = [0; 3];
    soon("reading", stream.read_exact(&mut bytes)).await.unwrap();
    assert_eq!(&bytes, b"abc");
    soon("reading", stream.read_exact(&mut bytes)).await.unwrap();
    assert_eq!(&bytes, b"def");
    assert_eq!(soon("the pong", socket.next()).await.unwrap().unwrap(), Message::Pong("x".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frame_and_its_header_are_one_message() {
    let (mut socket, mut stream) = raw().await;
    let payload = vec![7; 64 * 1024];
    let n = stream.write_vectored(&[IoSlice::new(&[0; 9]), IoSlice::new(&payload)]).await.unwrap();
    assert_eq!(n, 9 + payload.len());
    assert_eq!(soon("the message", socket.next()).await.unwrap().unwrap().len(), n);
    assert_eq!(stream.write(&vec![7; 1 << 20]).await.unwrap(), n, "a longer write is cut");
}

#[tokio::test(flavor = "multi_thread")]
async fn text_is_an_error() {
    let (mut socket, mut stream) = raw().await;
    socket.send(Message::text("hello")).await.unwrap();
    let error = soon("reading", stream.read_u8()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidData);
    assert!(error.to_string().contains("text message"), "{error}");

    let (mut socket, stream) = raw().await;
    let (_client, closed) = LinkClient::connect(stream).await.unwrap();
    socket.send(Message::text("hello")).await.unwrap();
    let reason = soon("the reason", closed).await;
    assert!(matches!(&reason, CloseReason::Lost(text) if text.contains("text message")), "{reason:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn close_is_the_end() {
    let (mut socket, mut stream) = raw().await;
    socket.send(Message::binary("last")).await.unwrap();
    socket.close(None).await.unwrap();
    let mut rest = Vec::new();
    soon("reading", stream.read_to_end(&mut rest)).await.unwrap();
    assert_eq!(rest, b"last");

    let (mut socket, mut stream) = raw().await;
    stream.shutdown().await.unwrap();
    assert!(matches!(soon("the close", socket.next()).await, Some(Ok(Message::Close(_)))));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_breaks_is_no_end() {
    let (socket, mut stream) = raw().await;
    drop(socket);
    let error = soon("reading", stream.read_u8()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_above_the_limit_is_refused() {
    let (mut socket, mut stream) = raw().await;
    let sent = tokio::spawn(async move { socket.send(Message::binary(vec![0; (1 << 20) + 1])).await });
    let error = soon("reading", stream.read_u8()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidData);
    sent.abort();
}
