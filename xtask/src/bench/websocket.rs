//! A WebSocket client (RFC 6455), as much of it as a consumer of SnapFS messages needs.

use std::io::{BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Result, bail, ensure};

/// An open socket.
pub struct Socket {
    reader: BufReader<TcpStream>,
    writer: TcpStream,
}

impl Socket {
    /// Asks for an upgrade. A read fails when nothing comes for half a minute.
    pub fn open(address: &str, target: &str) -> Result<Self> {
        let mut writer = TcpStream::connect(address)?;
        writer.set_read_timeout(Some(Duration::from_secs(30)))?;
        let head = format!(
            "GET {target} HTTP/1.1\r\nHost: {address}\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        writer.write_all(head.as_bytes())?;
        let mut reader = BufReader::with_capacity(256 * 1024, writer.try_clone()?);
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            reader.read_exact(&mut byte)?;
            head.extend(byte);
        }
        ensure!(head.starts_with(b"HTTP/1.1 101"), "no upgrade: {}", String::from_utf8_lossy(&head));
        Ok(Self { reader, writer })
    }

    /// The next text; pings are passed over.
    pub fn text(&mut self) -> Result<Vec<u8>> {
        loop {
            let mut head = [0; 2];
            self.reader.read_exact(&mut head)?;
            let length = match head[1] {
                126 => self.length::<2>()?,
                127 => self.length::<8>()?,
                short => u64::from(short),
            };
            let mut body = vec![0; usize::try_from(length)?];
            self.reader.read_exact(&mut body)?;
            match head[0] & 15 {
                1 => return Ok(body),
                9 => {}
                other => bail!("an unexpected frame {other}: {}", String::from_utf8_lossy(&body)),
            }
        }
    }

    fn length<const N: usize>(&mut self) -> Result<u64> {
        let mut bytes = [0; N];
        self.reader.read_exact(&mut bytes)?;
        Ok(bytes.iter().fold(0, |length, byte| length << 8 | u64::from(*byte)))
    }

    /// Sends a short text.
    pub fn send(&mut self, text: &str) -> Result<()> {
        let length = u8::try_from(text.len())?;
        ensure!(length < 126, "a text is too long");
        // A mask of zeros leaves it as it is.
        let mut frame = vec![0x81, 0x80 | length, 0, 0, 0, 0];
        frame.extend_from_slice(text.as_bytes());
        Ok(self.writer.write_all(&frame)?)
    }
}
