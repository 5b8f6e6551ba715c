//! The strategy of custom resources: upstream's `customResourceStrategy`, on what a definition says.

use std::borrow::Cow;
use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::definition::{Definition, Version};
use super::jsonpath::Path;
use super::structural::{Structural, default, prune};
use super::validate::{validate, validate_lists};
use crate::cel;
use crate::strategy::{Column, NAME, human_duration, set};
use crate::{Scale, Strategy, field};

/// A version of a definition as a strategy.
pub struct Custom {
    definition: Arc<Definition>,
    at: usize,
}

impl Custom {
    pub fn new(definition: Arc<Definition>, at: usize) -> Custom {
        Custom { definition, at }
    }
    fn version(&self) -> &Version {
        &self.definition.versions[self.at]
    }
    fn schema(&self) -> &Structural {
        &self.version().schema
    }
    /// What the schema makes of a tree that something else than the request has changed.
    fn clean(&self, tree: &mut Value) {
        prune(tree, self.schema());
        self.default(tree);
    }
    fn errors(&self, new: &Value, old: Option<&Value>) -> Vec<field::Error> {
        let schema = self.schema();
        let mut errors = validate(schema, new, old);
        errors.extend(validate_lists(schema, new, old));
        // rules may rely on what the schema promises
        if errors.is_empty() {
            errors.extend(cel::validate(schema, new, old));
        }
        errors
    }
}

impl Strategy for Custom {
    fn default(&self, object: &mut Value) {
        if self.schema().has_defaults {
            default(object, self.schema());
        }
    }
    fn prepare_create(&self, object: &mut Value) {
        self.clean(object);
        if let (true, Some(o)) = (self.has_status(), object.as_object_mut()) {
            o.remove("status");
        }
    }
    fn prepare_update(&self, new: &mut Value, old: &Value) {
        self.clean(new);
        if self.has_status() {
            set(new, "status", old.get("status").cloned());
        }
    }
    /// All but the status stays, labels and annotations too.
    fn prepare_status_update(&self, new: &mut Value, old: &Value) {
        self.clean(new);
        let status = new.get("status").cloned();
        let managed = new["metadata"].get("managedFields").cloned();
        *new = old.clone();
        set(new, "status", status);
        if let (Some(managed), Some(metadata)) = (managed, new.get_mut("metadata")) {
            set(metadata, "managedFields", Some(managed));
        }
    }

    fn validate(&self, object: &Value) -> Vec<field::Error> {
        self.errors(object, None)
    }
    fn check_update(&self, new: &Value, old: &Value) -> Vec<field::Error> {
        self.errors(new, Some(old))
    }
    fn validate_status_update(&self, new: &Value, old: &Value) -> Vec<field::Error> {
        self.errors(new, Some(old))
    }

    fn has_status(&self) -> bool {
        self.version().status
    }
    fn has_generation(&self) -> bool {
        true
    }
    fn allow_unconditional_update(&self) -> bool {
        false
    }

    fn is_selectable(&self, field: &str) -> bool {
        self.version().selectable.iter().any(|(name, _)| &**name == field)
    }
    fn unselectable(&self, field: &str) -> String {
        format!("field label not supported: {field}")
    }
    fn select_field(&self, object: &Value, field: &str) -> String {
        let path = self.version().selectable.iter().find(|(name, _)| &**name == field).map(|(_, p)| p);
        match path.and_then(|p| p.find(object).first().copied()) {
            Some(Value::String(s)) => s.clone(),
            None | Some(Value::Null) => String::new(),
            Some(other) => other.to_string(),
        }
    }

    fn scale(&self, object: &Value) -> Option<Scale> {
        let paths = self.version().scale.as_ref()?;
        let number = |p: &Path| p.find(object).first().and_then(|v| v.as_i64()).unwrap_or(0);
        let selector = paths.selector.as_ref().and_then(|p| p.find(object).first()?.as_str()).unwrap_or_default();
        Some(Scale {
            replicas: number(&paths.replicas),
            status_replicas: number(&paths.status_replicas),
            selector: selector.to_owned(),
        })
    }
    fn set_replicas(&self, object: &mut Value, replicas: i64) {
        let Some(fields) = self.version().scale.as_ref().and_then(|s| s.replicas.fields()) else { return };
        let Some((last, parents)) = fields.split_last() else { return };
        let mut at = object;
        for name in parents {
            let Some(o) = at.as_object_mut() else { return };
            at = o.entry(*name).or_insert_with(|| Value::Object(Map::new()));
        }
        set(at, last, Some(replicas.into()));
    }

