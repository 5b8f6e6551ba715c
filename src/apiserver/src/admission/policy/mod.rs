//! Admission policies: `ValidatingAdmissionPolicy` and `MutatingAdmissionPolicy` with their bindings, evaluated in process.
//! Upstream's `admission/plugin/policy`.
//!
//! ```text
//!   policy ── matchConstraints ──► binding ── matchResources, paramRef ──► one run a parameter ──► decisions | patches
//! ```

mod mutating;
mod params;
mod status;
mod validating;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use api::{Object, Status, Value};

pub(super) use mutating::admit as mutate;
pub(crate) use status::follow as keep_status;
pub(super) use validating::admit as validate;

use super::conditions::{Expression, Named, named, namespace_object};
use super::extension::Extensions;
use super::rules::Matching;
use super::scene::{Invocation, Scene};
use super::tree::{items, text};
use params::ParamRef;

/// What a policy says, its expressions parsed.
#[derive(Debug)]
pub struct Compiled {
    name: String,
    /// `failurePolicy: Ignore`
    ignore: bool,
    matching: Matching,
    conditions: Vec<Named>,
    variables: Vec<Named>,
    validations: Vec<Validation>,
    annotations: Vec<(String, Expression)>,
    mutations: Vec<Mutation>,
    /// `reinvocationPolicy: IfNeeded`
    again: bool,
    /// `apiVersion` and `kind` of its parameters.
    params: Option<(String, String)>,
}

#[derive(Debug)]
struct Validation {
    expression: Expression,
    message: String,
    made: Option<Expression>,
    reason: String,
}

#[derive(Debug)]
enum Mutation {
    Apply(Expression),
    Patch(Expression),
}

#[derive(Debug)]
struct Binding {
    name: String,
    matching: Matching,
    params: Option<ParamRef>,
    deny: bool,
    warn: bool,
    audit: bool,
}

/// A policy that is in force: it has bindings.
#[derive(Debug)]
pub struct Policy {
    policy: Arc<Compiled>,
    bindings: Vec<Binding>,
}

impl Compiled {
    fn parse(object: &Object) -> Compiled {
        let tree = object.tree();
        let spec = &tree["spec"];
        let validation = |v: &Value| Validation {
            expression: Expression::parse(text(v, "/expression")),
            message: text(v, "/message").trim().into(),
            made: Expression::given(v, "messageExpression"),
            reason: text(v, "/reason").into(),
        };
        let annotation =
            |v: &Value| (text(v, "/key").to_owned(), Expression::parse(text(v, "/valueExpression").trim()));
        let mutation = |v: &Value| match text(v, "/patchType") {
            "JSONPatch" => Mutation::Patch(Expression::parse(text(v, "/jsonPatch/expression"))),
            _ => Mutation::Apply(Expression::parse(text(v, "/applyConfiguration/expression"))),
        };
        let kind = &spec["paramKind"];
        Compiled {
            name: object.name().into(),
            ignore: spec["failurePolicy"] == "Ignore",
            matching: Matching::of_policy(&spec["matchConstraints"]),
            conditions: named(spec, "/matchConditions"),
            variables: named(spec, "/variables"),
            validations: items(spec, "/validations").iter().map(validation).collect(),
            annotations: items(spec, "/auditAnnotations").iter().map(annotation).collect(),
            mutations: items(spec, "/mutations").iter().map(mutation).collect(),
            again: spec["reinvocationPolicy"] == "IfNeeded",
            params: kind.is_object().then(|| (text(kind, "/apiVersion").into(), text(kind, "/kind").into())),
        }
    }
}

impl Binding {
    fn parse(object: &Object) -> Binding {
        let tree = object.tree();
        let spec = &tree["spec"];
        let does = |action: &str| items(spec, "/validationActions").iter().any(|a| a == action);
        Binding {
            name: object.name().into(),
            matching: Matching::of_policy(&spec["matchResources"]),
            params: ParamRef::parse(&spec["paramRef"]),
            deny: does("Deny"),
            warn: does("Warn"),
            audit: does("Audit"),
        }
    }
}

/// The policies that have been compiled, by resource and name, with their revisions.
pub type Known = HashMap<(String, String), (u64, Arc<Compiled>)>;

/// The policies that have bindings, in the order of their names.
pub fn bound(
    known: &mut Known,
    resource: &str,
    mut policies: Vec<Arc<Object>>,
    mut bindings: BTreeMap<String, Vec<Arc<Object>>>,
) -> Vec<Policy> {
    known.retain(|(r, name), _| r != resource || policies.iter().any(|p| p.name() == name));
    policies.sort_by(|a, b| a.name().cmp(b.name()));
    let mut all = Vec::new();
    for object in policies {
        let Some(mut of_it) = bindings.remove(object.name()) else { continue };
        of_it.sort_by(|a, b| a.name().cmp(b.name()));
        let entry = known.entry((resource.to_owned(), object.name().to_owned()));
        let known = entry.or_insert_with(|| (object.revision(), Arc::new(Compiled::parse(&object))));
        if known.0 != object.revision() {
            *known = (object.revision(), Arc::new(Compiled::parse(&object)));
        }
        all.push(Policy { policy: known.1.clone(), bindings: of_it.iter().map(|o| Binding::parse(o)).collect() });
    }
    all
}

/// A policy, a binding and the parameters for one write.
struct Run<'t> {
    policy: &'t Compiled,
    binding: &'t Binding,
    invocation: Invocation,
    /// `Null`: without.
    params: Vec<Value>,
}

/// What kept a policy from running.
struct Trouble<'t> {
    policy: &'t Compiled,
    binding: Option<&'t Binding>,
    message: String,
}

/// What is to be run for a write.
async fn runs<'t>(
    x: &Extensions,
    policies: &'t [Policy],
    s: &Scene<'_>,
    object: &Value,
) -> (Vec<Run<'t>>, Vec<Trouble<'t>>) {
    let (mut all, mut troubles) = (Vec::new(), Vec::new());
    for Policy { policy, bindings } in policies {
        let mut trouble = |binding: Option<&'t Binding>, why: String| {
            let what = if binding.is_some() { "binding" } else { "policy" };
            troubles.push(Trouble { policy, binding, message: format!("failed to configure {what}: {why}") });
        };
        let invocation = match policy.matching.find(s, object, &*x.lookup) {
            Ok(None) => continue,
            Ok(Some(invocation)) => invocation,
            Err(status) => {
                trouble(None, status.message);
                continue;
            }
        };
        if let Err(why) = params::known(s, policy) {
            trouble(None, why);
            continue;
        }
        for binding in bindings {
            match binding.matching.find(s, object, &*x.lookup) {
                Ok(None) => continue,
                Ok(Some(_)) => {}
                Err(status) => {
                    trouble(Some(binding), status.message);
                    continue;
                }
            }
            match params::collect(x, s, policy, binding.params.as_ref()).await {
                Ok(params) => all.push(Run { policy, binding, invocation: invocation.clone(), params }),
                Err(why) => trouble(Some(binding), why),
            }
        }
    }
    (all, troubles)
}

/// `namespaceObject`; `Null` for what is in no namespace.
fn namespace(x: &Extensions, s: &Scene<'_>) -> Result<Value, Status> {
    if s.namespace.is_empty() || s.is_namespace() {
        return Ok(Value::Null);
    }
    let found = x.lookup.get("namespaces", "", &s.namespace);
    let found = found.ok_or_else(|| Status::not_found("", "namespaces", &s.namespace))?;
    Ok(namespace_object(&found.tree()))
}
