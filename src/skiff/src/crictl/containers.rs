//! Containers: list, show, stop, remove.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use runtime::{ContainerState, ContainerStatus, Embedded, Runtime, SandboxStatus};
use serde_json::{Value, json};

use super::flags::{Inspect, Ps, Remove};
use super::select::{each, labelled, newest, one, sandboxes};
use super::show::{self, Format};

pub async fn ps(node: &Embedded, flags: Ps) -> Result<()> {
    let pods = sandboxes(node).await?;
    let image = match &flags.image {
        // an image that is not here may have been
        Some(name) => Some(node.store().find(name)?.map_or_else(|| name.clone(), |(image, _)| image.id)),
        None => None,
    };
    let chosen = choose(node.containers(None).await?, &pods, image.as_deref(), &flags)?;
    if flags.list.quiet {
        chosen.iter().for_each(|c| println!("{}", c.id));
    } else if flags.list.output == Format::Table {
        print!("{}", table(&chosen, &pods, &flags, show::now()));
    } else {
        let containers: Vec<Value> = chosen.iter().map(brief).collect();
        show::print(flags.list.output, &json!({"containers": containers}))?;
    }
    Ok(())
}

/// `image`: its id, where one was asked for.
fn choose(
    all: Vec<ContainerStatus>,
    pods: &BTreeMap<String, SandboxStatus>,
    image: Option<&str>,
    flags: &Ps,
) -> Result<Vec<ContainerStatus>> {
    let last = if flags.latest { Some(1) } else { flags.last };
    let whole = flags.all || flags.state.is_some() || last.is_some();
    let mut chosen = Vec::new();
    for c in all {
        let state_fits = match &flags.state {
            Some(state) => name(c.state).eq_ignore_ascii_case(state),
            None => whole || c.state == ContainerState::Running,
        };
        let namespace = pods.get(&c.sandbox).map_or("", |p| p.config.namespace.as_str());
        let fits = state_fits
            && flags.id.as_ref().is_none_or(|id| c.id.starts_with(id))
            && flags.name.as_ref().is_none_or(|r| r.is_match(&c.name))
            && flags.namespace.as_ref().is_none_or(|r| r.is_match(namespace))
            && flags.pod.as_ref().is_none_or(|id| c.sandbox.starts_with(id))
            && image.is_none_or(|i| c.image_id == i || c.image == i);
        if fits && labelled(&c.labels, &flags.label)? {
            chosen.push(c);
        }
    }
    Ok(newest(chosen, last))
}

fn table(all: &[ContainerStatus], pods: &BTreeMap<String, SandboxStatus>, flags: &Ps, now: i64) -> String {
    let whole = flags.list.no_trunc;
    let header = ["CONTAINER", "IMAGE", "CREATED", "STATE", "NAME", "ATTEMPT", "POD ID", "POD", "NAMESPACE"];
    let rows = all.iter().map(|c| {
        let pod = pods.get(&c.sandbox).map(|p| &p.config);
        [
            show::id(&c.id, whole),
            if flags.resolve_image_path { c.image.clone() } else { show::id(&c.image_id, whole) },
            show::ago(c.created_nanos, now),
            name(c.state).into(),
            c.name.clone(),
            c.attempt.to_string(),
            show::id(&c.sandbox, whole),
            pod.map_or_else(|| "unknown".into(), |p| p.name.clone()),
            pod.map_or_else(|| "unknown".into(), |p| p.namespace.clone()),
        ]
    });
    show::table(header, rows)
}

fn name(state: ContainerState) -> &'static str {
    match state {
        ContainerState::Created => "Created",
        ContainerState::Running => "Running",
        ContainerState::Exited => "Exited",
    }
}

/// CRI's name of a state.
fn state(state: ContainerState) -> String {
    format!("CONTAINER_{}", name(state).to_uppercase())
}

/// CRI's `Container`.
fn brief(c: &ContainerStatus) -> Value {
    json!({
        "id": c.id, "podSandboxId": c.sandbox, "metadata": {"name": c.name, "attempt": c.attempt},
        "image": {"image": c.image_id, "userSpecifiedImage": c.image, "annotations": {}, "runtimeHandler": ""},
        "imageRef": c.image_id, "imageId": c.image_id, "state": state(c.state), "createdAt": c.created_nanos.to_string(),
        "labels": c.labels, "annotations": c.annotations,
    })
}

pub async fn inspect(node: &Embedded, flags: &Inspect) -> Result<()> {
    let all = node.containers(None).await?;
    let mut shown = Vec::new();
    for id in &flags.ids {
        let doing = || format!("getting the status of the container \"{id}\"");
        shown.push(whole(node, one(&all, id).with_context(doing)?)?);
    }
    show_each(flags.output, shown)
}

/// One by itself, several as a list: as crictl.
pub fn show_each(output: Format, mut shown: Vec<Value>) -> Result<()> {
    match shown.len() {
        1 => show::print(output, &shown.remove(0)),
        _ => show::print(output, &Value::from(shown)),
    }
}

