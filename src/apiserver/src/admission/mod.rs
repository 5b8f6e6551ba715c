//! Admission: what changes or refuses a write after it is authorized and before it is stored.
//!
//! [`plugins`] are upstream's defaults, in upstream's order. They read from memory ([`Lookup`]) and wait for nothing but a
//! namespace's default service account.

mod again;
mod authorizer;
pub mod certificates;
mod conditions;
mod counts;
mod default_class;
mod extension;
mod limit_ranger;
mod namespace_lifecycle;
mod node_restriction;
mod node_taint;
mod pod_security;
mod policy;
mod priority;
mod rules;
mod runtime_class;
mod scene;
mod service_account;
mod storage_protection;
mod token_secret;
mod toleration_seconds;
mod tree;
mod webhook;

use std::any::Any;
use std::sync::Arc;

use api::{Kind, Object, Status, Value};
use async_trait::async_trait;

pub use again::Again;
pub(crate) use extension::exempt;
pub use extension::{Extensions, Mutating, Validating};
pub(crate) use policy::keep_status;
pub(crate) use scene::connection;
pub use token_secret::TokenSecret;

use crate::engine::{DeleteOptions, Engine};
use crate::{Attributes, Lookup};

/// What a write does to its object. A patch or apply may be a create.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    Create,
    Update,
    Delete,
    /// A connection is opened: `exec`, `attach`, `portforward`, `proxy`.
    Connect,
}

impl Operation {
    /// As webhooks and policies name it.
    pub fn as_str(self) -> &'static str {
        match self {
            Operation::Create => "CREATE",
            Operation::Update => "UPDATE",
            Operation::Delete => "DELETE",
            Operation::Connect => "CONNECT",
        }
    }
}

/// A write as a plugin sees it. On create `old` is absent; on delete `object` is `Null`.
pub struct Write<'a> {
    pub attributes: &'a Attributes,
    pub kind: &'a Arc<Kind>,
    pub object: &'a mut Value,
    pub old: Option<&'a Arc<Object>>,
    pub dry_run: bool,
    /// `object` is the options of a connection.
    pub connect: bool,
    /// Of a delete, what is asked.
    pub deletion: Option<&'a DeleteOptions>,
    /// `fieldManager=`
    pub manager: &'a str,
    /// `Warning` headers for the client.
    pub warnings: &'a mut Vec<String>,
    /// What a plugin holds until the write is over: the engine drops it once the commit has been published or has failed.
    /// A reservation's `Drop` looks into the store for what became of it, so a write that is cancelled gives it back too.
    pub held: &'a mut Vec<Box<dyn Any + Send>>,
    /// What ran and may run a second time.
    pub again: &'a mut Again,
}

/// One admission plugin. `mutate` of all plugins runs before `validate` of any.
#[async_trait]
pub trait Plugin: Send + Sync + 'static {
    fn name(&self) -> &'static str;
    /// Whether it wants to see this write at all; must be cheap.
    fn handles(&self, attributes: &Attributes) -> bool;
    /// Whether connections are its business.
    fn connects(&self) -> bool {
        false
    }
    /// Adds its figures to `/metrics`.
    fn metrics(&self, _out: &mut String) {}
    /// Called once, when there is an engine.
    fn attach(&self, _engine: &Arc<Engine>) {}
    async fn mutate(&self, _write: &mut Write<'_>) -> Result<(), Status> {
        Ok(())
    }
    async fn validate(&self, _write: &mut Write<'_>) -> Result<(), Status> {
        Ok(())
    }
}

impl Write<'_> {
    pub fn operation(&self) -> Operation {
        match (self.object.is_null(), self.old) {
            _ if self.connect => Operation::Connect,
            (true, _) => Operation::Delete,
            (false, None) => Operation::Create,
            (false, Some(_)) => Operation::Update,
        }
    }

    /// `pods "x" is forbidden: <why>`: upstream's `admission.NewForbidden`, with the best name there is.
    pub fn refuse(&self, why: impl AsRef<str>) -> Status {
        let a = self.attributes;
        let meta = |key: &str| self.object.pointer(key).and_then(Value::as_str).filter(|n| !n.is_empty());
        let name = match a.name.as_str() {
            "" => meta("/metadata/name").or_else(|| meta("/metadata/generateName")).unwrap_or("Unknown"),
            name => name,
        };
        Status::forbidden(&a.group, &a.resource, name, why.as_ref())
    }
}

