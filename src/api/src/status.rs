//! The `Status` that a client gets instead of an object: upstream's `metav1.Status` and `api/errors` constructors.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::field;

/// `metav1.StatusReason`. The names are the wire's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reason {
    Unauthorized,
    Forbidden,
    NotFound,
    AlreadyExists,
    Conflict,
    Gone,
    Expired,
    Invalid,
    ServerTimeout,
    Timeout,
    TooManyRequests,
    BadRequest,
    MethodNotAllowed,
    NotAcceptable,
    RequestEntityTooLarge,
    UnsupportedMediaType,
    InternalError,
    ServiceUnavailable,
    #[serde(other)]
    Unknown,
}

impl Reason {
    /// The HTTP status code upstream answers with.
    pub fn code(self) -> u16 {
        match self {
            Reason::Unauthorized => 401,
            Reason::Forbidden => 403,
            Reason::NotFound => 404,
            Reason::MethodNotAllowed => 405,
            Reason::NotAcceptable => 406,
            Reason::AlreadyExists | Reason::Conflict => 409,
            Reason::Gone | Reason::Expired => 410,
            Reason::RequestEntityTooLarge => 413,
            Reason::UnsupportedMediaType => 415,
            Reason::Invalid => 422,
            Reason::TooManyRequests => 429,
            Reason::BadRequest => 400,
            Reason::ServiceUnavailable => 503,
            Reason::ServerTimeout | Reason::Timeout => 504,
            Reason::InternalError | Reason::Unknown => 500,
        }
    }
}

/// `metav1.StatusCause`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(default)]
pub struct Cause {
    pub reason: String,
    pub message: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub field: String,
}

/// A failure in Kubernetes' own form. The one error type that crosses the API border.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{message}")]
pub struct Status {
    pub reason: Reason,
    pub code: u16,
    pub message: String,
    /// `details.name`, `details.group`, `details.kind` (the plural resource in most errors, as upstream).
    pub name: String,
    pub group: String,
    pub kind: String,
    pub causes: Vec<Cause>,
    /// `details.retryAfterSeconds`; 0: absent.
    pub retry_after_seconds: u32,
}

fn qualified(group: &str, resource: &str) -> String {
    if group.is_empty() { resource.to_owned() } else { format!("{resource}.{group}") }
}

