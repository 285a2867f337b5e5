//! Schedules: what every store must do with them, and what clients see.

use std::time::Duration;

use hostler_gateway::store::sqlite::SqliteStore;
use hostler_gateway::store::{
    LastRun, RunOutcome, Schedule, ScheduleFilter, ScheduleState, StepScope, Store, StoreError, WaitsFor,
};
use hostler_model::{HostId, ScanId, ScanOptions, ScheduleId};
use serde_json::{Value, json};

use crate::client::Running;
use crate::conformance::{all_pages, at, first_page, new_host};

/// Runs the checks of schedules on one store.
pub async fn conformance(store: &dyn Store) {
    what_is_kept_comes_back(store).await;
    only_what_is_due_or_at_work_is_looked_at(store).await;
    who_decided_by_something_old_decides_nothing(store).await;
    a_removed_host_takes_its_schedules_along(store).await;
}

pub fn schedule(host: HostId, root: &str) -> Schedule {
    Schedule {
        id: ScheduleId::new(),
        host,
        host_name: String::new(),
        root: root.into(),
        options: ScanOptions { excludes: vec!["*.tmp".into()], ..ScanOptions::default() },
        cadence: "hourly".into(),
        zone: "UTC".into(),
        window: Some("22:00-06:00".into()),
        spread: true,
        enabled: true,
        created_by: "ada".into(),
        created_at: at(0),
        anchor: at(1),
        revision: 0,
        state: ScheduleState { next_run_at: Some(at(1_000_000_000)), ..ScheduleState::default() },
    }
}

async fn what_is_kept_comes_back(store: &dyn Store) {
    let host = new_host(store, "schedules").await;
    let mut kept = schedule(host, "/srv");
    store.create_schedule(kept.clone()).await.unwrap();
    kept.host_name = "schedules".into();
    assert_eq!(store.schedule(kept.id).await.unwrap(), kept);
    let error = store.create_schedule(schedule(HostId::new(), "/srv")).await.unwrap_err();
    assert!(matches!(error, StoreError::NotFound { what: "host", .. }), "{error}");

    for root in ["/b", "/a", "/c"] {
        store.create_schedule(schedule(host, root)).await.unwrap();
    }
    let filter = ScheduleFilter { host: Some(host), root: None };
    for limit in [1, 3, 10] {
        let all = all_pages(limit, async |page| store.schedules(filter.clone(), page).await.unwrap()).await;
        let roots: Vec<_> = all.iter().map(|s| s.root.display().into_owned()).collect();
        assert_eq!(roots, ["/a", "/b", "/c", "/srv"], "in pages of {limit}");
    }
    let one = ScheduleFilter { root: Some("/b".into()), ..filter };
    assert_eq!(store.schedules(one, first_page(9)).await.unwrap().items.len(), 1);

    // Somebody changes it while its run waits.
    let state = ScheduleState { due_at: Some(at(5)), waits_for: Some(WaitsFor::Host), ..kept.state.clone() };
    assert!(store.schedule_stepped(kept.id, 0, state, None).await.unwrap());
    let changed = Schedule {
        cadence: "daily 03:30".into(),
        window: None,
        enabled: false,
        state: ScheduleState::default(),
        ..kept.clone()
    };
    store.change_schedule(changed.clone()).await.unwrap();
    let found = store.schedule(kept.id).await.unwrap();
    assert_eq!((found.cadence.as_str(), &found.window, found.enabled), ("daily 03:30", &None, false));
    assert_eq!((found.state.due_at, found.state.next_run_at), (None, None), "what waited is forgotten with it");
    store.delete_schedule(kept.id).await.unwrap();
    for error in [
        store.schedule(kept.id).await.unwrap_err(),
        store.delete_schedule(kept.id).await.unwrap_err(),
        store.change_schedule(changed).await.unwrap_err(),
    ] {
        assert!(matches!(error, StoreError::NotFound { what: "schedule", .. }), "{error}");
    }
}

