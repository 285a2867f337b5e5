//! Requests that are small on the wire and large in memory.

use bytes::Bytes;
use connectrpc::client::ClientTransport;
use hostler_api::v1;
use hostler_link::LinkClient;
use http::Request;
use http_body_util::{BodyExt, Full};

use crate::support::{Running, files};

/// Bits, least significant first, as RFC 1951 packs them.
#[derive(Default)]
struct Bits {
    bytes: Vec<u8>,
    free: u32,
}

impl Bits {
    /// Huffman codes are given most significant bit first.
    fn code(&mut self, code: u32, len: u32) {
        for at in (0..len).rev() {
            if self.free == 0 {
                self.bytes.push(0);
                self.free = 8;
            }
            if let Some(last) = self.bytes.last_mut() {
                *last |= ((code >> at & 1) as u8) << (8 - self.free);
            }
            self.free -= 1;
        }
    }
}

/// gzip (RFC 1952) of very many zeros: one literal, then matches of 258 bytes at distance 1, 13 bits each.
fn bomb(wire_bytes: usize) -> Vec<u8> {
    let mut bits = Bits::default();
    bits.code(0b1, 1); // the last block
    bits.code(0b10, 2); // fixed codes, its two bits low first
    bits.code(0b0011_0000, 8);
    while bits.bytes.len() < wire_bytes {
        bits.code(0b1100_0101, 8);
        bits.code(0, 5);
    }
    bits.code(0, 7);
    let mut gzip = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];
    gzip.extend(bits.bytes);
    gzip
}

async fn post(client: &LinkClient, method: &str, headers: &[(&str, &str)], body: Vec<u8>) -> (u16, String) {
    let mut request = Request::post(format!("http://agent/hostler.v1.{method}"));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let body = Full::new(Bytes::from(body)).map_err(|never| match never {}).boxed();
    let response = client.send(request.body(body).unwrap()).await.unwrap();
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8_lossy(&body).into_owned())
}

/// The most memory this process ever had, in bytes, of proc_pid_status(5).
fn peak() -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = text.lines().find_map(|l| l.strip_prefix("VmHWM:")).unwrap();
    line.split_whitespace().next().unwrap().parse::<u64>().unwrap() * 1024
}

#[tokio::test]
async fn a_compressed_bomb_is_refused_before_it_is_large() {
    let (data, tree) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let agent = Running::start(data.path(), files(&[tree.path()])).await;
    let bomb = bomb(200 << 10);
    let before = peak();
    let unary =
        [("content-type", "application/proto"), ("connect-protocol-version", "1"), ("content-encoding", "gzip")];
    let (status, text) = post(&agent.client, "FilesService/CheckRoot", &unary, bomb.clone()).await;
    assert!(
        status >= 400 && (text.contains("unimplemented") || text.contains("resource_exhausted")),
        "{status} {text}"
    );
    // The same in an envelope: flag 1 is "compressed".
    let streaming = [("content-type", "application/connect+proto"), ("connect-content-encoding", "gzip")];
    let mut envelope = vec![1];
    envelope.extend((bomb.len() as u32).to_be_bytes());
    envelope.extend(bomb);
    let (_, text) = post(&agent.client, "FilesService/Scan", &streaming, envelope).await;
    assert!(text.contains("unimplemented") || text.contains("resource_exhausted"), "{text}");
    let grown = peak().saturating_sub(before);
    assert!(grown < 16 << 20, "{grown} bytes for a bomb that would be 32 MiB");
    agent.check_root(tree.path()).await.unwrap();
    agent.stop().await;
}

#[tokio::test]
async fn large_requests_and_very_many_small_parts_are_refused() {
    let (data, tree) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let agent = Running::start(data.path(), files(&[tree.path()])).await;
    let client = v1::FilesServiceClient::new(agent.client.clone(), agent.client.config());
    let large = v1::CheckRootRequest { path: vec![b'/'; 300 << 10], ..Default::default() };
    assert_eq!(client.check_root(large).await.unwrap_err().code, connectrpc::ErrorCode::ResourceExhausted);
    // 120,000 empty strings are 240 KiB on the wire.
    let excludes = vec![String::new(); 120_000];
    let root = tree.path().as_os_str().as_encoded_bytes().to_vec();
    let many = v1::ScanRequest { root, excludes, ..Default::default() };
    let mut refused = false;
    match client.scan(many).await {
        Err(_) => refused = true,
        Ok(mut stream) => {
            while !refused {
                match stream.message().await {
                    Ok(Some(_)) => {}
                    Ok(None) => break,
                    Err(_) => refused = true,
                }
            }
            refused |= stream.error().is_some();
        }
    }
    assert!(refused, "120,000 empty excludes were taken");
    agent.check_root(tree.path()).await.unwrap();
    agent.stop().await;
}
