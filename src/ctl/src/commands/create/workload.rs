//! Deployments, jobs, cron jobs and services.

use api::Value;
use serde_json::json;

use super::{How, metadata};
use crate::error::{Error, Result};
use crate::session::Session;

/// Containers of images, named after them.
fn containers(images: &[String], command: &[String], port: Option<u16>) -> Vec<Value> {
    let container = |image: &String| {
        let mut c = json!({"image": image, "name": container_name(image), "resources": {}});
        if !command.is_empty() {
            c["command"] = json!(command);
        }
        if let Some(port) = port {
            c["ports"] = json!([{"containerPort": port}]);
        }
        c
    };
    images.iter().map(container).collect()
}

/// `registry:5000/a/nginx_x:1.2@sha256:…` is `nginx-x`.
fn container_name(image: &str) -> String {
    let base = image.rsplit('/').next().unwrap_or(image);
    let base = base.split([':', '@']).next().unwrap_or(base);
    let clean: String = base.to_lowercase().chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
    clean.trim_matches('-').to_owned()
}

#[derive(clap::Args)]
pub struct Deployment {
    name: String,
    /// The image; several make several containers
    #[arg(long, value_delimiter = ',', required = true)]
    image: Vec<String>,
    /// How many pods
    #[arg(short, long, default_value_t = 1)]
    replicas: i32,
    /// The port that the container listens at
    #[arg(long)]
    port: Option<u16>,
    /// The command, behind --
    #[arg(last = true)]
    command: Vec<String>,
    #[command(flatten)]
    pub how: How,
}

impl Deployment {
    pub fn object(&self) -> Result<Value> {
        if self.image.len() > 1 && !self.command.is_empty() {
            return Err(Error::other("cannot specify multiple --image options and command"));
        }
        let labels = json!({"app": self.name});
        let mut meta = metadata(&self.name);
        meta["labels"] = labels.clone();
        Ok(json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": meta,
            "spec": {
                "replicas": self.replicas,
                "selector": {"matchLabels": labels},
                "strategy": {},
                "template": {
                    "metadata": {"creationTimestamp": null, "labels": labels},
                    "spec": {"containers": containers(&self.image, &self.command, self.port)},
                },
            },
            "status": {},
        }))
    }
}

#[derive(clap::Args)]
pub struct Job {
    name: String,
    /// The image
    #[arg(long)]
    image: Option<String>,
    /// cronjob/NAME whose job to run now
    #[arg(long)]
    from: Option<String>,
    /// The command, behind --
    #[arg(last = true)]
    command: Vec<String>,
    #[command(flatten)]
    pub how: How,
}

impl Job {
    pub async fn object(&self, s: &Session) -> Result<Value> {
        let mut object = json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata(&self.name), "spec": {}, "status": {}});
        match (&self.image, &self.from) {
            (Some(image), None) => {
                let mut container = json!({"image": image, "name": self.name, "resources": {}});
                if !self.command.is_empty() {
                    container["command"] = json!(self.command);
                }
                object["spec"]["template"] = json!({"metadata": {"creationTimestamp": null}, "spec": {"containers": [container], "restartPolicy": "Never"}});
            }
            (None, Some(from)) => {
                let targets = s.targets(std::slice::from_ref(from)).await?;
                let Some((target, name)) = targets.first().and_then(|t| Some((t, t.name.as_ref()?))) else {
                    return Err(Error::other("from must be an existing cronjob"));
                };
                if target.mapping.kind != "CronJob" {
                    return Err(Error::other("from must be an existing cronjob"));
                }
                let cron = s.get(&target.mapping.path(&s.namespace, name)).await?;
                let template = &cron["spec"]["jobTemplate"];
                object["spec"] = template["spec"].clone();
                object["metadata"]["labels"] = template["metadata"]["labels"].clone();
                object["metadata"]["annotations"] = template["metadata"]["annotations"].clone();
                object["metadata"]["annotations"]["cronjob.kubernetes.io/instantiate"] = "manual".into();
                object["metadata"]["ownerReferences"] = json!([{
                    "apiVersion": "batch/v1", "kind": "CronJob", "name": name, "uid": cron["metadata"]["uid"], "controller": true,
                }]);
            }
            _ => return Err(Error::other("either --image or --from must be specified")),
        }
        Ok(object)
    }
}

#[derive(clap::Args)]
pub struct CronJob {
    name: String,
    /// The image
    #[arg(long)]
    image: String,
    /// When, as cron writes it
    #[arg(long)]
    schedule: String,
    /// Always, OnFailure or Never
    #[arg(long, default_value = "OnFailure")]
    restart: String,
    /// The command, behind --
    #[arg(last = true)]
    command: Vec<String>,
    #[command(flatten)]
    pub how: How,
}

