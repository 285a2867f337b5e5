//! The HTTP upgrade that starts a link: what the agent says, and what the gateway answers.
//!
//! ```text
//! GET {prefix}/api/v1/link                      101 Switching Protocols
//! upgrade: websocket                            hostler-generation: 18     greater than any seen by either end
//! hostler-protocol: 1                           hostler-gateway: <the gateway's id, text>
//! hostler-host: <uuid>
//! hostler-generation: 17   (0 at first)         or a refusal: a status, optional `retry-after: <seconds>`
//! hostler-agent-version: 0.1.0                  and `hostler-time: <unix microseconds>`,
//! hostler-instance: <16 hex digits>             {"error":{"code":"...","message":"...","hint":"..."}}
//! authorization: Bearer <token>
//! ```
//!
//! The generation orders the links of one host: of two, the higher one is the newer, at the gateway and at the agent,
//! also when a gateway was restored from a backup. It stays below 2^63 so that any database holds it.
//!
//! Every header must be there exactly once and is bounded. This module knows no sockets.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use hostler_model::HostId;
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use serde::{Deserialize, Serialize};

/// The version of the link's protocol this crate speaks.
pub const PROTOCOL: u32 = 1;
/// Header: [`PROTOCOL`] of the agent, decimal.
pub const PROTOCOL_HEADER: HeaderName = HeaderName::from_static("hostler-protocol");
/// Header: the host's id, a UUID.
pub const HOST_HEADER: HeaderName = HeaderName::from_static("hostler-host");
/// Header: a generation, decimal.
pub const GENERATION_HEADER: HeaderName = HeaderName::from_static("hostler-generation");
/// Header: the agent's version, for people.
pub const AGENT_VERSION_HEADER: HeaderName = HeaderName::from_static("hostler-agent-version");
/// Header: an [`Instance`].
pub const INSTANCE_HEADER: HeaderName = HeaderName::from_static("hostler-instance");
/// Header of a refusal: the gateway's time, Unix microseconds.
pub const TIME_HEADER: HeaderName = HeaderName::from_static("hostler-time");
/// Header: the gateway's id.
pub const GATEWAY_HEADER: HeaderName = HeaderName::from_static("hostler-gateway");

/// Generations are below this.
pub const GENERATION_END: u64 = 1 << 63;
/// How far an agent's generation may be ahead of the gateway's: more than any lost backup explains.
pub const GENERATION_AHEAD: u64 = 1 << 32;
/// Longest token, bytes.
pub const TOKEN_MAX: usize = 1024;
/// Longest agent version or gateway id, bytes.
pub const TEXT_MAX: usize = 64;
/// How much of a refusal's body is read, bytes.
pub const REFUSAL_MAX: usize = 8 * 1024;
/// Longest part of a refusal that is shown, characters.
const SHOWN_MAX: usize = 400;
/// Longest wait a refusal may ask for: a mistaken value must not keep a host away for good.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(24 * 3600);

/// A bearer token. Its text is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

impl Token {
    /// Takes 1 to [`TOKEN_MAX`] visible ASCII characters.
    ///
    /// # Errors
    /// [`HandshakeError::Invalid`] for anything else.
    pub fn new(text: impl Into<String>) -> Result<Self, HandshakeError> {
        let text = text.into();
        if !is_visible(&text, TOKEN_MAX) {
            return Err(invalid(&AUTHORIZATION, "a token of 1 to 1024 visible ASCII characters"));
        }
        Ok(Self(text))
    }

    /// The secret itself.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(***)")
    }
}

/// A header of the upgrade is wrong. Values are not repeated: they may be secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HandshakeError {
    /// The header is not there.
    #[error("the header {name} is missing")]
    Missing {
        /// The header.
        name: HeaderName,
    },
    /// The header is there more than once.
    #[error("the header {name} is there more than once")]
    Repeated {
        /// The header.
        name: HeaderName,
    },
    /// The header's value is not what it should be.
    #[error("the header {name} is not {expected}")]
    Invalid {
        /// The header.
        name: HeaderName,
        /// What it should be, for people.
        expected: &'static str,
    },
    /// The agent speaks another version of the link's protocol.
    #[error("the agent speaks link protocol {theirs}, this gateway speaks {PROTOCOL}")]
    Protocol {
        /// The agent's version.
        theirs: u32,
    },
}

/// One run of an agent: a random number, so that a gateway can tell an agent that dials again from a second machine with
/// the same identity. As text, 16 lower-case hex digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Instance(pub u64);

impl fmt::Display for Instance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// What an agent says when it dials.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// The protocol it speaks: [`PROTOCOL`].
    pub protocol: u32,
    /// Which host it is.
    pub host: HostId,
    /// The last generation it knows; 0 before its first link.
    pub generation: u64,
    /// Its version: 1 to [`TEXT_MAX`] visible ASCII characters.
    pub agent_version: String,
    /// Which run of the agent this is.
    pub instance: Instance,
    /// Its proof.
    pub token: Token,
}

