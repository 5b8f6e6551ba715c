//! Functions of strings: CEL's own and its `ext.Strings`, and Kubernetes' `find`, `findAll`.

use super::value::Value;

type Answer<'a> = Result<Value<'a>, String>;

/// `None`: there is no such function.
pub fn method<'a>(name: &str, s: &str, args: &[Value<'a>]) -> Option<Answer<'a>> {
    use Value::{Bool, Int, String};
    let chars = || -> Vec<char> { s.chars().collect() };
    let out = |i: i64| Err(format!("index out of range: {i}"));
    Some(Ok(match (name, args) {
        ("contains", [String(t)]) => Bool(s.contains(&**t)),
        ("startsWith", [String(t)]) => Bool(s.starts_with(&**t)),
        ("endsWith", [String(t)]) => Bool(s.ends_with(&**t)),
        ("lowerAscii", []) => Value::string(s.to_ascii_lowercase()),
        ("upperAscii", []) => Value::string(s.to_ascii_uppercase()),
        ("trim", []) => Value::string(s.trim()),
        ("reverse", []) => Value::string(s.chars().rev().collect::<std::string::String>()),
        ("charAt", [Int(i)]) => {
            let all = chars();
            match usize::try_from(*i).ok().filter(|i| *i <= all.len()) {
                Some(i) => Value::string(all.get(i).map(char::to_string).unwrap_or_default()),
                None => return Some(out(*i)),
            }
        }
        ("indexOf", [String(t)]) => Int(index(s, t, 0)),
        ("indexOf", [String(t), Int(from)]) => match usize::try_from(*from).ok().filter(|i| *i <= s.chars().count()) {
            Some(from) => Int(index(s, t, from)),
            None => return Some(out(*from)),
        },
        ("lastIndexOf", [String(t)]) => Int(s.rfind(&**t).map_or(-1, |i| s[..i].chars().count() as i64)),
        ("lastIndexOf", [String(t), Int(upto)]) => {
            let (all, t) = (chars(), t.chars().collect::<Vec<_>>());
            let Some(upto) = usize::try_from(*upto).ok().filter(|i| *i <= all.len()) else { return Some(out(*upto)) };
            let found = (0..=upto).rev().find(|i| all[*i..].starts_with(&t));
            Int(found.map_or(-1, |i| i as i64))
        }
        ("replace", [String(a), String(b)]) => Value::string(s.replace(&**a, b)),
        ("replace", [String(a), String(b), Int(n)]) => match usize::try_from(*n) {
            Ok(n) => Value::string(s.replacen(&**a, b, n)),
            Err(_) => Value::string(s.replace(&**a, b)),
        },
        ("split", [String(t)]) => split(s, t, -1),
        ("split", [String(t), Int(n)]) => split(s, t, *n),
        ("substring", [Int(from), rest @ ..]) => {
            let all = chars();
            let to = match rest {
                [] => all.len() as i64,
                [Int(to)] => *to,
                _ => return None,
            };
            let range = usize::try_from(*from).ok().zip(usize::try_from(to).ok());
            match range.and_then(|(a, b)| all.get(a..b)) {
                Some(part) => Value::string(part.iter().collect::<std::string::String>()),
                None if *from > to => {
                    return Some(Err(format!("invalid substring range. start: {from}, end: {to}")));
                }
                None => return Some(out(if *from < 0 || *from > all.len() as i64 { *from } else { to })),
            }
        }
        ("format", [list]) => return Some(format(s, &list.items()?)),
        ("find", [String(p)]) => match crate::crd::pattern(p) {
            Some(regex) => Value::string(regex.find(s).map_or("", |m| m.as_str())),
            None => return Some(Err(format!("Illegal regex: error parsing regexp: `{p}`"))),
        },
        ("findAll", [String(p), rest @ ..]) => {
            let most = match rest {
                [] => usize::MAX,
                [Int(n)] => usize::try_from(*n).unwrap_or(usize::MAX),
                _ => return None,
            };
            match crate::crd::pattern(p) {
                Some(regex) => Value::list(regex.find_iter(s).take(most).map(|m| Value::string(m.as_str())).collect()),
                None => return Some(Err(format!("Illegal regex: error parsing regexp: `{p}`"))),
            }
        }
        _ => return None,
    }))
}

