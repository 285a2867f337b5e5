//! From flags and environment to what the agent and a scan do.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::time::Duration;

use hostler_model::{Algorithm, ByteStr};
use hostler_snapfs::{
    AgentFlags, AgentSettings, ConfigError, Credentials, Flags, GatewaySettings, Generation, ScanSettings, Secret,
    scan_settings,
};

type Variables<'a> = &'a [(&'a str, &'a str)];

fn env(variables: Variables<'_>) -> impl Fn(&str) -> Option<OsString> {
    move |name| variables.iter().find(|(key, _)| *key == name).map(|(_, value)| value.into())
}

fn agent(given: AgentFlags, variables: Variables<'_>) -> Result<AgentSettings, ConfigError> {
    AgentSettings::new(&given, &env(variables))
}

fn rooted() -> AgentFlags {
    AgentFlags { root: Some("/srv".into()), ..AgentFlags::default() }
}

fn scan(flags: Flags, variables: Variables<'_>) -> Result<(GatewaySettings, ScanSettings), ConfigError> {
    let variables = [variables, &[("SNAPFS_GATEWAY", "http://gateway")]].concat();
    scan_settings(&flags, &env(&variables))
}

#[test]
fn the_gateway_is_found_as_the_table_says() {
    use Generation::{First, Second};
    let gateway = |url: &str| Flags { gateway: Some(url.into()), ..Flags::default() };
    let typed = |url: &str| AgentFlags { flags: gateway(url), ..rooted() };
    let typed_ws = |url: &str| AgentFlags { gateway_ws: Some(url.into()), ..rooted() };
    let scanner = |given: AgentFlags| AgentFlags { as_scanner: true, ..given };
    let contained = |given: AgentFlags| AgentFlags { in_container: true, ..given };
    let (ws, http) = (("GATEWAY_WS", "ws://a:8000/pre/"), ("SNAPFS_GATEWAY", "https://b/pre"));
    for (given, variables, generation, socket, base) in [
        (rooted(), &[ws][..], First, "ws://a:8000", "http://a:8000"),
        (rooted(), &[http], Second, "wss://b", "https://b/pre"),
        (rooted(), &[ws, http], First, "ws://a:8000", "https://b/pre"),
        (typed("http://localhost:7440/"), &[], Second, "ws://localhost:7440", "http://localhost:7440"),
        (typed("http://[::1]:7440"), &[http], Second, "ws://[::1]:7440", "http://[::1]:7440"),
        (typed("https://c:1"), &[ws], First, "ws://a:8000", "https://c:1"),
        (typed_ws("wss://c"), &[ws], First, "wss://c", "https://c"),
        (typed_ws("https://c"), &[http], First, "wss://c", "https://b/pre"),
        (rooted(), &[("GATEWAY_WS", ""), http], Second, "wss://b", "https://b/pre"),
        (contained(rooted()), &[], First, "ws://gateway:8000", "http://gateway:8000"),
        (contained(rooted()), &[http], Second, "wss://b", "https://b/pre"),
        // Called as the old scanner, `--gateway` is the socket's, in either scheme, and wins.
        (scanner(typed("http://c:1/x")), &[], First, "ws://c:1", "http://c:1"),
        (scanner(typed("wss://c")), &[ws, http], First, "wss://c", "https://b/pre"),
        (
            scanner(AgentFlags { gateway_ws: Some("ws://d".into()), ..typed("ws://c") }),
            &[],
            First,
            "ws://c",
            "http://c",
        ),
        (scanner(rooted()), &[http], Second, "wss://b", "https://b/pre"),
    ] {
        let found = agent(given.clone(), variables).unwrap();
        let told = (found.generation, found.socket.to_string(), found.gateway.http.clone());
        assert_eq!(told, (generation, socket.to_owned(), base.to_owned()), "{given:?} {variables:?}");
    }
}

