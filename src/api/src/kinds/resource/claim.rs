//! Claims to devices, and templates of them.

use serde_json::{Value, json};

use super::claim_status;
use super::device::{self, MOST, configuration, each, full_name, label, selectors, subdomain};
use crate::Strategy;
use crate::field::{Error, Path};
use crate::kinds::metadata;
use crate::kinds::table::name;
use crate::kinds::tree::{child, has, items, items_mut, number, or_zero, same, some, text};
use crate::names;
use crate::strategy::{AGE, Column, NAME, age, set};

pub(super) struct ResourceClaim;
pub(super) struct ResourceClaimTemplate;

/// `FirstAvailableDeviceRequestMaxSize`
const MOST_ALTERNATIVES: usize = 8;
/// `validDeviceTaintEffects`
pub(super) const EFFECTS: &[&str] = &["NoExecute", "NoSchedule", "None"];
/// `DeviceTolerationsMaxLength`
const MOST_TOLERATIONS: usize = 16;

/// `SetDefaults_ExactDeviceRequest`, `SetDefaults_DeviceSubRequest`
fn default_spec(spec: &mut Value) {
    fn one(request: &mut Value) {
        or_zero(request, "allocationMode", "ExactCount");
        if request["allocationMode"] == "ExactCount" {
            or_zero(request, "count", 1);
        }
        for toleration in items_mut(request, "tolerations") {
            or_zero(toleration, "operator", "Equal");
        }
    }
    let Some(devices) = child(spec, "devices") else { return };
    for request in items_mut(devices, "requests") {
        if let Some(exactly) = child(request, "exactly") {
            one(exactly);
        }
        items_mut(request, "firstAvailable").iter_mut().filter(|r| r.is_object()).for_each(one);
    }
}

fn immutable(new: &Value, old: &Value) -> Vec<Error> {
    if same(&new["spec"], &old["spec"]) {
        return Vec::new();
    }
    vec![Error::invalid(&Path::root("spec"), new["spec"].clone(), "field is immutable")]
}

impl Strategy for ResourceClaim {
    fn default(&self, claim: &mut Value) {
        if let Some(spec) = child(claim, "spec") {
            default_spec(spec);
        }
    }
    fn prepare_create(&self, claim: &mut Value) {
        set(claim, "status", Some(json!({})));
    }
    fn validate(&self, claim: &Value) -> Vec<Error> {
        let mut errors = Vec::new();
        validate_spec(&mut errors, &Path::root("spec"), &claim["spec"]);
        errors
    }
    fn check_update(&self, new: &Value, old: &Value) -> Vec<Error> {
        immutable(new, old)
    }
    fn validate_status_update(&self, new: &Value, old: &Value) -> Vec<Error> {
        claim_status::validate(new, old)
    }

    fn columns(&self) -> &'static [Column] {
        const { &[NAME, Column::new("State", "string"), AGE] }
    }
    fn cells(&self, claim: &Value, now_seconds: i64) -> Vec<Value> {
        vec![name(claim), state(claim).into(), age(claim, now_seconds)]
    }
}

impl Strategy for ResourceClaimTemplate {
    fn default(&self, template: &mut Value) {
        if let Some(spec) = child(template, "spec").and_then(|s| child(s, "spec")) {
            default_spec(spec);
        }
    }
    fn has_status(&self) -> bool {
        false
    }
    fn validate(&self, template: &Value) -> Vec<Error> {
        let mut errors = Vec::new();
        let (spec, path) = (&template["spec"], Path::root("spec"));
        metadata::template(&mut errors, &path, spec);
        validate_spec(&mut errors, &path.child("spec"), &spec["spec"]);
        errors
    }
    fn check_update(&self, new: &Value, old: &Value) -> Vec<Error> {
        immutable(new, old)
    }
    fn columns(&self) -> &'static [Column] {
        const { &[NAME, AGE] }
    }
    fn cells(&self, template: &Value, now_seconds: i64) -> Vec<Value> {
        vec![name(template), age(template, now_seconds)]
    }
}

/// `resourceClaimState`
fn state(claim: &Value) -> String {
    let mut states = Vec::new();
    if has(&claim["metadata"], "deletionTimestamp") {
        states.push("deleted");
    }
    match (has(&claim["status"], "allocation"), items(&claim["status"], "reservedFor").is_empty()) {
        (false, _) if states.is_empty() => states.push("pending"),
        (false, _) => {}
        (true, empty) => {
            states.push("allocated");
            if !empty {
                states.push("reserved");
            }
        }
    }
    states.join(",")
}

