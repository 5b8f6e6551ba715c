//! The quality of service class. Upstream's `v1qos.ComputePodQOS`.

use std::collections::BTreeMap;

use api::k8s_openapi::api::core::v1::PodSpec;

use crate::quantity::{ResourceList, milli};

pub(crate) fn class(spec: &PodSpec) -> &'static str {
    if let Some(r) = spec.resources.as_ref().filter(|r| r.limits.is_some() || r.requests.is_some()) {
        let (requests, limits) = (positive(r.requests.as_ref()), positive(r.limits.as_ref()));
        return verdict(&requests, &limits, limits.len() == 2);
    }
    let (mut requests, mut limits) = (BTreeMap::new(), BTreeMap::new());
    let mut every_limit = true;
    for c in spec.containers.iter().chain(spec.init_containers.iter().flatten()) {
        let resources = c.resources.as_ref();
        let (r, l) = (
            positive(resources.and_then(|r| r.requests.as_ref())),
            positive(resources.and_then(|r| r.limits.as_ref())),
        );
        every_limit &= l.len() == 2;
        for (sum, part) in [(&mut requests, r), (&mut limits, l)] {
            for (k, v) in part {
                *sum.entry(k).or_insert(0) += v;
            }
        }
    }
    verdict(&requests, &limits, every_limit)
}

type Sum = BTreeMap<&'static str, i128>;

fn positive(list: Option<&ResourceList>) -> Sum {
    ["cpu", "memory"].into_iter().filter_map(|k| Some((k, milli(list?.get(k)?)?))).filter(|(_, v)| *v > 0).collect()
}

fn verdict(requests: &Sum, limits: &Sum, every_limit: bool) -> &'static str {
    if requests.is_empty() && limits.is_empty() {
        return "BestEffort";
    }
    if every_limit && requests.iter().all(|(k, v)| limits.get(k) == Some(v)) { "Guaranteed" } else { "Burstable" }
}
