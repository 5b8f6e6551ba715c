//! Limit ranges.

use serde_json::{Map, Value};

use crate::Strategy;
use crate::field::{self, Path};
use crate::kinds::resources::{self, fill, round_list};
use crate::kinds::table::{CREATED_AT, created_at, name};
use crate::kinds::tree::{ensure, entries, items, items_mut, made, text};
use crate::names;
use crate::quantity::Quantity;
use crate::strategy::{Column, NAME};

pub(super) struct LimitRange;

const LISTS: [&str; 5] = ["max", "min", "default", "defaultRequest", "maxLimitRequestRatio"];

fn list(item: &Value, key: &str) -> Map<String, Value> {
    item.get(key).and_then(Value::as_object).cloned().unwrap_or_default()
}

impl Strategy for LimitRange {
    /// `SetDefaults_LimitRangeItem`: a container's default limit is the maximum, its default request the limit or the minimum.
    fn default(&self, object: &mut Value) {
        let Some(spec) = made(object, "spec") else { return };
        for item in items_mut(spec, "limits") {
            for key in LISTS {
                round_list(item, key);
            }
            if text(item, "type") != "Container" {
                continue;
            }
            for (to, from) in [("default", "max"), ("defaultRequest", "default"), ("defaultRequest", "min")] {
                let source = list(item, from);
                if let Some(target) = ensure(item, to) {
                    fill(target, &source);
                }
            }
        }
    }
    fn has_status(&self) -> bool {
        false
    }
    fn allow_create_on_update(&self) -> bool {
        true
    }

    fn validate(&self, object: &Value) -> Vec<field::Error> {
        let mut errors = Vec::new();
        let spec = Path::root("spec");
        let root = spec.child("limits");
        let limits = items(&object["spec"], "limits");
        for (i, item) in limits.iter().enumerate() {
            let path = root.index(i);
            let (kind, at) = (text(item, "type"), path.child("type"));
            let wrong = names::qualified_name(kind);
            if wrong.is_empty() && !kind.contains('/') && !matches!(kind, "Pod" | "Container" | "PersistentVolumeClaim")
            {
                let detail = "must be a standard limit type or fully qualified";
                errors.push(field::Error::invalid(&at, kind, detail));
            }
            errors.extend(wrong.into_iter().map(|e| field::Error::invalid(&at, kind, e)));
            if limits[..i].iter().any(|l| text(l, "type") == kind) {
                errors.push(field::Error::duplicate(&at, kind));
            }
            validate_item(&mut errors, &path, item, kind);
        }
        errors
    }

    fn columns(&self) -> &'static [Column] {
        const { &[NAME, CREATED_AT] }
    }
    fn cells(&self, object: &Value, _now_seconds: i64) -> Vec<Value> {
        vec![name(object), created_at(object)]
    }
}

/// What is limited, and how: min <= defaultRequest <= default <= max, for each resource.
fn validate_item(errors: &mut Vec<field::Error>, path: &Path, item: &Value, kind: &str) {
    for key in ["max", "min", "default", "defaultRequest", "maxLimitRequestRatio"] {
        let (list, at) = (list(item, key), path.child(key));
        if kind == "Pod" && key.starts_with("default") {
            if !list.is_empty() {
                errors.push(field::Error::forbidden(&at, "may not be specified when `type` is 'Pod'"));
            }
            continue;
        }
        if key == "maxLimitRequestRatio"
            && kind == "PersistentVolumeClaim"
            && ["min", "max"].iter().all(|k| item[*k].get("storage").is_none())
        {
            let detail = "either minimum or maximum storage value is required, but neither was provided";
            errors.push(field::Error::required(&path.child("limits"), detail));
        }
        for (name, amount) in &list {
            match kind {
                "Pod" | "Container" => resources::validate_name(errors, &at.key(name), name, resources::Of::Container),
                _ => _ = resources::validate_plain_name(errors, &at.key(name), name),
            }
            if Quantity::from_tree(amount).is_err() {
                errors.push(field::Error::invalid(&at.key(name), amount.clone(), "must be a quantity"));
            }
        }
    }
    let mut all: Vec<&str> = LISTS.iter().flat_map(|l| entries(item, l).map(|(k, _)| k)).collect();
    all.sort_unstable();
    all.dedup();
    all.into_iter().for_each(|name| validate_order(errors, path, item, kind, name));
}