/// `validateDeviceClaim`
fn validate_spec(errors: &mut Vec<Error>, path: &Path, spec: &Value) {
    let (devices, path) = (&spec["devices"], path.child("devices"));
    let requests = items(devices, "requests");
    device::set(errors, &path.child("requests"), requests, MOST, "name", validate_request);
    each(errors, &path.child("constraints"), items(devices, "constraints"), MOST, |errors, at, constraint| {
        references(errors, &at.child("requests"), constraint, requests);
        match (some(constraint, "matchAttribute"), some(constraint, "distinctAttribute")) {
            (None, None) => {
                let detail = "exactly one of \"matchAttribute\" or \"distinctAttribute\" is required, but multiple fields are set";
                errors.push(Error::required(at, detail));
            }
            (Some(v), _) => full_name(errors, &at.child("matchAttribute"), v.as_str().unwrap_or_default()),
            (_, Some(v)) => full_name(errors, &at.child("distinctAttribute"), v.as_str().unwrap_or_default()),
        }
    });
    each(errors, &path.child("config"), items(devices, "config"), MOST, |errors, at, config| {
        references(errors, &at.child("requests"), config, requests);
        configuration(errors, at, config);
    });
}

/// The requests that a constraint or a configuration is about.
pub(super) fn references(errors: &mut Vec<Error>, path: &Path, owner: &Value, requests: &[Value]) {
    device::set(errors, path, items(owner, "requests"), MOST, "", |errors, at, name| {
        reference(errors, at, name.as_str().unwrap_or_default(), requests);
    });
}

/// `validateRequestNameRef`: a request, or an alternative within one.
pub(super) fn reference(errors: &mut Vec<Error>, path: &Path, name: &str, requests: &[Value]) {
    let detail =
        "must be the name of a request in the claim or the name of a request and a subrequest separated by '/'";
    let segments: Vec<&str> = name.split('/').collect();
    let of = |outer: &str| requests.iter().find(|r| text(r, "name") == outer);
    let known = match segments[..] {
        [name] => of(name).is_some(),
        [outer, inner] => {
            of(outer).is_some_and(|r| items(r, "firstAvailable").iter().any(|s| text(s, "name") == inner))
        }
        _ => return errors.push(Error::invalid(path, name, detail)),
    };
    segments.iter().for_each(|segment| label(errors, path, segment));
    if !known {
        errors.push(Error::invalid(path, name, detail));
    }
}

fn validate_request(errors: &mut Vec<Error>, path: &Path, request: &Value) {
    label(errors, &path.child("name"), text(request, "name"));
    let alternatives = items(request, "firstAvailable");
    match (has(request, "exactly"), alternatives.is_empty()) {
        (false, true) => {
            errors.push(Error::required(path, "exactly one of `exactly` or `firstAvailable` is required"));
        }
        (true, false) => {
            let detail = "exactly one of `exactly` or `firstAvailable` is required, but multiple fields are set";
            errors.push(Error::invalid(path, Value::Null, detail));
        }
        (true, true) => validate_exact(errors, &path.child("exactly"), &request["exactly"]),
        (false, false) => {
            let list = path.child("firstAvailable");
            device::set(errors, &list, alternatives, MOST_ALTERNATIVES, "name", |errors, at, alternative| {
                label(errors, &at.child("name"), text(alternative, "name"));
                validate_exact(errors, at, alternative);
            });
        }
    }
}

fn validate_exact(errors: &mut Vec<Error>, path: &Path, request: &Value) {
    let (class, at) = (text(request, "deviceClassName"), path.child("deviceClassName"));
    if class.is_empty() {
        errors.push(Error::required(&at, ""));
    } else {
        subdomain(errors, &at, class);
    }
    selectors(errors, &path.child("selectors"), items(request, "selectors"));
    let (count, at) = (number(request, "count"), path.child("count"));
    match text(request, "allocationMode") {
        "All" if count != 0 => {
            errors.push(Error::invalid(&at, count, "must not be specified when allocationMode is 'All'"));
        }
        "All" => {}
        "ExactCount" if count <= 0 => errors.push(Error::invalid(&at, count, "must be greater than zero")),
        "ExactCount" => {}
        other => {
            let modes = &["All", "ExactCount"];
            errors.push(Error::not_supported(&path.child("allocationMode"), other, modes));
        }
    }
    let tolerations = items(request, "tolerations");
    each(errors, &path.child("tolerations"), tolerations, MOST_TOLERATIONS, validate_toleration);
}

/// `validateDeviceToleration`
fn validate_toleration(errors: &mut Vec<Error>, path: &Path, toleration: &Value) {
    let (key, value) = (text(toleration, "key"), text(toleration, "value"));
    if !key.is_empty() {
        metadata::label_name(errors, &path.child("key"), key);
    }
    let at = path.child("value");
    match text(toleration, "operator") {
        "Exists" if !value.is_empty() => {
            errors.push(Error::invalid(&at, value, "must be empty for operator `Exists`"));
        }
        "Exists" => {}
        "Equal" => errors.extend(names::label_value(value).into_iter().map(|e| Error::invalid(&at, value, e))),
        "" => errors.push(Error::required(&path.child("operator"), "")),
        other => errors.push(Error::not_supported(&path.child("operator"), other, &["Equal", "Exists"])),
    }
    let effect = text(toleration, "effect");
    if !effect.is_empty() && !EFFECTS.contains(&effect) {
        errors.push(Error::not_supported(&path.child("effect"), effect, EFFECTS));
    }
}
