//! Cron jobs.

use serde_json::{Value, json};

use super::job_spec;
use crate::Strategy;
use crate::field::{self, Path};
use crate::kinds::table::{NONE, containers, name, or_none, selector, since};
use crate::kinds::tree::{has, items, made, or, or_zero, some, text};
use crate::kinds::{metadata, workload};
use crate::strategy::{AGE, Column, NAME, age, set};

pub(super) struct CronJob;

impl Strategy for CronJob {
    fn default(&self, object: &mut Value) {
        let Some(spec) = made(object, "spec") else { return };
        or_zero(spec, "concurrencyPolicy", "Allow");
        or(spec, "suspend", false);
        or(spec, "successfulJobsHistoryLimit", 3);
        or(spec, "failedJobsHistoryLimit", 1);
        if let Some(job) = made(spec, "jobTemplate").and_then(|t| made(t, "spec")) {
            job_spec::default(job);
        }
    }
    fn prepare_create(&self, object: &mut Value) {
        set(object, "status", Some(json!({})));
    }
    fn has_generation(&self) -> bool {
        true
    }

    fn validate(&self, object: &Value) -> Vec<field::Error> {
        let mut errors = Vec::new();
        let (spec, path) = (&object["spec"], &Path::root("spec"));
        let its_name = text(&object["metadata"], "name");
        if its_name.len() > 52 {
            let at = Path::root("metadata");
            errors.push(field::Error::invalid(&at.child("name"), its_name, "must be no more than 52 characters"));
        }
        let schedule = text(spec, "schedule");
        let at = path.child("schedule");
        if schedule.is_empty() {
            errors.push(field::Error::required(&at, ""));
        } else {
            if let Err(e) = parse_schedule(schedule) {
                errors.push(field::Error::invalid(&at, schedule, e));
            }
            if schedule.contains("TZ") && has(spec, "timeZone") {
                let detail = "cannot use both timeZone field and TZ or CRON_TZ in schedule";
                errors.push(field::Error::invalid(&at, schedule, detail));
            }
        }
        for key in ["startingDeadlineSeconds", "successfulJobsHistoryLimit", "failedJobsHistoryLimit"] {
            workload::nonnegative(&mut errors, path, spec, key);
        }
        let policy = text(spec, "concurrencyPolicy");
        let policies = &["Allow", "Forbid", "Replace"];
        if policy.is_empty() {
            errors.push(field::Error::required(&path.child("concurrencyPolicy"), ""));
        } else if !policies.contains(&policy) {
            errors.push(field::Error::not_supported(&path.child("concurrencyPolicy"), policy, policies));
        }
        if let Some(zone) = some(spec, "timeZone").and_then(Value::as_str) {
            let mut wrong = |detail: &str| errors.push(field::Error::invalid(&path.child("timeZone"), zone, detail));
            if zone.is_empty() {
                wrong("timeZone must be nil or non-empty string");
            } else {
                if zone.eq_ignore_ascii_case("local") {
                    wrong("timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones");
                }
                if !zone.eq_ignore_ascii_case("local") && crate::zone::find(zone).is_none() {
                    wrong(&format!("unknown time zone {zone}"));
                }
            }
        }
        let (template, at) = (&spec["jobTemplate"], path.child("jobTemplate"));
        metadata::template(&mut errors, &at, template);
        let at = at.child("spec");
        if has(&template["spec"], "selector") {
            let value = template["spec"]["selector"].clone();
            errors.push(field::Error::invalid(&at.child("selector"), value, "`selector` will be auto-generated"));
        }
        job_spec::validate(&mut errors, &at, &template["spec"]);
        errors
    }

    /// What an old object has in its schedule may stay.
    fn validate_version(&self, _version: (&str, &str), new: &Value, old: Option<&Value>) -> Vec<field::Error> {
        let schedule = text(&new["spec"], "schedule");
        let had = old.is_some_and(|old| text(&old["spec"], "schedule").contains("TZ"));
        if had || !schedule.contains("TZ") || has(&new["spec"], "timeZone") {
            return Vec::new();
        }
        let detail = "cannot use TZ or CRON_TZ in schedule, use timeZone field instead";
        vec![field::Error::invalid(&Path::root("spec").child("schedule"), schedule, detail)]
    }

    fn columns(&self) -> &'static [Column] {
        const {
            &[
                NAME,
                Column::new("Schedule", "string"),
                Column::new("Timezone", "string"),
                Column::new("Suspend", "boolean"),
                Column::new("Active", "integer"),
                Column::new("Last Schedule", "string"),
                AGE,
                Column::wide("Containers", "string"),
                Column::wide("Images", "string"),
                Column::wide("Selector", "string"),
            ]
        }
    }
    fn cells(&self, object: &Value, now_seconds: i64) -> Vec<Value> {
        let (spec, status) = (&object["spec"], &object["status"]);
        let job = &spec["jobTemplate"]["spec"];
        let [names, images] = containers(&job["template"]["spec"]);
        let last = &status["lastScheduleTime"];
        vec![
            name(object),
            text(spec, "schedule").into(),
            or_none(text(spec, "timeZone")),
            spec["suspend"].as_bool().map_or("<unset>", |b| if b { "True" } else { "False" }).into(),
            items(status, "active").len().into(),
            if last.is_null() { NONE.into() } else { since(last, now_seconds).into() },
            age(object, now_seconds),
            names,
            images,
            selector(&job["selector"]),
        ]
    }
}

