//! The paths and operations of a group and version, as upstream names and describes them.

use super::{META, definition_name};
use crate::kinds::SUBRESOURCES;
use crate::{Kind, Registry};

/// One path with its operations.
pub(super) struct Path {
    pub path: String,
    pub operations: Vec<Operation>,
}

impl Path {
    /// The names in braces.
    pub fn parameters(&self) -> impl Iterator<Item = &str> {
        self.path.split('{').skip(1).filter_map(|p| p.split('}').next())
    }
}

pub(super) struct Operation {
    /// `get`, `put`, `post`, `patch`, `delete`, …
    pub method: &'static str,
    /// `x-kubernetes-action`
    pub action: &'static str,
    pub id: String,
    pub description: String,
    /// Group, version and kind that it is about.
    pub gvk: (String, String, String),
    /// The definition of the body, empty for none.
    pub body: String,
    /// The definition of the answer, empty for a text.
    pub answer: String,
    /// It is about a custom resource, which takes no strategic merge patch.
    pub custom: bool,
}

/// A query parameter: name, type, description.
pub(super) type Query = (&'static str, &'static str, &'static str);

const PRETTY: Query = ("pretty", "string", "If 'true', then the output is pretty printed.");
const WRITE: [Query; 3] = [
    (
        "dryRun",
        "string",
        "When present, indicates that modifications should not be persisted. An invalid or unrecognized dryRun directive will result in an error response and no further processing of the request. Valid values are: - All: all dry run stages will be processed",
    ),
    (
        "fieldManager",
        "string",
        "fieldManager is a name associated with the actor or entity that is making these changes. The value must be less than or 128 characters long, and only contain printable characters, as defined by https://golang.org/pkg/unicode/#IsPrint.",
    ),
    (
        "fieldValidation",
        "string",
        "fieldValidation instructs the server on how to handle objects in the request (POST/PUT/PATCH) containing unknown or duplicate fields. Valid values are: - Ignore, - Warn, - Strict.",
    ),
];
const FORCE: Query = (
    "force",
    "boolean",
    "Force is going to \"force\" Apply requests. It means user will re-acquire conflicting fields owned by other people. Force flag must be unset for non-apply patch requests.",
);
const DELETE: [Query; 4] = [
    WRITE[0],
    (
        "gracePeriodSeconds",
        "integer",
        "The duration in seconds before the object should be deleted. Value must be non-negative integer. The value zero indicates delete immediately. If this value is nil, the default grace period for the specified type will be used.",
    ),
    (
        "orphanDependents",
        "boolean",
        "Deprecated: please use the PropagationPolicy, this field will be deprecated in 1.7.",
    ),
    (
        "propagationPolicy",
        "string",
        "Whether and how garbage collection will be performed: 'Orphan', 'Background' or 'Foreground'.",
    ),
];
const LIST: [Query; 10] = [
    ("allowWatchBookmarks", "boolean", "allowWatchBookmarks requests watch events with type \"BOOKMARK\"."),
    ("continue", "string", "The continue option should be set when retrieving more results from the server."),
    (
        "fieldSelector",
        "string",
        "A selector to restrict the list of returned objects by their fields. Defaults to everything.",
    ),
    (
        "labelSelector",
        "string",
        "A selector to restrict the list of returned objects by their labels. Defaults to everything.",
    ),
    ("limit", "integer", "limit is a maximum number of responses to return for a list call."),
    (
        "resourceVersion",
        "string",
        "resourceVersion sets a constraint on what resource versions a request may be served from.",
    ),
    ("resourceVersionMatch", "string", "resourceVersionMatch determines how resourceVersion is applied to list calls."),
    ("sendInitialEvents", "boolean", "sendInitialEvents=true may be set together with watch=true."),
    ("timeoutSeconds", "integer", "Timeout for the list/watch call."),
    (
        "watch",
        "boolean",
        "Watch for changes to the described resources and return them as a stream of add, update, and remove notifications.",
    ),
];

impl Operation {
    pub fn queries(&self) -> Vec<Query> {
        let mut all = match self.action {
            "list" => LIST.to_vec(),
            "post" | "put" => WRITE.to_vec(),
            "patch" => [&WRITE[..], &[FORCE]].concat(),
            "delete" => DELETE.to_vec(),
            "deletecollection" => [&DELETE[..], &LIST[1..7]].concat(),
            _ => Vec::new(),
        };
        all.push(PRETTY);
        all
    }
    /// The content types of the body.
    pub fn consumes(&self) -> &'static [&'static str] {
        match self.action {
            "patch" if self.custom => {
                &["application/json-patch+json", "application/merge-patch+json", "application/apply-patch+yaml"]
            }
            "patch" => &[
                "application/json-patch+json",
                "application/merge-patch+json",
                "application/strategic-merge-patch+json",
                "application/apply-patch+yaml",
            ],
            _ => &["application/json", "application/yaml"],
        }
    }
    pub fn produces(&self) -> &'static [&'static str] {
        match self.action {
            _ if self.answer.is_empty() => &["text/plain"],
            "list" => &["application/json", "application/yaml", "application/json;stream=watch"],
            _ => &["application/json", "application/yaml"],
        }
    }
}

