//! A local address behind which all servers are: upstream's and k3s' client-side load balancer.
//!
//! Health is known by use: a connection that cannot be made goes to the next server, and the one that answers is the first
//! for those that follow. Connections to a server that is no longer in the set are ended, so that their owners move.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::{Error, Servers};

const CONNECT: Duration = Duration::from_secs(3);
const BUFFER: usize = 32 << 10;

pub struct Balancer {
    listener: TcpListener,
    servers: Arc<Servers>,
}

impl Balancer {
    pub async fn bind(address: SocketAddr, servers: Arc<Servers>) -> Result<Balancer, Error> {
        let bound = TcpListener::bind(address).await;
        let listener = bound.map_err(|source| Error::Io { path: address.to_string(), source })?;
        Ok(Balancer { listener, servers })
    }
    /// Where it listens.
    pub fn address(&self) -> Result<SocketAddr, Error> {
        self.listener.local_addr().map_err(|source| Error::Io { path: "balancer".into(), source })
    }

    pub async fn run(self, stop: CancellationToken) {
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                accepted = self.listener.accept() => match accepted {
                    Ok((socket, _)) => drop(connections.spawn(join(socket, self.servers.clone()))),
                    Err(error) => {
                        tracing::warn!(%error, "a connection could not be accepted");
                        tokio::time::sleep(Duration::from_millis(50)).await;
                    }
                },
                Some(_) = connections.join_next() => {}
            }
        }
    }
}

async fn join(mut local: TcpStream, servers: Arc<Servers>) {
    for server in servers.candidates() {
        let mut remote = match tokio::time::timeout(CONNECT, TcpStream::connect(&server)).await {
            Ok(Ok(remote)) => remote,
            Ok(Err(error)) => {
                tracing::debug!(server, %error, "the server is not reached");
                continue;
            }
            Err(_) => continue,
        };
        servers.answered(&server);
        for socket in [&local, &remote] {
            let _ = socket.set_nodelay(true);
        }
        let mut changes = servers.changes();
        let gone = changes.wait_for(|_| !servers.has(&server));
        tokio::select! {
            _ = tokio::io::copy_bidirectional_with_sizes(&mut local, &mut remote, BUFFER, BUFFER) => {}
            Ok(_) = gone => {}
        }
        return;
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    /// Greets with `name`, then keeps the connection.
    async fn server(name: &'static str) -> String {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        tokio::spawn(async move {
            while let Ok((mut socket, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let _ = socket.write_all(name.as_bytes()).await;
                    let _ = socket.read(&mut [0]).await;
                });
            }
        });
        address
    }

    #[tokio::test]
    async fn a_dead_server_is_passed_over_and_a_removed_one_left() {
        let dead = {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
            listener.local_addr().unwrap().to_string()
        };
        let (one, two) = (server("one").await, server("two").await);
        let dir = tempfile::tempdir().unwrap();
        let servers = Arc::new(Servers::open(dir.path(), None).unwrap());
        servers.advertise(vec![dead.clone(), one.clone()]);
        let balancer = Balancer::bind((Ipv4Addr::LOCALHOST, 0).into(), servers.clone()).await.unwrap();
        let (address, stop) = (balancer.address().unwrap(), CancellationToken::new());
        let running = tokio::spawn(balancer.run(stop.clone()));
        let greeted = async || {
            let mut socket = TcpStream::connect(address).await.unwrap();
            let mut text = [0; 3];
            socket.read_exact(&mut text).await.unwrap();
            (socket, String::from_utf8_lossy(&text).into_owned())
        };
        let (mut first, name) = greeted().await;
        assert_eq!(name, "one");
        assert_eq!(servers.candidates()[0], one, "the one that answers is the first from now on");
        servers.advertise(vec![two]);
        let ended = tokio::time::timeout(Duration::from_secs(5), first.read(&mut [0])).await.expect("it is ended");
        assert!(matches!(ended, Ok(0) | Err(_)));
        assert_eq!(greeted().await.1, "two");
        stop.cancel();
        running.await.unwrap();
    }
}
