//! What is recorded, and how much of it: `audit.k8s.io/v1`, Policy. Upstream's `audit/policy`.

use serde::Deserialize;
use serde_json::Value;

use crate::Attributes;
use crate::authz::nullable;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
pub enum Level {
    None,
    Metadata,
    Request,
    RequestResponse,
}

impl Level {
    pub fn as_str(self) -> &'static str {
        match self {
            Level::None => "None",
            Level::Metadata => "Metadata",
            Level::Request => "Request",
            Level::RequestResponse => "RequestResponse",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub enum Stage {
    RequestReceived,
    ResponseStarted,
    ResponseComplete,
    Panic,
}

impl Stage {
    pub fn as_str(self) -> &'static str {
        match self {
            Stage::RequestReceived => "RequestReceived",
            Stage::ResponseStarted => "ResponseStarted",
            Stage::ResponseComplete => "ResponseComplete",
            Stage::Panic => "Panic",
        }
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
struct GroupResources {
    #[serde(deserialize_with = "nullable")]
    group: String,
    #[serde(deserialize_with = "nullable")]
    resources: Vec<String>,
    #[serde(deserialize_with = "nullable")]
    resource_names: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Rule {
    level: Level,
    #[serde(deserialize_with = "nullable", default)]
    users: Vec<String>,
    #[serde(deserialize_with = "nullable", default)]
    user_groups: Vec<String>,
    #[serde(deserialize_with = "nullable", default)]
    verbs: Vec<String>,
    #[serde(deserialize_with = "nullable", default)]
    resources: Vec<GroupResources>,
    #[serde(deserialize_with = "nullable", default)]
    namespaces: Vec<String>,
    #[serde(deserialize_with = "nullable", default, rename = "nonResourceURLs")]
    urls: Vec<String>,
    #[serde(deserialize_with = "nullable", default)]
    omit_stages: Vec<Stage>,
    #[serde(default)]
    omit_managed_fields: Option<bool>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Policy {
    #[serde(rename = "apiVersion")]
    api_version: String,
    kind: String,
    /// Allowed, and of no meaning.
    #[serde(default, rename = "metadata")]
    _metadata: Value,
    #[serde(deserialize_with = "nullable", default)]
    rules: Vec<Rule>,
    #[serde(deserialize_with = "nullable", default)]
    omit_stages: Vec<Stage>,
    #[serde(default)]
    omit_managed_fields: bool,
}

/// What the policy says of one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    pub level: Level,
    pub omit: Vec<Stage>,
    pub omit_managed_fields: bool,
}

fn has(list: &[String], item: &str) -> bool {
    list.iter().any(|i| i == item)
}

impl GroupResources {
    fn is(&self, a: &Attributes) -> bool {
        if self.group != a.group {
            return false;
        }
        let names = self.resource_names.is_empty() || has(&self.resource_names, &a.name);
        self.resources.is_empty()
            || names
                && self.resources.iter().any(|r| match r.split_once('/') {
                    _ if r == "*" => true,
                    Some(("*", sub)) => sub == a.subresource && !sub.is_empty(),
                    Some((resource, "*")) => resource == a.resource,
                    Some((resource, sub)) => resource == a.resource && sub == a.subresource,
                    None => *r == a.resource && a.subresource.is_empty(),
                })
    }
}

impl Rule {
    /// `ruleMatches`
    fn is(&self, a: &Attributes) -> bool {
        let user = self.users.is_empty() || has(&self.users, &a.user.name);
        let group = self.user_groups.is_empty() || a.user.groups.iter().any(|g| has(&self.user_groups, g));
        let verb = self.verbs.is_empty() || has(&self.verbs, a.verb.as_str());
        if !(user && group && verb) {
            return false;
        }
        if !self.namespaces.is_empty() || !self.resources.is_empty() {
            let namespace = self.namespaces.is_empty() || has(&self.namespaces, &a.namespace);
            let resource = self.resources.is_empty() || self.resources.iter().any(|r| r.is(a));
            return !a.resource.is_empty() && namespace && resource;
        }
        let url = |u: &String| u == "*" || *u == a.path || u.strip_suffix('*').is_some_and(|p| a.path.starts_with(p));
        self.urls.is_empty() || a.resource.is_empty() && self.urls.iter().any(url)
    }
}

impl Policy {
    /// From a file's text. The error says what is wrong with it.
    pub fn parse(text: &str) -> Result<Policy, String> {
        let tree = api::decode::yaml(text.as_bytes())?.tree;
        let policy: Policy = serde::Deserialize::deserialize(tree).map_err(|e| e.to_string())?;
        if policy.kind != "Policy" || policy.api_version != "audit.k8s.io/v1" {
            return Err(format!(
                "expected a Policy of audit.k8s.io/v1, found {} of {}",
                policy.kind, policy.api_version
            ));
        }
        if policy.rules.is_empty() {
            return Err("the policy has no rules".into());
        }
        for rule in &policy.rules {
            let of_resources = !rule.resources.is_empty() || !rule.namespaces.is_empty();
            if !rule.urls.is_empty() && of_resources {
                return Err("a rule is for nonResourceURLs, or for resources and namespaces".into());
            }
        }
        Ok(policy)
    }

    /// The first rule that matches; nothing is recorded where none does.
    pub fn verdict(&self, a: &Attributes) -> Verdict {
        match self.rules.iter().find(|r| r.is(a)) {
            Some(rule) => Verdict {
                level: rule.level,
                omit: self.omit_stages.iter().chain(&rule.omit_stages).copied().collect(),
                omit_managed_fields: rule.omit_managed_fields.unwrap_or(self.omit_managed_fields),
            },
            None => Verdict { level: Level::None, omit: Vec::new(), omit_managed_fields: false },
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{User, Verb};

    fn ask(user: &str, verb: Verb, resource: &str, namespace: &str) -> Attributes {
        let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
        let (resource, path) =
            if verb == Verb::Get && resource.is_empty() { ("", subresource) } else { (resource, "") };
        Attributes {
            user: Arc::new(User { name: user.into(), groups: vec!["g".into()], ..User::default() }),
            verb,
            group: String::new(),
            version: "v1".into(),
            resource: resource.into(),
            subresource: if path.is_empty() { subresource.into() } else { String::new() },
            namespace: namespace.into(),
            name: "n".into(),
            path: format!("/{path}"),
        }
    }

    #[test]
    fn the_first_rule_decides() {
        let policy = Policy::parse(
            r#"
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- {level: None, users: [noisy]}
- {level: None, nonResourceURLs: ["/healthz*"]}
- {level: RequestResponse, verbs: [delete], resources: [{group: "", resources: [secrets]}]}
- {level: Request, namespaces: [prod], omitStages: [ResponseStarted], omitManagedFields: true}
- {level: Metadata, resources: [{resources: ["pods/*", "*/status"]}, {resources: [configmaps], resourceNames: [n]}]}
- {level: None, userGroups: [other]}
"#,
        )
        .unwrap();
        for (a, level) in [
            (ask("noisy", Verb::Delete, "secrets", "prod"), Level::None),
            (ask("ann", Verb::Get, "/healthz/ping", ""), Level::None),
            (ask("ann", Verb::Delete, "secrets", "x"), Level::RequestResponse),
            (ask("ann", Verb::Create, "secrets", "prod"), Level::Request),
            (ask("ann", Verb::Create, "secrets", "x"), Level::None),
            (ask("ann", Verb::Get, "pods/log", "x"), Level::Metadata),
            (ask("ann", Verb::Update, "nodes/status", ""), Level::Metadata),
            (ask("ann", Verb::Update, "configmaps", "x"), Level::Metadata),
        ] {
            assert_eq!(policy.verdict(&a).level, level, "{a:?}");
        }
        let verdict = policy.verdict(&ask("ann", Verb::Create, "secrets", "prod"));
        assert!(verdict.omit_managed_fields);
        assert_eq!(verdict.omit, [Stage::RequestReceived, Stage::ResponseStarted]);
    }

    #[test]
    fn bad_policies_are_refused() {
        let head = "apiVersion: audit.k8s.io/v1\nkind: Policy\n";
        for (text, why) in [
            ("kind: Policy\napiVersion: audit.k8s.io/v1beta1\nrules: [{level: None}]", "audit.k8s.io/v1"),
            (head, "no rules"),
            (&format!("{head}rules: [{{level: Some}}]"), "Some"),
            (&format!("{head}rules: [{{level: None, nonsense: 1}}]"), "nonsense"),
            (&format!("{head}rules: [{{level: None, namespaces: [a], nonResourceURLs: [b]}}]"), "nonResourceURLs"),
        ] {
            let error = Policy::parse(text).unwrap_err();
            assert!(error.contains(why), "{text}: {error}");
        }
    }
}
