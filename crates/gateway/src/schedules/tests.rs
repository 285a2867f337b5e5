//! Cadences, windows, and a schedule's life on a clock that the test moves.

use hostler_model::{HostId, ScanId, ScanOptions, ScanState, ScheduleId, Timestamp};
use proptest::prelude::*;

use super::cadence::{Cadence, Grid, zone};
use super::step::{Action, Facts, Plan, Run, step};
use super::window::Window;
use crate::store::{RunOutcome, Schedule, ScheduleState, WaitsFor};

fn at(text: &str) -> Timestamp {
    Timestamp::parse(text).unwrap()
}

fn after(from: Timestamp, seconds: i64) -> Timestamp {
    Timestamp::from_micros(from.micros() + seconds * 1_000_000)
}

fn grid(name: &str) -> Grid {
    Grid { zone: zone(name).unwrap(), anchor: at("2026-01-01T00:00:00Z"), delay_seconds: 0 }
}

/// The next times of a cadence, in UTC.
fn times(cadence: &str, zone: &str, from: &str, count: usize) -> Vec<String> {
    let cadence: Cadence = cadence.parse().unwrap();
    let mut now = at(from);
    let next = |_| {
        now = cadence.next(now, &grid(zone)).unwrap();
        now.to_string()[..16].to_owned()
    };
    (0..count).map(next).collect()
}

#[test]
fn cadences_mean_what_they_say() {
    let from = "2026-03-10T12:00:00Z";
    assert_eq!(times("every 15m", "UTC", from, 2), ["2026-03-10T12:15", "2026-03-10T12:30"]);
    assert_eq!(times("every 1d", "UTC", from, 2), ["2026-03-11T00:00", "2026-03-12T00:00"]);
    assert_eq!(times("hourly", "UTC", from, 2), ["2026-03-10T13:00", "2026-03-10T14:00"]);
    assert_eq!(times("daily 03:30", "UTC", from, 2), ["2026-03-11T03:30", "2026-03-12T03:30"]);
    assert_eq!(times("weekly sun 03:30", "UTC", from, 2), ["2026-03-15T03:30", "2026-03-22T03:30"]);
    assert_eq!(times("monthly 1 03:30", "UTC", from, 2), ["2026-04-01T03:30", "2026-05-01T03:30"]);
    assert_eq!(times("monthly 31 00:00", "UTC", from, 3), ["2026-03-31T00:00", "2026-04-30T00:00", "2026-05-31T00:00"]);
    assert_eq!(times("30 3 * * 1-5", "UTC", from, 4)[3], "2026-03-16T03:30", "over the weekend");
    assert_eq!(times("*/20 4 1,15 * *", "UTC", from, 3), ["2026-03-15T04:00", "2026-03-15T04:20", "2026-03-15T04:40"]);
    assert_eq!(times("0 0 13 * fri", "UTC", from, 2), ["2026-03-13T00:00", "2026-03-20T00:00"], "either day will do");
    assert_eq!(times("0 0 29 feb *", "UTC", from, 1), ["2028-02-29T00:00"]);
    assert_eq!(times("Weekly  Sunday 3:30", "UTC", from, 1), ["2026-03-15T03:30"]);
    assert_eq!(times("0 0 * * 7", "UTC", from, 1), ["2026-03-15T00:00"], "Sunday is 0 and 7");
}

#[test]
fn clocks_that_are_moved_neither_lose_nor_repeat_a_run() {
    // Vienna: 2026-03-29 02:00 becomes 03:00, 2026-10-25 03:00 becomes 02:00.
    let vienna = "Europe/Vienna";
    assert_eq!(
        times("daily 02:30", vienna, "2026-03-27T12:00:00Z", 3),
        ["2026-03-28T01:30", "2026-03-29T01:30", "2026-03-30T00:30"],
        "02:30 is not there, 03:30 stands for it"
    );
    assert_eq!(
        times("daily 02:30", vienna, "2026-10-24T12:00:00Z", 3),
        ["2026-10-25T00:30", "2026-10-26T01:30", "2026-10-27T01:30"],
        "02:30 is there twice and counts once"
    );
    assert_eq!(
        times("*/30 * * * *", vienna, "2026-10-24T23:45:00Z", 6),
        [
            "2026-10-25T00:00",
            "2026-10-25T00:30",
            "2026-10-25T01:00",
            "2026-10-25T01:30",
            "2026-10-25T02:00",
            "2026-10-25T02:30"
        ],
        "what runs each half hour goes on"
    );
    assert_eq!(
        times("hourly", vienna, "2026-03-29T00:30:00Z", 3),
        ["2026-03-29T01:00", "2026-03-29T02:00", "2026-03-29T03:00"]
    );
}

