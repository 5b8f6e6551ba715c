//! The kind CustomResourceDefinition: its defaults, what may not change, validation.

use std::collections::HashSet;

use serde_json::{Value, json};

use super::jsonpath::Path as JsonPath;
use super::{GROUP, schema_rules};
use crate::field::{Error, Path};
use crate::strategy::{Column, NAME};
use crate::{Kind, Scope, Strategy, Subresources, names};

const SCHEMA: &str = "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.CustomResourceDefinition";
/// Without it nobody may define kinds in a group of Kubernetes' own.
const APPROVED: &str = "api-approved.kubernetes.io";

/// `customresourcedefinitions`
pub fn kind() -> Kind {
    Kind {
        group: GROUP.into(),
        version: "v1".into(),
        kind: "CustomResourceDefinition".into(),
        list_kind: "CustomResourceDefinitionList".into(),
        plural: "customresourcedefinitions".into(),
        singular: "customresourcedefinition".into(),
        short_names: vec!["crd".into(), "crds".into()],
        categories: vec!["api-extensions".into()],
        scope: Scope::Cluster,
        subresources: Subresources { status: true, scale: false },
        verbs: ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"]
            .map(String::from)
            .to_vec(),
        served: vec![(GROUP.into(), "v1".into()), (GROUP.into(), "v1beta1".into())],
        schema: SCHEMA.into(),
        late_flush: false,
        strategy: Box::new(CustomResourceDefinition),
        definition: None,
    }
}

struct CustomResourceDefinition;

fn text<'a>(v: &'a Value, key: &str) -> &'a str {
    v[key].as_str().unwrap_or_default()
}

fn items<'a>(v: &'a Value, key: &str) -> impl Iterator<Item = (usize, &'a Value)> {
    v[key].as_array().into_iter().flatten().enumerate()
}

/// Keeps `status.storedVersions` naming the storage version.
fn note_stored(tree: &mut Value) {
    let stored = items(&tree["spec"], "versions").find(|(_, v)| v["storage"] == true).map(|(_, v)| v["name"].clone());
    let Some(Value::String(stored)) = stored else { return };
    if !tree["status"].is_object() {
        tree["status"] = json!({});
    }
    let list = &mut tree["status"]["storedVersions"];
    match list.as_array_mut() {
        Some(all) if all.iter().any(|v| v == stored.as_str()) => {}
        Some(all) => all.push(stored.into()),
        None => *list = json!([stored]),
    }
}

/// Whether objects may keep what the schema does not know; only then need there be a structural schema.
fn preserves(spec: &Value) -> bool {
    spec["preserveUnknownFields"] == true
}

impl Strategy for CustomResourceDefinition {
    fn default(&self, tree: &mut Value) {
        let Some(spec) = tree.get_mut("spec").filter(|s| s.is_object()) else { return };
        let kind = text(&spec["names"], "kind").to_owned();
        if let Some(names) = spec.get_mut("names").and_then(Value::as_object_mut) {
            for (key, value) in [("singular", kind.to_lowercase()), ("listKind", format!("{kind}List"))] {
                if !kind.is_empty() && names.get(key).is_none_or(|v| v == "") {
                    names.insert(key.into(), value.into());
                }
            }
        }
        if !spec["conversion"].is_object() {
            spec["conversion"] = json!({"strategy": "None"});
        }
        if let Some(service) = spec.pointer_mut("/conversion/webhook/clientConfig/service").filter(|s| s.is_object())
            && service["port"].is_null()
        {
            service["port"] = 443.into();
        }
        if spec["preserveUnknownFields"] == false
            && let Some(spec) = spec.as_object_mut()
        {
            spec.remove("preserveUnknownFields");
        }
    }
    fn prepare_create(&self, tree: &mut Value) {
        tree["status"] = json!({"conditions": [], "acceptedNames": {"plural": "", "kind": ""}, "storedVersions": []});
        note_stored(tree);
    }
    fn prepare_update(&self, new: &mut Value, old: &Value) {
        crate::strategy::copy(new, old, "status");
        note_stored(new);
    }

