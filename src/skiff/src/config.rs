//! The config file: YAML whose keys are flags, as k3s has it. A flag on the command line wins over the environment, and that
//! over the file; lists are the flag repeated.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde_yaml::Value;

const DEFAULT: &str = "/etc/skiff/config.yaml";

/// The arguments with those of the config file put in, for `skiff server` and `skiff agent`.
pub fn with_file(args: Vec<OsString>) -> Result<Vec<OsString>> {
    whole(args).map(unwrapped)
}

/// `--kube-apiserver-arg=key=value`, k3s's way to say `--key=value`.
fn unwrapped(args: Vec<OsString>) -> Vec<OsString> {
    const WRAPPER: &str = "--kube-apiserver-arg";
    let mut args = args.into_iter();
    let mut out = Vec::new();
    while let Some(arg) = args.next() {
        let text = arg.to_string_lossy();
        let inner = match text.strip_prefix(WRAPPER) {
            Some("") => args.next().map(|a| a.to_string_lossy().into_owned()),
            Some(rest) => rest.strip_prefix('=').map(str::to_owned),
            None => None,
        };
        match inner {
            Some(inner) => out.push(format!("--{}", inner.trim_start_matches("--")).into()),
            None => out.push(arg),
        }
    }
    out
}

fn whole(args: Vec<OsString>) -> Result<Vec<OsString>> {
    if args.get(1).is_none_or(|a| a != "server" && a != "agent") {
        return Ok(args);
    }
    let (path, named) = match named_file(&args) {
        Some(path) => (path, true),
        None => (PathBuf::from(DEFAULT), false),
    };
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound && !named => return Ok(args),
        Err(e) => return Err(e).with_context(|| format!("config file {}", path.display())),
    };
    let given: Vec<String> = args.iter().map(|a| a.to_string_lossy().into_owned()).collect();
    let in_file = flags(&path, &text)?;
    let wanted = in_file.into_iter().filter(|(key, _)| {
        let flag = format!("--{key}");
        // a secret that was on the line is in a pipe now
        let flag =
            if given.iter().any(|a| a.starts_with(&format!("{flag}-file="))) { format!("{flag}-file") } else { flag };
        let on_line = given.iter().any(|a| *a == flag || a.starts_with(&format!("{flag}=")));
        !on_line && std::env::var_os(variable(key)).is_none()
    });
    let mut out = args[..2].to_vec();
    out.extend(wanted.map(|(key, value)| match value {
        Some(v) => OsString::from(format!("--{key}={v}")),
        None => OsString::from(format!("--{key}")),
    }));
    out.extend_from_slice(&args[2..]);
    Ok(out)
}

/// The environment variable of a flag.
fn variable(key: &str) -> String {
    match key {
        "server" | "join" => "SKIFF_URL".into(),
        _ => format!("SKIFF_{}", key.replace('-', "_").to_uppercase()),
    }
}

fn named_file(args: &[OsString]) -> Option<PathBuf> {
    let mut args = args.iter().map(|a| a.to_string_lossy());
    while let Some(a) = args.next() {
        if a == "--config" || a == "-c" {
            return args.next().map(|p| PathBuf::from(&*p));
        }
        if let Some(p) = a.strip_prefix("--config=") {
            return Some(p.into());
        }
    }
    std::env::var_os("SKIFF_CONFIG").map(PathBuf::from)
}

/// `(flag, value)` in the file's order; a switch that is on has no value.
fn flags(path: &Path, text: &str) -> Result<Vec<(String, Option<String>)>> {
    let document: Value = serde_yaml::from_str(text).with_context(|| format!("config file {}", path.display()))?;
    let map = match document {
        Value::Null => return Ok(Vec::new()),
        Value::Mapping(m) => m,
        _ => bail!("config file {}: expected `flag: value` lines", path.display()),
    };
    let mut out = Vec::new();
    for (key, value) in map {
        let Value::String(key) = key else { bail!("config file {}: a key is not text", path.display()) };
        match value {
            Value::Bool(true) => out.push((key, None)),
            Value::Bool(false) | Value::Null => {}
            Value::Sequence(items) => {
                for item in items {
                    out.push((key.clone(), Some(scalar(path, &key, item)?)));
                }
            }
            other => {
                let value = scalar(path, &key, other)?;
                out.push((key, Some(value)));
            }
        }
    }
    Ok(out)
}

fn scalar(path: &Path, key: &str, value: Value) -> Result<String> {
    match value {
        Value::String(s) => Ok(s),
        Value::Number(n) => Ok(n.to_string()),
        Value::Bool(b) => Ok(b.to_string()),
        _ => bail!("config file {}: {key}: expected a value or a list of values", path.display()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_of_the_api_server_are_our_own() {
        let args = ["skiff", "server", "--kube-apiserver-arg=audit-log-path=-", "--kube-apiserver-arg", "a=b", "--c"];
        let got = unwrapped(args.iter().map(OsString::from).collect());
        assert_eq!(got, ["skiff", "server", "--audit-log-path=-", "--a=b", "--c"]);
    }

    #[test]
    fn keys_become_flags() {
        let text = "node-name: edge-1\nnode-label:\n- a=b\n- c=d\ndisable-agent: true\nhttps-listen-port: 7443\n";
        let got = flags(Path::new("x"), text).unwrap();
        let got: Vec<_> = got.iter().map(|(k, v)| (k.as_str(), v.as_deref())).collect();
        assert_eq!(
            got,
            [
                ("node-name", Some("edge-1")),
                ("node-label", Some("a=b")),
                ("node-label", Some("c=d")),
                ("disable-agent", None),
                ("https-listen-port", Some("7443"))
            ]
        );
        assert!(flags(Path::new("x"), "a: {b: c}").is_err());
        assert!(flags(Path::new("x"), "- a").is_err());
    }
}
