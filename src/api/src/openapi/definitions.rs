//! The definitions with their descriptions: streamed out of the compressed file, never all at once.

use std::collections::{BTreeSet, HashMap};
use std::io::{BufRead, BufReader};

use flate2::read::GzDecoder;
use serde_json::{Value, json};

use super::definition_name;
use super::old;
use crate::{Kind, Registry};

static FILE: &[u8] = include_bytes!("../../data/definitions.gz");
const REF: &str = "\"#/definitions/";

/// Calls `f` with the name and JSON of each definition, in order of their names.
fn each(mut f: impl FnMut(&str, &str)) {
    let mut reader = BufReader::with_capacity(64 << 10, GzDecoder::new(FILE));
    let mut line = String::new();
    while reader.read_line(&mut line).expect("the definitions in the binary decompress") > 0 {
        if let Some((name, text)) = line.trim_end().split_once('\t') {
            f(name, text);
        }
        line.clear();
    }
}

fn references(text: &str) -> impl Iterator<Item = &str> {
    text.split(REF).skip(1).filter_map(|rest| rest.split('"').next())
}

/// Calls `f` with the name and tree of each definition in `roots` and each that they refer to. The old versions among
/// `kinds` are made from their storage versions.
pub(super) fn reachable<'a>(
    roots: impl IntoIterator<Item = String>,
    kinds: impl IntoIterator<Item = (&'a Kind, &'a str, &'a str)>,
    mut f: impl FnMut(&str, Value),
) {
    let old: Vec<Old> = kinds.into_iter().filter_map(|(k, g, v)| Old::of(k, g, v)).collect();
    let mut refers: HashMap<String, Vec<String>> = HashMap::new();
    each(|name, text| {
        refers.insert(name.to_owned(), references(text).map(str::to_owned).collect());
    });
    let mut open: Vec<String> = roots.into_iter().collect();
    open.extend(old.iter().flat_map(|o| [o.from.clone(), format!("{}List", o.from)]));
    if old.iter().any(|o| o.kind == "Ingress") {
        open.push(old::INT_OR_STRING.to_owned());
    }
    let mut wanted = BTreeSet::new();
    while let Some(name) = open.pop() {
        if let Some(next) = refers.remove(&name) {
            open.extend(next);
            wanted.insert(name);
        }
    }
    drop(refers);
    each(|name, text| {
        if !wanted.contains(name) {
            return;
        }
        let Ok(tree) = serde_json::from_str::<Value>(text) else { return };
        for o in &old {
            o.derive(name, &tree, &mut f);
        }
        f(name, tree);
    });
}

/// An old version of a kind, of which upstream has no definition any more.
struct Old {
    /// The storage version's definition.
    from: String,
    to: String,
    group: String,
    version: String,
    kind: String,
}

impl Old {
    fn of(kind: &Kind, group: &str, version: &str) -> Option<Old> {
        kind.is_derived(group, version).then(|| Old {
            from: kind.schema_of(group, version),
            to: definition_name(kind, group, version),
            group: group.into(),
            version: version.into(),
            kind: kind.kind.clone(),
        })
    }

    fn derive(&self, name: &str, tree: &Value, f: &mut impl FnMut(&str, Value)) {
        let Some(suffix) = name.strip_prefix(self.from.as_str()) else { return };
        let mut tree = tree.clone();
        let reference = |suffix| json!(format!("#/definitions/{}{suffix}", self.to));
        match suffix {
            "" => {
                let fields = &mut tree["properties"];
                if let Some(spec) = fields["spec"].get_mut("$ref") {
                    *spec = reference("Spec");
                }
            }
            "List" => tree["properties"]["items"]["items"]["$ref"] = reference(""),
            "Spec" => {
                if let Some(required) = tree["required"].as_array_mut() {
                    required.retain(|r| r != "selector");
                }
                let extra = match self.kind.as_str() {
                    "Deployment" => Some((
                        "rollbackTo",
                        json!({"description": "DEPRECATED. The config this deployment is rolling back to.", "type": "object",
                            "properties": {"revision": {"type": "integer", "format": "int64"}}}),
                    )),
                    "DaemonSet" => Some((
                        "templateGeneration",
                        json!({"description": "DEPRECATED. A sequence number representing a specific generation of the template.",
                            "type": "integer", "format": "int64"}),
                    )),
                    _ => None,
                };
                if let Some((field, schema)) = extra {
                    tree["properties"][field] = schema;
                }
                old::reshape(&self.kind, &self.version, &mut tree);
            }
            _ => return,
        }
        if let Some(gvk) = tree.pointer_mut("/x-kubernetes-group-version-kind/0") {
            *gvk = json!({"group": self.group, "kind": format!("{}{suffix}", self.kind), "version": self.version});
        }
        f(&format!("{}{suffix}", self.to), tree);
    }
}

/// The kinds of a registry as each group and version serves them.
pub(super) fn served(registry: &Registry) -> impl Iterator<Item = (&Kind, &str, &str)> {
    registry.kinds().iter().flat_map(|k| k.served.iter().map(move |(g, v)| (&**k, g.as_str(), v.as_str())))
}
