//! What holds among a pod's fields: the host's namespaces, the operating system, gates, names, overhead.

use serde_json::Value;

use crate::field::{Error, Path};
use crate::kinds::tree::{entries, flag, has, items, some, text};
use crate::names;
use crate::quantity::Quantity;

pub(super) fn validate(errors: &mut Vec<Error>, path: &Path, spec: &Value) {
    host(errors, path, spec);
    os(errors, path, spec);
    let overhead = path.child("overhead");
    for (name, amount) in entries(spec, "overhead") {
        if !Quantity::from_tree(amount).is_ok_and(|q| q.sign() >= 0) {
            let detail = "must be greater than or equal to 0";
            errors.push(Error::invalid(&overhead.key(name), amount.clone(), detail));
        }
    }
    if let Some(name) = some(spec, "hostnameOverride").and_then(Value::as_str) {
        let at = path.child("hostnameOverride");
        if name.len() > 64 {
            errors.push(Error::too_long(&at, 64));
        }
        errors.extend(names::dns_subdomain(name, false).into_iter().map(|e| Error::invalid(&at, name, e)));
        if flag(spec, "hostNetwork") {
            errors.push(Error::invalid(&at, name, "cannot specify hostnameOverride when hostNetwork is true"));
        }
        if flag(spec, "setHostnameAsFQDN") {
            errors.push(Error::invalid(&at, name, "setHostnameAsFQDN and hostnameOverride cannot both be enabled"));
        }
    }
    let context = path.child("securityContext");
    for (key, values) in
        [("supplementalGroupsPolicy", &["Merge", "Strict"]), ("seLinuxChangePolicy", &["MountOption", "Recursive"])]
    {
        let value = text(&spec["securityContext"], key);
        if !value.is_empty() && !values.contains(&value) {
            errors.push(Error::not_supported(&context.child(key), value, values));
        }
    }
}

/// A pod in a user namespace of its own shares none of the host's; sysctls of a namespace need one.
fn host(errors: &mut Vec<Error>, path: &Path, spec: &Value) {
    if spec["hostUsers"] == false {
        for (key, shown) in [("hostNetwork", "hostNetwork"), ("hostPID", "HostPID"), ("hostIPC", "HostIPC")] {
            if flag(spec, key) {
                errors.push(Error::forbidden(&path.child(shown), "when `pod.Spec.HostUsers` is false"));
            }
        }
    }
    let context = path.child("securityContext");
    let list = context.child("sysctls");
    for (i, sysctl) in items(&spec["securityContext"], "sysctls").iter().enumerate() {
        let name = text(sysctl, "name").replace('/', ".");
        let ipc =
            ["kernel.shm", "kernel.msg", "fs.mqueue."].iter().any(|p| name.starts_with(p)) || name == "kernel.sem";
        let at = list.index(i);
        let at = at.child("name");
        if ipc && flag(spec, "hostIPC") {
            errors.push(Error::invalid(&at, text(sysctl, "name"), "may not be specified when 'hostIPC' is true"));
        }
        if name.starts_with("net.") && flag(spec, "hostNetwork") {
            errors.push(Error::invalid(&at, text(sysctl, "name"), "may not be specified when 'hostNetwork' is true"));
        }
    }
}

