//! The doctor beside a gateway: its disk, its process, and what the gateway finds out about itself.

use std::path::Path;

use anyhow::Result;
use serde::Deserialize;

use super::local;
use super::report::{Check, Report};
use crate::args::Connection;
use crate::client::{Client, Query};

#[derive(Deserialize)]
struct Findings {
    items: Vec<Finding>,
}

#[derive(Deserialize)]
struct Finding {
    name: String,
    state: String,
    detail: String,
    hint: Option<String>,
}

pub async fn examine(data: &Path) -> Result<Report> {
    let mut report = Report::new("gateway");
    if report.add(local::directory("data", data)) {
        report.add(local::disk(data));
    }
    let connection = Connection { gateway: None, pin: None, key: None, data: Some(data.to_owned()), json: false };
    let asked = Client::new(&connection)?.get::<Findings>("/doctor", &Query::default()).await;
    match asked {
        Err(error) => {
            let hint = "start it: systemctl restart hostler-gateway, or hostler up";
            report.add(Check::failed("gateway", error.to_string(), hint));
        }
        Ok(findings) => {
            report.add(Check::ok("gateway", "it runs and answers on its local socket"));
            for finding in findings.items {
                report.add(finding.into());
            }
        }
    }
    Ok(report)
}

impl From<Finding> for Check {
    fn from(finding: Finding) -> Self {
        // The gateway may be newer than this command.
        let name = ["store", "url", "tls", "hosts"].into_iter().find(|n| *n == finding.name).unwrap_or("gateway");
        let hint = finding.hint.unwrap_or_default();
        match finding.state.as_str() {
            "ok" => Self::ok(name, finding.detail),
            "warning" => Self::warning(name, finding.detail, hint),
            "failed" => Self::failed(name, finding.detail, hint),
            _ => Self::skipped(name, finding.detail),
        }
    }
}
