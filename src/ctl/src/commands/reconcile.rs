//! `auth reconcile`: roles and bindings get what files ask for, and lose the rest only where that is asked for.

use std::collections::BTreeMap;

use api::Value;
use http::Method;
use serde_json::{Map, json};

use super::delete;
use crate::cli::{Files, Output};
use crate::error::{Error, Result};
use crate::objects::{Info, list};
use crate::print::{DryRun, done};
use crate::session::{JSON, Session, with_query};

#[derive(clap::Args)]
pub struct Flags {
    #[command(flatten)]
    files: Files,
    #[command(flatten)]
    output: Output,
    /// none, client or server: say what would be done
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "client")]
    dry_run: Option<String>,
    /// Take rules from roles that the files do not have
    #[arg(long)]
    remove_extra_permissions: bool,
    /// Take subjects from bindings that the files do not have
    #[arg(long)]
    remove_extra_subjects: bool,
}

const GROUP: &str = "rbac.authorization.k8s.io";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operation {
    None,
    Create,
    Update,
    Recreate,
}

/// What is to be done for one object.
#[derive(Debug)]
struct Plan {
    operation: Operation,
    object: Value,
    missing: Vec<Value>,
    extra: Vec<Value>,
    /// It says that it is not to be changed.
    protected: bool,
}

pub async fn run(s: &Session, flags: Flags) -> Result<()> {
    if flags.files.filename.is_empty() {
        return Err(Error::other("must specify one of -f and -k"));
    }
    let dry_run = DryRun::parse(flags.dry_run.as_deref())?;
    for info in s.local(&flags.files).await? {
        let m = &info.mapping;
        if m.group != GROUP {
            continue;
        }
        if m.version != "v1" {
            return Err(Error::other(format!(
                "only rbac.authorization.k8s.io/v1 is supported: not *{}.{}",
                m.version, m.kind
            )));
        }
        one(s, &flags, &info, dry_run).await?;
    }
    Ok(())
}

async fn one(s: &Session, flags: &Flags, info: &Info, dry_run: DryRun) -> Result<()> {
    let role = info.mapping.kind.ends_with("Role");
    let remove = if role { flags.remove_extra_permissions } else { flags.remove_extra_subjects };
    let live = match info.live(s).await {
        Ok(live) => Some(live),
        Err(error) if error.is_not_found() => None,
        Err(error) => return Err(error),
    };
    let plan = plan(&info.object, live.as_ref(), role, remove);
    let mut object = plan.object.clone();
    if !dry_run.client() && !plan.protected {
        object = write(s, info, &plan, dry_run).await?;
    }
    done(flags.output.output.as_deref(), &object, "reconciled", dry_run)?;
    eprint!("{}", told(&plan, if role { "rules" } else { "subjects" }, remove));
    Ok(())
}

async fn write(s: &Session, info: &Info, plan: &Plan, dry_run: DryRun) -> Result<Value> {
    let query = [("dryRun", dry_run.query()), ("fieldManager", "kubectl-auth-reconcile")];
    let all = with_query(&info.mapping.path(&info.namespace, ""), &query);
    match plan.operation {
        Operation::None => Ok(plan.object.clone()),
        Operation::Update => s.send(Method::PUT, &with_query(&info.path(), &query), JSON, Some(&plan.object)).await,
        Operation::Create => {
            if !info.namespace.is_empty() && dry_run == DryRun::None {
                ensure_namespace(s, &info.namespace).await?;
            }
            s.send(Method::POST, &all, JSON, Some(&plan.object)).await
        }
        // what a binding refers to cannot be changed
        Operation::Recreate if dry_run == DryRun::Server => Ok(plan.object.clone()),
        Operation::Recreate => {
            delete::delete_and_wait(s, info).await?;
            s.send(Method::POST, &all, JSON, Some(&plan.object)).await
        }
    }
}

async fn ensure_namespace(s: &Session, name: &str) -> Result<()> {
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
    match s.send(Method::POST, "/api/v1/namespaces", JSON, Some(&namespace)).await {
        Ok(_) => Ok(()),
        // there, or not ours to make: the role's own write says what is wrong
        Err(error) if error.status().is_some_and(|s| s.code == 409 || s.code == 403) => Ok(()),
        Err(error) => Err(error),
    }
}

/// What standard error says after the object.
fn told(plan: &Plan, what: &str, removed: bool) -> String {
    let caveat = match plan.protected {
        true => ", but object opted out (rbac.authorization.kubernetes.io/autoupdate: false)",
        false => "",
    };
    let operation = match plan.operation {
        Operation::None => return String::new(),
        Operation::Create => "create",
        Operation::Update => "update",
        Operation::Recreate => "recreate",
    };
    let mut out = format!("\treconciliation required {operation}{caveat}\n");
    let mut section = |title: String, all: &[Value]| {
        if !all.is_empty() {
            out += &title;
            all.iter().for_each(|v| out += &format!("\t\t{v}\n"));
        }
    };
    section(format!("\tmissing {what} added:\n"), &plan.missing);
    if removed {
        section(format!("\textra {what} removed:\n"), &plan.extra);
    }
    out
}