#[test]
fn what_is_missing_or_wrong_is_named_and_no_key_is_shown() {
    let hidden = "hst_0123456789abcdef";
    let error = |given, variables: Variables<'_>| agent(given, variables).unwrap_err().to_string();
    let text = error(rooted(), &[]);
    assert!(text.contains("SNAPFS_GATEWAY") && text.contains("GATEWAY_WS") && text.contains("-g"), "{text}");
    let text = error(AgentFlags::default(), &[("GATEWAY_WS", "ws://a")]);
    assert!(text.contains("SNAPFS_SCAN_ROOT") && text.contains("--root"), "{text}");
    let text = scan_settings(&Flags::default(), &|_| None).unwrap_err().to_string();
    assert!(text.contains("SNAPFS_GATEWAY") && text.contains("-g"), "{text}");
    let key = format!("ws://a:x/agents/{hidden}");
    let user = format!("http://me:{hidden}@a");
    let query = format!("ws://a/agents?key={hidden}");
    let path = format!("/agents/ {hidden}");
    for variables in [
        &[("GATEWAY_WS", key.as_str())][..],
        &[("GATEWAY_WS", "ftp://a")],
        &[("GATEWAY_WS", "gateway:8000")],
        &[("GATEWAY_WS", "ws://a:99999")],
        &[("GATEWAY_WS", query.as_str())],
        &[("SNAPFS_GATEWAY", user.as_str())],
        &[("SNAPFS_GATEWAY", "http://")],
        &[("GATEWAY_WS", "ws://a"), ("SNAPFS_AGENT_WS_PATH", path.as_str())],
    ] {
        let text = error(rooted(), variables);
        assert!(!text.contains(hidden), "{text}");
        let named = variables.last().unwrap().0;
        assert!(text.contains(named), "{text}");
    }
    let wrong = scan(Flags::default(), &[("SNAPFS_PROBE_BATCH", "many")]).unwrap_err().to_string();
    assert!(wrong.contains("SNAPFS_PROBE_BATCH") && wrong.contains("many"), "{wrong}");
    assert!(scan(Flags::default(), &[("SNAPFS_PUBLISH_BATCH", "0")]).is_err());
    assert!(scan(Flags::default(), &[("SNAPFS_HASH_ALGO", "blake3")]).is_err());
    let found = agent(
        rooted(),
        &[("GATEWAY_WS", "ws://a"), ("SNAPFS_AGENT_WS_PATH", &format!("/agents/{hidden}")), ("SNAPFS_TOKEN", hidden)],
    );
    let shown = format!("{found:?} {}", found.as_ref().unwrap().socket);
    assert!(!shown.contains(hidden), "{shown}");
}

#[test]
fn only_the_second_generation_insists_on_tls_beyond_loopback() {
    for (variables, passes) in [
        (&[("SNAPFS_GATEWAY", "http://b")][..], false),
        (&[("SNAPFS_GATEWAY", "http://127.0.0.2")], false),
        (&[("SNAPFS_GATEWAY", "http://LOCALHOST:1")], true),
        (&[("SNAPFS_GATEWAY", "http://127.0.0.1")], true),
        (&[("SNAPFS_GATEWAY", "https://b")], true),
        (&[("SNAPFS_GATEWAY", "http://b"), ("SNAPFS_ALLOW_INSECURE_GATEWAY", "1")], true),
        (&[("SNAPFS_GATEWAY", "http://b"), ("SNAPFS_ALLOW_INSECURE_GATEWAY", "true")], true),
        (&[("SNAPFS_GATEWAY", "http://b"), ("SNAPFS_ALLOW_INSECURE_GATEWAY", "0")], false),
        (&[("GATEWAY_WS", "ws://b")], true),
        (&[("GATEWAY_WS", "ws://b"), ("SNAPFS_GATEWAY", "http://b")], true),
    ] {
        assert_eq!(agent(rooted(), variables).is_ok(), passes, "{variables:?}");
    }
    assert!(scan(Flags { gateway: Some("http://b".into()), ..Flags::default() }, &[]).is_ok(), "scans never insist");
}

#[test]
fn a_token_wins_in_a_scan_and_a_key_of_the_environment_in_the_agent() {
    let secret = |text: &str| Some(Secret::new(text));
    let token = |text: &str| Credentials::Token(Secret::new(text));
    let key = |text: &str| Credentials::ApiKey(Secret::new(text));
    let (t, k) = (("SNAPFS_TOKEN", "et"), ("SNAPFS_API_KEY", "ek"));
    for (typed_token, typed_key, variables, of_scan, of_agent) in [
        (None, None, &[][..], Credentials::None, Credentials::None),
        (None, None, &[t], token("et"), token("et")),
        (None, None, &[k], key("ek"), key("ek")),
        (None, None, &[t, k], token("et"), key("ek")),
        (Some("ft"), None, &[t, k], token("ft"), key("ek")),
        (Some("ft"), None, &[], token("ft"), token("ft")),
        (None, Some("fk"), &[k], key("fk"), key("fk")),
        (None, Some("fk"), &[t], token("et"), token("et")),
        (Some("ft"), Some("fk"), &[], token("ft"), token("ft")),
        (None, None, &[("SNAPFS_TOKEN", ""), k], key("ek"), key("ek")),
    ] {
        let flags =
            Flags { token: typed_token.and_then(secret), api_key: typed_key.and_then(secret), ..Flags::default() };
        let found = scan(flags.clone(), variables).unwrap().0.credentials;
        assert_eq!(found, of_scan, "scan {typed_token:?} {typed_key:?} {variables:?}");
        let all = [variables, &[("GATEWAY_WS", "ws://a")]].concat();
        let found = agent(AgentFlags { flags, ..rooted() }, &all).unwrap().gateway.credentials;
        let shown = |c: &Credentials| match c {
            Credentials::None => "none".to_owned(),
            Credentials::Token(s) => format!("token {}", s.expose()),
            Credentials::ApiKey(s) => format!("key {}", s.expose()),
        };
        assert_eq!(shown(&found), shown(&of_agent), "agent {typed_token:?} {typed_key:?} {variables:?}");
    }
}

