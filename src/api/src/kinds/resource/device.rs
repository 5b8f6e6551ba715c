//! Device classes, and what they share with claims: selectors and configurations.

use serde_json::Value;

use crate::Strategy;
use crate::field::{self, Error, Path};
use crate::kinds::metadata::driver_name as driver;
use crate::kinds::table::name;
use crate::kinds::tree::{has, items, text};
use crate::names;
use crate::strategy::{AGE, Column, NAME, age};

/// `DeviceSelectorsMaxSize`, `DeviceConfigMaxSize`, `DeviceRequestsMaxSize`, `DeviceConstraintsMaxSize`
pub(super) const MOST: usize = 32;
/// `CELSelectorExpressionMaxLength`
const LONGEST_EXPRESSION: usize = 10 * 1024;
/// `OpaqueParametersMaxLength`
const LONGEST_PARAMETERS: usize = 10 * 1024;

pub(super) struct DeviceClass;

impl Strategy for DeviceClass {
    fn has_status(&self) -> bool {
        false
    }
    fn has_generation(&self) -> bool {
        true
    }
    fn validate(&self, class: &Value) -> Vec<Error> {
        let mut errors = Vec::new();
        let (spec, path) = (&class["spec"], Path::root("spec"));
        selectors(&mut errors, &path.child("selectors"), items(spec, "selectors"));
        let list = path.child("config");
        at_most(&mut errors, &list, items(spec, "config"), MOST);
        for (i, config) in items(spec, "config").iter().enumerate() {
            configuration(&mut errors, &list.index(i), config);
        }
        if has(spec, "extendedResourceName") {
            let extended = text(spec, "extendedResourceName");
            let native = !extended.contains('/') || extended.contains("kubernetes.io/");
            let quota = format!("requests.{extended}");
            if native || extended.starts_with("requests.") || !names::qualified_name(&quota).is_empty() {
                let detail = "must be a valid extended resource name";
                errors.push(Error::invalid(&path.child("extendedResourceName"), extended, detail));
            }
        }
        errors
    }
    fn columns(&self) -> &'static [Column] {
        const { &[NAME, AGE] }
    }
    fn cells(&self, class: &Value, now_seconds: i64) -> Vec<Value> {
        vec![name(class), age(class, now_seconds)]
    }
}

pub(super) fn at_most(errors: &mut Vec<Error>, path: &Path, list: &[Value], most: usize) {
    if list.len() > most {
        errors.push(Error::too_many(path, list.len(), most));
    }
}

/// `validateSelectorSlice`
pub(super) fn selectors(errors: &mut Vec<Error>, path: &Path, list: &[Value]) {
    at_most(errors, path, list, MOST);
    for (i, selector) in list.iter().enumerate() {
        let at = path.index(i);
        let at = at.child("cel");
        let expression = text(&selector["cel"], "expression");
        if !has(selector, "cel") {
            errors.push(Error::required(&at, ""));
        } else if expression.is_empty() {
            errors.push(Error::required(&at.child("expression"), ""));
        } else if expression.len() > LONGEST_EXPRESSION {
            errors.push(Error::too_long(&at.child("expression"), LONGEST_EXPRESSION));
        }
    }
}

/// `validateDeviceConfiguration`
pub(super) fn configuration(errors: &mut Vec<Error>, path: &Path, config: &Value) {
    let (opaque, at) = (&config["opaque"], path.child("opaque"));
    if opaque.is_null() {
        return errors.push(field::Error::required(&at, ""));
    }
    driver(errors, &at.child("driver"), text(opaque, "driver"));
    let (parameters, at) = (&opaque["parameters"], at.child("parameters"));
    if parameters.is_null() {
        errors.push(Error::required(&at, ""));
    } else if !parameters.is_object() {
        errors.push(Error::invalid(&at, parameters.clone(), "must be a valid JSON object"));
    } else if parameters.to_string().len() > LONGEST_PARAMETERS {
        errors.push(Error::too_long(&at, LONGEST_PARAMETERS));
    }
}

pub(super) fn subdomain(errors: &mut Vec<Error>, path: &Path, value: &str) {
    errors.extend(names::dns_subdomain(value, false).into_iter().map(|e| Error::invalid(path, value, e)));
}

pub(super) fn label(errors: &mut Vec<Error>, path: &Path, value: &str) {
    errors.extend(names::dns_label(value, false).into_iter().map(|e| Error::invalid(path, value, e)));
}

/// `validatePoolName`
pub(super) fn pool_name(errors: &mut Vec<Error>, path: &Path, pool: &str) {
    if pool.is_empty() {
        return errors.push(Error::required(path, ""));
    }
    if pool.len() > 253 {
        errors.push(Error::too_long(path, 253));
    }
    pool.split('/').for_each(|part| subdomain(errors, path, part));
}
