//! `describe node`

use std::collections::BTreeMap;

use api::Value;
use api::quantity::{Format, Quantity};

use super::writer::{Out, plain, since, time};
use crate::error::Result;
use crate::objects::{list, text};
use crate::session::Session;

pub async fn describe(w: &mut Out, s: &Session, o: &Value) -> Result<()> {
    w.name(o);
    w.field(0, "Roles", roles(o));
    w.labels(0, "Labels", &o["metadata"]["labels"]);
    w.annotations(0, &o["metadata"]["annotations"]);
    w.field(0, "CreationTimestamp", time(text(o, "/metadata/creationTimestamp")));
    let taints: Vec<String> = list(o, "/spec/taints").iter().map(taint).collect();
    w.field(0, "Taints", taints.first().map_or("<none>", String::as_str));
    taints.iter().skip(1).for_each(|t| w.put(0, format!("\t{t}")));
    w.field(0, "Unschedulable", (o["spec"]["unschedulable"] == true).to_string());
    lease(w, s, text(o, "/metadata/name")).await;
    let conditions = list(o, "/status/conditions");
    if !conditions.is_empty() {
        w.put(0, "Conditions:");
        let row = |c: &Value| {
            let t = |p| time(text(c, p));
            vec![
                text(c, "/type").to_owned(),
                text(c, "/status").to_owned(),
                t("/lastHeartbeatTime"),
                t("/lastTransitionTime"),
                text(c, "/reason").to_owned(),
                text(c, "/message").to_owned(),
            ]
        };
        let rows: Vec<Vec<String>> = conditions.iter().map(row).collect();
        w.put(1, "Type\tStatus\tLastHeartbeatTime\tLastTransitionTime\tReason\tMessage");
        w.put(1, "----\t------\t-----------------\t------------------\t------\t-------");
        rows.iter().for_each(|r| {
            w.put(1, format!("{} \t{} \t{} \t{} \t{} \t{} ", r[0], r[1], r[2], r[3], r[4], r[5]).trim_end_matches(' '))
        });
    }
    w.put(0, "Addresses:");
    list(o, "/status/addresses").iter().for_each(|a| w.field(1, text(a, "/type"), text(a, "/address")));
    for (label, key) in [("Capacity", "capacity"), ("Allocatable", "allocatable")] {
        if let Some(all) = o["status"][key].as_object().filter(|a| !a.is_empty()) {
            w.put(0, format!("{label}:"));
            all.iter().for_each(|(k, v)| w.field(1, k, plain(v)));
        }
    }
    w.put(0, "System Info:");
    let info = &o["status"]["nodeInfo"];
    for (label, key) in [
        ("Machine ID", "machineID"),
        ("System UUID", "systemUUID"),
        ("Boot ID", "bootID"),
        ("Kernel Version", "kernelVersion"),
        ("OS Image", "osImage"),
        ("Operating System", "operatingSystem"),
        ("Architecture", "architecture"),
        ("Container Runtime Version", "containerRuntimeVersion"),
        ("Kubelet Version", "kubeletVersion"),
        ("Kube-Proxy Version", "kubeProxyVersion"),
    ] {
        w.field(1, label, plain(&info[key]));
    }
    w.some(0, "PodCIDR", text(o, "/spec/podCIDR"));
    let cidrs: Vec<&str> = list(o, "/spec/podCIDRs").iter().filter_map(Value::as_str).collect();
    w.some(0, "PodCIDRs", &cidrs.join(","));
    w.some(0, "ProviderID", text(o, "/spec/providerID"));
    let fields = format!("spec.nodeName={},status.phase!=Succeeded,status.phase!=Failed", text(o, "/metadata/name"));
    let pods = s.list(&s.mapping("pods").await?, "", &[("fieldSelector", &fields), ("limit", "500")]).await?;
    allocated(w, o, list(&pods, "/items"));
    Ok(())
}

fn roles(o: &Value) -> String {
    let prefix = "node-role.kubernetes.io/";
    let labels = o["metadata"]["labels"].as_object().into_iter().flatten();
    let all: Vec<&str> = labels
        .filter_map(|(k, v)| match k.strip_prefix(prefix) {
            Some(role) => Some(role).filter(|r| !r.is_empty()),
            None if k == "kubernetes.io/role" => v.as_str(),
            None => None,
        })
        .collect();
    if all.is_empty() { "<none>".into() } else { all.join(",") }
}

fn taint(t: &Value) -> String {
    let (key, value, effect) = (text(t, "/key"), text(t, "/value"), text(t, "/effect"));
    match (value, effect) {
        ("", "") => key.to_owned(),
        ("", effect) => format!("{key}:{effect}"),
        (value, "") => format!("{key}={value}:"),
        (value, effect) => format!("{key}={value}:{effect}"),
    }
}

async fn lease(w: &mut Out, s: &Session, node: &str) {
    let path = format!("/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/{node}");
    match s.get(&path).await {
        Ok(lease) => {
            w.put(0, "Lease:");
            let holder = text(&lease, "/spec/holderIdentity");
            w.field(1, "HolderIdentity", if holder.is_empty() { "<unset>" } else { holder });
            let time = |pointer| match text(&lease, pointer) {
                "" => "<unset>".to_owned(),
                t => time(t),
            };
            w.field(1, "AcquireTime", time("/spec/acquireTime"));
            w.field(1, "RenewTime", time("/spec/renewTime"));
        }
        Err(e) => w.put(
            0,
            format!("Lease:\tFailed to get lease: {}", e.status().map_or(String::new(), |s| s.message.clone())),
        ),
    }
}

