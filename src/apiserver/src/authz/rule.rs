//! One RBAC rule: what it allows, and whether it covers another. Upstream's `rbac.PolicyRule` with `apis/rbac/v1/evaluation_helpers`
//! and `component-helpers/auth/rbac/validation`.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Deserializer, Serialize};

use crate::Attributes;

/// `rbac/v1.PolicyRule`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Rule {
    #[serde(deserialize_with = "nullable", skip_serializing_if = "Vec::is_empty")]
    pub api_groups: Vec<Box<str>>,
    #[serde(deserialize_with = "nullable", skip_serializing_if = "Vec::is_empty", rename = "nonResourceURLs")]
    pub non_resource_urls: Vec<Box<str>>,
    #[serde(deserialize_with = "nullable", skip_serializing_if = "Vec::is_empty")]
    pub resource_names: Vec<Box<str>>,
    #[serde(deserialize_with = "nullable", skip_serializing_if = "Vec::is_empty")]
    pub resources: Vec<Box<str>>,
    #[serde(deserialize_with = "nullable")]
    pub verbs: Vec<Box<str>>,
}

/// `null` reads as the default, as Go has it.
pub fn nullable<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(d: D) -> Result<T, D::Error> {
    Ok(Option::<T>::deserialize(d)?.unwrap_or_default())
}

fn has(list: &[Box<str>], item: &str) -> bool {
    list.iter().any(|i| &**i == "*" || &**i == item)
}

impl Rule {
    /// `RuleAllows`
    pub fn allows(&self, a: &Attributes) -> bool {
        if !has(&self.verbs, a.verb.as_str()) {
            return false;
        }
        if a.resource.is_empty() {
            return self.non_resource_urls.iter().any(|u| url_matches(u, &a.path));
        }
        has(&self.api_groups, &a.group)
            && self.resources.iter().any(|r| resource_matches(r, &a.resource, &a.subresource))
            && (self.resource_names.is_empty() || self.resource_names.iter().any(|n| **n == *a.name))
    }

    /// The rule as many of one verb and one resource or URL each: `BreakdownRule`.
    fn breakdown(&self) -> Vec<Rule> {
        let mut out = Vec::new();
        for verb in &self.verbs {
            let verbs = vec![verb.clone()];
            for group in &self.api_groups {
                for resource in &self.resources {
                    let one = Rule {
                        verbs: verbs.clone(),
                        api_groups: vec![group.clone()],
                        resources: vec![resource.clone()],
                        ..Rule::default()
                    };
                    if self.resource_names.is_empty() {
                        out.push(one);
                    } else {
                        out.extend(
                            self.resource_names.iter().map(|n| Rule { resource_names: vec![n.clone()], ..one.clone() }),
                        );
                    }
                }
            }
            out.extend(self.non_resource_urls.iter().map(|u| Rule {
                verbs: verbs.clone(),
                non_resource_urls: vec![u.clone()],
                ..Rule::default()
            }));
        }
        out
    }

    /// Whether a broken-down `sub` is within this rule: `ruleCovers`.
    fn covers(&self, sub: &Rule) -> bool {
        let all = |mine: &[Box<str>], theirs: &[Box<str>]| theirs.iter().all(|t| has(mine, t));
        let resource = |r: &str| {
            let sub = r.split_once('/').map(|(_, s)| s);
            self.resources.iter().any(|m| {
                &**m == "*" || &**m == r || sub.is_some_and(|s| m.strip_prefix("*/").is_some_and(|mine| mine == s))
            })
        };
        let url = |u: &str| {
            self.non_resource_urls.iter().any(|m| {
                &**m == u || &**m == "*" || m.strip_suffix('*').is_some_and(|p| u.starts_with(p.trim_end_matches('*')))
            })
        };
        let names = self.resource_names.is_empty()
            || (!sub.resource_names.is_empty() && sub.resource_names.iter().all(|n| self.resource_names.contains(n)));
        all(&self.verbs, &sub.verbs)
            && all(&self.api_groups, &sub.api_groups)
            && sub.resources.iter().all(|r| resource(r))
            && sub.non_resource_urls.iter().all(|u| url(u))
            && names
    }
}

/// `NonResourceURLMatches`
fn url_matches(rule: &str, path: &str) -> bool {
    rule == "*" || rule == path || (rule.ends_with('*') && path.starts_with(rule.trim_end_matches('*')))
}

/// `ResourceMatches`
fn resource_matches(rule: &str, resource: &str, subresource: &str) -> bool {
    if rule == "*" {
        return true;
    }
    if subresource.is_empty() {
        return rule == resource;
    }
    match rule.strip_suffix(subresource).and_then(|r| r.strip_suffix('/')) {
        Some(head) => head == "*" || head == resource,
        None => false,
    }
}

/// What `wanted` allows and `held` does not, in compact form; empty: nothing. `Covers` and `CompactRules`.
pub fn missing(held: &[Rule], wanted: &[Rule]) -> Vec<Rule> {
    let broken = wanted.iter().flat_map(Rule::breakdown);
    compact(broken.filter(|w| !held.iter().any(|h| h.covers(w))))
}

/// Puts the verbs of the same simple resource together.
fn compact(rules: impl Iterator<Item = Rule>) -> Vec<Rule> {
    let (mut out, mut simple) = (Vec::new(), BTreeMap::<(Box<str>, Box<str>), Rule>::new());
    for rule in rules {
        match (&*rule.api_groups, &*rule.resources, &*rule.resource_names) {
            ([group], [resource], []) => {
                let key = (group.clone(), resource.clone());
                match simple.get_mut(&key) {
                    Some(have) => have
                        .verbs
                        .extend(rule.verbs.into_iter().filter(|v| !have.verbs.contains(v)).collect::<Vec<_>>()),
                    None => drop(simple.insert(key, rule)),
                }
            }
            _ => out.push(rule),
        }
    }
    out.extend(simple.into_values());
    out
}