fn validate_order(errors: &mut Vec<field::Error>, path: &Path, item: &Value, kind: &str, name: &str) {
    let amount = |key: &str| {
        let counts = kind != "Pod" || !key.starts_with("default");
        item.get(key)?.get(name).filter(|_| counts).and_then(|v| Quantity::from_tree(v).ok())
    };
    let mut wrong = |key: &str, value: Quantity, detail: String| {
        errors.push(field::Error::invalid(&path.child(key).key(name), value.to_string(), detail));
    };
    // lower, higher, where it is said, of which of them
    for (low, high, at, shows_low) in [
        ("min", "max", "min", true),
        ("min", "defaultRequest", "defaultRequest", false),
        ("defaultRequest", "max", "defaultRequest", true),
        ("defaultRequest", "default", "defaultRequest", true),
        ("min", "default", "default", true),
        ("default", "max", "default", false),
    ] {
        if let (Some(a), Some(b)) = (amount(low), amount(high))
            && a > b
        {
            let word = |key: &str| match key {
                "defaultRequest" => "default request",
                "default" if low == "defaultRequest" => "default limit",
                "min" => "min",
                "max" => "max",
                _ => "default",
            };
            let detail = format!("{} value {a} is greater than {} value {b}", word(low), word(high));
            wrong(at, if shows_low { a } else { b }, detail);
        }
    }
    const RATIO: &str = "maxLimitRequestRatio";
    if let Some(ratio) = amount(RATIO) {
        if ratio < Quantity::new(1, crate::quantity::Format::DecimalSi) {
            wrong(RATIO, ratio, format!("ratio {ratio} is less than 1"));
        }
        if let (Some(min), Some(max)) = (amount("min"), amount("max")) {
            let most = max.nanos() as f64 / min.nanos() as f64;
            if ratio.nanos() as f64 / 1e9 > most {
                wrong(RATIO, ratio, format!("ratio {ratio} is greater than max/min = {most:.6}"));
            }
        }
    }
    if !resources::is_overcommitted(name)
        && let (Some(a), Some(b)) = (amount("default"), amount("defaultRequest"))
        && a != b
    {
        let detail = format!("default value {a} must equal to defaultRequest value {b} in {name}");
        wrong("defaultRequest", b, detail);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn limits_default_from_each_other() {
        let mut l = json!({"spec": {"limits": [{"type": "Container", "max": {"cpu": "2"}, "min": {"cpu": "100m", "memory": "1Mi"}}]}});
        LimitRange.default(&mut l);
        let item = &l["spec"]["limits"][0];
        assert_eq!(item["default"], json!({"cpu": "2"}));
        assert_eq!(item["defaultRequest"], json!({"cpu": "2", "memory": "1Mi"}));
        assert!(LimitRange.validate(&l).is_empty());
        let bad = json!({"spec": {"limits": [{"type": "Container", "max": {"cpu": "1"}, "min": {"cpu": "2"}}]}});
        assert_eq!(
            LimitRange.validate(&bad)[0].to_string(),
            r#"spec.limits[0].min[cpu]: Invalid value: "2": min value 2 is greater than max value 1"#
        );
    }

    #[test]
    fn what_is_wrong_is_said_in_upstreams_words() {
        for (item, want) in [
            (json!({"type": "Pod", "max": {"cpu": "1"}}), ""),
            (json!({"type": "x.io/y", "max": {"pods": "1"}}), ""),
            (
                json!({"type": "x"}),
                r#"spec.limits[0].type: Invalid value: "x": must be a standard limit type or fully qualified"#,
            ),
            (
                json!({"type": "Pod", "default": {"cpu": "1"}}),
                "spec.limits[0].default: Forbidden: may not be specified when `type` is 'Pod'",
            ),
            (
                json!({"type": "Container", "max": {"storage": "1"}}),
                r#"spec.limits[0].max[storage]: Invalid value: "storage": must be a standard resource for containers"#,
            ),
            (
                json!({"type": "PersistentVolumeClaim", "default": {"storage": "1"}}),
                "spec.limits[0].limits: Required value: either minimum or maximum storage value is required, but neither was provided",
            ),
            (
                json!({"type": "Container", "default": {"cpu": "1"}, "defaultRequest": {"cpu": "2"}}),
                r#"spec.limits[0].defaultRequest[cpu]: Invalid value: "2": default request value 2 is greater than default limit value 1"#,
            ),
            (
                json!({"type": "Container", "default": {"cpu": "1"}, "min": {"cpu": "2"}}),
                r#"spec.limits[0].default[cpu]: Invalid value: "2": min value 2 is greater than default value 1"#,
            ),
            (
                json!({"type": "Container", "default": {"cpu": "2"}, "max": {"cpu": "1"}}),
                r#"spec.limits[0].default[cpu]: Invalid value: "1": default value 2 is greater than max value 1"#,
            ),
            (
                json!({"type": "Container", "defaultRequest": {"cpu": "1"}, "min": {"cpu": "2"}}),
                r#"spec.limits[0].defaultRequest[cpu]: Invalid value: "1": min value 2 is greater than default request value 1"#,
            ),
            (
                json!({"type": "Container", "maxLimitRequestRatio": {"cpu": "900m"}}),
                r#"spec.limits[0].maxLimitRequestRatio[cpu]: Invalid value: "900m": ratio 900m is less than 1"#,
            ),
            (
                json!({"type": "Container", "min": {"cpu": "1"}, "max": {"cpu": "2"}, "maxLimitRequestRatio": {"cpu": "3"}}),
                r#"spec.limits[0].maxLimitRequestRatio[cpu]: Invalid value: "3": ratio 3 is greater than max/min = 2.000000"#,
            ),
            (
                json!({"type": "Container", "default": {"x.io/y": "2"}, "defaultRequest": {"x.io/y": "1"}}),
                r#"spec.limits[0].defaultRequest[x.io/y]: Invalid value: "1": default value 2 must equal to defaultRequest value 1 in x.io/y"#,
            ),
        ] {
            let errors = LimitRange.validate(&json!({"spec": {"limits": [item]}}));
            assert_eq!(errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "), want, "{item}");
        }
    }
}
