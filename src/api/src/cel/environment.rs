//! The variables of admission's expressions and their types: upstream's `admission/plugin/cel/compile.go`.

use std::sync::OnceLock;

use serde_json::json;

use super::types::{AUTHORIZER, RESOURCE_CHECK};
use super::{Compiled, Program, Type};
use crate::crd::{Additional, Checks, Structural, Type as Kind};
use crate::schema::{self, Field, Shape};

/// What an expression must give.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    Any,
    Bool,
    String,
    /// Of an audit annotation.
    StringOrNull,
    /// An apply configuration.
    Object,
    Patches,
}

/// What is declared where an expression stands; grows with every variable of its policy.
#[derive(Debug, Clone)]
pub struct Environment<'a> {
    declared: Vec<(String, Type<'a>)>,
}

impl<'a> Environment<'a> {
    /// `object` is the type of `object` and `oldObject`: dynamic but for the checks that only warn.
    pub fn new(object: Type<'a>) -> Environment<'a> {
        let mut e = Environment { declared: Vec::with_capacity(8) };
        e.declare("oldObject", object.clone());
        e.declare("object", object);
        e.declare("namespaceObject", Type::Object { schema: namespace_schema(), resource: false });
        e.declare("request", Type::Object { schema: request_schema(), resource: false });
        e
    }
    fn declare(&mut self, name: &str, of: Type<'a>) {
        self.declared.push((name.to_owned(), of));
    }
    pub fn with_params(mut self, of: Type<'a>) -> Self {
        self.declare("params", of);
        self
    }
    pub fn with_authorizer(mut self) -> Self {
        self.declare("authorizer", Type::Named(AUTHORIZER));
        self.declare("authorizer.requestResource", Type::Named(RESOURCE_CHECK));
        self
    }
    /// The same without `authorizer`, as messages are made.
    pub fn without_authorizer(&self) -> Self {
        let declared = self.declared.iter().filter(|(n, _)| !n.starts_with("authorizer")).cloned().collect();
        Environment { declared }
    }
    /// `Object{…}` and `JSONPatch{…}` may be made.
    pub fn with_patches(mut self) -> Self {
        self.declare("Object", Type::Type);
        self.declare("JSONPatch", Type::Type);
        self
    }
    /// `variables` of a policy, of which there may be none.
    pub fn with_variables(mut self) -> Self {
        static NONE: OnceLock<Structural> = OnceLock::new();
        let schema = NONE.get_or_init(|| Structural::parse(&json!({"type": "object"})));
        self.declare("variables", Type::Object { schema, resource: false });
        self
    }
    /// `variables.name`, from now on.
    pub fn variable(&mut self, name: &str, of: Type<'a>) {
        self.declared.push((format!("variables.{name}"), of));
    }

    /// Errors in upstream's words, without the field they are about.
    pub fn compile(&self, text: &str, wanted: Wanted) -> Result<Compiled<'a>, String> {
        let declared: Vec<(&str, Type<'a>)> = self.declared.iter().map(|(n, t)| (n.as_str(), t.clone())).collect();
        let compiled = Program::compile(text, &declared).map_err(|e| format!("compilation failed: {e}"))?;
        let patch = |t: &Type<'_>| matches!(t, Type::Dyn) || matches!(t, Type::Message(n) if &**n == "JSONPatch");
        let got = &compiled.result;
        let (fits, name) = match wanted {
            Wanted::Any => (true, "any"),
            Wanted::Bool => (matches!(got, Type::Bool), "bool"),
            Wanted::String => (matches!(got, Type::String(_)), "string"),
            Wanted::StringOrNull => (matches!(got, Type::String(_) | Type::Null), "[string null_type]"),
            Wanted::Object => (matches!(got, Type::Message(n) if &**n == "Object"), "Object"),
            Wanted::Patches => (matches!(got, Type::List(of, _) if patch(of)), "list(JSONPatch)"),
        };
        // a type that is not known here may be known to cel-go
        if fits || matches!(got, Type::Dyn) {
            return Ok(compiled);
        }
        let one_of = if name.starts_with('[') { "one of " } else { "" };
        Err(format!("must evaluate to {one_of}{name} but got {}", got.name()))
    }
}

fn request_schema() -> &'static Structural {
    static SCHEMA: OnceLock<Structural> = OnceLock::new();
    SCHEMA.get_or_init(|| {
        let text = || json!({"type": "string"});
        let texts = || json!({"type": "array", "items": {"type": "string"}});
        let object = |properties| json!({"type": "object", "properties": properties});
        let kind = || object(json!({"group": text(), "version": text(), "kind": text()}));
        let resource = || object(json!({"group": text(), "version": text(), "resource": text()}));
        let user = object(json!({
            "username": text(), "uid": text(), "groups": texts(),
            "extra": {"type": "object", "additionalProperties": texts()},
        }));
        Structural::parse(&object(json!({
            "kind": kind(), "resource": resource(), "subResource": text(), "requestKind": kind(),
            "requestResource": resource(), "requestSubResource": text(), "name": text(), "namespace": text(),
            "operation": text(), "userInfo": user, "dryRun": {"type": "boolean"},
            "options": {"x-kubernetes-preserve-unknown-fields": true},
        })))
    })
}

