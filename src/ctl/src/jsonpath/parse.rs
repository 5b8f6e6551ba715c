//! From text to [`Template`].

use api::Value;

use super::{Node, Operator, Part, Template};

pub fn template(text: &str) -> Result<Template, String> {
    let mut p = Parser { chars: text.chars().collect(), at: 0 };
    let (parts, ended) = p.parts()?;
    if ended {
        return Err("not in range, nothing to end".into());
    }
    Ok(Template { parts })
}

struct Parser {
    chars: Vec<char>,
    at: usize,
}

impl Parser {
    fn peek(&self) -> Option<char> {
        self.chars.get(self.at).copied()
    }
    fn next(&mut self) -> Option<char> {
        let c = self.peek();
        self.at += 1;
        c
    }
    fn eat(&mut self, c: char) -> bool {
        let hit = self.peek() == Some(c);
        self.at += usize::from(hit);
        hit
    }
    fn spaces(&mut self) {
        while self.peek().is_some_and(char::is_whitespace) {
            self.at += 1;
        }
    }
    /// Whether the word `w` stands here, and if so behind it.
    fn word(&mut self, w: &str) -> bool {
        let end = self.at + w.chars().count();
        let here = self.chars.get(self.at..end).is_some_and(|c| c.iter().copied().eq(w.chars()));
        let whole = self.chars.get(end).is_none_or(|c| c.is_whitespace() || *c == '}');
        if here && whole {
            self.at = end;
        }
        here && whole
    }

    /// Up to the end of the text, or of a range (`true`).
    fn parts(&mut self) -> Result<(Vec<Part>, bool), String> {
        let mut parts = Vec::new();
        let mut text = String::new();
        while let Some(c) = self.next() {
            if c != '{' {
                text.push(c);
                continue;
            }
            if !text.is_empty() {
                parts.push(Part::Text(std::mem::take(&mut text)));
            }
            self.spaces();
            if self.word("end") {
                self.close()?;
                return Ok((parts, true));
            }
            if self.word("range") {
                let path = self.path("}")?;
                self.close()?;
                let (body, ended) = self.parts()?;
                if !ended {
                    return Err("unterminated range".into());
                }
                parts.push(Part::Range(path, body));
                continue;
            }
            let path = self.path("}")?;
            self.close()?;
            parts.push(Part::Path(path));
        }
        if !text.is_empty() {
            parts.push(Part::Text(text));
        }
        Ok((parts, false))
    }

    fn close(&mut self) -> Result<(), String> {
        self.spaces();
        if self.eat('}') { Ok(()) } else { Err("unclosed action".into()) }
    }

    /// Steps up to one of `stops` or an operator.
    fn path(&mut self, stops: &str) -> Result<Vec<Node>, String> {
        let mut nodes = Vec::new();
        loop {
            self.spaces();
            match self.peek() {
                None => return Err("unclosed action".into()),
                Some(c) if stops.contains(c) => return Ok(nodes),
                Some('@' | '$') => self.at += 1,
                Some('.') => {
                    self.at += 1;
                    if self.eat('.') {
                        nodes.push(Node::Recursive);
                        if self.peek() == Some('[') {
                            continue;
                        }
                    }
                    nodes.extend(self.field());
                }
                Some('[') => {
                    self.at += 1;
                    let node = self.brackets()?;
                    nodes.push(node);
                }
                Some(q @ ('"' | '\'')) => {
                    self.at += 1;
                    let text = self.quoted(q)?;
                    nodes.push(Node::Literal(Value::String(text)));
                }
                Some(_) => {
                    let node = self.bare()?;
                    nodes.push(node);
                }
            }
        }
    }

    /// A name after a dot; `\` takes the next character as it is.
    fn field(&mut self) -> Option<Node> {
        let mut name = String::new();
        while let Some(c) = self.peek() {
            match c {
                '\\' => {
                    self.at += 1;
                    name.extend(self.next());
                }
                '.' | '[' | ']' | '}' | '{' | ')' | '(' | ',' | '|' | '=' | '!' | '<' | '>' | '@' | '$' => break,
                c if c.is_whitespace() => break,
                c => {
                    name.push(c);
                    self.at += 1;
                }
            }
        }
        match name.as_str() {
            "" => None,
            "*" => Some(Node::Wildcard),
            _ => Some(Node::Field(name)),
        }
    }