/// Whether robfig/cron's `ParseStandard` takes it: five fields, or `@hourly` and its like.
fn parse_schedule(schedule: &str) -> Result<(), String> {
    let (zone, schedule) = crate::zone::split(schedule);
    if zone.is_some_and(|z| crate::zone::find(z).is_none()) {
        let zone = zone.unwrap_or_default();
        return Err(format!("provided bad location {zone}: unknown time zone {zone}"));
    }
    const NAMED: [&str; 7] = ["@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@hourly"];
    if let Some(every) = schedule.strip_prefix("@every ") {
        let ok = !every.is_empty() && every.bytes().all(|c| c.is_ascii_digit() || b"hmsnu.".contains(&c));
        return if ok { Ok(()) } else { Err(format!("failed to parse duration {schedule}")) };
    }
    if schedule.starts_with('@') {
        let known = NAMED.contains(&schedule);
        return if known { Ok(()) } else { Err(format!("unrecognized descriptor: {schedule}")) };
    }
    let fields: Vec<&str> = schedule.split_whitespace().collect();
    if fields.len() != 5 {
        return Err(format!("expected exactly 5 fields, found {}: [{}]", fields.len(), fields.join(" ")));
    }
    const MONTHS: &[&str] = &["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
    const DAYS: &[&str] = &["sun", "mon", "tue", "wed", "thu", "fri", "sat"];
    let bounds: [(u32, u32, &[&str]); 5] = [(0, 59, &[]), (0, 23, &[]), (1, 31, &[]), (1, 12, MONTHS), (0, 6, DAYS)];
    for (field, (low, high, names)) in fields.iter().zip(bounds) {
        for part in field.split(',') {
            range(part, low, high, names)?;
        }
    }
    Ok(())
}

/// `*`, `5`, `1-5`, `*/10`, `mon-fri`
fn range(part: &str, low: u32, high: u32, names: &[&str]) -> Result<(), String> {
    let (span, step) = part.split_once('/').map_or((part, None), |(a, b)| (a, Some(b)));
    let value = |t: &str| -> Result<u32, String> {
        if let Some(i) = names.iter().position(|n| n.eq_ignore_ascii_case(t)) {
            return Ok(i as u32 + low);
        }
        t.parse().map_err(|_| format!("failed to parse int from {t}: strconv.Atoi: parsing {t:?}: invalid syntax"))
    };
    if step.map(value).transpose()? == Some(0) {
        return Err(format!("step of range should be a positive number: {part}"));
    }
    if matches!(span, "*" | "?") {
        return Ok(());
    }
    let (start, end) = match span.split_once('-') {
        Some((a, b)) => (value(a)?, value(b)?),
        None => (value(span)?, value(span)?),
    };
    match () {
        () if start < low => Err(format!("beginning of range ({start}) below minimum ({low}): {part}")),
        () if end > high => Err(format!("end of range ({end}) above maximum ({high}): {part}")),
        () if start > end => Err(format!("beginning of range ({start}) beyond end of range ({end}): {part}")),
        () => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_zones() {
        let of = |schedule: &str, zone: Value| {
            json!({"metadata": {"name": "c"}, "spec": {"schedule": schedule, "timeZone": zone, "concurrencyPolicy": "Allow",
                "jobTemplate": {"spec": {"template": {"spec": {"restartPolicy": "Never",
                    "containers": [{"name": "c", "image": "i"}]}}}}}})
        };
        let problems = |tree: &Value, old: Option<&Value>| {
            let mut tree = tree.clone();
            CronJob.default(&mut tree);
            let mut errors = CronJob.validate(&tree);
            errors.extend(CronJob.validate_version(("batch", "v1"), &tree, old));
            errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
        };
        for (schedule, zone, want) in [
            ("* * * * *", json!(null), ""),
            ("* * * * *", json!("Europe/Berlin"), ""),
            ("* * * * *", json!("Mars"), "spec.timeZone: Invalid value: \"Mars\": unknown time zone Mars"),
            ("* * * * *", json!(""), "spec.timeZone: Invalid value: \"\": timeZone must be nil or non-empty string"),
            (
                "TZ=UTC * * * * *",
                json!(null),
                "spec.schedule: Invalid value: \"TZ=UTC * * * * *\": cannot use TZ or CRON_TZ in schedule, use timeZone field instead",
            ),
            (
                "CRON_TZ=UTC * * * * *",
                json!("UTC"),
                "spec.schedule: Invalid value: \"CRON_TZ=UTC * * * * *\": cannot use both timeZone field and TZ or CRON_TZ in schedule",
            ),
        ] {
            assert_eq!(problems(&of(schedule, zone), None), want, "{schedule}");
        }
        let old = of("TZ=UTC 0 * * * *", json!(null));
        assert_eq!(problems(&of("TZ=UTC * * * * *", json!(null)), Some(&old)), "");
    }

    #[test]
    fn schedules() {
        for good in ["* * * * *", "*/5 0 1,15 jan-mar MON", "@hourly", "@every 1h30m", "0 0 ? * *"] {
            assert_eq!(parse_schedule(good), Ok(()), "{good}");
        }
        for (bad, want) in [
            ("* * *", "expected exactly 5 fields, found 3: [* * *]"),
            ("60 * * * *", "end of range (60) above maximum (59): 60"),
            ("a * * * *", "failed to parse int from a: strconv.Atoi: parsing \"a\": invalid syntax"),
            ("@never", "unrecognized descriptor: @never"),
        ] {
            assert_eq!(parse_schedule(bad), Err(want.to_owned()));
        }
    }
}