impl CronJob {
    pub fn object(&self) -> Value {
        let mut container = json!({"image": self.image, "name": self.name, "resources": {}});
        if !self.command.is_empty() {
            container["command"] = json!(self.command);
        }
        json!({
            "apiVersion": "batch/v1", "kind": "CronJob", "metadata": metadata(&self.name),
            "spec": {
                "jobTemplate": {"metadata": metadata(&self.name), "spec": {"template": {
                    "metadata": {"creationTimestamp": null}, "spec": {"containers": [container], "restartPolicy": self.restart}}}},
                "schedule": self.schedule,
            },
            "status": {},
        })
    }
}

#[derive(clap::Args)]
pub struct Service {
    #[command(subcommand)]
    kind: ServiceKind,
}

#[derive(clap::Args)]
struct Ports {
    name: String,
    /// PORT[:TARGET]
    #[arg(long, value_delimiter = ',')]
    tcp: Vec<String>,
    #[command(flatten)]
    how: How,
}

#[derive(clap::Subcommand)]
enum ServiceKind {
    /// Inside the cluster
    #[command(name = "clusterip")]
    ClusterIp {
        #[command(flatten)]
        ports: Ports,
        /// The address; None makes it headless
        #[arg(long = "clusterip")]
        address: Option<String>,
    },
    /// On a port of every node
    #[command(name = "nodeport")]
    NodePort {
        #[command(flatten)]
        ports: Ports,
        /// The node's port
        #[arg(long)]
        node_port: Option<u16>,
    },
    /// By a load balancer
    #[command(name = "loadbalancer")]
    LoadBalancer {
        #[command(flatten)]
        ports: Ports,
    },
    /// Another name
    #[command(name = "externalname")]
    ExternalName {
        #[command(flatten)]
        ports: Ports,
        /// The name that it stands for
        #[arg(long)]
        external_name: String,
    },
}

impl Service {
    pub fn object(self) -> Result<(Value, How)> {
        let (ports, kind, mut more) = match self.kind {
            ServiceKind::ClusterIp { ports, address } => {
                let headless = address.as_deref() == Some("None");
                if ports.tcp.is_empty() && !headless {
                    return Err(Error::other("at least one tcp port specifier must be provided"));
                }
                (ports, "ClusterIP", address.map_or(json!({}), |a| json!({"clusterIP": a})))
            }
            ServiceKind::NodePort { ports, node_port } => {
                (ports, "NodePort", node_port.map_or(json!({}), |p| json!({"nodePort": p})))
            }
            ServiceKind::LoadBalancer { ports } => (ports, "LoadBalancer", json!({})),
            ServiceKind::ExternalName { ports, external_name } => {
                (ports, "ExternalName", json!({"externalName": external_name}))
            }
        };
        if ports.tcp.is_empty() && matches!(kind, "NodePort" | "LoadBalancer") {
            return Err(Error::other("at least one tcp port specifier must be provided"));
        }
        let node_port = more.as_object_mut().and_then(|m| m.remove("nodePort"));
        let mut meta = metadata(&ports.name);
        meta["labels"] = json!({"app": ports.name});
        let mut spec = json!({"selector": {"app": ports.name}, "type": kind});
        for tcp in &ports.tcp {
            let mut port = port(tcp)?;
            if let Some(node_port) = &node_port {
                port["nodePort"] = node_port.clone();
            }
            match spec.get_mut("ports").and_then(Value::as_array_mut) {
                Some(all) => all.push(port),
                None => spec["ports"] = json!([port]),
            }
        }
        if let (Value::Object(spec), Value::Object(more)) = (&mut spec, more) {
            spec.extend(more);
        }
        let object = json!({"apiVersion": "v1", "kind": "Service", "metadata": meta, "spec": spec, "status": {"loadBalancer": {}}});
        Ok((object, ports.how))
    }
}

/// `80:8080` is named `80-8080`.
fn port(text: &str) -> Result<Value> {
    let (port, target) = text.split_once(':').unwrap_or((text, text));
    let number: u16 = port.parse().map_err(|_| Error::other(format!("invalid port {port:?}")))?;
    let target = target.parse::<u16>().map_or_else(|_| json!(target), |n| json!(n));
    let name = text.replace(':', "-");
    Ok(json!({"name": name, "port": number, "protocol": "TCP", "targetPort": target}))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_containers() {
        for (image, want) in [("nginx", "nginx"), ("r:5000/a/My_App:1", "my-app"), ("x/redis@sha256:00", "redis")] {
            assert_eq!(container_name(image), want);
        }
        assert_eq!(
            port("80:web").unwrap(),
            json!({"name": "80-web", "port": 80, "protocol": "TCP", "targetPort": "web"})
        );
    }
}
