//! Cron schedules: upstream's `robfig/cron` standard syntax, in UTC.

use jiff::civil::{Date, DateTime, Time};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};

/// Which minutes, hours, days, months and weekdays. Bit `n` stands for value `n`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Schedule {
    minutes: u64,
    hours: u64,
    days: u64,
    months: u64,
    weekdays: u64,
    /// With both restricted, either is enough.
    any_day: bool,
    any_weekday: bool,
}

const MONTHS: [&str; 12] = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const WEEKDAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];
/// A schedule that never comes (30 February) is given up after so many days.
const HORIZON_DAYS: u32 = 366 * 5;

fn value(text: &str, names: &[&str], first: u32) -> Result<u32, String> {
    let lower = text.to_lowercase();
    if let Some(i) = names.iter().position(|n| *n == lower) {
        return Ok(i as u32 + first);
    }
    text.parse().map_err(|_| format!("failed to parse int from {text}"))
}

fn field(text: &str, min: u32, max: u32, names: &[&str]) -> Result<u64, String> {
    let mut bits = 0;
    for part in text.split(',') {
        let (range, step) = match part.split_once('/') {
            Some((range, step)) => {
                (range, step.parse::<u32>().map_err(|_| format!("failed to parse int from {step}"))?)
            }
            None => (part, 1),
        };
        let (first, last) = match range.split_once('-') {
            _ if matches!(range, "*" | "?") => (min, max),
            Some((a, b)) => (value(a, names, min)?, value(b, names, min)?),
            None => {
                let first = value(range, names, min)?;
                (first, if part.contains('/') { max } else { first })
            }
        };
        // Sunday is 0 and 7
        let top = if names == WEEKDAYS { 7 } else { max };
        if first < min || last > top || first > last || step == 0 {
            return Err(format!("{text} is out of range {min}-{max}"));
        }
        (first..=last).step_by(step as usize).for_each(|n| bits |= 1 << if names == WEEKDAYS { n % 7 } else { n });
    }
    Ok(bits)
}

impl Schedule {
    pub fn parse(text: &str) -> Result<Schedule, String> {
        let text = match text.trim() {
            "@yearly" | "@annually" => "0 0 1 1 *",
            "@monthly" => "0 0 1 * *",
            "@weekly" => "0 0 * * 0",
            "@daily" | "@midnight" => "0 0 * * *",
            "@hourly" => "0 * * * *",
            other => other,
        };
        let parts: Vec<&str> = text.split_whitespace().collect();
        let [minute, hour, day, month, weekday] = parts.as_slice() else {
            return Err(format!("expected exactly 5 fields, found {}: {text:?}", parts.len()));
        };
        let any = |t: &str| t.starts_with('*') || t.starts_with('?');
        Ok(Schedule {
            minutes: field(minute, 0, 59, &[])?,
            hours: field(hour, 0, 23, &[])?,
            days: field(day, 1, 31, &[])?,
            months: field(month, 1, 12, &MONTHS)?,
            weekdays: field(weekday, 0, 6, &WEEKDAYS)?,
            any_day: any(day),
            any_weekday: any(weekday),
        })
    }

    fn on(&self, date: Date) -> bool {
        let day = self.days >> date.day() & 1 == 1;
        let weekday = self.weekdays >> date.weekday().to_sunday_zero_offset() & 1 == 1;
        let fits = if self.any_day || self.any_weekday { day && weekday } else { day || weekday };
        fits && self.months >> date.month() & 1 == 1
    }

    /// The first time after `t`; `None` if there is none for years.
    pub fn after(&self, t: Timestamp) -> Option<Timestamp> {
        let start: DateTime = t.to_zoned(TimeZone::UTC).datetime();
        let mut date = start.date();
        for i in 0..HORIZON_DAYS {
            if self.on(date) {
                let from = if i == 0 {
                    u32::from(start.hour().unsigned_abs()) * 60 + u32::from(start.minute().unsigned_abs()) + 1
                } else {
                    0
                };
                let fits = |m: &u32| self.hours >> (m / 60) & 1 == 1 && self.minutes >> (m % 60) & 1 == 1;
                if let Some(m) = (from..24 * 60).find(fits) {
                    let time = Time::new((m / 60) as i8, (m % 60) as i8, 0, 0).ok()?;
                    return Some(date.to_datetime(time).to_zoned(TimeZone::UTC).ok()?.timestamp());
                }
            }
            date = date.checked_add(1.day()).ok()?;
        }
        None
    }

    /// The last time in `(from, to]`, and whether there were more.
    pub fn last_within(&self, from: Timestamp, to: Timestamp) -> (Option<Timestamp>, usize) {
        let (mut last, mut count, mut at) = (None, 0, from);
        while let Some(next) = self.after(at).filter(|n| *n <= to) {
            (last, count, at) = (Some(next), count + 1, next);
            if count == 1000 {
                // far behind: what came in the last day is near enough
                at = at.max(to.checked_sub(24.hours()).unwrap_or(at));
            }
        }
        (last, count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn next_times() {
        for (schedule, from, want) in [
            ("*/5 * * * *", "2026-01-01T00:00:00Z", "2026-01-01T00:05:00Z"),
            ("*/5 * * * *", "2026-01-01T00:04:59Z", "2026-01-01T00:05:00Z"),
            ("30 2 * * mon-fri", "2026-01-02T02:30:00Z", "2026-01-05T02:30:00Z"),
            ("0 0 1,15 * *", "2026-01-02T00:00:00Z", "2026-01-15T00:00:00Z"),
            // both days restricted: either
            ("0 0 13 * 5", "2026-01-03T00:00:00Z", "2026-01-09T00:00:00Z"),
            ("0 0 29 feb ?", "2026-01-01T00:00:00Z", "2028-02-29T00:00:00Z"),
            ("@hourly", "2026-12-31T23:30:00Z", "2027-01-01T00:00:00Z"),
            ("0 12 * * 7", "2026-01-01T00:00:00Z", "2026-01-04T12:00:00Z"),
        ] {
            let next = Schedule::parse(schedule).unwrap().after(from.parse().unwrap());
            assert_eq!(next, Some(want.parse().unwrap()), "{schedule}");
        }
        assert_eq!(Schedule::parse("0 0 30 2 *").unwrap().after("2026-01-01T00:00:00Z".parse().unwrap()), None);
        for bad in ["", "* * * *", "60 * * * *", "*/0 * * * *", "a * * * *", "5-1 * * * *"] {
            assert!(Schedule::parse(bad).is_err(), "{bad}");
        }
    }
}
