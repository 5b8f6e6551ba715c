//! `top node` and `top pod`: what metrics.k8s.io measures.

use std::collections::HashMap;
use std::fmt::Write as _;

use api::Value;
use api::quantity::Quantity;

use crate::error::{Error, Result};
use crate::objects::{list, text};
use crate::print::tabs;
use crate::session::{Session, with_query};

#[derive(clap::Args)]
pub struct Flags {
    #[command(subcommand)]
    what: What,
}

#[derive(clap::Subcommand)]
enum What {
    /// CPU and memory of nodes
    #[command(aliases = ["nodes", "no"])]
    Node(Node),
    /// CPU and memory of pods
    #[command(aliases = ["pods", "po"])]
    Pod(Pod),
}

#[derive(clap::Args)]
struct Common {
    /// The one to show
    name: Option<String>,
    /// Label selector
    #[arg(short = 'l', long, default_value = "")]
    selector: String,
    /// cpu or memory
    #[arg(long, default_value = "")]
    sort_by: String,
    #[arg(long)]
    no_headers: bool,
    /// Accepted for compatibility
    #[arg(long, hide = true)]
    use_protocol_buffers: Option<bool>,
}

#[derive(clap::Args)]
struct Node {
    #[command(flatten)]
    common: Common,
    /// Percentages of the capacity, not of what can be given to pods
    #[arg(long)]
    show_capacity: bool,
}

#[derive(clap::Args)]
struct Pod {
    #[command(flatten)]
    common: Common,
    /// Field selector
    #[arg(long, default_value = "")]
    field_selector: String,
    /// A line for each container
    #[arg(long)]
    containers: bool,
    /// The sum of all
    #[arg(long)]
    sum: bool,
    /// All namespaces
    #[arg(short = 'A', long)]
    all_namespaces: bool,
}

const METRICS: &str = "/apis/metrics.k8s.io/v1beta1";

/// Thousandths of a CPU, and bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Use {
    cpu: i64,
    memory: i64,
}

impl Use {
    fn of(resources: &Value) -> Use {
        let quantity = |name: &str| resources.get(name).and_then(|v| Quantity::from_tree(v).ok());
        Use { cpu: quantity("cpu").map_or(0, Quantity::millis), memory: quantity("memory").map_or(0, Quantity::value) }
    }
    fn add(self, other: Use) -> Use {
        Use { cpu: self.cpu + other.cpu, memory: self.memory + other.memory }
    }
    fn key(self, sort_by: &str) -> i64 {
        if sort_by == "cpu" { -self.cpu } else { -self.memory }
    }
    fn shown(self) -> String {
        format!("{}m\t{}Mi\t", self.cpu, self.memory / (1 << 20))
    }
}

pub async fn run(s: &Session, flags: Flags) -> Result<()> {
    let common = match &flags.what {
        What::Node(f) => &f.common,
        What::Pod(f) => &f.common,
    };
    if !matches!(common.sort_by.as_str(), "" | "cpu" | "memory") {
        return Err(Error::other("--sort-by accepts only cpu or memory"));
    }
    if common.name.is_some() && !common.selector.is_empty() {
        return Err(Error::other("only one of NAME or --selector can be provided"));
    }
    let groups = s.get("/apis").await?;
    if !list(&groups, "/groups").iter().any(|g| g["name"] == "metrics.k8s.io") {
        return Err(Error::other("Metrics API not available"));
    }
    let text = match &flags.what {
        What::Node(f) => nodes(s, f).await?,
        What::Pod(f) => pods(s, f).await?,
    };
    print!("{}", tabs::table(&text));
    Ok(())
}

/// The items of a list, or the one that is named.
async fn items(s: &Session, path: &str, name: Option<&str>, query: &[(&str, &str)]) -> Result<Vec<Value>> {
    match name {
        Some(name) => Ok(vec![s.get(&format!("{path}/{name}")).await?]),
        None => Ok(list(&s.get(&with_query(path, query)).await?, "/items").to_vec()),
    }
}

async fn nodes(s: &Session, flags: &Node) -> Result<String> {
    let (common, name) = (&flags.common, flags.common.name.as_deref());
    let query = [("labelSelector", common.selector.as_str())];
    let metrics = items(s, &format!("{METRICS}/nodes"), name, &query).await?;
    if metrics.is_empty() {
        return Err(Error::other("metrics not available yet"));
    }
    let from = if flags.show_capacity { "capacity" } else { "allocatable" };
    let known: Vec<(String, Use)> = items(s, "/api/v1/nodes", name, &query)
        .await?
        .iter()
        .map(|n| (text(n, "/metadata/name").to_owned(), Use::of(&n["status"][from])))
        .collect();
    Ok(node_table(&metrics, known, &common.sort_by, common.no_headers))
}

fn node_table(metrics: &[Value], known: Vec<(String, Use)>, sort_by: &str, no_headers: bool) -> String {
    let mut out = String::new();
    if !no_headers {
        out += "NAME\tCPU(cores)\tCPU(%)\tMEMORY(bytes)\tMEMORY(%)\t\n";
    }
    let mut rows: Vec<(&str, Use)> =
        metrics.iter().map(|m| (text(m, "/metadata/name"), Use::of(&m["usage"]))).collect();
    rows.sort_by_key(|(name, used)| (if sort_by.is_empty() { 0 } else { used.key(sort_by) }, name.to_owned()));
    let mut known: HashMap<String, Use> = known.into_iter().collect();
    let percent = |used: i64, of: i64| if of > 0 { used * 100 / of } else { 0 };
    for (name, used) in rows {
        let of = known.remove(name).unwrap_or_default();
        let (cpu, memory) = (percent(used.cpu, of.cpu), percent(used.memory, of.memory));
        let _ = writeln!(out, "{name}\t{}m\t{cpu}%\t{}Mi\t{memory}%\t", used.cpu, used.memory / (1 << 20));
    }
    // nodes that nothing is measured of
    let mut unknown: Vec<String> = known.into_keys().collect();
    unknown.sort();
    for name in unknown {
        let _ = writeln!(out, "{name}\t<unknown>\t<unknown>\t<unknown>\t<unknown>\t");
    }
    out
}

