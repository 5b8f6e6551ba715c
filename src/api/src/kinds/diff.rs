//! What differs between two trees, as Go's `cmp.Diff` shows it in messages: for people; nothing reads it.

use serde_json::{Map, Value};

use super::tree::same as alike;

/// Lines with `-` were, lines with `+` are. `kind` is the Go type: `core.PodSpec`.
pub(crate) fn diff(kind: &str, old: &Value, new: &Value) -> String {
    let mut out = format!("  {kind}{{\n");
    members(&mut out, 1, old, new);
    out.push_str("  }\n");
    out
}

fn line(out: &mut String, mark: char, depth: usize, text: &str) {
    out.push(mark);
    out.push(' ');
    (0..depth).for_each(|_| out.push('\t'));
    out.push_str(text);
    out.push('\n');
}

fn skipped(out: &mut String, depth: usize, any: &mut bool, what: &str) {
    if std::mem::take(any) {
        line(out, ' ', depth, &format!("... // identical {what}"));
    }
}

/// `HostNetwork` for `hostNetwork`: the field of the struct, near enough.
fn go_name(key: &str) -> String {
    let mut chars = key.chars();
    chars.next().map_or_else(String::new, |c| c.to_uppercase().chain(chars).collect())
}

fn members(out: &mut String, depth: usize, old: &Value, new: &Value) {
    let none = Map::new();
    let (was, now) = (old.as_object().unwrap_or(&none), new.as_object().unwrap_or(&none));
    let mut keys: Vec<&String> = was.keys().chain(now.keys()).collect();
    keys.sort();
    keys.dedup();
    let mut same = false;
    for key in keys {
        let (a, b) = (was.get(key).unwrap_or(&Value::Null), now.get(key).unwrap_or(&Value::Null));
        if alike(a, b) {
            same = true;
            continue;
        }
        skipped(out, depth, &mut same, "fields");
        pair(out, depth, &format!("{}: ", go_name(key)), a, b);
    }
    skipped(out, depth, &mut same, "fields");
}

/// Two values that differ.
fn pair(out: &mut String, depth: usize, label: &str, old: &Value, new: &Value) {
    match (old, new) {
        (Value::Object(_), Value::Object(_)) => {
            line(out, ' ', depth, &format!("{label}{{"));
            members(out, depth + 1, old, new);
            line(out, ' ', depth, "},");
        }
        (Value::Array(was), Value::Array(now)) => {
            line(out, ' ', depth, &format!("{label}{{"));
            let mut same = false;
            for i in 0..was.len().max(now.len()) {
                match (was.get(i), now.get(i)) {
                    (Some(a), Some(b)) if a == b => same = true,
                    (a, b) => {
                        skipped(out, depth + 1, &mut same, "elements");
                        pair(out, depth + 1, "", a.unwrap_or(&Value::Null), b.unwrap_or(&Value::Null));
                    }
                }
            }
            skipped(out, depth + 1, &mut same, "elements");
            line(out, ' ', depth, "},");
        }
        _ => {
            let shown = |v: &Value| if v.is_null() { "nil".to_owned() } else { v.to_string() };
            // an element that is not there has no line
            for (mark, v) in [('-', old), ('+', new)] {
                if !(label.is_empty() && v.is_null()) {
                    line(out, mark, depth, &format!("{label}{},", shown(v)));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_was_and_what_is() {
        let old = json!({"hostNetwork": false, "nodeName": "a", "volumes": [],
            "containers": [{"name": "c", "image": "i"}, {"name": "d", "ports": [1, 2]}]});
        let new =
            json!({"nodeName": "b", "containers": [{"name": "c", "image": "i"}, {"name": "e", "ports": [1, 3, 4]}]});
        let want = "  core.PodSpec{
  \tContainers: {
  \t\t... // identical elements
  \t\t{
- \t\t\tName: \"d\",
+ \t\t\tName: \"e\",
  \t\t\tPorts: {
  \t\t\t\t... // identical elements
- \t\t\t\t2,
+ \t\t\t\t3,
+ \t\t\t\t4,
  \t\t\t},
  \t\t},
  \t},
  \t... // identical fields
- \tNodeName: \"a\",
+ \tNodeName: \"b\",
  \t... // identical fields
  }
";
        assert_eq!(diff("core.PodSpec", &old, &new), want);
    }
}
