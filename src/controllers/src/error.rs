//! Why a reconcile failed: it is tried again.

/// The one error of this room.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Api(#[from] api::Status),
    #[error("cannot read the object: {0}")]
    Decode(#[from] api::DecodeError),
    #[error("bad selector: {0}")]
    Selector(#[from] api::labels::ParseError),
}

impl Error {
    /// The object, or the namespace it would live in, is gone: nothing is left to do.
    pub fn is_gone(&self) -> bool {
        matches!(self, Error::Api(s) if s.is_not_found() || is_terminating_namespace(s))
    }
}

/// Creates are refused since the namespace is going: upstream's `HasStatusCause(err, NamespaceTerminatingCause)`.
pub fn is_terminating_namespace(status: &api::Status) -> bool {
    status.causes.iter().any(|c| c.reason == "NamespaceTerminating")
        || (status.reason == api::Reason::Forbidden && status.message.contains("because it is being terminated"))
}
