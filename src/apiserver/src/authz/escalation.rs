//! Nobody grants through RBAC what they do not hold: upstream's `registry/rbac/*/policybased`, as an admission plugin.

use std::sync::Arc;

use api::{Status, Value};
use async_trait::async_trait;
use serde::de::DeserializeOwned;

use super::is_master;
use super::rbac::{GROUP, Rbac, RoleRef};
use super::rule::{Rule, missing, quoted};
use crate::admission::{Plugin, Write};
use crate::{Attributes, Authorizer, Decision, User, Verb};

pub struct Escalation {
    rbac: Arc<Rbac>,
    authorizer: Arc<dyn Authorizer>,
}

fn part<T: DeserializeOwned + Default>(tree: &Value, key: &str) -> T {
    tree.get(key).and_then(|v| T::deserialize(v).ok()).unwrap_or_default()
}

impl Escalation {
    pub fn new(rbac: Arc<Rbac>, authorizer: Arc<dyn Authorizer>) -> Escalation {
        Escalation { rbac, authorizer }
    }

    fn allowed(&self, verb: &'static str, resource: &str, name: &str, a: &Attributes) -> bool {
        let asked = Attributes {
            verb: Verb::Other(verb),
            group: GROUP.into(),
            version: "v1".into(),
            resource: resource.into(),
            subresource: String::new(),
            name: name.into(),
            ..a.clone()
        };
        self.authorizer.authorize(&asked) == Decision::Allow
    }

    /// `ConfirmNoEscalation`
    fn holds(&self, user: &User, namespace: &str, wanted: &[Rule]) -> Result<(), String> {
        let lacks = missing(&self.rbac.rules_for(user, namespace), wanted);
        if lacks.is_empty() {
            return Ok(());
        }
        let mut texts: Vec<String> = lacks.iter().map(ToString::to_string).collect();
        texts.sort();
        texts.dedup();
        let (name, groups, list) = (&user.name, quoted(&user.groups), texts.join("\n"));
        Err(format!(
            "user {name:?} (groups={groups}) is attempting to grant RBAC permissions not currently held:\n{list}"
        ))
    }

    fn role(&self, a: &Attributes, name: &str, new: &Value, old: Option<&Value>) -> Result<(), Status> {
        let rules: Vec<Rule> = part(new, "rules");
        let aggregates = new.get("aggregationRule").is_some_and(|r| !r.is_null());
        let same = old.is_some_and(|o| {
            part::<Vec<Rule>>(o, "rules") == rules && o.get("aggregationRule") == new.get("aggregationRule")
        });
        if same || self.allowed("escalate", &a.resource, name, a) {
            return Ok(());
        }
        let refuse = |why: &str| Status::forbidden(GROUP, &a.resource, name, why);
        self.holds(&a.user, &a.namespace, &rules).map_err(|why| refuse(&why))?;
        if aggregates {
            self.holds(&a.user, "", &everything())
                .map_err(|_| refuse("must have cluster-admin privileges to use the aggregationRule"))?;
        }
        Ok(())
    }

    fn binding(&self, a: &Attributes, name: &str, new: &Value, old: Option<&Value>) -> Result<(), Status> {
        if old.is_some_and(|o| o.get("subjects") == new.get("subjects") && o.get("roleRef") == new.get("roleRef")) {
            return Ok(());
        }
        let role: RoleRef = part(new, "roleRef");
        let resource = if &*role.kind == "ClusterRole" { "clusterroles" } else { "roles" };
        if self.allowed("bind", resource, &role.name, a) {
            return Ok(());
        }
        let rules = self
            .rbac
            .rules_of(&role, &a.namespace)
            .ok_or_else(|| Status::not_found(GROUP, &role.kind.to_lowercase(), &role.name))?;
        self.holds(&a.user, &a.namespace, &rules).map_err(|why| Status::forbidden(GROUP, &a.resource, name, &why))
    }
}

/// `* on *.*` and every path.
fn everything() -> [Rule; 2] {
    let all = || vec![Box::from("*")];
    [
        Rule { verbs: all(), api_groups: all(), resources: all(), ..Rule::default() },
        Rule { verbs: all(), non_resource_urls: all(), ..Rule::default() },
    ]
}

