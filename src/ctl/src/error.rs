//! What a command can fail with, in kubectl's words.

use api::Status;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The server's refusal.
    #[error("{}", from_server(.0))]
    Status(Box<Status>),
    /// The server could not be asked.
    #[error("{0}")]
    Connection(String),
    /// Anything else, as kubectl prints it.
    #[error("error: {0}")]
    Other(String),
    /// Without kubectl's `error: ` before it.
    #[error("{0}")]
    Plain(String),
    /// Has been said already: only the exit code is left.
    #[error("")]
    Exit(u8),
}

impl Error {
    pub fn other(text: impl Into<String>) -> Error {
        Error::Other(text.into())
    }
    /// `error when creating "x.yaml": …`, as kubectl says of an object from a file.
    pub fn when(mut self, doing: &str, source: &str) -> Error {
        if source.is_empty() {
            return self;
        }
        let quoted = if source == "STDIN" { "STDIN".to_owned() } else { format!("{source:?}") };
        match &mut self {
            Error::Status(s) => s.message = format!("error when {doing} {quoted}: {}", s.message),
            Error::Other(text) => *text = format!("error when {doing} {quoted}: {text}"),
            _ => {}
        }
        self
    }
    pub fn status(&self) -> Option<&Status> {
        match self {
            Error::Status(s) => Some(s),
            _ => None,
        }
    }
    pub fn is_not_found(&self) -> bool {
        self.status().is_some_and(Status::is_not_found)
    }
}

/// `Error from server (NotFound): pods "x" not found`; invalid objects without that head, as kubectl.
fn from_server(s: &Status) -> String {
    match s.reason {
        api::Reason::Invalid => invalid(s),
        api::Reason::Unauthorized => format!("error: You must be logged in to the server ({})", s.message),
        api::Reason::Unknown => format!("Error from server: {}", s.message),
        reason => format!("Error from server ({reason:?}): {}", s.message),
    }
}

/// `The Pod "x" is invalid: …`, the causes below each other when there are several.
fn invalid(s: &Status) -> String {
    let mut head = "The request is invalid".to_owned();
    if !s.kind.is_empty() || !s.name.is_empty() {
        head = format!("The {} {:?} is invalid", s.kind, s.name);
    } else if s.causes.is_empty() && !s.message.is_empty() {
        head = format!("{head}: {}", s.message);
    }
    let mut causes: Vec<String> = s.causes.iter().map(|c| format!("{}: {}", c.field, c.message)).collect();
    let mut seen = std::collections::HashSet::new();
    causes.retain(|c| seen.insert(c.clone()));
    match causes.as_slice() {
        [] => head,
        [one] => format!("{head}: {one}"),
        many => format!("{head}: {}", many.iter().map(|c| format!("\n* {c}")).collect::<String>()),
    }
}

impl From<Status> for Error {
    fn from(s: Status) -> Self {
        Error::Status(Box::new(s))
    }
}
impl From<std::io::Error> for Error {
    fn from(e: std::io::Error) -> Self {
        Error::Other(e.to_string())
    }
}
impl From<serde_json::Error> for Error {
    fn from(e: serde_json::Error) -> Self {
        Error::Other(e.to_string())
    }
}
impl From<serde_yaml::Error> for Error {
    fn from(e: serde_yaml::Error) -> Self {
        Error::Other(e.to_string())
    }
}

pub type Result<T> = std::result::Result<T, Error>;
