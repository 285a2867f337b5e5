//! Limits on guessing: failed attempts are counted per address, and per address and name, over the last ten minutes.
//!
//! Each counter keeps two numbers, of the present ten minutes and of those before, and weighs the latter by how much of
//! them still lies within the last ten minutes. The number of counters is bounded.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// What is counted lies within this time.
const WINDOW: Duration = Duration::from_secs(600);
/// Failures of one address.
const PER_ADDRESS: u32 = 50;
/// Failures of one address with one name.
const PER_NAME: u32 = 10;
/// Counters at the same time: some 2 MiB.
const MAX_COUNTERS: usize = 16_384;

/// What was tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Attempt {
    /// A name and a password, or a sign-in link.
    SignIn,
    /// A join token.
    Join,
    /// An API key. Wrong ones are not refused for their number, see `auth`; only so many are written down.
    Key,
}

/// Too many failures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too many failed attempts from this address; try again in {} min", .seconds.div_ceil(60))]
pub struct TooMany {
    /// When to try again.
    pub seconds: u64,
}

/// The counters.
#[derive(Default)]
pub struct Attempts(Mutex<HashMap<(Attempt, Network, u64), Counter>>);

/// Who owns an IPv6 address owns its /64.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Network {
    Local,
    V4([u8; 4]),
    V6([u8; 8]),
}

impl From<Option<IpAddr>> for Network {
    fn from(address: Option<IpAddr>) -> Self {
        match address.map(|address| address.to_canonical()) {
            None => Self::Local,
            Some(IpAddr::V4(v4)) => Self::V4(v4.octets()),
            Some(IpAddr::V6(v6)) => {
                let [a, b, c, d, e, f, g, h, ..] = v6.octets();
                Self::V6([a, b, c, d, e, f, g, h])
            }
        }
    }
}

#[derive(Clone, Copy)]
struct Counter {
    begun: Instant,
    present: u32,
    before: u32,
}

impl Counter {
    /// Moves the windows on to `now`.
    fn roll(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.begun);
        if passed >= 2 * WINDOW {
            *self = Self { begun: now, present: 0, before: 0 };
        } else if passed >= WINDOW {
            *self = Self { begun: self.begun + WINDOW, present: 0, before: self.present };
        }
    }

    /// Failures within the last window.
    fn recent(&self, now: Instant) -> f64 {
        let passed = now.saturating_duration_since(self.begun).min(WINDOW);
        f64::from(self.present) + f64::from(self.before) * (1.0 - passed.as_secs_f64() / WINDOW.as_secs_f64())
    }

    /// Seconds until fewer than `limit` are recent.
    fn seconds_until(&self, limit: u32, now: Instant) -> u64 {
        let passed = now.saturating_duration_since(self.begun).min(WINDOW).as_secs_f64();
        let window = WINDOW.as_secs_f64();
        // Until this window ends when it alone is too much, else until enough of the one before has passed.
        let excess = f64::from(self.present) + f64::from(self.before) - f64::from(limit);
        let until = match self.present >= limit || self.before == 0 {
            true => window,
            false => window * (excess / f64::from(self.before)).min(1.0),
        };
        (until - passed).max(1.0).ceil() as u64
    }
}

impl Attempts {
    /// Counts an attempt before its outcome is known, so that many at once do not all slip through.
    ///
    /// # Errors
    /// [`TooMany`]; nothing is counted then.
    pub fn begin(&self, attempt: Attempt, address: Option<IpAddr>, name: Option<&str>) -> Result<(), TooMany> {
        self.begin_at(attempt, address, name, Instant::now())
    }

    /// For secrets that cannot be guessed: fails when the address has failed too often, and counts nothing.
    ///
    /// # Errors
    /// [`TooMany`].
    pub fn check(&self, attempt: Attempt, address: Option<IpAddr>) -> Result<(), TooMany> {
        let mut counters = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        refuse_above_limits(&mut counters, attempt, address, None, Instant::now())
    }

    /// Counts a failure after [`Attempts::check`].
    pub fn failed(&self, attempt: Attempt, address: Option<IpAddr>) {
        // Above the limit there is nothing to count.
        let _ = self.begin(attempt, address, None);
    }

    /// Takes a counted attempt back: it was right.
    pub fn forgive(&self, attempt: Attempt, address: Option<IpAddr>, name: Option<&str>) {
        let mut counters = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for (key, _) in keys(attempt, address, name) {
            if let Some(counter) = counters.get_mut(&key) {
                counter.present = counter.present.saturating_sub(1);
            }
        }
    }

    fn begin_at(
        &self,
        attempt: Attempt,
        address: Option<IpAddr>,
        name: Option<&str>,
        now: Instant,
    ) -> Result<(), TooMany> {
        let mut counters = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        refuse_above_limits(&mut counters, attempt, address, name, now)?;
        for (key, limit) in keys(attempt, address, name) {
            if counters.len() >= MAX_COUNTERS && !counters.contains_key(&key) {
                make_room(&mut counters, limit, now);
            }
            let counter = counters.entry(key).or_insert(Counter { begun: now, present: 0, before: 0 });
            counter.present = counter.present.saturating_add(1);
        }
        Ok(())
    }
}

