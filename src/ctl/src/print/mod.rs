//! `-o`: how objects are printed.

pub mod columns;
pub mod rows;
pub mod sort;
pub mod tabs;

use std::sync::atomic::{AtomicBool, Ordering};

use api::Value;
pub use api::yaml;

use crate::error::{Error, Result};
use crate::jsonpath::Template;
use crate::objects::{list, text};
use columns::Columns;

/// Documents after the first are set apart, whichever printer prints them.
static YAML_PRINTED: AtomicBool = AtomicBool::new(false);

/// Formats that need the object itself. The table of `get` is [`rows`].
pub enum Printer {
    Json,
    Yaml,
    Name,
    JsonPath(String, Template),
    Columns(Columns),
}

impl Printer {
    /// `None` for none and `wide`: what people read.
    pub fn parse(output: Option<&str>, no_headers: bool) -> Result<Option<Printer>> {
        let Some(output) = output else { return Ok(None) };
        let (format, template) = output.split_once('=').map_or((output, None), |(f, t)| (f, Some(t)));
        let file = |path: Option<&str>| {
            let path = path.ok_or_else(|| Error::other("template format specified but no template given"))?;
            std::fs::read_to_string(path).map_err(|e| Error::other(format!("error reading --template {path}, {e}")))
        };
        let jsonpath = |t: String| {
            let parsed = Template::parse(&t).map_err(|e| Error::other(format!("error parsing jsonpath {t}, {e}")))?;
            Ok(Some(Printer::JsonPath(t, parsed)))
        };
        let need = || {
            template.map(str::to_owned).ok_or_else(|| Error::other("template format specified but no template given"))
        };
        match format {
            "" | "wide" => Ok(None),
            "json" => Ok(Some(Printer::Json)),
            "yaml" => Ok(Some(Printer::Yaml)),
            "name" => Ok(Some(Printer::Name)),
            "jsonpath" => jsonpath(need()?),
            "jsonpath-file" => jsonpath(file(template)?),
            "custom-columns" => Ok(Some(Printer::Columns(Columns::parse(&need()?, no_headers)?))),
            "custom-columns-file" => Ok(Some(Printer::Columns(Columns::parse_file(&file(template)?, no_headers)?))),
            _ => Err(Error::other(format!(
                "unable to match a printer suitable for the output format {output:?}, allowed formats are: custom-columns,custom-columns-file,json,jsonpath,jsonpath-file,name,wide,yaml"
            ))),
        }
    }

    /// An object or a list, as text with its line ends.
    pub fn print(&mut self, v: &Value) -> Result<String> {
        match self {
            Printer::Json => Ok(json(v)),
            Printer::Yaml => {
                let again = YAML_PRINTED.swap(true, Ordering::Relaxed);
                Ok(format!("{}{}", if again { "---\n" } else { "" }, yaml::to_string(v)))
            }
            Printer::Name => Ok(names(v)),
            Printer::Columns(columns) => columns.print(v),
            Printer::JsonPath(source, template) => template.render(v).map_err(|e| {
                Error::other(format!(
                    "error executing jsonpath {source:?}: Error executing template: {e}. Printing more information for debugging the template:\n\ttemplate was:\n\t\t{source}\n\tobject given to jsonpath engine was:\n\t\t{v}\n\n"
                ))
            }),
        }
    }
    /// The formats that hide `managedFields`.
    pub fn whole(&self) -> bool {
        matches!(self, Printer::Json | Printer::Yaml)
    }
}

/// Four spaces, and what HTML minds escaped, as Go's encoder does.
fn json(v: &Value) -> String {
    let mut out = Vec::new();
    let formatter = serde_json::ser::PrettyFormatter::with_indent(b"    ");
    let mut serializer = serde_json::Serializer::with_formatter(&mut out, formatter);
    // a tree has text keys only and a Vec takes every byte: this cannot fail
    let _ = serde::Serialize::serialize(v, &mut serializer);
    let mut text = html_safe(&String::from_utf8_lossy(&out));
    text.push('\n');
    text
}

/// `<`, `>` and `&` as Go's JSON encoder escapes them. They occur in texts only.
pub fn html_safe(json: &str) -> String {
    json.replace('&', "\\u0026").replace('<', "\\u003c").replace('>', "\\u003e")
}

/// `pod/x`, a line each.
fn names(v: &Value) -> String {
    let items = list(v, "/items");
    if v.get("items").is_some() && text(v, "/kind").ends_with("List") {
        return items.iter().map(names).collect();
    }
    let (group, _, kind) = api::decode::gvk(v);
    format!("{}/{}\n", qualified(kind, group), text(v, "/metadata/name"))
}

/// `deployment.apps`
pub fn qualified(kind: &str, group: &str) -> String {
    let kind = kind.to_lowercase();
    if group.is_empty() { kind } else { format!("{kind}.{group}") }
}

/// Without `managedFields`, in an object or in each item of a list.
pub fn hide_managed_fields(v: &mut Value) {
    if let Some(meta) = v.get_mut("metadata").and_then(Value::as_object_mut) {
        meta.remove("managedFields");
    }
    for item in v.get_mut("items").and_then(Value::as_array_mut).into_iter().flatten() {
        hide_managed_fields(item);
    }
}

/// What changed an object ends with: `deployment.apps/x scaled`, or the object in the format that was asked for.
pub fn done(output: Option<&str>, object: &Value, what: &str, dry_run: DryRun) -> Result<()> {
    match Printer::parse(output, false)? {
        None => println!("{} {what}{}", names(object).trim_end(), dry_run.suffix()),
        Some(mut printer) => {
            let mut object = object.clone();
            hide_managed_fields(&mut object);
            print!("{}", printer.print(&object)?);
        }
    }
    Ok(())
}

/// `--dry-run`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DryRun {
    #[default]
    None,
    Client,
    Server,
}

impl DryRun {
    pub fn parse(text: Option<&str>) -> Result<DryRun> {
        match text.unwrap_or("none") {
            "none" | "false" => Ok(DryRun::None),
            "client" | "true" | "unchanged" => Ok(DryRun::Client),
            "server" => Ok(DryRun::Server),
            other => Err(Error::other(format!(
                "Invalid dry-run value ({other}). Must be \"none\", \"server\", or \"client\"."
            ))),
        }
    }
    pub fn suffix(self) -> &'static str {
        match self {
            DryRun::None => "",
            DryRun::Client => " (dry run)",
            DryRun::Server => " (server dry run)",
        }
    }
    /// The value of the query parameter `dryRun`.
    pub fn query(self) -> &'static str {
        if self == DryRun::Server { "All" } else { "" }
    }
    pub fn client(self) -> bool {
        self == DryRun::Client
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn names_and_json() {
        let deploy =
            json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "x", "managedFields": []}});
        let pods =
            json!({"kind": "List", "items": [{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}}, deploy]});
        assert_eq!(names(&pods), "pod/p\ndeployment.apps/x\n");
        assert_eq!(json(&json!({"a": "<b>"})), "{\n    \"a\": \"\\u003cb\\u003e\"\n}\n");
        let mut hidden = pods.clone();
        hide_managed_fields(&mut hidden);
        assert_eq!(hidden["items"][1]["metadata"], json!({"name": "x"}));
    }
}
