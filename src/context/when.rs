//! When something was, as people say it (pure).
//!
//! A model knows no calendar: "three days ago" tells it something, a date does not.

use jiff::{Unit, civil::Date};

const NUMBERS: [&str; 13] =
    ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"];

/// How long before `today` a date is, such as `yesterday` or `two weeks ago`; `some time ago` where it is not known.
///
/// Tomorrow is today: the writer's day may have begun before ours. A later date is not known to be one.
pub fn when(date: Option<Date>, today: Date) -> String {
    let date = date.filter(|date| !is_to_come(*date, today));
    let Some(days) = date.and_then(|date| days_between(date, today)) else { return "some time ago".to_owned() };
    match days {
        ..=0 => "today".to_owned(),
        1 => "yesterday".to_owned(),
        2..=6 => ago(days, "day"),
        7..=29 => ago(days / 7, "week"),
        30..=364 => ago(days / 30, "month"),
        _ => ago(days / 365, "year"),
    }
}

/// Whether a date is to come wherever on Earth the writer is.
pub(super) fn is_to_come(date: Date, today: Date) -> bool {
    days_between(date, today).is_none_or(|days| days < -1)
}

fn days_between(date: Date, today: Date) -> Option<i64> {
    Some(i64::from(date.until((Unit::Day, today)).ok()?.get_days()))
}

fn ago(count: i64, unit: &str) -> String {
    let number = usize::try_from(count).ok().and_then(|at| NUMBERS.get(at));
    match (count, number) {
        (1, _) => format!("a {unit} ago"),
        (_, Some(number)) => format!("{number} {unit}s ago"),
        _ => format!("{count} {unit}s ago"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_told_as_people_tell_them() {
        let today: Date = "2026-11-23".parse().unwrap();
        for (date, told) in [
            ("2026-11-24", "today"),
            ("2026-11-25", "some time ago"),
            ("2062-11-22", "some time ago"),
            ("2026-11-23", "today"),
            ("2026-11-22", "yesterday"),
            ("2026-11-21", "two days ago"),
            ("2026-11-17", "six days ago"),
            ("2026-11-16", "a week ago"),
            ("2026-11-03", "two weeks ago"),
            ("2026-10-25", "four weeks ago"),
            ("2026-10-24", "a month ago"),
            ("2025-11-24", "twelve months ago"),
            ("2025-11-23", "a year ago"),
            ("1990-01-01", "36 years ago"),
            ("-009999-01-01", "12033 years ago"),
        ] {
            assert_eq!(when(Some(date.parse().unwrap()), today), told, "{date}");
        }
        assert_eq!(when(None, today), "some time ago");
    }
}
