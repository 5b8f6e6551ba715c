//! Updates of `…/resize`: `ValidatePodResize`.

use serde_json::Value;

use super::update::keep_all_but;
use super::{annotations, validation};
use crate::field::{Error, Path};
use crate::kinds::tree::{entries, has, items, same, some, text};
use crate::strategy::{copy, set};

const LISTS: [&str; 2] = ["containers", "initContainers"];
const AMOUNTS: [&str; 2] = ["requests", "limits"];

/// `dropNonResizeUpdates`: resources and resize policies alone change; containers that are others are left for
/// [`validate`] to refuse.
pub fn prepare(new: &mut Value, old: &Value) {
    keep_all_but(new, old, |spec, asked| {
        if LISTS.iter().any(|list| items(spec, list).len() != items(asked, list).len()) {
            *spec = asked.clone();
            return;
        }
        for list in LISTS.into_iter().filter(|list| has(asked, list)) {
            let mut all = items(spec, list).to_vec();
            for (c, wanted) in all.iter_mut().zip(items(asked, list)) {
                if text(c, "name") != text(wanted, "name") {
                    all = items(asked, list).to_vec();
                    break;
                }
                copy(c, wanted, "resources");
                copy(c, wanted, "resizePolicy");
            }
            set(spec, list, Some(all.into()));
        }
        copy(spec, asked, "resources");
    });
}

pub fn validate(new: &Value, old: &Value) -> Vec<Error> {
    let path = Path::root("spec");
    if annotations::is_mirror(old) {
        return vec![Error::forbidden(&Path::root(""), "static pods cannot be resized")];
    }
    if text(&old["spec"]["os"], "name") == "windows" {
        return vec![Error::forbidden(&Path::root(""), "windows pods cannot be resized")];
    }
    let mut errors = validation::validate(new);
    let before = match text(&old["status"], "qosClass") {
        "" => super::qos(old),
        class => class,
    };
    if super::qos(new) != before {
        let detail = "Pod QOS Class may not change as a result of resizing";
        errors.push(Error::invalid(&path, text(&new["status"], "qosClass"), detail));
    }
    let running = items(&old["status"], "containerStatuses").iter().find(|c| has(&c["state"], "running"));
    if running.is_some_and(|c| !has(c, "resources")) {
        errors.push(Error::forbidden(&path, "Pod running on node without support for resize"));
    }
    let mut munged = new["spec"].clone();
    whole(&mut errors, &path, &mut munged, &old["spec"]);
    if !items(&old["status"], "nodeAllocatableResourceClaimStatuses").is_empty() {
        let detail = "pods with node allocatable resource claims cannot be resized";
        errors.push(Error::forbidden(&path, detail));
    }
    if ordering(&mut errors, &path, &new["spec"], &old["spec"]) {
        return errors;
    }
    let sidecar = |c: &Value| text(c, "restartPolicy") == "Always";
    for list in ["initContainers", "containers"] {
        let at = path.child(list);
        let pairs = items(&new["spec"], list).iter().zip(items(&old["spec"], list)).enumerate();
        for (i, (now, was)) in pairs.filter(|(_, (_, was))| list == "containers" || sidecar(was)) {
            let at = at.index(i);
            let at = at.child("resources");
            for key in AMOUNTS.into_iter().filter(|key| removed(&now["resources"], &was["resources"], key)) {
                errors.push(Error::forbidden(&at.child(key), &format!("resource {key} cannot be removed")));
            }
        }
    }
    for list in LISTS {
        let at = path.child(list);
        let Some(all) = munged.get_mut(list).and_then(Value::as_array_mut) else { continue };
        for (i, (now, was)) in all.iter_mut().zip(items(&old["spec"], list)).enumerate() {
            if list == "initContainers" && !sidecar(now) {
                if !same(now, was) {
                    let detail = "resources for non-sidecar init containers are immutable";
                    errors.push(Error::forbidden(&path, detail));
                }
                continue;
            }
            set(now, "resources", Some(kept(&now["resources"], &was["resources"])));
            if same(now, was) {
                continue;
            }
            errors.push(match list {
                "containers" => Error::forbidden(&path, "only cpu and memory resources are mutable"),
                _ => {
                    let detail = "only cpu and memory resources for init or sidecar containers are mutable";
                    Error::forbidden(&at.index(i), detail)
                }
            });
        }
    }
    if errors.is_empty() && !same(&munged, &old["spec"]) {
        errors.push(Error::forbidden(&path, "only cpu and memory resources are mutable"));
    }
    errors
}

/// `validatePodLevelResourcesResize`: of what the pod asks for as a whole.
fn whole(errors: &mut Vec<Error>, path: &Path, munged: &mut Value, was: &Value) {
    let is_set = |spec: &Value| AMOUNTS.iter().any(|key| entries(&spec["resources"], key).next().is_some());
    if !is_set(was) && !is_set(munged) {
        return;
    }
    let at = path.child("resources");
    let (now, before) = (some(munged, "resources"), some(was, "resources"));
    let Some(now) = now else {
        return errors.push(Error::forbidden(&at, "pod-level resources cannot be removed"));
    };
    for key in AMOUNTS.into_iter().filter(|key| before.is_some_and(|b| removed(now, b, key))) {
        errors.push(Error::forbidden(&at.child(key), &format!("pod-level resource {key} cannot be removed")));
    }
    let kept = kept(now, before.unwrap_or(&Value::Null));
    set(munged, "resources", Some(kept));
    if !same(&munged["resources"], before.unwrap_or(&Value::Null)) {
        errors.push(Error::forbidden(path, "only cpu and memory resources are mutable at pod-level"));
    }
}

