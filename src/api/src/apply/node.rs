//! Places in a schema, and how the elements of lists are named there.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde_json::{Map, Value};

use crate::crd::{List, Structural, Type as CustomType};
use crate::schema::{self, Field, ListType, Schema, Shape, Type};

/// A place in the schema: structured-merge-diff's `Atom`.
#[derive(Clone, Copy)]
pub(super) enum Node<'a> {
    /// A scalar, or what is owned as one.
    Leaf,
    Struct(&'static Type),
    Map(&'static Shape),
    Set,
    /// A list of objects with these comma-separated keys.
    Keyed(&'static Shape, &'static str),
    /// A custom resource, or an object in one.
    Custom(&'a Structural),
    /// What no schema describes: objects are maps of such, lists are atomic (`__untyped_deduced_`).
    Free,
    /// A list of objects with these keys in a custom resource.
    CustomKeyed(&'a Structural, &'a [Box<str>]),
}

const OBJECT_META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";

impl<'a> Node<'a> {
    pub fn root(schema: Schema<'a>) -> Node<'a> {
        match schema {
            Schema::Type(t) => Node::Struct(t),
            Schema::Custom(s) => Node::Custom(s),
        }
    }
    fn of(field: &'static Field) -> Node<'static> {
        match (&field.shape, field.list) {
            _ if field.atomic => Node::Leaf,
            (Shape::List(_), ListType::Set) => Node::Set,
            (Shape::List(of), ListType::Map(keys)) => Node::Keyed(of, keys),
            (shape, _) => Node::element(shape),
        }
    }
    fn element(shape: &'static Shape) -> Node<'static> {
        match shape {
            Shape::Object(t) if !t.atomic => Node::Struct(t.get()),
            Shape::Map(of) => Node::Map(of),
            _ => Node::Leaf,
        }
    }
    fn custom(s: &'a Structural) -> Node<'a> {
        match (&s.list, s.kind) {
            _ if s.atomic => Node::Leaf,
            (List::Set, _) => Node::Set,
            (List::Map(keys), _) => s.items.as_deref().map_or(Node::Leaf, |items| Node::CustomKeyed(items, keys)),
            (_, CustomType::Object) => Node::Custom(s),
            (_, CustomType::Any) if s.preserve && !s.int_or_string => Node::Free,
            _ => Node::Leaf,
        }
    }

    /// Below a field or key of an object.
    pub fn child(self, key: &str) -> Option<Node<'a>> {
        match self {
            Node::Struct(t) => t.field(key).map(Node::of),
            Node::Map(of) => Some(Node::element(of)),
            Node::Custom(s) => match s.member(key) {
                Some(s) => Some(Node::custom(s)),
                None if key == "metadata" => schema::find(OBJECT_META).map(Node::Struct),
                None => Some(Node::Free),
            },
            Node::Free => Some(Node::Free),
            _ => None,
        }
    }
    /// Whether the schema has this member of an object by its name; the others are keys, each owned by itself.
    pub fn names(self, key: &str) -> bool {
        match self {
            Node::Struct(_) => true,
            Node::Custom(s) => s.property(key).is_some() || matches!(key, "apiVersion" | "kind" | "metadata"),
            _ => false,
        }
    }
    /// What stands for a member that an object does not name: what Go has there whatever was set.
    pub fn unnamed(self, key: &str) -> Option<&'static Value> {
        static STRUCT: LazyLock<Value> = LazyLock::new(|| Value::Object(Map::new()));
        static LIST: Value = Value::Null;
        let Node::Struct(t) = self else { return None };
        let field = t.field(key)?;
        match field.shape {
            _ if field.present => Some(&STRUCT),
            Shape::List(_) | Shape::Map(_) if field.required => Some(&LIST),
            _ => None,
        }
    }
    /// Of an element of a list.
    pub fn item(self) -> Node<'a> {
        match self {
            Node::CustomKeyed(of, _) => Node::custom(of),
            Node::Keyed(of, _) => Node::element(of),
            _ => Node::Leaf,
        }
    }
    /// The place that a path element leads to.
    pub fn step(self, element: &str) -> Node<'a> {
        match element.strip_prefix("f:") {
            Some(name) => self.child(name).unwrap_or(Node::Leaf),
            None => self.item(),
        }
    }
    /// Where objects are looked into.
    pub fn is_object(self) -> bool {
        matches!(self, Node::Struct(_) | Node::Map(_) | Node::Custom(_) | Node::Free)
    }
    /// Where lists are looked into.
    pub fn is_list(self) -> bool {
        matches!(self, Node::Set | Node::Keyed(..) | Node::CustomKeyed(..))
    }
    /// In a custom resource, whose schema may change.
    pub fn is_custom(self) -> bool {
        matches!(self, Node::Custom(_))
    }

    /// The path element of a list's element: `k:{"name":"a"}`, `v:"a"`. Keys may be left to their defaults (ports without a
    /// protocol are TCP's), not all of them.
    ///
    /// Errors in upstream's words.
    pub fn name(self, item: &Value) -> Result<String, String> {
        let keys: Vec<&str> = match self {
            Node::Keyed(_, keys) => keys.split(',').collect(),
            Node::CustomKeyed(_, keys) => keys.iter().map(|k| &**k).collect(),
            _ => {
                return match item {
                    Value::Object(_) => Err("associative list without keys has an element that's a map type".into()),
                    Value::Array(_) => Err("not supported: associative list with lists as elements".into()),
                    Value::Null => Err("associative list without keys has an element that's an explicit null".into()),
                    scalar => Ok(format!("v:{scalar}")),
                };
            }
        };
        let object = match item {
            Value::Object(o) => o,
            Value::Null => return Err("associative list with keys may not have a null element".into()),
            _ => return Err("associative list with keys may not have non-map elements".into()),
        };
        let tcp = Value::from("TCP");
        let default = |key: &str| match self {
            Node::CustomKeyed(of, _) => of.property(key).and_then(|p| p.default.as_deref()),
            _ => (key == "protocol").then_some(&tcp),
        };
        let found: BTreeMap<&str, &Value> =
            keys.iter().filter_map(|k| Some((*k, object.get(*k).or_else(|| default(k))?))).collect();
        if found.is_empty() {
            let keys: Vec<String> = keys.iter().map(|k| format!("{k:?}")).collect();
            return Err(format!(
                "associative list with keys has an element that omits all key fields [{}] (and doesn't have default values \
                 for any key fields)",
                keys.join(" ")
            ));
        }
        Ok(format!("k:{}", serde_json::to_string(&found).unwrap_or_default()))
    }

    /// The members of an object that is looked into here; nothing is an object without members. `None`: it is a leaf.
    pub fn object(self, v: Option<&'a Value>) -> Option<Option<&'a Map<String, Value>>> {
        match v {
            _ if !self.is_object() => None,
            None | Some(Value::Null) => Some(None),
            Some(Value::Object(o)) => Some(Some(o)),
            _ => None,
        }
    }
    /// The same for a list.
    pub fn list(self, v: Option<&'a Value>) -> Option<&'a [Value]> {
        match v {
            _ if !self.is_list() => None,
            None | Some(Value::Null) => Some(&[]),
            Some(Value::Array(list)) => Some(list),
            _ => None,
        }
    }
}
