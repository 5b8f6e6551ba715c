//! Claims to devices, and templates of them.

use serde_json::{Value, json};

use super::device::{MOST, at_most, configuration, label, pool_name, selectors, subdomain};
use crate::Strategy;
use crate::field::{Error, Path};
use crate::kinds::metadata::{self, driver_name as driver};
use crate::kinds::table::name;
use crate::kinds::tree::{child, has, items, items_mut, number, or_zero, same, some, text};
use crate::strategy::{AGE, Column, NAME, age, set};

pub(super) struct ResourceClaim;
pub(super) struct ResourceClaimTemplate;

/// `ResourceClaimReservedForMaxSize`
const MOST_CONSUMERS: usize = 256;
/// `FirstAvailableDeviceRequestMaxSize`
const MOST_ALTERNATIVES: usize = 8;
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
        validate_status(new, old)
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
    let list = path.child("requests");
    at_most(errors, &list, requests, MOST);
    for (i, request) in requests.iter().enumerate() {
        validate_request(errors, &list.index(i), request);
        let its_name = text(request, "name");
        if requests[..i].iter().any(|r| text(r, "name") == its_name) {
            errors.push(Error::duplicate(&list.index(i).child("name"), its_name));
        }
    }
    let (constraints, list) = (items(devices, "constraints"), path.child("constraints"));
    at_most(errors, &list, constraints, MOST);
    for (i, constraint) in constraints.iter().enumerate() {
        let at = list.index(i);
        references(errors, &at.child("requests"), constraint, requests);
        match (some(constraint, "matchAttribute"), some(constraint, "distinctAttribute")) {
            (None, None) => {
                let detail = "exactly one of \"matchAttribute\" or \"distinctAttribute\" is required, but multiple fields are set";
                errors.push(Error::required(&at, detail));
            }
            (Some(v), _) => full_name(errors, &at.child("matchAttribute"), v.as_str().unwrap_or_default()),
            (_, Some(v)) => full_name(errors, &at.child("distinctAttribute"), v.as_str().unwrap_or_default()),
        }
    }
    let (configs, list) = (items(devices, "config"), path.child("config"));
    at_most(errors, &list, configs, MOST);
    for (i, config) in configs.iter().enumerate() {
        let at = list.index(i);
        references(errors, &at.child("requests"), config, requests);
        configuration(errors, &at, config);
    }
}

/// `validateRequestNameRef`: of requests, or of alternatives within them.
fn references(errors: &mut Vec<Error>, path: &Path, owner: &Value, requests: &[Value]) {
    let all = items(owner, "requests");
    at_most(errors, path, all, MOST);
    for (i, reference) in all.iter().filter_map(Value::as_str).enumerate() {
        let known = requests.iter().any(|r| match reference.split_once('/') {
            None => text(r, "name") == reference,
            Some((outer, inner)) => {
                text(r, "name") == outer && items(r, "firstAvailable").iter().any(|s| text(s, "name") == inner)
            }
        });
        if !known {
            let detail =
                "must be the name of a request in the claim or the name of a request and a subrequest separated by '/'";
            errors.push(Error::invalid(&path.index(i), reference, detail));
        }
        if all[..i].iter().any(|r| r == reference) {
            errors.push(Error::duplicate(&path.index(i), reference));
        }
    }
}

