//! Text to tokens.

use super::ast::Literal;

#[derive(Debug, Clone, PartialEq)]
pub enum Token {
    Literal(Literal),
    Name(Box<str>),
    /// An operator or bracket.
    Sign(&'static str),
    End,
}

const SIGNS: [&str; 28] = [
    "&&", "||", "==", "!=", "<=", ">=", "[?", ".?", "{?", "<", ">", "+", "-", "*", "/", "%", "!", "?", ":", ".", ",",
    "(", ")", "[", "]", "{", "}", "=",
];

/// Tokens with their places; errors say where.
pub fn tokens(text: &str) -> Result<Vec<(Token, u32)>, (u32, String)> {
    let mut out = Vec::new();
    let mut at = 0;
    while let Some(c) = text[at..].chars().next() {
        let rest = &text[at..];
        let start = at as u32;
        if c.is_whitespace() {
            at += c.len_utf8();
        } else if rest.starts_with("//") {
            at += rest.find('\n').unwrap_or(rest.len());
        } else if let Some((literal, length)) = string(rest).map_err(|e| (start, e))? {
            out.push((Token::Literal(literal), start));
            at += length;
        } else if c.is_ascii_digit() || c == '.' && rest[1..].starts_with(|c: char| c.is_ascii_digit()) {
            let (literal, length) = number(rest).map_err(|e| (start, e))?;
            out.push((Token::Literal(literal), start));
            at += length;
        } else if c == '_' || c.is_ascii_alphabetic() {
            let end = rest.find(|c: char| c != '_' && !c.is_ascii_alphanumeric()).unwrap_or(rest.len());
            out.push((
                match &rest[..end] {
                    "true" => Token::Literal(Literal::Bool(true)),
                    "false" => Token::Literal(Literal::Bool(false)),
                    "null" => Token::Literal(Literal::Null),
                    name => Token::Name(name.into()),
                },
                start,
            ));
            at += end;
        } else if c == '`' {
            let end = rest[1..].find('`').ok_or((start, "Syntax error: unterminated identifier".to_owned()))?;
            out.push((Token::Name(rest[1..=end].into()), start));
            at += end + 2;
        } else if let Some(sign) = SIGNS.iter().find(|s| rest.starts_with(**s)) {
            // `a ?[` of a condition is no optional index, and neither is `{?` in front of nothing
            out.push((Token::Sign(sign), start));
            at += sign.len();
        } else {
            return Err((start, format!("Syntax error: token recognition error at: '{c}'")));
        }
    }
    out.push((Token::End, text.len() as u32));
    Ok(out)
}

fn number(text: &str) -> Result<(Literal, usize), String> {
    if let Some(hex) = text.strip_prefix("0x").or(text.strip_prefix("0X")) {
        let end = hex.find(|c: char| !c.is_ascii_hexdigit()).unwrap_or(hex.len());
        if hex[end..].starts_with(['u', 'U']) {
            let n = u64::from_str_radix(&hex[..end], 16).map_err(|_| "invalid uint literal")?;
            return Ok((Literal::Uint(n), end + 3));
        }
        let n = i64::from_str_radix(&hex[..end], 16).map_err(|_| "invalid int literal")?;
        return Ok((Literal::Int(n), end + 2));
    }
    let bytes = text.as_bytes();
    let digits = |from: usize| bytes[from..].iter().take_while(|b| b.is_ascii_digit()).count() + from;
    let mut end = digits(0);
    let mut double = false;
    if bytes.get(end) == Some(&b'.') && bytes.get(end + 1).is_some_and(u8::is_ascii_digit) {
        double = true;
        end = digits(end + 1);
    }
    if matches!(bytes.get(end), Some(b'e' | b'E')) {
        let sign = usize::from(matches!(bytes.get(end + 1), Some(b'+' | b'-')));
        if bytes.get(end + 1 + sign).is_some_and(u8::is_ascii_digit) {
            double = true;
            end = digits(end + 1 + sign);
        }
    }
    let digits = &text[..end];
    if double {
        return Ok((Literal::Double(digits.parse().map_err(|_| "invalid double literal")?), end));
    }
    if matches!(bytes.get(end), Some(b'u' | b'U')) {
        return Ok((Literal::Uint(digits.parse().map_err(|_| "invalid uint literal")?), end + 1));
    }
    match digits.parse::<i64>() {
        Ok(n) => Ok((Literal::Int(n), end)),
        // only behind a minus: the parser negates it, which leaves it as it is
        Err(_) if digits == "9223372036854775808" => Ok((Literal::Int(i64::MIN), end)),
        Err(_) => Err("invalid int literal".into()),
    }
}

/// A string or bytes, with the length of its text; `None`: it is none.
fn string(text: &str) -> Result<Option<(Literal, usize)>, String> {
    let quoted = text.bytes().take(3).position(|b| matches!(b, b'"' | b'\''));
    let Some(prefix) = quoted.filter(|i| text.as_bytes()[..*i].iter().all(|b| matches!(b, b'r' | b'R' | b'b' | b'B')))
    else {
        return Ok(None);
    };
    let raw = text[..prefix].contains(['r', 'R']);
    let is_bytes = text[..prefix].contains(['b', 'B']);
    let body = &text[prefix..];
    let quote = ["\"\"\"", "'''", "\"", "'"].into_iter().find(|q| body.starts_with(q)).unwrap_or("\"");
    let mut out: Vec<u8> = Vec::new();
    let mut chars = body[quote.len()..].char_indices();
    while let Some((i, c)) = chars.next() {
        if body[quote.len() + i..].starts_with(quote) {
            let length = prefix + quote.len() + i + quote.len();
            let literal = match is_bytes {
                true => Literal::Bytes(out.into()),
                false => Literal::String(String::from_utf8(out).map_err(|e| e.to_string())?.into()),
            };
            return Ok(Some((literal, length)));
        }
        if c == '\n' && quote.len() == 1 {
            break;
        }
        if c != '\\' || raw {
            out.extend(c.encode_utf8(&mut [0; 4]).bytes());
            continue;
        }
        let (_, escape) = chars.next().ok_or("Syntax error: unterminated string")?;
        let mut code = |length: usize, radix: u32, first: Option<char>| -> Result<u32, String> {
            let more = length - usize::from(first.is_some());
            let digits: String = first.into_iter().chain(chars.by_ref().take(more).map(|(_, c)| c)).collect();
            u32::from_str_radix(&digits, radix)
                .ok()
                .filter(|_| digits.len() == length)
                .ok_or("unable to unescape string".into())
        };
        let simple = match escape {
            'a' => 7,
            'b' => 8,
            'f' => 12,
            'n' => b'\n',
            'r' => b'\r',
            't' => b'\t',
            'v' => 11,
            '\\' | '\'' | '"' | '`' | '?' => escape as u8,
            _ => {
                let n = match escape {
                    'x' | 'X' => code(2, 16, None)?,
                    'u' => code(4, 16, None)?,
                    'U' => code(8, 16, None)?,
                    '0'..='3' => code(3, 8, Some(escape))?,
                    _ => return Err("unable to unescape string".into()),
                };
                match (is_bytes, char::from_u32(n)) {
                    (true, _) if n < 256 => out.push(n as u8),
                    (false, Some(c)) => out.extend(c.encode_utf8(&mut [0; 4]).bytes()),
                    _ => return Err("invalid unicode code point".into()),
                }
                continue;
            }
        };
        out.push(simple);
    }
    Err("Syntax error: token recognition error: unterminated string".into())
}
