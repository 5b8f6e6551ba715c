//! What sending a body of a size costs at least: the same HTTPS stack as skiff's (hyper, rustls with ring), and nothing behind it.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::mpsc::channel;

use anyhow::{Context, Result};
use bytes::Bytes;
use http_body_util::Full;
use hyper::Response;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use pki::{Authority, Identity, Profile};
use tokio_rustls::TlsAcceptor;

use crate::client::Cluster;

/// A server in this process, on a thread of its own, that answers each request with `body`.
pub fn serve(body: Bytes) -> Result<Cluster> {
    let now = jiff::Timestamp::now();
    let (servers, clients) = (Authority::generate("bench", now)?, Authority::generate("bench clients", now)?);
    let identity = Identity::issue(&servers, &Profile::server("bench", BTreeSet::from(["127.0.0.1".to_owned()])), now)?;
    let tls = TlsAcceptor::from(pki::server_config(&identity, &clients)?);
    let (up, ready) = channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
            let _ = up.send(listener.local_addr()?);
            loop {
                let (tcp, _) = listener.accept().await?;
                tcp.set_nodelay(true)?;
                let (tls, body) = (tls.clone(), body.clone());
                tokio::spawn(async move {
                    let Ok(stream) = tls.accept(tcp).await else { return };
                    let answer = service_fn(move |_| {
                        let body = body.clone();
                        async move { Ok::<_, Infallible>(Response::new(Full::new(body))) }
                    });
                    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), answer).await;
                });
            }
            #[allow(unreachable_code)]
            Ok::<_, std::io::Error>(())
        })
    });
    let address: SocketAddr = ready.recv().context("the fixed server does not come up")?;
    Cluster::at(address, servers.pem())
}