#[test]
fn values_come_from_flags_then_variables_then_defaults() {
    let (gateway, how) = scan(Flags::default(), &[]).unwrap();
    assert_eq!((gateway.subject.as_str(), gateway.events_subject.as_str()), ("snapfs.files", "snapfs.events"));
    assert_eq!(gateway.scopes, ["ingest:write"]);
    assert_eq!((how.algorithm, how.workers, how.hash_chunk_size), (Algorithm::Sha1, 1, 1024 * 1024));
    assert_eq!((how.probe_batch, how.publish_batch), (200, 200));
    assert_eq!(how.telemetry_interval, Some(Duration::from_secs(10)));
    let variables = [
        ("SNAPFS_HASH_ALGO", " SHA256 "),
        ("SNAPFS_HASH_WORKERS", "3"),
        ("SNAPFS_HASH_CHUNK_SIZE", "4096"),
        ("SNAPFS_PROBE_BATCH", "50"),
        ("SNAPFS_PUBLISH_BATCH", "10000000"),
        ("SNAPFS_SCAN_TELEMETRY_INTERVAL_SEC", "0"),
        ("SNAPFS_SUBJECT", "files"),
        ("SNAPFS_EVENTS_SUBJECT", "events"),
        ("SNAPFS_SCANNER_TOKEN_SCOPES", " a, b ,,"),
    ];
    let (gateway, how) = scan(Flags::default(), &variables).unwrap();
    assert_eq!((gateway.subject.as_str(), gateway.events_subject.as_str()), ("files", "events"));
    assert_eq!(gateway.scopes, ["a", "b"]);
    assert_eq!((how.algorithm, how.workers, how.hash_chunk_size), (Algorithm::Sha256, 3, 4096));
    assert_eq!((how.probe_batch, how.publish_batch, how.telemetry_interval), (50, 10_000, None));
    let typed =
        Flags { algorithm: Some(Algorithm::Xxh64), workers: Some(5), hash_chunk_size: Some(7), ..Flags::default() };
    let (_, how) = scan(typed, &variables).unwrap();
    assert_eq!((how.algorithm, how.workers, how.hash_chunk_size), (Algorithm::Xxh64, 5, 7));
    let lax = scan(Flags::default(), &[("SNAPFS_HASH_WORKERS", "auto"), ("SNAPFS_HASH_CHUNK_SIZE", "-1")]).unwrap().1;
    assert_eq!((lax.workers, lax.hash_chunk_size), (1, 1024 * 1024));
    assert!(scan(Flags::default(), &[("SNAPFS_SCANNER_TOKEN_SCOPES", "")]).unwrap().0.scopes.is_empty());

    let ws = ("GATEWAY_WS", "ws://a");
    let plain = agent(rooted(), &[ws]).unwrap();
    assert_eq!((plain.agent_id.as_str(), plain.scanner_type.as_str(), plain.max_concurrency), ("scanner-01", "fs", 1));
    assert_eq!(plain.ping_interval, Duration::from_secs(30));
    let set = [
        ws,
        ("SNAPFS_AGENT_ID", "store1"),
        ("SNAPFS_SCANNER_TYPE", "NFS"),
        ("SNAPFS_SCANNER_MAX_CONCURRENCY", "4"),
        ("SNAPFS_AGENT_PING_INTERVAL", "1"),
    ];
    let found = agent(rooted(), &set).unwrap();
    assert_eq!((found.agent_id.as_str(), found.scanner_type.as_str(), found.max_concurrency), ("store1", "nfs", 4));
    assert_eq!(found.ping_interval, Duration::from_secs(5));
    assert_eq!(agent(AgentFlags { agent_id: Some("x".into()), ..rooted() }, &set).unwrap().agent_id, "x");
}

#[test]
fn the_root_is_absolute_keeps_its_bytes_and_has_a_default_in_containers_only() {
    let ws = ("GATEWAY_WS", "ws://a");
    let own = |variables: Variables<'_>| agent(AgentFlags::default(), &[variables, &[ws]].concat()).unwrap().root;
    assert_eq!(own(&[("SNAPFS_SCAN_ROOT", "/a"), ("SNAPFS_SCANNER_ROOT", "/b")]), ByteStr::from("/a"));
    assert_eq!(own(&[("SNAPFS_SCAN_ROOT", ""), ("SNAPFS_SCANNER_ROOT", "/b")]), ByteStr::from("/b"));
    let here = std::env::current_dir().unwrap().join("x");
    assert_eq!(own(&[("SNAPFS_SCAN_ROOT", "x")]), ByteStr::from(here.to_str().unwrap()));
    let contained = AgentFlags { in_container: true, ..AgentFlags::default() };
    assert_eq!(agent(contained.clone(), &[]).unwrap().root, ByteStr::from("/data"));
    assert_eq!(agent(contained, &[("SNAPFS_SCAN_ROOT", "/a")]).unwrap().root, ByteStr::from("/a"));
    let raw = PathBuf::from(OsString::from_vec(b"/b\xff".to_vec()));
    let found = agent(AgentFlags { root: Some(raw), ..AgentFlags::default() }, &[ws]).unwrap();
    assert_eq!(found.root, ByteStr::from(&b"/b\xff"[..]));
}
