//! CEL: parsed, checked, and evaluated within a budget.
#![no_main]

use api::cel::{Budget, Program, Type, Value};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if text.len() > 4096 {
        return;
    }
    let tree = serde_json::json!({"s": "text", "n": -3, "f": 1.5, "b": true, "list": [1, 2, 3, "x"], "map": {"a": {"b": null}},
        "ip": "10.0.0.1", "url": "https://a.b/c?d=e", "time": "2020-01-01T00:00:00Z"});
    let variables = [("self", Value::of(&tree, None)), ("oldSelf", Value::Null)];
    let declared = [("self", Type::Dyn), ("oldSelf", Type::Dyn)];
    for program in [Program::compile(text, &declared).map(|c| c.program), Program::parse(text)].into_iter().flatten() {
        let _ = program.uses("oldSelf");
        if let Ok(value) = program.evaluate(&variables, &mut Budget::new(10_000)) {
            let _ = (value.to_json(), value.size(), value.equals(&value), value.text());
        }
    }
});
