//! Tokens to expressions.

use super::ast::{Expr, Fields, Fold, Literal, Node, Op};
use super::lexer::{Token, tokens};

/// How deep an expression may nest in brackets.
const MAX_DEPTH: u32 = 100;
/// How many operators may lean on each other: evaluation descends through them.
const MAX_LINKS: u32 = 400;

/// The expression; errors say where and what.
pub fn parse(text: &str) -> Result<Expr, (u32, String)> {
    let mut parser = Parser { tokens: tokens(text)?, at: 0, depth: 0, links: 0 };
    let expr = parser.expression()?;
    match parser.peek() {
        Token::End => Ok(expr),
        other => Err(parser.unexpected(&other.clone())),
    }
}

struct Parser {
    tokens: Vec<(Token, u32)>,
    at: usize,
    depth: u32,
    links: u32,
}

type Parsed = Result<Expr, (u32, String)>;

fn boxed(e: Expr) -> Box<Expr> {
    Box::new(e)
}

impl Parser {
    fn peek(&self) -> &Token {
        &self.tokens[self.at].0
    }
    fn place(&self) -> u32 {
        self.tokens[self.at].1
    }
    fn next(&mut self) -> Token {
        let token = self.tokens[self.at].0.clone();
        if self.at + 1 < self.tokens.len() {
            self.at += 1;
        }
        token
    }
    /// One operator more.
    fn link(&mut self) -> Result<(), (u32, String)> {
        self.links += 1;
        if self.links > MAX_LINKS { Err((self.place(), "the expression is too long".into())) } else { Ok(()) }
    }
    fn take(&mut self, sign: &str) -> bool {
        let found = matches!(self.peek(), Token::Sign(s) if *s == sign);
        if found {
            self.next();
        }
        found
    }
    fn expect(&mut self, sign: &str) -> Result<(), (u32, String)> {
        if self.take(sign) { Ok(()) } else { Err(self.unexpected(&self.peek().clone())) }
    }
    fn unexpected(&self, token: &Token) -> (u32, String) {
        let shown = match token {
            Token::End => "<EOF>".to_owned(),
            Token::Sign(s) => format!("'{s}'"),
            Token::Name(n) => format!("'{n}'"),
            Token::Literal(l) => format!("{l:?}"),
        };
        (self.place(), format!("Syntax error: mismatched input {shown}"))
    }

