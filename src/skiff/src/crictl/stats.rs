//! What containers and pods use: CPU between two looks, the rest at the second.

use std::collections::BTreeMap;

use anyhow::Result;
use runtime::{ContainerState, ContainerStatus, Embedded, Runtime, SandboxStatus};
use serde_json::{Value, json};

use super::flags::Stats;
use super::select::{labelled, one, sandboxes};
use super::show::{self, Format};

/// A container's account.
struct Account {
    container: ContainerStatus,
    used: runtime::Stats,
    at_nanos: i64,
    /// Of one CPU.
    percent: f64,
}

pub async fn containers(node: &Embedded, flags: Stats) -> Result<()> {
    let all = node.containers(None).await?;
    let mut named = Vec::new();
    for id in &flags.ids {
        named.push(one(&all, id)?.clone());
    }
    let all = if flags.ids.is_empty() { all } else { named };
    let fits = |c: &ContainerStatus| {
        let (id, pod) = (flags.id.as_deref().unwrap_or_default(), flags.pod.as_deref().unwrap_or_default());
        Ok(c.id.starts_with(id) && c.sandbox.starts_with(pod) && labelled(&c.labels, &flags.label)?)
    };
    let accounts = measure(node, all, &flags, fits).await?;
    if flags.output == Format::Table {
        print!("{}", container_table(&accounts));
        return Ok(());
    }
    let stats: Vec<Value> = accounts.iter().map(brief).collect();
    show::print(flags.output, &json!({"stats": stats}))
}

pub async fn pods(node: &Embedded, flags: Stats) -> Result<()> {
    let pods = sandboxes(node).await?;
    let known: Vec<SandboxStatus> = pods.values().cloned().collect();
    let mut named = Vec::new();
    for id in &flags.ids {
        named.push(&one(&known, id)?.id);
    }
    let fits = |c: &ContainerStatus| {
        let begins = |id: &Option<String>| id.as_ref().is_none_or(|id| c.sandbox.starts_with(id));
        let Some(pod) = pods.get(&c.sandbox) else { return Ok(false) };
        let meant = named.is_empty() || named.contains(&&c.sandbox);
        Ok(meant && begins(&flags.id) && begins(&flags.pod) && labelled(&pod.config.labels, &flags.label)?)
    };
    let accounts = measure(node, node.containers(None).await?, &flags, fits).await?;
    let mut sums: BTreeMap<&str, (f64, u64, u64)> = BTreeMap::new();
    for a in &accounts {
        let sum = sums.entry(&a.container.sandbox).or_default();
        *sum = (sum.0 + a.percent, sum.1 + a.used.memory_working_set_bytes, sum.2 + a.used.cpu_nanos);
    }
    if flags.output == Format::Table {
        let rows = sums.iter().map(|(id, (percent, memory, _))| {
            let name = pods.get(*id).map_or("", |p| p.config.name.as_str());
            [name.to_owned(), show::id(id, false), format!("{percent:.2}"), show::size(*memory, 4)]
        });
        print!("{}", show::table(["POD", "POD ID", "CPU %", "MEM"], rows));
        return Ok(());
    }
    let stats = sums.iter().map(|(id, (_, memory, cpu))| {
        let of = pods.get(*id).map(|p| &p.config);
        json!({
            "attributes": {"id": id, "metadata": of.map(|c| json!({"name": c.name, "namespace": c.namespace, "uid": c.uid, "attempt": c.attempt})),
                "labels": of.map(|c| &c.labels), "annotations": of.map(|c| &c.annotations)},
            "linux": {"cpu": {"usageCoreNanoSeconds": number(*cpu)}, "memory": {"workingSetBytes": number(*memory)}},
        })
    });
    show::print(flags.output, &json!({"stats": stats.collect::<Vec<_>>()}))
}

/// Looks twice at those that fit.
async fn measure(
    node: &Embedded,
    all: Vec<ContainerStatus>,
    flags: &Stats,
    fits: impl Fn(&ContainerStatus) -> Result<bool>,
) -> Result<Vec<Account>> {
    let mut chosen = Vec::new();
    for c in all {
        if (flags.all || c.state == ContainerState::Running) && fits(&c)? {
            chosen.push(c);
        }
    }
    let mut before = Vec::new();
    for c in &chosen {
        before.push((show::now(), node.stats(&c.id).await?.cpu_nanos));
    }
    tokio::time::sleep(flags.seconds).await;
    let mut accounts = Vec::new();
    for (container, (then, cpu)) in chosen.into_iter().zip(before) {
        let used = node.stats(&container.id).await?;
        let at_nanos = show::now();
        let percent = used.cpu_nanos.saturating_sub(cpu) as f64 * 100.0 / (at_nanos - then).max(1) as f64;
        accounts.push(Account { container, used, at_nanos, percent });
    }
    Ok(accounts)
}

fn container_table(accounts: &[Account]) -> String {
    let rows = accounts.iter().map(|a| {
        [
            show::id(&a.container.id, false),
            a.container.name.clone(),
            format!("{:.2}", a.percent),
            show::size(a.used.memory_working_set_bytes, 4),
            show::size(a.used.fs_used_bytes, 4),
            a.used.fs_inodes_used.to_string(),
        ]
    });
    show::table(["CONTAINER", "NAME", "CPU %", "MEM", "DISK", "INODES"], rows)
}

/// CRI's `UInt64Value`.
fn number(n: u64) -> Value {
    json!({"value": n.to_string()})
}

/// CRI's `ContainerStats`.
fn brief(a: &Account) -> Value {
    let (c, at) = (&a.container, a.at_nanos.to_string());
    json!({
        "attributes": {"id": c.id, "metadata": {"name": c.name, "attempt": c.attempt}, "labels": c.labels, "annotations": c.annotations},
        "cpu": {"timestamp": at, "usageCoreNanoSeconds": number(a.used.cpu_nanos),
            "usageNanoCores": number((a.percent * 1e7) as u64)},
        "memory": {"timestamp": at, "workingSetBytes": number(a.used.memory_working_set_bytes),
            "usageBytes": number(a.used.memory_usage_bytes), "rssBytes": number(a.used.memory_rss_bytes)},
        "writableLayer": {"timestamp": at, "usedBytes": number(a.used.fs_used_bytes), "inodesUsed": number(a.used.fs_inodes_used)},
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_for_each() {
        let container = super::super::containers::tests::container("a", ContainerState::Running, 0);
        let used = runtime::Stats { memory_working_set_bytes: 1_500_000, fs_inodes_used: 3, ..Default::default() };
        let account = Account { container, used, at_nanos: 1, percent: 12.345 };
        let shown = container_table(std::slice::from_ref(&account));
        let line: Vec<&str> = shown.lines().nth(1).unwrap_or_default().split_whitespace().collect();
        assert_eq!(line, ["a", "name-a", "12.35", "1.5MB", "0B", "3"]);
        assert_eq!(brief(&account)["cpu"]["usageNanoCores"]["value"], "123450000");
    }
}
