//! Reads `data/schema.txt` into types that borrow their names from the file's text in the binary.

use std::collections::HashMap;
use std::ops::Deref;
use std::sync::LazyLock;

use super::{Field, ListType, Shape, Type};

static TEXT: &str = include_str!("../../data/schema.txt");
static SCHEMAS: LazyLock<Schemas> = LazyLock::new(|| load(TEXT));

struct Schemas {
    types: Box<[Type]>,
    names: HashMap<&'static str, Ref>,
    /// By `group/version/kind`.
    kinds: HashMap<&'static str, Ref>,
}

/// A type named in another, found when it is looked at: types refer to each other in circles.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ref(u16);

impl Ref {
    pub fn get(&self) -> &'static Type {
        &SCHEMAS.types[usize::from(self.0)]
    }
}

impl Deref for Ref {
    type Target = Type;
    fn deref(&self) -> &Type {
        self.get()
    }
}

/// A type by its name in the definitions.
pub fn find(name: &str) -> Option<&'static Type> {
    SCHEMAS.names.get(name).map(Ref::get)
}

/// A kind's type, under any version that the definitions know.
pub fn find_kind(group: &str, version: &str, kind: &str) -> Option<&'static Type> {
    SCHEMAS.kinds.get(format!("{group}/{version}/{kind}").as_str()).map(Ref::get)
}

fn load(text: &'static str) -> Schemas {
    let mut names = HashMap::new();
    let mut scalars = HashMap::new();
    for line in text.lines().filter(|l| !l.starts_with(' ')) {
        match line.split_once(" = ") {
            Some((name, value)) => drop(scalars.insert(name, value)),
            None => {
                let next = Ref(names.len() as u16);
                names.insert(line.split(' ').next().unwrap_or(line), next);
            }
        }
    }
    let shape = |text: &'static str| shape(text, &names, &scalars);

    let mut types = Vec::with_capacity(names.len());
    let mut kinds = HashMap::new();
    let mut lines = text.lines().filter(|l| !l.contains(" = ")).peekable();
    while let Some(head) = lines.next() {
        let mut fields = Vec::new();
        while let Some(line) = lines.next_if(|l| l.starts_with(' ')) {
            fields.push(field(line, shape));
        }
        let mut words = head.split(' ');
        let name = words.next().unwrap_or_default();
        let mut atomic = false;
        for word in words {
            atomic |= word == "M=atomic";
            for gvk in word.strip_prefix("G=").into_iter().flat_map(|g| g.split(',')) {
                kinds.insert(gvk, names[name]);
            }
        }
        types.push(Type { name, fields: fields.into(), atomic });
    }
    Schemas { types: types.into(), names, kinds }
}

fn field(line: &'static str, shape: impl Fn(&'static str) -> Shape) -> Field {
    let mut words = line.trim_start().split(' ');
    let name = words.next().unwrap_or_default();
    let mut field = Field {
        name,
        shape: shape(words.next().unwrap_or_default()),
        required: false,
        present: false,
        list: ListType::Atomic,
        atomic: false,
        patch_strategy: "",
        merge_key: "",
    };
    for word in words {
        match word.split_once('=') {
            None if word == "S" => field.present = true,
            None => field.required = true,
            Some(("L", "set")) => field.list = ListType::Set,
            Some(("L", list)) => field.list = list.strip_prefix("map:").map_or(ListType::Atomic, ListType::Map),
            Some(("P", strategy)) => field.patch_strategy = strategy,
            Some(("K", key)) => field.merge_key = key,
            Some(_) => field.atomic = true,
        }
    }
    field
}

/// Element shapes live as long as the process: they are made once, with the one static table.
fn shape(text: &'static str, names: &HashMap<&str, Ref>, scalars: &HashMap<&str, &'static str>) -> Shape {
    let inner = |t| -> &'static Shape { Box::leak(Box::new(shape(t, names, scalars))) };
    match text.split_at_checked(1).unwrap_or_default() {
        ("s", _) => Shape::String,
        ("i", _) => Shape::Int32,
        ("l", _) => Shape::Int64,
        ("b", _) => Shape::Bool,
        ("n", _) => Shape::Number,
        ("y", _) => Shape::Bytes,
        ("t", _) => Shape::Time,
        ("u", _) => Shape::MicroTime,
        ("q", _) => Shape::Quantity,
        ("o", _) => Shape::IntOrString,
        ("[", of) => Shape::List(inner(of)),
        ("{", of) => Shape::Map(inner(of)),
        ("@", name) => match (names.get(name), scalars.get(name)) {
            (Some(r), _) => Shape::Object(*r),
            (None, Some(text)) => shape(text, names, scalars),
            (None, None) => Shape::Any,
        },
        _ => Shape::Any,
    }
}