    fn expression(&mut self) -> Parsed {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err((self.place(), "expression recursion limit exceeded: 100".into()));
        }
        let condition = self.or()?;
        let expr = if self.take("?") {
            let at = condition.at;
            let then = self.or()?;
            self.expect(":")?;
            let other = self.expression()?;
            Expr { node: Node::If(boxed(condition), boxed(then), boxed(other)), at }
        } else {
            condition
        };
        self.depth -= 1;
        Ok(expr)
    }
    fn or(&mut self) -> Parsed {
        let mut left = self.and()?;
        loop {
            let at = self.place();
            if !self.take("||") {
                return Ok(left);
            }
            self.link()?;
            left = Expr { node: Node::Or(boxed(left), boxed(self.and()?)), at };
        }
    }
    fn and(&mut self) -> Parsed {
        let mut left = self.relation()?;
        loop {
            let at = self.place();
            if !self.take("&&") {
                return Ok(left);
            }
            self.link()?;
            left = Expr { node: Node::And(boxed(left), boxed(self.relation()?)), at };
        }
    }
    fn relation(&mut self) -> Parsed {
        let mut left = self.sum()?;
        loop {
            let at = self.place();
            let op = match self.peek() {
                Token::Sign("==") => Op::Eq,
                Token::Sign("!=") => Op::Ne,
                Token::Sign("<") => Op::Lt,
                Token::Sign("<=") => Op::Le,
                Token::Sign(">") => Op::Gt,
                Token::Sign(">=") => Op::Ge,
                Token::Name(n) if &**n == "in" => Op::In,
                _ => return Ok(left),
            };
            self.next();
            self.link()?;
            left = Expr { node: Node::Binary(op, boxed(left), boxed(self.sum()?)), at };
        }
    }
    fn sum(&mut self) -> Parsed {
        let mut left = self.product()?;
        loop {
            let at = self.place();
            let op = match self.peek() {
                Token::Sign("+") => Op::Add,
                Token::Sign("-") => Op::Sub,
                _ => return Ok(left),
            };
            self.next();
            self.link()?;
            left = Expr { node: Node::Binary(op, boxed(left), boxed(self.product()?)), at };
        }
    }
    fn product(&mut self) -> Parsed {
        let mut left = self.unary()?;
        loop {
            let at = self.place();
            let op = match self.peek() {
                Token::Sign("*") => Op::Mul,
                Token::Sign("/") => Op::Div,
                Token::Sign("%") => Op::Rem,
                _ => return Ok(left),
            };
            self.next();
            self.link()?;
            left = Expr { node: Node::Binary(op, boxed(left), boxed(self.unary()?)), at };
        }
    }
    fn unary(&mut self) -> Parsed {
        let at = self.place();
        let mut signs = Vec::new();
        while let Token::Sign(s @ ("!" | "-")) = self.peek() {
            signs.push(*s);
            self.link()?;
            self.next();
        }
        let mut expr = self.member()?;
        for sign in signs.iter().rev() {
            let node = match (*sign, &expr.node) {
                ("-", Node::Literal(Literal::Int(n))) => Node::Literal(Literal::Int(n.wrapping_neg())),
                ("-", Node::Literal(Literal::Double(d))) => Node::Literal(Literal::Double(-d)),
                ("-", _) => Node::Negate(boxed(expr)),
                _ => Node::Not(boxed(expr)),
            };
            expr = Expr { node, at };
        }
        Ok(expr)
    }
    fn member(&mut self) -> Parsed {
        let mut expr = self.primary()?;
        loop {
            let at = self.place();
            let optional = matches!(self.peek(), Token::Sign(".?" | "[?"));
            if matches!(self.peek(), Token::Sign("." | ".?" | "[" | "[?")) {
                self.link()?;
            }
            if self.take(".") || self.take(".?") {
                let Token::Name(field) = self.next() else { return Err(self.unexpected(&self.peek().clone())) };
                if !optional && self.take("(") {
                    let args = self.list(")")?;
                    expr = method(expr, &field, args, at)?;
                } else {
                    expr = Expr { node: Node::Select { of: boxed(expr), field, optional, test: false }, at };
                }
            } else if self.take("[") || self.take("[?") {
                let index = boxed(self.expression()?);
                self.expect("]")?;
                expr = Expr { node: Node::Index { of: boxed(expr), index, optional }, at };
            } else if let (Token::Sign("{" | "{?"), Some(name)) = (self.peek(), expr.dotted()) {
                expr = Expr { node: Node::Message { name: name.into(), fields: self.fields()? }, at };
            } else {
                return Ok(expr);
            }
        }
    }
    /// `{a: 1, ?b: c}` behind the name of a message.
    fn fields(&mut self) -> Result<Fields, (u32, String)> {
        let mut optional = self.take("{?");
        if !optional {
            self.expect("{")?;
        }
        let mut all = Vec::new();
        while !self.take("}") {
            optional |= self.take("?");
            let at = self.place();
            let name = match self.next() {
                Token::Name(name) => name,
                other => return Err((at, self.unexpected(&other).1)),
            };
            self.expect(":")?;
            all.push((name, self.expression()?, optional));
            optional = false;
            if !self.take(",") {
                self.expect("}")?;
                break;
            }
        }
        Ok(all)
    }
    fn list(&mut self, end: &str) -> Result<Vec<Expr>, (u32, String)> {
        let mut all = Vec::new();
        while !self.take(end) {
            all.push(self.expression()?);
            if !self.take(",") {
                self.expect(end)?;
                break;
            }
        }
        Ok(all)
    }
    fn primary(&mut self) -> Parsed {
        let at = self.place();
        self.take(".");
        let node = match self.next() {
            Token::Literal(l) => Node::Literal(l),
            Token::Name(name) if &*name == "in" => return Err((at, "Syntax error: mismatched input 'in'".into())),
            Token::Name(name) => {
                if !self.take("(") {
                    Node::Name(name)
                } else {
                    let mut args = self.list(")")?;
                    if &*name != "has" {
                        Node::Call { target: None, name, args }
                    } else {
                        match (args.pop(), args.is_empty()) {
                            (Some(Expr { node: Node::Select { of, field, optional: false, .. }, .. }), true) => {
                                Node::Select { of, field, optional: false, test: true }
                            }
                            _ => return Err((at, "invalid argument to has() macro".into())),
                        }
                    }
                }
            }
            Token::Sign("(") => {
                let inner = self.expression()?;
                self.expect(")")?;
                return Ok(inner);
            }
            Token::Sign(open @ ("[" | "[?")) => {
                let mut all = Vec::new();
                let mut optional = open == "[?";
                while !self.take("]") {
                    optional |= self.take("?");
                    all.push((self.expression()?, optional));
                    optional = false;
                    if !self.take(",") {
                        self.expect("]")?;
                        break;
                    }
                }
                Node::List(all)
            }
            Token::Sign(open @ ("{" | "{?")) => {
                let mut all = Vec::new();
                let mut optional = open == "{?";
                while !self.take("}") {
                    optional |= self.take("?");
                    let key = self.expression()?;
                    self.expect(":")?;
                    all.push((key, self.expression()?, optional));
                    optional = false;
                    if !self.take(",") {
                        self.expect("}")?;
                        break;
                    }
                }
                Node::Map(all)
            }
            other => {
                self.at = self.at.saturating_sub(usize::from(other != Token::End));
                return Err(self.unexpected(&other));
            }
        };
        Ok(Expr { node, at })
    }
}

