//! `run`: one pod of an image, and with `-it` its terminal.

use std::time::Duration;

use api::Value;
use serde_json::json;

use super::create::{How, generated};
use super::delete::delete_and_wait;
use super::exec;
use crate::error::{Error, Result};
use crate::objects::{Info, duration, list, text};
use crate::print::DryRun;
use crate::session::Session;

#[derive(clap::Args)]
pub struct Flags {
    /// The pod's name
    name: String,
    /// Arguments of the container
    #[arg(trailing_var_arg = true, allow_hyphen_values = false)]
    words: Vec<String>,
    /// The image
    #[arg(long)]
    image: Option<String>,
    /// Always, OnFailure or Never
    #[arg(long, default_value = "Always")]
    restart: String,
    /// The arguments are the command
    #[arg(long)]
    command: bool,
    /// NAME=VALUE
    #[arg(long)]
    env: Vec<String>,
    /// KEY=VALUE[,…]
    #[arg(short = 'l', long, value_delimiter = ',')]
    labels: Vec<String>,
    /// KEY=VALUE
    #[arg(long)]
    annotations: Vec<String>,
    /// The port that the container listens at
    #[arg(long)]
    port: Option<u16>,
    /// Make a service for the port
    #[arg(long)]
    expose: bool,
    /// Always, IfNotPresent or Never
    #[arg(long)]
    image_pull_policy: Option<String>,
    /// JSON merged into the pod
    #[arg(long)]
    overrides: Option<String>,
    /// Run privileged
    #[arg(long)]
    privileged: bool,
    /// Delete the pod in the end
    #[arg(long)]
    rm: bool,
    /// Pass stdin
    #[arg(short = 'i', long)]
    stdin: bool,
    /// A terminal
    #[arg(short, long)]
    tty: bool,
    /// Attach to the pod (as -i does)
    #[arg(long)]
    attach: bool,
    /// Leave stdin open when the first client has gone
    #[arg(long, default_value_t = true, action = clap::ArgAction::Set, num_args = 0..=1, require_equals = true, default_missing_value = "true", hide = true)]
    leave_stdin_open: bool,
    /// Only the container's own output
    #[arg(short, long)]
    quiet: bool,
    /// How long to wait for the pod to run
    #[arg(long, default_value = "1m0s")]
    pod_running_timeout: String,
    #[command(flatten)]
    how: How,
}

impl Flags {
    fn pod(&self) -> Result<Value> {
        let Some(image) = self.image.as_ref().filter(|i| !i.is_empty()) else {
            return Err(Error::other("required flag(s) \"image\" not set"));
        };
        let mut container = json!({"image": image, "name": self.name, "resources": {}});
        if !self.words.is_empty() {
            container[if self.command { "command" } else { "args" }] = json!(self.words);
        }
        if !self.env.is_empty() {
            let pair = |e: &String| {
                let (name, value) = e.split_once('=').ok_or_else(|| Error::other(format!("invalid env: {e}")))?;
                Ok(json!({"name": name, "value": value}))
            };
            container["env"] = self.env.iter().map(pair).collect::<Result<Vec<_>>>()?.into();
        }
        if let Some(port) = self.port {
            container["ports"] = json!([{"containerPort": port}]);
        }
        if let Some(policy) = &self.image_pull_policy {
            container["imagePullPolicy"] = policy.as_str().into();
        }
        if self.privileged {
            container["securityContext"] = json!({"privileged": true});
        }
        if self.stdin {
            container["stdin"] = true.into();
            if !self.leave_stdin_open || self.rm || self.restart == "Never" {
                container["stdinOnce"] = true.into();
            }
        }
        if self.tty {
            container["tty"] = true.into();
        }
        if !matches!(self.restart.as_str(), "Always" | "OnFailure" | "Never") {
            return Err(Error::other(format!("invalid restart policy: {}", self.restart)));
        }
        let labels = match self.labels.is_empty() {
            true => json!({"run": self.name}),
            false => map(&self.labels, "label")?,
        };
        let mut meta = json!({"creationTimestamp": null, "name": self.name, "labels": labels});
        if !self.annotations.is_empty() {
            meta["annotations"] = map(&self.annotations, "annotation")?;
        }
        let mut pod = json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": meta,
            "spec": {"containers": [container], "dnsPolicy": "ClusterFirst", "restartPolicy": self.restart},
            "status": {},
        });
        if let Some(overrides) = &self.overrides {
            let patch: Value =
                serde_json::from_str(overrides).map_err(|e| Error::other(format!("--overrides: {e}")))?;
            api::patch::merge(&mut pod, &patch)?;
        }
        Ok(pod)
    }
}

fn map(pairs: &[String], what: &str) -> Result<Value> {
    let mut all = serde_json::Map::new();
    for pair in pairs {
        let (k, v) = pair.split_once('=').ok_or_else(|| Error::other(format!("unexpected {what} spec: {pair}")))?;
        all.insert(k.into(), v.into());
    }
    Ok(Value::Object(all))
}

