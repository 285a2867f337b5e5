//! What the doctor found, in the order in which it looked.

use anyhow::Result;
use serde::Serialize;

use crate::output;

/// How a check ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// As it should be.
    Ok,
    /// It works, and something about it will bite.
    Warning,
    /// This is what is wrong.
    Failed,
    /// Not looked at, because an earlier check failed.
    Skipped,
}

/// One thing that was looked at.
#[derive(Clone, Debug, Serialize)]
pub struct Check {
    /// What: `dns`, `tcp`, `tls`, ...
    pub name: &'static str,
    /// How it ended.
    pub state: State,
    /// What was found.
    pub detail: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

impl Check {
    pub fn ok(name: &'static str, detail: impl Into<String>) -> Self {
        Self { name, state: State::Ok, detail: detail.into(), hint: None }
    }

    pub fn warning(name: &'static str, detail: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { name, state: State::Warning, detail: detail.into(), hint: Some(hint.into()) }
    }

    pub fn failed(name: &'static str, detail: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { name, state: State::Failed, detail: detail.into(), hint: Some(hint.into()) }
    }

    pub fn skipped(name: &'static str, why: impl Into<String>) -> Self {
        Self { name, state: State::Skipped, detail: why.into(), hint: None }
    }
}

/// All checks of one run.
#[derive(Default, Serialize)]
pub struct Report {
    /// `agent` or `gateway`: which side was looked at.
    pub side: &'static str,
    checks: Vec<Check>,
}

impl Report {
    pub fn new(side: &'static str) -> Self {
        Self { side, checks: Vec::new() }
    }

    /// Adds a check; true unless it failed.
    pub fn add(&mut self, check: Check) -> bool {
        let fine = check.state != State::Failed;
        self.checks.push(check);
        fine
    }

    /// True when nothing failed.
    pub fn healthy(&self) -> bool {
        self.checks.iter().all(|check| check.state != State::Failed)
    }

    pub fn print(&self, json: bool) -> Result<()> {
        if json {
            return output::line(serde_json::to_string(self)?);
        }
        let width = self.checks.iter().map(|check| check.name.len()).max().unwrap_or(0);
        for check in &self.checks {
            let word = match check.state {
                State::Ok => "ok     ",
                State::Warning => "warning",
                State::Failed => "FAILED ",
                State::Skipped => "-      ",
            };
            output::line(format!("{word}  {:width$}  {}", check.name, check.detail))?;
            if let Some(hint) = &check.hint {
                output::line(format!("{:9}{:width$}  -> {hint}", "", ""))?;
            }
        }
        Ok(())
    }
}
