//! What a command is about: `TYPE NAME…`, `TYPE/NAME…`, selectors and files, resolved as kubectl's resource builder does.

use std::time::Duration;

use api::Value;
use futures::StreamExt;
use http::Method;

use crate::cli::{Files, Select};
use crate::error::{Error, Result};
use crate::manifest;
use crate::mapping::Mapping;
use crate::session::{JSON, Session, with_query};

/// An object, live or from a file.
#[derive(Debug, Clone)]
pub struct Info {
    pub mapping: Mapping,
    /// Empty for what has none.
    pub namespace: String,
    pub name: String,
    pub object: Value,
    /// The file that it is from; empty for live objects.
    pub source: String,
}

impl Info {
    pub fn path(&self) -> String {
        self.mapping.path(&self.namespace, &self.name)
    }
    /// `deployment.apps/x`
    pub fn id(&self) -> String {
        format!("{}/{}", self.mapping.short(), self.name)
    }
    /// Says what was done: `deployment.apps/x scaled`.
    pub fn say(&self, what: &str) {
        println!("{} {what}", self.id());
    }
    pub async fn live(&self, s: &Session) -> Result<Value> {
        s.get(&self.path()).await
    }
    pub async fn patch(&self, s: &Session, content_type: &str, patch: &Value, query: &[(&str, &str)]) -> Result<Value> {
        s.send(Method::PATCH, &with_query(&self.path(), query), content_type, Some(patch)).await
    }
}

/// A type, and the name of one of its objects; without a name, all.
#[derive(Debug, Clone)]
pub struct Target {
    pub mapping: Mapping,
    pub name: Option<String>,
}

/// A text field of an object, by JSON pointer; empty where there is none.
pub fn text<'a>(v: &'a Value, pointer: &str) -> &'a str {
    v.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// The items of a list, by JSON pointer; none where there is none.
pub fn list<'a>(v: &'a Value, pointer: &str) -> &'a [Value] {
    v.pointer(pointer).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

pub const NO_TYPE: &str = "You must specify the type of resource to get. Use \"kubectl api-resources\" for a complete list of supported resources.";

impl Session {
    /// The arguments of a command as types and names.
    pub async fn targets(&self, args: &[String]) -> Result<Vec<Target>> {
        let mut targets = Vec::new();
        if args.iter().any(|a| a.contains('/')) {
            for arg in args {
                let Some((kind, name)) = arg.split_once('/') else {
                    return Err(Error::other(
                        "there is no need to specify a resource type as a separate argument when passing arguments in resource/name form (e.g. 'kubectl get resource/<resource_name>' instead of 'kubectl get resource resource/<resource_name>'",
                    ));
                };
                if kind.is_empty() || name.is_empty() || name.contains('/') {
                    return Err(Error::other("arguments in resource/name form must have a single resource and name"));
                }
                targets.push(Target { mapping: self.mapping(kind).await?, name: Some(name.to_owned()) });
            }
            return Ok(targets);
        }
        let Some((types, names)) = args.split_first() else { return Ok(targets) };
        let mut mappings = Vec::new();
        for kind in types.split(',').filter(|k| !k.is_empty()) {
            let category = self.mappings().await?.category(kind);
            if category.is_empty() { mappings.push(self.mapping(kind).await?) } else { mappings.extend(category) }
        }
        for mapping in mappings {
            if names.is_empty() {
                targets.push(Target { mapping, name: None });
            } else {
                targets.extend(names.iter().map(|n| Target { mapping: mapping.clone(), name: Some(n.clone()) }));
            }
        }
        Ok(targets)
    }

    /// The namespace in which a type's objects are looked for.
    pub fn namespace_of(&self, mapping: &Mapping, all: bool) -> &str {
        if mapping.namespaced && !all { &self.namespace } else { "" }
    }

    /// The objects that files describe, not asked of the server.
    pub async fn local(&self, files: &Files) -> Result<Vec<Info>> {
        let mut infos = Vec::new();
        for document in manifest::read(files)? {
            infos.push(self.info(document.tree, document.source).await?);
        }
        Ok(infos)
    }

    /// The same, without those whose types the server does not know.
    pub async fn local_some(&self, files: &Files, failed: &mut Failed) -> Result<Vec<Info>> {
        let mut infos = Vec::new();
        for document in manifest::read(files)? {
            infos.extend(failed.keep_later(self.info(document.tree, document.source).await));
        }
        Ok(infos)
    }

