//! The JSON decoder with and without its search for duplicates, and the check against a schema: what has been checked stays.
#![no_main]

use api::{Value, decode, schema};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let (plain, tracked) = (decode::json(data, false), decode::json(data, true));
    assert_eq!(plain.is_ok(), tracked.is_ok());
    let (Ok(plain), Ok(tracked)) = (plain, tracked) else { return };
    assert_eq!(plain.tree, tracked.tree);
    let text = serde_json::to_vec(&plain.tree).expect("a tree is text");
    assert_eq!(
        decode::json(&text, true).expect("what was written"),
        decode::Decoded { tree: plain.tree.clone(), duplicates: vec![] }
    );

    for kind in ["io.k8s.api.core.v1.Pod", "io.k8s.api.apps.v1.Deployment", "io.k8s.api.coordination.v1.Lease"] {
        let schema = schema::find(kind).expect("a known type");
        let mut tree = plain.tree.clone();
        if schema::check(schema, &mut tree).is_ok() {
            let mut again = tree.clone();
            assert_eq!(schema::check(schema, &mut again), Ok(vec![]));
            assert_eq!(again, tree);
        }
    }
});
