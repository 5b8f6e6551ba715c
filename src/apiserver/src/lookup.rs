//! How authentication, authorization and admission read: the current objects, from memory.

use std::sync::Arc;

use api::Object;

/// Answers from the store's index, without I/O. `resource` is [`api::Kind::store_resource`].
pub trait Lookup: Send + Sync + 'static {
    fn get(&self, resource: &str, namespace: &str, name: &str) -> Option<Arc<Object>>;
    /// Of one namespace, or of all where `namespace` is empty.
    fn list(&self, resource: &str, namespace: &str) -> Vec<Arc<Object>>;
}

impl Lookup for store::Store {
    fn get(&self, resource: &str, namespace: &str, name: &str) -> Option<Arc<Object>> {
        store::Store::get(self, &store::Key::new(resource, namespace, name))
    }
    fn list(&self, resource: &str, namespace: &str) -> Vec<Arc<Object>> {
        let namespace = (!namespace.is_empty()).then_some(namespace);
        self.snapshot(resource).range(namespace, None).cloned().collect()
    }
}

#[cfg(test)]
pub mod fake {
    //! A cluster in a map.

    use std::collections::BTreeMap;

    use api::{Draft, Value};
    use parking_lot::Mutex;

    use super::*;

    #[derive(Default)]
    pub struct Cluster(Mutex<BTreeMap<(String, String, String), Arc<Object>>>);

    impl Cluster {
        pub fn put(&self, resource: &str, tree: Value) -> Arc<Object> {
            let object = Arc::new(Draft::encode(&tree).expect("a test's object encodes").at(1));
            let key = (resource.into(), object.namespace().into(), object.name().into());
            self.0.lock().insert(key, object.clone());
            object
        }
        pub fn remove(&self, resource: &str, namespace: &str, name: &str) {
            self.0.lock().remove(&(resource.into(), namespace.into(), name.into()));
        }
    }

    impl Lookup for Cluster {
        fn get(&self, resource: &str, namespace: &str, name: &str) -> Option<Arc<Object>> {
            self.0.lock().get(&(resource.into(), namespace.into(), name.into())).cloned()
        }
        fn list(&self, resource: &str, namespace: &str) -> Vec<Arc<Object>> {
            let map = self.0.lock();
            let here =
                |(r, n, _): &&(String, String, String)| r == resource && (namespace.is_empty() || n == namespace);
            map.keys().filter(here).map(|k| map[k].clone()).collect()
        }
    }
}
