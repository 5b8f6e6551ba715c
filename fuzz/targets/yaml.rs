//! The YAML decoder; what the server writes as YAML is read as what it was.
#![no_main]

use api::decode;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let _ = decode::yaml_documents(data);
    let Ok(done) = decode::yaml(data) else { return };
    let text = api::yaml::to_string(&done.tree);
    let again = decode::yaml(text.as_bytes()).unwrap_or_else(|e| panic!("{e}\n{text}"));
    assert_eq!(again.tree, done.tree, "{text}");
});