#[test]
fn what_is_no_cadence_is_answered_with_examples() {
    for wrong in [
        "",
        "sometimes",
        "every",
        "every 30s",
        "every 0m",
        "every 5y",
        "every 99999999999999999999h",
        "daily",
        "daily 25:00",
        "daily 3",
        "daily 03:60",
        "weekly 03:30",
        "weekly someday 03:30",
        "monthly 0 03:30",
        "monthly 32 03:30",
        "* * * *",
        "* * * * * *",
        "60 * * * *",
        "* * 0 * *",
        "*/0 * * * *",
        "5-1 * * * *",
        "0 0 30 2 *",
        "0 0 31 feb,apr *",
        "\u{0}",
    ] {
        let error = wrong.parse::<Cadence>().unwrap_err().to_string();
        assert!(error.contains("`daily 03:30`"), "{wrong}: {error}");
    }
    assert!("x".repeat(10_000).parse::<Cadence>().is_err());
    for wrong in ["Nowhere/Atlantis", "", "../../etc/passwd", &"x".repeat(1000)] {
        assert!(zone(wrong).unwrap_err().contains("Europe/Vienna"), "{wrong}");
    }
}

#[test]
fn windows_open_and_close() {
    let open = |window: &str, now: &str| {
        let window: Window = window.parse().unwrap();
        window.is_open(at(now), &zone("Europe/Vienna").unwrap())
    };
    // Winter time: one hour ahead of UTC.
    for (window, now, expected) in [
        ("22:00-06:00", "2026-01-10T21:00:00Z", true),
        ("22:00-06:00", "2026-01-10T20:59:59Z", false),
        ("22:00-06:00", "2026-01-11T04:59:59Z", true),
        ("22:00-06:00", "2026-01-11T05:00:00Z", false),
        ("08:00-17:00", "2026-01-10T12:00:00Z", true),
        ("sat,sun 00:00-24:00", "2026-01-10T12:00:00Z", true),
        ("sat,sun 00:00-24:00", "2026-01-12T12:00:00Z", false),
        // Friday's night reaches into Saturday, Saturday's does not begin.
        ("mon-fri 22:00-06:00", "2026-01-10T03:00:00Z", true),
        ("mon-fri 22:00-06:00", "2026-01-10T22:00:00Z", false),
    ] {
        assert_eq!(open(window, now), expected, "{window} at {now}");
    }
    let window: Window = "fri-mon 22:00-06:00".parse().unwrap();
    assert_eq!(window.to_string(), "mon,fri,sat,sun 22:00-06:00");
    let vienna = zone("Europe/Vienna").unwrap();
    assert_eq!(window.opens_after(at("2026-01-13T12:00:00Z"), &vienna), Some(at("2026-01-16T21:00:00Z")));
    for wrong in ["", "22:00", "22:00-22:00", "25:00-06:00", "someday 22:00-06:00", "22-6", "24:00-06:00"] {
        assert!(wrong.parse::<Window>().unwrap_err().to_string().contains("mon-fri 22:00-06:00"), "{wrong}");
    }
}

fn any_cadence() -> impl Strategy<Value = String> {
    prop_oneof![
        (1_u32..500, prop_oneof![Just("m"), Just("h")]).prop_map(|(n, unit)| format!("every {n}{unit}")),
        Just("hourly".to_owned()),
        (0_u32..24, 0_u32..60).prop_map(|(h, m)| format!("daily {h:02}:{m:02}")),
        (0_usize..7, 0_u32..24)
            .prop_map(|(d, h)| format!("weekly {} {h:02}:00", ["sun", "mon", "tue", "wed", "thu", "fri", "sat"][d])),
        (1_u32..32, 0_u32..24).prop_map(|(d, h)| format!("monthly {d} {h:02}:15")),
        (1_u32..60, 1_u32..24).prop_map(|(m, h)| format!("*/{m} */{h} * * *")),
    ]
}

