//! Real manifests, from their text to what is stored.

use serde_json::Value;

use super::{registry, validate_metadata};
use crate::{convert, decode, schema};

/// Decodes, converts, checks, defaults, prepares and validates; panics with what is wrong.
fn stored(manifest: &str) -> Vec<Value> {
    let registry = registry();
    let documents = decode::yaml_documents(manifest.as_bytes()).expect("the manifest is YAML");
    let trees = documents.into_iter().map(|d| d.tree).filter(|t| !t.is_null());
    trees
        .map(|mut tree| {
            let (group, version, kind) = decode::gvk(&tree);
            let (group, version, kind) = (group.to_owned(), version.to_owned(), kind.to_owned());
            let kind = registry.kind(&group, &version, &kind).unwrap_or_else(|| panic!("{group}/{version} {kind}"));
            convert::to_storage(kind, &group, &version, &mut tree);
            let schema = schema::find(&kind.schema).expect("a kind has a schema");
            let unknown = schema::check(schema, &mut tree).expect("the tree fits");
            assert_eq!(unknown, Vec::<String>::new());
            let metadata = tree["metadata"].as_object_mut().expect("metadata");
            metadata.insert("uid".into(), "u".into());
            if kind.namespaced() {
                metadata.entry("namespace").or_insert("default".into());
            }
            kind.strategy.default(&mut tree);
            kind.strategy.prepare_create(&mut tree);
            let mut errors = validate_metadata(kind, &tree);
            errors.extend(kind.strategy.validate(&tree));
            let texts: Vec<String> = errors.iter().map(ToString::to_string).collect();
            assert_eq!(texts, Vec::<String>::new(), "{tree}");
            assert_eq!(schema::check(schema, &mut tree), Ok(Vec::new()), "defaults fit the schema");
            tree
        })
        .collect()
}

#[test]
fn an_old_deployment_with_its_service_and_config() {
    let trees = stored(
        r#"
apiVersion: v1
kind: ConfigMap
metadata: {name: web}
data: {nginx.conf: "worker_processes 1;"}
---
apiVersion: v1
kind: Service
metadata: {name: web, labels: {app: web}}
spec:
  type: NodePort
  ports: [{port: 80, targetPort: 80, protocol: TCP, name: http}]
  selector: {app: web}
---
apiVersion: extensions/v1beta1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 1
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - name: web
        image: nginx:1.15.8-alpine
        ports: [{containerPort: 80}]
        volumeMounts: [{name: conf, mountPath: /etc/nginx/nginx.conf, subPath: nginx.conf}]
      volumes: [{name: conf, configMap: {name: web}}]
"#,
    );
    assert_eq!(trees[2]["apiVersion"], "apps/v1");
    assert_eq!(trees[2]["spec"]["selector"]["matchLabels"]["app"], "web");
}

#[test]
fn one_of_each_kind_that_users_write() {
    let trees = stored(
        r#"
apiVersion: v1
kind: Pod
metadata: {name: p, annotations: {a/b: "c"}}
spec:
  serviceAccountName: default
  initContainers:
  - {name: wait, image: busybox, command: [sh, -c, "true"]}
  - {name: side, image: busybox, restartPolicy: Always, startupProbe: {exec: {command: [ls]}}}
  containers:
  - name: c
    image: registry.k8s.io/pause:3.10
    env:
    - {name: A, value: b}
    - {name: IP, valueFrom: {fieldRef: {fieldPath: status.podIP}}}
    - {name: L, valueFrom: {fieldRef: {fieldPath: "metadata.labels['a.io/x']"}}}
    - {name: M, valueFrom: {resourceFieldRef: {resource: limits.memory}}}
    - {name: S, valueFrom: {secretKeyRef: {name: s, key: k}}}
    envFrom: [{configMapRef: {name: cm}}]
    resources: {requests: {cpu: 100m, memory: 64Mi}, limits: {memory: 128Mi}}
    readinessProbe: {httpGet: {path: /x, port: http}, periodSeconds: 5}
    livenessProbe: {tcpSocket: {port: 8080}}
    lifecycle: {preStop: {exec: {command: [sleep, "1"]}}}
    ports: [{containerPort: 8080, name: http}]
    volumeMounts: [{name: token, mountPath: /t, readOnly: true}, {name: e, mountPath: /e}, {name: d, mountPath: /d}]
    securityContext: {runAsNonRoot: true, runAsUser: 1000, capabilities: {drop: [ALL]}, seccompProfile: {type: RuntimeDefault}}
  volumes:
  - name: token
    projected: {sources: [{serviceAccountToken: {path: token, expirationSeconds: 3607}}, {configMap: {name: kube-root-ca.crt, items: [{key: ca.crt, path: ca.crt}]}},
      {downwardAPI: {items: [{path: namespace, fieldRef: {fieldPath: metadata.namespace}}]}}]}
  - {name: e, emptyDir: {medium: Memory, sizeLimit: 1Mi}}
  - {name: d, hostPath: {path: /var/lib/x, type: DirectoryOrCreate}}
  affinity:
    nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [{matchExpressions: [{key: a, operator: In, values: [b]}]}]}}
    podAntiAffinity: {preferredDuringSchedulingIgnoredDuringExecution: [{weight: 1, podAffinityTerm: {topologyKey: kubernetes.io/hostname, labelSelector: {matchLabels: {a: b}}}}]}
  topologySpreadConstraints: [{maxSkew: 1, topologyKey: zone, whenUnsatisfiable: ScheduleAnyway, labelSelector: {}}]
  tolerations: [{operator: Exists}, {key: a, operator: Equal, value: b, effect: NoExecute, tolerationSeconds: 5}]
