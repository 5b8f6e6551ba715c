use serde_json::json;

use super::super::testing::{Scratch, attributes, kind_of};
use super::*;
use crate::User;
use crate::lookup::fake::Cluster;

/// What enforcing says of a pod, and the warnings.
async fn ask(cluster: &Arc<Cluster>, resource: &str, namespace: &str, tree: Value) -> (String, Vec<String>) {
    change(cluster, resource, namespace, tree, None).await
}

async fn change(
    cluster: &Arc<Cluster>,
    resource: &str,
    namespace: &str,
    mut tree: Value,
    old: Option<&Arc<Object>>,
) -> (String, Vec<String>) {
    let plugin = PodSecurity::new(cluster.clone());
    let mut attributes = attributes(resource, namespace, &User::system("tester"));
    attributes.name = tree["metadata"]["name"].as_str().unwrap_or_default().into();
    if resource == "deployments" {
        attributes.group = "apps".into();
    }
    let mut kind = kind_of(resource);
    Arc::get_mut(&mut kind).unwrap().group.clone_from(&attributes.group);
    let mut scratch = Scratch::default();
    let mut write = scratch.write(&attributes, &kind, &mut tree, old);
    assert!(plugin.handles(&attributes));
    let refused = plugin.validate(&mut write).await.err().map_or_else(String::new, |e| format!("{} {e}", e.code));
    (refused, scratch.warnings)
}

fn namespace(cluster: &Cluster, name: &str, labels: &[(&str, &str)]) -> Arc<Object> {
    let labels: serde_json::Map<_, _> = labels.iter().map(|(k, v)| (format!("{PREFIX}{k}"), json!(v))).collect();
    cluster.put("namespaces", json!({"metadata": {"name": name, "labels": labels}}))
}

fn pod(context: Value, spec: Value) -> Value {
    let mut tree = json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i", "securityContext": context}]}});
    for (k, v) in spec.as_object().into_iter().flatten() {
        tree["spec"][k] = v.clone();
    }
    tree
}

#[tokio::test]
async fn pods_are_held_to_their_namespaces_standard() {
    let cluster = Arc::new(Cluster::default());
    namespace(&cluster, "free", &[]);
    namespace(&cluster, "base", &[("enforce", "baseline"), ("warn", "restricted"), ("warn-version", "v1.24")]);
    namespace(&cluster, "strict", &[("enforce", "restricted")]);
    let bare = || pod(Value::Null, Value::Null);
    assert_eq!(
        ask(&cluster, "pods", "free", pod(json!({"privileged": true}), Value::Null)).await,
        (String::new(), vec![])
    );
    let all = "allowPrivilegeEscalation != false (container \"c\" must set securityContext.allowPrivilegeEscalation=false), \
               unrestricted capabilities (container \"c\" must set securityContext.capabilities.drop=[\"ALL\"]), runAsNonRoot \
               != true (pod or container \"c\" must set securityContext.runAsNonRoot=true), seccompProfile (pod or container \
               \"c\" must set securityContext.seccompProfile.type to \"RuntimeDefault\" or \"Localhost\")";
    let warned = format!("would violate PodSecurity \"restricted:v1.24\": {all}");
    assert_eq!(ask(&cluster, "pods", "base", bare()).await, (String::new(), vec![warned]));
    let refused = format!("403 pods \"p\" is forbidden: violates PodSecurity \"restricted:latest\": {all}");
    assert_eq!(ask(&cluster, "pods", "strict", bare()).await, (refused, vec![]));

    let good = json!({"allowPrivilegeEscalation": false, "runAsNonRoot": true, "capabilities": {"drop": ["ALL"], "add": ["NET_BIND_SERVICE"]},
        "seccompProfile": {"type": "RuntimeDefault"}});
    assert_eq!(ask(&cluster, "pods", "strict", pod(good.clone(), Value::Null)).await, (String::new(), vec![]));
    // what makes pods is not refused, and its maker is told
    let deployment = json!({"metadata": {"name": "d"}, "spec": {"template": bare()}});
    let (refused, warnings) = ask(&cluster, "deployments", "strict", deployment).await;
    assert_eq!((refused, warnings.len()), (String::new(), 1));
    assert_eq!(warnings[0], format!("would violate PodSecurity \"restricted:latest\": {all}"));

    for (context, spec, want) in [
        (
            json!({"privileged": true}),
            json!({"hostNetwork": true, "hostPID": true}),
            "host namespaces (hostNetwork=true, hostPID=true), privileged (container \"c\" must not set securityContext.privileged=true)",
        ),
        (
            json!({"capabilities": {"add": ["NET_RAW", "CHOWN"]}}),
            Value::Null,
            "non-default capabilities (container \"c\" must not include \"NET_RAW\" in securityContext.capabilities.add)",
        ),
        (
            Value::Null,
            json!({"volumes": [{"name": "v", "hostPath": {"path": "/"}}, {"name": "w", "emptyDir": {}}]}),
            "hostPath volumes (volume \"v\")",
        ),
        (
            Value::Null,
            json!({"initContainers": [{"name": "a", "ports": [{"hostPort": 80}]}, {"name": "b", "ports": [{"hostPort": 443}]}]}),
            "hostPort (containers \"a\", \"b\" use hostPorts 443, 80)",
        ),
        (
            json!({"procMount": "Unmasked"}),
            Value::Null,
            "procMount (container \"c\" must not set securityContext.procMount to \"Unmasked\")",
        ),
        (
            json!({"seLinuxOptions": {"type": "x", "role": "r"}}),
            json!({"securityContext": {"seLinuxOptions": {"user": "u"}}}),
            "seLinuxOptions (pod and container \"c\" set forbidden securityContext.seLinuxOptions: type \"x\"; user may not be set; role may not be set)",
        ),
        (
            json!({"seccompProfile": {"type": "Unconfined"}}),
            Value::Null,
            "seccompProfile (container \"c\" must not set securityContext.seccompProfile.type to \"Unconfined\")",
        ),
        (
            Value::Null,
            json!({"securityContext": {"sysctls": [{"name": "kernel.msgmax"}, {"name": "net.ipv4.tcp_rmem"}]}}),
            "forbidden sysctls (kernel.msgmax)",
        ),
        (
            json!({"appArmorProfile": {"type": "Unconfined"}}),
            Value::Null,
            "forbidden AppArmor profile (container \"c\" must not set AppArmor profile type to \"Unconfined\")",
        ),
        (
            json!({"windowsOptions": {"hostProcess": true}}),
            Value::Null,
            "hostProcess (container \"c\" must not set securityContext.windowsOptions.hostProcess=true)",
        ),
        (
            Value::Null,
            json!({"ephemeralContainers": [{"name": "e", "livenessProbe": {"httpGet": {"host": "h"}}}]}),
            "probe or lifecycle host (container \"e\" uses probe or lifecycle host \"h\")",
        ),
    ] {
        let (refused, _) = ask(&cluster, "pods", "base", pod(context, spec)).await;
        assert_eq!(refused, format!("403 pods \"p\" is forbidden: violates PodSecurity \"baseline:latest\": {want}"));
    }
    let root = pod(good, json!({"securityContext": {"runAsUser": 0}, "volumes": [{"name": "v", "nfs": {}}]}));
    let want = "restricted volume types (volume \"v\" uses restricted volume type \"nfs\"), runAsUser=0 (pod must not set runAsUser=0)";
    assert!(ask(&cluster, "pods", "strict", root).await.0.ends_with(want));
    // an update that changes no image is no matter
    let old = cluster.put("pods", bare());
    assert_eq!(change(&cluster, "pods", "strict", bare(), Some(&old)).await.0, "");
    let mut other = bare();
    other["spec"]["containers"][0]["image"] = json!("j");
    assert!(change(&cluster, "pods", "strict", other, Some(&old)).await.0.starts_with("403"));
}

