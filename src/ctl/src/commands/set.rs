//! `set image`, `set env`, `set resources`, `set serviceaccount`: fields of pod templates.

use api::Value;
use serde_json::{Map, json};

use crate::cli::{Files, Output, Select};
use crate::error::{Error, Result};
use crate::merge;
use crate::objects::{Failed, Info, list, text};
use crate::print::{DryRun, done};
use crate::session::{MERGE, STRATEGIC, Session};

#[derive(clap::Args)]
pub struct Flags {
    #[command(subcommand)]
    what: What,
}

/// Which objects, and how.
#[derive(clap::Args)]
struct On {
    /// TYPE NAME or TYPE/NAME, then what to set
    args: Vec<String>,
    #[command(flatten)]
    files: Files,
    #[command(flatten)]
    select: Select,
    #[command(flatten)]
    output: Output,
    /// All objects of the type
    #[arg(long)]
    all: bool,
    /// Change what the files say, without a server
    #[arg(long)]
    local: bool,
    /// none, client or server: say what would be done
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "client")]
    dry_run: Option<String>,
}

#[derive(clap::Subcommand)]
enum What {
    /// CONTAINER=IMAGE…
    Image {
        #[command(flatten)]
        on: On,
    },
    /// NAME=VALUE… NAME-…
    Env {
        #[command(flatten)]
        on: On,
        /// Show it
        #[arg(long)]
        list: bool,
        /// From configmap/NAME or secret/NAME
        #[arg(long)]
        from: Option<String>,
        /// Before the names of --from
        #[arg(long, default_value = "")]
        prefix: String,
        /// Only these containers; * in the end stands for anything
        #[arg(short, long, default_value = "*")]
        containers: String,
        /// NAME=VALUE
        #[arg(short, long)]
        env: Vec<String>,
    },
    /// --limits and --requests
    Resources {
        #[command(flatten)]
        on: On,
        /// cpu=1,memory=1Gi
        #[arg(long)]
        limits: Option<String>,
        /// cpu=1,memory=1Gi
        #[arg(long)]
        requests: Option<String>,
        /// Only these containers
        #[arg(short, long, default_value = "*")]
        containers: String,
    },
    /// The service account
    #[command(alias = "sa")]
    Serviceaccount {
        #[command(flatten)]
        on: On,
    },
}

/// Where a kind has its pod's specification.
fn pod_spec<'a>(info: &Info, o: &'a mut Value) -> Result<&'a mut Value> {
    let pointer = match info.mapping.kind.as_str() {
        "Pod" => "/spec",
        "CronJob" => "/spec/jobTemplate/spec/template/spec",
        _ => "/spec/template/spec",
    };
    o.pointer_mut(pointer).ok_or_else(|| Error::other(format!("{} has no pod template", info.id())))
}

fn fits(pattern: &str, name: &str) -> bool {
    pattern.strip_suffix('*').map_or(pattern == name, |prefix| name.starts_with(prefix))
}

/// The containers of a pod's specification, init containers too.
fn containers(spec: &mut Value) -> impl Iterator<Item = &mut Value> {
    let Some(spec) = spec.as_object_mut() else { return Vec::new().into_iter() };
    let mut all = Vec::new();
    for (key, value) in spec {
        if key == "containers" || key == "initContainers" {
            all.extend(value.as_array_mut().into_iter().flatten());
        }
    }
    all.into_iter()
}

