//! The kubelet's one error.

use std::path::PathBuf;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Runtime(#[from] runtime::Error),
    #[error(transparent)]
    Api(#[from] api::Status),
    #[error(transparent)]
    Decode(#[from] api::DecodeError),
    #[error("{}: {source}", path.display())]
    Path { path: PathBuf, source: std::io::Error },
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// Something that the pod refers to is missing or wrong; the text goes to its status or its events.
    #[error("{0}")]
    Config(String),
    #[error("{0}")]
    Network(String),
}

pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    pub fn config(text: impl Into<String>) -> Error {
        Error::Config(text.into())
    }
    pub fn network(text: impl std::fmt::Display) -> Error {
        Error::Network(text.to_string())
    }
}

/// Puts the path into an I/O error.
pub(crate) trait At<T> {
    fn at(self, path: &std::path::Path) -> Result<T>;
}

impl<T> At<T> for std::io::Result<T> {
    fn at(self, path: &std::path::Path) -> Result<T> {
        self.map_err(|source| Error::Path { path: path.to_owned(), source })
    }
}

impl<T> At<T> for nix::Result<T> {
    fn at(self, path: &std::path::Path) -> Result<T> {
        self.map_err(std::io::Error::from).at(path)
    }
}
