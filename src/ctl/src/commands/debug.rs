//! `debug`: a container beside those of a pod, a changed copy of a pod, or a pod on a node with the node's root at `/host`.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use api::Value;
use http::Method;
use serde_json::json;

use super::exec;
use crate::error::{Error, Result};
use crate::mapping::Mapping;
use crate::objects::{Info, list, text};
use crate::pods;
use crate::session::{JSON, STRATEGIC, Session};

#[derive(clap::Args)]
pub struct Flags {
    /// POD, TYPE/NAME or node/NAME
    target: String,
    /// The command, behind --
    #[arg(last = true)]
    command: Vec<String>,
    /// The image
    #[arg(long, default_value = "")]
    image: String,
    /// The container's name
    #[arg(short, long, default_value = "")]
    container: String,
    /// See the processes of this container
    #[arg(long = "target", default_value = "")]
    see: String,
    /// Work on a copy of this name
    #[arg(long, default_value = "")]
    copy_to: String,
    /// With --copy-to, CONTAINER=IMAGE[,…]; * stands for all
    #[arg(long, value_delimiter = ',')]
    set_image: Vec<String>,
    /// With --copy-to, delete the original
    #[arg(long)]
    replace: bool,
    /// With --copy-to, on the same node
    #[arg(long)]
    same_node: bool,
    /// With --copy-to, one process namespace for all containers
    #[arg(long, default_value_t = true, action = clap::ArgAction::Set, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    share_processes: bool,
    /// NAME=VALUE
    #[arg(long)]
    env: Vec<String>,
    /// Always, IfNotPresent or Never
    #[arg(long)]
    image_pull_policy: Option<String>,
    /// general, baseline, restricted, netadmin, sysadmin or legacy
    #[arg(long, default_value = "general")]
    profile: String,
    /// Pass stdin
    #[arg(short = 'i', long)]
    stdin: bool,
    /// A terminal
    #[arg(short, long)]
    tty: bool,
    /// Attach to the container (as -i does)
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    attach: Option<bool>,
    /// Only the container's own output
    #[arg(short, long)]
    quiet: bool,
}

/// As `names.SimpleNameGenerator`.
fn suffix() -> String {
    const ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
    let mut seed = RandomState::new().hash_one(());
    let mut next = || {
        let c = ALPHABET[(seed % ALPHABET.len() as u64) as usize];
        seed /= ALPHABET.len() as u64;
        char::from(c)
    };
    (0..5).map(|_| next()).collect()
}

impl Flags {
    fn attaches(&self) -> bool {
        self.attach.unwrap_or(self.stdin)
    }

    /// The security that a profile gives a container; on nodes `sysadmin` and `legacy` differ.
    fn security(&self, node: bool) -> Result<Option<Value>> {
        Ok(match self.profile.as_str() {
            "legacy" | "baseline" => None,
            "general" if node => None,
            "general" => Some(json!({"capabilities": {"add": ["SYS_PTRACE"]}})),
            "restricted" => Some(json!({
                "allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}, "runAsNonRoot": true,
                "seccompProfile": {"type": "RuntimeDefault"},
            })),
            "netadmin" => Some(json!({"capabilities": {"add": ["NET_ADMIN", "NET_RAW"]}})),
            "sysadmin" => Some(json!({"privileged": true})),
            other => return Err(Error::other(format!("unknown profile: {other}"))),
        })
    }

    fn container(&self, name: &str, node: bool) -> Result<Value> {
        let mut container =
            json!({"name": name, "image": self.image, "terminationMessagePolicy": "File", "resources": {}});
        if !self.command.is_empty() {
            container["command"] = json!(self.command);
        }
        if !self.env.is_empty() {
            let pair = |e: &String| {
                let (name, value) = e.split_once('=').ok_or_else(|| Error::other(format!("invalid env: {e}")))?;
                Ok(json!({"name": name, "value": value}))
            };
            container["env"] = self.env.iter().map(pair).collect::<Result<Vec<_>>>()?.into();
        }
        if let Some(policy) = &self.image_pull_policy {
            container["imagePullPolicy"] = policy.as_str().into();
        }
        if self.stdin {
            container["stdin"] = true.into();
        }
        if self.tty {
            container["tty"] = true.into();
        }
        if let Some(security) = self.security(node)? {
            container["securityContext"] = security;
        }
        Ok(container)
    }

