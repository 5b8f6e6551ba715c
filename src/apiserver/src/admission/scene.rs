//! A write as webhooks and policies see it: who asks, for what, in which version.
//!
//! The engine's tree is in one version (of a built-in kind the storage version, of a custom resource that of the request);
//! what a rule names may be another. [`Scene::view`] makes the one from the other, [`Scene::put_back`] the way back.

use std::sync::{Arc, Weak};

use api::schema::{self, Schema};
use api::{Gvk, Kind, Object, Status, Value, convert, kinds};
use serde_json::{Map, json};

use super::{Operation, Write};
use crate::engine::{self, DeleteOptions, Engine, Propagation};
use crate::{Attributes, User};

/// What the tree of a write is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// The object, whole.
    Whole,
    /// The object, of which the request shows and changes the scale.
    Scale,
    /// What was posted to a subresource: `Binding`, `Eviction`, or the options of a connection.
    Posted(Gvkr),
}

/// Group, version and kind of what is posted.
type Gvkr = (&'static str, &'static str, &'static str);

pub struct Scene<'a> {
    pub attributes: &'a Attributes,
    pub kind: &'a Arc<Kind>,
    pub old: Option<&'a Arc<Object>>,
    pub operation: Operation,
    pub dry_run: bool,
    pub name: String,
    /// Of a namespace, its own name.
    pub namespace: String,
    deletion: Option<&'a DeleteOptions>,
    manager: &'a str,
    form: Form,
    engine: Option<Arc<Engine>>,
}

/// A resource that a rule names, equivalent to the request's or the request's own, and the kind that is shown for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invocation {
    pub group: String,
    pub version: String,
    pub kind: Gvk,
}

/// The new and the old object of a write in one version; `Null` where there is none.
#[derive(Debug, Clone)]
pub struct Views {
    pub object: Value,
    pub old: Value,
}

fn is_namespace(a: &Attributes) -> bool {
    a.group.is_empty() && a.resource == "namespaces"
}

/// The options of a request: `CreateOptions` and its like are of this group.
const OPTIONS: &str = "meta.k8s.io/v1";

impl<'a> Scene<'a> {
    pub fn of(w: &Write<'a>, engine: Option<&Weak<Engine>>) -> Scene<'a> {
        let a = w.attributes;
        let name = match a.name.as_str() {
            "" => w.object.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default().to_owned(),
            name => name.to_owned(),
        };
        let namespace = match is_namespace(a) {
            true => name.clone(),
            false if w.kind.namespaced() => a.namespace.clone(),
            false => String::new(),
        };
        Scene {
            attributes: a,
            kind: w.kind,
            old: w.old,
            operation: w.operation(),
            dry_run: w.dry_run,
            name,
            namespace,
            deletion: w.deletion,
            manager: w.manager,
            form: Form::of(a, w.kind),
            engine: engine.and_then(Weak::upgrade),
        }
    }

    pub fn is_namespace(&self) -> bool {
        is_namespace(self.attributes)
    }
    pub fn engine(&self) -> Option<&Arc<Engine>> {
        self.engine.as_ref()
    }

    /// What the request names, then what is equivalent to it.
    pub fn own(&self) -> Invocation {
        self.at(&self.attributes.group, &self.attributes.version)
    }
    pub fn equivalents(&self) -> impl Iterator<Item = Invocation> {
        let a = self.attributes;
        self.kind.served.iter().filter(|(g, v)| *g != a.group || *v != a.version).map(|(g, v)| self.at(g, v))
    }
    fn at(&self, group: &str, version: &str) -> Invocation {
        let gvk = |g: &str, v: &str, k: &str| Gvk { group: g.into(), version: v.into(), kind: k.into() };
        let kind = match self.form {
            Form::Whole => gvk(group, version, &self.kind.kind),
            Form::Scale => gvk("autoscaling", "v1", "Scale"),
            Form::Posted((g, v, k)) => gvk(g, v, k),
        };
        Invocation { group: group.into(), version: version.into(), kind }
    }

    /// The new object and the old one as `to` shows them.
    pub async fn views(&self, object: &Value, to: &Gvk) -> Result<Views, Status> {
        let object = match object.is_null() {
            true => Value::Null,
            false => self.view(object.clone(), to).await?,
        };
        let old = match self.old {
            Some(old) => self.view(old.tree(), to).await?,
            None => Value::Null,
        };
        Ok(Views { object, old })
    }

    async fn view(&self, mut tree: Value, to: &Gvk) -> Result<Value, Status> {
        match self.form {
            Form::Whole if self.kind.definition.is_some() => self.custom(tree, &to.version).await,
            Form::Whole => {
                convert::from_storage(self.kind, &to.group, &to.version, &mut tree);
                Ok(tree)
            }
            Form::Scale => {
                let scale = engine::scale_view(self.kind, &tree);
                scale.ok_or_else(|| Status::internal(format!("{} has no scale", self.kind.kind)))
            }
            Form::Posted((group, version, kind)) => {
                if let Some(o) = tree.as_object_mut() {
                    o.insert("apiVersion".into(), engine::api_version(group, version).into());
                    o.insert("kind".into(), kind.into());
                }
                Ok(tree)
            }
        }
    }

    /// A custom resource in another of its versions.
    async fn custom(&self, tree: Value, version: &str) -> Result<Value, Status> {
        let Some(definition) = &self.kind.definition else { return Ok(tree) };
        let to = engine::api_version(&definition.group, version);
        if tree["apiVersion"] == to.as_str() {
            return Ok(tree);
        }
        let engine = self.engine.as_ref().ok_or_else(|| Status::internal("there is no engine"))?;
        engine.convert_custom(definition, version, tree).await
    }

    /// That of what `kind` shows.
    pub fn schema(&self, kind: &Gvk) -> Option<Schema<'_>> {
        match (self.form, &self.kind.definition) {
            (Form::Scale, _) => schema::find(engine::SCALE).map(Schema::Type),
            (Form::Posted((group, version, kind)), _) => schema::find_kind(group, version, kind).map(Schema::Type),
            (Form::Whole, Some(d)) => d.version(&kind.version).map(|at| Schema::Custom(&d.versions[at].schema)),
            (Form::Whole, None) => schema::find(&self.kind.schema_of(&kind.group, &kind.version)).map(Schema::Type),
        }
    }