type Amounts = BTreeMap<String, Quantity>;

/// What a pod asks for (`requests`) or may use (`limits`): the sum of its containers, or its largest init container.
fn amounts(pod: &Value, what: &str) -> Amounts {
    let of = |c: &Value| -> Amounts {
        let all = c["resources"][what].as_object().into_iter().flatten();
        all.filter_map(|(k, v)| Some((k.clone(), Quantity::from_tree(v).ok()?))).collect()
    };
    let mut sum = Amounts::new();
    let add = |sum: &mut Amounts, more: Amounts| {
        for (k, q) in more {
            let total = sum.entry(k).or_insert_with(|| Quantity::new(0, q.format()));
            *total = plus(*total, q);
        }
    };
    for c in list(pod, "/spec/containers") {
        add(&mut sum, of(c));
    }
    let mut sidecars = Amounts::new();
    for c in list(pod, "/spec/initContainers") {
        if text(c, "/restartPolicy") == "Always" {
            add(&mut sum, of(c));
            add(&mut sidecars, of(c));
            continue;
        }
        let mut with = sidecars.clone();
        add(&mut with, of(c));
        for (k, q) in with {
            let most = sum.entry(k).or_insert(q);
            if q.nanos() > most.nanos() {
                *most = q;
            }
        }
    }
    let overhead: Amounts = pod["spec"]["overhead"]
        .as_object()
        .into_iter()
        .flatten()
        .filter_map(|(k, v)| Some((k.clone(), Quantity::from_tree(v).ok()?)))
        .collect();
    if what == "requests" || !sum.is_empty() {
        add(&mut sum, overhead);
    }
    sum
}

fn plus(a: Quantity, b: Quantity) -> Quantity {
    let millis = a.millis() + b.millis();
    if millis % 1000 == 0 {
        Quantity::new(millis / 1000, b.format())
    } else {
        Quantity::from_millis(millis, b.format())
    }
}

fn allocated(w: &mut Out, node: &Value, pods: &[Value]) {
    w.put(0, format!("Non-terminated Pods:\t({} in total)", pods.len()));
    w.put(1, "Namespace\tName\t\tCPU Requests\tCPU Limits\tMemory Requests\tMemory Limits\tAge");
    w.put(1, "---------\t----\t\t------------\t----------\t---------------\t-------------\t---");
    let room = |resource: &str| {
        let of = |key: &str| node["status"][key].get(resource).and_then(|v| Quantity::from_tree(v).ok());
        of("allocatable").or(of("capacity")).unwrap_or(Quantity::ZERO)
    };
    let percent = |q: Quantity, resource: &str| match room(resource).nanos() {
        0 => 0,
        all => q.nanos() * 100 / all,
    };
    let zero = |resource: &str| Quantity::new(0, if resource == "cpu" { Format::DecimalSi } else { Format::BinarySi });
    let get = |a: &Amounts, resource: &str| a.get(resource).copied().unwrap_or_else(|| zero(resource));
    let mut totals = [Amounts::new(), Amounts::new()];
    for pod in pods {
        let both = [amounts(pod, "requests"), amounts(pod, "limits")];
        let mut cells = Vec::new();
        for resource in ["cpu", "memory"] {
            for a in &both {
                let q = get(a, resource);
                cells.push(format!("{q} ({}%)", percent(q, resource)));
            }
        }
        w.put(
            1,
            format!(
                "{}\t{}\t\t{}\t{}",
                text(pod, "/metadata/namespace"),
                text(pod, "/metadata/name"),
                cells.join("\t"),
                since(text(pod, "/metadata/creationTimestamp"))
            ),
        );
        for (total, one) in totals.iter_mut().zip(both) {
            for (k, q) in one {
                let sum = total.entry(k).or_insert_with(|| Quantity::new(0, q.format()));
                *sum = plus(*sum, q);
            }
        }
    }
    w.put(0, "Allocated resources:\n  (Total limits may be over 100 percent, i.e., overcommitted.)");
    w.put(1, "Resource\tRequests\tLimits");
    w.put(1, "--------\t--------\t------");
    let huge = node["status"]["allocatable"].as_object().into_iter().flatten().map(|(k, _)| k.as_str());
    let huge = huge.filter(|k| k.starts_with("hugepages-"));
    for resource in ["cpu", "memory", "ephemeral-storage"].into_iter().chain(huge) {
        let cell = |a: &Amounts| {
            let q = get(a, resource);
            format!("{q} ({}%)", percent(q, resource))
        };
        w.put(1, format!("{resource}\t{}\t{}", cell(&totals[0]), cell(&totals[1])));
    }
    let standard = ["cpu", "memory", "ephemeral-storage", "pods"];
    let allocatable = node["status"]["allocatable"].as_object().into_iter().flatten();
    for (resource, _) in allocatable.filter(|(k, _)| !standard.contains(&k.as_str()) && !k.starts_with("hugepages-")) {
        w.put(1, format!("{resource}\t{}\t{}", plain_zero(&totals[0], resource), plain_zero(&totals[1], resource)));
    }
}

fn plain_zero(a: &Amounts, resource: &str) -> String {
    a.get(resource).map_or_else(|| "0".into(), ToString::to_string)
}
