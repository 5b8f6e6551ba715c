//! Pod templates.

use serde_json::Value;

use super::pod::{default_template, validate_template};
use crate::Strategy;
use crate::field::{self, Path};
use crate::kinds::table::{containers, labels, name};
use crate::kinds::tree::made;
use crate::strategy::{Column, NAME};

pub(super) struct PodTemplate;

impl Strategy for PodTemplate {
    fn default(&self, object: &mut Value) {
        if let Some(template) = made(object, "template") {
            default_template(template);
        }
    }
    fn has_status(&self) -> bool {
        false
    }
    fn has_generation(&self) -> bool {
        true
    }
    fn allow_create_on_update(&self) -> bool {
        true
    }
    fn validate(&self, object: &Value) -> Vec<field::Error> {
        let mut errors = Vec::new();
        validate_template(&mut errors, &Path::root("template"), &object["template"]);
        errors
    }

    fn columns(&self) -> &'static [Column] {
        const {
            &[
                NAME,
                Column::new("Containers", "string"),
                Column::new("Images", "string"),
                Column::new("Pod Labels", "string"),
            ]
        }
    }
    fn cells(&self, object: &Value, _now_seconds: i64) -> Vec<Value> {
        let template = &object["template"];
        let [names, images] = containers(&template["spec"]);
        vec![name(object), names, images, labels(&template["metadata"], "labels")]
    }
}
