//! A container's environment. Upstream's `makeEnvironmentVariables` and `envvars.FromServices`.

use std::collections::BTreeMap;
use std::sync::Arc;

use api::Object;
use api::k8s_openapi::api::core::v1::{ConfigMap, Container, EnvVarSource, Pod, PodSpec, Secret, Service};

use super::expand::expand;
use super::fields;
use crate::{Error, Result};

/// The config maps and secrets of the pod's namespace, as the node's cache has them.
pub(crate) trait Lookup {
    fn config_map(&self, name: &str) -> Option<Arc<Object>>;
    fn secret(&self, name: &str) -> Option<Arc<Object>>;
}

/// In the order in which they were first set; a later value replaces an earlier.
#[derive(Default)]
struct Env {
    list: Vec<(String, String)>,
    index: BTreeMap<String, usize>,
}

impl Env {
    fn set(&mut self, name: &str, value: String) {
        match self.index.get(name) {
            Some(i) => self.list[*i].1 = value,
            None => {
                self.index.insert(name.into(), self.list.len());
                self.list.push((name.into(), value));
            }
        }
    }
    fn get(&self, name: &str) -> Option<&str> {
        self.index.get(name).map(|i| self.list[*i].1.as_str())
    }
}

/// Errors with the text of `CreateContainerConfigError`.
pub(crate) fn variables(
    pod: &Pod,
    spec: &PodSpec,
    c: &Container,
    facts: &fields::Facts,
    lookup: &dyn Lookup,
    services: &[(String, String)],
) -> Result<Vec<(String, String)>> {
    let namespace = pod.metadata.namespace.as_deref().unwrap_or("");
    let mut env = Env::default();
    for from in c.env_from.iter().flatten() {
        let prefix = from.prefix.as_deref().unwrap_or("");
        if let Some(r) = &from.config_map_ref {
            match lookup.config_map(&r.name) {
                Some(o) => {
                    for (k, v) in o.view::<ConfigMap>()?.data.iter().flatten() {
                        env.set(&format!("{prefix}{k}"), v.clone());
                    }
                }
                None if r.optional == Some(true) => {}
                None => return Err(Error::config(format!("configmap {:?} not found", r.name))),
            }
        }
        if let Some(r) = &from.secret_ref {
            match lookup.secret(&r.name) {
                Some(o) => {
                    for (k, v) in o.view::<Secret>()?.data.iter().flatten() {
                        env.set(&format!("{prefix}{k}"), String::from_utf8_lossy(&v.0).into_owned());
                    }
                }
                None if r.optional == Some(true) => {}
                None => return Err(Error::config(format!("secret {:?} not found", r.name))),
            }
        }
    }
    let service = |name: &str| services.iter().find(|(k, _)| k == name).map(|(_, v)| v.as_str());
    for var in c.env.iter().flatten() {
        let value = match (&var.value, &var.value_from) {
            (Some(v), _) if !v.is_empty() => Some(expand(v, |n| env.get(n).or_else(|| service(n)))),
            (_, Some(from)) => source(pod, spec, c, facts, lookup, namespace, from)?,
            _ => Some(String::new()),
        };
        if let Some(v) = value {
            env.set(&var.name, v);
        }
    }
    for (k, v) in services {
        if env.get(k).is_none() {
            env.set(k, v.clone());
        }
    }
    Ok(env.list)
}

/// `None`: optional, and not there.
fn source(
    pod: &Pod,
    spec: &PodSpec,
    c: &Container,
    facts: &fields::Facts,
    lookup: &dyn Lookup,
    namespace: &str,
    from: &EnvVarSource,
) -> Result<Option<String>> {
    if let Some(r) = &from.field_ref {
        return fields::field(pod, facts, &r.field_path).map(Some);
    }
    if let Some(r) = &from.resource_field_ref {
        return fields::resource(spec, facts, &c.name, r).map(Some);
    }
    if let Some(r) = &from.config_map_key_ref {
        let optional = r.optional == Some(true);
        let Some(o) = lookup.config_map(&r.name) else {
            return absent(optional, || format!("configmap {:?} not found", r.name));
        };
        return match o.view::<ConfigMap>()?.data.as_ref().and_then(|d| d.get(&r.key)) {
            Some(v) => Ok(Some(v.clone())),
            None => absent(optional, || format!("couldn't find key {} in ConfigMap {namespace}/{}", r.key, r.name)),
        };
    }
    if let Some(r) = &from.secret_key_ref {
        let optional = r.optional == Some(true);
        let Some(o) = lookup.secret(&r.name) else {
            return absent(optional, || format!("secret {:?} not found", r.name));
        };
        return match o.view::<Secret>()?.data.as_ref().and_then(|d| d.get(&r.key)) {
            Some(v) => Ok(Some(String::from_utf8_lossy(&v.0).into_owned())),
            None => absent(optional, || format!("couldn't find key {} in Secret {namespace}/{}", r.key, r.name)),
        };
    }
    Ok(Some(String::new()))
}

fn absent(optional: bool, why: impl FnOnce() -> String) -> Result<Option<String>> {
    if optional { Ok(None) } else { Err(Error::config(why())) }
}

/// The variables of the services that a pod sees: those of its namespace if `links`, and always `default/kubernetes`.
pub(crate) fn services(all: &[Arc<Object>], namespace: &str, links: bool) -> Vec<(String, String)> {
    let mut out = Vec::new();
    for o in all {
        let master = o.namespace() == "default" && o.name() == "kubernetes";
        let shadowed = || links && all.iter().any(|x| x.namespace() == namespace && x.name() == "kubernetes");
        let ours = links && o.namespace() == namespace;
        if !ours && (!master || shadowed()) {
            continue;
        }
        if let Ok(s) = o.view::<Service>() {
            one_service(s, &mut out);
        }
    }
    out
}