#[async_trait]
impl Plugin for Escalation {
    fn name(&self) -> &'static str {
        "RBACEscalation"
    }
    fn handles(&self, a: &Attributes) -> bool {
        a.group == GROUP
            && a.subresource.is_empty()
            && matches!(a.verb, Verb::Create | Verb::Update | Verb::Patch)
            && !is_master(&a.user)
    }
    async fn validate(&self, write: &mut Write<'_>) -> Result<(), Status> {
        let a = write.attributes;
        let name = write.object["metadata"]["name"].as_str().unwrap_or(&a.name);
        let old = write.old.map(|o| o.tree());
        match a.resource.as_str() {
            "roles" | "clusterroles" => self.role(a, name, write.object, old.as_ref()),
            "rolebindings" | "clusterrolebindings" => self.binding(a, name, write.object, old.as_ref()),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use api::Draft;
    use serde_json::json;

    use super::super::rbac::tests::ask;
    use super::*;

    fn put(rbac: &Rbac, resource: &str, tree: Value) {
        rbac.put(&format!("{GROUP}/{resource}"), &Draft::encode(&tree).unwrap().at(1));
    }
    fn rules(resource: &str, verb: &str) -> Value {
        json!([{"apiGroups": [""], "resources": [resource], "verbs": [verb]}])
    }
    fn fixture(rules_of_ann: Value) -> Escalation {
        let rbac = Arc::new(Rbac::default());
        put(&rbac, "clusterroles", json!({"metadata": {"name": "held"}, "rules": rules_of_ann}));
        put(&rbac, "clusterroles", json!({"metadata": {"name": "wide"}, "rules": rules("secrets", "get")}));
        put(
            &rbac,
            "clusterrolebindings",
            json!({"metadata": {"name": "ann"}, "subjects": [{"kind": "User", "name": "ann"}],
                "roleRef": {"kind": "ClusterRole", "name": "held"}}),
        );
        Escalation::new(rbac.clone(), rbac)
    }
    fn attributes(resource: &str) -> Attributes {
        let user = User { name: "ann".into(), groups: vec!["system:authenticated".into()], ..User::default() };
        Attributes { group: GROUP.into(), ..ask(&Arc::new(user), Verb::Create, resource, "ns") }
    }

    #[test]
    fn a_role_may_hold_only_what_its_author_holds() {
        let e = fixture(rules("pods", "get"));
        let a = attributes("roles");
        assert!(e.role(&a, "r", &json!({"rules": rules("pods", "get")}), None).is_ok());
        let refused = e.role(&a, "r", &json!({"rules": rules("pods", "delete")}), None).unwrap_err();
        assert_eq!(
            refused.message,
            "roles.rbac.authorization.k8s.io \"r\" is forbidden: user \"ann\" (groups=[\"system:authenticated\"]) is \
             attempting to grant RBAC permissions not currently held:\n{APIGroups:[\"\"], Resources:[\"pods\"], \
             Verbs:[\"delete\"]}"
        );
        let wide = json!({"rules": rules("pods", "delete")});
        assert!(e.role(&a, "r", &wide, Some(&wide)).is_ok(), "unchanged rules are nobody's grant");
    }

    #[test]
    fn a_binding_needs_the_roles_rules_or_bind() {
        let wide = json!({"roleRef": {"kind": "ClusterRole", "name": "wide"}, "subjects": []});
        let a = attributes("rolebindings");
        assert!(fixture(rules("pods", "get")).binding(&a, "b", &wide, None).is_err());
        assert!(fixture(rules("secrets", "get")).binding(&a, "b", &wide, None).is_ok());
        let bind = json!([{"apiGroups": [GROUP], "resources": ["clusterroles"], "verbs": ["bind"]}]);
        assert!(fixture(bind).binding(&a, "b", &wide, None).is_ok());
        let lost = json!({"roleRef": {"kind": "Role", "name": "gone"}});
        assert!(fixture(rules("pods", "get")).binding(&a, "b", &lost, None).unwrap_err().is_not_found());
    }
}
