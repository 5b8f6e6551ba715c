//! `expose`: a service for the pods behind an object.

use api::Value;
use serde_json::{Map, json};

use super::create::{How, generated};
use crate::cli::Files;
use crate::error::{Error, Result};
use crate::objects::{Failed, list, text};
use crate::session::Session;

#[derive(clap::Args)]
pub struct Flags {
    /// TYPE NAME or TYPE/NAME
    args: Vec<String>,
    #[command(flatten)]
    files: Files,
    /// The service's port
    #[arg(long)]
    port: Option<String>,
    /// The pods' port
    #[arg(long)]
    target_port: Option<String>,
    /// ClusterIP, NodePort, LoadBalancer or ExternalName
    #[arg(long = "type", default_value = "")]
    kind: String,
    /// The service's name
    #[arg(long, default_value = "")]
    name: String,
    /// TCP, UDP or SCTP
    #[arg(long, default_value = "")]
    protocol: String,
    /// The pods' labels
    #[arg(long)]
    selector: Option<String>,
    /// The service's labels
    #[arg(short = 'l', long)]
    labels: Option<String>,
    /// An address outside
    #[arg(long)]
    external_ip: Option<String>,
    /// None or ClientIP
    #[arg(long)]
    session_affinity: Option<String>,
    /// The cluster's address; None makes it headless
    #[arg(long)]
    cluster_ip: Option<String>,
    #[command(flatten)]
    how: How,
}

fn map(text: &str) -> Result<Map<String, Value>> {
    let pair = |p: &str| {
        let (k, v) = p.split_once('=').ok_or_else(|| Error::other(format!("unexpected selector: {p}")))?;
        Ok((k.to_owned(), Value::from(v)))
    };
    text.split(',').map(pair).collect()
}

pub async fn run(s: &Session, mut flags: Flags) -> Result<()> {
    flags.how.field_manager = "kubectl-expose".into();
    let mut failed = Failed::default();
    let infos = s.infos(&flags.args, &flags.files, &crate::cli::Select::default(), &mut failed).await?;
    for info in infos {
        let kind = info.mapping.kind.as_str();
        if !matches!(kind, "Pod" | "Service" | "ReplicationController" | "Deployment" | "ReplicaSet") {
            return Err(Error::other(format!("cannot expose a {kind}.{}", info.mapping.group)));
        }
        let service = service(&flags, kind, &info.object)?;
        let made = generated(s, service, &flags.how, "exposed").await;
        failed.keep_later(made);
    }
    failed.end()
}

fn service(flags: &Flags, kind: &str, o: &Value) -> Result<Value> {
    let selector = match &flags.selector {
        Some(text) => Value::Object(map(text)?),
        None => match kind {
            "Pod" => o["metadata"]["labels"].clone(),
            "Service" | "ReplicationController" => o["spec"]["selector"].clone(),
            _ if !list(o, "/spec/selector/matchExpressions").is_empty() => {
                return Err(Error::other(
                    "couldn't convert expressions - \"matchExpressions\" to map-based selector format",
                ));
            }
            _ => o["spec"]["selector"]["matchLabels"].clone(),
        },
    };
    if selector.as_object().is_none_or(Map::is_empty) {
        return Err(Error::other(
            "couldn't retrieve selectors via --selector flag or introspection: the object has no labels and cannot be exposed",
        ));
    }
    let known = ports(kind, o);
    let wanted: Vec<(String, Option<String>)> = match &flags.port {
        Some(text) => {
            text.split(',').map(|p| (p.to_owned(), known.iter().find(|k| k.0 == *p).map(|k| k.1.clone()))).collect()
        }
        None => known.iter().map(|(p, proto)| (p.clone(), Some(proto.clone()))).collect(),
    };
    if wanted.is_empty() {
        return Err(Error::other("couldn't find port via --port flag or introspection"));
    }
    let number = |p: &str| p.parse::<u16>().map_or_else(|_| json!(p), |n| json!(n));
    let mut all = Vec::new();
    for (i, (port, protocol)) in wanted.iter().enumerate() {
        let target = flags.target_port.as_deref().filter(|t| !t.is_empty()).unwrap_or(port);
        let protocol = match flags.protocol.as_str() {
            "" => protocol.as_deref().unwrap_or("TCP"),
            p => p,
        };
        let port: u16 = port.parse().map_err(|_| Error::other(format!("invalid port {port:?}")))?;
        let mut entry = json!({"port": port, "protocol": protocol, "targetPort": number(target)});
        if wanted.len() > 1 {
            entry["name"] = format!("port-{}", i + 1).into();
        }
        all.push(entry);
    }
    let name = if flags.name.is_empty() { text(o, "/metadata/name") } else { &flags.name };
    let mut meta = json!({"creationTimestamp": null, "name": name});
    match &flags.labels {
        Some(text) => meta["labels"] = map(text)?.into(),
        None if o["metadata"]["labels"].is_object() => meta["labels"] = o["metadata"]["labels"].clone(),
        None => {}
    }
    let mut spec = json!({"ports": all, "selector": selector});
    for (key, value) in [
        ("type", Some(&flags.kind)),
        ("sessionAffinity", flags.session_affinity.as_ref()),
        ("clusterIP", flags.cluster_ip.as_ref()),
    ] {
        if let Some(value) = value.filter(|v| !v.is_empty()) {
            spec[key] = value.as_str().into();
        }
    }
    if let Some(ip) = &flags.external_ip {
        spec["externalIPs"] = json!([ip]);
    }
    Ok(json!({"apiVersion": "v1", "kind": "Service", "metadata": meta, "spec": spec, "status": {"loadBalancer": {}}}))
}

/// The ports of an object, with their protocols.
fn ports(kind: &str, o: &Value) -> Vec<(String, String)> {
    let protocol = |p: &Value| match text(p, "/protocol") {
        "" => "TCP".to_owned(),
        other => other.to_owned(),
    };
    if kind == "Service" {
        return list(o, "/spec/ports").iter().map(|p| (p["port"].to_string(), protocol(p))).collect();
    }
    let spec = if kind == "Pod" { &o["spec"] } else { &o["spec"]["template"]["spec"] };
    let all = list(spec, "/containers").iter().flat_map(|c| list(c, "/ports"));
    all.map(|p| (p["containerPort"].to_string(), protocol(p))).collect()
}