impl Status {
    pub fn new(reason: Reason, message: impl Into<String>) -> Status {
        Status {
            reason,
            code: reason.code(),
            message: message.into(),
            name: String::new(),
            group: String::new(),
            kind: String::new(),
            causes: Vec::new(),
            retry_after_seconds: 0,
        }
    }
    fn about(mut self, group: &str, kind: &str, name: &str) -> Status {
        (self.group, self.kind, self.name) = (group.into(), kind.into(), name.into());
        self
    }
    /// `pods "x" not found`
    pub fn not_found(group: &str, resource: &str, name: &str) -> Status {
        Status::new(Reason::NotFound, format!("{} {name:?} not found", qualified(group, resource)))
            .about(group, resource, name)
    }
    /// `pods "x" already exists`
    pub fn already_exists(group: &str, resource: &str, name: &str) -> Status {
        Status::new(Reason::AlreadyExists, format!("{} {name:?} already exists", qualified(group, resource)))
            .about(group, resource, name)
    }
    /// `Operation cannot be fulfilled on pods "x": <why>`
    pub fn conflict(group: &str, resource: &str, name: &str, why: &str) -> Status {
        let message = format!("Operation cannot be fulfilled on {} {name:?}: {why}", qualified(group, resource));
        Status::new(Reason::Conflict, message).about(group, resource, name)
    }
    /// The conflict of a stale `resourceVersion`, in the text that clients know.
    pub fn modified(group: &str, resource: &str, name: &str) -> Status {
        let why = "the object has been modified; please apply your changes to the latest version and try again";
        Status::conflict(group, resource, name, why)
    }
    /// `pods "x" is forbidden: <why>`
    pub fn forbidden(group: &str, resource: &str, name: &str, why: &str) -> Status {
        let subject = qualified(group, resource);
        let message = if name.is_empty() {
            format!("{subject} is forbidden: {why}")
        } else {
            format!("{subject} {name:?} is forbidden: {why}")
        };
        Status::new(Reason::Forbidden, message).about(group, resource, name)
    }
    /// `Pod "x" is invalid: <errors>`, one cause per field error. `kind` is the kind, not the resource, as upstream.
    pub fn invalid(group: &str, kind: &str, name: &str, errors: &[field::Error]) -> Status {
        let what = qualified(group, kind);
        let texts: Vec<String> = errors.iter().map(ToString::to_string).collect();
        let why = match texts.as_slice() {
            [one] => one.clone(),
            many => format!("[{}]", many.join(", ")),
        };
        let mut status =
            Status::new(Reason::Invalid, format!("{what} {name:?} is invalid: {why}")).about(group, kind, name);
        status.causes = errors.iter().map(field::Error::cause).collect();
        status
    }
    pub fn bad_request(message: impl Into<String>) -> Status {
        Status::new(Reason::BadRequest, message)
    }
    pub fn unauthorized() -> Status {
        Status::new(Reason::Unauthorized, "Unauthorized")
    }
    /// 410: the revision a list or watch asked for has been compacted.
    pub fn expired(message: impl Into<String>) -> Status {
        Status::new(Reason::Expired, message)
    }
    pub fn internal(error: impl std::fmt::Display) -> Status {
        Status::new(Reason::InternalError, format!("Internal error occurred: {error}"))
    }
    pub fn method_not_allowed(group: &str, resource: &str, verb: &str) -> Status {
        let message = format!("{verb} is not supported on resources of kind {:?}", qualified(group, resource));
        Status::new(Reason::MethodNotAllowed, message).about(group, resource, "")
    }
    pub fn too_many_requests(message: impl Into<String>, retry_after_seconds: u32) -> Status {
        let mut s = Status::new(Reason::TooManyRequests, message);
        s.retry_after_seconds = retry_after_seconds;
        s
    }

    pub fn is_not_found(&self) -> bool {
        self.reason == Reason::NotFound
    }
    pub fn is_conflict(&self) -> bool {
        self.reason == Reason::Conflict
    }
    pub fn is_already_exists(&self) -> bool {
        self.reason == Reason::AlreadyExists
    }
    pub fn is_expired(&self) -> bool {
        matches!(self.reason, Reason::Expired | Reason::Gone)
    }

    /// The wire form.
    pub fn to_value(&self) -> Value {
        let mut status = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": self.message, "reason": self.reason, "code": self.code,
        });
        if self.reason == Reason::Unknown
            && let Some(status) = status.as_object_mut()
        {
            // upstream's `StatusReasonUnknown` is the empty text
            status.remove("reason");
        }
        let mut details = serde_json::Map::new();
        for (key, v) in [("name", &self.name), ("group", &self.group), ("kind", &self.kind)] {
            if !v.is_empty() {
                details.insert(key.into(), json!(v));
            }
        }
        if !self.causes.is_empty() {
            details.insert("causes".into(), json!(self.causes));
        }
        if self.retry_after_seconds > 0 {
            details.insert("retryAfterSeconds".into(), json!(self.retry_after_seconds));
        }
        if !details.is_empty() {
            status["details"] = Value::Object(details);
        }
        status
    }

    /// From the wire form; what is missing reads as empty.
    pub fn from_value(v: &Value) -> Status {
        let text = |p: &str| v.pointer(p).and_then(Value::as_str).unwrap_or_default().to_owned();
        let reason = serde_json::from_value(v["reason"].clone()).unwrap_or(Reason::Unknown);
        Status {
            reason,
            code: v["code"].as_u64().map_or(reason.code(), |c| c as u16),
            message: text("/message"),
            name: text("/details/name"),
            group: text("/details/group"),
            kind: text("/details/kind"),
            causes: v
                .pointer("/details/causes")
                .and_then(|c| serde_json::from_value(c.clone()).ok())
                .unwrap_or_default(),
            retry_after_seconds: v.pointer("/details/retryAfterSeconds").and_then(Value::as_u64).unwrap_or(0) as u32,
        }
    }
}
