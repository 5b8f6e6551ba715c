//! The registry against `data/resources.txt`, what upstream's discovery says.

use std::collections::BTreeSet;

use super::{SUBRESOURCES, registry};
use crate::Kind;

const TABLE: &str = include_str!("../../data/resources.txt");
const VERBS: &str = "create,delete,deletecollection,get,list,patch,update,watch";
const EDIT: &str = "get,patch,update";

fn list(all: &[String]) -> String {
    if all.is_empty() { "-".into() } else { all.join(",") }
}

fn lines_of(kind: &Kind, group: &str, version: &str) -> Vec<String> {
    let scope = if kind.namespaced() { "N" } else { "C" };
    let verbs = list(&kind.verbs);
    let verbs = if verbs == VERBS { "*".into() } else { verbs };
    let Kind { plural, kind: name, singular, short_names, categories, subresources, .. } = kind;
    let mut lines =
        vec![format!("{plural} {name} {singular} {} {} {scope} {verbs}", list(short_names), list(categories))];
    if subresources.status {
        lines.push(format!("{plural}/status {name} - - - {scope} {EDIT}"));
    }
    if subresources.scale {
        lines.push(format!("{plural}/scale Scale.v1.autoscaling - - - {scope} {EDIT}"));
    }
    for s in SUBRESOURCES.iter().filter(|s| s.group == group && version == "v1") {
        if s.resource.split_once('/').is_some_and(|(parent, _)| parent == plural) {
            let home = s.home.map(|(g, v)| format!(".{v}.{g}")).unwrap_or_default();
            let scope = if s.namespaced { "N" } else { "C" };
            lines.push(format!("{} {}{home} - - - {scope} {}", s.resource, s.kind, s.verbs.join(",")));
        }
    }
    lines
}

#[test]
fn every_resource_is_upstreams() {
    let mut group_version = "";
    let mut wanted = BTreeSet::new();
    for line in TABLE.lines().filter(|l| !l.starts_with('#')) {
        match line.strip_prefix(' ') {
            None => group_version = line,
            // the API server's own
            Some(_) if group_version.starts_with("auth") => {}
            Some(line) if line.starts_with("bindings ") => {}
            Some(line) => drop(wanted.insert(format!("{group_version} {line}"))),
        }
    }
    let mut found = BTreeSet::new();
    for kind in registry().kinds() {
        for (group, version) in kind.served.iter().filter(|(_, v)| !v.contains("beta") && !v.contains("alpha")) {
            let lines = lines_of(kind, group, version);
            let at = crate::kind::api_version(group, version);
            found.extend(lines.into_iter().map(|l| format!("{at} {l}")));
        }
    }
    let missing: Vec<_> = wanted.difference(&found).collect();
    let odd: Vec<_> = found.difference(&wanted).collect();
    assert!(missing.is_empty() && odd.is_empty(), "missing: {missing:#?}\nodd: {odd:#?}");
}