async fn only_what_is_due_or_at_work_is_looked_at(store: &dyn Store) {
    let host = new_host(store, "stepping").await;
    let with = |root: &str, change: fn(&mut Schedule)| {
        let mut new = schedule(host, root);
        change(&mut new);
        new
    };
    for new in [
        with("/due", |s| s.state.next_run_at = Some(at(10))),
        with("/later", |_| {}),
        with("/off", |s| (s.enabled, s.state.next_run_at) = (false, None)),
        with("/waits", |_| {}),
        with("/runs", |_| {}),
    ] {
        store.create_schedule(new.clone()).await.unwrap();
        let state = match new.root.as_bytes() {
            b"/waits" => ScheduleState { due_at: Some(at(5)), ..new.state },
            b"/runs" => ScheduleState { running: Some(ScanId::new()), ..new.state },
            _ => continue,
        };
        store.schedule_stepped(new.id, 0, state, None).await.unwrap();
    }
    let looked_at = async |scope| {
        let found = store.schedules_to_step(at(10), scope).await.unwrap();
        let of_host = found.into_iter().filter(|s| s.host == host);
        let mut roots: Vec<_> = of_host.map(|s| s.root.display().into_owned()).collect();
        roots.sort();
        roots
    };
    assert_eq!(looked_at(StepScope::Due).await, ["/due"]);
    assert_eq!(looked_at(StepScope::AtWork).await, ["/due", "/runs", "/waits"]);
    assert_eq!(looked_at(StepScope::All).await, ["/due", "/later", "/runs", "/waits"]);
}

async fn who_decided_by_something_old_decides_nothing(store: &dyn Store) {
    let host = new_host(store, "revisions").await;
    let new = schedule(host, "/srv");
    store.create_schedule(new.clone()).await.unwrap();
    let last = LastRun { at: at(7), scan: None, outcome: RunOutcome::Failed, message: "why".into() };
    let state =
        ScheduleState { last_run: Some(last), last_slot: Some(at(6)), cut_short: 1, told_late: true, ..new.state };
    assert!(store.schedule_stepped(new.id, 0, state.clone(), None).await.unwrap());
    assert!(!store.schedule_stepped(new.id, 0, ScheduleState::default(), None).await.unwrap());
    let found = store.schedule(new.id).await.unwrap();
    assert_eq!(found.state, state);
    store.change_schedule(found.clone()).await.unwrap();
    assert!(!store.schedule_stepped(new.id, found.revision, ScheduleState::default(), None).await.unwrap());
    assert!(!store.schedule_stepped(ScheduleId::new(), 0, state, None).await.unwrap());
}

async fn a_removed_host_takes_its_schedules_along(store: &dyn Store) {
    let host = new_host(store, "leaves").await;
    let new = schedule(host, "/srv");
    store.create_schedule(new.clone()).await.unwrap();
    let removal = store.remove_host(host).await.unwrap();
    assert!(store.schedule(new.id).await.is_err(), "at once");
    assert!(store.schedules_to_step(at(2_000_000_000), StepScope::All).await.unwrap().iter().all(|s| s.host != host));
    removal.await.unwrap().unwrap();
    assert!(store.schedule(new.id).await.is_err());
}

/// A data directory with a host that is not linked and a schedule that was due an hour ago.
async fn with_a_missed_run() -> (tempfile::TempDir, Schedule) {
    let data = tempfile::tempdir().unwrap();
    let now = hostler_gateway::clock::now();
    let store = SqliteStore::open(data.path(), now).await.unwrap();
    let host = HostId::new();
    store.register_host(host, "atlas", [9; 32], now).await.unwrap();
    let due = hostler_model::Timestamp::from_micros(now.micros() - 3 * 3_600_000_000);
    let state = ScheduleState { next_run_at: Some(due), ..ScheduleState::default() };
    let new = Schedule { window: None, spread: false, state, ..schedule(host, "/srv") };
    store.create_schedule(new.clone()).await.unwrap();
    store.close();
    (data, new)
}

