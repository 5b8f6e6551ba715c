//! YAML to a tree, as sigs.k8s.io/yaml reads it: YAML 1.1 scalars (`0644`, `yes`), keys as strings, merge keys.

use std::collections::HashMap;

use granit_parser::{Event, Parser, ScalarStyle};
use serde_json::{Map, Number, Value};

use super::{Decoded, MAX_DEPTH};

/// What aliases may expand to in all, in nodes: a stop for the billion laughs.
const MAX_NODES: usize = 1_000_000;

/// Decodes one document; an empty text is `null`. More than one is an error.
pub fn yaml(body: &[u8]) -> Result<Decoded, String> {
    let mut documents = yaml_documents(body)?;
    match documents.len() {
        0 => Ok(Decoded { tree: Value::Null, duplicates: Vec::new() }),
        1 => Ok(documents.remove(0)),
        _ => Err("error converting YAML to JSON: expected a single document".into()),
    }
}

/// Decodes all documents of a stream. Empty ones are `null`.
pub fn yaml_documents(body: &[u8]) -> Result<Vec<Decoded>, String> {
    let text = std::str::from_utf8(body).map_err(|e| format!("error converting YAML to JSON: yaml: {e}"))?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut builder = Builder::default();
    let mut documents = Vec::new();
    for event in Parser::new_from_str(text) {
        let (event, span) = event
            .map_err(|e| format!("error converting YAML to JSON: yaml: line {}: {}", e.marker().line(), e.info()))?;
        let ended = matches!(event, Event::DocumentEnd);
        builder.event(event, span.start.line())?;
        if ended {
            documents.push(builder.finish());
        }
    }
    Ok(documents)
}

/// A collection that is being read.
enum Open {
    List(Vec<Value>),
    Map {
        map: Map<String, Value>,
        /// The key whose value comes next, and its line.
        key: Option<(String, usize)>,
        /// The values of `<<`.
        merged: Vec<Value>,
    },
}

#[derive(Default)]
struct Builder {
    /// With the anchor of each, 0: none.
    stack: Vec<(Open, usize)>,
    root: Option<Value>,
    anchors: HashMap<usize, Value>,
    nodes: usize,
    duplicates: Vec<String>,
}

impl Builder {
    fn finish(&mut self) -> Decoded {
        let done = std::mem::take(self);
        let duplicates = if done.duplicates.is_empty() {
            Vec::new()
        } else {
            vec![format!("yaml: unmarshal errors:\n{}", done.duplicates.join("\n"))]
        };
        Decoded { tree: done.root.unwrap_or_default(), duplicates }
    }