fn refuse_above_limits(
    counters: &mut HashMap<(Attempt, Network, u64), Counter>,
    attempt: Attempt,
    address: Option<IpAddr>,
    name: Option<&str>,
    now: Instant,
) -> Result<(), TooMany> {
    for (key, limit) in keys(attempt, address, name) {
        if let Some(counter) = counters.get_mut(&key) {
            counter.roll(now);
            if counter.recent(now) >= f64::from(limit) {
                return Err(TooMany { seconds: counter.seconds_until(limit, now) });
            }
        }
    }
    Ok(())
}

/// The counters of an attempt with their limits: the address's, and with a name that one's too.
fn keys(
    attempt: Attempt,
    address: Option<IpAddr>,
    name: Option<&str>,
) -> impl Iterator<Item = ((Attempt, Network, u64), u32)> {
    let network = Network::from(address);
    let named = name.map(|name| {
        let mut hasher = DefaultHasher::new();
        name.to_ascii_lowercase().hash(&mut hasher);
        // 0 is the address itself.
        ((attempt, network, hasher.finish().max(1)), PER_NAME)
    });
    [((attempt, network, 0), PER_ADDRESS)].into_iter().chain(named)
}

/// Drops the counters that matter least; as a last resort all, for one address must not fill the memory.
fn make_room(counters: &mut HashMap<(Attempt, Network, u64), Counter>, limit: u32, now: Instant) {
    counters.retain(|_, counter| {
        counter.roll(now);
        counter.recent(now) >= f64::from(limit) / 2.0
    });
    if counters.len() >= MAX_COUNTERS {
        counters.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> Option<IpAddr> {
        Some(text.parse().unwrap())
    }

    #[test]
    fn ten_wrong_passwords_of_a_name_and_fifty_of_an_address_within_ten_minutes() {
        let (attempts, start) = (Attempts::default(), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        let here = address("192.0.2.7");
        let ada = |seconds| attempts.begin_at(Attempt::SignIn, here, Some("ada"), at(seconds));
        for n in 0..10 {
            ada(n).unwrap();
        }
        let TooMany { seconds } = attempts.begin_at(Attempt::SignIn, here, Some("ADA"), at(10)).unwrap_err();
        assert!((1..=600).contains(&seconds), "{seconds}");
        // Others are not shut out with her: not another name here, not she from elsewhere, not a key from here.
        attempts.begin_at(Attempt::SignIn, here, Some("bob"), at(10)).unwrap();
        attempts.begin_at(Attempt::SignIn, address("192.0.2.8"), Some("ada"), at(10)).unwrap();
        attempts.begin_at(Attempt::Join, here, None, at(10)).unwrap();
        // Names change, the address does not.
        for n in 0..39 {
            attempts.begin_at(Attempt::SignIn, here, Some(&format!("guess {n}")), at(20)).unwrap();
        }
        assert!(attempts.begin_at(Attempt::SignIn, here, Some("one more"), at(20)).is_err());
        // It passes.
        ada(1300).unwrap();
    }

    #[test]
    fn the_time_to_wait_is_long_enough() {
        for failures_at in [0, 300, 599] {
            let (attempts, start) = (Attempts::default(), Instant::now());
            let at = |seconds| start + Duration::from_secs(seconds);
            let try_it = |seconds| attempts.begin_at(Attempt::SignIn, None, Some("ada"), at(seconds));
            try_it(0).unwrap();
            for _ in 0..9 {
                try_it(failures_at).unwrap();
            }
            let mut now = failures_at;
            let mut rounds = 0;
            while let Err(TooMany { seconds }) = try_it(now) {
                now += seconds;
                rounds += 1;
                assert!(rounds < 5, "still shut out after {now} s");
            }
            assert!(now <= 1200, "shut out for {now} s");
        }
    }

    #[test]
    fn what_was_right_does_not_count() {
        let attempts = Attempts::default();
        for _ in 0..200 {
            attempts.begin(Attempt::SignIn, None, Some("ada")).unwrap();
            attempts.forgive(Attempt::SignIn, None, Some("ada"));
        }
    }

    #[test]
    fn an_ipv6_network_is_one_address_and_a_mapped_ipv4_address_is_that() {
        let attempts = Attempts::default();
        for n in 0..50 {
            attempts.begin(Attempt::Join, address(&format!("2001:db8:1:2::{n:x}")), None).unwrap();
            attempts.begin(Attempt::Join, address("::ffff:192.0.2.7"), None).unwrap();
        }
        assert!(attempts.begin(Attempt::Join, address("2001:db8:1:2:ffff::1"), None).is_err());
        assert!(attempts.begin(Attempt::Join, address("192.0.2.7"), None).is_err());
        attempts.begin(Attempt::Join, address("2001:db8:1:3::1"), None).unwrap();
    }

    #[test]
    fn many_addresses_take_no_more_memory() {
        let attempts = Attempts::default();
        for n in 0..3 * MAX_COUNTERS as u32 {
            attempts.begin(Attempt::Join, Some(IpAddr::from(n.to_be_bytes())), None).unwrap();
        }
        assert!(attempts.0.lock().unwrap().len() <= MAX_COUNTERS);
    }
}
