//! The JSONPath of printer columns, scale and selectable fields: `.status.conditions[?(@.type=="Ready")].status`.

use serde_json::Value;

#[derive(Debug, Clone, PartialEq)]
enum Step {
    Field(Box<str>),
    Index(i64),
    /// `[*]`, `.*`
    All,
    /// `[?(@.type=="Ready")]`
    Where(Path, &'static str, Value),
}

/// A parsed path.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Path {
    steps: Box<[Step]>,
}

impl Path {
    /// `None`: the text is no path that is understood.
    pub fn parse(text: &str) -> Option<Path> {
        let inner = text.strip_prefix('{').and_then(|t| t.strip_suffix('}')).unwrap_or(text);
        let mut rest = inner.strip_prefix('$').unwrap_or(inner).trim();
        let mut steps = Vec::new();
        while !rest.is_empty() {
            let (step, after) = step(rest)?;
            steps.extend(step);
            rest = after;
        }
        Some(Path { steps: steps.into() })
    }

    /// Of plain fields only, by which a value can be set: their names.
    pub fn fields(&self) -> Option<Vec<&str>> {
        self.steps
            .iter()
            .map(|s| match s {
                Step::Field(name) => Some(&**name),
                _ => None,
            })
            .collect()
    }

    /// All values that it leads to.
    pub fn find<'a>(&self, root: &'a Value) -> Vec<&'a Value> {
        let mut now = vec![root];
        for step in &self.steps {
            now = now.into_iter().flat_map(|v| step.of(v)).collect();
        }
        now
    }
}

impl Step {
    fn of<'a>(&self, v: &'a Value) -> Vec<&'a Value> {
        match (self, v) {
            (Step::Field(name), Value::Object(o)) => o.get(&**name).into_iter().collect(),
            (Step::Index(i), Value::Array(list)) => {
                let place = if *i < 0 { *i + list.len() as i64 } else { *i };
                usize::try_from(place).ok().and_then(|i| list.get(i)).into_iter().collect()
            }
            (Step::All, Value::Array(list)) => list.iter().collect(),
            (Step::All, Value::Object(o)) => o.values().collect(),
            (Step::Where(path, op, wanted), Value::Array(list)) => {
                list.iter().filter(|v| path.find(v).first().is_some_and(|found| holds(found, op, wanted))).collect()
            }
            _ => Vec::new(),
        }
    }
}

fn holds(found: &Value, op: &str, wanted: &Value) -> bool {
    let order = match (found, wanted) {
        (Value::Number(a), Value::Number(b)) => a.as_f64().partial_cmp(&b.as_f64()),
        (Value::String(a), Value::String(b)) => Some(a.cmp(b)),
        (a, b) if a == b => Some(std::cmp::Ordering::Equal),
        _ => None,
    };
    match (op, order) {
        ("", _) => true,
        ("==", o) => o.is_some_and(|o| o.is_eq()),
        ("!=", o) => !o.is_some_and(|o| o.is_eq()),
        ("<", o) => o.is_some_and(|o| o.is_lt()),
        ("<=", o) => o.is_some_and(|o| o.is_le()),
        (">", o) => o.is_some_and(|o| o.is_gt()),
        (">=", o) => o.is_some_and(|o| o.is_ge()),
        _ => false,
    }
}

/// One step and what comes after it.
fn step(text: &str) -> Option<(Option<Step>, &str)> {
    if let Some(rest) = text.strip_prefix('.') {
        if rest.starts_with('[') || rest.is_empty() {
            return Some((None, rest));
        }
        if let Some(after) = rest.strip_prefix('*') {
            return Some((Some(Step::All), after));
        }
        let mut name = String::new();
        let mut chars = rest.char_indices();
        let mut end = rest.len();
        while let Some((i, c)) = chars.next() {
            match c {
                '\\' => name.extend(chars.next().map(|(_, c)| c)),
                '.' | '[' => {
                    end = i;
                    break;
                }
                c => name.push(c),
            }
        }
        return (!name.is_empty()).then(|| (Some(Step::Field(name.into())), &rest[end..]));
    }
    let inner = text.strip_prefix('[')?;
    let end = closing(inner)?;
    let (inner, after) = (inner[..end].trim(), &inner[end + 1..]);
    let step = if inner == "*" {
        Step::All
    } else if let Some(condition) = inner.strip_prefix("?(").and_then(|c| c.strip_suffix(')')) {
        filter(condition.trim())?
    } else if let Some(name) = quoted(inner) {
        Step::Field(name.into())
    } else {
        Step::Index(inner.parse().ok()?)
    };
    Some((Some(step), after))
}

/// Where the bracket that is open closes; quotes hide brackets.
fn closing(text: &str) -> Option<usize> {
    let (mut depth, mut quote) = (0, None);
    for (i, c) in text.char_indices() {
        match (c, quote) {
            (c, Some(q)) if c == q => quote = None,
            (_, Some(_)) => {}
            ('\'' | '"', None) => quote = Some(c),
            ('[', None) => depth += 1,
            (']', None) if depth == 0 => return Some(i),
            (']', None) => depth -= 1,
            _ => {}
        }
    }
    None
}

fn quoted(text: &str) -> Option<String> {
    let inner = ['\'', '"'].iter().find_map(|q| text.strip_prefix(*q)?.strip_suffix(*q))?;
    Some(inner.replace('\\', ""))
}

fn filter(condition: &str) -> Option<Step> {
    let inner = condition.strip_prefix('@')?;
    for op in ["==", "!=", "<=", ">=", "<", ">"] {
        if let Some((path, wanted)) = inner.split_once(op) {
            let wanted = wanted.trim();
            let wanted = quoted(wanted).map(Value::String).or_else(|| serde_json::from_str(wanted).ok())?;
            return Some(Step::Where(Path::parse(path.trim())?, op, wanted));
        }
    }
    Some(Step::Where(Path::parse(inner)?, "", Value::Null))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn paths_lead_to_values() {
        let tree = json!({"spec": {"a": 1, "l": [{"n": 1}, {"n": 2}]}, "metadata": {"labels": {"x.io/a": "b"}},
            "status": {"conditions": [{"type": "Ready", "status": "True"}, {"type": "Other", "status": "False"}]}});
        for (path, want) in [
            (".spec.a", json!([1])),
            ("{.spec.a}", json!([1])),
            (".spec.nope.deep", json!([])),
            (".spec.l[1].n", json!([2])),
            (".spec.l[-1].n", json!([2])),
            (".spec.l[*].n", json!([1, 2])),
            (".metadata.labels.x\\.io/a", json!(["b"])),
            (".metadata.labels['x\\.io/a']", json!(["b"])),
            (".status.conditions[?(@.type==\"Ready\")].status", json!(["True"])),
            (".status.conditions[?(@.type == 'Other')].status", json!(["False"])),
            (".spec.l[?(@.n>1)].n", json!([2])),
        ] {
            let got: Vec<Value> = Path::parse(path).unwrap().find(&tree).into_iter().cloned().collect();
            assert_eq!(Value::Array(got), want, "{path}");
        }
        for bad in ["spec", ".a[", ".a[x]", "..", ".a..b"] {
            assert!(Path::parse(bad).is_none() || Path::parse(bad).unwrap().find(&tree).is_empty(), "{bad}");
        }
    }
}
