//! The parameters of a binding: upstream's `CollectParams`.

use std::sync::Arc;

use api::labels::Selector;
use api::{Kind, Object, Value, convert};

use super::Compiled;
use crate::admission::extension::Extensions;
use crate::admission::scene::{Scene, group_version};
use crate::admission::tree::text;

/// `paramRef`
#[derive(Debug)]
pub struct ParamRef {
    name: String,
    namespace: String,
    selector: Option<Result<Selector, String>>,
    /// `parameterNotFoundAction: Deny`
    deny: bool,
}

impl ParamRef {
    pub fn parse(v: &Value) -> Option<ParamRef> {
        let selector = v.get("selector").filter(|s| s.is_object());
        v.is_object().then(|| ParamRef {
            name: text(v, "/name").into(),
            namespace: text(v, "/namespace").into(),
            selector: selector.map(|s| Selector::from_tree(s).map_err(|e| e.to_string())),
            deny: v["parameterNotFoundAction"] == "Deny",
        })
    }
}

/// The kind of a policy's parameters, if it has any; errors if nothing is of it.
pub fn known(s: &Scene<'_>, policy: &Compiled) -> Result<Option<Arc<Kind>>, String> {
    let Some((api_version, kind)) = &policy.params else { return Ok(None) };
    let (group, version) = group_version(api_version);
    let routes = s.engine().map(|e| e.routes());
    let found = routes.and_then(|r| r.registry.kind(group, version, kind).cloned());
    found
        .map(Some)
        .ok_or_else(|| format!("failed to find resource referenced by paramKind: '{api_version}, Kind={kind}'"))
}

/// What a policy is run with; once with `Null` where it takes no parameters.
pub async fn collect(
    x: &Extensions,
    s: &Scene<'_>,
    policy: &Compiled,
    asked: Option<&ParamRef>,
) -> Result<Vec<Value>, String> {
    let (Some(kind), Some(asked)) = (known(s, policy)?, asked) else { return Ok(vec![Value::Null]) };
    let namespace = match (kind.namespaced(), asked.namespace.as_str(), s.namespace.as_str()) {
        (false, "", _) => "",
        (false, ..) => return Err("paramRef.namespace must not be provided for a cluster-scoped `paramKind`".into()),
        (true, "", "") => {
            let why = "cannot use namespaced paramRef in policy binding that matches cluster-scoped resources";
            return Err(why.into());
        }
        (true, "", own) => own,
        (true, named, _) => named,
    };
    let resource = kind.store_resource();
    let objects: Vec<Arc<Object>> = match (&asked.selector, asked.name.as_str()) {
        (Some(_), name) if !name.is_empty() => {
            return Err("paramRef.name and paramRef.selector are mutually exclusive".into());
        }
        (Some(selector), _) => {
            let selector = selector.as_ref().map_err(Clone::clone)?;
            let mut all = x.lookup.list(&resource, namespace);
            all.retain(|o| selector.matches(&o.meta().labels));
            all
        }
        (None, "") => return Err("one of name or selector must be provided".into()),
        (None, name) => x.lookup.get(&resource, namespace, name).into_iter().collect(),
    };
    if objects.is_empty() && asked.deny {
        return Err("no params found for policy binding with `Deny` parameterNotFoundAction".into());
    }
    let version = policy.params.as_ref().map_or("", |(v, _)| v);
    let (group, version) = group_version(version);
    let mut all = Vec::with_capacity(objects.len());
    for object in objects {
        let mut tree = object.tree();
        match (&kind.definition, s.engine()) {
            (Some(definition), Some(engine)) => {
                tree = engine.convert_custom(definition, version, tree).await.map_err(|e| e.message)?;
            }
            _ => convert::from_storage(&kind, group, version, &mut tree),
        }
        all.push(tree);
    }
    Ok(all)
}