    /// Makes the engine's tree what a changed view of it says: unknown fields go, defaults are filled in.
    pub async fn put_back(&self, mut view: Value, from: &Gvk, object: &mut Value) -> Result<(), Status> {
        let unfit = |e: String| Status::internal(format!("{}: {e}", from.kind));
        match self.form {
            Form::Scale => {
                let replicas = view.pointer("/spec/replicas").and_then(Value::as_i64).unwrap_or(0);
                self.kind.strategy.set_replicas(object, replicas);
            }
            Form::Posted((group, version, kind)) => {
                if let Some(schema) = schema::find_kind(group, version, kind) {
                    schema::check(schema, &mut view).map_err(unfit)?;
                }
                *object = view;
            }
            Form::Whole => {
                let schema = match &self.kind.definition {
                    Some(d) => {
                        view = self.custom(view, &self.kind.version).await?;
                        d.version(&self.kind.version).map(|at| Schema::Custom(&d.versions[at].schema))
                    }
                    None => {
                        convert::to_storage(self.kind, &from.group, &from.version, &mut view);
                        schema::find(&self.kind.schema).map(Schema::Type)
                    }
                };
                if let Some(schema) = schema {
                    schema.check(&mut view).map_err(unfit)?;
                }
                self.kind.strategy.default(&mut view);
                *object = view;
            }
        }
        Ok(())
    }

    /// `AdmissionRequest` without its objects and its uid.
    pub fn request(&self, i: &Invocation) -> Map<String, Value> {
        let a = self.attributes;
        let own = self.own();
        let kind = |k: &Gvk| json!({"group": k.group, "version": k.version, "kind": k.kind});
        let resource = |i: &Invocation| json!({"group": i.group, "version": i.version, "resource": a.resource});
        let mut request = Map::new();
        let mut put = |key: &str, value: Value| drop(request.insert(key.to_owned(), value));
        put("kind", kind(&i.kind));
        put("resource", resource(i));
        put("requestKind", kind(&own.kind));
        put("requestResource", resource(&own));
        for (key, text) in [
            ("subResource", &a.subresource),
            ("requestSubResource", &a.subresource),
            ("name", &self.name),
            ("namespace", &self.namespace),
        ] {
            if !text.is_empty() {
                put(key, text.as_str().into());
            }
        }
        put("operation", self.operation.as_str().into());
        put("userInfo", user_info(&a.user));
        put("dryRun", self.dry_run.into());
        put("options", self.options());
        request
    }

