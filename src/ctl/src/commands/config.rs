//! `config`: shows and changes the kubeconfig file, as a tree, so that nothing in it is lost.

use std::path::PathBuf;

use api::Value;
use serde_json::json;

use crate::cli::{Global, Output};
use crate::error::{Error, Result};
use crate::objects::{list, text};
use crate::print::{Printer, tabs, yaml};

#[derive(clap::Args)]
pub struct Flags {
    #[command(subcommand)]
    what: What,
}

#[derive(clap::Subcommand)]
enum What {
    /// The configuration
    View {
        /// With keys and tokens
        #[arg(long)]
        raw: bool,
        /// Only what the current context uses
        #[arg(long)]
        minify: bool,
        /// With files' contents in place of their names
        #[arg(long)]
        flatten: bool,
        #[command(flatten)]
        output: Output,
    },
    /// The current context's name
    CurrentContext,
    /// The contexts
    GetContexts {
        name: Option<String>,
        #[arg(long)]
        no_headers: bool,
        #[command(flatten)]
        output: Output,
    },
    /// The clusters
    GetClusters,
    /// The users
    GetUsers,
    /// Make a context the current one
    #[command(alias = "use")]
    UseContext {
        name: String,
    },
    /// Make or change a context (with --cluster, --user, --namespace)
    SetContext {
        name: Option<String>,
        /// The current one
        #[arg(long)]
        current: bool,
    },
    /// Make or change a cluster (with --server, --certificate-authority, --insecure-skip-tls-verify, --tls-server-name)
    SetCluster {
        name: String,
        /// The certificate's contents instead of its name
        #[arg(long)]
        embed_certs: bool,
        #[arg(long)]
        proxy_url: Option<String>,
    },
    /// Make or change a user (with --token, --client-certificate, --client-key)
    SetCredentials {
        name: String,
        /// The files' contents instead of their names
        #[arg(long)]
        embed_certs: bool,
        #[arg(long)]
        username: Option<String>,
        #[arg(long)]
        password: Option<String>,
    },
    /// Give a context another name
    RenameContext {
        from: String,
        to: String,
    },
    DeleteContext {
        name: String,
    },
    DeleteCluster {
        name: String,
    },
    DeleteUser {
        name: String,
    },
    /// Set a field: users.admin.token
    Set {
        path: String,
        value: String,
    },
    /// Remove a field
    Unset {
        path: String,
    },
}

/// The files that are read, the first of which is written.
fn files(global: &Global) -> Vec<PathBuf> {
    if let Some(path) = &global.kubeconfig {
        return vec![path.into()];
    }
    let env: Vec<PathBuf> = std::env::var_os("KUBECONFIG")
        .map(|v| std::env::split_paths(&v).filter(|p| !p.as_os_str().is_empty()).collect())
        .unwrap_or_default();
    if !env.is_empty() {
        return env;
    }
    let home = std::env::var_os("HOME").map(|h| PathBuf::from(h).join(".kube/config"));
    let local = PathBuf::from(crate::session::SKIFF_KUBECONFIG);
    match home {
        Some(home) if home.exists() || !local.exists() => vec![home],
        _ => vec![local],
    }
}

fn empty() -> Value {
    json!({"apiVersion": "v1", "kind": "Config", "clusters": [], "contexts": [], "current-context": "", "preferences": {}, "users": []})
}

fn read(path: &PathBuf) -> Result<Option<Value>> {
    match std::fs::read(path) {
        Ok(text) => {
            let failed =
                |e: String| Error::other(format!("error loading config file {:?}: {e}", path.display().to_string()));
            Ok(Some(api::decode::yaml(&text).map_err(failed)?.tree).filter(|t| !t.is_null()))
        }
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(Error::other(format!("error loading config file {:?}: {e}", path.display().to_string()))),
    }
}

/// All files as one: of an entry by name, and of the current context, the first wins.
fn merged(global: &Global) -> Result<Value> {
    let mut all = empty();
    for path in files(global) {
        let Some(config) = read(&path)? else { continue };
        for section in ["clusters", "contexts", "users"] {
            for entry in list(&config, &format!("/{section}")) {
                if find(&all, section, text(entry, "/name")).is_none()
                    && let Some(entries) = all[section].as_array_mut()
                {
                    entries.push(entry.clone());
                }
            }
        }
        if text(&all, "/current-context").is_empty() {
            all["current-context"] = text(&config, "/current-context").into();
        }
    }
    for section in ["clusters", "contexts", "users"] {
        if let Some(entries) = all[section].as_array_mut() {
            entries.sort_by_key(|e| text(e, "/name").to_owned());
        }
    }
    if let Some(context) = &global.context {
        all["current-context"] = context.as_str().into();
    }
    Ok(all)
}