/// `CompactString`: `{APIGroups:["apps"], Resources:["deployments"], Verbs:["get" "list"]}`.
impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = [
            ("APIGroups", &self.api_groups),
            ("Resources", &self.resources),
            ("NonResourceURLs", &self.non_resource_urls),
            ("ResourceNames", &self.resource_names),
            ("Verbs", &self.verbs),
        ];
        f.write_str("{")?;
        for (i, (name, list)) in parts.into_iter().filter(|(_, l)| !l.is_empty()).enumerate() {
            write!(f, "{}{name}:{}", if i > 0 { ", " } else { "" }, quoted(list))?;
        }
        f.write_str("}")
    }
}

/// Go's `%q` of a list of strings.
pub fn quoted<S: AsRef<str>>(list: &[S]) -> String {
    let items: Vec<String> = list.iter().map(|s| format!("{:?}", s.as_ref())).collect();
    format!("[{}]", items.join(" "))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{User, Verb};

    pub fn rule(groups: &str, resources: &str, verbs: &str) -> Rule {
        let list = |s: &str| s.split(',').map(Box::from).collect();
        Rule { api_groups: list(groups), resources: list(resources), verbs: list(verbs), ..Rule::default() }
    }

    fn ask(verb: Verb, group: &str, resource: &str, name: &str) -> Attributes {
        let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
        Attributes {
            user: Arc::new(User::default()),
            verb,
            group: group.into(),
            version: "v1".into(),
            resource: resource.into(),
            subresource: subresource.into(),
            namespace: "ns".into(),
            name: name.into(),
            path: String::new(),
        }
    }

    #[test]
    fn a_rule_allows_what_upstreams_does() {
        let named = Rule { resource_names: vec!["a".into()], ..rule("", "secrets", "get") };
        for (rule, attributes, allowed) in [
            (rule("", "pods", "get,list"), ask(Verb::Get, "", "pods", "x"), true),
            (rule("", "pods", "get,list"), ask(Verb::Delete, "", "pods", "x"), false),
            (rule("", "pods", "get"), ask(Verb::Get, "", "pods/log", "x"), false),
            (rule("", "pods/log", "get"), ask(Verb::Get, "", "pods/log", "x"), true),
            (rule("", "*/log", "get"), ask(Verb::Get, "", "pods/log", "x"), true),
            (rule("", "*/log", "get"), ask(Verb::Get, "", "pods", "x"), false),
            (rule("*", "*", "*"), ask(Verb::Get, "apps", "deployments/scale", "x"), true),
            (rule("apps", "*", "*"), ask(Verb::Get, "", "pods", "x"), false),
            (named.clone(), ask(Verb::Get, "", "secrets", "a"), true),
            (named.clone(), ask(Verb::Get, "", "secrets", "b"), false),
            (named, ask(Verb::Get, "", "secrets", ""), false),
        ] {
            assert_eq!(rule.allows(&attributes), allowed, "{rule} {attributes:?}");
        }
    }

    #[test]
    fn urls_match_by_prefix_with_a_star() {
        let urls = Rule { non_resource_urls: vec!["/healthz".into(), "/apis/*".into()], ..rule("", "", "get") };
        for (path, allowed) in [("/healthz", true), ("/healthz/ping", false), ("/apis/apps", true), ("/metrics", false)]
        {
            let mut a = ask(Verb::Get, "", "", "");
            a.path = path.into();
            assert_eq!(urls.allows(&a), allowed, "{path}");
        }
    }

    #[test]
    fn what_is_missing_is_named_compactly() {
        let held = [rule("", "pods,pods/log", "get,list"), rule("apps", "*", "*")];
        assert!(missing(&held, &[rule("", "pods", "get"), rule("apps", "deployments/scale", "update")]).is_empty());
        let lacks = missing(&held, &[rule("", "pods,secrets", "get,delete")]);
        let texts: Vec<String> = lacks.iter().map(ToString::to_string).collect();
        assert_eq!(
            texts,
            [
                r#"{APIGroups:[""], Resources:["pods"], Verbs:["delete"]}"#,
                r#"{APIGroups:[""], Resources:["secrets"], Verbs:["get" "delete"]}"#
            ]
        );
    }

    #[test]
    fn names_and_urls_are_covered_only_by_the_same_or_wider() {
        let named = |n: &str| Rule { resource_names: vec![n.into()], ..rule("", "secrets", "get") };
        let url = |u: &str| Rule { non_resource_urls: vec![u.into()], verbs: vec!["get".into()], ..Rule::default() };
        for (held, wanted, covered) in [
            (named("a"), named("a"), true),
            (named("a"), named("b"), false),
            (named("a"), rule("", "secrets", "get"), false),
            (rule("", "secrets", "get"), named("a"), true),
            (rule("", "*/status", "get"), rule("", "pods/status", "get"), true),
            (url("/api/*"), url("/api/v1"), true),
            (url("/api"), url("/api/v1"), false),
            (url("*"), url("/x"), true),
        ] {
            assert_eq!(
                missing(std::slice::from_ref(&held), std::slice::from_ref(&wanted)).is_empty(),
                covered,
                "{held} {wanted}"
            );
        }
    }
}
