//! Who changed what: every changing request leaves a line in the audit log before it is answered, whatever became of it.
//!
//! A changing request runs in a task of its own, so that a client who goes away neither stops it half way nor keeps it out
//! of the log. What somebody did is known from the route ([`ACTIONS`]); a handler adds what it was done to with an
//! [`Entry`] on its response. Secrets are never written: neither bodies nor queries are looked at.

use std::panic::AssertUnwindSafe;

use axum::extract::{MatchedPath, Request, State};
use axum::http::{Extensions, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponseParts, Response, ResponseParts};
use futures_util::FutureExt;
use hostler_model::HostId;

use crate::auth::{Peer, Principal};
use crate::clock;
use crate::state::AppState;
use crate::store::{AuditEntry, AuditResult, Scan, Schedule, Via};

/// Longest text of one field, characters.
const MAX_TEXT: usize = 200;

/// Names of what routes do. `{id}` in the path is what it is done to; a secret in the path has another name.
const ACTIONS: &[(&str, &str, &str)] = &[
    ("POST", "/api/v1/api-keys", "api-keys.create"),
    ("DELETE", "/api/v1/api-keys/{id}", "api-keys.revoke"),
    ("POST", "/api/auth/token", "snapfs.token"),
    ("GET", "/api/v1/backup", "gateway.backup"),
    ("DELETE", "/api/v1/hosts/{host}", "hosts.remove"),
    ("POST", "/api/v1/hosts/probe", "hosts.probe"),
    ("POST", "/api/v1/hosts/{host}/probe", "hosts.probe"),
    ("POST", "/api/v1/join", "hosts.join"),
    ("POST", "/api/v1/join-tokens", "join-tokens.create"),
    ("DELETE", "/api/v1/join-tokens/{id}", "join-tokens.revoke"),
    ("POST", "/api/v1/restore", "gateway.restore"),
    ("POST", "/api/v1/scans", "scans.start"),
    ("POST", "/api/v1/scans/{id}/cancel", "scans.cancel"),
    ("POST", "/api/v1/scans/{id}/pause", "scans.pause"),
    ("POST", "/api/v1/scans/{id}/resume", "scans.resume"),
    ("POST", "/api/v1/schedules", "schedules.create"),
    ("PATCH", "/api/v1/schedules/{id}", "schedules.change"),
    ("DELETE", "/api/v1/schedules/{id}", "schedules.delete"),
    ("POST", "/api/v1/schedules/{id}/run", "schedules.run"),
    ("DELETE", "/api/v1/sessions/{id}", "sessions.end"),
    ("POST", "/api/v1/sign-in-links", "sign-in-links.create"),
    ("DELETE", "/api/v1/snapfs/consumers/{subject}/{durable}", "snapfs-consumers.forget"),
    ("POST", "/api/v1/users", "users.create"),
    ("PATCH", "/api/v1/users/{id}", "users.set-role"),
    ("DELETE", "/api/v1/users/{id}", "users.delete"),
    ("POST", "/api/v1/users/{id}/password", "users.set-password"),
    ("POST", "/api/v1/webhooks", "webhooks.create"),
    ("PATCH", "/api/v1/webhooks/{id}", "webhooks.change"),
    ("DELETE", "/api/v1/webhooks/{id}", "webhooks.delete"),
    ("POST", "/api/v1/webhooks/{id}/test", "webhooks.test"),
    ("POST", "/api/v1/webhooks/{id}/deliveries/{delivery}/redeliver", "webhooks.redeliver"),
    ("POST", "/files/scans", "scans.start"),
    ("POST", "/files/scans/{id}/cancel", "scans.cancel"),
    ("POST", "/files/scans/{id}/pause", "scans.pause"),
    ("POST", "/files/scans/{id}/resume", "scans.resume"),
    ("POST", "/files/schedules", "schedules.create"),
    ("POST", "/files/schedules/{id}", "schedules.change"),
    ("POST", "/files/schedules/{id}/delete", "schedules.delete"),
    ("POST", "/files/schedules/{id}/enable", "schedules.change"),
    ("POST", "/files/schedules/{id}/disable", "schedules.change"),
    ("POST", "/files/schedules/{id}/run", "schedules.run"),
    ("POST", "/hosts/join", "join-tokens.create"),
    ("POST", "/hosts/join/{id}/revoke", "join-tokens.revoke"),
    ("POST", "/hosts/{id}/probe", "hosts.probe"),
    ("POST", "/hosts/{id}/remove", "hosts.remove"),
    ("POST", "/settings/account/password", "users.set-password"),
    ("POST", "/settings/keys", "api-keys.create"),
    ("POST", "/settings/keys/{id}/revoke", "api-keys.revoke"),
    ("POST", "/settings/sessions/{id}/end", "sessions.end"),
    ("POST", "/settings/snapfs/{subject}/{durable}/forget", "snapfs-consumers.forget"),
    ("POST", "/settings/users", "users.create"),
    ("POST", "/settings/users/{id}/delete", "users.delete"),
    ("POST", "/settings/users/{id}/password", "users.set-password"),
    ("POST", "/settings/users/{id}/role", "users.set-role"),
    ("POST", "/settings/webhooks", "webhooks.create"),
    ("POST", "/settings/webhooks/{id}/delete", "webhooks.delete"),
    ("POST", "/settings/webhooks/{id}/enable", "webhooks.change"),
    ("POST", "/settings/webhooks/{id}/disable", "webhooks.change"),
    ("POST", "/settings/webhooks/{id}/test", "webhooks.test"),
    ("POST", "/settings/webhooks/{id}/deliveries/{delivery}/redeliver", "webhooks.redeliver"),
    ("POST", "/sign-in", "sign-in"),
    ("GET", "/sign-in/{token}", "sign-in"),
    ("POST", "/sign-out", "sign-out"),
];

