//! `cluster-info`: where the cluster is; and `cluster-info dump`, all that helps to find what is wrong with it.

use std::io::{IsTerminal, Write as _};
use std::path::PathBuf;

use api::Value;

use crate::cli::Output;
use crate::error::{Error, Result};
use crate::objects::{list, text};
use crate::pods;
use crate::print::Printer;
use crate::session::{Session, with_query};

#[derive(clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Flags {
    #[command(subcommand)]
    what: Option<What>,
}

#[derive(clap::Subcommand)]
enum What {
    /// All that helps to find what is wrong
    Dump(Dump),
}

#[derive(clap::Args)]
struct Dump {
    /// All namespaces
    #[arg(short = 'A', long)]
    all_namespaces: bool,
    /// These namespaces [default: the current one, and kube-system]
    #[arg(long, value_delimiter = ',')]
    namespaces: Vec<String>,
    /// A folder to write files to; - is stdout
    #[arg(long, default_value = "-")]
    output_directory: String,
    /// json or yaml
    #[command(flatten)]
    output: Output,
    /// Wait for pods (accepted for compatibility)
    #[arg(long, hide = true)]
    pod_running_timeout: Option<String>,
}

/// Of each namespace, and the file it goes to.
const NAMESPACED: [(&str, &str); 7] = [
    ("events", "events"),
    ("replicationcontrollers", "replication-controllers"),
    ("services", "services"),
    ("daemonsets.apps", "daemonsets"),
    ("deployments.apps", "deployments"),
    ("replicasets.apps", "replicasets"),
    ("pods", "pods"),
];

pub async fn run(s: &Session, flags: Flags) -> Result<()> {
    match flags.what {
        Some(What::Dump(flags)) => dump(s, flags).await,
        None => info(s).await,
    }
}

async fn info(s: &Session) -> Result<()> {
    let terminal = std::io::stdout().is_terminal();
    let paint = |color: &str, t: &str| if terminal { format!("\x1b[0;{color}m{t}\x1b[0m") } else { t.to_owned() };
    let (green, yellow) = (|t: &str| paint("32", t), |t: &str| paint("33", t));
    let server = s.server();
    let server = server.trim_end_matches('/');
    println!("{} is running at {}", green("Kubernetes control plane"), yellow(server));
    let query = [("labelSelector", "kubernetes.io/cluster-service=true")];
    let services = s.list(&s.mapping("services").await?, "kube-system", &query).await?;
    for service in list(&services, "/items") {
        let labels = &service["metadata"]["labels"];
        let name = labels["kubernetes.io/name"].as_str().unwrap_or(text(service, "/metadata/name"));
        let port = list(service, "/spec/ports").first().map(|p| text(p, "/name")).filter(|p| !p.is_empty());
        let port = port.map(|p| format!(":{p}")).unwrap_or_default();
        let url =
            format!("{server}/api/v1/namespaces/kube-system/services/{}{port}/proxy", text(service, "/metadata/name"));
        println!("{} is running at {}", green(name), yellow(&url));
    }
    println!("\nTo further debug and diagnose cluster problems, use 'kubectl cluster-info dump'.");
    Ok(())
}

/// Where a dump goes.
enum Place {
    Stdout,
    Folder(PathBuf),
}

impl Place {
    fn write(&self, file: &str, text: &str) -> Result<()> {
        match self {
            Place::Stdout => std::io::stdout().write_all(text.as_bytes()).map_err(|_| Error::Exit(0)),
            Place::Folder(folder) => {
                let path = folder.join(file);
                if let Some(parent) = path.parent() {
                    std::fs::create_dir_all(parent)?;
                }
                Ok(std::fs::write(path, text)?)
            }
        }
    }
}

async fn dump(s: &Session, flags: Dump) -> Result<()> {
    let place = match flags.output_directory.as_str() {
        "-" | "" => Place::Stdout,
        folder => Place::Folder(folder.into()),
    };
    let format = flags.output.output.as_deref().unwrap_or("json");
    let (Some(mut printer), "json" | "yaml") = (Printer::parse(Some(format), false)?, format) else {
        return Err(Error::other(format!("unable to match a printer suitable for the output format {format:?}")));
    };
    place.write(&format!("nodes.{format}"), &printer.print(&s.list(&s.mapping("nodes").await?, "", &[]).await?)?)?;
    for namespace in namespaces(s, &flags).await? {
        let mut all_pods = Value::Null;
        for (kind, file) in NAMESPACED {
            let mut objects = s.list(&s.mapping(kind).await?, &namespace, &[]).await?;
            place.write(&format!("{namespace}/{file}.{format}"), &printer.print(&objects)?)?;
            if kind == "pods" {
                all_pods = objects["items"].take();
            }
        }
        for pod in list(&all_pods, "") {
            place.write(&format!("{namespace}/{}/logs.txt", text(pod, "/metadata/name")), &logs(s, pod).await)?;
        }
    }
    if let Place::Folder(_) = place {
        println!("Cluster info dumped to {}", flags.output_directory);
    }
    Ok(())
}

async fn namespaces(s: &Session, flags: &Dump) -> Result<Vec<String>> {
    if flags.all_namespaces {
        let all = s.list(&s.mapping("namespaces").await?, "", &[]).await?;
        return Ok(list(&all, "/items").iter().map(|n| text(n, "/metadata/name").to_owned()).collect());
    }
    if !flags.namespaces.is_empty() {
        return Ok(flags.namespaces.clone());
    }
    let mut both = vec!["kube-system".to_owned(), s.namespace.clone()];
    both.dedup();
    Ok(both)
}

/// The logs of all of a pod's containers. One that has none says why.
async fn logs(s: &Session, pod: &Value) -> String {
    let (namespace, name) = (text(pod, "/metadata/namespace"), text(pod, "/metadata/name"));
    let mut out = String::new();
    for container in pods::containers(pod) {
        let path = with_query(&format!("/api/v1/namespaces/{namespace}/pods/{name}/log"), &[("container", container)]);
        let log = match s.text(&path).await {
            Ok(log) => log,
            Err(error) => format!("{error}\n"),
        };
        out += &framed(&log, container, namespace, name);
    }
    out
}

fn framed(log: &str, container: &str, namespace: &str, pod: &str) -> String {
    let line = |what: &str| format!("==== {what} logs for container {container} of pod {namespace}/{pod} ====\n");
    format!("{}{log}{}", line("START"), line("END"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dump_goes_into_files() {
        let folder = tempfile::tempdir().unwrap();
        let place = Place::Folder(folder.path().to_owned());
        place.write("kube-system/p/logs.txt", &framed("a\n", "c", "kube-system", "p")).unwrap();
        assert_eq!(
            std::fs::read_to_string(folder.path().join("kube-system/p/logs.txt")).unwrap(),
            "==== START logs for container c of pod kube-system/p ====\na\n\
             ==== END logs for container c of pod kube-system/p ====\n"
        );
    }
}