    /// A tree with its type looked up and its namespace settled.
    pub async fn info(&self, mut tree: Value, source: String) -> Result<Info> {
        let mapping = self.mappings().await?.of_kind(text(&tree, "/apiVersion"), text(&tree, "/kind"));
        let mapping = mapping.map_err(|e| match (e, source.as_str()) {
            (Error::Other(why), s) if !s.is_empty() => {
                let (name, namespace) = (text(&tree, "/metadata/name"), text(&tree, "/metadata/namespace"));
                let why = why.trim_start_matches("resource mapping not found: ");
                Error::Plain(format!(
                    "resource mapping not found for name: {name:?} namespace: {namespace:?} from {s:?}: {why}"
                ))
            }
            (e, _) => e,
        })?;
        let mut namespace = text(&tree, "/metadata/namespace").to_owned();
        if !mapping.namespaced {
            namespace.clear();
        } else if namespace.is_empty() {
            namespace = self.namespace.clone();
            if let Some(meta) = tree
                .as_object_mut()
                .and_then(|t| t.entry("metadata").or_insert_with(|| Value::Object(Default::default())).as_object_mut())
            {
                meta.insert("namespace".into(), namespace.clone().into());
            }
        } else if let Some(given) = self.global.namespace.as_deref().filter(|g| *g != namespace) {
            return Err(Error::other(format!(
                "the namespace from the provided object {namespace:?} does not match the namespace {given:?}. You must pass '--namespace={namespace}' to perform this operation."
            )));
        }
        let name = text(&tree, "/metadata/name").to_owned();
        Ok(Info { mapping, namespace, name, object: tree, source })
    }

    /// A list, all its pages, with `apiVersion` and `kind` in each item.
    pub async fn list(&self, mapping: &Mapping, namespace: &str, query: &[(&str, &str)]) -> Result<Value> {
        let path = with_query(&mapping.path(namespace, ""), query);
        let mut list = self.get(&path).await?;
        while let Some(token) = list["metadata"]["continue"].as_str().filter(|t| !t.is_empty()).map(str::to_owned) {
            let mut more = self.get(&with_query(&path, &[("continue", &token)])).await?;
            list["metadata"] = more["metadata"].take();
            if let (Some(a), Value::Array(b)) = (list["items"].as_array_mut(), more["items"].take()) {
                a.extend(b);
            }
        }
        for item in list["items"].as_array_mut().into_iter().flatten() {
            item["apiVersion"] = mapping.api_version().into();
            item["kind"] = mapping.kind.as_str().into();
        }
        Ok(list)
    }

    /// Live objects: those of files by name, or those that arguments and selectors pick. Errors of single ones are said
    /// through `failed`, and the others still come.
    pub async fn infos(
        &self,
        args: &[String],
        files: &Files,
        select: &Select,
        failed: &mut Failed,
    ) -> Result<Vec<Info>> {
        let mut infos = Vec::new();
        if !files.filename.is_empty() {
            for mut info in self.local_some(files, failed).await? {
                if let Some(live) = failed.keep(info.live(self).await) {
                    info.object = live;
                    infos.push(info);
                }
            }
            return Ok(infos);
        }
        let selector = select.selector.as_deref().unwrap_or_default();
        let fields = select.field_selector.as_deref().unwrap_or_default();
        let targets = self.targets(args).await?;
        if targets.is_empty() {
            return Err(Error::other("resource(s) were provided, but no name was specified"));
        }
        for Target { mapping, name } in targets {
            let namespace = self.namespace_of(&mapping, select.all_namespaces).to_owned();
            let found = match &name {
                Some(name) => self.get(&mapping.path(&namespace, name)).await.map(|o| vec![o]),
                None => {
                    let query = [("labelSelector", selector), ("fieldSelector", fields), ("limit", "500")];
                    self.list(&mapping, &namespace, &query).await.map(|mut l| match l["items"].take() {
                        Value::Array(items) => items,
                        _ => Vec::new(),
                    })
                }
            };
            for object in failed.keep(found).into_iter().flatten() {
                infos.push(Info::of(&mapping, object));
            }
        }
        Ok(infos)
    }

    /// Waits until `check` gives something of the object (`None`: it is gone), looking at each change. `None` after `timeout`.
    pub async fn until<T>(
        &self,
        mapping: &Mapping,
        namespace: &str,
        name: &str,
        timeout: Option<Duration>,
        mut check: impl FnMut(Option<&Value>) -> Result<Option<T>>,
    ) -> Result<Option<T>> {
        let path = mapping.path(namespace, "");
        let field = format!("metadata.name={name}");
        let look = async {
            loop {
                let mut list = self.get(&with_query(&path, &[("fieldSelector", &field)])).await?;
                if let Some(item) = list["items"].get_mut(0) {
                    item["apiVersion"] = mapping.api_version().into();
                    item["kind"] = mapping.kind.as_str().into();
                }
                if let Some(t) = check(list["items"].get(0))? {
                    return Ok(t);
                }
                let from = text(&list, "/metadata/resourceVersion");
                let query = [("watch", "true"), ("fieldSelector", &field), ("resourceVersion", from)];
                let mut events = self.watch(&with_query(&path, &query), JSON).await?;
                while let Some(event) = events.next().await {
                    let Ok(event) = event else { break };
                    let done = match event["type"].as_str() {
                        Some("DELETED") => check(None)?,
                        Some("ADDED" | "MODIFIED") => check(Some(&event["object"]))?,
                        Some("ERROR") => break,
                        _ => None,
                    };
                    if let Some(t) = done {
                        return Ok(t);
                    }
                }
            }
        };
        match timeout {
            None => look.await.map(Some),
            Some(limit) => tokio::time::timeout(limit, look).await.map_or(Ok(None), |r| r.map(Some)),
        }
    }
}

