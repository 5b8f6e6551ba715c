//! What a volume's source must say, of pods' volumes and of persistent ones: `validateVolumeSource` and
//! `ValidatePersistentVolumeSpec`.

use serde_json::Value;

use crate::field::{Error, Path};
use crate::kinds::metadata::driver_name;
use crate::kinds::tree::{entries, flag, has, is_zero, items, number, some, text};
use crate::names;

/// Fields that may not be empty.
const NEEDED: &[(&str, &[&str])] = &[
    ("gcePersistentDisk", &["pdName"]),
    ("awsElasticBlockStore", &["volumeID"]),
    ("glusterfs", &["endpoints", "path"]),
    ("nfs", &["server", "path"]),
    ("rbd", &["monitors", "image"]),
    ("quobyte", &["volume"]),
    ("cephfs", &["monitors"]),
    ("iscsi", &["targetPortal", "iqn"]),
    ("cinder", &["volumeID"]),
    ("flexVolume", &["driver"]),
    ("azureFile", &["secretName", "shareName"]),
    ("vsphereVolume", &["volumePath"]),
    ("photonPersistentDisk", &["pdID"]),
    ("portworxVolume", &["volumeID"]),
    ("azureDisk", &["diskName", "diskURI"]),
    ("scaleIO", &["gateway", "system", "volumeName"]),
    ("storageos", &["volumeName"]),
    ("hostPath", &["path"]),
    ("local", &["path"]),
];

pub(super) fn required(errors: &mut Vec<Error>, path: &Path, source: &Value, keys: &[&str]) {
    for key in keys.iter().filter(|k| is_zero(source.get(k).unwrap_or(&Value::Null))) {
        errors.push(Error::required(&path.child(key), ""));
    }
}

/// `validatePathNoBacksteps`
pub(super) fn backsteps(errors: &mut Vec<Error>, path: &Path, value: &str) {
    if value.split('/').any(|part| part == "..") {
        errors.push(Error::invalid(path, value, "must not contain '..'"));
    }
}

/// `persistent`: of a PersistentVolume, which has no namespace of its own.
pub(super) fn validate(errors: &mut Vec<Error>, path: &Path, kind: &str, source: &Value, persistent: bool) {
    if let Some((_, keys)) = NEEDED.iter().find(|(k, _)| *k == kind) {
        required(errors, path, source, keys);
    }
    let child = |key: &'static str| path.child(key);
    let range = |errors: &mut Vec<Error>, key: &'static str, low: i64, shown: &str| {
        let n = number(source, key);
        if !(low..=255).contains(&n) {
            errors.push(Error::invalid(&child(key), n, format!("must be between {shown}, inclusive")));
        }
    };
    match kind {
        "hostPath" | "local" if text(source, "path").is_empty() => {}
        "local" => backsteps(errors, &child("path"), text(source, "path")),
        "hostPath" => {
            backsteps(errors, &child("path"), text(source, "path"));
            let known =
                &["", "BlockDevice", "CharDevice", "Directory", "DirectoryOrCreate", "File", "FileOrCreate", "Socket"];
            if !known.contains(&text(source, "type")) {
                errors.push(Error::not_supported(&child("type"), text(source, "type"), known));
            }
        }
        "gcePersistentDisk" | "awsElasticBlockStore" => range(errors, "partition", 0, "1 and 255"),
        "glusterfs" => {
            let namespace = text(source, "endpointsNamespace");
            if has(source, "endpointsNamespace") && !names::dns_label(namespace, false).is_empty() {
                let detail = "if the endpointnamespace is set, it must be a valid namespace name";
                errors.push(Error::invalid(&child("endpointsNamespace"), namespace, detail));
            }
        }
        "nfs" if !text(source, "path").starts_with('/') => {
            errors.push(Error::invalid(&child("path"), text(source, "path"), "must be an absolute path"));
        }
        "flocker" => flocker(errors, path, source),
        "quobyte" => quobyte(errors, path, source),
        "iscsi" => {
            let iqn = text(source, "iqn");
            if !iqn.is_empty() && !["iqn", "eui", "naa"].iter().any(|p| iqn.starts_with(p)) {
                let detail = "must be valid format starting with iqn, eui, or naa";
                errors.push(Error::invalid(&child("iqn"), iqn, detail));
            }
            range(errors, "lun", 0, "0 and 255");
            if (flag(source, "chapAuthDiscovery") || flag(source, "chapAuthSession")) && !has(source, "secretRef") {
                errors.push(Error::required(&child("secretRef"), ""));
            }
        }
        "fc" => fibre_channel(errors, path, source),
        "flexVolume" => {
            let options = child("options");
            for (key, _) in entries(source, "options") {
                let domain = format!(".{}", key.split_once('/').map_or(key, |(d, _)| d).to_lowercase());
                if domain.ends_with(".kubernetes.io") || domain.ends_with(".k8s.io") {
                    let detail = "kubernetes.io and k8s.io namespaces are reserved";
                    errors.push(Error::invalid(&options.key(key), key, detail));
                }
            }
        }
        "azureFile" if persistent && source["secretNamespace"] == "" => {
            errors.push(Error::required(&child("secretNamespace"), ""));
        }
        "azureDisk" => azure_disk(errors, path, source),
        "cinder" | "storageos" => {
            for key in ["volumeName", "volumeNamespace"].into_iter().filter(|k| !text(source, k).is_empty()) {
                let wrong = names::dns_label(text(source, key), false);
                errors.extend(wrong.into_iter().map(|e| Error::invalid(&path.child(key), text(source, key), e)));
            }
            if let Some(secret) = some(source, "secretRef") {
                let keys: &[&str] = if persistent { &["name", "namespace"] } else { &["name"] };
                required(errors, &child("secretRef"), secret, keys);
            }
        }
        "csi" => csi(errors, path, source, persistent),
        _ => {}
    }
}

