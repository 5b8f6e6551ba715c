//! Claims and volumes get the finalizers that keep them while they are used: upstream's `storage/storageobjectinuseprotection`.
//! The controllers take them off.

use api::Status;
use async_trait::async_trait;
use serde_json::json;

use super::tree::{list, object};
use super::{Operation, Plugin, Write};
use crate::{Attributes, Verb};

pub struct StorageObjectInUseProtection;

fn finalizer(a: &Attributes) -> Option<&'static str> {
    match &*a.resource {
        "persistentvolumeclaims" => Some("kubernetes.io/pvc-protection"),
        "persistentvolumes" => Some("kubernetes.io/pv-protection"),
        _ => None,
    }
}

#[async_trait]
impl Plugin for StorageObjectInUseProtection {
    fn name(&self) -> &'static str {
        "StorageObjectInUseProtection"
    }
    fn handles(&self, a: &Attributes) -> bool {
        let writes = matches!(a.verb, Verb::Create | Verb::Patch | Verb::Update);
        writes && a.group.is_empty() && a.subresource.is_empty() && finalizer(a).is_some()
    }
    async fn mutate(&self, write: &mut Write<'_>) -> Result<(), Status> {
        let Some(finalizer) = finalizer(write.attributes).filter(|_| write.operation() == Operation::Create) else {
            return Ok(());
        };
        if let Some(all) = object(write.object, "metadata").and_then(|m| list(m, "finalizers"))
            && !all.iter().any(|f| f == finalizer)
        {
            all.push(json!(finalizer));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{attributes, run};
    use super::*;
    use crate::User;

    #[tokio::test]
    async fn new_claims_and_volumes_are_held_once() {
        for (resource, want) in [
            ("persistentvolumeclaims", "kubernetes.io/pvc-protection"),
            ("persistentvolumes", "kubernetes.io/pv-protection"),
        ] {
            let a = attributes(resource, "ns", &User::system("t"));
            let admit = async |tree| run(&StorageObjectInUseProtection, &a, tree, None).await.unwrap();
            let made = admit(json!({"metadata": {"name": "a"}})).await;
            assert_eq!(made["metadata"]["finalizers"], json!([want]));
            assert_eq!(admit(made.clone()).await, made);
        }
    }
}