fn find(config: &Value, section: &str, name: &str) -> Option<usize> {
    list(config, &format!("/{section}")).iter().position(|e| text(e, "/name") == name)
}

/// Changes the file that has what is to change (`holds`), or the first one.
fn change(
    global: &Global,
    holds: impl Fn(&Value) -> bool,
    edit: impl FnOnce(&mut Value) -> Result<()>,
) -> Result<PathBuf> {
    let files = files(global);
    let mut chosen = files.first().cloned().unwrap_or_default();
    for file in &files {
        if read(file)?.is_some_and(|c| holds(&c)) {
            chosen = file.clone();
            break;
        }
    }
    let mut config = read(&chosen)?.unwrap_or_else(empty);
    edit(&mut config)?;
    write(&chosen, &config)?;
    Ok(chosen)
}

/// Whole or not at all, and for the owner only.
fn write(path: &PathBuf, config: &Value) -> Result<()> {
    use std::io::Write;
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).map_or_else(|| PathBuf::from("."), PathBuf::from);
    std::fs::create_dir_all(&folder)?;
    let mut file = tempfile::NamedTempFile::new_in(&folder)?;
    file.write_all(yaml::to_string(config).as_bytes())?;
    file.persist(path).map_err(|e| Error::other(e.to_string()))?;
    Ok(())
}

/// The entry of a section, made where there is none; and whether it was there.
fn entry<'a>(config: &'a mut Value, section: &str, name: &str) -> Result<(&'a mut Value, bool)> {
    let key = section.trim_end_matches('s');
    let known = find(config, section, name);
    if !config[section].is_array() {
        config[section] = json!([]);
    }
    let bad = || Error::other(format!("the kubeconfig's {section} are no list"));
    let entries = config[section].as_array_mut().ok_or_else(bad)?;
    let at = known.unwrap_or_else(|| {
        entries.push(json!({"name": name, (key): {}}));
        entries.len() - 1
    });
    if !entries[at][key].is_object() {
        entries[at][key] = json!({});
    }
    Ok((&mut entries[at][key], known.is_some()))
}

fn remove(config: &mut Value, section: &str, name: &str) -> Result<()> {
    let at = find(config, section, name);
    match (at, config[section].as_array_mut()) {
        (Some(at), Some(entries)) => {
            entries.remove(at);
            Ok(())
        }
        _ => {
            Err(Error::other(format!("cannot delete {} {name}, not in the kubeconfig", section.trim_end_matches('s'))))
        }
    }
}

