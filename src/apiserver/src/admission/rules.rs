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