    fn event(&mut self, event: Event, line: usize) -> Result<(), String> {
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                let tag = tag.map(|t| t.to_string()).unwrap_or_default();
                let is_key = matches!(self.stack.last(), Some((Open::Map { key: None, .. }, _)));
                let plain = style == ScalarStyle::Plain && !tag.ends_with("str");
                let value = match tag.as_str() {
                    t if t.ends_with("binary") => Value::String(text.split_whitespace().collect()),
                    _ if plain && is_key => Value::String(key_text(&text)),
                    _ if plain => scalar(&text),
                    _ => Value::String(text.into_owned()),
                };
                self.value(value, anchor, line)
            }
            Event::Alias(id) => {
                let value = self.anchors.get(&id).cloned().ok_or_else(|| at(line, "unknown anchor"))?;
                self.nodes += count(&value);
                self.value(value, 0, line)
            }
            Event::SequenceStart(_, anchor, _) => self.open(Open::List(Vec::new()), anchor, line),
            Event::MappingStart(_, anchor, _) => {
                let map = Open::Map { map: Map::new(), key: None, merged: Vec::new() };
                self.open(map, anchor, line)
            }
            Event::SequenceEnd | Event::MappingEnd => {
                let Some((open, anchor)) = self.stack.pop() else { return Err(at(line, "unexpected end")) };
                let value = match open {
                    Open::List(list) => Value::Array(list),
                    Open::Map { map, merged, .. } => Value::Object(merge(map, merged)),
                };
                self.value(value, anchor, line)
            }
            _ => Ok(()),
        }
    }

    fn open(&mut self, open: Open, anchor: usize, line: usize) -> Result<(), String> {
        if self.stack.len() >= MAX_DEPTH {
            return Err(at(line, "exceeded max depth"));
        }
        if matches!(self.stack.last(), Some((Open::Map { key: None, .. }, _))) {
            return Err(at(line, "a mapping key must be a scalar"));
        }
        self.stack.push((open, anchor));
        Ok(())
    }

    fn value(&mut self, value: Value, anchor: usize, line: usize) -> Result<(), String> {
        self.nodes += 1;
        if self.nodes > MAX_NODES {
            return Err(at(line, "document contains excessive aliasing"));
        }
        if anchor > 0 {
            self.anchors.insert(anchor, value.clone());
        }
        match self.stack.last_mut() {
            None => self.root = Some(value),
            Some((Open::List(list), _)) => list.push(value),
            Some((Open::Map { map, key, merged, .. }, _)) => match key.take() {
                None => match value {
                    Value::String(k) => *key = Some((k, line)),
                    _ => return Err(at(line, "a mapping key must be a scalar")),
                },
                Some((k, _)) if k == "<<" => match value {
                    Value::Array(maps) => merged.extend(maps),
                    other => merged.push(other),
                },
                Some((k, line)) => {
                    if map.contains_key(&k) {
                        self.duplicates.push(format!("  line {line}: key {k:?} already set in map"));
                    }
                    map.insert(k, value);
                }
            },
        }
        Ok(())
    }
}

fn at(line: usize, what: &str) -> String {
    format!("error converting YAML to JSON: yaml: line {line}: {what}")
}

fn count(v: &Value) -> usize {
    1 + match v {
        Value::Array(a) => a.iter().map(count).sum(),
        Value::Object(o) => o.values().map(count).sum(),
        _ => 0,
    }
}

/// The map's own keys win, then the first map merged.
fn merge(mut map: Map<String, Value>, merged: Vec<Value>) -> Map<String, Value> {
    for m in merged {
        if let Value::Object(m) = m {
            for (k, v) in m {
                map.entry(k).or_insert(v);
            }
        }
    }
    map
}

/// A plain scalar as a key: numbers and booleans as Go prints them.
fn key_text(text: &str) -> String {
    match scalar(text) {
        Value::String(s) => s,
        Value::Null => "null".into(),
        other => other.to_string(),
    }
}

/// A plain scalar's value, by yaml.v2's rules.
fn scalar(text: &str) -> Value {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Value::Null,
        "true" | "True" | "TRUE" | "yes" | "Yes" | "YES" | "on" | "On" | "ON" => return true.into(),
        "false" | "False" | "FALSE" | "no" | "No" | "NO" | "off" | "Off" | "OFF" => return false.into(),
        _ => {}
    }
    if !text.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '+' | '-' | '.')) {
        return text.into();
    }
    number(text).map_or_else(|| text.into(), Value::Number)
}