---
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: d}
spec:
  selector: {matchLabels: {a: b}}
  template: {metadata: {labels: {a: b}}, spec: {hostNetwork: true, containers: [{name: c, image: i, ports: [{containerPort: 1, hostPort: 1}]}]}}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: s}
spec:
  serviceName: s
  selector: {matchLabels: {a: b}}
  template: {metadata: {labels: {a: b}}, spec: {containers: [{name: c, image: i, volumeMounts: [{name: data, mountPath: /x}]}], volumes: [{name: data, emptyDir: {}}]}}
  volumeClaimTemplates: [{metadata: {name: www}, spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}}]
---
apiVersion: batch/v1
kind: Job
metadata: {name: j}
spec: {backoffLimit: 4, template: {spec: {restartPolicy: Never, containers: [{name: pi, image: perl}]}}}
---
apiVersion: batch/v1
kind: CronJob
metadata: {name: c}
spec: {schedule: "*/1 * * * *", jobTemplate: {spec: {template: {spec: {restartPolicy: OnFailure, containers: [{name: a, image: b}]}}}}}
---
apiVersion: v1
kind: ReplicationController
metadata: {name: rc}
spec: {replicas: 2, template: {metadata: {labels: {a: b}}, spec: {containers: [{name: a, image: b}]}}}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: "system:node"}
rules: [{apiGroups: [""], resources: [pods], verbs: [get]}, {nonResourceURLs: [/healthz], verbs: [get]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: b}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: r}
subjects: [{kind: User, name: u}, {kind: ServiceAccount, name: default, namespace: x}]
---
apiVersion: v1
kind: Secret
metadata: {name: s}
stringData: {a: b}
---
apiVersion: v1
kind: PersistentVolume
metadata: {name: pv}
spec: {capacity: {storage: 1Gi}, accessModes: [ReadWriteOnce], hostPath: {path: /x}, claimRef: {name: a, namespace: b}}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: pvc}
spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: i}
spec: {rules: [{host: a.example, http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: s, port: {number: 80}}}}]}}]}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: n}
spec: {podSelector: {}, ingress: [{from: [{podSelector: {}}], ports: [{port: 80}]}]}
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: b}
spec: {minAvailable: 50%, selector: {matchLabels: {a: b}}}
---
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: h}
spec: {maxReplicas: 3, scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: d}}
---
apiVersion: v1
kind: Namespace
metadata: {name: ns}
---
apiVersion: v1
kind: Node
metadata: {name: n1, labels: {kubernetes.io/hostname: n1}}
spec: {taints: [{key: node.kubernetes.io/not-ready, effect: NoSchedule}]}
status: {capacity: {cpu: "2", memory: 4Gi, pods: "110"}}
---
apiVersion: v1
kind: ResourceQuota
metadata: {name: q}
spec: {hard: {requests.cpu: "1", limits.memory: 1Gi, pods: "5", count/deployments.apps: "2", requests.nvidia.com/gpu: 4}}
---
apiVersion: storage.k8s.io/v1
kind: StorageClass
metadata: {name: sc}
provisioner: x.io/y
---
apiVersion: scheduling.k8s.io/v1
kind: PriorityClass
metadata: {name: high}
value: 1000
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: e}
addressType: IPv4
ports: [{port: 80}]
endpoints: [{addresses: [10.1.2.3], conditions: {ready: true}}]
---
apiVersion: coordination.k8s.io/v1
kind: Lease
metadata: {name: l}
spec: {holderIdentity: a, leaseDurationSeconds: 40, renewTime: "2026-01-01T00:00:00.000000Z"}
"#,
    );
    assert_eq!(trees[0]["status"]["qosClass"], "Burstable");
    assert_eq!(trees[0]["spec"]["containers"][0]["env"][3]["valueFrom"]["resourceFieldRef"]["divisor"], "0");
    assert!(trees[1]["spec"]["template"]["spec"]["containers"][0]["ports"][0]["hostPort"] == 1);
    let node = trees.iter().find(|t| t["kind"] == "Node").expect("the node");
    assert_eq!(node["status"]["allocatable"], node["status"]["capacity"]);
}