pub async fn run(s: &Session, flags: Flags) -> Result<()> {
    match flags.what {
        What::Image { on } => {
            let (objects, pairs) = split(&on.args);
            each(s, &on, &objects, "image updated", |spec| images(spec, &pairs)).await
        }
        What::Env { on, list: true, containers, .. } => show_env(s, &on, &containers).await,
        What::Env { on, from, prefix, containers, env, .. } => {
            let (objects, mut changes) = split(&on.args);
            changes.extend(env);
            let imported = match &from {
                Some(source) => import(s, source, &prefix).await?,
                None => Vec::new(),
            };
            each(s, &on, &objects, "env updated", |spec| set_env(spec, &changes, &imported, &containers)).await
        }
        What::Resources { on, limits, requests, containers } => {
            if limits.is_none() && requests.is_none() {
                return Err(Error::other(
                    "you must specify an update to requests or limits (in the form of --requests/--limits)",
                ));
            }
            let objects = on.args.clone();
            each(s, &on, &objects, "resource requirements updated", |spec| {
                resources(spec, limits.as_deref(), requests.as_deref(), &containers)
            })
            .await
        }
        What::Serviceaccount { on } => {
            let Some((account, objects)) = on.args.split_last() else {
                return Err(Error::other("serviceaccount is required"));
            };
            let objects = objects.to_vec();
            each(s, &on, &objects, "serviceaccount updated", |spec| {
                spec["serviceAccountName"] = account.as_str().into();
                spec["serviceAccount"] = account.as_str().into();
                Ok(())
            })
            .await
        }
    }
}

/// The arguments that name objects, and those that set something.
fn split(args: &[String]) -> (Vec<String>, Vec<String>) {
    args.iter().cloned().partition(|a| !a.contains('=') && !a.ends_with('-'))
}

async fn each(
    s: &Session,
    on: &On,
    objects: &[String],
    what: &str,
    change: impl Fn(&mut Value) -> Result<()>,
) -> Result<()> {
    let dry_run = DryRun::parse(on.dry_run.as_deref())?;
    let mut failed = Failed::default();
    let infos = match on.local {
        true => s.local(&on.files).await?,
        false => s.infos(objects, &on.files, &on.select, &mut failed).await?,
    };
    for info in infos {
        let changed = async {
            let mut object = info.object.clone();
            change(pod_spec(&info, &mut object)?)?;
            if object == info.object {
                return Ok(());
            }
            let m = &info.mapping;
            let (content_type, patch) = match merge::schema_of(&m.group, &m.version, &m.kind) {
                Some(schema) => (STRATEGIC, merge::strategic(&info.object, &object, &info.object, schema)),
                None => (MERGE, merge::json(&info.object, &object, &info.object)),
            };
            if !(on.local || dry_run.client()) {
                object = info
                    .patch(s, content_type, &patch, &[("fieldManager", "kubectl-set"), ("dryRun", dry_run.query())])
                    .await?;
            }
            done(on.output.output.as_deref(), &object, what, dry_run)
        };
        failed.keep_later(changed.await);
    }
    failed.end()
}

fn images(spec: &mut Value, pairs: &[String]) -> Result<()> {
    if pairs.is_empty() {
        return Err(Error::other("at least one image update is required"));
    }
    for pair in pairs {
        let (name, image) = pair.split_once('=').ok_or_else(|| Error::other(format!("invalid image: {pair}")))?;
        let mut found = false;
        for c in containers(spec).filter(|c| name == "*" || text(c, "/name") == name) {
            c["image"] = image.into();
            found = true;
        }
        if !found {
            return Err(Error::other(format!("unable to find container named {name:?}")));
        }
    }
    Ok(())
}

fn set_env(spec: &mut Value, changes: &[String], imported: &[Value], pattern: &str) -> Result<()> {
    if changes.is_empty() && imported.is_empty() {
        return Err(Error::other("at least one environment variable must be provided"));
    }
    for c in containers(spec).filter(|c| fits(pattern, text(c, "/name"))) {
        let mut env = list(c, "/env").to_vec();
        let mut put = |name: &str, entry: Option<Value>| {
            let at = env.iter().position(|e| text(e, "/name") == name);
            match (at, entry) {
                (Some(at), Some(entry)) => env[at] = entry,
                (Some(at), None) => drop(env.remove(at)),
                (None, Some(entry)) => env.push(entry),
                (None, None) => {}
            }
        };
        imported.iter().for_each(|e| put(text(e, "/name"), Some(e.clone())));
        for change in changes {
            match (change.split_once('='), change.strip_suffix('-')) {
                (Some((name, value)), _) => put(name, Some(json!({"name": name, "value": value}))),
                (None, Some(name)) => put(name, None),
                _ => return Err(Error::other(format!("invalid env: {change}"))),
            }
        }
        if env.is_empty() {
            c.as_object_mut().map(|c| c.remove("env"));
        } else {
            c["env"] = env.into();
        }
    }
    Ok(())
}

