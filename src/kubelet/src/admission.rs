//! May a pod that was bound to this node run on it? Upstream's `lifecycle.predicateAdmitHandler`, and what the eviction and
//! the shutdown manager have to say.
//!
//! Promises: a pod is asked once, before anything of it is made; one that was admitted before a restart of the kubelet is
//! not asked again.

use std::collections::HashMap;
use std::sync::Arc;

use api::Object;
use api::k8s_openapi::api::core::v1::Pod;
use parking_lot::Mutex;
use scheduler::{Misfit, NodeInfo, PodInfo, admission_check};

use crate::eviction::Pressure;
use crate::pod::qos;
use crate::pod::status::Failure;

/// `system-cluster-critical`
pub(crate) const CRITICAL: i32 = 2_000_000_000;

/// The pods that were let in and are not over, by uid.
#[derive(Default)]
pub(crate) struct Admitted(Mutex<HashMap<String, Arc<PodInfo>>>);

/// What a pod is held against.
pub(crate) struct Scene<'a> {
    pub node: Option<Arc<Object>>,
    pub pressure: Pressure,
    pub shutting_down: bool,
    /// Says whether an admitted pod still counts.
    pub mailboxes: &'a dyn Counts,
}

/// By a pod's uid.
pub(crate) trait Counts {
    fn counts(&self, uid: &str) -> bool;
}

fn failure(reason: impl Into<String>, message: impl Into<String>) -> Failure {
    Failure { reason: reason.into(), message: message.into(), disrupted: None }
}

impl Admitted {
    /// Lets the pod in, or says why not.
    pub fn admit(&self, object: &Arc<Object>, scene: &Scene<'_>) -> Result<(), Failure> {
        let Ok(info) = PodInfo::new(object.clone()) else { return Ok(()) };
        let status = info.pod().status.as_ref();
        if status.is_some_and(|s| matches!(s.phase.as_deref(), Some("Succeeded" | "Failed"))) {
            return Ok(());
        }
        let known = status.is_some_and(|s| s.start_time.is_some()) || object.meta().is_deleting();
        let verdict = if known { Ok(()) } else { self.judge(&info, scene) };
        if verdict.is_ok() {
            self.0.lock().insert(object.uid().to_owned(), Arc::new(info));
        }
        verdict
    }

    fn judge(&self, info: &PodInfo, scene: &Scene<'_>) -> Result<(), Failure> {
        if scene.shutting_down {
            return Err(failure("NodeShutdown", "Pod was rejected as the node is shutting down."));
        }
        under_pressure(info.pod(), scene.pressure)?;
        if let Some(os) = info.spec().os.as_ref().filter(|os| os.name != "linux") {
            tracing::debug!(os = os.name, "not this operating system");
            return Err(failure("PodOSNotSupported", "Failed to admit pod as the OS field doesn't match node OS"));
        }
        let Some(mut node) = scene.node.clone().and_then(|n| NodeInfo::new(n).ok()) else { return Ok(()) };
        let others: Vec<Arc<PodInfo>> = {
            let all = self.0.lock();
            all.iter().filter(|(uid, _)| scene.mailboxes.counts(uid)).map(|(_, info)| info.clone()).collect()
        };
        others.into_iter().for_each(|other| node.add(other));
        match admission_check(info, &node) {
            None => Ok(()),
            Some(Misfit::Resource { name, requested, used, capacity }) => Err(failure(
                format!("OutOf{name}"),
                format!(
                    "Node didn't have enough resource: {name}, requested: {requested}, used: {used}, capacity: {capacity}"
                ),
            )),
            Some(Misfit::Plugin { name, reason }) => Err(failure(name, format!("Predicate {name} failed: {reason}"))),
        }
    }

    /// Its specification has changed: a resize.
    pub fn update(&self, object: &Arc<Object>) {
        let mut all = self.0.lock();
        if let Some(info) = all.get_mut(object.uid())
            && info.object.meta().generation != object.meta().generation
            && let Ok(fresh) = PodInfo::new(object.clone())
        {
            *info = Arc::new(fresh);
        }
    }

    pub fn forget(&self, uid: &str) {
        self.0.lock().remove(uid);
    }
}

