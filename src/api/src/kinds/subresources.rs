//! Subresources that have code of their own in the API server, for discovery: `status` and `scale` are the engine's.

/// One line of discovery's resource list: `resource` is `pods/exec`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Subresource {
    /// The group whose list it stands in; its version is the kind's.
    pub group: &'static str,
    pub resource: &'static str,
    pub namespaced: bool,
    /// The kind that it takes or gives.
    pub kind: &'static str,
    /// Group and version of `kind` where it is not the parent's.
    pub home: Option<(&'static str, &'static str)>,
    pub verbs: &'static [&'static str],
}

const CONNECT: &[&str] = &["create", "get"];
const PROXY: &[&str] = &["create", "delete", "get", "patch", "update"];
const EDIT: &[&str] = &["get", "patch", "update"];
const CREATE: &[&str] = &["create"];

const fn of(resource: &'static str, kind: &'static str, verbs: &'static [&'static str]) -> Subresource {
    Subresource { group: "", resource, namespaced: true, kind, home: None, verbs }
}
const fn cluster(resource: &'static str, kind: &'static str, verbs: &'static [&'static str]) -> Subresource {
    Subresource { namespaced: false, ..of(resource, kind, verbs) }
}

pub const SUBRESOURCES: &[Subresource] = &[
    of("bindings", "Binding", CREATE),
    cluster("namespaces/finalize", "Namespace", &["update"]),
    cluster("nodes/proxy", "NodeProxyOptions", PROXY),
    of("pods/attach", "PodAttachOptions", CONNECT),
    of("pods/binding", "Binding", CREATE),
    of("pods/ephemeralcontainers", "Pod", EDIT),
    Subresource { home: Some(("policy", "v1")), ..of("pods/eviction", "Eviction", CREATE) },
    of("pods/exec", "PodExecOptions", CONNECT),
    of("pods/log", "Pod", &["get"]),
    of("pods/portforward", "PodPortForwardOptions", CONNECT),
    of("pods/proxy", "PodProxyOptions", PROXY),
    of("pods/resize", "Pod", EDIT),
    Subresource { home: Some(("authentication.k8s.io", "v1")), ..of("serviceaccounts/token", "TokenRequest", CREATE) },
    of("services/proxy", "ServiceProxyOptions", PROXY),
    Subresource {
        group: "certificates.k8s.io",
        ..cluster("certificatesigningrequests/approval", "CertificateSigningRequest", EDIT)
    },
];