/// A variable for each key of a config map or secret.
async fn import(s: &Session, source: &str, prefix: &str) -> Result<Vec<Value>> {
    let (mapping, object) = crate::pods::object(s, source).await?;
    let reference = match mapping.kind.as_str() {
        "ConfigMap" => "configMapKeyRef",
        "Secret" => "secretKeyRef",
        other => return Err(Error::other(format!("unsupported resource specified in --from: {other}"))),
    };
    let name = |key: &str| {
        let clean: String = key.chars().map(|c| if c.is_ascii_alphanumeric() || c == '_' { c } else { '_' }).collect();
        format!("{prefix}{}", clean.to_uppercase())
    };
    let keys = object["data"].as_object().into_iter().flatten();
    Ok(keys
        .map(|(key, _)| json!({"name": name(key), "valueFrom": {(reference): {"key": key, "name": text(&object, "/metadata/name")}}}))
        .collect())
}

async fn show_env(s: &Session, on: &On, pattern: &str) -> Result<()> {
    let mut failed = Failed::default();
    for mut info in s.infos(&on.args, &on.files, &on.select, &mut failed).await? {
        let mut object = info.object.take();
        for c in containers(pod_spec(&info, &mut object)?).filter(|c| fits(pattern, text(c, "/name"))) {
            println!("# {} {}, container {}", info.mapping.kind, info.name, text(c, "/name"));
            for e in list(c, "/env") {
                let name = text(e, "/name");
                match e.get("valueFrom") {
                    None => println!("{name}={}", text(e, "/value")),
                    Some(from) if from.get("configMapKeyRef").is_some() => {
                        println!(
                            "# {name} from configmap {}, key {}",
                            text(from, "/configMapKeyRef/name"),
                            text(from, "/configMapKeyRef/key")
                        );
                    }
                    Some(from) if from.get("secretKeyRef").is_some() => {
                        println!(
                            "# {name} from secret {}, key {}",
                            text(from, "/secretKeyRef/name"),
                            text(from, "/secretKeyRef/key")
                        );
                    }
                    Some(from) => println!("# {name} from field path {}", text(from, "/fieldRef/fieldPath")),
                }
            }
        }
    }
    failed.end()
}

fn resources(spec: &mut Value, limits: Option<&str>, requests: Option<&str>, pattern: &str) -> Result<()> {
    let amounts = |text: &str| -> Result<Map<String, Value>> {
        let pair = |p: &str| {
            let (k, v) = p
                .split_once('=')
                .ok_or_else(|| Error::other(format!("invalid argument syntax {p}, expected <resource>=<value>")))?;
            Ok((k.to_owned(), v.into()))
        };
        text.split(',').map(pair).collect()
    };
    for c in containers(spec).filter(|c| fits(pattern, text(c, "/name"))) {
        for (key, text) in [("limits", limits), ("requests", requests)] {
            if let Some(text) = text {
                for (k, v) in amounts(text)? {
                    if v == "0" {
                        c["resources"][key].as_object_mut().map(|all| all.remove(&k));
                    } else {
                        c["resources"][key][k] = v;
                    }
                }
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields() {
        let spec = json!({"containers": [{"name": "a", "image": "x"}, {"name": "b", "image": "y", "env": [{"name": "K", "value": "1"}]}]});
        let mut s = spec.clone();
        images(&mut s, &["a=n:1".into()]).unwrap();
        assert_eq!(s["containers"][0]["image"], "n:1");
        images(&mut s, &["*=m".into()]).unwrap();
        assert_eq!(s["containers"][1]["image"], "m");
        assert!(images(&mut s, &["z=m".into()]).is_err());
        set_env(&mut s, &["K-".into(), "L=2".into()], &[], "b").unwrap();
        assert_eq!(s["containers"][1]["env"], json!([{"name": "L", "value": "2"}]));
        assert_eq!(s["containers"][0].get("env"), None);
        resources(&mut s, Some("cpu=1"), None, "*").unwrap();
        assert_eq!(s["containers"][0]["resources"], json!({"limits": {"cpu": "1"}}));
    }
}
