//! Whether a webhook or policy is about a write: upstream's `predicates/rules`, `/namespace`, `/object` and `policy/matching`.

use api::labels::Selector;
use api::{Status, Value};

use super::Operation;
use super::scene::{Invocation, Scene};
use super::tree::items;
use crate::Lookup;

/// `RuleWithOperations`, `NamedRuleWithOperations`
#[derive(Debug)]
pub struct Rule {
    operations: Vec<Box<str>>,
    groups: Vec<Box<str>>,
    versions: Vec<Box<str>>,
    /// With the subresource behind the slash, empty without one.
    resources: Vec<(Box<str>, Box<str>)>,
    scope: Box<str>,
    names: Vec<Box<str>>,
}

fn texts(v: &Value, pointer: &str) -> Vec<Box<str>> {
    items(v, pointer).iter().filter_map(|t| t.as_str().map(Into::into)).collect()
}

impl Rule {
    fn parse(v: &Value) -> Rule {
        let split = |r: Box<str>| match r.split_once('/') {
            Some((resource, sub)) => (resource.into(), sub.into()),
            None => (r, "".into()),
        };
        Rule {
            operations: texts(v, "/operations"),
            groups: texts(v, "/apiGroups"),
            versions: texts(v, "/apiVersions"),
            resources: texts(v, "/resources").into_iter().map(split).collect(),
            scope: v["scope"].as_str().unwrap_or("*").into(),
            names: texts(v, "/resourceNames"),
        }
    }

    /// All but the group and version, which may be those of an equivalent resource.
    fn fits(&self, s: &Scene<'_>) -> bool {
        let (resource, sub) = (s.attributes.resource.as_str(), s.attributes.subresource.as_str());
        let is = |pattern: &str, what: &str| pattern == "*" || pattern == what;
        let cluster = s.is_namespace() || s.namespace.is_empty();
        self.operations.iter().any(|o| is(o, s.operation.as_str()))
            && self.resources.iter().any(|(r, p)| is(r, resource) && is(p, sub))
            && match &*self.scope {
                "Namespaced" => !cluster,
                "Cluster" => cluster,
                _ => true,
            }
            && (self.names.is_empty() || self.names.iter().any(|n| **n == *s.name))
    }
    fn is_of(&self, group: &str, version: &str) -> bool {
        let any = |all: &[Box<str>], what: &str| all.iter().any(|a| **a == *"*" || **a == *what);
        any(&self.groups, group) && any(&self.versions, version)
    }
}

/// What a webhook, a policy or a binding is about.
#[derive(Debug)]
pub struct Matching {
    rules: Vec<Rule>,
    excluded: Vec<Rule>,
    /// Without rules everything is meant: of a binding.
    without_rules: bool,
    equivalent: bool,
    namespaces: Result<Selector, String>,
    objects: Result<Selector, String>,
}

fn selector(v: &Value) -> Result<Selector, String> {
    if v.is_null() { Ok(Selector::everything()) } else { Selector::from_tree(v).map_err(|e| e.to_string()) }
}

impl Matching {
    /// Of a webhook.
    pub fn of_webhook(v: &Value) -> Matching {
        Matching { rules: items(v, "/rules").iter().map(Rule::parse).collect(), ..Matching::parse(v) }
    }
    /// `MatchResources` of a policy or a binding; `Null`: everything.
    pub fn of_policy(v: &Value) -> Matching {
        Matching { without_rules: true, ..Matching::parse(v) }
    }
    fn parse(v: &Value) -> Matching {
        let rules = |pointer: &str| items(v, pointer).iter().map(Rule::parse).collect();
        Matching {
            rules: rules("/resourceRules"),
            excluded: rules("/excludeResourceRules"),
            without_rules: false,
            equivalent: v["matchPolicy"] != "Exact",
            namespaces: selector(&v["namespaceSelector"]),
            objects: selector(&v["objectSelector"]),
        }
    }

