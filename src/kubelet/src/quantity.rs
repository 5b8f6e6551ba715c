//! Short cuts to quantities in resource lists; what is malformed reads as absent.

use std::collections::BTreeMap;

use api::k8s_openapi::apimachinery::pkg::api::resource::Quantity as Typed;
use api::quantity::Quantity;

pub(crate) type ResourceList = BTreeMap<String, Typed>;

/// In thousandths, rounded up.
pub(crate) fn milli(q: &Typed) -> Option<i128> {
    Quantity::try_from(q).ok().map(|q| i128::from(q.millis()))
}

/// In whole units, rounded up.
pub(crate) fn value(q: &Typed) -> Option<i64> {
    Quantity::try_from(q).ok().map(Quantity::value)
}

pub(crate) fn milli_of(list: Option<&ResourceList>, resource: &str) -> Option<i64> {
    Quantity::try_from(list?.get(resource)?).ok().map(Quantity::millis)
}

pub(crate) fn value_of(list: Option<&ResourceList>, resource: &str) -> Option<i64> {
    value(list?.get(resource)?)
}
