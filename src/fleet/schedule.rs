//! The hours in which a machine is kept awake: windows of the week, each in its own time zone (pure).
//!
//! A window is on from the first moment at which the clocks of its zone show its beginning until the last one at which they
//! show its end. So it is one piece on every day: where clocks go back it is on through both passes of an hour that it
//! touches, and what clocks leave out when they go forward is not there. The zones are those that are compiled in.

use std::{fmt, str::FromStr};

use jiff::{
    Timestamp,
    civil::{Date, DateTime, Time},
    tz::{AmbiguousOffset, TimeZone, TimeZoneDatabase},
};

/// More windows than anybody writes by hand.
const MAX_WINDOWS: usize = 50;

/// The names of the days, from Monday on.
const DAYS: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];

/// Windows of the week; it is on while one of them is. The default has none.
///
/// Written as `Mon-Fri 08:00-20:00 Europe/Berlin; Sat,Sun 22:00-02:00 UTC`: a window whose end is not after its beginning
/// ends on the next day.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Schedule(Vec<Window>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Window {
    /// The days on which it begins, from Monday on.
    days: [bool; 7],
    start: Time,
    /// None: the end of the day.
    end: Option<Time>,
    zone: TimeZone,
}

/// Why a text is no schedule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{expected} in window {window}; a window is written like Mon-Fri 08:00-20:00 Europe/Berlin, with ; in between")]
pub struct ScheduleError {
    /// Which window, from 1.
    pub window: usize,
    /// What would be right.
    pub expected: WindowError,
}

/// What is expected of a window that is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WindowError {
    /// Not three words.
    #[error("days, hours and a time zone")]
    Form,
    /// Not days.
    #[error("days such as Mon-Fri or Sat,Sun")]
    Days,
    /// Not hours.
    #[error("hours such as 08:00-20:00, from 00:00 to 24:00")]
    Hours,
    /// Hours of no length.
    #[error("an end that is not the beginning (the whole day is 00:00-24:00)")]
    Empty,
    /// Not a zone.
    #[error("a time zone such as Europe/Berlin, America/New_York or UTC")]
    Zone,
    /// One window too many.
    #[error("at most {MAX_WINDOWS} windows: nothing")]
    TooMany,
}

impl Schedule {
    /// Whether a window is on at this time, in seconds since 1970 UTC.
    pub fn is_on(&self, unix_seconds: i64) -> bool {
        let now = Timestamp::from_second(unix_seconds);
        now.is_ok_and(|now| self.0.iter().any(|window| window.is_on(now)))
    }

    /// Whether there is no window at all.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromStr for Schedule {
    type Err = ScheduleError;

    /// Empty: no window.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let written = text.split(';').map(str::trim).filter(|window| !window.is_empty());
        let read = |(at, window): (usize, &str)| {
            let window = if at < MAX_WINDOWS { window.parse() } else { Err(WindowError::TooMany) };
            window.map_err(|expected| ScheduleError { window: at + 1, expected })
        };
        written.enumerate().map(read).collect::<Result<_, _>>().map(Self)
    }
}

impl FromStr for Window {
    type Err = WindowError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let words: Vec<&str> = text.split_whitespace().collect();
        let [days, hours, zone] = words[..] else { return Err(WindowError::Form) };
        let days = read_days(days).ok_or(WindowError::Days)?;
        let (start, end) = hours.split_once('-').ok_or(WindowError::Hours)?;
        let start = read_time(start).ok_or(WindowError::Hours)?;
        let end = if end == "24:00" { None } else { Some(read_time(end).ok_or(WindowError::Hours)?) };
        if end == Some(start) {
            return Err(WindowError::Empty);
        }
        let zone = TimeZoneDatabase::bundled().get(zone).map_err(|_| WindowError::Zone)?;
        Ok(Self { days, start, end, zone })
    }
}

impl Window {
    fn is_on(&self, now: Timestamp) -> bool {
        let today = self.zone.to_datetime(now).date();
        // Clocks that go back over midnight show the day before again while a window of the next one is on.
        let days = [today.yesterday(), Ok(today), today.tomorrow()];
        days.into_iter().flatten().any(|day| self.is_on_since(day, now))
    }