/// In characters; -1: it is not there.
fn index(s: &str, t: &str, from: usize) -> i64 {
    let start = s.char_indices().nth(from).map_or(s.len(), |(i, _)| i);
    s[start..].find(t).map_or(-1, |i| s[..start + i].chars().count() as i64)
}

fn split<'a>(s: &str, t: &str, n: i64) -> Value<'a> {
    let parts: Vec<String> = match (n, t) {
        (0, _) => Vec::new(),
        (n, "") => {
            let all: Vec<char> = s.chars().collect();
            let most = usize::try_from(n).unwrap_or(usize::MAX).min(all.len().max(1));
            let (single, rest) = all.split_at(most.saturating_sub(1).min(all.len()));
            let rest = Some(rest.iter().collect::<String>()).filter(|r| !r.is_empty());
            single.iter().map(char::to_string).chain(rest).collect()
        }
        (n, t) => match usize::try_from(n) {
            Ok(n) => s.splitn(n, t).map(str::to_owned).collect(),
            Err(_) => s.split(t).map(str::to_owned).collect(),
        },
    };
    Value::list(parts.into_iter().map(Value::string).collect())
}

/// `%s`, `%d`, `%f`, `%e`, `%b`, `%o`, `%x`, `%X`, `%%`, with a precision.
fn format<'a>(s: &str, args: &[Value<'a>]) -> Answer<'a> {
    let (mut out, mut args, mut chars) = (String::new(), args.iter(), s.chars().peekable());
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        let mut precision = None;
        if chars.next_if_eq(&'.').is_some() {
            let mut digits = String::new();
            while let Some(d) = chars.next_if(char::is_ascii_digit) {
                digits.push(d);
            }
            precision = Some(digits.parse::<usize>().map_err(|_| "error while parsing precision")?.min(100));
        }
        let verb = chars.next().ok_or("unexpected end of string")?;
        if verb == '%' {
            out.push('%');
            continue;
        }
        let arg = args.next().ok_or("index 0 out of range")?;
        let number = match arg {
            Value::Int(i) => Some(i128::from(*i)),
            Value::Uint(u) => Some(i128::from(*u)),
            Value::Bool(b) => Some(i128::from(*b)),
            _ => None,
        };
        let float = match arg {
            Value::Double(d) => Some(*d),
            _ => number.map(|n| n as f64),
        };
        let bad = || format!("error during formatting: unsupported type {} for %{verb}", arg.type_name());
        out += &match verb {
            's' => shown(arg),
            'd' => number.ok_or_else(bad)?.to_string(),
            'f' => format!("{:.*}", precision.unwrap_or(6), float.ok_or_else(bad)?),
            'e' => format!("{:.*e}", precision.unwrap_or(6), float.ok_or_else(bad)?),
            'b' => format!("{:b}", number.ok_or_else(bad)?),
            'o' => format!("{:o}", number.ok_or_else(bad)?),
            'x' | 'X' => {
                let text = match arg {
                    Value::String(s) => s.bytes().map(|b| format!("{b:02x}")).collect(),
                    Value::Bytes(b) => b.iter().map(|b| format!("{b:02x}")).collect(),
                    _ => format!("{:x}", number.ok_or_else(bad)?),
                };
                if verb == 'X' { text.to_uppercase() } else { text }
            }
            other => {
                return Err(format!("could not parse formatting clause: unrecognized formatting clause \"{other}\""));
            }
        };
    }
    Ok(Value::string(out))
}

/// `%s` of anything.
fn shown(v: &Value<'_>) -> String {
    if let Value::Null = v {
        return "null".into();
    }
    if let Some(items) = v.items() {
        return format!("[{}]", items.iter().map(shown).collect::<Vec<_>>().join(", "));
    }
    if let Some(entries) = v.entries() {
        let mut all: Vec<String> = entries.iter().map(|(k, v)| format!("{}: {}", shown(k), shown(v))).collect();
        all.sort();
        return format!("{{{}}}", all.join(", "));
    }
    v.text().unwrap_or_default()
}