/// The choice of a theme is a cookie and changes nothing that the gateway keeps. SnapFS clients tell of files all the time, which
/// is no action of anybody: their scans are among the others.
const NOT_RECORDED: &[&str] = &["/theme", "/cache/batch", "/api/cache/batch", "/ingest", "/api/ingest", "/query/sql"];

/// What a handler knows of what it did; put it on the response.
#[derive(Clone, Debug, Default)]
pub struct Entry {
    /// To which host, and its name.
    pub host: Option<(HostId, String)>,
    /// To what, when the path's `{id}` does not say it: a name, a path.
    pub target: Option<String>,
    /// More for people. Never a secret.
    pub detail: String,
}

impl Entry {
    /// Done to this.
    pub fn target(target: impl Into<String>) -> Self {
        Self { target: Some(target.into()), ..Self::default() }
    }

    /// Done to this host.
    pub fn host(id: HostId, name: impl Into<String>) -> Self {
        Self { host: Some((id, name.into())), ..Self::default() }
    }

    /// Adds more for people.
    pub fn detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = detail.into();
        self
    }
}

impl IntoResponseParts for Entry {
    type Error = std::convert::Infallible;
    fn into_response_parts(self, mut parts: ResponseParts) -> Result<ResponseParts, Self::Error> {
        parts.extensions_mut().insert(self);
        Ok(parts)
    }
}

/// Of an action on a scan.
pub fn scan_entry(scan: &Scan) -> Entry {
    Entry { target: Some(scan.root.display().into_owned()), ..Entry::host(scan.host, &scan.host_name) }
}

/// Of an action on a schedule.
pub fn schedule_entry(schedule: &Schedule) -> Entry {
    let state = if schedule.enabled { "" } else { ", switched off" };
    let entry = Entry::host(schedule.host, &schedule.host_name).detail(format!("{}{state}", schedule.cadence));
    Entry { target: Some(schedule.root.display().into_owned()), ..entry }
}

