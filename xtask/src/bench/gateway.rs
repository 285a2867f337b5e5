//! A gateway as a process, and small HTTP to it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::process;

/// A running `hostler up`; killed when dropped.
pub struct Gateway {
    child: Child,
    binary: PathBuf,
    data: PathBuf,
    /// `127.0.0.1:PORT`.
    pub address: String,
}

impl Gateway {
    /// Starts `up` or `gateway`; returns when it listens on loopback.
    pub fn start(binary: &Path, data: &Path, arguments: &[&str]) -> Result<Self> {
        let mut child = Command::new(binary)
            .args(arguments)
            .arg("--data")
            .arg(data)
            .env("HOSTLER_LOG", "error")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()?;
        let stdout = child.stdout.take().context("no standard output")?;
        let mut lines = BufReader::new(stdout).lines();
        let mut address = None;
        for line in lines.by_ref() {
            let line = line?;
            if let Some((_, url)) = line.split_once(" is up: ") {
                address = url.split_once("://").map(|(_, address)| address.trim_end_matches('/').to_owned());
            }
            if line.trim_start().starts_with("Stop") {
                break;
            }
        }
        std::thread::spawn(move || lines.for_each(drop));
        let address = address.context("the gateway did not start")?;
        Ok(Self { child, binary: binary.to_owned(), data: data.to_owned(), address })
    }

    /// Waits for the first host's link.
    pub fn wait_linked(&self) -> Result<()> {
        let begun = Instant::now();
        while !self.client(&["hosts", "list", "--json"])?.contains("\"linked\":true") {
            ensure!(begun.elapsed() < Duration::from_secs(30), "the agent was not linked");
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Runs a client command; what it printed.
    pub fn client(&self, arguments: &[&str]) -> Result<String> {
        process::read(Command::new(&self.binary).args(arguments).env("HOSTLER_DATA", &self.data))
    }

    /// Ends it without a chance to tidy up.
    pub fn kill(&mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Ends it as Ctrl-C does.
    pub fn stop(mut self) -> Result<()> {
        process::read(Command::new("kill").args(["-INT", &self.pid().to_string()]))?;
        ensure!(self.child.wait()?.success(), "`hostler up` did not end well");
        Ok(())
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        // Both fail when it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The first text under a name in a JSON text that is known to have no escapes there.
pub fn field(json: &str, name: &str) -> Option<String> {
    let (_, rest) = json.split_once(&format!("\"{name}\""))?;
    let rest = rest.trim_start().strip_prefix(':')?.trim_start().strip_prefix('"')?;
    rest.split('"').next().map(str::to_owned)
}

/// Uses a sign-in link up; the header that goes with the requests of its session.
pub fn cookie(address: &str, link: &str) -> Result<String> {
    let target = link.split_once("://").and_then(|(_, rest)| rest.find('/').map(|at| &rest[at..]));
    let answer = request(address, "Accept: */*", target.context("no sign-in link")?)?;
    let session = answer
        .lines()
        .filter_map(|line| line.split_once(": ").filter(|(name, _)| name.eq_ignore_ascii_case("set-cookie")))
        .filter_map(|(_, cookie)| cookie.split(';').next())
        .collect::<Vec<_>>()
        .join("; ");
    ensure!(!session.is_empty(), "the sign-in link made no session");
    Ok(format!("Cookie: {session}"))
}

/// One request with a header that says who asks; status and body.
pub fn get_as(address: &str, header: &str, target: &str) -> Result<(u16, String)> {
    let answer = request(address, header, target)?;
    let status = answer.split(' ').nth(1).and_then(|s| s.parse().ok()).context("no HTTP answer")?;
    let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    Ok((status, body.to_owned()))
}

fn request(address: &str, header: &str, target: &str) -> Result<String> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(60)))?;
    let request = format!("GET {target} HTTP/1.1\r\nHost: {address}\r\n{header}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields() {
        assert_eq!(field("{\"a\": 1, \"key\" : \"hst_1\"}", "key").as_deref(), Some("hst_1"));
        assert_eq!(field("{}", "key"), None);
    }
}