impl Info {
    /// A live object.
    pub fn of(mapping: &Mapping, object: Value) -> Info {
        Info {
            mapping: mapping.clone(),
            namespace: text(&object, "/metadata/namespace").to_owned(),
            name: text(&object, "/metadata/name").to_owned(),
            object,
            source: String::new(),
        }
    }
}

/// Errors that do not stop the rest: said when they come or in the end, and then the command fails.
#[derive(Default)]
pub struct Failed {
    silent: bool,
    any: bool,
    later: Vec<Error>,
}

impl Failed {
    /// Keeps errors to itself: for a first try.
    pub fn silent() -> Failed {
        Failed { silent: true, ..Failed::default() }
    }
    /// No longer silent; what was kept is said in the end.
    pub fn aloud(self) -> Failed {
        Failed { silent: false, ..self }
    }
    /// Says an error at once.
    pub fn keep<T>(&mut self, result: Result<T>) -> Option<T> {
        result
            .map_err(|e| {
                self.any = true;
                if self.silent { self.later.push(e) } else { say(&e) }
            })
            .ok()
    }
    /// Says an error after all output, once.
    pub fn keep_later<T>(&mut self, result: Result<T>) -> Option<T> {
        result.map_err(|e| self.later.push(e)).ok()
    }
    /// What has been kept to itself, as one text.
    pub fn texts(&self) -> String {
        let text = |e: &Error| e.status().map_or_else(|| e.to_string(), |s| s.message.clone());
        self.later.iter().map(text).collect::<Vec<_>>().join(", ")
    }
    pub fn is_empty(&self) -> bool {
        !self.any && self.later.is_empty()
    }
    pub fn end(self) -> Result<()> {
        let failed = !self.is_empty();
        let mut said = Vec::new();
        for error in self.later {
            let text = error.to_string();
            if !said.contains(&text) {
                say(&error);
                said.push(text);
            }
        }
        if failed { Err(Error::Exit(1)) } else { Ok(()) }
    }
}

fn say(error: &Error) {
    if !matches!(error, Error::Exit(_)) {
        eprintln!("{error}");
    }
}

/// `30s`, `1m30s`, `1.5h`, `0`: Go's `time.ParseDuration`. Negative ones are `None`: no limit.
pub fn duration(text: &str) -> Result<Option<Duration>> {
    let bad = || Error::other(format!("invalid argument {text:?}: time: invalid duration {text:?}"));
    let (rest, negative) = text.strip_prefix('-').map_or((text, false), |r| (r, true));
    let mut rest = rest;
    let mut seconds = 0.0;
    if rest == "0" {
        return Ok(Some(Duration::ZERO));
    }
    if rest.is_empty() {
        return Err(bad());
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(bad)?;
        let number: f64 = rest[..digits].parse().map_err(|_| bad())?;
        let unit_end = rest[digits..].find(|c: char| c.is_ascii_digit() || c == '.').map_or(rest.len(), |e| digits + e);
        seconds += number
            * match &rest[digits..unit_end] {
                "h" => 3600.0,
                "m" => 60.0,
                "s" => 1.0,
                "ms" => 1e-3,
                "us" | "µs" => 1e-6,
                "ns" => 1e-9,
                _ => return Err(bad()),
            };
        rest = &rest[unit_end..];
    }
    if negative { Ok(None) } else { Duration::try_from_secs_f64(seconds).map(Some).map_err(|_| bad()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        let secs = |t| duration(t).map(|d| d.map(|d| d.as_secs_f64())).ok();
        assert_eq!(secs("30s"), Some(Some(30.0)));
        assert_eq!(secs("1m30s"), Some(Some(90.0)));
        assert_eq!(secs("1.5h"), Some(Some(5400.0)));
        assert_eq!(secs("0"), Some(Some(0.0)));
        assert_eq!(secs("250ms"), Some(Some(0.25)));
        assert_eq!(secs("-1s"), Some(None));
        for bad in ["", "5", "x", "5d", "s"] {
            assert_eq!(secs(bad), None, "{bad}");
        }
    }
}