fn any_zone() -> impl Strategy<Value = &'static str> {
    prop::sample::select(&[
        "UTC",
        "Europe/Vienna",
        "America/New_York",
        "Australia/Lord_Howe",
        "Pacific/Apia",
        "Asia/Kathmandu",
    ])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn the_next_time_is_later_and_none_lies_between(
        cadence in any_cadence(), name in any_zone(), second in 1_280_000_000_i64..2_000_000_000, delay in 0_u64..600,
    ) {
        let cadence: Cadence = cadence.parse().unwrap();
        let grid = Grid { delay_seconds: delay, ..grid(name) };
        let now = Timestamp::from_micros(second * 1_000_000);
        let next = cadence.next(now, &grid).unwrap();
        prop_assert!(next > now);
        // Whatever moment before it one asks at, the answer is the same: no time is passed over, none comes twice.
        let between = Timestamp::from_micros(now.micros() + (next.micros() - now.micros()) / 2);
        prop_assert_eq!(cadence.next(between, &grid).unwrap(), next);
        prop_assert_eq!(cadence.next(Timestamp::from_micros(next.micros() - 1), &grid).unwrap(), next);
        // What is kept reads as the same cadence.
        prop_assert_eq!(cadence.to_string().parse::<Cadence>().unwrap(), cadence);
    }

    #[test]
    fn steps_of_every_are_equal(minutes in 1_u64..10_000, second in 1_280_000_000_i64..2_000_000_000, name in any_zone()) {
        let cadence: Cadence = format!("every {minutes}m").parse().unwrap();
        let (mut now, grid) = (Timestamp::from_micros(second * 1_000_000), grid(name));
        now = cadence.next(now, &grid).unwrap();
        for _ in 0..50 {
            let next = cadence.next(now, &grid).unwrap();
            prop_assert_eq!(next.micros() - now.micros(), minutes as i64 * 60_000_000);
            now = next;
        }
    }

    #[test]
    fn texts_are_read_or_refused(text in ".{0,40}") {
        let _ = text.parse::<Cadence>();
        let _ = text.parse::<Window>();
        let _ = zone(&text);
    }
}

#[test]
fn ten_thousand_schedules_do_not_begin_in_one_second() {
    let utc = zone("UTC").unwrap();
    let cadence: Cadence = "every 6h".parse().unwrap();
    let delays: Vec<u64> = (0..10_000).map(|_| cadence.spread(ScheduleId::new(), &utc)).collect();
    assert!(delays.iter().all(|delay| *delay < 600));
    let busiest = (0..600).map(|second| delays.iter().filter(|delay| **delay == second).count()).max().unwrap();
    assert!(busiest < 60, "{busiest} begin in one second");
    let id = ScheduleId::new();
    assert_eq!(cadence.spread(id, &utc), cadence.spread(id, &utc));
    let short: Cadence = "every 2m".parse().unwrap();
    assert!((0..100).all(|_| short.spread(ScheduleId::new(), &utc) < 6), "a twentieth of the period");
    assert!(cadence.spreads() && !"daily 03:30".parse::<Cadence>().unwrap().spreads());
}

/// A schedule, the world around it, and what happened.
struct World {
    schedule: Schedule,
    now: Timestamp,
    linked: bool,
    root_busy: bool,
    run: Run,
    paused: bool,
    check_clock: bool,
    begun: Vec<Timestamp>,
    told: Vec<&'static str>,
}

impl World {
    fn new(cadence: &str, window: Option<&str>, now: &str) -> Self {
        let now = at(now);
        let mut schedule = Schedule {
            id: ScheduleId::new(),
            host: HostId::new(),
            host_name: "atlas".into(),
            root: "/srv".into(),
            options: ScanOptions::default(),
            cadence: cadence.into(),
            zone: "UTC".into(),
            window: window.map(str::to_owned),
            spread: false,
            enabled: true,
            created_by: "ada".into(),
            created_at: now,
            anchor: now,
            revision: 0,
            state: ScheduleState::default(),
        };
        schedule.state.next_run_at = Plan::of(&schedule).unwrap().next(now);
        let run = Run::Live;
        let (begun, told) = (Vec::new(), Vec::new());
        Self { schedule, now, linked: true, root_busy: false, run, paused: false, check_clock: false, begun, told }
    }