fn plan(expected: &Value, live: Option<&Value>, role: bool, remove: bool) -> Plan {
    let Some(live) = live else {
        let mut object = expected.clone();
        if role && !object["aggregationRule"].is_null() {
            // the controller writes them
            object["rules"] = json!([]);
        }
        let missing = list(expected, if role { "/rules" } else { "/subjects" }).to_vec();
        return Plan { operation: Operation::Create, object, missing, extra: Vec::new(), protected: false };
    };
    let protected = live["metadata"]["annotations"]["rbac.authorization.kubernetes.io/autoupdate"] == "false";
    if !role && live["roleRef"] != expected["roleRef"] && !same_role(&live["roleRef"], &expected["roleRef"]) {
        let object = expected.clone();
        return Plan { operation: Operation::Recreate, object, missing: Vec::new(), extra: Vec::new(), protected };
    }
    let mut object = live.clone();
    let mut changed = false;
    for marks in ["labels", "annotations"] {
        for (key, value) in expected["metadata"][marks].as_object().into_iter().flatten() {
            if object["metadata"][marks][key] != *value {
                object["metadata"][marks][key] = value.clone();
                changed = true;
            }
        }
    }
    let (field, missing, extra) = match role {
        true if !expected["aggregationRule"].is_null() => {
            let selectors = |v: &Value| list(v, "/aggregationRule/clusterRoleSelectors").to_vec();
            let (now, wanted) = (selectors(live), selectors(expected));
            ("/aggregationRule/clusterRoleSelectors", without(&wanted, &now), without(&now, &wanted))
        }
        true => {
            let (now, wanted) = (list(live, "/rules"), list(expected, "/rules"));
            ("/rules", uncovered(now, wanted), uncovered(wanted, now))
        }
        false => {
            let subjects = |v: &Value| list(v, "/subjects").iter().map(subject).collect::<Vec<_>>();
            let (now, wanted) = (subjects(live), subjects(expected));
            ("/subjects", without(&wanted, &now), without(&now, &wanted))
        }
    };
    if !missing.is_empty() || remove && !extra.is_empty() {
        let all = match remove {
            true => list(expected, field).to_vec(),
            false => [list(live, field), missing.as_slice()].concat(),
        };
        put(&mut object, field, all.into());
        changed = true;
    }
    let operation = if changed { Operation::Update } else { Operation::None };
    Plan { operation, object, missing, extra, protected }
}

/// Sets a field by its pointer, with the objects on the way.
fn put(object: &mut Value, pointer: &str, value: Value) {
    let mut place = object;
    for key in pointer.split('/').skip(1) {
        if !place.is_object() {
            *place = Value::Object(Map::new());
        }
        place = &mut place[key];
    }
    *place = value;
}

fn without(these: &[Value], those: &[Value]) -> Vec<Value> {
    these.iter().filter(|v| !those.contains(v)).cloned().collect()
}

/// With the group that the server fills in.
fn group(v: &Value, default: &str) -> String {
    v["apiGroup"].as_str().filter(|g| !g.is_empty()).unwrap_or(default).to_owned()
}

fn same_role(a: &Value, b: &Value) -> bool {
    a["kind"] == b["kind"] && a["name"] == b["name"] && group(a, GROUP) == group(b, GROUP)
}

fn subject(v: &Value) -> Value {
    let mut subject = v.clone();
    if v["kind"] != "ServiceAccount" {
        subject["apiGroup"] = group(v, GROUP).into();
    }
    subject
}

/// A rule's lists, by name.
const LISTS: [&str; 5] = ["verbs", "apiGroups", "resources", "resourceNames", "nonResourceURLs"];

/// What `wanted` allow and `have` do not, in the smallest rules: upstream's `validation.Covers`.
fn uncovered(have: &[Value], wanted: &[Value]) -> Vec<Value> {
    let parts = wanted.iter().flat_map(breakdown);
    parts.filter(|part| !have.iter().any(|rule| covers(rule, part))).collect()
}

fn strings<'v>(rule: &'v Value, name: &str) -> Vec<&'v str> {
    rule[name].as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}

/// One rule for each verb of each resource, name and path.
fn breakdown(rule: &Value) -> Vec<Value> {
    let [verbs, groups, resources, names, urls] = LISTS.map(|name| strings(rule, name));
    let names: Vec<Option<&str>> = if names.is_empty() { vec![None] } else { names.into_iter().map(Some).collect() };
    let mut parts = Vec::new();
    for (group, resource) in groups.iter().flat_map(|g| resources.iter().map(move |r| (g, r))) {
        for (verb, name) in verbs.iter().flat_map(|v| names.iter().map(move |n| (v, n))) {
            let lists = [
                ("verbs", Some(*verb)),
                ("apiGroups", Some(*group)),
                ("resources", Some(*resource)),
                ("resourceNames", *name),
            ];
            let one: BTreeMap<&str, [&str; 1]> = lists.into_iter().filter_map(|(k, v)| Some((k, [v?]))).collect();
            parts.push(json!(one));
        }
    }
    for (url, verb) in urls.iter().flat_map(|u| verbs.iter().map(move |v| (u, v))) {
        parts.push(json!({"verbs": [verb], "nonResourceURLs": [url]}));
    }
    parts
}

