//! `explain`: a kind's fields, from the server's OpenAPI v3.

use api::Value;

use crate::error::{Error, Result};
use crate::mapping::Mapping;
use crate::objects::{list, text};
use crate::session::Session;

#[derive(clap::Args)]
pub struct Flags {
    /// TYPE[.FIELD…]
    resource: Option<String>,
    /// With all fields below
    #[arg(long)]
    recursive: bool,
    /// Another version than the preferred one
    #[arg(long)]
    api_version: Option<String>,
    /// Accepted for compatibility
    #[arg(long, hide = true)]
    output: Option<String>,
}

pub async fn run(s: &Session, flags: Flags) -> Result<()> {
    let Some(resource) = &flags.resource else {
        return Err(Error::other(
            "You must specify the type of resource to explain. Use \"kubectl api-resources\" for a complete list of supported resources.",
        ));
    };
    let (mapping, path) = split(s, resource).await.map_err(|e| match e {
        Error::Other(why) => Error::Plain(why),
        e => e,
    })?;
    let mapping = match &flags.api_version {
        Some(version) => s.mappings().await?.of_kind(version, &mapping.kind)?,
        None => mapping,
    };
    let document = document(s, &mapping).await?;
    print!("{}", explain(&document, &mapping, &path, flags.recursive)?);
    Ok(())
}

/// `deployments.apps.spec.replicas`: the longest beginning that is a type, and the fields behind it.
async fn split(s: &Session, resource: &str) -> Result<(Mapping, Vec<String>)> {
    let parts: Vec<&str> = resource.split('.').collect();
    let first = s.mapping(parts[0]).await;
    let fields = |from: usize| parts[from..].iter().map(|p| (*p).to_owned()).collect();
    if let Ok(mapping) = &first {
        // the group may stand between the type and its fields
        for end in (2..=parts.len()).rev() {
            if parts[1..end].join(".") == mapping.group {
                return Ok((mapping.clone(), fields(end)));
            }
        }
    }
    for end in (2..=parts.len()).rev() {
        if parts[1..end].join(".").contains('.')
            && let Ok(mapping) = s.mapping(&parts[..end].join(".")).await
        {
            return Ok((mapping, fields(end)));
        }
    }
    first.map(|m| (m, fields(1)))
}

async fn document(s: &Session, m: &Mapping) -> Result<Value> {
    let paths = s.get("/openapi/v3").await?;
    let key = if m.group.is_empty() { format!("api/{}", m.version) } else { format!("apis/{}", m.api_version()) };
    let url = paths["paths"][&key]["serverRelativeURL"].as_str().map(str::to_owned);
    let url = url.ok_or_else(|| {
        Error::other(format!("couldn't find resource for \"{}, Resource={}\"", m.api_version(), m.plural))
    })?;
    s.get(&url).await
}

/// Follows references to the schema itself, keeping the description that stands beside one.
fn resolve<'a>(document: &'a Value, mut schema: &'a Value) -> &'a Value {
    for _ in 0..16 {
        let reference = schema["$ref"].as_str().or_else(|| match list(schema, "/allOf") {
            [one] => one["$ref"].as_str(),
            _ => None,
        });
        let Some(name) = reference.and_then(|r| r.strip_prefix("#/components/schemas/")) else { break };
        schema = &document["components"]["schemas"][name];
    }
    schema
}

/// What a field holds: `string`, `[]Container`, `map[string]string`, `PodSpec`.
fn type_of(schema: &Value) -> String {
    let reference = schema["$ref"].as_str().or_else(|| match list(schema, "/allOf") {
        [one] => one["$ref"].as_str(),
        _ => None,
    });
    if let Some(reference) = reference {
        let name = reference.rsplit(['/', '.']).next().unwrap_or(reference);
        return match name {
            "Time" | "MicroTime" => "string".into(),
            _ => name.to_owned(),
        };
    }
    match text(schema, "/type") {
        "array" => format!("[]{}", type_of(&schema["items"])),
        "object" | "" if schema["additionalProperties"].is_object() => {
            format!("map[string]{}", type_of(&schema["additionalProperties"]))
        }
        "object" if schema["properties"].is_object() || schema["x-kubernetes-preserve-unknown-fields"] == true => {
            "Object".into()
        }
        "" if schema["x-kubernetes-int-or-string"] == true => "IntOrString".into(),
        "" => "Object".into(),
        other => other.to_owned(),
    }
}

/// The schema whose fields are the field's: through lists and maps.
fn inner<'a>(document: &'a Value, schema: &'a Value) -> &'a Value {
    let mut schema = resolve(document, schema);
    loop {
        let next = match () {
            () if schema["items"].is_object() => &schema["items"],
            () if schema["additionalProperties"].is_object() && schema["properties"].is_null() => {
                &schema["additionalProperties"]
            }
            () => return schema,
        };
        schema = resolve(document, next);
    }
}

