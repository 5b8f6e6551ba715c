//! Pods' sandboxes: list, show, stop, remove.

use anyhow::{Context, Result, bail};
use runtime::{Embedded, Runtime, SandboxStatus};
use serde_json::{Value, json};

use super::containers::show_each;
use super::flags::{Inspect, Pods, Remove};
use super::select::{each, labelled, newest, one};
use super::show::{self, Format};

pub async fn list(node: &Embedded, flags: Pods) -> Result<()> {
    let chosen = choose(node.sandboxes().await?, &flags)?;
    if flags.list.quiet {
        chosen.iter().for_each(|p| println!("{}", p.id));
    } else if flags.list.output == Format::Table {
        print!("{}", table(&chosen, flags.list.no_trunc, show::now()));
    } else {
        let items: Vec<Value> = chosen.iter().map(brief).collect();
        show::print(flags.list.output, &json!({"items": items}))?;
    }
    Ok(())
}

fn choose(all: Vec<SandboxStatus>, flags: &Pods) -> Result<Vec<SandboxStatus>> {
    let mut chosen = Vec::new();
    for p in all {
        let fits = flags.state.as_ref().is_none_or(|s| name(&p).eq_ignore_ascii_case(s))
            && flags.id.as_ref().is_none_or(|id| p.id.starts_with(id))
            && flags.name.as_ref().is_none_or(|r| r.is_match(&p.config.name))
            && flags.namespace.as_ref().is_none_or(|r| r.is_match(&p.config.namespace));
        if fits && labelled(&p.config.labels, &flags.label)? {
            chosen.push(p);
        }
    }
    Ok(newest(chosen, if flags.latest { Some(1) } else { flags.last }))
}

fn table(all: &[SandboxStatus], whole: bool, now: i64) -> String {
    let rows = all.iter().map(|p| {
        [
            show::id(&p.id, whole),
            show::ago(p.created_nanos, now),
            name(p).into(),
            p.config.name.clone(),
            p.config.namespace.clone(),
            p.config.attempt.to_string(),
            "(default)".into(),
        ]
    });
    show::table(["POD ID", "CREATED", "STATE", "NAME", "NAMESPACE", "ATTEMPT", "RUNTIME"], rows)
}

fn name(p: &SandboxStatus) -> &'static str {
    if p.ready { "Ready" } else { "NotReady" }
}

fn metadata(p: &SandboxStatus) -> Value {
    let c = &p.config;
    json!({"name": c.name, "namespace": c.namespace, "uid": c.uid, "attempt": c.attempt})
}

/// CRI's `PodSandbox`.
fn brief(p: &SandboxStatus) -> Value {
    json!({
        "id": p.id, "metadata": metadata(p), "state": format!("SANDBOX_{}", name(p).to_uppercase()),
        "createdAt": p.created_nanos.to_string(), "labels": p.config.labels, "annotations": p.config.annotations,
        "runtimeHandler": "",
    })
}

pub async fn inspect(node: &Embedded, flags: &Inspect) -> Result<()> {
    let all = node.sandboxes().await?;
    let mut shown = Vec::new();
    for id in &flags.ids {
        let p = one(&all, id).with_context(|| format!("getting the status of the pod sandbox \"{id}\""))?;
        shown.push(whole(p, node.sandbox_pid(&p.id)?));
    }
    show_each(flags.output, shown)
}

/// CRI's `PodSandboxStatus`, and what the runtime knows beside it.
fn whole(p: &SandboxStatus, pid: i32) -> Value {
    let of = |host: bool, other: &str| if host { "NODE".to_owned() } else { other.to_owned() };
    let more: Vec<Value> = p.ips.iter().skip(1).map(|ip| json!({"ip": ip})).collect();
    let c = &p.config;
    json!({
        "status": {
            "id": p.id, "metadata": metadata(p), "state": format!("SANDBOX_{}", name(p).to_uppercase()),
            "createdAt": show::time(p.created_nanos),
            "network": {"ip": p.ips.first().cloned().unwrap_or_default(), "additionalIps": more},
            "linux": {"namespaces": {"options": {
                "network": of(c.host_network, "POD"), "ipc": of(c.host_ipc, "POD"),
                "pid": of(c.host_pid, if c.share_process_namespace { "POD" } else { "CONTAINER" }),
                "targetId": "", "usernsOptions": null,
            }}},
            "labels": c.labels, "annotations": c.annotations, "runtimeHandler": "",
        },
        "info": {"pid": pid, "netns": p.netns, "config": c},
    })
}

pub async fn stop(node: &Embedded, ids: &[String]) -> Result<()> {
    let all = node.sandboxes().await?;
    each(&all, ids, "stopping", async |p| {
        node.end_sandbox(&p.id).await?;
        println!("Stopped sandbox {}", p.id);
        Ok(())
    })
    .await
}

pub async fn remove(node: &Embedded, flags: Remove) -> Result<()> {
    let all = node.sandboxes().await?;
    let ids = if flags.all { all.iter().map(|p| p.id.clone()).collect() } else { flags.ids };
    each(&all, &ids, "removing", async |p| {
        if p.ready {
            if !flags.force {
                bail!("pod sandbox is running, please stop it first");
            }
            node.end_sandbox(&p.id).await?;
        }
        node.forget_sandbox(&p.id).await?;
        println!("Removed sandbox {}", p.id);
        Ok(())
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;
    use runtime::SandboxConfig;

    #[test]
    fn chosen_and_shown() {
        let pod = |id: &str, namespace: &str, ready| SandboxStatus {
            id: id.repeat(64),
            config: SandboxConfig { name: id.into(), namespace: namespace.into(), ..SandboxConfig::default() },
            ready,
            created_nanos: 0,
            netns: None,
            ips: vec!["10.0.0.1".into(), "fd00::1".into()],
        };
        let all = || vec![pod("a", "x", true), pod("b", "y", false)];
        let names = |flags: &Pods| choose(all(), flags).unwrap().into_iter().map(|p| p.config.name).collect::<String>();
        assert_eq!(names(&Pods::default()), "ab");
        assert_eq!(names(&Pods { state: Some("notready".into()), ..Pods::default() }), "b");
        assert_eq!(names(&Pods { namespace: regex::Regex::new("^x$").ok(), ..Pods::default() }), "a");
        let shown = table(&all(), false, 5_000_000_000);
        assert!(shown.starts_with("POD ID "), "{shown}");
        let line: Vec<&str> = shown.lines().nth(1).unwrap_or_default().split_whitespace().collect();
        assert_eq!(line, ["aaaaaaaaaaaaa", "5", "seconds", "ago", "Ready", "a", "x", "0", "(default)"]);
        assert_eq!(whole(&all()[0], 1)["status"]["network"]["additionalIps"][0]["ip"], "fd00::1");
    }
}
