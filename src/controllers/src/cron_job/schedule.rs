//! Cron schedules: upstream's `robfig/cron` standard syntax, in a time zone.

use jiff::civil::{Date, DateTime, Time};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, ToSpan};

/// Which minutes, hours, days, months and weekdays. Bit `n` stands for value `n`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schedule {
    zone: TimeZone,
    /// `@every`: nothing else counts then.
    every: Option<SignedDuration>,
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
    /// `zone` is for a schedule that names none.
    pub fn parse(text: &str, zone: TimeZone) -> Result<Schedule, String> {
        let (own, text) = api::zone::split(text);
        let zone = match own {
            Some(name) => api::zone::find(name)
                .ok_or_else(|| format!("provided bad location {name}: unknown time zone {name}"))?,
            None => zone,
        };
        if let Some(span) = text.trim().strip_prefix("@every ") {
            let every: SignedDuration = span.parse().map_err(|_| format!("failed to parse duration {text}"))?;
            let every = Some(every.max(SignedDuration::from_secs(1)));
            let (minutes, hours, days, months, weekdays) = (0, 0, 0, 0, 0);
            let (any_day, any_weekday) = (false, false);
            return Ok(Schedule { zone, every, minutes, hours, days, months, weekdays, any_day, any_weekday });
        }
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
            zone,
            every: None,
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
        if let Some(every) = self.every {
            return Timestamp::from_second(t.as_second()).ok()?.checked_add(every).ok();
        }
        // Where the clock is set between here and the next time, the search goes on from there: a time that is left out does not
        // come, one that comes twice does, as with robfig/cron.
        let (mut t, mut first) = (t, 1);
        let end = t.checked_add(SignedDuration::from_hours(24 * i64::from(HORIZON_DAYS))).ok()?;
        while t < end {
            let offset = self.zone.to_offset(t);
            let next = self.clock_after(offset.to_datetime(t), first).and_then(|c| offset.to_timestamp(c).ok());
            let change = self.zone.following(t).next().map(|c| c.timestamp());
            match (next, change) {
                (Some(next), Some(change)) if change > next => return Some(next),
                (next, None) => return next,
                (_, Some(change)) => (t, first) = (change, 0),
            }
        }
        None
    }

    /// The first that a clock shows `first` minutes after `start`, or later.
    fn clock_after(&self, start: DateTime, first: u32) -> Option<DateTime> {
        let mut date = start.date();
        for i in 0..HORIZON_DAYS {
            if self.on(date) {
                let from = if i == 0 {
                    u32::from(start.hour().unsigned_abs()) * 60 + u32::from(start.minute().unsigned_abs()) + first
                } else {
                    0
                };
                let fits = |m: &u32| self.hours >> (m / 60) & 1 == 1 && self.minutes >> (m % 60) & 1 == 1;
                if let Some(m) = (from..24 * 60).find(fits) {
                    let time = Time::new((m / 60) as i8, (m % 60) as i8, 0, 0).ok()?;
                    return Some(date.to_datetime(time));
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
            ("TZ=Europe/Berlin 0 12 * * *", "2026-01-01T00:00:00Z", "2026-01-01T11:00:00Z"),
            ("TZ=Europe/Berlin 0 12 * * *", "2026-03-28T11:00:00Z", "2026-03-29T10:00:00Z"),
            // 2:30 does not come on the 29th of March, and twice on the 25th of October
            ("TZ=Europe/Berlin 30 2 * * *", "2026-03-28T02:00:00Z", "2026-03-30T00:30:00Z"),
            ("TZ=Europe/Berlin 30 2 * * *", "2026-10-25T00:00:00Z", "2026-10-25T00:30:00Z"),
            ("TZ=Europe/Berlin 30 2 * * *", "2026-10-25T00:30:00Z", "2026-10-25T01:30:00Z"),
            ("TZ=Europe/Berlin 0 3 * * *", "2026-03-28T12:00:00Z", "2026-03-29T01:00:00Z"),
            ("@every 1h30m", "2026-01-01T00:00:00.5Z", "2026-01-01T01:30:00Z"),
        ] {
            let next = Schedule::parse(schedule, TimeZone::UTC).unwrap().after(from.parse().unwrap());
            assert_eq!(next, Some(want.parse().unwrap()), "{schedule}");
        }
        assert_eq!(
            Schedule::parse("0 0 30 2 *", TimeZone::UTC).unwrap().after("2026-01-01T00:00:00Z".parse().unwrap()),
            None
        );
        for bad in ["", "* * * *", "60 * * * *", "*/0 * * * *", "a * * * *", "5-1 * * * *"] {
            assert!(Schedule::parse(bad, TimeZone::UTC).is_err(), "{bad}");
        }
    }
}