pub fn run(global: &Global, flags: Flags) -> Result<()> {
    let holding = |section: &'static str, name: &str| {
        let name = name.to_owned();
        move |c: &Value| find(c, section, &name).is_some()
    };
    match flags.what {
        What::View { raw, minify, flatten, output } => {
            return view(global, raw, minify, flatten, output.output.as_deref());
        }
        What::CurrentContext => match text(&merged(global)?, "/current-context") {
            "" => return Err(Error::other("current-context is not set")),
            name => println!("{name}"),
        },
        What::GetContexts { name, no_headers, output } => {
            return contexts(global, name.as_deref(), no_headers, output.output.as_deref());
        }
        What::GetClusters => names(global, "clusters")?,
        What::GetUsers => names(global, "users")?,
        What::UseContext { name } => {
            if find(&merged(global)?, "contexts", &name).is_none() {
                return Err(Error::other(format!("no context exists with the name: {name:?}")));
            }
            change(
                global,
                |c| !text(c, "/current-context").is_empty(),
                |c| {
                    c["current-context"] = name.as_str().into();
                    Ok(())
                },
            )?;
            println!("Switched to context {name:?}.");
        }
        What::SetContext { name, current } => {
            let name = match (name, current) {
                (Some(name), false) => name,
                (None, true) => text(&merged(global)?, "/current-context").to_owned(),
                _ => return Err(Error::other("you must specify a non-empty context name or --current")),
            };
            let mut modified = false;
            change(global, holding("contexts", &name), |c| {
                let (context, known) = entry(c, "contexts", &name)?;
                modified = known;
                let user = global.user.last().cloned();
                for (key, value) in [("cluster", &global.cluster), ("user", &user), ("namespace", &global.namespace)] {
                    if let Some(value) = value {
                        context[key] = value.as_str().into();
                    }
                }
                Ok(())
            })?;
            println!("Context {name:?} {}.", if modified { "modified" } else { "created" });
        }
        What::SetCluster { name, embed_certs, proxy_url } => {
            change(global, holding("clusters", &name), |c| {
                let (cluster, _) = entry(c, "clusters", &name)?;
                for (key, value) in [
                    ("server", &global.server),
                    ("tls-server-name", &global.tls_server_name),
                    ("proxy-url", &proxy_url),
                ] {
                    if let Some(value) = value {
                        cluster[key] = value.as_str().into();
                    }
                }
                file_field(cluster, "certificate-authority", global.certificate_authority.as_deref(), embed_certs)?;
                if global.insecure_skip_tls_verify {
                    cluster["insecure-skip-tls-verify"] = true.into();
                }
                Ok(())
            })?;
            println!("Cluster {name:?} set.");
        }
        What::SetCredentials { name, embed_certs, username, password } => {
            change(global, holding("users", &name), |c| {
                let (user, _) = entry(c, "users", &name)?;
                for (key, value) in [("token", &global.token), ("username", &username), ("password", &password)] {
                    if let Some(value) = value {
                        user[key] = value.as_str().into();
                    }
                }
                file_field(user, "client-certificate", global.client_certificate.as_deref(), embed_certs)?;
                file_field(user, "client-key", global.client_key.as_deref(), embed_certs)
            })?;
            println!("User {name:?} set.");
        }
        What::RenameContext { from, to } => {
            let all = merged(global)?;
            if find(&all, "contexts", &to).is_some() {
                return Err(Error::other(format!(
                    "cannot rename the context {from:?}, the context {to:?} already exists"
                )));
            }
            if find(&all, "contexts", &from).is_none() {
                return Err(Error::other(format!("cannot rename the context {from:?}, it's not in the kubeconfig")));
            }
            change(global, holding("contexts", &from), |c| {
                if let Some(at) = find(c, "contexts", &from) {
                    c["contexts"][at]["name"] = to.as_str().into();
                }
                if text(c, "/current-context") == from {
                    c["current-context"] = to.as_str().into();
                }
                Ok(())
            })?;
            println!("Context {from:?} renamed to {to:?}.");
        }
        What::DeleteContext { name } => {
            let file = change(global, holding("contexts", &name), |c| remove(c, "contexts", &name))?;
            println!("deleted context {name} from {}", file.display());
        }
        What::DeleteCluster { name } => {
            let file = change(global, holding("clusters", &name), |c| remove(c, "clusters", &name))?;
            println!("deleted cluster {name} from {}", file.display());
        }
        What::DeleteUser { name } => {
            let file = change(global, holding("users", &name), |c| remove(c, "users", &name))?;
            println!("deleted user {name} from {}", file.display());
        }
        What::Set { path, value } => {
            change(
                global,
                |_| true,
                |c| {
                    *field(c, &path)? = value.as_str().into();
                    Ok(())
                },
            )?;
            println!("Property {path:?} set.");
        }
        What::Unset { path } => {
            change(
                global,
                |_| true,
                |c| {
                    *field(c, &path)? = Value::Null;
                    if let Some(all) = c.as_object_mut() {
                        all.retain(|_, v| !v.is_null());
                    }
                    Ok(())
                },
            )?;
            println!("Property {path:?} unset.");
        }
    }
    Ok(())
}

/// `users.admin.token`: a place in the file.
fn field<'a>(config: &'a mut Value, path: &str) -> Result<&'a mut Value> {
    let mut parts = path.split('.');
    let first = parts.next().unwrap_or_default();
    if !matches!(first, "clusters" | "contexts" | "users") {
        return Ok(path.split('.').fold(config, |v, p| &mut v[p]));
    }
    let name = parts.next().ok_or_else(|| Error::other(format!("unable to set {path}: a name is missing")))?;
    let (at, _) = entry(config, first, name)?;
    Ok(parts.fold(at, |v, p| &mut v[p]))
}

/// A file's name, or its contents under `-data`.
fn file_field(entry: &mut Value, key: &str, path: Option<&str>, embed: bool) -> Result<()> {
    use base64::Engine;
    let Some(path) = path else { return Ok(()) };
    let data = format!("{key}-data");
    if embed {
        let bytes =
            std::fs::read(path).map_err(|e| Error::other(format!("could not read {key} data from {path}: {e}")))?;
        entry[data.as_str()] = base64::engine::general_purpose::STANDARD.encode(bytes).into();
        entry.as_object_mut().map(|e| e.remove(key));
    } else {
        entry[key] = std::path::absolute(path)?.display().to_string().into();
        entry.as_object_mut().map(|e| e.remove(&data));
    }
    Ok(())
}

fn names(global: &Global, section: &str) -> Result<()> {
    println!("NAME");
    list(&merged(global)?, &format!("/{section}")).iter().for_each(|e| println!("{}", text(e, "/name")));
    Ok(())
}

