//! A gateway's URL, taken apart.

use http::Uri;

use crate::dial_error::DialError;

/// Longest URL of a gateway, bytes: it is in every assertion.
const URL_MAX: usize = 384;

/// Where to dial.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) tls: bool,
    /// A name, or an address without brackets; lower-case.
    pub(crate) host: String,
    pub(crate) port: u16,
    /// What goes before every path; without a slash at its end.
    pub(crate) prefix: String,
}

impl Target {
    pub(crate) fn parse(url: &str) -> Result<Self, DialError> {
        let bad = |why| DialError::Url { url: url.chars().take(URL_MAX).collect(), why };
        if url.len() > URL_MAX {
            return Err(bad("it is longer than 384 bytes"));
        }
        let uri: Uri = url.parse().map_err(|_| bad("it cannot be read"))?;
        let tls = match uri.scheme_str() {
            Some("http" | "ws") => false,
            Some("https" | "wss") => true,
            Some(_) => return Err(bad("the scheme is unknown")),
            None => return Err(bad("the scheme is missing")),
        };
        let authority = uri.authority().ok_or_else(|| bad("the host is missing"))?;
        if authority.as_str().contains('@') {
            return Err(bad("it must not hold a user name"));
        }
        if uri.query().is_some() {
            return Err(bad("it must not hold a query"));
        }
        let host = authority.host().trim_start_matches('[').trim_end_matches(']');
        if host.is_empty() {
            return Err(bad("the host is missing"));
        }
        // `Authority::port` takes a port that is no number for none at all.
        let port = match &authority.as_str()[authority.host().len()..] {
            "" if tls => 443,
            "" => 80,
            port => port[1..].parse().map_err(|_| bad("the port is not a number below 65536"))?,
        };
        let prefix = uri.path().trim_end_matches('/').to_owned();
        Ok(Self { tls, host: host.to_ascii_lowercase(), port, prefix })
    }

    pub(crate) fn authority(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }

    pub(crate) fn origin(&self) -> String {
        let scheme = if self.tls { "https" } else { "http" };
        format!("{scheme}://{}{}", self.authority(), self.prefix)
    }
}

/// The one form a gateway's URL has in an assertion: `https://name:port/prefix`, the name in lower case, the port always
/// there, `ws` and `wss` as `http` and `https`.
///
/// # Errors
/// [`DialError::Url`] for a URL that cannot be dialled.
pub fn origin(url: &str) -> Result<String, DialError> {
    Ok(Target::parse(url)?.origin())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_has_one_origin() {
        let cases = [
            ("http://Gateway.Example", "http://gateway.example:80"),
            ("HTTPS://Gateway.Example/", "https://gateway.example:443"),
            ("wss://gateway.example:7440/Team/", "https://gateway.example:7440/Team"),
            ("ws://[::1]:7440", "http://[::1]:7440"),
            ("https://192.0.2.7", "https://192.0.2.7:443"),
        ];
        for (url, expected) in cases {
            assert_eq!(origin(url).unwrap(), expected);
            assert_eq!(origin(expected).unwrap(), expected);
        }
        assert!(origin(&format!("https://{}", "a".repeat(400))).is_err());
    }
}
