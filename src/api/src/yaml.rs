//! YAML as Go's encoder (sigs.k8s.io/yaml) writes it: sorted keys, lists not indented, lines folded at 80, and quotes round
//! what YAML 1.1 would read as something else than a text (`off`, `0644`).

use serde_json::Value;

const WIDTH: usize = 80;
/// A longer key is written behind a question mark; one of 1024 could not be read otherwise.
const SIMPLE_KEY: usize = 128;

/// A document, with a newline at its end.
pub fn to_string(v: &Value) -> String {
    let mut w = Writer { out: String::new(), column: 0 };
    match v {
        Value::Object(o) if !o.is_empty() => w.map(v, 0, false),
        Value::Array(a) if !a.is_empty() => w.list(v, 0, false),
        _ => {
            w.scalar(v, 2, false);
            w.newline();
        }
    }
    w.out
}

struct Writer {
    out: String,
    column: usize,
}

impl Writer {
    fn put(&mut self, text: &str) {
        self.out.push_str(text);
        self.column += text.chars().count();
    }
    fn newline(&mut self) {
        self.out.push('\n');
        self.column = 0;
    }
    fn indent(&mut self, by: usize) {
        self.out.extend(std::iter::repeat_n(' ', by));
        self.column += by;
    }

    /// `inline`: the first key stands behind a list's dash.
    fn map(&mut self, v: &Value, indent: usize, inline: bool) {
        for (i, (key, value)) in v.as_object().into_iter().flatten().enumerate() {
            if i > 0 || !inline {
                self.indent(indent);
            }
            if key.len() > SIMPLE_KEY {
                self.put("? ");
                self.text(key, indent + 2, true);
                self.newline();
                self.indent(indent);
                self.put(": ");
                self.below(value, indent + 2);
                continue;
            }
            self.text(key, indent, true);
            self.put(":");
            match value {
                Value::Object(o) if !o.is_empty() => {
                    self.newline();
                    self.map(value, indent + 2, false);
                }
                Value::Array(a) if !a.is_empty() => {
                    self.newline();
                    self.list(value, indent, false);
                }
                _ => {
                    self.put(" ");
                    self.scalar(value, indent + 2, false);
                    self.newline();
                }
            }
        }
    }

    fn list(&mut self, v: &Value, indent: usize, inline: bool) {
        for (i, value) in v.as_array().into_iter().flatten().enumerate() {
            if i > 0 || !inline {
                self.indent(indent);
            }
            self.put("- ");
            self.below(value, indent + 2);
        }
    }

    /// A value that begins on the line of its mark.
    fn below(&mut self, value: &Value, indent: usize) {
        match value {
            Value::Object(o) if !o.is_empty() => self.map(value, indent, true),
            Value::Array(a) if !a.is_empty() => self.list(value, indent, true),
            _ => {
                self.scalar(value, indent, false);
                self.newline();
            }
        }
    }

    fn scalar(&mut self, v: &Value, indent: usize, key: bool) {
        match v {
            Value::Null => self.put("null"),
            Value::Bool(b) => self.put(if *b { "true" } else { "false" }),
            Value::Number(n) => self.put(&n.to_string()),
            Value::String(s) => self.text(s, indent, key),
            Value::Array(_) => self.put("[]"),
            Value::Object(_) => self.put("{}"),
        }
    }

    fn text(&mut self, s: &str, indent: usize, key: bool) {
        let form = Form::of(s);
        if s.contains('\n') {
            if form.block && !key { self.literal(s, indent) } else { self.double_quoted(s, indent, key) }
        } else if resolves(s) {
            self.double_quoted(s, indent, key);
        } else if form.plain {
            self.folded(s, indent, key, false);
        } else if form.single {
            self.put("'");
            self.folded(s, indent, key, true);
            self.put("'");
        } else {
            self.double_quoted(s, indent, key);
        }
    }

    /// Plain, or the inside of single quotes: long lines break at single spaces.
    fn folded(&mut self, s: &str, indent: usize, key: bool, quoted: bool) {
        let chars: Vec<char> = s.chars().collect();
        let mut after_space = false;
        for (i, &c) in chars.iter().enumerate() {
            if c == ' ' {
                let inside = !quoted || (i > 0 && i + 1 < chars.len());
                if !key && !after_space && self.column > WIDTH && inside && chars.get(i + 1) != Some(&' ') {
                    self.newline();
                    self.indent(indent);
                } else {
                    self.put(" ");
                }
                after_space = true;
                continue;
            }
            if quoted && c == '\'' {
                self.put("'");
            }
            self.put(c.encode_utf8(&mut [0; 4]));
            after_space = false;
        }
    }