fn contexts(global: &Global, name: Option<&str>, no_headers: bool, output: Option<&str>) -> Result<()> {
    let all = merged(global)?;
    if let Some(name) = name.filter(|n| find(&all, "contexts", n).is_none()) {
        return Err(Error::other(format!("context {name} not found")));
    }
    let shown = list(&all, "/contexts").iter().filter(|c| name.is_none_or(|n| n == text(c, "/name")));
    match output {
        Some("name") => shown.for_each(|c| println!("{}", text(c, "/name"))),
        None => {
            let mut out =
                if no_headers { String::new() } else { "CURRENT\tNAME\tCLUSTER\tAUTHINFO\tNAMESPACE\n".to_owned() };
            for c in shown {
                let mark = if text(c, "/name") == text(&all, "/current-context") { "*" } else { "" };
                let of = |key: &str| text(c, &format!("/context/{key}"));
                out +=
                    &format!("{mark}\t{}\t{}\t{}\t{}\n", text(c, "/name"), of("cluster"), of("user"), of("namespace"));
            }
            print!("{}", tabs::table(&out));
        }
        Some(other) => return Err(Error::other(format!("output must be one of '' or 'name': {other}"))),
    }
    Ok(())
}

fn view(global: &Global, raw: bool, minify: bool, flatten: bool, output: Option<&str>) -> Result<()> {
    let mut all = merged(global)?;
    if minify {
        let current = text(&all, "/current-context").to_owned();
        let Some(at) = find(&all, "contexts", &current) else {
            return Err(Error::other("current-context must exist in order to minify"));
        };
        let context = all["contexts"][at].clone();
        for (section, name) in [
            ("contexts", current.as_str()),
            ("clusters", text(&context, "/context/cluster")),
            ("users", text(&context, "/context/user")),
        ] {
            if let Some(entries) = all[section].as_array_mut() {
                entries.retain(|e| text(e, "/name") == name);
            }
        }
    }
    if flatten {
        for (section, key, field) in [
            ("clusters", "cluster", "certificate-authority"),
            ("users", "user", "client-certificate"),
            ("users", "user", "client-key"),
        ] {
            for e in all[section].as_array_mut().into_iter().flatten() {
                let path = text(e, &format!("/{key}/{field}")).to_owned();
                file_field(&mut e[key], field, Some(path.as_str()).filter(|p| !p.is_empty()), true)?;
            }
        }
    }
    if !raw && !flatten {
        hide(&mut all);
    }
    match Printer::parse(output.or(Some("yaml")), false)? {
        Some(mut printer) => print!("{}", printer.print(&all)?),
        None => print!("{}", yaml::to_string(&all)),
    }
    Ok(())
}

/// What is secret, as kubectl hides it.
fn hide(config: &mut Value) {
    for c in config["clusters"].as_array_mut().into_iter().flatten() {
        if let Some(data) = c["cluster"].get_mut("certificate-authority-data") {
            *data = "DATA+OMITTED".into();
        }
    }
    for u in config["users"].as_array_mut().into_iter().flatten() {
        for (key, shown) in [
            ("client-certificate-data", "DATA+OMITTED"),
            ("client-key-data", "DATA+OMITTED"),
            ("token", "REDACTED"),
            ("password", "REDACTED"),
        ] {
            if let Some(data) = u["user"].get_mut(key) {
                *data = shown.into();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contexts_change_and_nothing_is_lost() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config");
        std::fs::write(&path, "contexts: [{name: a, context: {cluster: c, user: u, x-own: 1}}]\ncurrent-context: a\n")
            .unwrap();
        let global = |namespace: Option<&str>| Global {
            kubeconfig: Some(path.display().to_string()),
            namespace: namespace.map(str::to_owned),
            ..Global::default()
        };
        let run = |global: Global, what: What| super::run(&global, Flags { what });
        run(global(Some("n")), What::SetContext { name: None, current: true }).unwrap();
        run(global(None), What::SetContext { name: Some("b".into()), current: false }).unwrap();
        run(global(None), What::UseContext { name: "b".into() }).unwrap();
        run(global(None), What::Set { path: "users.u.token".into(), value: "t".into() }).unwrap();
        let config = read(&path).unwrap().unwrap();
        assert_eq!(
            config["contexts"][0]["context"],
            json!({"cluster": "c", "user": "u", "namespace": "n", "x-own": 1})
        );
        assert_eq!((text(&config, "/current-context"), text(&config, "/users/0/user/token")), ("b", "t"));
        assert!(run(global(None), What::UseContext { name: "zz".into() }).is_err());
        run(global(None), What::DeleteContext { name: "a".into() }).unwrap();
        assert_eq!(list(&read(&path).unwrap().unwrap(), "/contexts").len(), 1);
    }
}