fn flocker(errors: &mut Vec<Error>, path: &Path, source: &Value) {
    match (text(source, "datasetName"), text(source, "datasetUUID")) {
        ("", "") => errors.push(Error::required(path, "must specify one of datasetName and datasetUUID")),
        (name, id) => {
            if !name.is_empty() && !id.is_empty() {
                let detail = "datasetName and datasetUUID can not be specified simultaneously";
                errors.push(Error::invalid(path, "resource", detail));
            }
            if name.contains('/') {
                errors.push(Error::invalid(&path.child("datasetName"), name, "must not contain '/'"));
            }
        }
    }
}

fn quobyte(errors: &mut Vec<Error>, path: &Path, source: &Value) {
    let (registry, at) = (text(source, "registry"), path.child("registry"));
    let detail = "must be a host:port pair or multiple pairs separated by commas";
    if registry.is_empty() {
        errors.push(Error::required(&at, detail));
    } else if text(source, "tenant").len() >= 65 {
        let detail = "must be a UUID and may not exceed a length of 64 characters";
        errors.push(Error::required(&path.child("tenant"), detail));
    } else if !registry.split(',').all(|pair| pair.rsplit_once(':').is_some_and(|(host, _)| !host.contains(':'))) {
        errors.push(Error::invalid(&at, registry, detail));
    }
}

fn fibre_channel(errors: &mut Vec<Error>, path: &Path, source: &Value) {
    let (targets, ids, at) = (items(source, "targetWWNs"), items(source, "wwids"), path.child("targetWWNs"));
    if targets.is_empty() && ids.is_empty() {
        errors.push(Error::required(&at, "must specify either targetWWNs or wwids, but not both"));
    }
    if !targets.is_empty() && !ids.is_empty() {
        let detail = "targetWWNs and wwids can not be specified simultaneously";
        errors.push(Error::invalid(&at, targets.to_vec(), detail));
    }
    if !targets.is_empty() {
        let (lun, at) = (number(source, "lun"), path.child("lun"));
        if !has(source, "lun") {
            errors.push(Error::required(&at, "lun is required if targetWWNs is specified"));
        } else if !(0..=255).contains(&lun) {
            errors.push(Error::invalid(&at, lun, "must be between 0 and 255, inclusive"));
        }
    }
}

fn azure_disk(errors: &mut Vec<Error>, path: &Path, source: &Value) {
    for (key, known) in
        [("cachingMode", ["None", "ReadOnly", "ReadWrite"]), ("kind", ["Dedicated", "Managed", "Shared"])]
    {
        if has(source, key) && !known.contains(&text(source, key)) {
            errors.push(Error::not_supported(&path.child(key), text(source, key), &known));
        }
    }
    let (uri, at) = (text(source, "diskURI"), path.child("diskURI"));
    let managed = text(source, "kind") == "Managed";
    let (start, form) = if managed {
        (
            "/subscriptions/",
            "/subscriptions/{sub-id}/resourcegroups/{group-name}/providers/microsoft.compute/disks/{disk-id}",
        )
    } else {
        ("https://", "https://{account-name}.blob.core.windows.net/{container-name}/{disk-name}.vhd")
    };
    if has(source, "kind") && !uri.starts_with(start) {
        errors.push(Error::not_supported(&at, uri, &[form]));
    }
}

