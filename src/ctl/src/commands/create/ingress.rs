//! `create ingress`.

use api::Value;
use serde_json::json;

use super::{How, metadata, pairs};
use crate::error::{Error, Result};

#[derive(clap::Args)]
pub struct Ingress {
    name: String,
    /// HOST/PATH=SERVICE:PORT[,tls[=SECRET]]; a path that ends in * is a prefix
    #[arg(long)]
    rule: Vec<String>,
    /// SERVICE:PORT for what no rule takes
    #[arg(long)]
    default_backend: Option<String>,
    /// The ingress class
    #[arg(long)]
    class: Option<String>,
    /// KEY=VALUE
    #[arg(long)]
    annotation: Vec<String>,
    #[command(flatten)]
    pub how: How,
}

fn backend(text: &str) -> Option<Value> {
    let (service, port) = text.split_once(':')?;
    let port = match port.parse::<i32>() {
        Ok(number) => json!({"number": number}),
        Err(_) => json!({"name": port}),
    };
    (!service.is_empty()).then(|| json!({"service": {"name": service, "port": port}}))
}

impl Ingress {
    pub fn object(&self) -> Result<Value> {
        if self.rule.is_empty() && self.default_backend.is_none() {
            return Err(Error::other(
                "not enough information provided: every ingress has to either specify a default-backend (which catches all \
                 traffic) or a list of rules (which catch specific paths)",
            ));
        }
        let mut meta = metadata(&self.name);
        let annotations = pairs(&self.annotation, "annotation")?;
        if !annotations.is_empty() {
            meta["annotations"] = Value::Object(annotations.into_iter().map(|(k, v)| (k, v.into())).collect());
        }
        let mut spec = json!({});
        if let Some(class) = &self.class {
            spec["ingressClassName"] = class.as_str().into();
        }
        if let Some(text) = &self.default_backend {
            let default = backend(text);
            spec["defaultBackend"] =
                default.ok_or_else(|| Error::other("default-backend should be in format servicename:serviceport"))?;
        }
        let (mut hosts, mut tls): (Vec<(String, Vec<Value>)>, Vec<Value>) = (Vec::new(), Vec::new());
        for text in &self.rule {
            let rule = rule(text).ok_or_else(|| {
                Error::other(format!(
                    "rule {text} is invalid and should be in format host/path=svcname:svcport[,tls[=secret]]"
                ))
            })?;
            match hosts.iter_mut().find(|(host, _)| *host == rule.host) {
                Some((_, paths)) => paths.push(rule.path),
                None => hosts.push((rule.host.clone(), vec![rule.path])),
            }
            if let Some(secret) = rule.tls {
                let mut entry = json!({});
                if !rule.host.is_empty() {
                    entry["hosts"] = json!([rule.host]);
                }
                if !secret.is_empty() {
                    entry["secretName"] = secret.into();
                }
                tls.push(entry);
            }
        }
        let rules: Vec<Value> = hosts
            .into_iter()
            .map(|(host, paths)| {
                let mut rule = json!({"http": {"paths": paths}});
                if !host.is_empty() {
                    rule["host"] = host.into();
                }
                rule
            })
            .collect();
        for (key, all) in [("rules", rules), ("tls", tls)] {
            if !all.is_empty() {
                spec[key] = all.into();
            }
        }
        Ok(json!({
            "apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": meta, "spec": spec,
            "status": {"loadBalancer": {}},
        }))
    }
}

struct Rule {
    host: String,
    path: Value,
    /// With the secret, which may be none.
    tls: Option<String>,
}

fn rule(text: &str) -> Option<Rule> {
    let (from, to) = text.split_once('=')?;
    let (to, tls) = match to.split_once(',') {
        None => (to, None),
        Some((to, "tls")) => (to, Some(String::new())),
        Some((to, tls)) => (to, Some(tls.strip_prefix("tls=")?.to_owned())),
    };
    let slash = from.find('/')?;
    let (host, path) = from.split_at(slash);
    let (path, kind) = match path.strip_suffix('*') {
        Some(prefix) => (prefix, "Prefix"),
        None => (path, "Exact"),
    };
    let path = json!({"backend": backend(to)?, "path": path, "pathType": kind});
    Some(Rule { host: host.to_owned(), path, tls })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules() {
        let ingress = Ingress {
            name: "i".into(),
            rule: ["a.b/x*=svc:80,tls=s", "a.b/y=svc:http", "/=other:8080,tls"].map(str::to_owned).to_vec(),
            default_backend: None,
            class: Some("nginx".into()),
            annotation: vec!["k=v".into()],
            how: How::default(),
        };
        let object = ingress.object().unwrap();
        assert_eq!(
            object["spec"],
            json!({"ingressClassName": "nginx", "rules": [
                {"host": "a.b", "http": {"paths": [
                    {"backend": {"service": {"name": "svc", "port": {"number": 80}}}, "path": "/x", "pathType": "Prefix"},
                    {"backend": {"service": {"name": "svc", "port": {"name": "http"}}}, "path": "/y", "pathType": "Exact"}]}},
                {"http": {"paths": [{"backend": {"service": {"name": "other", "port": {"number": 8080}}}, "path": "/", "pathType": "Exact"}]}}],
                "tls": [{"hosts": ["a.b"], "secretName": "s"}, {}]})
        );
        for bad in ["a.b=svc:80", "a/b", "a/=svc", "a/=svc:80,x", "a/=:80"] {
            assert!(rule(bad).is_none(), "{bad}");
        }
    }
}
