//! How often: the one parser of what people type, and the times it stands for.
//!
//! ```text
//! every 15m | every 6h | every 1d      so long after each other, counted from when the schedule was made
//! hourly                               at each full hour
//! daily 03:30                          as the clocks of the zone show
//! weekly sun 03:30
//! monthly 1 03:30                      31 means the last day
//! 30 3 * * 1-5                         cron(5): minute, hour, day, month, day of the week
//! ```

use std::fmt;
use std::str::FromStr;

use hostler_model::{ScheduleId, Timestamp};
use jiff::tz::TimeZone;

use super::calendar::{Calendar, clock_time, weekday};

/// Shortest and longest time between two runs, seconds.
const SHORTEST: u64 = 60;
const LONGEST: u64 = 366 * 86_400;
/// Longest text of a cadence, bytes.
const MAX_TEXT: usize = 200;
/// A spread is at most this, and at most a twentieth of the period; seconds.
const MAX_SPREAD: u64 = 600;
/// Of a calendar's period the shortest of so many is taken.
const PERIODS: usize = 16;

/// How often something runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cadence {
    text: String,
    kind: Kind,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Kind {
    /// Seconds.
    Every(u64),
    Hourly(Calendar),
    Calendar(Calendar),
}

/// What was typed is no cadence.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0}. Use `every 6h`, `hourly`, `daily 03:30`, `weekly sun 03:30`, `monthly 1 03:30` or a cron expression such as `30 3 * * *`"
)]
pub struct BadCadence(String);

impl FromStr for Cadence {
    type Err = BadCadence;

    fn from_str(text: &str) -> Result<Self, BadCadence> {
        if text.len() > MAX_TEXT {
            return Err(BadCadence(format!("a cadence has at most {MAX_TEXT} characters")));
        }
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ").to_ascii_lowercase();
        let kind = parse(&text).map_err(BadCadence)?;
        let cadence = Self { text, kind };
        // `0 0 30 2 *` is well formed and never comes.
        match cadence.slot_after(jiff::Timestamp::UNIX_EPOCH, jiff::Timestamp::UNIX_EPOCH, &TimeZone::UTC) {
            Some(_) => Ok(cadence),
            None => Err(BadCadence(format!("{:?} names no day that ever comes", cadence.text))),
        }
    }
}

impl fmt::Display for Cadence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

fn parse(text: &str) -> Result<Kind, String> {
    let words: Vec<&str> = text.split(' ').collect();
    let calendar = |calendar| Ok(Kind::Calendar(calendar));
    match words[..] {
        [""] => Err("no cadence was given".into()),
        ["every", span] => interval(span).map(Kind::Every),
        ["every", number, unit] => interval(&format!("{number}{unit}")).map(Kind::Every),
        ["hourly"] => Ok(Kind::Hourly(Calendar::hourly(0))),
        ["daily"] => Err("`daily` needs a time".into()),
        ["daily", at] => calendar(Calendar::daily(clock_time(at, false)?)),
        ["weekly", day, at] => calendar(Calendar::weekly(weekday(day)?, clock_time(at, false)?)),
        ["monthly", day, at] => {
            let number = day.parse::<u8>().ok().filter(|d| (1..=31).contains(d));
            let day = number.ok_or_else(|| format!("{day:?} is no day of a month: use 1 to 31"))?;
            calendar(Calendar::monthly(day, clock_time(at, false)?))
        }
        ["weekly" | "monthly", ..] => Err(format!("{text:?} needs a day and a time")),
        [first, ..] if words.len() == 5 || first.starts_with(['*', '0', '1', '2', '3', '4', '5']) => {
            calendar(Calendar::cron(text)?)
        }
        _ => Err(format!("{text:?} is no cadence")),
    }
}

fn interval(text: &str) -> Result<u64, String> {
    let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let unit = match unit {
        "m" | "min" | "minutes" | "minute" => 60,
        "h" | "hours" | "hour" => 3600,
        "d" | "days" | "day" => 86_400,
        "w" | "weeks" | "week" => 604_800,
        _ => return Err(format!("{text:?} is no span of time: use a number and m, h, d or w")),
    };
    let seconds = number.parse::<u64>().ok().and_then(|n| n.checked_mul(unit));
    seconds
        .filter(|s| (SHORTEST..=LONGEST).contains(s))
        .ok_or_else(|| format!("`every {text}` is out of bounds: from 1m to 366d"))
}