    fn validate_name(&self, name: &str, prefix: bool) -> Vec<String> {
        names::dns_subdomain(name, prefix)
    }
    fn validate(&self, tree: &Value) -> Vec<Error> {
        let mut out = Vec::new();
        let spec = &tree["spec"];
        let name = text(&tree["metadata"], "name");
        if name != format!("{}.{}", text(&spec["names"], "plural"), text(spec, "group")) {
            let metadata = Path::root("metadata");
            out.push(Error::invalid(&metadata.child("name"), name, "must be spec.names.plural+\".\"+spec.group"));
        }
        approval(tree, &mut out);
        check_spec(spec, &mut out);
        out
    }
    /// Only old versions may keep what no schema knows, and what they made goes on as it is.
    fn validate_version(&self, version: (&str, &str), new: &Value, old: Option<&Value>) -> Vec<Error> {
        let asks = preserves(&new["spec"]) && !old.is_some_and(|o| preserves(&o["spec"]));
        if version.1 != "v1" || !asks {
            return Vec::new();
        }
        let spec = Path::root("spec");
        let why =
            "cannot set to true, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead";
        vec![Error::invalid(&spec.child("preserveUnknownFields"), true, why)]
    }
    fn validate_update(&self, new: &Value, old: &Value) -> Vec<Error> {
        let mut out = Vec::new();
        let path = &Path::root("spec");
        let (n, o) = (&new["spec"], &old["spec"]);
        let mut fixed = |path: &Path, key: &str, n: &Value, o: &Value| {
            if n[key] != o[key] {
                out.push(Error::invalid(&path.child(key), n[key].clone(), "field is immutable"));
            }
        };
        let established =
            items(&old["status"], "conditions").any(|(_, c)| c["type"] == "Established" && c["status"] == "True");
        let names_path = &path.child("names");
        if established {
            fixed(path, "scope", n, o);
            fixed(names_path, "kind", &n["names"], &o["names"]);
        }
        fixed(path, "group", n, o);
        fixed(names_path, "plural", &n["names"], &o["names"]);
        stored_versions(new, &mut out);
        out
    }
    fn validate_status_update(&self, new: &Value, _old: &Value) -> Vec<Error> {
        let mut out = Vec::new();
        let status = Path::root("status");
        check_names(&new["status"]["acceptedNames"], &status.child("acceptedNames"), &mut out);
        stored_versions(new, &mut out);
        if items(&new["status"], "storedVersions").next().is_none() {
            out.push(Error::invalid(
                &status.child("storedVersions"),
                json!([]),
                "must have at least one stored version",
            ));
        }
        out
    }
    fn has_generation(&self) -> bool {
        true
    }
    fn allow_unconditional_update(&self) -> bool {
        false
    }

    fn columns(&self) -> &'static [Column] {
        const COLUMNS: &[Column] = &[NAME, Column::new("Created At", "date")];
        COLUMNS
    }
    fn cells(&self, object: &Value, _now_seconds: i64) -> Vec<Value> {
        let meta = &object["metadata"];
        vec![meta["name"].clone(), meta["creationTimestamp"].clone()]
    }
}

/// `status.storedVersions` are all versions of the spec.
fn stored_versions(tree: &Value, out: &mut Vec<Error>) {
    let known: HashSet<&str> = items(&tree["spec"], "versions").map(|(_, v)| text(v, "name")).collect();
    let status = &Path::root("status");
    let path = &status.child("storedVersions");
    for (i, v) in items(&tree["status"], "storedVersions") {
        if v.as_str().is_none_or(|v| !known.contains(v)) {
            let name = v.as_str().unwrap_or_default();
            out.push(Error::invalid(&path.index(i), name, "missing from spec.versions; v1 was previously a storage version, and must remain in spec.versions until a storage migration ensures no data remains persisted in v1 and removes v1 from status.storedVersions".replace("v1", name)));
        }
    }
}

fn is_protected(tree: &Value) -> bool {
    let group = text(&tree["spec"], "group");
    ["k8s.io", "kubernetes.io"].iter().any(|d| group == *d || group.ends_with(&format!(".{d}")))
}

/// Status, reason and message of the condition `KubernetesAPIApprovalPolicyConformant`, for groups that need it.
pub fn approval_condition(tree: &Value) -> Option<(bool, &'static str, String)> {
    if !is_protected(tree) {
        return None;
    }
    let link = "see https://github.com/kubernetes/enhancements/pull/1111";
    Some(match tree["metadata"]["annotations"][APPROVED].as_str().unwrap_or_default() {
        "" => {
            (false, "MissingAnnotation", format!("protected groups must have approval annotation {APPROVED:?}, {link}"))
        }
        v if v.starts_with("unapproved") => (false, "UnapprovedAnnotation", format!("not approved: {v:?}")),
        v => (true, "ApprovedAnnotation", format!("approved in {v}")),
    })
}