    fn step(&mut self) {
        let facts = Facts {
            now: self.now,
            linked: self.linked,
            root_busy: self.root_busy,
            starting: false,
            run: self.run.clone(),
            window_paused: self.paused,
            check_clock: self.check_clock,
        };
        let made = step(&self.schedule, &Plan::of(&self.schedule).unwrap(), &facts);
        self.schedule.state = made.state;
        self.told.extend(made.notices.iter().map(|notice| notice.kind));
        match made.action {
            Some(Action::Start) => {
                self.begun.push(self.now);
                self.schedule.state.running = Some(ScanId::new());
                self.schedule.state.waits_for = None;
                self.run = Run::Live;
            }
            Some(Action::Pause(_)) => self.paused = true,
            Some(Action::Resume(_)) => self.paused = false,
            None => {}
        }
    }

    /// Lets time pass in steps of ten seconds.
    fn pass(&mut self, seconds: i64) {
        for _ in 0..seconds / 10 {
            self.now = after(self.now, 10);
            self.step();
        }
    }

    /// The clock moves while nobody looks.
    fn jump(&mut self, seconds: i64) {
        self.now = after(self.now, seconds);
        self.check_clock = true;
        self.step();
        self.check_clock = false;
    }

    fn end(&mut self, state: ScanState, cut_short: bool) {
        self.run = Run::Ended { state, error: "why".into(), cut_short };
        self.step();
    }

    fn outcome(&self) -> Option<RunOutcome> {
        self.schedule.state.last_run.as_ref().map(|last| last.outcome)
    }
}

const HOUR: i64 = 3600;

#[test]
fn runs_when_it_is_due() {
    let mut world = World::new("hourly", None, "2026-03-10T11:50:00Z");
    world.pass(HOUR / 6);
    assert_eq!(world.begun, [at("2026-03-10T12:00:00Z")]);
    world.end(ScanState::Completed, false);
    assert_eq!(world.outcome(), Some(RunOutcome::Completed));
    world.pass(2 * HOUR - 10);
    assert_eq!(world.begun.len(), 2, "the second one still runs");
    assert_eq!(world.told, Vec::<&str>::new());
}

#[test]
fn a_run_that_is_due_while_the_one_before_runs_is_skipped() {
    let mut world = World::new("hourly", None, "2026-03-10T11:50:00Z");
    world.pass(3 * HOUR);
    assert_eq!((world.begun.len(), world.told.as_slice()), (1, &["schedule.skipped"; 2][..]));
    assert_eq!(world.outcome(), Some(RunOutcome::Skipped));
    world.end(ScanState::Completed, false);
    assert_eq!(world.outcome(), Some(RunOutcome::Completed));
    // Somebody else's scan of the directory counts as well.
    let mut world = World::new("hourly", None, "2026-03-10T11:50:00Z");
    world.root_busy = true;
    world.pass(HOUR);
    world.root_busy = false;
    world.pass(300);
    assert_eq!((world.begun.len(), world.told.as_slice()), (0, &["schedule.skipped"][..]));
}

#[test]
fn what_was_missed_is_made_up_for_once() {
    // The gateway was down for two days.
    let mut world = World::new("hourly", None, "2026-03-10T11:50:00Z");
    world.jump(48 * HOUR);
    assert_eq!((world.begun.len(), world.told.as_slice()), (1, &["schedule.missed"][..]));
    world.end(ScanState::Completed, false);
    world.pass(300);
    assert_eq!(world.begun.len(), 1);
    assert_eq!(world.schedule.state.next_run_at, Some(at("2026-03-12T12:00:00Z")));

    // The host is away over five times.
    let mut world = World::new("hourly", None, "2026-03-10T11:50:00Z");
    world.linked = false;
    world.pass(5 * HOUR);
    assert_eq!((world.begun.len(), world.told.as_slice()), (0, &["schedule.missed"][..]), "told once");
    assert_eq!(world.schedule.state.waits_for, Some(WaitsFor::Host));
    world.linked = true;
    world.pass(60);
    world.end(ScanState::Completed, false);
    world.pass(300);
    assert_eq!(world.begun.len(), 1);

    // Both: the gateway comes back first.
    let mut world = World::new("hourly", None, "2026-03-10T11:50:00Z");
    world.linked = false;
    world.jump(10 * HOUR);
    world.pass(HOUR);
    world.linked = true;
    world.pass(300);
    assert_eq!((world.begun.len(), world.told.as_slice()), (1, &["schedule.missed"][..]));
}

