//! What a gateway finds out about itself: for `hostler doctor`, the API and the settings page.

use std::time::{Duration, Instant};

use hostler_link::check::{Hop, check};
use hostler_link::{Settings, Trust};
use hostler_model::time;
use serde::Serialize;

use crate::clock;
use crate::state::AppState;

/// A certificate that ends within this time is told, seconds.
const EXPIRY_WARNING: u64 = 14 * 86_400;
/// A store that takes longer than this for a write is told.
const SLOW_STORE: Duration = Duration::from_secs(2);

/// How a check ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum FindingState {
    /// As it should be.
    Ok,
    /// It works, and something about it will bite.
    Warning,
    /// This is what is wrong.
    Failed,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Finding {
    /// `url`, `tls`, `store` or `hosts`.
    pub name: &'static str,
    /// How it ended.
    pub state: FindingState,
    /// What was found.
    pub detail: String,
    /// What to do about it.
    pub hint: Option<String>,
}

impl Finding {
    fn ok(name: &'static str, detail: String) -> Self {
        Self { name, state: FindingState::Ok, detail, hint: None }
    }

    fn bad(name: &'static str, state: FindingState, detail: String, hint: &str) -> Self {
        Self { name, state, detail, hint: Some(hint.into()) }
    }
}

/// Looks at everything, in the order of a request's way.
pub async fn examine(state: &AppState) -> Vec<Finding> {
    let mut findings = way(state).await;
    findings.push(store(state).await);
    findings.push(hosts(state).await);
    findings
}

/// Reaches the gateway by the URL that hosts and people are given, as they would.
async fn way(state: &AppState) -> Vec<Finding> {
    let url = &*state.public_url;
    let steps = check(url, &state.pin.map_or(Trust::System, Trust::Pinned), &Settings::default()).await;
    let connects = steps.iter().any(|step| step.hop == Hop::Tcp && step.outcome.is_ok());
    let failed = steps.iter().find(|step| step.outcome.is_err() && !(step.hop == Hop::Tcp && connects));
    let mut findings = Vec::new();
    match failed.and_then(|step| step.outcome.as_ref().err()) {
        Some(error) => findings.push(Finding::bad(
            "url",
            FindingState::Failed,
            format!("{url} cannot be reached from here: {error}"),
            "hosts are told to dial this URL; set another with --external-url",
        )),
        None => findings.push(Finding::ok("url", format!("{url} is reached"))),
    }
    if let Some(certificate) = steps.into_iter().find_map(|step| step.certificate) {
        let left = certificate.not_after.seconds_since(clock::now());
        let detail = format!("certificate for {}, for another {}", certificate.names.join(", "), time::age(left));
        let hint = "renew the certificate; new files are read by themselves";
        findings.push(match left {
            EXPIRY_WARNING.. => Finding::ok("tls", detail),
            _ => Finding::bad("tls", FindingState::Warning, detail, hint),
        });
    }
    findings
}

async fn store(state: &AppState) -> Finding {
    let begun = Instant::now();
    // A write of nothing goes the way of every write, to the disk and back.
    let written = state.store.keep_proofs(Vec::new()).await;
    let took = begun.elapsed();
    let detail = format!("a write takes {} ms", took.as_millis());
    let slow = "a large index may just be committed; else the disk is slow";
    match written {
        Err(error) => Finding::bad("store", FindingState::Failed, error.to_string(), "is the disk full or failing?"),
        Ok(()) if took > SLOW_STORE => Finding::bad("store", FindingState::Warning, detail, slow),
        Ok(()) => Finding::ok("store", detail),
    }
}

async fn hosts(state: &AppState) -> Finding {
    let hosts = match state.store.hosts().await {
        Ok(hosts) => hosts,
        Err(error) => {
            return Finding::bad("hosts", FindingState::Failed, error.to_string(), "is the disk full or failing?");
        }
    };
    let linked = hosts.iter().filter(|host| state.fleet.linked(host.id)).count();
    let twice: Vec<&str> = hosts
        .iter()
        .filter(|host| state.fleet.status(host.id).duplicate.is_some())
        .map(|host| host.name.as_str())
        .take(5)
        .collect();
    let detail = format!("{linked} of {} linked", hosts.len());
    match twice.as_slice() {
        [] => Finding::ok("hosts", detail),
        names => Finding::bad(
            "hosts",
            FindingState::Warning,
            format!("{detail}; claimed by two machines: {}", names.join(", ")),
            "join the copy anew with --new-identity",
        ),
    }
}
