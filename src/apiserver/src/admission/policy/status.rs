//! The status of validating policies: which generation was looked at, and what its expressions get wrong about the types of
//! what they match. Upstream's `validatingadmissionpolicystatus` controller and `typechecking.go`.

use std::collections::BTreeSet;
use std::sync::{Arc, Weak};

use api::cel::{Environment, Type, Wanted, typed};
use api::crd::Structural;
use api::{Gvk, Object, Registry, Value, schema};
use serde_json::json;
use store::EventKind;
use tokio_util::sync::CancellationToken;

use crate::admission::scene::group_version;
use crate::admission::tree::{items, text};
use crate::{Attributes, Engine, User, Verb};

const RESOURCE: &str = "admissionregistration.k8s.io/validatingadmissionpolicies";
const PLACE: (&str, &str, &str) = ("admissionregistration.k8s.io", "v1", "validatingadmissionpolicies");
/// `maxTypesToCheck`
const MOST_TYPES: usize = 10;

/// Writes the status of every policy that changes, until `stop`.
pub(crate) async fn follow(engine: Weak<Engine>, stop: CancellationToken) {
    let work = async {
        loop {
            let Some(held) = engine.upgrade() else { return };
            let store = held.store().clone();
            let now = store.snapshot(RESOURCE);
            for object in now.iter() {
                update(&held, object).await;
            }
            drop(held);
            let Ok(mut watcher) = store.watch(RESOURCE, now.revision()) else { return };
            loop {
                let events = match watcher.next().await {
                    Ok(events) => events,
                    Err(store::Error::Closed) => return,
                    // slower than compaction: begin anew
                    Err(_) => break,
                };
                let Some(held) = engine.upgrade() else { return };
                for event in events.iter().filter(|e| e.kind == EventKind::Put) {
                    update(&held, &event.object).await;
                }
            }
        }
    };
    stop.run_until_cancelled(work).await;
}

async fn update(engine: &Engine, object: &Arc<Object>) {
    let tree = object.tree();
    let generation = &tree["metadata"]["generation"];
    if tree["status"]["observedGeneration"] == *generation {
        return;
    }
    let status = json!({"observedGeneration": generation, "typeChecking": checking(&engine.routes().registry, &tree)});
    let attributes = Attributes {
        user: User::system("system:kube-controller-manager"),
        verb: Verb::Update,
        group: PLACE.0.into(),
        version: PLACE.1.into(),
        resource: PLACE.2.into(),
        subresource: "status".into(),
        namespace: String::new(),
        name: object.name().into(),
        path: String::new(),
    };
    let change = |now: &mut Value| {
        // of another generation the next event tells
        if now["metadata"]["generation"] == *generation {
            for (key, value) in status.as_object().into_iter().flatten() {
                now["status"][key] = value.clone();
            }
        }
        Ok(())
    };
    if let Err(error) = engine.modify(&attributes, PLACE, object.name(), false, change).await
        && !error.is_not_found()
    {
        tracing::warn!(policy = object.name(), %error, "status of a policy not written");
    }
}

/// `status.typeChecking`
fn checking(registry: &Registry, policy: &Value) -> Value {
    let spec = &policy["spec"];
    let kinds = kinds(registry, spec);
    let params = &spec["paramKind"];
    let (group, version) = group_version(text(params, "/apiVersion"));
    let params = params.is_object().then(|| {
        let of = Gvk { group: group.into(), version: version.into(), kind: text(params, "/kind").into() };
        schema_of(registry, &of)
    });
    let schemas: Vec<(&Gvk, Structural)> = kinds.iter().filter_map(|k| Some((k, schema_of(registry, k)?))).collect();
    let mut warnings = Vec::new();
    for (i, v) in items(spec, "/validations").iter().enumerate() {
        for key in ["expression", "messageExpression"] {
            let expression = v[key].as_str().unwrap_or_default();
            if expression.is_empty() {
                continue;
            }
            let wrong: Vec<String> = schemas
                .iter()
                .filter_map(|(kind, schema)| {
                    let e = environment(spec, schema, params.as_ref());
                    let why = e.compile(expression, Wanted::Any).err()?;
                    let why = why.strip_prefix("compilation failed: ").unwrap_or(&why).to_owned();
                    Some(format!("{}/{}, Kind={}: {why}\n", kind.group, kind.version, kind.kind))
                })
                .collect();
            if !wrong.is_empty() {
                warnings.push(json!({"fieldRef": format!("spec.validations[{i}].{key}"), "warning": wrong.join("\n")}));
            }
        }
    }
    if warnings.is_empty() { json!({}) } else { json!({ "expressionWarnings": warnings }) }
}

