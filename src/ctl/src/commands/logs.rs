//! `logs`: of a pod, the pods behind a workload, or all with some labels; once or followed.

use std::io::Write;

use api::Value;
use futures::StreamExt;
use futures::io::{AsyncBufReadExt, AsyncReadExt};
use tokio::sync::mpsc;

use crate::error::{Error, Result};
use crate::objects::{Failed, duration, text};
use crate::pods;
use crate::session::{Session, with_query};

#[derive(clap::Args)]
pub struct Flags {
    /// POD [CONTAINER] or TYPE/NAME [CONTAINER]
    args: Vec<String>,
    /// Go on as the log grows
    #[arg(short, long)]
    follow: bool,
    /// Of the container before this one
    #[arg(short, long)]
    previous: bool,
    /// The container
    #[arg(short, long)]
    container: Option<String>,
    /// All containers
    #[arg(long)]
    all_containers: bool,
    /// All pods of the workload
    #[arg(long)]
    all_pods: bool,
    /// Only the last lines; -1: all (10 with a selector)
    #[arg(long, default_value_t = -1, allow_hyphen_values = true)]
    tail: i64,
    /// Only lines newer than this long ago
    #[arg(long)]
    since: Option<String>,
    /// Only lines after this time
    #[arg(long)]
    since_time: Option<String>,
    /// With times
    #[arg(long)]
    timestamps: bool,
    /// At most so many bytes
    #[arg(long)]
    limit_bytes: Option<u64>,
    /// Pods with these labels
    #[arg(short = 'l', long)]
    selector: Option<String>,
    /// With the pod and container before each line
    #[arg(long)]
    prefix: bool,
    /// Go on with the others when one fails
    #[arg(long)]
    ignore_errors: bool,
    /// How many logs to follow at most
    #[arg(long, default_value_t = 5)]
    max_log_requests: usize,
    /// Wait for the pod (accepted for compatibility)
    #[arg(long, hide = true)]
    pod_running_timeout: Option<String>,
    /// Do not check the kubelet's certificate
    #[arg(long)]
    insecure_skip_tls_verify_backend: bool,
}

/// One log to read.
struct Source {
    path: String,
    prefix: String,
}

pub async fn run(s: &Session, flags: Flags) -> Result<()> {
    let (target, named) = match flags.args.as_slice() {
        [] if flags.selector.is_some() => (None, None),
        [] => {
            return Err(Error::other(
                "expected 'logs [-f] [-p] (POD | TYPE/NAME) [-c CONTAINER]'.\nPOD or TYPE/NAME is a required argument for the logs command\nSee 'kubectl logs -h' for help and examples",
            ));
        }
        [pod] => (Some(pod), None),
        [pod, container] => (Some(pod), Some(container)),
        _ => {
            return Err(Error::other(
                "expected 'logs [-f] [-p] (POD | TYPE/NAME) [-c CONTAINER]'.\nPOD or TYPE/NAME is a required argument for the logs command\nSee 'kubectl logs -h' for help and examples",
            ));
        }
    };
    if target.is_some() && flags.selector.is_some() {
        return Err(Error::other("only a selector (-l) or a POD name is allowed"));
    }
    let container = flags.container.as_ref().or(named);
    if container.is_some() && flags.all_containers {
        return Err(Error::other("--all-containers=true should not be specified with container name"));
    }
    if flags.since.is_some() && flags.since_time.is_some() {
        return Err(Error::other("at most one of `sinceTime` or `sinceSeconds` may be specified"));
    }
    let all = match (target, &flags.selector) {
        (Some(target), _) => {
            let (mapping, object) = pods::object(s, target).await.map_err(|e| match e.status() {
                Some(status) if status.is_not_found() => Error::other(format!(
                    "error from server (NotFound): {} in namespace {:?}",
                    status.message, s.namespace
                )),
                _ => e,
            })?;
            let mut all = pods::behind(s, &mapping, object).await?;
            if all.is_empty() {
                all.push(pods::one(s, target, std::time::Duration::from_secs(20)).await?);
            }
            if !flags.all_pods && all.len() > 1 {
                let first = text(&all[0], "/metadata/name").to_owned();
                eprintln!("Found {} pods, using pod/{first}", all.len());
                all.truncate(1);
            }
            all
        }
        (None, Some(selector)) => pods::by_selector(s, &s.namespace, selector).await?,
        (None, None) => Vec::new(),
    };
    if all.is_empty() {
        eprintln!("No resources found in {} namespace.", s.namespace);
        return Ok(());
    }
    let sources = sources(&flags, container, &all)?;
    if flags.follow && sources.len() > 1 {
        if sources.len() > flags.max_log_requests {
            return Err(Error::other(format!(
                "you are attempting to follow {} log streams, but maximum allowed concurrency is {}, use --max-log-requests to increase the limit",
                sources.len(),
                flags.max_log_requests
            )));
        }
        return follow_all(s, sources).await;
    }
    let mut failed = Failed::default();
    for source in &sources {
        let copied = copy(s, source).await;
        if flags.ignore_errors {
            failed.keep(copied);
        } else {
            copied?
        }
    }
    Ok(())
}