/// Groups of Kubernetes' own need an approval.
fn approval(tree: &Value, out: &mut Vec<Error>) {
    if !is_protected(tree) {
        return;
    }
    let metadata = &Path::root("metadata");
    let annotations = &metadata.child("annotations");
    let path = &annotations.key(APPROVED);
    let link = "see https://github.com/kubernetes/enhancements/pull/1111";
    match tree["metadata"]["annotations"][APPROVED].as_str() {
        None | Some("") => {
            let why = format!("protected groups must have approval annotation {APPROVED:?}, {link}");
            out.push(Error::required(path, &why));
        }
        Some(v) if v.starts_with("unapproved") || v.starts_with("https://") || v.starts_with("http://") => {}
        Some(v) => {
            let why = format!(
                "protected groups must have approval annotation {APPROVED:?} with either a URL or a reason starting with \"unapproved\", {link}"
            );
            out.push(Error::invalid(path, v, why));
        }
    }
}

fn check_spec(spec: &Value, out: &mut Vec<Error>) {
    let path = &Path::root("spec");
    let group = text(spec, "group");
    let wrong = names::dns_subdomain(group, false);
    if group.is_empty() {
        out.push(Error::required(&path.child("group"), ""));
    } else if !wrong.is_empty() {
        out.push(Error::invalid(&path.child("group"), group, wrong.join(",")));
    } else if !group.contains('.') {
        out.push(Error::invalid(&path.child("group"), group, "should be a domain with at least one dot"));
    }
    match text(spec, "scope") {
        "" => out.push(Error::required(&path.child("scope"), "")),
        "Cluster" | "Namespaced" => {}
        other => out.push(Error::not_supported(&path.child("scope"), other, &["Cluster", "Namespaced"])),
    }
    let versions = &path.child("versions");
    let mut seen = HashSet::new();
    let mut stored = 0;
    for (i, v) in items(spec, "versions") {
        let (at, name) = (&versions.index(i), text(v, "name"));
        stored += usize::from(v["storage"] == true);
        if !seen.insert(name) {
            out.push(Error::invalid(versions, spec["versions"].clone(), "must contain unique version names"));
        }
        let wrong = names::dns1035_label(name, false);
        if !wrong.is_empty() {
            out.push(Error::invalid(&at.child("name"), name, wrong.join(",")));
        }
        if v["deprecationWarning"].is_string() {
            let at = &at.child("deprecationWarning");
            if v["deprecated"] != true {
                out.push(Error::invalid(at, text(v, "deprecationWarning"), "can only be set for deprecated versions"));
            } else if text(v, "deprecationWarning").is_empty() {
                out.push(Error::invalid(at, "", "must not be empty or only whitespace"));
            }
        }
    }
    if stored != 1 {
        let why = "must have exactly one version marked as storage version";
        out.push(Error::invalid(versions, spec["versions"].clone(), why));
    }
    let names_path = &path.child("names");
    for key in ["plural", "singular", "kind", "listKind"] {
        if text(&spec["names"], key).is_empty() {
            out.push(Error::required(&names_path.child(key), ""));
        }
    }
    check_names(&spec["names"], names_path, out);
    check_versions(spec, path, out);
    check_conversion(&spec["conversion"], &path.child("conversion"), out);
}

