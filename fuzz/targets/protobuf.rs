//! The protobuf decoder, and back; a text that is JSON is encoded first.
#![no_main]

use api::{Value, decode, protobuf};
use libfuzzer_sys::fuzz_target;

fn back(tree: &Value) -> Option<Value> {
    let (group, version, kind) = decode::gvk(tree);
    let bytes = protobuf::encode(group, version, kind, tree)?;
    Some(protobuf::decode(&bytes).expect("what was written"))
}

fuzz_target!(|data: &[u8]| {
    let read = match serde_json::from_slice::<Value>(data) {
        Ok(tree) => back(&tree),
        Err(_) => protobuf::decode(data).ok(),
    };
    if let Some(tree) = read {
        assert_eq!(back(&tree).expect("a kind that was read"), tree);
    }
});