    fn double_quoted(&mut self, s: &str, indent: usize, key: bool) {
        self.put("\"");
        let chars: Vec<char> = s.chars().collect();
        let mut after_space = false;
        for (i, &c) in chars.iter().enumerate() {
            let space = c == ' ';
            match c {
                ' ' if !key && !after_space && self.column > WIDTH && i > 0 && i + 1 < chars.len() => {
                    self.newline();
                    self.indent(indent);
                    if chars[i + 1] == ' ' {
                        self.put("\\");
                    }
                }
                '"' => self.put("\\\""),
                '\\' => self.put("\\\\"),
                '\n' => self.put("\\n"),
                '\t' => self.put("\\t"),
                '\r' => self.put("\\r"),
                '\0' => self.put("\\0"),
                '\x07' => self.put("\\a"),
                '\x08' => self.put("\\b"),
                '\x0b' => self.put("\\v"),
                '\x0c' => self.put("\\f"),
                '\x1b' => self.put("\\e"),
                '\u{85}' => self.put("\\N"),
                '\u{a0}' => self.put("\\_"),
                '\u{2028}' => self.put("\\L"),
                '\u{2029}' => self.put("\\P"),
                c if printable(c) => self.put(c.encode_utf8(&mut [0; 4])),
                c if (c as u32) <= 0xff => self.put(&format!("\\x{:02X}", c as u32)),
                c if (c as u32) <= 0xffff => self.put(&format!("\\u{:04X}", c as u32)),
                c => self.put(&format!("\\U{:08X}", c as u32)),
            }
            after_space = space;
        }
        self.put("\"");
    }

    fn literal(&mut self, s: &str, indent: usize) {
        self.put("|");
        if s.starts_with([' ', '\n']) {
            self.put("2");
        }
        match s.strip_suffix('\n') {
            None => self.put("-"),
            Some(rest) if rest.is_empty() || rest.ends_with('\n') => self.put("+"),
            Some(_) => {}
        }
        for line in s.strip_suffix('\n').unwrap_or(s).split('\n') {
            self.newline();
            if !line.is_empty() {
                self.indent(indent);
                self.put(line);
            }
        }
    }
}

/// `yaml_emitter_analyze_scalar`: the styles that can hold a text.
struct Form {
    plain: bool,
    single: bool,
    block: bool,
}

impl Form {
    fn of(s: &str) -> Form {
        let chars: Vec<char> = s.chars().collect();
        let (mut indicators, mut special, mut space_break, mut break_space) =
            (s.starts_with("---") || s.starts_with("..."), false, false, false);
        let blank = |c: Option<&char>| c.is_none_or(|c| matches!(c, ' ' | '\t' | '\n' | '\r'));
        for (i, &c) in chars.iter().enumerate() {
            let followed = blank(chars.get(i + 1));
            indicators |= match c {
                '#' | ',' | '[' | ']' | '{' | '}' | '&' | '*' | '!' | '|' | '>' | '\'' | '"' | '%' | '@' | '`'
                    if i == 0 =>
                {
                    true
                }
                '?' | '-' if i == 0 => followed,
                ':' => followed,
                '#' => blank(chars.get(i - 1)),
                _ => false,
            };
            special |= c != '\n' && !printable(c);
            let next = chars.get(i + 1);
            space_break |= c == ' ' && next == Some(&'\n');
            break_space |= c == '\n' && next == Some(&' ');
        }
        let edges = s.starts_with([' ', '\n']) || s.ends_with([' ', '\n']);
        let lines = s.contains('\n');
        let hard = space_break || special;
        Form {
            plain: !indicators && !hard && !edges && !lines,
            single: !hard && !break_space,
            block: !hard && !s.ends_with(' '),
        }
    }
}

fn printable(c: char) -> bool {
    matches!(c, ' '..='~' | '\u{a0}'..='\u{d7ff}' | '\u{e000}'..='\u{fefe}' | '\u{ff00}'..='\u{fffd}' | '\u{10000}'..)
}

/// Whether a plain text would be read as something that is no string.
fn resolves(s: &str) -> bool {
    const WORDS: [&str; 33] = [
        "", "~", "null", "Null", "NULL", "y", "Y", "yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON", "n",
        "N", "no", "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF", ".nan", ".NaN", ".NAN", ".inf", ".Inf",
        "<<",
    ];
    if WORDS.contains(&s) || matches!(s, ".INF" | "+.inf" | "+.Inf" | "+.INF" | "-.inf" | "-.Inf" | "-.INF") {
        return true;
    }
    if !s.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '+' | '-' | '.')) {
        return false;
    }
    let plain = s.replace('_', "");
    integer(&plain) || float(&plain) || timestamp(s) || base60(s)
}

fn integer(s: &str) -> bool {
    let digits = s.strip_prefix(['+', '-']).unwrap_or(s);
    let radix = |prefixes: [&str; 2], radix: u32| {
        prefixes
            .iter()
            .find_map(|p| digits.strip_prefix(p))
            .is_some_and(|d| !d.is_empty() && d.chars().all(|c| c.is_digit(radix)))
    };
    (!digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()))
        || radix(["0x", "0X"], 16)
        || radix(["0o", "0O"], 8)
        || radix(["0b", "0B"], 2)
}

