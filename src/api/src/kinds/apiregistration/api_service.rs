//! APIServices: which groups and versions are served by whom. Upstream's `kube-aggregator/pkg/registry/apiservice` and
//! `apis/apiregistration/validation`.

use serde_json::{Value, json};

use crate::field::{self, Path};
use crate::kinds::table::name;
use crate::kinds::tree::{child, flag, has, items, number, or, some, text};
use crate::strategy::{AGE, Column, NAME, age};
use crate::{Strategy, names};

pub(super) struct ApiService;

const MOST_GROUP_PRIORITY: i64 = 20_000;
const MOST_VERSION_PRIORITY: i64 = 1_000;

impl Strategy for ApiService {
    fn default(&self, object: &mut Value) {
        if let Some(service) = child(object, "spec").and_then(|spec| child(spec, "service")) {
            or(service, "port", 443);
        }
    }
    fn prepare_create(&self, object: &mut Value) {
        let local = !has(&object["spec"], "service");
        let Some(root) = object.as_object_mut() else { return };
        root.insert("status".into(), json!({}));
        if local {
            // what this server serves itself is there at once
            let now = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
            root.insert(
                "status".into(),
                json!({"conditions": [{
                    "type": "Available", "status": "True", "reason": "Local",
                    "message": "Local APIServices are always available", "lastTransitionTime": now,
                }]}),
            );
        }
    }
    fn allow_unconditional_update(&self) -> bool {
        false
    }
    fn validate_name(&self, name: &str, prefix: bool) -> Vec<String> {
        names::path_segment(name, prefix)
    }

    fn validate(&self, object: &Value) -> Vec<field::Error> {
        let mut errors = Vec::new();
        let (spec, path) = (&object["spec"], &Path::root("spec"));
        let (group, version) = (text(spec, "group"), text(spec, "version"));
        let (its_name, wanted) = (text(&object["metadata"], "name"), format!("{version}.{group}"));
        if !its_name.is_empty() && its_name != wanted {
            let why = format!("must be `spec.version+\".\"+spec.group`: {wanted:?}");
            errors.push(field::Error::invalid(&Path::root("metadata").child("name"), its_name, why));
        }
        if group.is_empty() && version != "v1" {
            let why = "only v1 may have an empty group and it better be legacy kube";
            errors.push(field::Error::required(&path.child("group"), why));
        }
        if !group.is_empty() {
            let wrong = names::dns_subdomain(group, false);
            errors.extend(wrong.into_iter().map(|e| field::Error::invalid(&path.child("group"), group, e)));
        }
        let wrong = names::dns1035_label(version, false);
        errors.extend(wrong.into_iter().map(|e| field::Error::invalid(&path.child("version"), version, e)));
        for (key, most) in [("groupPriorityMinimum", MOST_GROUP_PRIORITY), ("versionPriority", MOST_VERSION_PRIORITY)] {
            let n = number(spec, key);
            if n <= 0 || n > most {
                let why = format!("must be positive and less than {most}");
                errors.push(field::Error::invalid(&path.child(key), n, why));
            }
        }
        match some(spec, "service") {
            None => local(&mut errors, path, spec),
            Some(service) => remote(&mut errors, path, spec, service),
        }
        errors
    }
    fn validate_status_update(&self, new: &Value, _old: &Value) -> Vec<field::Error> {
        let (status, known) = (Path::root("status"), &["True", "False", "Unknown"][..]);
        let list = status.child("conditions");
        let wrong = items(&new["status"], "conditions").iter().enumerate();
        let wrong = wrong.filter(|(_, c)| !known.contains(&text(c, "status")));
        wrong
            .map(|(i, c)| field::Error::not_supported(&list.index(i).child("status"), text(c, "status"), known))
            .collect()
    }

    fn columns(&self) -> &'static [Column] {
        const {
            &[
                NAME,
                Column {
                    description: "The reference to the service that hosts this API endpoint.",
                    ..Column::new("Service", "string")
                },
                Column { description: "Whether this service is available.", ..Column::new("Available", "string") },
                AGE,
            ]
        }
    }
    fn cells(&self, object: &Value, now_seconds: i64) -> Vec<Value> {
        let service = match some(&object["spec"], "service") {
            Some(service) => format!("{}/{}", text(service, "namespace"), text(service, "name")),
            None => "Local".into(),
        };
        let available = match items(&object["status"], "conditions").iter().find(|c| text(c, "type") == "Available") {
            Some(c) if text(c, "status") == "True" => "True".into(),
            Some(c) => format!("{} ({})", text(c, "status"), text(c, "reason")),
            None => "Unknown".into(),
        };
        vec![name(object), service.into(), available.into(), age(object, now_seconds)]
    }
}

