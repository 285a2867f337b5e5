//! Instants as RFC 3339 in UTC, ages and durations for people and as people type them.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// An instant in microseconds since the Unix epoch. Where one comes from is the caller's business.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

impl Timestamp {
    /// From microseconds since the epoch.
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// From nanoseconds since the epoch, rounded down.
    pub const fn from_nanos(nanos: i64) -> Self {
        Self(nanos.div_euclid(1000))
    }

    /// Microseconds since the epoch.
    pub const fn micros(self) -> i64 {
        self.0
    }

    /// Whole seconds from `earlier` to this; 0 when it lies after.
    pub const fn seconds_since(self, earlier: Self) -> u64 {
        let micros = self.0.saturating_sub(earlier.0);
        if micros < 0 { 0 } else { micros as u64 / 1_000_000 }
    }

    /// `2026-11-21 23:54:08 UTC`, for titles.
    pub fn exact(self) -> String {
        let text = self.to_string();
        format!("{} {} UTC", &text[..text.len().min(10)], text.get(11..19).unwrap_or(""))
    }

    /// Parses RFC 3339.
    pub fn parse(text: &str) -> Result<Self, String> {
        text.parse::<jiff::Timestamp>()
            .map(|t| Self(t.as_microsecond()))
            .map_err(|_| format!("{text:?} is not a time: use RFC 3339, such as 2026-11-21T23:54:08Z"))
    }
}

impl fmt::Display for Timestamp {
    /// RFC 3339, UTC, milliseconds. Instants outside years -9999 to 9999 print as the nearest one inside.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inside = self.0.clamp(jiff::Timestamp::MIN.as_microsecond(), jiff::Timestamp::MAX.as_microsecond());
        let stamp = jiff::Timestamp::from_microsecond(inside).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
        write!(f, "{stamp:.3}")
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(d)?).map_err(serde::de::Error::custom)
    }
}

/// `4 s`, `6 min`, `3 h`, `41 days`, `2 years`: one unit, rounded down.
pub fn age(seconds: u64) -> String {
    const DAY: u64 = 86_400;
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min", seconds / 60),
        3600..DAY => format!("{} h", seconds / 3600),
        DAY..172_800 => "1 day".into(),
        172_800..31_536_000 => format!("{} days", seconds / DAY),
        31_536_000..63_072_000 => "1 year".into(),
        _ => format!("{} years", seconds / 31_536_000),
    }
}

/// `17 h 22 min`, `1 min 4 s`, `0.3 s`: at most two units.
pub fn duration(micros: u64) -> String {
    let seconds = micros / 1_000_000;
    match seconds {
        0..10 => format!("{:.1} s", micros as f64 / 1e6),
        10..60 => format!("{seconds} s"),
        60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds % 86_400 / 3600),
    }
}

/// Parses `30s`, `15min`, `12h`, `7d`, `4w`, `1y` (365 days) into seconds.
pub fn parse_age(text: &str) -> Result<u64, String> {
    let trimmed = text.trim();
    let split = trimmed.find(|c: char| !c.is_ascii_digit()).unwrap_or(trimmed.len());
    let (number, unit) = trimmed.split_at(split);
    let wrong = || format!("{text:?} is not an age: use a number and s, min, h, d, w or y, such as 7d");
    let factor: u64 = match unit.trim() {
        "s" => 1,
        "m" | "min" => 60,
        "h" => 3600,
        "d" => 86_400,
        "w" => 604_800,
        "y" => 31_536_000,
        _ => return Err(wrong()),
    };
    let number: u64 = number.parse().map_err(|_| wrong())?;
    // A thousand years is more than any file's age, and keeps later arithmetic far from overflow.
    number.checked_mul(factor).filter(|s| *s <= 31_536_000_000).ok_or_else(wrong)
}

impl utoipa::PartialSchema for Timestamp {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
        utoipa::openapi::ObjectBuilder::new()
            .schema_type(utoipa::openapi::schema::Type::String)
            .description(Some("RFC 3339, UTC"))
            .into()
    }
}

impl utoipa::ToSchema for Timestamp {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_and_reads_rfc_3339() {
        let t = Timestamp::from_micros(1_795_305_248_123_456);
        assert_eq!(t.to_string(), "2026-11-21T23:54:08.123Z");
        assert_eq!(t.exact(), "2026-11-21 23:54:08 UTC");
        assert_eq!(Timestamp::parse("2026-11-21T23:54:08Z").unwrap().micros(), 1_795_305_248_000_000);
        assert!(Timestamp::parse("yesterday").is_err());
        assert_eq!(Timestamp::from_nanos(-1).micros(), -1);
        let _ = Timestamp::from_micros(i64::MAX).exact();
        let _ = Timestamp::from_micros(i64::MIN).exact();
    }

    #[test]
    fn ages_and_durations() {
        assert_eq!(age(59), "59 s");
        assert_eq!(age(3 * 86_400), "3 days");
        assert_eq!(duration(62_000_000), "1 min 2 s");
        assert_eq!(parse_age("7d"), Ok(604_800));
        for text in ["", "7", "d", "-1d", "99999999999999y", "7 parsecs"] {
            assert!(parse_age(text).is_err(), "{text}");
        }
    }
}
