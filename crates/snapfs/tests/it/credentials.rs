//! Tokens and API keys.

use hostler_snapfs::{Credentials, Gateway, GatewayError, GatewaySettings, ScanEnd, Secret};

use crate::support::{FakeGateway, Fault, Kind, Tree, run};

fn with(tree: &Tree, gateway: &FakeGateway, credentials: Credentials) -> Gateway {
    Gateway::new(GatewaySettings { credentials, ..tree.gateway_settings(gateway) }).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_exchanged_and_the_token_goes_with_every_call() {
    let tree = Tree::with_files(5);
    let gateway = FakeGateway::start().await;
    let client = with(&tree, &gateway, Credentials::ApiKey(Secret::new("hst_key")));
    assert_eq!(client.bearer(), None);
    client.authenticate().await.unwrap();
    assert_eq!(client.bearer().unwrap().expose(), "Bearer token-1");
    let (outcome, _) = run(&client, &tree, "s").await;
    assert_eq!(outcome.end, ScanEnd::Completed);
    let calls = gateway.calls();
    assert_eq!(calls[0].kind, Kind::Token);
    assert_eq!(calls[0].authorization.as_deref(), Some("Bearer hst_key"));
    assert!(calls[1..].iter().all(|call| call.authorization.as_deref() == Some("Bearer token-1")), "{calls:?}");
    assert!(!format!("{client:?}").contains("hst_key") && !format!("{client:?}").contains("token-1"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_ran_out_is_exchanged_once_more() {
    let tree = Tree::with_files(9);
    let gateway = FakeGateway::start().await;
    gateway.judge(|number, call| {
        (number > 4 && call.authorization.as_deref() == Some("Bearer token-1")).then_some(Fault::Status(401))
    });
    let client = with(&tree, &gateway, Credentials::ApiKey(Secret::new("hst_key")));
    let (outcome, _) = run(&client, &tree, "s").await;
    assert_eq!((outcome.end, outcome.report.published), (ScanEnd::Completed, 9));
    assert_eq!(gateway.calls().iter().filter(|call| call.kind == Kind::Token).count(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_key_ends_the_scan_before_it_begins() {
    let tree = Tree::with_files(5);
    for status in [401, 403] {
        let gateway = FakeGateway::start().await;
        gateway.judge(move |_, _| Some(Fault::Status(status)));
        let client = with(&tree, &gateway, Credentials::ApiKey(Secret::new("hst_key")));
        let refused = client.authenticate().await;
        assert!(matches!(refused, Err(GatewayError::Unauthorized(_))), "{refused:?}");
        let (outcome, _) = run(&client, &tree, "s").await;
        let ScanEnd::Unauthorized(why) = outcome.end else { panic!("{:?}", outcome.end) };
        assert!(!why.contains("hst_key"), "{why}");
        assert_eq!(gateway.calls().len(), 2, "the two exchanges");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_goes_as_it_is_and_is_not_exchanged() {
    let tree = Tree::with_files(5);
    let gateway = FakeGateway::start().await;
    let client = with(&tree, &gateway, Credentials::Token(Secret::new("abc")));
    client.authenticate().await.unwrap();
    run(&client, &tree, "s").await;
    assert!(gateway.calls().iter().all(|call| call.authorization.as_deref() == Some("Bearer abc")));
    assert_eq!(client.bearer().unwrap().expose(), "Bearer abc");
}

#[test]
fn a_url_that_cannot_work_is_refused_without_its_password() {
    for (url, shown) in [("ftp://host", "ftp://host"), ("host:80", "host:80"), ("http://u:secret@:x", ":x")] {
        let settings = GatewaySettings {
            http: url.into(),
            credentials: Credentials::None,
            scopes: Vec::new(),
            subject: "s".into(),
            events_subject: "e".into(),
            spool: "/nonexistent".into(),
            spool_bytes: 1 << 20,
            waits: hostler_snapfs::Waits::default(),
        };
        let error = Gateway::new(settings).unwrap_err().to_string();
        assert!(error.contains(shown) && !error.contains("secret"), "{error}");
    }
}
