//! Gives every pod an account and its token: upstream's `plugin/pkg/admission/serviceaccount`.

use std::sync::Arc;
use std::time::Duration;

use api::{Object, Status, Value};
use async_trait::async_trait;
use rand::Rng;
use serde_json::{Map, json};

use super::tree::{is_absent, is_mirror, items, list, object, text};
use super::{Operation, Plugin, Write, is};
use crate::{Attributes, Lookup, Verb};

const DEFAULT: &str = "default";
const VOLUME: &str = "kube-api-access-";
const MOUNT_PATH: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
/// How long a create waits for the account that a controller makes in every new namespace.
const PATIENCE: Duration = Duration::from_secs(2);

pub struct ServiceAccount {
    lookup: Arc<dyn Lookup>,
}

impl ServiceAccount {
    pub fn new(lookup: Arc<dyn Lookup>) -> Self {
        ServiceAccount { lookup }
    }

    async fn account(&self, namespace: &str, name: &str) -> Option<Arc<Object>> {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            let found = self.lookup.get("serviceaccounts", namespace, name);
            if found.is_some() || name != DEFAULT || tokio::time::Instant::now() >= deadline {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

/// Five letters and digits that form no word: `utilrand.String`.
fn suffix() -> String {
    const ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
    let mut rng = rand::rng();
    (0..5).map(|_| char::from(ALPHABET[rng.random_range(0..ALPHABET.len())])).collect()
}

/// What the token volume holds: `TokenVolumeSource`.
fn token_volume(name: &str) -> Value {
    json!({"name": name, "projected": {"defaultMode": 420, "sources": [
        {"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}},
        {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
        {"downwardAPI": {"items": [
            {"path": "namespace", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}}]}},
    ]}})
}

fn mount_token(spec: &mut Map<String, Value>) {
    let volumes = spec.get("volumes").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let existing = volumes
        .iter()
        .find(|v| v.get("projected").is_some_and(Value::is_object) && text(v, "/name").starts_with(VOLUME))
        .map(|v| text(v, "/name").to_owned());
    let name = existing.clone().unwrap_or_else(|| format!("{VOLUME}{}", suffix()));
    let mut needed = false;
    for key in ["initContainers", "containers"] {
        for container in spec.get_mut(key).and_then(Value::as_array_mut).into_iter().flatten() {
            if items(container, "/volumeMounts").iter().any(|m| text(m, "/mountPath") == MOUNT_PATH) {
                continue;
            }
            if let Some(mounts) = container.as_object_mut().and_then(|c| list(c, "volumeMounts")) {
                mounts.push(json!({"name": name, "mountPath": MOUNT_PATH, "readOnly": true}));
                needed = true;
            }
        }
    }
    if let (true, None, Some(volumes)) = (needed, existing, list(spec, "volumes")) {
        volumes.push(token_volume(&name));
    }
}

#[async_trait]
impl Plugin for ServiceAccount {
    fn name(&self) -> &'static str {
        "ServiceAccount"
    }
    fn handles(&self, a: &Attributes) -> bool {
        is(a, "", "pods") && matches!(a.verb, Verb::Create | Verb::Patch | Verb::Update)
    }

    async fn mutate(&self, write: &mut Write<'_>) -> Result<(), Status> {
        if write.operation() != Operation::Create || is_mirror(write.object) {
            return Ok(());
        }
        let namespace = &write.attributes.namespace;
        let name = match text(write.object, "/spec/serviceAccountName") {
            "" => DEFAULT.to_owned(),
            name => name.to_owned(),
        };
        let Some(account) = self.account(namespace, &name).await else {
            return Err(write.refuse(format!(
                "error looking up service account {namespace}/{name}: serviceaccount {name:?} not found"
            )));
        };
        let account = account.tree();
        let Some(spec) = object(write.object, "spec") else { return Ok(()) };
        spec.insert("serviceAccountName".into(), json!(name));
        spec.insert("serviceAccount".into(), json!(name));
        let automount = |v: Option<&Value>| v.and_then(Value::as_bool);
        let wanted = automount(spec.get("automountServiceAccountToken"))
            .or_else(|| automount(account.get("automountServiceAccountToken")))
            .unwrap_or(true);
        if wanted {
            mount_token(spec);
        }
        let secrets = items(&account, "/imagePullSecrets");
        let none =
            is_absent(spec, "imagePullSecrets") || spec["imagePullSecrets"].as_array().is_some_and(Vec::is_empty);
        if none && !secrets.is_empty() {
            spec.insert("imagePullSecrets".into(), json!(secrets));
        }
        Ok(())
    }

    async fn validate(&self, write: &mut Write<'_>) -> Result<(), Status> {
        if write.operation() != Operation::Create || !is_mirror(write.object) {
            return Ok(());
        }
        let volumes = items(write.object, "/spec/volumes");
        let projects = |v: &Value, what: &str| items(v, "/projected/sources").iter().any(|s| s.get(what).is_some());
        if !text(write.object, "/spec/serviceAccountName").is_empty() {
            Err(write.refuse("a mirror pod may not reference service accounts"))
        } else if volumes.iter().any(|v| v.get("secret").is_some() || projects(v, "secret")) {
            Err(write.refuse("a mirror pod may not reference secrets"))
        } else if volumes.iter().any(|v| projects(v, "serviceAccountToken")) {
            Err(write.refuse("a mirror pod may not use ServiceAccountToken volume projections"))
        } else {
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{attributes, run};
    use super::*;
    use crate::User;
    use crate::lookup::fake::Cluster;

    fn fixture() -> (Arc<Cluster>, ServiceAccount, Attributes) {
        let cluster = Arc::new(Cluster::default());
        cluster.put(
            "serviceaccounts",
            json!({"metadata": {"name": "default", "namespace": "ns"}, "imagePullSecrets": [{"name": "pull"}]}),
        );
        (cluster.clone(), ServiceAccount::new(cluster), attributes("pods", "ns", &User::system("t")))
    }

    #[tokio::test]
    async fn a_pod_gets_an_account_and_its_token() {
        let (_, plugin, a) = fixture();
        let own = json!({"name": "own", "mountPath": MOUNT_PATH});
        let pod = json!({"metadata": {"name": "p"}, "spec": {
            "initContainers": [{"name": "i"}],
            "containers": [{"name": "a"}, {"name": "b", "volumeMounts": [own]}]}});
        let pod = run(&plugin, &a, pod, None).await.unwrap();
        let spec = &pod["spec"];
        assert_eq!((text(spec, "/serviceAccountName"), text(spec, "/serviceAccount")), ("default", "default"));
        assert_eq!(spec["imagePullSecrets"], json!([{"name": "pull"}]));
        let volume = text(spec, "/volumes/0/name");
        assert!(volume.starts_with(VOLUME) && volume.len() == VOLUME.len() + 5, "{volume}");
        for container in ["/initContainers/0", "/containers/0"] {
            let mounts = items(spec, &format!("{container}/volumeMounts"));
            assert_eq!(mounts, [json!({"name": volume, "mountPath": MOUNT_PATH, "readOnly": true})]);
        }
        assert_eq!(items(spec, "/containers/1/volumeMounts").len(), 1, "a mount of its own is left alone");

        let again = run(&plugin, &a, pod.clone(), None).await.unwrap();
        assert_eq!(again, pod, "admitting twice changes nothing more");
    }

    #[tokio::test]
    async fn a_pod_or_account_may_decline_the_token() {
        let (cluster, plugin, a) = fixture();
        let bare = json!({"metadata": {"namespace": "ns", "name": "bare"}, "automountServiceAccountToken": false});
        cluster.put("serviceaccounts", bare);
        for (spec, mounted) in [
            (json!({"automountServiceAccountToken": false}), false),
            (json!({"serviceAccountName": "bare"}), false),
            (json!({"serviceAccountName": "bare", "automountServiceAccountToken": true}), true),
        ] {
            let mut pod = json!({"metadata": {"name": "p"}, "spec": spec});
            pod["spec"]["containers"] = json!([{"name": "c"}]);
            let pod = run(&plugin, &a, pod, None).await.unwrap();
            assert_eq!(pod.pointer("/spec/volumes").is_some(), mounted, "{pod}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_account_must_be_there_though_the_default_may_come_late() {
        let (cluster, plugin, mut a) = fixture();
        let pod = |account: &str| json!({"metadata": {"name": "p"}, "spec": {"serviceAccountName": account}});
        let e = run(&plugin, &a, pod("gone"), None).await.unwrap_err();
        assert_eq!(
            e.message,
            r#"pods "p" is forbidden: error looking up service account ns/gone: serviceaccount "gone" not found"#
        );
        a.namespace = "new".into();
        let later = async {
            tokio::time::sleep(Duration::from_millis(500)).await;
            cluster.put("serviceaccounts", json!({"metadata": {"name": "default", "namespace": "new"}}));
        };
        let (made, ()) = tokio::join!(run(&plugin, &a, pod(""), None), later);
        assert!(made.is_ok());
    }
}