fn namespace_schema() -> &'static Structural {
    static SCHEMA: OnceLock<Structural> = OnceLock::new();
    SCHEMA.get_or_init(|| {
        let text = || json!({"type": "string"});
        let time = || json!({"type": "string", "format": "date-time"});
        let texts = || json!({"type": "array", "items": {"type": "string"}});
        let map = || json!({"type": "object", "additionalProperties": {"type": "string"}});
        let object = |properties| json!({"type": "object", "properties": properties});
        let condition = object(json!({
            "status": text(), "type": text(), "lastTransitionTime": time(), "message": text(), "reason": text(),
        }));
        Structural::parse(&object(json!({
            "metadata": object(json!({
                "name": text(), "generateName": text(), "namespace": text(), "labels": map(), "annotations": map(),
                "UID": text(), "creationTimestamp": time(), "deletionGracePeriodSeconds": {"type": "integer"},
                "deletionTimestamp": time(), "generation": {"type": "integer"}, "resourceVersion": text(),
                "finalizers": texts(),
            })),
            "spec": object(json!({"finalizers": texts()})),
            "status": object(json!({"conditions": {"type": "array", "items": condition}, "phase": text()})),
        })))
    })
}

/// A built-in type, or with `own` a custom resource's, as the schema that [`Type::Object`] borrows: with all metadata.
pub fn typed(built_in: Option<&'static schema::Type>, own: Option<&Structural>) -> Option<Structural> {
    if let Some(t) = built_in {
        return Some(structural(t, &mut Vec::new()));
    }
    let mut schema = own?.clone();
    let mut properties: Vec<(Box<str>, Structural)> = schema.properties.into_vec();
    properties.retain(|(n, _)| !matches!(&**n, "apiVersion" | "kind" | "metadata"));
    let text = || Structural { kind: Kind::String, ..Structural::default() };
    let meta = schema::find("io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta").map(|t| structural(t, &mut Vec::new()));
    properties.extend([("apiVersion".into(), text()), ("kind".into(), text())]);
    properties.extend(meta.map(|m| ("metadata".into(), m)));
    properties.sort_by(|a, b| a.0.cmp(&b.0));
    schema.kind = Kind::Object;
    schema.properties = properties.into();
    Some(schema)
}

/// `within`: the types that hold it. One that holds itself, as schemas do, is not followed again.
fn structural(t: &'static schema::Type, within: &mut Vec<&'static str>) -> Structural {
    if within.contains(&t.name) {
        return Structural { preserve: true, ..Structural::default() };
    }
    within.push(t.name);
    let mut property = |f: &'static Field| (f.name.into(), shaped(&f.shape, within));
    let properties = t.fields.iter().map(&mut property).collect();
    within.pop();
    Structural { kind: Kind::Object, properties, ..Structural::default() }
}

