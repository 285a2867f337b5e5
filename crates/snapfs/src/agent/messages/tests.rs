use std::path::PathBuf;

use super::*;
use crate::config::{AgentFlags, Flags};

fn settings(variable: &str, url: &str) -> AgentSettings {
    let flags = AgentFlags { root: Some(PathBuf::from("/srv/show")), flags: Flags::default(), ..AgentFlags::default() };
    AgentSettings::new(&flags, &|name| (name == variable).then(|| url.into())).unwrap()
}

fn first() -> AgentSettings {
    settings("GATEWAY_WS", "ws://gateway:8000")
}

fn second() -> AgentSettings {
    settings("SNAPFS_GATEWAY", "https://gateway.example.com")
}

fn asked(command_id: Option<&str>, scan_id: &str, root: &[u8]) -> Asked {
    Asked {
        command_id: command_id.map(str::to_owned),
        scan_id: scan_id.to_owned(),
        root: ByteStr::from(root),
        trigger: Trigger::Schedule,
        schedule_id: Some("sch-1".to_owned()),
    }
}

#[test]
fn what_a_gateway_says_is_understood() {
    let scan = |text: &str| match Received::parse(text) {
        Received::Scan(request) => request,
        other => panic!("{text}: {other:?}"),
    };
    assert_eq!(
        scan(
            r#"{"type":"SCAN_TARGET","command_id":"d1","target":{"root":null,"scan_id":"job-77","trigger_type":"schedule","schedule_id":"sch-1"},"options":{"force":true}}"#
        ),
        ScanRequest {
            command_id: Some("d1".into()),
            root: None,
            scan_id: Some("job-77".into()),
            trigger: Trigger::Schedule,
            schedule_id: Some("sch-1".into()),
            force: true,
        }
    );
    let of_first = scan(
        r#"{"type":"SCAN_TARGET","command_id":"c1","target":{"root":"/srv/b\udcffd"},"options":{"force":false,"verbose":true}}"#,
    );
    assert_eq!(of_first.root, Some(ByteStr::from(&b"/srv/b\xffd"[..])));
    assert_eq!((of_first.scan_id, of_first.force, of_first.trigger), (None, false, Trigger::Manual));
    for bare in [
        r#"{"type":"SCAN_TARGET"}"#,
        r#"{"type":"SCAN_TARGET","command_id":null,"target":null,"options":null}"#,
        r#"{"type":"SCAN_TARGET","command_id":"","target":{"root":"","scan_id":""},"options":{}}"#,
        r#"{"type":"SCAN_TARGET","command_id":{},"target":[1,2,3,4,5],"options":7}"#,
        r#"{"type":"SCAN_TARGET","target":{"root":5,"trigger_type":"moon","schedule_id":false},"options":{"force":"x"}}"#,
    ] {
        assert_eq!(scan(bare), ScanRequest::default(), "{bare}");
    }
    assert_eq!(scan(r#"{"type":"SCAN_TARGET","command_id":17}"#).command_id.as_deref(), Some("17"));
    assert_eq!(Received::parse(r#"{"type":"PING"}"#), Received::Ping);
    assert_eq!(Received::parse(r#" {"type":"PONG","x":"\ud800"}"#), Received::Pong);
    assert_eq!(
        Received::parse(r#"{"type":"SCAN_CANCEL","command_id":"d6","scan_id":"job-79","reason":"no longer needed"}"#),
        Received::Cancel { command_id: Some("d6".into()), scan_id: Some("job-79".into()) }
    );
    for unknown in [r#"{"type":"SCAN_PAUSE"}"#, r#"{"type":1}"#, r#"{"type":"\ud800"}"#, "{}"] {
        assert_eq!(Received::parse(unknown), Received::Unknown, "{unknown}");
    }
    for garbage in ["", "PING", "[]", r#"["PING",null,null,null,null]"#, "null", "7", r#""PING""#, r#"{"type":"PING""#]
    {
        assert_eq!(Received::parse(garbage), Received::Garbage, "{garbage}");
    }
}

#[test]
fn what_is_sent_is_as_each_generation_has_it() {
    let (first, second) = (first(), second());
    let (first, second) = (Words(&first), Words(&second));
    let version = env!("CARGO_PKG_VERSION");
    let report =
        ScanReport { files: 9, bytes: 30, hashed: 7, published: 8, bytes_published: 27, ..ScanReport::default() };
    let scheduled = asked(Some("d1"), "job-77", b"/srv/show");
    let plain = Asked { trigger: Trigger::Manual, schedule_id: None, ..asked(Some("c1"), "c1", b"/srv/b\xff") };
    let nameless = asked(None, "5e0c6f0e", b"/srv/gone");
    for (said, expected) in [
        (
            first.hello(&["c1"]),
            format!(
                r#"{{"type":"AGENT_HELLO","agent_id":"scanner-01","agent_type":"scanner","version":"{version}","capabilities":[{{"id":"default-fs","kind":"fs","root":"/srv/show"}}]}}"#
            ),
        ),
        (
            second.hello(&[]),
            format!(
                r#"{{"type":"AGENT_HELLO","agent_id":"scanner-01","agent_type":"scanner","version":"{version}","capabilities":["scan.fs"],"root_path":"/srv/show","scanner_type":"fs","max_concurrency":1,"busy":false,"active_scan_ids":[]}}"#
            ),
        ),
        (first.busy(Some("c2")), r#"{"type":"SCAN_ERROR","command_id":"c2","agent_id":"scanner-01","status":"busy","error":"Scan already in progress"}"#.into()),
        (first.busy(None), r#"{"type":"SCAN_ERROR","command_id":null,"agent_id":"scanner-01","status":"busy","error":"Scan already in progress"}"#.into()),
        (second.busy(Some("d3")), r#"{"type":"SCAN_ERROR","command_id":"d3","error":"Agent is busy running another scan."}"#.into()),
        (second.busy(None), r#"{"type":"SCAN_ERROR","command_id":"","error":"Agent is busy running another scan."}"#.into()),
        (first.outside(&nameless), r#"{"type":"SCAN_ERROR","command_id":"unknown","agent_id":"scanner-01","root":"/srv/gone","status":"error","error":"Scan root does not exist or is not a directory below this agent's root: /srv/gone"}"#.into()),
        (second.outside(&scheduled), r#"{"type":"SCAN_ERROR","command_id":"d1","root":"/srv/show","error":"Scan root does not exist or is not a directory below this agent's root: /srv/show"}"#.into()),
        (first.failed(&plain, "no"), r#"{"type":"SCAN_ERROR","command_id":"c1","agent_id":"scanner-01","root":"/srv/b\udcff","status":"error","error":"no"}"#.into()),
        (second.failed(&scheduled, "any failure"), r#"{"type":"SCAN_ERROR","command_id":"d1","scan_id":"job-77","root":"/srv/show","error":"any failure"}"#.into()),
        (second.cancelled(&scheduled, true), r#"{"type":"SCAN_CANCELLED","command_id":"d1","scan_id":"job-77","root":"/srv/show","error":"canceled by operator"}"#.into()),
        (first.cancelled(&plain, false), r#"{"type":"SCAN_CANCELLED","command_id":"c1","agent_id":"scanner-01","root":"/srv/b\udcff","error":"scan interrupted"}"#.into()),
        (second.unmatched(None, Some("job-99")), r#"{"type":"SCAN_ERROR","command_id":null,"scan_id":"job-99","error":"No active scan matched cancel request."}"#.into()),
        (
            second.complete(&scheduled, &report, 0.069_123),
            r#"{"type":"SCAN_COMPLETE","command_id":"d1","scan_id":"job-77","root":"/srv/show","took_s":0.069,"summary":{"files":9,"bytes":27,"cache_hits":0,"hashed":7,"published":8,"scan_id":"job-77"},"trigger_type":"schedule","schedule_id":"sch-1"}"#.into(),
        ),
        (
            first.complete(&plain, &report, 2.0),
            r#"{"type":"SCAN_COMPLETE","command_id":"c1","root":"/srv/b\udcff","took_s":2.0,"summary":{"files":9,"bytes":27,"cache_hits":0,"hashed":7,"published":8,"scan_id":"c1"},"trigger_type":"manual","schedule_id":null}"#.into(),
        ),
    ] {
        assert_eq!(said, expected);
    }
    assert!(second.hello(&["job-77"]).ends_with(r#""busy":true,"active_scan_ids":["job-77"]}"#));
    assert!(second.failed(&nameless, "x").contains(r#""command_id":"","scan_id":"5e0c6f0e""#));
}