    /// Whether the window that begins on this day is on.
    fn is_on_since(&self, day: Date, now: Timestamp) -> bool {
        if !self.days[usize::from(day.weekday().to_monday_zero_offset().unsigned_abs())] {
            return false;
        }
        let (end_day, end) = match self.end {
            Some(end) if end > self.start => (Ok(day), end),
            Some(end) => (day.tomorrow(), end),
            None => (day.tomorrow(), Time::midnight()),
        };
        let end = end_day.ok().and_then(|day| self.moment(day.to_datetime(end), Pass::Last));
        let start = self.moment(day.to_datetime(self.start), Pass::First);
        start.is_some_and(|start| start <= now) && end.is_some_and(|end| now < end)
    }

    /// When the clocks show this: the first or the last time where they do so twice, and when they go forward where they
    /// never do.
    fn moment(&self, shown: DateTime, pass: Pass) -> Option<Timestamp> {
        let offset = match (self.zone.to_ambiguous_timestamp(shown).offset(), pass) {
            (AmbiguousOffset::Unambiguous { offset }, _) => offset,
            (AmbiguousOffset::Fold { before, .. }, Pass::First) => before,
            (AmbiguousOffset::Fold { after, .. }, Pass::Last) => after,
            (AmbiguousOffset::Gap { after, .. }, _) => {
                // By the later clock what is left out lies before the change.
                let before = after.to_timestamp(shown).ok()?;
                return self.zone.following(before).next().map(|change| change.timestamp());
            }
        };
        offset.to_timestamp(shown).ok()
    }
}

/// Which of two moments at which clocks show the same.
#[derive(Clone, Copy)]
enum Pass {
    First,
    Last,
}

/// `Mon-Fri`, `Sat,Sun`, `Fri-Mon,Wed`.
fn read_days(text: &str) -> Option<[bool; 7]> {
    let day = |name: &str| DAYS.iter().position(|day| day.eq_ignore_ascii_case(name));
    let mut days = [false; 7];
    for item in text.split(',') {
        let (first, last) = item.split_once('-').unwrap_or((item, item));
        let (first, last) = (day(first)?, day(last)?);
        let length = (last + 7 - first) % 7;
        (0..=length).for_each(|at| days[(first + at) % 7] = true);
    }
    Some(days)
}