    /// The resource under which a write is meant, if it is meant. Errors are those of selectors, and only of what has
    /// rules that match.
    pub fn find(&self, s: &Scene<'_>, object: &Value, lookup: &dyn Lookup) -> Result<Option<Invocation>, Status> {
        if by_rules(&self.excluded, self.equivalent, s).is_some() {
            return Ok(None);
        }
        let found = match self.rules.is_empty() && self.without_rules {
            true => Some(s.own()),
            false => by_rules(&self.rules, self.equivalent, s),
        };
        let Some(found) = found else { return Ok(None) };
        let namespaces = self.fits_namespace(s, object, lookup);
        if let Ok(false) = namespaces {
            return Ok(None);
        }
        let objects = self.fits_object(s, object);
        if let Ok(false) = objects {
            return Ok(None);
        }
        namespaces?;
        objects?;
        Ok(Some(found))
    }

    fn fits_namespace(&self, s: &Scene<'_>, object: &Value, lookup: &dyn Lookup) -> Result<bool, Status> {
        if s.namespace.is_empty() && !s.is_namespace() {
            return Ok(true);
        }
        let selector = self.namespaces.as_ref().map_err(Status::internal)?;
        if selector.is_everything() {
            return Ok(true);
        }
        if s.is_namespace()
            && s.attributes.subresource.is_empty()
            && matches!(s.operation, Operation::Create | Operation::Update)
        {
            return Ok(selector.matches(&object["metadata"]["labels"]));
        }
        let namespace = lookup.get("namespaces", "", &s.namespace);
        let namespace = namespace.ok_or_else(|| Status::not_found("", "namespaces", &s.namespace))?;
        Ok(selector.matches(&namespace.meta().labels))
    }

    fn fits_object(&self, s: &Scene<'_>, object: &Value) -> Result<bool, Status> {
        let selector = self.objects.as_ref().map_err(Status::internal)?;
        if selector.is_everything() {
            return Ok(true);
        }
        let has_labels = !object.is_null() && s.operation != Operation::Connect;
        Ok(has_labels && selector.matches(&object["metadata"]["labels"])
            || s.old.is_some_and(|old| selector.matches(&old.meta().labels)))
    }
}