/// Whether `a` is about the resource itself, not a subresource.
fn is(a: &Attributes, group: &str, resource: &str) -> bool {
    a.resource == resource && a.group == group && a.subresource.is_empty()
}

/// The plugins that are always on.
pub fn plugins(lookup: &Arc<dyn Lookup>) -> Vec<Arc<dyn Plugin>> {
    vec![
        Arc::new(namespace_lifecycle::NamespaceLifecycle::new(lookup.clone())),
        Arc::new(node_restriction::NodeRestriction::new(lookup.clone())),
        Arc::new(limit_ranger::LimitRanger::new(lookup.clone())),
        Arc::new(service_account::ServiceAccount::new(lookup.clone())),
        Arc::new(node_taint::TaintNodesByCondition),
        Arc::new(priority::Priority::new(lookup.clone())),
        Arc::new(pod_security::PodSecurity::new(lookup.clone())),
        Arc::new(toleration_seconds::DefaultTolerationSeconds),
        Arc::new(runtime_class::RuntimeClass::new(lookup.clone())),
        Arc::new(default_class::DefaultClass::of_claims(lookup.clone())),
        Arc::new(storage_protection::StorageObjectInUseProtection),
        Arc::new(default_class::DefaultClass::of_ingresses(lookup.clone())),
    ]
}

#[cfg(test)]
pub mod testing {
    //! Runs one plugin over one write.

    use super::*;
    use crate::{User, Verb};

    pub fn attributes(resource: &str, namespace: &str, user: &Arc<User>) -> Attributes {
        Attributes {
            user: user.clone(),
            verb: Verb::Create,
            group: String::new(),
            version: "v1".into(),
            resource: resource.into(),
            subresource: String::new(),
            namespace: namespace.into(),
            name: String::new(),
            path: String::new(),
        }
    }

    /// What a write needs beside the object.
    #[derive(Default)]
    pub struct Scratch {
        pub warnings: Vec<String>,
        held: Vec<Box<dyn Any + Send>>,
        again: Again,
    }

    impl Scratch {
        pub fn write<'a>(
            &'a mut self,
            attributes: &'a Attributes,
            kind: &'a Arc<Kind>,
            object: &'a mut Value,
            old: Option<&'a Arc<Object>>,
        ) -> Write<'a> {
            Write {
                attributes,
                kind,
                object,
                old,
                dry_run: false,
                connect: false,
                deletion: None,
                manager: "",
                warnings: &mut self.warnings,
                held: &mut self.held,
                again: &mut self.again,
            }
        }
    }

    pub fn kind() -> Arc<Kind> {
        kind_of("")
    }

    pub fn kind_of(plural: &str) -> Arc<Kind> {
        let s = String::new;
        Arc::new(Kind {
            group: s(),
            version: s(),
            kind: s(),
            list_kind: s(),
            plural: plural.into(),
            singular: s(),
            short_names: vec![],
            categories: vec![],
            scope: api::Scope::Namespaced,
            subresources: Default::default(),
            verbs: vec![],
            served: vec![],
            schema: s(),
            late_flush: false,
            strategy: Box::new(api::NoStrategy),
            definition: None,
        })
    }

    /// `mutate` then `validate`; the object as changed. `Null` is a delete.
    pub async fn run(
        plugin: &dyn Plugin,
        attributes: &Attributes,
        object: Value,
        old: Option<&Arc<Object>>,
    ) -> Result<Value, Status> {
        run_as("", plugin, attributes, object, old).await
    }

    /// Of a kind with this plural.
    pub async fn run_as(
        plural: &str,
        plugin: &dyn Plugin,
        attributes: &Attributes,
        mut object: Value,
        old: Option<&Arc<Object>>,
    ) -> Result<Value, Status> {
        let (kind, mut scratch) = (kind_of(plural), Scratch::default());
        let mut write = scratch.write(attributes, &kind, &mut object, old);
        if plugin.handles(attributes) {
            plugin.mutate(&mut write).await?;
            plugin.validate(&mut write).await?;
        }
        Ok(object)
    }
}
