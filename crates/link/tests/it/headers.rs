//! The headers of the upgrade, without a network.

use std::time::Duration;

use hostler_link::handshake::{
    AGENT_VERSION_HEADER, GATEWAY_HEADER, GENERATION_AHEAD, GENERATION_END, GENERATION_HEADER, HOST_HEADER,
    INSTANCE_HEADER, PROTOCOL_HEADER, REFUSAL_MAX, TIME_HEADER, TOKEN_MAX,
};
use hostler_link::{HandshakeError, Hello, Refusal, Token, Welcome, next_generation};
use http::header::{AUTHORIZATION, RETRY_AFTER};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use proptest::prelude::*;

use crate::support::hello;

const NAMES: [HeaderName; 6] =
    [PROTOCOL_HEADER, HOST_HEADER, GENERATION_HEADER, AGENT_VERSION_HEADER, INSTANCE_HEADER, AUTHORIZATION];

#[test]
fn a_hello_survives_its_headers() {
    let hello = hello(17);
    assert_eq!(Hello::from_headers(&hello.to_headers().unwrap()).unwrap(), hello);
    assert!(!format!("{hello:?}{:?}", hello.to_headers()).contains("secret"), "the token must not be shown");
}

#[test]
fn every_header_is_needed_exactly_once() {
    let good = hello(17).to_headers().unwrap();
    for name in NAMES {
        let mut missing = good.clone();
        missing.remove(&name);
        assert_eq!(Hello::from_headers(&missing), Err(HandshakeError::Missing { name: name.clone() }));
        let mut twice = good.clone();
        twice.append(&name, good[&name].clone());
        assert_eq!(Hello::from_headers(&twice), Err(HandshakeError::Repeated { name }));
    }
}

#[test]
fn bad_values_are_named() {
    let long = "v".repeat(65);
    let token = format!("Bearer {}", "t".repeat(TOKEN_MAX + 1));
    let cases = [
        (PROTOCOL_HEADER, "one"),
        (PROTOCOL_HEADER, "+1"),
        (PROTOCOL_HEADER, ""),
        (HOST_HEADER, "web-1"),
        (GENERATION_HEADER, "-1"),
        (GENERATION_HEADER, "9223372036854775808"),
        (GENERATION_HEADER, "99999999999999999999999"),
        (AGENT_VERSION_HEADER, ""),
        (AGENT_VERSION_HEADER, "0.1 beta"),
        (AGENT_VERSION_HEADER, &long),
        (INSTANCE_HEADER, "0123456789ABCDEF"),
        (INSTANCE_HEADER, "123456789abcdef"),
        (INSTANCE_HEADER, "+123456789abcdef"),
        (AUTHORIZATION, "secret"),
        (AUTHORIZATION, "Basic secret"),
        (AUTHORIZATION, "Bearer "),
        (AUTHORIZATION, "Bearer two words"),
        (AUTHORIZATION, &token),
    ];
    for (name, value) in cases {
        let mut headers = hello(17).to_headers().unwrap();
        headers.insert(&name, HeaderValue::from_str(value).unwrap());
        match Hello::from_headers(&headers) {
            Err(HandshakeError::Invalid { name: found, .. }) => assert_eq!(found, name),
            other => panic!("{name}: {value:?} gave {other:?}"),
        }
    }
}

#[test]
fn another_protocol_is_told_before_anything_else() {
    let mut headers = HeaderMap::new();
    headers.insert(PROTOCOL_HEADER, HeaderValue::from(2));
    assert_eq!(Hello::from_headers(&headers), Err(HandshakeError::Protocol { theirs: 2 }));
    let refusal = Refusal::from(HandshakeError::Protocol { theirs: 2 });
    assert_eq!((refusal.status, refusal.code.as_str()), (StatusCode::UPGRADE_REQUIRED, "protocol_mismatch"));
}

#[test]
fn a_welcome_must_be_newer_than_the_hello() {
    let welcome = Welcome { generation: 18, gateway: "gateway-1".to_owned() };
    let headers = welcome.to_headers().unwrap();
    assert_eq!(Welcome::from_headers(&headers, 17).unwrap(), welcome);
    for known in [18, 19] {
        let error = Welcome::from_headers(&headers, known).unwrap_err();
        assert!(matches!(error, HandshakeError::Invalid { name, .. } if name == GENERATION_HEADER));
    }
    let mut headers = headers;
    headers.remove(GATEWAY_HEADER);
    assert_eq!(Welcome::from_headers(&headers, 0), Err(HandshakeError::Missing { name: GATEWAY_HEADER }));
}

