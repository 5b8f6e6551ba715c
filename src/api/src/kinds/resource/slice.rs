//! Slices of a driver's pool of devices.

use std::borrow::Cow;
use std::sync::LazyLock;

use regex::Regex;
use serde_json::Value;

use super::capacity;
use super::claim::EFFECTS;
use super::device::{attribute_name, binding, each, label, pool_name, set};
use crate::Strategy;
use crate::field::{Error, Path};
use crate::kinds::core::node_selector;
use crate::kinds::metadata::{driver_name as driver, label_name};
use crate::kinds::table::name;
use crate::kinds::tree::{entries, flag, has, items, number, same, some, text};
use crate::names;
use crate::strategy::{AGE, Column, NAME, age};

pub(super) struct ResourceSlice;

/// `ResourceSliceMaxDevices`, and where devices have taints or consume counters.
const MOST_DEVICES: usize = 128;
const MOST_SPECIAL_DEVICES: usize = 64;
/// `ResourceSliceMaxAttributesAndCapacitiesPerDevice`
const MOST_ATTRIBUTES: usize = 32;
/// `DeviceAttributeMaxValueLength`
const LONGEST_VALUE: usize = 64;
/// `attributeAndCapacityMaxKeyLength`
const LONGEST_KEY: usize = 63 + 1 + 32;
/// `DeviceTaintsMaxLength`
const MOST_TAINTS: usize = 16;
/// `ResourceSliceMaxDeviceCounterConsumptionsPerDevice`
const MOST_CONSUMPTIONS: usize = 2;
/// `ResourceSliceMaxCountersPerCounterSet`, `ResourceSliceMaxCountersPerDeviceCounterConsumption`
const MOST_COUNTERS: usize = 32;
/// `ResourceSliceMaxCounterSets`
const MOST_COUNTER_SETS: usize = 8;

static SEMVER: LazyLock<Regex> = LazyLock::new(|| {
    let number = r"(0|[1-9]\d*)";
    let pre = r"(0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*)";
    let build = "[0-9a-zA-Z-]+";
    Regex::new(&format!(r"^{number}\.{number}\.{number}(-{pre}(\.{pre})*)?(\+{build}(\.{build})*)?$"))
        .expect("the pattern compiles")
});

impl Strategy for ResourceSlice {
    fn has_status(&self) -> bool {
        false
    }
    fn has_generation(&self) -> bool {
        true
    }
    fn validate(&self, slice: &Value) -> Vec<Error> {
        validate(slice, None)
    }
    fn check_update(&self, new: &Value, old: &Value) -> Vec<Error> {
        validate(new, Some(old))
    }

    fn selectable_fields(&self) -> &'static [&'static str] {
        &["spec.nodeName", "spec.driver"]
    }

    fn columns(&self) -> &'static [Column] {
        const { &[NAME, Column::new("Node", "string"), Column::new("Driver", "string"), Column::new("Pool", "string"), AGE] }
    }
    fn cells(&self, slice: &Value, now_seconds: i64) -> Vec<Value> {
        let spec = &slice["spec"];
        let node = match text(spec, "nodeName") {
            "" => "<unset>",
            node => node,
        };
        vec![
            name(slice),
            node.into(),
            text(spec, "driver").into(),
            text(&spec["pool"], "name").into(),
            age(slice, now_seconds),
        ]
    }
}