/// Schemas, subresources, columns, selectable fields. What is the same in all versions upstream reports once, at the top.
fn check_versions(spec: &Value, path: &Path, out: &mut Vec<Error>) {
    let list: Vec<&Value> = items(spec, "versions").map(|(_, v)| v).collect();
    let Some(first) = list.first() else { return };
    let same = |key: &str| list.iter().all(|v| v[key] == first[key]);
    let structural = !preserves(spec);
    let versions = path.child("versions");
    for (i, v) in list.iter().enumerate() {
        let at = versions.index(i);
        match v.pointer("/schema/openAPIV3Schema").filter(|s| s.is_object()) {
            None if structural => {
                let at = &at.child("schema");
                out.push(Error::required(&at.child("openAPIV3Schema"), "schemas are required"));
            }
            None => {}
            // one schema for all versions is reported once, where upstream hoists it to
            Some(_) if same("schema") && i > 0 => {}
            Some(schema) => {
                let at = if same("schema") { path.child("validation") } else { at.child("schema") };
                out.extend(schema_rules::check(schema, &at.child("openAPIV3Schema"), structural));
            }
        }
        let scale = &v["subresources"]["scale"];
        let hoisted = same("subresources");
        if scale.is_object() && (!hoisted || i == 0) {
            let at = if hoisted { path.child("subresources") } else { at.child("subresources") };
            for (key, under) in
                [("specReplicasPath", ".spec."), ("statusReplicasPath", ".status."), ("labelSelectorPath", "")]
            {
                let name = format!("scale.{key}");
                simple_path(text(scale, key), under, key == "labelSelectorPath", &at.child(&name), out);
            }
        }
        let hoisted = same("additionalPrinterColumns");
        if !hoisted || i == 0 {
            let at =
                if hoisted { path.child("additionalPrinterColumns") } else { at.child("additionalPrinterColumns") };
            for (j, c) in items(v, "additionalPrinterColumns") {
                check_column(c, &at.index(j), out);
            }
        }
        let at = at.child("selectableFields");
        let mut seen = HashSet::new();
        for (j, f) in items(v, "selectableFields") {
            let at = &at.index(j);
            let at = &at.child("jsonPath");
            let text = text(f, "jsonPath");
            if text.is_empty() {
                out.push(Error::required(at, ""));
            } else if !text.starts_with('.') || JsonPath::parse(text).is_none_or(|p| p.fields().is_none()) {
                out.push(Error::invalid(at, text, "is an invalid path: must be a simple path of fields"));
            } else if text.starts_with(".metadata.") {
                out.push(Error::invalid(at, text, "must not point to fields in metadata"));
            } else if !seen.insert(text) {
                out.push(Error::duplicate(at, text));
            }
            if j >= 8 {
                out.push(Error::too_many(&versions.index(i), j + 1, 8));
            }
        }
    }
}

fn simple_path(text: &str, under: &str, optional: bool, at: &Path, out: &mut Vec<Error>) {
    if text.is_empty() {
        if !optional {
            out.push(Error::required(at, ""));
        }
    } else if !text.starts_with('.') {
        out.push(Error::invalid(at, text, "must be a simple json path starting with ."));
    } else if JsonPath::parse(text).is_none_or(|p| p.fields().is_none()) {
        out.push(Error::invalid(at, text, "must be a json path in the dot notation"));
    } else if under.is_empty() && !text.starts_with(".spec.") && !text.starts_with(".status.") {
        out.push(Error::invalid(at, text, "should be a json path under either .spec or .status"));
    } else if !text.starts_with(under) {
        let why = format!("should be a json path under {}", under.trim_end_matches('.'));
        out.push(Error::invalid(at, text, why));
    }
}

fn check_column(c: &Value, at: &Path, out: &mut Vec<Error>) {
    if text(c, "name").is_empty() {
        out.push(Error::required(&at.child("name"), ""));
    }
    const TYPES: [&str; 5] = ["boolean", "date", "integer", "number", "string"];
    match text(c, "type") {
        "" => out.push(Error::required(&at.child("type"), "must be one of boolean,date,integer,number,string")),
        t if TYPES.contains(&t) => {}
        t => out.push(Error::invalid(&at.child("type"), t, "must be one of boolean,date,integer,number,string")),
    }
    const FORMATS: [&str; 9] = ["byte", "date", "date-time", "double", "float", "int32", "int64", "password", ""];
    let format = text(c, "format");
    if !FORMATS.contains(&format) {
        let why = "must be one of byte,date,date-time,double,float,int32,int64,password";
        out.push(Error::invalid(&at.child("format"), format, why));
    }
    match text(c, "jsonPath") {
        "" => out.push(Error::required(&at.child("JSONPath"), "")),
        p if !p.starts_with('.') => {
            out.push(Error::invalid(&at.child("JSONPath"), p, "must be a simple json path starting with ."));
        }
        p if JsonPath::parse(p).is_none() => {
            out.push(Error::invalid(&at.child("JSONPath"), p, format!("is an invalid JSON path: {p}")));
        }
        _ => {}
    }
}