fn one_service(s: &Service, out: &mut Vec<(String, String)>) {
    let Some(spec) = &s.spec else { return };
    let ip = spec.cluster_ip.as_deref().unwrap_or("");
    let Some(ports) = spec.ports.as_ref().filter(|p| !p.is_empty() && !matches!(ip, "" | "None")) else { return };
    let upper = |t: &str| t.replace('-', "_").to_uppercase();
    let name = upper(s.metadata.name.as_deref().unwrap_or(""));
    let host = if ip.contains(':') { format!("[{ip}]") } else { ip.to_owned() };
    let mut put = |k: String, v: String| out.push((k, v));
    put(format!("{name}_SERVICE_HOST"), ip.into());
    put(format!("{name}_SERVICE_PORT"), ports[0].port.to_string());
    for p in ports {
        if let Some(n) = p.name.as_deref().filter(|n| !n.is_empty()) {
            put(format!("{name}_SERVICE_PORT_{}", upper(n)), p.port.to_string());
        }
    }
    for (i, p) in ports.iter().enumerate() {
        let protocol = p.protocol.as_deref().filter(|p| !p.is_empty()).unwrap_or("TCP");
        let url = format!("{}://{host}:{}", protocol.to_lowercase(), p.port);
        if i == 0 {
            put(format!("{name}_PORT"), url.clone());
        }
        let prefix = format!("{name}_PORT_{}_{}", p.port, protocol.to_uppercase());
        put(prefix.clone(), url);
        put(format!("{prefix}_PROTO"), protocol.to_lowercase());
        put(format!("{prefix}_PORT"), p.port.to_string());
        put(format!("{prefix}_ADDR"), ip.into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::{Draft, Resource};
    use serde_json::json;

    struct Maps;
    impl Lookup for Maps {
        fn config_map(&self, name: &str) -> Option<Arc<Object>> {
            let tree = json!({"metadata": {"name": "cm"}, "data": {"a": "1", "b": "2"}});
            (name == "cm").then(|| Arc::new(Draft::encode(&tree).unwrap().at(1)))
        }
        fn secret(&self, name: &str) -> Option<Arc<Object>> {
            let tree = json!({"metadata": {"name": "s"}, "data": {"password": "aHVudGVyMg=="}});
            (name == "s").then(|| Arc::new(Draft::encode(&tree).unwrap().at(1)))
        }
    }

    fn env_of(env: api::Value, env_from: api::Value) -> Result<Vec<(String, String)>> {
        let pod = Pod::from_value(json!({"metadata": {"name": "p", "namespace": "n"},
            "spec": {"containers": [{"name": "c", "env": env, "envFrom": env_from}]}}))
        .unwrap();
        let spec = pod.spec.clone().unwrap();
        let services = [("DB_SERVICE_HOST".to_owned(), "10.43.0.5".to_owned())];
        variables(&pod, &spec, &spec.containers[0], &fields::Facts::default(), &Maps, &services)
    }

    #[test]
    fn variables_come_from_all_their_sources() {
        let got = env_of(
            json!([
                {"name": "X", "value": "$(P_a)-$(DB_SERVICE_HOST)-$(NOPE)"},
                {"name": "S", "valueFrom": {"secretKeyRef": {"name": "s", "key": "password"}}},
                {"name": "O", "valueFrom": {"secretKeyRef": {"name": "none", "key": "k", "optional": true}}},
                {"name": "N", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
            ]),
            json!([{"prefix": "P_", "configMapRef": {"name": "cm"}}]),
        )
        .unwrap();
        let want = [
            ("P_a", "1"),
            ("P_b", "2"),
            ("X", "1-10.43.0.5-$(NOPE)"),
            ("S", "hunter2"),
            ("N", "p"),
            ("DB_SERVICE_HOST", "10.43.0.5"),
        ];
        assert_eq!(got.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect::<Vec<_>>(), want);
    }

    #[test]
    fn what_is_missing_is_named_as_upstream_does() {
        for (env, want) in [
            (json!({"configMapKeyRef": {"name": "no", "key": "k"}}), "configmap \"no\" not found"),
            (json!({"configMapKeyRef": {"name": "cm", "key": "k"}}), "couldn't find key k in ConfigMap n/cm"),
            (json!({"secretKeyRef": {"name": "s", "key": "k"}}), "couldn't find key k in Secret n/s"),
        ] {
            let e = env_of(json!([{"name": "X", "valueFrom": env}]), json!([])).unwrap_err();
            assert_eq!(e.to_string(), want);
        }
    }

    #[test]
    fn a_service_shows_as_upstreams_variables() {
        let tree = json!({"metadata": {"name": "redis-master", "namespace": "n"},
            "spec": {"clusterIP": "10.43.0.11", "ports": [{"port": 6379, "protocol": "TCP", "name": "main"}]}});
        let all = [Arc::new(Draft::encode(&tree).unwrap().at(1))];
        let got = services(&all, "n", true);
        for (k, v) in [
            ("REDIS_MASTER_SERVICE_HOST", "10.43.0.11"),
            ("REDIS_MASTER_SERVICE_PORT", "6379"),
            ("REDIS_MASTER_SERVICE_PORT_MAIN", "6379"),
            ("REDIS_MASTER_PORT", "tcp://10.43.0.11:6379"),
            ("REDIS_MASTER_PORT_6379_TCP_PROTO", "tcp"),
            ("REDIS_MASTER_PORT_6379_TCP_ADDR", "10.43.0.11"),
        ] {
            assert!(got.contains(&(k.into(), v.into())), "{k}");
        }
        assert!(services(&all, "n", false).is_empty());
    }
}
