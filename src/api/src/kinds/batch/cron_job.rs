//! Cron jobs.

use serde_json::{Value, json};

use super::job_spec;
use crate::Strategy;
use crate::field::{self, Path};
use crate::kinds::table::{NONE, containers, name, or_none, selector, since};
use crate::kinds::tree::{flag, has, items, made, or, or_zero, some, text};
use crate::kinds::workload;
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
        let mut errors = check(object, None);
        let its_name = text(&object["metadata"], "name");
        if its_name.len() > 52 {
            let at = Path::root("metadata");
            errors.push(field::Error::invalid(&at.child("name"), its_name, "must be no more than 52 characters"));
        }
        errors
    }
    /// An old one's long name, time zone and zone in the schedule may stay.
    fn check_update(&self, new: &Value, old: &Value) -> Vec<field::Error> {
        check(new, Some(&old["spec"]))
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

/// `validateCronJobSpec`
fn check(object: &Value, old: Option<&Value>) -> Vec<field::Error> {
    let mut errors = Vec::new();
    let (spec, path) = (&object["spec"], &Path::root("spec"));
    let schedule = text(spec, "schedule");
    let at = path.child("schedule");
    if schedule.is_empty() {
        errors.push(field::Error::required(&at, ""));
    } else {
        if let Err(e) = parse_schedule(schedule) {
            errors.push(field::Error::invalid(&at, schedule, e));
        }
        let had_zone = old.is_some_and(|old| text(old, "schedule").contains("TZ"));
        let detail = match (had_zone, schedule.contains("TZ")) {
            (true, true) if has(spec, "timeZone") => "cannot use both timeZone field and TZ or CRON_TZ in schedule",
            (false, true) => "cannot use TZ or CRON_TZ in schedule, use timeZone field instead",
            _ => "",
        };
        if !detail.is_empty() {
            errors.push(field::Error::invalid(&at, schedule, detail));
        }
    }
    workload::nonnegative(&mut errors, path, spec, "startingDeadlineSeconds");
    if let Some(zone) = some(spec, "timeZone").and_then(Value::as_str)
        && old.is_none_or(|old| old["timeZone"] != spec["timeZone"])
    {
        time_zone(&mut errors, &path.child("timeZone"), zone);
    }
    let (policy, at) = (text(spec, "concurrencyPolicy"), path.child("concurrencyPolicy"));
    let policies = &["Allow", "Forbid", "Replace"];
    if policy.is_empty() {
        errors.push(field::Error::required(&at, ""));
    } else if !policies.contains(&policy) {
        errors.push(field::Error::not_supported(&at, policy, policies));
    }
    let (job, at) = (&spec["jobTemplate"]["spec"], path.child("jobTemplate"));
    let at = at.child("spec");
    job_spec::validate(&mut errors, &at, job);
    if has(job, "selector") {
        let value = job["selector"].clone();
        errors.push(field::Error::invalid(&at.child("selector"), value, "`selector` will be auto-generated"));
    }
    if flag(job, "manualSelector") {
        errors.push(field::Error::not_supported(&at.child("manualSelector"), true, &["nil", "false"]));
    }
    for key in ["successfulJobsHistoryLimit", "failedJobsHistoryLimit"] {
        workload::nonnegative(&mut errors, path, spec, key);
    }
    errors
}

/// `validateTimeZone`
fn time_zone(errors: &mut Vec<field::Error>, path: &Path, zone: &str) {
    let mut wrong = |detail: &str| errors.push(field::Error::invalid(path, zone, detail));
    let syntax = |part: &str| {
        let fits = |c: u8| c.is_ascii_alphanumeric() || b".-_+".contains(&c);
        !matches!(part, "." | "..")
            && !part.starts_with('-')
            && (1..=14).contains(&part.len())
            && part.bytes().all(fits)
    };
    if zone.is_empty() {
        return wrong("timeZone must be nil or non-empty string");
    }
    if !zone.split('/').all(syntax) {
        return wrong(&format!("unknown time zone {zone}"));
    }
    if zone.eq_ignore_ascii_case("local") {
        wrong("timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones");
    }
    // Go knows `Local`, in this spelling, as the machine's
    if zone != "Local" && crate::zone::find(zone).is_none() {
        wrong(&format!("unknown time zone {zone}"));
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
            let errors = match old {
                Some(old) => CronJob.check_update(&tree, old),
                None => CronJob.validate(&tree),
            };
            errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
        };
        let instead = "cannot use TZ or CRON_TZ in schedule, use timeZone field instead";
        let both = "cannot use both timeZone field and TZ or CRON_TZ in schedule";
        for (schedule, zone, want) in [
            ("* * * * *", json!(null), String::new()),
            ("* * * * *", json!("Europe/Berlin"), String::new()),
            ("* * * * *", json!("Mars"), "spec.timeZone: Invalid value: \"Mars\": unknown time zone Mars".into()),
            ("* * * * *", json!("a/../b"), "spec.timeZone: Invalid value: \"a/../b\": unknown time zone a/../b".into()),
            (
                "* * * * *",
                json!("Local"),
                "spec.timeZone: Invalid value: \"Local\": timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones".into(),
            ),
            ("* * * * *", json!(""), "spec.timeZone: Invalid value: \"\": timeZone must be nil or non-empty string".into()),
            ("TZ=UTC * * * * *", json!(null), format!("spec.schedule: Invalid value: \"TZ=UTC * * * * *\": {instead}")),
            ("TZ=UTC * * * * *", json!("UTC"), format!("spec.schedule: Invalid value: \"TZ=UTC * * * * *\": {instead}")),
        ] {
            assert_eq!(problems(&of(schedule, zone), None), want, "{schedule}");
        }
        let old = of("TZ=UTC 0 * * * *", json!(null));
        assert_eq!(problems(&of("TZ=UTC * * * * *", json!(null)), Some(&old)), "");
        assert_eq!(
            problems(&of("TZ=UTC * * * * *", json!("UTC")), Some(&old)),
            format!("spec.schedule: Invalid value: \"TZ=UTC * * * * *\": {both}")
        );
        let mut old = of("* * * * *", json!("Mars"));
        old["metadata"]["name"] = json!("n".repeat(60));
        assert_eq!(problems(&old, Some(&old)), "", "what is there may stay");
        assert!(problems(&old, None).ends_with("must be no more than 52 characters"));
        let mut manual = of("* * * * *", json!(null));
        manual["spec"]["jobTemplate"]["spec"]["manualSelector"] = json!(true);
        assert_eq!(
            problems(&manual, None),
            "spec.jobTemplate.spec.manualSelector: Unsupported value: true: supported values: \"nil\", \"false\""
        );
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