fn shaped(shape: &'static Shape, within: &mut Vec<&'static str>) -> Structural {
    let plain = |kind| Structural { kind, ..Structural::default() };
    let formatted = |format: &str| Structural {
        checks: Some(Box::new(Checks { format: format.into(), ..Checks::default() })),
        ..plain(Kind::String)
    };
    match shape {
        Shape::String => plain(Kind::String),
        Shape::Int32 | Shape::Int64 => plain(Kind::Integer),
        Shape::Bool => plain(Kind::Boolean),
        Shape::Number => plain(Kind::Number),
        Shape::Bytes => formatted("byte"),
        Shape::Time | Shape::MicroTime => formatted("date-time"),
        Shape::Quantity | Shape::IntOrString => Structural { int_or_string: true, ..Structural::default() },
        Shape::Any => Structural { preserve: true, ..Structural::default() },
        Shape::List(of) => Structural { items: Some(Box::new(shaped(of, within))), ..plain(Kind::Array) },
        Shape::Map(of) => {
            Structural { additional: Additional::Schema(Box::new(shaped(of, within))), ..plain(Kind::Object) }
        }
        Shape::Object(of) => structural(of.get(), within),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_fit_what_is_declared() {
        let mut e = Environment::new(Type::Dyn).with_params(Type::Dyn).with_authorizer().with_variables();
        let of = e.compile("object.spec.replicas > 1", Wanted::Any).unwrap().result;
        e.variable("many", of);
        for (text, wanted) in [
            ("object.metadata.name.startsWith('x') && oldObject == null", Wanted::Bool),
            ("variables.many || has(object.spec) && params.max > 3", Wanted::Bool),
            ("authorizer.group('apps').resource('deployments').namespace('a').check('get').allowed()", Wanted::Bool),
            ("authorizer.requestResource.check('x').reason() == ''", Wanted::Bool),
            ("authorizer.path('/healthz').check('get').errored()", Wanted::Bool),
            ("authorizer.serviceAccount('ns', 'sa').group('').resource('pods').check('list').allowed()", Wanted::Bool),
            ("request.operation == 'CREATE' && request.userInfo.groups.exists(g, g == 'x')", Wanted::Bool),
            ("request.namespace + namespaceObject.metadata.name", Wanted::String),
            ("has(object.x) ? 'a' : 'b'", Wanted::StringOrNull),
            ("'a' in request.userInfo.extra", Wanted::Bool),
        ] {
            e.compile(text, wanted).unwrap_or_else(|e| panic!("{text}: {e}"));
        }
        for (text, wanted, why) in [
            ("1 + 1", Wanted::Bool, "must evaluate to bool but got int"),
            ("true", Wanted::StringOrNull, "must evaluate to one of [string null_type] but got bool"),
            ("request.nope == ''", Wanted::Bool, "undefined field 'nope'"),
            ("variables.nope", Wanted::Bool, "undefined field 'nope'"),
            ("Object{}", Wanted::Object, "undeclared reference to 'Object'"),
            ("object.", Wanted::Bool, "compilation failed: ERROR: <input>:1:8: Syntax error"),
            ("authorizer.check('x')", Wanted::Bool, "found no matching overload for 'check'"),
        ] {
            let got = e.compile(text, wanted).map(|_| ()).unwrap_err();
            assert!(got.contains(why), "{text}: {got}");
        }
        assert!(e.without_authorizer().compile("authorizer.path('/').check('x').reason()", Wanted::String).is_err());
    }

    /// As users write them: from upstream's documentation and well-known libraries of policies.
    #[test]
    fn expressions_of_the_field() {
        use super::super::{Budget, CALL_LIMIT, Value};
        let object = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web-1", "namespace": "ns",
            "creationTimestamp": "2026-01-01T00:00:00Z", "labels": {"app": "web", "a.b/c": "d"}},
            "spec": {"replicas": 3, "hostNetwork": false, "clusterIP": "10.0.0.1",
                "volumes": [{"name": "v", "emptyDir": {}}],
                "containers": [{"name": "a", "image": "registry.k8s.io/x:1", "ports": [{"containerPort": 80}],
                    "resources": {"limits": {"memory": "64Mi"}}, "securityContext": {"readOnlyRootFilesystem": true}},
                    {"name": "b", "image": "registry.k8s.io/y", "securityContext": {"readOnlyRootFilesystem": true}}]}});
        let request = json!({"operation": "UPDATE", "namespace": "ns", "name": "web-1",
            "userInfo": {"username": "system:serviceaccount:kube-system:x", "groups": ["g"], "extra": {"k": ["v"]}}});
        let namespace = json!({"metadata": {"name": "ns", "labels": {"environment": "test"}}});
        let params = json!({"allowed": ["web-", "db-"], "max": 5, "memory": "1Gi"});
        let old = json!({"spec": {"replicas": 2}});
        let e = Environment::new(Type::Dyn).with_params(Type::Dyn);
        for text in [
            "!has(object.spec.volumes) || object.spec.volumes.all(vol, !has(vol.hostPath))",
            "object.spec.containers.all(c, has(c.securityContext) && has(c.securityContext.readOnlyRootFilesystem) && \
             c.securityContext.readOnlyRootFilesystem == true)",
            "['Deployment', 'ReplicaSet'].all(kind, object.kind != kind) || false",
            "object.spec.containers.all(c, c.image.matches('^registry.k8s.io/'))",
            "object.spec.containers.filter(c, !has(c.resources) || !has(c.resources.limits)).map(c, c.name).join(', ') == 'b'",
            "('environment' in namespaceObject.metadata.labels ? namespaceObject.metadata.labels['environment'] : 'prod') == 'test'",
            "object.spec.?securityContext.?runAsNonRoot.orValue(false) == false",
            "params.allowed.exists(p, object.metadata.name.startsWith(p))",
            "string(object.spec.replicas) + ' of ' + string(params.max) == '3 of 5'",
            "(object.spec.containers + (has(object.spec.initContainers) ? object.spec.initContainers : [])).size() == 2",
            "quantity(object.spec.containers[0].resources.limits.memory).isLessThan(quantity(params.memory))",
            "request.userInfo.username.startsWith('system:serviceaccount:kube-system:')",
            "oldObject == null || object.spec.replicas >= oldObject.spec.replicas",
            "object.metadata.labels.filter(l, l.startsWith('a.b/')).size() == 1",
            "object.metadata.?labels['app'].hasValue() && object.metadata.?labels[?'none'].orValue('x') == 'x'",
            "object.metadata.?annotations[?'x'].orValue('y') == 'y'",
            "request.operation in ['CREATE', 'UPDATE']",
            "object.spec.containers.map(c, c.name).exists_one(n, n == 'a')",
            "!ip(object.spec.clusterIP).isLoopback() && cidr('10.0.0.0/8').containsIP(object.spec.clusterIP)",
            "timestamp(object.metadata.creationTimestamp) < timestamp('2030-01-01T00:00:00Z')",
            "size(object.spec.containers) > 0 && object.metadata.name.lowerAscii() == object.metadata.name",
            "type(object.spec.replicas) == int && object.metadata.name.matches(r'\\w+-\\d+')",
            "object.metadata.labels.exists(k, k == 'app' && object.metadata.labels[k] == 'web')",
            "object.spec.containers.map(c, c.?resources.?limits.?memory.orValue('0')) == ['64Mi', '0']",
            "object.metadata.labels['a.b/c'] == 'd' && 'k' in request.userInfo.extra && request.userInfo.extra['k'][0] == 'v'",
            "object.spec.containers.all(c, c.?ports.orValue([]).all(p, p.containerPort < 1024 && !has(p.hostPort)))",
            "has(request.subResource) ? false : !(request.name in ['x'])",
            "cel.bind(names, object.spec.containers.map(c, c.name), names.size() == 2 && names.isSorted())",
            "object.spec.containers.all(c, !c.image.contains('@') && (c.image.split('/')[0] == 'registry.k8s.io'))",
            "params != null && dyn(params.max) == 5.0",
        ] {
            let compiled = e.compile(text, Wanted::Bool).unwrap_or_else(|e| panic!("{text}: {e}"));
            let on = [
                ("object", Value::of(&object, None)),
                ("oldObject", Value::of(&old, None)),
                ("request", Value::of(&request, None)),
                ("namespaceObject", Value::of(&namespace, None)),
                ("params", Value::of(&params, None)),
            ];
            let got = compiled.program.evaluate(&on, &mut Budget::new(CALL_LIMIT));
            assert!(matches!(got, Ok(Value::Bool(true))), "{text}: {got:?}");
        }
    }

    #[test]
    fn patches_are_made_of_messages() {
        let e = Environment::new(Type::Dyn).with_patches();
        e.compile("Object{spec: Object.spec{replicas: object.spec.replicas + 1}}", Wanted::Object).unwrap();
        e.compile(
            "[JSONPatch{op: 'add', path: '/a/' + jsonpatch.escapeKey('b/c'), value: Object.spec{a: [1]}}]",
            Wanted::Patches,
        )
        .unwrap();
        e.compile("has(object.a) ? [JSONPatch{op: 'remove', path: '/a'}] : []", Wanted::Patches).unwrap();
        for (text, wanted) in [
            ("Object.spec{a: 1}", Wanted::Object),
            ("[JSONPatch{operation: 'x'}]", Wanted::Patches),
            ("[JSONPatch{op: 1}]", Wanted::Patches),
            ("{'a': 1}", Wanted::Object),
            ("Other{}", Wanted::Any),
        ] {
            assert!(e.compile(text, wanted).is_err(), "{text}");
        }
    }

    #[test]
    fn types_of_kinds_are_checked() {
        // it holds itself
        let crd = "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.CustomResourceDefinition";
        assert!(typed(schema::find(crd), None).is_some());
        let schema = typed(schema::find("io.k8s.api.apps.v1.Deployment"), None).unwrap();
        let e = Environment::new(Type::Object { schema: &schema, resource: false });
        e.compile("object.spec.replicas > 1 && object.metadata.labels['a'] == 'b'", Wanted::Any).unwrap();
        e.compile("object.spec.template.spec.containers.all(c, c.image != '')", Wanted::Any).unwrap();
        for (text, why) in [
            ("object.foo > 1", "undefined field 'foo'"),
            ("object.spec.replicas > '1'", "found no matching overload for '_>_' applied to '(int, string)'"),
        ] {
            let got = e.compile(text, Wanted::Any).map(|_| ()).unwrap_err();
            assert!(got.contains(why), "{got}");
        }
    }
}