fn csi(errors: &mut Vec<Error>, path: &Path, source: &Value, persistent: bool) {
    driver_name(errors, &path.child("driver"), text(source, "driver"));
    if !persistent {
        if let Some(secret) = some(source, "nodePublishSecretRef") {
            match text(secret, "name") {
                "" => errors.push(Error::required(&path.child("nodePublishSecretRef").child("name"), "")),
                // upstream's path
                name => {
                    let wrong = names::dns_subdomain(name, false);
                    errors.extend(wrong.into_iter().map(|e| Error::invalid(&path.child("name"), name, e)));
                }
            }
        }
        return;
    }
    required(errors, path, source, &["volumeHandle"]);
    for key in
        ["controllerPublishSecretRef", "controllerExpandSecretRef", "nodePublishSecretRef", "nodeExpandSecretRef"]
    {
        let Some(secret) = some(source, key) else { continue };
        let path = path.child(key);
        for (key, rule) in
            [("name", names::dns_subdomain as fn(&str, bool) -> Vec<String>), ("namespace", names::dns_label)]
        {
            match text(secret, key) {
                "" => errors.push(Error::required(&path.child(key), "")),
                v => errors.extend(rule(v, false).into_iter().map(|e| Error::invalid(&path.child(key), v, e))),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn sources_are_checked_in_upstreams_words() {
        for (kind, source, persistent, want) in [
            (
                "nfs",
                json!({"server": "s", "path": "p"}),
                true,
                r#"v.path: Invalid value: "p": must be an absolute path"#,
            ),
            ("iscsi", json!({"targetPortal": "t", "iqn": "iqn.2015"}), true, ""),
            (
                "iscsi",
                json!({"targetPortal": "t", "iqn": "x", "lun": 256, "chapAuthSession": true}),
                true,
                r#"v.iqn: Invalid value: "x": must be valid format starting with iqn, eui, or naa; v.lun: Invalid value: 256: must be between 0 and 255, inclusive; v.secretRef: Required value"#,
            ),
            (
                "fc",
                json!({"targetWWNs": ["a"]}),
                false,
                "v.lun: Required value: lun is required if targetWWNs is specified",
            ),
            (
                "fc",
                json!({}),
                false,
                "v.targetWWNs: Required value: must specify either targetWWNs or wwids, but not both",
            ),
            ("rbd", json!({"monitors": []}), false, "v.monitors: Required value; v.image: Required value"),
            (
                "flocker",
                json!({"datasetName": "a/b"}),
                false,
                r#"v.datasetName: Invalid value: "a/b": must not contain '/'"#,
            ),
            (
                "flexVolume",
                json!({"driver": "d", "options": {"a.kubernetes.io/x": ""}}),
                false,
                r#"v.options[a.kubernetes.io/x]: Invalid value: "a.kubernetes.io/x": kubernetes.io and k8s.io namespaces are reserved"#,
            ),
            (
                "cinder",
                json!({"volumeID": "a", "secretRef": {"name": "s"}}),
                true,
                "v.secretRef.namespace: Required value",
            ),
            ("cinder", json!({"volumeID": "a", "secretRef": {"name": "s"}}), false, ""),
            (
                "csi",
                json!({"driver": "d.io", "nodePublishSecretRef": {}}),
                false,
                "v.nodePublishSecretRef.name: Required value",
            ),
            (
                "csi",
                json!({"driver": "d.io", "nodeExpandSecretRef": {"name": "s"}}),
                true,
                "v.volumeHandle: Required value; v.nodeExpandSecretRef.namespace: Required value",
            ),
            (
                "azureDisk",
                json!({"diskName": "d", "diskURI": "x", "kind": "Shared", "cachingMode": "None"}),
                false,
                r#"v.diskURI: Unsupported value: "x": supported values: "https://{account-name}.blob.core.windows.net/{container-name}/{disk-name}.vhd""#,
            ),
            (
                "quobyte",
                json!({"registry": "r", "volume": "v"}),
                false,
                r#"v.registry: Invalid value: "r": must be a host:port pair or multiple pairs separated by commas"#,
            ),
            (
                "hostPath",
                json!({"path": "/a/../b"}),
                false,
                r#"v.path: Invalid value: "/a/../b": must not contain '..'"#,
            ),
            (
                "gcePersistentDisk",
                json!({"pdName": "p", "partition": 256}),
                false,
                "v.partition: Invalid value: 256: must be between 1 and 255, inclusive",
            ),
        ] {
            let mut errors = Vec::new();
            validate(&mut errors, &Path::root("v"), kind, &source, persistent);
            assert_eq!(errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "), want);
        }
    }
}