/// `validateLinux` and `validateWindows`
fn os(errors: &mut Vec<Error>, path: &Path, spec: &Value) {
    let containers = |errors: &mut Vec<Error>, keys: &[&str], detail: &str| {
        for list in ["containers", "initContainers", "ephemeralContainers"] {
            let all = path.child(list);
            for (i, c) in items(spec, list).iter().enumerate() {
                let at = all.index(i);
                let at = at.child("securityContext");
                for key in keys.iter().filter(|k| has(&c["securityContext"], k)) {
                    errors.push(Error::forbidden(&at.child(key), detail));
                }
            }
        }
    };
    let context = path.child("securityContext");
    match text(&spec["os"], "name") {
        "linux" => {
            let detail = "windows options cannot be set for a linux pod";
            if has(&spec["securityContext"], "windowsOptions") {
                errors.push(Error::forbidden(&context.child("windowsOptions"), detail));
            }
            containers(errors, &["windowsOptions"], detail);
        }
        "windows" => {
            let detail = "cannot be set for a windows pod";
            for key in [
                "appArmorProfile",
                "seLinuxOptions",
                "seccompProfile",
                "fsGroup",
                "fsGroupChangePolicy",
                "sysctls",
                "runAsUser",
                "runAsGroup",
                "supplementalGroups",
                "supplementalGroupsPolicy",
                "seLinuxChangePolicy",
            ] {
                if has(&spec["securityContext"], key) {
                    errors.push(Error::forbidden(&context.child(key), detail));
                }
            }
            for key in ["hostPID", "hostIPC", "hostUsers", "shareProcessNamespace"] {
                if flag(spec, key) || key == "hostUsers" && has(spec, key) {
                    errors.push(Error::forbidden(&path.child(key), detail));
                }
            }
            let keys = [
                "appArmorProfile",
                "seLinuxOptions",
                "seccompProfile",
                "capabilities",
                "readOnlyRootFilesystem",
                "privileged",
                "allowPrivilegeEscalation",
                "procMount",
                "runAsUser",
                "runAsGroup",
            ];
            containers(errors, &keys, detail);
        }
        _ => {}
    }
}

/// `validatePodMetadataAndSpec`: what holds for pods, and not for templates.
pub(super) fn validate_of_pod(errors: &mut Vec<Error>, path: &Path, spec: &Value) {
    if text(spec, "serviceAccountName").is_empty() {
        let list = path.child("volumes");
        for (i, volume) in items(spec, "volumes").iter().enumerate() {
            let at = list.index(i);
            let at = at.child("projected");
            let sources = at.child("sources");
            for (j, source) in items(&volume["projected"], "sources").iter().enumerate() {
                if has(source, "serviceAccountToken") {
                    let detail = "must not be specified when serviceAccountName is not set";
                    errors.push(Error::forbidden(&sources.index(j).child("serviceAccountToken"), detail));
                }
            }
        }
    }
    for list in ["containers", "initContainers", "ephemeralContainers"] {
        let all = path.child(list);
        for (i, c) in items(spec, list).iter().enumerate() {
            let image = text(c, "image");
            if image.trim() != image {
                let detail = "must not have leading or trailing whitespace";
                errors.push(Error::invalid(&all.index(i).child("image"), image, detail));
            }
        }
    }
}

/// `validatePodResources`: what the containers ask for together fits into what the pod asks for.
pub(super) fn pod_resources(errors: &mut Vec<Error>, path: &Path, spec: &Value) {
    if has(&spec["resources"], "claims") {
        errors.push(Error::forbidden(&path.child("claims"), "claims cannot be set for Resources at pod-level"));
    }
    let requests = path.child("requests");
    for (name, sum) in super::qos::of_containers(spec, "requests") {
        let own = &spec["resources"]["requests"][name];
        let amount = Quantity::from_tree(own).unwrap_or_default();
        if sum > amount {
            let detail = format!("must be greater than or equal to aggregate container requests of {sum}");
            errors.push(Error::invalid(&requests.key(name), amount.to_string(), detail));
        }
    }
    let containers = path.child("containers");
    for (i, c) in items(spec, "containers").iter().enumerate() {
        for (name, limit) in entries(&c["resources"], "limits") {
            let of = |v: &Value| Quantity::from_tree(v).ok();
            if let (Some(limit), Some(whole)) = (of(limit), of(&spec["resources"]["limits"][name]))
                && limit > whole
            {
                let at = containers.index(i);
                let detail = format!("must be less than or equal to pod limits of {whole}");
                errors.push(Error::invalid(&at.key(name).child("limits"), limit.to_string(), detail));
            }
        }
    }
}

/// `ValidatePodCreate`: what holds for a new pod only.
pub(super) fn validate_new(errors: &mut Vec<Error>, path: &Path, spec: &Value) {
    if !text(spec, "nodeName").is_empty() && !items(spec, "schedulingGates").is_empty() {
        let detail = "cannot be set until all schedulingGates have been cleared";
        errors.push(Error::forbidden(&path.child("nodeName"), detail));
    }
    if !items(spec, "ephemeralContainers").is_empty() {
        errors.push(Error::forbidden(&path.child("ephemeralContainers"), "cannot be set on create"));
    }
}
