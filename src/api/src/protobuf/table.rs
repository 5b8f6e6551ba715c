//! Reads `data/protobuf.txt`, at the first look, into messages that borrow their names from the text in the binary.

use std::collections::HashMap;
use std::sync::LazyLock;

static TEXT: &str = include_str!("../../data/protobuf.txt");
static TABLE: LazyLock<Table> = LazyLock::new(|| load(TEXT));

struct Table {
    messages: Box<[Message]>,
    /// By name in lower case, `apps.v1.deployment`.
    names: HashMap<String, Ref>,
}

/// A message of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ref(u16);

impl Ref {
    pub fn get(self) -> &'static Message {
        &TABLE.messages[usize::from(self.0)]
    }
}

#[derive(Debug)]
pub(super) struct Message {
    /// Ordered by number.
    pub fields: Box<[Field]>,
}

impl Message {
    pub fn field(&self, number: u32) -> Option<&Field> {
        self.fields.binary_search_by_key(&number, |f| f.number).ok().map(|i| &self.fields[i])
    }
}

#[derive(Debug)]
pub(super) struct Field {
    pub number: u32,
    /// In JSON.
    pub name: &'static str,
    pub many: Many,
    pub kind: Kind,
    pub zero: Zero,
    /// Its fields are its owner's in JSON.
    pub inline: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Many {
    One,
    List,
    Map,
}

/// What the zero value on the wire means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Zero {
    /// Absent in JSON: plain, `omitempty`.
    Absent,
    /// Written in JSON: plain, without `omitempty`.
    Plain,
    /// A pointer that is set.
    Pointer,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    String,
    Int32,
    Int64,
    Bool,
    Double,
    /// Base64 in JSON.
    Bytes,
    Time,
    MicroTime,
    Quantity,
    IntOrString,
    /// `RawExtension`, `FieldsV1`, `JSON`: a document in bytes.
    Embedded,
    /// `ExtraValue`, `Verbs`: a message of strings that is a list in JSON.
    Strings,
    /// `JSONSchemaPropsOrArray`
    OrArray(Ref),
    /// `JSONSchemaPropsOrBool`
    OrBool(Ref),
    /// `JSONSchemaPropsOrStringArray`
    OrStrings(Ref),
    Message(Ref),
}

/// A kind's message. Options, which belong to every group, and what describes answers are `meta.v1`'s.
pub(super) fn find(group: &str, version: &str, kind: &str) -> Option<Ref> {
    let package = match group.split_once('.') {
        None if group.is_empty() => "core",
        None => group,
        Some((label, rest)) if rest.ends_with("k8s.io") && label != "core" => label,
        Some(_) => "",
    };
    let package = if group == "resource.k8s.io" { "resource" } else { package };
    let find = |name: String| TABLE.names.get(&name.to_ascii_lowercase()).copied();
    find(format!("{package}.{version}.{kind}")).or_else(|| {
        let meta = kind.ends_with("Options") || matches!((group, kind), ("", "Status" | "WatchEvent" | "List"));
        if meta { find(format!("meta.v1.{kind}")) } else { None }
    })
}

fn load(text: &'static str) -> Table {
    let heads = || text.lines().filter(|l| !l.starts_with(' '));
    let names: HashMap<&str, Ref> = heads().enumerate().map(|(i, name)| (name, Ref(i as u16))).collect();
    let mut messages = Vec::with_capacity(names.len());
    let mut lines = text.lines().peekable();
    while lines.next().is_some() {
        let mut fields = Vec::new();
        while let Some(line) = lines.next_if(|l| l.starts_with(' ')) {
            fields.extend(field(line, &names));
        }
        messages.push(Message { fields: fields.into() });
    }
    let names = names.into_iter().map(|(name, r)| (name.to_ascii_lowercase(), r)).collect();
    Table { messages: messages.into(), names }
}

fn field(line: &'static str, names: &HashMap<&str, Ref>) -> Option<Field> {
    let mut words = line.split_ascii_whitespace();
    let (number, name, kind) = (words.next()?.parse().ok()?, words.next()?, words.next()?);
    let (zero, inline) = match words.next() {
        Some("*") => (Zero::Pointer, false),
        Some("0") => (Zero::Plain, false),
        Some("~") => (Zero::Absent, true),
        _ => (Zero::Absent, false),
    };
    let (many, kind) = match kind.split_at_checked(1)? {
        ("[", rest) => (Many::List, rest),
        ("{", rest) => (Many::Map, rest),
        _ => (Many::One, kind),
    };
    let (letter, target) = kind.split_once('@').unwrap_or((kind, ""));
    let kind = match (letter, names.get(target)) {
        ("s", _) => Kind::String,
        ("i", _) => Kind::Int32,
        ("l", _) => Kind::Int64,
        ("b", _) => Kind::Bool,
        ("n", _) => Kind::Double,
        ("y", _) => Kind::Bytes,
        ("t", _) => Kind::Time,
        ("u", _) => Kind::MicroTime,
        ("q", _) => Kind::Quantity,
        ("o", _) => Kind::IntOrString,
        ("x", _) => Kind::Embedded,
        ("w", _) => Kind::Strings,
        ("A", Some(r)) => Kind::OrArray(*r),
        ("B", Some(r)) => Kind::OrBool(*r),
        ("C", Some(r)) => Kind::OrStrings(*r),
        ("", Some(r)) => Kind::Message(*r),
        _ => return None,
    };
    Some(Field { number, name, many, kind, zero, inline })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_is_understood() {
        let fields: usize = TABLE.messages.iter().map(|m| m.fields.len()).sum();
        assert_eq!(fields, TEXT.lines().filter(|l| l.starts_with(' ')).count());
        for m in &TABLE.messages {
            assert!(m.fields.is_sorted_by_key(|f| f.number));
        }
    }

    #[test]
    fn kinds_are_found_under_their_groups_only() {
        for (group, version, kind) in [
            ("", "v1", "Pod"),
            ("apps", "v1", "DeploymentList"),
            ("rbac.authorization.k8s.io", "v1", "Role"),
            ("storage.k8s.io", "v1", "CSIDriver"),
            ("apiextensions.k8s.io", "v1", "CustomResourceDefinition"),
            ("apiregistration.k8s.io", "v1", "APIService"),
            ("resource.k8s.io", "v1", "ResourceClaim"),
            ("apps", "v1", "DeleteOptions"),
            ("", "v1", "Status"),
        ] {
            assert!(find(group, version, kind).is_some(), "{group} {kind}");
        }
        for (group, kind) in
            [("core.example.com", "Pod"), ("apps.example.com", "Deployment"), ("", "Nope"), ("core.k8s.io", "Pod")]
        {
            assert!(find(group, "v1", kind).is_none(), "{group} {kind}");
        }
    }
}
