//! `--sort-by`: by what a path finds; numbers, quantities, times and texts each in their order.

use std::cmp::Ordering;

use api::Value;
use api::quantity::Quantity;

use crate::error::{Error, Result};
use crate::jsonpath::Template;

/// Sorts `items` by `path` of what `object` gives of each. What has no such field comes first.
pub fn sort_by(items: &mut [Value], path: &str, object: impl Fn(&Value) -> &Value) -> Result<()> {
    let template = Template::relaxed(path).map_err(Error::other)?;
    let mut keyed = Vec::with_capacity(items.len());
    for item in items.iter_mut() {
        let key = template.find(object(item)).map_err(Error::other)?.into_iter().next();
        keyed.push((key, item.take()));
    }
    if !keyed.is_empty() && keyed.iter().all(|(k, _)| k.is_none()) {
        return Err(Error::other(format!(
            "couldn't find any field with path {:?} in the list of objects",
            braced(path)
        )));
    }
    keyed.sort_by(|a, b| match (&a.0, &b.0) {
        (None, None) => Ordering::Equal,
        (None, _) => Ordering::Less,
        (_, None) => Ordering::Greater,
        (Some(a), Some(b)) => compare(a, b),
    });
    for (slot, (_, item)) in items.iter_mut().zip(keyed) {
        *slot = item;
    }
    Ok(())
}

fn braced(path: &str) -> String {
    if path.starts_with('{') { path.to_owned() } else { format!("{{.{}}}", path.trim_start_matches('.')) }
}

fn compare(a: &Value, b: &Value) -> Ordering {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => a.as_f64().partial_cmp(&b.as_f64()).unwrap_or(Ordering::Equal),
        (Value::String(a), Value::String(b)) => match (Quantity::parse(a), Quantity::parse(b)) {
            (Ok(a), Ok(b)) => a.nanos().cmp(&b.nanos()),
            _ => natural(a, b),
        },
        _ => a.to_string().cmp(&b.to_string()),
    }
}

/// Texts with their numbers in numeric order: `pod-9` before `pod-10`.
fn natural(a: &str, b: &str) -> Ordering {
    let (mut a, mut b) = (a, b);
    loop {
        let digits = |t: &str| t.find(|c: char| !c.is_ascii_digit()).unwrap_or(t.len());
        let (x, y) = (digits(a), digits(b));
        if x > 0 && y > 0 {
            let (p, q) = (a[..x].trim_start_matches('0'), b[..y].trim_start_matches('0'));
            let order = p.len().cmp(&q.len()).then_with(|| p.cmp(q)).then(x.cmp(&y));
            if order.is_ne() {
                return order;
            }
            (a, b) = (&a[x..], &b[y..]);
            continue;
        }
        let (mut i, mut j) = (a.chars(), b.chars());
        match (i.next(), j.next()) {
            (None, None) => return Ordering::Equal,
            (p, q) if p != q => return p.cmp(&q),
            _ => (a, b) = (i.as_str(), j.as_str()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn orders() {
        let sorted = |mut items: Vec<Value>| {
            sort_by(&mut items, ".k", |v| v).unwrap();
            items.iter().map(|v| v.get("k").cloned().unwrap_or(Value::Null)).collect::<Vec<_>>()
        };
        let of = |keys: &[Value]| keys.iter().map(|k| json!({"k": k})).collect::<Vec<_>>();
        assert_eq!(sorted(of(&[json!("pod-10"), json!("pod-9")])), [json!("pod-9"), json!("pod-10")]);
        assert_eq!(sorted(of(&[json!("1Gi"), json!("500Mi")])), [json!("500Mi"), json!("1Gi")]);
        assert_eq!(sorted(of(&[json!(10), json!(9)])), [json!(9), json!(10)]);
        assert_eq!(sorted(vec![json!({"k": 1}), json!({})]), [Value::Null, json!(1)]);
        assert!(sort_by(&mut [json!({})], ".k", |v| v).is_err());
    }
}
