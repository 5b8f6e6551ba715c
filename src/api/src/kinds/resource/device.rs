//! Device classes, and what they share with claims: selectors and configurations.

use serde_json::Value;

use crate::Strategy;
use crate::field::{Error, Path};
use crate::kinds::metadata::{driver_name as driver, label_name};
use crate::kinds::resources::is_extended;
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

/// `DeviceMaxIDLength`
const LONGEST_ID: usize = 32;
/// `BindingConditionsMaxSize`, `BindingFailureConditionsMaxSize`
const MOST_CONDITIONS: usize = 4;

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
        each(&mut errors, &path.child("config"), items(spec, "config"), MOST, configuration);
        if has(spec, "extendedResourceName") {
            let extended = text(spec, "extendedResourceName");
            if !is_extended(extended) {
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

/// `validateSlice`: too many are not looked at.
pub(super) fn each(
    errors: &mut Vec<Error>,
    path: &Path,
    list: &[Value],
    most: usize,
    mut check: impl FnMut(&mut Vec<Error>, &Path, &Value),
) -> bool {
    if list.len() > most {
        errors.push(Error::too_many(path, list.len(), most));
        return false;
    }
    for (i, item) in list.iter().enumerate() {
        check(errors, &path.index(i), item);
    }
    true
}

/// `validateSet`: the same, of what must differ in `key`.
pub(super) fn set(
    errors: &mut Vec<Error>,
    path: &Path,
    list: &[Value],
    most: usize,
    key: &str,
    check: impl FnMut(&mut Vec<Error>, &Path, &Value),
) {
    if !each(errors, path, list, most, check) {
        return;
    }
    let of = |item: &Value| if key.is_empty() { item.clone() } else { text(item, key).into() };
    for (i, item) in list.iter().enumerate().skip(1) {
        if list[..i].iter().any(|o| of(o) == of(item)) {
            errors.push(Error::duplicate(&path.index(i), of(item)));
        }
    }
}

/// `validateSelectorSlice`
pub(super) fn selectors(errors: &mut Vec<Error>, path: &Path, list: &[Value]) {
    each(errors, path, list, MOST, |errors, at, selector| {
        let at = at.child("cel");
        let expression = text(&selector["cel"], "expression");
        if !has(selector, "cel") {
            errors.push(Error::required(&at, ""));
        } else if expression.is_empty() {
            errors.push(Error::required(&at.child("expression"), ""));
        } else if expression.len() > LONGEST_EXPRESSION {
            errors.push(Error::too_long(&at.child("expression"), LONGEST_EXPRESSION));
        }
    });
}

/// `validateDeviceConfiguration`
pub(super) fn configuration(errors: &mut Vec<Error>, path: &Path, config: &Value) {
    let (opaque, at) = (&config["opaque"], path.child("opaque"));
    if opaque.is_null() {
        return errors.push(Error::required(&at, ""));
    }
    driver(errors, &at.child("driver"), text(opaque, "driver"));
    raw(errors, &at.child("parameters"), &opaque["parameters"]);
}

/// `validateRawExtension`: some object, not too large, that is of no interest here.
pub(super) fn raw(errors: &mut Vec<Error>, path: &Path, value: &Value) {
    if value.is_null() {
        errors.push(Error::required(path, ""));
    } else if value.to_string().len() > LONGEST_PARAMETERS {
        errors.push(Error::too_long(path, LONGEST_PARAMETERS));
    } else if !value.is_object() {
        errors.push(Error::invalid(path, "<value omitted>", "must be a valid JSON object"));
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

/// `validateQualifiedName`: of an attribute or a capacity, with the driver's domain unless that is meant.
pub(super) fn attribute_name(errors: &mut Vec<Error>, path: &Path, value: &str) {
    match value.split('/').collect::<Vec<_>>()[..] {
        [id] => identifier(errors, path, id),
        [domain, id] => {
            if domain.is_empty() {
                errors.push(Error::invalid(path, "", "the domain must not be empty"));
            } else {
                driver(errors, path, domain);
            }
            if id.is_empty() {
                errors.push(Error::invalid(path, "", "the name must not be empty"));
            } else {
                identifier(errors, path, id);
            }
        }
        // upstream lets these pass
        _ => {}
    }
}

/// `validateCIdentifier`
fn identifier(errors: &mut Vec<Error>, path: &Path, id: &str) {
    if id.len() > LONGEST_ID {
        errors.push(Error::too_long(path, LONGEST_ID));
    }
    let word = |c: u8| c.is_ascii_alphanumeric() || c == b'_';
    if id.is_empty() || id.as_bytes()[0].is_ascii_digit() || !id.bytes().all(word) {
        let what = "a valid C identifier must start with alphabetic character or '_', followed by a string of alphanumeric characters or '_'";
        let examples = ["my_name", "MY_NAME", "MyName"];
        errors.push(Error::invalid(path, id, names::regex_error(what, "[A-Za-z_][A-Za-z0-9_]*", &examples)));
    }
}

/// `validateFullyQualifiedName`
pub(super) fn full_name(errors: &mut Vec<Error>, path: &Path, value: &str) {
    attribute_name(errors, path, value);
    if !value.contains('/') {
        let detail = "a fully qualified name must be a domain and a name separated by a slash";
        errors.push(Error::invalid(path, value, detail));
    }
}

/// `validateDeviceBindingParameters`: what must hold, and what must not, before a pod is bound.
pub(super) fn binding(errors: &mut Vec<Error>, path: &Path, owner: &Value) {
    let (wanted, failed) = (items(owner, "bindingConditions"), items(owner, "bindingFailureConditions"));
    let (at_wanted, at_failed) = (path.child("bindingConditions"), path.child("bindingFailureConditions"));
    for (at, list) in [(&at_wanted, wanted), (&at_failed, failed)] {
        each(errors, at, list, MOST_CONDITIONS, |errors, at, c| label_name(errors, at, c.as_str().unwrap_or_default()));
    }
    for (at, list) in [(&at_wanted, wanted), (&at_failed, failed)] {
        for (i, condition) in list.iter().enumerate() {
            if list[..i].contains(condition) {
                errors.push(Error::duplicate(&at.index(i), condition.clone()));
            }
        }
    }
    for (i, condition) in failed.iter().enumerate().filter(|(_, c)| wanted.contains(c)) {
        let detail = "bindingFailureConditions must not overlap with bindingConditions";
        errors.push(Error::invalid(&at_failed.index(i), condition.clone(), detail));
    }
    let none = |key: &str| owner.get(key).cloned().unwrap_or_default();
    if wanted.is_empty() && !failed.is_empty() {
        let detail = "bindingConditions are required to use bindingFailureConditions";
        errors.push(Error::invalid(&at_wanted, none("bindingConditions"), detail));
    }
    if failed.is_empty() && !wanted.is_empty() {
        let detail = "bindingFailureConditions are required to use bindingConditions";
        errors.push(Error::invalid(&at_failed, none("bindingFailureConditions"), detail));
    }
}
