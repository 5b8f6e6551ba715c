//! JSON, merge and strategic merge patches: `[tree, patch]`.
#![no_main]

use api::{Value, patch, schema};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(Value::Array(pair)) = serde_json::from_slice(data) else { return };
    let [tree, change] = pair.as_slice() else { return };
    let _ = patch::json(&mut tree.clone(), change);

    let mut once = tree.clone();
    if patch::merge(&mut once, change).is_ok() {
        let mut twice = once.clone();
        patch::merge(&mut twice, change).expect("as before");
        assert_eq!(once, twice);
    }
    for kind in ["io.k8s.api.core.v1.Pod", "io.k8s.api.core.v1.Service", "io.k8s.api.apps.v1.Deployment"] {
        let _ = patch::strategic(&mut tree.clone(), change, schema::find(kind).expect("a known type"));
    }
});
