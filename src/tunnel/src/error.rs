//! Why a machine did not join, or a server was not reached.

#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nobody answers: worth another try.
    #[error("{server} cannot be reached: {why}")]
    Unreachable { server: String, why: String },
    #[error("{0:?} is not the address of a server: https://host:port")]
    Address(String),
    #[error("the server refuses the token: it is wrong, or has expired")]
    WrongToken,
    #[error("the token has expired")]
    ExpiredToken,
    #[error("the token is not for this server: it names another certificate authority")]
    WrongAuthority,
    #[error("this machine's clock is wrong, or the server's: {0}")]
    ClockSkew(String),
    #[error(
        "the node name {0:?} is taken by another machine: choose another, or delete that node if this machine is to take its place"
    )]
    NameTaken(String),
    /// In the server's words.
    #[error("the server refuses this machine: {0}")]
    Refused(String),
    #[error("the server's answer cannot be read: {0}")]
    Garbled(String),
    #[error("TLS: {0}")]
    Tls(String),
    #[error(transparent)]
    Pki(#[from] pki::Error),
    #[error("{path}: {source}")]
    Io { path: String, source: std::io::Error },
}

impl Error {
    /// Whether a later try may succeed without anyone doing something about it.
    pub fn is_temporary(&self) -> bool {
        matches!(self, Error::Unreachable { .. })
    }
    /// What a process that ends with it exits with.
    pub fn exit_code(&self) -> u8 {
        match self {
            Error::WrongToken => 10,
            Error::ExpiredToken => 11,
            Error::WrongAuthority => 12,
            Error::NameTaken(_) => 13,
            Error::ClockSkew(_) => 14,
            Error::Refused(_) => 15,
            _ => 1,
        }
    }
}