/// `validateResourceSliceSpec`
fn validate(slice: &Value, old: Option<&Value>) -> Vec<Error> {
    let mut errors = Vec::new();
    let (spec, before, path) = (&slice["spec"], old.map(|o| &o["spec"]), &Path::root("spec"));
    driver(&mut errors, &path.child("driver"), text(spec, "driver"));
    let (pool, at) = (&spec["pool"], path.child("pool"));
    pool_name(&mut errors, &at.child("name"), text(pool, "name"));
    if number(pool, "resourceSliceCount") <= 0 {
        let value = number(pool, "resourceSliceCount");
        errors.push(Error::invalid(&at.child("resourceSliceCount"), value, "must be greater than zero"));
    }
    if number(pool, "generation") < 0 {
        let detail = "must be greater than or equal to zero";
        errors.push(Error::invalid(&at.child("generation"), number(pool, "generation"), detail));
    }
    if let Some(before) = before {
        let kept = [
            (at.child("name"), &pool["name"], &before["pool"]["name"]),
            (path.child("driver"), &spec["driver"], &before["driver"]),
            (path.child("nodeName"), &spec["nodeName"], &before["nodeName"]),
        ];
        let changed = kept.iter().filter(|(_, is, was)| is != was);
        errors.extend(changed.map(|(at, is, _)| Error::invalid(at, (*is).clone(), "field is immutable")));
    }
    place(&mut errors, path, spec);
    if has(spec, "sharedCounters") && has(spec, "devices") {
        errors.push(Error::invalid(path, "", "only one of `sharedCounters` or `devices` is allowed"));
    }
    let special = |d: &Value| !items(d, "taints").is_empty() || !items(d, "consumesCounters").is_empty();
    let devices = items(spec, "devices");
    let most = if devices.iter().any(special) { MOST_SPECIAL_DEVICES } else { MOST_DEVICES };
    set(&mut errors, &path.child("devices"), devices, most, "name", |errors, at, d| {
        let was = before.and_then(|b| items(b, "devices").iter().find(|o| text(o, "name") == text(d, "name")));
        device(errors, at, d, was, flag(spec, "perDeviceNodeSelection"));
    });
    let sets = items(spec, "sharedCounters");
    set(&mut errors, &path.child("sharedCounters"), sets, MOST_COUNTER_SETS, "name", |errors, at, set| {
        counters(errors, at, set, "name");
    });
    errors
}

/// `validateCounterSet`, `validateDeviceCounterConsumption`: of the set that `name` names.
fn counters(errors: &mut Vec<Error>, path: &Path, owner: &Value, name: &str) {
    match text(owner, name) {
        "" => errors.push(Error::required(&path.child(name), "")),
        its_name => label(errors, &path.child(name), its_name),
    }
    let (count, at) = (entries(owner, "counters").count(), path.child("counters"));
    if count == 0 {
        errors.push(Error::required(&at, ""));
    } else if count > MOST_COUNTERS {
        errors.push(Error::too_many(&at, count, MOST_COUNTERS));
    } else {
        entries(owner, "counters").for_each(|(key, _)| label(errors, &at.key(&shortened(key, 63)), key));
    }
}

/// `truncateIfTooLong`: a key as paths show it.
fn shortened(key: &str, most: usize) -> Cow<'_, str> {
    if key.len() <= most {
        return key.into();
    }
    let rest = most - 3;
    let (head, tail) = (rest.div_ceil(2), key.len() - rest / 2);
    let (head, tail) = (key.floor_char_boundary(head), key.ceil_char_boundary(tail));
    format!("{}...{}", &key[..head], &key[tail..]).into()
}

/// Where the devices are: one of four ways to say it.
fn place(errors: &mut Vec<Error>, path: &Path, spec: &Value) {
    const WAYS: Ways = Ways {
        empty: "must be either unset or set to a non-empty string",
        one_term: true,
        flags: &["allNodes", "perDeviceNodeSelection"],
    };
    let said = WAYS.said(errors, path, spec);
    let one = "exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required";
    exactly_one(errors, path, &said, one, &format!("{one}, but multiple fields are set"));
}

/// The same of one device, where the slice leaves that to them.
fn own_place(errors: &mut Vec<Error>, path: &Path, device: &Value) {
    const WAYS: Ways = Ways { empty: "must not be empty", one_term: false, flags: &["allNodes"] };
    let said = WAYS.said(errors, path, device);
    let one = "exactly one of `nodeName`, `nodeSelector`, or `allNodes` is required when `perDeviceNodeSelection` is set to true in the ResourceSlice spec";
    exactly_one(errors, path, &said, one, one);
}

/// What may be said of a place.
struct Ways {
    /// What is wrong with a node without a name.
    empty: &'static str,
    /// A selector has exactly one term.
    one_term: bool,
    flags: &'static [&'static str],
}

impl Ways {
    /// Those that are used.
    fn said(&self, errors: &mut Vec<Error>, path: &Path, owner: &Value) -> Vec<String> {
        let mut said = Vec::new();
        if has(owner, "nodeName") {
            let (at, name) = (path.child("nodeName"), text(owner, "nodeName"));
            if name.is_empty() {
                errors.push(Error::invalid(&at, "", self.empty));
            } else {
                said.push("`nodeName`".into());
                errors.extend(names::dns_subdomain(name, false).into_iter().map(|e| Error::invalid(&at, name, e)));
            }
        }
        if has(owner, "nodeSelector") {
            said.push("`nodeSelector`".into());
            let at = path.child("nodeSelector");
            node_selector(errors, &at, &owner["nodeSelector"]);
            let terms = items(&owner["nodeSelector"], "nodeSelectorTerms");
            if self.one_term && terms.len() != 1 {
                let detail = "must have exactly one node selector term";
                errors.push(Error::invalid(&at.child("nodeSelectorTerms"), terms.to_vec(), detail));
            }
        }
        for key in self.flags.iter().filter(|key| has(owner, key)) {
            if flag(owner, key) {
                said.push(format!("`{key}`"));
            } else {
                errors.push(Error::invalid(&path.child(key), false, "must be either unset or set to true"));
            }
        }
        said
    }
}