/// Upstream's `eviction.managerImpl.Admit`.
fn under_pressure(pod: &Pod, pressure: Pressure) -> Result<(), Failure> {
    let spec = pod.spec.as_ref();
    if !pressure.any() || spec.is_some_and(|s| s.priority.unwrap_or(0) >= CRITICAL) {
        return Ok(());
    }
    if pressure.memory && !pressure.disk {
        // whoever asks for something may come; the others may if they tolerate it
        let tolerates = |t: &api::k8s_openapi::api::core::v1::Toleration| {
            let is = |have: &Option<String>, want: &str| have.as_deref().is_none_or(|h| h.is_empty() || h == want);
            t.operator.as_deref() == Some("Exists")
                && is(&t.key, "node.kubernetes.io/memory-pressure")
                && is(&t.effect, "NoSchedule")
        };
        let best_effort = spec.is_none_or(|s| qos::class(s) == "BestEffort");
        if !best_effort || spec.is_some_and(|s| s.tolerations.iter().flatten().any(tolerates)) {
            return Ok(());
        }
    }
    let names = [(pressure.memory, "MemoryPressure"), (pressure.disk, "DiskPressure")];
    let names: Vec<&str> = names.into_iter().filter(|(on, _)| *on).map(|(_, name)| name).collect();
    Err(failure("Evicted", format!("The node had condition: [{}]. ", names.join(" "))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::Resource;
    use api::k8s_openapi::api::core::v1::Node;
    use serde_json::json;

    struct AllBut(&'static str);

    impl Counts for AllBut {
        fn counts(&self, uid: &str) -> bool {
            uid != self.0
        }
    }

    fn pod(name: &str, spec: api::Value, status: api::Value) -> Arc<Object> {
        let fake = client::fake::FakeClient::new();
        let mut spec = spec;
        spec["nodeName"] = json!("n");
        fake.seed(
            Pod::gvr(),
            json!({"metadata": {"name": name, "namespace": "ns", "uid": name}, "spec": spec, "status": status}),
        )
    }

    #[test]
    fn what_does_not_fit_is_refused_in_upstreams_words() {
        let node = client::fake::FakeClient::new().seed(
            Node::gvr(),
            json!({"metadata": {"name": "n", "labels": {"disk": "ssd"}},
                "spec": {"taints": [{"key": "k", "effect": "NoExecute"}]},
                "status": {"allocatable": {"cpu": "2", "memory": "1Gi", "pods": "3"}}}),
        );
        let all = Admitted::default();
        let ask = |p: &Arc<Object>, pressure: Pressure| {
            let scene = Scene { node: Some(node.clone()), pressure, shutting_down: false, mailboxes: &AllBut("over") };
            all.admit(p, &scene).map_err(|f| (f.reason, f.message))
        };
        let tolerant = json!([{"operator": "Exists"}]);
        let with = |c: api::Value| json!({"tolerations": tolerant, "containers": [c]});
        let port = || with(json!({"name": "c", "ports": [{"containerPort": 80, "hostPort": 80}]}));
        let cpu = |v: &str| with(json!({"name": "c", "resources": {"requests": {"cpu": v}}}));
        let calm = Pressure::default();
        let refused = |p: &Arc<Object>| ask(p, calm).unwrap_err();
        assert_eq!(ask(&pod("over", port(), json!({})), calm), Ok(()));
        assert_eq!(ask(&pod("a", port(), json!({})), calm), Ok(()));
        let (reason, message) = refused(&pod("b", port(), json!({})));
        assert_eq!(reason, "NodePorts");
        assert_eq!(message, "Predicate NodePorts failed: node(s) didn't have free ports for the requested pod ports");
        assert_eq!(ask(&pod("c", cpu("1500m"), json!({})), calm), Ok(()));
        let (reason, message) = refused(&pod("d", cpu("1"), json!({})));
        assert_eq!(reason, "OutOfcpu");
        assert_eq!(message, "Node didn't have enough resource: cpu, requested: 1000, used: 1500, capacity: 2000");
        let mut elsewhere = with(json!({"name": "c"}));
        elsewhere["nodeSelector"] = json!({"disk": "hdd"});
        assert_eq!(refused(&pod("e", elsewhere.clone(), json!({}))).0, "NodeAffinity");
        assert_eq!(refused(&pod("f", json!({"containers": [{"name": "c"}]}), json!({}))).0, "TaintToleration");
        // who ran here before the kubelet's restart stays
        let before = json!({"startTime": "2026-01-01T00:00:00Z", "phase": "Running"});
        assert_eq!(ask(&pod("g", elsewhere, before), calm), Ok(()));
        assert_eq!(refused(&pod("h", with(json!({"name": "c"})), json!({}))).0, "OutOfpods");
        all.forget("g");
        let disk = Pressure { disk: true, ..calm };
        assert_eq!(
            ask(&pod("i", with(json!({"name": "c"})), json!({})), disk).unwrap_err(),
            ("Evicted".into(), "The node had condition: [DiskPressure]. ".into())
        );
        let mut critical = with(json!({"name": "c"}));
        critical["priority"] = json!(CRITICAL);
        assert_eq!(ask(&pod("j", critical, json!({})), disk), Ok(()));
    }
}
