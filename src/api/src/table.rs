//! What a client may ask to get instead of an object: `meta.k8s.io/v1` Table and PartialObjectMetadata.

use serde_json::{Map, Value, json};

use crate::Kind;

/// The group and version of the forms here.
const META: &str = "meta.k8s.io/v1";

/// `includeObject=`: what a row carries beside its cells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum IncludeObject {
    None,
    #[default]
    Metadata,
    Object,
}

impl IncludeObject {
    /// An empty text is the default; `None` for a text that upstream refuses.
    pub fn parse(text: &str) -> Option<IncludeObject> {
        match text {
            "None" => Some(IncludeObject::None),
            "" | "Metadata" => Some(IncludeObject::Metadata),
            "Object" => Some(IncludeObject::Object),
            _ => None,
        }
    }
}

/// The metadata of a list: `resourceVersion`, `continue`, `remainingItemCount`.
pub type ListMeta = Map<String, Value>;

/// A Table of objects in the storage version. With `Object`, `convert` brings each to the version that was asked for.
/// `columns`: a watch sends the column definitions with its first event only.
pub fn table(
    kind: &Kind,
    objects: impl IntoIterator<Item = Value>,
    metadata: ListMeta,
    include: IncludeObject,
    columns: bool,
    now_seconds: i64,
    convert: impl Fn(&mut Value),
) -> Value {
    let row = |mut object: Value| {
        let cells = kind.strategy.cells(&object, now_seconds);
        let shown = match include {
            IncludeObject::None => Value::Null,
            IncludeObject::Metadata => partial_metadata(&object),
            IncludeObject::Object => {
                convert(&mut object);
                object
            }
        };
        let mut row = Map::from_iter([("cells".to_owned(), Value::Array(cells))]);
        // RawExtension without content is null
        row.insert("object".into(), shown);
        Value::Object(row)
    };
    let rows: Vec<Value> = objects.into_iter().map(row).collect();
    let mut table = json!({"kind": "Table", "apiVersion": META, "metadata": metadata, "rows": rows});
    table["columnDefinitions"] = if columns { kind.strategy.column_definitions() } else { json!([]) };
    table
}

/// `PartialObjectMetadata` of a tree.
pub fn partial_metadata(object: &Value) -> Value {
    let metadata = object.get("metadata").cloned().unwrap_or_else(|| json!({}));
    json!({"kind": "PartialObjectMetadata", "apiVersion": META, "metadata": metadata})
}

/// `PartialObjectMetadataList` of trees.
pub fn partial_metadata_list(objects: impl IntoIterator<Item = Value>, metadata: ListMeta) -> Value {
    let items: Vec<Value> = objects.into_iter().map(|o| partial_metadata(&o)).collect();
    json!({"kind": "PartialObjectMetadataList", "apiVersion": META, "metadata": metadata, "items": items})
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::registry;

    #[test]
    fn tables_have_columns_cells_and_objects() {
        let registry = registry();
        let kind = registry.resource("", "v1", "configmaps").unwrap();
        let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "creationTimestamp": "2020-01-01T00:00:00Z"}});
        let meta = || Map::from_iter([("resourceVersion".to_owned(), json!("5"))]);
        let of = |include, columns| {
            table(kind, [object.clone()], meta(), include, columns, 1_577_836_805, |o| o["x"] = json!(1))
        };
        let t = of(IncludeObject::Metadata, true);
        assert_eq!(
            (&t["kind"], &t["apiVersion"], &t["metadata"]["resourceVersion"]),
            (&json!("Table"), &json!(META), &json!("5"))
        );
        let columns = t["columnDefinitions"].as_array().unwrap();
        assert_eq!(columns[0]["name"], "Name");
        assert_eq!(columns[0]["format"], "name");
        let row = &t["rows"][0];
        assert_eq!(row["cells"].as_array().unwrap().len(), columns.len());
        assert_eq!(row["cells"][0], "a");
        assert_eq!(row["object"]["kind"], "PartialObjectMetadata");
        let t = of(IncludeObject::Object, false);
        assert_eq!((&t["rows"][0]["object"]["x"], &t["columnDefinitions"]), (&json!(1), &json!([])));
        assert_eq!(of(IncludeObject::None, true)["rows"][0]["object"], Value::Null);
        assert_eq!(IncludeObject::parse("x"), None);
    }
}