    fn options(&self) -> Value {
        let mut options = match self.operation {
            Operation::Connect => return Value::Null,
            Operation::Create => json!({"kind": "CreateOptions", "apiVersion": OPTIONS}),
            Operation::Update => json!({"kind": "UpdateOptions", "apiVersion": OPTIONS}),
            Operation::Delete => json!({"kind": "DeleteOptions", "apiVersion": OPTIONS}),
        };
        if self.dry_run {
            options["dryRun"] = json!(["All"]);
        }
        if self.operation != Operation::Delete && !self.manager.is_empty() {
            options["fieldManager"] = self.manager.into();
        }
        let Some(asked) = self.deletion.filter(|_| self.operation == Operation::Delete) else { return options };
        if let Some(seconds) = asked.grace_seconds {
            options["gracePeriodSeconds"] = seconds.into();
        }
        if let Some(propagation) = asked.propagation {
            options["propagationPolicy"] = match propagation {
                Propagation::Background => "Background",
                Propagation::Foreground => "Foreground",
                Propagation::Orphan => "Orphan",
            }
            .into();
        }
        for (key, value) in [("uid", &asked.precondition.uid), ("resourceVersion", &asked.precondition.revision)] {
            if let Some(value) = value {
                options["preconditions"][key] = value.as_str().into();
            }
        }
        options
    }
}

impl Form {
    fn of(a: &Attributes, kind: &Kind) -> Form {
        match a.subresource.as_str() {
            "" | "status" => return Form::Whole,
            "scale" => return Form::Scale,
            _ => {}
        }
        let mut known = kinds::SUBRESOURCES.iter().filter(|s| s.group == kind.group);
        let found = known.find(|s| s.resource.split_once('/') == Some((&a.resource, &a.subresource)));
        match found {
            Some(s) if s.kind != kind.kind => {
                let (group, version) = s.home.unwrap_or((s.group, "v1"));
                Form::Posted((group, version, s.kind))
            }
            _ => Form::Whole,
        }
    }
}

/// The options of a connection as upstream decodes them from its query: `PodExecOptions`.
pub fn connection(group: &str, resource: &str, subresource: &str, path: &str, query: &str) -> Option<Value> {
    let mut known = kinds::SUBRESOURCES.iter().filter(|s| s.group == group);
    let found = known.find(|s| s.resource.split_once('/') == Some((resource, subresource)))?;
    if !found.kind.ends_with("Options") {
        return None;
    }
    let mut options = json!({"kind": found.kind, "apiVersion": engine::api_version(found.group, "v1")});
    if found.kind.ends_with("ProxyOptions") {
        options["path"] = path.into();
        return Some(options);
    }
    for (key, value) in form_urlencoded::parse(query.as_bytes()) {
        match &*key {
            "stdin" | "stdout" | "stderr" | "tty" => {
                options[&*key] = (!matches!(&*value, "" | "false" | "0")).into();
            }
            "container" => options["container"] = value.into(),
            "command" => push(&mut options, "command", value.as_ref().into()),
            "ports" => {
                let all = value.split(',').filter_map(|p| p.parse::<i32>().ok());
                all.for_each(|p| push(&mut options, "ports", p.into()));
            }
            _ => {}
        }
    }
    Some(options)
}

fn push(tree: &mut Value, key: &str, value: Value) {
    match tree[key].as_array_mut() {
        Some(list) => list.push(value),
        None => tree[key] = json!([value]),
    }
}

fn user_info(user: &User) -> Value {
    let mut info = json!({"username": user.name});
    if !user.uid.is_empty() {
        info["uid"] = json!(user.uid);
    }
    if !user.groups.is_empty() {
        info["groups"] = json!(user.groups);
    }
    if !user.extra.is_empty() {
        info["extra"] = json!(user.extra);
    }
    info
}

/// The group and version in an `apiVersion`.
pub fn group_version(api_version: &str) -> (&str, &str) {
    api_version.split_once('/').unwrap_or(("", api_version))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_show_their_options() {
        let got = connection("", "pods", "exec", "", "command=sh&command=-c&stdin=true&tty=0&container=a").unwrap();
        assert_eq!(
            got,
            json!({"kind": "PodExecOptions", "apiVersion": "v1", "command": ["sh", "-c"], "stdin": true, "tty": false, "container": "a"})
        );
        let got = connection("", "services", "proxy", "/x/y", "a=b").unwrap();
        assert_eq!(got, json!({"kind": "ServiceProxyOptions", "apiVersion": "v1", "path": "/x/y"}));
        assert!(connection("", "pods", "nope", "", "").is_none());
    }
}
