//! What can go wrong on a node's network.

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("netlink: {what}: {source}")]
    Netlink { what: String, source: rtnetlink::Error },
    #[error("{what}: {source}")]
    Io { what: String, source: std::io::Error },
    /// The text is `nft`'s.
    #[error("nft: {0}")]
    Nft(String),
    #[error("there is no interface {0}")]
    NoInterface(String),
    #[error("no free address in {0}")]
    Exhausted(ipnet::IpNet),
    #[error("the node has no pod CIDR yet")]
    NoPodCidr,
}

pub(crate) trait Context<T> {
    fn what(self, what: impl FnOnce() -> String) -> Result<T, Error>;
}

impl<T> Context<T> for Result<T, rtnetlink::Error> {
    fn what(self, what: impl FnOnce() -> String) -> Result<T, Error> {
        self.map_err(|source| Error::Netlink { what: what(), source })
    }
}
impl<T> Context<T> for std::io::Result<T> {
    fn what(self, what: impl FnOnce() -> String) -> Result<T, Error> {
        self.map_err(|source| Error::Io { what: what(), source })
    }
}
impl<T> Context<T> for nix::Result<T> {
    fn what(self, what: impl FnOnce() -> String) -> Result<T, Error> {
        self.map_err(|e| Error::Io { what: what(), source: e.into() })
    }
}
