//! What a scan may use of its machine: the fields of forms, and how it is told.

use hostler_model::{ScanLimits, size};
use maud::{Markup, html};
use serde::Deserialize;

use super::scan_form::FieldError;
use crate::pages::components::{icon, text_field};
use crate::pages::errors::sentence;

/// More than any machine has: a percentage of one core.
const MAX_CPU: u32 = 100_000;

/// The fields, as typed.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct LimitFields {
    cpu: String,
    rate: String,
    idle: Option<String>,
}

impl LimitFields {
    /// The fields that say this.
    pub fn of(limits: &ScanLimits) -> Self {
        let number = |n: u64| if n == 0 { String::new() } else { n.to_string() };
        Self {
            cpu: number(limits.cpu_percent.into()),
            rate: number(limits.bytes_per_second),
            idle: limits.idle.then(|| "on".into()),
        }
    }

    /// What they say.
    pub fn parse(&self) -> Result<ScanLimits, FieldError> {
        let cpu_percent = match self.cpu.trim().trim_end_matches('%').trim() {
            "" => 0,
            text => text.parse().ok().filter(|percent| *percent <= MAX_CPU).ok_or_else(|| {
                FieldError::new("cpu", "Give a percentage of one core, such as 50; 200 are two cores.")
            })?,
        };
        let bytes_per_second = match self.rate.trim().trim_end_matches("/s") {
            "" => 0,
            text => size::parse(text).map_err(|why| FieldError::new("rate", sentence(&why)))?,
        };
        Ok(ScanLimits { cpu_percent, bytes_per_second, idle: self.idle.is_some() })
    }

    /// The folded part of a form; open when something in it is set or wrong.
    pub fn draw<'a>(&self, of: &dyn Fn(&str) -> Option<&'a str>) -> Markup {
        let set = !self.cpu.is_empty() || !self.rate.is_empty() || self.idle.is_some();
        html! {
            details.options open[set || of("cpu").is_some() || of("rate").is_some()] {
                summary { (icon("right")) "Limits" }
                div.form {
                    div.form-row {
                        (text_field("cpu", "Processor", &self.cpu, "Percent of one core, such as 50. Empty for no bound.", of("cpu")))
                        (text_field("rate", "Reading", &self.rate, "Bytes a second, such as 50M. Empty for no bound.", of("rate")))
                    }
                    div.row {
                        label.check { input type="checkbox" name="idle" checked[self.idle.is_some()]; "Only when nobody else reads" }
                        span.hint { "The limits of the host's owner hold as well." }
                    }
                }
            }
        }
    }

    /// The same as hidden fields.
    pub fn hidden(&self) -> Markup {
        html! {
            @if !self.cpu.is_empty() { input type="hidden" name="cpu" value=(self.cpu); }
            @if !self.rate.is_empty() { input type="hidden" name="rate" value=(self.rate); }
            @if self.idle.is_some() { input type="hidden" name="idle" value="on"; }
        }
    }
}

/// `50% of a core, 50.0 MiB/s, when idle`; `none`.
pub fn words(limits: &ScanLimits) -> String {
    let mut parts = Vec::new();
    if limits.cpu_percent > 0 {
        parts.push(format!("{}% of a core", limits.cpu_percent));
    }
    if limits.bytes_per_second > 0 {
        parts.push(format!("{}/s", size::human(limits.bytes_per_second)));
    }
    if limits.idle {
        parts.push("only when nobody else reads".into());
    }
    if parts.is_empty() { "none".into() } else { parts.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_read_as_they_are_typed_and_come_back() {
        let typed = |cpu: &str, rate: &str| LimitFields { cpu: cpu.into(), rate: rate.into(), idle: None };
        assert_eq!(typed("", "").parse().unwrap(), ScanLimits::default());
        let limits = typed(" 50% ", "50M/s").parse().unwrap();
        assert_eq!((limits.cpu_percent, limits.bytes_per_second), (50, size::parse("50M").unwrap()));
        assert_eq!(LimitFields::of(&limits).parse().unwrap(), limits);
        assert_eq!(typed("half", "").parse().unwrap_err().field, "cpu");
        assert_eq!(typed("-1", "").parse().unwrap_err().field, "cpu");
        assert_eq!(typed("", "fast").parse().unwrap_err().field, "rate");
    }
}
