//! `node.k8s.io`: runtime classes.

use serde_json::Value;

use super::def::cluster;
use super::metadata::labels;
use super::resources::round_list;
use super::table::name;
use super::tree::{child, entries, text};
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
        let scheduling = Path::root("scheduling");
        labels(&mut errors, &scheduling.child("nodeSelector"), entries(&class["scheduling"], "nodeSelector"));
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
