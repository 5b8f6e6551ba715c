//! `authorizer` in expressions: upstream's `cel/library/authz.go`.

use std::rc::Rc;
use std::sync::Arc;

use api::cel::{Opaque, Value};

use super::scene::Scene;
use crate::subresource::verb;
use crate::{Attributes, Authorizer, Decision, User};

type Answer = Option<Result<Value<'static>, String>>;

fn made(v: impl Opaque + 'static) -> Answer {
    Some(Ok(Value::Opaque(Rc::new(v))))
}

/// `Authorizer`: what somebody may do.
#[derive(Clone)]
pub struct Checks {
    pub authorizer: Arc<dyn Authorizer>,
    pub user: Arc<User>,
}

impl Checks {
    fn attributes(&self) -> Attributes {
        Attributes {
            user: self.user.clone(),
            verb: crate::Verb::Get,
            group: String::new(),
            version: String::new(),
            resource: String::new(),
            subresource: String::new(),
            namespace: String::new(),
            name: String::new(),
            path: String::new(),
        }
    }
}

impl Opaque for Checks {
    fn type_name(&self) -> &'static str {
        "kubernetes.authorization.Authorizer"
    }
    fn call(&self, function: &str, args: &[Value<'_>]) -> Answer {
        match (function, args) {
            ("path", [Value::String(path)]) if path.trim().is_empty() => Some(Err("path must not be empty".into())),
            ("path", [Value::String(path)]) => made(PathCheck { checks: self.clone(), path: path.to_string() }),
            ("group", [Value::String(group)]) => made(GroupCheck { checks: self.clone(), group: group.to_string() }),
            ("serviceAccount", [Value::String(namespace), Value::String(name)]) => {
                let wrong = [api::names::dns_subdomain(name, false), api::names::dns_label(namespace, false)].concat();
                if !wrong.is_empty() {
                    return Some(Err(format!("Invalid service account name: {}", wrong.join(", "))));
                }
                let groups = vec![
                    "system:serviceaccounts".to_owned(),
                    format!("system:serviceaccounts:{namespace}"),
                    "system:authenticated".to_owned(),
                ];
                let user =
                    User { name: format!("system:serviceaccount:{namespace}:{name}"), groups, ..User::default() };
                made(Checks { user: Arc::new(user), ..self.clone() })
            }
            _ => None,
        }
    }
}

struct PathCheck {
    checks: Checks,
    path: String,
}

impl Opaque for PathCheck {
    fn type_name(&self) -> &'static str {
        "kubernetes.authorization.PathCheck"
    }
    fn call(&self, function: &str, args: &[Value<'_>]) -> Answer {
        match (function, args) {
            ("check", [Value::String(v)]) => {
                let a = Attributes { verb: verb(v), path: self.path.clone(), ..self.checks.attributes() };
                made(Decided(self.checks.authorizer.authorize(&a)))
            }
            _ => None,
        }
    }
}

struct GroupCheck {
    checks: Checks,
    group: String,
}

impl Opaque for GroupCheck {
    fn type_name(&self) -> &'static str {
        "kubernetes.authorization.GroupCheck"
    }
    fn call(&self, function: &str, args: &[Value<'_>]) -> Answer {
        match (function, args) {
            ("resource", [Value::String(resource)]) => {
                let (group, resource) = (self.group.clone(), resource.to_string());
                let about = Attributes { group, resource, version: "*".into(), ..self.checks.attributes() };
                made(ResourceCheck { authorizer: self.checks.authorizer.clone(), about })
            }
            _ => None,
        }
    }
}

/// `ResourceCheck`. Selectors may be named; no authorizer here looks at them.
pub struct ResourceCheck {
    authorizer: Arc<dyn Authorizer>,
    about: Attributes,
}

impl ResourceCheck {
    /// `authorizer.requestResource`
    pub fn of_request(all: &Checks, s: &Scene<'_>) -> ResourceCheck {
        let a = s.attributes;
        let about = Attributes {
            group: a.group.clone(),
            version: a.version.clone(),
            resource: a.resource.clone(),
            subresource: a.subresource.clone(),
            namespace: s.namespace.clone(),
            name: s.name.clone(),
            ..all.attributes()
        };
        ResourceCheck { authorizer: all.authorizer.clone(), about }
    }
}

impl Opaque for ResourceCheck {
    fn type_name(&self) -> &'static str {
        "kubernetes.authorization.ResourceCheck"
    }
    fn call(&self, function: &str, args: &[Value<'_>]) -> Answer {
        let [Value::String(text)] = args else { return None };
        let mut about = self.about.clone();
        match function {
            "subresource" => about.subresource = text.to_string(),
            "namespace" => about.namespace = text.to_string(),
            "name" => about.name = text.to_string(),
            "fieldSelector" | "labelSelector" => {}
            "check" => {
                about.verb = verb(text);
                return made(Decided(self.authorizer.authorize(&about)));
            }
            _ => return None,
        }
        made(ResourceCheck { authorizer: self.authorizer.clone(), about })
    }
}

struct Decided(Decision);

impl Opaque for Decided {
    fn type_name(&self) -> &'static str {
        "kubernetes.authorization.Decision"
    }
    fn call(&self, function: &str, args: &[Value<'_>]) -> Answer {
        if !args.is_empty() {
            return None;
        }
        Some(Ok(match function {
            "allowed" => Value::Bool(self.0 == Decision::Allow),
            "reason" => Value::string(match &self.0 {
                Decision::Deny(why) => why.clone(),
                _ => String::new(),
            }),
            "errored" => Value::Bool(false),
            "error" => Value::string(""),
            _ => return None,
        }))
    }
}
