//! Mutating policies. Upstream's `policy/mutating`: dispatcher and patchers.

use api::cel::{Budget, OBJECT_LIMIT};
use api::{Cause, Reason, Status, Value, apply, patch};

use super::{Mutation, Policy, Run, Trouble, namespace, runs};
use crate::admission::Write;
use crate::admission::conditions::{Bindings, Trees, hold};
use crate::admission::counts::Count;
use crate::admission::extension::Extensions;
use crate::admission::scene::{Scene, Views};

pub async fn admit(x: &Extensions, policies: &[Policy], s: &Scene<'_>, w: &mut Write<'_>) -> Result<(), Status> {
    if policies.is_empty() {
        return Ok(());
    }
    let second = w.again.second;
    w.again.policies.begin(second, w.object);
    let (all, mut troubles) = runs(x, policies, s, w.object).await;
    let namespace = if all.is_empty() { Value::Null } else { namespace(x, s)? };
    for run in &all {
        for params in &run.params {
            if let Err(message) = one(x, s, run, params, &namespace, w).await? {
                troubles.push(Trouble { policy: run.policy, binding: Some(run.binding), message });
            }
        }
    }
    w.again.policies.end(w.object);
    refuse(w, troubles)
}

/// One policy with one binding and one parameter. The inner error is what `failurePolicy` is about.
async fn one(
    x: &Extensions,
    s: &Scene<'_>,
    run: &Run<'_>,
    params: &Value,
    namespace: &Value,
    w: &mut Write<'_>,
) -> Result<Result<(), String>, Status> {
    let kind = &run.invocation.kind;
    let mut views = s.views(w.object, kind).await?;
    match holds(x, s, run, &views, params, namespace) {
        Ok(true) => {}
        Ok(false) => return Ok(Ok(())),
        Err(why) => return Ok(Err(why)),
    }
    let name = |v: &Value, key: &str| v["metadata"][key].as_str().unwrap_or_default().to_owned();
    let (of, by) = (&run.policy.name, &run.binding.name);
    let id = format!("{of}/{by}/{}/{}", name(params, "namespace"), name(params, "name"));
    if w.again.second && !w.again.policies.is_due(&id) {
        return Ok(Ok(()));
    }
    let before = w.object.clone();
    let mut failed = Ok(());
    for mutation in &run.policy.mutations {
        if views.object.is_null() {
            break;
        }
        match mutated(x, s, run, mutation, &views, params, namespace) {
            Ok(None) => {}
            Ok(Some(after)) => {
                s.put_back(after, kind, w.object).await?;
                views = s.views(w.object, kind).await?;
            }
            Err(why) => failed = failed.and(Err(why)),
        }
    }
    if *w.object != before {
        w.again.policies.require();
        w.again.wanted = true;
    }
    let error = if failed.is_ok() { "no_error" } else { "invalid_error" };
    x.counts.add(Count::Mutation, &[("error_type", error), ("policy", of), ("policy_binding", by)]);
    if run.policy.again {
        w.again.policies.remember(&id);
    }
    Ok(failed)
}

fn holds(
    x: &Extensions,
    s: &Scene<'_>,
    run: &Run<'_>,
    views: &Views,
    params: &Value,
    namespace: &Value,
) -> Result<bool, String> {
    let request = Value::Object(s.request(&run.invocation));
    let trees = Trees { object: &views.object, old: &views.old, request: &request, params, namespace };
    let on = Bindings::new(trees, s, &x.authorizer, &run.policy.variables);
    hold(&run.policy.conditions, &on, run.policy.ignore)
}

/// What a mutation makes of an object; `None`: it stays as it is.
fn mutated(
    x: &Extensions,
    s: &Scene<'_>,
    run: &Run<'_>,
    mutation: &Mutation,
    views: &Views,
    params: &Value,
    namespace: &Value,
) -> Result<Option<Value>, String> {
    let request = Value::Object(s.request(&run.invocation));
    let trees = Trees { object: &views.object, old: &views.old, request: &request, params, namespace };
    let on = Bindings::new(trees, s, &x.authorizer, &run.policy.variables);
    let mut budget = Budget::new(OBJECT_LIMIT);
    let mut after = views.object.clone();
    match mutation {
        Mutation::Patch(expression) => {
            let operations = expression.evaluate(&on, &mut budget)?.to_json();
            if !json_patch(&mut after, &operations)? {
                return Ok(None);
            }
        }
        Mutation::Apply(expression) => {
            let mut config = expression.evaluate(&on, &mut budget)?.to_json();
            let failed = |e: String| format!("error applying patch: {e}");
            let object = config.as_object_mut();
            let object = object.ok_or("unsupported return type from ApplyConfiguration expression")?;
            for key in ["apiVersion", "kind"] {
                object.insert(key.into(), views.object[key].clone());
            }
            let schema = s.schema(&run.invocation.kind).ok_or_else(|| failed("it has no schema".into()))?;
            let unknown = schema.check(&mut config).map_err(failed)?;
            if let [first, ..] = unknown.as_slice() {
                return Err(failed(format!("failed to convert patch object to typed object: {first}")));
            }
            apply::lay_over(schema, &mut after, &config).map_err(failed)?;
        }
    }
    Ok((after != views.object).then_some(after))
}

/// Applies a JSON patch; false: one of its tests failed.
fn json_patch(tree: &mut Value, operations: &Value) -> Result<bool, String> {
    let all = operations.as_array().ok_or("type mismatch: JSONPatchType.expression should evaluate to array")?;
    for operation in all {
        let one = Value::from(vec![operation.clone()]);
        match patch::json(tree, &one) {
            Ok(()) => {}
            Err(_) if operation["op"] == "test" => return Ok(false),
            Err(e) => return Err(format!("JSONPath: {}: {operation}", e.message)),
        }
    }
    Ok(true)
}

/// What remains of troubles after `failurePolicy`: upstream's `PolicyError`s as one status.
fn refuse(w: &Write<'_>, mut troubles: Vec<Trouble<'_>>) -> Result<(), Status> {
    troubles.retain(|t| !t.policy.ignore);
    let text = |t: &Trouble<'_>| match t.binding {
        Some(b) => format!("policy '{}' with binding '{}' denied request: {}", t.policy.name, b.name, t.message),
        None => format!("policy {:?} denied request: {}", t.policy.name, t.message),
    };
    let Some(first) = troubles.first() else { return Ok(()) };
    let mut status = w.refuse("admission request denied by policy");
    status.message = text(first);
    status.reason = Reason::Invalid;
    let cause = |t: &Trouble<'_>| Cause { reason: String::new(), message: text(t), field: String::new() };
    status.causes = troubles.iter().map(cause).collect();
    Err(status)
}
