//! Authorization: who may do what, decided from memory.
//!
//! [`Authorization`] asks, in order: `system:masters` (all), the kubelets' rules ([`node`]), RBAC ([`rbac`]). The first that
//! allows wins. Its tables follow the store's watch, so a decision is some hash lookups and never waits.

mod aggregate;
mod escalation;
mod follow;
mod node;
mod rbac;
mod rule;

use std::sync::Arc;

use api::Status;

pub use aggregate::Aggregator;
pub use escalation::Escalation;
pub use node::{Nodes, node_name};
pub use rbac::{GROUP, RESOURCES, Rbac, RoleRef};
pub use rule::{Rule, missing, nullable};

use crate::{Attributes, Authorizer, Decision, User};

const MASTERS: &str = "system:masters";

pub fn is_master(user: &User) -> bool {
    user.groups.iter().any(|g| g == MASTERS)
}

/// All authorizers of the server as one.
pub struct Authorization {
    pub rbac: Arc<Rbac>,
    pub nodes: Nodes,
}

impl Authorization {
    pub fn new() -> Authorization {
        let rbac = Arc::new(Rbac::default());
        Authorization { nodes: Nodes::new(rbac.clone()), rbac }
    }
}

impl Default for Authorization {
    fn default() -> Self {
        Self::new()
    }
}

impl Authorizer for Authorization {
    fn authorize(&self, a: &Attributes) -> Decision {
        if is_master(&a.user) {
            return Decision::Allow;
        }
        let mut reasons = Vec::new();
        for authorizer in [&self.nodes as &dyn Authorizer, &*self.rbac] {
            match authorizer.authorize(a) {
                Decision::Allow => return Decision::Allow,
                Decision::Deny(why) => reasons.push(why),
                Decision::NoOpinion => {}
            }
        }
        if reasons.is_empty() { Decision::NoOpinion } else { Decision::Deny(reasons.join("\n")) }
    }
}

/// The answer to a request that `decision` does not allow, in upstream's words (`responsewriters.Forbidden`).
pub fn forbidden(a: &Attributes, decision: &Decision) -> Status {
    let (user, verb) = (&a.user.name, a.verb.as_str());
    let mut text = if a.resource.is_empty() {
        format!("User {user:?} cannot {verb} path {:?}", a.path)
    } else {
        let slash = if a.subresource.is_empty() { "" } else { "/" };
        let what = format!("{}{slash}{}", a.resource, a.subresource);
        let place = match a.namespace.as_str() {
            "" => "at the cluster scope".to_owned(),
            ns => format!("in the namespace {ns:?}"),
        };
        format!("User {user:?} cannot {verb} resource {what:?} in API group {:?} {place}", a.group)
    };
    if let Decision::Deny(why) = decision {
        text = format!("{text}: {why}");
    }
    if a.resource.is_empty() {
        return Status::new(api::Reason::Forbidden, format!("forbidden: {text}"));
    }
    Status::forbidden(&a.group, &a.resource, &a.name, &text)
}

#[cfg(test)]
mod tests {
    use super::rbac::tests::ask;
    use super::*;
    use crate::Verb;

    #[test]
    fn refusals_read_as_upstreams() {
        let user = Arc::new(User { name: "x".into(), ..User::default() });
        let mut a = ask(&user, Verb::List, "pods", "y");
        let no = Decision::NoOpinion;
        assert_eq!(
            forbidden(&a, &no).message,
            r#"pods is forbidden: User "x" cannot list resource "pods" in API group "" in the namespace "y""#
        );
        (a.namespace, a.name, a.group) = (String::new(), "d".into(), "apps".into());
        (a.resource, a.subresource, a.verb) = ("deployments".into(), "scale".into(), Verb::Get);
        assert_eq!(
            forbidden(&a, &Decision::Deny("because".into())).message,
            r#"deployments.apps "d" is forbidden: User "x" cannot get resource "deployments/scale" in API group "apps" at the cluster scope: because"#
        );
        (a.resource, a.path) = (String::new(), "/metrics".into());
        assert_eq!(forbidden(&a, &no).message, r#"forbidden: User "x" cannot get path "/metrics""#);
    }

    #[test]
    fn masters_may_do_all() {
        let all = Authorization::new();
        assert_eq!(all.authorize(&ask(&User::system("admin"), Verb::Delete, "nodes", "")), Decision::Allow);
        let user = Arc::new(User { name: "x".into(), ..User::default() });
        assert_eq!(all.authorize(&ask(&user, Verb::Get, "nodes", "")), Decision::NoOpinion);
    }
}