impl Hello {
    /// The request headers.
    ///
    /// # Errors
    /// [`HandshakeError::Invalid`] when the version or the generation is out of bounds.
    pub fn to_headers(&self) -> Result<HeaderMap, HandshakeError> {
        let mut bearer = text_value(&AUTHORIZATION, &format!("Bearer {}", self.token.expose()))?;
        bearer.set_sensitive(true);
        Ok(HeaderMap::from_iter([
            (PROTOCOL_HEADER, HeaderValue::from(self.protocol)),
            (HOST_HEADER, text_value(&HOST_HEADER, &self.host.to_string())?),
            (GENERATION_HEADER, HeaderValue::from(checked_generation(self.generation)?)),
            (
                AGENT_VERSION_HEADER,
                text_value(&AGENT_VERSION_HEADER, checked_text(&AGENT_VERSION_HEADER, &self.agent_version)?)?,
            ),
            (INSTANCE_HEADER, text_value(&INSTANCE_HEADER, &self.instance.to_string())?),
            (AUTHORIZATION, bearer),
        ]))
    }

    /// Reads the request headers. The protocol is looked at first: of another one, nothing else can be judged.
    ///
    /// # Errors
    /// A [`HandshakeError`] that names the header.
    pub fn from_headers(headers: &HeaderMap) -> Result<Self, HandshakeError> {
        let protocol = number(headers, &PROTOCOL_HEADER, "a protocol number")?;
        if protocol != PROTOCOL {
            return Err(HandshakeError::Protocol { theirs: protocol });
        }
        let bearer = one(headers, &AUTHORIZATION)?;
        let token = match bearer.split_once(' ') {
            Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => Token::new(token)?,
            _ => return Err(invalid(&AUTHORIZATION, "a bearer token")),
        };
        Ok(Self {
            protocol,
            host: one(headers, &HOST_HEADER)?.parse().map_err(|_| invalid(&HOST_HEADER, "a host id (a UUID)"))?,
            generation: checked_generation(number(headers, &GENERATION_HEADER, "a generation")?)?,
            agent_version: checked_text(&AGENT_VERSION_HEADER, one(headers, &AGENT_VERSION_HEADER)?)?.to_owned(),
            instance: instance(one(headers, &INSTANCE_HEADER)?)?,
            token,
        })
    }
}

/// What a gateway answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Welcome {
    /// The generation of this link.
    pub generation: u64,
    /// The gateway's id: 1 to [`TEXT_MAX`] visible ASCII characters.
    pub gateway: String,
}

impl Welcome {
    /// The response headers.
    ///
    /// # Errors
    /// [`HandshakeError::Invalid`] when the id or the generation is out of bounds.
    pub fn to_headers(&self) -> Result<HeaderMap, HandshakeError> {
        let gateway = text_value(&GATEWAY_HEADER, checked_text(&GATEWAY_HEADER, &self.gateway)?)?;
        let generation = HeaderValue::from(checked_generation(self.generation)?);
        Ok(HeaderMap::from_iter([(GENERATION_HEADER, generation), (GATEWAY_HEADER, gateway)]))
    }

    /// Reads the answer to a hello of generation `known`.
    ///
    /// # Errors
    /// A [`HandshakeError`] that names the header, also when the generation is not greater than `known`.
    pub fn from_headers(headers: &HeaderMap, known: u64) -> Result<Self, HandshakeError> {
        let generation = checked_generation(number(headers, &GENERATION_HEADER, "a generation")?)?;
        if generation <= known {
            return Err(invalid(&GENERATION_HEADER, "greater than the one this host already had"));
        }
        Ok(Self { generation, gateway: checked_text(&GATEWAY_HEADER, one(headers, &GATEWAY_HEADER)?)?.to_owned() })
    }
}

/// The generation a gateway gives to a new link: one more than `stored` (its own) and `hello` (the agent's).
///
/// `None` when there is none left, or when `hello` is more than [`GENERATION_AHEAD`] ahead: one bad agent must not
/// use the numbers up.
pub fn next_generation(stored: u64, hello: u64) -> Option<u64> {
    if hello.saturating_sub(stored) > GENERATION_AHEAD {
        return None;
    }
    stored.max(hello).checked_add(1).filter(|next| *next < GENERATION_END)
}

/// The gateway said no.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message} ({code}, HTTP {})", status.as_u16())]
pub struct Refusal {
    /// The HTTP status.
    pub status: StatusCode,
    /// For programs, such as `token_revoked`.
    pub code: String,
    /// For people.
    pub message: String,
    /// What to try; may be empty.
    pub hint: String,
    /// When to try again.
    pub retry_after: Option<Duration>,
    /// The gateway's time, Unix microseconds, when it refuses an assertion for its time.
    pub gateway_time: Option<i64>,
}

