//! From a template and a value to text.

use std::cmp::Ordering;

use api::Value;

use super::{Node, Operator, Part, text};

pub fn render(parts: &[Part], v: &Value, out: &mut String) -> Result<(), String> {
    for part in parts {
        match part {
            Part::Text(t) => out.push_str(t),
            Part::Path(p) => out.push_str(&path(p, v)?.iter().map(text).collect::<Vec<_>>().join(" ")),
            Part::Range(p, body) => {
                for each in path(p, v)? {
                    render(body, &each, out)?;
                }
            }
        }
    }
    Ok(())
}

pub fn path(nodes: &[Node], v: &Value) -> Result<Vec<Value>, String> {
    let mut values = vec![v.clone()];
    for node in nodes {
        let mut next = Vec::new();
        for v in &values {
            step(node, v, &mut next)?;
        }
        values = next;
    }
    Ok(values)
}

fn step(node: &Node, v: &Value, out: &mut Vec<Value>) -> Result<(), String> {
    match node {
        Node::Field(name) => out.extend(v.get(name).cloned()),
        Node::Literal(l) => out.push(l.clone()),
        Node::Wildcard => out.extend(children(v).cloned()),
        Node::Recursive => recurse(v, out),
        Node::Index(i) => {
            let Some(list) = list(v)? else { return Ok(()) };
            let at = if *i < 0 { i + list.len() as i64 } else { *i };
            let found = usize::try_from(at).ok().and_then(|at| list.get(at));
            out.push(found.ok_or_else(|| bounds(at, list.len()))?.clone());
        }
        Node::Slice(from, to, step) => {
            let Some(list) = list(v)? else { return Ok(()) };
            let len = list.len() as i64;
            let place = |i: i64| if i < 0 { i + len } else { i };
            let (from, to) = (place(from.unwrap_or(0)), place(to.unwrap_or(len)));
            if from == to {
                return Ok(());
            }
            if from < 0 || from >= len {
                return Err(bounds(from, list.len()));
            }
            if to < 0 || to > len {
                return Err(bounds(to - 1, list.len()));
            }
            if from > to {
                return Err(format!("starting index {from} is greater than ending index {to}"));
            }
            let step = usize::try_from(*step).ok().filter(|s| *s > 0).ok_or("step must be > 0")?;
            out.extend(list[from as usize..to as usize].iter().step_by(step).cloned());
        }
        Node::Union(paths) => {
            for p in paths {
                out.extend(path(p, v)?);
            }
        }
        Node::Filter(left, compare) => {
            for each in list(v)?.into_iter().flatten() {
                if matches(each, left, compare.as_ref())? {
                    out.push(each.clone());
                }
            }
        }
    }
    Ok(())
}

fn bounds(index: i64, length: usize) -> String {
    format!("array index out of bounds: index {index}, length {length}")
}

fn list(v: &Value) -> Result<Option<&Vec<Value>>, String> {
    match v {
        Value::Array(a) => Ok(Some(a)),
        Value::Null => Ok(None),
        other => Err(format!("{} is not array or slice", text(other))),
    }
}

fn children(v: &Value) -> Box<dyn Iterator<Item = &Value> + '_> {
    match v {
        Value::Array(a) => Box::new(a.iter()),
        Value::Object(o) => Box::new(o.values()),
        _ => Box::new(std::iter::empty()),
    }
}

fn recurse(v: &Value, out: &mut Vec<Value>) {
    if children(v).next().is_some() {
        out.push(v.clone());
        children(v).for_each(|c| recurse(c, out));
    }
}

fn matches(v: &Value, left: &[Node], compare: Option<&(Operator, Vec<Node>)>) -> Result<bool, String> {
    let left = path(left, v)?;
    let Some((operator, right)) = compare else { return Ok(!left.is_empty()) };
    let right = path(right, v)?;
    let (Some(l), Some(r)) = (left.first(), right.first()) else { return Ok(false) };
    if left.len() > 1 || right.len() > 1 {
        return Err("can only compare one element at a time".into());
    }
    let order = match (l, r) {
        (Value::Number(a), Value::Number(b)) => a.as_f64().zip(b.as_f64()).and_then(|(a, b)| a.partial_cmp(&b)),
        (Value::String(a), Value::String(b)) => Some(a.cmp(b)),
        (Value::Bool(a), Value::Bool(b)) => Some(a.cmp(b)),
        _ => None,
    };
    Ok(match operator {
        Operator::Equal => order == Some(Ordering::Equal),
        Operator::NotEqual => order != Some(Ordering::Equal),
        Operator::Less => order == Some(Ordering::Less),
        Operator::LessOrEqual => order.is_some_and(Ordering::is_le),
        Operator::Greater => order == Some(Ordering::Greater),
        Operator::GreaterOrEqual => order.is_some_and(Ordering::is_ge),
    })
}
