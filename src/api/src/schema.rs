//! The structure of every built-in type: what fields there are, of which type, how lists and maps merge.
//!
//! Loaded once, at the first look, from `data/schema.txt` (some milliseconds, about 300 KB); `data/generate.py` makes that
//! file from Kubernetes' own definitions and describes its format.

use serde_json::Value;

use crate::crd::Structural;

mod check;
mod custom;
mod load;

use check::drop_empty;
pub use check::{check, check_metadata};
pub use load::{Ref, find, find_kind};

/// The schema of a kind: a built-in type's, or a custom resource's.
#[derive(Debug, Clone, Copy)]
pub enum Schema<'a> {
    Type(&'static Type),
    Custom(&'a Structural),
}

impl From<&'static Type> for Schema<'_> {
    fn from(t: &'static Type) -> Self {
        Schema::Type(t)
    }
}

impl Schema<'_> {
    /// Makes a tree fit in place, as [`check`] describes; returns the unknown fields.
    pub fn check(self, tree: &mut Value) -> Result<Vec<String>, String> {
        match self {
            Schema::Type(t) => check(t, tree),
            Schema::Custom(s) => custom::check(s, tree),
        }
    }
    /// Removes the empty lists and maps that Go's encoder leaves out (`omitempty`), of what Go has a type for: an object reads the
    /// same whether a manifest says `env: []` or nothing, and a Go client that writes back what it read changes nothing.
    pub fn drop_empty(self, tree: &mut Value) {
        if let Schema::Type(t) = self {
            drop_empty(t, tree);
        }
    }
}

/// A type with fields: `io.k8s.api.core.v1.Pod`.
#[derive(Debug)]
pub struct Type {
    pub name: &'static str,
    /// Ordered by name.
    pub fields: Box<[Field]>,
    /// `x-kubernetes-map-type: atomic`
    pub atomic: bool,
}

impl Type {
    pub fn field(&self, name: &str) -> Option<&Field> {
        self.fields.binary_search_by(|f| f.name.cmp(name)).ok().map(|i| &self.fields[i])
    }
    /// The Go struct's name: `Pod`.
    pub fn go_name(&self) -> &'static str {
        self.name.rsplit('.').next().unwrap_or(self.name)
    }
    /// The Go type with its package: `v1.Pod`.
    pub fn go_type(&self) -> &'static str {
        let kind = self.name.rfind('.').unwrap_or(0);
        self.name[..kind].rfind('.').map_or(self.name, |dot| &self.name[dot + 1..])
    }
}

#[derive(Debug)]
pub struct Field {
    pub name: &'static str,
    pub shape: Shape,
    pub required: bool,
    /// A struct in Go, not a pointer to one: it is there, if only empty, wherever its owner is.
    pub present: bool,
    pub list: ListType,
    /// `x-kubernetes-map-type: atomic`
    pub atomic: bool,
    /// `x-kubernetes-patch-strategy`: `merge`, `replace`, `retainKeys`, `merge,retainKeys`; empty: none.
    pub patch_strategy: &'static str,
    /// `x-kubernetes-patch-merge-key`; empty: none.
    pub merge_key: &'static str,
}

/// `x-kubernetes-list-type`. A list without one is atomic, as in server-side apply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ListType {
    Atomic,
    Set,
    /// With the comma-separated `x-kubernetes-list-map-keys`.
    Map(&'static str),
}

/// What a value must be.
#[derive(Debug, Clone, Copy)]
pub enum Shape {
    String,
    Int32,
    Int64,
    Bool,
    Number,
    /// Base64.
    Bytes,
    Time,
    MicroTime,
    Quantity,
    IntOrString,
    Any,
    List(&'static Shape),
    Map(&'static Shape),
    Object(Ref),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_found_with_their_fields() {
        let pod = find("io.k8s.api.core.v1.Pod").unwrap();
        assert_eq!((pod.go_name(), pod.go_type()), ("Pod", "v1.Pod"));
        let Shape::Object(spec) = pod.field("spec").unwrap().shape else { panic!("spec is an object") };
        let containers = spec.field("containers").unwrap();
        assert!(containers.required && matches!(containers.shape, Shape::List(Shape::Object(_))));
        assert_eq!((containers.list, containers.merge_key), (ListType::Map("name"), "name"));
        assert!(spec.field("nodeSelector").unwrap().atomic);
        let meta = find("io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta").unwrap();
        assert!(matches!(meta.field("creationTimestamp").unwrap().shape, Shape::Time));
        assert!(std::ptr::eq(
            find_kind("apps", "v1", "Deployment").unwrap(),
            find("io.k8s.api.apps.v1.Deployment").unwrap()
        ));
        assert!(find("nope").is_none() && find_kind("", "v1", "Nope").is_none());
    }
}
