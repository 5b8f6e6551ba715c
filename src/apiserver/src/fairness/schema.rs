//! Which requests are of which flow: `flowcontrol.apiserver.k8s.io/v1`, FlowSchema and PriorityLevelConfiguration as read.

use serde::Deserialize;
use serde_json::Value;

use super::level::Queuing;
use crate::authz::nullable;
use crate::{Attributes, User};

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Named {
    name: String,
    namespace: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Subject {
    kind: String,
    user: Option<Named>,
    group: Option<Named>,
    service_account: Option<Named>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ResourceRule {
    #[serde(deserialize_with = "nullable")]
    verbs: Vec<String>,
    #[serde(deserialize_with = "nullable")]
    api_groups: Vec<String>,
    #[serde(deserialize_with = "nullable")]
    resources: Vec<String>,
    #[serde(deserialize_with = "nullable")]
    namespaces: Vec<String>,
    cluster_scope: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct UrlRule {
    #[serde(deserialize_with = "nullable")]
    verbs: Vec<String>,
    #[serde(deserialize_with = "nullable", rename = "nonResourceURLs")]
    urls: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Rule {
    #[serde(deserialize_with = "nullable")]
    subjects: Vec<Subject>,
    #[serde(deserialize_with = "nullable")]
    resource_rules: Vec<ResourceRule>,
    #[serde(deserialize_with = "nullable")]
    non_resource_rules: Vec<UrlRule>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Method {
    #[serde(rename = "type")]
    kind: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Schema {
    #[serde(skip)]
    pub name: String,
    #[serde(rename = "priorityLevelConfiguration")]
    level: Named,
    pub matching_precedence: i32,
    distinguisher_method: Option<Method>,
    #[serde(deserialize_with = "nullable")]
    rules: Vec<Rule>,
}

impl Default for Schema {
    fn default() -> Schema {
        Schema {
            name: String::new(),
            level: Named::default(),
            matching_precedence: 1000,
            distinguisher_method: None,
            rules: Vec::new(),
        }
    }
}

fn has(list: &[String], item: &str) -> bool {
    list.iter().any(|i| i == "*" || i == item)
}

impl Subject {
    fn is(&self, user: &User) -> bool {
        match self.kind.as_str() {
            "User" => self.user.as_ref().is_some_and(|u| u.name == "*" || u.name == user.name),
            "Group" => self.group.as_ref().is_some_and(|g| g.name == "*" || user.groups.contains(&g.name)),
            "ServiceAccount" => self.service_account.as_ref().is_some_and(|s| {
                let own = user.name.strip_prefix("system:serviceaccount:").and_then(|n| n.split_once(':'));
                own.is_some_and(|(ns, name)| ns == s.namespace && (s.name == "*" || s.name == name))
            }),
            _ => false,
        }
    }
}

impl ResourceRule {
    fn is(&self, a: &Attributes) -> bool {
        let resource = |r: &String| match r.split_once('/') {
            _ if r == "*" => true,
            Some((resource, sub)) => (resource == "*" || resource == a.resource) && sub == a.subresource,
            None => *r == a.resource && a.subresource.is_empty(),
        };
        let place = if a.namespace.is_empty() { self.cluster_scope } else { has(&self.namespaces, &a.namespace) };
        place
            && has(&self.verbs, a.verb.as_str())
            && has(&self.api_groups, &a.group)
            && self.resources.iter().any(resource)
    }
}

impl UrlRule {
    fn is(&self, a: &Attributes) -> bool {
        let url = |u: &String| u == "*" || *u == a.path || u.strip_suffix("/*").is_some_and(|p| a.path.starts_with(p));
        has(&self.verbs, a.verb.as_str()) && self.urls.iter().any(url)
    }
}

impl Schema {
    /// From a FlowSchema; `None` for nonsense.
    pub fn read(name: &str, spec: &Value) -> Option<Schema> {
        let schema: Schema = serde::Deserialize::deserialize(spec).ok()?;
        Some(Schema { name: name.into(), ..schema })
    }
    pub fn level(&self) -> &str {
        &self.level.name
    }
    pub fn matches(&self, a: &Attributes) -> bool {
        self.rules.iter().any(|r| {
            let what = match a.resource.is_empty() {
                true => r.non_resource_rules.iter().any(|u| u.is(a)),
                false => r.resource_rules.iter().any(|u| u.is(a)),
            };
            what && r.subjects.iter().any(|s| s.is(&a.user))
        })
    }
    /// What tells its flows apart.
    pub fn distinguisher<'a>(&self, a: &'a Attributes) -> &'a str {
        match self.distinguisher_method.as_ref().map(|m| m.kind.as_str()) {
            Some("ByUser") => &a.user.name,
            Some("ByNamespace") => &a.namespace,
            _ => "",
        }
    }
}

/// `spec` of a PriorityLevelConfiguration: its shares (`None`: exempt), its queues (`None`: it refuses).
pub fn level(spec: &Value) -> (Option<u64>, Option<Queuing>) {
    if spec["type"] == "Exempt" {
        return (None, None);
    }
    let limited = &spec["limited"];
    let shares = limited["nominalConcurrencyShares"].as_u64().unwrap_or(30);
    let response = &limited["limitResponse"];
    let number = |key: &str, default: u64| response["queuing"][key].as_u64().unwrap_or(default).min(100_000) as usize;
    let queuing = (response["type"] == "Queue").then(|| Queuing {
        queues: number("queues", 64),
        hand: number("handSize", 8).min(64),
        length: number("queueLengthLimit", 50),
    });
    (Some(shares), queuing)
}