async fn eventually(what: &str, check: impl AsyncFn() -> bool) {
    for _ in 0..200 {
        if check().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("{what} did not come");
}

#[tokio::test]
async fn what_was_missed_while_the_gateway_was_down_is_told_once_and_waits_for_the_host() {
    let (data, new) = with_a_missed_run().await;
    let mut gateway = Running::start_in(data).await;
    for _ in 0..2 {
        let path = format!("/api/v1/schedules/{}", new.id);
        eventually("the run that waits", async || gateway.admin("GET", &path, "").await.json()["waits_for"] == "host")
            .await;
        let found = gateway.admin("GET", &path, "").await.json();
        assert_eq!(found["due_at"], json!(new.state.next_run_at.unwrap().to_string()));
        assert!(found["next_run_at"].as_str() > found["due_at"].as_str(), "{found}");
        let events = gateway.admin("GET", "/api/v1/events?kind=schedule", "").await.json();
        let told: Vec<_> = events["items"].as_array().unwrap().iter().map(|e| e["message"].as_str().unwrap()).collect();
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(told[0].contains("runs since") && told[0].contains("one scan makes up for it"), "{told:?}");
        gateway = gateway.restart().await;
    }
    gateway.stop().await;
}

#[tokio::test]
async fn schedules_by_rest() {
    let (data, old) = with_a_missed_run().await;
    let gateway = Running::start_in(data).await;
    let (viewer, _) = gateway.key("looker", "viewer").await;
    let (operator, _) = gateway.key("doer", "operator").await;
    let body = json!({
        "host": "atlas", "root": "/srv/media", "cadence": " Daily  03:30", "zone": "Europe/Vienna",
        "window": "mon-fri 22:00-06:00", "options": { "limits": { "cpu_percent": 50, "idle": true } },
    });
    let refused = gateway.request("POST", "/api/v1/schedules", &[&viewer], &body.to_string()).await;
    assert_eq!((refused.status, refused.code().as_str()), (403, "forbidden"));
    let made = gateway.request("POST", "/api/v1/schedules", &[&operator], &body.to_string()).await;
    assert_eq!(made.status, 201, "{made:?}");
    let made = made.json();
    assert_eq!((&made["cadence"], &made["window"]), (&json!("daily 03:30"), &json!("mon,tue,wed,thu,fri 22:00-06:00")));
    assert_eq!(
        (&made["created_by"], &made["enabled"], &made["spread"]),
        (&json!("key doer"), &json!(true), &json!(false))
    );
    assert_eq!(made["options"]["limits"]["cpu_percent"], 50);
    assert!(made["next_run_at"].is_string() && made["last_run"].is_null(), "{made}");
    let listed = gateway.request("GET", "/api/v1/schedules?host=atlas", &[&viewer], "").await.json();
    assert_eq!(listed["items"].as_array().unwrap().len(), 2);

    for (field, value, words) in [
        ("cadence", "sometimes", "`daily 03:30`"),
        ("cadence", "every 30s", "`every 6h`"),
        ("zone", "Nowhere/Atlantis", "Europe/Vienna"),
        ("window", "22:00", "mon-fri 22:00-06:00"),
        ("root", "media", "absolute path"),
    ] {
        let mut wrong = body.clone();
        wrong[field] = json!(value);
        let answer = gateway.request("POST", "/api/v1/schedules", &[&operator], &wrong.to_string()).await;
        assert_eq!((answer.status, answer.code().as_str()), (422, "invalid"), "{answer:?}");
        assert!(answer.json()["error"]["message"].as_str().unwrap().contains(words), "{answer:?}");
    }

    let path = format!("/api/v1/schedules/{}", made["id"].as_str().unwrap());
    let change = async |body: Value| {
        let answer = gateway.request("PATCH", &path, &[&operator], &body.to_string()).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json()
    };
    let off = change(json!({ "enabled": false })).await;
    assert_eq!((&off["enabled"], &off["next_run_at"]), (&json!(false), &Value::Null));
    let on = change(json!({ "enabled": true, "window": "", "cadence": "every 6h" })).await;
    assert_eq!(
        (&on["window"], &on["cadence"], &on["zone"]),
        (&Value::Null, &json!("every 6h"), &json!("Europe/Vienna"))
    );
    assert!(on["next_run_at"].is_string());
    let run = gateway.request("POST", &format!("{path}/run"), &[&operator], "").await;
    assert_eq!((run.status, run.code().as_str()), (409, "not_linked"), "nobody is there to scan");
    assert_eq!(gateway.request("DELETE", &path, &[&viewer], "").await.status, 403);
    assert_eq!(gateway.request("DELETE", &path, &[&operator], "").await.status, 204);
    assert_eq!(gateway.request("GET", &path, &[&viewer], "").await.status, 404);

    let log = gateway.audit("&action=schedules").await;
    let told: Vec<_> = log.iter().filter(|e| e["result"] == "ok").map(|e| e["action"].as_str().unwrap()).collect();
    assert_eq!(told, ["schedules.delete", "schedules.change", "schedules.change", "schedules.create"]);
    assert_eq!((&log[0]["host_name"], &log[0]["target"]), (&json!("atlas"), &json!("/srv/media")));

    // With its host a schedule goes.
    assert!(gateway.admin("DELETE", &format!("/api/v1/hosts/{}", old.host), "").await.status < 300);
    assert_eq!(gateway.admin("GET", "/api/v1/schedules", "").await.json()["items"], json!([]));
    gateway.stop().await;
}

#[tokio::test]
async fn schedules_on_pages() {
    let (data, old) = with_a_missed_run().await;
    let gateway = Running::start_in(data).await;
    gateway.user("ada", "operator", "correct-horse-battery").await;
    gateway.user("eve", "viewer", "correct-horse-battery").await;
    let cookie = gateway.sign_in("ada", "correct-horse-battery").await.cookie();
    let page = async |path: &str| {
        let answer = gateway.request("GET", path, &[&cookie], "").await;
        assert_eq!(answer.status, 200, "{path}: {answer:?}");
        String::from_utf8(answer.body).unwrap()
    };
    let form = page("/files/schedules/new?path=/srv/media").await;
    assert!(
        form.contains("/srv/media") && form.contains("name=\"cadence\"") && form.contains("name=\"cpu\""),
        "{form}"
    );
    let csrf = form.split(r#"name="csrf" value=""#).nth(1).unwrap().split('"').next().unwrap().to_owned();
    let post = async |path: &str, body: &str| {
        let form = "content-type: application/x-www-form-urlencoded";
        gateway.request("POST", path, &[&cookie, form], &format!("csrf={csrf}&{body}")).await
    };
    let fields = "host=atlas&root=%2Fsrv%2Fmedia&cpu=50&window=22:00-06:00&cadence=";
    let wrong = post("/files/schedules", &format!("{fields}sometimes")).await;
    assert_eq!(wrong.status, 422);
    let text = String::from_utf8(wrong.body).unwrap();
    assert!(text.contains("cadence-error") && text.contains("every 6h") && text.contains("value=\"50\""), "{text}");
    let made = post("/files/schedules", &format!("{fields}weekly+sun+03:30")).await;
    assert_eq!((made.status, made.header("location")), (303, Some("/files/schedules")), "{made:?}");
    let list = page("/files/schedules").await;
    for words in ["/srv/media", "weekly sun 03:30", "only 22:00-06:00", "Waits for the host", "Run now", "Switch off"] {
        assert!(list.contains(words), "{words}: {list}");
    }
    let found = gateway.admin("GET", "/api/v1/schedules?root=/srv/media", "").await.json();
    let id = found["items"][0]["id"].as_str().unwrap();
    assert_eq!(found["items"][0]["options"]["limits"]["cpu_percent"], 50);
    assert!(page(&format!("/files/schedules/{id}")).await.contains("weekly sun 03:30"));
    let saved = post(&format!("/files/schedules/{id}"), &format!("{fields}hourly&excludes=*.iso")).await;
    assert_eq!(saved.status, 303, "{saved:?}");
    assert_eq!(post(&format!("/files/schedules/{id}/disable"), "").await.status, 303);
    let found = gateway.admin("GET", &format!("/api/v1/schedules/{id}"), "").await.json();
    assert_eq!((&found["cadence"], &found["enabled"]), (&json!("hourly"), &json!(false)));
    assert_eq!(found["options"]["excludes"], json!(["*.iso"]));
    assert!(page("/files/schedules").await.contains("Switch on"));
    assert!(page(&format!("/files/schedules/{id}/delete")).await.contains("Delete the schedule"));
    assert_eq!(post(&format!("/files/schedules/{id}/delete"), "").await.status, 303);
    assert_eq!(post(&format!("/files/schedules/{}/delete", old.id), "").await.status, 303);
    let empty = page("/files/schedules").await;
    assert!(empty.contains("hostler scans schedule /home --at"), "{empty}");

    let viewer = gateway.sign_in("eve", "correct-horse-battery").await.cookie();
    assert_eq!(gateway.request("GET", "/files/schedules", &[&viewer], "").await.status, 200);
    gateway.stop().await;
}
