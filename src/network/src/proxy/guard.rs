//! Tells when our tables may have been removed by somebody else: `nft flush ruleset`, the restart of a firewall.

use rtnetlink::sys::{AsyncSocket, AsyncSocketExt, SocketAddr, TokioSocket, protocols::NETLINK_NETFILTER};

use super::nfnl;

const GROUP_NFTABLES: u32 = 7;
/// `NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_DELTABLE`
const DELETED_TABLE: u16 = 10 << 8 | 2;
const TABLE_NAME: u16 = 1;

/// Hears of the tables that are deleted in this network namespace.
pub struct Guard {
    /// `None`: this kernel does not tell.
    socket: Option<TokioSocket>,
    table: String,
}

impl Guard {
    pub fn new(table: &str) -> Guard {
        let open = || {
            let mut socket = TokioSocket::new(NETLINK_NETFILTER)?;
            socket.socket_mut().bind(&SocketAddr::new(0, 0))?;
            socket.socket_mut().add_membership(GROUP_NFTABLES)?;
            Ok::<_, std::io::Error>(socket)
        };
        let socket = open().inspect_err(|error| tracing::debug!(%error, "deleted tables are not noticed")).ok();
        Guard { socket, table: table.to_owned() }
    }

    /// Waits until one of our name was deleted, by whomever, or that may have been missed.
    pub async fn deleted(&mut self) {
        let Some(socket) = &mut self.socket else { return std::future::pending().await };
        loop {
            match socket.recv_from_full().await {
                Ok((bytes, _)) if deletes(&bytes, &self.table) => return,
                Ok(_) => {}
                // more was said than the socket holds
                Err(e) if e.raw_os_error() == Some(nix::libc::ENOBUFS) => return,
                Err(_) => break,
            }
        }
        self.socket = None;
        std::future::pending().await
    }
}

/// Whether one of the messages says that a table of that name is gone.
fn deletes(bytes: &[u8], table: &str) -> bool {
    nfnl::messages(bytes).filter(|(kind, _)| *kind == DELETED_TABLE).any(|(_, attributes)| {
        nfnl::attribute(attributes, TABLE_NAME)
            .is_some_and(|name| name.strip_suffix(&[0]).unwrap_or(name) == table.as_bytes())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: u16, name: &[u8]) -> Vec<u8> {
        nfnl::request(kind, 0, 0, &nfnl::encoded(TABLE_NAME, name))
    }

    #[test]
    fn our_tables_end_is_heard() {
        let (ours, other) = (message(DELETED_TABLE, b"skiff\0"), message(DELETED_TABLE, b"filter\0"));
        let made = message(10 << 8, b"skiff\0");
        assert!(deletes(&ours, "skiff"));
        assert!(deletes(&[other.clone(), made.clone(), ours.clone()].concat(), "skiff"));
        assert!(!deletes(&[other, made].concat(), "skiff"));
        for n in 0..ours.len() {
            assert!(!deletes(&ours[..n], "skiff"), "cut short");
        }
        assert!(!deletes(&[0; 64], "skiff"));
    }
}
