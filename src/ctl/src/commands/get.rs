//! `get`: tables that the server makes, or the objects in any format; once, or with each change.

use api::Value;
use futures::StreamExt;
use serde_json::json;

use crate::cli::{Files, Output, Select};
use crate::error::{Error, Result};
use crate::mapping::Mapping;
use crate::objects::{Failed, NO_TYPE, list, text};
use crate::print::rows::{Options, TablePrinter};
use crate::print::{Printer, hide_managed_fields, sort};
use crate::session::{JSON, Session, TABLE, with_query};

#[derive(clap::Args, Default)]
pub struct Flags {
    /// TYPE[,TYPE] [NAME…] or TYPE/NAME…
    args: Vec<String>,
    #[command(flatten)]
    files: Files,
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    select: Select,
    /// Show changes as they come, after the list
    #[arg(short, long)]
    watch: bool,
    /// Show changes as they come, without the list
    #[arg(long)]
    watch_only: bool,
    /// With --watch, print the events with their types
    #[arg(long)]
    output_watch_events: bool,
    /// A column with the labels
    #[arg(long)]
    show_labels: bool,
    /// A column for each of these labels
    #[arg(short = 'L', long, value_delimiter = ',')]
    label_columns: Vec<String>,
    /// Show types before names
    #[arg(long)]
    show_kind: bool,
    /// Show managedFields in json and yaml
    #[arg(long)]
    show_managed_fields: bool,
    /// Sort a list by what this JSONPath finds
    #[arg(long)]
    sort_by: Option<String>,
    /// No header line
    #[arg(long)]
    no_headers: bool,
    /// Objects that are not there are no error
    #[arg(long)]
    ignore_not_found: bool,
    /// The answer to this path, as it is
    #[arg(long)]
    raw: Option<String>,
    /// How many objects to ask for at a time; 0: all
    #[arg(long, default_value_t = 500)]
    chunk_size: u64,
    /// Let the server make tables
    #[arg(long, default_value_t = true, action = clap::ArgAction::Set, num_args = 0..=1, require_equals = true, default_missing_value = "true", hide = true)]
    server_print: bool,
    /// A subresource: status, scale
    #[arg(long)]
    subresource: Option<String>,
}

/// One request: a type's objects in a namespace, or one of them.
struct Request {
    mapping: Mapping,
    namespace: String,
    name: Option<String>,
}

impl Request {
    /// The object, or the list.
    fn path(&self, flags: &Flags) -> String {
        let name = self.name.as_deref().unwrap_or_default();
        let mut path = self.mapping.path(&self.namespace, name);
        if let Some(sub) = &flags.subresource {
            path.push('/');
            path.push_str(sub);
        }
        path
    }
}

pub async fn run(s: &Session, flags: Flags) -> Result<()> {
    if let Some(path) = &flags.raw {
        print!("{}", s.text(path).await?);
        return Ok(());
    }
    let requests = requests(s, &flags).await?;
    let mut printer = Printer::parse(flags.output.output.as_deref(), flags.no_headers)?;
    if flags.watch || flags.watch_only {
        let [request] = requests.as_slice() else {
            return Err(Error::other("you may only specify a single resource type"));
        };
        return watch(s, &flags, request, printer.as_mut()).await;
    }
    match &mut printer {
        Some(printer) => objects(s, &flags, &requests, printer).await,
        None => tables(s, &flags, &requests).await,
    }
}

async fn requests(s: &Session, flags: &Flags) -> Result<Vec<Request>> {
    if !flags.files.filename.is_empty() {
        let local = s.local(&flags.files).await?.into_iter();
        return Ok(local.map(|i| Request { mapping: i.mapping, namespace: i.namespace, name: Some(i.name) }).collect());
    }
    if flags.args.is_empty() {
        return Err(Error::Plain(format!(
            "{NO_TYPE}\n\nerror: Required resource not specified.\nUse \"kubectl explain <resource>\" for a detailed description of that resource (e.g. kubectl explain pods).\nSee 'kubectl get -h' for help and examples"
        )));
    }
    let targets = s.targets(&flags.args).await?;
    if flags.select.all_namespaces && targets.iter().any(|t| t.name.is_some()) {
        return Err(Error::other("a resource cannot be retrieved by name across all namespaces"));
    }
    let of = |t: crate::objects::Target| {
        let namespace = s.namespace_of(&t.mapping, flags.select.all_namespaces).to_owned();
        Request { mapping: t.mapping, namespace, name: t.name }
    };
    Ok(targets.into_iter().map(of).collect())
}