/// On the response to somebody who is nobody yet, and whose attempt is to be recorded: who they say they are.
#[derive(Clone, Debug)]
pub struct Anonymous(pub String);

/// On the response of an error: its word for programs.
#[derive(Clone, Copy, Debug)]
pub struct Why(pub &'static str);

/// What a request would do, before it is known who asks.
struct Subject {
    action: String,
    target: String,
}

fn subject(request: &Request) -> Option<Subject> {
    let method = request.method();
    let route = request.extensions().get::<MatchedPath>()?.as_str();
    // What answers GET answers HEAD too, and does as much.
    let asked = if *method == Method::HEAD { "GET" } else { method.as_str() };
    let known = ACTIONS.iter().find(|(m, path, _)| *m == asked && *path == route);
    let changes = !matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS);
    if known.is_none() && (!changes || NOT_RECORDED.contains(&route)) {
        return None;
    }
    let action = known.map_or_else(|| format!("{method} {route}"), |(_, _, action)| (*action).to_owned());
    let target =
        route.split('/').zip(request.uri().path().split('/')).find(|(name, _)| matches!(*name, "{id}" | "{host}"));
    Some(Subject { action, target: target.map(|(_, value)| value.to_owned()).unwrap_or_default() })
}

/// Middleware around authentication: runs changing requests to their end, and records them.
pub async fn record(State(state): State<AppState>, request: Request, next: Next) -> Response {
    let Some(subject) = subject(&request) else { return next.run(request).await };
    let from = Peer::of(request.extensions());
    let task = tokio::spawn(async move {
        let outcome = AssertUnwindSafe(next.run(request)).catch_unwind().await;
        let extensions = Extensions::new();
        let (status, extensions) = match &outcome {
            Ok(response) => (response.status(), response.extensions()),
            Err(_) => (StatusCode::INTERNAL_SERVER_ERROR, &extensions),
        };
        if let Some(entry) = entry(subject, from, status, extensions)
            && let Err(error) = state.store.append_audit(entry.clone()).await
        {
            tracing::error!(%error, who = entry.who, action = entry.action, "an action was not recorded");
        }
        outcome
    });
    match task.await {
        Ok(Ok(response)) => response,
        Ok(Err(panic)) => std::panic::resume_unwind(panic),
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => crate::rest::stopping(),
        },
    }
}

/// The line of a request; `None` when nobody did anything: no credential, or too many wrong ones.
fn entry(subject: Subject, from: Peer, status: StatusCode, response: &Extensions) -> Option<AuditEntry> {
    let result = match status {
        s if s.is_success() || s.is_redirection() => AuditResult::Ok,
        s if s.is_client_error() => AuditResult::Refused,
        _ => AuditResult::Failed,
    };
    let Entry { host, target, detail } = response.get::<Entry>().cloned().unwrap_or_default();
    let (who, role, via) = match (response.get::<Principal>(), response.get::<Anonymous>()) {
        (Some(principal), _) => (principal.name.clone(), Some(principal.role), principal.via),
        (None, Some(Anonymous(who))) => (who.clone(), None, Via::SignIn),
        (None, None) => return None,
    };
    let why = response.get::<Why>().filter(|_| result != AuditResult::Ok);
    let detail = match (detail.is_empty(), why) {
        (true, Some(Why(why))) => (*why).to_owned(),
        _ => detail,
    };
    let (host, host_name) = host.map_or((None, String::new()), |(id, name)| (Some(id), name));
    Some(AuditEntry {
        id: 0,
        at: clock::now(),
        who: bounded(who),
        role,
        from: from.to_string(),
        via,
        action: bounded(subject.action),
        host,
        host_name: bounded(host_name),
        target: bounded(target.unwrap_or(subject.target)),
        result,
        detail: bounded(detail),
    })
}

fn bounded(text: String) -> String {
    text.chars().filter(|c| !c.is_control()).take(MAX_TEXT).collect()
}