/// `validateFullyQualifiedName`
fn full_name(errors: &mut Vec<Error>, path: &Path, value: &str) {
    match value.split_once('/') {
        None => errors.push(Error::invalid(path, value, "must include a domain")),
        Some((domain, id)) => {
            subdomain(errors, path, domain);
            let c_identifier = id.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'_')
                && !id.starts_with(|c: char| c.is_ascii_digit());
            if id.is_empty() {
                errors.push(Error::required(path, "the name must not be empty"));
            } else if id.len() > 32 {
                errors.push(Error::too_long(path, 32));
            } else if !c_identifier {
                let detail = "a valid C identifier must start with alphabetic character or '_', followed by a string of alphanumeric characters or '_' (e.g. 'my_name',  or 'MY_NAME',  or 'MyName', regex used for validation is '[A-Za-z_][A-Za-z0-9_]*')";
                errors.push(Error::invalid(path, id, detail));
            }
        }
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
            at_most(errors, &list, alternatives, MOST_ALTERNATIVES);
            for (i, alternative) in alternatives.iter().enumerate() {
                let (at, its_name) = (list.index(i), text(alternative, "name"));
                label(errors, &at.child("name"), its_name);
                if alternatives[..i].iter().any(|r| text(r, "name") == its_name) {
                    errors.push(Error::duplicate(&at.child("name"), its_name));
                }
                validate_exact(errors, &at, alternative);
            }
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
    let list = path.child("tolerations");
    at_most(errors, &list, items(request, "tolerations"), MOST_TOLERATIONS);
    for (i, toleration) in items(request, "tolerations").iter().enumerate() {
        let at = list.index(i);
        let (key, value) = (text(toleration, "key"), text(toleration, "value"));
        if !key.is_empty() {
            metadata::label_name(errors, &at.child("key"), key);
        }
        match text(toleration, "operator") {
            "Exists" if !value.is_empty() => {
                let detail = "must be empty for operator `Exists`";
                errors.push(Error::invalid(&at.child("value"), value, detail));
            }
            "Equal" if key.is_empty() => errors.push(Error::required(&at.child("key"), "must not be empty")),
            "Exists" | "Equal" => {}
            other => errors.push(Error::not_supported(&at.child("operator"), other, &["Equal", "Exists"])),
        }
        let effect = text(toleration, "effect");
        if !matches!(effect, "" | "NoSchedule" | "NoExecute") {
            errors.push(Error::not_supported(&at.child("effect"), effect, &["NoExecute", "NoSchedule"]));
        }
    }
}

/// `validateResourceClaimStatusUpdate`
fn validate_status(new: &Value, old: &Value) -> Vec<Error> {
    let mut errors = Vec::new();
    let (status, before, path) = (&new["status"], &old["status"], Path::root("status"));
    let (consumers, list) = (items(status, "reservedFor"), path.child("reservedFor"));
    at_most(&mut errors, &list, consumers, MOST_CONSUMERS);
    for (i, consumer) in consumers.iter().enumerate() {
        let at = list.index(i);
        for key in ["resource", "name", "uid"] {
            if text(consumer, key).is_empty() {
                errors.push(Error::required(&at.child(key), ""));
            }
        }
        if consumers[..i].iter().any(|c| c["uid"] == consumer["uid"]) {
            errors.push(Error::duplicate(&at.child("uid"), text(consumer, "uid")));
        }
    }
    if !consumers.is_empty() {
        if !has(status, "allocation") {
            errors.push(Error::forbidden(&list, "may not be specified when `allocated` is not set"));
        } else if has(&new["metadata"], "deletionTimestamp")
            && consumers.iter().any(|c| !items(before, "reservedFor").contains(c))
        {
            let detail = "new entries may not be added while `deallocationRequested` or `deletionTimestamp` are set";
            errors.push(Error::forbidden(&list, detail));
        }
    }
    let at = path.child("allocation");
    match (some(before, "allocation"), some(status, "allocation")) {
        (Some(was), Some(is)) if !same(was, is) => errors.push(Error::invalid(&at, is.clone(), "field is immutable")),
        (None, Some(is)) => {
            let devices = at.child("devices");
            let list = devices.child("results");
            let results = items(&is["devices"], "results");
            at_most(&mut errors, &list, results, MOST);
            for (i, result) in results.iter().enumerate() {
                let at = list.index(i);
                driver(&mut errors, &at.child("driver"), text(result, "driver"));
                pool_name(&mut errors, &at.child("pool"), text(result, "pool"));
                label(&mut errors, &at.child("device"), text(result, "device"));
                let requests = items(&new["spec"]["devices"], "requests");
                let reference = json!({"requests": [result["request"]]});
                references(&mut errors, &at.child("request"), &reference, requests);
            }
        }
        _ => {}
    }
    errors
}