fn exactly_one(errors: &mut Vec<Error>, path: &Path, said: &[String], none: &str, several: &str) {
    match said {
        [] => errors.push(Error::required(path, none)),
        [_] => {}
        _ => errors.push(Error::invalid(path, format!("{{{}}}", said.join(", ")), several)),
    }
}

/// `validateDevice`
fn device(errors: &mut Vec<Error>, path: &Path, device: &Value, old: Option<&Value>, placed: bool) {
    label(errors, &path.child("name"), text(device, "name"));
    let count = entries(device, "attributes").count() + entries(device, "capacity").count();
    if count > MOST_ATTRIBUTES {
        let detail = format!("the total number of attributes and capacities must not exceed {MOST_ATTRIBUTES}");
        errors.push(Error::invalid(path, count, detail));
    }
    let at = path.child("attributes");
    for (key, attribute) in entries(device, "attributes") {
        let shown = shortened(key, LONGEST_KEY);
        attribute_name(errors, &at.key(&shown), key);
        validate_attribute(errors, &at.key(&shown), attribute);
    }
    let (at, shared) = (path.child("capacity"), flag(device, "allowMultipleAllocations"));
    for (key, amount) in entries(device, "capacity") {
        let shown = shortened(key, LONGEST_KEY);
        attribute_name(errors, &at.key(&shown), key);
        capacity::validate(errors, &at.key(&shown), amount, shared);
    }
    if old.is_none_or(|o| !same(&o["taints"], &device["taints"])) {
        each(errors, &path.child("taints"), items(device, "taints"), MOST_TAINTS, validate_taint);
    }
    let (consumed, at) = (items(device, "consumesCounters"), path.child("consumesCounters"));
    set(errors, &at, consumed, MOST_CONSUMPTIONS, "counterSet", |errors, at, c| counters(errors, at, c, "counterSet"));
    if placed {
        own_place(errors, path, device);
    } else if ["nodeName", "nodeSelector", "allNodes"].iter().any(|key| has(device, key)) {
        let detail = "`nodeName`, `nodeSelector` and `allNodes` can only be set if `perDeviceNodeSelection` is set to true in the ResourceSlice spec";
        errors.push(Error::invalid(path, Value::Null, detail));
    }
    binding(errors, path, device);
}

/// `validateDeviceAttribute`
fn validate_attribute(errors: &mut Vec<Error>, path: &Path, attribute: &Value) {
    if text(attribute, "string").len() > LONGEST_VALUE {
        errors.push(Error::too_long(&path.child("string"), LONGEST_VALUE));
    }
    if let Some(version) = some(attribute, "version").and_then(Value::as_str) {
        let at = path.child("version");
        if !SEMVER.is_match(version) {
            errors.push(Error::invalid(&at, version, "must be a string compatible with semver.org spec 2.0.0"));
        }
        if version.len() > LONGEST_VALUE {
            errors.push(Error::too_long(&at, LONGEST_VALUE));
        }
    }
    let given = ["bool", "int", "string", "version"].into_iter().filter(|k| has(attribute, k)).count();
    if given != 1 {
        let value = if given == 0 { "".into() } else { attribute.clone() };
        errors.push(Error::invalid(path, value, "exactly one value must be specified"));
    }
}

/// `validateDeviceTaint`
fn validate_taint(errors: &mut Vec<Error>, path: &Path, taint: &Value) {
    label_name(errors, &path.child("key"), text(taint, "key"));
    let (value, at) = (text(taint, "value"), path.child("value"));
    if !value.is_empty() {
        errors.extend(names::label_value(value).into_iter().map(|e| Error::invalid(&at, value, e)));
    }
    match text(taint, "effect") {
        "" => errors.push(Error::required(&path.child("effect"), "")),
        known if EFFECTS.contains(&known) => {}
        other => errors.push(Error::not_supported(&path.child("effect"), other, EFFECTS)),
    }
}