#[test]
fn a_run_that_was_cut_short_is_begun_again_once() {
    let mut world = World::new("daily 12:00", None, "2026-03-10T11:50:00Z");
    world.pass(HOUR);
    world.end(ScanState::Failed, true);
    assert_eq!((world.begun.len(), world.told.as_slice()), (2, &["schedule.missed"][..]));
    world.end(ScanState::Failed, true);
    world.pass(HOUR);
    assert_eq!((world.begun.len(), world.told.as_slice()), (2, &["schedule.missed", "schedule.failed"][..]));
    assert_eq!(world.outcome(), Some(RunOutcome::Failed));
    // One that failed for its own sake is not.
    world.pass(24 * HOUR);
    world.end(ScanState::Failed, false);
    world.pass(HOUR);
    assert_eq!(world.begun.len(), 3);
    // Nor one that somebody cancelled, though the gateway was stopped then.
    world.pass(23 * HOUR);
    world.end(ScanState::Cancelled, true);
    world.pass(HOUR);
    assert_eq!((world.begun.len(), world.outcome()), (4, Some(RunOutcome::Cancelled)));
}

#[test]
fn a_clock_that_goes_back_runs_nothing_twice() {
    let mut world = World::new("hourly", None, "2026-03-10T11:50:00Z");
    world.pass(HOUR / 2);
    world.end(ScanState::Completed, false);
    assert_eq!(world.begun, [at("2026-03-10T12:00:00Z")]);
    world.jump(-HOUR);
    world.pass(HOUR);
    assert_eq!(world.begun.len(), 1, "12:00 was dealt with");
    world.pass(HOUR);
    assert_eq!(world.begun, [at("2026-03-10T12:00:00Z"), at("2026-03-10T13:00:00Z")]);
}

#[test]
fn a_clock_that_was_wrong_for_a_while_stops_nothing() {
    // A year forward: one run makes up for it. Back again: the schedule goes on.
    let mut world = World::new("daily 12:00", None, "2026-03-10T11:50:00Z");
    world.jump(365 * 24 * HOUR);
    assert_eq!(world.begun.len(), 1);
    world.end(ScanState::Completed, false);
    world.jump(-365 * 24 * HOUR);
    world.pass(HOUR);
    assert_eq!(world.begun[1..], [at("2026-03-10T12:00:00Z")]);
}

#[test]
fn a_window_holds_back_pauses_and_resumes() {
    let mut world = World::new("daily 12:00", Some("22:00-06:00"), "2026-03-10T11:50:00Z");
    world.pass(HOUR);
    assert_eq!((world.begun.len(), world.schedule.state.waits_for), (0, Some(WaitsFor::Window)));
    world.pass(10 * HOUR);
    assert_eq!(world.begun, [at("2026-03-10T22:00:00Z")]);
    assert!(!world.paused);
    world.pass(8 * HOUR);
    assert!(world.paused, "it is after 06:00");
    world.pass(16 * HOUR);
    assert!(!world.paused, "it is after 22:00 again");
    assert_eq!(world.begun.len(), 1);
    // By hand it runs at any time.
    world.end(ScanState::Completed, false);
    world.now = at("2026-03-12T08:00:00Z");
    (world.schedule.state.running, world.schedule.state.due_at) = (Some(ScanId::new()), None);
    world.run = Run::Live;
    world.step();
    assert!(!world.paused);
}

#[test]
fn what_is_switched_off_does_not_run() {
    let mut world = World::new("hourly", None, "2026-03-10T11:50:00Z");
    world.schedule.enabled = false;
    world.schedule.state.next_run_at = None;
    world.pass(3 * HOUR);
    assert_eq!((world.begun.len(), world.schedule.state.next_run_at), (0, None));
    world.schedule.enabled = true;
    world.pass(10);
    assert_eq!((world.begun.len(), world.schedule.state.next_run_at), (0, Some(at("2026-03-10T15:00:00Z"))));
}
