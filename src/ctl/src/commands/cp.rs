//! `cp`: files to and from containers, by the container's `tar`.

use std::io::{Seek, SeekFrom, Write};
use std::path::{Component, Path};

use tokio::io::AsyncRead;

use api::Value;

use crate::error::{Error, Result};
use crate::objects::text;
use crate::pods;
use crate::session::Session;
use crate::stream::{self, Remote, STDOUT};

#[derive(clap::Args)]
pub struct Flags {
    /// PATH or [NAMESPACE/]POD:PATH
    from: String,
    /// PATH or [NAMESPACE/]POD:PATH
    to: String,
    /// The container
    #[arg(short, long)]
    container: Option<String>,
    /// Do not keep owners and modes
    #[arg(long)]
    no_preserve: bool,
    /// Accepted for compatibility
    #[arg(long, hide = true, allow_hyphen_values = true)]
    retries: Option<i64>,
}

/// `[namespace/]pod:path`; `None` for a local path.
fn remote(spec: &str) -> Option<(Option<&str>, &str, &str)> {
    let (pod, path) = spec.split_once(':')?;
    if pod.is_empty() || pod.starts_with(['.', '/']) {
        return None;
    }
    match pod.split_once('/') {
        Some((namespace, pod)) => Some((Some(namespace), pod, path)),
        None => Some((None, pod, path)),
    }
}

pub async fn run(s: &Session, flags: Flags) -> Result<()> {
    match (remote(&flags.from), remote(&flags.to)) {
        (Some(_), Some(_)) => Err(Error::other("one of src or dest must be a local file specification")),
        (None, Some((namespace, pod, path))) => upload(s, &flags, namespace, pod, path).await,
        (Some((namespace, pod, path)), None) => download(s, &flags, namespace, pod, path).await,
        (None, None) => Err(Error::other("one of src or dest must be a remote file specification")),
    }
}

async fn pod(s: &Session, flags: &Flags, namespace: Option<&str>, name: &str) -> Result<(Value, String)> {
    let mapping = s.mapping("pods").await?;
    let pod = s.get(&mapping.path(namespace.unwrap_or(&s.namespace), name)).await?;
    let container = match &flags.container {
        Some(c) => c.clone(),
        None => pods::default_container(&pod, false)?,
    };
    Ok((pod, container))
}

fn exec_path(pod: &Value) -> String {
    format!("/api/v1/namespaces/{}/pods/{}/exec", text(pod, "/metadata/namespace"), text(pod, "/metadata/name"))
}

fn words(text: &[&str]) -> Vec<String> {
    text.iter().map(|t| (*t).to_owned()).collect()
}

async fn upload(s: &Session, flags: &Flags, namespace: Option<&str>, name: &str, to: &str) -> Result<()> {
    let from = Path::new(&flags.from);
    if !from.exists() {
        return Err(Error::other(format!("{} doesn't exist in local filesystem", flags.from)));
    }
    let (pod, container) = pod(s, flags, namespace, name).await?;
    let base = from.canonicalize()?.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    // into a folder that is there, or to a new name
    let test = words(&["test", "-d", to]);
    let remote = Remote { path: exec_path(&pod), container: &container, command: &test, tty: false, stderr: true };
    let is_folder = stream::run(s, quiet(remote), None, |_, _| Ok(())).await.is_ok();
    let target =
        if is_folder { format!("{}/{base}", to.trim_end_matches('/')) } else { to.trim_end_matches('/').to_owned() };
    let (folder, as_name) =
        target.rsplit_once('/').map_or((".", target.as_str()), |(d, n)| (if d.is_empty() { "/" } else { d }, n));
    let mut archive = tempfile::tempfile()?;
    {
        let mut tar = tar::Builder::new(&mut archive);
        tar.follow_symlinks(false);
        if from.is_dir() {
            tar.append_dir_all(as_name, from)?
        } else {
            tar.append_path_with_name(from, as_name)?
        }
        tar.finish()?;
    }
    archive.seek(SeekFrom::Start(0))?;
    let mut command = words(&["tar", "-xmf", "-", "-C", folder]);
    if flags.no_preserve {
        command.splice(1..1, words(&["--no-same-permissions", "--no-same-owner"]));
    }
    let stdin: Box<dyn AsyncRead + Unpin + Send> = Box::new(tokio::fs::File::from_std(archive));
    let remote = Remote { path: exec_path(&pod), container: &container, command: &command, tty: false, stderr: true };
    stream::run(s, remote, Some(stdin), |_, data| Ok(std::io::stderr().write_all(data)?)).await
}

/// Nothing is said when a test fails.
fn quiet(remote: Remote<'_>) -> Remote<'_> {
    Remote { stderr: false, ..remote }
}

async fn download(s: &Session, flags: &Flags, namespace: Option<&str>, name: &str, from: &str) -> Result<()> {
    let (pod, container) = pod(s, flags, namespace, name).await?;
    let mut archive = tempfile::tempfile()?;
    let command = words(&["tar", "cf", "-", from]);
    let remote = Remote { path: exec_path(&pod), container: &container, command: &command, tty: false, stderr: true };
    stream::run(s, remote, None, |channel, data| {
        if channel == STDOUT {
            archive.write_all(data)?;
        } else {
            std::io::stderr().write_all(data)?;
        }
        Ok(())
    })
    .await?;
    archive.seek(SeekFrom::Start(0))?;
    let prefix = from.trim_start_matches('/').trim_end_matches('/');
    let base = Path::new(prefix).file_name().map(|n| n.to_owned()).unwrap_or_default();
    let to = Path::new(&flags.to);
    let to = if to.is_dir() { to.join(base) } else { to.to_owned() };
    for entry in tar::Archive::new(archive).entries()? {
        let mut entry = entry?;
        let path = entry.path()?.into_owned();
        let rest = path.strip_prefix(prefix).unwrap_or(Path::new("")).to_owned();
        // nothing outside of where it was asked for
        if rest.components().any(|c| !matches!(c, Component::Normal(_) | Component::CurDir)) {
            continue;
        }
        let target = if rest.as_os_str().is_empty() { to.clone() } else { to.join(rest) };
        let kind = entry.header().entry_type();
        if kind.is_dir() {
            std::fs::create_dir_all(&target)?;
        } else if kind.is_file() {
            if let Some(parent) = target.parent() {
                std::fs::create_dir_all(parent)?;
            }
            entry.unpack(&target)?;
        } else {
            eprintln!(
                "warning: skipping symlink: {:?} -> {:?}",
                path.display().to_string(),
                entry.link_name()?.unwrap_or_default()
            );
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn specs() {
        assert_eq!(remote("ns/pod:/a"), Some((Some("ns"), "pod", "/a")));
        assert_eq!(remote("pod:a:b"), Some((None, "pod", "a:b")));
        for local in ["/a:b", "./a:b", "a/b", "x"] {
            assert_eq!(remote(local), None, "{local}");
        }
    }
}
