//! Names outside the cluster: passed on unchanged to the host's resolvers.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};

const TIMEOUT: Duration = Duration::from_secs(2);

pub struct Forwarder {
    resolv_conf: PathBuf,
    /// Never asked: ourselves.
    own: IpAddr,
    known: Mutex<(Option<SystemTime>, Vec<SocketAddr>)>,
}

impl Forwarder {
    pub fn new(resolv_conf: PathBuf, own: IpAddr) -> Forwarder {
        Forwarder { resolv_conf, own, known: Mutex::default() }
    }

    /// The first answer that one of the resolvers gives, each asked twice over UDP.
    pub async fn forward(&self, packet: &[u8], tcp: bool) -> Option<Vec<u8>> {
        let servers = self.servers();
        for _ in 0..if tcp { 1 } else { 2 } {
            for server in &servers {
                let asked = async { if tcp { ask_tcp(*server, packet).await } else { ask_udp(*server, packet).await } };
                if let Ok(Ok(answer)) = tokio::time::timeout(TIMEOUT, asked).await {
                    return Some(answer);
                }
            }
        }
        None
    }

    fn servers(&self) -> Vec<SocketAddr> {
        let modified = std::fs::metadata(&self.resolv_conf).and_then(|m| m.modified()).ok();
        let mut known = self.known.lock();
        if known.0 != modified || modified.is_none() {
            *known = (modified, nameservers(&self.resolv_conf, self.own));
        }
        known.1.clone()
    }
}

/// The `nameserver` lines of a resolv.conf, but for `own`.
fn nameservers(path: &Path, own: IpAddr) -> Vec<SocketAddr> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.lines()
        .filter_map(|l| l.trim().strip_prefix("nameserver")?.split_whitespace().next()?.parse::<IpAddr>().ok())
        .filter(|ip| *ip != own)
        .map(|ip| SocketAddr::new(ip, 53))
        .collect()
}

async fn ask_udp(server: SocketAddr, packet: &[u8]) -> std::io::Result<Vec<u8>> {
    let any: IpAddr = if server.is_ipv4() { [0; 4].into() } else { [0u16; 8].into() };
    let socket = UdpSocket::bind((any, 0)).await?;
    socket.connect(server).await?;
    socket.send(packet).await?;
    let mut buffer = vec![0; 65535];
    loop {
        let n = socket.recv(&mut buffer).await?;
        // the id must be ours, else it is a late or forged answer
        if n >= 2 && buffer[..2] == packet[..2] {
            buffer.truncate(n);
            return Ok(buffer);
        }
    }
}

async fn ask_tcp(server: SocketAddr, packet: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(server).await?;
    stream.write_u16(packet.len() as u16).await?;
    stream.write_all(packet).await?;
    let mut answer = vec![0; stream.read_u16().await?.into()];
    stream.read_exact(&mut answer).await?;
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resolvers_are_read_from_the_hosts_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("resolv.conf");
        std::fs::write(&path, "search x\nnameserver 10.43.0.10\n nameserver 9.9.9.9 # quad\nnameserver bad\n").unwrap();
        let own = "10.43.0.10".parse().unwrap();
        assert_eq!(nameservers(&path, own), ["9.9.9.9:53".parse().unwrap()]);
        assert!(nameservers(&dir.path().join("none"), own).is_empty());
    }
}
