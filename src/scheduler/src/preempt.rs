//! Room for the more important: which pods of lower priority would have to go, and from where. Upstream's
//! `defaultpreemption`, as a pure function.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

use api::k8s_openapi::api::core::v1::Pod;
use jiff::Timestamp;

use crate::cache::Cache;
use crate::decide::{Nowhere, histogram};
use crate::filter::{self, Cycle};
use crate::node::{NodeInfo, PodInfo};
use crate::volumes::Volumes;

/// How many more pods a disruption budget lets go, for those pods it covers.
pub trait Budgets {
    /// Takes one from the budgets that cover `pod`; false if one of them has none left.
    fn take(&mut self, pod: &PodInfo) -> bool;
    fn fresh(&self) -> Box<dyn Budgets + '_>;
}

pub struct Victims {
    pub node: String,
    pub pods: Vec<Arc<PodInfo>>,
}

/// The victims, or in upstream's words why there are none.
pub fn preempt(
    pod: &Arc<PodInfo>,
    cache: &Cache,
    volumes: &Volumes,
    nowhere: &Nowhere,
    budgets: &dyn Budgets,
) -> Result<Victims, String> {
    if pod.spec().preemption_policy.as_deref() == Some("Never") {
        return Err("preemption: not eligible due to preemptionPolicy=Never.".into());
    }
    let nominated = pod.pod().status.as_ref().and_then(|s| s.nominated_node_name.as_deref());
    let leaving = |n: &NodeInfo| n.pods.iter().any(|p| p.is_deleting() && p.priority() < pod.priority());
    if nominated.and_then(|n| cache.node(n)).is_some_and(leaving) {
        return Err("preemption: not eligible due to a terminating pod on the nominated node.".into());
    }
    let mut reasons: Vec<String> = Vec::new();
    let mut best: Option<(Cost, Victims)> = None;
    for node in cache.nodes() {
        let refused = nowhere.rejections.get(node.name());
        if nowhere.pod.is_some() || refused.is_none_or(|r| r.unresolvable) {
            reasons.push("Preemption is not helpful for scheduling".into());
            continue;
        }
        match on_node(pod, node, cache, volumes, &mut *budgets.fresh()) {
            Ok((cost, pods)) => {
                if best.as_ref().is_none_or(|(b, _)| cost < *b) {
                    best = Some((cost, Victims { node: node.name().to_owned(), pods }));
                }
            }
            Err(why) => reasons.extend(why),
        }
    }
    let texts = histogram(reasons.iter().map(String::as_str));
    best.map(|(_, v)| v).ok_or_else(|| format!("preemption: 0/{} nodes are available: {texts}.", cache.nodes().len()))
}

/// The cheaper the better: `pickOneNodeForPreemption`. Budgets broken, the highest priority, their sum, their number, and
/// the latest start of the most important.
type Cost = (usize, i32, i64, usize, Reverse<Option<Timestamp>>);

fn started(pod: &PodInfo) -> Option<Timestamp> {
    pod.pod().status.as_ref().and_then(|s| s.start_time.as_ref()).map(|t| t.0)
}

fn on_node(
    pod: &Arc<PodInfo>,
    node: &NodeInfo,
    cache: &Cache,
    volumes: &Volumes,
    budgets: &mut dyn Budgets,
) -> Result<(Cost, Vec<Arc<PodInfo>>), Vec<String>> {
    let mut room = node.clone();
    let mut lower: Vec<Arc<PodInfo>> = node.pods.iter().filter(|p| p.priority() < pod.priority()).cloned().collect();
    if lower.is_empty() {
        return Err(vec!["No preemption victims found for incoming pod".into()]);
    }
    lower.iter().for_each(|p| drop(room.remove(p.object.uid())));
    let fits = |room: &NodeInfo| {
        let nodes = cache.nodes().map(|n| if n.name() == room.name() { room } else { n });
        filter::check(&Cycle::new(pod, nodes, &cache.namespaces, volumes), room)
    };
    fits(&room).map_err(|r| r.reasons.iter().map(ToString::to_string).collect::<Vec<_>>())?;
    // the important come back first, and before all those whose budget would be broken
    lower.sort_by_key(|p| (Reverse(p.priority()), started(p)));
    let broken: Vec<bool> = lower.iter().map(|p| !budgets.take(p)).collect();
    let mut order: Vec<(bool, Arc<PodInfo>)> = broken.into_iter().zip(lower).collect();
    order.sort_by_key(|(broken, _)| !broken);
    let (mut victims, mut violations) = (Vec::new(), 0);
    for (broken, candidate) in order {
        room.add(candidate.clone());
        if fits(&room).is_err() {
            room.remove(candidate.object.uid());
            violations += usize::from(broken);
            victims.push(candidate);
        }
    }
    let highest = victims.iter().map(|p| p.priority()).max().unwrap_or(i32::MIN);
    let sum = victims.iter().map(|p| i64::from(p.priority())).sum();
    let latest = victims.iter().filter(|p| p.priority() == highest).filter_map(|p| started(p)).min();
    Ok(((violations, highest, sum, victims.len(), Reverse(latest)), victims))
}

/// The disruption budgets of the cluster, as trees.
pub struct Pdbs {
    /// `(namespace, selector, disruptions allowed)`
    budgets: Vec<(String, api::labels::Selector, i64)>,
}

impl Pdbs {
    pub fn new(objects: &[Arc<api::Object>]) -> Pdbs {
        let budgets = objects.iter().filter_map(|o| {
            let tree = o.tree();
            let selector = api::labels::Selector::from_tree(&tree["spec"]["selector"]).ok()?;
            Some((o.namespace().to_owned(), selector, tree["status"]["disruptionsAllowed"].as_i64().unwrap_or(0)))
        });
        Pdbs { budgets: budgets.collect() }
    }
}

impl Budgets for Pdbs {
    fn take(&mut self, pod: &PodInfo) -> bool {
        let covers = |(ns, s, _): &&mut (String, api::labels::Selector, i64)| {
            ns == pod.object.namespace() && s.matches(&pod.object.meta().labels)
        };
        let mut kept = true;
        for (_, _, allowed) in self.budgets.iter_mut().filter(covers) {
            *allowed -= 1;
            kept &= *allowed >= 0;
        }
        kept
    }
    fn fresh(&self) -> Box<dyn Budgets + '_> {
        Box::new(Pdbs { budgets: self.budgets.clone() })
    }
}

/// The pods that wait for a place on a node others are leaving: upstream's nominator.
#[derive(Default)]
pub struct Nominations {
    by_uid: BTreeMap<Box<str>, (String, Arc<PodInfo>)>,
}

impl Nominations {
    pub fn add(&mut self, pod: Arc<PodInfo>, node: &str) {
        self.by_uid.insert(pod.object.uid().into(), (node.to_owned(), pod));
    }
    pub fn remove(&mut self, uid: &str) {
        self.by_uid.remove(uid);
    }
    /// `node` as it will be once those at least as important as `pod` have come; `None` if none is awaited.
    pub fn with(&self, node: &NodeInfo, pod: &PodInfo) -> Option<NodeInfo> {
        let awaited = self
            .by_uid
            .values()
            .filter(|(n, p)| n == node.name() && p.object.uid() != pod.object.uid() && p.priority() >= pod.priority());
        let mut then = None;
        for (_, p) in awaited {
            then.get_or_insert_with(|| node.clone()).add(p.clone());
        }
        then
    }
}

/// What a pod's status says of its nomination.
pub fn nominated_node(pod: &Pod) -> Option<&str> {
    pod.status.as_ref()?.nominated_node_name.as_deref().filter(|n| !n.is_empty())
}
