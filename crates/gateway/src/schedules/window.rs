//! When scheduled scans may run: `22:00-06:00`, or `mon-fri 22:00-06:00`. A window that ends before it begins goes over
//! midnight and belongs to the day on which it opens.

use std::fmt;
use std::str::FromStr;

use hostler_model::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;

use super::cadence::instant;
use super::calendar::{clock_time, weekday};

const DAY_MINUTES: u16 = 24 * 60;
const ALL_DAYS: u8 = 0x7f;
const NAMES: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

/// Hours of some days.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Window {
    /// Bit 0 is Sunday.
    days: u8,
    /// Minutes since midnight.
    from: u16,
    to: u16,
}

/// What was typed is no window.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}. Use `22:00-06:00`, or with days `mon-fri 22:00-06:00` or `sat,sun 00:00-24:00`")]
pub struct BadWindow(String);

impl FromStr for Window {
    type Err = BadWindow;

    fn from_str(text: &str) -> Result<Self, BadWindow> {
        let text: String = text.trim().chars().take(100).collect();
        let (days, hours) = match text.rsplit_once(' ') {
            Some((days, hours)) => (parse_days(days.trim()).map_err(BadWindow)?, hours),
            None => (ALL_DAYS, text.as_str()),
        };
        let (from, to) =
            hours.split_once('-').ok_or_else(|| BadWindow(format!("{hours:?} has no beginning and end")))?;
        let window = Self {
            days,
            from: clock_time(from, false).map_err(BadWindow)?,
            to: clock_time(to, true).map_err(BadWindow)?,
        };
        match window.from == window.to {
            true => Err(BadWindow(format!("{hours:?} ends when it begins; the whole day is 00:00-24:00"))),
            false => Ok(window),
        }
    }
}

fn parse_days(text: &str) -> Result<u8, String> {
    let mut days = 0_u8;
    for part in text.split(',').map(str::trim) {
        let (from, to) = part.split_once('-').unwrap_or((part, part));
        let (from, to) = (weekday(from)?, weekday(to)?);
        // `fri-mon` goes over the end of the week.
        let count = (to + 7 - from) % 7 + 1;
        (0..count).for_each(|n| days |= 1 << ((from + n) % 7));
    }
    Ok(days)
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.days != ALL_DAYS {
            // Weeks are read from Monday.
            let days: Vec<&str> =
                (1..=7).map(|n| n % 7).filter(|n| self.days >> n & 1 == 1).map(|n| NAMES[n]).collect();
            write!(f, "{} ", days.join(","))?;
        }
        let time = |minutes: u16| format!("{:02}:{:02}", minutes / 60, minutes % 60);
        write!(f, "{}-{}", time(self.from), time(self.to))
    }
}

impl Window {
    /// Whether it is open.
    pub fn is_open(&self, now: Timestamp, zone: &TimeZone) -> bool {
        let now = instant(now);
        let today = now.to_zoned(zone.clone()).date();
        let began = |day: Date| self.span(day, zone).is_some_and(|(from, to)| from <= now && now < to);
        began(today) || today.yesterday().is_ok_and(began)
    }

    /// When it opens next, after `now`.
    pub fn opens_after(&self, now: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        let now = instant(now);
        let mut day = now.to_zoned(zone.clone()).date();
        for _ in 0..9 {
            if let Some((from, _)) = self.span(day, zone).filter(|(from, _)| *from > now) {
                return Some(Timestamp::from_micros(from.as_microsecond()));
            }
            day = day.tomorrow().ok()?;
        }
        None
    }

    /// The window that opens on this day, as instants.
    fn span(&self, day: Date, zone: &TimeZone) -> Option<(jiff::Timestamp, jiff::Timestamp)> {
        if self.days >> day.weekday().to_sunday_zero_offset() & 1 == 0 {
            return None;
        }
        let at = |day: Date, minutes: u16| {
            let (day, minutes) = if minutes == DAY_MINUTES { (day.tomorrow().ok()?, 0) } else { (day, minutes) };
            let time = day.at((minutes / 60) as i8, (minutes % 60) as i8, 0, 0);
            zone.to_ambiguous_timestamp(time).compatible().ok()
        };
        let end = if self.to <= self.from { day.tomorrow().ok()? } else { day };
        Some((at(day, self.from)?, at(end, self.to)?))
    }
}
