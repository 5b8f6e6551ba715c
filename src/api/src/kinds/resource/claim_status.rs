//! What was allocated to a claim, for whom, and how the devices are doing.

use serde_json::Value;

use super::claim::{reference, references};
use super::device::{MOST, binding, configuration, each, label, pool_name, raw, set};
use crate::field::{Error, Path};
use crate::kinds::core::node_selector;
use crate::kinds::metadata::driver_name as driver;
use crate::kinds::tree::{has, items, same, some, text};
use crate::kinds::{conditions, net};

/// `ResourceClaimReservedForMaxSize`
const MOST_CONSUMERS: usize = 256;
/// `AllocatedDeviceStatusMaxConditions`
const MOST_CONDITIONS: usize = 8;
/// `NetworkDeviceDataMaxIPs`
const MOST_IPS: usize = 16;
/// `NetworkDeviceDataInterfaceNameMaxLength`, `NetworkDeviceDataHardwareAddressMaxLength`
const LONGEST: [(&str, usize); 2] = [("interfaceName", 256), ("hardwareAddress", 128)];

/// `validateResourceClaimStatusUpdate`
pub(super) fn validate(new: &Value, old: &Value) -> Vec<Error> {
    let mut errors = Vec::new();
    let (status, before, path) = (&new["status"], &old["status"], Path::root("status"));
    let (consumers, list) = (items(status, "reservedFor"), path.child("reservedFor"));
    set(&mut errors, &list, consumers, MOST_CONSUMERS, "uid", |errors, at, consumer| {
        let missing = ["resource", "name", "uid"].into_iter().filter(|key| text(consumer, key).is_empty());
        errors.extend(missing.map(|key| Error::required(&at.child(key), "")));
    });
    validate_devices(&mut errors, &path.child("devices"), status);
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
        (None, Some(is)) => validate_allocation(&mut errors, &at, is, items(&new["spec"]["devices"], "requests")),
        _ => {}
    }
    errors
}

/// `validateAllocationResult`
fn validate_allocation(errors: &mut Vec<Error>, path: &Path, allocation: &Value, requests: &[Value]) {
    let (devices, at) = (&allocation["devices"], path.child("devices"));
    each(errors, &at.child("results"), items(devices, "results"), MOST, |errors, at, result| {
        reference(errors, &at.child("request"), text(result, "request"), requests);
        driver(errors, &at.child("driver"), text(result, "driver"));
        pool_name(errors, &at.child("pool"), text(result, "pool"));
        label(errors, &at.child("device"), text(result, "device"));
        binding(errors, at, result);
        share(errors, at, result);
    });
    each(errors, &at.child("config"), items(devices, "config"), 2 * MOST, |errors, at, config| {
        let source = at.child("source");
        match text(config, "source") {
            "" => errors.push(Error::required(&source, "")),
            "FromClaim" | "FromClass" => {}
            other => errors.push(Error::not_supported(&source, other, &["FromClaim", "FromClass"])),
        }
        references(errors, &at.child("requests"), config, requests);
        configuration(errors, at, config);
    });
    if has(allocation, "nodeSelector") {
        node_selector(errors, &path.child("nodeSelector"), &allocation["nodeSelector"]);
    }
}

/// `validateUID` of the share that a device was allocated with.
fn share(errors: &mut Vec<Error>, path: &Path, owner: &Value) {
    let Some(id) = some(owner, "shareID").and_then(Value::as_str) else { return };
    let detail = match uuid(id) {
        Err(why) => format!("error validating uid: {why}"),
        Ok(()) if id.len() != 36 || id.bytes().any(|c| c.is_ascii_uppercase()) => {
            "uid must be in RFC 4122 normalized form, `xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx` with lowercase hexadecimal characters"
                .into()
        }
        Ok(()) => return,
    };
    errors.push(Error::invalid(&path.child("shareID"), id, detail));
}

/// `uuid.Validate`, which knows four ways to write one.
fn uuid(id: &str) -> Result<(), String> {
    let hex = |s: &str| s.bytes().all(|c| c.is_ascii_hexdigit());
    let dashed = |s: &str| {
        s.is_ascii()
            && s.bytes().enumerate().all(|(i, c)| match i {
                8 | 13 | 18 | 23 => c == b'-',
                _ => c.is_ascii_hexdigit(),
            })
    };
    let good = match id.len() {
        36 => dashed(id),
        45 => match id.get(..9) {
            Some(urn) if urn.eq_ignore_ascii_case("urn:uuid:") => dashed(&id[9..]),
            urn => return Err(format!("invalid urn prefix: {:?}", urn.unwrap_or_default())),
        },
        38 => match id.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')) {
            Some(rest) => dashed(rest),
            None => return Err("invalid bracketed UUID format".into()),
        },
        32 => hex(id),
        n => return Err(format!("invalid UUID length: {n}")),
    };
    if good { Ok(()) } else { Err("invalid UUID format".into()) }
}

/// How upstream shows a `SharedDeviceID`.
fn identity(device: &Value) -> String {
    let parts = ["driver", "pool", "device", "shareID"].map(|key| text(device, key));
    parts.join("/").strip_suffix('/').map_or_else(|| parts.join("/"), str::to_owned)
}

fn validate_devices(errors: &mut Vec<Error>, path: &Path, status: &Value) {
    let devices = items(status, "devices");
    let allocated: Vec<String> = items(&status["allocation"]["devices"], "results").iter().map(identity).collect();
    each(errors, path, devices, usize::MAX, |errors, at, device| {
        driver(errors, &at.child("driver"), text(device, "driver"));
        pool_name(errors, &at.child("pool"), text(device, "pool"));
        label(errors, &at.child("device"), text(device, "device"));
        share(errors, at, device);
        let its = identity(device);
        if !allocated.contains(&its) {
            errors.push(Error::wrong(at, &format!("{its}: must be an allocated device in the claim")));
        }
        let count = items(device, "conditions").len();
        if count > MOST_CONDITIONS {
            errors.push(Error::too_many(&at.child("conditions"), count, MOST_CONDITIONS));
        }
        conditions::validate(errors, &at.child("conditions"), device);
        if let Some(data) = some(device, "data") {
            raw(errors, &at.child("data"), data);
        }
        let (network, at) = (&device["networkData"], at.child("networkData"));
        for (key, most) in LONGEST.into_iter().filter(|(key, most)| text(network, key).len() > *most) {
            errors.push(Error::too_long(&at.child(key), most));
        }
        set(errors, &at.child("ips"), items(network, "ips"), MOST_IPS, "", |errors, at, address| {
            net::interface_address(errors, at, address.as_str().unwrap_or_default());
        });
    });
    for (i, device) in devices.iter().enumerate() {
        if devices[..i].iter().any(|o| identity(o) == identity(device)) {
            errors.push(Error::duplicate_of(&path.index(i), &identity(device)));
        }
    }
}