/// `validatePodResizeContainerOrdering`: whether anything is wrong with it.
fn ordering(errors: &mut Vec<Error>, path: &Path, new: &Value, old: &Value) -> bool {
    let found = errors.len();
    for list in LISTS {
        let (now, was, at) = (items(new, list), items(old, list), path.child(list));
        if now.len() != was.len() {
            errors.push(Error::forbidden(&at, &format!("{list} may not be added or removed on resize")));
            continue;
        }
        for (i, _) in now.iter().zip(was).enumerate().filter(|(_, (n, o))| text(n, "name") != text(o, "name")) {
            let detail = format!("{list} may not be renamed or reordered on resize");
            errors.push(Error::forbidden(&at.index(i).child("name"), &detail));
        }
    }
    errors.len() > found
}

/// `resourcesRemoved`
fn removed(now: &Value, was: &Value, key: &str) -> bool {
    entries(was, key).any(|(name, _)| now.get(key).is_none_or(|list| !has(list, name)))
}

/// Resources with processor and memory as they were.
fn kept(now: &Value, was: &Value) -> Value {
    let mut all = if now.is_object() { now.clone() } else { Value::Object(serde_json::Map::new()) };
    for key in AMOUNTS {
        let mut list = all[key].as_object().cloned().unwrap_or_default();
        for name in ["cpu", "memory"] {
            match was.get(key).and_then(|l| l.get(name)) {
                Some(amount) => list.insert(name.into(), amount.clone()),
                None => list.remove(name),
            };
        }
        set(&mut all, key, Some(list.into()).filter(|l: &Value| *l != serde_json::json!({})));
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn resized(change: impl FnOnce(&mut Value)) -> String {
        let cpu = |n: &str| json!({"requests": {"cpu": n}, "limits": {"cpu": n, "x.io/gpu": "1"}});
        let mut old = json!({"metadata": {"name": "p"}, "spec": {
            "containers": [{"name": "a", "image": "x", "resources": cpu("1")}, {"name": "b", "image": "x"}],
            "initContainers": [{"name": "i", "image": "x"},
                {"name": "s", "image": "x", "restartPolicy": "Always", "resources": cpu("1")}]}});
        crate::Strategy::default(&super::super::Pod, &mut old);
        old["status"] = json!({"qosClass": "Burstable"});
        let mut new = old.clone();
        change(&mut new);
        if new.get("was").is_some() {
            old["metadata"] = new["metadata"].clone();
            old["status"] = new["status"].clone();
        }
        prepare(&mut new, &old);
        validate(&new, &old).iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
    }

    #[test]
    fn what_may_be_resized() {
        type Change = fn(&mut Value);
        let cases: &[(Change, &str)] = &[
            (|_| (), ""),
            (|p| p["spec"]["containers"][0]["resources"]["requests"]["cpu"] = json!("500m"), ""),
            (|p| p["spec"]["initContainers"][1]["resources"]["requests"]["cpu"] = json!("500m"), ""),
            (|p| p["spec"]["containers"][0]["image"] = json!("y"), ""),
            (|p| p["spec"]["resources"] = json!({"requests": {"cpu": "3"}, "limits": {"cpu": "4"}}), ""),
            (
                |p| p["spec"]["resources"] = json!({"limits": {"hugepages-2Mi": "2Mi", "cpu": "4"}, "requests": {"hugepages-2Mi": "2Mi", "cpu": "3"}}),
                "spec: Forbidden: only cpu and memory resources are mutable at pod-level",
            ),
            (
                |p| p["spec"]["containers"][0]["resources"]["limits"] = json!({"x.io/gpu": "1"}),
                "spec.containers[0].resources.limits: Forbidden: resource limits cannot be removed",
            ),
            (
                |p| {
                    p["spec"]["containers"][0]["resizePolicy"] =
                        json!([{"resourceName": "cpu", "restartPolicy": "NotRequired"}])
                },
                "spec: Forbidden: only cpu and memory resources are mutable",
            ),
            (
                |p| {
                    let all = &mut p["spec"]["containers"][0]["resources"];
                    all["limits"]["x.io/gpu"] = json!("2");
                    all["requests"]["x.io/gpu"] = json!("2");
                },
                "spec: Forbidden: only cpu and memory resources are mutable",
            ),
            (
                |p| p["spec"]["initContainers"][0]["resources"] = json!({"requests": {"cpu": "1"}}),
                "spec: Forbidden: resources for non-sidecar init containers are immutable",
            ),
            (
                |p| {
                    p["spec"]["initContainers"][1]["resizePolicy"] =
                        json!([{"resourceName": "cpu", "restartPolicy": "NotRequired"}])
                },
                "spec.initContainers[1]: Forbidden: only cpu and memory resources for init or sidecar containers are mutable",
            ),
            (
                |p| p["spec"]["containers"].as_array_mut().unwrap().swap(0, 1),
                "spec.containers[0].name: Forbidden: containers may not be renamed or reordered on resize; spec.containers[1].name: Forbidden: containers may not be renamed or reordered on resize",
            ),
            (
                |p| drop(p["spec"]["initContainers"].as_array_mut().unwrap().pop()),
                "spec.initContainers: Forbidden: initContainers may not be added or removed on resize",
            ),
            (
                |p| {
                    p["was"] = json!(true);
                    p["metadata"]["annotations"] = json!({"kubernetes.io/config.mirror": "x"});
                },
                ": Forbidden: static pods cannot be resized",
            ),
            (
                |p| {
                    p["was"] = json!(true);
                    p["status"]["containerStatuses"] = json!([{"name": "a", "state": {"running": {}}}]);
                },
                "spec: Forbidden: Pod running on node without support for resize",
            ),
        ];
        for (i, (change, want)) in cases.iter().enumerate() {
            assert_eq!(resized(change), *want, "{i}");
        }
    }
}