/// Where a cadence's times lie.
#[derive(Clone, Debug)]
pub struct Grid {
    /// Whose clocks count.
    pub zone: TimeZone,
    /// What `every` counts from.
    pub anchor: Timestamp,
    /// Each time is so much later than the cadence says: see [`Cadence::spread`].
    pub delay_seconds: u64,
}

impl Cadence {
    /// True when runs of many schedules of this cadence are spread unless somebody wants them not to be: where no exact
    /// time was typed.
    pub fn spreads(&self) -> bool {
        matches!(self.kind, Kind::Every(_) | Kind::Hourly(_))
    }

    /// Seconds by which this schedule's runs come later, so that many of one cadence do not start at once: the same for one
    /// schedule always, less than a twentieth of the period and than ten minutes.
    pub fn spread(&self, id: ScheduleId, zone: &TimeZone) -> u64 {
        let bound = (self.period_seconds(zone) / 20).min(MAX_SPREAD);
        let hash = blake3::hash(id.to_string().as_bytes());
        let number = hash.as_bytes().iter().take(8).fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte));
        number.checked_rem(bound).unwrap_or(0)
    }

    /// The first time after `after`; `None` at the end of time.
    pub fn next(&self, after: Timestamp, grid: &Grid) -> Option<Timestamp> {
        let delay = jiff::SignedDuration::from_secs(i64::try_from(grid.delay_seconds).ok()?);
        let slot = self.slot_after(instant(after).checked_sub(delay).ok()?, instant(grid.anchor), &grid.zone)?;
        Some(Timestamp::from_micros(slot.checked_add(delay).ok()?.as_microsecond()))
    }

    fn slot_after(&self, after: jiff::Timestamp, anchor: jiff::Timestamp, zone: &TimeZone) -> Option<jiff::Timestamp> {
        match &self.kind {
            Kind::Every(seconds) => {
                let period = i64::try_from(*seconds).ok()?.checked_mul(1_000_000)?;
                let passed = after.as_microsecond().checked_sub(anchor.as_microsecond())?.div_euclid(period);
                let next = passed.checked_add(1)?.checked_mul(period)?.checked_add(anchor.as_microsecond())?;
                jiff::Timestamp::from_microsecond(next).ok()
            }
            Kind::Hourly(calendar) | Kind::Calendar(calendar) => calendar.next(after, zone),
        }
    }

    /// The time between two runs; of a calendar the shortest of some that follow each other, found from a fixed day so that
    /// it is the same always.
    fn period_seconds(&self, zone: &TimeZone) -> u64 {
        if let Kind::Every(seconds) = self.kind {
            return seconds;
        }
        let mut shortest = LONGEST;
        let mut at = jiff::Timestamp::UNIX_EPOCH;
        for _ in 0..PERIODS {
            let Some(next) = self.slot_after(at, at, zone) else { break };
            if at > jiff::Timestamp::UNIX_EPOCH {
                shortest = shortest.min(u64::try_from(next.as_second() - at.as_second()).unwrap_or(LONGEST));
            }
            at = next;
        }
        shortest
    }
}

/// Instants that no calendar has are the nearest one that it has.
pub fn instant(at: Timestamp) -> jiff::Timestamp {
    let inside = at.micros().clamp(jiff::Timestamp::MIN.as_microsecond(), jiff::Timestamp::MAX.as_microsecond());
    jiff::Timestamp::from_microsecond(inside).unwrap_or(jiff::Timestamp::UNIX_EPOCH)
}

/// The zone of this IANA name. The system's time zone database counts, and the one built in where there is none.
pub fn zone(name: &str) -> Result<TimeZone, String> {
    let short = name.len() <= 64;
    let found = if short { TimeZone::get(name).ok() } else { None };
    found.filter(|zone| zone.iana_name().is_some()).ok_or_else(|| {
        let name: String = name.chars().take(64).collect();
        format!("there is no time zone {name:?}: use a name such as Europe/Vienna, America/New_York or UTC")
    })
}

/// The gateway's own zone by its IANA name; UTC where it has none.
pub fn local_zone() -> String {
    let zone = TimeZone::try_system().ok();
    let name = zone.as_ref().and_then(|zone| zone.iana_name()).filter(|name| self::zone(name).is_ok());
    name.unwrap_or("UTC").to_owned()
}
