//! Service accounts.

use serde_json::Value;

use crate::Strategy;
use crate::kinds::table::name;
use crate::kinds::tree::items;
use crate::strategy::{AGE, Column, NAME, age};

pub(super) struct ServiceAccount;

impl Strategy for ServiceAccount {
    fn has_status(&self) -> bool {
        false
    }
    fn columns(&self) -> &'static [Column] {
        const { &[NAME, Column::new("Secrets", "string"), AGE] }
    }
    fn cells(&self, account: &Value, now_seconds: i64) -> Vec<Value> {
        vec![name(account), items(account, "secrets").len().into(), age(account, now_seconds)]
    }
}
