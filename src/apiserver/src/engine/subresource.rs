//! The parts of an object that are written by a path of their own.

use api::kinds::{certificates, pod};
use api::{Kind, Value, field};

/// What an update may change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    Main,
    Status,
    /// `namespaces/finalize`
    Finalize,
    /// `pods/ephemeralcontainers`
    EphemeralContainers,
    /// `pods/resize`
    Resize,
    /// `certificatesigningrequests/approval`
    Approval,
}

impl Part {
    /// The part that a subresource of a kind names; `scale` is no part but a view.
    pub fn of(kind: &Kind, subresource: &str) -> Option<Part> {
        match (subresource, kind.group.as_str(), kind.plural.as_str()) {
            ("", _, _) => Some(Part::Main),
            ("status", _, _) => kind.subresources.status.then_some(Part::Status),
            ("finalize", "", "namespaces") => Some(Part::Finalize),
            ("ephemeralcontainers", "", "pods") => Some(Part::EphemeralContainers),
            ("resize", "", "pods") => Some(Part::Resize),
            ("approval", "certificates.k8s.io", "certificatesigningrequests") => Some(Part::Approval),
            _ => None,
        }
    }

    pub(super) fn prepare(self, kind: &Kind, new: &mut Value, old: &Value) {
        match self {
            Part::Main => kind.strategy.prepare_update(new, old),
            Part::Status => kind.strategy.prepare_status_update(new, old),
            Part::Finalize => api::kinds::prepare_finalize(new, old),
            Part::EphemeralContainers => pod::prepare_ephemeral_containers(new, old),
            Part::Resize => pod::prepare_resize(new, old),
            Part::Approval => certificates::prepare_approval(new, old),
        }
    }

    pub(super) fn validate(self, kind: &Kind, new: &Value, old: &Value) -> Vec<field::Error> {
        match self {
            Part::Main => kind.strategy.check_update(new, old),
            Part::Status => kind.strategy.validate_status_update(new, old),
            Part::Approval => certificates::validate_approval(new, old),
            Part::Finalize => Vec::new(),
            Part::EphemeralContainers => pod::validate_ephemeral_containers(new, old),
            Part::Resize => pod::validate_resize(new, old),
        }
    }
}
