//! Manifests: files, folders and stdin, to trees.

use std::io::Read;
use std::path::{Path, PathBuf};

use api::Value;

use crate::cli::Files;
use crate::error::{Error, Result};

/// An object as somebody wrote it down.
#[derive(Debug, Clone)]
pub struct Document {
    pub tree: Value,
    /// The file, or `STDIN`: for error texts.
    pub source: String,
}

/// All objects of `-f`, lists taken apart, in the order of files (by name in a folder) and documents.
pub fn read(files: &Files) -> Result<Vec<Document>> {
    let mut all = Vec::new();
    for name in &files.filename {
        if name == "-" {
            let mut text = Vec::new();
            std::io::stdin().read_to_end(&mut text)?;
            parse("STDIN", &text, &mut all)?;
            continue;
        }
        if name.starts_with("http://") || name.starts_with("https://") {
            return Err(Error::other(format!("unable to read URL {name:?}: fetch it first and give the file")));
        }
        let path = Path::new(name);
        if !path.exists() {
            return Err(Error::other(format!("the path {name:?} does not exist")));
        }
        let mut found = Vec::new();
        if path.is_dir() {
            walk(path, files.recursive, &mut found)?;
            if found.is_empty() {
                return Err(Error::other(format!(
                    "error reading [{name}]: recognized file extensions are [.json .yaml .yml]"
                )));
            }
        } else {
            found.push(path.to_owned());
        }
        for file in found {
            parse(&file.display().to_string(), &std::fs::read(&file)?, &mut all)?;
        }
    }
    Ok(all)
}

fn walk(folder: &Path, recursive: bool, found: &mut Vec<PathBuf>) -> Result<()> {
    let mut entries: Vec<PathBuf> =
        std::fs::read_dir(folder)?.map(|e| e.map(|e| e.path())).collect::<std::io::Result<_>>()?;
    entries.sort();
    for path in entries {
        let manifest = path.extension().is_some_and(|e| e == "json" || e == "yaml" || e == "yml");
        if path.is_dir() {
            if recursive {
                walk(&path, true, found)?;
            }
        } else if manifest {
            found.push(path);
        }
    }
    Ok(())
}

/// The objects of one text, YAML or JSON.
pub fn parse(source: &str, text: &[u8], all: &mut Vec<Document>) -> Result<()> {
    let documents =
        api::decode::yaml_documents(text).map_err(|e| Error::other(format!("error parsing {source}: {e}")))?;
    for document in documents.into_iter().map(|d| d.tree).filter(|t| !t.is_null()) {
        flatten(source, document, all)?;
    }
    Ok(())
}

fn flatten(source: &str, mut tree: Value, all: &mut Vec<Document>) -> Result<()> {
    let kind = tree["kind"].as_str().unwrap_or_default();
    if kind.ends_with("List")
        && let Some(items) = tree.get_mut("items").and_then(Value::as_array_mut)
    {
        return std::mem::take(items).into_iter().try_for_each(|item| flatten(source, item, all));
    }
    let missing: Vec<&str> = ["apiVersion", "kind"]
        .into_iter()
        .filter(|k| tree.get(k).and_then(Value::as_str).is_none_or(str::is_empty))
        .collect();
    if !missing.is_empty() {
        let what = missing.iter().map(|m| format!("{m} not set")).collect::<Vec<_>>().join(", ");
        let what = if missing.len() > 1 { format!("[{what}]") } else { what };
        return Err(Error::other(format!(
            "error validating {source:?}: error validating data: {what}; if you choose to ignore these errors, turn validation off with --validate=false"
        )));
    }
    all.push(Document { tree, source: source.to_owned() });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_and_lists() {
        let text = b"apiVersion: v1\nkind: A\n---\n---\napiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: B}\n- {apiVersion: v1, kind: C}\n";
        let mut all = Vec::new();
        parse("x.yaml", text, &mut all).unwrap();
        let kinds: Vec<&str> = all.iter().map(|d| d.tree["kind"].as_str().unwrap()).collect();
        assert_eq!(kinds, ["A", "B", "C"]);
        let e = parse("x.yaml", b"a: b", &mut all).unwrap_err().to_string();
        assert!(e.contains("[apiVersion not set, kind not set]"), "{e}");
    }

    #[test]
    fn folders() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("sub")).unwrap();
        for (name, kind) in [("b.yaml", "B"), ("a.json", "A"), ("readme.md", "X"), ("sub/c.yml", "C")] {
            std::fs::write(dir.path().join(name), format!("{{\"apiVersion\": \"v1\", \"kind\": \"{kind}\"}}")).unwrap();
        }
        for (recursive, want) in [(false, "AB"), (true, "ABC")] {
            let files = Files { filename: vec![dir.path().display().to_string()], recursive };
            let kinds: String =
                read(&files).unwrap().iter().map(|d| d.tree["kind"].as_str().unwrap().to_owned()).collect();
            assert_eq!(kinds, want);
        }
    }
}
