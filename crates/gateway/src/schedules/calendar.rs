//! Minutes of a calendar: the five fields of cron(5), and when they come next in a time zone.
//!
//! A day's minutes are looked up as its clocks show them. A minute that a clock passes over in spring comes as much
//! later as the clock is moved (02:30 at 03:30); one that a clock shows twice in autumn comes the first time only, unless every hour is meant:
//! then it comes both times, so that what runs every 15 minutes does so through that night.

use jiff::Timestamp;
use jiff::civil::{Date, DateTime};
use jiff::tz::{AmbiguousOffset, TimeZone};

/// Days that are looked at for the next minute: leap days are eight years apart around a year such as 2100.
const HORIZON_DAYS: i32 = 366 * 8 + 2;

/// Which minutes. Bit `n` of a set is the value `n`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Calendar {
    minutes: u64,
    hours: u64,
    days: u64,
    months: u64,
    weekdays: u64,
    every_hour: bool,
    /// Days of the month and of the week both restrict: one of them is enough (cron(5)).
    either_day: bool,
    /// A day that a month does not have is its last.
    last_day: bool,
}

/// One of the five fields: what it is called, its bounds, and its names.
struct Field {
    name: &'static str,
    first: u64,
    last: u64,
    names: &'static [&'static str],
}

const MINUTE: Field = Field { name: "minute", first: 0, last: 59, names: &[] };
const HOUR: Field = Field { name: "hour", first: 0, last: 23, names: &[] };
const DAY: Field = Field { name: "day of the month", first: 1, last: 31, names: &[] };
const MONTH: Field = Field {
    name: "month",
    first: 1,
    last: 12,
    names: &["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"],
};
/// Sunday is 0 and 7.
const WEEKDAY: Field =
    Field { name: "day of the week", first: 0, last: 7, names: &["sun", "mon", "tue", "wed", "thu", "fri", "sat"] };

impl Field {
    fn value(&self, text: &str) -> Result<u64, String> {
        let named = self.names.iter().position(|name| text.eq_ignore_ascii_case(name));
        let value = named.map(|at| at as u64 + self.first).or_else(|| text.parse().ok());
        value
            .filter(|v| (self.first..=self.last).contains(v))
            .ok_or_else(|| format!("{text:?} is no {}: use {} to {}", self.name, self.first, self.last))
    }

    /// `*`, `5`, `1-5`, `*/15`, `10-40/10`, and lists of them.
    fn set(&self, text: &str) -> Result<u64, String> {
        let mut set = 0;
        for part in text.split(',') {
            let (range, step) = match part.split_once('/') {
                Some((range, step)) => {
                    let step = step.parse::<u64>().ok().filter(|s| (1..=self.last).contains(s));
                    (range, step.ok_or_else(|| format!("{part:?} has no step of 1 to {}", self.last))?)
                }
                None => (part, 1),
            };
            let (from, to) = match range.split_once('-') {
                _ if range == "*" => (self.first, self.last),
                Some((from, to)) => (self.value(from)?, self.value(to)?),
                None if part.contains('/') => (self.value(range)?, self.last),
                None => (self.value(range)?, self.value(range)?),
            };
            if from > to {
                return Err(format!("{range:?} ends before it begins; write two ranges with a comma between them"));
            }
            (from..=to).step_by(step as usize).for_each(|v| set |= 1 << v);
        }
        Ok(set)
    }
}

/// A day of the week by its English name, whole or its first three letters: 0 is Sunday.
pub fn weekday(text: &str) -> Result<u8, String> {
    const WHOLE: [&str; 7] = ["sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday"];
    let lower = text.to_ascii_lowercase();
    let found = WHOLE.iter().position(|name| *name == lower || (lower.len() == 3 && name.starts_with(&lower)));
    found.map(|at| at as u8).ok_or_else(|| format!("{text:?} is no day: use sun, mon, tue, wed, thu, fri or sat"))
}