    /// A number, `true`, `false`, or a field whose dot was left out.
    fn bare(&mut self) -> Result<Node, String> {
        let start = self.at;
        while self.peek().is_some_and(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '+' | '.' | '_')) {
            self.at += 1;
        }
        let word: String = self.chars[start..self.at].iter().collect();
        match word.as_str() {
            "" => Err(format!("unrecognized character in action: {:?}", self.peek().unwrap_or_default())),
            "true" => Ok(Node::Literal(true.into())),
            "false" => Ok(Node::Literal(false.into())),
            _ => match serde_json::from_str::<serde_json::Number>(&word) {
                Ok(n) => Ok(Node::Literal(Value::Number(n))),
                Err(_) => Err(format!("unrecognized identifier {word}")),
            },
        }
    }

    fn quoted(&mut self, quote: char) -> Result<String, String> {
        let mut text = String::new();
        loop {
            match self.next() {
                None => return Err("unterminated quoted string".into()),
                Some(c) if c == quote => return Ok(text),
                Some('\\') => text.push(match self.next() {
                    None => return Err("unterminated quoted string".into()),
                    Some('n') => '\n',
                    Some('t') => '\t',
                    Some('r') => '\r',
                    Some(c) => c,
                }),
                Some(c) => text.push(c),
            }
        }
    }

    /// Behind `[`.
    fn brackets(&mut self) -> Result<Node, String> {
        self.spaces();
        if self.eat('?') {
            self.spaces();
            if !self.eat('(') {
                return Err("unterminated filter".into());
            }
            let node = self.filter()?;
            self.spaces();
            return if self.eat(']') { Ok(node) } else { Err("unclosed array expect ]".into()) };
        }
        let mut steps = Vec::new();
        loop {
            self.spaces();
            steps.push(self.subscript()?);
            self.spaces();
            match self.next() {
                Some(',') => {}
                Some(']') => break,
                _ => return Err("unterminated array".into()),
            }
        }
        if steps.len() == 1 {
            return Ok(steps.remove(0));
        }
        Ok(Node::Union(steps.into_iter().map(|s| vec![s]).collect()))
    }

    fn subscript(&mut self) -> Result<Node, String> {
        match self.peek() {
            Some('*') => {
                self.at += 1;
                return Ok(Node::Wildcard);
            }
            Some(q @ ('"' | '\'')) => {
                self.at += 1;
                return Ok(Node::Field(self.quoted(q)?));
            }
            _ => {}
        }
        let start = self.at;
        while self.peek().is_some_and(|c| !matches!(c, ',' | ']')) {
            self.at += 1;
        }
        let text: String = self.chars[start..self.at].iter().collect();
        let number = |t: &str| match t.trim() {
            "" => Ok(None),
            t => t.parse::<i64>().map(Some).map_err(|_| format!("invalid array index {text}")),
        };
        let parts: Vec<&str> = text.split(':').collect();
        match parts.as_slice() {
            [one] => number(one)?.map(Node::Index).ok_or_else(|| format!("invalid array index {text}")),
            [from, to] => Ok(Node::Slice(number(from)?, number(to)?, 1)),
            [from, to, step] => Ok(Node::Slice(number(from)?, number(to)?, number(step)?.unwrap_or(1))),
            _ => Err(format!("invalid array index {text}")),
        }
    }

    /// Behind `?(`.
    fn filter(&mut self) -> Result<Node, String> {
        let left = self.path(")=!<>")?;
        if self.eat(')') {
            return Ok(Node::Filter(left, None));
        }
        let operator = match (self.next(), self.peek()) {
            (Some('='), Some('=')) => Operator::Equal,
            (Some('!'), Some('=')) => Operator::NotEqual,
            (Some('<'), Some('=')) => Operator::LessOrEqual,
            (Some('>'), Some('=')) => Operator::GreaterOrEqual,
            (Some('<'), _) => Operator::Less,
            (Some('>'), _) => Operator::Greater,
            _ => return Err("unrecognized filter operator".into()),
        };
        if !matches!(operator, Operator::Less | Operator::Greater) {
            self.at += 1;
        }
        let right = self.path(")")?;
        if right.is_empty() || !self.eat(')') {
            return Err("unterminated filter".into());
        }
        Ok(Node::Filter(left, Some((operator, right))))
    }
}