fn selectors(flags: &Flags) -> [(&'static str, &str); 2] {
    [
        ("labelSelector", flags.select.selector.as_deref().unwrap_or_default()),
        ("fieldSelector", flags.select.field_selector.as_deref().unwrap_or_default()),
    ]
}

/// One type's table, all its pages.
async fn table(s: &Session, flags: &Flags, request: &Request) -> Result<Value> {
    let include = if flags.sort_by.is_some() { "Object" } else { "" };
    let chunk = if flags.chunk_size == 0 { String::new() } else { flags.chunk_size.to_string() };
    let mut query = vec![("includeObject", include)];
    if request.name.is_none() {
        query.push(("limit", &chunk));
        query.extend(selectors(flags));
    }
    let path = with_query(&request.path(flags), &query);
    let mut table = s.get_as(&path, TABLE).await?;
    while let Some(token) = table["metadata"]["continue"].as_str().filter(|t| !t.is_empty()).map(str::to_owned) {
        let mut more = s.get_as(&with_query(&path, &[("continue", &token)]), TABLE).await?;
        table["metadata"] = more["metadata"].take();
        if let (Some(a), Value::Array(b)) = (table["rows"].as_array_mut(), more["rows"].take()) {
            a.extend(b);
        }
    }
    Ok(if table["kind"] == "Table" { table } else { home_made(table) })
}

/// For a server that makes no table of this type: name and age.
fn home_made(v: Value) -> Value {
    let items = match v.get("items").and_then(Value::as_array) {
        Some(items) => items.clone(),
        None => vec![v],
    };
    let now = jiff::Timestamp::now().as_second();
    let row = |o: Value| json!({"cells": [text(&o, "/metadata/name"), api::age(&o, now)], "object": o});
    json!({
        "columnDefinitions": [{"name": "Name", "format": "name"}, {"name": "Age"}],
        "rows": items.into_iter().map(row).collect::<Vec<_>>(),
    })
}

fn options(flags: &Flags, several: bool) -> Options {
    Options {
        wide: flags.output.output.as_deref() == Some("wide"),
        no_headers: flags.no_headers,
        with_namespace: flags.select.all_namespaces,
        with_kind: flags.show_kind || several,
        show_labels: flags.show_labels,
        label_columns: flags.label_columns.clone(),
    }
}

async fn tables(s: &Session, flags: &Flags, requests: &[Request]) -> Result<()> {
    let mut failed = Failed::default();
    // tables of one type follow each other without a new header
    let mut groups: Vec<(&Mapping, Vec<Value>)> = Vec::new();
    for request in requests {
        let result = table(s, flags, request).await;
        if flags.ignore_not_found && result.as_ref().is_err_and(Error::is_not_found) {
            continue;
        }
        if requests.len() > 1
            && request.name.is_none()
            && result.as_ref().is_err_and(|e| e.status().is_some_and(|s| s.code == 405))
        {
            continue;
        }
        let Some(table) = failed.keep_later(result) else { continue };
        match groups.last_mut() {
            Some((m, tables)) if **m == request.mapping => tables.push(table),
            _ => groups.push((&request.mapping, vec![table])),
        }
    }
    let kinds: Vec<(&str, &str)> = groups.iter().map(|(m, _)| (m.group.as_str(), m.plural.as_str())).collect();
    let several = kinds.iter().any(|k| *k != kinds[0]);
    let mut printed = false;
    for (mapping, tables) in groups {
        let mut whole = tables.iter().find(|t| !list(t, "/columnDefinitions").is_empty()).cloned().unwrap_or_default();
        let mut rows: Vec<Value> = tables.iter().flat_map(|t| list(t, "/rows")).cloned().collect();
        if rows.is_empty() {
            continue;
        }
        if let Some(path) = &flags.sort_by {
            sort::sort_by(&mut rows, path, |row| &row["object"])?;
        }
        whole["rows"] = rows.into();
        let mut options = options(flags, several);
        options.with_namespace &= mapping.namespaced;
        if std::mem::replace(&mut printed, true) && !flags.no_headers {
            println!();
        }
        print!("{}", TablePrinter::new(&options, mapping).print(&whole));
    }
    if !printed && failed.is_empty() && !flags.ignore_not_found {
        let scoped = requests.iter().any(|r| r.mapping.namespaced) && !flags.select.all_namespaces;
        match requests.first() {
            Some(_) if scoped => eprintln!("No resources found in {} namespace.", s.namespace),
            _ => eprintln!("No resources found"),
        }
    }
    failed.end()
}

/// The objects themselves: one, or a `List` of all.
async fn objects(s: &Session, flags: &Flags, requests: &[Request], printer: &mut Printer) -> Result<()> {
    let mut failed = Failed::default();
    let mut items = Vec::new();
    for request in requests {
        let found = match request.name {
            Some(_) => s.get(&request.path(flags)).await.map(|o| vec![o]),
            None => {
                let chunk = flags.chunk_size.to_string();
                let [labels, fields] = selectors(flags);
                let query = [labels, fields, ("limit", if chunk == "0" { "" } else { &chunk })];
                let list = s.list(&request.mapping, &request.namespace, &query).await;
                list.map(|mut l| match l["items"].take() {
                    Value::Array(items) => items,
                    _ => Vec::new(),
                })
            }
        };
        if flags.ignore_not_found && found.as_ref().is_err_and(Error::is_not_found) {
            continue;
        }
        items.extend(failed.keep_later(found).into_iter().flatten());
    }
    if let Some(path) = &flags.sort_by {
        sort::sort_by(&mut items, path, |o| o)?;
    }
    let single = requests.len() == 1 && requests[0].name.is_some();
    if single && items.is_empty() || items.is_empty() && !failed.is_empty() {
        return failed.end();
    }
    let mut all = match items.as_mut_slice() {
        [one] if single => one.take(),
        _ => json!({"apiVersion": "v1", "kind": "List", "metadata": {"resourceVersion": ""}, "items": items}),
    };
    if !(flags.show_managed_fields && printer.whole()) {
        hide_managed_fields(&mut all);
    }
    print!("{}", printer.print(&all)?);
    failed.end()
}

async fn watch(s: &Session, flags: &Flags, request: &Request, mut printer: Option<&mut Printer>) -> Result<()> {
    let by_name = request.name.as_ref().map(|n| format!("metadata.name={n}"));
    let collection = request.mapping.path(&request.namespace, "");
    let [labels, fields] = selectors(flags);
    let fields = ("fieldSelector", by_name.as_deref().unwrap_or(fields.1));
    let path = with_query(&collection, &[labels, fields]);
    let accept = if printer.is_some() { JSON } else { TABLE };
    let options =
        Options { with_namespace: flags.select.all_namespaces && request.mapping.namespaced, ..options(flags, false) };
    let mut rows = TablePrinter::new(&options, &request.mapping);

    if let (Some(name), false) = (&request.name, flags.ignore_not_found) {
        // says so when there is no such object
        s.get(&request.mapping.path(&request.namespace, name)).await?;
    }
    let mut first = s.get_as(&path, accept).await?;
    let from = text(&first, "/metadata/resourceVersion").to_owned();
    let mut show = |kind: &str, mut object: Value| -> Result<()> {
        let text = match printer.as_deref_mut() {
            None => {
                if flags.output_watch_events {
                    let mut table = object;
                    event_column(&mut table, kind);
                    rows.print(&table)
                } else {
                    rows.print(&object)
                }
            }
            Some(printer) => {
                if !flags.show_managed_fields {
                    hide_managed_fields(&mut object);
                }
                if flags.output_watch_events {
                    object = json!({"type": kind, "object": object});
                }
                printer.print(&object)?
            }
        };
        out(&text)
    };
    if !flags.watch_only {
        match accept {
            JSON => {
                for mut item in list(&first, "/items").to_vec() {
                    item["apiVersion"] = request.mapping.api_version().into();
                    item["kind"] = request.mapping.kind.as_str().into();
                    show("ADDED", item)?;
                }
            }
            _ if list(&first, "/rows").is_empty() => {}
            _ => show("ADDED", first.take())?,
        }
    }
    let mut events = s.watch(&with_query(&path, &[("watch", "true"), ("resourceVersion", &from)]), accept).await?;
    while let Some(event) = events.next().await {
        let mut event = event?;
        let kind = text(&event, "/type").to_owned();
        match kind.as_str() {
            "BOOKMARK" => {}
            "ERROR" => return Err(api::Status::from_value(&event["object"]).into()),
            _ => show(&kind, event["object"].take())?,
        }
    }
    Ok(())
}

/// `--output-watch-events` puts the type of the event before a table's columns.
fn event_column(table: &mut Value, kind: &str) {
    if let Some(columns) = table["columnDefinitions"].as_array_mut().filter(|c| !c.is_empty()) {
        columns.insert(0, json!({"name": "Event"}));
    }
    for row in table["rows"].as_array_mut().into_iter().flatten() {
        if let Some(cells) = row["cells"].as_array_mut() {
            cells.insert(0, kind.into());
        }
    }
}

/// Prints at once; a reader that has gone ends the command.
fn out(text: &str) -> Result<()> {
    use std::io::Write;
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()).map_err(|_| Error::Exit(0))
}
