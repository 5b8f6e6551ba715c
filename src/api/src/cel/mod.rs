//! CEL: the Common Expression Language as Kubernetes speaks it, for rules of custom resources and admission policies.
//!
//! ```text
//!   text ── lexer, parser ──► Expr ── check: does it fit, what may it cost ──► Program ── eval, with a Budget ──► Value
//! ```
//!
//! Written for skiff because the crate of its field (`cel`) knows neither types nor costs, both of which Kubernetes promises,
//! and brings a parser generator's run time of a megabyte. Values borrow from the trees they are of.

mod ast;
mod check;
mod environment;
mod eval;
mod functions;
mod lexer;
mod net;
mod parser;
mod rule;
mod schema;
mod signatures;
mod strings;
mod types;
mod value;

pub use environment::{Environment, Wanted, typed};
pub use eval::{Budget, Done, Failure, Variables};
pub use rule::{Rule, validate};
pub use schema::check_schema;
pub use types::Type;
pub(crate) use value::RESERVED;
pub use value::{Opaque, Value};

/// What one evaluation may cost: `PerCallLimit`.
pub const CALL_LIMIT: u64 = 1_000_000;
/// What all rules of an object, or all expressions of a policy, may cost: `RuntimeCELCostBudget`.
pub const OBJECT_LIMIT: u64 = 10_000_000;

/// A compiled expression.
#[derive(Debug, Clone, PartialEq)]
pub struct Program {
    expr: ast::Expr,
}

/// What compiling tells of an expression.
pub struct Compiled<'a> {
    pub program: Program,
    /// The type of its result.
    pub result: Type<'a>,
    /// What it may cost at most, as far as the types tell.
    pub cost: u64,
}

impl Program {
    /// Errors in cel-go's form: `ERROR: <input>:1:5: undefined field 'foo'` with the place marked below.
    pub fn compile<'a>(text: &str, declared: &[(&str, Type<'a>)]) -> Result<Compiled<'a>, String> {
        let done = parser::parse(text).and_then(|expr| {
            let checked = check::check(&expr, declared)?;
            Ok(Compiled { program: Program { expr }, result: checked.of, cost: checked.cost })
        });
        done.map_err(|(at, why)| shown(text, at as usize, &why))
    }

    /// Without a check of types, as for what has been checked when it was accepted.
    pub fn parse(text: &str) -> Result<Program, String> {
        let expr = parser::parse(text).map_err(|(at, why)| shown(text, at as usize, &why))?;
        Ok(Program { expr })
    }

    pub fn evaluate<'a>(&self, variables: &dyn Variables<'a>, budget: &mut Budget) -> Result<Value<'a>, Failure> {
        eval::evaluate(&self.expr, variables, budget)
    }

    /// Whether it looks at a variable.
    pub fn uses(&self, name: &str) -> bool {
        fn within(e: &ast::Expr, name: &str) -> bool {
            use ast::Node;
            let w = |e: &ast::Expr| within(e, name);
            match &e.node {
                Node::Literal(_) => false,
                Node::Name(n) => &**n == name,
                Node::Select { of, .. } => w(of),
                Node::Index { of, index, .. } => w(of) || w(index),
                Node::Call { target, args, .. } => target.as_deref().is_some_and(w) || args.iter().any(w),
                Node::List(items) => items.iter().any(|(i, _)| w(i)),
                Node::Map(entries) => entries.iter().any(|(k, v, _)| w(k) || w(v)),
                Node::And(a, b) | Node::Or(a, b) | Node::Binary(_, a, b) => w(a) || w(b),
                Node::Not(a) | Node::Negate(a) => w(a),
                Node::If(a, b, c) => w(a) || w(b) || w(c),
                Node::Fold { range, filter, body, .. } => w(range) || filter.as_deref().is_some_and(w) || w(body),
                Node::Bind { value, body, .. } => w(value) || w(body),
                Node::OptMap { of, body, .. } => w(of) || w(body),
                Node::Message { fields, .. } => fields.iter().any(|(_, e, _)| w(e)),
            }
        }
        within(&self.expr, name)
    }
}

/// An error with its place, as cel-go prints it.
fn shown(text: &str, at: usize, why: &str) -> String {
    let at = at.min(text.len());
    let start = text[..at].rfind('\n').map_or(0, |i| i + 1);
    let line = text[..at].matches('\n').count() + 1;
    let source = text[start..].lines().next().unwrap_or_default();
    let column = text[start..at].chars().count();
    format!("ERROR: <input>:{line}:{}: {why}\n | {source}\n | {}^", column + 1, ".".repeat(column))
}

/// Go's `time.ParseDuration`, in nanoseconds.
pub fn duration(text: &str) -> Option<i64> {
    let (negative, mut rest) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    if rest == "0" {
        return Some(0);
    }
    if rest.is_empty() {
        return None;
    }
    let mut total = 0f64;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..end].parse().ok()?;
        let unit_end = rest[end..].find(|c: char| c.is_ascii_digit() || c == '.').map_or(rest.len(), |i| end + i);
        total += number
            * match &rest[end..unit_end] {
                "ns" => 1.0,
                "us" | "µs" | "μs" => 1e3,
                "ms" => 1e6,
                "s" => 1e9,
                "m" => 60e9,
                "h" => 3600e9,
                _ => return None,
            };
        rest = &rest[unit_end..];
    }
    (total < i64::MAX as f64).then_some(if negative { -total as i64 } else { total as i64 })
}

#[cfg(test)]
mod tests;