/// Upstream's `ruleCovers`, for a part as [`breakdown`] makes it.
fn covers(rule: &Value, part: &Value) -> bool {
    let any = |name: &str, wanted: &dyn Fn(&str, &str) -> bool| {
        let has = strings(rule, name);
        strings(part, name).iter().all(|w| has.iter().any(|h| *h == "*" || h == w || wanted(h, w)))
    };
    let exact = |_: &str, _: &str| false;
    let named = strings(rule, "resourceNames");
    let part_names = strings(part, "resourceNames");
    let names = named.is_empty() || (!part_names.is_empty() && part_names.iter().all(|n| named.contains(n)));
    let subresource = |h: &str, w: &str| w.split_once('/').is_some_and(|(_, sub)| h.strip_prefix("*/") == Some(sub));
    let below = |h: &str, w: &str| h.strip_suffix('*').is_some_and(|prefix| w.starts_with(prefix));
    names
        && any("verbs", &exact)
        && any("apiGroups", &exact)
        && any("resources", &subresource)
        && any("nonResourceURLs", &below)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(verbs: &[&str], resources: &[&str], names: &[&str]) -> Value {
        json!({"verbs": verbs, "apiGroups": [""], "resources": resources, "resourceNames": names})
    }

    #[test]
    fn what_rules_do_not_cover() {
        let paths = |verbs: &[&str], urls: &[&str]| json!({"verbs": verbs, "nonResourceURLs": urls});
        for (have, wanted, left) in [
            (rule(&["get"], &["pods"], &[]), rule(&["get", "list"], &["pods", "services"], &[]), 3),
            (rule(&["*"], &["*"], &[]), rule(&["get"], &["pods/log"], &["a"]), 0),
            (rule(&["get"], &["*/scale"], &[]), rule(&["get"], &["deployments/scale", "deployments"], &[]), 1),
            (rule(&["get"], &["pods"], &["a"]), rule(&["get"], &["pods"], &["a", "b"]), 1),
            (rule(&["get"], &["pods"], &["a"]), rule(&["get"], &["pods"], &[]), 1),
            (paths(&["get"], &["/logs/*"]), paths(&["get", "post"], &["/logs/x"]), 1),
        ] {
            assert_eq!(
                uncovered(std::slice::from_ref(&have), std::slice::from_ref(&wanted)).len(),
                left,
                "{have} {wanted}"
            );
        }
    }

    #[test]
    fn roles_gain_and_lose_only_when_asked() {
        let role =
            |rules: Vec<Value>, label: &str| json!({"metadata": {"name": "r", "labels": {"l": label}}, "rules": rules});
        let live = role(vec![rule(&["get"], &["pods"], &[])], "1");
        let wanted = role(vec![rule(&["list"], &["pods"], &[])], "1");
        let added = plan(&wanted, Some(&live), true, false);
        assert_eq!((added.operation, list(&added.object, "/rules").len()), (Operation::Update, 2));
        assert_eq!(added.missing[0]["verbs"], json!(["list"]));
        let replaced = plan(&wanted, Some(&live), true, true);
        assert_eq!(replaced.object["rules"], wanted["rules"]);
        assert!(told(&replaced, "rules", true).contains("\textra rules removed:\n"));
        assert_eq!(plan(&live, Some(&live), true, true).operation, Operation::None);
        assert_eq!(plan(&role(Vec::new(), "2"), Some(&live), true, false).object["metadata"]["labels"]["l"], "2");
        assert_eq!(plan(&wanted, None, true, false).operation, Operation::Create);
        let aggregated = json!({"aggregationRule": {"clusterRoleSelectors": [{"matchLabels": {"a": "b"}}]}});
        let plan = plan(&aggregated, Some(&live), true, false);
        assert_eq!(plan.object["aggregationRule"], aggregated["aggregationRule"]);
        assert_eq!(plan.object["rules"], live["rules"]);
    }

    #[test]
    fn bindings() {
        let binding = |role: &str, users: &[&str], groups: bool| {
            let of = |name: &&str| match groups {
                true => json!({"kind": "User", "name": name, "apiGroup": GROUP}),
                false => json!({"kind": "User", "name": name}),
            };
            json!({"roleRef": {"kind": "Role", "name": role}, "subjects": users.iter().map(of).collect::<Vec<_>>()})
        };
        let live = binding("r", &["a"], true);
        assert_eq!(plan(&binding("r", &["a"], false), Some(&live), false, true).operation, Operation::None);
        assert_eq!(list(&plan(&binding("r", &["b"], false), Some(&live), false, false).object, "/subjects").len(), 2);
        assert_eq!(list(&plan(&binding("r", &["b"], false), Some(&live), false, true).object, "/subjects").len(), 1);
        assert_eq!(plan(&binding("other", &["a"], false), Some(&live), false, false).operation, Operation::Recreate);
    }
}