async fn pods(s: &Session, flags: &Pod) -> Result<String> {
    let common = &flags.common;
    let base = match flags.all_namespaces {
        true => format!("{METRICS}/pods"),
        false => format!("{METRICS}/namespaces/{}/pods", s.namespace),
    };
    let query = [("labelSelector", common.selector.as_str()), ("fieldSelector", flags.field_selector.as_str())];
    let metrics = items(s, &base, common.name.as_deref(), &query).await?;
    if metrics.is_empty() {
        match flags.all_namespaces {
            true => eprintln!("No resources found"),
            false => eprintln!("No resources found in {} namespace.", s.namespace),
        }
        return Ok(String::new());
    }
    Ok(pod_table(&metrics, flags))
}

fn pod_table(metrics: &[Value], flags: &Pod) -> String {
    let total = |m: &Value| list(m, "/containers").iter().fold(Use::default(), |sum, c| sum.add(Use::of(&c["usage"])));
    let mut columns = vec!["CPU(cores)", "MEMORY(bytes)"];
    columns.insert(0, "NAME");
    if flags.containers {
        columns.insert(0, "POD");
    }
    if flags.all_namespaces {
        columns.insert(0, "NAMESPACE");
    }
    let mut out = String::new();
    if !flags.common.no_headers {
        out += &format!("{}\t\n", columns.join("\t"));
    }
    let mut rows: Vec<(&Value, Use)> = metrics.iter().map(|m| (m, total(m))).collect();
    let sort_by = flags.common.sort_by.as_str();
    rows.sort_by_key(|(m, used)| {
        let place = |p: &str| text(m, p).to_owned();
        (if sort_by.is_empty() { 0 } else { used.key(sort_by) }, place("/metadata/namespace"), place("/metadata/name"))
    });
    for (m, used) in &rows {
        let mut head = String::new();
        if flags.all_namespaces {
            head += &format!("{}\t", text(m, "/metadata/namespace"));
        }
        head += &format!("{}\t", text(m, "/metadata/name"));
        if !flags.containers {
            let _ = writeln!(out, "{head}{}", used.shown());
            continue;
        }
        let mut containers: Vec<(&str, Use)> =
            list(m, "/containers").iter().map(|c| (text(c, "/name"), Use::of(&c["usage"]))).collect();
        containers
            .sort_by_key(|(name, used)| (if sort_by.is_empty() { 0 } else { used.key(sort_by) }, name.to_owned()));
        for (name, used) in containers {
            let _ = writeln!(out, "{head}{name}\t{}", used.shown());
        }
    }
    if flags.sum {
        let sum = rows.iter().fold(Use::default(), |sum, (_, used)| sum.add(*used));
        let gap = "\t".repeat(columns.len() - 2);
        let _ = writeln!(out, "{gap}________\t________\t\n{gap}{}", sum.shown());
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn tables() {
        let metrics = [
            json!({"metadata": {"name": "b"}, "usage": {"cpu": "250m", "memory": "1Gi"}}),
            json!({"metadata": {"name": "a"}, "usage": {"cpu": "1500000n", "memory": "2048Ki"}}),
        ];
        let known = ["a", "b", "c"].map(|n| (n.to_owned(), Use { cpu: 1000, memory: 2 << 30 })).to_vec();
        assert_eq!(
            node_table(&metrics, known.clone(), "", false),
            "NAME\tCPU(cores)\tCPU(%)\tMEMORY(bytes)\tMEMORY(%)\t\na\t2m\t0%\t2Mi\t0%\t\nb\t250m\t25%\t1024Mi\t50%\t\n\
             c\t<unknown>\t<unknown>\t<unknown>\t<unknown>\t\n"
        );
        assert!(node_table(&metrics, known, "memory", true).starts_with("b\t"));

        let pod = |name: &str, cpu: &str| {
            json!({"metadata": {"name": name, "namespace": "n"}, "containers": [
                {"name": "x", "usage": {"cpu": cpu, "memory": "1Mi"}}, {"name": "y", "usage": {"cpu": "1m", "memory": "3Mi"}}]})
        };
        let common = Common {
            name: None,
            selector: String::new(),
            sort_by: "cpu".into(),
            no_headers: false,
            use_protocol_buffers: None,
        };
        let mut flags =
            Pod { common, field_selector: String::new(), containers: false, sum: true, all_namespaces: true };
        assert_eq!(
            pod_table(&[pod("a", "1m"), pod("b", "5m")], &flags),
            "NAMESPACE\tNAME\tCPU(cores)\tMEMORY(bytes)\t\nn\tb\t6m\t4Mi\t\nn\ta\t2m\t4Mi\t\n\t\t________\t________\t\n\t\t8m\t8Mi\t\n"
        );
        (flags.containers, flags.sum, flags.all_namespaces) = (true, false, false);
        assert_eq!(
            pod_table(&[pod("a", "0")], &flags),
            "POD\tNAME\tCPU(cores)\tMEMORY(bytes)\t\na\ty\t1m\t3Mi\t\na\tx\t0m\t1Mi\t\n"
        );
    }
}