#[test]
fn the_next_generation_is_above_both() {
    let last = GENERATION_END - 1;
    let cases = [
        (0, 0, Some(1)),
        (7, 3, Some(8)),
        (3, 7, Some(8)),
        (0, GENERATION_AHEAD, Some(GENERATION_AHEAD + 1)),
        (0, GENERATION_AHEAD + 1, None),
        (0, last, None),
        (last - 1, 0, Some(last)),
        (last, 0, None),
        (u64::MAX, 0, None),
        (last, u64::MAX, None),
    ];
    for (stored, hello, next) in cases {
        assert_eq!(next_generation(stored, hello), next, "stored {stored}, hello {hello}");
    }
}

#[test]
fn a_refusal_survives_its_json() {
    let refusal = Refusal {
        hint: "run hostler join again".to_owned(),
        ..Refusal::new(StatusCode::UNAUTHORIZED, "token_revoked", "this host's token was revoked")
    };
    assert_eq!(Refusal::parse(refusal.status, &HeaderMap::new(), &refusal.to_json()), refusal);
}

#[test]
fn any_body_makes_a_readable_refusal() {
    let mut headers = HeaderMap::new();
    headers.insert(TIME_HEADER, HeaderValue::from_static("1800000000000000"));
    headers.insert(RETRY_AFTER, HeaderValue::from_static("99999999999"));
    let refusal = Refusal::parse(StatusCode::BAD_GATEWAY, &headers, b"<html>\n  \x1b[31mno\xff</html>");
    assert_eq!(refusal.code, "http_502");
    assert_eq!(refusal.message, "<html> [31mno\u{fffd}</html>");
    assert_eq!(refusal.gateway_time, Some(1_800_000_000_000_000));
    assert_eq!(refusal.retry_after, Some(Duration::from_secs(24 * 3600)));
    assert_eq!(Refusal::parse(StatusCode::NOT_FOUND, &HeaderMap::new(), b"").message, "Not Found");
}

proptest! {
    #[test]
    fn no_headers_make_it_panic(values in prop::collection::vec((0..NAMES.len() + 1, prop::collection::vec(any::<u8>(), 0..600)), 0..12), known: u64) {
        let mut headers = HeaderMap::new();
        for (name, value) in values {
            if let Ok(value) = HeaderValue::from_bytes(&value) {
                headers.append(NAMES.get(name).unwrap_or(&GATEWAY_HEADER), value);
            }
        }
        let _ = Hello::from_headers(&headers);
        if let Ok(welcome) = Welcome::from_headers(&headers, known) {
            prop_assert!(welcome.generation > known && welcome.generation < GENERATION_END);
        }
    }

    #[test]
    fn one_odd_header_makes_no_panic(name in 0..NAMES.len(), value in "[ -~]{0,40}|[0-9]{1,25}|Bearer [ -~]{0,40}") {
        let mut headers = hello(17).to_headers().unwrap();
        headers.insert(&NAMES[name], HeaderValue::from_str(&value).unwrap());
        if let Ok(read) = Hello::from_headers(&headers) {
            prop_assert_eq!(Hello::from_headers(&read.to_headers().unwrap()), Ok(read));
        }
    }

    #[test]
    fn no_body_makes_it_panic(status in 100_u16..600, body in prop::collection::vec(any::<u8>(), 0..REFUSAL_MAX)) {
        let refusal = Refusal::parse(StatusCode::from_u16(status).unwrap(), &HeaderMap::new(), &body);
        prop_assert!(!refusal.message.chars().any(char::is_control));
    }

    #[test]
    fn generations_only_grow(stored: u64, hello: u64) {
        if let Some(next) = next_generation(stored, hello) {
            prop_assert!(next > stored && next > hello && next < GENERATION_END);
        }
    }

    #[test]
    fn tokens_are_visible_ascii(text in any::<String>()) {
        prop_assert_eq!(Token::new(text.clone()).is_ok(), !text.is_empty() && text.len() <= TOKEN_MAX && text.bytes().all(|b| b.is_ascii_graphic()));
    }
}