fn sources(flags: &Flags, container: Option<&String>, all: &[Value]) -> Result<Vec<Source>> {
    let since = match &flags.since {
        Some(text) => duration(text)?.map(|d| (d.as_secs_f64().ceil() as u64).to_string()).unwrap_or_default(),
        None => String::new(),
    };
    let tail = match flags.tail {
        -1 if flags.selector.is_some() => "10".to_owned(),
        n if n < 0 => String::new(),
        n => n.to_string(),
    };
    let limit = flags.limit_bytes.map(|b| b.to_string()).unwrap_or_default();
    let flag = |b: bool| if b { "true" } else { "" };
    let mut sources = Vec::new();
    for pod in all {
        let (namespace, name) = (text(pod, "/metadata/namespace"), text(pod, "/metadata/name"));
        let names: Vec<String> = if flags.all_containers {
            let of =
                |p: &str| crate::objects::list(pod, p).iter().map(|c| text(c, "/name").to_owned()).collect::<Vec<_>>();
            [of("/spec/initContainers"), of("/spec/containers"), of("/spec/ephemeralContainers")].concat()
        } else if let Some(container) = container {
            if !pods::containers(pod).contains(&container.as_str()) {
                return Err(Error::other(format!("container {container} is not valid for pod {name}")));
            }
            vec![container.clone()]
        } else {
            vec![pods::default_container(pod, false)?]
        };
        for container in names {
            let query = [
                ("container", container.as_str()),
                ("follow", flag(flags.follow)),
                ("previous", flag(flags.previous)),
                ("timestamps", flag(flags.timestamps)),
                ("tailLines", &tail),
                ("sinceSeconds", &since),
                ("sinceTime", flags.since_time.as_deref().unwrap_or_default()),
                ("limitBytes", &limit),
                ("insecureSkipTLSVerifyBackend", flag(flags.insecure_skip_tls_verify_backend)),
            ];
            let path = with_query(&format!("/api/v1/namespaces/{namespace}/pods/{name}/log"), &query);
            let prefix = if flags.prefix { format!("[pod/{name}/{container}] ") } else { String::new() };
            sources.push(Source { path, prefix });
        }
    }
    Ok(sources)
}

/// A log to stdout, as it comes.
async fn copy(s: &Session, source: &Source) -> Result<()> {
    let mut stream = s.stream(&source.path, "*/*").await?;
    let mut stdout = std::io::stdout().lock();
    let gone = |_| Error::Exit(0);
    if source.prefix.is_empty() {
        let mut buffer = vec![0; 32 << 10];
        loop {
            let n = stream.read(&mut buffer).await.map_err(|e| Error::Connection(e.to_string()))?;
            if n == 0 {
                return Ok(());
            }
            stdout.write_all(&buffer[..n]).and_then(|()| stdout.flush()).map_err(gone)?;
        }
    }
    let mut line = Vec::new();
    while stream.read_until(b'\n', &mut line).await.map_err(|e| Error::Connection(e.to_string()))? > 0 {
        stdout
            .write_all(source.prefix.as_bytes())
            .and_then(|()| stdout.write_all(&line))
            .and_then(|()| stdout.flush())
            .map_err(gone)?;
        line.clear();
    }
    Ok(())
}

/// Several at once, line by line.
async fn follow_all(s: &Session, sources: Vec<Source>) -> Result<()> {
    let (send, mut lines) = mpsc::channel::<Vec<u8>>(64);
    let mut readers = futures::stream::FuturesUnordered::new();
    for source in sources {
        let send = send.clone();
        readers.push(async move {
            let mut stream = s.stream(&source.path, "*/*").await?;
            loop {
                let mut line = source.prefix.clone().into_bytes();
                let n = stream.read_until(b'\n', &mut line).await.map_err(|e| Error::Connection(e.to_string()))?;
                if n == 0 || send.send(line).await.is_err() {
                    return Ok::<(), Error>(());
                }
            }
        });
    }
    drop(send);
    let print = async {
        while let Some(line) = lines.recv().await {
            let mut stdout = std::io::stdout().lock();
            stdout.write_all(&line).and_then(|()| stdout.flush()).map_err(|_| Error::Exit(0))?;
        }
        Ok(())
    };
    let read = async {
        while let Some(result) = readers.next().await {
            result?;
        }
        Ok(())
    };
    futures::try_join!(print, read).map(drop)
}
