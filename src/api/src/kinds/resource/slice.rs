//! Slices of a driver's pool of devices.

use std::sync::LazyLock;

use regex::Regex;
use serde_json::Value;

use super::device::{at_most, label, pool_name};
use crate::Strategy;
use crate::field::{Error, Path};
use crate::kinds::metadata::{driver_name as driver, label_name};
use crate::kinds::table::name;
use crate::kinds::tree::{entries, flag, has, items, number, text};
use crate::strategy::{AGE, Column, NAME, age};

pub(super) struct ResourceSlice;

/// `ResourceSliceMaxDevices`, and where devices have taints or consume counters.
const MOST_DEVICES: usize = 128;
const MOST_SPECIAL_DEVICES: usize = 64;
/// `ResourceSliceMaxAttributesAndCapacitiesPerDevice`
const MOST_ATTRIBUTES: usize = 32;
/// `DeviceAttributeMaxValueLength`
const LONGEST_VALUE: usize = 64;
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
        let mut errors = Vec::new();
        let (spec, path) = (&slice["spec"], &Path::root("spec"));
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
        place(&mut errors, path, spec);
        let special = |d: &Value| !items(d, "taints").is_empty() || !items(d, "consumesCounters").is_empty();
        let (devices, list) = (items(spec, "devices"), path.child("devices"));
        let most = if devices.iter().any(special) { MOST_SPECIAL_DEVICES } else { MOST_DEVICES };
        at_most(&mut errors, &list, devices, most);
        for (i, d) in devices.iter().enumerate() {
            device(&mut errors, &list.index(i), d);
            if devices[..i].iter().any(|o| o["name"] == d["name"]) {
                errors.push(Error::duplicate(&list.index(i).child("name"), text(d, "name")));
            }
        }
        if has(spec, "sharedCounters") && has(spec, "devices") {
            errors.push(Error::invalid(path, "", "only one of `sharedCounters` or `devices` is allowed"));
        }
        let (sets, list) = (items(spec, "sharedCounters"), path.child("sharedCounters"));
        at_most(&mut errors, &list, sets, MOST_COUNTER_SETS);
        for (i, set) in sets.iter().enumerate() {
            let at = list.index(i);
            match text(set, "name") {
                "" => errors.push(Error::required(&at.child("name"), "")),
                its_name => label(&mut errors, &at.child("name"), its_name),
            }
            if entries(set, "counters").next().is_none() {
                errors.push(Error::required(&at.child("counters"), ""));
            }
        }
        errors
    }
    fn validate_update(&self, new: &Value, old: &Value) -> Vec<Error> {
        let path = Path::root("spec");
        let pool = path.child("pool");
        let pairs = [
            (pool.child("name"), "/spec/pool/name"),
            (path.child("driver"), "/spec/driver"),
            (path.child("nodeName"), "/spec/nodeName"),
        ];
        let changed = pairs.iter().filter(|(_, p)| new.pointer(p) != old.pointer(p));
        changed
            .map(|(at, p)| Error::invalid(at, new.pointer(p).cloned().unwrap_or_default(), "field is immutable"))
            .collect()
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

/// Where the devices are: one of four ways to say it.
fn place(errors: &mut Vec<Error>, path: &Path, spec: &Value) {
    let mut said = Vec::new();
    if has(spec, "nodeName") {
        if text(spec, "nodeName").is_empty() {
            let detail = "must be either unset or set to a non-empty string";
            errors.push(Error::invalid(&path.child("nodeName"), "", detail));
        } else {
            said.push("`nodeName`");
        }
    }
    if has(spec, "nodeSelector") {
        said.push("`nodeSelector`");
        let terms = items(&spec["nodeSelector"], "nodeSelectorTerms");
        if terms.len() != 1 {
            let at = path.child("nodeSelector");
            let detail = "must have exactly one node selector term";
            errors.push(Error::invalid(&at.child("nodeSelectorTerms"), terms.to_vec(), detail));
        }
    }
    for (key, shown) in [("allNodes", "`allNodes`"), ("perDeviceNodeSelection", "`perDeviceNodeSelection`")] {
        match (has(spec, key), flag(spec, key)) {
            (true, true) => said.push(shown),
            (true, false) => {
                errors.push(Error::invalid(&path.child(key), false, "must be either unset or set to true"));
            }
            _ => {}
        }
    }
    let one = "exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required";
    match said.len() {
        0 => errors.push(Error::required(path, one)),
        1 => {}
        _ => {
            let detail = format!("{one}, but multiple fields are set");
            errors.push(Error::invalid(path, format!("{{{}}}", said.join(", ")), detail));
        }
    }
}

/// `validateDevice`
fn device(errors: &mut Vec<Error>, path: &Path, device: &Value) {
    label(errors, &path.child("name"), text(device, "name"));
    let count = entries(device, "attributes").count() + entries(device, "capacity").count();
    if count > MOST_ATTRIBUTES {
        let detail = format!("the total number of attributes and capacities must not exceed {MOST_ATTRIBUTES}");
        errors.push(Error::invalid(path, count, detail));
    }
    let attributes = path.child("attributes");
    for (key, attribute) in entries(device, "attributes") {
        let at = attributes.key(key);
        let given = ["bool", "int", "string", "version"].into_iter().filter(|k| has(attribute, k)).count();
        for kind in ["string", "version"] {
            if text(attribute, kind).len() > LONGEST_VALUE {
                errors.push(Error::too_long(&at.child(kind), LONGEST_VALUE));
            }
        }
        if has(attribute, "version") && !SEMVER.is_match(text(attribute, "version")) {
            let detail = "must be a string compatible with semver.org spec 2.0.0";
            errors.push(Error::invalid(&at.child("version"), text(attribute, "version"), detail));
        }
        if given != 1 {
            let value = if given == 0 { "".into() } else { attribute.clone() };
            errors.push(Error::invalid(&at, value, "exactly one value must be specified"));
        }
    }
    let taints = path.child("taints");
    for (i, taint) in items(device, "taints").iter().enumerate() {
        let at = taints.index(i);
        match text(taint, "key") {
            "" => errors.push(Error::required(&at.child("key"), "")),
            key => label_name(errors, &at.child("key"), key),
        }
        match text(taint, "effect") {
            "NoSchedule" | "NoExecute" | "None" => {}
            "" => errors.push(Error::required(&at.child("effect"), "")),
            other => {
                let effects = &["NoExecute", "NoSchedule", "None"];
                errors.push(Error::not_supported(&at.child("effect"), other, effects));
            }
        }
    }
}