#[tokio::test]
async fn labels_are_checked_and_tightening_tells_of_what_is_there() {
    let cluster = Arc::new(Cluster::default());
    let tree = |labels: &[(&str, &str)]| {
        let labels: serde_json::Map<_, _> = labels.iter().map(|(k, v)| (format!("{PREFIX}{k}"), json!(v))).collect();
        json!({"metadata": {"name": "n", "labels": labels}})
    };
    let of = async |labels: &[(&str, &str)], old: Option<&Arc<Object>>| {
        change(&cluster, "namespaces", "n", tree(labels), old).await
    };
    assert_eq!(
        of(&[("enforce", "strict"), ("warn-version", "1.2")], None).await.0,
        "422 Namespace \"n\" is invalid: [metadata.labels[pod-security.kubernetes.io/enforce]: Invalid value: \"strict\": must \
         be one of privileged, baseline, restricted, metadata.labels[pod-security.kubernetes.io/warn-version]: Invalid value: \
         \"1.2\": must be \"latest\" or \"v1.x\"]"
    );
    let wrong = namespace(&cluster, "n", &[("enforce", "strict")]);
    assert_eq!(of(&[("enforce", "strict")], Some(&wrong)).await.0, "", "it was wrong before");
    let old = namespace(&cluster, "n", &[]);
    for name in ["b", "a", "z"] {
        let mut tree = pod(Value::Null, json!({"hostNetwork": name != "z"}));
        tree["metadata"] = json!({"name": name, "namespace": "n"});
        cluster.put("pods", tree);
    }
    let (refused, warnings) = of(&[("enforce", "baseline")], Some(&old)).await;
    assert_eq!(refused, "");
    assert_eq!(
        warnings,
        [
            "existing pods in namespace \"n\" violate the new PodSecurity enforce level \"baseline:latest\"",
            "a (and 1 other pod): host namespaces"
        ]
    );
    let now = namespace(&cluster, "n", &[("enforce", "baseline")]);
    assert_eq!(of(&[], Some(&now)).await, (String::new(), vec![]));
}