fn number(text: &str) -> Option<Number> {
    let digits = text.replace('_', "");
    let (sign, rest) = match digits.strip_prefix('-') {
        Some(rest) => ("-", rest),
        None => ("", digits.strip_prefix('+').unwrap_or(&digits)),
    };
    if rest.is_empty() || rest.starts_with(['+', '-']) {
        return None;
    }
    let based = |radix, rest: &str| {
        if rest.starts_with(['+', '-']) {
            return None;
        }
        let n = i64::from_str_radix(&format!("{sign}{rest}"), radix).ok().map(Number::from);
        n.or_else(|| u64::from_str_radix(rest, radix).ok().filter(|_| sign.is_empty()).map(Number::from))
    };
    if let Some(hex) = rest.strip_prefix("0x") {
        return based(16, hex);
    }
    if let Some(binary) = rest.strip_prefix("0b") {
        return based(2, binary);
    }
    if let Some(octal) = rest.strip_prefix("0o") {
        return based(8, octal);
    }
    if rest.bytes().all(|c| c.is_ascii_digit()) {
        let octal = (rest.len() > 1 && rest.starts_with('0')).then(|| based(8, &rest[1..])).flatten();
        return octal.or_else(|| based(10, rest)).or_else(|| Number::from_f64(rest.parse().ok()?));
    }
    let float = rest.bytes().all(|c| c.is_ascii_digit() || matches!(c, b'.' | b'e' | b'E' | b'+' | b'-'))
        && rest.bytes().any(|c| c.is_ascii_digit());
    let value: f64 = if float { format!("{sign}{rest}").parse().ok()? } else { return None };
    // as encoding/json prints it: 1.0 is 1
    if value.fract() == 0.0 && value.abs() < 1e15 { Some((value as i64).into()) } else { Number::from_f64(value) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn scalars_are_read_as_kubernetes_reads_them() {
        let text = "a: 0644\nb: \"0644\"\nc: yes\nd: 'yes'\ne: 1.5\nf: 1.0\ng: 1e3\nh: ~\ni:\nj: 0x10\nk: 1.2.3\nl: 12Mi\nm: -5\nn: 2001-01-01\no: |\n  x\n  y\n1: int\ntrue: bool\np: 0o10\nq: 089\nr: v1\ns: +1\nt: -\nu: 1_000\nw: 0x-E\nx: -0b+1\n";
        let want = json!({"a": 420, "b": "0644", "c": true, "d": "yes", "e": 1.5, "f": 1, "g": 1000, "h": null, "i": null, "j": 16,
            "k": "1.2.3", "l": "12Mi", "m": -5, "n": "2001-01-01", "o": "x\ny\n", "1": "int", "true": "bool", "p": 8, "q": 89, "r": "v1", "s": 1,
            "t": "-", "u": 1000, "w": "0x-E", "x": "-0b+1"});
        let text = text.replace("t: -\n", "t: '-'\n");
        assert_eq!(yaml(text.as_bytes()).unwrap().tree, want);
    }

    #[test]
    fn anchors_merges_documents_duplicates() {
        let d = yaml(b"x: &a {k: 1, l: 2}\ny: *a\nz:\n  <<: *a\n  k: 3\n").unwrap();
        assert_eq!(d.tree, json!({"x": {"k": 1, "l": 2}, "y": {"k": 1, "l": 2}, "z": {"k": 3, "l": 2}}));
        let d = yaml(b"a: 1\nb:\n  c: 1\n  c: 2\n").unwrap();
        assert_eq!(d.duplicates, ["yaml: unmarshal errors:\n  line 4: key \"c\" already set in map"]);
        assert_eq!(d.tree["b"]["c"], 2);
        let all = yaml_documents(b"# only a comment\n---\na: 1\n---\n---\nb: [1, {c: d}]\n...\n").unwrap();
        let trees: Vec<Value> = all.into_iter().map(|d| d.tree).filter(|t| !t.is_null()).collect();
        assert_eq!(trees, [json!({"a": 1}), json!({"b": [1, {"c": "d"}]})]);
        assert_eq!(yaml(br#"{"a": ["b", 1]}"#).unwrap().tree, json!({"a": ["b", 1]}));
    }

    #[test]
    fn bad_documents_are_errors() {
        let deep = "[".repeat(1000);
        let mut laughs = "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n".to_owned();
        for i in 1..9 {
            let last = format!("*a{}", i - 1);
            laughs += &format!("a{i}: &a{i} [{}]\n", vec![last; 10].join(","));
        }
        for text in ["a: [", "a: b: c", "? [a]\n: b", "*x", "a: 'b", &deep, &laughs] {
            assert!(yaml(text.as_bytes()).is_err(), "{}", &text[..text.len().min(40)]);
        }
        assert!(yaml(b"a: 1\n---\nb: 2\n").is_err());
        assert_eq!(yaml(b"").unwrap().tree, Value::Null);
    }
}
