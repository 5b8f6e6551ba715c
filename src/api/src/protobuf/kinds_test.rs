//! One object of every kind on the wire, in every version that is served.

use serde::Deserialize;
use serde_json::Value;

use super::{covers, decode, encode};
use crate::kinds::registry;
use crate::{convert, schema};

const OBJECTS: &str = include_str!("../../../../tests/tests/box/kinds.yaml");

#[test]
fn every_kind_keeps_all_in_every_version() {
    let registry = registry();
    let mut silent = Vec::new();
    for document in serde_yaml::Deserializer::from_str(OBJECTS) {
        let mut object = Value::deserialize(document).expect("YAML");
        let text = |key: &str| object[key].as_str().unwrap_or_default().to_owned();
        let (api_version, name) = (text("apiVersion"), text("kind"));
        let (group, version) = api_version.split_once('/').unwrap_or(("", &api_version));
        let kind = registry.kind(group, version, &name).unwrap_or_else(|| panic!("{api_version} {name}"));
        kind.strategy.default(&mut object);
        let schema = schema::Schema::from(schema::find(&kind.schema).expect("a kind has a schema"));
        assert_eq!(schema.check(&mut object), Ok(Vec::new()), "{name}");
        for (group, version) in &kind.served {
            if !covers(group, version, &name) {
                silent.push(format!("{group}/{version} {name}"));
                continue;
            }
            let mut old = object.clone();
            convert::from_storage(kind, group, version, &mut old);
            let bytes = encode(group, version, &name, &old)
                .unwrap_or_else(|| panic!("{group}/{version} {name} has no wire form"));
            let mut back = decode(&bytes).unwrap_or_else(|e| panic!("{group}/{version} {name}: {e}"));
            convert::to_storage(kind, group, version, &mut back);
            kind.strategy.default(&mut back);
            schema.check(&mut back).unwrap_or_else(|e| panic!("{group}/{version} {name}: {e}"));
            let what = format!("{group}/{version} {name}:\n{back}\n{object}");
            assert!(crate::kinds::same(&back, &object), "{what}");
        }
    }
    assert_eq!(silent, Vec::<String>::new(), "these have no protobuf");
}
