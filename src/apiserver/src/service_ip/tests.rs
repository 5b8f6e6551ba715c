use api::Object;

use super::*;
use crate::User;
use crate::admission::testing::attributes;
use crate::lookup::fake::Cluster;

struct Fixture {
    cluster: Arc<Cluster>,
    plugin: ServiceAllocation,
}

impl Fixture {
    fn new(cluster: Arc<Cluster>) -> Fixture {
        let addresses = vec![Addresses::new("10.43.0.0/29".parse().unwrap())];
        let plugin = ServiceAllocation::new(addresses, Ports { first: 30000, last: 30003 }, cluster.clone());
        Fixture { cluster, plugin }
    }

    /// Admits, and stores unless told otherwise.
    async fn write(
        &self,
        name: &str,
        spec: Value,
        old: Option<&Arc<Object>>,
        store: bool,
    ) -> Result<Arc<Object>, String> {
        let a = attributes("services", "ns", &User::system("t"));
        let mut object = json!({"metadata": {"name": name, "namespace": "ns"}, "spec": spec});
        let (mut warnings, mut held) = (Vec::new(), Vec::new());
        let kind = crate::admission::testing::kind();
        let mut write = Write {
            attributes: &a,
            kind: &kind,
            object: &mut object,
            old,
            dry_run: !store,
            connect: false,
            deletion: None,
            manager: "",
            warnings: &mut warnings,
            held: &mut held,
            again: &mut Default::default(),
        };
        self.plugin.mutate(&mut write).await.map_err(|e| e.message)?;
        if store {
            return Ok(self.cluster.put("services", object));
        }
        Ok(Arc::new(api::Draft::encode(&object).unwrap().at(1)))
    }
    async fn create(&self, name: &str, spec: Value) -> Result<Value, String> {
        self.write(name, spec, None, true).await.map(|o| o.tree()["spec"].clone())
    }
}

#[tokio::test]
async fn an_address_is_held_by_one_service_until_it_goes() {
    let f = Fixture::new(Arc::default());
    let mut seen = std::collections::BTreeSet::new();
    for i in 0..6 {
        let spec = f.create(&format!("s{i}"), json!({"type": "ClusterIP"})).await.unwrap();
        assert_eq!(spec["clusterIPs"], json!([spec["clusterIP"]]));
        assert!(seen.insert(spec["clusterIP"].as_str().unwrap().to_owned()));
    }
    assert_eq!(
        f.create("s6", json!({})).await.unwrap_err(),
        "Internal error occurred: failed to allocate a serviceIP: range is full"
    );
    f.cluster.remove("services", "ns", "s3");
    assert!(f.create("s6", json!({})).await.is_ok(), "what was released is given again");

    let again = Fixture::new(f.cluster.clone());
    assert!(again.create("s7", json!({})).await.is_err(), "a restart remembers");
}

#[tokio::test]
async fn wishes_are_granted_or_refused_in_upstreams_words() {
    let f = Fixture::new(Arc::default());
    assert_eq!(f.create("a", json!({"clusterIP": "10.43.0.1"})).await.unwrap()["clusterIPs"], json!(["10.43.0.1"]));
    assert_eq!(
        f.create("b", json!({"clusterIP": "10.43.0.1"})).await.unwrap_err(),
        r#"Service "b" is invalid: spec.clusterIPs: Invalid value: ["10.43.0.1"]: failed to allocate IP 10.43.0.1: provided IP is already allocated"#
    );
    assert_eq!(
        f.create("b", json!({"clusterIP": "10.99.0.1"})).await.unwrap_err(),
        r#"Service "b" is invalid: spec.clusterIPs: Invalid value: ["10.99.0.1"]: failed to allocate IP 10.99.0.1: provided IP is not in the valid range. The range of valid IPs is 10.43.0.0/29"#
    );
    let headless = f.create("h", json!({"clusterIP": "None", "selector": {"a": "b"}})).await.unwrap();
    assert_eq!((&headless["clusterIP"], &headless["clusterIPs"]), (&json!("None"), &json!(["None"])));
    let external = f.create("e", json!({"type": "ExternalName"})).await.unwrap();
    assert_eq!(external, json!({"type": "ExternalName"}));
}

#[tokio::test]
async fn node_ports_are_one_a_service_port() {
    let f = Fixture::new(Arc::default());
    let both = json!({"type": "NodePort", "ports": [{"port": 53, "protocol": "UDP"}, {"port": 53, "protocol": "TCP", "nodePort": 30001}]});
    let spec = f.create("dns", both).await.unwrap();
    assert_eq!((&spec["ports"][0]["nodePort"], &spec["ports"][1]["nodePort"]), (&json!(30001), &json!(30001)));

    let wish = |p: i64| json!({"type": "NodePort", "ports": [{"port": 80, "nodePort": p}]});
    assert_eq!(
        f.create("x", wish(30001)).await.unwrap_err(),
        r#"Service "x" is invalid: spec.ports[0].nodePort: Invalid value: 30001: provided port is already allocated"#
    );
    assert_eq!(
        f.create("x", wish(80)).await.unwrap_err(),
        r#"Service "x" is invalid: spec.ports[0].nodePort: Invalid value: 80: provided port is not in the valid range. The range of valid ports is 30000-30003"#
    );
    let lb = json!({"type": "LoadBalancer", "externalTrafficPolicy": "Local", "ports": [{"port": 80}]});
    let lb = f.create("lb", lb).await.unwrap();
    assert_ne!(lb["healthCheckNodePort"], lb["ports"][0]["nodePort"]);
    let none = json!({"type": "LoadBalancer", "allocateLoadBalancerNodePorts": false, "ports": [{"port": 80}]});
    assert_eq!(f.create("none", none).await.unwrap()["ports"][0].get("nodePort"), None);
}

#[tokio::test]
async fn a_write_that_comes_to_nothing_gives_back() {
    let f = Fixture::new(Arc::default());
    for _ in 0..20 {
        assert!(f.write("dry", json!({"type": "NodePort", "ports": [{"port": 1}]}), None, false).await.is_ok());
    }
    let wish = json!({"clusterIP": "10.43.0.2"});
    assert!(f.write("dry", wish.clone(), None, false).await.is_ok());
    assert!(f.create("real", wish).await.is_ok());
}

#[tokio::test]
async fn an_update_keeps_what_it_has_and_adds_what_it_needs() {
    let f = Fixture::new(Arc::default());
    let old = f.write("s", json!({"type": "ClusterIP", "ports": [{"port": 80}]}), None, true).await.unwrap();
    let ip = old.tree()["spec"]["clusterIP"].clone();
    let mut spec = old.tree()["spec"].clone();
    spec["type"] = json!("NodePort");
    let new = f.write("s", spec, Some(&old), true).await.unwrap().tree();
    assert_eq!(new["spec"]["clusterIP"], ip);
    assert!(new["spec"]["ports"][0]["nodePort"].as_i64().is_some_and(|p| p >= 30000));
    let external = json!({"type": "ExternalName", "externalName": "x", "clusterIP": ip, "clusterIPs": [ip]});
    let gone = f.write("s", external, Some(&old), true).await.unwrap().tree();
    assert_eq!(gone["spec"].get("clusterIPs"), None);
    assert!(f.create("t", json!({"clusterIP": ip})).await.is_ok(), "its address is free");
}
