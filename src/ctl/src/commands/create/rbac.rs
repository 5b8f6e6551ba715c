//! Roles and their bindings.

use api::Value;
use serde_json::json;

use super::{How, metadata};
use crate::error::{Error, Result};
use crate::session::Session;

#[derive(clap::Args)]
pub struct Role {
    name: String,
    /// What is allowed: get, list, …
    #[arg(long, value_delimiter = ',')]
    verb: Vec<String>,
    /// TYPE[.GROUP][/SUBRESOURCE]
    #[arg(long, value_delimiter = ',')]
    resource: Vec<String>,
    /// Only objects of these names
    #[arg(long)]
    resource_name: Vec<String>,
    /// Paths that are no resources (cluster roles)
    #[arg(long = "non-resource-url", value_delimiter = ',')]
    urls: Vec<String>,
    /// A selector of cluster roles to join (cluster roles)
    #[arg(long)]
    aggregation_rule: Option<String>,
    #[command(flatten)]
    pub how: How,
}

impl Role {
    pub async fn role(&self, s: &Session) -> Result<Value> {
        if self.verb.is_empty() {
            return Err(Error::other("at least one verb must be specified"));
        }
        if self.resource.is_empty() {
            return Err(Error::other("at least one resource must be specified"));
        }
        Ok(
            json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": metadata(&self.name), "rules": self.rules(s).await?}),
        )
    }

    pub async fn cluster_role(&self, s: &Session) -> Result<Value> {
        let mut object = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": metadata(&self.name)});
        if let Some(rule) = &self.aggregation_rule {
            let labels: serde_json::Map<String, Value> =
                super::pairs(&rule.split(',').map(str::to_owned).collect::<Vec<_>>(), "aggregation rule")?
                    .into_iter()
                    .map(|(k, v)| (k, v.into()))
                    .collect();
            object["aggregationRule"] = json!({"clusterRoleSelectors": [{"matchLabels": labels}]});
            object["rules"] = Value::Null;
            return Ok(object);
        }
        if self.verb.is_empty() {
            return Err(Error::other("at least one verb must be specified"));
        }
        let mut rules = self.rules(s).await?;
        if !self.urls.is_empty() {
            rules.push(json!({"nonResourceURLs": self.urls, "verbs": self.verb}));
        }
        if rules.is_empty() {
            return Err(Error::other("one of resource or nonResourceURL must be specified"));
        }
        object["rules"] = rules.into();
        Ok(object)
    }

    /// One rule a group, in the order of the groups' first types.
    async fn rules(&self, s: &Session) -> Result<Vec<Value>> {
        let mut groups: Vec<(String, Vec<String>)> = Vec::new();
        for resource in &self.resource {
            let (kind, sub) = resource.split_once('/').map_or((resource.as_str(), ""), |(k, s)| (k, s));
            let (group, mut name) = if kind == "*" {
                ("*".to_owned(), kind.to_owned())
            } else {
                let mapping = s.mapping(kind).await?;
                (mapping.group, mapping.plural)
            };
            if !sub.is_empty() {
                name = format!("{name}/{sub}");
            }
            match groups.iter_mut().find(|(g, _)| *g == group) {
                Some((_, names)) => names.push(name),
                None => groups.push((group, vec![name])),
            }
        }
        let rule = |(group, names): (String, Vec<String>)| {
            let mut rule = json!({"apiGroups": [group], "resources": names, "verbs": self.verb});
            if !self.resource_name.is_empty() {
                rule["resourceNames"] = json!(self.resource_name);
            }
            rule
        };
        Ok(groups.into_iter().map(rule).collect())
    }
}

#[derive(clap::Args)]
pub struct Binding {
    name: String,
    /// The role
    #[arg(long)]
    role: Option<String>,
    /// The cluster role
    #[arg(long)]
    clusterrole: Option<String>,
    /// Groups
    #[arg(long = "group")]
    groups: Vec<String>,
    /// NAMESPACE:NAME
    #[arg(long = "serviceaccount")]
    service_accounts: Vec<String>,
    #[command(flatten)]
    pub how: How,
}

impl Binding {
    /// `users` are `--user`, which everywhere else names a user of the kubeconfig.
    pub fn role_binding(&self, users: &[String]) -> Result<Value> {
        let (kind, name) = match (&self.role, &self.clusterrole) {
            (Some(role), None) => ("Role", role),
            (None, Some(role)) => ("ClusterRole", role),
            _ => return Err(Error::other("exactly one of clusterrole or role must be specified")),
        };
        self.binding("RoleBinding", kind, name, users)
    }
    pub fn cluster_role_binding(&self, users: &[String]) -> Result<Value> {
        let name = self.clusterrole.as_ref().ok_or_else(|| Error::other("required flag(s) \"clusterrole\" not set"))?;
        self.binding("ClusterRoleBinding", "ClusterRole", name, users)
    }

    fn binding(&self, binding: &str, kind: &str, role: &str, users: &[String]) -> Result<Value> {
        let api_group = "rbac.authorization.k8s.io";
        let subject = |kind: &str, name: &String| json!({"apiGroup": api_group, "kind": kind, "name": name});
        let mut subjects: Vec<Value> = users.iter().map(|u| subject("User", u)).collect();
        subjects.extend(self.groups.iter().map(|g| subject("Group", g)));
        for account in &self.service_accounts {
            let (namespace, name) =
                account.split_once(':').ok_or_else(|| Error::other("serviceaccount must be <namespace>:<name>"))?;
            subjects.push(json!({"kind": "ServiceAccount", "name": name, "namespace": namespace}));
        }
        let mut object = json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": binding, "metadata": metadata(&self.name),
            "roleRef": {"apiGroup": api_group, "kind": kind, "name": role},
        });
        if !subjects.is_empty() {
            object["subjects"] = subjects.into();
        }
        Ok(object)
    }
}
