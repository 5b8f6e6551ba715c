//! Controller revisions.

use serde_json::Value;

use crate::Strategy;
use crate::field::{self, Path};
use crate::kinds::table::{NONE, name};
use crate::kinds::tree::{has, items, number, or, same, text};
use crate::strategy::{AGE, Column, NAME, age};

pub(super) struct ControllerRevision;

impl Strategy for ControllerRevision {
    fn default(&self, object: &mut Value) {
        // Go always writes it
        or(object, "revision", 0);
    }
    fn has_status(&self) -> bool {
        false
    }
    fn validate(&self, object: &Value) -> Vec<field::Error> {
        let mut errors = Vec::new();
        if !has(object, "data") {
            errors.push(field::Error::required(&Path::root("data"), "data is mandatory"));
        }
        if number(object, "revision") < 0 {
            let detail = "must be greater than or equal to 0";
            errors.push(field::Error::invalid(&Path::root("revision"), object["revision"].clone(), detail));
        }
        errors
    }
    fn validate_update(&self, new: &Value, old: &Value) -> Vec<field::Error> {
        if same(&new["data"], &old["data"]) {
            return Vec::new();
        }
        vec![field::Error::invalid(&Path::root("data"), new["data"].clone(), "field is immutable")]
    }

    fn columns(&self) -> &'static [Column] {
        const { &[NAME, Column::new("Controller", "string"), Column::new("Revision", "string"), AGE] }
    }
    fn cells(&self, object: &Value, now_seconds: i64) -> Vec<Value> {
        let owners = items(&object["metadata"], "ownerReferences");
        let controller = owners.iter().find(|o| o["controller"] == true).map_or(NONE.into(), |o| {
            // as upstream prints it: deployment.apps/name
            let group = text(o, "apiVersion").split_once('/').map_or(String::new(), |(g, _)| format!(".{g}"));
            format!("{}{group}/{}", text(o, "kind").to_lowercase(), text(o, "name"))
        });
        vec![name(object), controller.into(), number(object, "revision").into(), age(object, now_seconds)]
    }
}