fn explain(document: &Value, m: &Mapping, path: &[String], recursive: bool) -> Result<String> {
    let schemas = document["components"]["schemas"].as_object();
    let is_kind = |s: &&Value| {
        let of = list(s, "/x-kubernetes-group-version-kind");
        of.iter()
            .any(|g| text(g, "/group") == m.group && text(g, "/version") == m.version && text(g, "/kind") == m.kind)
    };
    let root = schemas.into_iter().flat_map(|s| s.values()).find(is_kind);
    let root = root
        .ok_or_else(|| Error::other(format!("couldn't find resource for \"{}, Kind={}\"", m.api_version(), m.kind)))?;
    let mut out = String::new();
    if !m.group.is_empty() {
        out += &format!("GROUP:      {}\n", m.group);
    }
    out += &format!("KIND:       {}\nVERSION:    {}\n\n", m.kind, m.version);
    let mut schema = root;
    let mut description = text(root, "/description");
    for (i, name) in path.iter().enumerate() {
        let field = &inner(document, schema)["properties"][name];
        if field.is_null() {
            return Err(Error::other(format!("field {name:?} does not exist")));
        }
        if i + 1 == path.len() {
            out += &format!("FIELD: {name} <{}>\n", type_of(field));
            out += &enumeration(resolve(document, field), "");
            out.push('\n');
            out.push('\n');
        }
        description = match text(field, "/description") {
            "" => text(resolve(document, field), "/description"),
            own => own,
        };
        schema = field;
    }
    let target = inner(document, schema);
    out += "DESCRIPTION:\n";
    let shown = if description.is_empty() { "<empty>" } else { description };
    out += &wrap(shown, 4);
    // a list's or map's elements have a description of their own
    let own = text(target, "/description");
    if !path.is_empty() && !own.is_empty() && own != description {
        out += &wrap(own, 4);
    }
    out += "    \n";
    if target["properties"].is_object() {
        out += "FIELDS:\n";
        fields(document, target, 2, recursive, &mut Vec::new(), &mut out);
    }
    out.push('\n');
    Ok(out)
}

fn is_required(schema: &Value, name: &str) -> &'static str {
    if list(schema, "/required").iter().any(|r| r == name) { " -required-" } else { "" }
}

fn enumeration(schema: &Value, indent: &str) -> String {
    let all: Vec<&str> = list(schema, "/enum").iter().filter_map(Value::as_str).filter(|e| !e.is_empty()).collect();
    if all.is_empty() { String::new() } else { format!("{indent}enum: {}\n", all.join(", ")) }
}

fn fields<'a>(
    document: &'a Value,
    schema: &'a Value,
    indent: usize,
    recursive: bool,
    above: &mut Vec<&'a Value>,
    out: &mut String,
) {
    let space = " ".repeat(indent);
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        *out += &format!("{space}{name}\t<{}>{}\n", type_of(field), is_required(schema, name));
        *out += &enumeration(resolve(document, field), &space);
        if !recursive {
            let description = match text(field, "/description") {
                "" => text(resolve(document, field), "/description"),
                own => own,
            };
            *out += &wrap(if description.is_empty() { "<no description>" } else { description }, indent + 2);
            out.push('\n');
            continue;
        }
        let below = inner(document, field);
        // a schema that holds itself (JSONSchemaProps) is shown once
        if below["properties"].is_object() && !above.iter().any(|a| std::ptr::eq(*a, below)) {
            above.push(below);
            fields(document, below, indent + 2, true, above, out);
            above.pop();
        }
    }
}

/// Words in lines of 80 columns; a text's own lines stay apart.
fn wrap(text: &str, indent: usize) -> String {
    let mut out = String::new();
    let space = " ".repeat(indent);
    for paragraph in text.split('\n') {
        let mut line = String::new();
        for word in paragraph.split_whitespace() {
            if !line.is_empty() && line.chars().count() + 1 + word.chars().count() > 80 - indent {
                out += &format!("{space}{line}\n");
                line.clear();
            }
            if !line.is_empty() {
                line.push(' ');
            }
            line += word;
        }
        out += &format!("{space}{line}\n");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn fields_of_a_kind() {
        let document = json!({"components": {"schemas": {
            "x.v1.Thing": {
                "description": "A thing.", "required": ["size"],
                "properties": {
                    "size": {"type": "integer", "description": "How large."},
                    "parts": {"type": "array", "description": "Its parts.", "items": {"allOf": [{"$ref": "#/components/schemas/x.v1.Part"}]}},
                    "labels": {"type": "object", "additionalProperties": {"type": "string"}}
                },
                "x-kubernetes-group-version-kind": [{"group": "x", "version": "v1", "kind": "Thing"}]
            },
            "x.v1.Part": {"description": "A part.", "properties": {"parts": {"$ref": "#/components/schemas/x.v1.Part"}, "mode": {"type": "string", "enum": ["A", "B"]}}}
        }}});
        let m = Mapping {
            group: "x".into(),
            version: "v1".into(),
            kind: "Thing".into(),
            plural: "things".into(),
            singular: String::new(),
            namespaced: true,
            short_names: vec![],
            categories: vec![],
            verbs: vec![],
            subresources: vec![],
        };
        let all = explain(&document, &m, &[], false).unwrap();
        assert!(
            all.starts_with(
                "GROUP:      x\nKIND:       Thing\nVERSION:    v1\n\nDESCRIPTION:\n    A thing.\n    \nFIELDS:\n"
            ),
            "{all}"
        );
        assert!(all.contains("  size\t<integer> -required-\n    How large.\n\n"), "{all}");
        assert!(all.contains("  parts\t<[]Part>\n") && all.contains("  labels\t<map[string]string>\n"), "{all}");
        let deep = explain(&document, &m, &["parts".into()], true).unwrap();
        assert!(
            deep.contains("FIELD: parts <[]Part>\n") && deep.contains("  mode\t<string>\n  enum: A, B\n"),
            "{deep}"
        );
        assert!(explain(&document, &m, &["nope".into()], false).is_err());
    }
}
