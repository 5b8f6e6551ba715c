//! `…/scale`: a view of a kind as `autoscaling/v1` Scale.

use std::sync::Arc;

use api::field::{self, Path};
use api::{Kind, Object, Status, Value};
use serde_json::json;

use super::{Call, Engine, Part, meta};

/// The schema of a Scale.
pub const SCALE: &str = "io.k8s.api.autoscaling.v1.Scale";

/// What `…/scale` of an object answers.
pub fn scale_of(call: &Call<'_>, object: &Object) -> Result<Value, Status> {
    scale_view(call.kind(), &object.tree()).ok_or_else(|| call.not_found(object.name()))
}

/// The same of a tree; `None`: its kind has no scale.
pub(crate) fn scale_view(kind: &Kind, tree: &Value) -> Option<Value> {
    let scale = kind.strategy.scale(tree)?;
    let mut metadata = json!({});
    for key in ["name", "namespace", "uid", "resourceVersion", "creationTimestamp"] {
        if let Some(v) = tree["metadata"].get(key).filter(|v| !v.is_null()) {
            metadata[key] = v.clone();
        }
    }
    let mut status = json!({"replicas": scale.status_replicas});
    if !scale.selector.is_empty() {
        status["selector"] = scale.selector.into();
    }
    let mut spec = json!({});
    if scale.replicas != 0 {
        spec["replicas"] = scale.replicas.into();
    }
    Some(json!({"kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": metadata, "spec": spec, "status": status}))
}

/// `ValidateScale`
pub(super) fn check_replicas(name: &str, replicas: i64) -> Result<(), Status> {
    if replicas >= 0 {
        return Ok(());
    }
    let path = Path::root("spec");
    let error = field::Error::invalid(&path.child("replicas"), replicas, "must be greater than or equal to 0");
    Err(Status::invalid("autoscaling", "Scale", name, &[error]))
}

impl Engine {
    /// Sets the replicas that `make` gives as a Scale, from the current one.
    pub async fn rescale(
        &self,
        call: &mut Call<'_>,
        name: &str,
        mut make: impl FnMut(Value) -> Result<Value, Status>,
    ) -> Result<Arc<Object>, Status> {
        let served = call.served.clone();
        let namespace = call.namespace().to_owned();
        let (attributes, dry_run) = (call.attributes, call.dry_run);
        self.rewrite(call, Part::Main, name, |old| {
            let scale = make(scale_of(&Call::new(attributes, &served, dry_run), old)?)?;
            meta::check_name(&scale, &namespace, name)?;
            let replicas = scale.pointer("/spec/replicas").and_then(Value::as_i64).unwrap_or(0);
            check_replicas(name, replicas)?;
            let mut tree = old.tree();
            let metadata = meta::metadata(&mut tree)?;
            metadata.remove("resourceVersion");
            for key in ["resourceVersion", "uid"] {
                if !meta::text(&scale, key).is_empty() {
                    metadata.insert(key.into(), scale["metadata"][key].clone());
                }
            }
            served.kind.strategy.set_replicas(&mut tree, replicas);
            Ok(tree)
        })
        .await
    }
}