    fn column_definitions(&self) -> Value {
        let mut all = vec![NAME.definition()];
        if self.version().columns.is_empty() {
            all.push(Column { description: CREATED, ..Column::new("Age", "date") }.definition());
        }
        for c in &self.version().columns {
            let description = if c.description.is_empty() { COLUMN } else { &c.description };
            all.push(json!({
                "name": c.name, "type": c.kind, "format": c.format, "description": description, "priority": c.priority,
            }));
        }
        all.into()
    }
    fn cells(&self, object: &Value, now_seconds: i64) -> Vec<Value> {
        let mut cells = vec![object["metadata"]["name"].clone()];
        if self.version().columns.is_empty() {
            cells.push(cell("date", &object["metadata"]["creationTimestamp"], now_seconds));
        }
        for column in &self.version().columns {
            let found = column.path.as_ref().and_then(|p| p.find(object).first().copied());
            cells.push(found.map_or(Value::Null, |v| cell(&column.kind, v, now_seconds)));
        }
        cells
    }
}

const COLUMN: &str = "Custom resource definition column (in JSONPath format)";
const CREATED: &str = "CreationTimestamp is a timestamp representing the server time when this object was created. It is not \
    guaranteed to be set in happens-before order across separate operations. Clients may not set this value. It is \
    represented in RFC3339 form and is in UTC.\n\nPopulated by the system. Read-only. Null for lists. More info: \
    https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#metadata";

/// `cellForJSONValue`
fn cell(kind: &str, v: &Value, now_seconds: i64) -> Value {
    match (kind, v) {
        (_, Value::Null) => Value::Null,
        ("string", Value::String(_)) => v.clone(),
        ("string", other) => Cow::from(other.to_string()).into(),
        ("integer", Value::Number(n)) => match (n.as_i64(), n.as_f64()) {
            (Some(i), _) => json!(i),
            (None, Some(f)) => json!(f as i64),
            _ => Value::Null,
        },
        ("number", Value::Number(_)) | ("boolean", Value::Bool(_)) => v.clone(),
        ("date", Value::String(s)) => match s.parse::<jiff::Timestamp>() {
            Ok(t) => human_duration(now_seconds - t.as_second()).into(),
            Err(_) => "<invalid>".into(),
        },
        _ => Value::Null,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn custom(version: Value) -> crate::Kind {
        let mut v = json!({"name": "v1", "served": true, "storage": true});
        v.as_object_mut().unwrap().extend(version.as_object().unwrap().clone());
        let crd = json!({"metadata": {"name": "ks.g.io"}, "spec": {"group": "g.io", "scope": "Namespaced",
            "names": {"plural": "ks", "singular": "k", "kind": "K", "listKind": "KList"}, "versions": [v]}});
        Arc::new(Definition::parse(&crd, 1)).kind().unwrap()
    }

    #[test]
    fn columns_scale_and_fields_come_from_the_definition() {
        let kind = custom(json!({
            "subresources": {"status": {}, "scale": {"specReplicasPath": ".spec.deep.n", "statusReplicasPath": ".status.n", "labelSelectorPath": ".status.s"}},
            "additionalPrinterColumns": [
                {"name": "N", "type": "integer", "jsonPath": ".spec.deep.n"},
                {"name": "Text", "type": "string", "jsonPath": ".spec.deep"},
                {"name": "When", "type": "date", "jsonPath": ".spec.when"},
                {"name": "None", "type": "string", "jsonPath": ".spec.none"}],
            "selectableFields": [{"jsonPath": ".spec.when"}],
        }));
        let tree = json!({"metadata": {"name": "a"}, "spec": {"deep": {"n": 3}, "when": "2020-01-01T00:00:00Z"}, "status": {"n": 2, "s": "a=b"}});
        let columns = kind.strategy.column_definitions();
        let names: Vec<&str> = columns.as_array().unwrap().iter().filter_map(|c| c["name"].as_str()).collect();
        assert_eq!(names, ["Name", "N", "Text", "When", "None"]);
        let cells = kind.strategy.cells(&tree, 1_577_836_805);
        assert_eq!(Value::from(cells), json!(["a", 3, "{\"n\":3}", "5s", null]));
        assert_eq!(
            kind.strategy.scale(&tree).unwrap(),
            Scale { replicas: 3, status_replicas: 2, selector: "a=b".into() }
        );
        let mut other = json!({});
        kind.strategy.set_replicas(&mut other, 5);
        assert_eq!(other, json!({"spec": {"deep": {"n": 5}}}));
        assert!(kind.strategy.is_selectable("spec.when") && !kind.strategy.is_selectable("spec.deep"));
        assert_eq!(kind.strategy.select_field(&tree, "spec.when"), "2020-01-01T00:00:00Z");
        assert!(kind.strategy.has_status() && kind.subresources.scale);
        let plain = custom(json!({}));
        assert_eq!(plain.strategy.column_definitions()[1]["name"], "Age");
        assert!(!plain.strategy.has_status());
    }
}