/// `RbacAuthorizationV1`, `CoreV1`.
fn title(group: &str, version: &str) -> String {
    let group = group.strip_suffix(".k8s.io").unwrap_or(if group.is_empty() { "core" } else { group });
    group.split('.').chain([version]).map(capital).collect()
}

fn capital(s: &str) -> String {
    let mut chars = s.chars();
    chars.next().map_or(String::new(), |c| c.to_uppercase().chain(chars).collect())
}

/// `/api/v1`, `/apis/apps/v1`
pub(super) fn root(group: &str, version: &str) -> String {
    if group.is_empty() { format!("/api/{version}") } else { format!("/apis/{group}/{version}") }
}

pub(super) fn paths(registry: &Registry, group: &str, version: &str) -> Vec<Path> {
    let mut all = Vec::new();
    for kind in registry.kinds() {
        if kind.served.iter().any(|(g, v)| g == group && v == version) {
            Resource { kind, group, version }.paths(&mut all);
        }
    }
    all
}

struct Resource<'a> {
    kind: &'a Kind,
    group: &'a str,
    version: &'a str,
}

impl Resource<'_> {
    fn paths(&self, all: &mut Vec<Path>) {
        let Resource { kind, group, version } = self;
        let root = root(group, version);
        let scope = if kind.namespaced() { "/namespaces/{namespace}" } else { "" };
        let collection = format!("{root}{scope}/{}", kind.plural);
        let own = definition_name(kind, group, version);
        let (list, name) = (format!("{own}List"), kind.kind.as_str());
        let (status, delete) = (format!("{META}Status"), format!("{META}DeleteOptions"));
        let patch = format!("{META}Patch");
        if kind.namespaced() {
            let operation = self.operation(
                "get",
                "list",
                "AllNamespaces",
                "",
                &list,
                &format!("list or watch objects of kind {name}"),
            );
            all.push(Path { path: format!("{root}/{}", kind.plural), operations: self.served([operation]) });
        }
        all.push(Path {
            path: collection.clone(),
            operations: self.served([
                self.operation("get", "list", "", "", &list, &format!("list or watch objects of kind {name}")),
                self.operation("post", "post", "", &own, &own, &format!("create {name}")),
                self.operation(
                    "delete",
                    "deletecollection",
                    "",
                    &delete,
                    &status,
                    &format!("delete collection of {name}"),
                ),
            ]),
        });
        let one = format!("{collection}/{{name}}");
        all.push(Path {
            path: one.clone(),
            operations: self.served([
                self.operation("get", "get", "", "", &own, &format!("read the specified {name}")),
                self.operation("put", "put", "", &own, &own, &format!("replace the specified {name}")),
                self.operation("patch", "patch", "", &patch, &own, &format!("partially update the specified {name}")),
                self.operation("delete", "delete", "", &delete, &status, &format!("delete {name}")),
            ]),
        });
        let scale = "io.k8s.api.autoscaling.v1.Scale".to_owned();
        let subs = [(kind.subresources.status, "status", &own), (kind.subresources.scale, "scale", &scale)];
        for (_, sub, body) in subs.into_iter().filter(|s| s.0) {
            let suffix = capital(sub);
            let mut operations = [
                self.operation("get", "get", &suffix, "", body, &format!("read {sub} of the specified {name}")),
                self.operation("put", "put", &suffix, body, body, &format!("replace {sub} of the specified {name}")),
                self.operation(
                    "patch",
                    "patch",
                    &suffix,
                    &patch,
                    body,
                    &format!("partially update {sub} of the specified {name}"),
                ),
            ];
            if sub == "scale" {
                operations.iter_mut().for_each(|o| o.gvk = ("autoscaling".into(), "v1".into(), "Scale".into()));
            }
            all.push(Path { path: format!("{one}/{sub}"), operations: operations.into() });
        }
        for s in SUBRESOURCES.iter().filter(|s| s.group == *group) {
            if let Some(sub) = s.resource.strip_prefix(kind.plural.as_str()).and_then(|s| s.strip_prefix('/')) {
                all.push(self.subresource(&one, sub, s));
            }
        }
    }

    fn subresource(&self, one: &str, sub: &str, s: &crate::kinds::Subresource) -> Path {
        let (group, version) = s.home.unwrap_or((self.group, self.version));
        let package = match group {
            "" => "core",
            g => g.split('.').next().unwrap_or(g),
        };
        let definition = format!("io.k8s.api.{package}.{version}.{}", s.kind);
        let known = crate::schema::find(&definition).is_some() && sub != "log";
        let definition = if known { definition } else { String::new() };
        let operation = |verb: &&str| {
            let (method, action) = match *verb {
                "create" if known => ("post", "post"),
                "create" => ("post", "connect"),
                "get" if known || sub == "log" => ("get", "get"),
                "get" => ("get", "connect"),
                "update" if known => ("put", "put"),
                "update" => ("put", "connect"),
                "patch" if known => ("patch", "patch"),
                "patch" => ("patch", "connect"),
                _ => ("delete", "connect"),
            };
            let body = match action {
                "post" | "put" => definition.as_str(),
                "patch" => &format!("{META}Patch"),
                _ => "",
            };
            let about = format!("{action} {sub} of the specified {}", self.kind.kind);
            let mut o = self.operation(method, action, &capital(sub), body, &definition, &about);
            if action == "connect" {
                o.id = format!("connect{}", capital(&o.id));
            }
            o.gvk = (group.into(), version.into(), s.kind.into());
            o
        };
        Path { path: format!("{one}/{sub}"), operations: s.verbs.iter().map(operation).collect() }
    }

    fn operation(
        &self,
        method: &'static str,
        action: &'static str,
        suffix: &str,
        body: &str,
        answer: &str,
        description: &str,
    ) -> Operation {
        let verb = match action {
            "post" => "create",
            "get" => "read",
            "put" => "replace",
            "deletecollection" => "deleteCollection",
            "connect" => method,
            other => other,
        };
        let (scope, suffix) = match suffix {
            "AllNamespaces" => ("", "ForAllNamespaces"),
            other if self.kind.namespaced() => ("Namespaced", other),
            other => ("", other),
        };
        Operation {
            method,
            action,
            id: format!("{verb}{}{scope}{}{suffix}", title(self.group, self.version), self.kind.kind),
            description: description.into(),
            gvk: (self.group.into(), self.version.into(), self.kind.kind.clone()),
            body: body.into(),
            answer: answer.into(),
            custom: self.kind.definition.is_some(),
        }
    }

    /// Those whose verb the kind has.
    fn served<const N: usize>(&self, operations: [Operation; N]) -> Vec<Operation> {
        let verb = |o: &Operation| match o.action {
            "post" => "create",
            "put" => "update",
            other => other,
        };
        operations.into_iter().filter(|o| self.kind.verbs.iter().any(|v| v == verb(o))).collect()
    }
}