    fn named(&self) -> String {
        if self.container.is_empty() { format!("debugger-{}", suffix()) } else { self.container.clone() }
    }

    fn check(&self) -> Result<()> {
        if self.image.is_empty() && self.copy_to.is_empty() {
            return Err(Error::other("you must specify --image when not using --copy-to."));
        }
        if self.image.is_empty() && self.set_image.is_empty() && self.container.is_empty() && !self.copy_to.is_empty() {
            return Err(Error::other("you must specify an existing container or a new image when specifying args."));
        }
        if !self.see.is_empty() && (!self.copy_to.is_empty() || self.image.is_empty()) {
            return Err(Error::other(
                "--target is incompatible with --copy-to. Use --share-processes instead to share processes between containers",
            ));
        }
        if self.tty && !self.stdin {
            return Err(Error::other("-i/--stdin is required for containers with -t/--tty=true"));
        }
        if self.copy_to.is_empty() && (self.replace || self.same_node || !self.set_image.is_empty()) {
            return Err(Error::other("--replace, --same-node and --set-image may only be used with --copy-to."));
        }
        Ok(())
    }
}

pub async fn run(s: &Session, flags: Flags) -> Result<()> {
    flags.check()?;
    let (mapping, object) = pods::object(s, &flags.target).await?;
    let (info, container) = match mapping.kind.as_str() {
        "Node" => node(s, &flags, text(&object, "/metadata/name")).await?,
        _ => {
            let pod = match mapping.kind.as_str() {
                "Pod" => object,
                _ => pods::one(s, &flags.target, Duration::from_secs(60)).await?,
            };
            let info = Info::of(&s.mapping("pods").await?, pod);
            match flags.copy_to.is_empty() {
                true => beside(s, &flags, info).await?,
                false => copy(s, &flags, info).await?,
            }
        }
    };
    if !flags.attaches() {
        return Ok(());
    }
    attach(s, &flags, &info, &container).await
}

/// An ephemeral container.
async fn beside(s: &Session, flags: &Flags, info: Info) -> Result<(Info, String)> {
    if !flags.see.is_empty() && !flags.quiet {
        eprintln!(
            "Targeting container {:?}. If you don't see processes from this container it may be because the container runtime \
             doesn't support this feature.",
            flags.see
        );
    }
    let name = flags.named();
    if flags.container.is_empty() && !flags.quiet {
        eprintln!("Defaulting debug container name to {name}.");
    }
    let mut container = flags.container(&name, false)?;
    if !flags.see.is_empty() {
        container["targetContainerName"] = flags.see.as_str().into();
    }
    if let Some(o) = container.as_object_mut() {
        // an ephemeral container has none
        o.remove("resources");
    }
    let patch = json!({"spec": {"ephemeralContainers": [container]}});
    let path = format!("{}/ephemeralcontainers?fieldManager=kubectl-debug", info.path());
    let object = s.send(Method::PATCH, &path, STRATEGIC, Some(&patch)).await?;
    Ok((Info { object, ..info }, name))
}

/// A copy of the pod with a container more, or one changed.
async fn copy(s: &Session, flags: &Flags, info: Info) -> Result<(Info, String)> {
    let (pod, container) = changed(flags, &info.object)?;
    if flags.replace {
        super::delete::delete_and_wait(s, &info).await?;
    }
    let created = create(s, &info.mapping, &info.namespace, &pod).await?;
    Ok((Info::of(&info.mapping, created), container))
}

