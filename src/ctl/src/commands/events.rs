//! `events`: what happened, oldest first; of all objects or one.

use api::Value;
use futures::StreamExt;

use super::describe::events::last;
use super::describe::writer::since;
use crate::cli::Output;
use crate::error::{Error, Result};
use crate::objects::text;
use crate::print::tabs::Rows;
use crate::print::{Printer, hide_managed_fields};
use crate::session::{JSON, Session, with_query};

#[derive(clap::Args)]
pub struct Flags {
    /// Only about TYPE/NAME
    #[arg(long = "for")]
    about: Option<String>,
    /// Normal, Warning
    #[arg(long, value_delimiter = ',')]
    types: Vec<String>,
    /// All namespaces
    #[arg(short = 'A', long)]
    all_namespaces: bool,
    /// Show new ones as they come
    #[arg(short, long)]
    watch: bool,
    #[arg(long)]
    no_headers: bool,
    /// How many to ask for at a time
    #[arg(long, default_value = "500")]
    chunk_size: String,
    #[command(flatten)]
    output: Output,
}

pub async fn run(s: &Session, flags: Flags) -> Result<()> {
    let wanted = |t: &str| ["Normal", "Warning"].into_iter().find(|w| w.eq_ignore_ascii_case(t));
    if flags.types.iter().any(|t| wanted(t).is_none()) {
        return Err(Error::other("valid --types are Normal or Warning"));
    }
    let fields = match &flags.about {
        None => String::new(),
        Some(about) => {
            let mut targets = s.targets(std::slice::from_ref(about)).await?;
            let target = targets.pop().and_then(|t| Some((t.mapping, t.name?)));
            let Some((mapping, name)) = target else {
                return Err(Error::other("--for must be in resource/name form"));
            };
            format!("involvedObject.kind={},involvedObject.name={name}", mapping.kind)
        }
    };
    let mapping = s.mapping("events").await?;
    let namespace = s.namespace_of(&mapping, flags.all_namespaces);
    let query = [("fieldSelector", fields.as_str()), ("limit", flags.chunk_size.as_str())];
    let mut all = s.list(&mapping, namespace, &query).await?;
    let revision = text(&all, "/metadata/resourceVersion").to_owned();
    let shown =
        |e: &Value| flags.types.is_empty() || flags.types.iter().any(|t| text(e, "/type").eq_ignore_ascii_case(t));
    if let Some(items) = all["items"].as_array_mut() {
        items.retain(|e| shown(e));
        items.sort_by_cached_key(|e| last(e).to_owned());
    }
    let items = all["items"].as_array().cloned().unwrap_or_default();

    let mut printer = Printer::parse(flags.output.output.as_deref(), flags.no_headers)?;
    let mut rows = Rows::default();
    let mut header = !flags.no_headers;
    let mut show = |events: &[Value]| -> Result<()> {
        match &mut printer {
            Some(printer) => {
                for e in events {
                    let mut e = e.clone();
                    hide_managed_fields(&mut e);
                    print!("{}", printer.print(&e)?);
                }
            }
            None => {
                let mut lines = Vec::new();
                if std::mem::take(&mut header) {
                    lines.push(head(flags.all_namespaces));
                }
                lines.extend(events.iter().map(|e| row(e, flags.all_namespaces)));
                print!("{}", rows.add(&lines));
            }
        }
        Ok(())
    };
    if items.is_empty() && !flags.watch {
        match flags.all_namespaces {
            true => eprintln!("No events found."),
            false => eprintln!("No events found in {namespace} namespace."),
        }
        return Ok(());
    }
    if flags.output.output.is_some() && !flags.watch {
        hide_managed_fields(&mut all);
        let list = serde_json::json!({"apiVersion": "v1", "kind": "List", "items": all["items"], "metadata": {"resourceVersion": ""}});
        if let Some(mut printer) = Printer::parse(flags.output.output.as_deref(), flags.no_headers)? {
            print!("{}", printer.print(&list)?);
        }
        return Ok(());
    }
    show(&items)?;
    if !flags.watch {
        return Ok(());
    }
    let query = [("fieldSelector", fields.as_str()), ("watch", "true"), ("resourceVersion", revision.as_str())];
    let mut changes = s.watch(&with_query(&mapping.path(namespace, ""), &query), JSON).await?;
    while let Some(change) = changes.next().await {
        let change = change?;
        match text(&change, "/type") {
            "ADDED" | "MODIFIED" if shown(&change["object"]) => show(std::slice::from_ref(&change["object"]))?,
            "ERROR" => return Err(api::Status::from_value(&change["object"]).into()),
            _ => {}
        }
    }
    Ok(())
}

fn head(namespace: bool) -> Vec<String> {
    let columns = ["NAMESPACE", "LAST SEEN", "TYPE", "REASON", "OBJECT", "MESSAGE"];
    columns.into_iter().skip(usize::from(!namespace)).map(str::to_owned).collect()
}

fn row(e: &Value, namespace: bool) -> Vec<String> {
    let object = format!("{}/{}", text(e, "/involvedObject/kind"), text(e, "/involvedObject/name"));
    let message = text(e, "/message").trim().to_owned();
    let all = [
        text(e, "/metadata/namespace").to_owned(),
        interval(e),
        text(e, "/type").to_owned(),
        text(e, "/reason").to_owned(),
        object,
        message,
    ];
    all.into_iter().skip(usize::from(!namespace)).collect()
}

/// `10s (x3 over 5m)`
fn interval(e: &Value) -> String {
    let first = Some(text(e, "/eventTime")).filter(|t| !t.is_empty()).unwrap_or(text(e, "/firstTimestamp"));
    let first = since(first);
    match (e["series"]["count"].as_i64(), e["count"].as_i64()) {
        (Some(n), _) => format!("{} (x{n} over {first})", since(text(e, "/series/lastObservedTime"))),
        (None, Some(n)) if n > 1 => format!("{} (x{n} over {first})", since(text(e, "/lastTimestamp"))),
        _ => first,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn rows() {
        let e = json!({"metadata": {"namespace": "n"}, "type": "Normal", "reason": "R", "message": " m \n", "count": 1,
            "involvedObject": {"kind": "Pod", "name": "p"}});
        assert_eq!(row(&e, false), ["<unknown>", "Normal", "R", "Pod/p", "m"]);
        assert_eq!(row(&e, true)[0], "n");
        assert_eq!(head(false)[0], "LAST SEEN");
    }
}
