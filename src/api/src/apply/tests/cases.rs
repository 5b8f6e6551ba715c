//! The core by itself: managers that apply and update, on schemas like those of structured-merge-diff's tests.

use serde_json::json;

use super::super::*;
use crate::crd::Structural;

enum Op {
    Apply(&'static str, Value),
    Force(&'static str, Value),
    /// Refused: with the paths that conflict.
    Refused(&'static str, Value, &'static [&'static str]),
    Update(&'static str, Value),
}
use Op::{Apply, Force, Refused, Update};

struct Case {
    name: &'static str,
    ops: Vec<Op>,
    object: Value,
    /// By manager, as `fieldsV1`.
    owned: Vec<(&'static str, Value)>,
}

fn writer(manager: &str) -> Writer<'_> {
    Writer { manager, api_version: "g/v1", subresource: "", now: "2020-01-01T00:00:00Z", has_status: false }
}

fn run(schema: &Value, case: Case) {
    let schema = Structural::parse(schema);
    let root = Node::root(Schema::Custom(&schema));
    let (mut live, mut all) = (json!({}), Vec::new());
    for op in case.ops {
        let apply = |live: &Value, all: &[Entry], manager, config: &Value, force| {
            let set = walk::fields(root, config);
            overlay(root, live, config, &set, all, &writer(manager), force)
        };
        match op {
            Apply(manager, config) => match apply(&live, &all, manager, &config, false) {
                Ok(done) => (live, all) = done,
                Err(conflicts) => panic!("{}: {:?}", case.name, conflict(&all, &conflicts).message),
            },
            Force(manager, config) => (live, all) = apply(&live, &all, manager, &config, true).unwrap(),
            Refused(manager, config, paths) => {
                let conflicts = apply(&live, &all, manager, &config, false).unwrap_err();
                let found: Vec<String> = conflicts.iter().flat_map(|(_, s)| s.paths()).collect();
                assert_eq!(found, paths, "{}", case.name);
            }
            Update(manager, new) => {
                reconcile(root, &mut all, &live);
                update(&mut all, changed(root, &live, &new, &writer(manager)), &writer(manager));
                live = new;
            }
        }
        all.retain(|e: &Entry| !e.fields.is_empty());
    }
    assert_eq!(live, case.object, "{}", case.name);
    let mut owned: Vec<(&str, Value)> =
        all.iter().map(|e| (e.manager.as_str(), e.fields.clone().into_value())).collect();
    owned.sort_by_key(|(m, _)| m.to_owned());
    assert_eq!(owned, case.owned, "{}", case.name);
}

fn case(name: &'static str, ops: Vec<Op>, object: Value, owned: Vec<(&'static str, Value)>) -> Case {
    Case { name, ops, object, owned }
}

/// `associativeListParser`, `nestedTypeParser`, `duplicatesParser` in one.
fn schema() -> Value {
    let set = json!({"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}});
    let map = json!({"type": "object", "additionalProperties": {"type": "string"}});
    let keyed = |more: Value| {
        let mut item = json!({"type": "object", "properties": {"name": {"type": "string"}}});
        item["properties"].as_object_mut().unwrap().extend(more.as_object().cloned().unwrap());
        json!({"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"], "items": item})
    };
    json!({"type": "object", "properties": {
        "list": keyed(json!({"value": {"type": "integer"}, "value1": {"type": "integer"}, "value2": {"type": "integer"}})),
        "items": set,
        "set": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "integer"}},
        "atomic": {"type": "array", "items": {"type": "string"}},
        "unrelated": {"type": "integer"},
        "struct": {"type": "object", "properties": {"name": {"type": "string"}, "value": {"type": "integer"},
            "scalar": {"type": "string"}, "complex": {"type": "object", "properties": {"name": {"type": "string"}}}}},
        "atomicMap": {"type": "object", "x-kubernetes-map-type": "atomic", "additionalProperties": {"type": "string"}},
        "listOfLists": keyed(json!({"value": set})),
        "listOfMaps": keyed(json!({"value": map})),
        "mapOfLists": {"type": "object", "additionalProperties": set},
        "mapOfMaps": {"type": "object", "additionalProperties": map},
        "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
    }})
}

fn a(key: &str) -> String {
    format!("k:{{\"name\":\"{key}\"}}")
}

#[test]
fn lists_keep_what_orders_agree_on() {
    for (live, config, want) in [
        ("abc", "de", "abcde"),
        ("abc", "abd", "abcd"),
        ("abc", "bad", "bcad"),
        ("abcd", "dba", "cdba"),
        ("abcde", "edba", "cedba"),
        ("abcde", "adbe", "acdbe"),
        ("abc", "axyzb", "axyzbc"),
    ] {
        let list = |s: &str| -> Vec<String> { s.chars().map(String::from).collect() };
        let schema = Structural::parse(&schema());
        let root = Node::root(Schema::Custom(&schema));
        let got = merge::merge(root, &json!({"items": list(live)}), &json!({"items": list(config)}));
        assert_eq!(got, json!({"items": list(want)}), "{live} {config}");
    }
}

#[test]
fn several_managers_share_lists() {
    let one = json!({"f:list": {a("a"): {".": {}, "f:name": {}}}});
    for c in [
        case(
            "remove_one",
            vec![
                Apply("one", json!({"list": [{"name": "a"}, {"name": "b"}]})),
                Apply("two", json!({"list": [{"name": "c"}]})),
                Apply("one", json!({"list": [{"name": "a"}]})),
            ],
            json!({"list": [{"name": "a"}, {"name": "c"}]}),
            vec![("one", one.clone()), ("two", json!({"f:list": {a("c"): {".": {}, "f:name": {}}}}))],
        ),
        case(
            "same_value_no_conflict",
            vec![
                Apply("one", json!({"list": [{"name": "a", "value": 0}]})),
                Apply("two", json!({"list": [{"name": "a", "value": 0}]})),
            ],
            json!({"list": [{"name": "a", "value": 0}]}),
            vec![
                ("one", json!({"f:list": {a("a"): {".": {}, "f:name": {}, "f:value": {}}}})),
                ("two", json!({"f:list": {a("a"): {".": {}, "f:name": {}, "f:value": {}}}})),
            ],
        ),
        case(
            "change_value_yes_conflict",
            vec![
                Apply("one", json!({"list": [{"name": "a", "value": 0}]})),
                Refused("two", json!({"list": [{"name": "a", "value": 1}]}), &[".list[name=\"a\"].value"]),
            ],
            json!({"list": [{"name": "a", "value": 0}]}),
            vec![("one", json!({"f:list": {a("a"): {".": {}, "f:name": {}, "f:value": {}}}}))],
        ),
        case(
            "remove_one_keep_one",
            vec![
                Apply("one", json!({"list": [{"name": "a"}, {"name": "b"}, {"name": "c"}]})),
                Apply("two", json!({"list": [{"name": "c"}, {"name": "d"}]})),
                Apply("one", json!({"list": [{"name": "a"}]})),
            ],
            json!({"list": [{"name": "a"}, {"name": "c"}, {"name": "d"}]}),
            vec![
                ("one", one.clone()),
                ("two", json!({"f:list": {a("c"): {".": {}, "f:name": {}}, a("d"): {".": {}, "f:name": {}}}})),
            ],
        ),
        case(
            "remove_one_keep_one_with_dangling_subitem",
            vec![
                Apply("one", json!({"listOfLists": [{"name": "a"}, {"name": "b", "value": ["c"]}]})),
                Apply("two", json!({"listOfLists": [{"name": "b", "value": ["d"]}]})),
                Update("controller", json!({"listOfLists": [{"name": "a"}, {"name": "b", "value": ["c", "d", "e"]}]})),
                Apply("one", json!({"listOfLists": [{"name": "a"}]})),
            ],
            json!({"listOfLists": [{"name": "a"}, {"name": "b", "value": ["d", "e"]}]}),
            vec![
                ("controller", json!({"f:listOfLists": {a("b"): {"f:value": {"v:\"e\"": {}}}}})),
                ("one", json!({"f:listOfLists": {a("a"): {".": {}, "f:name": {}}}})),
                ("two", json!({"f:listOfLists": {a("b"): {".": {}, "f:name": {}, "f:value": {"v:\"d\"": {}}}}})),
            ],
        ),
        case(
            "remove_one_with_dangling_subitem_keep_one: what another has changed below goes with the element",
            vec![
                Apply("one", json!({"listOfLists": [{"name": "a"}, {"name": "b", "value": ["c"]}]})),
                Apply("two", json!({"listOfLists": [{"name": "a", "value": ["b"]}]})),
                Update(
                    "controller",
                    json!({"listOfLists": [{"name": "a", "value": ["b"]}, {"name": "b", "value": ["c", "d"]}]}),
                ),
                Apply("one", json!({"listOfLists": [{"name": "a"}]})),
            ],
            json!({"listOfLists": [{"name": "a", "value": ["b"]}]}),
            vec![
                ("one", json!({"f:listOfLists": {a("a"): {".": {}, "f:name": {}}}})),
                ("two", json!({"f:listOfLists": {a("a"): {".": {}, "f:name": {}, "f:value": {"v:\"b\"": {}}}}})),
            ],
        ),
    ] {
        run(&schema(), c);
    }
}

#[test]
fn fields_are_unset() {
    let name = json!({"f:struct": {"f:name": {}}});
    for c in [
        case(
            "unset_scalar_sole_owner",
            vec![
                Apply("one", json!({"struct": {"name": "a", "scalar": "a"}})),
                Apply("one", json!({"struct": {"name": "a"}})),
            ],
            json!({"struct": {"name": "a"}}),
            vec![("one", name.clone())],
        ),
        case(
            "unset_scalar_shared_with_applier",
            vec![
                Apply("one", json!({"struct": {"name": "a", "scalar": "a"}})),
                Apply("two", json!({"struct": {"scalar": "a"}})),
                Apply("one", json!({"struct": {"name": "a"}})),
            ],
            json!({"struct": {"name": "a", "scalar": "a"}}),
            vec![("one", name.clone()), ("two", json!({"f:struct": {"f:scalar": {}}}))],
        ),
        case(
            "unset_scalar_shared_with_updater",
            vec![
                Update("updater", json!({"struct": {"name": "a", "scalar": "a"}})),
                Apply("applier", json!({"struct": {"name": "a", "scalar": "a"}})),
                Apply("applier", json!({"struct": {"name": "a"}})),
            ],
            json!({"struct": {"name": "a", "scalar": "a"}}),
            vec![("applier", name.clone()), ("updater", json!({"f:struct": {".": {}, "f:name": {}, "f:scalar": {}}}))],
        ),
        case(
            "updater_claims_field",
            vec![
                Apply("applier", json!({"struct": {"name": "a", "scalar": "a"}})),
                Update("updater", json!({"struct": {"name": "a", "scalar": "b"}})),
            ],
            json!({"struct": {"name": "a", "scalar": "b"}}),
            vec![("applier", name.clone()), ("updater", json!({"f:struct": {"f:scalar": {}}}))],
        ),
        case(
            "unset_complex_sole_owner",
            vec![
                Apply("one", json!({"struct": {"name": "a", "complex": {"name": "b"}}})),
                Apply("one", json!({"struct": {"name": "a"}})),
            ],
            json!({"struct": {"name": "a"}}),
            vec![("one", name.clone())],
        ),
        case(
            "unset_complex_shared_with_applier",
            vec![
                Apply("one", json!({"struct": {"name": "a", "complex": {"name": "b"}}})),
                Apply("two", json!({"struct": {"complex": {"name": "b"}}})),
                Apply("one", json!({"struct": {"name": "a"}})),
            ],
            json!({"struct": {"name": "a", "complex": {"name": "b"}}}),
            vec![("one", name.clone()), ("two", json!({"f:struct": {"f:complex": {"f:name": {}}}}))],
        ),
        case(
            "what defaulting put below goes with the field above, which is named",
            vec![Apply("one", json!({"struct": {"name": "a"}, "unrelated": 1})), Apply("one", json!({"unrelated": 1}))],
            json!({"unrelated": 1}),
            vec![("one", json!({"f:unrelated": {}}))],
        ),
        case(
            "struct_apply_update_remove_all: but what another owns stays",
            vec![
                Apply("default", json!({"struct": {"name": "a"}})),
                Update("controller", json!({"struct": {"name": "a", "value": 1}})),
                Apply("default", json!({})),
            ],
            json!({"struct": {"value": 1}}),
            vec![("controller", json!({"f:struct": {"f:value": {}}}))],
        ),
        case(
            "struct_apply_remove_all",
            vec![Apply("default", json!({"struct": {"name": "a", "value": 1}})), Apply("default", json!({}))],
            json!({}),
            vec![],
        ),
        case(
            "struct_apply_remove_dangling",
            vec![Apply("default", json!({"struct": {"name": "a"}})), Apply("default", json!({"struct": null}))],
            json!({"struct": {}}),
            vec![("default", json!({"f:struct": {}}))],
        ),
        case(
            "struct_apply_update_took_over",
            vec![
                Apply("default", json!({"struct": {"name": "a"}})),
                Update("controller", json!({"struct": {"name": "b", "value": 1}})),
                Apply("default", json!({"struct": null})),
            ],
            json!({"struct": {"name": "b", "value": 1}}),
            vec![
                ("controller", json!({"f:struct": {"f:name": {}, "f:value": {}}})),
                ("default", json!({"f:struct": {}})),
            ],
        ),
    ] {
        run(&schema(), c);
    }
}

#[test]
fn nested_types() {
    for c in [
        case(
            "listOfLists_change_value",
            vec![
                Apply("default", json!({"listOfLists": [{"name": "a", "value": ["b", "c"]}]})),
                Apply("default", json!({"listOfLists": [{"name": "a", "value": ["a", "c"]}]})),
            ],
            json!({"listOfLists": [{"name": "a", "value": ["a", "c"]}]}),
            vec![(
                "default",
                json!({"f:listOfLists": {a("a"): {".": {}, "f:name": {}, "f:value": {"v:\"a\"": {}, "v:\"c\"": {}}}}}),
            )],
        ),
        case(
            "listOfMaps_change_key_and_value",
            vec![
                Apply("default", json!({"listOfMaps": [{"name": "a", "value": {"b": "x", "c": "y"}}]})),
                Apply("default", json!({"listOfMaps": [{"name": "b", "value": {"a": "x", "c": "z"}}]})),
            ],
            json!({"listOfMaps": [{"name": "b", "value": {"a": "x", "c": "z"}}]}),
            vec![(
                "default",
                json!({"f:listOfMaps": {a("b"): {".": {}, "f:name": {}, "f:value": {"f:a": {}, "f:c": {}}}}}),
            )],
        ),
        case(
            "mapOfLists_change_key_and_value",
            vec![
                Apply("default", json!({"mapOfLists": {"a": ["b", "c"]}})),
                Apply("default", json!({"mapOfLists": {"b": ["a", "c"]}})),
            ],
            json!({"mapOfLists": {"b": ["a", "c"]}}),
            vec![("default", json!({"f:mapOfLists": {"f:b": {".": {}, "v:\"a\"": {}, "v:\"c\"": {}}}}))],
        ),
        case(
            "mapOfMaps_change_value",
            vec![
                Apply("default", json!({"mapOfMaps": {"a": {"b": "x", "c": "y"}}})),
                Apply("default", json!({"mapOfMaps": {"a": {"a": "x", "c": "z"}}})),
            ],
            json!({"mapOfMaps": {"a": {"a": "x", "c": "z"}}}),
            vec![("default", json!({"f:mapOfMaps": {"f:a": {".": {}, "f:a": {}, "f:c": {}}}}))],
        ),
        case(
            "what no schema describes: maps are looked into, lists are not",
            vec![
                Apply("one", json!({"free": {"m": {"x": 1}, "l": [1, 2]}})),
                Apply("two", json!({"free": {"m": {"y": 1}}})),
                Refused("two", json!({"free": {"m": {"y": 1}, "l": [1, 2, 3]}}), &[".free.l"]),
                Apply("one", json!({"free": {"l": [1]}})),
            ],
            json!({"free": {"m": {"y": 1}, "l": [1]}}),
            vec![("one", json!({"f:free": {"f:l": {}}})), ("two", json!({"f:free": {"f:m": {".": {}, "f:y": {}}}}))],
        ),
        case(
            "atomic lists and maps are owned as a whole",
            vec![
                Apply("one", json!({"atomic": ["a"], "atomicMap": {"a": "1"}})),
                Refused("two", json!({"atomic": ["a", "b"], "atomicMap": {"b": "1"}}), &[".atomic", ".atomicMap"]),
                Force("two", json!({"atomic": ["a", "b"], "atomicMap": {"b": "1"}})),
            ],
            json!({"atomic": ["a", "b"], "atomicMap": {"b": "1"}}),
            vec![("two", json!({"f:atomic": {}, "f:atomicMap": {}}))],
        ),
    ] {
        run(&schema(), c);
    }
}

#[test]
fn duplicates_that_are_there_are_borne() {
    let b = json!({".": {}, "f:name": {}, "f:value1": {}});
    let dup = json!({"list": [{"name": "a", "value1": 1}, {"name": "a", "value1": 2}, {"name": "b", "value1": 3}]});
    let updater = |list: Value| ("updater", json!({ "f:list": list }));
    for c in [
        case(
            "sets/ownership/duplicates",
            vec![Update("updater", json!({"set": [1, 1, 3, 4]}))],
            json!({"set": [1, 1, 3, 4]}),
            vec![("updater", json!({"f:set": {".": {}, "v:1": {}, "v:3": {}, "v:4": {}}}))],
        ),
        case(
            "sets/ownership/add_duplicate",
            vec![Update("one", json!({"set": [1, 3, 4]})), Update("two", json!({"set": [1, 1, 3, 4]}))],
            json!({"set": [1, 1, 3, 4]}),
            vec![("one", json!({"f:set": {".": {}, "v:3": {}, "v:4": {}}})), ("two", json!({"f:set": {"v:1": {}}}))],
        ),
        case(
            "sets/ownership/remove_duplicate",
            vec![Update("one", json!({"set": [1, 1, 3, 4]})), Update("two", json!({"set": [1, 3, 4]}))],
            json!({"set": [1, 3, 4]}),
            vec![("one", json!({"f:set": {".": {}, "v:3": {}, "v:4": {}}})), ("two", json!({"f:set": {"v:1": {}}}))],
        ),
        case(
            "sets/merging/remove_duplicate",
            vec![
                Update("updater", json!({"set": [1, 1, 3, 4]})),
                Refused("applier", json!({"set": [1]}), &[".set[=1]"]),
                Force("applier", json!({"set": [1]})),
            ],
            json!({"set": [1, 3, 4]}),
            vec![
                ("applier", json!({"f:set": {"v:1": {}}})),
                ("updater", json!({"f:set": {".": {}, "v:3": {}, "v:4": {}}})),
            ],
        ),
        case(
            "sets/merging/ignore_duplicate",
            vec![Update("updater", json!({"set": [1, 1, 3, 4]})), Apply("applier", json!({"set": [5]}))],
            json!({"set": [1, 1, 3, 4, 5]}),
            vec![
                ("applier", json!({"f:set": {"v:5": {}}})),
                ("updater", json!({"f:set": {".": {}, "v:1": {}, "v:3": {}, "v:4": {}}})),
            ],
        ),
        case(
            "list/ownership/duplicated_items",
            vec![Update("updater", dup.clone())],
            dup.clone(),
            vec![updater(json!({".": {}, a("a"): {}, a("b"): b}))],
        ),
        case(
            "list/ownership/change_duplicated_items",
            vec![
                Update("one", dup.clone()),
                Update(
                    "two",
                    json!({"list": [{"name": "a", "value1": 1}, {"name": "a", "value1": 3}, {"name": "b", "value1": 3}]}),
                ),
            ],
            json!({"list": [{"name": "a", "value1": 1}, {"name": "a", "value1": 3}, {"name": "b", "value1": 3}]}),
            vec![("one", json!({"f:list": {".": {}, a("b"): b}})), ("two", json!({"f:list": {a("a"): {}}}))],
        ),
        case(
            "list/merge/unrelated_with_duplicated_items",
            vec![Update("updater", dup.clone()), Force("applier", json!({"unrelated": 5}))],
            json!({"list": dup["list"], "unrelated": 5}),
            vec![("applier", json!({"f:unrelated": {}})), updater(json!({".": {}, a("a"): {}, a("b"): b}))],
        ),
        case(
            "list/merge/change_duplicated_item",
            vec![
                Update("updater", dup.clone()),
                Refused("applier", json!({"list": [{"name": "a", "value1": 3}]}), &[".list[name=\"a\"]"]),
                Force("applier", json!({"list": [{"name": "a", "value1": 3}]})),
            ],
            json!({"list": [{"name": "a", "value1": 3}, {"name": "b", "value1": 3}]}),
            vec![("applier", json!({"f:list": {a("a"): b}})), updater(json!({".": {}, a("b"): b}))],
        ),
        case(
            "list/merge/change_non_duplicated_item",
            vec![Update("updater", dup.clone()), Force("applier", json!({"list": [{"name": "b", "value1": 4}]}))],
            json!({"list": [{"name": "a", "value1": 1}, {"name": "a", "value1": 2}, {"name": "b", "value1": 4}]}),
            vec![
                ("applier", json!({"f:list": {a("b"): b}})),
                updater(json!({".": {}, a("a"): {}, a("b"): {".": {}, "f:name": {}}})),
            ],
        ),
        case(
            "list/merge/apply_update_duplicates_apply_without",
            vec![
                Apply("applier", json!({"list": [{"name": "a", "value1": 1}, {"name": "b", "value1": 3}]})),
                Update("updater", dup.clone()),
                Apply("applier", json!({"list": [{"name": "b", "value1": 3}]})),
            ],
            dup.clone(),
            vec![("applier", json!({"f:list": {a("b"): b}})), updater(json!({a("a"): {}}))],
        ),
    ] {
        run(&schema(), c);
    }
}

#[test]
fn a_schema_that_has_changed() {
    let parse = |list: &str| {
        Structural::parse(&json!({"type": "object", "properties": {
            "l": {"type": "array", "x-kubernetes-list-type": list, "items": {"type": "string"}}}}))
    };
    let (atomic, set) = (parse("atomic"), parse("set"));
    let (live, whole) = (json!({"l": ["a", "b"]}), json!({"f:l": {}}));
    let parts = json!({"f:l": {".": {}, "v:\"a\"": {}, "v:\"b\"": {}}});
    for (schema, from, want) in
        [(&set, &whole, &parts), (&atomic, &parts, &whole), (&set, &parts, &parts), (&atomic, &whole, &whole)]
    {
        let mut all = [Entry::new(&writer("m"), true, Set::from_value(from).unwrap())];
        reconcile(Node::root(Schema::Custom(schema)), &mut all, &live);
        assert_eq!(&all[0].fields.clone().into_value(), want);
    }
}

#[test]
fn what_is_left_of_a_list_is_not_all_of_it() {
    run(
        &schema(),
        case(
            "found by fuzzing",
            vec![
                Update("updater", json!({"items": ["a"]})),
                Force("applier", json!({"items": ["a", "b"]})),
                Update("updater", json!({"items": ["a", "b"], "unrelated": 1})),
            ],
            json!({"items": ["a", "b"], "unrelated": 1}),
            vec![
                ("applier", json!({"f:items": {"v:\"a\"": {}, "v:\"b\"": {}}})),
                ("updater", json!({"f:items": {".": {}, "v:\"a\"": {}}, "f:unrelated": {}})),
            ],
        ),
    );
}

#[test]
fn configurations_are_refused() {
    let schema = Structural::parse(&schema());
    for (config, want) in [
        (json!({"items": ["a", "a"]}), ".items: duplicate entries for key [=\"a\"]"),
        (
            json!({"list": [{"name": "a"}, {"name": "a"}, {"value": 1}]}),
            "errors:\n  .list: duplicate entries for key [name=\"a\"]\n  .list: element 2: associative list with keys has an \
             element that omits all key fields [\"name\"] (and doesn't have default values for any key fields)",
        ),
        (json!({"list": [1]}), ".list: element 0: associative list with keys may not have non-map elements"),
        (
            json!({"items": [null]}),
            ".items: element 0: associative list without keys has an element that's an explicit null",
        ),
        (
            json!({"listOfLists": [{"name": "a", "value": ["x", "x"]}]}),
            ".listOfLists[name=\"a\"].value: duplicate entries for key [=\"x\"]",
        ),
    ] {
        let e = super::super::apply(Schema::Custom(&schema), None, &config, &writer("m"), true).unwrap_err();
        assert_eq!(e.code, 500);
        // what is there may have duplicates, but names
        let live = super::super::apply(Schema::Custom(&schema), Some(&config), &json!({}), &writer("m"), true);
        assert_eq!(live.is_err(), want.contains("element"), "{config}");
        assert_eq!(e.message.split_once("Kind=): ").unwrap().1, want);
    }
}
