//! `healthCheckNodePort`: tells load balancers whether this node has endpoints of a service whose `externalTrafficPolicy` is
//! `Local`. Upstream's `pkg/proxy/healthcheck`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use api::k8s_openapi::api::core::v1::Service;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use super::plan::service_ports;
use crate::Services;

/// A load balancer says what it wants at once.
const PATIENCE: Duration = Duration::from_secs(5);

/// One that answers.
struct Port {
    service: (String, String),
    endpoints: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Drop for Port {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[derive(Default)]
pub struct Ports(BTreeMap<u16, Port>);

impl Ports {
    /// Listens for the services that there are.
    pub async fn sync(&mut self, services: &Services, node: &str) {
        let mut want = BTreeMap::new();
        for object in services.all() {
            let Some(spec) = object.view::<Service>().ok().and_then(|s| s.spec.as_ref()) else { continue };
            let port = spec.health_check_node_port.and_then(|p| u16::try_from(p).ok()).filter(|p| *p != 0);
            let (Some(port), Some("Local")) = (port, spec.external_traffic_policy.as_deref()) else { continue };
            let slices = services.slices(object.namespace(), object.name());
            let ports = service_ports(&object, &slices, node);
            let local: std::collections::BTreeSet<_> = ports.iter().flat_map(|p| &p.external).map(|e| e.ip()).collect();
            want.insert(port, ((object.namespace().to_owned(), object.name().to_owned()), local.len()));
        }
        self.0.retain(|number, port| want.get(number).is_some_and(|(service, _)| *service == port.service));
        for (number, (service, local)) in want {
            if let Some(port) = self.0.get(&number) {
                port.endpoints.store(local, Ordering::Relaxed);
                continue;
            }
            // both families, or the one that there is
            let listener = match TcpListener::bind(("::", number)).await {
                Err(_) => TcpListener::bind(("0.0.0.0", number)).await,
                bound => bound,
            };
            match listener {
                Ok(listener) => {
                    let endpoints = Arc::new(AtomicUsize::new(local));
                    let task = tokio::spawn(listen(listener, service.clone(), endpoints.clone()));
                    self.0.insert(number, Port { service, endpoints, task });
                }
                Err(error) => tracing::warn!(port = number, %error, "health checks of a service are not answered"),
            }
        }
    }
}

async fn listen(listener: TcpListener, service: (String, String), endpoints: Arc<AtomicUsize>) {
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let text = answer(&service, endpoints.load(Ordering::Relaxed));
        tokio::spawn(tokio::time::timeout(PATIENCE, tell(stream, text)));
    }
}

/// Whatever the request says.
async fn tell(mut stream: TcpStream, text: String) -> std::io::Result<()> {
    let (mut buffer, mut request) = ([0; 1024], Vec::new());
    while !request.windows(4).any(|w| w == b"\r\n\r\n") && request.len() < 16 << 10 {
        match stream.read(&mut buffer).await? {
            0 => return Ok(()),
            n => request.extend_from_slice(&buffer[..n]),
        }
    }
    stream.write_all(text.as_bytes()).await?;
    stream.shutdown().await
}

fn answer((namespace, name): &(String, String), endpoints: usize) -> String {
    let status = if endpoints > 0 { "200 OK" } else { "503 Service Unavailable" };
    let body = serde_json::json!({"service": {"namespace": namespace, "name": name}, "localEndpoints": endpoints,
        "serviceProxyHealthy": true})
    .to_string();
    format!(
        "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nX-Content-Type-Options: nosniff\r\n\
         X-Load-Balancing-Endpoint-Weight: {endpoints}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn balancers_are_told() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let endpoints = Arc::new(AtomicUsize::new(0));
        let task = tokio::spawn(listen(listener, ("n".into(), "s".into()), endpoints.clone()));
        for (n, want) in [(0, "HTTP/1.1 503"), (2, "HTTP/1.1 200")] {
            endpoints.store(n, Ordering::Relaxed);
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
            let mut text = String::new();
            stream.read_to_string(&mut text).await.unwrap();
            assert!(text.starts_with(want) && text.contains(&format!("\"localEndpoints\":{n}")), "{text}");
        }
        task.abort();
    }
}