#[derive(Serialize, Deserialize)]
struct RefusalBody {
    error: RefusalText,
}

#[derive(Serialize, Deserialize)]
struct RefusalText {
    code: String,
    message: String,
    #[serde(default)]
    hint: String,
}

impl Refusal {
    /// A refusal with no hint and no time to wait.
    pub fn new(status: StatusCode, code: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            status,
            code: code.into(),
            message: message.into(),
            hint: String::new(),
            retry_after: None,
            gateway_time: None,
        }
    }

    /// The JSON body.
    pub fn to_json(&self) -> Vec<u8> {
        let (code, message, hint) = (self.code.clone(), self.message.clone(), self.hint.clone());
        // Three strings cannot fail to serialise.
        serde_json::to_vec(&RefusalBody { error: RefusalText { code, message, hint } }).unwrap_or_default()
    }

    /// Reads any answer that is not a 101. `body` is at most its first [`REFUSAL_MAX`] bytes. What is not a refusal in
    /// JSON (a proxy's page) becomes one of the code `http_<status>` with the beginning of the text. Control characters
    /// are taken out, since the text ends up on terminals and in logs.
    pub fn parse(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Self {
        let retry_after = headers
            .get(http::header::RETRY_AFTER)
            .and_then(|value| value.to_str().ok()?.parse().ok())
            .map(|seconds| Duration::from_secs(seconds).min(RETRY_AFTER_MAX));
        let gateway_time = headers.get(TIME_HEADER).and_then(|value| value.to_str().ok()?.parse().ok());
        let error =
            serde_json::from_slice::<RefusalBody>(body).map(|body| body.error).unwrap_or_else(|_| RefusalText {
                code: format!("http_{}", status.as_u16()),
                message: match shown(&String::from_utf8_lossy(body)) {
                    text if text.is_empty() => status.canonical_reason().unwrap_or("no reason given").to_owned(),
                    text => text,
                },
                hint: String::new(),
            });
        let (code, message, hint) = (shown(&error.code), shown(&error.message), shown(&error.hint));
        Self { status, code, message, hint, retry_after, gateway_time }
    }
}

impl From<HandshakeError> for Refusal {
    fn from(error: HandshakeError) -> Self {
        match error {
            HandshakeError::Protocol { .. } => Self {
                hint: "install the agent of this gateway's version".to_owned(),
                ..Self::new(StatusCode::UPGRADE_REQUIRED, "protocol_mismatch", error.to_string())
            },
            _ => Self::new(StatusCode::BAD_REQUEST, "bad_hello", error.to_string()),
        }
    }
}

fn shown(text: &str) -> String {
    let text = text.split(char::is_whitespace).filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ");
    text.chars().filter(|c| !c.is_control()).take(SHOWN_MAX).collect()
}

fn invalid(name: &HeaderName, expected: &'static str) -> HandshakeError {
    HandshakeError::Invalid { name: name.clone(), expected }
}

fn is_visible(text: &str, max: usize) -> bool {
    (1..=max).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
}

fn checked_text<'a>(name: &HeaderName, text: &'a str) -> Result<&'a str, HandshakeError> {
    if is_visible(text, TEXT_MAX) { Ok(text) } else { Err(invalid(name, "1 to 64 visible ASCII characters")) }
}

fn checked_generation(generation: u64) -> Result<u64, HandshakeError> {
    if generation < GENERATION_END { Ok(generation) } else { Err(invalid(&GENERATION_HEADER, "below 2^63")) }
}

fn instance(text: &str) -> Result<Instance, HandshakeError> {
    let digits = text.len() == 16 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let number = u64::from_str_radix(text, 16).ok().filter(|_| digits);
    number.map(Instance).ok_or_else(|| invalid(&INSTANCE_HEADER, "16 lower-case hex digits"))
}

fn text_value(name: &HeaderName, text: &str) -> Result<HeaderValue, HandshakeError> {
    HeaderValue::from_str(text).map_err(|_| invalid(name, "ASCII text"))
}

/// The value of a header that must be there exactly once.
fn one<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<&'a str, HandshakeError> {
    let mut values = headers.get_all(name).iter();
    let value = values.next().ok_or_else(|| HandshakeError::Missing { name: name.clone() })?;
    if values.next().is_some() {
        return Err(HandshakeError::Repeated { name: name.clone() });
    }
    value.to_str().map_err(|_| invalid(name, "ASCII text"))
}

/// A decimal number of digits only: `FromStr` alone would take a plus sign.
fn number<T: FromStr>(headers: &HeaderMap, name: &HeaderName, expected: &'static str) -> Result<T, HandshakeError> {
    let text = one(headers, name)?;
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| digits).ok_or_else(|| invalid(name, expected))
}
