//! Acting as someone else: upstream's `endpoints/filters/impersonation`.

use std::collections::BTreeMap;
use std::sync::Arc;

use api::Status;
use http::HeaderMap;

use super::groups_of;
use crate::authz::forbidden;
use crate::{Attributes, Authorizer, Decision, User, Verb};

const AUTHENTICATION: &str = "authentication.k8s.io";
const EXTRA: &str = "impersonate-extra-";

/// The user that `Impersonate-*` headers ask for, if `user` may be them; `None` without such headers.
pub fn impersonate(
    headers: &HeaderMap,
    user: &Arc<User>,
    authorizer: &dyn Authorizer,
) -> Result<Option<Arc<User>>, Status> {
    let texts = |name: &str| -> Vec<String> {
        headers.get_all(name).into_iter().filter_map(|v| v.to_str().ok()).map(str::to_owned).collect()
    };
    let (name, uid) = (texts("impersonate-user").pop().unwrap_or_default(), texts("impersonate-uid").pop());
    let mut groups = texts("impersonate-group");
    let mut extra: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (key, value) in headers {
        if let (Some(key), Ok(value)) = (key.as_str().strip_prefix(EXTRA), value.to_str()) {
            extra.entry(unescape(key)).or_default().push(value.into());
        }
    }
    if name.is_empty() {
        if groups.is_empty() && uid.is_none() && extra.is_empty() {
            return Ok(None);
        }
        return Err(Status::internal("requested impersonation without impersonating a user"));
    }

    let check = |group: &str, resource: &str, subresource: &str, namespace: &str, name: &str| {
        let asked = Attributes {
            user: user.clone(),
            verb: Verb::Other("impersonate"),
            group: group.into(),
            version: "v1".into(),
            resource: resource.into(),
            subresource: subresource.into(),
            namespace: namespace.into(),
            name: name.into(),
            path: String::new(),
        };
        match authorizer.authorize(&asked) {
            Decision::Allow => Ok(()),
            no => Err(forbidden(&asked, &no)),
        }
    };
    let account = name.strip_prefix("system:serviceaccount:").and_then(|n| n.split_once(':'));
    match account {
        Some((namespace, account)) => check("", "serviceaccounts", "", namespace, account)?,
        None => check("", "users", "", "", &name)?,
    }
    for group in &groups {
        check("", "groups", "", "", group)?;
    }
    for (key, value) in extra.iter().flat_map(|(k, list)| list.iter().map(move |v| (k, v))) {
        check(AUTHENTICATION, "userextras", key, "", value)?;
    }
    if let Some(uid) = &uid {
        check(AUTHENTICATION, "uids", "", "", uid)?;
    }
    if let (true, Some((namespace, _))) = (groups.is_empty(), account) {
        groups = groups_of(namespace);
    }
    let everyone = if name == "system:anonymous" { "system:unauthenticated" } else { "system:authenticated" };
    if !groups.iter().any(|g| g == everyone) {
        groups.push(everyone.into());
    }
    Ok(Some(Arc::new(User { name, uid: uid.unwrap_or_default(), groups, extra })))
}

/// Percent-decoding; what does not decode stays.
fn unescape(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&b, tail)) = rest.split_first() {
        let hex = |i: usize| tail.get(i).and_then(|c| char::from(*c).to_digit(16));
        if let (b'%', Some(high), Some(low)) = (b, hex(0), hex(1)) {
            out.push((high * 16 + low) as u8);
            rest = &tail[2..];
        } else {
            out.push(b);
            rest = tail;
        }
    }
    String::from_utf8(out).unwrap_or_else(|_| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Allows to be `ann`, and the account `ns:bot`.
    struct Some2;
    impl Authorizer for Some2 {
        fn authorize(&self, a: &Attributes) -> Decision {
            let known = [("users", "", "ann"), ("serviceaccounts", "ns", "bot"), ("userextras", "", "v")];
            let asked = (a.resource.as_str(), a.namespace.as_str(), a.name.as_str());
            if known.contains(&asked) { Decision::Allow } else { Decision::NoOpinion }
        }
    }

    #[test]
    fn one_becomes_only_whom_one_may() {
        let me = Arc::new(User { name: "me".into(), ..User::default() });
        let ask = |list: &[(&'static str, &str)]| {
            let headers = list.iter().map(|(k, v)| (http::HeaderName::from_static(k), v.parse().unwrap())).collect();
            impersonate(&headers, &me, &Some2)
        };
        assert!(ask(&[]).unwrap().is_none());
        let ann = ask(&[("impersonate-user", "ann"), ("impersonate-extra-a%2fb", "v")]).unwrap().unwrap();
        assert_eq!((ann.name.as_str(), &*ann.groups), ("ann", &["system:authenticated".to_owned()][..]));
        assert_eq!(ann.extra["a/b"], ["v"]);
        let bot = ask(&[("impersonate-user", "system:serviceaccount:ns:bot")]).unwrap().unwrap();
        assert!(bot.groups.contains(&"system:serviceaccounts:ns".into()));
        let refused = ask(&[("impersonate-user", "ann"), ("impersonate-group", "system:masters")]).unwrap_err();
        assert_eq!(
            refused.message,
            r#"groups "system:masters" is forbidden: User "me" cannot impersonate resource "groups" in API group "" at the cluster scope"#
        );
        assert!(ask(&[("impersonate-group", "x")]).is_err());
    }
}
