//! Writing a pod's status: the newest wins, what others own in it stays.

use std::sync::Arc;

use api::k8s_openapi::api::core::v1::{Pod, PodStatus};
use api::{Object, Resource, Status};
use client::{Client, Target, WriteOptions};

const OWNED: [&str; 5] = ["PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled"];

/// Errors with `NotFound` also where the name now belongs to another pod.
pub(crate) async fn status(
    client: &Arc<dyn Client>,
    mut object: Arc<Object>,
    mut status: PodStatus,
) -> Result<Arc<Object>, Status> {
    let target = Target::one(Pod::gvr(), object.namespace(), object.name());
    let uid = object.uid().to_owned();
    let mut tries = 0;
    loop {
        let mut tree = object.tree();
        let typed = Pod { status: Some(status.clone()), ..Pod::default() };
        tree["status"] = typed.to_value()["status"].take();
        match client.update(&target.clone().sub("status"), tree, &WriteOptions::default()).await {
            Err(e) if e.is_conflict() && tries < 10 => {
                tries += 1;
                object = client.get(&target).await?;
                if object.uid() != uid {
                    return Err(Status::not_found("", "pods", &target.name));
                }
                adopt_foreign(&mut status, &object);
            }
            done => return done,
        }
    }
}

fn adopt_foreign(status: &mut PodStatus, fresh: &Object) {
    let Some(theirs) = fresh.view::<Pod>().ok().and_then(|p| p.status.as_ref()) else { return };
    let mut all = status.conditions.take().unwrap_or_default();
    let ours =
        |kind: &str| OWNED.contains(&kind) || kind == "DisruptionTarget" || super::resize::CONDITIONS.contains(&kind);
    all.retain(|c| ours(&c.type_));
    let others = theirs
        .conditions
        .iter()
        .flatten()
        .filter(|c| !OWNED.contains(&c.type_.as_str()) && !super::resize::CONDITIONS.contains(&c.type_.as_str()));
    let others: Vec<_> = others.filter(|c| !all.iter().any(|a| a.type_ == c.type_)).cloned().collect();
    all.extend(others);
    status.conditions = Some(all);
}
