//! RBAC decided from memory: roles and bindings, indexed by whom they bind.
//!
//! A binding names its role and the role is looked up at each decision, so that a change of a role touches one map entry and
//! a binding may come before its role.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use api::Object;
use parking_lot::RwLock;
use serde::Deserialize;

use super::rule::{Rule, nullable};
use crate::{Attributes, Authorizer, Decision, User};

pub const GROUP: &str = "rbac.authorization.k8s.io";
/// The stored resources that [`Rbac::put`] takes.
pub const RESOURCES: [&str; 4] = [
    "rbac.authorization.k8s.io/clusterroles",
    "rbac.authorization.k8s.io/clusterrolebindings",
    "rbac.authorization.k8s.io/roles",
    "rbac.authorization.k8s.io/rolebindings",
];

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Subject {
    User(Box<str>),
    Group(Box<str>),
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RoleRef {
    pub kind: Box<str>,
    pub name: Box<str>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct SubjectBody {
    kind: Box<str>,
    name: Box<str>,
    #[serde(deserialize_with = "nullable")]
    namespace: Box<str>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct BindingBody {
    #[serde(deserialize_with = "nullable")]
    subjects: Vec<SubjectBody>,
    role_ref: RoleRef,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct RoleBody {
    #[serde(deserialize_with = "nullable")]
    rules: Vec<Rule>,
}

/// Namespace (empty for the cluster's) and name.
pub(super) type Key = (Box<str>, Box<str>);

/// The names of the bindings that bind a subject, and their roles.
type Bound = HashMap<Subject, Vec<(Box<str>, RoleRef)>>;

#[derive(Default)]
struct Tables {
    /// Roles, and under the empty namespace ClusterRoles.
    roles: HashMap<Key, Arc<[Rule]>>,
    /// To take a binding out again.
    bindings: HashMap<Key, (Vec<Subject>, RoleRef)>,
    /// By namespace, then by subject: the bindings' names and roles.
    bound: HashMap<Box<str>, Bound>,
}

/// The index. Its owner feeds it every change of the four resources with [`Rbac::put`] and [`Rbac::remove`].
#[derive(Default)]
pub struct Rbac {
    tables: RwLock<Tables>,
}

impl Rbac {
    /// `resource` is one of [`RESOURCES`]. An object that cannot be read grants nothing.
    pub fn put(&self, resource: &str, object: &Object) {
        let key: Key = (object.namespace().into(), object.name().into());
        let mut t = self.tables.write();
        if resource.ends_with("bindings") {
            t.unbind(&key);
            let body: BindingBody = parse(object);
            let subjects: Vec<Subject> = body.subjects.iter().filter_map(subject).collect();
            t.bind(key, subjects, body.role_ref);
        } else {
            let body: RoleBody = parse(object);
            t.roles.insert(key, body.rules.into());
        }
    }

    pub fn remove(&self, resource: &str, namespace: &str, name: &str) {
        let key: Key = (namespace.into(), name.into());
        let mut t = self.tables.write();
        if resource.ends_with("bindings") {
            t.unbind(&key);
        } else {
            t.roles.remove(&key);
        }
    }

    /// Namespaces and names of what is there.
    pub(super) fn keys(&self, resource: &str) -> Vec<Key> {
        let t = self.tables.read();
        let cluster = resource.contains("/cluster");
        let here = |k: &&Key| k.0.is_empty() == cluster;
        match resource.ends_with("bindings") {
            true => t.bindings.keys().filter(here).cloned().collect(),
            false => t.roles.keys().filter(here).cloned().collect(),
        }
    }

    /// Every rule that binds `user` in `namespace` (and cluster-wide); `visit` says `false` to stop.
    /// Roles that a binding names in vain are handed to `lost`.
    fn each(&self, user: &User, namespace: &str, mut visit: impl FnMut(&Rule) -> bool, mut lost: impl FnMut(&RoleRef)) {
        let t = self.tables.read();
        let subjects = || {
            let groups = user.groups.iter().map(|g| Subject::Group(g.as_str().into()));
            std::iter::once(Subject::User(user.name.as_str().into())).chain(groups)
        };
        let mut seen: HashSet<&str> = HashSet::new();
        for scope in [""].into_iter().chain((!namespace.is_empty()).then_some(namespace)) {
            let Some(bound) = t.bound.get(scope) else { continue };
            seen.clear();
            for (binding, role) in subjects().filter_map(|s| bound.get(&s)).flatten() {
                if !seen.insert(binding) {
                    continue;
                }
                match t.role(role, scope) {
                    Some(rules) => {
                        if !rules.iter().all(&mut visit) {
                            return;
                        }
                    }
                    None => lost(role),
                }
            }
        }
    }

    /// All that `user` may do in `namespace`: `RulesFor`.
    pub fn rules_for(&self, user: &User, namespace: &str) -> Vec<Rule> {
        let mut out = Vec::new();
        self.each(
            user,
            namespace,
            |r| {
                out.push(r.clone());
                true
            },
            |_| {},
        );
        out
    }

    /// The rules of the role that a binding in `namespace` refers to.
    pub fn rules_of(&self, role: &RoleRef, namespace: &str) -> Option<Arc<[Rule]>> {
        self.tables.read().role(role, namespace).cloned()
    }
}

impl Authorizer for Rbac {
    fn authorize(&self, a: &Attributes) -> Decision {
        let (mut allowed, mut lost) = (false, Vec::new());
        let visit = |r: &Rule| {
            allowed = r.allows(a);
            !allowed
        };
        self.each(&a.user, &a.namespace, visit, |role| lost.push(role.clone()));
        if allowed {
            Decision::Allow
        } else if lost.is_empty() {
            Decision::NoOpinion
        } else {
            let text = |r: &RoleRef| format!("{}.{GROUP} {:?} not found", r.kind.to_lowercase(), r.name);
            let texts: Vec<String> = lost.iter().map(text).collect();
            let all = if let [one] = &*texts { one.clone() } else { format!("[{}]", texts.join(", ")) };
            Decision::Deny(format!("RBAC: {all}"))
        }
    }
}

impl Tables {
    fn role(&self, role: &RoleRef, namespace: &str) -> Option<&Arc<[Rule]>> {
        let scope = if &*role.kind == "ClusterRole" { "" } else { namespace };
        self.roles.get(&(scope.into(), role.name.clone()))
    }

    fn bind(&mut self, key: Key, subjects: Vec<Subject>, role: RoleRef) {
        let bound = self.bound.entry(key.0.clone()).or_default();
        for s in &subjects {
            bound.entry(s.clone()).or_default().push((key.1.clone(), role.clone()));
        }
        self.bindings.insert(key, (subjects, role));
    }

    fn unbind(&mut self, key: &Key) {
        let Some((subjects, _)) = self.bindings.remove(key) else { return };
        let Some(bound) = self.bound.get_mut(&key.0) else { return };
        for s in &subjects {
            if let Some(list) = bound.get_mut(s) {
                list.retain(|(name, _)| *name != key.1);
                if list.is_empty() {
                    bound.remove(s);
                }
            }
        }
        if bound.is_empty() {
            self.bound.remove(&key.0);
        }
    }
}

fn parse<T: Default + for<'de> Deserialize<'de>>(object: &Object) -> T {
    serde_json::from_slice(object.json()).unwrap_or_else(|error| {
        tracing::warn!(name = object.name(), namespace = object.namespace(), %error, "unreadable RBAC object");
        T::default()
    })
}

fn subject(s: &SubjectBody) -> Option<Subject> {
    match &*s.kind {
        "User" => Some(Subject::User(s.name.clone())),
        "Group" => Some(Subject::Group(s.name.clone())),
        "ServiceAccount" => {
            Some(Subject::User(format!("system:serviceaccount:{}:{}", s.namespace, s.name).into_boxed_str()))
        }
        _ => None,
    }
}

#[cfg(test)]
pub mod tests {
    use api::Draft;
    use serde_json::{Value, json};

    use super::*;
    use crate::Verb;

    fn put(rbac: &Rbac, resource: &str, tree: Value) {
        rbac.put(&format!("{GROUP}/{resource}"), &Draft::encode(&tree).unwrap().at(1));
    }
    fn role(name: &str, namespace: &str, resource: &str, verbs: &[&str]) -> Value {
        json!({"metadata": {"name": name, "namespace": namespace},
            "rules": [{"apiGroups": [""], "resources": [resource], "verbs": verbs}]})
    }
    fn binding(name: &str, namespace: &str, kind: &str, role: &str, subject: Value) -> Value {
        json!({"metadata": {"name": name, "namespace": namespace}, "subjects": [subject],
            "roleRef": {"apiGroup": GROUP, "kind": kind, "name": role}})
    }
    fn user(name: &str, groups: &[&str]) -> Arc<User> {
        Arc::new(User { name: name.into(), groups: groups.iter().map(|g| (*g).into()).collect(), ..User::default() })
    }
    pub fn ask(user: &Arc<User>, verb: Verb, resource: &str, namespace: &str) -> Attributes {
        Attributes {
            user: user.clone(),
            verb,
            group: String::new(),
            version: "v1".into(),
            resource: resource.into(),
            subresource: String::new(),
            namespace: namespace.into(),
            name: String::new(),
            path: String::new(),
        }
    }

    #[test]
    fn bindings_grant_in_their_scope_and_no_longer_than_they_stand() {
        let rbac = Rbac::default();
        put(&rbac, "clusterroles", role("view", "", "pods", &["get", "list"]));
        put(&rbac, "roles", role("edit", "a", "pods", &["create"]));
        put(
            &rbac,
            "clusterrolebindings",
            binding("all", "", "ClusterRole", "view", json!({"kind": "Group", "name": "g"})),
        );
        let sa = json!({"kind": "ServiceAccount", "name": "bot", "namespace": "b"});
        put(&rbac, "rolebindings", binding("here", "a", "Role", "edit", sa));
        put(&rbac, "rolebindings", binding("look", "a", "ClusterRole", "view", json!({"kind": "User", "name": "ann"})));

        let (member, bot, ann) = (user("x", &["g"]), user("system:serviceaccount:b:bot", &[]), user("ann", &[]));
        for (who, verb, namespace, allowed) in [
            (&member, Verb::List, "", true),
            (&member, Verb::Get, "a", true),
            (&member, Verb::Create, "a", false),
            (&bot, Verb::Create, "a", true),
            (&bot, Verb::Create, "b", false),
            (&ann, Verb::List, "a", true),
            (&ann, Verb::List, "", false),
            (&ann, Verb::List, "b", false),
        ] {
            let got = rbac.authorize(&ask(who, verb, "pods", namespace)) == Decision::Allow;
            assert_eq!(got, allowed, "{} {verb:?} {namespace}", who.name);
        }
        assert_eq!(rbac.rules_for(&ann, "a").len(), 1);

        put(&rbac, "clusterroles", role("view", "", "nodes", &["list"]));
        assert_eq!(rbac.authorize(&ask(&ann, Verb::List, "pods", "a")), Decision::NoOpinion);
        put(&rbac, "rolebindings", binding("here", "a", "Role", "edit", json!({"kind": "User", "name": "eve"})));
        assert_eq!(rbac.authorize(&ask(&bot, Verb::Create, "pods", "a")), Decision::NoOpinion);
        rbac.remove(&format!("{GROUP}/rolebindings"), "a", "here");
        assert_eq!(rbac.authorize(&ask(&user("eve", &[]), Verb::Create, "pods", "a")), Decision::NoOpinion);
    }

    #[test]
    fn a_role_that_is_not_there_is_the_reason() {
        let rbac = Rbac::default();
        put(&rbac, "rolebindings", binding("x", "a", "Role", "gone", json!({"kind": "User", "name": "ann"})));
        let d = rbac.authorize(&ask(&user("ann", &[]), Verb::List, "pods", "a"));
        assert_eq!(d, Decision::Deny(r#"RBAC: role.rbac.authorization.k8s.io "gone" not found"#.into()));
    }
}
