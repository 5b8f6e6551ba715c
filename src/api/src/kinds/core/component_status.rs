//! The health of the control plane's parts, as old tools ask for it. They are one process here: who answers is healthy.

use serde_json::Value;

use crate::Strategy;
use crate::kinds::table::name;
use crate::kinds::tree::{items, text};
use crate::strategy::{Column, NAME};

pub(super) struct ComponentStatus;

impl Strategy for ComponentStatus {
    fn has_status(&self) -> bool {
        false
    }
    fn columns(&self) -> &'static [Column] {
        const { &[NAME, Column::new("Status", "string"), Column::new("Message", "string"), Column::new("Error", "string")] }
    }
    fn cells(&self, object: &Value, _now_seconds: i64) -> Vec<Value> {
        let healthy = items(object, "conditions").iter().find(|c| text(c, "type") == "Healthy");
        let status = match healthy.map(|c| text(c, "status")) {
            Some("True") => "Healthy",
            Some("False") => "Unhealthy",
            _ => "Unknown",
        };
        let of = |key: &str| Value::from(healthy.map_or("", |c| text(c, key)));
        vec![name(object), status.into(), of("message"), of("error")]
    }
}