fn local(errors: &mut Vec<field::Error>, path: &Path, spec: &Value) {
    let bundle = text(spec, "caBundle");
    if !bundle.is_empty() {
        let bytes = bundle.trim_end_matches('=').len() * 3 / 4;
        let why = "local APIServices may not have a caBundle";
        errors.push(field::Error::invalid(&path.child("caBundle"), format!("{bytes} bytes"), why));
    }
    if flag(spec, "insecureSkipTLSVerify") {
        let why = "local APIServices may not have insecureSkipTLSVerify";
        errors.push(field::Error::invalid(&path.child("insecureSkipTLSVerify"), true, why));
    }
}

fn remote(errors: &mut Vec<field::Error>, path: &Path, spec: &Value, service: &Value) {
    let at = &path.child("service");
    for key in ["namespace", "name"] {
        if text(service, key).is_empty() {
            errors.push(field::Error::required(&at.child(key), ""));
        }
    }
    let port = number(service, "port");
    let wrong = names::port_number(port);
    if !wrong.is_empty() {
        let why = format!("port is not valid: {}", wrong.join(", "));
        errors.push(field::Error::invalid(&at.child("port"), port, why));
    }
    if flag(spec, "insecureSkipTLSVerify") && !text(spec, "caBundle").is_empty() {
        let why = "may not be true if caBundle is present";
        errors.push(field::Error::invalid(&path.child("insecureSkipTLSVerify"), true, why));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(name: &str, spec: Value) -> Value {
        let mut object = json!({"metadata": {"name": name}, "spec": spec});
        ApiService.default(&mut object);
        ApiService.prepare_create(&mut object);
        object
    }

    #[test]
    fn names_priorities_and_services_are_checked() {
        let good = json!({"group": "g.io", "version": "v1", "groupPriorityMinimum": 10, "versionPriority": 5});
        let with = |change: Value| {
            let mut spec = good.clone();
            change.as_object().into_iter().flatten().for_each(|(k, v)| spec[k] = v.clone());
            spec
        };
        let service = json!({"namespace": "n", "name": "s"});
        for (name, spec, want) in [
            ("v1.g.io", good.clone(), &[][..]),
            ("v1.g.io", with(json!({"service": service, "caBundle": "YQ=="})), &[]),
            ("v1.", with(json!({"group": ""})), &[]),
            (
                "v2.g.io",
                good.clone(),
                &["metadata.name: Invalid value: \"v2.g.io\": must be `spec.version+\".\"+spec.group`: \"v1.g.io\""],
            ),
            (
                "v1.g.io",
                with(json!({"groupPriorityMinimum": 20001})),
                &["spec.groupPriorityMinimum: Invalid value: 20001: must be positive and less than 20000"],
            ),
            (
                "v1.g.io",
                with(json!({"versionPriority": 0})),
                &["spec.versionPriority: Invalid value: 0: must be positive and less than 1000"],
            ),
            (
                "v1.g.io",
                with(json!({"caBundle": "YWJj"})),
                &["spec.caBundle: Invalid value: \"3 bytes\": local APIServices may not have a caBundle"],
            ),
            ("v1.g.io", with(json!({"service": {"name": "s"}})), &["spec.service.namespace: Required value"]),
            (
                "v1.g.io",
                with(json!({"service": service, "caBundle": "YQ==", "insecureSkipTLSVerify": true})),
                &["spec.insecureSkipTLSVerify: Invalid value: true: may not be true if caBundle is present"],
            ),
        ] {
            let errors: Vec<String> =
                ApiService.validate(&object(name, spec)).iter().map(ToString::to_string).collect();
            assert_eq!(errors, want);
        }
    }

    #[test]
    fn a_local_one_is_available_at_once() {
        let local = object("v1.g.io", json!({"group": "g.io", "version": "v1"}));
        assert_eq!(ApiService.cells(&local, 0)[1..3], ["Local", "True"]);
        let remote = object("v1.g.io", json!({"service": {"namespace": "n", "name": "s"}}));
        assert_eq!(remote["spec"]["service"]["port"], 443);
        assert_eq!(ApiService.cells(&remote, 0)[1..3], ["n/s", "Unknown"]);
        let mut failing = remote.clone();
        failing["status"]["conditions"] =
            json!([{"type": "Available", "status": "False", "reason": "MissingEndpoints"}]);
        assert_eq!(ApiService.cells(&failing, 0)[2], "False (MissingEndpoints)");
    }
}
