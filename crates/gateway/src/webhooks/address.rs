//! Where a webhook may lead. Private networks are fine; refused are link-local addresses, at which clouds answer with a
//! machine's credentials, and the gateway itself. What counts is the address a name stands for at the moment of the request,
//! and the connection goes to no other one.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use reqwest::Url;

/// Longest URL, bytes.
const MAX_URL: usize = 2000;

/// Reads a URL that a webhook may have.
///
/// # Errors
/// What is wrong with it; the text holds nothing of the URL.
pub fn parse(text: &str) -> Result<Url, String> {
    let example = "use one such as https://example.com/hooks/hostler";
    if text.len() > MAX_URL {
        return Err(format!("the URL is longer than {MAX_URL} characters"));
    }
    let url = Url::parse(text.trim()).map_err(|error| format!("this is no URL ({error}); {example}"))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(format!("the URL begins neither with https:// nor with http://; {example}"));
    }
    match url.host_str() {
        Some(host) if !host.is_empty() => Ok(url),
        _ => Err(format!("the URL names no host; {example}")),
    }
}

/// A URL as it is shown and logged: without credentials, query and fragment.
pub fn shown(text: &str) -> String {
    let Ok(url) = Url::parse(text) else { return "(no URL)".into() };
    let hidden = if url.username().is_empty() && url.password().is_none() { "" } else { "…@" };
    let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
    let query = if url.query().is_some() { "?…" } else { "" };
    format!("{}://{hidden}{}{port}{}{query}", url.scheme(), url.host_str().unwrap_or_default(), url.path())
}

/// Which addresses are refused.
#[derive(Clone, Copy, Debug)]
pub struct Guard {
    /// What the gateway listens on.
    pub own: SocketAddr,
    /// Refuse none.
    pub allow_all: bool,
}

impl Guard {
    /// Why this address is refused.
    pub fn refuses(&self, address: SocketAddr) -> Option<&'static str> {
        let ip = canonical(address.ip());
        if self.allow_all {
            return None;
        }
        if is_link_local(ip) || METADATA.iter().any(|known| known.parse() == Ok(ip)) {
            return Some("it leads to an address where clouds keep a machine's credentials");
        }
        (address.port() == self.own.port() && self.is_own(ip)).then_some("it leads to this gateway itself")
    }

    fn is_own(&self, ip: IpAddr) -> bool {
        let own = canonical(self.own.ip());
        // A connection to 0.0.0.0 reaches loopback.
        if ip == own || (ip.is_unspecified() && (own.is_loopback() || own.is_unspecified())) {
            return true;
        }
        // Only an address of this machine can be bound.
        own.is_unspecified() && UdpSocket::bind((ip, 0)).is_ok()
    }
}

/// The IPv4 address that an IPv6 one stands for: mapped (RFC 4291, 2.5.5.2) or behind NAT64 (RFC 6052, 2.1).
fn canonical(ip: IpAddr) -> IpAddr {
    let IpAddr::V6(v6) = ip.to_canonical() else { return ip.to_canonical() };
    match v6.segments() {
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => Ipv4Addr::from(u32::from(high) << 16 | u32::from(low)).into(),
        _ => IpAddr::V6(v6),
    }
}

/// Where clouds answer a machine's questions about itself, beside the link-local addresses.
const METADATA: [&str; 5] = ["fd00:ec2::254", "fd20:ce::254", "100.100.100.200", "192.0.0.192", "168.63.129.16"];

fn is_link_local(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => Ipv6Addr::is_unicast_link_local(&v6),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_that_cannot_be_told_are_refused_without_being_repeated() {
        for wrong in ["", "ftp://h/x", "https://", "file:///etc/passwd", "hunter2", "//user:hunter2@host"] {
            let error = parse(wrong).unwrap_err();
            assert!(!error.contains("hunter2") && error.contains("https://example.com"), "{wrong}: {error}");
        }
        assert!(parse(&format!("https://h/{}", "x".repeat(MAX_URL))).is_err());
        assert!(parse("http://[::1]:8080/x?y=1").is_ok());
    }

    #[test]
    fn credentials_are_not_shown() {
        assert_eq!(
            shown("https://ada:hunter2@example.com:8443/a/b?token=hunter2#x"),
            "https://…@example.com:8443/a/b?…"
        );
        assert_eq!(shown("http://host/plain"), "http://host/plain");
        assert_eq!(shown("hunter2"), "(no URL)");
    }

    #[test]
    fn only_the_gateway_and_link_local_addresses_are_refused() {
        let guard = |own: &str| Guard { own: own.parse().unwrap(), allow_all: false };
        let refuses = |own: &str, to: &str| guard(own).refuses(to.parse().unwrap()).is_some();
        for to in ["169.254.169.254:80", "[fe80::1]:80", "[::ffff:169.254.1.1]:80", "[64:ff9b::a9fe:a9fe]:80"] {
            assert!(refuses("127.0.0.1:7440", to), "{to}");
        }
        for to in ["10.0.0.1:7440", "192.168.1.5:80", "127.0.0.1:8080", "[::1]:8080", "[fd00::1]:80", "203.0.113.1:443"]
        {
            assert!(!refuses("127.0.0.1:7440", to), "{to}");
        }
        for to in ["127.0.0.1:7440", "0.0.0.0:7440", "[::ffff:127.0.0.1]:7440"] {
            assert!(refuses("127.0.0.1:7440", to), "{to}");
            assert!(refuses("0.0.0.0:7440", to), "{to}");
        }
        assert!(!refuses("0.0.0.0:7440", "203.0.113.1:7440"), "another machine");
        let open = Guard { allow_all: true, ..guard("127.0.0.1:7440") };
        assert_eq!(open.refuses("169.254.169.254:80".parse().unwrap()), None);
    }
}