fn check_names(n: &Value, path: &Path, out: &mut Vec<Error>) {
    let mut label = |path: &Path, shown: &str, name: &str, head: &str| {
        let wrong = names::dns1035_label(name, false);
        if !name.is_empty() && !wrong.is_empty() {
            out.push(Error::invalid(path, shown, format!("{head}{}", wrong.join(","))));
        }
    };
    for key in ["plural", "singular"] {
        label(&path.child(key), text(n, key), text(n, key), "");
    }
    for key in ["kind", "listKind"] {
        let name = text(n, key);
        label(&path.child(key), name, &name.to_lowercase(), "may have mixed case, but should otherwise match: ");
    }
    for key in ["shortNames", "categories"] {
        let at = path.child(key);
        for (i, s) in items(n, key) {
            let s = s.as_str().unwrap_or_default();
            label(&at.index(i), s, s, "");
        }
    }
    if !text(n, "kind").is_empty() && text(n, "kind") == text(n, "listKind") {
        let why = "kind and listKind may not be the same";
        out.push(Error::invalid(&path.child("listKind"), text(n, "listKind"), why));
    }
}

fn check_conversion(c: &Value, path: &Path, out: &mut Vec<Error>) {
    let webhook = &c["webhook"];
    match text(c, "strategy") {
        "" => out.push(Error::required(&path.child("strategy"), "")),
        "None" if webhook.is_object() => {
            let why = "should not be set when strategy is not set to Webhook";
            out.push(Error::forbidden(&path.child("webhook"), why));
        }
        "None" => {}
        "Webhook" => {
            let path = &path.child("webhook");
            if !webhook.is_object() {
                return out.push(Error::required(path, "required when strategy is set to Webhook"));
            }
            let versions: Vec<&str> =
                items(webhook, "conversionReviewVersions").filter_map(|(_, v)| v.as_str()).collect();
            if versions.is_empty() {
                out.push(Error::required(&path.child("conversionReviewVersions"), ""));
            } else if !versions.iter().any(|v| matches!(*v, "v1" | "v1beta1")) {
                let why = "must include at least one of v1, v1beta1";
                out.push(Error::invalid(&path.child("conversionReviewVersions"), json!(versions), why));
            }
            let config = &webhook["clientConfig"];
            let at = &path.child("clientConfig");
            match (config["url"].as_str(), config["service"].is_object()) {
                (None, false) | (Some(_), true) => {
                    out.push(Error::required(at, "exactly one of url or service is required"));
                }
                (Some(url), false) if !url.starts_with("https://") => {
                    let why = "'https' is the only allowed URL scheme; desired format: https://host[/path]";
                    out.push(Error::invalid(&at.child("url"), url, why));
                }
                (Some(_), false) => {}
                (None, true) => {
                    let at = at.child("service");
                    for key in ["name", "namespace"] {
                        if text(&config["service"], key).is_empty() {
                            out.push(Error::required(&at.child(key), &format!("service {key} is required")));
                        }
                    }
                    let port = config["service"]["port"].as_i64().unwrap_or(443);
                    if !(1..=65535).contains(&port) {
                        let why = "port is not valid: must be between 1 and 65535, inclusive";
                        out.push(Error::invalid(&at.child("port"), port, why));
                    }
                    if let Some(p) = config["service"]["path"].as_str().filter(|p| !p.starts_with('/')) {
                        out.push(Error::invalid(&at.child("path"), p, "must start with a '/'"));
                    }
                }
            }
        }
        other => out.push(Error::not_supported(&path.child("strategy"), other, &["None", "Webhook"])),
    }
}

