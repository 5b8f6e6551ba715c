//! The grammar of label selectors' string form: upstream's `labels.Parser`, token by token, for its error texts.

use std::collections::BTreeSet;

use super::{Operator, ParseError, Requirement, aggregate};
use crate::names::qualified_name;

#[derive(Debug, Clone, Copy, PartialEq)]
enum Token<'a> {
    /// Identifiers, and the keywords `in` and `notin`, which are identifiers where an operator cannot stand.
    Word(&'a str),
    Symbol(&'a str),
    End,
}

impl<'a> Token<'a> {
    fn text(self) -> &'a str {
        match self {
            Token::Word(t) | Token::Symbol(t) => t,
            Token::End => "",
        }
    }
}

fn lex(text: &str) -> Vec<Token<'_>> {
    let special = |c: char| matches!(c, '=' | '!' | '(' | ')' | ',' | '>' | '<');
    let space = |c: char| matches!(c, ' ' | '\t' | '\r' | '\n');
    let mut tokens = Vec::new();
    let mut rest = text.trim_start_matches(space);
    while let Some(c) = rest.chars().next() {
        let token = if special(c) {
            let length = if rest.starts_with("==") || rest.starts_with("!=") { 2 } else { 1 };
            Token::Symbol(&rest[..length])
        } else {
            Token::Word(&rest[..rest.find(|c| special(c) || space(c)).unwrap_or(rest.len())])
        };
        tokens.push(token);
        rest = rest[token.text().len()..].trim_start_matches(space);
    }
    tokens
}

struct Parser<'a> {
    tokens: Vec<Token<'a>>,
    next: usize,
}

fn fail<T>(text: impl Into<String>) -> Result<T, ParseError> {
    Err(ParseError(text.into()))
}

/// `labels.ParseToRequirements`
pub(super) fn parse(text: &str) -> Result<Vec<Requirement>, ParseError> {
    let mut p = Parser { tokens: lex(text), next: 0 };
    let mut requirements = Vec::new();
    loop {
        match p.peek() {
            Token::Word(_) | Token::Symbol("!") => {}
            Token::End => return Ok(requirements),
            other => return fail(format!("found '{}', expected: !, identifier, or 'end of string'", other.text())),
        }
        let r = p.requirement().map_err(|e| ParseError(format!("unable to parse requirement: {e}")))?;
        requirements.push(r);
        match p.take() {
            Token::End => return Ok(requirements),
            Token::Symbol(",") => match p.peek() {
                Token::Word(_) | Token::Symbol("!") => {}
                other => return fail(format!("found '{}', expected: identifier after ','", other.text())),
            },
            other => return fail(format!("found '{}', expected: ',' or 'end of string'", other.text())),
        }
    }
}

impl<'a> Parser<'a> {
    fn peek(&self) -> Token<'a> {
        self.tokens.get(self.next).copied().unwrap_or(Token::End)
    }
    fn take(&mut self) -> Token<'a> {
        let token = self.peek();
        self.next += 1;
        token
    }

    fn requirement(&mut self) -> Result<Requirement, ParseError> {
        let negated = self.peek() == Token::Symbol("!");
        if negated {
            self.take();
        }
        let key = match self.take() {
            Token::Word(key) => key,
            other => return fail(format!("found '{}', expected: identifier", other.text())),
        };
        let wrong = qualified_name(key);
        if !wrong.is_empty() {
            return fail(format!("<nil>: Invalid value: {key:?}: {}", wrong.join("; ")));
        }
        let unary = matches!(self.peek(), Token::End | Token::Symbol(","));
        let (operator, values) = if negated {
            (Operator::DoesNotExist, BTreeSet::new())
        } else if unary {
            (Operator::Exists, BTreeSet::new())
        } else {
            let operator = self.operator()?;
            let set = matches!(operator, Operator::In | Operator::NotIn);
            (operator, if set { self.values()? } else { self.exact_value()? })
        };
        Requirement::new(key, operator, values, None).map_err(aggregate)
    }

    fn operator(&mut self) -> Result<Operator, ParseError> {
        Ok(match self.take() {
            Token::Word("in") => Operator::In,
            Token::Word("notin") => Operator::NotIn,
            Token::Symbol("=" | "==") => Operator::Equals,
            Token::Symbol("!=") => Operator::NotEquals,
            Token::Symbol(">") => Operator::GreaterThan,
            Token::Symbol("<") => Operator::LessThan,
            other => return fail(format!("found '{}', expected: in, notin, =, ==, !=, gt, lt", other.text())),
        })
    }

    fn exact_value(&mut self) -> Result<BTreeSet<String>, ParseError> {
        let value = match self.peek() {
            Token::End | Token::Symbol(",") => "",
            Token::Word(v) => {
                self.take();
                v
            }
            other => return fail(format!("found '{}', expected: identifier", other.text())),
        };
        Ok(BTreeSet::from([value.to_owned()]))
    }

    /// `(x,y)`. An empty element (`(,x)`) is the empty string.
    fn values(&mut self) -> Result<BTreeSet<String>, ParseError> {
        let open = self.take();
        if open != Token::Symbol("(") {
            return fail(format!("found '{}' expected: '('", open.text()));
        }
        let mut values = BTreeSet::new();
        match self.peek() {
            Token::Word(_) | Token::Symbol(",") => {}
            Token::Symbol(")") => {
                self.take();
                return Ok(values);
            }
            other => return fail(format!("found '{}', expected: ',', ')' or identifier", other.text())),
        }
        loop {
            match self.take() {
                Token::Word(v) => {
                    values.insert(v.to_owned());
                    match self.peek() {
                        Token::Symbol(",") => {}
                        Token::Symbol(")") => break,
                        other => return fail(format!("found '{}', expected: ',' or ')'", other.text())),
                    }
                }
                Token::Symbol(",") => {
                    if values.is_empty() {
                        values.insert(String::new());
                    }
                    match self.peek() {
                        Token::Symbol(")") => {
                            values.insert(String::new());
                            break;
                        }
                        Token::Symbol(",") => {
                            self.take();
                            values.insert(String::new());
                        }
                        _ => {}
                    }
                }
                other => return fail(format!("found '{}', expected: ',', or identifier", other.text())),
            }
        }
        self.take();
        Ok(values)
    }
}
