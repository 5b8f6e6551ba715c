//! The protobuf decoder, and back; a text that is JSON is encoded first.
#![no_main]

use api::{Value, decode, protobuf};
use libfuzzer_sys::fuzz_target;

fn back(tree: &Value) -> Option<Value> {
    let (group, version, kind) = decode::gvk(tree);
    let bytes = protobuf::encode(group, version, kind, tree)?;
    Some(protobuf::decode(&bytes).expect("what was written"))
}

/// Group and version, or a version: what else there is belongs to no kind.
fn sound(tree: &Value) -> bool {
    let text = tree["apiVersion"].as_str().unwrap_or_default();
    !text.starts_with('/') && text.matches('/').count() < 2
}

fuzz_target!(|data: &[u8]| {
    let read = match serde_json::from_slice::<Value>(data) {
        Ok(tree) if sound(&tree) => back(&tree),
        Ok(_) => None,
        Err(_) => protobuf::decode(data).ok(),
    };
    if let Some(tree) = read.filter(sound) {
        assert_eq!(back(&tree).expect("a kind that was read"), tree);
    }
});