/// `params`: absent without a `paramKind`, without a type where nothing is known of it.
fn environment<'a>(spec: &Value, schema: &'a Structural, params: Option<&'a Option<Structural>>) -> Environment<'a> {
    let object = |schema: &'a Structural| Type::Object { schema, resource: false };
    let mut e = Environment::new(object(schema)).with_authorizer();
    if let Some(params) = params {
        e = e.with_params(params.as_ref().map_or(Type::Dyn, object));
    }
    e = e.with_variables();
    for v in items(spec, "/variables") {
        let of = e.compile(text(v, "/expression"), Wanted::Any).map_or(Type::Dyn, |c| c.result);
        e.variable(text(v, "/name"), of);
    }
    e
}

/// `typesToCheck`: the kinds that the rules name outright.
fn kinds(registry: &Registry, spec: &Value) -> Vec<Gvk> {
    let mut found = BTreeSet::new();
    for rule in items(spec, "/matchConstraints/resourceRules") {
        let texts = |key: &str| -> Vec<&str> { items(rule, key).iter().filter_map(Value::as_str).collect() };
        let (groups, versions) = (texts("/apiGroups"), texts("/apiVersions"));
        if groups.iter().chain(&versions).any(|t| t.contains('*')) {
            continue;
        }
        for resource in texts("/resources").into_iter().filter(|r| !r.contains(['*', '/'])) {
            for (group, version) in groups.iter().flat_map(|g| versions.iter().map(move |v| (*g, *v))) {
                if let Some(kind) = registry.resource(group, version, resource) {
                    found.insert(Gvk { group: group.into(), version: version.into(), kind: kind.kind.clone() });
                }
            }
        }
    }
    found.into_iter().take(MOST_TYPES).collect()
}

fn schema_of(registry: &Registry, of: &Gvk) -> Option<Structural> {
    let kind = registry.kind(&of.group, &of.version, &of.kind)?;
    match &kind.definition {
        Some(d) => typed(None, d.version(&of.version).map(|at| &d.versions[at].schema)),
        None => typed(schema::find(&kind.schema_of(&of.group, &of.version)), None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_types_are_warned_of() {
        let registry = api::kinds::registry();
        let policy = |expression: &str| {
            json!({"spec": {"matchConstraints": {"resourceRules": [{"apiGroups": ["apps"], "apiVersions": ["v1"],
                "operations": ["*"], "resources": ["deployments", "deployments/status"]}]},
                "variables": [{"name": "n", "expression": "object.spec.replicas"}],
                "validations": [{"expression": expression, "messageExpression": "'x'"}]}})
        };
        assert_eq!(checking(&registry, &policy("variables.n > 1 && object.metadata.name != ''")), json!({}));
        let wrong = checking(&registry, &policy("object.spec.foo == 1"));
        assert_eq!(wrong["expressionWarnings"][0]["fieldRef"], "spec.validations[0].expression");
        let warning = wrong["expressionWarnings"][0]["warning"].as_str().unwrap();
        assert!(
            warning.starts_with("apps/v1, Kind=Deployment: ERROR: <input>:1:12: undefined field 'foo'"),
            "{warning}"
        );
        assert_eq!(
            checking(&registry, &policy("variables.n > '1'"))["expressionWarnings"].as_array().unwrap().len(),
            1
        );
    }
}