/// Why the schemas of a definition are not structural; empty where they are.
pub fn violations(spec: &Value) -> Vec<Error> {
    let path = &Path::root("spec");
    let versions = &path.child("versions");
    let mut out = Vec::new();
    for (i, v) in items(spec, "versions") {
        let at = &versions.index(i);
        let at = &at.child("schema");
        if let Some(schema) = v.pointer("/schema/openAPIV3Schema").filter(|s| s.is_object()) {
            out.extend(schema_rules::violations(schema, &at.child("openAPIV3Schema")));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn crd() -> Value {
        let mut tree = json!({"metadata": {"name": "crontabs.stable.example.com"}, "spec": {
            "group": "stable.example.com", "scope": "Namespaced", "names": {"plural": "crontabs", "kind": "CronTab"},
            "versions": [{"name": "v1", "served": true, "storage": true,
                "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": {"type": "object"}}}}}]}});
        CustomResourceDefinition.default(&mut tree);
        tree
    }

    #[test]
    fn defaults() {
        let tree = crd();
        assert_eq!(
            tree["spec"]["names"],
            json!({"plural": "crontabs", "kind": "CronTab", "singular": "crontab", "listKind": "CronTabList"})
        );
        assert_eq!(tree["spec"]["conversion"], json!({"strategy": "None"}));
        let mut stored = tree.clone();
        CustomResourceDefinition.prepare_create(&mut stored);
        assert_eq!(stored["status"]["storedVersions"], json!(["v1"]));
    }

    #[test]
    fn definitions_are_checked_in_upstreams_words() {
        for (pointer, value, want) in [
            ("/metadata/name", json!("crontabs.stable.example.com"), ""),
            (
                "/metadata/name",
                json!("x"),
                r#"metadata.name: Invalid value: "x": must be spec.names.plural+"."+spec.group"#,
            ),
            (
                "/spec/scope",
                json!("x"),
                r#"spec.scope: Unsupported value: "x": supported values: "Cluster", "Namespaced""#,
            ),
            ("/spec/versions/0/storage", json!(false), "spec.versions: Invalid value: "),
            (
                "/spec/versions/0/schema",
                json!({}),
                "spec.versions[0].schema.openAPIV3Schema: Required value: schemas are required",
            ),
            (
                "/spec/versions/0/schema/openAPIV3Schema/type",
                json!(""),
                "spec.validation.openAPIV3Schema.type: Required value: must not be empty at the root",
            ),
            (
                "/spec/names/kind",
                json!("Cron Tab"),
                r#"spec.names.kind: Invalid value: "Cron Tab": may have mixed case, but should otherwise match: a DNS-1035 label"#,
            ),
            (
                "/spec/names/listKind",
                json!("CronTab"),
                r#"spec.names.listKind: Invalid value: "CronTab": kind and listKind may not be the same"#,
            ),
            (
                "/spec/conversion",
                json!({"strategy": "Webhook"}),
                "spec.conversion.webhook: Required value: required when strategy is set to Webhook",
            ),
            (
                "/spec/versions/0/subresources",
                json!({"scale": {"specReplicasPath": ".status.x", "statusReplicasPath": ".status.y"}}),
                r#"spec.subresources.scale.specReplicasPath: Invalid value: ".status.x": should be a json path under .spec"#,
            ),
            (
                "/spec/versions/0/additionalPrinterColumns",
                json!([{"name": "a", "type": "x", "jsonPath": ".a"}]),
                r#"spec.additionalPrinterColumns[0].type: Invalid value: "x": must be one of boolean,date,integer,number,string"#,
            ),
        ] {
            let mut tree = crd();
            let (parent, key) = pointer.rsplit_once('/').unwrap();
            tree.pointer_mut(parent).unwrap()[key] = value;
            let errors: Vec<String> =
                CustomResourceDefinition.validate(&tree).iter().map(ToString::to_string).collect();
            let all = errors.join(", ");
            assert!(all.starts_with(want) && all.is_empty() == want.is_empty(), "{pointer}: {all}");
        }
        let mut own = crd();
        own["spec"]["group"] = json!("x.k8s.io");
        own["metadata"]["name"] = json!("crontabs.x.k8s.io");
        assert_eq!(
            CustomResourceDefinition.validate(&own)[0].to_string(),
            r#"metadata.annotations[api-approved.kubernetes.io]: Required value: protected groups must have approval annotation "api-approved.kubernetes.io", see https://github.com/kubernetes/enhancements/pull/1111"#
        );
    }

    #[test]
    fn only_old_versions_keep_what_no_schema_knows() {
        let mut new = crd();
        new["spec"]["preserveUnknownFields"] = json!(true);
        let errors =
            |version, old| CustomResourceDefinition.validate_version(("apiextensions.k8s.io", version), &new, old);
        assert!(
            errors("v1", None)[0].to_string().starts_with("spec.preserveUnknownFields: Invalid value: true: cannot")
        );
        assert_eq!(
            (errors("v1", Some(&crd())).len(), errors("v1", Some(&new)).len(), errors("v1beta1", None).len()),
            (1, 0, 0)
        );
    }

    #[test]
    fn what_is_established_stays() {
        let mut old = crd();
        old["status"] =
            json!({"conditions": [{"type": "Established", "status": "True"}], "storedVersions": ["v1", "v0"]});
        let mut new = old.clone();
        new["spec"]["scope"] = json!("Cluster");
        let errors: Vec<String> =
            CustomResourceDefinition.validate_update(&new, &old).iter().map(ToString::to_string).collect();
        assert_eq!(errors[0], r#"spec.scope: Invalid value: "Cluster": field is immutable"#);
        assert!(
            errors[1].starts_with(r#"status.storedVersions[1]: Invalid value: "v0": missing from spec.versions"#),
            "{errors:?}"
        );
    }
}
