//! A WebSocket client (RFC 6455), as much of it as the tests need.

use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// What is waited for comes within this time.
const PATIENCE: Duration = Duration::from_secs(60);

/// An open socket.
pub struct Socket(TcpStream);

/// What the other side sent.
#[derive(Debug, PartialEq, Eq)]
pub enum Frame {
    Text(String),
    /// With its code.
    Close(u16),
    /// The connection ended without a farewell.
    End,
}

impl Socket {
    /// Asks for an upgrade; the status and the body when it is refused.
    pub async fn open(address: std::net::SocketAddr, path: &str, headers: &[&str]) -> Result<Self, (u16, String)> {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let headers: String = headers.iter().map(|header| format!("{header}\r\n")).collect();
        let head = format!(
            "GET {path} HTTP/1.1\r\nhost: gateway\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
             sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n{headers}\r\n"
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut seen = Vec::new();
        while !seen.ends_with(b"\r\n\r\n") {
            seen.push(stream.read_u8().await.unwrap());
        }
        let head = String::from_utf8(seen).unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        if status == 101 {
            return Ok(Self(stream));
        }
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap_or("0");
        let mut body = vec![0; length.parse().unwrap()];
        stream.read_exact(&mut body).await.unwrap();
        Err((status, String::from_utf8(body).unwrap()))
    }

    /// Sends a text.
    pub async fn send(&mut self, text: &str) {
        let mask = [1, 2, 3, 4];
        let mut frame = match u8::try_from(text.len()).ok().filter(|length| *length < 126) {
            Some(length) => vec![0x81, 0x80 | length],
            None => [&[0x81, 0xfe][..], &u16::try_from(text.len()).unwrap().to_be_bytes()].concat(),
        };
        frame.extend_from_slice(&mask);
        frame.extend(text.bytes().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
        self.0.write_all(&frame).await.unwrap();
    }

    /// The next frame that is not a ping.
    pub async fn next(&mut self) -> Frame {
        tokio::time::timeout(PATIENCE, self.read()).await.expect("nothing came")
    }

    /// True when nothing comes within this time.
    pub async fn is_silent_for(&mut self, time: Duration) -> bool {
        let mut byte = [0];
        tokio::time::timeout(time, self.0.peek(&mut byte)).await.is_err()
    }

    /// The next text as JSON.
    pub async fn json(&mut self) -> Value {
        match self.next().await {
            Frame::Text(text) => serde_json::from_str(&text).unwrap(),
            other => panic!("{other:?}"),
        }
    }

    async fn read(&mut self) -> Frame {
        loop {
            let mut head = [0; 2];
            if self.0.read_exact(&mut head).await.is_err() {
                return Frame::End;
            }
            let length = match head[1] {
                126 => u64::from(self.0.read_u16().await.unwrap()),
                127 => self.0.read_u64().await.unwrap(),
                short => u64::from(short),
            };
            let mut body = vec![0; usize::try_from(length).unwrap()];
            self.0.read_exact(&mut body).await.unwrap();
            assert_eq!(head[0] & 0x70, 0, "nothing is compressed");
            match head[0] {
                0x81 => return Frame::Text(String::from_utf8(body).unwrap()),
                0x88 => return Frame::Close(u16::from_be_bytes([body[0], body[1]])),
                0x89 => {}
                other => panic!("an opcode of {other:x}"),
            }
        }
    }
}
