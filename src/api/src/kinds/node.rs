//! `node.k8s.io`: runtime classes.

use serde_json::{Value, json};

use super::core::validate_tolerations;
use super::def::cluster;
use super::metadata::labels;
use super::resources::{self, round_list};
use super::table::name;
use super::tree::{child, entries, has, items, text};
use crate::field::{self, Path};
use crate::strategy::{AGE, Column, NAME, age};
use crate::{Kind, Strategy, names};

pub(super) fn kinds() -> Vec<Kind> {
    vec![cluster("node.k8s.io", "v1", "RuntimeClass", "runtimeclasses", RuntimeClass).old(&["v1beta1"])]
}

struct RuntimeClass;

impl Strategy for RuntimeClass {
    fn default(&self, class: &mut Value) {
        if let Some(overhead) = child(class, "overhead") {
            round_list(overhead, "podFixed");
        }
    }
    fn has_status(&self) -> bool {
        false
    }
    fn validate(&self, class: &Value) -> Vec<field::Error> {
        let mut errors = Vec::new();
        let (handler, at) = (text(class, "handler"), Path::root("handler"));
        let wrong = names::dns_label(handler, false);
        errors.extend(wrong.into_iter().map(|e| field::Error::invalid(&at, handler, e)));
        if has(class, "overhead") {
            let limits = json!({"limits": class["overhead"]["podFixed"]});
            resources::validate(&mut errors, &Path::root("overhead"), &limits, resources::Of::Container);
        }
        let scheduling = Path::root("scheduling");
        labels(&mut errors, &scheduling.child("nodeSelector"), entries(&class["scheduling"], "nodeSelector"));
        let (all, path) = (items(&class["scheduling"], "tolerations"), scheduling.child("tolerations"));
        validate_tolerations(&mut errors, &path, all);
        let same =
            |a: &Value, b: &Value| ["key", "operator", "value", "effect"].iter().all(|k| text(a, k) == text(b, k));
        for (i, t) in all.iter().enumerate().filter(|(i, t)| all[..*i].iter().any(|o| same(o, t))) {
            errors.push(field::Error::duplicate(&path.index(i), t.clone()));
        }
        errors
    }
    fn validate_update(&self, new: &Value, old: &Value) -> Vec<field::Error> {
        if new["handler"] == old["handler"] {
            return Vec::new();
        }
        vec![field::Error::invalid(&Path::root("handler"), new["handler"].clone(), "field is immutable")]
    }
    fn columns(&self) -> &'static [Column] {
        const { &[NAME, Column::new("Handler", "string"), AGE] }
    }
    fn cells(&self, class: &Value, now_seconds: i64) -> Vec<Value> {
        vec![name(class), text(class, "handler").into(), age(class, now_seconds)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::workload::problems;

    #[test]
    fn what_is_wrong_is_said_in_upstreams_words() {
        let toleration = json!({"key": "a", "operator": "Exists"});
        for (class, want) in [
            (
                json!({"handler": "h", "overhead": {"podFixed": {"cpu": "1"}}, "scheduling": {"tolerations": [toleration]}}),
                "",
            ),
            (
                json!({"handler": "h", "overhead": {"podFixed": {"cpu": "-1"}}}),
                r#"overhead.limits[cpu]: Invalid value: "-1": must be greater than or equal to 0"#,
            ),
            (
                json!({"handler": "h", "scheduling": {"tolerations": [toleration, toleration]}}),
                r#"scheduling.tolerations[1]: Duplicate value: {"key":"a","operator":"Exists"}"#,
            ),
            (
                json!({"handler": "h", "scheduling": {"tolerations": [{"key": "a", "operator": "x"}]}}),
                r#"scheduling.tolerations[0].operator: Unsupported value: "x": supported values: "Equal", "Exists""#,
            ),
        ] {
            assert_eq!(problems(&RuntimeClass, class).join("; "), want);
        }
    }
}