/// `[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?`
fn float(s: &str) -> bool {
    let s = s.strip_prefix(['+', '-']).unwrap_or(s);
    let (mantissa, exponent) = s.split_once(['e', 'E']).map_or((s, None), |(m, e)| (m, Some(e)));
    let digits = |d: &str| d.bytes().all(|b| b.is_ascii_digit());
    let (whole, fraction) = mantissa.split_once('.').map_or((mantissa, None), |(w, f)| (w, Some(f)));
    let number =
        digits(whole) && fraction.is_none_or(digits) && (!whole.is_empty() || fraction.is_some_and(|f| !f.is_empty()));
    number
        && exponent.is_none_or(|e| {
            let e = e.strip_prefix(['+', '-']).unwrap_or(e);
            !e.is_empty() && digits(e)
        })
}

/// `2006-1-2`, with a time behind or not.
fn timestamp(s: &str) -> bool {
    let (date, time) = s.split_once(['T', 't', ' ']).map_or((s, None), |(d, t)| (d, Some(t)));
    let mut parts = date.split('-');
    let part = |p: Option<&str>, max: usize| {
        p.is_some_and(|p| (1..=max).contains(&p.len()) && p.bytes().all(|b| b.is_ascii_digit()))
    };
    let day = date.len() > 4
        && date.as_bytes()[4] == b'-'
        && part(parts.next(), 4)
        && part(parts.next(), 2)
        && part(parts.next(), 2);
    day && parts.next().is_none()
        && time.is_none_or(|t| {
            t.bytes().filter(|b| *b == b':').count() >= 2 && t.starts_with(|c: char| c.is_ascii_digit())
        })
}

/// `[-+]?[0-9][0-9_]*(:[0-5]?[0-9])+(\.[0-9_]*)?`
fn base60(s: &str) -> bool {
    let s = s.strip_prefix(['+', '-']).unwrap_or(s);
    let s = s.split_once('.').map_or(s, |(whole, _)| whole);
    let mut parts = s.split(':');
    let head = parts.next().is_some_and(|h| {
        h.starts_with(|c: char| c.is_ascii_digit()) && h.bytes().all(|b| b.is_ascii_digit() || b == b'_')
    });
    let rest: Vec<&str> = parts.collect();
    head && !rest.is_empty() && rest.iter().all(|p| (1..=2).contains(&p.len()) && p.parse::<u8>().is_ok_and(|n| n < 60))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn long_keys_are_explicit() {
        let key = "k".repeat(129);
        let tree = json!({"a": {&key: {"x": 1, "z": [1]}}, "b": {&key: ["l", "m"]}, "c": {&key: "v"}});
        let text = to_string(&tree);
        let want = format!(
            "a:\n  ? {key}\n  : x: 1\n    z:\n    - 1\nb:\n  ? {key}\n  : - l\n    - m\nc:\n  ? {key}\n  : v\n"
        );
        assert_eq!(text, want);
        assert_eq!(crate::decode::yaml(text.as_bytes()).unwrap().tree, tree);
        let longer = json!({"x ".repeat(2000).trim(): 1});
        assert_eq!(crate::decode::yaml(to_string(&longer).as_bytes()).unwrap().tree, longer);
    }

    #[test]
    fn texts_as_go_quotes_them() {
        let cases = [
            ("plain", "plain"),
            ("", "\"\""),
            ("true", "\"true\""),
            ("123", "\"123\""),
            ("1e3", "\"1e3\""),
            ("100m", "100m"),
            ("0x1f", "\"0x1f\""),
            ("10:30", "\"10:30\""),
            ("2024-01-02T03:04:05Z", "\"2024-01-02T03:04:05Z\""),
            ("10.0.0.1", "10.0.0.1"),
            ("a: b", "'a: b'"),
            ("it's: b", "'it''s: b'"),
            ("- a", "'- a'"),
            ("-", "'-'"),
            ("*", "'*'"),
            ("a #b", "'a #b'"),
            ("tab\there", "\"tab\\there\""),
            (" a", "' a'"),
            ("a,b", "a,b"),
            ("日本", "日本"),
        ];
        for (text, want) in cases {
            assert_eq!(to_string(&json!(text)), format!("{want}\n"), "{text:?}");
        }
    }

    #[test]
    fn structure() {
        let v = json!({"a": [1, {"b": 2, "c": [3]}, []], "e": {}, "m": {"x": null}, "t": "l1\nl2\n", "u": "l1\n\nl2", "w": "a \nb"});
        let want = "a:\n- 1\n- b: 2\n  c:\n  - 3\n- []\ne: {}\nm:\n  x: null\nt: |\n  l1\n  l2\nu: |-\n  l1\n\n  l2\nw: \"a \\nb\"\n";
        assert_eq!(to_string(&v), want);
    }

    #[test]
    fn long_lines_fold() {
        let word = "word ".repeat(20);
        let folded = to_string(&json!({"k": word.trim_end()}));
        let lines: Vec<&str> = folded.lines().collect();
        assert_eq!(lines.len(), 2);
        assert_eq!(lines[1], "  word word word word");
    }
}