fn changed(flags: &Flags, pod: &Value) -> Result<(Value, String)> {
    let mut spec = pod["spec"].clone();
    if let Some(spec) = spec.as_object_mut() {
        spec.remove("ephemeralContainers");
        if !flags.same_node {
            spec.remove("nodeName");
        }
    }
    if flags.share_processes {
        spec["shareProcessNamespace"] = true.into();
    }
    // a copy to look into is not to be killed for what it does not answer
    for container in spec["containers"].as_array_mut().into_iter().flatten().filter_map(Value::as_object_mut) {
        container.retain(|k, _| flags.profile == "legacy" || !k.ends_with("Probe"));
    }
    for pair in &flags.set_image {
        let (name, image) = pair.split_once('=').ok_or_else(|| Error::other(format!("invalid --set-image {pair}")))?;
        let all = spec["containers"].as_array_mut().into_iter().flatten();
        all.filter(|c| name == "*" || c["name"] == name).for_each(|c| c["image"] = image.into());
    }
    let names: Vec<String> = list(&spec, "/containers").iter().map(|c| text(c, "/name").to_owned()).collect();
    let existing = names.contains(&flags.container);
    let name = if !existing && flags.image.is_empty() && flags.container.is_empty() {
        names.first().cloned().unwrap_or_default()
    } else {
        flags.named()
    };
    let containers = spec["containers"].as_array_mut().into_iter().flatten();
    if let Some(c) = containers.into_iter().find(|c| existing && c["name"] == name.as_str()) {
        if !flags.image.is_empty() {
            c["image"] = flags.image.as_str().into();
        }
        if !flags.command.is_empty() {
            c["command"] = json!(flags.command);
            c.as_object_mut().map(|c| c.remove("args"));
        }
        for (key, on) in [("stdin", flags.stdin), ("tty", flags.tty)] {
            if on {
                c[key] = true.into();
            }
        }
    } else if !flags.image.is_empty() {
        let container = flags.container(&name, false)?;
        if let Some(all) = spec["containers"].as_array_mut() {
            all.push(container);
        }
        if flags.container.is_empty() && !flags.quiet {
            eprintln!("Defaulting debug container name to {name}.");
        }
    }
    // no labels, so that no service or controller takes the copy for its own
    let mut meta = json!({"name": flags.copy_to});
    if let Some(annotations) = pod["metadata"].get("annotations") {
        meta["annotations"] = annotations.clone();
    }
    Ok((json!({"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec}), name))
}

/// A pod on a node, which sees all of it.
async fn node(s: &Session, flags: &Flags, node: &str) -> Result<(Info, String)> {
    let container = if flags.container.is_empty() { "debugger" } else { &flags.container };
    let pod = node_pod(flags, node, container)?;
    let name = text(&pod, "/metadata/name").to_owned();
    if !flags.quiet {
        println!("Creating debugging pod {name} with container {container} on node {node}.");
    }
    let mapping = s.mapping("pods").await?;
    let created = create(s, &mapping, &s.namespace, &pod).await?;
    Ok((Info::of(&mapping, created), container.to_owned()))
}

fn node_pod(flags: &Flags, node: &str, container: &str) -> Result<Value> {
    let mut debugger = flags.container(container, true)?;
    let mut spec = json!({
        "nodeName": node, "restartPolicy": "Never", "tolerations": [{"operator": "Exists"}],
    });
    if flags.profile != "restricted" && flags.profile != "baseline" {
        for key in ["hostNetwork", "hostPID", "hostIPC"] {
            spec[key] = (key != "hostIPC" || flags.profile != "netadmin").into();
        }
    }
    if matches!(flags.profile.as_str(), "general" | "legacy" | "sysadmin") {
        spec["volumes"] = json!([{"name": "host-root", "hostPath": {"path": "/"}}]);
        debugger["volumeMounts"] = json!([{"name": "host-root", "mountPath": "/host"}]);
    }
    spec["containers"] = json!([debugger]);
    let name = format!("node-debugger-{node}-{}", suffix());
    let labels = json!({"app.kubernetes.io/managed-by": "kubectl-debug"});
    Ok(json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": labels}, "spec": spec}))
}

async fn create(s: &Session, mapping: &Mapping, namespace: &str, pod: &Value) -> Result<Value> {
    let path = format!("{}?fieldManager=kubectl-debug", mapping.path(namespace, ""));
    s.send(Method::POST, &path, JSON, Some(pod)).await
}

/// Waits for the container, and joins it; of one that has ended already, prints the log.
async fn attach(s: &Session, flags: &Flags, info: &Info, container: &str) -> Result<()> {
    let state = |pod: &Value| {
        let statuses = ["/status/containerStatuses", "/status/ephemeralContainerStatuses"];
        let mut all = statuses.iter().flat_map(|p| list(pod, p));
        all.find(|c| text(c, "/name") == container).map(|c| c["state"].clone()).unwrap_or_default()
    };
    let began = s
        .until(&info.mapping, &info.namespace, &info.name, None, |pod| {
            let Some(pod) = pod else { return Err(Error::other("pod has been deleted")) };
            let state = state(pod);
            let there = state.get("running").is_some() || state.get("terminated").is_some();
            Ok(there.then(|| (pod.clone(), state.get("terminated").is_some())))
        })
        .await?;
    let Some((pod, ended)) = began else { return Ok(()) };
    if !ended {
        return exec::attach_to(s, &pod, container, flags.stdin, flags.tty, flags.quiet).await.map(drop);
    }
    print!("{}", s.text(&format!("{}/log?container={container}", info.path())).await?);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        flags: Flags,
    }

    fn flags(line: &str) -> Flags {
        Line::parse_from(line.split(' ')).flags
    }

    #[test]
    fn copies_and_node_pods() {
        let pod = json!({"metadata": {"name": "p", "labels": {"a": "b"}}, "spec": {"nodeName": "n", "containers": [
            {"name": "c", "image": "i", "args": ["x"], "livenessProbe": {}}, {"name": "d", "image": "j"}]}});
        let (made, name) = changed(&flags("k p --copy-to=q --set-image=*=z"), &pod).unwrap();
        assert_eq!((name.as_str(), &made["metadata"]), ("c", &json!({"name": "q"})));
        assert_eq!(
            made["spec"],
            json!({"shareProcessNamespace": true, "containers": [
                {"name": "c", "image": "z", "args": ["x"]}, {"name": "d", "image": "z"}]})
        );
        let (made, _) =
            changed(&flags("k p --copy-to=q --same-node --share-processes=false -c c -it -- sh"), &pod).unwrap();
        assert_eq!(made["spec"]["nodeName"], "n");
        assert_eq!(
            made["spec"]["containers"][0],
            json!({"name": "c", "image": "i", "command": ["sh"], "stdin": true, "tty": true})
        );
        let (made, name) = changed(&flags("k p --copy-to=q --image=busybox"), &pod).unwrap();
        assert_eq!((list(&made, "/spec/containers").len(), name.len()), (3, "debugger-xxxxx".len()));

        let made = node_pod(&flags("k node/n --image=b --profile=sysadmin"), "n", "debugger").unwrap();
        assert_eq!(made["spec"]["containers"][0]["securityContext"], json!({"privileged": true}));
        assert_eq!(made["spec"]["volumes"][0]["hostPath"]["path"], "/");
        assert!(text(&made, "/metadata/name").starts_with("node-debugger-n-"));
        for bad in ["k p", "k p --image=i -t", "k p --image=i --replace", "k p --image=i --profile=x"] {
            let flags = flags(bad);
            assert!(flags.check().and_then(|()| flags.container("c", false)).is_err(), "{bad}");
        }
    }
}
