//! `port-forward`: local ports to a pod's, one WebSocket a connection.

use std::time::Duration;

use api::Value;
use tokio::net::TcpListener;

use crate::error::{Error, Result};
use crate::objects::{duration, list, text};
use crate::pods;
use crate::session::Session;
use crate::stream;

#[derive(clap::Args)]
pub struct Flags {
    /// POD or TYPE/NAME, and [LOCAL:]REMOTE…
    #[arg(required = true)]
    args: Vec<String>,
    /// The addresses to listen at
    #[arg(long, default_value = "localhost", value_delimiter = ',')]
    address: Vec<String>,
    /// How long to wait for a pod
    #[arg(long, default_value = "1m0s")]
    pod_running_timeout: String,
}

pub async fn run(s: &Session, flags: Flags) -> Result<()> {
    let (target, ports) = flags.args.split_first().map_or(("", &[][..]), |(t, p)| (t.as_str(), p));
    if ports.is_empty() {
        return Err(Error::other("TYPE/NAME and list of ports are required for port-forward"));
    }
    let timeout = duration(&flags.pod_running_timeout)?.unwrap_or(Duration::from_secs(60));
    let (mapping, object) = pods::object(s, target).await?;
    let pod = pods::one(s, target, timeout).await?;
    let phase = text(&pod, "/status/phase");
    if phase != "Running" {
        return Err(Error::other(format!("unable to forward port because pod is not running. Current status={phase}")));
    }
    let service = (mapping.kind == "Service").then_some(&object);
    let mut listeners = Vec::new();
    for spec in ports {
        let (local, remote) = resolve(spec, &pod, service)?;
        listeners.extend(listen(&flags.address, local, remote).await?);
    }
    let (namespace, name) = (text(&pod, "/metadata/namespace"), text(&pod, "/metadata/name"));
    let path = format!("/api/v1/namespaces/{namespace}/pods/{name}/portforward");
    let accept =
        listeners.iter().map(|(listener, remote)| Box::pin(serve(s, listener, format!("{path}?ports={remote}"))));
    futures::future::select_all(accept).await.0
}

/// `8080:80`, `:80`, `80`, or names of ports; as the local port and the pod's.
fn resolve(spec: &str, pod: &Value, service: Option<&Value>) -> Result<(u16, u16)> {
    let (local, remote) = spec.split_once(':').unwrap_or((spec, spec));
    let invalid = |p: &str| Error::other(format!("invalid port number {p}"));
    let target = match service {
        None => pod_port(remote, pod),
        Some(service) => service_port(remote, service, pod)?,
    };
    let target = target.ok_or_else(|| invalid(remote))?;
    let local = match local {
        "" => 0,
        same if same == spec && !spec.contains(':') => {
            // a service's own port is the local one
            same.parse().ok().or_else(|| service.and_then(|s| named(s, same))).unwrap_or(target)
        }
        other => other.parse().map_err(|_| invalid(other))?,
    };
    Ok((local, target))
}

fn number(v: &Value) -> Option<u16> {
    v.as_u64().and_then(|n| u16::try_from(n).ok())
}

fn pod_port(port: &str, pod: &Value) -> Option<u16> {
    port.parse().ok().filter(|p| *p != 0).or_else(|| {
        let ports = list(pod, "/spec/containers").iter().flat_map(|c| list(c, "/ports"));
        ports.into_iter().find(|p| text(p, "/name") == port).and_then(|p| number(&p["containerPort"]))
    })
}

fn named(service: &Value, name: &str) -> Option<u16> {
    list(service, "/spec/ports").iter().find(|p| text(p, "/name") == name).and_then(|p| number(&p["port"]))
}

fn service_port(port: &str, service: &Value, pod: &Value) -> Result<Option<u16>> {
    let wanted = port.parse::<u16>().ok();
    let found = list(service, "/spec/ports")
        .iter()
        .find(|p| text(p, "/name") == port || (wanted.is_some() && number(&p["port"]) == wanted));
    let Some(found) = found else {
        return Err(Error::other(format!(
            "Service {} does not have a service port {port}",
            text(service, "/metadata/name")
        )));
    };
    if text(service, "/spec/clusterIP") == "None" {
        return Ok(wanted.or(number(&found["port"])));
    }
    Ok(match &found["targetPort"] {
        Value::String(name) => pod_port(name, pod),
        target => number(target).or(number(&found["port"])),
    })
}

async fn listen(addresses: &[String], local: u16, remote: u16) -> Result<Vec<(TcpListener, u16)>> {
    let mut listeners = Vec::new();
    let mut port = local;
    let mut failures = Vec::new();
    for address in addresses {
        let hosts: &[&str] = if address == "localhost" { &["127.0.0.1", "::1"] } else { &[address] };
        for host in hosts {
            match TcpListener::bind((*host, port)).await {
                Ok(listener) => {
                    port = listener.local_addr()?.port();
                    let shown = if host.contains(':') { format!("[{host}]") } else { (*host).to_owned() };
                    println!("Forwarding from {shown}:{port} -> {remote}");
                    listeners.push((listener, remote));
                }
                Err(e) => failures.push(format!("unable to create listener: Error listen tcp {host}:{port}: {e}")),
            }
        }
    }
    if listeners.is_empty() {
        return Err(Error::other(format!(
            "unable to listen on any of the requested ports: [{{{local} {remote}}}]\n{}",
            failures.join("\n")
        )));
    }
    Ok(listeners)
}

async fn serve(s: &Session, listener: &TcpListener, path: String) -> Result<()> {
    use futures::StreamExt;
    let port = listener.local_addr()?.port();
    let mut open = futures::stream::FuturesUnordered::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                println!("Handling connection for {port}");
                let (socket, _) = accepted?;
                open.push(stream::forward(s, &path, socket));
            }
            Some(ended) = open.next(), if !open.is_empty() => {
                if let Err(e) = ended {
                    eprintln!("{e}");
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn ports() {
        let pod = json!({"spec": {"containers": [{"ports": [{"name": "web", "containerPort": 8000}]}]}});
        let service =
            json!({"metadata": {"name": "s"}, "spec": {"ports": [{"name": "http", "port": 80, "targetPort": "web"}]}});
        let cases = [
            ("80", None, (80, 80)),
            ("8080:80", None, (8080, 80)),
            (":80", None, (0, 80)),
            ("web", None, (8000, 8000)),
            ("8080:web", None, (8080, 8000)),
        ];
        for (spec, service, want) in cases {
            assert_eq!(resolve(spec, &pod, service).unwrap(), want, "{spec}");
        }
        for (spec, want) in [("80", (80, 8000)), ("8080:80", (8080, 8000)), ("http", (80, 8000)), (":http", (0, 8000))]
        {
            assert_eq!(resolve(spec, &pod, Some(&service)).unwrap(), want, "{spec}");
        }
        assert!(resolve("81", &pod, Some(&service)).is_err());
        assert!(resolve("x", &pod, None).is_err());
    }
}