/// `HH:MM`.
fn read_time(text: &str) -> Option<Time> {
    let (hour, minute) = text.split_once(':')?;
    let two = |digits: &str| {
        let good = digits.len() == 2 && digits.bytes().all(|byte| byte.is_ascii_digit());
        digits.parse::<i8>().ok().filter(|_| good)
    };
    Time::new(two(hour)?, two(minute)?, 0, 0).ok()
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let windows: Vec<String> = self.0.iter().map(Window::to_string).collect();
        f.write_str(&windows.join("; "))
    }
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let days: Vec<_> = DAYS.iter().zip(self.days).filter_map(|(name, on)| on.then_some(*name)).collect();
        let zone = self.zone.iana_name().unwrap_or("UTC");
        let time = |time: Time| format!("{:02}:{:02}", time.hour(), time.minute());
        let end = self.end.map_or_else(|| "24:00".to_owned(), time);
        write!(f, "{} {}-{end} {zone}", days.join(","), time(self.start))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &str) -> Schedule {
        text.parse().unwrap()
    }

    /// Seconds since 1970 of a time in RFC 3339.
    fn at(text: &str) -> i64 {
        text.parse::<Timestamp>().unwrap().as_second()
    }

    /// Whether it is on at each of these times.
    fn on<const N: usize>(schedule: &str, times: [&str; N]) -> [bool; N] {
        let schedule = read(schedule);
        times.map(|time| schedule.is_on(at(time)))
    }

    #[test]
    fn a_window_has_its_beginning_and_not_its_end_in_summer_and_in_winter() {
        let hours = "Mon-Fri 08:00-20:00 Europe/Berlin; Sat 10:00-14:00 Europe/Berlin";
        // Monday the 13th of July 2026, two hours before UTC.
        let summer = ["2026-07-13T05:59:59Z", "2026-07-13T06:00:00Z", "2026-07-13T17:59:59Z", "2026-07-13T18:00:00Z"];
        assert_eq!(on(hours, summer), [false, true, true, false]);
        // Friday the 9th of January 2026, one hour before.
        let winter = ["2026-01-09T06:59:59Z", "2026-01-09T07:00:00Z", "2026-01-09T18:59:59Z", "2026-01-09T19:00:00Z"];
        assert_eq!(on(hours, winter), [false, true, true, false]);
        // The weekend: Saturday has hours of its own, Sunday none.
        let weekend = ["2026-01-10T08:00:00Z", "2026-01-10T09:00:00Z", "2026-01-10T13:00:00Z", "2026-01-11T10:00:00Z"];
        assert_eq!(on(hours, weekend), [false, true, false, false]);
        assert!(!read("").is_on(0) && read(" ; ").is_empty() && !read(hours).is_empty());
        assert!(!read("Mon-Sun 00:00-24:00 UTC").is_on(i64::MAX), "a time that no calendar has");
    }

    #[test]
    fn a_window_over_midnight_belongs_to_the_day_on_which_it_begins() {
        let night = "Fri 22:00-02:00 America/New_York";
        // Friday the 10th of July 2026, four hours behind UTC.
        let times = ["2026-07-11T01:59:59Z", "2026-07-11T02:00:00Z", "2026-07-11T05:59:59Z", "2026-07-11T06:00:00Z"];
        assert_eq!(on(night, times), [false, true, true, false]);
        assert_eq!(on(night, ["2026-07-10T05:00:00Z", "2026-07-12T03:00:00Z"]), [false, false]);
        let whole = on("Fri 00:00-24:00 UTC", ["2026-07-10T00:00:00Z", "2026-07-10T23:59:59Z", "2026-07-11T00:00:00Z"]);
        assert_eq!(whole, [true, true, false]);
        let week =
            on("Sat-Mon 00:00-24:00 UTC", ["2026-07-10T23:59:59Z", "2026-07-11T00:00:00Z", "2026-07-13T23:00:00Z"]);
        assert_eq!(week, [false, true, true], "days go over the end of the week");
    }

    #[test]
    fn where_clocks_go_back_a_window_is_on_in_one_piece() {
        // In Berlin on the 25th of October 2026 it is 02:00 to 03:00 twice, from 00:00 and from 01:00 UTC.
        let on = |hours: &str| {
            let schedule = read(&format!("Sun {hours} Europe/Berlin"));
            let quarters = (0..16).map(|quarter| at("2026-10-24T23:00:00Z") + quarter * 900);
            quarters.map(|time| if schedule.is_on(time) { '#' } else { '.' }).collect::<String>()
        };
        assert_eq!(on("02:30-04:00"), "......##########", "23:00 UTC is 01:00");
        assert_eq!(on("01:00-02:30"), "##########......");
        assert_eq!(on("02:15-02:45"), ".....######.....");
        assert_eq!(on("03:00-04:00"), "............####");
        // In St. John's in 2010 Sunday was a minute old when it was Saturday again, for an hour less a minute.
        let since = at("2010-11-07T02:15:00Z");
        let sunday = read("Sun 00:00-06:00 America/St_Johns");
        let seen = (0..6).map(|quarter| sunday.is_on(since + quarter * 900)).collect::<Vec<_>>();
        assert_eq!(seen, [false, true, true, true, true, true]);
    }

    #[test]
    fn where_clocks_go_forward_what_they_leave_out_is_not_there() {
        // In Berlin on the 29th of March 2026 nobody sees 02:00 to 03:00; 01:00 UTC is 03:00.
        let on = |hours: &str| {
            let schedule = read(&format!("Sun {hours} Europe/Berlin"));
            let quarters = (0..12).map(|quarter| at("2026-03-29T00:00:00Z") + quarter * 900);
            quarters.map(|time| if schedule.is_on(time) { '#' } else { '.' }).collect::<String>()
        };
        assert_eq!(on("01:30-04:00"), "..######....");
        assert_eq!(on("02:30-03:15"), "....#.......");
        assert_eq!(on("01:00-02:30"), "####........");
        assert_eq!(on("02:15-02:45"), "............");
    }

    #[test]
    fn what_is_no_schedule_says_which_window_and_what_is_expected() {
        use WindowError::{Days, Empty, Form, Hours, TooMany, Zone};
        let many = "Mon 08:00-09:00 UTC;".repeat(MAX_WINDOWS + 1);
        for (text, window, expected) in [
            ("always", 1, Form),
            ("Mon 08:00-20:00", 1, Form),
            ("Mon 08:00 - 20:00 UTC", 1, Form),
            ("Mon 08:00-20:00 UTC; x", 2, Form),
            ("Moon 08:00-20:00 UTC", 1, Days),
            ("Mon- 08:00-20:00 UTC", 1, Days),
            ("Mon,,Tue 08:00-20:00 UTC", 1, Days),
            ("Mon 8:00-20:00 UTC", 1, Hours),
            ("Mon 08:00-20:60 UTC", 1, Hours),
            ("Mon 24:00-20:00 UTC", 1, Hours),
            ("Mon 08:00-24:01 UTC", 1, Hours),
            ("Mon 08:00 UTC", 1, Hours),
            ("Mon +8:00-20:00 UTC", 1, Hours),
            ("Mon 08:00-08:00 UTC", 1, Empty),
            ("Mon 08:00-20:00 Europe/Bonn", 1, Zone),
            ("Mon 08:00-20:00 ../../etc/passwd", 1, Zone),
            (&many, MAX_WINDOWS + 1, TooMany),
        ] {
            assert_eq!(text.parse::<Schedule>(), Err(ScheduleError { window, expected }), "{text}");
        }
        let told = "Mon".parse::<Schedule>().unwrap_err().to_string();
        assert!(told.starts_with("days, hours and a time zone in window 1; a window is written like"), "{told}");
    }

    /// Zones whose clocks change by an hour and by half of one, at midnight, by a whole day, and not at all.
    const ZONES: [&str; 9] = [
        "Europe/Berlin",
        "America/New_York",
        "America/St_Johns",
        "America/Sao_Paulo",
        "Australia/Lord_Howe",
        "Pacific/Apia",
        "Africa/Casablanca",
        "Asia/Kolkata",
        "UTC",
    ];

    fn any_window() -> impl Strategy<Value = String> {
        let time = || (0..24, 0..4).prop_map(|(hour, quarter)| format!("{hour:02}:{:02}", quarter * 15));
        let end = prop_oneof![4 => time(), 1 => Just("24:00".to_owned())];
        let days = "(Mon|Tue|Wed|Thu|Fri|Sat|Sun)([,-](Mon|Tue|Wed|Thu|Fri|Sat|Sun))?";
        let hours = (time(), end).prop_filter("a window has a length", |(start, end)| start != end);
        let window = (days, hours, proptest::sample::select(&ZONES));
        window.prop_map(|(days, (start, end), zone)| format!("{days} {start}-{end} {zone}"))
    }

    /// What a look at a clock and a calendar says, and whether that clock shows this time twice.
    fn by_the_clock(window: &Window, time: i64) -> (bool, bool) {
        let shown = window.zone.to_datetime(Timestamp::from_second(time).unwrap());
        let is_day = |date: Date| window.days[date.weekday().to_monday_zero_offset() as usize];
        let (today, before) = (is_day(shown.date()), is_day(shown.date().yesterday().unwrap()));
        let on = match window.end {
            Some(end) if end > window.start => today && (window.start..end).contains(&shown.time()),
            Some(end) => (today && shown.time() >= window.start) || (before && shown.time() < end),
            None => today && shown.time() >= window.start,
        };
        (on, window.zone.to_ambiguous_timestamp(shown).is_ambiguous())
    }

    proptest! {
        #[test]
        fn it_is_what_a_clock_says_but_for_hours_that_come_twice(
            text in any_window(),
            // Around each change of the clocks, and anywhere from 1990 to 2037.
            near in any::<proptest::sample::Index>(), offset in -60_i64..60, anywhere in 631_152_000_i64..2_114_380_800,
        ) {
            let window: Window = text.parse().unwrap();
            let since = Timestamp::from_second(631_152_000).unwrap();
            let changes: Vec<i64> = window.zone.following(since).take(90).map(|it| it.timestamp().as_second()).collect();
            let change = if changes.is_empty() { anywhere } else { changes[near.index(changes.len())] };
            for time in [change + offset * 900, change + offset, anywhere] {
                let (on, twice) = by_the_clock(&window, time);
                let said = window.is_on(Timestamp::from_second(time).unwrap());
                prop_assert!(said || !on, "{} is off at {}", text, time);
                prop_assert!(said == on || twice, "{} is on at {}", text, time);
            }
        }

        #[test]
        fn what_is_written_is_read_back_the_same(windows in proptest::collection::vec(any_window(), 0..4)) {
            let schedule = read(&windows.join("; "));
            prop_assert_eq!(read(&schedule.to_string()), schedule);
        }

        #[test]
        fn no_text_and_no_time_panics(text in "[a-zA-Z0-9:,; /+-]{0,40}|.{0,40}", window in any_window(), time in any::<i64>()) {
            let _ = text.parse::<Schedule>().map(|schedule| schedule.is_on(time));
            let _ = read(&window).is_on(time);
        }
    }
}
