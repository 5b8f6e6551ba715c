//! Commands of `skiff ctl` that need a server to show what they do.

use libtest_mimic::Trial;
use serde_json::{Value, json};
use tests::Cx;
use tests::machine::skiff;
use tests::pods::pod;

pub fn trials() -> Vec<Trial> {
    let mut all = crate::trials!(Node: dump);
    all.extend(crate::trials!(ControlPlane: reconcile, edit_last_applied));
    all
}

fn says(cx: &Cx, args: &[&str], wanted: &str) -> String {
    let (ok, out) = cx.ctl(args);
    assert!(ok && out.contains(wanted), "{args:?}: {out}");
    out
}

fn file(cx: &Cx, name: &str, content: &Value) -> String {
    let path = cx.server.dir().join(format!("{}-{name}.json", cx.ns)).display().to_string();
    std::fs::write(&path, content.to_string()).expect("the server's directory");
    path
}

async fn dump(cx: Cx) {
    cx.ready_pod(pod("p", "echo seen; exec sleep 1000", json!({}))).await;
    cx.log_has("p", "seen").await;
    let out = says(&cx, &["cluster-info", "dump", "--namespaces", &cx.ns], "\"kind\": \"NodeList\"");
    let log = format!(
        "==== START logs for container c of pod {0}/p ====\nseen\n==== END logs for container c of pod {0}/p ====\n",
        cx.ns
    );
    assert!(out.contains(&log) && out.contains("\"kind\": \"PodList\""), "{out}");
    let folder = cx.server.dir().join(format!("{}-dump", cx.ns));
    let to = folder.display().to_string();
    let args = ["cluster-info", "dump", "--namespaces", &cx.ns, "-o", "yaml", "--output-directory", &to];
    says(&cx, &args, &format!("Cluster info dumped to {to}"));
    let read = |name: &str| std::fs::read_to_string(folder.join(name)).expect(name);
    assert!(read("nodes.yaml").contains("kind: NodeList"));
    for name in ["events", "replication-controllers", "services", "daemonsets", "deployments", "replicasets", "pods"] {
        read(&format!("{}/{name}.yaml", cx.ns));
    }
    assert_eq!(read(&format!("{}/p/logs.txt", cx.ns)), log);
}

async fn reconcile(cx: Cx) {
    let api = "rbac.authorization.k8s.io/v1";
    let role = |verbs: &[&str]| {
        json!({"apiVersion": api, "kind": "Role", "metadata": {"name": "r"},
            "rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": verbs}]})
    };
    let binding = |role: &str, users: &[&str]| {
        let subjects: Vec<Value> = users.iter().map(|u| json!({"kind": "User", "name": u})).collect();
        json!({"apiVersion": api, "kind": "RoleBinding", "metadata": {"name": "b"}, "subjects": subjects,
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": role}})
    };
    let run = |object: &Value, more: &[&str], wanted: &str| {
        says(&cx, &[&["auth", "reconcile", "-f", &file(&cx, "rbac", object)], more].concat(), wanted)
    };
    let (the_role, the_binding) = (cx.of(api, "roles/r"), cx.of(api, "rolebindings/b"));
    run(&role(&["get"]), &["--dry-run=client"], "role.rbac.authorization.k8s.io/r reconciled (dry run)");
    assert_eq!(cx.api.try_get(&the_role).await.code, 404);
    run(&role(&["get"]), &[], "reconciliation required create");
    run(&role(&["get", "list"]), &[], "missing rules added:");
    run(&role(&["get"]), &[], "role.rbac.authorization.k8s.io/r reconciled");
    assert_eq!(cx.api.get(&the_role).await["rules"].as_array().map(Vec::len), Some(2), "nothing is taken unasked");
    run(&role(&["get"]), &["--remove-extra-permissions"], "extra rules removed:");
    assert_eq!(cx.api.get(&the_role).await["rules"], role(&["get"])["rules"]);

    run(&binding("r", &["a"]), &[], "reconciliation required create");
    run(&binding("r", &["b"]), &[], "missing subjects added:");
    assert_eq!(cx.api.get(&the_binding).await["subjects"].as_array().map(Vec::len), Some(2));
    run(&binding("other", &["b"]), &[], "reconciliation required recreate");
    assert_eq!(cx.api.get(&the_binding).await["roleRef"]["name"], "other");
    // what is not RBAC is left alone
    run(&json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}}), &[], "");
    assert_eq!(cx.api.try_get(&cx.core("configmaps/c")).await.code, 404);
}

async fn edit_last_applied(cx: Cx) {
    let edit = |name: &str| {
        let mut command = cx.server.command(skiff());
        command.args(["ctl", "-n", &cx.ns, "apply", "edit-last-applied", &format!("configmap/{name}")]);
        let out = command.env("KUBE_EDITOR", "sed -i s/one/two/").output().expect("skiff runs");
        format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr))
    };
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m"}, "data": {"k": "one"}});
    says(&cx, &["apply", "-f", &file(&cx, "map", &map)], "configmap/m created");
    assert_eq!(edit("m"), "configmap/m edited\n");
    says(&cx, &["apply", "view-last-applied", "configmap/m"], "k: two");
    assert_eq!(cx.api.get(&cx.core("configmaps/m")).await["data"]["k"], "one", "only the annotation is changed");
    assert!(edit("m").contains("Edit cancelled, no changes made."));
    cx.config_map("bare", json!({})).await;
    let said = edit("bare");
    assert!(said.contains("no last-applied-configuration annotation found on resources"), "{said}");
}
