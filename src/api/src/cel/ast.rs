//! Expressions, as the parser makes them: macros are nodes of their own.

/// A part of an expression, and where its text begins.
#[derive(Debug, Clone, PartialEq)]
pub struct Expr {
    pub node: Node,
    /// In bytes.
    pub at: u32,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Literal {
    Null,
    Bool(bool),
    Int(i64),
    Uint(u64),
    Double(f64),
    String(Box<str>),
    Bytes(Box<[u8]>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Op {
    Add,
    Sub,
    Mul,
    Div,
    Rem,
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
    In,
}

impl Op {
    /// The name of its overloads.
    pub fn name(self) -> &'static str {
        match self {
            Op::Add => "_+_",
            Op::Sub => "_-_",
            Op::Mul => "_*_",
            Op::Div => "_/_",
            Op::Rem => "_%_",
            Op::Eq => "_==_",
            Op::Ne => "_!=_",
            Op::Lt => "_<_",
            Op::Le => "_<=_",
            Op::Gt => "_>_",
            Op::Ge => "_>=_",
            Op::In => "@in",
        }
    }
}

/// What a macro makes of the elements of a list or map.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fold {
    All,
    Exists,
    ExistsOne,
    Filter,
    /// Also `transformList`.
    Map,
    TransformMap,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Node {
    Literal(Literal),
    Name(Box<str>),
    /// `a.b`, `a.?b`; with `test`, `has(a.b)`.
    Select {
        of: Box<Expr>,
        field: Box<str>,
        optional: bool,
        test: bool,
    },
    Index {
        of: Box<Expr>,
        index: Box<Expr>,
        optional: bool,
    },
    Call {
        target: Option<Box<Expr>>,
        name: Box<str>,
        args: Vec<Expr>,
    },
    /// An element behind `?` may be absent.
    List(Vec<(Expr, bool)>),
    Map(Vec<(Expr, Expr, bool)>),
    And(Box<Expr>, Box<Expr>),
    Or(Box<Expr>, Box<Expr>),
    Not(Box<Expr>),
    Negate(Box<Expr>),
    If(Box<Expr>, Box<Expr>, Box<Expr>),
    Binary(Op, Box<Expr>, Box<Expr>),
    /// `range.all(x, body)`; `filter`: the middle argument of `map(x, filter, body)`.
    Fold {
        fold: Fold,
        range: Box<Expr>,
        vars: Vec<Box<str>>,
        filter: Option<Box<Expr>>,
        body: Box<Expr>,
    },
    /// `cel.bind(x, value, body)`
    Bind {
        name: Box<str>,
        value: Box<Expr>,
        body: Box<Expr>,
    },
    /// `o.optMap(x, body)`, with `flat` `optFlatMap`.
    OptMap {
        of: Box<Expr>,
        name: Box<str>,
        body: Box<Expr>,
        flat: bool,
    },
    /// `Object.spec{replicas: 3}`; a field behind `?` may be absent.
    Message {
        name: Box<str>,
        fields: Fields,
    },
}

/// Of a message: name, value, and whether it may be absent.
pub type Fields = Vec<(Box<str>, Expr, bool)>;

impl Expr {
    /// The name of a chain of selections: `a.b.c`.
    pub fn dotted(&self) -> Option<String> {
        match &self.node {
            Node::Name(name) => Some(name.to_string()),
            Node::Select { of, field, optional: false, test: false } => Some(format!("{}.{field}", of.dotted()?)),
            _ => None,
        }
    }

    /// The type of a message that this may give and that is not `wanted`.
    pub fn misnamed(&self, wanted: &str) -> Option<&str> {
        match &self.node {
            Node::Message { name, .. } => (&**name != wanted).then_some(name),
            Node::List(items) => items.iter().find_map(|(i, _)| i.misnamed(wanted)),
            Node::If(_, a, b) => a.misnamed(wanted).or_else(|| b.misnamed(wanted)),
            Node::Fold { fold: Fold::Map, body, .. } | Node::Bind { body, .. } => body.misnamed(wanted),
            _ => None,
        }
    }
}