/// CRI's `ContainerStatus`, and what the runtime knows beside it.
fn whole(node: &Embedded, c: &ContainerStatus) -> Result<Value> {
    let config = node.container_config(&c.id)?;
    let r = &config.resources;
    let mounts = config.mounts.iter().map(|m| {
        let propagation = match m.propagation.as_str() {
            "HostToContainer" => "PROPAGATION_HOST_TO_CONTAINER",
            "Bidirectional" => "PROPAGATION_BIDIRECTIONAL",
            _ => "PROPAGATION_PRIVATE",
        };
        json!({"containerPath": m.container_path, "hostPath": m.host_path, "readonly": m.read_only, "propagation": propagation})
    });
    // a start that failed left none
    let spec = node.container_spec(&c.id).unwrap_or(Value::Null);
    Ok(json!({
        "status": {
            "id": c.id, "metadata": {"name": c.name, "attempt": c.attempt}, "state": state(c.state),
            "createdAt": show::time(c.created_nanos), "startedAt": show::time(c.started_nanos),
            "finishedAt": show::time(c.finished_nanos), "exitCode": c.exit_code, "reason": c.reason, "message": c.message,
            "image": {"image": c.image, "annotations": {}, "runtimeHandler": "", "userSpecifiedImage": ""},
            "imageRef": c.image_id, "imageId": c.image_id, "labels": c.labels, "annotations": c.annotations,
            "mounts": mounts.collect::<Vec<_>>(), "logPath": c.log_path,
            "resources": {"linux": {
                "cpuPeriod": r.cpu_period_us.unwrap_or(0).to_string(), "cpuQuota": r.cpu_quota_us.unwrap_or(0).to_string(),
                "cpuShares": r.cpu_shares.to_string(), "memoryLimitInBytes": r.memory_limit_bytes.unwrap_or(0).to_string(),
                "oomScoreAdj": r.oom_score_adj.unwrap_or(0).to_string(),
            }},
        },
        "info": {
            "sandboxID": c.sandbox, "pid": c.pid, "removing": false, "tty": config.tty, "stdin": config.stdin,
            "privileged": config.security.privileged, "runtimeSpec": spec,
        },
    }))
}

pub async fn stop(node: &Embedded, ids: &[String], timeout: u64) -> Result<()> {
    let all = node.containers(None).await?;
    each(&all, ids, "stopping", async |c| {
        node.stop_container(&c.id, Duration::from_secs(timeout)).await?;
        println!("{}", c.id);
        Ok(())
    })
    .await
}

pub async fn remove(node: &Embedded, flags: Remove) -> Result<()> {
    let all = node.containers(None).await?;
    let ids = if flags.all { all.iter().map(|c| c.id.clone()).collect() } else { flags.ids };
    each(&all, &ids, "removing", async |c| {
        if c.state == ContainerState::Running {
            if !flags.force {
                bail!("container is running, please stop it first");
            }
            node.stop_container(&c.id, Duration::ZERO).await?;
        }
        node.forget_container(&c.id).await?;
        println!("{}", c.id);
        Ok(())
    })
    .await
}

#[cfg(test)]
pub mod tests {
    use super::*;

    pub fn container(id: &str, state: ContainerState, created_nanos: i64) -> ContainerStatus {
        ContainerStatus {
            id: id.into(),
            sandbox: "p1".into(),
            name: format!("name-{id}"),
            attempt: 2,
            state,
            image: "docker.io/library/box:1".into(),
            image_id: format!("sha256:{}", "f".repeat(64)),
            created_nanos,
            started_nanos: 0,
            finished_nanos: 0,
            exit_code: 0,
            reason: String::new(),
            message: String::new(),
            pid: 0,
            labels: BTreeMap::from([("app".into(), id.into())]),
            annotations: BTreeMap::new(),
            resources: Default::default(),
            log_path: "/dev/null".into(),
        }
    }

    fn ids(flags: &Ps) -> String {
        let all =
            [("a", ContainerState::Running, 1), ("b", ContainerState::Exited, 2), ("c", ContainerState::Running, 3)];
        let all = all.map(|(id, state, at)| container(id, state, at)).to_vec();
        let chosen = choose(all, &BTreeMap::new(), None, flags).unwrap();
        chosen.into_iter().map(|c| c.id).collect()
    }

    #[test]
    fn running_ones_unless_asked_otherwise() {
        let named = regex::Regex::new("-[bc]$").ok();
        for (flags, want) in [
            (Ps::default(), "ca"),
            (Ps { all: true, ..Ps::default() }, "cba"),
            (Ps { state: Some("exited".into()), ..Ps::default() }, "b"),
            (Ps { last: Some(2), ..Ps::default() }, "cb"),
            (Ps { name: named, all: true, ..Ps::default() }, "cb"),
            (Ps { label: vec!["app=a".into()], ..Ps::default() }, "a"),
            (Ps { pod: Some("q".into()), ..Ps::default() }, ""),
        ] {
            assert_eq!(ids(&flags), want);
        }
    }

    #[test]
    fn a_line_for_each() {
        let shown =
            table(&[container("a", ContainerState::Running, 0)], &BTreeMap::new(), &Ps::default(), 120_000_000_000);
        let lines: Vec<Vec<&str>> =
            shown.lines().map(|l| l.split("  ").filter(|f| !f.is_empty()).map(str::trim).collect()).collect();
        assert_eq!(
            lines[0],
            ["CONTAINER", "IMAGE", "CREATED", "STATE", "NAME", "ATTEMPT", "POD ID", "POD", "NAMESPACE"]
        );
        assert_eq!(
            lines[1],
            ["a", "fffffffffffff", "2 minutes ago", "Running", "name-a", "2", "p1", "unknown", "unknown"]
        );
    }
}
