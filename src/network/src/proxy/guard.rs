//! Tells when our tables may have been removed by somebody else: `nft flush ruleset`, the restart of a firewall.

use rtnetlink::sys::{AsyncSocket, AsyncSocketExt, SocketAddr, TokioSocket, protocols::NETLINK_NETFILTER};

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
fn deletes(mut bytes: &[u8], table: &str) -> bool {
    let u16_at = |b: &[u8], i: usize| b.get(i..i + 2).map(|x| u16::from_ne_bytes([x[0], x[1]]));
    while bytes.len() >= 16 {
        let length = u32::from_ne_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]) as usize;
        let Some(message) = bytes.get(..length).filter(|m| m.len() >= 16) else { return false };
        // after the headers of netlink and netfilter
        let mut attributes = message.get(20..).unwrap_or_default();
        while u16_at(message, 4) == Some(DELETED_TABLE) && attributes.len() >= 4 {
            let size = usize::from(u16_at(attributes, 0).unwrap_or(0));
            let Some(attribute) = attributes.get(..size).filter(|a| a.len() >= 4) else { break };
            let name = attribute[4..].strip_suffix(&[0]).unwrap_or(&attribute[4..]);
            if u16_at(attribute, 2).map(|kind| kind & 0x3fff) == Some(TABLE_NAME) && name == table.as_bytes() {
                return true;
            }
            attributes = attributes.get(size.next_multiple_of(4)..).unwrap_or_default();
        }
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: u16, name: &[u8]) -> Vec<u8> {
        let mut attribute = (name.len() as u16 + 4).to_ne_bytes().to_vec();
        attribute.extend(TABLE_NAME.to_ne_bytes());
        attribute.extend(name);
        attribute.resize(attribute.len().next_multiple_of(4), 0);
        let mut m = (20 + attribute.len() as u32).to_ne_bytes().to_vec();
        m.extend(kind.to_ne_bytes());
        m.resize(20, 0);
        m.extend(attribute);
        m
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