pub async fn run(s: &Session, mut flags: Flags) -> Result<()> {
    flags.how.field_manager = "kubectl-run".into();
    let dry_run = DryRun::parse(flags.how.dry_run.as_deref())?;
    let attach = flags.attach || flags.stdin || flags.tty;
    if flags.rm && !attach {
        return Err(Error::other("--rm should only be used for attached containers"));
    }
    if attach && dry_run != DryRun::None {
        return Err(Error::other(
            "--dry-run=[server|client] can't be used with attached containers options (--attach, --stdin, or --tty)",
        ));
    }
    if flags.tty && !flags.stdin {
        return Err(Error::other("stdin is required for containers with -t/--tty"));
    }
    if flags.expose && flags.port.is_none() {
        return Err(Error::other("--port must be set when exposing a service"));
    }
    let pod = flags.pod()?;
    if !attach {
        if flags.expose {
            generated(s, service(&flags), &flags.how, "created").await?;
        }
        generated(s, pod, &flags.how, "created").await?;
        return Ok(());
    }
    // an attached pod's own output is all that is printed
    let info = s.info(pod, String::new()).await?;
    let path = info.mapping.path(&info.namespace, "");
    let created = s.send(http::Method::POST, &path, crate::session::JSON, Some(&info.object)).await?;
    let info = Info::of(&info.mapping, created);
    let attached = attached(s, &flags, &info).await;
    if flags.rm {
        delete_and_wait(s, &info).await?;
        if !flags.quiet {
            println!("pod {:?} deleted", info.name);
        }
    }
    attached
}

fn service(flags: &Flags) -> Value {
    let port = flags.port.unwrap_or_default();
    json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"creationTimestamp": null, "name": flags.name},
        "spec": {"ports": [{"port": port, "protocol": "TCP", "targetPort": port}], "selector": {"run": flags.name}},
        "status": {"loadBalancer": {}},
    })
}

/// Waits for the pod, attaches, and ends as its container does.
async fn attached(s: &Session, flags: &Flags, info: &Info) -> Result<()> {
    let timeout = duration(&flags.pod_running_timeout)?.unwrap_or(Duration::from_secs(60));
    let running = s
        .until(&info.mapping, &info.namespace, &info.name, Some(timeout), |pod| {
            let Some(pod) = pod else { return Err(Error::other("pod has been deleted")) };
            let ready = list(pod, "/status/containerStatuses").iter().any(|c| c["state"].get("running").is_some());
            Ok((ready || matches!(text(pod, "/status/phase"), "Succeeded" | "Failed")).then(|| pod.clone()))
        })
        .await?;
    let pod = running.ok_or_else(|| Error::other("timed out waiting for the condition"))?;
    let container = text(&pod, "/spec/containers/0/name").to_owned();
    let logs = format!("{}/log?container={container}", info.path());
    let done = matches!(text(&pod, "/status/phase"), "Succeeded" | "Failed");
    let attached = match done {
        true => Ok(0),
        false => exec::attach_to(s, &pod, &container, flags.stdin, flags.tty, flags.quiet).await,
    };
    match attached {
        // it ended before we were there: its log says what it did
        Ok(0) => print!("{}", s.text(&logs).await?),
        Ok(_) => {}
        Err(error @ Error::Exit(_)) => return Err(error),
        Err(error) => {
            let why = error.to_string();
            let why = why.trim_start_matches("error: ");
            eprintln!("warning: couldn't attach to pod/{}, falling back to streaming logs: {why}", info.name);
            print!("{}", s.text(&logs).await?);
        }
    }
    if text(&pod, "/spec/restartPolicy") == "Always" {
        if !flags.rm && flags.tty && !flags.quiet {
            eprintln!(
                "Session ended, resume using 'kubectl attach {} -c {container} -i -t' command when the pod is running",
                info.name
            );
        }
        return Ok(());
    }
    let ended = s
        .until(&info.mapping, &info.namespace, &info.name, None, |pod| {
            let Some(pod) = pod else { return Ok(Some((0, String::new()))) };
            let state =
                list(pod, "/status/containerStatuses").iter().find_map(|c| c["state"].get("terminated").cloned());
            let done = matches!(text(pod, "/status/phase"), "Succeeded" | "Failed");
            Ok(done.then(|| {
                let state = state.unwrap_or_default();
                (state["exitCode"].as_i64().unwrap_or(0), text(&state, "/reason").to_owned())
            }))
        })
        .await?;
    match ended {
        Some((code, reason)) if code != 0 => {
            eprintln!("pod {}/{} terminated ({reason})", info.namespace, info.name);
            Err(Error::Exit(u8::try_from(code).unwrap_or(1)))
        }
        _ => Ok(()),
    }
}