/// `HH:MM`; 24:00 only where `end` says that it is the end of something. Minutes since midnight.
pub fn clock_time(text: &str, end: bool) -> Result<u16, String> {
    let wrong = || format!("{text:?} is no time of day: use hours and minutes such as 03:30");
    let (hour, minute) = text.split_once(':').ok_or_else(wrong)?;
    let digits = |part: &str, most: usize| {
        (1..=most).contains(&part.len()).then(|| part.bytes().all(|b| b.is_ascii_digit())).filter(|ok| *ok)
    };
    digits(hour, 2).ok_or_else(wrong)?;
    digits(minute, 2).filter(|_| minute.len() == 2).ok_or_else(wrong)?;
    let (hour, minute): (u16, u16) = (hour.parse().map_err(|_| wrong())?, minute.parse().map_err(|_| wrong())?);
    let whole = hour * 60 + minute;
    if minute < 60 && (whole < 24 * 60 || (end && whole == 24 * 60)) { Ok(whole) } else { Err(wrong()) }
}

impl Calendar {
    /// Five fields: minute, hour, day of the month, month, day of the week.
    pub fn cron(text: &str) -> Result<Self, String> {
        let fields: Vec<&str> = text.split_whitespace().collect();
        let [minute, hour, day, month, weekday] = fields[..] else {
            return Err(format!(
                "a cron expression has five fields (minute, hour, day, month, day of the week), and {text:?} has {}",
                fields.len()
            ));
        };
        let mut weekdays = WEEKDAY.set(weekday)?;
        weekdays |= weekdays >> 7 & 1;
        Ok(Self {
            minutes: MINUTE.set(minute)?,
            hours: HOUR.set(hour)?,
            days: DAY.set(day)?,
            months: MONTH.set(month)?,
            weekdays,
            every_hour: hour.starts_with('*'),
            either_day: !day.starts_with('*') && !weekday.starts_with('*'),
            last_day: false,
        })
    }

    /// At this minute of every hour.
    pub fn hourly(minute: u16) -> Self {
        Self { minutes: 1 << minute, every_hour: true, hours: (1 << 24) - 1, ..Self::daily(0) }
    }

    /// At this minute of every day.
    pub fn daily(minute: u16) -> Self {
        Self {
            minutes: 1 << (minute % 60),
            hours: 1 << (minute / 60),
            days: u64::MAX,
            months: u64::MAX,
            weekdays: u64::MAX,
            every_hour: false,
            either_day: false,
            last_day: false,
        }
    }

    /// On this day of the week, 0 for Sunday.
    pub fn weekly(weekday: u8, minute: u16) -> Self {
        Self { weekdays: 1 << weekday, ..Self::daily(minute) }
    }

    /// On this day of the month, 1 to 31; in a month without it, on its last day.
    pub fn monthly(day: u8, minute: u16) -> Self {
        Self { days: 1 << day, last_day: true, ..Self::daily(minute) }
    }

    /// The first of these minutes after `after`; `None` when there is none within eight years.
    pub fn next(&self, after: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        let today = after.to_zoned(zone.clone()).date();
        // A day that ends late may reach over midnight when clocks are put back across it.
        let mut day = today.yesterday().ok()?;
        for _ in 0..HORIZON_DAYS {
            if self.has_day(day)
                && let Some(found) = self.instants(day, zone).into_iter().filter(|at| *at > after).min()
            {
                return Some(found);
            }
            day = day.tomorrow().ok()?;
        }
        None
    }

    fn has_day(&self, day: Date) -> bool {
        let has = |set: u64, value: i8| set >> value & 1 == 1;
        let last = day.days_in_month();
        let of_month = has(self.days, day.day()) || (self.last_day && day.day() == last && self.days >> last > 1);
        let of_week = has(self.weekdays, day.weekday().to_sunday_zero_offset());
        has(self.months, day.month()) && if self.either_day { of_month || of_week } else { of_month && of_week }
    }

    fn instants(&self, day: Date, zone: &TimeZone) -> Vec<Timestamp> {
        let mut found = Vec::new();
        for hour in (0..24_i8).filter(|h| self.hours >> h & 1 == 1) {
            for minute in (0..60_i8).filter(|m| self.minutes >> m & 1 == 1) {
                let at: DateTime = day.at(hour, minute, 0, 0);
                let ambiguous = zone.to_ambiguous_timestamp(at);
                if self.every_hour && matches!(ambiguous.offset(), AmbiguousOffset::Fold { .. }) {
                    found.extend(zone.to_ambiguous_timestamp(at).later().ok());
                }
                found.extend(ambiguous.compatible().ok());
            }
        }
        found
    }
}