fn by_rules(rules: &[Rule], equivalent: bool, s: &Scene<'_>) -> Option<Invocation> {
    let a = s.attributes;
    let mut fitting = rules.iter().filter(|r| r.fits(s)).peekable();
    fitting.peek()?;
    let mut rest = Vec::new();
    for rule in fitting {
        if rule.is_of(&a.group, &a.version) {
            return Some(s.own());
        }
        rest.push(rule);
    }
    if !equivalent {
        return None;
    }
    rest.into_iter().find_map(|rule| s.equivalents().find(|i| rule.is_of(&i.group, &i.version)))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;

    use super::*;
    use crate::admission::{Again, Write, testing};
    use crate::lookup::fake::Cluster;
    use crate::{Attributes, User};

    /// The `group/version` under which a create of something in the namespace `ns` is meant.
    fn found(matching: Value, a: &Attributes, mut object: Value) -> Result<Option<String>, Status> {
        let cluster = Cluster::default();
        cluster.put("namespaces", json!({"metadata": {"name": "ns", "labels": {"team": "a"}}}));
        let registry = api::kinds::registry();
        let kind = registry.resource(&a.group, &a.version, &a.resource).unwrap().clone();
        let write = Write {
            attributes: a,
            kind: &kind,
            object: &mut object,
            old: None,
            dry_run: false,
            connect: false,
            deletion: None,
            manager: "",
            warnings: &mut Vec::new(),
            held: &mut Vec::new(),
            again: &mut Again::default(),
        };
        let scene = Scene::of(&write, None);
        let found = Matching::of_webhook(&matching).find(&scene, write.object, &cluster)?;
        write.object.take();
        Ok(found.map(|i| format!("{}/{} {}", i.group, i.version, i.kind.kind)))
    }

    #[test]
    fn rules_name_what_they_mean() {
        let user: Arc<User> = User::system("t");
        let of = |group: &str, resource: &str, sub: &str, namespace: &str| Attributes {
            group: group.into(),
            subresource: sub.into(),
            name: "x".into(),
            ..testing::attributes(resource, namespace, &user)
        };
        let rule = |group: &str, version: &str, resource: &str| {
            json!({"operations": ["CREATE"], "apiGroups": [group],
            "apiVersions": [version], "resources": [resource]})
        };
        let pod = of("", "pods", "", "ns");
        let eviction = of("", "pods", "eviction", "ns");
        let deployment = of("apps", "deployments", "", "ns");
        let node = of("", "nodes", "", "");
        let with = |mut rule: Value, key: &str, value: Value| {
            rule[key] = value;
            rule
        };
        for (rule, a, want) in [
            (rule("", "v1", "pods"), &pod, Some("/v1 Pod")),
            (rule("", "v1", "pods"), &eviction, None),
            (rule("", "v1", "pods/*"), &eviction, Some("/v1 Eviction")),
            // as upstream has it: the pods themselves, too
            (rule("", "v1", "pods/*"), &pod, Some("/v1 Pod")),
            (rule("*", "*", "*"), &pod, Some("/v1 Pod")),
            (rule("*", "*", "*"), &eviction, None),
            (rule("*", "*", "*/*"), &eviction, Some("/v1 Eviction")),
            (rule("*", "*", "*/eviction"), &eviction, Some("/v1 Eviction")),
            (rule("apps", "v1", "pods"), &pod, None),
            (rule("apps", "v1beta2", "deployments"), &deployment, Some("apps/v1beta2 Deployment")),
            (rule("extensions", "v1beta1", "deployments"), &deployment, Some("extensions/v1beta1 Deployment")),
            (with(rule("", "v1", "nodes"), "scope", json!("Cluster")), &node, Some("/v1 Node")),
            (with(rule("", "v1", "nodes"), "scope", json!("Namespaced")), &node, None),
            (with(rule("", "v1", "pods"), "scope", json!("Cluster")), &pod, None),
            (with(rule("", "v1", "pods"), "operations", json!(["DELETE"])), &pod, None),
            (with(rule("", "v1", "pods"), "resourceNames", json!(["y"])), &pod, None),
        ] {
            let got = found(json!({"rules": [rule]}), a, json!({"metadata": {}})).unwrap();
            assert_eq!(got.as_deref(), want, "{rule}");
        }
        let exact = json!({"matchPolicy": "Exact", "rules": [rule("apps", "v1beta2", "deployments")]});
        assert_eq!(found(exact, &deployment, json!({})).unwrap(), None);
    }

    #[test]
    fn selectors_look_at_namespaces_and_objects() {
        let a = testing::attributes("pods", "ns", &User::system("t"));
        let rules = json!([{"operations": ["*"], "apiGroups": ["*"], "apiVersions": ["*"], "resources": ["pods"]}]);
        let object = json!({"metadata": {"labels": {"x": "y"}}});
        let of = |key: &str, label: &str, value: &str| json!({"rules": rules, key: {"matchLabels": {label: value}}});
        for (matching, want) in [
            (of("namespaceSelector", "team", "a"), true),
            (of("namespaceSelector", "team", "b"), false),
            (of("objectSelector", "x", "y"), true),
            (of("objectSelector", "x", "z"), false),
        ] {
            assert_eq!(found(matching.clone(), &a, object.clone()).unwrap().is_some(), want, "{matching}");
        }
        let elsewhere = testing::attributes("pods", "none", &User::system("t"));
        let missing = found(of("namespaceSelector", "team", "a"), &elsewhere, object.clone()).unwrap_err();
        assert_eq!(missing.message, "namespaces \"none\" not found");
        let wrong = json!({"rules": rules, "objectSelector": {"matchExpressions": [{"key": "a", "operator": "Near"}]}});
        assert!(found(wrong, &a, object).unwrap_err().message.contains("Internal error occurred"));
    }
}
