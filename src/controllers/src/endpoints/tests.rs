use super::*;
use crate::testing::{Bench, settle};

fn service(change: Value) -> Value {
    let mut tree = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web", "namespace": "n", "labels": {"l": "1"}},
        "spec": {"selector": {"app": "web"}, "clusterIP": "10.43.0.5", "ipFamilies": ["IPv4"],
            "ports": [{"name": "http", "port": 80, "targetPort": "web", "protocol": "TCP"}]}});
    crate::status::merge(&mut tree, &change);
    tree
}

fn pod(name: &str, ip: &str, ready: bool) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "n", "labels": {"app": "web"}},
        "spec": {"nodeName": "a", "containers": [{"name": "c", "ports": [{"name": "web", "containerPort": 8080}]}]},
        "status": {"phase": "Running", "podIP": ip, "podIPs": [{"ip": ip}],
            "conditions": [{"type": "Ready", "status": if ready { "True" } else { "False" }}]}})
}

fn slices(bench: &Bench) -> Vec<Value> {
    bench.fake.objects(&EndpointSlice::gvr()).iter().map(|o| o.tree()).collect()
}

fn endpoints(bench: &Bench) -> Value {
    bench.fake.tree(&Endpoints::gvr(), "n", "web")
}

#[tokio::test(start_paused = true)]
async fn follow_service_and_pods() {
    let bench = Bench::new();
    bench.start(run);
    bench.fake.seed(Node::gvr(), json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "a", "labels": {"topology.kubernetes.io/zone": "z"}}}));
    bench.fake.seed(Service::gvr(), service(json!({})));
    settle().await;
    assert_eq!(slices(&bench)[0]["endpoints"], json!([]));
    assert_eq!(endpoints(&bench)["subsets"], Value::Null);

    bench.fake.seed(Pod::gvr(), pod("p1", "10.42.0.2", true));
    bench.fake.seed(Pod::gvr(), pod("p2", "10.42.0.3", false));
    settle().await;
    let all = slices(&bench);
    assert_eq!(all.len(), 1);
    assert_eq!(all[0]["ports"], json!([{"name": "http", "port": 8080, "protocol": "TCP"}]));
    assert_eq!(all[0]["metadata"]["labels"], json!({"l": "1", SERVICE_NAME: "web", MANAGED_BY: SLICES}));
    assert_eq!(all[0]["metadata"]["ownerReferences"][0]["kind"], "Service");
    let e = &all[0]["endpoints"][0];
    assert_eq!((&e["addresses"][0], &e["nodeName"], &e["zone"]), (&json!("10.42.0.2"), &json!("a"), &json!("z")));
    assert_eq!(all[0]["endpoints"][1]["conditions"], json!({"ready": false, "serving": false, "terminating": false}));
    let subset = &endpoints(&bench)["subsets"][0];
    assert_eq!(
        (&subset["addresses"][0]["ip"], &subset["notReadyAddresses"][0]["ip"]),
        (&json!("10.42.0.2"), &json!("10.42.0.3"))
    );

    bench.fake.take_writes();
    bench.fake.edit(&Pod::gvr(), "n", "p1", |p| p["status"]["x"] = json!(1));
    settle().await;
    assert_eq!(bench.fake.take_writes(), []);

    bench.fake.edit(&Pod::gvr(), "n", "p1", |p| p["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z"));
    settle().await;
    assert_eq!(
        slices(&bench)[0]["endpoints"][0]["conditions"],
        json!({"ready": false, "serving": true, "terminating": true})
    );
    assert_eq!(endpoints(&bench)["subsets"][0]["addresses"], Value::Null);

    bench.fake.remove(&Service::gvr(), "n", "web");
    settle().await;
    assert_eq!(endpoints(&bench), Value::Null);
}

#[tokio::test(start_paused = true)]
async fn headless_publishing_unready_and_mirrored() {
    let bench = Bench::new();
    bench.start(run);
    let spec = json!({"spec": {"clusterIP": "None", "publishNotReadyAddresses": true, "ports": null}});
    bench.fake.seed(Service::gvr(), service(spec));
    let mut named = pod("p1", "10.42.0.2", false);
    named["spec"]["hostname"] = json!("host");
    named["spec"]["subdomain"] = json!("web");
    bench.fake.seed(Pod::gvr(), named);
    settle().await;
    let all = slices(&bench);
    assert_eq!(all[0]["endpoints"][0]["conditions"]["ready"], true);
    assert_eq!(all[0]["endpoints"][0]["hostname"], "host");
    assert_eq!(all[0]["metadata"]["labels"][HEADLESS], "");
    assert_eq!(endpoints(&bench)["subsets"][0]["addresses"][0]["hostname"], "host");

    bench.fake.seed(
        Service::gvr(),
        json!({"apiVersion": "v1", "kind": "Service",
        "metadata": {"name": "ext", "namespace": "n"}, "spec": {"ports": [{"port": 80}]}}),
    );
    bench.fake.seed(Endpoints::gvr(), json!({"apiVersion": "v1", "kind": "Endpoints", "metadata": {"name": "ext", "namespace": "n"},
        "subsets": [{"addresses": [{"ip": "1.2.3.4"}, {"ip": "fd00::1"}], "ports": [{"port": 80, "protocol": "TCP"}]}]}));
    settle().await;
    let mirrored: Vec<Value> =
        slices(&bench).into_iter().filter(|s| s["metadata"]["labels"][SERVICE_NAME] == "ext").collect();
    let mut types: Vec<_> = mirrored.iter().map(|s| s["addressType"].as_str().unwrap()).collect();
    types.sort_unstable();
    assert_eq!(types, ["IPv4", "IPv6"]);
    assert!(mirrored.iter().all(|s| s["metadata"]["labels"][MANAGED_BY] == MIRROR));
    bench.fake.remove(&Endpoints::gvr(), "n", "ext");
    settle().await;
    assert_eq!(slices(&bench).len(), 1);
}
