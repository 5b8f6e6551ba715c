//! Limit ranges.

use serde_json::{Map, Value};

use crate::Strategy;
use crate::field::{self, Path};
use crate::kinds::resources::{fill, round_list};
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
            let kind = text(item, "type");
            if !matches!(kind, "Pod" | "Container" | "PersistentVolumeClaim") {
                let wrong = names::qualified_name(kind);
                errors.extend(wrong.into_iter().map(|e| field::Error::invalid(&path.child("type"), kind, e)));
                if !kind.contains('/') {
                    let detail = "must be a standard limit type or fully qualified";
                    errors.push(field::Error::invalid(&path.child("type"), kind, detail));
                }
            }
            if limits[..i].iter().any(|l| text(l, "type") == kind) {
                errors.push(field::Error::duplicate(&path.child("type"), kind));
            }
            if kind == "Pod" {
                for key in ["default", "defaultRequest"] {
                    if !list(item, key).is_empty() {
                        let detail = "may not be specified when `type` is 'Pod'";
                        errors.push(field::Error::forbidden(&path.child(key), detail));
                    }
                }
            }
            validate_order(&mut errors, &path, item);
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

/// min <= defaultRequest <= default <= max, for each resource.
fn validate_order(errors: &mut Vec<field::Error>, path: &Path, item: &Value) {
    let amount = |key: &str, name: &str| Quantity::from_tree(item.get(key)?.get(name)?).ok();
    let mut resources: Vec<&str> = LISTS.iter().flat_map(|l| entries(item, l).map(|(k, _)| k)).collect();
    resources.sort_unstable();
    resources.dedup();
    for name in resources {
        for key in LISTS {
            if let Some(v) = item[key].get(name)
                && Quantity::from_tree(v).is_err()
            {
                let at = path.child(key);
                errors.push(field::Error::invalid(&at.key(name), v.clone(), "must be a quantity"));
            }
        }
        for (low, high) in [
            ("min", "max"),
            ("min", "defaultRequest"),
            ("min", "default"),
            ("defaultRequest", "max"),
            ("defaultRequest", "default"),
            ("default", "max"),
        ] {
            if let (Some(a), Some(b)) = (amount(low, name), amount(high, name))
                && a > b
            {
                let detail = format!("{} value {a} is greater than {} value {b}", words(low), words(high));
                let at = path.child(if low == "min" && high != "max" { high } else { low });
                errors.push(field::Error::invalid(&at.key(name), item[low][name].clone(), detail));
            }
        }
    }
}

fn words(key: &str) -> &str {
    match key {
        "defaultRequest" => "default request",
        other => other,
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
}