fn variable(e: &Expr) -> Result<Box<str>, (u32, String)> {
    match &e.node {
        Node::Name(name) => Ok(name.clone()),
        _ => Err((e.at, "argument must be a simple name".into())),
    }
}

/// A call on something; the macros among them become nodes.
fn method(of: Expr, name: &str, mut args: Vec<Expr>, at: u32) -> Parsed {
    let fold = match (name, args.len()) {
        ("all", 2 | 3) => Some(Fold::All),
        ("exists", 2 | 3) => Some(Fold::Exists),
        ("exists_one" | "existsOne", 2 | 3) => Some(Fold::ExistsOne),
        ("filter", 2) => Some(Fold::Filter),
        ("map", 2 | 3) => Some(Fold::Map),
        ("transformList", 3 | 4) => Some(Fold::Map),
        ("transformMap", 3 | 4) => Some(Fold::TransformMap),
        _ => None,
    };
    let is_namespace = |n: &str| matches!(&of.node, Node::Name(name) if &**name == n);
    if let Some(fold) = fold {
        let pairs = match name {
            "map" | "filter" => 1,
            "transformList" | "transformMap" => 2,
            _ => args.len() - 1,
        };
        let body = args.pop().map(boxed);
        let filter = (args.len() > pairs).then(|| args.pop().map(boxed)).flatten();
        let vars = args.iter().map(variable).collect::<Result<_, _>>()?;
        if let Some(body) = body {
            return Ok(Expr { node: Node::Fold { fold, range: boxed(of), vars, filter, body }, at });
        }
        return Err((at, format!("{name} needs arguments")));
    }
    match (name, args.len()) {
        ("bind", 3) if is_namespace("cel") => {
            let (body, value) = (args.pop(), args.pop());
            let name = variable(&args[0])?;
            if let (Some(body), Some(value)) = (body, value) {
                return Ok(Expr { node: Node::Bind { name, value: boxed(value), body: boxed(body) }, at });
            }
            Err((at, "cel.bind needs arguments".into()))
        }
        ("optMap" | "optFlatMap", 2) => {
            let variable = variable(&args[0])?;
            let body = boxed(args.remove(1));
            let node = Node::OptMap { of: boxed(of), name: variable, body, flat: name == "optFlatMap" };
            Ok(Expr { node, at })
        }
        _ => {
            // a namespace of functions: `math.greatest(1, 2)`
            let spaces = ["optional", "sets", "math", "strings", "ip", "format", "base64", "jsonpatch"];
            if let Some(space) = spaces.iter().find(|s| is_namespace(s)) {
                let name = format!("{space}.{name}").into();
                return Ok(Expr { node: Node::Call { target: None, name, args }, at });
            }
            Ok(Expr { node: Node::Call { target: Some(boxed(of)), name: name.into(), args }, at })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_parse_or_say_where_they_do_not() {
        for good in [
            "1 + 2 * 3 == 7 && !false || a.b[0].c(1, 'x')",
            "self.all(x, x > 1) ? [1, 2u, 3.0e1] : {'a': b'x'}",
            "has(self.a.b) && self.?a[?0].orValue('') == r'\\d'",
            "-1 < - a && 0x1F == 31 // comment",
            "x.map(i, i > 0, i * 2).exists_one(k, v, v == k)",
            "cel.bind(x, 1, x + 1) in [?opt, 2]",
            "\"\"\"multi\nline\"\"\" != '\\u00e9\\n'",
        ] {
            parse(good).unwrap_or_else(|e| panic!("{good}: {e:?}"));
        }
        for (bad, at) in
            [("1 +", 3), ("a b", 2), ("(1", 2), ("'x", 0), ("has(a)", 0), ("#", 0), ("a.all(1, true)", 6), ("", 0)]
        {
            assert_eq!(parse(bad).unwrap_err().0, at, "{bad}");
        }
        assert!(parse(&"(".repeat(5000)).is_err());
        assert!(parse(&"!".repeat(50_000)).is_err() && parse(&"1+".repeat(50_000)).is_err());
    }
}
